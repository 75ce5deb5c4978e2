//! Messages that a stream has removed before they could be read.

use std::fmt;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use matrix_sdk::ruma::{OwnedTransactionId, RoomId};
use serde::{Deserialize, Serialize};

use crate::{hash, message::event_number};

/// The key of an event's content under which the [`Removal`] that it reports is stored.
pub(crate) const REMOVAL_KEY: &str = "io.github.nats-matrix.removed";

/// Messages of a route that its stream has removed before they could be read. The event that reports them carries this
/// as its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removal {
    /// The stream.
    pub(crate) stream: String,
    /// The route.
    pub(crate) route: String,
    /// The number of messages.
    #[serde(with = "event_number")]
    pub(crate) count: u64,
    /// Whether the number is exact. Otherwise it is the highest possible one, as some may have been of other routes.
    pub(crate) is_exact: bool,
    /// The first sequence number that may be one of them.
    #[serde(with = "event_number")]
    pub(crate) first: u64,
    /// The last sequence number that may be one of them.
    #[serde(with = "event_number")]
    pub(crate) last: u64,
    /// The time after which they were published.
    pub(crate) since: Timestamp,
    /// The time before which they were published.
    pub(crate) until: Timestamp,
}

impl Removal {
    /// Adds messages that were removed later.
    pub(crate) fn add(&mut self, later: &Self) {
        self.count = self.count.saturating_add(later.count);
        self.is_exact &= later.is_exact;
        self.first = self.first.min(later.first);
        self.last = self.last.max(later.last);
        self.since = self.since.min(later.since);
        self.until = self.until.max(later.until);
    }

    /// The transaction id of the event that reports them: the same for every attempt. The room is a part of it for the
    /// reason given at [`Origin::transaction_id`](crate::message::Origin::transaction_id).
    pub(crate) fn transaction_id(&self, room: &RoomId) -> OwnedTransactionId {
        let texts = [self.first, self.last].map(|number| number.to_string());
        let until = self.until.to_string();
        let [first, last] = &texts;
        let hash = hash::of_texts([&self.stream, &self.route, first, last, &until, room.as_str()]);
        format!("nm-removed-{}", HEXLOWER.encode(&hash[..8])).into()
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, first, last, since, until, .. } = self;
        let up_to = if self.is_exact { "" } else { "up to " };
        let messages = if *count == 1 { "message" } else { "messages" };
        write!(
            f,
            "{up_to}{count} {messages} (sequence {first} to {last}, from {since:.0} to {until:.0})"
        )
    }
}
