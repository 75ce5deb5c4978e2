//! The durable consumer of a route: creates it, compares it with the configuration, and changes it.

use std::time::Duration;

use async_nats::jetstream::{
    Error, ErrorCode,
    consumer::{
        AckPolicy, Config as ConsumerConfig, DeliverPolicy, FromConsumer, Info as ConsumerInfo,
        PullConsumer, pull::Config as PullConfig,
    },
    context::{ConsumerInfoErrorKind, GetStreamErrorKind},
    stream::{Config as StreamConfig, ConsumerErrorKind, ConsumerUpdateErrorKind, Stream},
};
use tracing::info;

use crate::{
    config::Start,
    failure::{Failure, chain},
    nats::Nats,
    source::{
        feed::Feed,
        passage::Passage,
        problem::{ClientError, Problem, ReadError},
        pull,
    },
    subject::Subject,
};

/// The status of an answer to a request that is invalid in itself.
const BAD_REQUEST: usize = 400;

/// Returns how many messages the route's consumer has, delivered or not.
pub(crate) async fn waiting(nats: &Nats, feed: &Feed) -> Option<u64> {
    let info = info(nats, feed).await?;
    Some(info.num_pending + info.num_ack_pending as u64)
}

/// Returns what the server reports about the route's consumer, if it answers.
pub(super) async fn info(nats: &Nats, feed: &Feed) -> Option<ConsumerInfo> {
    let stream = stream(nats, feed.stream()).await.ok()?;
    stream.consumer_info(feed.consumer()).await.ok()
}

/// Returns a stream by its name.
pub(crate) async fn stream(nats: &Nats, name: &str) -> Result<Stream, ReadError> {
    nats.jetstream.get_stream(name).await.map_err(|error| {
        let code = match error.kind() {
            GetStreamErrorKind::JetStream(error) => Some(error.error_code()),
            _ => None,
        };
        match code {
            Some(ErrorCode::STREAM_NOT_FOUND) => ReadError::NoStream(name.to_owned()),
            Some(
                ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
            ) => ReadError::NoJetStream,
            _ => ReadError::StreamUnknown { stream: name.to_owned(), error },
        }
    })
}

/// Returns the consumer, which is created if there is none.
///
/// `reached` is the last message that an earlier consumer has delivered, if there was one. If somebody deleted that
/// consumer, the messages published since are not lost. None is created for the live feed of a route that was removed.
pub(super) async fn find_or_make(
    stream: &Stream,
    feed: &Feed,
    reached: Option<u64>,
) -> Result<Option<(PullConsumer, ConsumerInfo)>, Problem> {
    let name = feed.consumer();
    match stream.consumer_info(name).await {
        Ok(info) => {
            usable(feed, &info)?;
            let consumer = stream.get_consumer(name).await;
            let consumer = consumer.map_err(ReadError::request)?;
            return Ok(Some((consumer, info)));
        }
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => {}
        Err(error) => {
            return Err(ReadError::ConsumerUnknown { consumer: name.to_owned(), error }.into());
        }
    }
    if feed.is_draining() && !feed.is_deferred() {
        return Ok(None);
    }
    let deliver_policy = match feed.start() {
        Start::All => feed.begin_after().map_or(DeliverPolicy::All, |before| {
            DeliverPolicy::ByStartSequence { start_sequence: before + 1 }
        }),
        // Not `DeliverPolicy::New`: outstanding messages are looked for from a sequence number on.
        Start::New => {
            let before = reached.or(feed.begin_after());
            let before = before.unwrap_or(stream.cached_info().state.last_sequence);
            DeliverPolicy::ByStartSequence { start_sequence: before + 1 }
        }
    };
    let new = PullConfig { deliver_policy, ..PullConfig::default() };
    let consumer = stream.create_consumer(wanted(feed, new)).await;
    let consumer = consumer.map_err(|error| {
        let answer = match error.kind() {
            ConsumerErrorKind::JetStream(answer) => Some(answer),
            _ => None,
        };
        refused(feed, "made", error.into(), answer)
    })?;
    info!("made durable consumer {name} on stream {}", feed.stream());
    let info = consumer.cached_info().clone();
    Ok(Some((consumer, info)))
}

/// Brings a consumer in line with the configuration, but not while messages are outstanding: these are found by the
/// filters that the consumer had when they were delivered.
pub(super) async fn adjust(
    stream: &Stream,
    feed: &Feed,
    info: &ConsumerInfo,
) -> Result<(), Problem> {
    let present = usable(feed, info)?;
    let wanted = wanted(feed, present.clone());
    if wanted == present {
        return Ok(());
    }
    let name = feed.consumer();
    for line in differences(&present, &wanted) {
        info!("changing durable consumer {name}: {line}");
    }
    if lacks(feed, info) {
        let until = feed.passage().map_or(0, Passage::until);
        info!(
            "messages on the added subjects that were stored before message {} are not shown; a route with \
             another name would show them",
            info.delivered.stream_sequence.max(until) + 1
        );
    }
    let changed = stream.update_consumer(wanted).await;
    changed.map(drop).map_err(|error| {
        let answer = match error.kind() {
            ConsumerUpdateErrorKind::JetStream(answer) => Some(answer),
            _ => None,
        };
        refused(feed, "changed", error.into(), answer)
    })
}

/// Whether the feed has a filter that the consumer does not have yet.
pub(super) fn lacks(feed: &Feed, info: &ConsumerInfo) -> bool {
    let present = filters(&info.config);
    let present: Vec<_> = present.into_iter().filter_map(|it| Subject::filter(it).ok()).collect();
    feed.subjects().iter().any(|subject| !present.iter().any(|present| present.covers(subject)))
}

/// Returns the configuration of an existing consumer, if the bridge can work with a consumer of its kind.
///
/// # Errors
///
/// The differences that the server cannot remove, and what to do.
pub(crate) fn usable(feed: &Feed, info: &ConsumerInfo) -> Result<PullConfig, Failure> {
    let name = feed.consumer();
    let unusable = |difference: &str| {
        Failure::Config(format!(
            "route {name}: stream {stream} already has a consumer \"{name}\" that {difference}, which cannot be changed: \
             delete it (nats consumer rm {stream} {name}) or give the route another name",
            stream = feed.stream()
        ))
    };
    let config = PullConfig::try_from_consumer_config(info.config.clone())
        .map_err(|_| unusable("pushes to a subject instead of being pulled from"))?;
    if config.ack_policy != AckPolicy::Explicit {
        return Err(unusable("does not expect each message to be acknowledged"));
    }
    if config.durable_name.is_none() {
        return Err(unusable("is not durable"));
    }
    Ok(config)
}

/// Returns the configuration that a consumer is to have. Settings of `base` that do not matter to the bridge are kept,
/// including where the consumer began, which cannot be changed.
pub(crate) fn wanted(feed: &Feed, base: PullConfig) -> PullConfig {
    let (filter_subject, filter_subjects) = filter_fields(feed.filters());
    PullConfig {
        durable_name: Some(feed.consumer().to_owned()),
        name: Some(feed.consumer().to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        backoff: Vec::new(),
        // Deliveries are never given up: a message is done with when it is posted or a dead letter.
        max_deliver: -1,
        filter_subject,
        filter_subjects,
        max_ack_pending: i64::try_from(MAX_ACK_PENDING).expect("64 is small"),
        headers_only: false,
        // Limits below what the bridge asks for would refuse every request.
        max_batch: 0,
        max_bytes: 0,
        max_expires: Duration::ZERO,
        ..base
    }
}

/// Returns the fields `filter_subject` and `filter_subjects` of a consumer. Servers before 2.10 only know a single
/// filter, in the first of them.
pub(super) fn filter_fields(mut filters: Vec<String>) -> (String, Vec<String>) {
    let single = if filters.len() == 1 { filters.remove(0) } else { String::new() };
    (single, filters)
}

/// Returns the filter subjects of a consumer.
pub(super) fn filters(config: &ConsumerConfig) -> Vec<&str> {
    match config.filter_subject.as_str() {
        "" if config.filter_subjects.is_empty() => vec![">"],
        "" => config.filter_subjects.iter().map(String::as_str).collect(),
        one => vec![one],
    }
}

/// Describes what is about to change.
pub(crate) fn differences(present: &PullConfig, wanted: &PullConfig) -> Vec<String> {
    let filters = |config: &PullConfig| match config.filter_subject.as_str() {
        "" if config.filter_subjects.is_empty() => "everything".to_owned(),
        "" => config.filter_subjects.join(", "),
        one => one.to_owned(),
    };
    let pairs = [
        ("subjects", filters(present), filters(wanted)),
        ("ack_wait", format!("{:?}", present.ack_wait), format!("{:?}", wanted.ack_wait)),
        (
            "max_ack_pending",
            present.max_ack_pending.to_string(),
            wanted.max_ack_pending.to_string(),
        ),
        ("max_deliver", present.max_deliver.to_string(), wanted.max_deliver.to_string()),
        ("backoff", format!("{:?}", present.backoff), format!("{:?}", wanted.backoff)),
        ("headers_only", present.headers_only.to_string(), wanted.headers_only.to_string()),
        ("max_batch", present.max_batch.to_string(), wanted.max_batch.to_string()),
        ("max_bytes", present.max_bytes.to_string(), wanted.max_bytes.to_string()),
        ("max_expires", format!("{:?}", present.max_expires), format!("{:?}", wanted.max_expires)),
    ];
    pairs
        .into_iter()
        .filter(|(_, present, wanted)| present != wanted)
        .map(|(key, present, wanted)| format!("{key} from {present} to {wanted}"))
        .collect()
}

/// Explains why a consumer was not `done` ("made" or "changed"). A server that finds the request invalid, as with a
/// stream of the retention `workqueue` that has another consumer for the same subjects, refuses it each time.
fn refused(feed: &Feed, done: &'static str, error: ClientError, answer: Option<Error>) -> Problem {
    let (consumer, stream) = (feed.consumer().to_owned(), feed.stream().to_owned());
    let refused = ReadError::ConsumerRefused { consumer, stream, done, error };
    match answer {
        Some(answer) if answer.code() == BAD_REQUEST => {
            Problem::Permanent(Failure::Config(format!(
                "route {}: {}: change the route, or the stream with its other consumers (nats consumer ls {})",
                feed.consumer(),
                chain(&refused),
                feed.stream()
            )))
        }
        _ => refused.into(),
    }
}

/// Returns one line for each filter of the route that nothing in the stream can match.
pub(crate) fn unmatched(feed: &Feed, stream: &StreamConfig) -> Vec<String> {
    // A mirror, and a stream with sources, holds messages on the subjects of other streams.
    if stream.mirror.is_some() || stream.sources.as_ref().is_some_and(|sources| !sources.is_empty())
    {
        return Vec::new();
    }
    let Some(stored) = stored_subjects(stream) else { return Vec::new() };
    let is_stored = |subject: &Subject| stored.iter().any(|stored| stored.overlaps(subject));
    let unmatched = feed.subjects().iter().filter(|subject| !is_stored(subject));
    unmatched
        .map(|subject| {
            format!(
                "subject \"{subject}\" can never match: stream {} takes {}; correct `subjects` of the route or of the stream",
                stream.name,
                taken(stream)
            )
        })
        .collect()
}

/// Returns the subjects that a stream takes, and what it makes of them, in words.
pub(crate) fn taken(stream: &StreamConfig) -> String {
    let subjects = stream.subjects.join(", ");
    match &stream.subject_transform {
        Some(transform) => {
            let source = if transform.source.is_empty() { ">" } else { &transform.source };
            format!("{subjects} and stores {source} as {}", transform.destination)
        }
        None => subjects,
    }
}

/// Returns filters for the subjects under which a stream stores what it takes. `None` if they are not known.
fn stored_subjects(stream: &StreamConfig) -> Option<Vec<Subject>> {
    let mut stored: Vec<Subject> =
        stream.subjects.iter().filter_map(|subject| Subject::filter(subject).ok()).collect();
    let Some(transform) = &stream.subject_transform else { return Some(stored) };
    let source = if transform.source.is_empty() { ">" } else { &transform.source };
    let source = Subject::filter(source).ok()?;
    let is_transformed = stored.iter().any(|taken| taken.overlaps(&source));
    stored.retain(|taken| !source.covers(taken));
    if is_transformed {
        stored.push(Subject::of_destination(&transform.destination)?);
    }
    Some(stored)
}

/// The number of messages that may be delivered and not yet acknowledged.
pub(crate) const MAX_ACK_PENDING: usize = pull::BATCH;

/// The time after which JetStream delivers again what was not acknowledged.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);
