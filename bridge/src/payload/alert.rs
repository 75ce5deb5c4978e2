//! The JSON of an alert.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Something that wants a person's attention.
///
/// Any JSON object with `severity` and `summary` is taken for an alert; `"kind": "alert"` says so
/// outright. Fields that are absent leave no line. Other keys are shown as lines of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "nats-matrix alert")]
pub struct Alert {
    /// The constant "alert"; optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("const" = "alert"))]
    pub kind: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, in one line.
    pub summary: String,
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
    /// Alerts with the same fingerprint are one conversation: the same trouble, still firing, worse
    /// or resolved. Without one, `source` and `labels` tell which alerts those are; `source` and
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
    /// Everything else that the object holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
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
pub enum Status {
    /// It does.
    #[default]
    Firing,
    /// It is over.
    Resolved,
}

impl Alert {
    /// An alert that fires, with nothing but what every alert has.
    pub(crate) fn new(severity: Severity, summary: String) -> Self {
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
            extra: Map::new(),
        }
    }
}

/// Alerts that came in one message.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What they have in common, in a few words; may be empty.
    pub title: String,
    /// Labels that all of them have; each has them besides.
    pub labels: BTreeMap<String, String>,
    /// What tells the group from others.
    pub fingerprint: Option<String>,
    /// Where to see them all.
    pub url: Option<String>,
    /// How many more there are, of which the sender left everything out.
    pub truncated: u64,
    /// The alerts, as they were sent.
    pub alerts: Vec<Alert>,
}

/// Labels, whose values need not be text; null is none.
pub(super) fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Number(serde_json::Number),
        Flag(bool),
    }
    let labels: Option<BTreeMap<String, Scalar>> =
        Option::deserialize(deserializer).map_err(|_| {
            serde::de::Error::custom("labels must be an object of text, numbers and booleans")
        })?;
    let text = |scalar| match scalar {
        Scalar::Text(text) => text,
        Scalar::Number(number) => number.to_string(),
        Scalar::Flag(flag) => flag.to_string(),
    };
    Ok(labels.unwrap_or_default().into_iter().map(|(name, value)| (name, text(value))).collect())
}
