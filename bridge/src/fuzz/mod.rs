//! The checks for arbitrary input, which the fuzz targets in `fuzz/` run, and a test on the corpus that is kept
//! there. Each function takes one input and panics if a promise is broken.

pub mod memory;
pub(crate) mod sound;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::LazyLock,
};

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use matrix_sdk::{
    HttpError,
    ruma::{
        api::{
            IncomingResponse, OutgoingRequest,
            client::{
                account::whoami,
                alias::get_alias,
                discovery::get_supported_versions,
                media::create_content,
                membership::{join_room_by_id_or_alias, joined_rooms},
                message::{get_message_events, send_message_event},
                room::create_room,
                session::login,
            },
            error::FromHttpResponseError,
        },
        exports::http::Response,
        owned_event_id, room_alias_id, user_id,
    },
};
use ruma_html::{Html, SanitizerConfig};
use serde::de::IgnoredAny;
use toml::de::{DeTable, DeValue};

use crate::{
    alerts::AlertUpdate,
    config::{Config, Display, Language, Publisher},
    failure::Failure,
    fuzz::sound::{Markup, assert_sound},
    matrix::{MatrixError, Ownership, elements::Elements, error::LONGEST_WAIT_ASKED, room},
    message::{Decoded, Kind, Payload, PayloadKind, Position, StreamId, Urgency, payload},
    nats::headers,
    render::{
        Entry, Incoming, Rendered, Renderer,
        content::{MAX_TEXT_CHARS, in_place_of, in_thread},
        conversation::with_times,
        digest_entries,
    },
    text::shown::line,
};

/// The number of characters by which a text may exceed the longest that is shown: a line of our own that says that it
/// was cut, and one about an error in a template.
const OWN_LINES_CHARS: usize = 1_000;

/// Decodes any bytes.
pub fn payload(bytes: &[u8]) {
    let decoded = Decoded::from_bytes(bytes);
    if let Some(flaw) = &decoded.flaw {
        let flaw = flaw.to_string();
        assert_eq!(line(&flaw), flaw, "a flaw is one clean line");
        assert!(!flaw.is_empty() && flaw.chars().count() < MAX_TEXT_CHARS / 2, "{flaw}");
    }
    if let Payload::Binary(kept) = &decoded.payload {
        assert!(kept.len == bytes.len() && bytes.starts_with(&kept.head));
    }
    // The sources and the alert of a message are looked up for every message.
    let _ = (payload::sources(&decoded.payload), AlertUpdate::of(&decoded.payload));
}

/// A message as NATS delivers it: a line with the subject, lines with headers, an empty line, and the payload.
struct Message<'a> {
    subject: &'a str,
    headers: HeaderMap,
    payload: Bytes,
}

impl<'a> Message<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let (head, payload) = split(bytes, b"\n\n");
        let mut lines = std::str::from_utf8(head).unwrap_or("ops.x").lines();
        let subject = lines.next().unwrap_or_default();
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            // NATS does not deliver headers that do not parse.
            if let (Ok(name), Ok(value)) =
                (name.parse::<async_nats::HeaderName>(), value.parse::<async_nats::HeaderValue>())
            {
                headers::add(&mut headers, &name, &value);
            }
        }
        Self { subject, headers, payload: Bytes::copy_from_slice(payload) }
    }

    fn incoming(&'a self, decoded: &'a Decoded) -> Incoming<'a> {
        Incoming {
            subject: self.subject,
            headers: Some(&self.headers),
            stream: "OPS",
            sequence: 7,
            published: Timestamp::UNIX_EPOCH,
            route: "reports",
            decoded,
            original: &self.payload,
        }
    }
}

/// Splits bytes at the first separator. Without a separator everything is in the second part.
fn split<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes.windows(separator.len()).position(|window| window == separator);
    at.map_or((b"", bytes), |at| (&bytes[..at], &bytes[at + separator.len()..]))
}

/// A renderer for each language, made once as in the bridge.
static RENDERERS: LazyLock<[Renderer; 2]> = LazyLock::new(|| {
    let shanghai = TimeZone::get("Asia/Shanghai").unwrap_or(TimeZone::UTC);
    [(Language::English, TimeZone::UTC), (Language::Chinese, shanghai)]
        .map(|(language, time_zone)| Renderer::new(&Display { language, time_zone }))
});

/// Asserts that whatever a message holds, the events that show it are sound: alone, in a thread, as an edit and in a
/// digest.
///
/// # Panics
///
/// Panics if an event is not sound.
pub fn render(bytes: &[u8]) {
    let message = Message::of(bytes);
    let decoded = Decoded::from_bytes(&message.payload);
    for renderer in &*RENDERERS {
        let shown = renderer.render(&message.incoming(&decoded));
        assert_posted_soundly(&shown, &message.payload, Markup::BuiltIn);
        let over = with_times(&decoded, -1, i64::MAX);
        let shown_over = renderer.render(&message.incoming(&over));
        assert_posted_soundly(&shown_over, &message.payload, Markup::BuiltIn);
        let resolution = renderer.resolution(&decoded, i64::MIN, i64::MAX);
        assert_sound(&resolution.content(&[]), Markup::BuiltIn);
        let refused = renderer.refused(7, message.subject, message.subject, Some("dead"));
        assert_sound(&refused.content(&[]), Markup::BuiltIn);
        digest(renderer, &message, &decoded, &shown);
    }
}

fn assert_posted_soundly(rendered: &Rendered, original: &[u8], markup: Markup) {
    let content = rendered.content(&[]);
    let root = owned_event_id!("$root:example.com");
    assert_sound(&content, markup);
    assert_sound(&in_thread(content.clone(), &root), markup);
    assert_sound(&in_place_of(&root, &content), markup);
    assert!(!rendered.plain.trim().is_empty(), "nothing is shown");
    let length = rendered.plain.chars().count();
    assert!(length <= MAX_TEXT_CHARS + OWN_LINES_CHARS, "{length} characters");
    if let Some(file) = &rendered.attachment {
        assert_eq!(file.bytes, original, "the file is what was published");
    }
}

fn digest(renderer: &Renderer, message: &Message<'_>, decoded: &Decoded, shown: &Rendered) {
    let published = Timestamp::UNIX_EPOCH;
    let entry = |sequence| Entry {
        sequence,
        published,
        said: published,
        subject: message.subject.to_owned(),
        head: renderer.head(published, message.subject),
        rendered: shown.clone(),
        kind: Kind::of(&decoded.payload),
        sources: renderer.sources(message.subject, &decoded.payload),
        saying: None,
    };
    let entries: Vec<Entry> = (1..=5).map(entry).collect();
    let digest = renderer.digest(&entries, &BTreeSet::new(), Urgency::Critical);
    assert_sound(&digest.content(&[]), Markup::BuiltIn);
    let root = owned_event_id!("$root:example.com");
    for piece in digest_entries::pieces(&entries, Position { sequence: 0, part: 0 }) {
        if let digest_entries::Piece::Text { text, .. } = piece {
            assert_sound(&in_thread(Rendered::bare(&text), &root), Markup::BuiltIn);
        }
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

/// The kinds of messages that have templates.
fn template_kinds() -> impl Iterator<Item = PayloadKind> {
    PayloadKind::ALL.into_iter().filter(|kind| kind.has_templates())
}

/// Returns the careless templates of all kinds, by file name.
fn careless() -> BTreeMap<String, String> {
    let template = |has_rows| format!("{CARELESS}{}", if has_rows { CARELESS_ROWS } else { "" });
    let named = |kind: PayloadKind| {
        let has_rows = !matches!(kind, PayloadKind::Alerts | PayloadKind::Note | PayloadKind::Text);
        (format!("{}.html.jinja", kind.name()), template(has_rows))
    };
    let part = ("_part.html.jinja".to_owned(), "<i>{{ payload }}</i>".to_owned());
    template_kinds().map(named).chain([part]).collect()
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
    let (plain, message) = split(rest, b"\n---\n");
    let message = Message::of(message);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (html, plain) = (text(html), text(plain));
    let decoded = Decoded::from_bytes(&message.payload);
    let mut sources = careless();
    sources.insert("_plain.txt.jinja".to_owned(), plain.clone());
    for kind in template_kinds().map(PayloadKind::name) {
        if !html.is_empty() {
            sources.insert(format!("{kind}.html.jinja"), html.clone());
        }
        if !plain.is_empty() {
            sources.insert(format!("{kind}.txt.jinja"), plain.clone());
        }
    }
    let renderer = match Renderer::with_sources(&Display::default(), &sources) {
        Ok(renderer) => renderer,
        Err(faults) => {
            assert!(!html.is_empty() || !plain.is_empty(), "no careless template is refused");
            assert!(faults.iter().all(|fault| !fault.to_string().is_empty()) && !faults.is_empty());
            return;
        }
    };
    let shown = renderer.render(&message.incoming(&decoded));
    let has_addresses = html.contains(':');
    let markup = if has_addresses { Markup::OwnWithAddresses } else { Markup::Own };
    assert_posted_soundly(&shown, &message.payload, markup);
    let read = Html::parse(&shown.html);
    let as_it_is = read.to_string();
    read.sanitize_with(&SanitizerConfig::strict().remove_reply_fallback());
    assert_eq!(read.to_string(), as_it_is, "Matrix does not allow all of it");
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
    let show = |what: Result<String, Failure>| match what {
        Ok(shown) => shown,
        Err(failure) => {
            let said = failure.to_string();
            assert_eq!(failure.code(), 64, "{said}");
            assert!(!said.trim().is_empty());
            said
        }
    };
    let file = Path::new("/nonexistent/config.toml");
    let config = Config::parse(toml, file, &environment).map(|config| format!("{config:?}"));
    let publisher = Publisher::parse(toml, file, &environment).map(|it| format!("{it:?}"));
    for shown in [show(config), show(publisher)] {
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
    let answer = Answer { status, retry_after: head.next(), body };
    answer.to::<login::v3::Request>();
    answer.to::<whoami::v3::Request>();
    answer.to::<get_supported_versions::Request>();
    answer.to::<join_room_by_id_or_alias::v3::Request>();
    answer.to::<joined_rooms::v3::Request>();
    answer.to::<create_room::v3::Request>();
    answer.to::<create_content::v3::Request>();
    answer.to::<send_message_event::v3::Request>();
    answer.to::<get_alias::v3::Request>();
    let user = user_id!("@bridge:example.com");
    let (mut elements, mut count, mut ownership) = (Elements::default(), 0, Ownership::default());
    elements.feed(body, &mut |event| {
        ownership.note(event);
        count += 1;
    });
    ownership.gives_all_power_to(user);
    ownership.objection(room_alias_id!("#ops:example.com"), user, &[]);
    if let Ok(all) = serde_json::from_slice::<Vec<IgnoredAny>>(body) {
        assert!(elements.are_whole() && count == all.len(), "{count} of {} elements", all.len());
    }
    if let Some(page) = answer.to::<get_message_events::v3::Request>() {
        let stream = StreamId { stream: "OPS".to_owned(), created: "1".to_owned() };
        if let Some(reached) = room::reached_in(&page.chunk, &stream, "reports") {
            assert!(reached.origin.stream == stream && reached.origin.route == "reports");
            assert!(reached.events.contains_key(&reached.origin.position));
        }
    }
}

struct Answer<'a> {
    status: u16,
    retry_after: Option<&'a str>,
    body: &'a [u8],
}

impl Answer<'_> {
    fn to<R: OutgoingRequest>(&self) -> Option<R::IncomingResponse>
    where
        HttpError: From<FromHttpResponseError<R::EndpointError>>,
    {
        let mut response = Response::builder().status(self.status);
        if let Some(after) = self.retry_after {
            response = response.header("Retry-After", after);
        }
        let response = response.header("Content-Type", "application/json");
        // An answer that is not valid HTTP does not reach the parser.
        let response = response.body(self.body.to_vec()).ok()?;
        let error = match R::IncomingResponse::try_from_http_response(response) {
            Ok(understood) => return Some(understood),
            Err(error) => MatrixError::from(HttpError::from(error)),
        };
        let said = error.to_string();
        assert!(!said.trim().is_empty() && said.len() < 10_000, "{said}");
        if let MatrixError::Limited { wait: Some(wait), .. } = &error {
            assert!(*wait <= LONGEST_WAIT_ASKED, "{wait:?}");
        }
        if !matches!(error, MatrixError::Unreachable(_)) {
            assert_eq!(line(&said), said, "an error is one clean line");
        }
        None
    }
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
        let targets: [(&str, Target); 5] = [
            ("payload", super::payload),
            ("render", super::render),
            ("template", super::template),
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
