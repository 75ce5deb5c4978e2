//! `[log]`: the level and the format of the log.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::one_of;

/// The level and the format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// The lowest level that `run` logs. `$NATS_MATRIX_LOG`, as in `nats_matrix=debug,async_nats=info`, wins over it.
    #[serde(default, deserialize_with = "one_of::one_of")]
    #[schemars(example = &"debug", extend("default" = "info"))]
    pub level: Level,
    /// The format: a line for each record, or a JSON object. Until the configuration is read it is text.
    #[serde(default, deserialize_with = "one_of::one_of")]
    #[schemars(example = &"json", extend("default" = "text"))]
    pub format: Format,
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// One line for each record.
    #[default]
    Text,
    /// One JSON object for each record, each on its own line.
    Json,
}

/// The lowest level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
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
