//! Texts from publishers and servers as people see them: cleaned, with addresses that lead where they say.

use crate::text::{self, address};

/// The longest name of a machine, service or subject, in characters. A longer one is cut.
pub(crate) const MAX_NAME_CHARS: usize = 120;

/// Returns a text with only readable characters, and with addresses that lead where they say.
pub(crate) fn clean(text: &str) -> String {
    address::with_true_addresses(text::clean(text))
}

/// Returns [`clean`] of a text, in one line.
pub(crate) fn line(text: &str) -> String {
    address::with_true_addresses(text::line(text))
}

/// Returns [`line()`] of a text, shortened to the length of a name. It is in quotes if a part of it could be mistaken
/// for the bridge's own words beside a name: a subject in parentheses, or the next name of a list.
pub(crate) fn name(text: &str) -> String {
    quoted_if(text::shortened(line(text), MAX_NAME_CHARS), parts_entries)
}

/// Returns [`name()`] of a text, in quotes also if it has blanks, so that it is one word in our lists.
pub(crate) fn token(text: &str) -> String {
    quoted_if(text::shortened(line(text), MAX_NAME_CHARS), |c| {
        c.is_whitespace() || parts_entries(c)
    })
}

/// Returns [`line()`] of a text, in quotes if a part of it could be mistaken for the end of an entry in our lists.
pub(crate) fn entry(text: &str) -> String {
    quoted_if(line(text), parts_entries)
}

fn quoted_if(text: String, is_misleading: impl Fn(char) -> bool) -> String {
    if text.contains(is_misleading) {
        return format!("“{}”", text.replace(['“', '”'], "\""));
    }
    text
}

/// Whether a character separates the entries of our lists, or encloses our words about an entry, or looks as if it did.
fn parts_entries(c: char) -> bool {
    match c {
        '[' | ']' | '{' | '}' => false,
        c => ",;·，；、،؛﹐﹑﹔､".contains(c) || text::is_bracket(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_taken_for_several_are_quoted() {
        for (text, as_name, as_token) in [
            ("db-01:9100", "db-01:9100", "db-01:9100"),
            ("[2001:db8::1]:9100", "[2001:db8::1]:9100", "[2001:db8::1]:9100"),
            ("数据库", "数据库", "数据库"),
            ("web server", "web server", "“web server”"),
            ("a (via ops.b)", "“a (via ops.b)”", "“a (via ops.b)”"),
            ("a（经由 ops.b）", "“a（经由 ops.b）”", "“a（经由 ops.b）”"),
            ("a, b", "“a, b”", "“a, b”"),
            ("a” (b), “c", "“a\" (b), \"c”", "“a\" (b), \"c”"),
            ("a \u{2768}via b\u{2769}", "“a \u{2768}via b\u{2769}”", "“a \u{2768}via b\u{2769}”"),
        ] {
            assert_eq!((name(text).as_str(), token(text).as_str()), (as_name, as_token));
        }
        assert_eq!(entry("Disk of db-01 is full"), "Disk of db-01 is full");
        assert_eq!(entry("Disk (db-03), Disk full"), "“Disk (db-03), Disk full”");
    }
}
