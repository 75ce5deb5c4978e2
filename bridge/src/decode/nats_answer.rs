//! What NATS itself answers to a publisher: <https://docs.nats.io/reference/reference-protocols/nats_api_reference>.
//!
//! A publisher names the subject that the answer is sent to, and no permission limits which. So such a message on the
//! subject of a machine was sent there by whoever wanted it to be, and may quote what they have written.

use serde_json::{Map, Value};

/// What the acknowledgement of a published message can hold.
const ACKNOWLEDGEMENT: [&str; 8] =
    ["stream", "seq", "domain", "duplicate", "val", "batch", "count", "error"];

/// The types of answers of the API begin with this.
const API: &str = "io.nats.jetstream.api.";

pub(crate) fn is(object: &Map<String, Value>) -> bool {
    let has = |key: &str| object.contains_key(key);
    let is_acknowledgement = has("stream")
        && (has("seq") || has("error"))
        && object.keys().all(|key| ACKNOWLEDGEMENT.contains(&key.as_str()));
    let kind = object.get("type").and_then(Value::as_str);
    is_acknowledgement || kind.is_some_and(|kind| kind.starts_with(API))
}
