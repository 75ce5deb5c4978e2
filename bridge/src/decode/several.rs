//! Splits a payload that holds several JSON objects: one after another, as in NDJSON, or in an array.

use std::ops::Range;

use serde::{
    Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The number of objects that are shown each on its own. More are a log, not messages.
pub(super) const MOST: usize = 64;

/// The longest payload that is split, in bytes.
const MOST_BYTES: usize = 256 * 1024;

/// Returns where the objects of a payload are, if it consists of two objects or more, or is an array of at least one,
/// but of no more than [`MOST`].
pub(super) fn split(text: &str) -> Option<Vec<Range<usize>>> {
    if text.len() > MOST_BYTES {
        return None;
    }
    if text.trim_start().starts_with('[') { elements(text) } else { documents(text) }
}

fn documents(text: &str) -> Option<Vec<Range<usize>>> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let mut ranges = Vec::new();
    for document in documents {
        ranges.push(object(text, document.ok()?)?);
        if ranges.len() > MOST {
            return None;
        }
    }
    (ranges.len() > 1).then_some(ranges)
}

fn elements(text: &str) -> Option<Vec<Range<usize>>> {
    let mut array = serde_json::Deserializer::from_str(text);
    let elements = array.deserialize_seq(Elements).ok()?;
    array.end().ok()?;
    let elements = elements.filter(|elements| !elements.is_empty())?;
    elements.into_iter().map(|element| object(text, element)).collect()
}

/// Returns where in `text` an object is.
fn object(text: &str, value: &RawValue) -> Option<Range<usize>> {
    let value = value.get();
    let begin = (value.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    value.starts_with('{').then(|| begin..begin + value.len())
}

/// The elements of an array, unless there are too many.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < MOST {
            match seq.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(Some(elements)),
            }
        }
        let mut is_more = false;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            is_more = true;
        }
        Ok((!is_more).then_some(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Option<Vec<&str>> {
        split(text).map(|ranges| ranges.into_iter().map(|range| &text[range]).collect())
    }

    #[test]
    fn objects_are_found_one_after_another_and_in_arrays() {
        assert_eq!(
            parts("{\"a\":1}\n{\"b\":[{}]}\r\n\n{ }\n"),
            Some(vec!["{\"a\":1}", "{\"b\":[{}]}", "{ }"])
        );
        assert_eq!(parts("{\n\"a\":1}{\"b\":2}"), Some(vec!["{\n\"a\":1}", "{\"b\":2}"]));
        assert_eq!(parts(" [ {\"a\":1}, {\"b\":2} ] "), Some(vec!["{\"a\":1}", "{\"b\":2}"]));
        assert_eq!(parts("[{\"a\":1}]"), Some(vec!["{\"a\":1}"]));
        for text in [
            "{\"a\":1}",
            "{\"a\":1}\n{\"b\"",
            "{\"a\":1}\n7",
            "[]",
            "[1,2]",
            "[{},1]",
            "[{}] x",
            "{} x",
            "",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
        assert_eq!(parts(&"{}\n".repeat(MOST)).map(|parts| parts.len()), Some(MOST));
        assert_eq!(parts(&"{}\n".repeat(MOST + 1)), None);
        assert_eq!(parts(&format!("[{}{{}}]", "{},".repeat(MOST))), None);
    }
}
