//! A wrong value, and the key that it is under.

use crate::{config::location::Source, failure::Failure};

/// A wrong value: the key it is under, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {what}")]
pub(crate) struct ConfigError {
    key: String,
    what: String,
}

impl ConfigError {
    /// Says in which line of which file it is.
    pub(crate) fn within(self, source: Source<'_>) -> Failure {
        Failure::Config(format!("{}: {self}", source.place(&self.key)))
    }

    pub(crate) fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into() }
    }
}
