//! Errors about a value in the configuration.

use std::error::Error;

use crate::{config::location::Source, failure::Failure};

/// An invalid value: its key, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {what}")]
pub(crate) struct ConfigError {
    key: String,
    #[source]
    what: Box<dyn Error + Send + Sync>,
}

impl ConfigError {
    /// Adds the file and the line of the key.
    pub(crate) fn within(self, source: Source<'_>) -> Failure {
        Failure::Config(format!("{}: {self}", source.place(&self.key)))
    }

    /// Creates the error about the value of a key. `what` is an error, or a text where nobody tells several apart.
    pub(crate) fn new(
        key: impl Into<String>,
        what: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { key: key.into(), what: what.into() }
    }
}
