//! Why a consumer cannot be used.

use crate::failure::Failure;

/// Why a consumer cannot be used.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It may work later: a server is away, a stream does not exist yet.
    Passing(String),
    /// Only a person can mend it.
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
