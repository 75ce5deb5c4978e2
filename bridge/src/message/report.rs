//! The JSON of a report.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The keys besides `host` of which a report has at least one.
pub(crate) const FIELDS: [&str; 5] =
    ["completed", "in_progress", "disk_percent", "memory_percent", "satisfaction"];

/// The fields of a report that have a value, but no number, like "N/A".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unknowns {
    pub disk: bool,
    pub memory: bool,
    pub satisfaction: bool,
}

/// A routine report of a machine: finished tasks, tasks in progress, and how full disk and memory are.
///
/// A JSON object is a report if it has `"kind": "report"`, or `host` and at least one of the other
/// fields. Absent fields are not shown. Every other key is shown as a line of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "nats-matrix report")]
pub(crate) struct Report {
    /// The constant "report"; optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("const" = "report"))]
    pub kind: Option<String>,
    /// The machine that reports, like "server-01".
    pub host: String,
    /// The tasks that were finished since the last report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub completed: Vec<String>,
    /// The tasks in progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_progress: Vec<String>,
    /// The usage of the disk, in per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub disk_percent: Option<f64>,
    /// The usage of the memory, in per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub memory_percent: Option<f64>,
    /// The satisfaction of the reporter, from 0 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5))]
    pub satisfaction: Option<f64>,
    /// The fields whose values are no numbers.
    #[serde(skip)]
    #[schemars(skip)]
    pub unknown: Unknowns,
    /// All other keys of the object.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
