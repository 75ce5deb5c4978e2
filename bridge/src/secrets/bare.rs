//! Texts without what a program adds for terminals or to be unseen. Such characters can stand in the middle of a key,
//! where they would keep it from being recognised.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

use crate::secrets::tokens;

/// The escape sequences that colour a text or move the cursor of a terminal, raw or as a journal or JSON writes them,
/// letters that JSON has escaped, and characters that cannot be seen.
static REMOVED: LazyLock<Regex> = LazyLock::new(|| {
    let text = concat!(
        r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\r\n]{0,256}(?:\x07|\x1b\\)|[ -/]{1,8}[0-~])?",
        r"|\x{9b}[0-?]{0,64}[ -/]{0,8}[@-~]",
        r"|(?:(?:#033|\\(?:e|E|033|0?33|x1[bB]|u001[bB])|\^\[|␛)\[)+[0-9;:?]{0,64}[A-Za-z]",
        r"|\\u00(?P<letter>2[bBdDeEfF]|3[0-9aAdD]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])",
        r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{80}-\x{9f}\x{ad}\x{34f}\x{61c}\x{180e}\x{200b}-\x{200f}\x{202a}-\x{202e}]",
        r"|[\x{115f}\x{1160}\x{2060}-\x{206f}\x{2800}\x{3164}\x{fe00}-\x{fe0f}\x{feff}\x{ffa0}]",
        r"|(?P<blank>[\x{a0}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}])|(?P<wide>[\x{ff01}-\x{ff5e}])",
    );
    Regex::new(text).expect("a test removes them")
});

/// The beginning of a token.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!("^{}", tokens::beginning())).expect("a test finds a token")
});

/// Whether a character can begin what is removed. Most texts have none, and need no search.
fn may_begin(byte: u8) -> bool {
    let is_control = byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r');
    is_control || !byte.is_ascii() || matches!(byte, b'\\' | b'#' | b'^')
}

/// Returns a text without them, and with blanks and letters of other widths as those of ASCII.
pub(crate) fn bare(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(may_begin) {
        return Cow::Borrowed(text);
    }
    REMOVED.replace_all(text, |found: &Captures<'_>| {
        if found.name("blank").is_some() {
            return " ".to_owned();
        }
        if let Some(wide) = found.name("wide").and_then(|it| it.as_str().chars().next()) {
            let narrow = char::from_u32(u32::from(wide) - 0xfee0);
            return narrow.map(String::from).unwrap_or_default();
        }
        let code = found.name("letter").and_then(|it| u8::from_str_radix(it.as_str(), 16).ok());
        let letter = code.map(|code| char::from(code).to_string());
        letter.unwrap_or_else(|| if parts_a_token(text, found) { " " } else { "" }.to_owned())
    })
}

/// Whether what is removed is all that parts a token from the word before it.
fn parts_a_token(text: &str, found: &Captures<'_>) -> bool {
    let removed = found.get_match();
    let before = text[..removed.start()].chars().next_back();
    before.is_some_and(|c| c == '_' || !c.is_whitespace() && !c.is_ascii_punctuation())
        && TOKEN.is_match(&text[removed.end()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_part_a_key_are_removed() {
        for text in [
            "\u{1b}[31mpassword\u{1b}[0m=x",
            "pass\u{200b}word=x",
            "pass\u{ad}word\u{8}=x\u{0}",
            r"\u001b[1mpass\u0077ord\x1b[0m=x",
            "pass\u{1b}]8;;\u{7}word=x",
            "ｐａｓｓｗｏｒｄ＝ｘ",
            "pass\u{3164}word\u{2800}=x",
        ] {
            assert_eq!(bare(text), "password=x", "{text:?}");
        }
        assert_eq!(bare("a\u{a0}b"), "a b");
        assert_eq!((bare("#033[1ma"), bare("^[[1ma")), ("a".into(), "a".into()));
        for text in ["é\t密码\r\n", r"\u00e9\u0022", "a b"] {
            assert!(matches!(bare(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }
}
