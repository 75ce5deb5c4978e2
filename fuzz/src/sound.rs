//! Checks that must hold for every event that the bridge posts, whatever a message contains. They look at the event
//! as a client would, and share no code with the program that makes it.

use serde_json::Value;

/// The maximum size of an event in Matrix, minus the parts that the homeserver and the origin add, in bytes.
const EVENT_LIMIT: usize = 65_536 - 4_096;

/// The elements without an end tag.
const VOID: [&str; 3] = ["br", "hr", "img"];

/// The origin of the HTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Markup {
    /// The built-in templates.
    BuiltIn,
    /// A user's own templates, of which everything that Matrix allows is kept.
    Own,
    /// A user's own templates with addresses in them, which may lead anywhere.
    OwnWithAddresses,
}

impl Markup {
    /// The allowed elements, each with its allowed attributes.
    fn allowed(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::BuiltIn => &[
                ("a", &["href"]),
                ("blockquote", &[]),
                ("br", &[]),
                ("code", &[]),
                ("em", &[]),
                ("pre", &[]),
                ("strong", &[]),
            ],
            // https://spec.matrix.org/v1.18/client-server-api/#mroommessage-msgtypes
            Self::Own | Self::OwnWithAddresses => &[
                ("a", &["href", "target"]),
                ("b", &[]),
                ("blockquote", &[]),
                ("br", &[]),
                ("caption", &[]),
                ("code", &["class"]),
                ("del", &[]),
                ("details", &[]),
                ("div", &["data-mx-maths"]),
                ("em", &[]),
                ("h1", &[]),
                ("h2", &[]),
                ("h3", &[]),
                ("h4", &[]),
                ("h5", &[]),
                ("h6", &[]),
                ("hr", &[]),
                ("i", &[]),
                ("img", &["alt", "height", "src", "title", "width"]),
                ("li", &[]),
                ("ol", &["start"]),
                ("p", &[]),
                ("pre", &[]),
                ("s", &[]),
                (
                    "span",
                    &["data-mx-bg-color", "data-mx-color", "data-mx-maths", "data-mx-spoiler"],
                ),
                ("strong", &[]),
                ("sub", &[]),
                ("summary", &[]),
                ("sup", &[]),
                ("table", &[]),
                ("tbody", &[]),
                ("td", &[]),
                ("th", &[]),
                ("thead", &[]),
                ("tr", &[]),
                ("u", &[]),
                ("ul", &[]),
            ],
        }
    }
}

/// Asserts that the content of an `m.room.message` mentions nobody, is no larger than an event may be, and contains
/// no text or HTML that misleads a reader or links to anything but web pages.
///
/// # Panics
///
/// Panics with a description of what is wrong.
#[track_caller]
pub(crate) fn assert_sound(content: &Value, markup: Markup) {
    if let Err(wrong) = check(content, markup) {
        panic!("{wrong}: {content}");
    }
}

fn check(content: &Value, markup: Markup) -> Result<(), String> {
    let size = content.to_string().len();
    if size > EVENT_LIMIT {
        return Err(format!("an event of {size} bytes"));
    }
    check_numbers(content)?;
    for content in [content, &content["m.new_content"]] {
        if content.is_null() {
            continue;
        }
        if content["m.mentions"] != serde_json::json!({}) {
            return Err(format!("mentions {}", content["m.mentions"]));
        }
        let body = content["body"].as_str().ok_or("no body")?;
        check_text(body)?;
        if markup == Markup::BuiltIn {
            check_lines(body)?;
        }
        match content.get("formatted_body") {
            None => {}
            Some(Value::String(html)) if content["format"] == "org.matrix.custom.html" => {
                check_text(html)?;
                check_html(html, markup)?;
                if markup == Markup::BuiltIn {
                    check_lines(&unquoted(html))?;
                }
            }
            Some(_) => return Err("HTML that is none".to_owned()),
        }
    }
    Ok(())
}

/// Checks that there are no floats, which Matrix does not have.
fn check_numbers(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.is_f64() => Err(format!("the float {number}")),
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(object) => object.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

/// The beginnings of the bridge's own lines: of alerts and their details, reports, notes of a forge, digests and
/// notices.
const MARKS: [&str; 41] = [
    "🔴",
    "🟠",
    "🔵",
    "✅",
    "📍",
    "🏷️",
    "🕒",
    "🔗",
    "📈",
    "🔁",
    "👤",
    "…",
    "📊",
    "🔄",
    "💻",
    "😊",
    "📨",
    "☁️",
    "📦",
    "🔨",
    "🌿",
    "💬",
    "🔀",
    "🎫",
    "🚀",
    "🍴",
    "📝",
    "🎁",
    "📁",
    "🔔",
    "ℹ️",
    "🧪",
    "🤖 nats-matrix",
    "⚙️",
    "📚",
    "⏱️",
    "🧵",
    "──",
    "🔧",
    "⚠️",
    "ℹ️",
];

/// Checks that each line is the bridge's own, is in a quote, or begins with words. No other line may begin with a
/// symbol.
fn check_lines(text: &str) -> Result<(), String> {
    for line in text.lines() {
        // The prefix of an edit's fallback, the indentation of a message in a digest, and the mark of a cut.
        let line = line.trim_start_matches("* ").trim_start().trim_end_matches(" …");
        let first = line.chars().find(|c| !c.is_whitespace() && !c.is_ascii_punctuation());
        let is_plain = first.is_none_or(char::is_alphanumeric);
        if !is_plain && !line.starts_with('│') && !MARKS.iter().any(|mark| line.starts_with(mark))
        {
            return Err(format!("the line {line}"));
        }
    }
    Ok(())
}

/// Returns the lines of HTML that are outside quotes and preformatted text.
fn unquoted(html: &str) -> String {
    let html = html.replace("<pre>", "<blockquote>").replace("</pre>", "</blockquote>");
    let (mut depth, mut lines) = (0_usize, String::new());
    for part in html.split_inclusive("blockquote>") {
        let (text, tag) = part.split_at(part.rfind('<').unwrap_or(part.len()));
        if depth == 0 {
            lines.push_str(text);
        }
        match tag {
            "<blockquote>" => depth += 1,
            "</blockquote>" => depth = depth.saturating_sub(1),
            tag if depth == 0 => lines.push_str(tag),
            _ => {}
        }
        if tag.ends_with("blockquote>") {
            lines.push('\n');
        }
    }
    let mut text = String::new();
    for part in lines.replace("<br>", "\n").split('<') {
        let after = part.split_once('>').map_or(part, |(_, after)| after);
        text.push_str(after);
    }
    text
}

fn check_text(text: &str) -> Result<(), String> {
    let (mut before, mut is_in_flag) = (' ', false);
    for c in text.chars() {
        is_in_flag = c == '\u{1f3f4}' || is_in_flag && is_tag(c);
        let misleads = match c {
            '\n' | '\t' => false,
            // Emoji and some scripts contain these characters.
            '\u{200b}'..='\u{200d}' => {
                before < '\u{530}'
                    || before.is_whitespace()
                    || ('\u{200b}'..='\u{200d}').contains(&before)
            }
            // They select the style of an emoji or the form of an ideograph. Keycaps begin with an ASCII character.
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
                !"0123456789#*©®".contains(before) && before < '\u{203c}'
            }
            '\u{180b}'..='\u{180f}' => !('\u{1820}'..='\u{18aa}').contains(&before),
            // They spell the flags of Scotland and others.
            c if is_tag(c) => !is_in_flag,
            c => misleads(c),
        };
        if misleads {
            return Err(format!("the character {}", c.escape_unicode()));
        }
        before = c;
    }
    Ok(())
}

fn is_tag(c: char) -> bool {
    ('\u{e0000}'..='\u{e007f}').contains(&c)
}

/// Whether a character misleads a reader, whatever comes before it.
fn misleads(c: char) -> bool {
    match c {
        // Direction marks, unusual line ends, embeddings, overrides and isolates, zero-width characters, and blanks.
        '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffc}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0080}'..='\u{e0fff}' => true,
        c => c.is_control(),
    }
}

/// Checks HTML as the bridge writes it: every tag is complete, closed and allowed, and no other text looks like a
/// tag.
fn check_html(html: &str, markup: Markup) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '>', '&']) {
        let (found, after) = rest[at..].split_at(1);
        rest = match found {
            "<" => tag(after, &mut open, markup)?,
            "&" => {
                let (c, after) =
                    entity(after).ok_or_else(|| format!("a bare & before {after:.20}"))?;
                check_text(c.encode_utf8(&mut [0; 4]))?;
                after
            }
            _ => return Err("a bare >".to_owned()),
        };
    }
    if open.is_empty() { Ok(()) } else { Err(format!("{open:?} is not closed")) }
}

/// Reads a tag after its `<`, and returns the text after the tag.
fn tag<'a>(text: &'a str, open: &mut Vec<&'a str>, markup: Markup) -> Result<&'a str, String> {
    if let Some(text) = text.strip_prefix('/') {
        let (name, rest) = text.split_once('>').ok_or("a tag without end")?;
        let opened = open.pop();
        return if opened == Some(name) {
            Ok(rest)
        } else {
            Err(format!("</{name}> closes {opened:?}"))
        };
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).ok_or("a tag without end")?;
    let (name, mut rest) = text.split_at(end);
    let allowed = markup.allowed().iter().find(|(allowed, _)| *allowed == name);
    let (_, attributes) = allowed.ok_or_else(|| format!("the element <{name}>"))?;
    while let Some(attribute) = rest.strip_prefix(' ') {
        let (key, value) = attribute.split_once("=\"").ok_or("an attribute without value")?;
        let (value, after) = value.split_once('"').ok_or("an attribute without end")?;
        if !attributes.contains(&key) {
            return Err(format!("the attribute {key} of <{name}>"));
        }
        if matches!(key, "href" | "src") && markup != Markup::OwnWithAddresses {
            check_address(&decoded(value)?, markup)?;
        }
        rest = after;
    }
    if !VOID.contains(&name) {
        open.push(name);
    }
    rest.strip_prefix('>').ok_or_else(|| format!("<{name} is not closed"))
}

/// Reads an entity after its `&`, and returns its character and the text after it.
fn entity(text: &str) -> Option<(char, &str)> {
    let (name, rest) = text.split_once(';')?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "nbsp" => '\u{a0}',
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix('x') {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)?
        }
    };
    Some((c, rest))
}

fn decoded(text: &str) -> Result<String, String> {
    let mut parts = text.split('&');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (c, rest) = entity(part).ok_or("a bare & in an address")?;
        decoded.push(c);
        decoded += rest;
    }
    Ok(decoded)
}

/// Checks that an address leads to a web page, and not to one that clients show as a person or a room.
fn check_address(address: &str, markup: Markup) -> Result<(), String> {
    let lower = address.to_lowercase();
    let rest = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| format!("the address {address} of a {markup:?} link"))?;
    let host = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default().trim_end_matches('.');
    let is_mention = name == "matrix.to" || name.ends_with(".matrix.to");
    if is_mention || host.contains('@') || host.is_empty() {
        return Err(format!("the address {address}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn html(html: &str) -> Result<(), String> {
        let content = json!({ "body": "b", "format": "org.matrix.custom.html", "formatted_body": html,
                              "m.mentions": {} });
        check(&content, Markup::BuiltIn)
    }

    #[test]
    fn what_is_sound_passes() {
        for sound in [
            "",
            "a &lt;b&gt; &amp; &#x27;<br>c",
            "<strong>x <em>y</em></strong><code>z</code>",
            "<a href=\"https:&#x2f;&#x2f;a.example&#x2f;?b&amp;c\">a</a>",
            "<strong>🔴 CRITICAL:</strong> a<blockquote>🛑 <em>b</em><br>🤖 c</blockquote>📍 d<br>(1) e",
            // A rainbow flag, the flag of Scotland, and "I want" in Persian.
            "a \u{1f3f3}\u{fe0f}\u{200d}\u{1f308}",
            "a \u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
        ] {
            html(sound).unwrap_or_else(|wrong| panic!("{sound}: {wrong}"));
        }
    }

    #[test]
    fn what_is_not_is_found() {
        for (unsound, said) in [
            ("a < b", "the element <>"),
            ("a > b", "a bare >"),
            ("a & b", "a bare &"),
            ("<script>x</script>", "the element <script>"),
            ("<strong>x", "is not closed"),
            ("<strong><em>x</strong></em>", "</strong> closes"),
            ("x</em>", "</em> closes None"),
            ("<em onclick=\"x\">y</em>", "the attribute onclick"),
            ("<a href=\"javascript:x\">y</a>", "the address javascript:x"),
            ("<a href=\"https://matrix.to/#/@a:b\">y</a>", "the address https://matrix.to"),
            ("<a href=\"https://MATRIX.to.:443/#/@a:b\">y</a>", "the address https://MATRIX.to"),
            ("<a href=\"https://x@y.example\">y</a>", "the address https://x@y.example"),
            ("<a href=x>y</a>", "an attribute without"),
            ("<!-- x -->", "the element <>"),
            ("a\u{202e}b", "the character \\u{202e}"),
            ("a&#x202e;b", "the character \\u{202e}"),
            ("a\u{200b}b", "the character \\u{200b}"),
            ("<em>\u{200d}b</em>", "the character \\u{200d}"),
            ("\u{e01}\u{200b}\u{200c}", "the character \\u{200c}"),
            ("ok\u{e0068}", "the character \\u{e0068}"),
            ("\u{1f3f4}\u{e0067}a\u{e007f}", "the character \\u{e007f}"),
            ("a\u{2063}b", "the character \\u{2063}"),
            ("a\u{ad}b", "the character \\u{ad}"),
            ("\u{5d0}\u{200f}", "the character \\u{200f}"),
            ("a\u{fe0f}", "the character \\u{fe0f}"),
            ("\u{3164}", "the character \\u{3164}"),
            ("a<br>🛑 stop", "the line 🛑 stop"),
            ("<strong>🛑</strong> stop", "the line 🛑 stop"),
            ("<blockquote>🛑</blockquote>🛑 stop", "the line 🛑 stop"),
            ("🤖nats-matrix: x", "the line 🤖"),
            ("a\u{fffa}b", "the character \\u{fffa}"),
            (&"x".repeat(EVENT_LIMIT), "an event of"),
        ] {
            let wrong = html(unsound).unwrap_err();
            assert!(wrong.contains(said), "{said}: {wrong}");
        }
        for (content, said) in [
            (json!({ "body": "a" }), "mentions null"),
            (json!({ "body": "a", "m.mentions": { "room": true } }), "mentions {"),
            (json!({ "body": "a", "m.mentions": {}, "x": [1.5] }), "the float 1.5"),
            (json!({ "m.mentions": {} }), "no body"),
            (
                json!({ "body": "a", "m.mentions": {}, "m.new_content": { "body": "a" } }),
                "mentions",
            ),
        ] {
            let wrong = check(&content, Markup::Own).unwrap_err();
            assert!(wrong.contains(said), "{said}: {wrong}");
        }
    }
}
