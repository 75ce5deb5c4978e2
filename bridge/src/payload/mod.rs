//! What a message says: decoding of payloads into the few shapes that are shown in their own way.
//!
//! Decoding never fails. What is not a report, an alert or some other JSON object is text, and what
//! is not text is kept as bytes; anything that looks like a mistake of the publisher is named as a
//! flaw.

mod alert;
mod foreign;
mod note;
mod report;

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::foreign::{alertmanager, cloudevents, forgejo, uptime_kuma};
pub use self::{
    alert::{Alert, Group, Severity, Status},
    foreign::cloudevents::Event,
    note::{Line, Note},
    report::Report,
};
use crate::{config::Language, render, words::Words};

/// The shapes of a payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
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
    Binary(Vec<u8>),
}

/// A decoded payload, and what was wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// What to show.
    pub payload: Payload,
    /// What the publisher should mend, if anything; the message is shown all the same.
    pub flaw: Option<Flaw>,
}

/// What is wrong with a payload, in words for its publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw(String);

/// The longest flaw in characters.
const MAX_FLAW_CHARS: usize = 400;

impl Flaw {
    /// It may quote the payload, and is logged and shown: one line, not too long, of what can be seen.
    fn new(text: &str) -> Self {
        let line = render::line(text);
        let head = render::head(&line, MAX_FLAW_CHARS);
        Self(if head.len() < line.len() { format!("{head} …") } else { line })
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Decoded {
    /// Decodes the bytes of a message, with what others leave to us to say in English.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::in_language(bytes, Language::English)
    }

    /// Decodes the bytes of a message. Of what others send some is told in our own words, which are of `language`;
    /// flaws are in English, as the log is.
    #[must_use]
    pub fn in_language(bytes: &[u8], language: Language) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                return Self::flawed(
                    Payload::Binary(bytes.to_vec()),
                    format!("not UTF-8 text at byte {at}"),
                );
            }
        };
        // A byte order mark is no content, and would make JSON unreadable.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Self::flawed(Payload::Text(String::new()), "empty payload");
        }
        if !trimmed.starts_with('{') {
            return Self::sound(Payload::Text(text.to_owned()));
        }
        match serde_json::from_str::<Map<String, Value>>(trimmed) {
            Ok(object) => Self::from_object(object, language.words()),
            Err(error) => Self::flawed(
                Payload::Text(text.to_owned()),
                format!("begins like JSON but is not: {error}"),
            ),
        }
    }

    fn from_object(object: Map<String, Value>, words: &dyn Words) -> Self {
        let shape = Shape::of(&object);
        let parsed = match shape {
            Shape::Report => Report::deserialize(&object).map(Payload::Report),
            Shape::Alert => Alert::deserialize(&object).map(Payload::Alert),
            Shape::Alertmanager => alertmanager::decode(&object, words),
            Shape::UptimeKuma => uptime_kuma::decode(&object, words),
            Shape::Forgejo => forgejo::decode(&object, words),
            Shape::CloudEvent => match cloudevents::decode(&object, words) {
                Ok(decoded) => return decoded,
                Err(error) => Err(error),
            },
            Shape::Other => return Self::sound(Payload::Object(object)),
        };
        match parsed {
            Ok(payload) => Self::sound(payload),
            Err(error) => Self::flawed(
                Payload::Object(object),
                format!("looks like {shape} but is not: {error}"),
            ),
        }
    }

    fn sound(payload: Payload) -> Self {
        Self { payload, flaw: None }
    }

    fn flawed(payload: Payload, flaw: impl Into<String>) -> Self {
        Self { payload, flaw: Some(Flaw::new(&flaw.into())) }
    }
}

/// What an object is meant to be, by its own word (`kind`) or by the keys it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Report,
    Alert,
    Alertmanager,
    UptimeKuma,
    Forgejo,
    CloudEvent,
    Other,
}

impl Shape {
    /// The keys of others come before ours, because they are the more peculiar ones; what the
    /// publisher says outright comes before all.
    fn of(object: &Map<String, Value>) -> Self {
        let has = |key: &str| object.contains_key(key);
        let kind = object.get("kind").and_then(Value::as_str);
        match kind {
            Some("report") => Self::Report,
            Some("alert") => Self::Alert,
            _ if cloudevents::is(object) => Self::CloudEvent,
            _ if alertmanager::is(object) => Self::Alertmanager,
            _ if uptime_kuma::is(object) => Self::UptimeKuma,
            _ if forgejo::is(object) => Self::Forgejo,
            None if has("severity") && has("summary") => Self::Alert,
            None if has("host") && report::FIELDS.iter().any(|key| has(key)) => Self::Report,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report => "a report",
            Self::Alert => "an alert",
            Self::Alertmanager => "a webhook of Alertmanager or Grafana",
            Self::UptimeKuma => "a notification of Uptime Kuma",
            Self::Forgejo => "a webhook of Forgejo or Gitea",
            Self::CloudEvent => "a CloudEvent",
            Self::Other => "an object",
        })
    }
}

#[cfg(test)]
mod tests;
