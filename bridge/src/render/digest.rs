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
        speaker::Speakers,
        voice::Voice,
        words::{NOTICE_MARK, Words},
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
        let view = view(entries, heard, &self.voice, &self.speakers);
        let (plain, html) = builtin::render(&self.builtin, "digest", &view);
        Rendered::new(plain, html, urgency)
    }

    /// Returns the heading of a message in the thread.
    pub(crate) fn head(&self, published: Timestamp, subject: &str) -> String {
        format!("{} · {}", self.voice.time(published), shown::name(&self.veil().line(subject)))
    }
}

fn view(entries: &[Entry], heard: &BTreeSet<String>, voice: &Voice, speakers: &Speakers) -> Value {
    let words = voice.words;
    let still_true = still_true(entries);
    let worst = worst(&still_true, heard, speakers);
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

/// An alert that still fires, and what it is chosen by.
struct Candidate<'a> {
    entry: &'a Entry,
    /// The tokens of the subject that tell publishers apart, the most general first, and the whole subject last.
    tokens: Vec<&'a str>,
    /// Whether people have heard of the subject.
    is_heard: bool,
}

impl Candidate<'_> {
    /// The number of tokens at the beginning that both subjects share: the more, the likelier it is one publisher.
    fn shares(&self, other: &Self) -> usize {
        self.tokens.iter().zip(&other.tokens).take_while(|(a, b)| a == b).count()
    }

    /// How close this one is to the closest of those that were chosen.
    fn closeness(&self, chosen: &[Self]) -> usize {
        chosen.iter().map(|other| self.shares(other)).max().unwrap_or_default()
    }
}

/// Returns the worst alerts that still fire. Among equally bad ones those come first whose subjects are the least alike,
/// then those of subjects that people have not heard of, then the newest. The last place is another publisher's, if one
/// publisher has taken all before it: it can invent as many subjects and severities as it likes, but must not hide the
/// others by that.
fn worst<'a>(
    still_true: &[&'a Entry],
    heard: &BTreeSet<String>,
    speakers: &Speakers,
) -> Vec<&'a Entry> {
    let firing = still_true.iter().copied().filter(|entry| entry.kind.fires());
    let mut left: Vec<Candidate<'_>> = firing
        .map(|entry| Candidate {
            entry,
            tokens: speakers.telling_tokens(&entry.subject).chain([&*entry.subject]).collect(),
            is_heard: heard.contains(&entry.subject),
        })
        .collect();
    // The first token at which the subjects differ is taken for the publisher.
    let publisher = left
        .first()
        .map_or(0, |first| left.iter().map(|other| first.shares(other)).min().unwrap_or_default());
    let is_of_one = |candidate: &Candidate<'_>, chosen: &[Candidate<'_>]| {
        chosen.iter().all(|other| candidate.shares(other) > publisher)
    };
    let mut chosen: Vec<Candidate<'_>> = Vec::new();
    while chosen.len() < WORST {
        let is_last = chosen.len() + 1 == WORST;
        let rank = |candidate: &Candidate<'_>| {
            let hides_others = is_last && is_of_one(candidate, &chosen);
            let closeness = candidate.closeness(&chosen);
            let Entry { kind, sequence, .. } = candidate.entry;
            (hides_others, *kind, closeness, candidate.is_heard, Reverse(*sequence))
        };
        let next = (0..left.len()).min_by_key(|index| rank(&left[*index]));
        let Some(next) = next else { break };
        chosen.push(left.swap_remove(next));
    }
    chosen.into_iter().map(|candidate| candidate.entry).collect()
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

/// Ends the beginning of a message. A line in the bridge's own words is left out rather than cut.
fn cut(head: &str) -> String {
    let whole = head.rsplit_once('\n').filter(|(_, last)| last.starts_with(NOTICE_MARK));
    format!("{} …", whole.map_or(head, |(whole, _)| whole))
}

/// Returns the values of a message in full, or its beginning if it is long; the thread has all of it.
fn shown(entry: &Entry) -> Value {
    let plain = &entry.rendered.plain;
    let head = text::head(plain, CHARS);
    let shown = if head.len() == plain.len() { head.to_owned() } else { cut(head) };
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
