//! Text of strangers, made fit to be shown.

use std::fmt::Write as _;

use minijinja::{HtmlEscape, Value};

use crate::{payload::Binary, words::Words};

/// Keeps line ends and tabs; shows other control characters, those that reverse the direction of the text and
/// those that nobody sees as a replacement mark, so that what a reader sees is what was sent.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let (mut before, mut is_in_flag) = (' ', false);
    while let Some(c) = chars.next() {
        is_in_flag = c == FLAG || is_in_flag && is_tag(c);
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            '\n' | '\t' => clean.push(c),
            c if is_joiner(c) && joins_nothing(before) => clean.push(MARK),
            c if is_tag(c) && !is_in_flag => clean.push(MARK),
            c if c.is_control() || is_bidi_control(c) || is_hidden(c) => clean.push(MARK),
            c => clean.push(c),
        }
        before = c;
    }
    clean
}

/// Stands for a character that is not shown.
const MARK: char = '\u{fffd}';
/// What tags make a flag of, such as Scotland's.
const FLAG: char = '\u{1f3f4}';

/// Zero-width space, non-joiner and joiner. They have a meaning in emoji and in scripts such as those of Persia and
/// Thailand.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}')
}

/// Whether a joiner means nothing after a character.
fn joins_nothing(before: char) -> bool {
    before.is_ascii() || before.is_whitespace() || is_joiner(before)
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// What takes no room and is of no use in a message.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{180e}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
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
pub(crate) fn head(text: &str, max_chars: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(max_chars) else { return text };
    let head = &text[..end];
    let near = head.char_indices().rev().take(200).find(|(_, c)| c.is_whitespace());
    near.map_or(head, |(at, _)| &head[..at]).trim_end()
}

/// What can be said of a message that is no text.
pub(super) fn binary(subject: &str, data: &Binary, words: &dyn Words) -> String {
    format!("📦 {subject}\n{}", bytes(data, words))
}

/// What can be said of bytes that are no text: how many, and the first of them.
pub(super) fn bytes(bytes: &Binary, words: &dyn Words) -> String {
    /// How many of them are shown.
    const SHOWN: usize = 32;
    let mut text = words.not_text(&words.bytes(bytes.len as u64)) + "\n";
    for byte in bytes.head.iter().take(SHOWN) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x} ");
    }
    text.truncate(text.trim_end().len());
    if bytes.len > SHOWN {
        text.push_str(" …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_shown_as_a_mark() {
        for (text, shown) in [
            ("ser\u{200b}ver", "ser\u{fffd}ver"),
            ("@ro\u{200d}om", "@ro\u{fffd}om"),
            ("\u{200b}", "\u{fffd}"),
            ("\u{0e01}\u{200b}\u{200b}", "\u{0e01}\u{200b}\u{fffd}"),
            ("a\u{feff}b\u{2060}c\u{180e}d\u{fffa}", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}"),
            ("ok\u{e0068}\u{e0069}", "ok\u{fffd}\u{fffd}"),
            ("a\u{202e}b\u{2066}c\u{2069}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
        ] {
            assert_eq!(clean(text), shown, "{}", text.escape_unicode());
        }
    }

    #[test]
    fn scripts_and_emoji_keep_what_they_need() {
        for text in [
            // A family, a rainbow flag, the flag of Scotland, "I want" in Persian, words in Thai, and marks of direction.
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{0e44}\u{0e17}\u{0e22}\u{200b}\u{0e14}\u{0e35}",
            "\u{200f}\u{5d0}\u{200e} a",
        ] {
            assert_eq!(clean(text), text, "{}", text.escape_unicode());
        }
    }
}
