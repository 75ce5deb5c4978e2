//! Users' own templates, which replace built-in ones: a directory of files that are named like those.
//!
//! Templates with errors that can be found beforehand are refused at the start, with file and line. Whatever a
//! template does with a message, it can do no harm: it can read no file outside its directory, loops end, everything
//! in a payload is escaped, and only the HTML that Matrix allows is kept.

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

/// The maximum number of steps of one template. A loop over a thousand entries takes about ten thousand.
const FUEL: u64 = 200_000;

/// The maximum output of a template, in bytes. It is cut later if it is too long to be shown.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// The maximum number of tags. More would not be worth the cost of the worst nesting.
const MAX_TAGS: usize = 1_000;

/// The schemes that Matrix allows in links.
const LINKS: [&str; 5] = ["https:", "http:", "ftp:", "mailto:", "magnet:"];

/// A directory of templates, parsed and checked.
pub(crate) struct Own {
    pub(crate) directory: PathBuf,
    /// The environment for plain text. It has the same files as the one for HTML, because escaping depends on the
    /// output and not on the name of a file, and both may include the same part.
    plain: Environment<'static>,
    html: Environment<'static>,
    /// The text of all files, to look up addresses that do not come from a message.
    written: String,
    /// Whether a template uses the payload or the headers, which cannot be checked beforehand.
    pub(crate) looks_inside: bool,
}

impl Own {
    /// Loads the templates of a directory, or a single file with the parts that it can include.
    ///
    /// # Errors
    ///
    /// Returns every fault that does not depend on a message.
    pub(crate) fn load(path: &Path, voice: &Voice) -> Result<Self, Vec<Fault>> {
        let (directory, only) = if path.is_file() {
            // The parent of a bare file name is the empty path.
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

    /// Parses and checks files with these names and texts.
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
        // The text is searched, as the names of included files may be computed.
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

    /// The number of files that replace a built-in template.
    pub(crate) fn count(&self) -> usize {
        self.plain.templates().filter(|(name, _)| kind_of(name).is_some()).count()
    }

    /// Renders plain text and HTML, if there are templates for them. Without a template for HTML it is made from the
    /// plain text.
    ///
    /// # Errors
    ///
    /// Returns the fault that this message has caused.
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
            // The HTML is too large to be shown. Plain text is cut instead, with the whole as an attachment.
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
        // Line ends in a template are for its reader, and so are those in a text that it marks as safe.
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

    /// Keeps only those addresses from a message that the filters would turn into links: clients show an address at
    /// matrix.to as a person, and load a picture from any address. It checks the schemes too, as ruma-html 0.8 does
    /// not if another attribute comes before the address.
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

    /// Whether a template contains this address literally, with one of these schemes.
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
        context! {
            subject => shown::clean(message.subject),
            tokens => message.subject.split('.').map(shown::clean).collect::<Vec<_>>(),
            headers,
            stream => message.stream,
            sequence => message.sequence,
            published => message.published.to_string(),
            route => message.route,
            kind,
            payload,
            flaw => message.decoded.flaw.as_ref().map(ToString::to_string),
            ..view
        }
    }
}

/// Creates an environment with all files and the built-in templates, and collects the faults of files that do not
/// parse.
fn environment(
    voice: &Voice,
    escape: AutoEscape,
    sources: &BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) -> Environment<'static> {
    let mut templates = builtin::empty(voice);
    templates.set_auto_escape_callback(move |_| escape.clone());
    // A payload is never markup. A template that could declare it safe would do so sooner or later.
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

/// Escapes a value. In HTML a line end in a value becomes a line break.
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

/// Shows the true target of links whose text looks like another address, and sets apart text that looks like one of the
/// bridge's notices.
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

/// Returns the target of a link whose text looks like another address, except for matrix.to, which clients show as a
/// person or a room.
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
    // No template or message may imitate our notices.
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

/// A writer that fails beyond a limit.
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

/// Returns the published JSON, or the text if it is not JSON; a large message is cut to the usual limits.
fn payload(original: &[u8]) -> Value {
    let text = std::str::from_utf8(original).ok();
    if let Some(kept) = text.and_then(|text| json::any(text).ok()) {
        return Value::from(Serde(kept.value));
    }
    let head = &original[..original.len().min(json::MOST_TEXT)];
    Value::from(String::from_utf8_lossy(head))
}

/// Returns the headers by name, with several values of one header joined in one text.
fn headers(message: &Incoming<'_>) -> Value {
    let headers = message.headers.into_iter().flat_map(async_nats::HeaderMap::iter);
    Value::from_pairs(headers.map(|(name, values)| {
        let values: Vec<&str> = values.iter().map(async_nats::HeaderValue::as_str).collect();
        (name.to_string(), Value::from(values.join(", ")))
    }))
}
