//! The totals of a period, added up while the messages are read. A million messages take as much memory as ten.

use std::{collections::BTreeMap, ops::Range};

use jiff::{SignedDuration, Timestamp};

use crate::{
    config::AlertScope,
    hash,
    message::{Alert, Counts, Decoded, Payload, Report, Severity, Status, Summary, alert},
    render::{Speaker, Speakers},
    text::shown,
};

/// The usage of disk or memory from which a host needs attention, in per cent.
pub(super) const HIGH: f32 = 90.0;

/// The number of hosts that are told apart; the reports of further hosts are only counted.
const MOST_HOSTS: usize = 1_000;

/// The number of alerts that are remembered until they are resolved.
const MOST_UNRESOLVED: usize = 1_000;

/// The number of characters that are kept of a name or of an alert's summary.
const MOST_CHARS: usize = 100;

/// The longest period for which a value is kept per quarter of an hour; for longer periods it is kept per two hours.
const SHORT: SignedDuration = SignedDuration::from_hours(49);

/// The totals of the messages of a period.
#[derive(Debug)]
pub(crate) struct Digest {
    /// The period.
    pub(super) period: Range<Timestamp>,
    /// The scope in which messages can be about the same alert.
    alert_scope: AlertScope,
    /// The lookup of the name that the subject of a message proves.
    speakers: Speakers,
    /// The length of the step that one value of a [`Gauge`] covers.
    pub(super) step: SignedDuration,
    pub(super) reports: u64,
    pub(super) alerts: Counts,
    /// The number of messages that are neither reports nor alerts.
    pub(super) others: u64,
    pub(super) hosts: BTreeMap<Speaker, Host>,
    /// Whether there are more hosts than `hosts` has.
    pub(super) has_more_hosts: bool,
    /// The alerts that fired and have not been resolved since, by a hash of their identity.
    pub(super) unresolved: BTreeMap<[u8; 32], Unresolved>,
    /// The time from which the stream still has messages, if it no longer has the whole period.
    pub(super) kept_since: Option<Timestamp>,
    /// The number of messages whose headers cannot all be read.
    pub(super) unreadable: u64,
    /// The time of the last message that was read, if reading on would have taken too long.
    pub(super) read_until: Option<Timestamp>,
    /// The time of the last message before the period, which is looked up only if the period has no message.
    pub(super) last_before: Option<Timestamp>,
}

/// An alert that may still fire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub(super) is_critical: bool,
    pub(super) summary: Summary,
    pub(super) source: Option<String>,
    /// The subject, if it does not name the source or the alert has no source.
    pub(super) via: Option<String>,
}

/// The reports of a machine.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) reports: u64,
    pub(super) disk: Gauge,
    pub(super) memory: Gauge,
}

/// A value in per cent over time.
#[derive(Debug)]
pub(super) struct Gauge {
    /// The highest value in each step of the period, if there was one.
    pub(super) highs: Vec<Option<f32>>,
    /// The last value.
    pub(super) latest: Option<f32>,
}

impl Digest {
    /// Creates empty totals for a period.
    pub(super) fn new(
        period: Range<Timestamp>,
        alert_scope: AlertScope,
        speakers: Speakers,
    ) -> Self {
        let length = period.end.duration_since(period.start);
        let step = SignedDuration::from_mins(if length <= SHORT { 15 } else { 120 });
        Self {
            period,
            alert_scope,
            speakers,
            step,
            reports: 0,
            alerts: Counts::default(),
            others: 0,
            hosts: BTreeMap::new(),
            has_more_hosts: false,
            unresolved: BTreeMap::new(),
            kept_since: None,
            unreadable: 0,
            read_until: None,
            last_before: None,
        }
    }

    /// Whether no message came in.
    pub(super) fn is_empty(&self) -> bool {
        self.reports == 0 && self.others == 0 && self.alerts == Counts::default()
    }

    /// Adds a message that the stream stored at `published`, which must be in the period.
    pub(super) fn add(&mut self, published: Timestamp, subject: &str, decoded: &Decoded) {
        self.add_payload(published, subject, &decoded.payload);
    }

    fn add_payload(&mut self, published: Timestamp, subject: &str, payload: &Payload) {
        match payload {
            Payload::Report(report) => self.add_report(published, subject, report),
            Payload::Alert(alert) => self.add_alert(subject, alert.sender.as_deref(), alert),
            Payload::Alerts(group) => {
                let sender = group.url.as_deref();
                group.alerts.iter().for_each(|alert| self.add_alert(subject, sender, alert));
                self.alerts.add_all(group.left_out);
            }
            Payload::Event(event) => match event.data.as_deref() {
                Some(data) => self.add_payload(published, subject, data),
                None => self.others += 1,
            },
            Payload::Several(items) => {
                for item in items {
                    self.add(published, subject, &item.decoded);
                }
            }
            Payload::Note(_) | Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) => {
                self.others += 1;
            }
        }
    }

    fn add_report(&mut self, published: Timestamp, subject: &str, report: &Report) {
        self.reports += 1;
        if report.host.trim().is_empty() {
            return;
        }
        let speaker = self.speakers.speaker(subject, &report.host);
        if self.hosts.len() >= MOST_HOSTS && !self.hosts.contains_key(&speaker) {
            self.has_more_hosts = true;
            // The hosts that no subject names sort last and are easy to make up, so one of them gives way.
            let can_give_way =
                self.hosts.last_key_value().is_some_and(|(last, _)| last.via.is_some());
            if speaker.via.is_some() || !can_give_way {
                return;
            }
            self.hosts.pop_last();
        }
        let step = self.step_of(published);
        let steps = self.step_of(self.period.end) + 1;
        let host = self.hosts.entry(speaker).or_insert_with(|| Host::new(published, steps));
        host.last = published;
        host.reports += 1;
        host.disk.add(step, report.disk_percent);
        host.memory.add(step, report.memory_percent);
    }

    fn add_alert(&mut self, subject: &str, sender: Option<&str>, alert: &Alert) {
        let identity = alert::identity(alert);
        let scope = self.alert_scope.texts(subject, sender);
        let key = hash::of_texts(scope.into_iter().chain(identity.iter().map(String::as_str)));
        self.alerts.add(alert);
        if alert.status == Status::Resolved {
            self.unresolved.remove(&key);
            return;
        }
        if alert.severity == Severity::Info {
            return;
        }
        let speaker = alert.source.as_deref().map(|source| self.speakers.speaker(subject, source));
        let (source, via) = match speaker {
            Some(Speaker { via, name }) => (Some(name), via),
            None => (None, Some(shown::name(subject))),
        };
        let is_full =
            self.unresolved.len() >= MOST_UNRESOLVED && !self.unresolved.contains_key(&key);
        if is_full && (via.is_some() || !self.forget_one_unnamed()) {
            return;
        }
        let is_critical = alert.severity == Severity::Critical;
        let mut summary = alert.summary.clone();
        if let Some(text) = summary.text_mut() {
            *text = short(text);
        }
        self.unresolved.insert(key, Unresolved { is_critical, summary, source, via });
    }

    /// Forgets an alert whose source no subject names. Returns whether there was one.
    fn forget_one_unnamed(&mut self) -> bool {
        let unnamed = self.unresolved.iter().find(|(_, alert)| alert.via.is_some());
        let key = unnamed.map(|(key, _)| *key);
        key.is_some_and(|key| self.unresolved.remove(&key).is_some())
    }

    fn step_of(&self, time: Timestamp) -> usize {
        let since = time.duration_since(self.period.start).as_millis();
        usize::try_from(since / self.step.as_millis()).unwrap_or_default()
    }

    /// Returns the alerts that may still fire: critical ones first, and among each kind those whose source the subject
    /// names.
    pub(super) fn unresolved(&self) -> Vec<&Unresolved> {
        let mut unresolved: Vec<&Unresolved> = self.unresolved.values().collect();
        unresolved.sort_by_key(|alert| {
            let summary = alert.summary.in_no_language();
            (!alert.is_critical, alert.via.is_some(), summary, &alert.source, &alert.via)
        });
        unresolved
    }

    /// Returns the hosts whose `value` is at least [`HIGH`]: first those that subjects name, and among each kind the
    /// highest first.
    pub(super) fn high(&self, value: impl Fn(&Host) -> Option<f32>) -> Vec<(&Speaker, f32)> {
        let mut high: Vec<(&Speaker, f32)> = self
            .hosts
            .iter()
            .filter_map(|(name, host)| Some((name, value(host)?)))
            .filter(|(_, value)| *value >= HIGH)
            .collect();
        // Values that are shown as the same number keep the order of the names.
        high.sort_by(|a, b| {
            let named = a.0.via.is_some().cmp(&b.0.via.is_some());
            named.then(b.1.round().total_cmp(&a.1.round()))
        });
        high
    }

    /// Returns the host with the highest `value`.
    pub(super) fn highest(&self, value: impl Fn(&Host) -> Option<f32>) -> Option<(&Speaker, f32)> {
        self.hosts
            .iter()
            .filter_map(|(name, host)| Some((name, value(host)?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Returns the hosts that no longer report as they used to: first those that subjects name, and among each kind the
    /// one that fell silent last.
    pub(super) fn silent(&self) -> Vec<(&Speaker, Timestamp)> {
        let mut silent: Vec<(&Speaker, Timestamp)> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.is_silent(self))
            .map(|(name, host)| (name, host.last))
            .collect();
        silent.sort_by_key(|(name, last)| (name.via.is_some(), std::cmp::Reverse(*last)));
        silent
    }

    /// Returns the hosts whose disk fills so steadily that it would soon be full, with the last value and the days
    /// left: first those that subjects name, and among each kind the one with the fewest days. Hosts that are already
    /// high are not listed.
    pub(super) fn filling(&self) -> Vec<(&Speaker, f32, f32)> {
        let mut filling: Vec<(&Speaker, f32, f32)> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.disk.latest.is_some_and(|latest| latest < HIGH))
            .filter_map(|(name, host)| {
                let left = host.disk.days_left(self.step)?;
                Some((name, host.disk.latest?, left))
            })
            .collect();
        filling.sort_by(|a, b| {
            let named = a.0.via.is_some().cmp(&b.0.via.is_some());
            named.then(a.2.total_cmp(&b.2))
        });
        filling
    }
}

impl Host {
    fn new(first: Timestamp, steps: usize) -> Self {
        Self { first, last: first, reports: 0, disk: Gauge::new(steps), memory: Gauge::new(steps) }
    }

    /// The time without a report after which a host counts as silent: three of its usual intervals. `None` if there
    /// were too few reports to know what is usual.
    pub(super) fn patience(&self, digest: &Digest) -> Option<SignedDuration> {
        let intervals = i32::try_from(self.reports).unwrap_or(i32::MAX) - 1;
        let usual = self.last.duration_since(self.first).checked_div(intervals)?;
        (intervals >= 2).then(|| (usual * 3).max(digest.step * 2))
    }

    pub(super) fn is_silent(&self, digest: &Digest) -> bool {
        let silence = digest.period.end.duration_since(self.last);
        self.patience(digest).is_some_and(|patience| silence > patience)
    }
}

impl Gauge {
    fn new(steps: usize) -> Self {
        Self { highs: vec![None; steps], latest: None }
    }

    fn add(&mut self, step: usize, value: Option<f64>) {
        #[expect(clippy::cast_possible_truncation, reason = "of per cent few digits matter")]
        let Some(value) = value.map(|value| value.clamp(0.0, 100.0) as f32) else { return };
        self.latest = Some(value);
        if let Some(high) = self.highs.get_mut(step) {
            *high = Some(high.map_or(value, |high| high.max(value)));
        }
    }

    /// The highest value of all.
    pub(super) fn peak(&self) -> Option<f32> {
        self.highs.iter().flatten().copied().max_by(f32::total_cmp)
    }

    /// Returns the values with the numbers of their steps.
    pub(super) fn points(&self) -> impl Iterator<Item = (usize, f32)> {
        self.highs.iter().enumerate().filter_map(|(step, high)| Some((step, (*high)?)))
    }

    /// Estimates the days until the value reaches 100 % by a least-squares line. Returns `None` unless the line fits
    /// well, rises by more than noise, and the days are not many times those that were observed.
    fn days_left(&self, step: SignedDuration) -> Option<f32> {
        let days_of_step = step.as_secs_f32() / 86_400.0;
        #[expect(clippy::cast_precision_loss, reason = "there are few steps")]
        let points: Vec<(f32, f32)> =
            self.points().map(|(step, value)| (step as f32 * days_of_step, value)).collect();
        let (first, last) = (points.first()?, points.last()?);
        let seen = last.0 - first.0;
        let (per_day, fit) = slope(&points)?;
        let is_steady = points.len() >= 4 && fit >= 0.7 && per_day * seen >= 1.0;
        #[expect(clippy::cast_precision_loss, reason = "there are few steps")]
        let covers_most = seen >= self.highs.len() as f32 * days_of_step / 2.0;
        let left = (100.0 - self.latest?) / per_day;
        (is_steady && covers_most && left <= 7.0 * seen.min(4.0)).then_some(left)
    }
}

/// Returns the slope of the least-squares line, and the share of the variance that it explains, from 0 to 1.
fn slope(points: &[(f32, f32)]) -> Option<(f32, f32)> {
    #[expect(clippy::cast_precision_loss, reason = "there are few points")]
    let count = points.len() as f32;
    let mean = |of: fn(&(f32, f32)) -> f32| points.iter().map(of).sum::<f32>() / count;
    let (x0, y0) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(f32, f32) -> f32| -> f32 {
        points.iter().map(|(x, y)| of(x - x0, y - y0)).sum()
    };
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    (xx > 0.0 && yy > 0.0).then(|| (xy / xx, xy * xy / (xx * yy)))
}

/// Reduces untrusted text to one line of bounded length.
fn short(text: &str) -> String {
    let line = shown::line(text);
    match line.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
