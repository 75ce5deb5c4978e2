//! Reasons why the program stops, and the exit codes that report them.

use std::{any::Any, error::Error, process::ExitCode};

/// A reason to stop. The text is for the person who must act: it says what happened, to what, and what to do.
///
/// The exit codes are those of BSD `sysexits.h`, so that a supervisor can tell them apart.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The configuration or the command line is wrong; only a person can correct it. Exit code 64.
    #[error("{0}")]
    Config(String),
    /// The room is encrypted, and the bridge posts unencrypted; only a person can change that. Exit code 64.
    #[error("{0}")]
    Encrypted(String),
    /// A server does not answer. Only one-shot commands stop for it; `run` keeps trying. Exit code 69.
    #[error("{0}")]
    Unavailable(String),
    /// The homeserver, or NATS where a message is published, answered and refused the credentials. Exit code 77.
    #[error("{0}")]
    Refused(String),
    /// NATS refused the credentials, or what they need to be permitted to. One-shot commands stop for it; `run` stops
    /// only if NATS has never accepted them. Exit code 77.
    #[error("{0}")]
    RefusedByNats(String),
    /// An assumption of the bridge's own code is wrong, which is a bug. Exit code 70.
    #[error("{0} (this is a bug in nats-matrix, please report it)")]
    Bug(String),
}

impl Failure {
    /// Returns the same failure with more text.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.text().push_str(more);
        self
    }

    /// Returns the same failure with text before it.
    pub(crate) fn under(mut self, before: &str) -> Self {
        self.text().insert_str(0, before);
        self
    }

    fn text(&mut self) -> &mut String {
        let (Self::Config(text)
        | Self::Encrypted(text)
        | Self::Unavailable(text)
        | Self::Refused(text)
        | Self::RefusedByNats(text)
        | Self::Bug(text)) = self;
        text
    }

    /// Whether the failure concerns only the route that ended with it: its configuration does not fit what is there, or
    /// a bug shows with what the route received.
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
            Self::Refused(_) | Self::RefusedByNats(_) => 77,
        }
    }
}

impl From<&Failure> for ExitCode {
    fn from(failure: &Failure) -> Self {
        Self::from(failure.code())
    }
}

/// The reason why work ends before it is done, passed up to the caller that began it.
#[derive(Debug)]
pub(crate) enum Interrupted {
    /// The process stops, or another configuration takes over. Messages that are being worked on come again.
    Stopping,
    /// The work starts again from the beginning, because others need the memory that it takes. Messages that are being
    /// worked on come again.
    GivingWay,
    /// Another bridge may have taken over the route. Messages that are being worked on are its business now.
    Displaced,
    /// An error that trying again does not solve.
    Fatal(Failure),
}

impl From<Failure> for Interrupted {
    fn from(failure: Failure) -> Self {
        Self::Fatal(failure)
    }
}

/// The reason why an attempt failed. The caller decides whether to make another one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError<E: Error + 'static> {
    /// An error that may pass, as when a server is away: another attempt may succeed.
    #[error(transparent)]
    Transient(E),
    /// A failure that another attempt does not solve.
    #[error(transparent)]
    Permanent(Failure),
}

impl<E: Error + 'static> AttemptError<E> {
    /// Returns the failure of a program that makes only one attempt.
    pub(crate) fn into_failure(self, transient: impl FnOnce(E) -> Failure) -> Failure {
        match self {
            Self::Transient(error) => transient(error),
            Self::Permanent(failure) => failure,
        }
    }
}

impl AttemptError<Failure> {
    /// Returns the error of an attempt at a connection. A server that does not answer may be back later.
    pub(crate) fn of(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(_) => Self::Transient(failure),
            other => Self::Permanent(other),
        }
    }
}

impl<E: Error + 'static> From<Failure> for AttemptError<E> {
    fn from(failure: Failure) -> Self {
        Self::Permanent(failure)
    }
}

/// Returns the message of a panic that was caught.
pub(crate) fn panic_words(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic")
}

/// Returns an error with all its causes in one line, as `outer: inner: innermost`, without repeating a cause that the
/// text before it already quotes.
pub(crate) fn chain(error: &dyn Error) -> String {
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
