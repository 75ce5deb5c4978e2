//! Decodes the webhook of Prometheus' Alertmanager, and that of Grafana, which has the same fields and some more:
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>,
//! <https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/>.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    decode::{
        lenient::{filled, known, or_default},
        place,
    },
    json,
    message::{
        Alert, Counts, Decoded, Group, Payload, Severity, State, Status, Summary, alert, rfc3339,
    },
};

type Labels = BTreeMap<String, String>;

pub(crate) fn is(object: &Map<String, Value>) -> bool {
    object.get("alerts").is_some_and(Value::is_array)
        && ["groupKey", "groupLabels", "commonLabels"].iter().any(|key| object.contains_key(*key))
}

/// Decodes one alert as an alert, and several as a group. `object` is the part of the JSON in `text` that was kept. The
/// alerts are read from `text` one by one, because there can be thousands of them and the worst may come last.
pub(crate) fn decode(text: &str, object: &Map<String, Value>) -> serde_json::Result<Decoded> {
    let webhook = Webhook::deserialize(object)?;
    let mut members = Members::default();
    let status = webhook.status.unwrap_or_default();
    json::each(text, "alerts", |entry: Entry| members.add(entry.alert(status)))?;
    let is_any_cut = members.is_cut;
    let (alerts, left_out) = members.finish();
    if alerts.is_empty() {
        return Err(serde::de::Error::custom("it holds no alerts"));
    }
    let is_cut = is_any_cut || left_out.total() > 0;
    let group = webhook.group();
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    group_key: Option<String>,
    receiver: Option<String>,
    #[serde(default)]
    status: Option<Status>,
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
    /// Returns the group without its members.
    fn group(self) -> Group {
        Group {
            title: self.title(),
            labels: own(self.common_labels),
            fingerprint: filled(self.group_key),
            url: filled(self.external_url),
            truncated: self.truncated_alerts,
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

/// The members of a group: the worst and newest of them, and the counts of the others.
#[derive(Default)]
struct Members {
    /// The members that are kept, each with its position among all.
    kept: Vec<(usize, Alert)>,
    /// The approximate memory that the kept members take, in bytes.
    weight: usize,
    count: usize,
    left_out: Counts,
    /// Whether a part of a member was left out.
    is_cut: bool,
}

impl Members {
    /// The number of members that are kept if they are small. While the alerts are read, there may be twice as many.
    const MOST: usize = 256;
    /// The memory that the kept members may take, in bytes. While the alerts are read, they may take twice as much.
    const MOST_WEIGHT: usize = 1024 * 1024;

    fn add(&mut self, mut alert: Alert) {
        self.is_cut |= alert.shorten();
        self.weight += alert.weight();
        self.kept.push((self.count, alert));
        self.count += 1;
        if self.kept.len() >= 2 * Self::MOST || self.weight >= 2 * Self::MOST_WEIGHT {
            self.leave_out();
        }
    }

    /// Drops the least severe members, and among equally severe ones the oldest, until the others are within both
    /// limits.
    fn leave_out(&mut self) {
        let time = |alert: &Alert| alert.time.as_deref().and_then(rfc3339::seconds);
        self.kept.sort_by_cached_key(|(_, alert)| (State::of(alert), Reverse(time(alert))));
        let mut weight = 0;
        let fits = |(_, alert): &&(usize, Alert)| {
            weight += alert.weight();
            weight <= Self::MOST_WEIGHT
        };
        let most = self.kept.iter().take(Self::MOST).take_while(fits).count().max(1);
        self.kept.drain(most..).for_each(|(_, alert)| self.left_out.add(&alert));
        self.weight = self.kept.iter().map(|(_, alert)| alert.weight()).sum();
    }

    /// Returns the kept members in the order in which they were sent, and the counts of the others.
    fn finish(mut self) -> (Vec<Alert>, Counts) {
        if self.kept.len() > Self::MOST || self.weight > Self::MOST_WEIGHT {
            self.leave_out();
        }
        self.kept.sort_by_key(|(place, _)| *place);
        (self.kept.into_iter().map(|(_, alert)| alert).collect(), self.left_out)
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
    // Only Grafana sends this field.
    #[serde(rename = "panelURL")]
    panel_url: Option<String>,
    #[serde(rename = "dashboardURL")]
    dashboard_url: Option<String>,
    #[serde(rename = "silenceURL")]
    silence_url: Option<String>,
    #[serde(default, deserialize_with = "json::map")]
    values: Map<String, Value>,
}

impl Entry {
    fn alert(self, status_of_all: Status) -> Alert {
        let labels = own(self.labels);
        let mut annotations = own(self.annotations);
        let severity = labels.get("severity").cloned().unwrap_or_else(|| "warning".to_owned());
        let summary = ["summary", "title", "message"]
            .iter()
            .find_map(|name| filled(annotations.remove(*name)))
            .or_else(|| filled(labels.get("alertname").cloned()))
            .or_else(|| filled(annotations.remove("description")))
            .map_or(Summary::Unsaid, Summary::Said);
        let mut alert = Alert::new(Severity::from(severity), summary);
        alert.status = self.status.unwrap_or(status_of_all);
        alert.source = place::of(&labels);
        alert.description = filled(annotations.remove("description"))
            .filter(|description| description != alert.summary.in_no_language());
        alert.time = known(self.starts_at);
        // While an alert fires, this field only has the time at which it would be assumed to be over.
        alert.ended = known(self.ends_at).filter(|_| alert.status == Status::Resolved);
        alert.url =
            [self.panel_url, self.dashboard_url, self.generator_url].into_iter().find_map(filled);
        alert.fingerprint = filled(self.fingerprint);
        alert.labels = labels;
        alert.extra = rest(annotations, &self.values, filled(self.silence_url));
        alert
    }
}

/// Returns what else may help a person: the annotations, the measured values, and the link to silence the alert.
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

/// Removes the labels that Prometheus and Grafana use internally, which begin with two underscores.
fn own(labels: Labels) -> Labels {
    labels.into_iter().filter(|(name, _)| !name.starts_with("__")).collect()
}
