//! The streams that the bridge creates for itself, each with limits. Without them any publisher could fill the disk of
//! NATS.

use std::{error::Error as _, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{
        CreateStreamError, GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind,
    },
    stream::{Config as StreamConfig, DiscardPolicy, RetentionPolicy, StorageType},
};
use thiserror::Error;
use tracing::{info, warn};

use crate::{failure::chain, nats::connection::Nats};

/// The time for which each of the streams has to keep messages at least: the longest quiet hours, and an hour.
pub(crate) const NEEDED: Duration = Duration::from_hours(25);

/// The reason why there is no stream.
#[derive(Debug, Error)]
pub(crate) enum StreamError {
    /// The server does not say whether there is one.
    #[error("no answer about stream {name}: {}", chain(source))]
    Unanswered { name: String, source: GetStreamError },
    /// The server does not create it.
    #[error("stream {name} was not created: {}", chain(source))]
    NotCreated { name: String, source: CreateStreamError },
}

/// Creates one of the bridge's own streams if it does not exist, on as many servers of a cluster as the stream `like`,
/// whose messages it is for. An existing one is used as it is, except that it gets limits if it has none. What makes it
/// lose messages is logged.
///
/// # Errors
///
/// The reason why there is no stream.
pub(crate) async fn ensure(
    nats: &Nats,
    wanted: StreamConfig,
    like: &str,
) -> Result<(), StreamError> {
    let name = wanted.name.clone();
    match Box::pin(nats.jetstream.get_stream(&name)).await {
        Ok(stream) => {
            let present = &stream.cached_info().config;
            limit(nats, present, &wanted).await;
            let faults = faults(nats, present, &wanted, like).await;
            if !faults.is_empty() {
                warn!(
                    "stream {name} does not keep what nats-matrix writes there: {}",
                    unfit(&faults, &name)
                );
            }
            return Ok(());
        }
        Err(error) if is_missing(&error) => {}
        Err(source) => return Err(StreamError::Unanswered { name, source }),
    }
    let replicas = match Box::pin(nats.jetstream.get_stream(like)).await {
        Ok(stream) => stream.cached_info().config.num_replicas,
        Err(_) => 1,
    };
    let config = StreamConfig { num_replicas: replicas, ..wanted };
    let purpose = config.description.clone().unwrap_or_default();
    match Box::pin(nats.jetstream.create_stream(config)).await {
        Ok(_) => info!("created stream {name}: {purpose}"),
        Err(source) => return Err(StreamError::NotCreated { name, source }),
    }
    Ok(())
}

/// Returns why a stream that somebody else has created, in place of the one that the bridge would create, loses
/// messages; each reason as a clause. It may keep them in memory alone if the stream `like` does so, too.
pub(crate) async fn faults(
    nats: &Nats,
    present: &StreamConfig,
    wanted: &StreamConfig,
    like: &str,
) -> Vec<String> {
    let mut faults = faults_of(present, wanted);
    if present.storage == StorageType::Memory {
        let like = Box::pin(nats.jetstream.get_stream(like)).await;
        if !like.is_ok_and(|like| like.cached_info().config.storage == StorageType::Memory) {
            faults.push("it is in memory alone, which a restart of NATS empties".to_owned());
        }
    }
    faults
}

/// Returns the faults of a stream with what to do about them.
pub(crate) fn unfit(faults: &[String], name: &str) -> String {
    let faults = faults.join(", ");
    format!(
        "{faults}: correct that with nats stream edit {name}, or remove it when it holds nothing that is needed (nats \
         stream rm {name}), after which the bridge creates it"
    )
}

fn faults_of(present: &StreamConfig, wanted: &StreamConfig) -> Vec<String> {
    let has_sources = present.sources.as_ref().is_some_and(|sources| !sources.is_empty());
    let is_short = !present.max_age.is_zero() && present.max_age < NEEDED;
    let has_limit = present.max_bytes > 0 || present.max_messages > 0;
    let drops =
        has_limit && present.discard != wanted.discard && wanted.discard == DiscardPolicy::New;
    [
        (present.subject_transform.is_some(), "a subject transform moves its messages"),
        (present.mirror.is_some(), "it is a mirror of another stream"),
        (has_sources, "it takes messages of other streams (sources)"),
        (present.no_ack, "it acknowledges nothing (no_ack)"),
        (present.retention != RetentionPolicy::Limits, "its retention is not \"limits\""),
        (is_short, "its max_age is shorter than 25 hours"),
        (drops, "it drops the oldest messages when it is full (discard \"old\")"),
        (
            present.allow_rollup && !wanted.allow_rollup,
            "a publisher may empty it (allow_rollup_hdrs)",
        ),
    ]
    .into_iter()
    .filter(|(is_so, _)| *is_so)
    .map(|(_, fault)| fault.to_owned())
    .collect()
}

/// Whether the server answers that there is no such stream.
pub(crate) fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Gives a stream without a byte limit the limit of `wanted`. A limit that somebody has set is left alone.
///
/// If that fails, the stream is used as it is, and the log says what to do.
async fn limit(nats: &Nats, present: &StreamConfig, wanted: &StreamConfig) {
    if is_limited(present) {
        return;
    }
    let name = &present.name;
    let bytes = wanted.max_bytes;
    let limited = StreamConfig {
        max_bytes: bytes,
        max_message_size: wanted.max_message_size,
        discard: wanted.discard,
        ..present.clone()
    };
    match nats.jetstream.update_stream(&limited).await {
        Ok(_) => info!("stream {name} had no limit, and now keeps at most {bytes} bytes"),
        Err(error) => warn!(
            "stream {name} has no limit, and cannot be given one ({}): run nats stream edit {name} --max-bytes={bytes}",
            chain(&error)
        ),
    }
}

/// Whether a message was refused because of its own size, and not because the stream is full: anybody can publish a
/// message of the largest size.
pub(crate) fn is_too_large(error: &PublishError) -> bool {
    let refusal = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let too_large =
        [ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM];
    error.kind() == PublishErrorKind::MaxPayloadExceeded
        || refusal.is_some_and(|refusal| too_large.contains(&refusal.error_code()))
}

/// Whether a stream cannot grow without end.
pub(crate) fn is_limited(config: &StreamConfig) -> bool {
    config.max_bytes > 0
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::stream::{Source, SubjectTransform};

    use super::*;

    type Change = fn(&mut StreamConfig);

    #[test]
    fn what_makes_a_stream_lose_messages_is_named() {
        let wanted = StreamConfig {
            max_age: NEEDED * 2,
            max_bytes: 1_000,
            discard: DiscardPolicy::New,
            ..StreamConfig::default()
        };
        assert_eq!(faults_of(&wanted, &wanted), [""; 0]);
        assert_eq!(faults_of(&StreamConfig::default(), &wanted), [""; 0], "it has no limits");
        let transform = SubjectTransform { source: ">".to_owned(), destination: "x.>".to_owned() };
        let changes: [(&str, Change); 7] = [
            ("a mirror", |it| it.mirror = Some(Source::default())),
            ("sources", |it| it.sources = Some(vec![Source::default()])),
            ("no_ack", |it| it.no_ack = true),
            ("retention", |it| it.retention = RetentionPolicy::Interest),
            ("max_age", |it| it.max_age = Duration::from_secs(10)),
            ("discard", |it| it.discard = DiscardPolicy::Old),
            ("allow_rollup_hdrs", |it| it.allow_rollup = true),
        ];
        for (fault, change) in changes {
            let mut present = wanted.clone();
            change(&mut present);
            let faults = faults_of(&present, &wanted);
            assert!(matches!(&faults[..], [one] if one.contains(fault)), "{fault}: {faults:?}");
        }
        let moved = StreamConfig { subject_transform: Some(transform), ..wanted.clone() };
        assert_eq!(faults_of(&moved, &wanted).len(), 1);
    }
}
