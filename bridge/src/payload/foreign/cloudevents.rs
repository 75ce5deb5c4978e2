//! `CloudEvents` in the JSON event format, which is what their NATS binding sends:
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.
//!
//! An event in binary mode has its attributes in headers and is nothing but its data here, which is
//! decoded like any payload.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    payload::{Decoded, Payload, Shape},
    words::Words,
};

/// Something that happened, in the envelope of a `CloudEvent`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
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

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    source: String,
    subject: Option<String>,
    time: Option<String>,
    #[serde(default)]
    data: Value,
    data_base64: Option<String>,
}

pub(in crate::payload) fn is(object: &Map<String, Value>) -> bool {
    object.get("specversion").is_some_and(Value::is_string)
        && (object.contains_key("type") || object.contains_key("source"))
}

/// The data itself if it is of a shape that we know, which then is shown as ever.
pub(in crate::payload) fn decode(
    object: &Map<String, Value>,
    words: &dyn Words,
) -> serde_json::Result<Decoded> {
    let envelope = Envelope::deserialize(object)?;
    let data = contents(envelope.data, envelope.data_base64, words)?;
    let Some(Decoded { payload, flaw }) = data else {
        return Ok(Decoded::sound(Payload::Event(Event {
            kind: envelope.kind,
            source: envelope.source,
            subject: envelope.subject,
            time: envelope.time,
            data: None,
        })));
    };
    let payload = match payload {
        Payload::Alert(mut alert) => {
            alert.source = alert.source.or(Some(envelope.source));
            alert.time = alert.time.or(envelope.time);
            Payload::Alert(alert)
        }
        Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) => Payload::Event(Event {
            kind: envelope.kind,
            source: envelope.source,
            subject: envelope.subject,
            time: envelope.time,
            data: Some(Box::new(payload)),
        }),
        known => known,
    };
    Ok(Decoded { payload, flaw })
}

fn contents(
    data: Value,
    base64: Option<String>,
    words: &dyn Words,
) -> serde_json::Result<Option<Decoded>> {
    if let Some(base64) = base64 {
        let bytes = BASE64.decode(base64.as_bytes()).map_err(|error| {
            serde::de::Error::custom(format_args!("data_base64 is not Base64: {error}"))
        })?;
        return Ok(Some(match String::from_utf8(bytes) {
            Ok(text) => match serde_json::from_str(&text) {
                Ok(Value::Object(object)) => within(object, words),
                _ => Decoded::sound(Payload::Text(text)),
            },
            Err(error) => Decoded::sound(Payload::Binary(error.into_bytes())),
        }));
    }
    Ok(match data {
        Value::Null => None,
        Value::Object(object) => Some(within(object, words)),
        Value::String(text) => Some(Decoded::sound(Payload::Text(text))),
        other => Some(Decoded::sound(Payload::Text(other.to_string()))),
    })
}

/// An envelope in an envelope is not opened: there is no end to them.
fn within(object: Map<String, Value>, words: &dyn Words) -> Decoded {
    match Shape::of(&object) {
        Shape::CloudEvent => Decoded::sound(Payload::Object(object)),
        _ => Decoded::from_object(object, words),
    }
}
