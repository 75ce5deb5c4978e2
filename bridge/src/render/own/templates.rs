//! Templates of the user's own, in place of built-in ones: a directory with files that are named like those.
//!
//! What can be known to be wrong is refused at the start, with file and line. Whatever they do with a message, they can
//! do no harm: they see no file but those of the directory, loops end, what a payload holds is always escaped, and of
//! the HTML only that is kept which Matrix allows.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use minijinja::{
    AutoEscape, Environment, Error, HtmlEscape, Output, State, Template, Value, context,
    escape_formatter, value::Serde,
};
use ruma_html::{Html, NodeRef, SanitizerConfig};

use crate::{
    json,
    render::{
        builtin,
        content::MAX_HTML_BYTES,
        incoming::Incoming,
        link, markup,
        own::{
            fault::Fault,
            files::{kind_of, read},
            names,
        },
        voice::Voice,
        words::NOTICE_MARK,
    },
    text::{address, shown},
};

/// The steps that one template may take; a loop over a thousand entries takes some ten thousand.
const FUEL: u64 = 200_000;

/// What a template may write in bytes, which is cut later if it is too long to be shown.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// More tags are not worth what the worst nesting of them costs.
const MAX_TAGS: usize = 1_000;

/// What Matrix allows links to begin with.
const LINKS: [&str; 5] = ["https:", "http:", "ftp:", "mailto:", "magnet:"];

/// A directory of templates, parsed and looked through.
pub(crate) struct Own {
    pub(crate) directory: PathBuf,
    /// The same files twice. What is escaped depends on what is made, not on the name of a file: a part can be included
    /// from both.
    plain: Environment<'static>,
    html: Environment<'static>,
    /// What is written in them, where an address that no message has made up can be found.
    written: String,
    /// Whether one of them looks into what was published, of which nothing is known before.
    pub(crate) looks_inside: bool,
}

impl Own {
    /// Those in a directory; or a single file, with those that it can include.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them, whatever the message.
    pub(crate) fn load(path: &Path, voice: &Voice) -> Result<Self, Vec<Fault>> {
        let (directory, only) = if path.is_file() {
            // The directory of a mere name has none.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            (parent.unwrap_or(Path::new(".")), path.file_name().and_then(|name| name.to_str()))
        } else {
            (path, None)
        };
        let within = |faults: Vec<Fault>| -> Vec<Fault> {
            faults.into_iter().map(|fault| fault.within(directory)).collect()
        };
        let sources = read(directory, only).map_err(within)?;
        Self::of(directory, &sources, voice).map_err(within)
    }

    /// Files with these names and texts.
    pub(crate) fn of(
        directory: &Path,
        sources: &BTreeMap<String, String>,
        voice: &Voice,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let plain = environment(voice, AutoEscape::None, sources, &mut faults);
        let html = environment(voice, AutoEscape::Html, sources, &mut Vec::new());
        let parsed: Vec<Template<'_, '_>> =
            sources.keys().filter_map(|name| plain.get_template(name).ok()).collect();
        faults.extend(parsed.iter().flat_map(|template| names::unknown(&plain, template)));
        // In the text, as what the names of included files are made of is not asked for.
        let names = ["payload", "headers"];
        let looks_inside =
            sources.values().any(|source| names.iter().any(|name| source.contains(name)));
        if faults.is_empty() {
            let written = sources.values().map(|source| source.replace("&amp;", "&")).collect();
            return Ok(Self {
                directory: directory.to_owned(),
                plain,
                html,
                written,
                looks_inside,
            });
        }
        Err(faults)
    }

    /// How many files replace a built-in one.
    pub(crate) fn count(&self) -> usize {
        self.plain.templates().filter(|(name, _)| kind_of(name).is_some()).count()
    }

    /// Plain text and HTML, as far as there are templates for them: without one for HTML it is made from the plain text.
    ///
    /// # Errors
    ///
    /// What went wrong with this message.
    pub(crate) fn render(
        &self,
        message: &Incoming<'_>,
        kind: &str,
        view: impl FnOnce() -> Value,
    ) -> Result<(Option<String>, Option<String>), Fault> {
        let plain = self.plain.get_template(&format!("{kind}.txt.jinja")).ok();
        let html = self.html.get_template(&format!("{kind}.html.jinja")).ok();
        if plain.is_none() && html.is_none() {
            return Ok((None, None));
        }
        let context = self.context(message, kind, view());
        let limit = MAX_OUTPUT_BYTES;
        let plain = plain.map(|template| render_plain(&template, &context, limit)).transpose()?;
        let html = html.map(|template| self.render_html(&template, &context, limit)).transpose()?;
        Ok(match (plain, html) {
            (Some(plain), None) => {
                let html = markup::html(&plain);
                (Some(plain), Some(html))
            }
            // The HTML could not be shown, whatever it is: plain text is cut and has the whole attached.
            (plain, Some(html)) if is_too_much(&html) => (plain, None),
            both => both,
        })
    }

    fn render_html(
        &self,
        template: &Template<'_, '_>,
        context: &Value,
        limit: usize,
    ) -> Result<String, Fault> {
        let text = render_bounded(template, context, limit)?;
        if is_too_much(&text) {
            return Ok(text);
        }
        // Line ends in a template are for its reader, and so are those in what it takes for safe.
        let text = crate::text::clean(&text).replace('\n', " ");
        let html = Html::parse(text.trim());
        html.sanitize_with(&SanitizerConfig::strict().remove_reply_fallback());
        html.children().for_each(|node| self.keep_addresses(&node));
        html.children().for_each(|node| keep_honest(&node));
        let html = markup::tidy(&html.to_string());
        if html.trim().is_empty() {
            return Err(Fault::of_file(
                template.name(),
                "makes an empty text, or one with nothing that Matrix allows",
            ));
        }
        Ok(html)
    }

    /// Of addresses that come from a message only those are kept that the filters make links of: one of matrix.to would
    /// be shown as a person, and a picture is loaded from wherever its address says. The schemes are looked at, too, as
    /// ruma-html 0.8 does not where another attribute comes before the address.
    fn keep_addresses(&self, node: &NodeRef) {
        if let Some(element) = node.as_element() {
            element.attrs.borrow_mut().retain(|attribute| match &*attribute.name.local {
                "href" => {
                    link::is_page(&attribute.value) || self.is_written(&attribute.value, &LINKS)
                }
                "src" => self.is_written(&attribute.value, &["mxc:"]),
                _ => true,
            });
        }
        node.children().for_each(|child| self.keep_addresses(&child));
    }

    /// Whether an address is in one of the templates as it is, and of one of these schemes.
    fn is_written(&self, address: &str, schemes: &[&str]) -> bool {
        let is_quoted = |quote: &char| self.written.contains(&format!("{quote}{address}{quote}"));
        schemes.iter().any(|scheme| address.starts_with(scheme))
            && ['"', '\''].iter().any(is_quoted)
    }

    fn context(&self, message: &Incoming<'_>, kind: &str, view: Value) -> Value {
        let (payload, headers) = if self.looks_inside {
            (payload(message.original), headers(message))
        } else {
            (Value::from(()), Value::from(()))
        };
        let published = jiff::Timestamp::from_nanosecond(message.published.unix_timestamp_nanos());
        context! {
            subject => shown::clean(message.subject),
            tokens => message.subject.split('.').map(shown::clean).collect::<Vec<_>>(),
            headers,
            stream => message.stream,
            sequence => message.sequence,
            published => published.map(|time| time.to_string()).unwrap_or_default(),
            route => message.route,
            kind,
            payload,
            flaw => message.decoded.flaw.as_ref().map(ToString::to_string),
            ..view
        }
    }
}

/// All files and the built-in templates, with the faults of those that cannot be parsed.
fn environment(
    voice: &Voice,
    escape: AutoEscape,
    sources: &BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) -> Environment<'static> {
    let mut templates = builtin::empty(voice);
    templates.set_auto_escape_callback(move |_| escape.clone());
    // What a payload holds is never markup, and who is allowed to say that it is, does it sooner or later.
    templates.remove_filter("safe");
    templates.set_debug(true);
    templates.set_fuel(Some(FUEL));
    templates.set_formatter(format_value);
    for (name, source) in builtin::SOURCES {
        templates
            .add_template_owned(format!("builtin/{name}"), source)
            .expect("built-in templates are valid");
    }
    for (name, source) in sources {
        if let Err(error) = templates.add_template_owned(name.clone(), source.clone()) {
            faults.push(Fault::of(&error, name));
        }
    }
    templates
}

/// In HTML a line end in a value breaks the line there, too.
fn format_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if matches!(state.auto_escape(), AutoEscape::Html)
        && !value.is_safe()
        && let Some(text) = value.as_str()
    {
        for (index, line) in text.split('\n').enumerate() {
            let line_break = if index == 0 { "" } else { "<br>" };
            write!(out, "{line_break}{}", HtmlEscape(line))?;
        }
        return Ok(());
    }
    escape_formatter(out, state, value)
}

/// Shows where links lead whose text looks like another address, and sets apart what looks like a notice of ours.
fn keep_honest(node: &NodeRef) {
    if let Some(text) = node.as_text() {
        let shown = text.borrow().to_string();
        let honest = markup::without_line_of(&address::with_true_addresses(shown), NOTICE_MARK);
        *text.borrow_mut() = honest.into();
    }
    node.children().for_each(|child| keep_honest(&child));
    let Some(place) = hidden_place(node) else { return };
    let place = format!(" ({place})");
    let after = node.next_sibling().map(|after| text_of(&after)).unwrap_or_default();
    if !after.starts_with(&place)
        && let Some(text) = last_text(node)
        && let Some(text) = text.as_text()
    {
        text.borrow_mut().push_slice(&place);
    }
}

/// Where a link leads whose text looks like another address. Clients show one of matrix.to as a person or room.
fn hidden_place(node: &NodeRef) -> Option<String> {
    let attributes = node.as_element()?.attrs.borrow();
    let href = attributes.iter().find(|attribute| &*attribute.name.local == "href")?;
    let is_mention = href.value.starts_with("https://matrix.to/");
    link::true_place(&text_of(node), &href.value).filter(|_| !is_mention)
}

fn text_of(node: &NodeRef) -> String {
    match node.as_text() {
        Some(text) => text.borrow().to_string(),
        None => node.children().map(|child| text_of(&child)).collect(),
    }
}

fn last_text(node: &NodeRef) -> Option<NodeRef> {
    if node.as_text().is_some() {
        return Some(node.clone());
    }
    let children: Vec<NodeRef> = node.children().collect();
    children.iter().rev().find_map(last_text)
}

fn is_too_much(html: &str) -> bool {
    html.len() > MAX_HTML_BYTES || html.matches('<').count() > MAX_TAGS
}

fn render_plain(
    template: &Template<'_, '_>,
    context: &Value,
    limit: usize,
) -> Result<String, Fault> {
    let text = shown::clean(&render_bounded(template, context, limit)?);
    if text.trim().is_empty() {
        return Err(Fault::of_file(template.name(), "makes an empty text"));
    }
    // A notice of ours is not what others may imitate.
    Ok(markup::without_line_of(text.trim_end(), NOTICE_MARK))
}

fn render_bounded(
    template: &Template<'_, '_>,
    context: &Value,
    limit: usize,
) -> Result<String, Fault> {
    let mut text = Bounded { bytes: Vec::new(), limit };
    template
        .render_captured_to(context.clone(), &mut text)
        .map_err(|error| Fault::of(&error, template.name()))?;
    Ok(String::from_utf8_lossy(&text.bytes).into_owned())
}

/// Takes only so much.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The JSON that was published, else the text; of a large message as much as is kept of any.
fn payload(original: &[u8]) -> Value {
    let text = std::str::from_utf8(original).ok();
    if let Some(kept) = text.and_then(|text| json::any(text).ok()) {
        return Value::from(Serde(kept.value));
    }
    let head = &original[..original.len().min(json::MOST_TEXT)];
    Value::from(String::from_utf8_lossy(head))
}

/// By their names; several values of one are in one text.
fn headers(message: &Incoming<'_>) -> Value {
    let headers = message.headers.into_iter().flat_map(async_nats::HeaderMap::iter);
    Value::from_pairs(headers.map(|(name, values)| {
        let values: Vec<&str> = values.iter().map(async_nats::HeaderValue::as_str).collect();
        (name.to_string(), Value::from(values.join(", ")))
    }))
}
