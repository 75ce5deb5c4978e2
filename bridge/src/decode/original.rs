//! Finds values in a message as it was published, for conditions of routes: nothing is hidden or left out there.

use serde_json::Value;

use crate::{
    decode::{
        encoding::{self, Readable},
        opened, repair,
    },
    json,
};

/// Returns the value at a path of keys in a message that is JSON, or that is read as JSON: in another encoding, inside a
/// JSON string, or with mistakes of the usual kinds.
pub(crate) fn value_at(bytes: &[u8], path: &[String]) -> Option<Value> {
    let Readable { text, .. } = encoding::read(bytes)?;
    let text = text.trim();
    if !text.starts_with('"') {
        return value_in(text, path);
    }
    value_in(opened(text)?.trim(), path)
}

fn value_in(text: &str, path: &[String]) -> Option<Value> {
    match json::at(text, path) {
        Ok(value) => value,
        Err(_) if text.starts_with('{') => json::at(&repair::repaired(text)?, path).ok()?,
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_however_its_message_is_read() {
        let path = ["site".to_owned(), "name".to_owned()];
        let plain = r#"{"site": {"name": "eu"}}"#;
        let utf_16: Vec<u8> = "\u{feff}"
            .chars()
            .chain(plain.chars())
            .map(u32::from)
            .flat_map(|c| {
                let [low, high, ..] = c.to_le_bytes();
                [low, high]
            })
            .collect();
        for bytes in [
            plain.as_bytes(),
            b" \n{\"site\":{\"name\":\"eu\"}} ",
            b"\xef\xbb\xbf{\"site\":{\"name\":\"eu\"}}",
            &utf_16,
            br#""{\"site\": {\"name\": \"eu\"}}""#,
            br#"{"site": {"name": "eu",},}"#,
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(value_at(bytes, &path), Some("eu".into()), "{text}");
        }
        for bytes in [&b"site"[..], b"{\"site\":1}", b"{\"site\":", b"\"eu\"", b"\xff\x00\xfe", b""]
        {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(value_at(bytes, &path), None, "{text}");
        }
    }
}
