//! The key-value bucket of the bridge in the user's NATS: the state of alert threads, and which bridge posts for each
//! route.

use std::time::Duration;

use async_nats::jetstream::{
    kv,
    stream::{Config as StreamConfig, DiscardPolicy},
};
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    nats::{Nats, streams},
    reserved::BUCKET,
};

/// The time for which a thread is kept after its last message.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);

/// The longest time to wait for an answer.
const SLOW: Duration = Duration::from_secs(5);

/// The size limit of the bucket, in bytes: about a hundred thousand threads. A full bucket drops the thread whose last
/// message is the oldest.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// The size limit of one thread in the bucket, in bytes; a thread with the most members takes a tenth of it.
const LONGEST: i32 = 64 * 1024;

/// The reason why the bucket cannot be used.
#[derive(Debug, Error)]
pub(crate) enum Unusable {
    #[error("no answer")]
    NoAnswer,
    /// The server denies a permission; this is its reason.
    #[error("{0}")]
    Denied(String),
    #[error(transparent)]
    Request(Box<dyn std::error::Error + Send + Sync>),
}

/// Waits for the answer to a request.
pub(crate) async fn answered<T, E>(
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, Unusable>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let answer = timeout(SLOW, request).await.map_err(|_| Unusable::NoAnswer)?;
    answer.map_err(|error| Unusable::Request(error.into()))
}

/// Opens the bucket, and creates it if there is none.
pub(crate) async fn open(nats: &Nats, stream: &str) -> Result<kv::Store, Unusable> {
    let made = streams::ensure(nats, bucket_config(), stream).await;
    made.map_err(|error| Unusable::Request(error.into()))?;
    answered(nats.jetstream.get_key_value(BUCKET)).await
}

/// The configuration of the bucket: as clients create it, except that a full bucket drops its oldest entry. The thread
/// that was updated last is the last one written.
pub(crate) fn bucket_config() -> StreamConfig {
    StreamConfig {
        name: format!("KV_{BUCKET}"),
        description: Some(
            "Alerts that nats-matrix has shown, and which bridge posts for each route".to_owned(),
        ),
        subjects: vec![format!("$KV.{BUCKET}.>")],
        max_messages_per_subject: 1,
        max_age: KEPT_FOR,
        max_bytes: KEPT_BYTES,
        max_message_size: LONGEST,
        discard: DiscardPolicy::Old,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..StreamConfig::default()
    }
}
