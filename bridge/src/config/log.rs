//! `[log]`: how much is logged.

use serde::Deserialize;

use crate::config::one_of;

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// Our own records from this level on.
    #[serde(default, deserialize_with = "one_of::one_of")]
    pub level: Level,
}

/// How important a record is at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// What a person has to mend.
    Error,
    /// What does not go well, but goes on.
    Warn,
    /// What happens to servers, rooms and routes.
    #[default]
    Info,
    /// Each step.
    Debug,
    /// More than anybody wants to read.
    Trace,
}
