//! What is sent: the content of an `m.room.message`, bounded in size, and an attachment if need be.

use bytes::Bytes;
use matrix_sdk::ruma::{EventId, OwnedUserId, UserId};
use minijinja::HtmlEscape;
use serde_json::{Value, json};

use crate::{
    message::{Attachment, Payload, Urgency},
    render::{markup, own::fault::Fault, words::Words},
    text::{self, shown},
};

/// The longest text shown in the room. More is not read on a phone; and with it an event stays well
/// under the 65,536 bytes that Matrix allows, even if every character has to be escaped both in
/// HTML (six bytes) and in JSON.
pub(crate) const MAX_TEXT_CHARS: usize = 4_000;

/// The longest HTML: text that is escaped throughout stays below it, only links can exceed it.
pub(super) const MAX_HTML_BYTES: usize = 40_000;

/// A message, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// What notifications and simple clients show.
    pub plain: String,
    /// What the other clients show, of the tags that Matrix allows.
    pub html: String,
    /// Whether it may make a phone buzz.
    pub urgency: Urgency,
    /// The original, when the text above is not all of it.
    pub attachment: Option<Attachment>,
    /// Why a template of the user's own was not used; the text says so, too.
    pub fault: Option<Fault>,
    /// Where the last line begins, in the plain text and in the HTML, if it says where the original is.
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
            | Payload::Object(_) => ("json", "application/json"),
            Payload::Text(_) => ("txt", "text/plain"),
            Payload::Binary(_) => return Self::binary(original.clone()),
        };
        Self { bytes: original.clone(), extension, media_type }
    }
}

impl Rendered {
    pub(crate) fn new(plain: String, html: String, urgency: Urgency) -> Self {
        Self { plain, html, urgency, attachment: None, fault: None, tail: None }
    }

    /// A line of our own, which wants attention.
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

    /// The same with another last line instead of the original.
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

    /// Says what was wrong with a template, below a text that is bounded without it.
    pub(super) fn with_fault(mut self, fault: Option<Fault>, words: &dyn Words) -> Self {
        if let Some(fault) = &fault {
            let note = words.template_failed(&fault.to_string());
            self = self.with_line(&words.notice(&note));
        }
        self.fault = fault;
        self
    }

    /// The plain text alone.
    pub(crate) fn without_html(mut self) -> Self {
        self.html = String::new();
        self
    }

    /// The same, as loud as `urgency` at most.
    pub(crate) fn at_most(mut self, urgency: Urgency) -> Self {
        self.urgency = self.urgency.min(urgency);
        self
    }

    /// Plain text for the thread of a digest, where nothing pushes.
    pub(crate) fn bare(text: &str) -> Value {
        json!({ "msgtype": "m.notice", "body": text.trim_end(), "m.mentions": {} })
    }

    /// The same with one more line of our own.
    pub(crate) fn with_line(mut self, line: &str) -> Self {
        self.plain = format!("{}\n{line}", self.plain);
        self.html = markup::tidy(&format!("{}<br>{}", self.html, markup::html(line)));
        self
    }

    /// The plain text below a heading that begins with `mark`: none of its lines looks like the next one.
    pub(crate) fn below(&self, mark: char) -> String {
        markup::without_line_of(&self.plain, mark)
    }

    /// Cuts a text that is too long. Whether it was.
    pub(super) fn bounded((plain, html): (String, String), urgency: Urgency) -> (Self, bool) {
        if plain.chars().nth(MAX_TEXT_CHARS).is_none() {
            let html = if html.len() > MAX_HTML_BYTES { markup::html(&plain) } else { html };
            return (Self::new(plain, html, urgency), false);
        }
        let head = text::head(&plain, MAX_TEXT_CHARS);
        let plain = format!("{head} …");
        // The HTML cannot be cut without breaking tags: make it anew from the text.
        let html = markup::html(&plain);
        (Self::new(plain, html, urgency), true)
    }

    /// The content of the event. What is critical mentions `people`; else `m.mentions` is empty, so that neither
    /// `@room` nor a name in the text notifies anybody (Matrix 1.7, intentional mentions).
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

/// The content of an event in the thread of `root`.
#[must_use]
pub(crate) fn in_thread(mut content: Value, root: &EventId) -> Value {
    // The reply is for clients that know no threads.
    content["m.relates_to"] = json!({
        "rel_type": "m.thread",
        "event_id": root,
        "is_falling_back": true,
        "m.in_reply_to": { "event_id": root },
    });
    content
}

/// The content of an event that puts `content` in the place of `root`'s. Such events push nowhere
/// (`.m.rule.suppress_edits`, Matrix 1.9), and mention nobody anew.
#[must_use]
pub(crate) fn in_place_of(root: &EventId, content: &Value) -> Value {
    // For clients that know no edits. The whole twice could be more than an event may be.
    let fallback = content["body"].as_str().and_then(|body| body.lines().next());
    json!({
        "msgtype": content["msgtype"],
        "body": format!("* {}", fallback.unwrap_or_default()),
        "m.mentions": {},
        "m.new_content": content,
        "m.relates_to": { "rel_type": "m.replace", "event_id": root },
    })
}

/// A link that clients show as a person.
fn pill(user: &UserId) -> String {
    let link = user.matrix_to_uri().to_string();
    format!("<a href=\"{}\">{}</a>", HtmlEscape(&link), HtmlEscape(user.localpart()))
}
