//! A payload once it is decoded.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    json,
    message::{
        alert::{Alert, Group},
        note::Note,
        report::Report,
    },
    text::{self, shown},
};

/// All alerts of a message; a group fits if one of them does.
pub(crate) fn alerts(payload: &Payload) -> Vec<&Alert> {
    match payload {
        Payload::Alert(alert) => vec![alert],
        Payload::Alerts(group) => group.alerts.iter().collect(),
        Payload::Event(event) => event.data.as_deref().map(alerts).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The machines and services that a message is about.
pub(crate) fn sources(payload: &Payload) -> Vec<&str> {
    match payload {
        Payload::Report(report) => vec![report.host.as_str()],
        other => alerts(other).into_iter().filter_map(|alert| alert.source.as_deref()).collect(),
    }
}

/// The shapes of a payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Payload {
    /// A routine report of a machine.
    Report(Report),
    /// Something that wants a person's attention.
    Alert(Alert),
    /// Several alerts in one message.
    Alerts(Group),
    /// Something that happened and that nobody has to act on.
    Note(Note),
    /// A `CloudEvent` with data of no shape that we know.
    Event(Event),
    /// Some other JSON object.
    Object(Map<String, Value>),
    /// Any other UTF-8 text, also other JSON.
    Text(String),
    /// Not UTF-8.
    Binary(Binary),
}

/// The kinds of payloads, as their users name them.
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

    /// What its templates are called.
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

    /// Bytes have none.
    pub(crate) const fn has_templates(self) -> bool {
        !matches!(self, Self::Binary)
    }

    /// What the `match` of a route calls it, where many alerts are as one.
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
        }
    }
}

/// Bytes that are no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binary {
    /// The first of them.
    pub head: Vec<u8>,
    /// How many there are.
    pub len: usize,
}

impl Binary {
    /// How many of the bytes are kept.
    const HEAD: usize = 64;

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { head: bytes[..bytes.len().min(Self::HEAD)].to_vec(), len: bytes.len() }
    }
}

/// A decoded payload, and what was wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decoded {
    /// What to show.
    pub payload: Payload,
    /// Whether the message holds more than that, because it is too much to be shown.
    pub is_cut: bool,
    /// What the publisher should mend, if anything; the message is shown all the same.
    pub flaw: Option<Flaw>,
}

impl Decoded {
    /// A payload without a flaw, of which nothing is left out.
    pub(crate) fn sound(payload: Payload) -> Self {
        Self { payload, is_cut: false, flaw: None }
    }

    /// The beginning of a text.
    pub(crate) fn text(text: &str) -> Self {
        let head = &text[..text.floor_char_boundary(json::MOST_TEXT)];
        Self { is_cut: head.len() < text.len(), ..Self::sound(Payload::Text(head.to_owned())) }
    }

    /// The same with a flaw.
    pub(crate) fn with_flaw(self, flaw: impl AsRef<str>) -> Self {
        Self { flaw: Some(Flaw::new(flaw.as_ref())), ..self }
    }
}

/// What is wrong with a payload, in words for its publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw(String);

/// The longest flaw in characters.
pub(crate) const MAX_FLAW_CHARS: usize = 400;

impl Flaw {
    /// It may quote the payload, and is logged and shown: one line, not too long, of what can be seen.
    pub(crate) fn new(text: &str) -> Self {
        let line = shown::line(text);
        let head = text::head(&line, MAX_FLAW_CHARS);
        Self(if head.len() < line.len() { format!("{head} …") } else { line })
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that happened, in the envelope of a `CloudEvent`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// What kind of thing happened, like "com.example.backup.finished".
    pub kind: String,
    /// Where it happened.
    pub source: String,
    /// What it happened to, within the source.
    pub subject: Option<String>,
    /// When it happened, as in RFC 3339.
    pub time: Option<String>,
    /// What there is to say of it: an object, text or bytes, but nothing that we know.
    pub data: Option<Box<Payload>>,
}
