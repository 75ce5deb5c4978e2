//! The JSON of a report.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The keys of which a report has at least one besides `host`.
pub(crate) const FIELDS: [&str; 5] =
    ["completed", "in_progress", "disk_percent", "memory_percent", "satisfaction"];

/// A routine report of a machine: what was done, what is going on and how full it is.
///
/// Any JSON object with `host` and at least one of the other fields is taken for a report; `"kind":
/// "report"` says so outright. Fields that are absent leave no line. Other keys are shown as lines
/// of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "nats-matrix report")]
pub(crate) struct Report {
    /// The constant "report"; optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("const" = "report"))]
    pub kind: Option<String>,
    /// The machine that reports, like "server-01".
    pub host: String,
    /// Tasks that were finished since the last report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub completed: Vec<String>,
    /// Tasks that are going on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_progress: Vec<String>,
    /// How full the disk is, in per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub disk_percent: Option<f64>,
    /// How full the memory is, in per cent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub memory_percent: Option<f64>,
    /// How content the reporter is, from 0 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5))]
    pub satisfaction: Option<f64>,
    /// Everything else that the object holds.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
