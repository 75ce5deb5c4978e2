//! The answer of NATS about a consumer and its stream at one time.

use async_nats::jetstream::{
    consumer::Info as ConsumerInfo,
    stream::{Config as StreamConfig, Info as StreamInfo, RetentionPolicy, Stream},
};
use jiff::Timestamp;

use crate::{
    nats::{Nats, timestamp},
    source::{beside, feed::Feed, outstanding, problem::ReadError},
    subject::Subject,
};

/// The number of removed messages up to which the server is asked which they were.
const MOST_DELETED: u64 = 100_000;

/// The state of a consumer and its stream, as far as it tells which messages were removed.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    pub(super) stream: String,
    /// The time when the stream was created, in nanoseconds since 1970.
    pub(super) created: String,
    /// Whether all messages of the stream are of this feed.
    pub(super) is_whole: bool,
    /// Whether messages vanish only when they are not wanted any more by anybody, or by the limits of the stream. In
    /// streams of other kinds they vanish when others have read them.
    pub(super) drops_unread: bool,
    /// The first and the last message of the stream. Without messages, the first is the next one to come.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The time when the first message was published, or now.
    pub(super) first_at: Timestamp,
    /// The number of messages behind the first that were removed.
    pub(super) deleted: u64,
    /// The number of them behind the last message of the observation before, as far as they can be of this feed.
    pub(super) deleted_since: u64,
    /// The number of messages of the feed that are not delivered.
    pub(super) pending: u64,
    /// The number of those behind the last message of the observation before, if they were counted.
    pub(super) later: Option<u64>,
    /// The number of messages that were delivered, are not acknowledged, and have to be taken from the stream again.
    pub(super) outstanding: u64,
    /// The number of deliveries so far.
    pub(super) delivered: u64,
    /// The message up to which the server has all as acknowledged. It may be moved over removed messages.
    pub(super) acknowledged: u64,
    /// The last message that the consumer has looked at.
    pub(super) looked_at: u64,
    /// Whether no message was taken yet, so that it is unknown what has happened since the observation before.
    pub(super) is_beginning: bool,
}

impl Observation {
    /// Puts together what NATS has said. The stream was asked after the consumer, so that it has at least what the
    /// consumer counts.
    pub(super) fn new(feed: &Feed, consumer: &ConsumerInfo, stream: &StreamInfo) -> Self {
        let state = &stream.state;
        Self {
            stream: stream.config.name.clone(),
            created: timestamp(stream.created).as_nanosecond().to_string(),
            is_whole: is_whole(feed, &stream.config),
            drops_unread: stream.config.retention == RetentionPolicy::Limits,
            first: state.first_sequence.max(if state.messages == 0 {
                state.last_sequence + 1
            } else {
                1
            }),
            last: state.last_sequence,
            first_at: if state.messages == 0 {
                Timestamp::now()
            } else {
                timestamp(state.first_timestamp)
            },
            deleted: state.deleted_count.unwrap_or(0),
            deleted_since: 0,
            pending: consumer.num_pending,
            later: None,
            outstanding: 0,
            delivered: consumer.delivered.consumer_sequence,
            acknowledged: consumer.ack_floor.stream_sequence,
            looked_at: consumer.delivered.stream_sequence,
            is_beginning: false,
        }
    }

    /// Returns the same observation for the time before any message is taken.
    pub(super) fn at_beginning(self, consumer: &ConsumerInfo) -> Self {
        Self { is_beginning: true, ..self }.with_outstanding(consumer)
    }

    /// Returns the same observation for the time when messages that were delivered are taken from the stream.
    pub(super) fn with_outstanding(self, consumer: &ConsumerInfo) -> Self {
        // The server may not have counted them yet.
        let least = u64::from(outstanding::is_any(consumer));
        Self { outstanding: least.max(consumer.num_ack_pending as u64), ..self }
    }

    /// Returns the same observation for the time when messages from `first` on are read although the server has them as
    /// acknowledged. In streams that drop what is acknowledged they are gone by that, and not by a limit.
    pub(super) fn with_unposted(self, first: u64) -> Self {
        let before = if self.drops_unread { first.saturating_sub(1) } else { u64::MAX };
        Self { acknowledged: self.acknowledged.min(before), ..self }
    }

    /// Returns the message up to which a feed without a ledger is done. What was removed before is no loss, unless the
    /// consumer says that it was not acknowledged.
    pub(super) fn beginning(&self) -> u64 {
        let before = self.first.saturating_sub(1);
        match self.acknowledged {
            0 if self.outstanding > 0 => before,
            0 => before.max(self.looked_at),
            acknowledged if self.is_whole => acknowledged,
            acknowledged => acknowledged.max(before),
        }
    }

    /// Whether the stream was restored from a backup: its first message is older than it is.
    pub(super) fn is_restored(&self) -> bool {
        let created = self.created.parse::<i128>().unwrap_or_default();
        self.first_at.as_nanosecond() < created
    }

    /// Counts the messages of the feed behind `last`, and the removed ones. The counts only make the result exact, so
    /// failures are passed over.
    pub(super) async fn count(
        &mut self,
        nats: &Nats,
        feed: &Feed,
        stream: &Stream,
        consumer: &str,
        last: u64,
    ) -> Result<(), ReadError> {
        let later = beside::count(nats, feed.stream(), last + 1, feed.filters()).await?;
        // Asked again afterwards, so that what comes meanwhile does not look as if it were missing.
        let info = stream.consumer_info(consumer).await.map_err(ReadError::request)?;
        (self.later, self.pending) = (Some(later), info.num_pending);
        if self.is_beginning && (1..=MOST_DELETED).contains(&self.deleted) {
            let info = stream.info_builder().with_deleted(true).fetch().await;
            let info = info.map_err(ReadError::request)?.info;
            // A message that was replaced by a newer one on its subject has left that one behind.
            let may_be_ours = later > 0 || info.config.max_messages_per_subject <= 0;
            let deleted = info.state.deleted.unwrap_or_default();
            let is_new = |sequence: &&u64| **sequence > last && **sequence <= self.last;
            if may_be_ours {
                self.deleted_since = deleted.iter().filter(is_new).count() as u64;
            }
        }
        Ok(())
    }
}

/// Whether all messages of a stream are of this feed.
fn is_whole(feed: &Feed, stream: &StreamConfig) -> bool {
    let sources = stream.sources.as_ref().is_some_and(|sources| !sources.is_empty());
    let covers = |subject: &String| {
        let subject = Subject::filter(subject);
        subject.is_ok_and(|subject| feed.subjects().iter().any(|own| own.covers(&subject)))
    };
    let is_plain = stream.mirror.is_none() && stream.subject_transform.is_none() && !sources;
    is_plain && stream.subjects.iter().all(covers)
}
