//! Numbers in the content of events, which homeservers take up to 2^53 - 1 only (Matrix specification, canonical JSON).
//!
//! A stream can count further: one that somebody has purged ahead, or given a high first sequence. Larger numbers are
//! therefore written as text, for `#[serde(with)]`.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The largest number that an event may have.
const MOST: u64 = (1 << 53) - 1;

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if *number <= MOST { serializer.serialize_u64(*number) } else { serializer.collect_str(number) }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Number(number) => Ok(number),
        Written::Text(text) => text.parse().map_err(D::Error::custom),
    }
}
