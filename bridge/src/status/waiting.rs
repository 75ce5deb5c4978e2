//! The messages that wait for a route.

use async_nats::jetstream::stream::Info as StreamInfo;
use time::OffsetDateTime;

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
    pub(crate) published: OffsetDateTime,
}

impl First {
    /// Whether the message may still be the first one of the stream at or after the sequence `from`.
    pub(crate) fn is_in(self, stream: &StreamInfo, from: u64) -> bool {
        let state = &stream.state;
        let (first, last) = (state.first_sequence.max(from), state.last_sequence);
        (first..=last).contains(&self.sequence) && self.published >= stream.created
    }
}
