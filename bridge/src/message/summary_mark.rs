//! What an event says of the summary that it shows.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use matrix_sdk::ruma::{OwnedTransactionId, RoomId};
use serde::{Deserialize, Serialize};

use crate::hash;

/// The key of an event's content that says of which period it is the summary.
pub(crate) const SUMMARY_KEY: &str = "io.github.nats-matrix.summary";

/// What an event says of the summary that it shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The stream and the route, as several may post into a room.
    pub(crate) stream: String,
    /// See there.
    pub(crate) route: String,
    /// The end of the period.
    pub(crate) until: Timestamp,
}

impl Mark {
    /// The same for every attempt, and another for every other summary. As in
    /// [`Origin::transaction_id`](crate::message::origin::Origin::transaction_id), the room is a part of it.
    pub(crate) fn transaction_id(&self, room: &RoomId) -> OwnedTransactionId {
        let until = self.until.to_string();
        let hash = hash::of_texts([self.stream.as_str(), &self.route, &until, room.as_str()]);
        let id = HEXLOWER.encode(&hash[..8]);
        format!("nm-summary-{id}").into()
    }
}
