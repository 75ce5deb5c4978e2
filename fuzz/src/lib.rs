//! The checks for arbitrary input, which the fuzz targets run. Each function takes one input and panics if a promise is
//! broken. The tests of the bridge include this file, to replay the corpus (`bridge/tests/corpus.rs`).

pub mod memory;
mod sound;

use std::collections::{BTreeMap, HashMap};

use nats_matrix::fuzzing::{
    self, Answer, LONGEST_WAIT_ASKED, MAX_TEXT_CHARS, Message, Posted, line,
};
use ruma_html::{Html, SanitizerConfig};
use serde::de::IgnoredAny;
use toml::de::{DeTable, DeValue};

use self::sound::{Markup, assert_sound};

/// The number of characters by which a text may exceed the longest that is shown: a line of our own that says that it
/// was cut, and one about an error in a template.
const OWN_LINES_CHARS: usize = 1_000;

/// Decodes any bytes.
///
/// # Panics
///
/// Panics if the flaw of the message is not one clean line, or if its bytes are not its own.
pub fn payload(bytes: &[u8]) {
    let read = fuzzing::decode(bytes);
    if let Some(flaw) = &read.flaw {
        assert_eq!(line(flaw), *flaw, "a flaw is one clean line");
        assert!(!flaw.is_empty() && flaw.chars().count() < MAX_TEXT_CHARS / 2, "{flaw}");
    }
    if let Some((len, head)) = &read.binary {
        assert!(*len == bytes.len() && bytes.starts_with(head));
    }
}

/// Reads a message as NATS delivers it: a line with the subject, lines with headers, an empty line, and the payload.
/// Returns the payload, too.
fn message(bytes: &[u8]) -> (Message<'_>, &[u8]) {
    let (head, payload) = split(bytes, b"\n\n");
    let mut lines = std::str::from_utf8(head).unwrap_or("ops.x").lines();
    let subject = lines.next().unwrap_or_default();
    let headers = lines.filter_map(|line| line.split_once(": "));
    (Message::new(subject, headers, payload), payload)
}

/// Splits bytes at the first separator. Without a separator everything is in the second part.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes.windows(separator.len()).position(|window| window == separator);
    at.map_or((b"", bytes), |at| (&bytes[..at], &bytes[at + separator.len()..]))
}

/// Asserts that whatever a message holds, the events that show it are sound: alone, in a thread, as an edit and in a
/// digest.
///
/// # Panics
///
/// Panics if an event is not sound.
pub fn render(bytes: &[u8]) {
    let (message, payload) = message(bytes);
    let (posted, own) = fuzzing::render(&message);
    for posted in &posted {
        assert_posted_soundly(posted, payload, Markup::BuiltIn);
    }
    for content in &own {
        assert_sound(content, Markup::BuiltIn);
    }
}

fn assert_posted_soundly(posted: &Posted, original: &[u8], markup: Markup) {
    for content in &posted.contents {
        assert_sound(content, markup);
    }
    assert!(!posted.plain.trim().is_empty(), "nothing is shown");
    let length = posted.plain.chars().count();
    assert!(length <= MAX_TEXT_CHARS + OWN_LINES_CHARS, "{length} characters");
    if let Some(file) = &posted.file {
        assert_eq!(file, original, "the file is what was published");
    }
}

/// A template that makes every possible mistake with a message.
const CARELESS: &str = "{{ payload }}<p {{ payload }}>{{ subject }}</p><a href={{ payload }}>a</a>\
    <a href='{{ payload.x | default(payload) }}'>b</a><img src=\"{{ payload.x | default(payload) }}\" alt='{{ headers }}'>\
    <span data-mx-color='{{ tokens | last }}'>{{ headers['X-Y'] | default('') | link }}</span>\
    <{{ tokens | first }} {{ payload.x | default('') }}>{{ payload.x | default('') | string | leading_to(subject) }}\
    {% include ['_part.html.jinja', payload | string, subject] ignore missing %}";

/// An addition for the kinds of message that have rows. For other kinds a template with rows is refused.
const CARELESS_ROWS: &str =
    "{% for name, value in rows %}<b>{{ name }}</b>{{ value | value }}{% endfor %}";

/// Returns the careless templates of all kinds, by file name.
fn careless() -> BTreeMap<String, String> {
    let template = |has_rows| format!("{CARELESS}{}", if has_rows { CARELESS_ROWS } else { "" });
    let named = |(kind, has_rows)| (format!("{kind}.html.jinja"), template(has_rows));
    let part = ("_part.html.jinja".to_owned(), "<i>{{ payload }}</i>".to_owned());
    fuzzing::template_kinds().map(named).chain([part]).collect()
}

/// Renders templates of any text with any message, and asserts that they are refused or that their output is sound,
/// and that Matrix allows all of the HTML.
///
/// The input is an HTML template, a line `---`, a plain text template, a line `---` and a message. Without these
/// lines it is a message for the careless template.
///
/// # Panics
///
/// Panics if one of the assertions fails.
pub fn template(bytes: &[u8]) {
    let (html, rest) = split(bytes, b"\n---\n");
    let (plain, rest) = split(rest, b"\n---\n");
    let (message, payload) = message(rest);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (html, plain) = (text(html), text(plain));
    let mut sources = careless();
    sources.insert("_plain.txt.jinja".to_owned(), plain.clone());
    for (kind, _) in fuzzing::template_kinds() {
        if !html.is_empty() {
            sources.insert(format!("{kind}.html.jinja"), html.clone());
        }
        if !plain.is_empty() {
            sources.insert(format!("{kind}.txt.jinja"), plain.clone());
        }
    }
    let posted = match fuzzing::render_with(&sources, &message) {
        Ok(posted) => posted,
        Err(faults) => {
            assert!(!html.is_empty() || !plain.is_empty(), "no careless template is refused");
            assert!(faults.iter().all(|fault| !fault.is_empty()) && !faults.is_empty());
            return;
        }
    };
    let has_addresses = html.contains(':');
    let markup = if has_addresses { Markup::OwnWithAddresses } else { Markup::Own };
    assert_posted_soundly(&posted, payload, markup);
    let read = Html::parse(&posted.html);
    let as_it_is = read.to_string();
    read.sanitize_with(&SanitizerConfig::strict().remove_reply_fallback());
    assert_eq!(read.to_string(), as_it_is, "Matrix does not allow all of it");
}

/// Decodes any message with any shape, and asserts that the shape is refused or that the message is shown soundly.
///
/// The input is the file of a shape, a line `---` and a message.
///
/// # Panics
///
/// Panics if one of the assertions fails.
pub fn shape(bytes: &[u8]) {
    let (file, rest) = split(bytes, b"\n---\n");
    let (message, payload) = message(rest);
    match fuzzing::shape(&String::from_utf8_lossy(file), &message) {
        Ok(posted) => assert_posted_soundly(&posted, payload, Markup::BuiltIn),
        Err(faults) => {
            assert!(!faults.is_empty(), "a shape is refused without a reason");
            assert!(faults.iter().all(|fault| !fault.is_empty()), "{faults:?}");
        }
    }
}

/// Parses any text as a configuration with an environment, and asserts that it is accepted, or refused with an error
/// that contains no secret.
///
/// The input is TOML, then a line `---` and lines of `NAME=VALUE`.
///
/// # Panics
///
/// Panics if one of the assertions fails.
pub fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (toml, variables) = text.split_once("\n---\n").unwrap_or((&text, ""));
    let environment: HashMap<String, String> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("NATS_MATRIX__{name}"), value.to_owned()))
        .collect();
    let mut secrets = secrets(toml, &environment);
    // A text that also occurs elsewhere may be shown from there.
    secrets.retain(|secret| secret == MARK || text.matches(secret.as_str()).count() == 1);
    for result in fuzzing::config(toml, environment) {
        let shown = match result {
            Ok(shown) => shown,
            Err((said, code)) => {
                assert_eq!(code, 64, "{said}");
                assert!(!said.trim().is_empty());
                said
            }
        };
        for secret in &secrets {
            assert!(!shown.contains(secret), "the secret {secret} in: {shown}");
        }
    }
}

/// A text that every secret contains, so that it can be told from the rest.
const MARK: &str = "hunter";

/// Collects the secrets of a configuration and an environment. A text that is not TOML has no keys, so any part of it
/// may be a secret.
fn secrets(toml: &str, environment: &HashMap<String, String>) -> Vec<String> {
    let mut secrets = Vec::new();
    match DeTable::parse(toml) {
        Ok(table) => of_table(table.get_ref(), &mut secrets),
        Err(_) => secrets.push(MARK.to_owned()),
    }
    let is_secret = |name: &str| {
        let key = name.rsplit("__").next().unwrap_or_default().to_lowercase();
        SECRETS.contains(&key.as_str())
    };
    secrets
        .extend(environment.iter().filter(|(name, _)| is_secret(name)).map(|(_, it)| it.clone()));
    secrets.retain(|secret| secret.contains(MARK));
    secrets
}

fn of_table(table: &DeTable<'_>, secrets: &mut Vec<String>) {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::String(text) if SECRETS.contains(&&**key.get_ref()) => {
                secrets.push(text.to_string());
            }
            DeValue::Table(table) => of_table(table, secrets),
            _ => {}
        }
    }
}

/// The keys whose values are secrets.
const SECRETS: [&str; 5] = ["password", "nkey_seed", "credentials", "token", "access_token"];

/// Parses any answer of a homeserver to each of our requests, and asserts that it is understood or becomes a clean
/// error, and that no answer makes us wait longer than our own limit.
///
/// The input is a line with the status, perhaps one with `Retry-After`, an empty line and the body.
///
/// # Panics
///
/// Panics if one of the assertions fails.
pub fn homeserver(bytes: &[u8]) {
    let (head, body) = split(bytes, b"\n\n");
    let mut head = std::str::from_utf8(head).unwrap_or_default().lines();
    let status = head.next().and_then(|line| line.parse().ok()).unwrap_or(200);
    let understood = Answer { status, retry_after: head.next(), body }.understand();
    for error in &understood.errors {
        let said = &error.text;
        assert!(!said.trim().is_empty() && said.len() < 10_000, "{said}");
        assert!(error.wait.is_none_or(|wait| wait <= LONGEST_WAIT_ASKED), "{:?}", error.wait);
        if !error.is_unreachable {
            assert_eq!(line(said), *said, "an error is one clean line");
        }
    }
    if let Ok(all) = serde_json::from_slice::<Vec<IgnoredAny>>(body) {
        assert_eq!(understood.elements, Some(all.len()));
    }
    assert_ne!(understood.has_own_position, Some(false), "a position of others");
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Duration, Instant},
    };

    /// A limit far above the time of any input, also on a busy machine and without optimisation.
    const PATIENCE: Duration = Duration::from_mins(1);

    type Target = fn(&[u8]);

    #[test]
    fn all_of_the_corpus_keeps_the_promises() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");
        let targets: [(&str, Target); 6] = [
            ("payload", super::payload),
            ("render", super::render),
            ("template", super::template),
            ("shape", super::shape),
            ("config", super::config),
            ("homeserver", super::homeserver),
        ];
        for (target, run) in targets {
            let mut count = 0;
            for entry in fs::read_dir(format!("{corpus}/{target}")).unwrap() {
                let path = entry.unwrap().path();
                let (bytes, begin) = (fs::read(&path).unwrap(), Instant::now());
                let done = std::panic::catch_unwind(|| run(&bytes));
                assert!(done.is_ok(), "{}", path.display());
                assert!(
                    begin.elapsed() < PATIENCE,
                    "{} takes {:?}",
                    path.display(),
                    begin.elapsed()
                );
                count += 1;
            }
            assert!(count >= 5, "{target} has {count} files");
        }
    }

    /// Invisible characters: after letters of scripts that use them, in a flag, and where they have no meaning.
    const HIDDEN: &str = "\u{200b}\u{e01}\u{200d}\u{200b}\u{1f3f4}\u{e0067}\u{e007f}a\u{e0067}\u{200c}\u{e01}\u{202e}\u{2060}\u{e01}\u{200c}";

    #[test]
    fn with_what_nobody_sees_the_corpus_keeps_the_promises_too() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus");
        let targets: [(&str, Target); 2] =
            [("render", super::render), ("template", super::template)];
        for (target, run) in targets {
            for entry in fs::read_dir(format!("{corpus}/{target}")).unwrap() {
                let path = entry.unwrap().path();
                // The large inputs test something else.
                let Ok(text) = fs::read_to_string(&path) else { continue };
                if text.len() > 4_096 {
                    continue;
                }
                for place in ["\":\"", "\": \"", " ", "."] {
                    let hiding = text.replace(place, &format!("{place}{HIDDEN}"));
                    let done = std::panic::catch_unwind(|| run(hiding.as_bytes()));
                    assert!(done.is_ok(), "{} after {place}", path.display());
                }
            }
        }
    }
}
