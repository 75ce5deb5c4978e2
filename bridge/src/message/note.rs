//! Notes: events that need no action.

use crate::message::forge::ForgeEvent;

/// Something that happened and that nobody has to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// A push, a comment, a release.
    Forge(ForgeEvent),
    /// The answer of NATS to a publisher.
    NatsAnswer,
}

impl Note {
    /// The repository in which it happened.
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Self::Forge(event) => event.repository.as_deref(),
            Self::NatsAnswer => None,
        }
    }
}
