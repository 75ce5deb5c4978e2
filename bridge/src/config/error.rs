//! Errors about a value in the configuration.

use crate::{config::location::Source, failure::Failure};

/// An invalid value: its key, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {what}")]
pub(crate) struct ConfigError {
    key: String,
    what: String,
}

impl ConfigError {
    /// Adds the file and the line of the key.
    pub(crate) fn within(self, source: Source<'_>) -> Failure {
        Failure::Config(format!("{}: {self}", source.place(&self.key)))
    }

    pub(crate) fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into() }
    }
}
