//! A message with everything that is known about it, for templates.

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;

use crate::message::Decoded;

/// A message with everything that is known about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    /// The subject that it was published on.
    pub subject: &'a str,
    /// Its headers.
    pub headers: Option<&'a HeaderMap>,
    /// The stream that holds it.
    pub stream: &'a str,
    /// Its sequence number in the stream.
    pub sequence: u64,
    /// The time at which the stream stored it.
    pub published: Timestamp,
    /// The route that shows it.
    pub route: &'a str,
    /// The decoded payload.
    pub decoded: &'a Decoded,
    /// The published bytes.
    pub original: &'a Bytes,
}

/// The header by which a publisher asks to see in the room what is wrong with a message.
const SHOW_FLAW: &str = "Nats-Matrix-Show-Flaw";

impl<'a> Incoming<'a> {
    /// Whether the publisher asks to see in the room what is wrong with the message.
    pub(crate) fn asks_for_flaw(&self) -> bool {
        let value = self.headers.and_then(|headers| headers.get(SHOW_FLAW));
        value.is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false" | "no"))
    }

    /// Builds a sample message as if it came in on a subject.
    pub(crate) fn sample(
        subject: &'a str,
        route: &'a str,
        decoded: &'a Decoded,
        original: &'a Bytes,
    ) -> Self {
        let (stream, published) = ("OPS", SAMPLES_PUBLISHED);
        Self { subject, headers: None, stream, sequence: 1, published, route, decoded, original }
    }
}

/// The time at which samples come in: 2026-11-23 06:40 UTC, soon after most of the events in them.
pub(crate) const SAMPLES_PUBLISHED: Timestamp = Timestamp::constant(1_795_416_000, 0);
