//! Recognises the answers that NATS itself sends to a publisher:
//! <https://docs.nats.io/reference/reference-protocols/nats_api_reference>.
//!
//! A publisher chooses the subject that the answer is sent to, and no permission limits this choice. An answer on the
//! subject of a machine is therefore not proof that the machine sent it, and it may quote texts of the publisher.

use serde_json::{Map, Value};

/// The keys that the acknowledgement of a published message can have.
const ACKNOWLEDGEMENT: [&str; 8] =
    ["stream", "seq", "domain", "duplicate", "val", "batch", "count", "error"];

/// The prefix of the types of API answers.
const API: &str = "io.nats.jetstream.api.";

pub(crate) fn is(object: &Map<String, Value>) -> bool {
    let has = |key: &str| object.contains_key(key);
    let is_acknowledgement = has("stream")
        && (has("seq") || has("error"))
        && object.keys().all(|key| ACKNOWLEDGEMENT.contains(&key.as_str()));
    let kind = object.get("type").and_then(Value::as_str);
    is_acknowledgement || kind.is_some_and(|kind| kind.starts_with(API))
}
