//! Reads the messages of a period back from the stream. No copy of them is kept elsewhere, which could be lost or
//! differ.

use std::{ops::Range, time::Duration};

use async_nats::jetstream::{
    consumer::DeliverPolicy,
    stream::{RetentionPolicy, Stream},
};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    config::Route,
    failure::Failure,
    message::Decoded,
    nats::{Allowance, Nats, offset_date_time, timestamp},
    pipeline::{Facts, Routing},
    render::Speakers,
    source::{
        Delivery, Problem, ReadError, Stored,
        beside::{Reader, Selection},
        consumer, stored,
    },
    summary::totals::Digest,
};

/// The time that reading messages one by one may take in all, as is needed after one that the client cannot read.
const READING_SINGLY: Duration = Duration::from_mins(5);

/// The limit of the doublings: after each broken connection twice as many messages are read one by one, up to two to
/// the power of this. Messages that the client cannot read rarely come alone, and each breaks a connection.
const MOST_DOUBLINGS: u32 = 10;

/// Sums up the messages that a route takes among those that the stream stored in a period. Returns `None` if the stream
/// did not exist yet.
pub(super) async fn gather(
    nats: &Nats,
    route: &Route,
    routing: &Routing,
    period: &Range<Timestamp>,
) -> Result<Option<Digest>, Problem> {
    let stream = consumer::stream(nats, &route.stream).await?;
    check_retention(&stream)?;
    let mut digest = Digest::new(period.clone(), route.alert_scope, Speakers::of(route));
    let created = timestamp(stream.cached_info().created).as_nanosecond().to_string();
    let taken = |message: &Delivery| taken(routing, &created, message);
    let review = Review { nats, route };
    let _permit = nats.memory.reader().await;
    let start_time = offset_date_time(period.start);
    let read = review
        .read(DeliverPolicy::ByStartTime { start_time }, |published, message| {
            if published >= period.end {
                return Next::Stop;
            }
            if let Some(decoded) = taken(message) {
                digest.add(published, &message.speaking_subject(), &decoded);
            }
            Next::GoOn
        })
        .await?;
    (digest.unreadable, digest.read_until) = (read.unreadable, read.until);
    let state = &stream.cached_info().state;
    let oldest = timestamp(state.first_timestamp);
    let has_deleted = state.messages == 0 || state.first_sequence > 1;
    digest.kept_since =
        (has_deleted && oldest > period.start && oldest < period.end).then_some(oldest);
    if digest.is_empty() {
        // A stream that was restored from a backup is older than it says.
        let created = timestamp(stream.cached_info().created);
        let begun = if state.messages == 0 { created } else { created.min(oldest) };
        if begun >= period.end {
            return Ok(None);
        }
        review
            .read(DeliverPolicy::Last, |published, message| {
                let is_before = published < period.start && taken(message).is_some();
                digest.last_before = is_before.then_some(published);
                Next::Stop
            })
            .await?;
    }
    Ok(Some(digest))
}

/// Checks that messages stay in the stream after they were posted.
pub(super) fn check_retention(stream: &Stream) -> Result<(), Failure> {
    let config = &stream.cached_info().config;
    let retention = match config.retention {
        RetentionPolicy::Limits => return Ok(()),
        RetentionPolicy::Interest => "interest",
        RetentionPolicy::WorkQueue => "workqueue",
    };
    Err(Failure::Config(format!(
        "stream {} deletes messages once they are posted (retention {retention}), so that there is nothing to sum up: \
         give it the retention limits, or remove `summary` of the route",
        config.name
    )))
}

/// Decodes a message if the route takes it.
fn taken(routing: &Routing, created: &str, message: &Delivery) -> Option<Decoded> {
    let decoded = routing.decode(message.subject(), message.headers(), message.payload());
    let facts = Facts {
        lineage: created,
        sequence: message.sequence,
        subject: message.subject(),
        headers: message.headers(),
        decoded: &decoded,
        original: message.payload(),
        is_opaque: false,
    };
    routing.takes(&facts).then_some(decoded)
}

/// Whether to continue reading.
enum Next {
    GoOn,
    Stop,
}

/// The result of reading.
#[derive(Debug, Default)]
struct Read {
    /// The number of messages that were passed on and have headers that no client can read.
    unreadable: u64,
    /// The time of the last message that was passed on, if the others would have taken too long.
    until: Option<Timestamp>,
    /// The time spent on reading messages one by one.
    singly: Duration,
}

/// Reads the messages of a route back.
struct Review<'a> {
    nats: &'a Nats,
    route: &'a Route,
}

impl Review<'_> {
    /// Passes the messages of the stream from `begin` on, in order, to `take`. Where very many cannot be read by the
    /// client, it ends before the last one.
    async fn read(
        &self,
        mut begin: DeliverPolicy,
        mut take: impl FnMut(Timestamp, &Delivery) -> Next,
    ) -> Result<Read, ReadError> {
        let mut done = Read::default();
        for breaks in 0_u32.. {
            // A message that the client cannot read breaks the connection, so this is a separate one. That message is
            // the next one.
            let nats = self.nats.another().await.map_err(ReadError::Unconnected)?;
            let (stream, consumer) = (self.route.stream.as_str(), Some(self.consumer_name()));
            let wanted = Selection { stream, begin, filters: self.filters(), consumer };
            let memory = Allowance::Each(nats.memory.clone(), None);
            let mut reader = Box::pin(Reader::open(&nats, wanted, memory)).await?;
            let mut reached = reader.before();
            if Box::pin(read_over(&mut reader, &mut reached, &mut take)).await.is_ok() {
                reader.close().await;
                break;
            }
            // The broken connection is not waited for: the next reader removes the consumer first.
            drop(reader);
            let count = 1 << breaks.min(MOST_DOUBLINGS);
            let next = self.read_singly(reached + 1, count, &mut done, &mut take).await?;
            let Some(start_sequence) = next else { break };
            begin = DeliverPolicy::ByStartSequence { start_sequence };
        }
        let Read { unreadable, until, .. } = &done;
        let (name, stream) = (&self.route.name, &self.route.stream);
        if *unreadable > 0 {
            warn!(
                "summary of {name}: {unreadable} messages of stream {stream} have headers that no client can read; they \
                 are summed up without these"
            );
        }
        if let Some(until) = until {
            warn!(
                "summary of {name}: it ends at {until}, as reading the others would take too long"
            );
        }
        Ok(done)
    }

    /// Reads some messages one by one, whatever their headers are, and passes them to `take`. Returns the sequence to
    /// read from next, or `None` if nothing more is to be read.
    async fn read_singly(
        &self,
        mut from: u64,
        count: u64,
        done: &mut Read,
        take: &mut impl FnMut(Timestamp, &Delivery) -> Next,
    ) -> Result<Option<u64>, ReadError> {
        let (stream, filters) = (&self.route.stream, self.filters());
        for _ in 0..count {
            let memory = self.nats.memory.queue(stored::need(self.nats)).reservation(None).await;
            let begun = Instant::now();
            let next = Stored::first_of_many(self.nats, stream, from, &filters, &memory).await?;
            let Some(next) = next else { return Ok(None) };
            let (published, is_unreadable) = (next.published, next.unreadable > 0);
            from = next.sequence + 1;
            let next = next.delivery(self.nats, stream, &self.consumer_name(), 1, 1)?;
            if matches!(take(published, &next), Next::Stop) {
                return Ok(None);
            }
            done.unreadable += u64::from(is_unreadable);
            done.singly += begun.elapsed();
            if done.singly >= READING_SINGLY {
                done.until = Some(published);
                return Ok(None);
            }
        }
        Ok(Some(from))
    }

    fn filters(&self) -> Vec<String> {
        self.route.subjects.iter().map(ToString::to_string).collect()
    }

    /// Returns the name of the consumer. No route can have this name. It is always the same, so that permissions can
    /// name it.
    fn consumer_name(&self) -> String {
        format!("{}:summary", self.route.name)
    }
}

/// Reads over one connection. `reached` becomes the sequence of the last message that was passed on.
async fn read_over(
    reader: &mut Reader<'_>,
    reached: &mut u64,
    mut take: impl FnMut(Timestamp, &Delivery) -> Next,
) -> Result<(), ReadError> {
    while let Some(delivery) = reader.next().await? {
        *reached = delivery.sequence;
        if matches!(take(delivery.published, &delivery), Next::Stop) {
            break;
        }
    }
    Ok(())
}
