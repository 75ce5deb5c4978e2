//! Why something is not posted, or a message not taken to its end in the room that it is for.

use crate::{
    failure::{Failure, Interrupted},
    matrix::Closed,
};

/// Why something was not posted.
#[derive(Debug)]
pub(crate) enum NotPosted {
    /// The homeserver will never take it, for this reason.
    Refused(String),
    /// Nothing more is posted there for now.
    Halted(Halted),
}

/// Why the work on a message ends in a room before it is done.
#[derive(Debug)]
pub(crate) enum Halted {
    /// The room, one of many, takes nothing of ours any more. The message goes to another one.
    Closed(Closed),
    /// It may be tried again by the next process, or never.
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
    /// Takes a refusal for an answer, where nothing depends on it.
    ///
    /// # Errors
    ///
    /// Anything else.
    pub(crate) fn refusal(self) -> Result<String, Halted> {
        match self {
            Self::Refused(reason) => Ok(reason),
            Self::Halted(halted) => Err(halted),
        }
    }

    /// Takes a room that is closed for an answer, too, where it is enough to have tried.
    ///
    /// # Errors
    ///
    /// [`Interrupted`] alone.
    pub(crate) fn failure(self) -> Result<String, Interrupted> {
        match self {
            Self::Refused(reason) => Ok(reason),
            Self::Halted(Halted::Closed(closed)) => Ok(closed.to_string()),
            Self::Halted(Halted::Interrupted(interrupted)) => Err(interrupted),
        }
    }
}
