//! From a decoded payload to what a room shows: plain text for notifications and simple clients,
//! HTML for the others, and a file for what is too long to read on a phone.

mod alert;
mod content;
mod link;
mod moment;
mod text;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig};
use serde_json::{Map, Value as Json};

pub use self::content::{Attachment, MAX_TEXT_CHARS, Rendered, Urgency};
pub(crate) use self::text::{html, line};
use crate::payload::{Decoded, Event, Flaw, Line, Note, Payload, Report};

/// Renders payloads; made once, because templates are parsed once.
#[derive(Debug)]
pub struct Renderer {
    templates: Environment<'static>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self::new()
    }
}

impl Renderer {
    /// The built-in templates.
    ///
    /// # Panics
    ///
    /// Never: the templates are part of the program, and a test renders each.
    #[must_use]
    pub fn new() -> Self {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let blocks_leave_no_lines =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        templates.set_syntax(blocks_leave_no_lines.expect("no delimiter is changed"));
        // Everything that a payload can hold is escaped in HTML; plain text needs none.
        templates.set_auto_escape_callback(|name| {
            if name.rsplit_once('.').is_some_and(|(_, kind)| kind == "html") {
                AutoEscape::Html
            } else {
                AutoEscape::None
            }
        });
        templates.add_filter("lines", text::html_lines);
        templates.add_filter("value", link::html_value);
        templates.add_filter("link", link::html_link);
        templates.add_filter("leading_to", link::html_leading_to);
        for (name, source) in [
            ("report.txt", include_str!("report.txt.jinja")),
            ("report.html", include_str!("report.html.jinja")),
            ("alert.txt", include_str!("alert.txt.jinja")),
            ("alert.html", include_str!("alert.html.jinja")),
            ("alerts.txt", include_str!("alerts.txt.jinja")),
            ("alerts.html", include_str!("alerts.html.jinja")),
            ("note.txt", include_str!("note.txt.jinja")),
            ("note.html", include_str!("note.html.jinja")),
            ("event.txt", include_str!("event.txt.jinja")),
            ("event.html", include_str!("event.html.jinja")),
            ("object.txt", include_str!("object.txt.jinja")),
            ("object.html", include_str!("object.html.jinja")),
        ] {
            templates.add_template(name, source).expect("built-in templates are valid");
        }
        Self { templates }
    }

    /// Renders what was decoded from `original`, which came in on `subject`.
    ///
    /// The result is bounded: at most [`MAX_TEXT_CHARS`] characters of text, with the original
    /// attached when something had to be left out or cannot be shown as text.
    #[must_use]
    pub fn render(&self, subject: &str, decoded: &Decoded, original: &[u8]) -> Rendered {
        let payload = &decoded.payload;
        let (plain, html) = self.texts(subject, decoded);
        let urgency = urgency(payload);
        let rendered =
            Rendered::bounded(plain, html, urgency, || Attachment::of(payload, original));
        if leaves_something_out(payload) && rendered.attachment.is_none() {
            return rendered.with_original(Attachment::of(payload, original));
        }
        rendered
    }

    fn texts(&self, subject: &str, decoded: &Decoded) -> (String, String) {
        let flaw = decoded.flaw.as_ref().map(flaw_line);
        let plain = match &decoded.payload {
            Payload::Report(report) => return self.both("report", &report_view(report)),
            Payload::Alert(alert) => return self.both("alert", &alert::view(alert)),
            Payload::Alerts(group) => return self.both("alerts", &alert::group_view(group)),
            Payload::Note(note) => return self.both("note", &note_view(note)),
            Payload::Event(event) => return self.both("event", &event_view(event, flaw)),
            Payload::Object(object) => {
                let title = text::clean(subject);
                return self.both("object", &context! { title, rows => rows(object), flaw });
            }
            Payload::Text(body) if body.trim().is_empty() => {
                format!("(empty message on {})", text::clean(subject))
            }
            Payload::Text(body) => {
                let lines = [text::clean(body.trim_end())];
                lines.into_iter().chain(flaw).collect::<Vec<_>>().join("\n")
            }
            Payload::Binary(bytes) => text::binary(&text::clean(subject), bytes),
        };
        let html = text::html(&plain);
        (plain, html)
    }

    fn both(&self, template: &str, view: &Value) -> (String, String) {
        let render = |name: String| {
            self.templates.get_template(&name).and_then(|template| template.render(view)).expect(
                "built-in templates render every view; a test renders them with every field absent",
            )
        };
        let plain = render(format!("{template}.txt"));
        // Line ends in a template are for its reader; in HTML only <br> breaks a line.
        let html = render(format!("{template}.html")).replace('\n', "");
        (plain.trim_end().to_owned(), html)
    }
}

fn report_view(report: &Report) -> Value {
    let percent =
        |name: &str, value: Option<f64>| value.map(|value| format!("{name}: {}%", number(value)));
    let usage: Vec<String> = [
        percent("Disk usage", report.disk_percent),
        percent("Memory usage", report.memory_percent),
    ]
    .into_iter()
    .flatten()
    .collect();
    context! {
        host => text::line(&report.host),
        completed => list(&report.completed),
        in_progress => list(&report.in_progress),
        usage => usage.join(" | "),
        satisfaction => report.satisfaction.map(number),
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

fn event_view(event: &Event, flaw: Option<String>) -> Value {
    let (rows, text) = match event.data.as_deref() {
        Some(Payload::Object(object)) => (rows(object), None),
        Some(Payload::Text(body)) => (Vec::new(), Some(text::clean(body.trim_end()))),
        Some(Payload::Binary(bytes)) => (Vec::new(), Some(text::bytes(bytes))),
        // Any other is shown as if it had come without an envelope.
        _ => (Vec::new(), None),
    };
    let source = [Some(&event.source), event.subject.as_ref()];
    let source: Vec<String> = source.into_iter().flatten().map(|part| text::line(part)).collect();
    context! {
        kind => text::line(&event.kind),
        source => source.join(" "),
        time => event.time.as_deref().map(moment::moment),
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

fn list(items: &[String]) -> String {
    let items: Vec<String> =
        items.iter().map(|item| text::line(item)).filter(|item| !item.is_empty()).collect();
    items.join(", ")
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

/// A number for people: at most one digit after the point, none if it is whole.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn flaw_line(flaw: &Flaw) -> String {
    format!("⚠️ {flaw}")
}

#[cfg(test)]
mod tests;
