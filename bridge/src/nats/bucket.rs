//! The key-value bucket of the bridge in the user's NATS: the state of alert threads, how far each route is, and which
//! bridge posts for it.

use std::{error::Error, time::Duration};

use async_nats::jetstream::{
    kv,
    stream::{Config as StreamConfig, DiscardPolicy},
};
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    nats::{connection::Nats, streams},
    reserved::BUCKET,
};

/// The time for which an entry is kept after it was written: a thread after its last message. A position is written again
/// every day.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);

/// The longest time to wait for an answer.
const SLOW: Duration = Duration::from_secs(5);

/// The size limit of the bucket, in bytes: about a hundred thousand threads. A full bucket drops the entry that was
/// written first.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// The size limit of one entry in the bucket, in bytes; a thread with the most members takes a tenth of it.
const LONGEST: i32 = 64 * 1024;

/// The reason why the bucket cannot be used.
#[derive(Debug, Error)]
pub(crate) enum BucketError {
    /// There was no answer in time.
    #[error("no answer")]
    NoAnswer,
    /// The server denies a permission; this is its reason.
    #[error("{0}")]
    Denied(String),
    /// A request failed.
    #[error(transparent)]
    Request(Box<dyn Error + Send + Sync>),
}

impl BucketError {
    /// Wraps an error of the NATS client, whose many types nobody tells apart.
    pub(crate) fn request(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Request(error.into())
    }
}

/// Waits for the answer to a request.
pub(crate) async fn answered<T, E>(
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, BucketError>
where
    E: Error + Send + Sync + 'static,
{
    let answer = timeout(SLOW, request).await.map_err(|_| BucketError::NoAnswer)?;
    answer.map_err(BucketError::request)
}

/// Waits for requests to the bucket, unless the server denies a permission that they need: it says so beside the answer,
/// which then never comes.
pub(crate) async fn unless_denied<T>(
    nats: &Nats,
    requests: impl Future<Output = Result<T, BucketError>>,
) -> Result<T, BucketError> {
    tokio::select! {
        biased;
        reason = nats.denies(&[BUCKET]) => Err(BucketError::Denied(reason)),
        answer = requests => answer,
    }
}

/// Opens the bucket. If there is none, it is created on as many servers as the stream `like`.
pub(crate) async fn open(nats: &Nats, like: &str) -> Result<kv::Store, BucketError> {
    streams::ensure(nats, config(), like).await.map_err(BucketError::request)?;
    answered(nats.jetstream.get_key_value(BUCKET)).await
}

/// Returns the name of the bucket's stream.
pub(crate) fn stream_name() -> String {
    format!("KV_{BUCKET}")
}

/// Returns the subjects that the bridge has to be permitted to publish on, as text.
pub(crate) fn permissions() -> String {
    format!("$KV.{BUCKET}.>, $JS.API.STREAM.*.KV_{BUCKET} and $JS.API.DIRECT.GET.KV_{BUCKET}.>")
}

/// The configuration of the bucket: as clients create it, except that a full bucket drops its oldest entry. The thread
/// that was updated last is the last one written.
pub(crate) fn config() -> StreamConfig {
    StreamConfig {
        name: stream_name(),
        description: Some(
            "Alerts that nats-matrix has shown, how far its routes are, and which bridge posts for them"
                .to_owned(),
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
