//! A message and all that is known of it, as templates see it.

use async_nats::HeaderMap;
use bytes::Bytes;
use time::OffsetDateTime;

use crate::message::Decoded;

/// Everything that is known of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'a> {
    /// What it was published on.
    pub subject: &'a str,
    /// What came with it.
    pub headers: Option<&'a HeaderMap>,
    /// The stream that holds it.
    pub stream: &'a str,
    /// Its number in the stream.
    pub sequence: u64,
    /// When the stream got it.
    pub published: OffsetDateTime,
    /// The route that takes it.
    pub route: &'a str,
    /// What it says.
    pub decoded: &'a Decoded,
    /// The bytes that were published.
    pub original: &'a Bytes,
}

impl<'a> Incoming<'a> {
    /// A sample as if it came in on a subject.
    pub(crate) fn sample(
        subject: &'a str,
        route: &'a str,
        decoded: &'a Decoded,
        original: &'a Bytes,
    ) -> Self {
        let published = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(SAMPLES_PUBLISHED);
        let stream = "OPS";
        Self { subject, headers: None, stream, sequence: 1, published, route, decoded, original }
    }
}

/// When samples come in: 2026-11-23 06:40 UTC, soon after most of what they tell.
pub(crate) const SAMPLES_PUBLISHED: i64 = 1_795_416_000;
