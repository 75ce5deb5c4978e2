//! Repairs the JSON that templates and other languages make: line ends within a text, halves of characters, NaN and other
//! numbers that JSON does not have, literals of Python, commas before an end, and what is nested too deeply.

use std::fmt::Write as _;

/// The longest text that is repaired, in bytes. A copy of it is made.
const MOST_BYTES: usize = 64 * 1024;

/// The deepest nesting that is kept. `serde_json` reads 128 levels.
const MOST_DEPTH: usize = 100;

/// The character in the place of one that is not whole.
const REPLACEMENT: char = '\u{fffd}';

/// Returns a text that is JSON if the mistakes in it are of the usual kind. It may still not be JSON.
pub(super) fn repaired(text: &str) -> Option<String> {
    if text.len() > MOST_BYTES {
        return None;
    }
    let mut repaired = String::with_capacity(text.len() + 64);
    let (mut rest, mut depth) = (text, 0_usize);
    // A value that is nested too deeply is read and then left out; its place keeps a sign of it.
    let mut kept = None;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '{' | '[' => {
                depth += 1;
                if depth > MOST_DEPTH && kept.is_none() {
                    repaired.push_str("\"…\"");
                    kept = Some(repaired.len());
                }
                repaired.push(c);
                after
            }
            '}' | ']' => {
                repaired.push(c);
                depth = depth.saturating_sub(1);
                if depth == MOST_DEPTH
                    && let Some(kept) = kept.take()
                {
                    repaired.truncate(kept);
                }
                after
            }
            '"' | '\'' => string(after, c, &mut repaired),
            ',' if after.trim_start().starts_with(['}', ']']) => after,
            c if c.is_alphanumeric() || matches!(c, '-' | '+' | '.') => word(rest, &mut repaired),
            c => {
                repaired.push(c);
                after
            }
        };
    }
    Some(repaired)
}

/// Writes the number or the literal that `text` begins with, and returns what comes after it.
fn word<'a>(text: &'a str, repaired: &mut String) -> &'a str {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '+' | '.' | '_');
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let is_number = word.contains(|c: char| c.is_ascii_digit());
    match word {
        "NaN" | "nan" => repaired.push_str("\"NaN\""),
        "Infinity" | "-Infinity" | "inf" => repaired.push_str("\"Infinity\""),
        "True" => repaired.push_str("true"),
        "False" => repaired.push_str("false"),
        "None" | "undefined" => repaired.push_str("null"),
        // A leading zero, a number that is too large, or one in hexadecimal: it stays as it was written.
        word if is_number && serde_json::from_str::<serde_json::Number>(word).is_err() => {
            repaired.extend(['"']);
            repaired.push_str(word);
            repaired.push('"');
        }
        word => repaired.push_str(word),
    }
    rest
}

/// Writes the escape `\u` whose digits `text` begins with, and returns the number of bytes that it took. Half of a
/// character, as a program leaves it that cuts a text, becomes [`REPLACEMENT`].
fn escape(text: &str, repaired: &mut String) -> usize {
    let unit = |at: usize| {
        let digits = text.get(at..at + 4).filter(|it| it.bytes().all(|it| it.is_ascii_hexdigit()));
        digits.and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let Some(first) = unit(0) else {
        // A backslash of a path, as in `C:\users`.
        repaired.push_str("\\\\u");
        return 0;
    };
    let second = unit(6).filter(|_| text.get(4..6) == Some("\\u"));
    match (first, second) {
        (0xd800..=0xdbff, Some(0xdc00..=0xdfff)) => {
            let _ = write!(repaired, "\\u{}", &text[..10]);
            10
        }
        (0xd800..=0xdfff, _) => {
            repaired.push(REPLACEMENT);
            4
        }
        _ => {
            let _ = write!(repaired, "\\u{}", &text[..4]);
            4
        }
    }
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
                Some('u') => {
                    chars.next();
                    let digits = at + "\\u".len();
                    let end = digits + escape(&text[digits..], repaired);
                    while chars.next_if(|(at, _)| *at < end).is_some() {}
                }
                Some(next @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => {
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

    #[test]
    fn what_no_parser_takes_is_kept_as_it_was_written() {
        for (text, expected) in [
            (
                r#"{"a": "full \ud83e", "b": "\udd80\ud83e\udd80"}"#,
                json!({ "a": "full �", "b": "�🦀" }),
            ),
            (r#"{"a": "x\u12", "b": "C:\users"}"#, json!({ "a": r"x\u12", "b": r"C:\users" })),
            (
                r#"{"a": 1e999, "b": 01, "c": -0x1F, "d": .5, "e": -2.5e3}"#,
                json!({ "a": "1e999", "b": "01", "c": "-0x1F", "d": ".5", "e": -2.5e3 }),
            ),
        ] {
            let value: Value = serde_json::from_str(&repaired(text).unwrap()).unwrap();
            assert_eq!(value, expected, "{text}");
        }
        let deep = format!("{{\"a\": {}[1]{}, \"b\": 2}}", "{\"x\":".repeat(200), "}".repeat(200));
        let value: Value = serde_json::from_str(&repaired(&deep).unwrap()).unwrap();
        assert_eq!(value["b"], 2);
        assert!(value.to_string().contains('…'));
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
