//! Reads the messages of a period back from the stream. No copy of them is kept elsewhere, which could be lost or
//! differ.

use std::{ops::Range, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, ReplayPolicy, pull::Config as PullConfig},
    stream::{RetentionPolicy, Stream},
};
use jiff::Timestamp;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::{
    config::Route,
    failure::{Failure, chain},
    message::Decoded,
    nats::Nats,
    pipeline::{Facts, Routing},
    render::Speakers,
    source::{Problem, Pull, Stored, consumer},
    summary::totals::Digest,
};

/// The time without a message after which the server is asked whether any are left.
const SILENCE: Duration = Duration::from_secs(10);

/// The time after which the server removes the consumer of a bridge that was killed while reading.
const FORGET: Duration = Duration::from_mins(1);

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
    check_retention(&stream).map_err(Problem::Final)?;
    let mut digest = Digest::new(period.clone(), route.alert_scope, Speakers::of(route));
    let reader = Reader { nats, route };
    let start_time = offset(period.start)?;
    let read = reader
        .read(DeliverPolicy::ByStartTime { start_time }, |published, message| {
            if published >= period.end {
                return Next::Stop;
            }
            if let Some(decoded) = taken(routing, message) {
                digest.add(published, &message.subject, &decoded);
            }
            Next::GoOn
        })
        .await?;
    (digest.unreadable, digest.read_until) = (read.unreadable, read.until);
    let state = &stream.cached_info().state;
    let oldest = timestamp(state.first_timestamp)?;
    let has_deleted = state.messages == 0 || state.first_sequence > 1;
    digest.kept_since =
        (has_deleted && oldest > period.start && oldest < period.end).then_some(oldest);
    if digest.is_empty() {
        if timestamp(stream.cached_info().created)? >= period.end {
            return Ok(None);
        }
        reader
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
fn taken(routing: &Routing, message: &jetstream::Message) -> Option<Decoded> {
    let decoded = Decoded::from_bytes(&message.payload);
    let facts = Facts {
        subject: &message.subject,
        headers: message.headers.as_ref(),
        decoded: &decoded,
        original: &message.payload,
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

struct Reader<'a> {
    nats: &'a Nats,
    route: &'a Route,
}

impl Reader<'_> {
    /// Passes the messages of the stream from `begin` on, in order, to `take`. Where very many cannot be read by the
    /// client, it ends before the last one.
    async fn read(
        &self,
        mut begin: DeliverPolicy,
        mut take: impl FnMut(Timestamp, &jetstream::Message) -> Next,
    ) -> Result<Read, Problem> {
        let mut done = Read::default();
        for breaks in 0_u32.. {
            let mut reached = None;
            // A message that the client cannot read breaks the connection, so this is a separate one. That message is
            // the next one.
            let nats = self.nats.another().await.map_err(Problem::Passing)?;
            let read = Box::pin(self.read_over(&nats, begin, &mut reached, &mut take)).await;
            let (Err(Problem::Passing(_)), Some(reached)) = (&read, reached) else {
                read?;
                break;
            };
            let count = 1 << breaks.min(MOST_DOUBLINGS);
            let next = self.read_singly(reached + 1, count, &mut done, &mut take).await?;
            let Some(start_sequence) = next else { break };
            begin = DeliverPolicy::ByStartSequence { start_sequence };
        }
        let Read { unreadable, until, .. } = &done;
        if *unreadable > 0 {
            let (name, stream) = (&self.route.name, &self.route.stream);
            warn!(
                "summary of {name}: {unreadable} messages of stream {stream} have headers that no client can read; they \
                 are summed up without these"
            );
            if let Some(until) = until {
                warn!(
                    "summary of {name}: it ends at {until}, as reading the others would take too long"
                );
            }
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
        take: &mut impl FnMut(Timestamp, &jetstream::Message) -> Next,
    ) -> Result<Option<u64>, Problem> {
        let subjects: Vec<String> = self.route.subjects.iter().map(ToString::to_string).collect();
        let filters: Vec<&str> = subjects.iter().map(String::as_str).collect();
        for _ in 0..count {
            let begun = Instant::now();
            let next = Stored::first_of_many(self.nats, &self.route.stream, from, &filters).await?;
            let Some(next) = next else { return Ok(None) };
            let published = timestamp(next.published)?;
            let is_unreadable = next.unreadable > 0;
            from = next.sequence + 1;
            if matches!(take(published, &next.delivered(self.nats, None)), Next::Stop) {
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

    /// Reads in one attempt. `reached` is the sequence of the last message that was passed on, or of the one before the
    /// first.
    async fn read_over(
        &self,
        nats: &Nats,
        begin: DeliverPolicy,
        reached: &mut Option<u64>,
        take: impl FnMut(Timestamp, &jetstream::Message) -> Next,
    ) -> Result<(), Problem> {
        let stream = consumer::stream(nats, &self.route.stream).await?;
        let consumer = self.consumer(&stream, begin).await?;
        *reached = Some(consumer.cached_info().delivered.stream_sequence);
        let read = self.read_all(nats, &consumer, reached, take).await;
        // If the connection broke, the next attempt does this first, without waiting for this connection to come back.
        // If this fails, the server removes the consumer a minute later.
        if read.is_ok() {
            let _ = stream.delete_consumer(&self.consumer_name()).await;
        }
        read
    }

    async fn read_all(
        &self,
        nats: &Nats,
        consumer: &PullConsumer,
        reached: &mut Option<u64>,
        mut take: impl FnMut(Timestamp, &jetstream::Message) -> Next,
    ) -> Result<(), Problem> {
        if consumer.cached_info().num_pending == 0 {
            return Ok(());
        }
        let mut pull = Pull::begin(nats, consumer.clone()).await.map_err(Problem::Passing)?;
        for number in 1.. {
            let next = tokio::select! {
                biased;
                next = timeout(SILENCE, pull.next()) => next,
                () = nats.drained() => return Err(Problem::Passing("NATS: connection lost".to_owned())),
            };
            let Ok(message) = next else {
                // The remaining messages may have been deleted in the meantime.
                let info = consumer.get_info().await.map_err(|error| passing(&error))?;
                if info.num_pending == 0 && info.delivered.consumer_sequence < number {
                    return Ok(());
                }
                return Err(Problem::Passing("NATS delivers no messages".to_owned()));
            };
            let message = message.map_err(|reason| Problem::Passing(format!("NATS: {reason}")))?;
            let info = message.info().map_err(|error| {
                Problem::Passing(format!("NATS: no JetStream message: {error}"))
            })?;
            // The consumer delivers no message twice, so after a loss it has to be read again.
            if info.consumer_sequence != number {
                return Err(Problem::Passing("NATS: a message was lost on its way".to_owned()));
            }
            *reached = Some(info.stream_sequence);
            if matches!(take(timestamp(info.published)?, &message), Next::Stop) || info.pending == 0
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Creates a consumer that acknowledges nothing and that the server removes when it is unused.
    async fn consumer(
        &self,
        stream: &Stream,
        deliver_policy: DeliverPolicy,
    ) -> Result<PullConsumer, Problem> {
        let name = self.consumer_name();
        // The consumer may still exist if the process was killed while reading.
        let _ = stream.delete_consumer(&name).await;
        let mut filters: Vec<String> =
            self.route.subjects.iter().map(ToString::to_string).collect();
        // Servers before 2.10 look for a single filter in this field.
        let filter_subject = if filters.len() == 1 { filters.remove(0) } else { String::new() };
        let config = PullConfig {
            name: Some(name),
            deliver_policy,
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            filter_subject,
            filter_subjects: filters,
            inactive_threshold: FORGET,
            memory_storage: true,
            num_replicas: 1,
            ..PullConfig::default()
        };
        stream.create_consumer_strict(config).await.map_err(|error| {
            let name = self.consumer_name();
            let stream = &self.route.stream;
            Problem::Passing(format!(
                "consumer {name} on stream {stream} was not made: {}",
                chain(&error)
            ))
        })
    }

    /// Returns the name of the consumer. No route can have this name. It is always the same, so that permissions can
    /// name it.
    fn consumer_name(&self) -> String {
        format!("{}:summary", self.route.name)
    }
}

fn passing(error: &dyn std::error::Error) -> Problem {
    Problem::Passing(format!("NATS: {}", chain(error)))
}

fn timestamp(time: OffsetDateTime) -> Result<Timestamp, Problem> {
    Timestamp::from_nanosecond(time.unix_timestamp_nanos()).map_err(|error| out_of_time(&error))
}

fn offset(time: Timestamp) -> Result<OffsetDateTime, Problem> {
    OffsetDateTime::from_unix_timestamp_nanos(time.as_nanosecond())
        .map_err(|error| out_of_time(&error))
}

fn out_of_time(error: &dyn std::error::Error) -> Problem {
    Problem::Final(Failure::Bug(format!("a time that cannot be: {error}")))
}
