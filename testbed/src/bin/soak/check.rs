//! Whether a room shows each message once and in the order of the stream.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use nats_matrix_testbed::Event;

/// The mark in a message's text that no other has: `‹digests 2.17›` is the 17th of that route's second
/// publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark {
    pub(crate) route: &'static str,
    pub(crate) publisher: u32,
    pub(crate) number: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, publisher, number } = self;
        write!(f, "‹{route} {publisher}.{number}›")
    }
}

impl Mark {
    /// The marks in a text, of this route.
    pub(crate) fn all_in(text: &str, route: &'static str) -> Vec<Self> {
        let marks = text.split('‹').skip(1).filter_map(|rest| {
            let numbers = rest.split_once('›')?.0.strip_prefix(route)?.strip_prefix(' ')?;
            let (publisher, number) = numbers.split_once('.')?;
            Some(Self { route, publisher: publisher.parse().ok()?, number: number.parse().ok()? })
        });
        marks.collect()
    }
}

/// The marks that a person sees in a room, from the first to the last.
pub(crate) fn seen(timeline: &[Event], route: &'static str) -> Vec<Mark> {
    let shown = timeline.iter().filter(|event| event.is_message() && !is_edit(event));
    // A digest shows the messages that it sums up in its thread.
    let shown = shown.filter(|event| !event.body().starts_with('📚'));
    shown.flat_map(|event| Mark::all_in(event.body(), route)).collect()
}

/// An edit is seen in place of what it changes.
fn is_edit(event: &Event) -> bool {
    event.content["m.relates_to"]["rel_type"] == "m.replace"
}

/// The messages that were published for a route, that its stream has, and that its room shows.
pub(crate) struct Evidence<'a> {
    /// The messages that were acknowledged to publishers.
    pub(crate) published: &'a BTreeSet<Mark>,
    /// The messages of the stream, in its order.
    pub(crate) stored: &'a [Mark],
    /// The messages of the room, in its order.
    pub(crate) seen: &'a [Mark],
}

/// The mistakes in a room. All is well when every list is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The number of messages that were published.
    pub(crate) messages: usize,
    /// Published and never seen.
    pub(crate) lost: Vec<Mark>,
    /// Seen once more, each time.
    pub(crate) twice: Vec<Mark>,
    /// Seen after a message that was stored later.
    pub(crate) misordered: Vec<Mark>,
    /// Seen, and published by nobody.
    pub(crate) strange: Vec<Mark>,
    /// Acknowledged by NATS, and not in the stream: these were lost before the bridge.
    pub(crate) lost_by_nats: Vec<Mark>,
    /// The messages that are in the stream more than once: they were doubled before the bridge.
    pub(crate) doubled_by_nats: Vec<Mark>,
}

impl Verdict {
    /// Compares a room with what was published for it.
    pub(crate) fn of(evidence: &Evidence<'_>) -> Self {
        let Evidence { published, stored, seen } = evidence;
        let mut places = HashMap::new();
        let mut doubled_by_nats = Vec::new();
        for (place, mark) in stored.iter().enumerate() {
            if places.contains_key(mark) {
                doubled_by_nats.push(*mark);
            } else {
                places.insert(*mark, place);
            }
        }
        let mut times: BTreeMap<Mark, usize> = BTreeMap::new();
        let (mut twice, mut misordered, mut latest) = (Vec::new(), Vec::new(), None);
        for mark in *seen {
            let times = times.entry(*mark).or_default();
            *times += 1;
            if *times > 1 {
                twice.push(*mark);
                continue;
            }
            let place = places.get(mark).copied();
            if place.is_some() && place < latest {
                misordered.push(*mark);
            }
            latest = latest.max(place);
        }
        let is_lost = |mark: &&Mark| !times.contains_key(mark);
        let is_strange = |mark: &&Mark| !published.contains(mark);
        Self {
            messages: published.len(),
            lost: published.iter().filter(is_lost).copied().collect(),
            twice,
            misordered,
            strange: times.keys().filter(is_strange).copied().collect(),
            lost_by_nats: published
                .iter()
                .filter(|mark| !places.contains_key(mark))
                .copied()
                .collect(),
            doubled_by_nats,
        }
    }

    /// Whether each message was seen once and in order.
    pub(crate) fn is_well(&self) -> bool {
        *self == Self { messages: self.messages, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn mark(number: u64) -> Mark {
        Mark { route: "plain", publisher: 1, number }
    }

    fn marks(numbers: impl IntoIterator<Item = u64>) -> Vec<Mark> {
        numbers.into_iter().map(mark).collect()
    }

    fn verdict(stored: &[u64], seen: &[u64]) -> Verdict {
        Verdict::of(&Evidence {
            published: &marks(1..=5).into_iter().collect(),
            stored: &marks(stored.iter().copied()),
            seen: &marks(seen.iter().copied()),
        })
    }

    fn event(content: &Value) -> Event {
        serde_json::from_value(json!({
            "event_id": "$1", "sender": "@b:x", "origin_server_ts": 1, "type": "m.room.message",
            "state_key": null, "content": content,
        }))
        .unwrap()
    }

    #[test]
    fn each_once_in_the_order_of_the_stream_is_well() {
        assert!(verdict(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]).is_well());
        assert!(verdict(&[2, 1, 3, 5, 4], &[2, 1, 3, 5, 4]).is_well());
    }

    #[test]
    fn what_is_lost_is_named() {
        let found = verdict(&[1, 2, 3, 4, 5], &[1, 2, 4]);
        assert!(!found.is_well());
        assert_eq!((found.lost, found.lost_by_nats), (marks([3, 5]), marks([])));
        let found = verdict(&[1, 2, 3, 4], &[1, 2, 3, 4]);
        assert!(!found.is_well());
        assert_eq!((found.lost, found.lost_by_nats), (marks([5]), marks([5])));
        assert!(!verdict(&[1, 2, 3, 4, 5], &[]).is_well());
    }

    #[test]
    fn what_is_seen_twice_is_named_each_time() {
        let found = verdict(&[1, 2, 3, 4, 5], &[1, 2, 2, 3, 2, 4, 5]);
        assert!(!found.is_well());
        assert_eq!((found.twice, found.misordered), (marks([2, 2]), marks([])));
        let found = verdict(&[1, 2, 3, 4, 5, 1], &[1, 2, 3, 4, 5, 1]);
        assert!(!found.is_well());
        assert_eq!((found.twice, found.doubled_by_nats), (marks([1]), marks([1])));
    }

    #[test]
    fn what_comes_after_a_later_one_is_named() {
        let found = verdict(&[1, 2, 3, 4, 5], &[1, 4, 2, 3, 5]);
        assert!(!found.is_well());
        assert_eq!(found.misordered, marks([2, 3]));
        assert!(!verdict(&[2, 1, 3, 4, 5], &[1, 2, 3, 4, 5]).is_well());
    }

    #[test]
    fn what_nobody_published_is_named() {
        let found = verdict(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 6]);
        assert!(!found.is_well());
        assert_eq!(found.strange, marks([6]));
    }

    #[test]
    fn a_room_is_read_as_a_person_sees_it() {
        let thread = json!({ "rel_type": "m.thread", "event_id": "$0" });
        let replace = json!({ "rel_type": "m.replace", "event_id": "$0" });
        let room = [
            event(&json!({ "body": format!("📊 {} Operational Report", mark(1)) })),
            event(&json!({ "body": format!("📚 7 messages\n\nThe newest:\n{}", mark(9)) })),
            event(
                &json!({ "body": format!("── 06:00 · a.b\n{}\n\n── 06:01 · a.b\n{}", mark(2), mark(3)), "m.relates_to": thread }),
            ),
            event(&json!({ "body": format!("* {}", mark(4)), "m.relates_to": replace })),
            event(&json!({ "body": "‹other 1.1› ‹plain 1› ‹plain 1.x›" })),
        ];
        assert_eq!(seen(&room, "plain"), marks([1, 2, 3]));
    }
}
