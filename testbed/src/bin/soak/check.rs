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

/// A line in a room that says that a stream has removed messages before they could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) count: u64,
    /// The first and the last sequence number that it names.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Notice {
    /// All in a room, about this stream. They are written as "1,204 messages (sequence 12 to 1215, from ...".
    pub(crate) fn all_in(timeline: &[Event], stream: &str) -> Vec<Self> {
        let said = format!(" removed by the stream {stream} before ");
        let shown = timeline.iter().filter(|event| event.is_message() && !is_edit(event));
        shown.filter(|event| event.body().contains(&said)).filter_map(Self::of).collect()
    }

    fn of(event: &Event) -> Option<Self> {
        let (before, rest) = event.body().split_once(" (sequence ")?;
        let (range, _) = rest.split_once(", from ")?;
        let (first, last) = range.split_once(" to ")?;
        let (_, count) = before.rsplit_once(" message")?.0.rsplit_once(' ')?;
        Some(Self {
            count: count.replace(',', "").parse().ok()?,
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        })
    }
}

/// The messages that were published for a route, that its stream had, and that its room shows.
pub(crate) struct Evidence<'a> {
    /// The messages that were acknowledged to publishers.
    pub(crate) published: &'a BTreeSet<Mark>,
    /// The messages that the stream has, or had before it was purged, with their sequence numbers.
    pub(crate) stored: &'a BTreeMap<u64, Mark>,
    /// The messages of the room, in its order.
    pub(crate) seen: &'a [Mark],
    /// The lines of the room about removed messages.
    pub(crate) notices: &'a [Notice],
    /// The number of times that the stream was purged.
    pub(crate) purges: u64,
}

/// The mistakes in a room. All is well when every list is empty, and removed messages are announced as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The number of messages that were published.
    pub(crate) messages: usize,
    /// Neither seen nor announced as removed.
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
    /// The number of messages that are not seen, and that the room announces as removed.
    pub(crate) announced: u64,
    /// The number of those among them that the room does not count, although it names their numbers.
    pub(crate) not_counted: u64,
    /// The number of messages that the room announces as removed, and that were not.
    pub(crate) announced_and_seen: u64,
    /// The number of times that the stream was purged.
    pub(crate) purges: u64,
}

impl Verdict {
    /// Compares a room with what was published for it.
    pub(crate) fn of(evidence: &Evidence<'_>) -> Self {
        let Evidence { published, stored, seen, notices, purges } = evidence;
        let mut places = HashMap::new();
        let mut doubled_by_nats = Vec::new();
        for (sequence, mark) in *stored {
            if places.contains_key(mark) {
                doubled_by_nats.push(*mark);
            } else {
                places.insert(*mark, *sequence);
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
        let is_strange = |mark: &&Mark| !published.contains(mark);
        let is_announced = |mark: &Mark| {
            let names = |place: &u64| {
                notices.iter().any(|notice| (notice.first..=notice.last).contains(place))
            };
            places.get(mark).is_some_and(names)
        };
        let unseen = published.iter().filter(|mark| !times.contains_key(mark));
        let (announced, lost): (Vec<Mark>, Vec<Mark>) = unseen.copied().partition(is_announced);
        let announced = announced.len() as u64;
        // A bridge that takes over may not know what the one before it has told, and tells all of it.
        let is_told_again = |(index, notice): &(usize, &Notice)| {
            let mut later = notices.iter().skip(index + 1);
            later.any(|later| later.first <= notice.first && notice.last <= later.last)
        };
        let counting = notices.iter().enumerate().filter(|notice| !is_told_again(notice));
        let counted: u64 = counting.map(|(_, notice)| notice.count).sum();
        Self {
            messages: published.len(),
            lost,
            twice,
            misordered,
            strange: times.keys().filter(is_strange).copied().collect(),
            lost_by_nats: published
                .iter()
                .filter(|mark| !places.contains_key(mark))
                .copied()
                .collect(),
            doubled_by_nats,
            announced,
            not_counted: announced.saturating_sub(counted),
            announced_and_seen: counted.saturating_sub(announced),
            purges: *purges,
        }
    }

    /// Whether each message was seen once and in order, or announced as removed.
    pub(crate) fn is_well(&self) -> bool {
        let right = Self {
            messages: self.messages,
            announced: self.announced,
            purges: self.purges,
            ..Self::default()
        };
        let announced_and_seen = if self.is_announced_in_vain() { u64::MAX } else { 0 };
        Self { announced_and_seen, ..self.clone() } == right
    }

    /// Whether more messages were announced as removed, and are seen, than can be.
    ///
    /// The bridge cannot know whether a message was posted at whose end it was killed, or lost its connection to NATS.
    /// NATS would deliver it again, and the bridge would look for it in the room; but a purge takes it away, and what
    /// the bridge never had an answer for, it announces. A reader then sees the message, and a line that counts one too
    /// many, which is better than a loss that nobody hears of. One message is posted at a time, so that a purge can
    /// make one such mistake, and nothing else can.
    pub(crate) fn is_announced_in_vain(&self) -> bool {
        self.announced_and_seen > self.purges
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
        after_purges(0, stored, seen, &[])
    }

    /// The stored messages have the sequence numbers 101, 102 and so on.
    fn after_purges(purges: u64, stored: &[u64], seen: &[u64], notices: &[Notice]) -> Verdict {
        Verdict::of(&Evidence {
            published: &marks(1..=5).into_iter().collect(),
            stored: &(101..).zip(marks(stored.iter().copied())).collect(),
            seen: &marks(seen.iter().copied()),
            notices,
            purges,
        })
    }

    fn notice(count: u64, first: u64, last: u64) -> Notice {
        Notice { count, first, last }
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
    fn what_is_removed_has_to_be_announced_and_counted() {
        let all = [1, 2, 3, 4, 5];
        let found = after_purges(1, &all, &[1, 4, 5], &[notice(2, 102, 103)]);
        assert!(found.is_well());
        assert_eq!((found.announced, found.lost), (2, marks([])));
        // Two purges may be told of together.
        assert!(after_purges(2, &all, &[1, 3, 5], &[notice(2, 102, 104)]).is_well());
        let found = after_purges(1, &all, &[1, 4, 5], &[notice(1, 102, 102)]);
        assert!(!found.is_well());
        assert_eq!(found.lost, marks([3]));
        let found = after_purges(1, &all, &[1, 5], &[notice(2, 102, 104)]);
        assert!(!found.is_well());
        assert_eq!((found.lost, found.not_counted), (marks([]), 1));
        assert!(!after_purges(1, &all, &[1, 4, 5], &[]).is_well());
    }

    #[test]
    fn one_message_for_each_purge_may_be_announced_although_it_is_seen() {
        let all = [1, 2, 3, 4, 5];
        let found = after_purges(1, &all, &[1, 2, 4, 5], &[notice(2, 102, 103)]);
        assert!(found.is_well());
        assert_eq!(found.announced_and_seen, 1);
        assert!(!after_purges(1, &all, &[1, 2, 3, 4, 5], &[notice(2, 102, 103)]).is_well());
        // A stream that was not purged has lost nothing.
        assert!(!after_purges(0, &all, &all, &[notice(1, 102, 102)]).is_well());
    }

    #[test]
    fn a_bridge_that_takes_over_may_tell_what_was_told_together_with_more() {
        let all = [1, 2, 3, 4, 5];
        let told = [notice(1, 102, 102), notice(3, 102, 104)];
        assert!(after_purges(2, &all, &[1, 5], &told).is_well());
        assert!(!after_purges(1, &all, &[1, 3, 4, 5], &told).is_well());
    }

    #[test]
    fn lines_about_removed_messages_are_read() {
        let line = |text: &str| event(&json!({ "body": format!("🤖 nats-matrix: {text}") }));
        let many = "up to 1,336 messages (sequence 1205 to 2540, from 2026-11-23 02:10:44 UTC to 2026-11-23 05:31:09 \
                    UTC) were removed by the stream SOAK before they could be read, and cannot be shown";
        let one = "1 message (sequence 7 to 7, from 2026-11-23 02:10:44 UTC to 2026-11-23 05:31:09 UTC) was removed by \
                   the stream SOAK before it could be read, and cannot be shown";
        let room = [line(many), line("caught up"), line(one)];
        let notices = Notice::all_in(&room, "SOAK");
        assert_eq!(notices, [notice(1336, 1205, 2540), notice(1, 7, 7)]);
        assert!(Notice::all_in(&room, "SOAK_PURGED").is_empty());
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
