//! Decoded payloads and their kinds.

use std::{fmt, ops::Range};

use bytes::Bytes;

use crate::{
    json, mask,
    message::{
        alert::{Alert, Group},
        note::Note,
        object::Object,
        report::Report,
    },
    text::{self, shown},
};

/// Returns all alerts of a message. A condition on a group holds if one of its alerts meets it.
pub(crate) fn alerts(payload: &Payload) -> Vec<&Alert> {
    match payload {
        Payload::Alert(alert) => vec![alert],
        Payload::Alerts(group) => group.alerts.iter().collect(),
        Payload::Event(event) => event.data.as_deref().map(alerts).unwrap_or_default(),
        Payload::Several(items) => {
            items.iter().flat_map(|item| alerts(&item.decoded.payload)).collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the machines and services that a message is about.
pub(crate) fn sources(payload: &Payload) -> Vec<&str> {
    match payload {
        Payload::Report(report) => vec![report.host.as_str()],
        Payload::Several(items) => {
            items.iter().flat_map(|item| sources(&item.decoded.payload)).collect()
        }
        other => alerts(other).into_iter().filter_map(|alert| alert.source.as_deref()).collect(),
    }
}

/// The shapes of payloads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Payload {
    /// A routine report of a machine.
    Report(Report),
    /// An event that needs a person's attention.
    Alert(Alert),
    /// Several alerts in one message.
    Alerts(Group),
    /// An event that nobody has to act on.
    Note(Note),
    /// A `CloudEvent` whose data has no known shape.
    Event(Event),
    /// Any other JSON object.
    Object(Object),
    /// Any other UTF-8 text, including other JSON.
    Text(String),
    /// Bytes that are not text.
    Binary(Binary),
    /// Several objects in one message, each of which is shown as if it had come alone.
    Several(Vec<Item>),
}

/// One of several objects in a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub decoded: Decoded,
    /// The place of its JSON among the published bytes.
    pub range: Range<usize>,
}

impl Item {
    /// Returns its part of the published bytes.
    pub(crate) fn original(&self, message: &Bytes) -> Bytes {
        let part = message.get(self.range.clone());
        part.map_or_else(Bytes::new, |part| message.slice_ref(part))
    }
}

/// The kinds of payloads, by which users name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadKind {
    Report,
    Alert,
    Alerts,
    Note,
    Event,
    Object,
    Text,
    Binary,
}

impl PayloadKind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Report,
        Self::Alert,
        Self::Alerts,
        Self::Note,
        Self::Event,
        Self::Object,
        Self::Text,
        Self::Binary,
    ];

    /// The name of the kind, as in the file names of its templates.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Alert => "alert",
            Self::Alerts => "alerts",
            Self::Note => "note",
            Self::Event => "event",
            Self::Object => "object",
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }

    /// Whether the kind has templates. Bytes have none.
    pub(crate) const fn has_templates(self) -> bool {
        !matches!(self, Self::Binary)
    }

    /// The name of the kind in the `match` of a route, which does not distinguish one alert from several.
    pub(crate) const fn in_match(self) -> &'static str {
        match self {
            Self::Alerts => Self::Alert.name(),
            other => other.name(),
        }
    }
}

impl Payload {
    pub(crate) fn kind(&self) -> PayloadKind {
        match self {
            Self::Report(_) => PayloadKind::Report,
            Self::Alert(_) => PayloadKind::Alert,
            Self::Alerts(_) => PayloadKind::Alerts,
            Self::Note(_) => PayloadKind::Note,
            Self::Event(_) => PayloadKind::Event,
            Self::Object(_) => PayloadKind::Object,
            Self::Text(_) => PayloadKind::Text,
            Self::Binary(_) => PayloadKind::Binary,
            // Each of them has templates of its own kind.
            Self::Several(items) => {
                let first = items.first().map(|item| item.decoded.payload.kind());
                first.unwrap_or(PayloadKind::Text)
            }
        }
    }

    /// The kinds of what is in the message.
    pub(crate) fn kinds(&self) -> Vec<PayloadKind> {
        match self {
            Self::Several(items) => items.iter().map(|item| item.decoded.payload.kind()).collect(),
            one => vec![one.kind()],
        }
    }
}

/// Bytes that are not text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// The first bytes.
    pub head: Vec<u8>,
    /// The number of all bytes.
    pub len: usize,
}

impl Binary {
    /// The number of bytes that are kept.
    const HEAD: usize = 64;

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { head: bytes[..bytes.len().min(Self::HEAD)].to_vec(), len: bytes.len() }
    }
}

/// A decoded payload, and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    /// The payload to show.
    pub payload: Payload,
    /// Whether the message contains more than the payload, because the rest is too much to be shown.
    pub is_cut: bool,
    /// The number of secrets that are already hidden, because of their keys.
    pub hidden: u64,
    /// The mistake that the publisher should fix, if there is one. The message is shown all the same.
    pub flaw: Option<Flaw>,
}

impl Decoded {
    /// Wraps a payload without a flaw that is complete.
    pub(crate) fn sound(payload: Payload) -> Self {
        Self { payload, is_cut: false, hidden: 0, flaw: None }
    }

    /// Keeps the beginning of a text.
    pub(crate) fn text(text: &str) -> Self {
        let head = &text[..text.floor_char_boundary(json::MOST_TEXT)];
        Self { is_cut: head.len() < text.len(), ..Self::sound(Payload::Text(head.to_owned())) }
    }

    /// Adds a flaw.
    pub(crate) fn with_flaw(self, flaw: impl AsRef<str>) -> Self {
        Self { flaw: Some(Flaw::new(flaw.as_ref())), ..self }
    }

    /// Notes that the message is shown as it came because of its flaw.
    pub(crate) fn shown_raw(mut self) -> Self {
        self.flaw.iter_mut().for_each(|flaw| flaw.is_shown_raw = true);
        self
    }

    /// The first flaw of the message, or of what is in it.
    pub(crate) fn any_flaw(&self) -> Option<&Flaw> {
        let items = match &self.payload {
            Payload::Several(items) => &items[..],
            _ => &[],
        };
        self.flaw.iter().chain(items.iter().filter_map(|item| item.decoded.flaw.as_ref())).next()
    }
}

/// The mistake in a payload, described for its publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    text: String,
    /// Whether the message is shown as it came, so that a reader needs to know why.
    pub(crate) is_shown_raw: bool,
}

/// The longest flaw, in characters.
pub(crate) const MAX_FLAW_CHARS: usize = 400;

impl Flaw {
    /// Creates a flaw as one line of readable text of bounded length without secrets, because it may quote the payload
    /// and is logged and shown.
    pub(crate) fn new(text: &str) -> Self {
        let text = text::shortened(shown::line(&mask::for_log(text)), MAX_FLAW_CHARS);
        Self { text, is_shown_raw: false }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An event in the envelope of a `CloudEvent`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// The type of the event, like "com.example.backup.finished".
    pub kind: String,
    /// The source of the event.
    pub source: String,
    /// The thing, within the source, that the event is about.
    pub subject: Option<String>,
    /// The time of the event, as in RFC 3339.
    pub time: Option<String>,
    /// The data of the event: an object, text or bytes, but no known shape.
    pub data: Option<Box<Payload>>,
}
