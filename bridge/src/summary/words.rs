//! The texts of a summary: the caption of its picture, which also describes the picture for those who do not see it.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    config::Display,
    mask::Mask,
    message::{Counts, Urgency},
    render::{Rendered, Speaker, alert, markup, words::Words},
    summary::totals::{Digest, Unresolved},
    text::shown,
};

/// The number of hosts or alerts that a line names.
const MOST_NAMED: usize = 5;

/// Writes the texts about the messages of the route `name`.
///
/// `numbered` are the hosts that are numbers in the picture, with these numbers.
pub(super) fn words(
    name: &str,
    digest: &Digest,
    numbered: &[(String, &Speaker)],
    display: &Display,
    mask: &Mask,
) -> Rendered {
    let words = Caption { words: display.language.words(), zone: &display.time_zone };
    let title = words.title(name, digest);
    let mut lines = Vec::new();
    if digest.is_empty() {
        lines.push(words.nothing(digest.last_before));
    } else {
        lines.push(words.counts(digest));
        lines.extend(words.hosts(digest));
        lines.extend(words.unresolved(&digest.unresolved()));
        lines.extend(words.numbers(numbered));
    }
    lines.extend(digest.kept_since.map(|since| words.kept_since(since)));
    let texts = words.words;
    lines.extend((digest.unreadable > 0).then(|| texts.unreadable_headers(digest.unreadable)));
    lines.extend(digest.read_until.map(|until| texts.read_until(&words.time(until))));
    let body = lines.join("\n");
    let body = mask.text(&body, &|secret| texts.hidden(secret)).0;
    let html = format!("<strong>{}</strong><br>{}", markup::html(&title), markup::html(&body));
    // A summary is routine, because nobody has to act on it at once.
    Rendered::new(format!("{title}\n{body}"), html, Urgency::Routine)
}

/// The lines of a caption, in one language and time zone.
struct Caption<'a> {
    words: &'static dyn Words,
    zone: &'a TimeZone,
}

impl Caption<'_> {
    fn title(&self, name: &str, digest: &Digest) -> String {
        let (from, until) = (self.time(digest.period.start), self.time(digest.period.end));
        self.words.summary_of(name, &from, &until)
    }

    fn nothing(&self, last: Option<Timestamp>) -> String {
        let last = last.map(|last| self.time(last));
        self.words.nothing_came_in(last.as_deref())
    }

    fn counts(&self, digest: &Digest) -> String {
        let words = self.words;
        let hosts = digest.hosts.len() as u64;
        let parts = [
            (digest.reports > 0)
                .then(|| words.reports(digest.reports, hosts, digest.has_more_hosts)),
            (digest.alerts != Counts::default()).then(|| words.alerts_of(digest.alerts)),
            (digest.others > 0).then(|| words.other_messages(digest.others)),
        ];
        self.list(parts.into_iter().flatten())
    }

    /// Returns the lines about hosts that need attention. If there are none, one line says so, with the highest values.
    fn hosts(&self, digest: &Digest) -> Vec<String> {
        let words = self.words;
        let disks = digest.high(|host| host.disk.latest);
        let filling = digest.filling();
        let memories = digest.high(|host| host.memory.peak());
        let silent = digest.silent();
        let value =
            |(host, value): (&Speaker, f32)| format!("{} {}", self.host(host), percent(value));
        let filling_up = |(host, latest, days): (&Speaker, f32, f32)| {
            words.filling_up(&self.host(host), &percent(latest), days)
        };
        let silent_since = |(host, last): (&Speaker, Timestamp)| {
            words.silent_since(&self.host(host), &self.time(last))
        };
        let lines = [
            self.named(disks.into_iter().map(value).collect())
                .map(|it| words.disk_almost_full(&it)),
            self.named(filling.into_iter().map(filling_up).collect())
                .map(|it| words.disk_filling_up(&it)),
            self.named(memories.into_iter().map(value).collect())
                .map(|it| words.memory_almost_full(&it)),
            self.named(silent.into_iter().map(silent_since).collect()).map(|it| words.silent(&it)),
        ];
        let lines: Vec<String> = lines.into_iter().flatten().collect();
        if lines.is_empty() { self.all_well(digest).into_iter().collect() } else { lines }
    }

    fn host(&self, host: &Speaker) -> String {
        host.shown(self.words)
    }

    fn all_well(&self, digest: &Digest) -> Option<String> {
        let words = self.words;
        let disk = digest.highest(|host| host.disk.latest);
        let memory = digest.highest(|host| host.memory.peak());
        let parts = [
            disk.map(|(host, value)| words.highest_disk(&percent(value), &self.host(host))),
            memory.map(|(host, value)| words.highest_memory(&percent(value), &self.host(host))),
        ];
        let parts = self.list(parts.into_iter().flatten());
        (!parts.is_empty()).then(|| words.all_well(&parts))
    }

    fn unresolved(&self, alerts: &[&Unresolved]) -> Option<String> {
        let mark = if alerts.first()?.is_critical { "🔴" } else { "🟠" };
        let alerts = self.named(alerts.iter().map(|alert| self.alert(alert)).collect())?;
        Some(format!("{mark} {}", self.words.not_resolved(&alerts)))
    }

    fn alert(&self, alert: &Unresolved) -> String {
        let words = self.words;
        let summary = shown::entry(&alert::worded(&alert.summary, words));
        let said = match &alert.source {
            None => summary,
            Some(source) => words.happened_to(&summary, source),
        };
        match &alert.via {
            Some(subject) => format!("{said}{}{}", words.gap(), words.via(subject)),
            None => said,
        }
    }

    fn numbers(&self, numbered: &[(String, &Speaker)]) -> Option<String> {
        let hosts = numbered.iter().map(|(number, host)| format!("{number} = {}", self.host(host)));
        let hosts = self.list(hosts);
        (!numbered.is_empty()).then(|| self.words.in_the_picture(&hosts))
    }

    fn kept_since(&self, since: Timestamp) -> String {
        self.words.kept_since(&self.time(since))
    }

    fn time(&self, time: Timestamp) -> String {
        let time = time.to_zoned(self.zone.clone());
        let zone = if *self.zone == TimeZone::UTC { " UTC" } else { "" };
        format!("{}{zone}", time.strftime(self.words.time_form()))
    }

    /// Joins the first items and the number of the others. Returns `None` if there are no items.
    fn named(&self, mut items: Vec<String>) -> Option<String> {
        let more = items.len().saturating_sub(MOST_NAMED);
        items.truncate(MOST_NAMED);
        if more > 0 {
            items.push(self.words.more_names(more));
        }
        (!items.is_empty()).then(|| self.list(items.into_iter()))
    }

    fn list(&self, items: impl Iterator<Item = String>) -> String {
        items.collect::<Vec<_>>().join(self.words.between())
    }
}

fn percent(value: f32) -> String {
    format!("{value:.0}%")
}
