//! The urgency of a message.

use serde::{Deserialize, Serialize};

use crate::message::{
    alert::{Alert, Group, Severity, State, Status},
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
    /// The urgency of the message. One that does not say how urgent it is could be an alert of any program.
    pub(crate) fn urgency(&self) -> Urgency {
        self.stated_urgency().unwrap_or(Urgency::Notable)
    }

    /// The urgency of the message as far as it says itself how urgent it is.
    pub(crate) fn stated_urgency(&self) -> Option<Urgency> {
        match self {
            Payload::Note(note) if note.is_urgent() => Some(Urgency::Notable),
            Payload::Report(_) | Payload::Note(_) => Some(Urgency::Routine),
            Payload::Alert(alert) => Some(alert_urgency(alert)),
            Payload::Alerts(group) => Some(group_urgency(group)),
            Payload::Event(event) => event.data.as_deref().and_then(Self::stated_urgency),
            Payload::Object(object) => match object.gist().state()? {
                State::Info | State::Resolved => Some(Urgency::Routine),
                State::Warning | State::Critical => Some(Urgency::Notable),
            },
            Payload::Several(items) => {
                items.iter().filter_map(|item| item.decoded.payload.stated_urgency()).max()
            }
            Payload::Text(_) | Payload::Binary(_) => None,
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
