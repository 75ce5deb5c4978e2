//! The JSON form of an alert, and groups of alerts.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::json;

/// The number of labels, annotations and other entries that are kept of one alert.
pub(crate) const MOST_LABELS: usize = 256;

/// An event that needs a person's attention.
///
/// Any JSON object with `severity` and `summary` is an alert; `"kind": "alert"` declares it explicitly. Absent fields
/// are not shown. Every other key is shown as a line of its own.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "nats-matrix alert")]
pub(crate) struct Alert {
    /// The constant "alert"; optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("const" = "alert"))]
    pub kind: Option<String>,
    /// The severity of the alert.
    pub severity: Severity,
    /// A description of the event, in one line.
    #[schemars(with = "String")]
    pub summary: Summary,
    /// The machine or service that the alert is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Further details, in any number of lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The status: whether the problem persists.
    #[serde(default)]
    pub status: Status,
    /// The time at which the problem began, as in RFC 3339. Text in another form is shown as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub time: Option<String>,
    /// The time at which the problem ended, in the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub ended: Option<String>,
    /// The last time at which all was well, in the same form. An alert that fires after this time is news, even if the
    /// end of the previous problem was never reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_ok: Option<String>,
    /// A link to more information: a dashboard, a runbook, the failed job. Only http and https addresses become links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "uri"))]
    pub url: Option<String>,
    /// The identity of the problem. Alerts on one subject with the same fingerprint are about the same problem, and
    /// share one thread. Without a fingerprint, `source` and `labels` identify the problem, or `source` and `summary`
    /// if there are no labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Names and values that distinguish the alert from others. Numbers and booleans are converted to text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The key of the group, if this alert is its only member in the message. Alerts of one group share one thread.
    #[serde(skip)]
    #[schemars(skip)]
    pub group: Option<String>,
    /// The address of the Alertmanager or Grafana that sent the alert alone.
    #[serde(skip)]
    #[schemars(skip)]
    pub sender: Option<String>,
    /// A hash of what identified the alert before secrets were hidden in that. Two problems can differ in nothing else.
    #[serde(skip)]
    #[schemars(skip)]
    pub as_published: Option<String>,
    /// Whether `time` is known to be the beginning of the problem, and not the time of the message.
    #[serde(skip)]
    #[schemars(skip)]
    pub is_beginning_known: bool,
    /// All other keys of the object.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The summary of an alert. If the sender gives no text, the text is made in the language of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Summary {
    /// The publisher's own text.
    Said(String),
    /// No summary at all.
    Unsaid,
    /// The state of a monitor's target.
    Monitor(Box<Monitor>, MonitorState),
    /// A workflow that fails, or succeeds again.
    Workflow(Box<Workflow>),
    /// A rule that gets no data, so that nobody knows whether all is well.
    NoData(String),
    /// A rule whose query fails.
    QueryFailed(String),
}

/// A workflow of a forge, and its last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workflow {
    pub name: String,
    pub succeeds: bool,
    /// The user who started the run.
    pub started_by: Option<String>,
}

/// A monitor, which watches a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Monitor {
    pub id: Option<i64>,
    pub name: Option<String>,
}

/// The state of a monitor's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MonitorState {
    Down,
    Up,
    /// The target did not answer, and the monitor tries again.
    Pending,
    Maintenance,
}

impl Summary {
    /// Returns the part of the summary that does not depend on the language. It distinguishes the alert from others.
    pub(crate) fn in_no_language(&self) -> &str {
        match self {
            Self::Said(text) | Self::NoData(text) | Self::QueryFailed(text) => text,
            Self::Unsaid => "",
            Self::Monitor(monitor, _) => monitor.name.as_deref().unwrap_or_default(),
            Self::Workflow(workflow) => &workflow.name,
        }
    }

    /// Returns the same part for shortening.
    pub(crate) fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Said(text) | Self::NoData(text) | Self::QueryFailed(text) => Some(text),
            Self::Unsaid => None,
            Self::Monitor(monitor, _) => monitor.name.as_mut(),
            Self::Workflow(workflow) => Some(&mut workflow.name),
        }
    }
}

impl From<String> for Summary {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

/// Published alerts always have a text as their summary.
impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.in_no_language())
    }
}

/// The severity of an alert.
///
/// The words of many publishers are understood: `crit`, `fatal`, `emergency` and `page` are critical, `warn`, `error`
/// and `high` a warning, `notice`, `ok`, `low`, `debug` and `none` informational. An alert of unknown severity is not
/// lost; it counts as a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Severity {
    /// The problem needs somebody to act now.
    Critical,
    /// The problem needs somebody to act soon.
    Warning,
    /// The event is good to know.
    Info,
    /// A word of the publisher's own.
    Other(String),
}

impl From<String> for Severity {
    fn from(word: String) -> Self {
        match word.trim().to_lowercase().as_str() {
            "critical" | "crit" | "fatal" | "emergency" | "emerg" | "page" | "disaster" => {
                Self::Critical
            }
            "warning" | "warn" | "error" | "err" | "high" | "major" | "average" => Self::Warning,
            "info" | "information" | "informational" | "notice" | "ok" | "low" | "minor"
            | "debug" | "none" => Self::Info,
            _ => Self::Other(word),
        }
    }
}

impl From<Severity> for String {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Critical => "critical".to_owned(),
            Severity::Warning => "warning".to_owned(),
            Severity::Info => "info".to_owned(),
            Severity::Other(word) => word,
        }
    }
}

impl JsonSchema for Severity {
    fn schema_name() -> Cow<'static, str> {
        "Severity".into()
    }

    // The schema lists the words that publishers should write, not all the others that are understood.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How bad it is. Other words are shown as they are and count as a warning.",
            "type": "string",
            "enum": ["critical", "warning", "info"],
        })
    }
}

/// The status of an alert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// The problem persists.
    #[default]
    Firing,
    /// The problem is over.
    Resolved,
}

impl Alert {
    /// Creates a firing alert that has only the required fields.
    pub(crate) fn new(severity: Severity, summary: Summary) -> Self {
        Self {
            kind: None,
            severity,
            summary,
            source: None,
            description: None,
            status: Status::Firing,
            time: None,
            ended: None,
            last_ok: None,
            url: None,
            fingerprint: None,
            labels: BTreeMap::new(),
            group: None,
            sender: None,
            as_published: None,
            is_beginning_known: false,
            extra: Map::new(),
        }
    }

    /// Removes the parts that are too long to be shown. Returns whether there were any.
    pub(crate) fn shorten(&mut self) -> bool {
        let texts = [
            &mut self.source,
            &mut self.description,
            &mut self.time,
            &mut self.ended,
            &mut self.url,
            &mut self.fingerprint,
            &mut self.group,
        ];
        let texts = texts.into_iter().flatten().chain(self.summary.text_mut());
        let was_long = texts.map(json::shorten).fold(false, |any, was_long| any | was_long);
        was_long || self.labels.len() >= MOST_LABELS || self.extra.len() >= MOST_LABELS
    }

    /// The approximate memory that the alert takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        /// The approximate memory of an entry of a map with its two texts, in bytes.
        const ENTRY: usize = 128;
        let texts = [
            &self.source,
            &self.description,
            &self.time,
            &self.ended,
            &self.url,
            &self.fingerprint,
            &self.group,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let labels: usize =
            self.labels.iter().map(|(name, value)| ENTRY + name.len() + value.len()).sum();
        let extra = self
            .extra
            .iter()
            .map(|(name, value)| ENTRY + name.len() + value.as_str().map_or(ENTRY, str::len));
        size_of::<Self>()
            + self.summary.in_no_language().len()
            + texts
            + labels
            + extra.sum::<usize>()
    }
}

/// The alerts of one message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Group {
    /// The common ground of the alerts, in a few words; may be empty.
    pub title: String,
    /// The labels that all alerts share. Each alert has them in its own labels, too.
    pub labels: BTreeMap<String, String>,
    /// The identity of the group.
    pub fingerprint: Option<String>,
    /// The address of the Alertmanager or Grafana that sent the group. It shows all alerts, and distinguishes the
    /// sender.
    pub url: Option<String>,
    /// The number of further alerts, which the sender left out.
    pub truncated: u64,
    /// The alerts in the order in which they were sent, without those that are only counted.
    pub alerts: Vec<Alert>,
    /// The counts of the alerts that were dropped because there are too many: the least severe and oldest ones.
    pub left_out: Counts,
}

/// The number of alerts in each state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The firing alerts that are critical.
    pub critical: u64,
    /// The firing alerts that are warnings or have an unknown severity.
    pub warning: u64,
    /// The firing alerts that are informational.
    pub info: u64,
    /// The resolved alerts.
    pub resolved: u64,
}

impl Counts {
    /// Adds an alert.
    pub(crate) fn add(&mut self, alert: &Alert) {
        *match (alert.status, &alert.severity) {
            (Status::Resolved, _) => &mut self.resolved,
            (Status::Firing, Severity::Critical) => &mut self.critical,
            (Status::Firing, Severity::Warning | Severity::Other(_)) => &mut self.warning,
            (Status::Firing, Severity::Info) => &mut self.info,
        } += 1;
    }

    /// Adds the counts of other alerts.
    pub(crate) fn add_all(&mut self, others: Self) {
        self.critical += others.critical;
        self.warning += others.warning;
        self.info += others.info;
        self.resolved += others.resolved;
    }

    /// The number of firing alerts.
    #[must_use]
    pub(crate) fn firing(self) -> u64 {
        self.critical + self.warning + self.info
    }

    /// The number of all alerts.
    #[must_use]
    pub(crate) fn total(self) -> u64 {
        self.firing() + self.resolved
    }
}

/// The state of an alert: its severity, or that it is resolved. The worst state comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Critical,
    Warning,
    Info,
    Resolved,
}

impl State {
    /// The state of an alert. A severity of the publisher's own counts as a warning.
    pub(crate) fn of(alert: &Alert) -> Self {
        match (alert.status, &alert.severity) {
            (Status::Resolved, _) => Self::Resolved,
            (_, Severity::Critical) => Self::Critical,
            (_, Severity::Warning | Severity::Other(_)) => Self::Warning,
            (_, Severity::Info) => Self::Info,
        }
    }

    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::Critical => "🔴",
            Self::Warning => "🟠",
            Self::Info => "🔵",
            Self::Resolved => "✅",
        }
    }
}

/// Returns the texts that distinguish an alert from others of its scope, as far as they are known.
pub(crate) fn identity(alert: &Alert) -> Vec<String> {
    if let Some(hash) = &alert.as_published {
        return vec!["as published".to_owned(), hash.clone()];
    }
    if let Some(fingerprint) = &alert.fingerprint {
        return vec!["fingerprint".to_owned(), fingerprint.clone()];
    }
    let source = alert.source.clone().unwrap_or_default();
    // The severity may change while the problem stays the same.
    let labels: Vec<String> = alert
        .labels
        .iter()
        .filter(|(name, _)| *name != "severity")
        .flat_map(|(name, value)| [name.clone(), value.clone()])
        .collect();
    // The source alone would merge all problems of a machine into one thread.
    let rest =
        if labels.is_empty() { vec![alert.summary.in_no_language().to_owned()] } else { labels };
    ["alert".to_owned(), source].into_iter().chain(rest).collect()
}
