//! The durable consumer of a route: creates it, compares it with the configuration, and changes it.

use std::time::Duration;

use async_nats::jetstream::{
    Error, ErrorCode,
    consumer::{
        AckPolicy, Config as ConsumerConfig, DeliverPolicy, FromConsumer, Info as ConsumerInfo,
        PriorityPolicy, PullConsumer, pull::Config as PullConfig,
    },
    context::{ConsumerInfoErrorKind, GetStreamErrorKind},
    stream::{
        Config as StreamConfig, ConsumerErrorKind, ConsumerLimits, ConsumerUpdateErrorKind, Stream,
    },
};
use jiff::SignedDuration;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    config::Start,
    failure::{Failure, chain},
    nats::Nats,
    reserved::BUCKET,
    source::{
        feed::Feed,
        identity::{self, Owner},
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
    Some(unsettled(&info(nats, feed).await?))
}

/// Returns how many messages a consumer has, delivered or not, that are not acknowledged.
pub(crate) fn unsettled(info: &ConsumerInfo) -> u64 {
    info.num_pending + info.num_ack_pending as u64
}

/// Returns what the server reports about the route's consumer, if there is one and the server answers.
pub(super) async fn info(nats: &Nats, feed: &Feed) -> Option<ConsumerInfo> {
    let stream = nats.jetstream.get_stream_no_info(feed.stream()).await.ok()?;
    find(nats, &stream, feed).await.ok()?
}

/// Finds the consumer of a feed: the one with the name that the bridge gives it, or else one of ours with an earlier
/// name. Returns `None` if there is none yet.
pub(crate) async fn find<I>(
    nats: &Nats,
    stream: &Stream<I>,
    feed: &Feed,
) -> Result<Option<ConsumerInfo>, ReadError> {
    if let Some(name) = feed.found() {
        match ask(nats, stream, feed, &name).await? {
            Asked::Found(info) => return Ok(Some(*info)),
            Asked::NotFound => feed.note_found(None),
            Asked::Denied(reason) => return Err(denied(feed, &name, reason)),
        }
    }
    let names = identity::names(nats, feed).await?;
    feed.note_own(&names.own);
    let own = ask(nats, stream, feed, &names.own).await?;
    if let Asked::Found(info) = own {
        feed.note_found(Some(&info.name));
        return Ok(Some(*info));
    }
    for name in &names.earlier {
        if let Asked::Found(info) = ask(nats, stream, feed, name).await?
            && is_ours(feed, &info)
        {
            feed.note_found(Some(name));
            return Ok(Some(*info));
        }
    }
    match own {
        Asked::Denied(reason) => Err(denied(feed, &names.own, reason)),
        _ => Ok(None),
    }
}

/// The server's answer about a consumer.
enum Asked {
    Found(Box<ConsumerInfo>),
    NotFound,
    /// The server does not let the bridge ask, and said this.
    Denied(String),
}

async fn ask<I>(
    nats: &Nats,
    stream: &Stream<I>,
    feed: &Feed,
    name: &str,
) -> Result<Asked, ReadError> {
    // The quotation mark behind it is the server's: other names may begin with this one.
    let subject = format!("CONSUMER.INFO.{}.{name}\"", feed.stream());
    let subjects = [subject.as_str()];
    let answer = tokio::select! {
        biased;
        reason = nats.denies(&subjects) => return Ok(Asked::Denied(reason)),
        answer = stream.consumer_info(name) => answer,
    };
    match answer {
        Ok(info) => Ok(Asked::Found(Box::new(info))),
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => {
            Ok(Asked::NotFound)
        }
        Err(error) => {
            let (consumer, stream) = (name.to_owned(), feed.stream().to_owned());
            Err(ReadError::ConsumerUnknown { consumer, stream, error })
        }
    }
}

fn denied(feed: &Feed, name: &str, reason: String) -> ReadError {
    let (consumer, stream) = (name.to_owned(), feed.stream().to_owned());
    ReadError::ConsumerDenied { consumer, stream, reason }
}

/// Whether a consumer with the name of the route is ours. It is if its metadata say so, or if they name nobody and it is
/// of the kind that older versions of the bridge have made.
fn is_ours(feed: &Feed, info: &ConsumerInfo) -> bool {
    let overlaps = |filter: &&str| {
        let filter = Subject::filter(filter).ok();
        filter.is_some_and(|filter| feed.subjects().iter().any(|own| own.overlaps(&filter)))
    };
    match Owner::of(info) {
        Some(owner) => owner.is(feed),
        None => usable(feed, info).is_ok() && filters(&info.config).iter().any(overlaps),
    }
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

/// Returns the consumer, which is created if there is none, and whether it was.
///
/// If an earlier one was there and somebody deleted it, the messages published since are not lost. `settled` is set to
/// what the server has made of the configuration of a new one. None is created for the live feed of a route that was
/// removed.
pub(super) async fn find_or_make(
    nats: &Nats,
    stream: &Stream,
    feed: &Feed,
    resume: Resume,
    settled: &mut Option<PullConfig>,
) -> Result<Option<(PullConsumer, ConsumerInfo, bool)>, Problem> {
    if let Some(info) = find(nats, stream, feed).await? {
        let config = usable(feed, &info)?;
        let consumer = PullConsumer::new(config, info.clone(), nats.jetstream.clone());
        return Ok(Some((consumer, info, false)));
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
            let resume = match feed.begin_after() {
                Some(before) if matches!(resume, Resume::Begin) => Resume::After(before),
                _ => resume,
            };
            let last = stream.cached_info().state.last_sequence;
            DeliverPolicy::ByStartSequence { start_sequence: resume.after(feed, last)? + 1 }
        }
    };
    let name = identity::names(nats, feed).await?.own;
    let consumer = make(stream, feed, &name, deliver_policy).await?;
    let info = consumer.cached_info().clone();
    *settled = settings(&consumer);
    Ok(Some((consumer, info, true)))
}

/// Where a consumer begins that is created for a route with `start = "new"`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resume {
    /// After this message, as the route has begun before.
    After(u64),
    /// With what is published from now on.
    Begin,
    /// It is not known whether the route has begun before.
    Unknown,
}

impl Resume {
    /// Returns the number of the message after which the consumer begins. `last` is the last one of the stream.
    fn after(self, feed: &Feed, last: u64) -> Result<u64, ReadError> {
        let (route, stream) = (&feed.route.name, feed.stream());
        match self {
            Self::Begin => Ok(last),
            Self::After(reached) if reached <= last => {
                info!(
                    "route {route} has begun before: it goes on after message {reached} of stream {stream}"
                );
                Ok(reached)
            }
            Self::After(reached) => {
                warn!(
                    "stream {stream} ends with message {last}, and route {route} was at message {reached} already: the stream \
                     has lost messages; starting with its first message"
                );
                Ok(0)
            }
            Self::Unknown => Err(ReadError::CheckpointUnknown(route.clone())),
        }
    }
}

/// Whether a consumer has delivered messages that its stream does not have yet, as when the server that kept the stream
/// has lost them. New messages would not be delivered before their numbers reach those.
pub(super) async fn is_ahead(
    nats: &Nats,
    stream: &Stream,
    info: &ConsumerInfo,
) -> Result<bool, ReadError> {
    let delivered = info.delivered.stream_sequence;
    if delivered <= stream.cached_info().state.last_sequence {
        return Ok(false);
    }
    // The stream was asked before the consumer, and a leader of the stream that was just chosen may lag behind.
    for pause in [Duration::ZERO, SETTLED, 2 * SETTLED] {
        sleep(pause).await;
        let now = self::stream(nats, &info.stream_name).await?;
        if delivered <= now.cached_info().state.last_sequence {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Replaces a consumer that is ahead of its stream.
pub(super) async fn begin_anew(
    stream: &Stream,
    feed: &Feed,
    info: &ConsumerInfo,
    settled: &mut Option<PullConfig>,
) -> Result<(PullConsumer, ConsumerInfo), Problem> {
    let name = &info.name;
    warn!(
        "durable consumer {name} was at message {} of stream {}, which does not have it any more: the stream has lost \
         messages; starting with its first message",
        info.delivered.stream_sequence, info.stream_name
    );
    delete(stream, name).await?;
    let consumer = make(stream, feed, name, DeliverPolicy::All).await?;
    let info = consumer.cached_info().clone();
    *settled = settings(&consumer);
    Ok((consumer, info))
}

/// Deletes a consumer.
pub(super) async fn delete(stream: &Stream, name: &str) -> Result<(), ReadError> {
    let deleted = stream.delete_consumer(name).await;
    deleted.map(drop).map_err(|error| {
        let stream = stream.cached_info().config.name.clone();
        ReadError::ConsumerNotDeleted { consumer: name.to_owned(), stream, error: error.into() }
    })
}

/// Creates the consumer of a feed.
pub(super) async fn make(
    stream: &Stream,
    feed: &Feed,
    name: &str,
    deliver_policy: DeliverPolicy,
) -> Result<PullConsumer, Problem> {
    let new = PullConfig { deliver_policy, ..PullConfig::default() };
    let new = wanted(feed, name, &stream.cached_info().config, new);
    let mut made = stream.create_consumer(new.clone()).await;
    if let Err(error) = &made
        && let ConsumerErrorKind::JetStream(answer) = error.kind()
        && is_about_pending(&answer)
    {
        // The account has a limit, and the server chooses it if nothing else is asked for.
        made = stream.create_consumer(PullConfig { max_ack_pending: 0, ..new }).await;
    }
    let consumer = made.map_err(|error| {
        let answer = match error.kind() {
            ConsumerErrorKind::JetStream(answer) => Some(answer),
            _ => None,
        };
        refused(feed, name, "made", error.into(), answer)
    })?;
    info!("made durable consumer {name} on stream {}", feed.stream());
    feed.note_found(Some(name));
    Ok(consumer)
}

/// Notes in the metadata of a consumer whose it is.
pub(super) async fn note_owner(
    stream: &Stream,
    feed: &Feed,
    info: &ConsumerInfo,
) -> Result<(), Problem> {
    let mut config = usable(feed, info)?;
    identity::note_owner(feed, &mut config.metadata);
    update(stream, feed, &info.name, config).await.map(drop)
}

async fn update(
    stream: &Stream,
    feed: &Feed,
    name: &str,
    config: PullConfig,
) -> Result<PullConsumer, Problem> {
    let mut changed = stream.update_consumer(config.clone()).await;
    if let Err(error) = &changed
        && let ConsumerUpdateErrorKind::JetStream(answer) = error.kind()
        && is_about_pending(&answer)
    {
        // The account has a limit, and the server chooses it if nothing else is asked for.
        changed = stream.update_consumer(PullConfig { max_ack_pending: 0, ..config }).await;
    }
    changed.map_err(|error| {
        let answer = match error.kind() {
            ConsumerUpdateErrorKind::JetStream(answer) => Some(answer),
            _ => None,
        };
        refused(feed, name, "changed", error.into(), answer)
    })
}

/// Whether the server refuses a number of messages that may be delivered and not yet acknowledged.
fn is_about_pending(answer: &Error) -> bool {
    answer.error_code() == ErrorCode::CONSUMER_MAX_PENDING_ACK_EXCESS
}

/// Logs how to rename a consumer whose name other sites may have, too.
pub(super) fn suggest_move(feed: &Feed, info: &ConsumerInfo) {
    if feed.declared_consumer().is_none() && info.name == feed.route.name.as_str() {
        warn!(
            "durable consumer {name} on stream {stream} has the name of its route: a bridge behind a leaf node with the \
             same names would acknowledge its messages. To rename it, run nats-matrix consumers move --route {name}",
            name = info.name,
            stream = feed.stream()
        );
    }
}

/// Brings a consumer in line with the configuration, but not while messages are outstanding: these are found by the
/// filters that the consumer had when they were delivered.
///
/// Returns the consumer if it was changed. `settled` is what the server has made of the same configuration before: it
/// may have limits of its own.
pub(super) async fn adjust(
    stream: &Stream,
    feed: &Feed,
    info: &ConsumerInfo,
    settled: &mut Option<PullConfig>,
) -> Result<Option<PullConsumer>, Problem> {
    let present = usable(feed, info)?;
    let stream_config = &stream.cached_info().config;
    let wanted = wanted(feed, &info.name, stream_config, present.clone());
    if wanted == present || settled.as_ref() == Some(&present) {
        *settled = Some(present);
        return Ok(None);
    }
    let name = &info.name;
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
    let changed = update(stream, feed, name, wanted).await?;
    *settled = settings(&changed);
    Ok(Some(changed))
}

/// Returns what the server has made of the configuration of a consumer that was just made or changed.
fn settings(consumer: &PullConsumer) -> Option<PullConfig> {
    PullConfig::try_from_consumer_config(consumer.cached_info().config.clone()).ok()
}

/// Describes how a consumer differs from what the server has made of the wanted configuration before, or from the
/// wanted one.
pub(super) fn changes(
    feed: &Feed,
    stream: &StreamConfig,
    info: &ConsumerInfo,
    settled: Option<&PullConfig>,
) -> Vec<String> {
    // A consumer that is of no use any more is refused when its messages are asked for again.
    let Ok(present) = usable(feed, info) else { return vec!["it is of no use".to_owned()] };
    let wanted = wanted(feed, &info.name, stream, present.clone());
    match settled {
        _ if wanted == present => Vec::new(),
        Some(settled) => differences(settled, &present),
        None => differences(&wanted, &present),
    }
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
    let (route, name, stream) = (&feed.route.name, &info.name, feed.stream());
    let unusable = |difference: &str| {
        Failure::Config(format!(
            "route {route}: stream {stream} already has a consumer \"{name}\" that {difference}, which cannot be changed: \
             delete it (nats consumer rm {stream} {name}) or name another one with `consumer` of the route"
        ))
    };
    if let Some(owner) = Owner::of(info).filter(|owner| owner.user != feed.user().as_str()) {
        let Owner { user, route: its_route } = owner;
        return Err(Failure::Config(format!(
            "route {route}: consumer \"{name}\" on stream {stream} belongs to the bridge {user} (its route {its_route}), and \
             of two bridges each would get a part: name another one with `consumer` of the route, or, if that bridge is \
             no more, delete it (nats consumer rm {stream} {name})"
        )));
    }
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
///
/// Limits that the stream sets for its consumers are kept to.
pub(crate) fn wanted(
    feed: &Feed,
    name: &str,
    stream: &StreamConfig,
    base: PullConfig,
) -> PullConfig {
    let (filter_subject, filter_subjects) = filter_fields(feed.filters());
    let limits = limits(stream);
    let mut metadata = base.metadata.clone();
    identity::note_owner(feed, &mut metadata);
    PullConfig {
        durable_name: Some(name.to_owned()),
        name: Some(name.to_owned()),
        metadata,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        backoff: Vec::new(),
        // Deliveries are never given up: a message is done with when it is posted or a dead letter.
        max_deliver: -1,
        filter_subject,
        filter_subjects,
        max_ack_pending: limits.max_ack_pending,
        headers_only: false,
        // The server is not to remove the consumer of a bridge that is away.
        inactive_threshold: limits.inactive_threshold,
        // Limits below what the bridge asks for would refuse every request.
        max_batch: 0,
        max_bytes: 0,
        max_expires: Duration::ZERO,
        // Requests without a group would be refused.
        priority_policy: PriorityPolicy::None,
        priority_groups: Vec::new(),
        priority_timeout: Duration::ZERO,
        ..base
    }
}

/// Returns the fields `filter_subject` and `filter_subjects` of a consumer. Servers before 2.10 only know a single
/// filter, in the first of them.
pub(super) fn filter_fields(mut filters: Vec<String>) -> (String, Vec<String>) {
    let single = if filters.len() == 1 { filters.remove(0) } else { String::new() };
    (single, filters)
}

/// Returns what a stream permits of that which the bridge would like to have.
pub(crate) fn limits(stream: &StreamConfig) -> ConsumerLimits {
    let limits = stream.consumer_limits.clone().unwrap_or_default();
    let most = i64::try_from(MAX_ACK_PENDING).unwrap_or(i64::MAX);
    let max_ack_pending = match limits.max_ack_pending {
        limit if limit > 0 => limit.min(most),
        _ => most,
    };
    ConsumerLimits { max_ack_pending, ..limits }
}

/// Returns a line that says that the server removes the consumer of a bridge that is away for long, if it does.
pub(crate) fn removal(stream: &StreamConfig) -> Option<String> {
    let threshold = limits(stream).inactive_threshold;
    let threshold = SignedDuration::try_from(threshold).ok().filter(|it| !it.is_zero())?;
    Some(format!(
        "stream {name} removes the consumer {threshold:#} after the bridge last read from it, by `inactive_threshold` in its \
         consumer limits; the route then goes on from where it was by the bucket {BUCKET}; better lift that limit",
        name = stream.name
    ))
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
        (
            "inactive_threshold",
            format!("{:?}", present.inactive_threshold),
            format!("{:?}", wanted.inactive_threshold),
        ),
        ("headers_only", present.headers_only.to_string(), wanted.headers_only.to_string()),
        ("max_batch", present.max_batch.to_string(), wanted.max_batch.to_string()),
        ("max_bytes", present.max_bytes.to_string(), wanted.max_bytes.to_string()),
        ("max_expires", format!("{:?}", present.max_expires), format!("{:?}", wanted.max_expires)),
        (
            "priority_groups",
            format!("{:?}", present.priority_groups),
            format!("{:?}", wanted.priority_groups),
        ),
    ];
    pairs
        .into_iter()
        .filter(|(_, present, wanted)| present != wanted)
        .map(|(key, present, wanted)| format!("{key} from {present} to {wanted}"))
        .collect()
}

/// Explains why a consumer was not `done` ("made" or "changed"). A server that finds the request invalid, as with a
/// stream of the retention `workqueue` that has another consumer for the same subjects, refuses it each time.
fn refused(
    feed: &Feed,
    name: &str,
    done: &'static str,
    error: ClientError,
    answer: Option<Error>,
) -> Problem {
    let (route, stream) = (&feed.route.name, feed.stream());
    let (consumer, stream_name) = (name.to_owned(), stream.to_owned());
    let refused = ReadError::ConsumerRefused { consumer, stream: stream_name, done, error };
    match answer {
        Some(answer) if answer.code() == BAD_REQUEST => {
            Problem::Permanent(Failure::Config(format!(
                "route {route}: {}: change the route, or the stream with its other consumers (nats consumer ls {stream})",
                chain(&refused)
            )))
        }
        _ => refused.into(),
    }
}

/// Returns one line for each filter of a route that nothing in the stream can match.
pub(crate) fn unmatched(subjects: &[Subject], stream: &StreamConfig) -> Vec<String> {
    // A mirror, and a stream with sources, holds messages on the subjects of other streams.
    if stream.mirror.is_some() || stream.sources.as_ref().is_some_and(|sources| !sources.is_empty())
    {
        return Vec::new();
    }
    let Some(stored) = stored_subjects(stream) else { return Vec::new() };
    let is_stored = |subject: &Subject| stored.iter().any(|stored| stored.overlaps(subject));
    let unmatched = subjects.iter().filter(|subject| !is_stored(subject));
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

/// The time after which a stream that is still behind its consumer has lost messages.
const SETTLED: Duration = Duration::from_secs(2);

/// The number of messages that may be delivered and not yet acknowledged.
pub(crate) const MAX_ACK_PENDING: usize = pull::BATCH;

/// The time after which JetStream delivers again what was not acknowledged.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);
