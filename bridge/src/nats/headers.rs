//! Headers of messages that the bridge publishes.
//!
//! The client's own `insert` and `append` panic on a text with a line break in it, and any publisher can put a carriage
//! return into a subject. So only this file calls them (`clippy.toml`).

#![expect(clippy::disallowed_methods, reason = "here it is seen to that no value has a line break")]

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The header by which a message is refused by every stream but the one that it names.
pub(crate) const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

/// Sets a header of the bridge to any text. [`text`] reads it again.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, text: &str) {
    headers.insert(name, value(text));
}

/// Adds a value to the values of a header.
pub(crate) fn add(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    headers.append(name.clone(), value.clone());
}

/// Reads what [`set`] has written.
pub(crate) fn text(value: &HeaderValue) -> String {
    percent_decode_str(value.as_str()).decode_utf8_lossy().into_owned()
}

/// Encodes a text as a header value: control characters, white space at either end, and a percent sign that would be
/// read as the beginning of an escape are percent-encoded, as in `%0D`. Everything else stays readable.
fn value(text: &str) -> HeaderValue {
    let mut written = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let is_at_an_end = at == 0 || rest.is_empty();
        if c.is_control() || is_at_an_end && c.is_whitespace() || c == '%' && is_code(rest) {
            written.extend(utf8_percent_encode(c.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC));
        } else {
            written.push(c);
        }
    }
    // There is no line break left, and nothing else is invalid in a value.
    written.parse().unwrap_or_default()
}

fn is_code(text: &str) -> bool {
    text.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_without_line_breaks_is_left_as_it_is() {
        for text in ["ops.quiet.db-01", "ops.büro.\u{202e}x", "50% full, 100 %", "", "a b"] {
            assert_eq!(value(text).as_str(), text);
        }
        assert_eq!(value("ops.a\rb").as_str(), "ops.a%0Db");
        assert_eq!(value("ops.a%0Db").as_str(), "ops.a%250Db");
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was_written(said in "([\\r\\n%0dD \\t\u{85}é]|\\PC){0,12}") {
            let mut headers = HeaderMap::new();
            set(&mut headers, "X", &said);
            let written = headers.get("X").unwrap();
            // The value as the client reads it from the wire.
            prop_assert_eq!(written.as_str().trim(), written.as_str());
            prop_assert_eq!(text(written), said);
        }
    }
}
