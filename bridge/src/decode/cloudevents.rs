//! Decodes `CloudEvents` in the JSON event format, and in binary mode, in which the attributes are headers:
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>,
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/nats-protocol-binding.md>.
//!
//! They are no shape, because their data is a message of its own, of any shape.

use std::borrow::Cow;

use async_nats::HeaderMap;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    json::{self, Kept},
    message::{Binary, Decoded, Event, Payload},
};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    source: String,
    subject: Option<String>,
    time: Option<String>,
    /// The data, not parsed yet, because its decoder depends on its type.
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
}

pub(crate) fn is(object: &Map<String, Value>) -> bool {
    object.get("specversion").is_some_and(Value::is_string)
        && (object.contains_key("type") || object.contains_key("source"))
}

/// A function that decodes an object, whose JSON is given as text, too.
type DecodeObject<'a> = &'a dyn Fn(&str, Kept<Map<String, Value>>) -> Decoded;

/// Decodes an event. If its data has a known shape, the result is that data, which is shown in its usual form.
pub(crate) fn decode(text: &str, decode_object: DecodeObject<'_>) -> serde_json::Result<Decoded> {
    let Envelope { kind, source, subject, time, data, data_base64 } = serde_json::from_str(text)?;
    let data = contents(data, data_base64.as_deref(), decode_object)?;
    Ok(enclose(Event { kind, source, subject, time, data: None }, data))
}

/// Returns the attributes of an event in binary mode, which are in headers.
pub(crate) fn in_headers(headers: Option<&HeaderMap>) -> Option<Event> {
    let headers = headers?;
    let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    header("ce-specversion")?;
    Some(Event {
        kind: header("ce-type")?,
        source: header("ce-source")?,
        subject: header("ce-subject"),
        time: header("ce-time"),
        data: None,
    })
}

/// Puts data into its event. If it has a known shape, the result is the data.
pub(crate) fn enclose(mut event: Event, data: Option<Decoded>) -> Decoded {
    let texts = [&mut event.kind, &mut event.source].into_iter();
    let texts = texts.chain(&mut event.subject).chain(&mut event.time);
    let was_long = texts.map(json::shorten).fold(false, |any, was_long| any | was_long);
    let Some(Decoded { payload, is_cut, hidden, flaw }) = data else {
        return Decoded { is_cut: was_long, ..Decoded::sound(Payload::Event(event)) };
    };
    let payload = match payload {
        Payload::Alert(mut alert) => {
            alert.source = alert.source.or(Some(event.source));
            alert.time = alert.time.or(event.time);
            Payload::Alert(alert)
        }
        Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) => {
            Payload::Event(Event { data: Some(Box::new(payload)), ..event })
        }
        known => known,
    };
    Decoded { payload, is_cut: is_cut || was_long, hidden, flaw }
}

fn contents(
    data: Option<&RawValue>,
    base64: Option<&str>,
    decode_object: DecodeObject<'_>,
) -> serde_json::Result<Option<Decoded>> {
    if let Some(base64) = base64 {
        let bytes = BASE64.decode(base64.as_bytes()).map_err(|error| {
            serde::de::Error::custom(format_args!("data_base64 is not Base64: {error}"))
        })?;
        return Ok(Some(match std::str::from_utf8(&bytes) {
            Ok(text) => match json::object(text) {
                Ok(object) => decode_object(text, object),
                Err(_) => Decoded::text(text),
            },
            Err(_) => Decoded::sound(Payload::Binary(Binary::of(&bytes))),
        }));
    }
    let Some(text) = data.map(RawValue::get) else { return Ok(None) };
    let Kept { value, is_cut } = json::any(text)?;
    Ok(match value {
        Value::Null => None,
        Value::Object(object) => Some(decode_object(text, Kept { value: object, is_cut })),
        Value::String(text) => Some(Decoded { is_cut, ..Decoded::sound(Payload::Text(text)) }),
        other => Some(Decoded { is_cut, ..Decoded::sound(Payload::Text(other.to_string())) }),
    })
}
