//! Shows alerts: a single one, or the several of a group.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeMap};

use minijinja::{Value, context, value::Serde};

use crate::{
    message::{Alert, Counts, Gist, Group, Severity, State, Summary, rfc3339},
    render::{rows::rows, voice::Voice, words::Words},
    text::{self, address::MAX_LINK_BYTES, shown},
};

/// The number of alerts of a group that are shown. The others are counted, and the message is attached with all of
/// them.
pub(super) const MOST_ALERTS: usize = 10;

/// The number of characters that the alerts of a group may take together.
const MEMBERS_CHARS: usize = 3_000;

/// The number of characters that are shown of a description in a group.
const DESCRIPTION_CHARS: usize = 200;

type Labels = BTreeMap<String, String>;

/// Returns the summary of an alert in one line.
pub(crate) fn worded<'a>(summary: &'a Summary, words: &dyn Words) -> Cow<'a, str> {
    match summary {
        Summary::Said(text) => Cow::Borrowed(text),
        Summary::Unsaid => Cow::Owned(words.unnamed_alert().to_owned()),
        Summary::NoData(rule) => Cow::Owned(words.no_data(rule)),
        Summary::QueryFailed(rule) => Cow::Owned(words.query_failed(rule)),
        Summary::Monitor(monitor, state) => Cow::Owned(match &monitor.name {
            Some(name) => words.monitored(name, *state),
            None => words.monitored(&words.monitor(monitor.id), *state),
        }),
        Summary::Workflow(workflow) if workflow.succeeds => {
            Cow::Owned(words.workflow_recovered(&workflow.name))
        }
        Summary::Workflow(workflow) => Cow::Owned(words.workflow_failed(&workflow.name)),
    }
}

/// Returns the description of an alert, and who started the run of a workflow.
fn description<'a>(alert: &'a Alert, words: &dyn Words) -> Option<Cow<'a, str>> {
    let said = alert.description.as_deref();
    let started_by = match &alert.summary {
        Summary::Workflow(workflow) => workflow.started_by.as_deref(),
        _ => None,
    };
    let Some(who) = started_by else { return said.map(Cow::Borrowed) };
    let by = words.triggered_by(who);
    Some(Cow::Owned(said.map_or_else(|| by.clone(), |said| format!("{said} {by}"))))
}

/// Builds the values for a template. `tags` and `when` are made for people; `labels`, `time` and `ended` are as sent.
pub(super) fn view(alert: &Alert, voice: &Voice) -> Value {
    let words = voice.words;
    let (mark, word) = mark_and_word(alert, words);
    let summary = worded(&alert.summary, words);
    context! {
        mark,
        word,
        severity => shown::line(&String::from(alert.severity.clone())),
        status => Value::from(Serde(alert.status)),
        summary => shown::line(&summary),
        source => alert.source.as_deref().map(shown::name),
        description => description(alert, words).map(|text| shown::clean(text.trim_end())),
        labels => alert.labels.clone(),
        tags => tags(alert, &summary, &Labels::new()),
        time => alert.time.clone(),
        ended => alert.ended.clone(),
        when => voice.span(alert.time.as_deref(), alert.ended.as_deref()),
        rows => rows(&alert.extra),
        url => linked_url(alert),
        short_url => short_url(alert),
        fingerprint => alert.fingerprint.clone(),
    }
}

/// Returns the alerts of a group: the worst ones first, and among equally bad ones the newest.
fn sorted(group: &Group) -> Vec<&Alert> {
    let mut alerts: Vec<&Alert> = group.alerts.iter().collect();
    alerts.sort_by_key(|alert| {
        (State::of(alert), Reverse(alert.time.as_deref().and_then(rfc3339::parse)))
    });
    alerts
}

/// Returns the alerts of a group that are shown: as many as there is room for, so that neither the number of the others
/// nor the link is cut off.
pub(super) fn members(group: &Group) -> Vec<&Alert> {
    let common = common(group);
    let mut left = MEMBERS_CHARS;
    let fits = |alert: &&Alert| {
        let length = length(alert, &common);
        let fits = length <= left;
        left = left.saturating_sub(length);
        fits
    };
    let alerts = sorted(group);
    let count = alerts.iter().copied().take(MOST_ALERTS).take_while(fits).count().max(1);
    alerts.into_iter().take(count).collect()
}

/// The approximate number of characters that an alert takes in a group.
fn length(alert: &Alert, common: &Labels) -> usize {
    /// The characters of the marks, the time and the state.
    const FRAME: usize = 80;
    let chars = |text: Option<&str>| text.map_or(0, |text| text.chars().count());
    let labels = alert.labels.iter().filter(|(name, value)| common.get(*name) != Some(value));
    let labels = labels.map(|(name, value)| name.chars().count() + value.chars().count() + 3);
    FRAME
        + chars(Some(alert.summary.in_no_language()))
        + chars(alert.description.as_deref()).min(DESCRIPTION_CHARS)
        + chars(alert.source.as_deref())
        + chars(measured(alert))
        + labels.sum::<usize>()
}

/// Returns the labels that all alerts of a group share, even if its sender does not list them.
fn common(group: &Group) -> Labels {
    let mut labels = group.labels.clone();
    if let [first, rest @ ..] = &group.alerts[..]
        && !rest.is_empty()
        && group.left_out.total() == 0
    {
        let is_shared = |(name, value): &(&String, &String)| {
            rest.iter().all(|alert| alert.labels.get(*name) == Some(*value))
        };
        let is_name = |value: &String| value == first.summary.in_no_language();
        let shared = first.labels.iter().filter(is_shared).filter(|(_, value)| !is_name(value));
        labels.extend(shared.map(|(name, value)| (name.clone(), value.clone())));
    }
    labels
}

/// Returns the link of an alert, if it is not too long to be one; else a shorter one.
fn linked_url(alert: &Alert) -> Option<String> {
    let url = alert.url.as_deref()?;
    if url.len() > MAX_LINK_BYTES { short_url(alert) } else { Some(shown::line(url)) }
}

/// Returns the link of an alert for plain text, where a link of kilobytes would hide everything else: then it leads to
/// the page without its query, or to the sender.
fn short_url(alert: &Alert) -> Option<String> {
    /// The longest link in plain text, in characters.
    const MOST: usize = 400;
    let is_short = |url: &&str| url.chars().count() <= MOST;
    let url = alert.url.as_deref()?;
    let page = url.split(['?', '#']).next();
    let short = [Some(url), page, alert.sender.as_deref()].into_iter().flatten().find(is_short);
    short.map(shown::line)
}

/// Builds the values of a group.
pub(super) fn group_view(group: &Group, voice: &Voice) -> Value {
    let alerts = sorted(group);
    let labels = common(group);
    let members = members(group);
    let shown: Vec<Value> =
        members.iter().map(|alert| member_view(alert, &labels, voice)).collect();
    let titles: Vec<&str> = group.title.split(", ").collect();
    let common: Labels = labels
        .iter()
        .filter(|(name, value)| *name != "severity" && **value != group.title)
        .filter(|(_, value)| !Gist::is_for_machines(value))
        .filter(|(name, value)| !titles.contains(&format!("{name}={value}").as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let words = voice.words;
    let sent = (alerts.len() as u64).saturating_add(group.left_out.total());
    let count = sent.saturating_add(group.truncated);
    let title = shown::line(&group.title);
    let hidden = sent.saturating_sub(members.len() as u64);
    let truncated = group.truncated;
    let rest = [
        (hidden > 0).then(|| words.more(usize::try_from(hidden).unwrap_or(usize::MAX))),
        (truncated > 0).then(|| words.more_not_sent(truncated)),
    ];
    context! {
        mark => alerts.first().map(|alert| mark_and_word(alert, words).0),
        heading => words.alerts(count, &title),
        tally => tally(&alerts, group.left_out, truncated, words),
        count,
        title,
        labels => labels.clone(),
        tags => pairs(&common),
        rest => rest.into_iter().flatten().collect::<Vec<_>>(),
        hidden,
        truncated,
        url => group.url.as_deref().map(shown::line),
        alerts => shown,
    }
}

/// Builds the values of an alert in a group: a short form without the labels that all alerts of the group share.
fn member_view(alert: &Alert, common: &Labels, voice: &Voice) -> Value {
    let words = voice.words;
    let description = description(alert, words).map(|text| shown::line(&text));
    let description = description.map(|line| text::shortened(line, DESCRIPTION_CHARS));
    let details = [
        alert.source.as_deref().map(|source| format!("📍 {}", shown::name(source))),
        Some(member_tags(alert, &worded(&alert.summary, words), common))
            .filter(|it| !it.is_empty())
            .map(|it| format!("🏷️ {it}")),
        measured(alert).map(|values| format!("📈 {}", shown::line(values))),
        voice.span(alert.time.as_deref(), alert.ended.as_deref()).map(|it| format!("🕒 {it}")),
    ];
    let details: Vec<String> = details.into_iter().flatten().collect();
    context! {
        description,
        details => details.join(" · "),
        ..view(alert, voice)
    }
}

/// Returns the values that Grafana measured. Of everything else in an alert, they best distinguish the alerts of a
/// group.
fn measured(alert: &Alert) -> Option<&str> {
    alert.extra.get("values").and_then(serde_json::Value::as_str)
}

fn mark_and_word(alert: &Alert, words: &dyn Words) -> (&'static str, String) {
    let state = State::of(alert);
    let word = match &alert.severity {
        Severity::Other(word) if state != State::Resolved => shown::line(&word.to_uppercase()),
        _ => words.state(state).to_owned(),
    };
    (state.mark(), word)
}

/// Counts the alerts by state, as in "(2 critical, 1 warning, 1 resolved)". `alerts` are sorted; `others` are only
/// counted.
fn tally(alerts: &[&Alert], others: Counts, unknown: u64, words: &dyn Words) -> String {
    let mut tally: Vec<(String, u64)> = Vec::new();
    let mut add = |word: String, more: u64| match tally.iter_mut().find(|(it, _)| *it == word) {
        Some((_, count)) => *count += more,
        None => tally.push((word, more)),
    };
    for alert in alerts {
        add(mark_and_word(alert, words).1, 1);
    }
    let others = [
        (State::Critical, others.critical),
        (State::Warning, others.warning),
        (State::Info, others.info),
        (State::Resolved, others.resolved),
    ];
    others
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .for_each(|(state, count)| add(words.state(state).to_owned(), count));
    words.tally(&tally, unknown)
}

/// Returns the labels of an alert in a group, without those that only machines can read, unless nothing else tells
/// it from the others.
fn member_tags(alert: &Alert, summary: &str, common: &Labels) -> String {
    let is_readable = |(_, value): &(&String, &String)| !Gist::is_for_machines(value);
    let readable = alert.labels.iter().filter(is_readable);
    let labels = readable.map(|(name, value)| (name.clone(), value.clone())).collect();
    let short = tags(&Alert { labels, ..alert.clone() }, summary, common);
    if short.is_empty() && alert.source.is_none() { tags(alert, summary, common) } else { short }
}

/// Returns the labels that are not shown elsewhere.
fn tags(alert: &Alert, summary: &str, common: &Labels) -> String {
    let is_said = |name: &String, value: &String| {
        common.get(name) == Some(value)
            || value == summary
            || Some(value) == alert.source.as_ref()
            || is_part_of_source(alert, value)
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

/// Whether a value is the namespace or the name in a source like "shop/cart-5f".
fn is_part_of_source(alert: &Alert, value: &str) -> bool {
    let parts = alert.source.as_deref().and_then(|source| source.split_once('/'));
    parts.is_some_and(|(namespace, name)| value == namespace || value == name)
}

fn pairs(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| match value.as_str() {
            "" => shown::line(name),
            value => shown::line(&format!("{name}={value}")),
        })
        .collect();
    pairs.join(", ")
}
