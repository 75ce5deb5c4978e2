//! Limits of the streams that the bridge creates. Without them any publisher could fill the disk of NATS.

use std::error::Error as _;

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
    stream::Config as StreamConfig,
};
use tracing::{info, warn};

use crate::{failure::chain, nats::connection::Nats};

/// Gives a stream without a byte limit the limit of `wanted`. A limit that somebody has set is left alone.
///
/// If that fails, the stream is used as it is, and the log says what to do.
pub(crate) async fn set(nats: &Nats, present: &StreamConfig, wanted: &StreamConfig) {
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
