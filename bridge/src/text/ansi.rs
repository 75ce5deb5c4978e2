//! Removes the codes by which programs colour their output in a terminal.

use std::borrow::Cow;

const ESCAPE: char = '\u{1b}';

/// The longest code, in bytes. A code without an end would swallow the text after it.
const MOST: usize = 256;

/// Returns a text without the codes of terminals. An escape character that begins none stays.
pub(crate) fn without_codes(text: &str) -> Cow<'_, str> {
    if !text.contains(ESCAPE) {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(ESCAPE) {
        kept.push_str(&rest[..at]);
        let code = &rest[at..];
        let length = length_of_code(code);
        kept.push_str(if length == 0 { &code[..1] } else { "" });
        rest = &code[length.max(1)..];
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// Returns the length of the code that a text begins with, or 0.
fn length_of_code(text: &str) -> usize {
    let bytes = &text.as_bytes()[..text.floor_char_boundary(MOST)];
    let end = match bytes.get(1) {
        // Parameters, intermediates and a final character.
        Some(b'[') => {
            let end = bytes[2..].iter().position(|byte| !(0x20..=0x3f).contains(byte));
            end.map(|end| end + 2).filter(|end| (0x40..=0x7e).contains(&bytes[*end]))
        }
        // A title or a link, up to a bell or the end of a string.
        Some(b']') => {
            let end = bytes
                .iter()
                .skip(2)
                .position(|byte| matches!(byte, 0x07 | 0x1b))
                .map(|end| end + 2);
            end.and_then(|end| match (bytes[end], bytes.get(end + 1)) {
                (0x07, _) => Some(end),
                (_, Some(b'\\')) => Some(end + 1),
                _ => None,
            })
        }
        // The choice of a set of characters.
        Some(b'(' | b')') => bytes.get(2).filter(|byte| byte.is_ascii_alphanumeric()).map(|_| 2),
        Some(b'=' | b'>' | b'7' | b'8' | b'c' | b'D' | b'M') => Some(1),
        _ => None,
    };
    end.map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_removed_and_the_text_stays() {
        for (text, kept) in [
            ("\u{1b}[31merror\u{1b}[39m: x", "error: x"),
            ("\u{1b}[1;38;5;196mred\u{1b}[0m\u{1b}[K", "red"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;https://a.example\u{1b}\\b\u{1b}]8;;\u{1b}\\", "ab"),
            ("\u{1b}(Ba\u{1b}=", "a"),
            // These have no end, or are no codes.
            ("\u{1b}]0;all of the text", "\u{1b}]0;all of the text"),
            ("\u{1b}[31", "\u{1b}[31"),
            ("\u{1b}[31é", "\u{1b}[31é"),
            ("\u{1b}", "\u{1b}"),
            ("\u{1b}é", "\u{1b}é"),
        ] {
            assert_eq!(without_codes(text), kept, "{text:?}");
        }
    }
}
