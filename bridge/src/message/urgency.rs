//! How loud a message may be.

use serde::{Deserialize, Serialize};

use crate::message::{
    alert::{Alert, Group, Severity, Status},
    payload::Payload,
};

/// Whether a message may make a phone buzz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Urgency {
    /// Sent as `m.notice`, for which no client pushes by default.
    Routine,
    /// Sent as `m.text`.
    Notable,
    /// Sent as `m.text` that mentions those whom the route names, so that it pushes even where only mentions do.
    Critical,
}

impl Payload {
    /// How loud it may be.
    pub(crate) fn urgency(&self) -> Urgency {
        match self {
            Payload::Report(_) | Payload::Note(_) => Urgency::Routine,
            Payload::Alert(alert) => alert_urgency(alert),
            Payload::Alerts(group) => group_urgency(group),
            Payload::Event(_) | Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) => {
                Urgency::Notable
            }
        }
    }
}

/// What is over, or merely good to know, need not wake anybody.
pub(crate) fn alert_urgency(alert: &Alert) -> Urgency {
    match (alert.status, &alert.severity) {
        (Status::Resolved, _) | (_, Severity::Info) => Urgency::Routine,
        (Status::Firing, Severity::Critical) => Urgency::Critical,
        (Status::Firing, _) => Urgency::Notable,
    }
}

/// As urgent as the most urgent of them; one of which nothing is known may be that.
pub(crate) fn group_urgency(group: &Group) -> Urgency {
    let unknown = if group.truncated > 0 { Urgency::Notable } else { Urgency::Routine };
    group.alerts.iter().map(alert_urgency).fold(unknown, Urgency::max)
}
