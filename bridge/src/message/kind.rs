//! The kinds by which messages are counted.

use crate::message::{
    alert::State,
    payload::{self, Payload},
};

/// The kind by which a message is counted; the worst kind comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Alert(State),
    Report,
    Other,
}

impl Kind {
    pub(crate) fn of(payload: &Payload) -> Self {
        let worst = payload::alerts(payload).into_iter().map(State::of).min();
        match (worst, payload) {
            (Some(state), _) => Self::Alert(state),
            (None, Payload::Report(_)) => Self::Report,
            (None, _) => Self::Other,
        }
    }

    /// Whether the message is about an alert that fires.
    pub(crate) fn fires(self) -> bool {
        self < Self::Alert(State::Resolved)
    }
}
