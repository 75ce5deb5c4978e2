//! Repairs the JSON that templates and other languages make: line ends within a text, NaN, literals of Python, and
//! commas before an end.

use std::fmt::Write as _;

/// The longest text that is repaired, in bytes. A copy of it is made.
const MOST_BYTES: usize = 64 * 1024;

/// Returns a text that is JSON if the mistakes in it are of the usual kind. It may still not be JSON.
pub(super) fn repaired(text: &str) -> Option<String> {
    if text.len() > MOST_BYTES {
        return None;
    }
    let mut repaired = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '"' | '\'' => rest = string(after, c, &mut repaired),
            ',' if after.trim_start().starts_with(['}', ']']) => rest = after,
            c if c.is_alphabetic() || c == '-' && after.starts_with('I') => {
                let word = after.find(|c: char| !c.is_alphanumeric()).unwrap_or(after.len());
                let (word, other) = rest.split_at(c.len_utf8() + word);
                repaired.push_str(match word {
                    "NaN" | "nan" => "\"NaN\"",
                    "Infinity" | "-Infinity" | "inf" => "\"Infinity\"",
                    "True" => "true",
                    "False" => "false",
                    "None" | "undefined" => "null",
                    word => word,
                });
                rest = other;
            }
            c => {
                repaired.push(c);
                rest = after;
            }
        }
    }
    Some(repaired)
}

/// Writes the string whose content `text` begins with, and returns what comes after it.
fn string<'a>(text: &'a str, quote: char, repaired: &mut String) -> &'a str {
    repaired.push('"');
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => {
                repaired.push('"');
                return &text[at + 1..];
            }
            '\n' => repaired.push_str("\\n"),
            '\r' => repaired.push_str("\\r"),
            '\t' => repaired.push_str("\\t"),
            '"' => repaired.push_str("\\\""),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(repaired, "\\u{:04x}", u32::from(c));
            }
            '\\' => match chars.peek().map(|(_, next)| *next) {
                Some('\'') => {
                    repaired.push('\'');
                    chars.next();
                }
                Some(next @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' | 'u')) => {
                    repaired.extend(['\\', next]);
                    chars.next();
                }
                // A backslash of a path, as in `C:\Windows`.
                _ => repaired.push_str("\\\\"),
            },
            c => repaired.push(c),
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn usual_mistakes_are_repaired() {
        for (text, expected) in [
            ("{\"a\": \"one\r\n\ttwo\u{1b}\"}", json!({ "a": "one\r\n\ttwo\u{1b}" })),
            (
                "{\"a\": NaN, \"b\": -Infinity, \"c\": 1}",
                json!({ "a": "NaN", "b": "Infinity", "c": 1 }),
            ),
            (
                "{'a': True, 'b': None, 'it\\'s': 'a \"b\"'}",
                json!({ "a": true, "b": null, "it's": "a \"b\"" }),
            ),
            ("{\"a\": [1, 2, ], }", json!({ "a": [1, 2] })),
            (r#"{"a": "C:\Windows\System32"}"#, json!({ "a": r"C:\Windows\System32" })),
            (
                r#"{"a": "NaN, \"b\" \\", "b": "caf\u00e9"}"#,
                json!({ "a": "NaN, \"b\" \\", "b": "café" }),
            ),
        ] {
            let value: Value = serde_json::from_str(&repaired(text).unwrap()).unwrap();
            assert_eq!(value, expected, "{text}");
        }
        assert_eq!(repaired(&"x".repeat(MOST_BYTES + 1)), None);
    }

    proptest::proptest! {
        #[test]
        fn json_stays_what_it_is(text in "[a-z\"\\\\\n' ,N]{0,20}", number in proptest::num::i64::ANY) {
            let value = json!({ text.clone(): [text, number, null, true, { "a": 0.5 }] });
            let again: Value = serde_json::from_str(&repaired(&value.to_string()).unwrap()).unwrap();
            proptest::prop_assert_eq!(again, value);
        }
    }
}
