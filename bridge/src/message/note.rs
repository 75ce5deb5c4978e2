//! Notes: events that need no action.

use crate::message::forge::ForgeEvent;

/// An event that nobody has to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// An event on a forge, such as a push, a comment or a release.
    Forge(ForgeEvent),
    /// An answer of NATS to a publisher.
    NatsAnswer,
}

impl Note {
    /// Returns the repository of the event.
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Self::Forge(event) => event.repository.as_deref(),
            Self::NatsAnswer => None,
        }
    }
}
