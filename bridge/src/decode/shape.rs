//! Recognises the shape of a JSON object.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    decode::{alertmanager, cloudevents, forgejo, nats_answer, uptime_kuma},
    message::report,
};

/// The shape of an object, which it either declares (`kind`) or has according to its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Report,
    Alert,
    Alertmanager,
    UptimeKuma,
    Forgejo,
    CloudEvent,
    NatsAnswer,
    Other,
}

impl Shape {
    /// Recognises the shape. A declared kind decides. Otherwise the keys of other programs are tried before our own,
    /// because they are more distinctive.
    pub(super) fn of(object: &Map<String, Value>) -> Self {
        let has = |key: &str| object.contains_key(key);
        let kind = object.get("kind").and_then(Value::as_str);
        match kind {
            Some("report") => Self::Report,
            Some("alert") => Self::Alert,
            _ if nats_answer::is(object) => Self::NatsAnswer,
            _ if cloudevents::is(object) => Self::CloudEvent,
            _ if alertmanager::is(object) => Self::Alertmanager,
            _ if uptime_kuma::is(object) => Self::UptimeKuma,
            _ if forgejo::is(object) => Self::Forgejo,
            None if has("severity") && has("summary") => Self::Alert,
            None if has("host") && report::FIELDS.iter().any(|key| has(key)) => Self::Report,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Report => "a report",
            Self::Alert => "an alert",
            Self::Alertmanager => "a webhook of Alertmanager or Grafana",
            Self::UptimeKuma => "a notification of Uptime Kuma",
            Self::Forgejo => "a webhook of Forgejo or Gitea",
            Self::CloudEvent => "a CloudEvent",
            Self::NatsAnswer => "an answer of NATS",
            Self::Other => "an object",
        })
    }
}
