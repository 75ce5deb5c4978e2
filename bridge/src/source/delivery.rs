//! One message as it was delivered.

use async_nats::{
    HeaderMap,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::debug;

use crate::{
    message::{Origin, Position, RouteName, StreamId},
    nats::{Room, headers},
    reserved,
    source::size,
};

/// A message as it was delivered.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: jetstream::Message,
    /// The subject that it was published on at first.
    subject: String,
    /// When it was said, as people understand it.
    pub(crate) said: OffsetDateTime,
    /// The stream's own number for it.
    pub(crate) sequence: u64,
    /// When the stream stored it.
    pub(crate) published: OffsetDateTime,
    /// How many more the server had for the route when it delivered this one.
    pub(crate) pending: u64,
    /// About how many bytes of memory it takes.
    pub(crate) weight: usize,
    /// How many values of headers are not here, as there were too many.
    pub(crate) headers_left_out: usize,
    /// Room in memory for it, if it is large.
    pub(crate) room: Option<Room>,
    pub(crate) received: Instant,
}

impl Delivery {
    pub(crate) fn new(mut message: jetstream::Message) -> Option<(Self, u64)> {
        let info = message.info().ok()?;
        let (sequence, published, pending, delivery) =
            (info.stream_sequence, info.published, info.pending, info.consumer_sequence);
        let is_held = info.stream == reserved::DEFERRED_STREAM;
        let header = |name: &str| {
            let headers = message.headers.as_ref().filter(|_| is_held)?;
            headers.get(name).map(headers::text)
        };
        let subject =
            header(reserved::SUBJECT_HEADER).unwrap_or_else(|| message.subject.to_string());
        let said = header(reserved::PUBLISHED_HEADER)
            .and_then(|said| OffsetDateTime::from_unix_timestamp_nanos(said.parse().ok()?).ok())
            .unwrap_or(published);
        let received = Instant::now();
        let size::Size { weight, headers_left_out } = size::reduce(&mut message);
        let delivery_of = Self {
            message,
            subject,
            said,
            sequence,
            published,
            pending,
            weight,
            headers_left_out,
            room: None,
            received,
        };
        Some((delivery_of, delivery))
    }

    /// The subject it was published on.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// What was published.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// Its headers, if it has any.
    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    /// The publisher's own headers; those of NATS were instructions to the stream that has taken
    /// the message.
    pub(crate) fn own_headers(&self) -> HeaderMap {
        let is_own =
            |name: &str| !name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("nats-"));
        let headers = self.headers().into_iter().flat_map(HeaderMap::iter);
        let mut own = HeaderMap::new();
        for (name, values) in headers.filter(|(name, _)| is_own(name.as_ref())) {
            for value in values {
                headers::add(&mut own, name, value);
            }
        }
        own
    }

    /// Of the event that shows the message's part of that number.
    pub(crate) fn origin(&self, stream: &StreamId, route: &RouteName, part: u32) -> Origin {
        let position = Position { sequence: self.sequence, part };
        Origin::new(stream.clone(), route, position, self.published)
    }

    pub(crate) async fn answer(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            debug!(sequence = self.sequence, "answer not sent: {error}");
        }
    }
}
