//! Builds the content of an `m.room.message`, bounded in size, and its attachment if it needs one.

use bytes::Bytes;
use matrix_sdk::ruma::{EventId, OwnedUserId, UserId};
use minijinja::HtmlEscape;
use serde_json::{Value, json};

use crate::{
    message::{AlertMark, Attachment, Payload, Urgency, alert_mark::ALERT_KEY},
    render::{markup, own::fault::Fault, words::Words},
    text::{self, shown},
};

/// The longest text shown in the room, in characters. Nobody reads more on a phone. An event with it stays well under
/// the 65,536 bytes that Matrix allows, even if every character has to be escaped both in HTML (six bytes) and in JSON.
pub(crate) const MAX_TEXT_CHARS: usize = 4_000;

/// The longest HTML, in bytes. Text stays below it even if every character is escaped; only links can exceed it.
pub(super) const MAX_HTML_BYTES: usize = 40_000;

/// A rendered message, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The plain text, for notifications and simple clients.
    pub plain: String,
    /// The HTML for all other clients, with only the tags that Matrix allows.
    pub html: String,
    /// The urgency, which decides whether the message may send a push notification.
    pub urgency: Urgency,
    /// The original message, if the text does not show all of it.
    pub attachment: Option<Attachment>,
    /// The reason why a template of the user was not used; the text says it, too.
    pub fault: Option<Fault>,
    /// The number of secrets that are hidden.
    pub hidden: u64,
    /// The offsets of the last line in the plain text and in the HTML, if that line says where the original is.
    tail: Option<(usize, usize)>,
}

impl Attachment {
    pub(super) fn of(payload: &Payload, original: &Bytes) -> Self {
        let (extension, media_type) = match payload {
            Payload::Report(_)
            | Payload::Alert(_)
            | Payload::Alerts(_)
            | Payload::Note(_)
            | Payload::Event(_)
            | Payload::Several(_)
            | Payload::Object(_) => ("json", "application/json"),
            Payload::Text(_) => ("txt", "text/plain"),
            Payload::Binary(_) => return Self::binary(original.clone()),
        };
        Self { bytes: original.clone(), extension, media_type }
    }
}

impl Rendered {
    pub(crate) fn new(plain: String, html: String, urgency: Urgency) -> Self {
        Self { plain, html, urgency, attachment: None, fault: None, hidden: 0, tail: None }
    }

    /// Creates a line in the bridge's own words, which people should notice.
    pub(crate) fn words(text: &str) -> Self {
        let plain = shown::line(text);
        Self::new(plain.clone(), markup::html(&plain), Urgency::Notable)
    }

    /// Attaches the original, and says so in the last line.
    pub(super) fn with_original(mut self, original: Attachment, words: &dyn Words) -> Self {
        let line = words.notice(&words.attached(&words.bytes(original.bytes.len() as u64)));
        self.attachment = Some(original);
        self.with_tail(&line)
    }

    /// Removes the attachment, and puts `line` in place of the last line about it.
    pub(super) fn without_original(mut self, line: &str) -> Self {
        self.attachment = None;
        self.with_tail(line)
    }

    fn with_tail(mut self, line: &str) -> Self {
        let (plain, html) = self.tail.unwrap_or((self.plain.len(), self.html.len()));
        self.plain.truncate(plain);
        self.html.truncate(html);
        self.tail = Some((plain, html));
        self.with_line(line)
    }

    /// Adds what was wrong with a template, below the text, whose limit does not include this line.
    pub(super) fn with_fault(mut self, fault: Option<Fault>, words: &dyn Words) -> Self {
        if let Some(fault) = &fault {
            let note = words.template_failed(&fault.to_string());
            self = self.with_line(&words.notice(&note));
        }
        self.fault = fault;
        self
    }

    /// Returns the message without its HTML.
    pub(crate) fn without_html(mut self) -> Self {
        self.html = String::new();
        self
    }

    /// Lowers the urgency to `urgency` if it is higher.
    pub(crate) fn at_most(mut self, urgency: Urgency) -> Self {
        self.urgency = self.urgency.min(urgency);
        self
    }

    /// Returns the texts without the line that says where the original is.
    pub(super) fn without_tail(&self) -> (&str, &str) {
        let (plain, html) = self.tail.unwrap_or((self.plain.len(), self.html.len()));
        (
            self.plain.get(..plain).unwrap_or(&self.plain),
            self.html.get(..html).unwrap_or(&self.html),
        )
    }

    /// Builds the content of a plain text in the thread of a digest, where nothing sends a push notification.
    pub(crate) fn bare(text: &str) -> Value {
        json!({ "msgtype": "m.notice", "body": text.trim_end(), "m.mentions": {} })
    }

    /// Adds one line of the bridge's own.
    pub(crate) fn with_line(mut self, line: &str) -> Self {
        self.plain = format!("{}\n{line}", self.plain);
        self.html = markup::tidy(&format!("{}<br>{}", self.html, markup::html(line)));
        self
    }

    /// Returns the plain text for a place below a heading that begins with `mark`. None of its lines looks like such a
    /// heading.
    pub(crate) fn below(&self, mark: char) -> String {
        markup::without_line_of(&self.plain, mark)
    }

    /// Cuts a text that is too long, and returns whether it was.
    pub(super) fn bounded((plain, html): (String, String), urgency: Urgency) -> (Self, bool) {
        if plain.chars().nth(MAX_TEXT_CHARS).is_none() {
            let html = if html.len() > MAX_HTML_BYTES { markup::html(&plain) } else { html };
            return (Self::new(plain, html, urgency), false);
        }
        let head = text::head(&plain, MAX_TEXT_CHARS);
        let plain = format!("{head} …");
        // HTML cannot be cut without breaking tags, so it is made from the shortened text.
        let html = markup::html(&plain);
        (Self::new(plain, html, urgency), true)
    }

    /// Builds the content of the event. A critical message mentions `people`. In all others `m.mentions` is empty, so
    /// that neither `@room` nor a name in the text notifies anybody (Matrix 1.7, intentional mentions).
    #[must_use]
    pub(crate) fn content(&self, people: &[OwnedUserId]) -> Value {
        let msgtype = match self.urgency {
            Urgency::Routine => "m.notice",
            Urgency::Notable | Urgency::Critical => "m.text",
        };
        let mut content = json!({
            "msgtype": msgtype,
            "body": self.plain,
            "format": "org.matrix.custom.html",
            "formatted_body": self.html,
            "m.mentions": {},
        });
        if self.urgency == Urgency::Critical && !people.is_empty() {
            let names: Vec<&str> = people.iter().map(|user| user.localpart()).collect();
            let pills: Vec<String> = people.iter().map(|user| pill(user)).collect();
            content["body"] = json!(format!("{}\n👤 {}", self.plain, names.join(", ")));
            content["formatted_body"] =
                json!(markup::tidy(&format!("{}<br>👤 {}", self.html, pills.join(", "))));
            content["m.mentions"] = json!({ "user_ids": people });
        }
        content
    }
}

/// Puts the content of an event into the thread of `root`.
#[must_use]
pub(crate) fn in_thread(mut content: Value, root: &EventId) -> Value {
    // The reply is for clients that do not know threads.
    content["m.relates_to"] = json!({
        "rel_type": "m.thread",
        "event_id": root,
        "is_falling_back": true,
        "m.in_reply_to": { "event_id": root },
    });
    content
}

/// The key of an event's content under which the lines about people are stored that [`with_people`] has added.
const PEOPLE_KEY: &str = "io.github.nats-matrix.people";

/// Puts lines about people below the content of an event, in place of those that are there.
#[must_use]
pub(crate) fn with_people(mut content: Value, lines: &[String]) -> Value {
    let before = content.as_object_mut().and_then(|content| content.remove(PEOPLE_KEY));
    let mut added = json!({});
    let texts = lines.iter().fold([String::new(), String::new()], |[plain, html], line| {
        [format!("{plain}\n{line}"), format!("{html}<br>{}", markup::html(line))]
    });
    for (key, text) in ["body", "formatted_body"].into_iter().zip(texts) {
        let Some(present) = content[key].as_str() else { continue };
        let old = before.as_ref().and_then(|before| before[key].as_str()).unwrap_or_default();
        let present = present.strip_suffix(old).unwrap_or(present);
        content[key] = json!(format!("{present}{text}"));
        added[key] = json!(text);
    }
    if !lines.is_empty() {
        content[PEOPLE_KEY] = added;
    }
    content
}

/// Puts the mark of an alert into the content of an event that shows it.
#[must_use]
pub(crate) fn marked(mut content: Value, mark: &AlertMark) -> Value {
    content[ALERT_KEY] = json!(mark);
    content
}

/// Builds the content of an edit that replaces that of `root` by `content`. Edits send no push notification
/// (`.m.rule.suppress_edits`, Matrix 1.9), and mention nobody again.
#[must_use]
pub(crate) fn in_place_of(root: &EventId, content: &Value) -> Value {
    // This line is for clients that do not know edits. With the whole text twice, the event could be too large.
    let fallback = content["body"].as_str().and_then(|body| body.lines().next());
    json!({
        "msgtype": content["msgtype"],
        "body": format!("* {}", fallback.unwrap_or_default()),
        "m.mentions": {},
        "m.new_content": content,
        "m.relates_to": { "rel_type": "m.replace", "event_id": root },
    })
}

/// Returns a link that clients show as a person.
fn pill(user: &UserId) -> String {
    let link = user.matrix_to_uri().to_string();
    format!("<a href=\"{}\">{}</a>", HtmlEscape(&link), HtmlEscape(user.localpart()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_people_replace_each_other_and_leave_no_trace() {
        let alert = Rendered::words("Disk almost full").content(&[]);
        let lines = |names: &[&str]| {
            let line = |name: &&str| format!("👤 {name} <has> it");
            names.iter().map(line).collect::<Vec<_>>()
        };
        let one = with_people(alert.clone(), &lines(&["alice"]));
        assert_eq!(one["body"], "Disk almost full\n👤 alice <has> it");
        assert_eq!(one["formatted_body"], "Disk almost full<br>👤 alice &lt;has&gt; it");
        let two = with_people(one.clone(), &lines(&["alice", "bob"]));
        assert_eq!(two["body"], "Disk almost full\n👤 alice <has> it\n👤 bob <has> it");
        assert_eq!(with_people(two.clone(), &lines(&["alice"])), one);
        assert_eq!(with_people(two, &[]), alert);
        assert_eq!(with_people(alert.clone(), &[]), alert);
    }
}
