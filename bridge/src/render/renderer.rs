//! Renders decoded payloads: plain text for notifications and simple clients, HTML for all others, and a file for a
//! message that is too long to read on a phone.

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use jiff::SignedDuration;
use minijinja::{Environment, Value, context};

use crate::{
    config::{Display, Route, Unknown},
    failure::Failure,
    mask::Mask,
    message::{
        Attachment, Decoded, Event, Gist, Item, Object, Payload, Removal, Report, Urgency,
        Withheld, payload, report::Unknowns,
    },
    render::{
        alert, budget, builtin,
        content::Rendered,
        filters,
        incoming::Incoming,
        markup, note,
        own::{fault::Fault, templates::Own},
        rows::{self, rows},
        speaker::Speakers,
        veil::Veil,
        voice::Voice,
    },
    samples::SAMPLES,
    subject::Subject,
    text::shown,
};

/// Returns a subject that a filter matches, with a plausible number of tokens.
fn example(filter: &str) -> String {
    let tokens = filter.split('.').map(|token| match token {
        "*" => "server-01",
        ">" => "server-01.a.b.c.d.e.f.g",
        token => token,
    });
    tokens.collect::<Vec<_>>().join(".")
}

/// Renders payloads. It is created once, because its templates are parsed on creation.
pub(crate) struct Renderer {
    pub(crate) voice: Voice,
    pub(crate) builtin: Arc<Environment<'static>>,
    own: Option<Arc<Own>>,
    pub(super) speakers: Speakers,
    pub(crate) mask: Mask,
    /// The urgency of messages that do not say how urgent they are.
    unknown: Urgency,
}

/// The parsed templates that renderers of several routes share: parsed, the built-in ones alone take 160 kB.
#[derive(Default)]
pub(crate) struct Parsed {
    builtin: Vec<(Display, Arc<Environment<'static>>)>,
    own: Vec<(Display, PathBuf, Arc<Own>)>,
}

impl Parsed {
    fn builtin(&mut self, display: &Display) -> Arc<Environment<'static>> {
        if let Some((_, parsed)) = self.builtin.iter().find(|(of, _)| of == display) {
            return Arc::clone(parsed);
        }
        let parsed = Arc::new(builtin::environment(&Voice::of(display)));
        self.builtin.push((display.clone(), Arc::clone(&parsed)));
        parsed
    }

    fn own(&mut self, display: &Display, path: &Path) -> Result<Arc<Own>, Vec<Fault>> {
        let is_it = |(of, from, _): &&(Display, PathBuf, _)| of == display && from == path;
        if let Some((_, _, parsed)) = self.own.iter().find(is_it) {
            return Ok(Arc::clone(parsed));
        }
        let parsed = Arc::new(Own::load(path, &Voice::of(display))?);
        self.own.push((display.clone(), path.to_owned(), Arc::clone(&parsed)));
        Ok(parsed)
    }
}

impl Renderer {
    /// Creates a renderer with the built-in templates.
    #[must_use]
    pub(crate) fn new(display: &Display) -> Self {
        Self::sharing(&mut Parsed::default(), display)
    }

    fn sharing(parsed: &mut Parsed, display: &Display) -> Self {
        let (voice, speakers) = (Voice::of(display), Speakers::default());
        let (mask, unknown) = (Mask::default(), Unknown::default().urgency());
        Self { builtin: parsed.builtin(display), own: None, voice, speakers, mask, unknown }
    }

    /// Creates a renderer that prefers the templates of a directory, or a single template file, to the built-in ones.
    ///
    /// # Errors
    ///
    /// Returns the faults that do not depend on a message, at least one, each with file and line.
    pub(crate) fn with_templates(display: &Display, path: &Path) -> Result<Self, Vec<Fault>> {
        let mut parsed = Parsed::default();
        let own = parsed.own(display, path)?;
        Ok(Self { own: Some(own), ..Self::sharing(&mut parsed, display) })
    }

    /// Creates a renderer with templates of these names and texts.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn with_sources(
        display: &Display,
        sources: &std::collections::BTreeMap<String, String>,
    ) -> Result<Self, Vec<Fault>> {
        let builtin = Self::new(display);
        let own = Own::of(Path::new(""), sources, &builtin.voice)?;
        Ok(Self { own: Some(Arc::new(own)), ..builtin })
    }

    /// Creates the renderer of a route, and tries its templates on all samples as if they came in on that route.
    /// Templates that are in `parsed` are not parsed again.
    ///
    /// # Errors
    ///
    /// Returns [`Failure::Config`] with a line for each fault.
    pub(crate) fn of(route: &Route, parsed: &mut Parsed) -> Result<Self, Failure> {
        let renderer = Self {
            speakers: Speakers::of(route),
            mask: route.mask.clone(),
            unknown: route.unknown.urgency(),
            ..Self::sharing(parsed, &route.display)
        };
        let Some(path) = &route.templates else { return Ok(renderer) };
        let subject = example(route.subjects.first().map_or("ops", Subject::as_str));
        let tried = parsed.own(&route.display, path).and_then(|own| {
            let renderer = Self { own: Some(own), ..renderer };
            let faults = renderer.try_samples(&subject, route.name.as_str());
            if faults.is_empty() { Ok(renderer) } else { Err(faults) }
        });
        tried.map_err(|faults| {
            let lines: Vec<String> =
                faults.iter().map(|fault| format!("route {}: {fault}", route.name)).collect();
            Failure::Config(lines.join("\n"))
        })
    }

    /// The number of templates of the user's own.
    #[must_use]
    pub(crate) fn templates(&self) -> usize {
        self.own.as_ref().map_or(0, |own| own.count())
    }

    /// Returns the faults of the user's templates with the samples, which have all fields or as few as possible. The
    /// samples say nothing about the payloads and headers of real messages. If a template reads these, only the faults
    /// that do not depend on the message count.
    pub(crate) fn try_samples(&self, subject: &str, route: &str) -> Vec<Fault> {
        let Some(own) = &self.own else { return Vec::new() };
        let mut faults: Vec<Fault> = Vec::new();
        for sample in SAMPLES {
            let decoded = Decoded::from_bytes(sample.payload);
            let original = Bytes::from_static(sample.payload);
            let message = Incoming::sample(subject, route, &decoded, &original);
            let tried = own.render(&message, decoded.payload.kind().name(), || self.view(&message));
            if let Err(fault) = tried
                && !(own.looks_inside && fault.of_message())
                && !faults.iter().any(|known| known.place() == fault.place())
            {
                faults.push(fault.with_sample(sample.name));
            }
        }
        faults.into_iter().map(|fault| fault.within(&own.directory)).collect()
    }

    /// Renders the notice for a message that the homeserver refuses, and that may be kept on a subject: nobody should
    /// have to read a log to learn of an alert.
    #[must_use]
    pub(crate) fn refused(
        &self,
        sequence: u64,
        subject: &str,
        reason: &str,
        kept_on: Option<&str>,
    ) -> Rendered {
        let (words, veil) = (self.voice.words, self.veil());
        let (subject, kept_on) = (veil.line(subject), kept_on.map(|kept_on| veil.line(kept_on)));
        let refused = words.refused(sequence, &subject, reason, kept_on.as_deref());
        Rendered::words(&words.notice(&veil.line(&refused)))
    }

    /// Renders the notice in place of a file, of this size in bytes, that the homeserver did not accept.
    pub(crate) fn not_taken(&self, size: usize, stream: &str, sequence: u64) -> Rendered {
        let words = self.voice.words;
        let size = words.bytes(size as u64);
        let line = words.withheld(&size, Withheld::NotTaken, stream, sequence);
        Rendered::words(&words.notice(&line)).at_most(Urgency::Routine)
    }

    /// Renders the notice that the whole backlog is in the room. It is quiet, as urgent messages have notified on their
    /// own.
    pub(crate) fn caught_up(&self, count: u64, oldest: Duration) -> Rendered {
        let oldest = SignedDuration::try_from(oldest).unwrap_or(SignedDuration::MAX);
        let words = self.voice.words;
        let caught_up = words.caught_up(count, &words.duration(oldest));
        Rendered::words(&words.notice(&caught_up)).at_most(Urgency::Routine)
    }

    /// Renders the notice that messages are missing. People should notice it.
    pub(crate) fn removed(&self, removal: &Removal) -> Rendered {
        let words = self.voice.words;
        let (since, until) = (self.voice.time(removal.since), self.voice.time(removal.until));
        Rendered::words(&words.notice(&words.removed(removal, &since, &until)))
    }

    /// Returns the line that a message is perhaps shown in another room, too.
    pub(crate) fn may_be_repeated(&self, room: &str) -> String {
        let words = self.voice.words;
        words.notice(&words.may_be_repeated(room))
    }

    /// Renders the alert that NATS refuses the bridge, so that nothing else arrives.
    pub(crate) fn nats_refuses(&self, reason: &str) -> Rendered {
        let words = self.voice.words;
        let mut alert = Rendered::words(&words.notice(&words.nats_refuses(reason)));
        alert.urgency = Urgency::Critical;
        alert
    }

    /// Returns the machines or services that a message claims to be about, as a room shows them.
    pub(crate) fn sources(&self, subject: &str, payload: &Payload) -> Vec<String> {
        let veil = self.veil();
        let subject = veil.line(subject);
        let shown = |source| {
            let speaker = self.speakers.speaker(&subject, source);
            veil.line(&speaker.shown(self.voice.words)).into_owned()
        };
        payload::sources(payload).into_iter().map(shown).collect()
    }

    /// Renders a message.
    ///
    /// The result is bounded: at most [`MAX_TEXT_CHARS`](super::content::MAX_TEXT_CHARS) characters of text. The
    /// original is attached if a part of it was left out or cannot be shown as text.
    #[must_use]
    pub(crate) fn render(&self, message: &Incoming<'_>) -> Rendered {
        if let Payload::Several(items) = &message.decoded.payload {
            return self.render_several(items, message);
        }
        let words = self.voice.words;
        let veil = self.veil();
        let mut decoded = veil.decoded(message.decoded);
        decoded.is_cut |= budget::fit(&mut decoded.payload);
        let looks_inside = self.own.as_ref().is_some_and(|own| own.looks_inside);
        let headers = message.headers.map(|headers| veil.headers(headers));
        let subject = veil.line(message.subject);
        let original =
            if looks_inside { veil.readable(message.original) } else { message.original.clone() };
        let published = message.original;
        let message = &Incoming {
            subject: &subject,
            headers: headers.as_ref(),
            decoded: &decoded,
            original: &original,
            ..*message
        };
        let payload = &decoded.payload;
        let (texts, fault) = self.texts(message);
        let urgency = payload.stated_urgency().unwrap_or(self.unknown);
        let (rendered, is_cut) = Rendered::bounded(texts, urgency);
        let mut rendered = rendered.with_fault(fault, words);
        rendered.hidden = veil.hidden();
        if !shows_flaw(payload)
            && let Some(flaw) = self.flaw(message)
        {
            rendered = rendered.with_line(&flaw);
        }
        if is_cut || decoded.is_cut || leaves_something_out(payload) {
            let file = Attachment::of(payload, &veil.original(published));
            return rendered.with_original(file, words);
        }
        rendered
    }

    /// Renders several objects one below the other, as a digest shows them. The most urgent come first, as not all may have
    /// room.
    fn render_several(&self, items: &[Item], message: &Incoming<'_>) -> Rendered {
        let mut texts = Vec::new();
        let (mut urgency, mut hidden, mut fault, mut is_cut) = (Urgency::Routine, 0, None, false);
        for item in items {
            let original = item.original(message.original);
            let shown =
                self.render(&Incoming { decoded: &item.decoded, original: &original, ..*message });
            is_cut |= shown.attachment.is_some();
            urgency = urgency.max(shown.urgency);
            hidden += shown.hidden;
            let (text, markup) = shown.without_tail();
            texts.push((shown.urgency, text.to_owned(), markup.to_owned()));
            fault = fault.or(shown.fault);
        }
        texts.sort_by_key(|(urgency, ..)| Reverse(*urgency));
        let (plain, html): (Vec<_>, Vec<_>) =
            texts.into_iter().map(|(_, text, markup)| (text, markup)).unzip();
        let texts = (plain.join("\n\n"), html.join("<br><br>"));
        let (mut rendered, is_long) = Rendered::bounded(texts, urgency);
        (rendered.hidden, rendered.fault) = (hidden, fault);
        if is_cut || is_long {
            let original = self.veil().original(message.original);
            let file = Attachment::of(&message.decoded.payload, &original);
            return rendered.with_original(file, self.voice.words);
        }
        rendered
    }

    pub(super) fn veil(&self) -> Veil<'_> {
        Veil::new(&self.mask, self.voice.words)
    }

    /// Removes the file of a message. The text then says why, and where the original is.
    #[must_use]
    pub(crate) fn without_file(
        &self,
        rendered: Rendered,
        why: Withheld,
        stream: &str,
        sequence: u64,
    ) -> Rendered {
        let Some(file) = &rendered.attachment else { return rendered };
        let words = self.voice.words;
        let size = words.bytes(file.bytes.len() as u64);
        let line = words.notice(&words.withheld(&size, why, stream, sequence));
        rendered.without_original(&line)
    }

    /// Renders plain text and HTML with the user's own templates, or with the built-in ones if there are none for the
    /// kind.
    fn texts(&self, message: &Incoming<'_>) -> ((String, String), Option<Fault>) {
        let Some(own) = &self.own else { return (self.builtin(message), None) };
        let kind = message.decoded.payload.kind().name();
        match own.render(message, kind, || self.view(message)) {
            Ok((Some(plain), Some(html))) => ((plain, html), None),
            Ok((Some(plain), None)) => {
                let html = markup::html(&plain);
                ((plain, html), None)
            }
            Ok((None, html)) => {
                let (plain, builtin) = self.builtin(message);
                ((plain, html.unwrap_or(builtin)), None)
            }
            Err(fault) => (self.builtin(message), Some(fault)),
        }
    }

    /// Renders plain text and HTML with the built-in templates.
    fn builtin(&self, message: &Incoming<'_>) -> (String, String) {
        let words = self.voice.words;
        let subject = || shown::line(message.subject);
        let plain = match &message.decoded.payload {
            Payload::Text(body) if shown::clean(body).trim().is_empty() => {
                words.notice(&words.empty_message(&subject()))
            }
            Payload::Text(body) => {
                let body = shown::clean(body.trim_end());
                // A text has no sender, so it is shown with its subject; of a bare value that is the only meaning.
                let lines = if is_bare(&body) {
                    [
                        format!("📨 {}{}{}{body}", subject(), words.colon(), words.gap()),
                        String::new(),
                    ]
                } else {
                    [markup::body(&body), format!("📍 {}", subject())]
                };
                let lines = lines.into_iter().filter(|line| !line.is_empty());
                lines.chain(self.flaw(message)).collect::<Vec<_>>().join("\n")
            }
            Payload::Binary(bytes) => markup::binary(&subject(), bytes, words),
            payload => {
                return builtin::render(&self.builtin, payload.kind().name(), &self.view(message));
            }
        };
        let html = markup::html(&plain);
        (plain, html)
    }

    /// Builds the values of a payload for templates.
    fn view(&self, message: &Incoming<'_>) -> Value {
        let voice = &self.voice;
        let payload = &message.decoded.payload;
        let via = (!self.speakers.tell(payload, message.subject))
            .then(|| voice.words.via(&shown::name(message.subject)));
        let view = match payload {
            Payload::Report(report) => report_view(report, message.subject, voice),
            Payload::Alert(alert) => alert::view(alert, voice),
            Payload::Alerts(group) => alert::group_view(group, voice),
            Payload::Note(note) => note::view(note, voice),
            Payload::Event(event) => event_view(event, self.flaw(message), voice),
            Payload::Object(object) => self.object_view(object, message),
            Payload::Text(body) => {
                context! { text => shown::clean(body.trim_end()), flaw => self.flaw(message) }
            }
            Payload::Binary(bytes) => context! { size => bytes.len },
            Payload::Several(_) => context! {},
        };
        if matches!(payload, Payload::Object(_)) {
            view
        } else {
            context! { via, ..view }
        }
    }

    /// Builds the values of an object of no known shape. `rows` are all its entries as they are, `lines` those that are
    /// worth showing beside the others.
    fn object_view(&self, object: &Object, message: &Incoming<'_>) -> Value {
        let gist = object.gist();
        let subject = shown::line(message.subject);
        let source = gist.source.as_deref();
        let is_told = source.is_none_or(|source| self.speakers.name(message.subject, source));
        let via = (!is_told && gist.title.is_some())
            .then(|| self.voice.words.via(&shown::name(message.subject)));
        // A message without a sender shows its subject, which NATS decides on.
        let place =
            source.map(shown::name).or_else(|| gist.title.as_ref().map(|_| subject.clone()));
        context! {
            title => gist.title.as_deref().map(shown::line),
            place,
            via,
            description => gist.description.as_deref().map(|text| shown::clean(text.trim_end())),
            when => gist.time.as_deref().map(|time| self.voice.moment(time)),
            lines => gist.rows.iter().map(|(name, value)| rows::row(name, value)).collect::<Vec<_>>(),
            url => gist.url.as_deref().map(shown::line),
            rows => rows(object.fields()),
            flaw => self.flaw(message),
            subject,
        }
    }

    fn flaw(&self, message: &Incoming<'_>) -> Option<String> {
        let words = self.voice.words;
        let flaw = message.decoded.flaw.as_ref()?;
        if message.asks_for_flaw() {
            return Some(words.notice(&words.flaw(&flaw.to_string())));
        }
        flaw.is_shown_raw.then(|| words.notice(words.shown_raw()))
    }
}

fn report_view(report: &Report, subject: &str, voice: &Voice) -> Value {
    let words = voice.words;
    let Unknowns { disk, memory, satisfaction } = report.unknown;
    let value = |name: &str, value: Option<f64>, is_unknown: bool, unit: &str| {
        let (colon, gap) = (words.colon(), words.gap());
        let value = value.map(|value| format!("{}{unit}", filters::number_text(value, 1)));
        let value = value.or_else(|| is_unknown.then(|| words.unknown().to_owned()));
        value.map(|value| format!("{name}{colon}{gap}{value}"))
    };
    let usage: Vec<String> = [
        value(words.disk_usage(), report.disk_percent, disk, "%"),
        value(words.memory_usage(), report.memory_percent, memory, "%"),
        value(words.satisfaction(), None, satisfaction, ""),
    ]
    .into_iter()
    .flatten()
    .collect();
    let host = if report.host.trim().is_empty() { subject } else { &report.host };
    context! {
        host => shown::name(host),
        completed => list(&report.completed),
        in_progress => list(&report.in_progress),
        disk_percent => report.disk_percent,
        memory_percent => report.memory_percent,
        usage => usage.join(" | "),
        satisfaction => report.satisfaction,
        rows => rows(&report.extra),
    }
}

fn event_view(event: &Event, flaw: Option<String>, voice: &Voice) -> Value {
    let (rows, text) = match event.data.as_deref() {
        Some(Payload::Object(object)) => (rows::best(object.fields()), None),
        Some(Payload::Text(body)) => (Vec::new(), Some(shown::clean(body.trim_end()))),
        Some(Payload::Binary(bytes)) => {
            let (size, bytes) = markup::bytes(bytes, voice.words);
            (Vec::new(), Some(format!("{size}\n{bytes}")))
        }
        // Data of any other kind is shown as if it had come without an envelope.
        _ => (Vec::new(), None),
    };
    let source = [Some(&event.source), event.subject.as_ref()];
    let source: Vec<String> = source.into_iter().flatten().map(|part| shown::name(part)).collect();
    context! {
        type => shown::line(&event.kind),
        source => source.join(" "),
        time => event.time.clone(),
        when => event.time.as_deref().map(|time| voice.moment(time)),
        text,
        rows,
        flaw,
    }
}

/// Whether the text of a payload says itself what is wrong with it.
fn shows_flaw(payload: &Payload) -> bool {
    matches!(payload, Payload::Event(_) | Payload::Object(_) | Payload::Text(_))
}

/// Whether a text is a single value, which says nothing without its subject.
fn is_bare(text: &str) -> bool {
    /// The longest such value, in characters.
    const MOST: usize = 40;
    let text = text.trim();
    let is_word = !text.contains(char::is_whitespace) && text.chars().count() <= MOST;
    is_word && text.chars().any(|c| c.is_ascii_alphanumeric()) && text.is_ascii()
}

/// Whether the text, however short, cannot show all of the payload.
fn leaves_something_out(payload: &Payload) -> bool {
    match payload {
        Payload::Alerts(group) => {
            group.alerts.len() > alert::members(group).len() || group.left_out.total() > 0
        }
        Payload::Event(event) => match event.data.as_deref() {
            Some(Payload::Object(object)) => Gist::rows_of(object.fields()).1,
            data => data.is_some_and(leaves_something_out),
        },
        Payload::Object(object) => object.gist().is_cut,
        Payload::Binary(_) => true,
        _ => false,
    }
}

fn list(items: &[String]) -> Vec<String> {
    items.iter().map(|item| shown::line(item)).filter(|item| !item.is_empty()).collect()
}
