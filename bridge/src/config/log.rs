//! `[log]`: the level and the format of the log.

use serde::Deserialize;

use crate::config::one_of;

/// The level and the format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// The lowest level of the bridge's own records that is logged.
    #[serde(default, deserialize_with = "one_of::one_of")]
    pub level: Level,
    /// The format: lines for people, or JSON for machines.
    #[serde(default, deserialize_with = "one_of::one_of")]
    pub format: Format,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One line for each record.
    #[default]
    Text,
    /// One JSON object for each record, each on its own line.
    Json,
}

/// The lowest level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Failures that somebody has to fix.
    Error,
    /// Problems that the bridge can continue with.
    Warn,
    /// Events of servers, rooms and routes.
    #[default]
    Info,
    /// Each step of the processing.
    Debug,
    /// More than anybody usually wants to read.
    Trace,
}
