//! The JSON of an alert.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::json;

/// How many labels, annotations and other entries are kept of one alert.
pub(crate) const MOST_LABELS: usize = 256;

/// Something that wants a person's attention.
///
/// Any JSON object with `severity` and `summary` is taken for an alert; `"kind": "alert"` says so
/// outright. Fields that are absent leave no line. Other keys are shown as lines of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "nats-matrix alert")]
pub(crate) struct Alert {
    /// The constant "alert"; optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("const" = "alert"))]
    pub kind: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, in one line.
    #[schemars(with = "String")]
    pub summary: Summary,
    /// What it happened to: a machine, a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// More words, any number of lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it still goes on.
    #[serde(default)]
    pub status: Status,
    /// When it happened, as in RFC 3339; another form is shown as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub time: Option<String>,
    /// When it was over, in the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub ended: Option<String>,
    /// When all was well last, in the same form. What fires later than that is news, also where nobody
    /// said that it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_ok: Option<String>,
    /// Where to look: a dashboard, a runbook, the failed job. Made a link if it is http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "uri"))]
    pub url: Option<String>,
    /// Alerts of one subject with the same fingerprint are one conversation: the same trouble, still
    /// firing, worse or resolved. Without one, `source` and `labels` tell which alerts those are; `source` and
    /// `summary` where there are no labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Names and values that tell alerts apart. Numbers and booleans are taken for their text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// The group that it came alone in; those of a group are one conversation.
    #[serde(skip)]
    #[schemars(skip)]
    pub group: Option<String>,
    /// The Alertmanager or Grafana that it came from alone, by its address.
    #[serde(skip)]
    #[schemars(skip)]
    pub sender: Option<String>,
    /// Everything else that the object holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What happened, as an alert tells it. What its sender does not put into words is worded when it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) enum Summary {
    /// In words of the publisher.
    Said(String),
    /// The sender does not tell.
    Unsaid,
    /// The state of what a monitor watches.
    Monitor(Box<Monitor>, MonitorState),
    /// A workflow fails, or succeeds again.
    Workflow(Box<Workflow>),
}

/// A workflow of a forge and its last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workflow {
    pub name: String,
    pub succeeds: bool,
    /// Who started the run.
    pub started_by: Option<String>,
}

/// What watches something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Monitor {
    pub id: Option<i64>,
    pub name: Option<String>,
}

/// The state of what a monitor watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MonitorState {
    Down,
    Up,
    /// It did not answer, and is tried again.
    Pending,
    Maintenance,
}

impl Summary {
    /// The part of it that is the same in every language, which tells it from others.
    pub(crate) fn in_no_language(&self) -> &str {
        match self {
            Self::Said(text) => text,
            Self::Unsaid => "",
            Self::Monitor(monitor, _) => monitor.name.as_deref().unwrap_or_default(),
            Self::Workflow(workflow) => &workflow.name,
        }
    }

    /// The same part, to be shortened.
    pub(crate) fn text_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Said(text) => Some(text),
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

/// Alerts that are published are always said in words.
impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.in_no_language())
    }
}

/// How bad an alert is.
///
/// Publishers of all kinds are understood: `crit`, `fatal`, `emergency` and `page` are critical,
/// `warn`, `error` and `high` a warning, `notice`, `ok`, `low`, `debug` and `none` informational.
/// An alert of an unknown severity is not lost, it counts as a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Severity {
    /// Somebody must act now.
    Critical,
    /// Somebody must act soon.
    Warning,
    /// Good to know.
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

    // What publishers are asked to write; what is understood besides is kindness.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How bad it is. Other words are shown as they are and count as a warning.",
            "type": "string",
            "enum": ["critical", "warning", "info"],
        })
    }
}

/// Whether an alert still goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It does.
    #[default]
    Firing,
    /// It is over.
    Resolved,
}

impl Alert {
    /// An alert that fires, with nothing but what every alert has.
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
            extra: Map::new(),
        }
    }

    /// Leaves out what is too long to be shown. Whether something is left out.
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

    /// About how many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        /// Of an entry of a map, with its two texts.
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

/// Alerts that came in one message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// What they have in common, in a few words; may be empty.
    pub title: String,
    /// Labels that all of them have; each has them besides.
    pub labels: BTreeMap<String, String>,
    /// What tells the group from others.
    pub fingerprint: Option<String>,
    /// Where to see them all: the address of the Alertmanager or Grafana that sent them, which tells it from others.
    pub url: Option<String>,
    /// How many more there are, of which the sender left everything out.
    pub truncated: u64,
    /// The alerts in the order in which they were sent, without those that are only counted.
    pub alerts: Vec<Alert>,
    /// Those that are only counted, as there are too many: the least bad and oldest.
    pub left_out: Counts,
}

/// How many alerts there are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Of those that fire, the critical ones.
    pub critical: u64,
    /// Warnings, and alerts of severities that we do not know.
    pub warning: u64,
    /// What is merely good to know.
    pub info: u64,
    /// Those that are over.
    pub resolved: u64,
}

impl Counts {
    /// Counts an alert.
    pub(crate) fn add(&mut self, alert: &Alert) {
        *match (alert.status, &alert.severity) {
            (Status::Resolved, _) => &mut self.resolved,
            (Status::Firing, Severity::Critical) => &mut self.critical,
            (Status::Firing, Severity::Warning | Severity::Other(_)) => &mut self.warning,
            (Status::Firing, Severity::Info) => &mut self.info,
        } += 1;
    }

    /// Counts other alerts, too.
    pub(crate) fn add_all(&mut self, others: Self) {
        self.critical += others.critical;
        self.warning += others.warning;
        self.info += others.info;
        self.resolved += others.resolved;
    }

    /// How many fire.
    #[must_use]
    pub(crate) fn firing(self) -> u64 {
        self.critical + self.warning + self.info
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn total(self) -> u64 {
        self.firing() + self.resolved
    }
}

/// Labels, whose values need not be text; null is none. At most [`MOST_LABELS`] of them.
pub(crate) fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let text = |value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let wrong =
        || serde::de::Error::custom("labels must be an object of text, numbers and booleans");
    let labels = json::map(deserializer).map_err(|_: D::Error| wrong())?;
    let labels = labels.into_iter().take(MOST_LABELS);
    labels.map(|(name, value)| Some((name, text(value)?))).collect::<Option<_>>().ok_or_else(wrong)
}

/// How bad an alert is, or that it is over; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Critical,
    Warning,
    Info,
    Resolved,
}

impl State {
    /// A severity of the publisher's own counts as a warning.
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

/// What tells an alert from others of one scope, as far as it is known.
pub(crate) fn identity(alert: &Alert) -> Vec<String> {
    if let Some(fingerprint) = &alert.fingerprint {
        return vec!["fingerprint".to_owned(), fingerprint.clone()];
    }
    let source = alert.source.clone().unwrap_or_default();
    // How bad it is may change.
    let labels: Vec<String> = alert
        .labels
        .iter()
        .filter(|(name, _)| *name != "severity")
        .flat_map(|(name, value)| [name.clone(), value.clone()])
        .collect();
    // The source alone would make one conversation of all troubles of a machine.
    let rest =
        if labels.is_empty() { vec![alert.summary.in_no_language().to_owned()] } else { labels };
    ["alert".to_owned(), source].into_iter().chain(rest).collect()
}
