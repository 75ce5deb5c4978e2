//! The mark of an event that shows an alert which people may answer.

use serde::{Deserialize, Serialize};

/// The key of an event's content under which its [`AlertMark`] is stored.
pub(crate) const ALERT_KEY: &str = "io.github.nats-matrix.alert";

/// The alert that an event shows. Only in an event of the bridge itself it is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AlertMark {
    /// The stream of the route.
    pub(crate) stream: String,
    /// The route. Its name may be that of a route of another stream.
    pub(crate) route: String,
    /// The key of the alert's thread.
    pub(crate) key: String,
    /// The key under which other servers that report the same alert find the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shared_key: Option<String>,
}
