//! The progress of a route in a room: which messages are there, as far as is known.

use std::collections::BTreeMap;

use matrix_sdk::ruma::OwnedEventId;
use tracing::warn;

use crate::{
    matrix::LastPosted,
    message::{Origin, Position, Span, StreamId},
};

/// The progress of the route in its room, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    stream: Option<StreamId>,
    pub(crate) reached: Option<Position>,
    /// The events of the message at `reached`.
    pub(crate) events: BTreeMap<Position, OwnedEventId>,
    /// The digest that the event at `reached` is a part of.
    pub(crate) digest: Option<Span>,
    /// The last message that is done with, in the room or as a dead letter; so are all before it.
    done: Option<u64>,
    /// The time when the latest of these messages was published, in nanoseconds since 1970. A message published later
    /// under a known number is a different message: a NATS server that lost its last messages in a power failure
    /// assigns their numbers again.
    pub(crate) newest: i128,
    /// Whether `reached` is a message of an earlier incarnation of the stream.
    is_earlier: bool,
    /// Whether all events in the room are known. False at the start, and after a request without an answer.
    pub(crate) certain: bool,
}

impl Progress {
    /// Forgets everything when the stream is not the one seen before, or when its numbers begin again.
    pub(crate) fn of(&mut self, stream: &StreamId, sequence: u64, published: i128) {
        let is_known = self.stream.as_ref().is_some_and(|known| known.is_same(stream));
        let highest = self.done.max(self.reached.map(|reached| reached.sequence));
        let is_reused =
            highest.is_some_and(|highest| sequence <= highest) && published > self.newest;
        if is_known && is_reused && self.is_earlier {
            // The stream was made anew: the room shows nothing of it, as even the latest event is older than the message.
            *self = Self { stream: self.stream.take(), certain: self.certain, ..Self::default() };
            return;
        }
        if is_known && is_reused {
            warn!(
                "stream {}: number {sequence} is used again, so the stream has lost messages",
                stream.stream
            );
        }
        if !is_known || is_reused {
            *self = Self { stream: Some(stream.clone()), ..Self::default() };
        }
    }

    pub(crate) fn is_done(&self, sequence: u64, published: i128) -> bool {
        self.done.is_some_and(|done| sequence <= done) && published <= self.newest
    }

    pub(crate) fn done(&mut self, sequence: u64, published: i128) {
        let is_later = published > self.newest;
        self.done = if is_later { Some(sequence) } else { self.done.max(Some(sequence)) };
        self.newest = self.newest.max(published);
    }

    pub(crate) fn reached(&mut self, origin: &Origin) {
        let is_later = origin.published() > self.newest;
        let position = Some(origin.position);
        let reached = if is_later { position } else { self.reached.max(position) };
        if reached == position {
            self.events.retain(|event, _| event.sequence == origin.position.sequence);
            self.digest.clone_from(&origin.digest);
            self.is_earlier = self.stream.as_ref() != Some(&origin.stream);
        }
        self.reached = reached;
        self.newest = self.newest.max(origin.published());
    }

    /// Forgets which events are in the room, before it is read again. What is done with stays so.
    pub(crate) fn forget_posted(&mut self) {
        (self.reached, self.digest) = (None, None);
        self.events.clear();
    }

    pub(crate) fn found(&mut self, found: LastPosted) {
        self.reached(&found.origin);
        if self.reached == Some(found.origin.position) {
            self.events.extend(found.events);
        }
    }

    pub(crate) fn has(&self, origin: &Origin) -> bool {
        self.has_part(origin.position, origin.published())
    }

    /// Whether a part of a message is in the room, which its stream stored at `published`, in nanoseconds since 1970.
    pub(crate) fn has_part(&self, part: Position, published: i128) -> bool {
        self.reached.is_some_and(|reached| part <= reached) && published <= self.newest
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::message::RouteName;

    fn stream() -> StreamId {
        StreamId { stream: "OPS".to_owned(), created: "1".to_owned() }
    }

    fn origin(sequence: u64, part: u32, published: i128) -> Origin {
        let published = Timestamp::from_nanosecond(published).unwrap();
        let route = RouteName::parse("r").unwrap();
        Origin::new(stream(), &route, Position { sequence, part }, published)
    }

    #[test]
    fn what_was_reached_is_there_with_all_before_it() {
        let mut known = Progress::default();
        known.of(&stream(), 7, 70);
        known.reached(&origin(7, 0, 70));
        assert!(known.has(&origin(6, 1, 60)) && known.has(&origin(7, 0, 70)));
        assert!(!known.has(&origin(7, 1, 70)) && !known.has(&origin(8, 0, 80)));
        known.reached(&origin(7, 1, 70));
        assert!(known.has(&origin(7, 1, 70)));
        known.done(7, 70);
        assert!(known.is_done(7, 70) && known.is_done(6, 60) && !known.is_done(8, 80));
    }

    #[test]
    fn another_incarnation_of_the_stream_begins_anew() {
        let mut known = Progress::default();
        known.of(&stream(), 7, 70);
        known.done(7, 70);
        known.of(&StreamId { created: "2000000000".to_owned(), ..stream() }, 1, 80);
        assert!(!known.is_done(1, 80));
    }

    #[test]
    fn what_the_room_shows_of_a_stream_before_it_was_restored_counts() {
        let mut known = Progress::default();
        let restored = StreamId { created: "2000000000".to_owned(), ..stream() };
        known.of(&restored, 7, 70);
        known.reached(&origin(7, 0, 70));
        known.certain = true;
        assert!(known.has(&origin(6, 0, 60)) && known.has(&origin(7, 0, 70)));
        // The stream was made anew instead, and begins with number 1.
        known.of(&restored, 1, 2_000_000_001);
        assert!(
            known.certain && known.reached.is_none() && !known.has(&origin(1, 0, 2_000_000_001))
        );
    }

    #[test]
    fn a_number_that_is_used_again_is_another_message() {
        let mut known = Progress::default();
        known.of(&stream(), 100, 1_000);
        known.reached(&origin(100, 0, 1_000));
        known.done(100, 1_000);
        // The server has lost its last messages and continues with number 90.
        known.of(&stream(), 90, 2_000);
        assert!(!known.certain && !known.is_done(90, 2_000));
        // The room still shows the earlier number 100.
        known.reached(&origin(100, 0, 1_000));
        known.certain = true;
        assert!(!known.has(&origin(90, 0, 2_000)));
        known.reached(&origin(90, 0, 2_000));
        known.done(90, 2_000);
        known.of(&stream(), 91, 2_100);
        assert!(known.certain, "noticed once");
        assert!(!known.has(&origin(91, 0, 2_100)));
        assert!(known.is_done(90, 2_000));
    }

    #[test]
    fn a_clock_of_nats_that_is_set_back_makes_nothing_new() {
        let mut known = Progress::default();
        known.of(&stream(), 5, 100);
        known.done(5, 100);
        known.of(&stream(), 6, 90);
        known.done(6, 90);
        known.of(&stream(), 5, 100);
        assert!(known.is_done(5, 100) && known.is_done(6, 90));
    }
}
