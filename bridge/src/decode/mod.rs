//! Decodes payloads into the few shapes that are shown in a form of their own.
//!
//! Decoding never fails. A payload that is not a report, an alert or some other JSON object is text, and one that is
//! not text is kept as bytes. Anything that looks like a mistake of the publisher is reported as a flaw.
//!
//! A decoded payload takes at most a few hundred kilobytes, however large the message is and whatever it contains. The
//! rest is left out, and the message is attached as a file.

mod alertmanager;
mod cloudevents;
pub(crate) mod encoding;
mod known;
mod lenient;
mod library;
mod members;
mod nats_answer;
mod number;
mod original;
mod own;
mod place;
mod repair;
mod several;
pub(crate) mod shape;

use std::{cell::RefCell, ops::Range};

use data_encoding::HEXLOWER;
use serde_json::{Map, Value};

use crate::{
    decode::{
        encoding::Readable,
        known::Known,
        shape::{Covered, Matched, Shapes, Surroundings, Trace},
    },
    hash,
    json::{self, Kept},
    mask::{self, Mask, Secret},
    message::{Alert, Binary, Decoded, Gist, Item, Note, Object, Payload, alert},
};

pub(crate) use self::{library::Library, original::value_at};

/// The longest JSON string that is opened to look for JSON in it, in bytes.
const MOST_OPENED: usize = 64 * 1024;

/// A decoder of the messages of a route.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Decoder<'a> {
    /// The user's own shapes, which come first.
    pub(crate) own: Option<&'a Shapes>,
    pub(crate) around: Surroundings<'a>,
    /// The choice of the secrets that are hidden before a shape moves them away from their keys; all if there is none.
    pub(crate) mask: Option<&'a Mask>,
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
        let Some(Readable { text, encoding }) = encoding::read(bytes) else {
            let at = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
            let payload = Payload::Binary(Binary::of(bytes));
            return Self::sound(payload).with_flaw(format!("not UTF-8 text at byte {at}"));
        };
        // Several objects are told by where they are among the bytes. A byte order mark is not a part of the text.
        let start = encoding.is_none().then(|| bytes.len() - text.len());
        let shown = match Self::list_of_alerts(&text) {
            Some(shown) => shown,
            None => Self::from_text(&text, start, true, decoder),
        };
        match encoding {
            Some(name) if shown.flaw.is_none() => {
                shown.with_flaw(format!("is in {name}, not in UTF-8"))
            }
            _ => shown,
        }
    }

    /// Decodes the list of alerts that Alertmanager's API gives, however many there are.
    fn list_of_alerts(text: &str) -> Option<Self> {
        let list = text.trim();
        if !list.starts_with('[') {
            return None;
        }
        json::at(list, &["0".to_owned()]).ok()?.filter(alertmanager::is_alert)?;
        alertmanager::decode_list(list).ok()
    }

    /// Decodes a text, which may be a JSON string with JSON in it if `opens`. If it begins at `start` of the message, it may
    /// be several objects.
    fn from_text(text: &str, start: Option<usize>, opens: bool, decoder: &Decoder<'_>) -> Self {
        let trimmed = text.trim();
        match trimmed.chars().next() {
            None => Self::sound(Payload::Text(String::new())).with_flaw("empty payload"),
            Some('{') => Self::from_braces(text, start, decoder),
            Some('[') => Self::split(text, start, decoder).unwrap_or_else(|| Self::text(text)),
            Some('"') if opens => match opened(trimmed) {
                Some(inner) => Self::from_text(&inner, None, false, decoder),
                None => Self::text(text),
            },
            Some(_) => Self::text(text),
        }
    }

    /// Decodes a text that begins like an object, and may only be meant to be one, or be several.
    fn from_braces(text: &str, start: Option<usize>, decoder: &Decoder<'_>) -> Self {
        let trimmed = text.trim();
        let error = match json::object(trimmed) {
            Ok(object) => return Self::from_object(trimmed, object, decoder),
            Err(error) => error,
        };
        if let Some(several) = Self::split(text, start, decoder) {
            return several;
        }
        let repaired = repair::repaired(trimmed);
        match repaired.as_deref().map(|text| (text, json::object(text))) {
            Some((text, Ok(object))) => Self::from_object(text, object, decoder)
                .with_flaw(format!("is not quite JSON: {error}")),
            _ => Self::text(text)
                .with_flaw(format!("begins like JSON but is not: {error}"))
                .shown_raw(),
        }
    }

    /// Decodes the objects of a text that has several, one after another or in an array.
    fn split(text: &str, start: Option<usize>, decoder: &Decoder<'_>) -> Option<Self> {
        let start = start?;
        several::split(text).map(|ranges| Self::several(text, &ranges, start, decoder))
    }

    /// Decodes the objects at `ranges` of a text, which begins at `start` of the message.
    fn several(text: &str, ranges: &[Range<usize>], start: usize, decoder: &Decoder<'_>) -> Self {
        let share = ranges.len();
        let items = ranges.iter().map(|range| {
            let text = &text[range.clone()];
            let shown = match json::object_of(text, share) {
                Ok(object) => Self::from_object(text, object, decoder),
                Err(_) => Self::text(text),
            };
            Item { decoded: shown, range: start + range.start..start + range.end }
        });
        let mut items: Vec<Item> = items.collect();
        match items.pop() {
            Some(only) if items.is_empty() => only.decoded,
            last => Self::sound(Payload::Several(items.into_iter().chain(last).collect())),
        }
    }

    /// Treats a message as bytes that are not text; `reason` is shown.
    #[must_use]
    pub(crate) fn as_bytes(bytes: &[u8], reason: &str) -> Self {
        Self::sound(Payload::Binary(Binary::of(bytes))).with_flaw(reason)
    }

    /// Decodes an object whose JSON is `text`.
    fn from_object(text: &str, object: Kept<Map<String, Value>>, decoder: &Decoder<'_>) -> Self {
        let Kept { value: mut object, is_cut } = object;
        let all = Mask::default();
        let mask = decoder.mask.unwrap_or(&all);
        let hidden = mask.object(&mut object, &mask::english);
        // A shape may recognise its messages by a value that is hidden. Few objects have one, so it is read again rather
        // than copied before.
        let published = (hidden > 0).then(|| json::object(text).ok()).flatten();
        let published = published.map(|published| published.value);
        let mut shown =
            Self::from_covered(text, (published.as_ref(), object, mask), is_cut, decoder);
        if let (Payload::Alert(alert), Some(published)) = (&mut shown.payload, published) {
            alert.as_published = Self::hidden_identity(alert, text, published, decoder);
        }
        // The members of a group are read from the text, and counted when they are shown.
        let hidden = if matches!(shown.payload, Payload::Alerts(_)) { 0 } else { hidden };
        Self { hidden: shown.hidden.max(hidden), ..shown }
    }

    /// Returns a hash of what identified an alert as it was published, if secrets were hidden in that.
    fn hidden_identity(
        shown: &Alert,
        text: &str,
        published: Map<String, Value>,
        decoder: &Decoder<'_>,
    ) -> Option<String> {
        let nothing = Mask { shown: Secret::ALL.to_vec() };
        let decoder = Decoder { trace: None, ..*decoder };
        let whole = Self::from_covered(text, (None, published, &nothing), false, &decoder);
        let Payload::Alert(whole) = whole.payload else { return None };
        let (whole, shown) = (alert::identity(&whole), alert::identity(shown));
        (whole != shown).then(|| HEXLOWER.encode(&hash::of_texts(whole.iter().map(String::as_str))))
    }

    /// Decodes an object whose secrets are hidden as far as their keys tell them. If there are any, `published` is the
    /// object with them.
    fn from_covered(
        text: &str,
        (published, object, mask): (Option<&Map<String, Value>>, Map<String, Value>, &Mask),
        is_cut: bool,
        decoder: &Decoder<'_>,
    ) -> Self {
        let covered = Covered { published: published.unwrap_or(&object), object: &object, mask };
        let of_shape = |shapes: &Shapes| shapes.decode(covered, decoder.around, decoder.trace);
        let mut matched = decoder.own.and_then(of_shape);
        let declared = Known::declared(&object);
        if declared.is_none() {
            matched = matched.or_else(|| of_shape(Shapes::builtin()));
        }
        let known = match matched {
            Some(Matched::Decoded(shown)) => {
                return Self { is_cut: shown.is_cut || is_cut, ..*shown };
            }
            Some(Matched::Lacking { shape, field }) => {
                return Self::unknown(object, is_cut)
                    .with_flaw(format!("looks like a message of {shape} but has no {field}"));
            }
            None => declared.unwrap_or_else(|| Known::by_keys(&object)),
        };
        let parsed = match known {
            Known::Report => own::report(&object),
            Known::Alert => own::alert(&object),
            Known::Alertmanager => alertmanager::decode(text, &object),
            Known::CloudEvent => {
                cloudevents::decode(text, &|text, data| Self::within(text, data, decoder))
            }
            Known::NatsAnswer => Ok(Self::sound(Payload::Note(Note::NatsAnswer))),
            Known::Other => return Self::unknown(object, is_cut),
        };
        match parsed {
            // The members of a group were read from the whole text, so the cut of the object does not affect them.
            Ok(shown) => {
                let is_whole = matches!(known, Known::Alertmanager | Known::CloudEvent);
                Self { is_cut: shown.is_cut || is_cut && !is_whole, ..shown }
            }
            Err(error) => Self::unknown(object, is_cut)
                .with_flaw(format!("looks like {known} but is not: {error}")),
        }
    }

    /// Decodes an object of no known shape: an alert if it is one by its fields.
    fn unknown(object: Map<String, Value>, is_cut: bool) -> Self {
        match Gist::of(&object).into_alert() {
            Ok((alert, leaves_out)) => {
                Self { is_cut: is_cut || leaves_out, ..Self::sound(Payload::Alert(alert)) }
            }
            Err(gist) => {
                let object = Object::with_gist(object, gist);
                Self { is_cut, ..Self::sound(Payload::Object(object)) }
            }
        }
    }

    /// Decodes an object inside an envelope. A second envelope in it is not opened, as they can be nested without end.
    fn within(text: &str, object: Kept<Map<String, Value>>, decoder: &Decoder<'_>) -> Self {
        if cloudevents::is(&object.value) {
            let payload = Payload::Object(Object::new(object.value));
            return Self { is_cut: object.is_cut, ..Self::sound(payload) };
        }
        Self::from_object(text, object, decoder)
    }
}

/// Returns the text of a JSON string, in which there may be JSON. Returns `None` if it is none, or too long.
fn opened(string: &str) -> Option<String> {
    (string.len() <= MOST_OPENED).then(|| serde_json::from_str(string).ok()).flatten()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod webhook_tests;
