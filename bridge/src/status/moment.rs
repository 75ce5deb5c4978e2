//! When something was.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// When something was, for people and machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(Timestamp::now())
    }

    /// How long it is since; nothing if a clock was set.
    pub(crate) fn age(self) -> Duration {
        Self::now().since(self)
    }

    pub(crate) fn since(self, before: Self) -> Duration {
        Duration::try_from(self.0.duration_since(before.0)).unwrap_or_default()
    }

    /// In seconds since 1970.
    pub(crate) fn seconds(self) -> f64 {
        Duration::try_from(self.0.as_duration()).unwrap_or_default().as_secs_f64()
    }

    /// In RFC 3339, to the second.
    pub(crate) fn written(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}
