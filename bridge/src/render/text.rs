//! Text of strangers, made fit to be shown.

use std::fmt::Write as _;

use minijinja::{HtmlEscape, Value};

use crate::words::Words;

/// Keeps line ends and tabs; shows other control characters, and those that reverse the direction
/// of the text, as a replacement mark, so that what a reader sees is what was sent.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\n' | '\t' => clean.push(c),
            c if c.is_control() || is_bidi_control(c) => clean.push('\u{fffd}'),
            c => clean.push(c),
        }
    }
    clean
}

/// [`clean`], in one line.
pub(crate) fn line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Explicit embeddings, overrides and isolates; the marks LRM and RLM reverse nothing and are
/// needed in right-to-left scripts.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Plain text as HTML with the same lines.
pub(crate) fn html(text: &str) -> String {
    HtmlEscape(text).to_string().replace('\n', "<br>")
}

/// Escapes, and breaks lines where the value does.
pub(super) fn html_lines(value: &str) -> Value {
    Value::from_safe_string(html(value))
}

/// The first characters of a text, cut at a line or word end if one is near.
pub(super) fn head(text: &str, max_chars: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(max_chars) else { return text };
    let head = &text[..end];
    let near = head.char_indices().rev().take(200).find(|(_, c)| c.is_whitespace());
    near.map_or(head, |(at, _)| &head[..at]).trim_end()
}

/// What can be said of a message that is no text.
pub(super) fn binary(subject: &str, data: &[u8], words: &dyn Words) -> String {
    format!("📦 {subject}\n{}", bytes(data, words))
}

/// What can be said of bytes that are no text: how many, and the first of them.
pub(super) fn bytes(bytes: &[u8], words: &dyn Words) -> String {
    let mut text = words.not_text(&words.bytes(bytes.len() as u64)) + "\n";
    for byte in bytes.iter().take(32) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x} ");
    }
    text.truncate(text.trim_end().len());
    if bytes.len() > 32 {
        text.push_str(" …");
    }
    text
}
