//! The urgency of a message.

use serde::{Deserialize, Serialize};

use crate::message::{
    alert::{Alert, Group, Severity, Status},
    payload::Payload,
};

/// The urgency of a message, which decides whether it may send a push notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Urgency {
    /// Sent as `m.notice`, which clients do not push by default.
    Routine,
    /// Sent as `m.text`.
    Notable,
    /// Sent as `m.text` that mentions the users whom the route names, so that it is pushed even in rooms where only
    /// mentions are.
    Critical,
}

impl Payload {
    /// The urgency of the message.
    pub(crate) fn urgency(&self) -> Urgency {
        match self {
            Payload::Note(note) if note.is_urgent() => Urgency::Notable,
            Payload::Report(_) | Payload::Note(_) => Urgency::Routine,
            Payload::Alert(alert) => alert_urgency(alert),
            Payload::Alerts(group) => group_urgency(group),
            Payload::Event(_) | Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) => {
                Urgency::Notable
            }
        }
    }
}

/// The urgency of an alert. A resolved or informational alert need not wake anybody.
pub(crate) fn alert_urgency(alert: &Alert) -> Urgency {
    match (alert.status, &alert.severity) {
        (Status::Resolved, _) | (_, Severity::Info) => Urgency::Routine,
        (Status::Firing, Severity::Critical) => Urgency::Critical,
        (Status::Firing, _) => Urgency::Notable,
    }
}

/// The urgency of a group, which is that of its most urgent alert. Alerts that the sender truncated count as notable.
pub(crate) fn group_urgency(group: &Group) -> Urgency {
    let unknown = if group.truncated > 0 { Urgency::Notable } else { Urgency::Routine };
    group.alerts.iter().map(alert_urgency).fold(unknown, Urgency::max)
}
