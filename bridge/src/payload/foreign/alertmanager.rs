//! The webhook of Prometheus' Alertmanager, and that of Grafana, which has its fields and more:
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>,
//! <https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/>.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{filled, known, or_default};
use crate::{
    payload::{
        Payload,
        alert::{self, Alert, Group, Severity, Status},
    },
    words::Words,
};

type Labels = BTreeMap<String, String>;

/// The labels that name what an alert is about, the most telling first.
const SOURCES: [&str; 4] = ["instance", "host", "hostname", "node"];

pub(in crate::payload) fn is(object: &Map<String, Value>) -> bool {
    object.get("alerts").is_some_and(Value::is_array)
        && ["groupKey", "groupLabels", "commonLabels"].iter().any(|key| object.contains_key(*key))
}

/// One alert as such, several as a group.
pub(in crate::payload) fn decode(
    object: &Map<String, Value>,
    words: &dyn Words,
) -> serde_json::Result<Payload> {
    let webhook = Webhook::deserialize(object)?;
    if webhook.alerts.is_empty() {
        return Err(serde::de::Error::custom("it holds no alerts"));
    }
    let group = webhook.group(words);
    Ok(match <[Alert; 1]>::try_from(group.alerts) {
        Ok([mut alert]) if group.truncated == 0 => {
            alert.url = alert.url.or(group.url);
            alert.group = group.fingerprint;
            Payload::Alert(alert)
        }
        Ok(one) => Payload::Alerts(Group { alerts: one.into(), ..group }),
        Err(alerts) => Payload::Alerts(Group { alerts, ..group }),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    group_key: Option<String>,
    receiver: Option<String>,
    #[serde(default)]
    status: Option<Status>,
    alerts: Vec<Entry>,
    #[serde(default, deserialize_with = "alert::labels")]
    group_labels: Labels,
    #[serde(default, deserialize_with = "alert::labels")]
    common_labels: Labels,
    #[serde(rename = "externalURL")]
    external_url: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    truncated_alerts: u64,
}

impl Webhook {
    fn group(self, words: &dyn Words) -> Group {
        let title = self.title();
        let status = self.status.unwrap_or_default();
        Group {
            title,
            labels: own(self.common_labels),
            fingerprint: filled(self.group_key),
            url: filled(self.external_url),
            truncated: self.truncated_alerts,
            alerts: self.alerts.into_iter().map(|entry| entry.alert(status, words)).collect(),
        }
    }

    /// The name that all of them have, else what they are grouped by, else whom they are for.
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
    status: Option<Status>,
    #[serde(default, deserialize_with = "alert::labels")]
    labels: Labels,
    #[serde(default, deserialize_with = "alert::labels")]
    annotations: Labels,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL")]
    generator_url: Option<String>,
    fingerprint: Option<String>,
    // Grafana's own.
    #[serde(rename = "panelURL")]
    panel_url: Option<String>,
    #[serde(rename = "dashboardURL")]
    dashboard_url: Option<String>,
    #[serde(rename = "silenceURL")]
    silence_url: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    values: Map<String, Value>,
}

impl Entry {
    fn alert(self, status_of_all: Status, words: &dyn Words) -> Alert {
        let labels = own(self.labels);
        let mut annotations = own(self.annotations);
        let severity = labels.get("severity").cloned().unwrap_or_else(|| "warning".to_owned());
        let summary = ["summary", "title", "message"]
            .iter()
            .find_map(|name| filled(annotations.remove(*name)))
            .or_else(|| filled(labels.get("alertname").cloned()))
            .or_else(|| filled(annotations.remove("description")))
            .unwrap_or_else(|| words.unnamed_alert().to_owned());
        let mut alert = Alert::new(Severity::from(severity), summary);
        alert.status = self.status.unwrap_or(status_of_all);
        alert.source = SOURCES.iter().find_map(|name| filled(labels.get(*name).cloned()));
        alert.description = filled(annotations.remove("description"))
            .filter(|description| *description != alert.summary);
        alert.time = known(self.starts_at);
        // Of an alert that fires it is only when it will be taken for over.
        alert.ended = known(self.ends_at).filter(|_| alert.status == Status::Resolved);
        alert.url =
            [self.panel_url, self.dashboard_url, self.generator_url].into_iter().find_map(filled);
        alert.fingerprint = filled(self.fingerprint);
        alert.labels = labels;
        alert.extra = rest(annotations, &self.values, filled(self.silence_url));
        alert
    }
}

/// What a person may want besides: the annotations, what was measured, and how to silence it.
fn rest(
    annotations: Labels,
    values: &Map<String, Value>,
    silence: Option<String>,
) -> Map<String, Value> {
    let values: Vec<String> = values
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let values = filled(Some(values.join(", "))).map(|values| ("values".to_owned(), values));
    let silence = silence.map(|silence| ("silence".to_owned(), silence));
    annotations
        .into_iter()
        .filter(|(_, value)| !value.trim().is_empty())
        .chain(values)
        .chain(silence)
        .map(|(name, value)| (name, Value::String(value)))
        .collect()
}

/// Without what Prometheus and Grafana keep for themselves, which begins with two underscores.
fn own(labels: Labels) -> Labels {
    labels.into_iter().filter(|(name, _)| !name.starts_with("__")).collect()
}
