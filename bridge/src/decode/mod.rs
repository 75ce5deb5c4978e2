//! What a message says: decoding of payloads into the few shapes that are shown in their own way.
//!
//! Decoding never fails. What is not a report, an alert or some other JSON object is text, and what
//! is not text is kept as bytes; anything that looks like a mistake of the publisher is named as a
//! flaw.
//!
//! What is decoded takes at most a few hundred kilobytes, however large the message is and whatever it
//! holds: what is more than that is left out, and the message is attached.

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
    /// Decodes the bytes of a message. Flaws are in English, as the log is.
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
            Ok(object) => Self::from_object(trimmed, object),
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
            // The members of a group are not taken from what was cut.
            Ok(decoded) => {
                let is_whole = matches!(shape, Shape::Alertmanager | Shape::CloudEvent);
                Self { is_cut: decoded.is_cut || is_cut && !is_whole, ..decoded }
            }
            Err(error) => Self { is_cut, ..Self::sound(Payload::Object(object)) }
                .with_flaw(format!("looks like {shape} but is not: {error}")),
        }
    }

    /// Decodes an object in an envelope. An envelope in it is not opened: there is no end to them.
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
