//! The key-value bucket of the bridge in the user's NATS: the state of alert threads, and how far each route is.

use std::{error::Error, time::Duration};

use async_nats::jetstream::{
    kv,
    stream::{Config as StreamConfig, DiscardPolicy},
};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::{
    failure::chain,
    nats::{Nats, limits},
};

/// The name of the bucket.
pub(crate) const BUCKET: &str = "nats-matrix-alerts";

/// The time for which an entry is kept after it was written: a thread after its last message. Positions are written again
/// in time.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);

/// The longest time to wait for an answer.
const SLOW: Duration = Duration::from_secs(5);

/// The size limit of the bucket, in bytes: about a hundred thousand threads. A full bucket drops the entry that was
/// written first.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// The size limit of one entry in the bucket, in bytes; a thread with the most members takes a tenth of it.
const LONGEST: i32 = 64 * 1024;

/// Waits for the answer to a request; the error says why there is none.
pub(crate) async fn answered<T, E: Error + 'static>(
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    let answer = timeout(SLOW, request).await.map_err(|_| "no answer".to_owned())?;
    answer.map_err(|error| chain(&error))
}

/// Opens the bucket, and creates it if there is none.
pub(crate) async fn open(nats: &Nats, replicas: usize) -> Result<kv::Store, String> {
    let wanted = bucket_config(replicas);
    match answered(nats.jetstream.get_key_value(BUCKET)).await {
        Ok(bucket) => {
            limits::set(nats, &bucket.stream.cached_info().config, &wanted).await;
            return Ok(bucket);
        }
        Err(reason) => debug!("no bucket {BUCKET} yet: {reason}"),
    }
    answered(nats.jetstream.create_stream(wanted)).await?;
    info!("created bucket {BUCKET}, which keeps the alert threads and the positions of routes");
    answered(nats.jetstream.get_key_value(BUCKET)).await
}

/// The configuration of the bucket: as clients create it, except that a full bucket drops its oldest entry. The thread
/// that was updated last is the last one written.
pub(crate) fn bucket_config(replicas: usize) -> StreamConfig {
    StreamConfig {
        name: format!("KV_{BUCKET}"),
        description: Some(
            "Alerts that nats-matrix has shown, and how far its routes are".to_owned(),
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
        num_replicas: replicas,
        ..StreamConfig::default()
    }
}
