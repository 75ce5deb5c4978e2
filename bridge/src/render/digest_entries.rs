//! A digest: many messages shown as one event that sums them up, with every message in its thread, in order.
//!
//! A digest is one event and the events of its thread. The origin of each event says which messages the digest covers
//! and how far it has come. A process that starts after a kill can therefore continue: it reads the same messages again
//! and leaves out those that are already in the room.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    iter,
    rc::Rc,
};

use jiff::Timestamp;

use crate::{
    alerts::AlertUpdate,
    message::{Attachment, Kind, Position, Urgency},
    render::content::Rendered,
};

/// The part number of the event that sums up the digest. It belongs to the first message.
pub(crate) const SUM: u32 = 0;

/// The part number of a file that belongs to a message.
pub(crate) const FILE: u32 = 1;

/// The part number of a text, which covers all messages up to the one that it belongs to.
pub(crate) const TEXT: u32 = 2;

/// The amount of text in one event of the thread, in bytes. Larger events are slow to open on a phone.
const PIECE_BYTES: usize = 16 * 1024;

/// The character that begins the heading of each message in the thread.
const RULE: char = '─';

/// One message of a digest.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) published: Timestamp,
    /// The publication time that people are shown.
    pub(crate) said: Timestamp,
    /// The subject of the message.
    pub(crate) subject: String,
    /// The time and the subject of the message, as a room shows them.
    pub(crate) head: String,
    pub(crate) rendered: Rendered,
    pub(crate) kind: Kind,
    /// The machines or services that the message is about, as a room shows them.
    pub(crate) sources: Vec<String>,
    /// The updates that the message makes to the threads of alerts.
    pub(crate) updates: Vec<ThreadUpdate>,
}

/// An update that a message makes to the thread of an alert.
#[derive(Debug)]
pub(crate) struct ThreadUpdate {
    /// The key of the alert's thread for the server that sent the message.
    pub(crate) key: Rc<str>,
    /// The other keys of the thread. Most alerts have none, and take less memory so.
    pub(crate) others: Option<Box<OtherKeys>>,
    pub(crate) update: AlertUpdate,
}

/// The keys of a thread that several servers report.
#[derive(Debug)]
pub(crate) struct OtherKeys {
    /// The key under which other servers that report the alert find its thread.
    pub(crate) shared: Option<Rc<str>>,
    /// The key of the thread that was the first in the digest.
    pub(crate) first: Rc<str>,
}

/// The news in a digest, which people have not been notified of.
#[derive(Debug)]
pub(crate) struct News<'a> {
    /// The highest urgency of the news.
    pub(crate) urgency: Urgency,
    /// The subjects that have a critical alert.
    pub(crate) critical: BTreeSet<&'a str>,
}

/// An event of the thread.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The texts of messages.
    Text {
        /// The sequence of the last of these messages.
        up_to: u64,
        text: String,
    },
    /// The file of a message.
    File { of: u64, file: &'a Attachment },
}

impl Entry {
    /// The approximate memory that the entry takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let sources: usize =
            self.sources.iter().map(|source| size_of::<String>() + source.len()).sum();
        let updates = self.updates.iter().map(ThreadUpdate::weight);
        size_of::<Self>()
            + self.subject.len()
            + self.head.len()
            + self.rendered.plain.len()
            + sources
            + updates.sum::<usize>()
    }
}

impl ThreadUpdate {
    /// Returns the name of the alert in the digest, which is the same whichever server reports it.
    pub(crate) fn alert(&self) -> &str {
        self.others.as_ref().map_or(&self.key, |others| &others.first)
    }

    /// Returns the key under which other servers find the thread.
    pub(crate) fn shared_key(&self) -> Option<&str> {
        self.others.as_ref()?.shared.as_deref()
    }

    /// Returns the keys under which the thread may be known, the best first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let first = Some(self.alert()).filter(|first| *first != &*self.key);
        self.shared_key().into_iter().chain([&*self.key]).chain(first)
    }

    fn weight(&self) -> usize {
        let others = self.others.as_ref().map_or(0, |_| size_of::<OtherKeys>());
        let keys = self.keys().map(str::len).sum::<usize>();
        size_of::<Self>() + others + keys + self.update.weight()
    }
}

/// Returns the events of the thread that come after `reached`. Each is made when it is asked for, as all texts together
/// are as large as the digest.
pub(crate) fn pieces(entries: &[Entry], reached: Position) -> impl Iterator<Item = Piece<'_>> {
    let is_shown =
        move |part: u32, entry: &Entry| Position { sequence: entry.sequence, part } <= reached;
    let mut entries = entries.iter().filter(move |entry| !is_shown(TEXT, entry));
    let (mut text, mut up_to) = (String::new(), 0);
    let mut made = VecDeque::new();
    iter::from_fn(move || {
        while made.is_empty() {
            let Some(entry) = entries.next() else {
                let rest = std::mem::take(&mut text);
                return (!rest.is_empty()).then_some(Piece::Text { up_to, text: rest });
            };
            let more = format!("{RULE}{RULE} {}\n{}\n\n", entry.head, entry.rendered.below(RULE));
            let file = entry.rendered.attachment.as_ref().filter(|_| !is_shown(FILE, entry));
            if !text.is_empty() && (text.len() + more.len() > PIECE_BYTES || file.is_some()) {
                made.push_back(Piece::Text { up_to, text: std::mem::take(&mut text) });
            }
            made.extend(file.map(|file| Piece::File { of: entry.sequence, file }));
            text.push_str(&more);
            up_to = entry.sequence;
        }
        made.pop_front()
    })
}

/// Returns the entries that are still true at the end: the last one of each alert, and all that are about no alert.
pub(crate) fn still_true(entries: &[Entry]) -> Vec<&Entry> {
    let last = last_words(entries);
    let is_last = |entry: &Entry, alert: &str| {
        last.get(alert).is_some_and(|(last, _)| std::ptr::eq(*last, entry))
    };
    let is_true = |entry: &&Entry| {
        entry.updates.is_empty()
            || entry.updates.iter().any(|update| is_last(entry, update.alert()))
    };
    entries.iter().filter(is_true).collect()
}

/// Returns the last entry of each alert, and its last update there, by the name of the alert in the digest.
pub(crate) fn last_words(entries: &[Entry]) -> BTreeMap<&str, (&Entry, &ThreadUpdate)> {
    let said = entries.iter().flat_map(|entry| {
        entry.updates.iter().map(move |update| (update.alert(), (entry, update)))
    });
    said.collect()
}

/// Returns the news among the entries that are still true at the end. A resolved alert is not news, and neither is one
/// that has already sent a push notification, which `is_known` tells by its name in the digest.
pub(crate) fn news(entries: &[Entry], is_known: impl Fn(&str) -> bool) -> News<'_> {
    let mut news = News { urgency: Urgency::Routine, critical: BTreeSet::new() };
    let is_news = |entry: &&Entry| {
        entry.updates.is_empty() || entry.updates.iter().any(|update| !is_known(update.alert()))
    };
    for entry in still_true(entries).into_iter().filter(is_news) {
        let urgency = entry.rendered.urgency;
        news.urgency = news.urgency.max(urgency);
        if urgency == Urgency::Critical {
            news.critical.insert(&entry.subject);
        }
    }
    news
}

#[cfg(test)]
impl AlertUpdate {
    /// The update of a thread whose only key is this name.
    pub(crate) fn named(self, name: &str) -> ThreadUpdate {
        ThreadUpdate { key: name.into(), others: None, update: self }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::{
        config::Display,
        message::Decoded,
        render::{incoming::Incoming, renderer::Renderer},
    };

    fn entry(sequence: u64, payload: &serde_json::Value) -> Entry {
        let bytes = Bytes::from(payload.to_string());
        let decoded = Decoded::from_bytes(&bytes);
        let update = AlertUpdate::of(&decoded.payload);
        Entry {
            sequence,
            published: Timestamp::UNIX_EPOCH,
            said: Timestamp::UNIX_EPOCH,
            subject: format!("ops.{}", payload["source"].as_str().unwrap_or("x")),
            head: "then · ops.x".to_owned(),
            rendered: Renderer::new(&Display::default()).render(&Incoming {
                subject: "ops.x",
                headers: None,
                stream: "OPS",
                sequence,
                published: Timestamp::UNIX_EPOCH,
                route: "all",
                decoded: &decoded,
                original: &bytes,
            }),
            kind: Kind::of(&decoded.payload),
            sources: Vec::new(),
            updates: update
                .into_iter()
                .map(|it| it.named(&payload["source"].to_string()))
                .collect(),
        }
    }

    fn alert(sequence: u64, severity: &str, source: &str, status: &str) -> Entry {
        let alert =
            json!({ "severity": severity, "summary": "s", "source": source, "status": status });
        entry(sequence, &alert)
    }

    fn numbers(pieces: &[Piece<'_>]) -> Vec<(u64, u32)> {
        let number = |piece: &Piece<'_>| match piece {
            Piece::Text { up_to, .. } => (*up_to, TEXT),
            Piece::File { of, .. } => (*of, FILE),
        };
        pieces.iter().map(number).collect()
    }

    #[test]
    fn the_thread_goes_on_where_it_was_left() {
        let long = json!({ "a": "x".repeat(5_000) });
        let mut entries: Vec<_> = (1..=3).map(|n| alert(n, "info", "h", "firing")).collect();
        entries.push(entry(4, &long));
        entries.extend((5..=500).map(|n| alert(n, "info", "h", "firing")));
        let begin = Position { sequence: 1, part: SUM };
        let all: Vec<_> = pieces(&entries, begin).collect();
        let places = numbers(&all);
        assert_eq!(places[..2], [(3, TEXT), (4, FILE)]);
        assert_eq!(places.last(), Some(&(500, TEXT)));
        assert!(places.is_sorted());
        for piece in &all {
            let Piece::Text { text, .. } = piece else { continue };
            assert!(text.len() <= PIECE_BYTES + 5_000, "{}", text.len());
        }
        let shown = |pieces: &[Piece<'_>]| {
            let texts = pieces.iter().map(|piece| match piece {
                Piece::Text { text, .. } => text.matches("──").count(),
                Piece::File { .. } => 0,
            });
            texts.sum::<usize>()
        };
        assert_eq!(shown(&all), 500);
        // The rest of the digest is the same wherever it was interrupted.
        for (index, (sequence, part)) in places.iter().enumerate() {
            let reached = Position { sequence: *sequence, part: *part };
            let rest: Vec<_> = pieces(&entries, reached).collect();
            assert_eq!(numbers(&rest), places[index + 1..], "after {index}");
            let before = shown(&all[..=index]);
            assert_eq!(before + shown(&rest), 500, "after {index}");
        }
    }

    #[test]
    fn what_is_over_at_the_end_is_not_loud() {
        let mut entries = vec![
            alert(1, "critical", "db", "firing"),
            alert(2, "warning", "web", "firing"),
            alert(3, "critical", "db", "resolved"),
        ];
        let urgency = |entries: &[Entry]| news(entries, |_| false).urgency;
        assert_eq!(urgency(&entries), Urgency::Notable);
        entries.push(alert(4, "critical", "db", "firing"));
        assert_eq!(urgency(&entries), Urgency::Critical);
        entries.truncate(1);
        entries.push(alert(2, "critical", "db", "resolved"));
        assert_eq!(urgency(&entries), Urgency::Routine);
        assert_eq!(urgency(&[]), Urgency::Routine);
        let known =
            vec![alert(1, "critical", "db", "firing"), alert(2, "warning", "web", "firing")];
        let is_db = |key: &str| key == "\"db\"";
        assert_eq!(news(&known, is_db).urgency, Urgency::Notable);
        assert_eq!(news(&known, |_| false).critical, BTreeSet::from(["ops.db"]));
    }
}
