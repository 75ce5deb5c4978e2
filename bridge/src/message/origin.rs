//! The origin of an event, which is what prevents posting a message twice.
//!
//! Every event that the bridge posts carries the stream, sequence and part that it shows. The room itself is thus the
//! log of what was delivered, and no separate database can contradict it.

use jiff::Timestamp;
use matrix_sdk::ruma::{OwnedEventId, OwnedTransactionId, RoomId};
use serde::{Deserialize, Serialize};

use crate::{
    hash,
    message::{event_number, route_name::RouteName},
};

/// The difference within which two creation times are of the same stream. When a stream with replicas is restored from a
/// backup, each server notes the time at which it did so, and which one is reported depends on the leader.
const SAME_WITHIN: i128 = 1_000_000_000;

/// The key of an event's content under which its [`Origin`] is stored.
pub(crate) const ORIGIN_KEY: &str = "io.github.nats-matrix.origin";

/// The part number of the first event of a message that begins the thread of its alert anew, counted from the first part
/// of the message, or of its object if it has several. Events with lower numbers belong to a first message that the room
/// does not show, so nobody can see them either.
pub(crate) const ANEW: u32 = 4;

/// One incarnation of a stream. A stream that was deleted and created again has the same name and starts again at
/// sequence 1, but has another creation time. So has a stream that was restored from a backup, whose messages keep their
/// sequence and time: see [`Origin::is_of`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct StreamId {
    /// The name of the stream.
    pub stream: String,
    /// The creation time, in nanoseconds since 1970. It is a text because numbers in an event may be at most 2^53.
    pub created: String,
}

impl StreamId {
    /// The creation time in nanoseconds since 1970; 0 in a damaged event.
    fn created(&self) -> i128 {
        self.created.parse().unwrap_or_default()
    }

    /// Whether both are the same incarnation of the same stream.
    #[must_use]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.stream == other.stream && is_same_creation(&self.created, &other.created)
    }

    /// Whether sequence and time of a message in `earlier`, which was stored at `published`, can be compared with those of
    /// messages in this stream.
    ///
    /// Messages of an earlier incarnation can, because the stream may have been restored from a backup. They were stored
    /// before the present one was created, and all new messages of a stream that was made anew are later. If the
    /// message is not that old, the clock of NATS was set back, and its time says nothing about those messages.
    #[must_use]
    pub(crate) fn continues(&self, earlier: &Self, published: i128) -> bool {
        earlier.stream == self.stream && (self.is_same(earlier) || published < self.created())
    }
}

/// Whether two creation times, as in [`StreamId`], are of the same incarnation of a stream.
pub(crate) fn is_same_creation(one: &str, other: &str) -> bool {
    let times = one.parse::<i128>().ok().zip(other.parse::<i128>().ok());
    one == other || times.is_some_and(|(one, other)| (one - other).abs() <= SAME_WITHIN)
}

/// The progress of a route: a message, and the last of its parts that is in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The stream sequence of the message.
    #[serde(rename = "seq", with = "event_number")]
    pub sequence: u64,
    /// The number of the event among those that show the message, counted from 0.
    pub part: u32,
}

/// The messages that a digest shows together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// The sequence of the first message.
    #[serde(with = "event_number")]
    pub first: u64,
    /// The sequence of the last message.
    #[serde(with = "event_number")]
    pub last: u64,
    /// The event with the summary of the digest, unless it is this event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<OwnedEventId>,
}

/// The origin of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamId,
    /// The route. Each route has an order of its own.
    pub route: String,
    /// The sequence of the message, and the part.
    #[serde(flatten)]
    pub position: Position,
    /// The time at which the stream stored the message, in the form of [`StreamId::created`]. It distinguishes the
    /// message from a later one with the same sequence, which can exist after NATS has lost its last messages.
    published: String,
    /// The digest that the event belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Span>,
}

impl Origin {
    /// Creates the origin of one part of a message that came by `route`.
    #[must_use]
    pub(crate) fn new(
        stream: StreamId,
        route: &RouteName,
        position: Position,
        published: Timestamp,
    ) -> Self {
        let published = published.as_nanosecond().to_string();
        Self { stream, route: route.as_str().to_owned(), position, published, digest: None }
    }

    /// Returns the origin as part of a digest.
    #[must_use]
    pub(crate) fn in_digest(self, span: Span) -> Self {
        Self { digest: Some(span), ..self }
    }

    /// Whether sequence and time of this message can be compared with those of messages in `stream`, as
    /// [`StreamId::continues`] says.
    #[must_use]
    pub(crate) fn is_of(&self, stream: &StreamId) -> bool {
        stream.continues(&self.stream, self.published())
    }

    /// Whether this message, or this part of it, is `later` or comes before it in the same stream.
    #[must_use]
    pub(crate) fn is_up_to(&self, later: &Self) -> bool {
        later.is_of(&self.stream)
            && self.position <= later.position
            && self.published() <= later.published()
    }

    /// The time at which the stream stored the message, in nanoseconds since 1970; 0 in a damaged event.
    #[must_use]
    pub(crate) fn published(&self) -> i128 {
        self.published.parse().unwrap_or_default()
    }

    /// The transaction id of the event: the same for every attempt, in this process or the next, and different from
    /// that of every other event.
    ///
    /// The id depends on the room, because Conduit, tuwunel and continuwuity look up transaction ids by user and device
    /// alone: an id used in two rooms would post only once.
    #[must_use]
    pub(crate) fn transaction_id(&self, room: &RoomId) -> OwnedTransactionId {
        let StreamId { stream, created } = &self.stream;
        let hash = hash::of_texts([stream, created, &self.published, room.as_str()]);
        let message_and_room =
            hash.iter().take(8).rev().fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
        let Position { sequence, part } = self.position;
        format!("nm-{message_and_room:016x}-{sequence}-{part}").into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use matrix_sdk::ruma::room_id;
    use proptest::prelude::*;

    use super::*;

    fn origin(stream: &str, created: &str, sequence: u64, part: u32) -> Origin {
        let stream = StreamId { stream: stream.to_owned(), created: created.to_owned() };
        let published = Timestamp::from_second(1).unwrap();
        Origin::new(stream, &RouteName::parse("r").unwrap(), Position { sequence, part }, published)
    }

    #[test]
    fn each_of_stream_incarnation_sequence_room_and_part_changes_the_transaction_id() {
        let (here, there) = (room_id!("!a:x"), room_id!("!b:x"));
        let ids: HashSet<_> = [
            origin("OPS", "1", 1, 0).transaction_id(here),
            origin("OPT", "1", 1, 0).transaction_id(here),
            origin("OPS", "2", 1, 0).transaction_id(here),
            origin("OPS", "1", 2, 0).transaction_id(here),
            origin("OPS", "1", 1, 1).transaction_id(here),
            origin("OPS", "1", 1, 0).transaction_id(there),
            // Without the lengths of the texts, the hash of this one would be that of the first.
            origin("OPS1", "", 1, 0).transaction_id(here),
        ]
        .into();
        assert_eq!(ids.len(), 7);
    }

    #[test]
    fn a_message_of_a_restored_stream_is_the_same_and_one_of_a_new_stream_is_not() {
        let nanoseconds = |tenths: i128| (tenths * 100_000_000).to_string();
        let at = |created, sequence, published| Origin {
            published: nanoseconds(published),
            ..origin("OPS", &nanoseconds(created), sequence, 0)
        };
        let shown = at(10, 7, 70);
        assert!(at(90, 7, 70).is_up_to(&shown), "restored");
        assert!(at(90, 6, 60).is_up_to(&shown) && !at(90, 8, 80).is_up_to(&shown));
        assert!(!at(90, 7, 95).is_up_to(&shown), "made anew");
        let by_a_fast_clock = at(10, 7, 1_000);
        assert!(
            !at(90, 7, 95).is_up_to(&by_a_fast_clock),
            "made anew after the clock was set back"
        );
        // Each server of a cluster has its own creation time of a restored stream.
        let since_restored = at(90, 8, 95);
        assert!(at(91, 8, 95).is_up_to(&since_restored) && at(89, 8, 95).is_up_to(&since_restored));
        assert!(!at(91, 9, 96).is_up_to(&since_restored));
        assert!(
            !Origin {
                stream: StreamId { stream: "OPT".to_owned(), ..shown.stream.clone() },
                ..shown.clone()
            }
            .is_up_to(&shown)
        );
    }

    #[test]
    fn the_transaction_id_does_not_change_from_version_to_version() {
        let id = origin("OPS", "1700000000000000000", 42, 1).transaction_id(room_id!("!a:x"));
        assert_eq!(id.as_str(), "nm-612a58d1539178c2-42-1");
    }

    proptest! {
        #[test]
        fn an_origin_survives_its_event(stream in "[A-Za-z_]{1,20}", created in any::<i64>(), sequence in prop_oneof![0u64..1 << 53, any::<u64>()], part in 0u32..10) {
            let span = Span { first: sequence, last: sequence, root: None };
            let origin = origin(&stream, &created.to_string(), sequence, part).in_digest(span);
            let json = serde_json::to_value(&origin).unwrap();
            // The homeserver refuses larger numbers.
            let is_small = |value: &serde_json::Value| value.as_u64().is_none_or(|it| it < 1 << 53);
            let span = json["digest"].as_object().unwrap().values();
            prop_assert!(json.as_object().unwrap().values().chain(span).all(|value| !value.is_f64() && is_small(value)));
            prop_assert_eq!(serde_json::from_value::<Origin>(json).unwrap(), origin);
        }
    }
}
