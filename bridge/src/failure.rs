//! The reasons for which the program stops, with their exit codes.

use std::{any::Any, process::ExitCode};

use thiserror::Error;

/// A reason to stop. The text is for the person who must act: it says what happened, to what, and what to do.
///
/// The exit codes are those of BSD `sysexits.h`, so that a supervisor can tell them apart.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The configuration or the command line is wrong, and only a person can fix it. Exit code 64.
    #[error("{0}")]
    Config(String),
    /// The room is encrypted, but the bridge posts unencrypted messages; only a person can fix it. Exit code 64.
    #[error("{0}")]
    Encrypted(String),
    /// A server does not answer. Only one-shot commands stop for this reason; `run` keeps trying. Exit code 69.
    #[error("{0}")]
    Unavailable(String),
    /// A server answered and refused our credentials. Exit code 77.
    #[error("{0}")]
    Refused(String),
    /// The program itself has a bug. Exit code 70.
    #[error("{0} (this is a bug in nats-matrix, please report it)")]
    Bug(String),
}

impl Failure {
    /// Appends `more` to the text.
    pub(crate) fn and(mut self, more: &str) -> Self {
        let (Self::Config(text)
        | Self::Encrypted(text)
        | Self::Unavailable(text)
        | Self::Refused(text)
        | Self::Bug(text)) = &mut self;
        text.push_str(more);
        self
    }

    /// Whether the failure affects only the route that ended with it: the configuration of that route does not fit what
    /// the servers have, or our own code fails on a message of that route.
    pub(crate) fn is_of_one_route(&self) -> bool {
        matches!(self, Self::Config(_) | Self::Encrypted(_) | Self::Bug(_))
    }

    /// The exit code of the process, as in `sysexits.h`.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Encrypted(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Bug(_) => 70,
            Self::Refused(_) => 77,
        }
    }
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> Self {
        Self::from(failure.code())
    }
}

/// The reason why work ends before it is done, passed from the innermost function to the one that began the work.
#[derive(Debug)]
pub(crate) enum Interrupted {
    /// The process stops, or another configuration takes effect. The messages in progress will be delivered again.
    Stopping,
    /// The work starts over, because other work needs its memory. The messages in progress will be delivered again.
    GivingWay,
    /// An error has occurred that trying again does not fix.
    Fatal(Failure),
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::Fatal(failure)
    }
}

/// Returns the text of a panic that was caught.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

/// Formats an error with all its causes in one line, as in `outer: inner: innermost`, without repeating a cause that
/// the text before it already quotes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
