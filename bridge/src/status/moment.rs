//! Points in time.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// A point in time for people and machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(Timestamp::now())
    }

    /// The time since then; zero if the clock was set back.
    pub(crate) fn age(self) -> Duration {
        Self::now().since(self)
    }

    pub(crate) fn since(self, before: Self) -> Duration {
        Duration::try_from(self.0.duration_since(before.0)).unwrap_or_default()
    }

    /// The seconds since 1970.
    pub(crate) fn seconds(self) -> f64 {
        Duration::try_from(self.0.as_duration()).unwrap_or_default().as_secs_f64()
    }

    /// The time in RFC 3339, to the second.
    pub(crate) fn written(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}
