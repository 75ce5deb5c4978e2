//! Makes texts from others fit to be read. Rooms, the log, terminals and the status page all use it, so that no
//! character is visible in one of them and invisible in another.

pub(crate) mod address;
mod ansi;
pub(crate) mod shown;

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        BidiClass, BinaryProperty, CanonicalCombiningClass, DefaultIgnorableCodePoint,
        EmojiModifier, EnumeratedProperty, ExtendedPictographic, GeneralCategory, JoiningType,
        LineBreak, PrependedConcatenationMark, UnifiedIdeograph,
    },
};

/// The character that replaces one that is not shown.
const MARK: char = '\u{fffd}';

/// A black flag. With tags after it, it becomes the flag of Scotland or of another region.
const FLAG: char = '\u{1f3f4}';

const END_OF_TAGS: char = '\u{e007f}';

/// A braille cell without dots, which graphs in terminals use as a space.
const BLANK_CELL: char = '\u{2800}';

/// A hyphen that does not allow a line break.
const NO_BREAK_HYPHEN: char = '\u{2011}';

/// A space that does not allow a line break. Mongolian has it between words and their endings.
const NARROW_BLANK: char = '\u{202f}';

const NON_JOINER: char = '\u{200c}';

const JOINER: char = '\u{200d}';

const EMOJI_STYLE: char = '\u{fe0f}';

/// The last character of a keycap such as "1️⃣".
const KEYCAP: char = '\u{20e3}';

/// The number of accents that are kept on one letter. No script needs more; more are there to cover other lines.
const MOST_ACCENTS: usize = 10;

/// Keeps the characters that a person can read, with line ends and tabs. A replacement mark is shown for control
/// characters, characters that change the direction of the text, and invisible ones. Two texts that look the same are
/// therefore the same.
///
/// Invisible characters are kept where they have a visible effect: joiners in scripts and emoji that are written with
/// them, and variation selectors after emoji and ideographs.
pub(crate) fn clean(text: &str) -> String {
    let text = ansi::without_codes(text);
    let mut clean = String::with_capacity(text.len());
    let (mut rest, mut accents) = (&*text, 0);
    while let Some(c) = rest.chars().next() {
        if c == FLAG
            && let Some(length) = flag(rest)
        {
            clean.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        accents = if is_accent(c) { accents + 1 } else { 0 };
        match c {
            '\r' if rest.starts_with('\n') => {}
            '\r' | '\u{2028}' | '\u{2029}' => clean.push('\n'),
            ' '..='~' | '\n' | '\t' => clean.push(c),
            BLANK_CELL => clean.push(' '),
            // A character that holds words together decides where a line is wrapped, and so which text seems to begin a
            // line.
            NO_BREAK_HYPHEN => clean.push('-'),
            c if is_glue(c) && !parts_mongolian(c, &clean, rest) => clean.push(' '),
            c if !is_hidden(c) && accents <= MOST_ACCENTS => clean.push(c),
            c if has_effect(c, &clean, rest) => clean.push(c),
            // These marks only move punctuation, which is readable in its original place, too.
            '\u{200e}' | '\u{200f}' | '\u{61c}' if is_beside_right_to_left(&clean, rest) => {}
            _ => {
                accents = 0;
                clean.push(MARK);
            }
        }
    }
    clean
}

/// Returns [`clean`] of a text, in one line.
pub(crate) fn line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns [`clean`] of a text, with line ends shown as `\n`, so that a text from others cannot begin a record of its
/// own.
pub(crate) fn record(text: &str) -> String {
    clean(text).replace('\n', "\\n")
}

/// Returns the first characters of a text, cut at the end of a line or word if one is near.
pub(crate) fn head(text: &str, max_chars: usize) -> &str {
    let Some((end, _)) = text.char_indices().nth(max_chars) else { return text };
    let head = &text[..end];
    let near = head.char_indices().rev().take(200).find(|(_, c)| c.is_whitespace());
    near.map_or(head, |(at, _)| &head[..at]).trim_end()
}

/// Returns a text of at most `max_chars` characters and a mark for what was cut.
pub(crate) fn shortened(text: String, max_chars: usize) -> String {
    let head = head(&text, max_chars);
    if head.len() < text.len() { format!("{head} …") } else { text }
}

/// Returns the first lines of a text, without the blank ones at its end.
pub(crate) fn first_lines(text: &str, most: usize) -> &str {
    let end = text.match_indices('\n').nth(most.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    text[..end].trim_end()
}

/// Returns a text of at most `max_chars` characters, from which the middle is left out if it is longer: names differ at
/// their beginnings and ends.
pub(crate) fn shorten_middle(text: &str, max_chars: usize) -> String {
    let chars = text.chars().count();
    if chars <= max_chars {
        return text.to_owned();
    }
    let (head, tail) = (max_chars.saturating_sub(1).div_ceil(2), max_chars.saturating_sub(1) / 2);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(chars - tail)).collect()
}

fn has<P: BinaryProperty>(c: char) -> bool {
    CodePointSetData::new::<P>().contains(c)
}

fn property<P: EnumeratedProperty>(c: char) -> P {
    CodePointMapData::<P>::new().get(c)
}

/// Whether a character is invisible on its own, or changes how others are shown.
fn is_hidden(c: char) -> bool {
    match c {
        // The placeholder for an object that is not there, and blanks that Unicode classifies as letters, symbols or
        // marks.
        '\u{fffc}' | '\u{13441}' | '\u{13442}' | '\u{16fe4}' | '\u{1d159}' => true,
        c if has::<DefaultIgnorableCodePoint>(c) => true,
        // Some Arabic signs are classified as formats but are visible: they enclose numbers.
        c if property::<GeneralCategory>(c) == GeneralCategory::Format => {
            !has::<PrependedConcatenationMark>(c)
        }
        c => c.is_control(),
    }
}

fn is_accent(c: char) -> bool {
    !c.is_ascii()
        && matches!(property(c), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// Whether a hidden character at this position changes how a reader sees its neighbours.
fn has_effect(c: char, before: &str, after: &str) -> bool {
    let last = before.chars().next_back();
    let next = after.chars().next().filter(|next| !is_hidden(*next));
    match c {
        JOINER => joins_emoji(before, next) || joins_letters(before, after),
        NON_JOINER => joins_letters(before, after),
        // A line may break here in scripts without spaces, such as Thai and Khmer.
        '\u{200b}' => last.is_some_and(has_no_spaces) && next.is_some_and(has_no_spaces),
        EMOJI_STYLE if matches!(last, Some('0'..='9' | '#' | '*')) => next == Some(KEYCAP),
        '\u{fe0e}' | EMOJI_STYLE => last.is_some_and(has::<ExtendedPictographic>),
        '\u{fe00}'..='\u{fe02}' | '\u{e0100}'..='\u{e01ef}' => {
            last.is_some_and(has::<UnifiedIdeograph>)
        }
        // A Mongolian letter has several forms.
        '\u{180b}'..='\u{180f}' => matches!(last, Some('\u{1820}'..='\u{18aa}')),
        _ => false,
    }
}

/// Whether a joiner combines two emoji into one. Either may have a skin tone or an emoji variation selector.
fn joins_emoji(before: &str, next: Option<char>) -> bool {
    let mut before = before.chars().rev().skip_while(|c| *c == EMOJI_STYLE);
    let is_emoji =
        before.next().is_some_and(|c| has::<ExtendedPictographic>(c) || has::<EmojiModifier>(c));
    is_emoji && next.is_some_and(has::<ExtendedPictographic>)
}

/// Whether a joiner or non-joiner changes the look of the letters before or after it: cursive letters, as in Arabic,
/// and letters with a virama, as in the scripts of India.
fn joins_letters(before: &str, after: &str) -> bool {
    let is_virama =
        |c: char| property::<CanonicalCombiningClass>(c) == CanonicalCombiningClass::Virama;
    let is_letter = |c: &char| property::<JoiningType>(*c) != JoiningType::Transparent;
    let is_joined = |c: char| {
        !is_hidden(c)
            && matches!(
                property(c),
                JoiningType::DualJoining | JoiningType::LeftJoining | JoiningType::RightJoining
            )
    };
    let (last, next) = (before.chars().next_back(), after.chars().next());
    last.is_some_and(is_virama)
        || next.is_some_and(is_virama) && last.is_some_and(char::is_alphabetic)
        || before.chars().rev().take(MOST_ACCENTS).find(is_letter).is_some_and(is_joined)
            && !matches!(last, Some(JOINER | NON_JOINER))
}

/// Whether a character is a space that does not allow a line break.
fn is_glue(c: char) -> bool {
    c.is_whitespace() && property::<LineBreak>(c) == LineBreak::Glue
}

fn parts_mongolian(c: char, before: &str, after: &str) -> bool {
    let is_mongolian = |c: char| matches!(c, '\u{180b}'..='\u{18aa}');
    c == NARROW_BLANK
        && before.chars().next_back().is_some_and(is_mongolian)
        && after.chars().next().is_some_and(is_mongolian)
}

/// Whether a character is a bracket of any script.
pub(crate) fn is_bracket(c: char) -> bool {
    matches!(property(c), GeneralCategory::OpenPunctuation | GeneralCategory::ClosePunctuation)
}

/// Whether the words of a character's script are written without spaces between them.
fn has_no_spaces(c: char) -> bool {
    property::<LineBreak>(c) == LineBreak::ComplexContext
}

/// Whether a part of a text is read from right to left.
pub(crate) fn runs_backwards(text: &str) -> bool {
    text.chars().any(is_right_to_left)
}

/// Whether a letter is read from right to left.
pub(crate) fn is_right_to_left(c: char) -> bool {
    !is_hidden(c) && matches!(property(c), BidiClass::RightToLeft | BidiClass::ArabicLetter)
}

fn is_beside_right_to_left(before: &str, after: &str) -> bool {
    before.chars().next_back().is_some_and(is_right_to_left)
        || after.chars().next().is_some_and(is_right_to_left)
}

/// Returns the length in bytes of the flag that a text begins with: a black flag, the letters of a region as tags, and
/// the end tag.
fn flag(text: &str) -> Option<usize> {
    let tags = text
        .chars()
        .skip(1)
        .take_while(|c| matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}'));
    let tags = tags.take(7).count();
    let is_flag = (3..=6).contains(&tags) && text.chars().nth(1 + tags) == Some(END_OF_TAGS);
    is_flag.then(|| text.chars().take(2 + tags).map(char::len_utf8).sum())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_sees_is_shown_as_a_mark() {
        for (text, shown) in [
            ("ser\u{200b}ver", "ser\u{fffd}ver"),
            ("@ro\u{200d}om", "@ro\u{fffd}om"),
            ("\u{200b}", "\u{fffd}"),
            ("\u{0e01}\u{200b}\u{200b}", "\u{0e01}\u{fffd}\u{fffd}"),
            ("a\u{feff}b\u{2060}c\u{180e}d\u{fffa}", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}"),
            ("ok\u{e0068}\u{e0069}", "ok\u{fffd}\u{fffd}"),
            ("a\u{202e}b\u{2066}c\u{2069}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
            ("d\u{61c}b\u{200e}-\u{200f}01", "d\u{fffd}b\u{fffd}-\u{fffd}01"),
            ("da\u{ad}ta\u{34f}base", "da\u{fffd}ta\u{fffd}base"),
            ("\u{115f}\u{1160}\u{3164}\u{ffa0}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("db\u{fe0f}-0\u{fe0f}1\u{fe0e}", "db\u{fffd}-0\u{fffd}1\u{fffd}"),
            ("db\u{e0100}", "db\u{fffd}"),
            ("🔴\u{fe0f}\u{fe0f}", "🔴\u{fe0f}\u{fffd}"),
            // These words are hidden behind a flag.
            ("🏴\u{e0068}\u{e0069}", "🏴\u{fffd}\u{fffd}"),
            (
                "🏴\u{e0068}\u{e0069}\u{e0068}\u{e0069}\u{e0068}\u{e0069}\u{e0068}\u{e007f}",
                "🏴\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            ),
            ("\u{1b}[2Jok\u{9b}0m\u{7}\u{1b}", "ok\u{fffd}0m\u{fffd}\u{fffd}"),
            ("a\u{fffc}b\u{1d159}c", "a\u{fffd}b\u{fffd}c"),
            ("a\u{2063}b\u{17b4}", "a\u{fffd}b\u{fffd}"),
        ] {
            assert_eq!(clean(text), shown, "{}", text.escape_unicode());
        }
    }

    #[test]
    fn scripts_and_emoji_keep_what_they_need() {
        for text in [
            // A family, a rainbow flag, a runner with a skin tone, a heart on fire, the flag of Scotland, a keycap, and
            // a telephone with a text variation selector.
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
            "\u{1f3c3}\u{1f3fd}\u{200d}\u{2642}\u{fe0f}",
            "\u{2764}\u{fe0f}\u{200d}\u{1f525}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "1\u{fe0f}\u{20e3} #\u{fe0f}\u{20e3}",
            "\u{260e}\u{fe0e}",
            // "I want" in Persian, a plural after a letter that never joins, and an Arabic sign for an era.
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{628}\u{631}\u{627}\u{62f}\u{631}\u{200c}\u{647}\u{627}",
            "\u{647}\u{200d} 1448",
            // A half form in Hindi, "RAM" in Bengali, "Sri" in Sinhala.
            "\u{930}\u{94d}\u{200d}",
            "\u{9b0}\u{200d}\u{9cd}\u{9af}\u{9be}\u{9ae}",
            "\u{dc1}\u{dca}\u{200d}\u{dbb}\u{dd3}",
            // Thai words, a Japanese name in the form of its passport, and Mongolian.
            "\u{e44}\u{e17}\u{e22}\u{200b}\u{e14}\u{e35}",
            "\u{845b}\u{e0100}\u{57ce}",
            "\u{1828}\u{180b}",
            // An Arabic number sign, accents, a Vietnamese letter with two of them, and spaces.
            "\u{600}\u{661}\u{662}",
            "e\u{301} o\u{302}\u{301}",
            "\u{1828}\u{202f}\u{1824}\u{1828}",
            "a\u{2003}b\u{3000}c",
            "⚙️ ▁▂▃ │ ✓ ∑ 한국어 \u{5e9}\u{5dc}\u{5d5}\u{5dd}",
        ] {
            assert_eq!(clean(text), text, "{}", text.escape_unicode());
        }
        // A mark that only moves punctuation is dropped without a replacement, and so is a blank braille cell.
        assert_eq!(clean("\u{200f}\u{5d0}\u{200e} a"), "\u{5d0} a");
        assert_eq!(clean("\u{28ff}\u{2800}\u{28c0}"), "\u{28ff} \u{28c0}");
    }

    #[test]
    fn nobody_chooses_where_a_line_is_wrapped() {
        assert_eq!(clean("🤖\u{a0}nats\u{2011}matrix:\u{202f}a\u{2007}b"), "🤖 nats-matrix: a b");
        assert_eq!(clean("Prix\u{202f}: 3\u{a0}€"), "Prix : 3 €");
    }

    #[test]
    fn accents_do_not_blot_out_other_lines() {
        let clean = clean(&format!("a{}", "\u{336}".repeat(100)));
        assert_eq!(clean.chars().filter(|c| *c == MARK).count(), 9);
    }

    /// All characters that Unicode calls controls, formats or ignorable, and blanks.
    static HIDDEN: LazyLock<Vec<char>> = LazyLock::new(|| {
        let hidden: Vec<char> = ('\0'..=char::MAX).filter(|c| is_hidden(*c)).collect();
        // The properties come from a library; these are the characters that they were chosen for.
        for c in "\u{7f}\u{85}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\u{200b}\u{200f}\u{202e}\u{2064}\u{206f}\u{3164}\u{fe0f}\u{feff}\u{fff9}\u{1bca0}\u{1d173}\u{e0001}\u{e01ef}".chars() {
            assert!(hidden.contains(&c), "{}", c.escape_unicode());
        }
        assert!(hidden.len() > 4_000, "{}", hidden.len());
        hidden
    });

    #[test]
    fn nothing_hidden_is_left_between_letters_of_europe() {
        for c in HIDDEN.iter().filter(|c| !['\n', '\t', '\r'].contains(c)) {
            for (before, after) in [("a", "b"), ("", ""), ("й", "й"), ("1", "2"), (" ", " ")] {
                let cleaned = clean(&format!("{before}{c}{after}"));
                assert_eq!(cleaned, format!("{before}{MARK}{after}"), "{}", c.escape_unicode());
            }
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        let hidden = proptest::sample::select(HIDDEN.as_slice());
        let letters = "[a1 \u{e9}\u{439}\u{5d0}\u{645}\u{631}\u{930}\u{94d}\u{e01}\u{1828}\u{845b}🏴🏳🏃🏽❤♂\u{20e3}\u{301}\n]";
        let part = prop_oneof![hidden.prop_map(String::from), "\\PC", letters];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn cleaning_is_done_at_once(text in texts()) {
            let cleaned = clean(&text);
            prop_assert_eq!(clean(&cleaned), cleaned.clone(), "{}", text.escape_unicode());
            let cleaned = line(&text);
            prop_assert_eq!(line(&cleaned), cleaned, "{}", text.escape_unicode());
        }

        #[test]
        fn what_can_be_read_stays(text in "[\\p{L}\\p{Nd}\\p{P}\\p{Sc}\\p{Sm}]{0,20}") {
            let legible: String = text.chars().filter(|c| !is_hidden(*c) && *c != NO_BREAK_HYPHEN).collect();
            prop_assert_eq!(clean(&legible), legible);
        }

        #[test]
        fn a_record_is_one_line_without_controls(text in texts()) {
            prop_assert!(!record(&text).contains(|c: char| c.is_control() && c != '\t'));
        }
    }
}
