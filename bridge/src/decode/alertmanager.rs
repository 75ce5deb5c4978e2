//! Decodes the webhook of Prometheus' Alertmanager, and that of Grafana, which has the same fields and some more:
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>,
//! <https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/>.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{
    decode::{
        lenient::{filled, known, labels, text},
        members::Members,
        number, place,
    },
    json,
    message::{
        Alert, Counts, Decoded, Gist, Group, Note, Payload, Severity, Status, Summary, Test,
    },
};

type Labels = BTreeMap<String, String>;

pub(crate) fn is(object: &Map<String, Value>) -> bool {
    let group = ["groupKey", "groupLabels", "commonLabels"];
    let Some(alerts) = object.get("alerts").and_then(Value::as_array) else { return false };
    group.iter().any(|key| object.contains_key(*key)) || alerts.first().is_some_and(is_alert)
}

/// Whether a value is an alert in a list, as Alertmanager's API gives them, or in a message without a group.
pub(crate) fn is_alert(value: &Value) -> bool {
    let Some(alert) = value.as_object() else { return false };
    alert.get("labels").is_some_and(Value::is_object)
        && ["startsAt", "generatorURL", "annotations", "endsAt"]
            .iter()
            .any(|key| alert.contains_key(*key))
}

/// Decodes one alert as an alert, and several as a group. `object` is the part of the JSON in `written` that was kept.
/// The alerts are read from there one by one, because there can be thousands of them and the worst may come last.
pub(crate) fn decode(written: &str, object: &Map<String, Value>) -> serde_json::Result<Decoded> {
    let webhook = Webhook::deserialize(object)?;
    let mut members = Members::default();
    let status = webhook.status.as_deref().map_or(Status::Firing, status);
    let mut tests = Tests::default();
    json::each(written, "alerts", |entry: Entry| {
        tests.look_at(&entry);
        members.add(entry.alert(status));
    })?;
    if let Some(test) = tests.test() {
        return Ok(test);
    }
    group(webhook.group(), members)
}

/// Decodes the list of alerts that Alertmanager's API gives.
pub(crate) fn decode_list(written: &str) -> serde_json::Result<Decoded> {
    let mut members = Members::default();
    json::elements(written, |entry: Entry| members.add(entry.alert(Status::Firing)))?;
    group(Group::default(), members)
}

/// Makes an alert of a single member, and a group of several.
fn group(group: Group, members: Members) -> serde_json::Result<Decoded> {
    let is_any_cut = members.is_cut;
    let (alerts, left_out) = members.finish();
    if alerts.is_empty() {
        return Err(serde::de::Error::custom("it holds no alerts"));
    }
    let is_cut = is_any_cut || left_out.total() > 0;
    let payload = match <[Alert; 1]>::try_from(alerts) {
        Ok([mut alert]) if group.truncated == 0 && left_out.total() == 0 => {
            alert.sender.clone_from(&group.url);
            alert.url = alert.url.or(group.url);
            alert.group = group.fingerprint;
            Payload::Alert(alert)
        }
        Ok(one) => Payload::Alerts(Group { alerts: one.into(), left_out, ..group }),
        Err(alerts) => Payload::Alerts(Group { alerts, left_out, ..group }),
    };
    Ok(Decoded { is_cut, ..Decoded::sound(payload) })
}

fn status(word: &str) -> Status {
    if word.eq_ignore_ascii_case("resolved") { Status::Resolved } else { Status::Firing }
}

/// Looks whether all alerts of a message are the one by which Grafana tests a contact point. Grafana never ends it.
#[derive(Default)]
struct Tests {
    text: Option<String>,
    others: usize,
}

impl Tests {
    fn look_at(&mut self, entry: &Entry) {
        let is = |name: &str, value: &str| entry.labels.get(name).is_some_and(|it| it == value);
        if is("alertname", "TestAlert") && is("instance", "Grafana") {
            self.text = Some(entry.annotations.get("summary").cloned().unwrap_or_default());
        } else {
            self.others += 1;
        }
    }

    fn test(self) -> Option<Decoded> {
        let summary = self.text.filter(|_| self.others == 0)?;
        let sender = "Grafana".to_owned();
        let test = Test { sender, source: None, text: filled(Some(summary)), url: None };
        Some(Decoded::sound(Payload::Note(Note::Test(Box::new(test)))))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    // A text since version 4, and a number before.
    #[serde(default, deserialize_with = "text")]
    group_key: Option<String>,
    #[serde(default, deserialize_with = "text")]
    receiver: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "labels")]
    group_labels: Labels,
    #[serde(default, deserialize_with = "labels")]
    common_labels: Labels,
    #[serde(default, deserialize_with = "text", rename = "externalURL")]
    external_url: Option<String>,
    #[serde(default, deserialize_with = "text")]
    truncated_alerts: Option<String>,
}

impl Webhook {
    /// Returns the group without its members.
    fn group(self) -> Group {
        Group {
            title: self.title(),
            labels: own(self.common_labels),
            fingerprint: filled(self.group_key),
            url: filled(self.external_url),
            truncated: self.truncated_alerts.and_then(|count| count.parse().ok()).unwrap_or(0),
            alerts: Vec::new(),
            left_out: Counts::default(),
        }
    }

    /// Returns the name that all alerts share, or else the values that they are grouped by, or else the receiver.
    fn title(&self) -> String {
        if let Some(name) = self.common_labels.get("alertname") {
            return name.clone();
        }
        let grouped: Vec<String> =
            self.group_labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        filled(Some(grouped.join(", ")))
            .or_else(|| filled(self.receiver.clone()))
            .unwrap_or_default()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    status: EntryStatus,
    #[serde(default, deserialize_with = "labels")]
    labels: Labels,
    #[serde(default, deserialize_with = "labels")]
    annotations: Labels,
    #[serde(default, deserialize_with = "text")]
    starts_at: Option<String>,
    #[serde(default, deserialize_with = "text")]
    ends_at: Option<String>,
    #[serde(default, deserialize_with = "text", rename = "generatorURL")]
    generator_url: Option<String>,
    #[serde(default, deserialize_with = "text")]
    fingerprint: Option<String>,
    // Only Grafana sends this field.
    #[serde(default, deserialize_with = "text", rename = "panelURL")]
    panel_url: Option<String>,
    #[serde(default, deserialize_with = "text", rename = "dashboardURL")]
    dashboard_url: Option<String>,
    #[serde(default, deserialize_with = "text", rename = "silenceURL")]
    silence_url: Option<String>,
    #[serde(default, deserialize_with = "json::map_if_any")]
    values: Map<String, Value>,
    #[serde(default, deserialize_with = "text")]
    value_string: Option<String>,
}

/// The status of an alert: a word in a webhook, and an object in the API.
#[derive(Default)]
struct EntryStatus {
    word: Option<String>,
    /// Whether the alert is silenced or inhibited.
    is_suppressed: bool,
}

impl<'de> Deserialize<'de> for EntryStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = json::value(deserializer)?;
        let word = |value: &Value| value.as_str().map(str::to_owned);
        Ok(match &entries {
            Value::Object(status) => {
                let state = status.get("state").and_then(Value::as_str);
                Self { word: None, is_suppressed: state == Some("suppressed") }
            }
            other => Self { word: word(other), is_suppressed: false },
        })
    }
}

impl Entry {
    fn alert(self, status_of_all: Status) -> Alert {
        let labels = own(self.labels);
        let mut annotations = own(self.annotations);
        let severity = labels.get("severity").cloned().unwrap_or_else(|| "warning".to_owned());
        let summary = summary(&labels, &mut annotations);
        let mut alert = Alert::new(Severity::from(severity), summary);
        alert.status = self.status.word.as_deref().map_or(status_of_all, status);
        if self.status.is_suppressed {
            alert.severity = Severity::Info;
        }
        alert.source = place::of(&labels);
        alert.description = filled(annotations.remove("description"))
            .filter(|description| description != alert.summary.in_no_language());
        alert.time = known(self.starts_at);
        alert.is_beginning_known = alert.time.is_some();
        // While an alert fires, this field only has the time at which it would be assumed to be over.
        alert.ended = known(self.ends_at).filter(|_| alert.status == Status::Resolved);
        alert.url =
            [self.panel_url, self.dashboard_url, self.generator_url].into_iter().find_map(filled);
        alert.fingerprint = filled(self.fingerprint);
        alert.labels = labels;
        let values = measured(&self.values).or_else(|| measured_text(&self.value_string?));
        alert.extra = rest(annotations, values, filled(self.silence_url));
        alert
    }
}

/// Returns the summary of an alert. Grafana gives an alert of its own to a rule that has no data or whose query fails,
/// with the annotations of the rule, which say that something else is wrong.
fn summary(labels: &Labels, annotations: &mut Labels) -> Summary {
    let said =
        ["summary", "title", "message"].iter().find_map(|name| filled(annotations.remove(*name)));
    let name = filled(labels.get("alertname").cloned());
    let rule = || {
        let rule = filled(labels.get("rulename").cloned()).or_else(|| said.clone());
        rule.or_else(|| name.clone()).unwrap_or_default()
    };
    match name.as_deref() {
        Some("DatasourceNoData") => Summary::NoData(rule()),
        Some("DatasourceError") => Summary::QueryFailed(rule()),
        _ => said
            .or(name)
            .or_else(|| filled(annotations.remove("description")))
            .map_or(Summary::Unsaid, Summary::Said),
    }
}

/// Returns the measured values in one line.
fn measured(values: &Map<String, Value>) -> Option<String> {
    let values: Vec<String> = values
        .iter()
        .filter_map(|(name, value)| match value {
            Value::Number(number) => Some(format!("{name}={}", number::text(number.as_f64()?))),
            Value::String(text) => Some(format!("{name}={text}")),
            Value::Bool(flag) => Some(format!("{name}={flag}")),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        })
        .collect();
    filled(Some(values.join(", ")))
}

/// Returns the measured values of a text like `[ var='B0' metric='Value' labels={server=a} value=503 ], …`, which older
/// versions of Grafana send instead of `values`.
fn measured_text(written: &str) -> Option<String> {
    let one = |part: &str| {
        let (before, value) = part.rsplit_once("value=")?;
        let value = value.trim().trim_end_matches(']').trim();
        let value = value.parse().map_or_else(|_| value.to_owned(), number::text);
        let between = |from: &str, to: char| {
            let (_, rest) = before.split_once(from)?;
            filled(rest.split_once(to).map(|(inner, _)| inner.to_owned()))
        };
        let name = between("var='", '\'').or_else(|| between("metric='", '\''));
        let labels = between("labels={", '}').map(|labels| format!(" ({labels})"));
        let (name, labels) = (name.unwrap_or_default(), labels.unwrap_or_default());
        Some(format!("{name}={value}{labels}"))
    };
    let values: Vec<String> = written.split("], [").filter_map(one).collect();
    filled(Some(values.join(", ")))
}

/// Returns what else may help a person: the annotations, the measured values, and the link to silence the alert.
fn rest(
    annotations: Labels,
    values: Option<String>,
    silence: Option<String>,
) -> Map<String, Value> {
    let values = values.map(|values| ("values".to_owned(), values));
    let silence = silence.map(|silence| ("silence".to_owned(), silence));
    annotations
        .into_iter()
        .filter(|(_, value)| !Gist::says_nothing(value))
        .chain(values)
        .chain(silence)
        .map(|(name, value)| (name, Value::String(value)))
        .collect()
}

/// Removes the labels that Prometheus and Grafana use internally, which begin with two underscores.
fn own(labels: Labels) -> Labels {
    labels.into_iter().filter(|(name, _)| !name.starts_with("__")).collect()
}
