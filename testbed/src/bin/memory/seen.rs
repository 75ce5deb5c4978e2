//! A comparison of what a room shows with what was published: the good reports once each and in order, the bad
//! messages in a form that is bounded.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::shape::{BAD, GOOD};

/// The most that an event may have, in bytes, with what a homeserver adds.
const MOST_EVENT_BYTES: usize = 60_000;
/// The key under which an event says where it comes from.
const ORIGIN: &str = "io.github.nats-matrix.origin";

/// The published messages, by their place in the stream.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// The number of the bad message that is there, from sequence 1 on; `None` for a good one.
    pub(crate) bad: Vec<Option<usize>>,
    /// The number of reports.
    pub(crate) good: usize,
    /// The bytes of the largest of all.
    pub(crate) largest: usize,
}

/// The messages of which a room has shown something.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The numbers of good reports, in the order of the room.
    pub(crate) good: Vec<usize>,
    pub(crate) bad: BTreeSet<usize>,
    /// The bytes of the largest event.
    largest: usize,
    events: usize,
}

impl Seen {
    /// Takes note of the content of one more event of the room.
    pub(crate) fn note(&mut self, content: &Value, published: &Published) {
        self.events += 1;
        self.largest = self.largest.max(content.to_string().len());
        let origin = &content[ORIGIN];
        let digest = &origin["digest"];
        let is_sum = digest.is_object() && digest["root"].is_null();
        // It quotes some of what is in its thread; an edit says once more what was said, and a file has its name.
        if is_sum || content["m.relates_to"]["rel_type"] == "m.replace" {
            return;
        }
        let body = content["body"].as_str().unwrap_or_default();
        self.good.extend(numbers(body, GOOD));
        if digest.is_object() {
            self.bad.extend(numbers(body, BAD));
        } else if let Some(sequence) = origin["seq"].as_u64() {
            let place = usize::try_from(sequence).ok().and_then(|it| it.checked_sub(1));
            self.bad.extend(place.and_then(|place| *published.bad.get(place)?));
        }
    }

    /// The mistakes in what was seen, when these messages are among dead letters.
    pub(crate) fn complaints(&self, published: &Published, dead: &BTreeSet<usize>) -> Vec<String> {
        let mut complaints = Vec::new();
        let expected: Vec<usize> = (1..=published.good).collect();
        if self.good != expected {
            let (seen, all) = (self.good.len(), expected.len());
            let at = self.good.iter().zip(&expected).position(|(seen, expected)| seen != expected);
            let place = at.map_or_else(String::new, |at| {
                format!(", number {} where {} should be", self.good[at], expected[at])
            });
            complaints.push(format!("{seen} of {all} good reports seen{place}"));
        }
        let all_bad: BTreeSet<usize> = published.bad.iter().copied().flatten().collect();
        let lost: Vec<_> =
            all_bad.iter().filter(|it| !self.bad.contains(it) && !dead.contains(it)).collect();
        if let [first, ..] = lost[..] {
            complaints.push(format!("{} bad messages seen nowhere, as {first}", lost.len()));
        }
        if self.largest > MOST_EVENT_BYTES {
            complaints.push(format!("an event of {} bytes", self.largest));
        }
        complaints
    }

    /// The number of events.
    pub(crate) fn events(&self) -> usize {
        self.events
    }
}

/// The numbers that stand behind a mark in a text, in order.
pub(crate) fn numbers(text: &str, mark: &str) -> Vec<usize> {
    let behind = text.split(mark).skip(1);
    let number = |text: &str| {
        let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse().ok()
    };
    behind.filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(events: &[Value]) -> Vec<String> {
        let published = Published { bad: vec![None, Some(1), None], good: 2, largest: 0 };
        let mut seen = Seen::default();
        for event in events {
            seen.note(event, &published);
        }
        seen.complaints(&published, &BTreeSet::new())
    }

    fn event(body: &str, sequence: u64) -> Value {
        json!({ "body": body, ORIGIN: { "seq": sequence, "part": 0 } })
    }

    #[test]
    fn what_is_lost_twice_or_misplaced_is_noticed() {
        let (first, bad, last) =
            (event("good report 1", 1), event("of zeros", 2), event("good report 2", 3));
        let of = |events: [&Value; 3]| complaints(&events.map(Clone::clone)).join("; ");
        assert_eq!(of([&first, &bad, &last]), "");
        assert_eq!(
            of([&first, &first, &last]),
            "3 of 2 good reports seen, number 1 where 2 should be; 1 bad messages seen nowhere, as 1"
        );
        assert_eq!(
            of([&last, &bad, &first]),
            "2 of 2 good reports seen, number 2 where 1 should be"
        );
        assert_eq!(of([&first, &bad, &bad]), "1 of 2 good reports seen");
        let long = event(&"x".repeat(MOST_EVENT_BYTES), 2);
        assert!(of([&first, &long, &last]).starts_with("an event of "));
    }

    #[test]
    fn of_a_digest_its_thread_is_read() {
        let digest = |root: &Value, body: &str| json!({ "body": body, ORIGIN: { "digest": { "root": root } } });
        let sum = digest(&Value::Null, "3 messages, the newest: good report 2");
        let thread = digest(
            &json!("$a"),
            "── ops.good\ngood report 1\n── ops.bad.1.x\n── ops.good\ngood report 2",
        );
        assert_eq!(complaints(&[sum.clone(), thread]), Vec::<String>::new());
        assert_eq!(complaints(&[sum]).len(), 2);
    }
}
