//! `[log]`: how much is logged, and in which form.

use serde::Deserialize;

use crate::config::one_of;

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// Our own records from this level on.
    #[serde(default, deserialize_with = "one_of::one_of")]
    pub level: Level,
    /// Lines for people, or JSON for machines.
    #[serde(default, deserialize_with = "one_of::one_of")]
    pub format: Format,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A line for each record.
    #[default]
    Text,
    /// A JSON object for each record, in a line of its own.
    Json,
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
