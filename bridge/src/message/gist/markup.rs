//! Texts that are written in HTML, as text.

use std::borrow::Cow;

/// The elements that end a line.
const BLOCKS: &[&str] =
    &["br", "/p", "/div", "/tr", "/li", "/ul", "/ol", "/table", "/h1", "/h2", "/h3", "/h4", "/pre"];

/// The elements whose content is not to be read.
const HIDDEN: &[&str] = &["style", "script", "head"];

/// The entities that are common in texts of programs.
const ENTITIES: &[(&str, &str)] = &[
    ("&nbsp;", " "),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&#x2F;", "/"),
    ("&amp;", "&"),
];

/// Whether a text is written in HTML: it has an element that ends, or a line break.
pub(super) fn is_html(text: &str) -> bool {
    const SIGNS: &[&str] = &[
        "</p>",
        "</div>",
        "</span>",
        "</a>",
        "</b>",
        "</strong>",
        "</h1>",
        "</h2>",
        "</h3>",
        "</h4>",
        "</table>",
        "</li>",
        "</body>",
        "</html>",
        "</pre>",
        "</code>",
        "</em>",
        "</i>",
        "</font>",
        "<br>",
        "<br/>",
        "<br />",
    ];
    text.contains('<') && SIGNS.iter().any(|sign| text.contains(sign))
}

/// Returns the text of what may be HTML.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !is_html(text) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        plain.push_str(before);
        let is_element =
            after.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
        let Some((element, below)) = after.split_once('>').filter(|_| is_element) else {
            plain.push('<');
            rest = after;
            continue;
        };
        let name = element.split([' ', '\n']).next().unwrap_or_default().to_ascii_lowercase();
        let name = if name == "br/" { "br" } else { &name };
        if BLOCKS.contains(&name) {
            plain.push('\n');
        }
        rest = if HIDDEN.contains(&name) {
            below.split_once(&format!("</{name}>")).map_or("", |(_, below)| below)
        } else {
            below
        };
    }
    plain.push_str(rest);
    for (entity, sign) in ENTITIES {
        plain = plain.replace(entity, sign);
    }
    let lines: Vec<&str> = plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Cow::Owned(lines.join("\n"))
}
