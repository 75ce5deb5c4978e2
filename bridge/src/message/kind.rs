//! What messages are counted as.

use crate::message::{
    alert::State,
    payload::{self, Payload},
};

/// What messages are counted as; the worst first.
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

    /// Whether it is of an alert that goes on.
    pub(crate) fn fires(self) -> bool {
        self < Self::Alert(State::Resolved)
    }
}
