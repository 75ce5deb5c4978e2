//! What is shown of alerts, one or many.

use std::{cmp::Reverse, collections::BTreeMap};

use minijinja::{Value, context};

use super::{Urgency, moment, rows, text};
use crate::payload::{Alert, Group, Severity, Status};

/// More alerts than these are counted; the message is attached, so that none is lost.
pub(super) const MOST_ALERTS: usize = 10;

/// What is shown of a description where there are many.
const DESCRIPTION_CHARS: usize = 200;

type Labels = BTreeMap<String, String>;

pub(super) fn view(alert: &Alert) -> Value {
    let (mark, word) = mark_and_word(alert);
    context! {
        mark,
        word,
        summary => text::line(&alert.summary),
        source => alert.source.as_deref().map(text::line),
        description => alert.description.as_deref().map(|text| text::clean(text.trim_end())),
        labels => labels(alert, &Labels::new()),
        time => moment::span(alert.time.as_deref(), alert.ended.as_deref()),
        rows => rows(&alert.extra),
        url => alert.url.as_deref().map(text::line),
    }
}

/// What is over, or merely good to know, need not wake anybody.
pub(crate) fn urgency(alert: &Alert) -> Urgency {
    match (alert.status, &alert.severity) {
        (Status::Resolved, _) | (_, Severity::Info) => Urgency::Routine,
        (Status::Firing, Severity::Critical) => Urgency::Critical,
        (Status::Firing, _) => Urgency::Notable,
    }
}

/// The worst first, and of equal ones the newest.
pub(super) fn group_view(group: &Group) -> Value {
    let mut alerts: Vec<&Alert> = group.alerts.iter().collect();
    alerts.sort_by_key(|alert| {
        (badness(alert), Reverse(alert.time.as_deref().and_then(moment::parse)))
    });
    let shown: Vec<Value> =
        alerts.iter().take(MOST_ALERTS).map(|alert| member_view(alert, group)).collect();
    let titles: Vec<&str> = group.title.split(", ").collect();
    let common: Labels = group
        .labels
        .iter()
        .filter(|(name, value)| *name != "severity" && **value != group.title)
        .filter(|(name, value)| !titles.contains(&format!("{name}={value}").as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let known = alerts.len() as u64;
    context! {
        mark => alerts.first().map(|alert| mark_and_word(alert).0),
        count => known.saturating_add(group.truncated),
        title => text::line(&group.title),
        tally => tally(&alerts, group.truncated),
        labels => pairs(&common),
        hidden => alerts.len().saturating_sub(MOST_ALERTS),
        truncated => group.truncated,
        url => group.url.as_deref().map(text::line),
        alerts => shown,
    }
}

/// As urgent as the most urgent of them; one of which nothing is known may be that.
pub(crate) fn group_urgency(group: &Group) -> Urgency {
    let unknown = if group.truncated > 0 { Urgency::Notable } else { Urgency::Routine };
    group.alerts.iter().map(urgency).fold(unknown, Urgency::max)
}

fn member_view(alert: &Alert, group: &Group) -> Value {
    let (mark, word) = mark_and_word(alert);
    let description = alert.description.as_deref().map(text::line);
    let description = description.map(|line| {
        let head = text::head(&line, DESCRIPTION_CHARS);
        if head.len() < line.len() { format!("{head} …") } else { line }
    });
    let details = [
        alert.source.as_deref().map(|source| format!("📍 {}", text::line(source))),
        Some(labels(alert, &group.labels)).filter(|it| !it.is_empty()).map(|it| format!("🏷️ {it}")),
        measured(alert).map(|values| format!("📈 {}", text::line(values))),
        moment::span(alert.time.as_deref(), alert.ended.as_deref()).map(|it| format!("🕒 {it}")),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    context! {
        mark,
        word,
        summary => text::line(&alert.summary),
        description,
        details => details.join(" · "),
        url => alert.url.as_deref(),
    }
}

/// What Grafana says was measured. Of all that an alert can hold besides, it is what tells alerts of
/// a group apart.
fn measured(alert: &Alert) -> Option<&str> {
    alert.extra.get("values").and_then(serde_json::Value::as_str)
}

fn mark_and_word(alert: &Alert) -> (&'static str, String) {
    match &alert.severity {
        _ if alert.status == Status::Resolved => ("✅", "RESOLVED".to_owned()),
        Severity::Critical => ("🔴", "CRITICAL".to_owned()),
        Severity::Warning => ("🟠", "WARNING".to_owned()),
        Severity::Info => ("🔵", "INFO".to_owned()),
        Severity::Other(word) => ("🟠", text::line(&word.to_uppercase())),
    }
}

/// The smaller the worse.
fn badness(alert: &Alert) -> u8 {
    match (alert.status, &alert.severity) {
        (Status::Resolved, _) => 3,
        (_, Severity::Critical) => 0,
        (_, Severity::Warning | Severity::Other(_)) => 1,
        (_, Severity::Info) => 2,
    }
}

/// "2 critical, 1 warning, 1 resolved", of alerts that are in order.
fn tally(alerts: &[&Alert], unknown: u64) -> String {
    let mut tally: Vec<(String, u64)> = Vec::new();
    for alert in alerts {
        let word = mark_and_word(alert).1.to_lowercase();
        match tally.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => tally.push((word, 1)),
        }
    }
    if unknown > 0 {
        tally.push(("unknown".to_owned(), unknown));
    }
    let tally: Vec<String> =
        tally.into_iter().map(|(word, count)| format!("{count} {word}")).collect();
    tally.join(", ")
}

/// The labels that say something which is not said anyway.
fn labels(alert: &Alert, common: &Labels) -> String {
    let is_said = |name: &String, value: &String| {
        common.get(name) == Some(value)
            || *value == alert.summary
            || Some(value) == alert.source.as_ref()
            || name == "severity" && Severity::from(value.clone()) == alert.severity
    };
    let labels: Labels = alert
        .labels
        .iter()
        .filter(|(name, value)| !is_said(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    pairs(&labels)
}

fn pairs(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| match value.as_str() {
            "" => text::line(name),
            value => text::line(&format!("{name}={value}")),
        })
        .collect();
    pairs.join(", ")
}
