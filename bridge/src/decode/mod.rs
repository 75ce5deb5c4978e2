//! Decodes payloads into the few shapes that are shown in a form of their own.
//!
//! Decoding never fails. A payload that is not a report, an alert or some other JSON object is text, and one that is
//! not text is kept as bytes. Anything that looks like a mistake of the publisher is reported as a flaw.
//!
//! A decoded payload takes at most a few hundred kilobytes, however large the message is and whatever it contains. The
//! rest is left out, and the message is attached as a file.

mod alertmanager;
mod cloudevents;
mod forgejo;
mod lenient;
mod nats_answer;
mod shape;
mod uptime_kuma;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    decode::shape::Shape,
    json::{self, Kept},
    message::{Alert, Binary, Decoded, Note, Payload, Report},
};

impl Decoded {
    /// Decodes the bytes of a message. Flaws are in English, like the log.
    #[must_use]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();
                let payload = Payload::Binary(Binary::of(bytes));
                return Self::sound(payload).with_flaw(format!("not UTF-8 text at byte {at}"));
            }
        };
        // A byte order mark is not content, and JSON with one would not parse.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Self::sound(Payload::Text(String::new())).with_flaw("empty payload");
        }
        if !trimmed.starts_with('{') {
            return Self::text(text);
        }
        match json::object(trimmed) {
            Ok(object) => Self::from_object(trimmed, object),
            Err(error) => {
                Self::text(text).with_flaw(format!("begins like JSON but is not: {error}"))
            }
        }
    }

    /// Treats a message as bytes that are not text; `reason` is shown.
    #[must_use]
    pub(crate) fn as_bytes(bytes: &[u8], reason: &str) -> Self {
        Self::sound(Payload::Binary(Binary::of(bytes))).with_flaw(reason)
    }

    /// Decodes an object whose JSON is `text`.
    fn from_object(text: &str, object: Kept<Map<String, Value>>) -> Self {
        let Kept { value: object, is_cut } = object;
        let shape = Shape::of(&object);
        let parsed = match shape {
            Shape::Report => Report::deserialize(&object).map(Payload::Report).map(Self::sound),
            Shape::Alert => Alert::deserialize(&object).map(Payload::Alert).map(Self::sound),
            Shape::Alertmanager => alertmanager::decode(text, &object),
            Shape::UptimeKuma => uptime_kuma::decode(&object).map(Self::sound),
            Shape::Forgejo => forgejo::decode(&object).map(Self::sound),
            Shape::CloudEvent => cloudevents::decode(text, Self::within),
            Shape::NatsAnswer => Ok(Self::sound(Payload::Note(Note::NatsAnswer))),
            Shape::Other => return Self { is_cut, ..Self::sound(Payload::Object(object)) },
        };
        match parsed {
            // The members of a group were read from the whole text, so the cut of the object does not affect them.
            Ok(decoded) => {
                let is_whole = matches!(shape, Shape::Alertmanager | Shape::CloudEvent);
                Self { is_cut: decoded.is_cut || is_cut && !is_whole, ..decoded }
            }
            Err(error) => Self { is_cut, ..Self::sound(Payload::Object(object)) }
                .with_flaw(format!("looks like {shape} but is not: {error}")),
        }
    }

    /// Decodes an object inside an envelope. A second envelope in it is not opened, as they can be nested without end.
    fn within(text: &str, object: Kept<Map<String, Value>>) -> Self {
        match Shape::of(&object.value) {
            Shape::CloudEvent => {
                Self { is_cut: object.is_cut, ..Self::sound(Payload::Object(object.value)) }
            }
            _ => Self::from_object(text, object),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod webhook_tests;
