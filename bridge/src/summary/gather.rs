//! Reads the messages of a period back from the stream. No copy of them is kept elsewhere, which could be lost or
//! differ.

use std::ops::Range;

use async_nats::jetstream::{
    consumer::DeliverPolicy,
    stream::{RetentionPolicy, Stream},
};
use jiff::Timestamp;

use crate::{
    config::Route,
    failure::Failure,
    message::Decoded,
    nats::{Nats, offset_date_time, timestamp},
    pipeline::{Facts, Routing},
    render::Speakers,
    source::{
        Delivery, Problem, ReadError, Stored,
        beside::{Reader, Selection},
        consumer,
    },
    summary::totals::Digest,
};

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
    let review = Review { nats, route };
    let start_time = offset_date_time(period.start);
    review
        .read(DeliverPolicy::ByStartTime { start_time }, |published, message| {
            if published >= period.end {
                return Next::Stop;
            }
            if let Some(decoded) = taken(routing, message) {
                digest.add(published, message.subject(), &decoded);
            }
            Next::GoOn
        })
        .await?;
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
                let is_before = published < period.start && taken(routing, message).is_some();
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
fn taken(routing: &Routing, message: &Delivery) -> Option<Decoded> {
    let decoded = Decoded::from_bytes(message.payload());
    let facts = Facts {
        subject: message.subject(),
        headers: message.headers(),
        decoded: &decoded,
        original: message.payload(),
    };
    routing.takes(&facts).then_some(decoded)
}

/// Whether to continue reading.
enum Next {
    GoOn,
    Stop,
}

/// Reads the messages of a route back.
struct Review<'a> {
    nats: &'a Nats,
    route: &'a Route,
}

impl Review<'_> {
    /// Passes the messages of the stream from `begin` on, in order, to `take`.
    async fn read(
        &self,
        mut begin: DeliverPolicy,
        mut take: impl FnMut(Timestamp, &Delivery) -> Next,
    ) -> Result<(), Problem> {
        let (stream, name) = (&self.route.stream, self.consumer_name());
        loop {
            // A message that the client cannot read breaks the connection, so this is a separate one. That message is
            // the next one.
            let nats = self.nats.another().await.map_err(ReadError::Unconnected)?;
            let wanted =
                Selection { stream, begin, filters: self.filters(), consumer: Some(name.clone()) };
            let mut reader = Box::pin(Reader::open(&nats, wanted)).await?;
            let mut reached = reader.before();
            let read = Box::pin(read_over(&mut reader, &mut reached, &mut take)).await;
            reader.close().await;
            if !matches!(read, Err(Problem::Transient(_))) {
                return read;
            }
            let next = Stored::first(self.nats, stream, reached + 1, &self.filters()).await?;
            let Some(next) = next else { return Ok(()) };
            let next = next.delivery(self.nats, stream, &name, 1)?;
            if matches!(take(next.published, &next), Next::Stop) {
                return Ok(());
            }
            begin = DeliverPolicy::ByStartSequence { start_sequence: next.sequence + 1 };
        }
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
    reader: &mut Reader,
    reached: &mut u64,
    mut take: impl FnMut(Timestamp, &Delivery) -> Next,
) -> Result<(), Problem> {
    while let Some(delivery) = reader.next().await? {
        *reached = delivery.sequence;
        if matches!(take(delivery.published, &delivery), Next::Stop) {
            break;
        }
    }
    Ok(())
}
