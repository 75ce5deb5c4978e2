//! What is shown of alerts, one or many.

use std::collections::BTreeMap;

use minijinja::{Value, context};

use super::{Urgency, moment, rows, text};
use crate::payload::{Alert, Severity, Status};

type Labels = BTreeMap<String, String>;

pub(super) fn view(alert: &Alert) -> Value {
    let (mark, word) = mark_and_word(alert);
    context! {
        mark,
        word,
        summary => text::line(&alert.summary),
        source => alert.source.as_deref().map(text::line),
        description => alert.description.as_deref().map(|text| text::clean(text.trim_end())),
        labels => labels(alert),
        time => moment::span(alert.time.as_deref(), alert.ended.as_deref()),
        rows => rows(&alert.extra),
        url => alert.url.as_deref().map(text::line),
    }
}

/// What is over, or merely good to know, need not wake anybody.
pub(super) fn urgency(alert: &Alert) -> Urgency {
    match (alert.status, &alert.severity) {
        (Status::Resolved, _) | (_, Severity::Info) => Urgency::Routine,
        (Status::Firing, _) => Urgency::Notable,
    }
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

/// The labels that say something which is not said anyway.
fn labels(alert: &Alert) -> String {
    let is_said = |name: &String, value: &String| {
        *value == alert.summary
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
