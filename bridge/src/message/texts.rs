//! All texts of a payload that people may see, for those who change them before they are shown.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::message::{
    alert::{Alert, Group, Severity, Summary, Workflow},
    forge::{Deed, ForgeEvent, ForgeEventKind, Outcome, Push},
    note::{Note, Remark, Test},
    payload::{Event, Payload},
    report::Report,
};

/// Changes a text; the first argument is its name in the payload, or empty.
pub(crate) type Change<'a> = &'a mut dyn FnMut(&str, &mut String);

impl Payload {
    /// Passes each text to `change`.
    pub(crate) fn each_text(&mut self, change: Change<'_>) {
        match self {
            Self::Report(report) => of_report(report, change),
            Self::Alert(alert) => of_alert(alert, change),
            Self::Alerts(group) => of_group(group, change),
            Self::Note(Note::Forge(event)) => of_forge(event, change),
            Self::Event(event) => of_event(event, change),
            Self::Object(object) => object.change(|fields| changes_object(fields, change)),
            Self::Text(text) => change("", text),
            Self::Several(items) => {
                for item in items {
                    item.decoded.payload.each_text(change);
                }
            }
            Self::Note(Note::Said(remark)) => of_remark(remark, change),
            Self::Note(Note::Test(test)) => {
                let Test { sender: _, source, text, url } = &mut **test;
                [source, text, url].into_iter().flatten().for_each(|text| change("", text));
            }
            Self::Note(Note::NatsAnswer) | Self::Binary(_) => {}
        }
    }
}

fn of_report(report: &mut Report, change: Change<'_>) {
    change("", &mut report.host);
    report.completed.iter_mut().chain(&mut report.in_progress).for_each(|text| change("", text));
    of_object(&mut report.extra, change);
}

fn of_alert(alert: &mut Alert, change: Change<'_>) {
    match &mut alert.summary {
        Summary::Workflow(workflow) => {
            let Workflow { name, started_by, .. } = &mut **workflow;
            std::iter::once(name).chain(started_by).for_each(|text| change("", text));
        }
        summary => summary.text_mut().into_iter().for_each(|text| change("", text)),
    }
    let texts = [
        &mut alert.source,
        &mut alert.description,
        &mut alert.time,
        &mut alert.ended,
        &mut alert.url,
        &mut alert.fingerprint,
        &mut alert.group,
        &mut alert.sender,
    ];
    if let Severity::Other(word) = &mut alert.severity {
        change("", word);
    }
    texts.into_iter().flatten().for_each(|text| change("", text));
    of_labels(&mut alert.labels, change);
    of_object(&mut alert.extra, change);
}

fn of_group(group: &mut Group, change: Change<'_>) {
    change("", &mut group.title);
    group.url.iter_mut().for_each(|text| change("", text));
    of_labels(&mut group.labels, change);
    group.alerts.iter_mut().for_each(|alert| of_alert(alert, change));
}

fn of_event(event: &mut Event, change: Change<'_>) {
    let texts = [&mut event.kind, &mut event.source];
    let more = event.subject.iter_mut().chain(&mut event.time);
    texts.into_iter().chain(more).for_each(|text| change("", text));
    event.data.iter_mut().for_each(|data| data.each_text(change));
}

fn of_object(object: &mut Map<String, Value>, change: Change<'_>) {
    object.iter_mut().for_each(|(name, value)| of_value(name, value, change));
    let names: Vec<_> = object.keys().map(|name| changed(name, change)).collect();
    if names.iter().all(Option::is_none) {
        return;
    }
    for ((name, value), by) in std::mem::take(object).into_iter().zip(names) {
        let name = by.unwrap_or(name);
        let name = free(name, |name| object.contains_key(name));
        object.insert(name, value);
    }
}

/// Passes the values of labels to `change`, and their names as texts.
fn of_labels(labels: &mut BTreeMap<String, String>, change: Change<'_>) {
    for (name, value) in labels.iter_mut() {
        change(name, value);
    }
    let names: Vec<_> =
        labels.keys().filter_map(|name| Some((name.clone(), changed(name, change)?))).collect();
    for (name, by) in names {
        if let Some(value) = labels.remove(&name) {
            let name = free(by, |name| labels.contains_key(name));
            labels.insert(name, value);
        }
    }
}

/// Returns a changed name.
fn changed(name: &str, change: Change<'_>) -> Option<String> {
    let mut text = name.to_owned();
    change("", &mut text);
    (text != name).then_some(text)
}

/// Returns a name that is not taken: no value may be lost because two names look the same.
fn free(name: String, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&name) {
        return name;
    }
    let names = (2..).map(|number| format!("{name} ({number})"));
    names.into_iter().find(|name| !is_taken(name)).unwrap_or(name)
}

/// Does the same as [`of_object`], and returns whether a text was changed.
fn changes_object(object: &mut Map<String, Value>, change: Change<'_>) -> bool {
    let mut is_changed = false;
    of_object(object, &mut |name, text| {
        let before = text.clone();
        change(name, text);
        is_changed |= *text != before;
    });
    is_changed
}

fn of_value(name: &str, value: &mut Value, change: Change<'_>) {
    match value {
        Value::String(text) => change(name, text),
        Value::Array(items) => items.iter_mut().for_each(|item| of_value(name, item, change)),
        Value::Object(object) => of_object(object, change),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn of_remark(remark: &mut Remark, change: Change<'_>) {
    let Remark { headline, source, time, lines, rows, url, is_urgent: _ } = remark;
    let texts = std::iter::once(headline).chain(lines);
    texts.chain([source, time, url].into_iter().flatten()).for_each(|text| change("", text));
    of_labels(rows, change);
}

fn of_forge(event: &mut ForgeEvent, change: Change<'_>) {
    let texts = [&mut event.repository, &mut event.actor, &mut event.url];
    texts.into_iter().flatten().for_each(|text| change("", text));
    match &mut event.kind {
        ForgeEventKind::Pushed { reference, push } => {
            change("", &mut reference.name);
            of_push(push, change);
        }
        ForgeEventKind::Did { deed, name, title, comment, .. } => {
            of_deed(deed, change);
            let texts = std::iter::once(name).chain(title).chain(comment);
            texts.for_each(|text| change("", text));
        }
        ForgeEventKind::Repository { deed } => of_deed(deed, change),
        ForgeEventKind::Forked { original } => change("", original),
        ForgeEventKind::Run { workflow, reference, title, outcome } => {
            let texts = [workflow, reference].into_iter().chain(title);
            texts.for_each(|text| change("", text));
            of_outcome(outcome, change);
        }
        ForgeEventKind::Job { job, branch, outcome } => {
            change("", job);
            change("", branch);
            of_outcome(outcome, change);
        }
    }
}

fn of_push(push: &mut Push, change: Change<'_>) {
    match push {
        Push::Commits { told, .. } => {
            for commit in told {
                let more = commit.author.iter_mut().chain(&mut commit.url);
                std::iter::once(&mut commit.subject).chain(more).for_each(|text| change("", text));
            }
        }
        Push::Bare(deed) => of_deed(deed, change),
    }
}

fn of_deed(deed: &mut Deed, change: Change<'_>) {
    if let Deed::ToComment(word) | Deed::Other(word) = deed {
        change("", word);
    }
}

fn of_outcome(outcome: &mut Outcome, change: Change<'_>) {
    if let Outcome::Other(word) = outcome {
        change("", word);
    }
}
