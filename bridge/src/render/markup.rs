//! Text and bytes as a room shows them.

use std::{borrow::Cow, fmt::Write as _};

use minijinja::{HtmlEscape, Value};

use crate::{
    message::Binary,
    render::{columns, words::Words},
};

/// The mark before each line from others that could be mistaken for one of ours. Our own lines never begin with it.
const QUOTE: char = '│';

/// The number of blanks in a row that may fill the rest of a line on a phone, so that the next word seems to begin a
/// line.
const WIDE: usize = 8;

/// Sets lines from others apart from ours.
pub(super) fn quoted(text: &str) -> String {
    let quote =
        |line: &str| if line.is_empty() { QUOTE.to_string() } else { format!("{QUOTE} {line}") };
    text.split('\n').map(quote).collect::<Vec<_>>().join("\n")
}

/// Sets a line from others apart if it could be mistaken for one of ours, which begin with a symbol that keyboards do
/// not have, such as 🔴 or 🤖.
pub(super) fn apart(line: &str) -> Cow<'_, str> {
    if looks_like_ours(line) { Cow::Owned(quoted(line)) } else { Cow::Borrowed(line) }
}

/// Whether a line begins with a symbol, or seems to do so when a narrow screen wraps it.
fn looks_like_ours(line: &str) -> bool {
    beginnings(line).any(|part| {
        let first = part.chars().find(|c| !c.is_whitespace() && !c.is_ascii_punctuation());
        first.is_some_and(|c| !c.is_alphanumeric())
    })
}

/// Returns the line, and its parts after wide gaps, which may have punctuation in them: narrow screens wrap lines
/// there.
fn beginnings(line: &str) -> impl Iterator<Item = &str> {
    let behind_gaps = line.char_indices().scan(0, move |blanks, (at, c)| {
        let gap = *blanks;
        *blanks = match c {
            '\t' => gap + WIDE,
            c if c.is_whitespace() => gap + 1,
            c if c.is_ascii_punctuation() => gap,
            _ => 0,
        };
        Some((*blanks == 0 && gap >= WIDE).then(|| &line[at..]))
    });
    std::iter::once(line).chain(behind_gaps.flatten())
}

/// Shows a whole text from others. If it has several lines, each is set apart, to show where the text ends.
pub(super) fn body(text: &str) -> String {
    if text.contains('\n') { quoted(text) } else { apart(text).into_owned() }
}

/// Splits a text from others that starts in a line of ours: the part for that line, and the rest, set apart below it.
pub(super) fn continued(text: &str) -> (&str, Option<String>) {
    match text.split_once('\n') {
        _ if beginnings(text.lines().next().unwrap_or(text)).skip(1).any(looks_like_ours) => {
            ("", Some(quoted(text)))
        }
        Some((first, rest)) => (first, Some(quoted(rest))),
        None => (text, None),
    }
}

/// Whether a line is set apart.
pub(super) fn is_quoted(line: &str) -> bool {
    line.starts_with(QUOTE)
}

/// Returns a text in which no line begins with `mark`, because such lines are quoted.
pub(super) fn without_line_of(text: &str, mark: char) -> String {
    let line = |line| if starts_with(line, mark) { quoted(line) } else { String::from(line) };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Whether a reader sees `mark` at the beginning of a line, or where the line is wrapped.
pub(super) fn starts_with(line: &str, mark: char) -> bool {
    beginnings(line).any(|part| part.trim_start().starts_with(mark))
}

/// Returns plain text as HTML with the same lines. Lines that are set apart become a quote, or preformatted text if they
/// are aligned.
pub(crate) fn html(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    let lines: Vec<&str> = text.split('\n').collect();
    let mut rest = &lines[..];
    while !rest.is_empty() {
        let is_first = rest.len() == lines.len();
        let quoted = rest.iter().take_while(|line| is_quoted(line)).count();
        if quoted > 0 {
            let inner: Vec<&str> = rest[..quoted].iter().map(|line| unquoted(line)).collect();
            push_block(&mut html, &inner);
            rest = &rest[quoted..];
            continue;
        }
        let is_after_block = html.ends_with("</blockquote>") || html.ends_with("</pre>");
        html.push_str(if is_first || is_after_block { "" } else { "<br>" });
        // Writing to a String cannot fail.
        let _ = write!(html, "{}", HtmlEscape(rest[0]));
        rest = &rest[1..];
    }
    html
}

fn unquoted(line: &str) -> &str {
    let line = line.strip_prefix(QUOTE).unwrap_or(line);
    line.strip_prefix(' ').unwrap_or(line)
}

/// Adds lines that are set apart. A line end in preformatted text is written as a reference, because those in templates
/// are removed.
fn push_block(html: &mut String, lines: &[&str]) {
    let (begin, between, end) = if columns::are_aligned(lines) {
        ("<pre><code>", "&#10;", "</code></pre>")
    } else {
        ("<blockquote>", "<br>", "</blockquote>")
    };
    html.push_str(begin);
    for (index, line) in lines.iter().enumerate() {
        html.push_str(if index == 0 { "" } else { between });
        let _ = write!(html, "{}", HtmlEscape(line));
    }
    html.push_str(end);
}

/// Removes the line breaks beside HTML elements that begin and end a line themselves.
pub(super) fn tidy(html: &str) -> String {
    html.replace("<br><blockquote>", "<blockquote>")
        .replace("</blockquote><br>", "</blockquote>")
        .replace("<br><pre>", "<pre>")
        .replace("</pre><br>", "</pre>")
}

/// Escapes a value, and breaks lines where the value does.
pub(super) fn html_lines(value: &str) -> Value {
    Value::from_safe_string(HtmlEscape(value).to_string().replace('\n', "<br>"))
}

/// Implements the filter `quote` for HTML: a text from others in a quote.
pub(super) fn html_quote(value: &str) -> Value {
    Value::from_safe_string(html(&quoted(value)))
}

/// Describes a message that is not text.
pub(super) fn binary(subject: &str, data: &Binary, words: &dyn Words) -> String {
    let (size, bytes) = bytes(data, words);
    format!("📦 {subject}\n{}\n{}", words.notice(&size), quoted(&bytes))
}

/// Describes bytes that are not text: their number, and the first of them.
pub(super) fn bytes(bytes: &Binary, words: &dyn Words) -> (String, String) {
    let shown: Vec<String> = bytes.head.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len > shown.len() { " …" } else { "" };
    (words.not_text(&words.bytes(bytes.len as u64)), shown.join(" ") + more)
}
