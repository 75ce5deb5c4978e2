//! The time that has passed, as the clock of this host shows it.

use jiff::{SignedDuration, Timestamp};

/// Returns the time since then; zero if the clock was set back.
pub(crate) fn age(then: Timestamp) -> SignedDuration {
    passed(then, Timestamp::now())
}

/// Returns the time between two points in time; zero if the clock was set back between them.
pub(crate) fn passed(from: Timestamp, to: Timestamp) -> SignedDuration {
    to.duration_since(from).max(SignedDuration::ZERO)
}
