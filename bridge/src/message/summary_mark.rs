//! The mark of an event that shows a summary.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use matrix_sdk::ruma::{OwnedTransactionId, RoomId};
use serde::{Deserialize, Serialize};

use crate::hash;

/// The key of an event's content under which the [`Mark`] of its summary is stored.
pub(crate) const SUMMARY_KEY: &str = "io.github.nats-matrix.summary";

/// The identity of a summary, stored in its event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The stream of the route. Several routes may post into a room, so stream and route are part of the mark.
    pub(crate) stream: String,
    /// The route.
    pub(crate) route: String,
    /// The end of the period.
    pub(crate) until: Timestamp,
}

impl Mark {
    /// The transaction id: the same for every attempt, and different from that of every other summary. The room is a
    /// part of it for the reason given at [`Origin::transaction_id`](crate::message::origin::Origin::transaction_id).
    pub(crate) fn transaction_id(&self, room: &RoomId) -> OwnedTransactionId {
        let until = self.until.to_string();
        let hash = hash::of_texts([self.stream.as_str(), &self.route, &until, room.as_str()]);
        let id = HEXLOWER.encode(&hash[..8]);
        format!("nm-summary-{id}").into()
    }
}
