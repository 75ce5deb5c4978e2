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
use tokio::time::timeout;

use crate::{
    config::Route,
    failure::{Failure, chain},
    message::Decoded,
    nats::{Allowance, Nats},
    pipeline::{Facts, Routing},
    render::Speakers,
    source::{Problem, Pull, Stored, consumer, stored},
    summary::totals::Digest,
};

/// The time without a message after which the server is asked whether any are left.
const SILENCE: Duration = Duration::from_secs(10);

/// The time after which the server removes the consumer of a bridge that was killed while reading.
const FORGET: Duration = Duration::from_mins(1);

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
    let _permit = nats.memory.reader().await;
    let start_time = offset(period.start)?;
    reader
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

struct Reader<'a> {
    nats: &'a Nats,
    route: &'a Route,
}

impl Reader<'_> {
    /// Passes the messages of the stream from `begin` on, in order, to `take`.
    async fn read(
        &self,
        mut begin: DeliverPolicy,
        mut take: impl FnMut(Timestamp, &jetstream::Message) -> Next,
    ) -> Result<(), Problem> {
        loop {
            let mut reached = None;
            // A message that the client cannot read breaks the connection, so this is a separate one. That message is
            // the next one.
            let nats = self.nats.another().await.map_err(Problem::Passing)?;
            let read = Box::pin(self.read_over(&nats, begin, &mut reached, &mut take)).await;
            let (Err(Problem::Passing(_)), Some(reached)) = (&read, reached) else { return read };
            let subjects: Vec<String> =
                self.route.subjects.iter().map(ToString::to_string).collect();
            let filters: Vec<&str> = subjects.iter().map(String::as_str).collect();
            let stream = &self.route.stream;
            let memory = self.nats.memory.queue(stored::need(self.nats)).reservation(None).await;
            let next = Stored::first(self.nats, stream, reached + 1, &filters, &memory).await?;
            let Some(next) = next else { return Ok(()) };
            let (sequence, published) = (next.sequence, timestamp(next.published)?);
            if matches!(take(published, &next.delivered(self.nats, None)), Next::Stop) {
                return Ok(());
            }
            begin = DeliverPolicy::ByStartSequence { start_sequence: sequence + 1 };
        }
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
        // If this fails, the server removes the consumer a minute later.
        let _ = stream.delete_consumer(&self.consumer_name()).await;
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
        let memory = Allowance::Each(nats.memory.clone(), None);
        let pull = Pull::begin(nats, consumer.clone(), memory).await;
        let mut pull = pull.map_err(Problem::Passing)?;
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
