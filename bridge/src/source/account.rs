//! The account of how far a feed is done with its stream, with which the word of its consumer is compared.
//!
//! A user who may publish on the subjects of a consumer can take messages from it and acknowledge them, or move it past
//! them. So the consumer's floor tells what is acknowledged, and not what is posted.

use async_nats::jetstream::{
    consumer::Info as ConsumerInfo,
    stream::{Config as StreamConfig, RetentionPolicy},
};
use tracing::info;

use crate::{
    message::{StreamId, is_same_creation},
    source::{checkpoint::Checkpoint, delivery::Delivery, inspect::Inspection, ledger::Ledger},
};

/// The account of one feed, as far as it is not in its ledger.
#[derive(Default)]
pub(super) struct Account {
    /// The message up to which everything was done with at the start, and whether that is known exactly.
    before: Option<(u64, bool)>,
    /// The message up to which the stream has nothing that is not done with, if it was looked at.
    checked: u64,
    /// A message that the consumer has delivered first of all, which may not be the first of the feed.
    unexpected: Option<u64>,
    /// Whether the stream drops messages that are acknowledged, and has no limits by which it would drop others.
    drops_acked_alone: bool,
}

/// A range of messages that the consumer is past although the feed is not known to be done with them: somebody else has
/// acknowledged them or moved the consumer, or the stream has removed them.
pub(super) struct Passed {
    pub(super) after: u64,
    last: u64,
    /// Whether it is certain that the feed is not done with them.
    pub(super) is_exact: bool,
    /// The number of deliveries that the feed has not seen.
    unseen: u64,
}

impl Account {
    /// Notes by what the stream drops messages.
    pub(super) fn note_stream(&mut self, stream: &StreamConfig) {
        let limits = [stream.max_messages, stream.max_messages_per_subject, stream.max_bytes];
        self.drops_acked_alone = stream.retention != RetentionPolicy::Limits
            && stream.max_age.is_zero()
            && limits.iter().all(|limit| *limit <= 0);
    }

    /// Forgets everything, as the numbers of the stream begin again.
    pub(super) fn forget(&mut self) {
        *self = Self { drops_acked_alone: self.drops_acked_alone, ..Self::default() };
    }

    /// Forgets what was known at the start, as another bridge has had the feed meanwhile.
    pub(super) fn forget_start(&mut self) {
        self.before = None;
    }

    /// Notes the last checkpoint before the start. If no other bridge has had the feed since the ledger was written, the
    /// ledger tells exactly what is done.
    pub(super) fn start(&mut self, checkpoint: &Checkpoint, stream: &StreamId, ledger: &Ledger) {
        let Checkpoint { created, lease, reached, .. } = checkpoint;
        let own = ledger.done_in(stream).filter(|_| ledger.is_of(lease));
        self.before = match own {
            _ if !is_same_creation(created, &stream.created) => None,
            // The two are equal after a clean end.
            Some(done) => Some((done.max(*reached), done == *reached || !ledger.may_be_older())),
            None => Some((*reached, false)),
        };
    }

    /// Returns the range of messages that the consumer is past, and the feed is not done with as far as is known.
    /// `has_begun` says that the ledger is up to date.
    pub(super) fn passed(
        &self,
        ledger: &Ledger,
        stream: &StreamId,
        has_begun: bool,
        info: &ConsumerInfo,
    ) -> Option<Passed> {
        let (done, is_exact) =
            if has_begun { (ledger.done_in(stream)?, true) } else { self.before? };
        let before_unexpected = self.unexpected.map_or(0, |sequence| sequence - 1);
        let last = info.ack_floor.stream_sequence.max(before_unexpected);
        let unseen = info.delivered.consumer_sequence.saturating_sub(ledger.deliveries());
        let after = done.max(self.checked);
        (last > after).then_some(Passed { after, last, is_exact, unseen })
    }

    /// Whether the stream may have messages of the feed before one that its consumer has delivered first of all. A consumer
    /// that was moved counts from 1 again, so that nothing seems to be missing.
    pub(super) fn is_unexpected(
        &mut self,
        delivery: &Delivery,
        ledger: &Ledger,
        stream: &StreamId,
    ) -> bool {
        let done = ledger.done_in(stream).unwrap_or(u64::MAX - 1).max(self.checked);
        let is_unexpected = delivery.sequence > done + 1;
        if is_unexpected {
            self.unexpected = Some(delivery.sequence);
        }
        is_unexpected
    }

    /// Notes what was found in the stream from the range on.
    pub(super) fn found(
        &mut self,
        passed: &Passed,
        found: &[Delivery],
        info: &ConsumerInfo,
        inspection: &mut Inspection,
    ) {
        let Passed { after, last, is_exact, unseen } = *passed;
        self.unexpected = None;
        let sequences = found.iter().map(|delivery| delivery.sequence);
        let taken: Vec<u64> = sequences.filter(|it| *it > after && *it <= last).collect();
        match taken.first() {
            Some(_) if is_exact => inspection.taken(info, &taken, last),
            Some(first) => info!(
                "another process went on after message {after} of stream {}: looking which messages from {first} to {last} \
                 the room lacks",
                info.stream_name
            ),
            None => {
                self.checked = last;
                if is_exact && unseen > 0 && self.drops_acked_alone {
                    inspection.gone(info, (after + 1, last), unseen.min(last - after));
                }
            }
        }
    }
}
