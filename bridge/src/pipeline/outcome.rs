//! Reasons why something is not posted, or why the work on a message ends early in its room.

use crate::{
    failure::{Failure, Interrupted},
    matrix::Closed,
};

/// The reason why something was not posted.
#[derive(Debug)]
pub(crate) enum NotPosted {
    /// The homeserver will never take it, for this reason.
    Refused(String),
    /// Nothing more is posted in the room for now.
    Halted(Halted),
}

/// The reason why the work on a message in a room ends before it is done.
#[derive(Debug)]
pub(crate) enum Halted {
    /// The room, one of many, no longer takes anything from the bridge. The message goes to another room.
    Closed(Closed),
    /// The room was replaced by another one, for this reason, where the message goes.
    Replaced(String),
    /// The work may be tried again by the next process, or never.
    Interrupted(Interrupted),
}

impl From<Interrupted> for Halted {
    fn from(interrupted: Interrupted) -> Self {
        Self::Interrupted(interrupted)
    }
}

impl From<Halted> for NotPosted {
    fn from(halted: Halted) -> Self {
        Self::Halted(halted)
    }
}

impl From<Interrupted> for NotPosted {
    fn from(interrupted: Interrupted) -> Self {
        Self::Halted(interrupted.into())
    }
}

impl From<Failure> for NotPosted {
    fn from(failure: Failure) -> Self {
        Interrupted::from(failure).into()
    }
}

impl From<Closed> for NotPosted {
    fn from(closed: Closed) -> Self {
        Self::Halted(Halted::Closed(closed))
    }
}

impl NotPosted {
    /// Returns the reason of a refusal as a value, where nothing depends on the request.
    ///
    /// # Errors
    ///
    /// Everything but a refusal.
    pub(crate) fn refusal(self) -> Result<String, Halted> {
        match self {
            Self::Refused(reason) => Ok(reason),
            Self::Halted(halted) => Err(halted),
        }
    }

    /// Returns the reason of a refusal or of a closed or replaced room as a value, where it is enough to have tried.
    ///
    /// # Errors
    ///
    /// Only [`Interrupted`].
    pub(crate) fn failure(self) -> Result<String, Interrupted> {
        match self {
            Self::Refused(reason) | Self::Halted(Halted::Replaced(reason)) => Ok(reason),
            Self::Halted(Halted::Closed(closed)) => Ok(closed.to_string()),
            Self::Halted(Halted::Interrupted(interrupted)) => Err(interrupted),
        }
    }
}
