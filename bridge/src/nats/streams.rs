//! The streams that the bridge creates for itself, each with limits. Without them any publisher could fill the disk of
//! NATS.

use std::error::Error as _;

use async_nats::jetstream::{
    self, ErrorCode,
    context::{
        CreateStreamError, GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind,
    },
    stream::Config as StreamConfig,
};
use thiserror::Error;
use tracing::{info, warn};

use crate::{failure::chain, nats::connection::Nats};

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
/// whose messages it is for. An existing one is used as it is, except that it gets limits if it has none.
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
            limit(nats, &stream.cached_info().config, &wanted).await;
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
