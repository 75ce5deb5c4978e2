//! The messages that wait for a route.

use jiff::Timestamp;

/// The messages that are not acknowledged, delivered or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// The number of messages; unknown as long as there is no consumer.
    pub(crate) count: Option<u64>,
    /// The first of them, if there is one.
    pub(crate) first: Option<First>,
}

/// A message's position and time in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) sequence: u64,
    pub(crate) published: Timestamp,
}
