//! The key-value bucket of the bridge in the user's NATS: the state of alert threads, how far each route is, and which
//! bridge posts for it.

use std::{error::Error, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    context::CreateStreamErrorKind,
    kv,
    stream::{Config as StreamConfig, DiscardPolicy},
};
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    nats::{
        connection::Nats,
        streams::{self, StreamError},
    },
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

/// The answers of a server that has no room for the bucket.
const LACKS_OF_SPACE: [ErrorCode; 3] = [
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
];

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

    /// Returns what a person has to do about it, as a clause.
    pub(crate) fn remedy(&self) -> String {
        if self.is_for_lack_of_space() {
            return "free space on the disk of NATS, or raise its max_file_store or the limit of the account"
                .to_owned();
        }
        format!("allow the bridge to publish on {}", permissions())
    }

    fn is_for_lack_of_space(&self) -> bool {
        let Self::Request(error) = self else { return false };
        let mut next: Option<&(dyn Error + 'static)> = Some(error.as_ref());
        while let Some(error) = next {
            if said(error).is_some_and(|code| LACKS_OF_SPACE.contains(&code)) {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// Returns the code of the answer that an error carries, without its sources.
fn said(error: &(dyn Error + 'static)) -> Option<ErrorCode> {
    // The client does not make this answer the source of its error.
    if let Some(StreamError::NotCreated { source, .. }) = error.downcast_ref()
        && let CreateStreamErrorKind::JetStream(answer) = source.kind()
    {
        return Some(answer.error_code());
    }
    error.downcast_ref().map(jetstream::Error::error_code)
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
fn permissions() -> String {
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
