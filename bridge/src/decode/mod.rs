//! Decodes payloads into the few shapes that are shown in a form of their own.
//!
//! Decoding never fails. A payload that is not a report, an alert or some other JSON object is text, and one that is
//! not text is kept as bytes. Anything that looks like a mistake of the publisher is reported as a flaw.
//!
//! A decoded payload takes at most a few hundred kilobytes, however large the message is and whatever it contains. The
//! rest is left out, and the message is attached as a file.

mod alertmanager;
mod cloudevents;
mod known;
mod lenient;
mod library;
mod members;
mod nats_answer;
mod number;
pub(crate) mod shape;

use std::cell::RefCell;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    decode::{
        known::Known,
        shape::{Matched, Shapes, Surroundings, Trace},
    },
    json::{self, Kept},
    message::{Alert, Binary, Decoded, Note, Payload, Report},
};

pub(crate) use self::library::Library;

/// A decoder of the messages of a route.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Decoder<'a> {
    /// The user's own shapes, which come first.
    pub(crate) own: Option<&'a Shapes>,
    pub(crate) around: Surroundings<'a>,
    /// The place where to note how the message was understood.
    pub(crate) trace: Option<&'a RefCell<Trace>>,
}

impl Decoder<'_> {
    /// Decodes the bytes of a message. Flaws are in English, like the log.
    #[must_use]
    pub(crate) fn decode(&self, bytes: &[u8]) -> Decoded {
        Decoded::read(bytes, self)
    }
}

impl Decoded {
    /// Decodes the bytes of a message of which nothing else is known.
    #[must_use]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self::read(bytes, &Decoder::default())
    }

    fn read(bytes: &[u8], decoder: &Decoder<'_>) -> Self {
        match cloudevents::in_headers(decoder.around.headers) {
            None => Self::read_content(bytes, decoder),
            Some(event) => {
                let data = (!bytes.is_empty()).then(|| Self::read_content(bytes, decoder));
                cloudevents::enclose(event, data)
            }
        }
    }

    fn read_content(bytes: &[u8], decoder: &Decoder<'_>) -> Self {
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
        if trimmed.starts_with('[')
            && let Ok(Kept { value: Value::Array(items), .. }) = json::any(trimmed)
            && items.first().is_some_and(alertmanager::is_alert)
            && let Ok(decoded) = alertmanager::decode_list(trimmed)
        {
            return decoded;
        }
        if !trimmed.starts_with('{') {
            return Self::text(text);
        }
        match json::object(trimmed) {
            Ok(object) => Self::from_object(trimmed, object, decoder),
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
    fn from_object(text: &str, object: Kept<Map<String, Value>>, decoder: &Decoder<'_>) -> Self {
        let Kept { value: object, is_cut } = object;
        let of_shape = |shapes: &Shapes| shapes.decode(&object, decoder.around, decoder.trace);
        let mut matched = decoder.own.and_then(of_shape);
        let declared = Known::declared(&object);
        if declared.is_none() {
            matched = matched.or_else(|| of_shape(Shapes::builtin()));
        }
        let flaw = match matched {
            Some(Matched::Decoded(shown)) => {
                return Self { is_cut: shown.is_cut || is_cut, ..*shown };
            }
            Some(Matched::Lacking { shape, field }) => {
                Some(format!("looks like a message of {shape} but has no {field}"))
            }
            None => None,
        };
        let known = declared.unwrap_or_else(|| match flaw {
            Some(_) => Known::Other,
            None => Known::by_keys(&object),
        });
        let parsed = match known {
            Known::Report => Report::deserialize(&object).map(Payload::Report).map(Self::sound),
            Known::Alert => Alert::deserialize(&object).map(Payload::Alert).map(Self::sound),
            Known::Alertmanager => alertmanager::decode(text, &object),
            Known::CloudEvent => {
                cloudevents::decode(text, &|text, data| Self::within(text, data, decoder))
            }
            Known::NatsAnswer => Ok(Self::sound(Payload::Note(Note::NatsAnswer))),
            Known::Other => {
                let shown = Self { is_cut, ..Self::sound(Payload::Object(object)) };
                return match flaw {
                    Some(flaw) => shown.with_flaw(flaw),
                    None => shown,
                };
            }
        };
        match parsed {
            // The members of a group were read from the whole text, so the cut of the object does not affect them.
            Ok(shown) => {
                let is_whole = matches!(known, Known::Alertmanager | Known::CloudEvent);
                Self { is_cut: shown.is_cut || is_cut && !is_whole, ..shown }
            }
            Err(error) => Self { is_cut, ..Self::sound(Payload::Object(object)) }
                .with_flaw(format!("looks like {known} but is not: {error}")),
        }
    }

    /// Decodes an object inside an envelope. A second envelope in it is not opened, as they can be nested without end.
    fn within(text: &str, object: Kept<Map<String, Value>>, decoder: &Decoder<'_>) -> Self {
        if cloudevents::is(&object.value) {
            return Self { is_cut: object.is_cut, ..Self::sound(Payload::Object(object.value)) };
        }
        Self::from_object(text, object, decoder)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod webhook_tests;
