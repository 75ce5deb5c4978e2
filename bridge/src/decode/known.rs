//! Recognises the forms of JSON objects that are read by code.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    decode::{alertmanager, cloudevents, nats_answer},
    message::report,
};

/// The form of an object, which it either declares (`kind`) or has according to its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Report,
    Alert,
    Alertmanager,
    CloudEvent,
    NatsAnswer,
    Other,
}

impl Known {
    /// Recognises an object that says what it is, or that only code can read.
    pub(super) fn declared(object: &Map<String, Value>) -> Option<Self> {
        match object.get("kind").and_then(Value::as_str) {
            Some("report") => Some(Self::Report),
            Some("alert") => Some(Self::Alert),
            _ if nats_answer::is(object) => Some(Self::NatsAnswer),
            _ if cloudevents::is(object) => Some(Self::CloudEvent),
            _ if alertmanager::is(object) => Some(Self::Alertmanager),
            _ => None,
        }
    }

    /// Recognises an object of our own by its keys. The shapes of other programs are tried before, because their keys
    /// are more distinctive.
    pub(super) fn by_keys(object: &Map<String, Value>) -> Self {
        let has = |key: &str| object.contains_key(key);
        match object.get("kind").and_then(Value::as_str) {
            None if has("severity") && has("summary") && !is_foreign(object) => Self::Alert,
            None if has("host") && report::FIELDS.iter().any(|key| has(key)) => Self::Report,
            _ => Self::Other,
        }
    }
}

/// Whether an object with our keys of an alert is rather another program's: it has many other keys, and no source.
fn is_foreign(object: &Map<String, Value>) -> bool {
    /// The largest number of other keys that a publisher of ours adds to an alert without a source.
    const MOST: usize = 4;
    const OWN: &[&str] = &[
        "severity",
        "summary",
        "description",
        "status",
        "time",
        "ended",
        "last_ok",
        "url",
        "fingerprint",
        "labels",
    ];
    let others = object.keys().filter(|key| !OWN.contains(&key.as_str())).count();
    !object.contains_key("source") && others > MOST
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report => "a report",
            Self::Alert => "an alert",
            Self::Alertmanager => "a webhook of Alertmanager or Grafana",
            Self::CloudEvent => "a CloudEvent",
            Self::NatsAnswer => "an answer of NATS",
            Self::Other => "an object",
        })
    }
}
