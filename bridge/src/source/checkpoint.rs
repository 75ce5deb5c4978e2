//! The checkpoint of a feed: how far it is in its stream, kept on `JetStream` beside the durable consumer.
//!
//! The consumer knows that, too, but it can be gone: deleted, removed after a time without a bridge, or with its stream.
//! A route that begins with what is new would begin anew then, and what was published meanwhile would be lost. The
//! checkpoint is not written with each message, as those that come again are recognised in the room. It also shows what
//! somebody else has acknowledged while no bridge ran.

use std::time::Duration;

use async_nats::jetstream::kv;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    failure::chain,
    hash,
    message::StreamId,
    nats::{
        Nats,
        bucket::{self, BucketError, answered},
        streams,
    },
    reserved::BUCKET,
    source::feed::Feed,
};

/// The interval at which a checkpoint is written while the feed goes on. A bridge on another machine that takes over after a
/// kill reads again what was acknowledged since.
const OFTEN: Duration = Duration::from_mins(1);

/// The interval at which a checkpoint is written even if nothing has changed. The bucket forgets old entries.
const SELDOM: Duration = Duration::from_hours(24);

/// The time for which the bucket is not tried again after a failure.
const PAUSE: Duration = Duration::from_mins(10);

/// How far a feed is in its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The stream.
    pub(super) stream: String,
    /// The time when the stream was created, as in [`StreamId`].
    pub(super) created: String,
    /// The route, for people who look into the bucket.
    route: String,
    /// The lease of the bridge that has written the checkpoint.
    #[serde(default)]
    pub(super) lease: String,
    /// The sequence number up to which all messages are done with.
    pub(super) reached: u64,
    /// The time when the last of these messages was stored, in the form of [`StreamId::created`]. Earlier versions leave
    /// it out.
    #[serde(default)]
    published: Option<String>,
    /// The first message that somebody else has acknowledged before it was posted, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unposted: Option<u64>,
}

impl Checkpoint {
    pub(super) fn new(
        stream: &StreamId,
        feed: &Feed,
        lease: String,
        (reached, published): (u64, Option<Timestamp>),
        unposted: Option<u64>,
    ) -> Self {
        let StreamId { stream, created } = stream.clone();
        let published = published.map(|published| published.as_nanosecond().to_string());
        let route = feed.route.name.to_string();
        Self { stream, created, route, lease, reached, published, unposted }
    }

    /// Whether the checkpoint can be compared with messages in this incarnation of the stream, which may have been restored
    /// from a backup.
    pub(super) fn is_of(&self, stream: &StreamId) -> bool {
        let own = StreamId { stream: self.stream.clone(), created: self.created.clone() };
        let published = self.published.as_ref().and_then(|published| published.parse().ok());
        stream.continues(&own, published.unwrap_or(i128::MAX))
    }
}

/// The kept checkpoint of one feed.
pub(super) struct Checkpoints {
    nats: Nats,
    key: String,
    bucket: Option<kv::Store>,
    /// The checkpoint that is in the bucket, and the time when it was written or read.
    written: Option<(Checkpoint, Instant)>,
    /// The time from which the bucket may be tried again.
    retry: Option<Instant>,
    /// Whether the log already says that the bucket cannot be used.
    is_said: bool,
}

impl Checkpoints {
    pub(super) fn of(nats: Nats, feed: &Feed) -> Self {
        let route = &feed.route;
        let name = if feed.is_deferred() { route.name.as_str() } else { route.consumer_key() };
        let hash = hash::of_texts([feed.user().as_str(), feed.stream(), name]);
        let key = format!("checkpoint.{}", HEXLOWER.encode(&hash[..16]));
        Self { nats, key, bucket: None, written: None, retry: None, is_said: false }
    }

    /// Reads the checkpoint. `None` if there is none.
    pub(super) async fn read(&mut self) -> Result<Option<Checkpoint>, BucketError> {
        let nats = self.nats.clone();
        let found = bucket::unless_denied(&nats, Box::pin(self.read_kept())).await;
        match &found {
            Ok(Some(checkpoint)) => self.written = Some((checkpoint.clone(), Instant::now())),
            Ok(None) => {}
            Err(error) => self.failed(error),
        }
        found
    }

    async fn read_kept(&mut self) -> Result<Option<Checkpoint>, BucketError> {
        let jetstream = &self.nats.jetstream;
        if let Err(error) = jetstream.get_stream(bucket::stream_name()).await {
            return if streams::is_missing(&error) {
                Ok(None)
            } else {
                Err(BucketError::request(error))
            };
        }
        let bucket = answered(jetstream.get_key_value(BUCKET)).await?;
        let found = answered(bucket.get(self.key.as_str())).await?;
        self.bucket = Some(bucket);
        // A checkpoint that another version wrote is ignored.
        Ok(found.and_then(|found| serde_json::from_slice(&found).ok()))
    }

    /// Whether the bucket may be tried, after the last time that it could not be used.
    pub(super) fn may_be_tried(&self) -> bool {
        self.retry.is_none_or(|retry| Instant::now() >= retry) && self.nats.is_connected()
    }

    /// Whether a checkpoint is to be written by now.
    pub(super) fn is_due(&self, checkpoint: &Checkpoint) -> bool {
        let Some((written, at)) = &self.written else { return true };
        let urgent = |of: &Checkpoint| (of.unposted, of.created.clone(), of.lease.clone());
        let interval = if written == checkpoint { SELDOM } else { OFTEN };
        urgent(written) != urgent(checkpoint) || at.elapsed() >= interval
    }

    /// Whether the checkpoint is not the one that is in the bucket.
    pub(super) fn is_new(&self, checkpoint: &Checkpoint) -> bool {
        self.written.as_ref().is_none_or(|(written, _)| written != checkpoint)
    }

    /// Writes a checkpoint. If that fails, it is tried again when the next one is due.
    pub(super) async fn write(&mut self, checkpoint: Checkpoint) {
        if !self.may_be_tried() {
            return;
        }
        let nats = self.nats.clone();
        match bucket::unless_denied(&nats, Box::pin(self.put(&checkpoint))).await {
            Ok(()) => {
                self.written = Some((checkpoint, Instant::now()));
                self.retry = None;
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn put(&mut self, checkpoint: &Checkpoint) -> Result<(), BucketError> {
        let bucket = match &self.bucket {
            Some(bucket) => bucket.clone(),
            None => bucket::open(&self.nats, &checkpoint.stream).await?,
        };
        let text = serde_json::to_vec(checkpoint).map_err(BucketError::request)?;
        answered(bucket.put(self.key.as_str(), text.into())).await?;
        self.bucket = Some(bucket);
        Ok(())
    }

    fn failed(&mut self, error: &BucketError) {
        if self.nats.is_connected() && !std::mem::replace(&mut self.is_said, true) {
            let reason = chain(error);
            warn!(
                "how far the route is cannot be kept in the bucket {BUCKET} ({reason}): if its durable consumer is deleted, a \
                 route with start = \"new\" does not show what was published meanwhile; {}",
                error.remedy()
            );
        }
        self.bucket = None;
        self.retry = Some(Instant::now() + PAUSE);
    }
}
