//! The reason why a consumer cannot be used.

use crate::failure::Failure;

/// The reason why a consumer cannot be used.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The problem may pass: a server is away, a stream does not exist yet.
    Passing(String),
    /// Only a person can solve the problem.
    Final(Failure),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passing(reason) => f.write_str(reason),
            Self::Final(failure) => failure.fmt(f),
        }
    }
}
