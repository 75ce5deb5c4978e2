//! What a message says: decoding of payloads into the few shapes that are shown in their own way.
//!
//! Decoding never fails. What is not a report, an alert or some other JSON object is text, and what
//! is not text is kept as bytes; anything that looks like a mistake of the publisher is named as a
//! flaw.
//!
//! What is decoded takes at most a few hundred kilobytes, however large the message is and whatever it
//! holds: what is more than that is left out, and the message is attached.

pub(crate) mod alertmanager;
pub(crate) mod cloudevents;
mod foreign;
pub(crate) mod forgejo;
mod forgejo_run;
mod forgejo_types;
pub(crate) mod nats_answer;
pub(crate) mod uptime_kuma;

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    config::Language,
    json::{self, Kept},
    message::{Alert, Binary, Decoded, Flaw, Payload, Report, report},
    render::Words,
};

impl Decoded {
    /// Decodes the bytes of a message, with what others leave to us to say in English.
    #[must_use]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self::in_language(bytes, Language::English)
    }

    /// Decodes the bytes of a message. Of what others send some is told in our own words, which are of `language`;
    /// flaws are in English, as the log is.
    #[must_use]
    pub(crate) fn in_language(bytes: &[u8], language: Language) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                let payload = Payload::Binary(Binary::of(bytes));
                return Self::sound(payload).with_flaw(format!("not UTF-8 text at byte {at}"));
            }
        };
        // A byte order mark is no content, and would make JSON unreadable.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Self::sound(Payload::Text(String::new())).with_flaw("empty payload");
        }
        if !trimmed.starts_with('{') {
            return Self::text(text);
        }
        match json::object(trimmed) {
            Ok(object) => Self::from_object(trimmed, object, language.words()),
            Err(error) => {
                Self::text(text).with_flaw(format!("begins like JSON but is not: {error}"))
            }
        }
    }

    /// Takes a message for mere bytes, for a reason that is shown.
    #[must_use]
    pub(crate) fn as_bytes(bytes: &[u8], reason: &str) -> Self {
        Self::sound(Payload::Binary(Binary::of(bytes))).with_flaw(reason)
    }

    /// Decodes an object, of which `text` is the JSON.
    fn from_object(text: &str, object: Kept<Map<String, Value>>, words: &dyn Words) -> Self {
        let Kept { value: object, is_cut } = object;
        let shape = Shape::of(&object);
        let parsed = match shape {
            Shape::Report => Report::deserialize(&object).map(Payload::Report).map(Self::sound),
            Shape::Alert => Alert::deserialize(&object).map(Payload::Alert).map(Self::sound),
            Shape::Alertmanager => alertmanager::decode(text, &object, words),
            Shape::UptimeKuma => uptime_kuma::decode(&object, words).map(Self::sound),
            Shape::Forgejo => forgejo::decode(&object, words).map(Self::sound),
            Shape::CloudEvent => cloudevents::decode(text, words),
            Shape::NatsAnswer => Ok(Self::sound(nats_answer::note(words))),
            Shape::Other => return Self { is_cut, ..Self::sound(Payload::Object(object)) },
        };
        match parsed {
            // The members of a group are not taken from what was cut.
            Ok(decoded) => {
                let is_whole = matches!(shape, Shape::Alertmanager | Shape::CloudEvent);
                Self { is_cut: decoded.is_cut || is_cut && !is_whole, ..decoded }
            }
            Err(error) => Self { is_cut, ..Self::sound(Payload::Object(object)) }
                .with_flaw(format!("looks like {shape} but is not: {error}")),
        }
    }

    /// The beginning of a text.
    fn text(text: &str) -> Self {
        let head = &text[..text.floor_char_boundary(json::MOST_TEXT)];
        Self { is_cut: head.len() < text.len(), ..Self::sound(Payload::Text(head.to_owned())) }
    }

    fn sound(payload: Payload) -> Self {
        Self { payload, is_cut: false, flaw: None }
    }

    fn with_flaw(self, flaw: impl AsRef<str>) -> Self {
        Self { flaw: Some(Flaw::new(flaw.as_ref())), ..self }
    }
}

/// What an object is meant to be, by its own word (`kind`) or by the keys it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Report,
    Alert,
    Alertmanager,
    UptimeKuma,
    Forgejo,
    CloudEvent,
    NatsAnswer,
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
            _ if nats_answer::is(object) => Self::NatsAnswer,
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
            Self::NatsAnswer => "an answer of NATS",
            Self::Other => "an object",
        })
    }
}

#[cfg(test)]
mod tests;
