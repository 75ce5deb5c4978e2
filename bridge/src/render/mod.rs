//! From a decoded payload to what a room shows: plain text for notifications and simple clients,
//! HTML for the others, and a file for what is too long to read on a phone.

mod alert;
mod builtin;
mod content;
mod filters;
mod link;
mod moment;
mod text;

use async_nats::HeaderMap;
use jiff::tz::TimeZone;
use minijinja::{Environment, Value, context};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

pub use self::content::{Attachment, MAX_TEXT_CHARS, Rendered, Urgency};
use crate::{
    config::Display,
    payload::{Decoded, Event, Line, Note, Payload, Report},
    words::Words,
};

/// Everything that is known of a message.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// What it was published on.
    pub subject: &'a str,
    /// What came with it.
    pub headers: Option<&'a HeaderMap>,
    /// The stream that holds it.
    pub stream: &'a str,
    /// Its number in the stream.
    pub sequence: u64,
    /// When the stream got it.
    pub published: OffsetDateTime,
    /// The route that takes it.
    pub route: &'a str,
    /// What it says.
    pub decoded: &'a Decoded,
    /// The bytes that were published.
    pub original: &'a [u8],
}

/// The words and the time zone in which something is said.
#[derive(Clone)]
struct Voice {
    words: &'static dyn Words,
    zone: TimeZone,
}

impl Voice {
    fn of(display: &Display) -> Self {
        Self { words: display.language.words(), zone: display.time_zone.clone() }
    }
}

/// Renders payloads; made once, because templates are parsed once.
pub struct Renderer {
    voice: Voice,
    builtin: Environment<'static>,
}

impl Renderer {
    /// With the built-in templates.
    #[must_use]
    pub fn new(display: &Display) -> Self {
        let voice = Voice::of(display);
        Self { builtin: builtin::environment(&voice), voice }
    }

    /// What the room is told when the homeserver refuses a message, which then is kept on a subject: nobody should have
    /// to read a log to learn of an alert.
    #[must_use]
    pub fn refused(&self, sequence: u64, subject: &str, reason: &str, kept_on: &str) -> Rendered {
        Rendered::words(&self.voice.words.refused(sequence, subject, reason, kept_on))
    }

    /// Renders a message.
    ///
    /// The result is bounded: at most [`MAX_TEXT_CHARS`] characters of text, with the original
    /// attached when something had to be left out or cannot be shown as text.
    #[must_use]
    pub fn render(&self, message: &Incoming<'_>) -> Rendered {
        let payload = &message.decoded.payload;
        let attachment = || Attachment::of(payload, message.original);
        let texts = self.builtin(message);
        let rendered = Rendered::bounded(texts, urgency(payload), self.voice.words, attachment);
        if leaves_something_out(payload) && rendered.attachment.is_none() {
            return rendered.with_original(attachment());
        }
        rendered
    }

    /// Plain text and HTML, as the built-in templates have it.
    fn builtin(&self, message: &Incoming<'_>) -> (String, String) {
        let words = self.voice.words;
        let subject = || text::clean(message.subject);
        let plain = match &message.decoded.payload {
            Payload::Text(body) if body.trim().is_empty() => words.empty_message(&subject()),
            Payload::Text(body) => {
                let lines = [text::clean(body.trim_end())];
                lines.into_iter().chain(self.flaw(message)).collect::<Vec<_>>().join("\n")
            }
            Payload::Binary(bytes) => text::binary(&subject(), bytes, words),
            payload => return builtin::render(&self.builtin, kind(payload), &self.view(message)),
        };
        let html = text::html(&plain);
        (plain, html)
    }

    /// What a payload says, for templates.
    fn view(&self, message: &Incoming<'_>) -> Value {
        let voice = &self.voice;
        match &message.decoded.payload {
            Payload::Report(report) => report_view(report, voice),
            Payload::Alert(alert) => alert::view(alert, voice),
            Payload::Alerts(group) => alert::group_view(group, voice),
            Payload::Note(note) => note_view(note),
            Payload::Event(event) => event_view(event, self.flaw(message), voice),
            Payload::Object(object) => context! {
                subject => text::clean(message.subject),
                rows => rows(object),
                flaw => self.flaw(message),
            },
            Payload::Text(body) => {
                context! { text => text::clean(body.trim_end()), flaw => self.flaw(message) }
            }
            Payload::Binary(bytes) => context! { size => bytes.len() },
        }
    }

    fn flaw(&self, message: &Incoming<'_>) -> Option<String> {
        message.decoded.flaw.as_ref().map(|flaw| self.voice.words.flaw(&flaw.to_string()))
    }
}

/// What templates of a payload are called.
fn kind(payload: &Payload) -> &'static str {
    match payload {
        Payload::Report(_) => "report",
        Payload::Alert(_) => "alert",
        Payload::Alerts(_) => "alerts",
        Payload::Note(_) => "note",
        Payload::Event(_) => "event",
        Payload::Object(_) => "object",
        Payload::Text(_) => "text",
        Payload::Binary(_) => "binary",
    }
}

fn report_view(report: &Report, voice: &Voice) -> Value {
    let words = voice.words;
    let percent = |name: &str, value: Option<f64>| {
        let (colon, gap) = (words.colon(), words.gap());
        value.map(|value| format!("{name}{colon}{gap}{}%", filters::number_text(value, 1)))
    };
    let usage: Vec<String> = [
        percent(words.disk_usage(), report.disk_percent),
        percent(words.memory_usage(), report.memory_percent),
    ]
    .into_iter()
    .flatten()
    .collect();
    context! {
        host => text::line(&report.host),
        completed => list(&report.completed),
        in_progress => list(&report.in_progress),
        disk_percent => report.disk_percent,
        memory_percent => report.memory_percent,
        usage => usage.join(" | "),
        satisfaction => report.satisfaction,
        rows => rows(&report.extra),
    }
}

fn note_view(note: &Note) -> Value {
    let line = |line: &Line| {
        context! { text => text::line(&line.text), url => line.url.as_deref().map(text::line) }
    };
    context! {
        mark => note.mark,
        headline => line(&note.headline),
        lines => note.lines.iter().map(line).collect::<Vec<_>>(),
    }
}

fn event_view(event: &Event, flaw: Option<String>, voice: &Voice) -> Value {
    let (rows, text) = match event.data.as_deref() {
        Some(Payload::Object(object)) => (rows(object), None),
        Some(Payload::Text(body)) => (Vec::new(), Some(text::clean(body.trim_end()))),
        Some(Payload::Binary(bytes)) => (Vec::new(), Some(text::bytes(bytes, voice.words))),
        // Any other is shown as if it had come without an envelope.
        _ => (Vec::new(), None),
    };
    let source = [Some(&event.source), event.subject.as_ref()];
    let source: Vec<String> = source.into_iter().flatten().map(|part| text::line(part)).collect();
    context! {
        type => text::line(&event.kind),
        source => source.join(" "),
        time => event.time.clone(),
        when => event.time.as_deref().map(|time| voice.moment(time)),
        text,
        rows,
        flaw,
    }
}

fn urgency(payload: &Payload) -> Urgency {
    match payload {
        Payload::Report(_) | Payload::Note(_) => Urgency::Routine,
        Payload::Alert(alert) => alert::urgency(alert),
        Payload::Alerts(group) => alert::group_urgency(group),
        Payload::Event(_) | Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) => {
            Urgency::Notable
        }
    }
}

/// Whether what is shown cannot be all of it, however short it is.
fn leaves_something_out(payload: &Payload) -> bool {
    match payload {
        Payload::Alerts(group) => group.alerts.len() > alert::MOST_ALERTS,
        Payload::Event(event) => event.data.as_deref().is_some_and(leaves_something_out),
        Payload::Binary(_) => true,
        _ => false,
    }
}

fn list(items: &[String]) -> Vec<String> {
    items.iter().map(|item| text::line(item)).filter(|item| !item.is_empty()).collect()
}

/// The entries of an object as names and one-line values.
fn rows(object: &Map<String, Json>) -> Vec<(String, String)> {
    object
        .iter()
        .map(|(key, value)| {
            let value = match value {
                Json::String(value) => text::clean(value.trim_end()),
                other => text::clean(&other.to_string()),
            };
            (text::line(key), value)
        })
        .collect()
}

#[cfg(test)]
mod tests;
