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
use tracing::{info, warn};

use crate::{
    config::Start,
    failure::{Failure, chain},
    nats::Nats,
    source::{
        feed::Feed,
        identity::{self, Names, Owner},
        problem::Problem,
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

/// Returns what the server reports about the route's consumer, if there is one and the server answers.
pub(super) async fn info(nats: &Nats, feed: &Feed) -> Option<ConsumerInfo> {
    let stream = stream(nats, feed.stream()).await.ok()?;
    find(nats, &stream, feed).await.ok()?
}

/// Finds the consumer of a feed: the one with the name that the bridge gives it, or else one of ours with an earlier
/// name. Returns `None` if there is none yet.
pub(crate) async fn find(
    nats: &Nats,
    stream: &Stream,
    feed: &Feed,
) -> Result<Option<ConsumerInfo>, Problem> {
    if let Some(name) = feed.found() {
        match ask(nats, stream, feed, &name).await? {
            Asked::Found(info) => return Ok(Some(*info)),
            Asked::NotFound => feed.note_found(None),
            Asked::Denied(reason) => return Err(denied(feed, &name, &reason)),
        }
    }
    let names = Names::of(feed, &identity::domain(nats, feed).await?);
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
        Asked::Denied(reason) => Err(denied(feed, &names.own, &reason)),
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

async fn ask(nats: &Nats, stream: &Stream, feed: &Feed, name: &str) -> Result<Asked, Problem> {
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
        Err(error) => Err(Problem::Passing(format!(
            "no answer about consumer {name} on stream {}: {}",
            feed.stream(),
            chain(&error)
        ))),
    }
}

fn denied(feed: &Feed, name: &str, reason: &str) -> Problem {
    let stream = feed.stream();
    Problem::Passing(format!(
        "NATS does not let us ask about consumer {name} on stream {stream} ({reason}): permit the user under [nats] \
         what the README says for this name, or name another one with `consumer` of the route"
    ))
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
pub(crate) async fn stream(nats: &Nats, name: &str) -> Result<Stream, Problem> {
    nats.jetstream.get_stream(name).await.map_err(|error| {
        let code = match error.kind() {
            GetStreamErrorKind::JetStream(error) => Some(error.error_code()),
            _ => None,
        };
        Problem::Passing(match code {
            Some(ErrorCode::STREAM_NOT_FOUND) => format!(
                "stream {name} does not exist on this NATS server: create it, or correct `stream` of the route"
            ),
            Some(ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT) => {
                "JetStream is not enabled on this NATS server, or not for our account: enable it".to_owned()
            }
            _ => format!("no answer about stream {name}: {}", chain(&error)),
        })
    })
}

/// Returns the consumer, which is created if there is none.
///
/// `reached` is the last message that an earlier consumer has delivered, if there was one. If somebody deleted that
/// consumer, the messages published since are not lost.
pub(super) async fn find_or_make(
    nats: &Nats,
    stream: &Stream,
    feed: &Feed,
    reached: Option<u64>,
) -> Result<(PullConsumer, ConsumerInfo), Problem> {
    if let Some(info) = find(nats, stream, feed).await? {
        usable(feed, &info).map_err(Problem::Final)?;
        let consumer = stream.get_consumer(&info.name).await;
        let consumer = consumer.map_err(|error| Problem::Passing(error.to_string()))?;
        return Ok((consumer, info));
    }
    let deliver_policy = match feed.start() {
        Start::All => DeliverPolicy::All,
        // Not `DeliverPolicy::New`: outstanding messages are looked for from a sequence number on.
        Start::New => {
            let before = reached.unwrap_or(stream.cached_info().state.last_sequence);
            DeliverPolicy::ByStartSequence { start_sequence: before + 1 }
        }
    };
    let name = Names::of(feed, &identity::domain(nats, feed).await?).own;
    let consumer = make(stream, feed, &name, deliver_policy).await?;
    let info = consumer.cached_info().clone();
    Ok((consumer, info))
}

/// Creates the consumer of a feed.
pub(super) async fn make(
    stream: &Stream,
    feed: &Feed,
    name: &str,
    deliver_policy: DeliverPolicy,
) -> Result<PullConsumer, Problem> {
    let new = PullConfig { deliver_policy, ..PullConfig::default() };
    let consumer = stream.create_consumer(wanted(feed, name, new)).await;
    let consumer = consumer.map_err(|error| {
        let answer = match error.kind() {
            ConsumerErrorKind::JetStream(answer) => Some(answer),
            _ => None,
        };
        refused(feed, name, "made", &chain(&error), answer)
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
    let mut config = usable(feed, info).map_err(Problem::Final)?;
    identity::note_owner(feed, &mut config.metadata);
    update(stream, feed, &info.name, config).await
}

async fn update(
    stream: &Stream,
    feed: &Feed,
    name: &str,
    config: PullConfig,
) -> Result<(), Problem> {
    let changed = stream.update_consumer(config).await;
    changed.map(drop).map_err(|error| {
        let answer = match error.kind() {
            ConsumerUpdateErrorKind::JetStream(answer) => Some(answer),
            _ => None,
        };
        refused(feed, name, "changed", &chain(&error), answer)
    })
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
pub(super) async fn adjust(
    stream: &Stream,
    feed: &Feed,
    info: &ConsumerInfo,
) -> Result<(), Problem> {
    let present = usable(feed, info).map_err(Problem::Final)?;
    let wanted = wanted(feed, &info.name, present.clone());
    if wanted == present {
        return Ok(());
    }
    let name = &info.name;
    for line in differences(&present, &wanted) {
        info!("changing durable consumer {name}: {line}");
    }
    let filters =
        |config: &PullConfig| (config.filter_subject.clone(), config.filter_subjects.clone());
    if filters(&present) != filters(&wanted) {
        info!(
            "messages on the added subjects that were stored before message {} are not shown; a route with \
             another name would show them",
            info.delivered.stream_sequence + 1
        );
    }
    update(stream, feed, name, wanted).await
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
pub(crate) fn wanted(feed: &Feed, name: &str, base: PullConfig) -> PullConfig {
    let mut filters: Vec<String> = feed.subjects().iter().map(ToString::to_string).collect();
    // Servers before 2.10 only know a single filter, in this field.
    let filter_subject = if filters.len() == 1 { filters.remove(0) } else { String::new() };
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
        filter_subjects: filters,
        max_ack_pending: i64::try_from(MAX_ACK_PENDING).expect("64 is small"),
        headers_only: false,
        // Limits below what the bridge asks for would refuse every request.
        max_batch: 0,
        max_bytes: 0,
        max_expires: Duration::ZERO,
        ..base
    }
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
fn refused(feed: &Feed, name: &str, done: &str, reason: &str, answer: Option<Error>) -> Problem {
    let (route, stream) = (&feed.route.name, feed.stream());
    let what = format!("consumer {name} on stream {stream} was not {done}: {reason}");
    match answer {
        Some(answer) if answer.code() == BAD_REQUEST => Problem::Final(Failure::Config(format!(
            "route {route}: {what}: change the route, or the stream with its other consumers (nats consumer ls {stream})"
        ))),
        _ => Problem::Passing(what),
    }
}

/// Returns one line for each filter of a route that nothing in the stream can match.
pub(crate) fn unmatched(subjects: &[Subject], stream: &StreamConfig) -> Vec<String> {
    // A mirror, and a stream with sources, holds messages on the subjects of other streams.
    if stream.mirror.is_some() || stream.sources.as_ref().is_some_and(|sources| !sources.is_empty())
    {
        return Vec::new();
    }
    let taken: Vec<Subject> =
        stream.subjects.iter().filter_map(|subject| Subject::filter(subject).ok()).collect();
    subjects
        .iter()
        .filter(|subject| !taken.iter().any(|taken| taken.overlaps(subject)))
        .map(|subject| {
            format!(
                "subject \"{subject}\" can never match: stream {} takes {}; correct `subjects` of the route or of the stream",
                stream.name,
                stream.subjects.join(", ")
            )
        })
        .collect()
}

/// The number of messages that may be delivered and not yet acknowledged.
pub(crate) const MAX_ACK_PENDING: usize = pull::BATCH;

/// The time after which JetStream delivers again what was not acknowledged.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);
