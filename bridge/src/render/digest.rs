//! Builds the message that sums up a digest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;
use minijinja::{HtmlEscape, Value, context};

use crate::{
    message::{Kind, Urgency, rfc3339},
    render::{
        builtin,
        content::{MAX_TEXT_CHARS, Rendered},
        digest_entries::{Entry, still_true},
        markup,
        renderer::Renderer,
        voice::Voice,
        words::Words,
    },
    text::{self, shown},
};

/// The number of the worst entries that are shown in full.
const WORST: usize = 3;

/// The number of characters that are shown of each of these.
const CHARS: usize = MAX_TEXT_CHARS / 6;

/// The number of machines that are named.
const SOURCES: usize = 8;

impl Renderer {
    /// Builds the event that sums up a digest of `entries`, which are sorted and not empty. People already know the
    /// subjects in `heard` from earlier digests of the same storm.
    pub(crate) fn digest(
        &self,
        entries: &[Entry],
        heard: &BTreeSet<String>,
        urgency: Urgency,
    ) -> Rendered {
        let view = view(entries, heard, &self.voice);
        let (plain, html) = builtin::render(&self.builtin, "digest", &view);
        Rendered::new(plain, html, urgency)
    }

    /// Returns the heading of a message in the thread.
    pub(crate) fn head(&self, published: Timestamp, subject: &str) -> String {
        format!("{} · {}", self.voice.time(published), shown::name(subject))
    }
}

fn view(entries: &[Entry], heard: &BTreeSet<String>, voice: &Voice) -> Value {
    let words = voice.words;
    let still_true = still_true(entries);
    let worst = worst(&still_true, heard);
    let newest =
        entries.last().filter(|newest| worst.iter().all(|entry| entry.sequence != newest.sequence));
    let sources = sources(entries);
    context! {
        heading => words.messages(entries.len()),
        time => span(entries, voice),
        tally => tally(&still_true, words),
        sources => named(&sources, words),
        newest_is => words.newest(),
        in_thread => words.in_thread(),
        worst => worst.iter().map(|entry| shown(entry)).collect::<Vec<_>>(),
        newest => newest.map(shown),
    }
}

/// Returns the worst alerts that still fire. Among equally bad ones the subjects take turns, each with its newest
/// alert, and subjects that people have not heard of come first, so that a noisy subject cannot hide the others.
fn worst<'a>(still_true: &[&'a Entry], heard: &BTreeSet<String>) -> Vec<&'a Entry> {
    let mut firing: Vec<&Entry> =
        still_true.iter().copied().filter(|entry| entry.kind.fires()).collect();
    firing.sort_by_key(|entry| (entry.kind, Reverse(entry.sequence)));
    let mut said: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
    let mut in_turn: Vec<_> = firing
        .into_iter()
        .map(|entry| {
            let turn = said.entry((entry.kind, &entry.subject)).or_default();
            *turn += 1;
            let is_heard = heard.contains(&entry.subject);
            ((entry.kind, *turn, is_heard, Reverse(entry.sequence)), entry)
        })
        .collect();
    in_turn.sort_by_key(|(rank, _)| *rank);
    in_turn.into_iter().take(WORST).map(|(_, entry)| entry).collect()
}

/// Counts the entries by kind, as in "12 critical, 300 warning, 40 reports". Alerts count by their last state.
fn tally(entries: &[&Entry], words: &dyn Words) -> Vec<String> {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry.kind).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|(kind, count)| format!("{} {}", mark(kind), words.counted(kind, count)))
        .collect()
}

fn mark(kind: Kind) -> &'static str {
    match kind {
        Kind::Alert(state) => state.mark(),
        Kind::Report => "📊",
        Kind::Other => "📨",
    }
}

/// Counts the messages about each machine, the largest number first.
fn sources(entries: &[Entry]) -> Vec<(&str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries {
        let sources: BTreeSet<&str> = entry.sources.iter().map(String::as_str).collect();
        for source in sources {
            *counts.entry(source).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(source, count)| (Reverse(*count), *source));
    counts
}

fn named(sources: &[(&str, usize)], words: &dyn Words) -> String {
    let named = sources.iter().take(SOURCES);
    let named: Vec<String> = named.map(|(source, count)| format!("{source} {count}")).collect();
    let named = named.join(words.comma());
    match sources.len().saturating_sub(SOURCES) {
        0 => named,
        more => words.and_more(&named, more),
    }
}

fn span(entries: &[Entry], voice: &Voice) -> Option<String> {
    let at = |entry: Option<&Entry>| rfc3339::written(entry?.said.as_second());
    voice.span(at(entries.first()).as_deref(), at(entries.last()).as_deref())
}

/// Returns the values of a message in full, or its beginning if it is long; the thread has all of it.
fn shown(entry: &Entry) -> Value {
    let plain = &entry.rendered.plain;
    let head = text::head(plain, CHARS);
    let shown = if head.len() == plain.len() { head.to_owned() } else { format!("{head} …") };
    if shown.lines().all(markup::is_quoted) {
        return context! { html => Value::from_safe_string(markup::html(&shown)), plain => shown };
    }
    // The first line says what it is. The lines below are set apart, so that none looks like the start of another
    // message.
    let (first, rest) = shown.split_once('\n').unwrap_or((&shown, ""));
    let mut plain = first.to_owned();
    for line in rest.lines() {
        plain.push_str(if line.is_empty() { "\n" } else { "\n  " });
        plain.push_str(line);
    }
    let mut html = format!("<strong>{}</strong>", HtmlEscape(first));
    if !rest.is_empty() {
        html = format!("{html}<blockquote>{}</blockquote>", markup::html(rest));
    }
    context! { html => Value::from_safe_string(html), plain }
}
