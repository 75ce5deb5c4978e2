//! A page that shows messages roughly as Element does: in the room, and on a locked phone.

use bytes::Bytes;
use minijinja::{AutoEscape, Environment, Value, context};

use crate::{
    config::Language,
    decode::shape::Trace,
    message::{Decoded, Urgency},
    render::Rendered,
};

/// Renders a page that loads nothing from elsewhere.
pub(super) fn page(shown: &[Shown], language: Language) -> String {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    let language = language.words().code();
    let messages: Vec<Value> = shown.iter().map(message).collect();
    templates
        .render_str(include_str!("page.html.jinja"), context! { messages, language })
        .expect("the page is part of the program, and a test renders it")
}

fn message(shown: &Shown) -> Value {
    let rendered = &shown.rendered;
    let urgency = match rendered.urgency {
        Urgency::Routine => "silent",
        Urgency::Notable => "buzzes",
        Urgency::Critical => "buzzes and mentions",
    };
    context! {
        name => shown.name.as_str(),
        subject => shown.subject.as_str(),
        urgency,
        plain => rendered.plain.as_str(),
        // The HTML of a message is already escaped, or cleaned of everything that Matrix does not allow.
        html => Value::from_safe_string(rendered.html.clone()),
        flaw => shown.decoded.flaw.as_ref().map(ToString::to_string),
        fault => rendered.fault.as_ref().map(ToString::to_string),
        file => rendered.attachment.as_ref().map(|file| file.bytes.len()),
        payload => String::from_utf8_lossy(&shown.payload).into_owned(),
    }
}

/// A message and the way it is shown.
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
    pub(crate) decoded: Decoded,
    pub(crate) rendered: Rendered,
    /// The way in which the message was understood.
    pub(crate) trace: Trace,
    /// Whether the fields of the rule are shown.
    pub(crate) has_fields: bool,
}
