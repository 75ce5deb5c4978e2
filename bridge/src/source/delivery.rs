//! A message as it was delivered.

use std::borrow::Cow;

use async_nats::{
    HeaderMap,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::debug;

use crate::{
    mask,
    message::{Origin, Position, RouteName, StreamId},
    nats::{Reservation, headers, timestamp},
    source::size,
    subject,
};

/// A message as it was delivered.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: jetstream::Message,
    /// The subject that the message was originally published on.
    subject: String,
    /// The subject of the schedule by which the server says it has made the message, if that is another one.
    scheduler: Option<String>,
    /// The time that the room shows for the message: when it was originally published.
    pub(crate) said: Timestamp,
    /// The sequence number of the message in its stream.
    pub(crate) sequence: u64,
    /// The time when the stream stored the message.
    pub(crate) published: Timestamp,
    /// The number of further messages that the server had for the route when it delivered this one.
    pub(crate) pending: u64,
    /// The approximate number of bytes of memory that the message takes.
    pub(crate) weight: usize,
    /// The number of header values that were dropped because there were too many.
    pub(crate) headers_left_out: usize,
    /// Whether the message was delivered before, perhaps to a process that has posted it.
    pub(crate) is_redelivered: bool,
    /// The reserved memory for the message, if it is large.
    pub(crate) reservation: Option<Reservation>,
    pub(crate) received: Instant,
    /// Whether the message was certainly not acknowledged when it was delivered.
    pub(super) is_unacknowledged: bool,
    /// Whether the server had the message as acknowledged when it was read from the stream.
    pub(super) is_acknowledged: bool,
}

impl Delivery {
    pub(crate) fn new(mut message: jetstream::Message) -> Option<(Self, u64)> {
        let info = message.info().ok()?;
        let (sequence, published, pending, delivery) =
            (info.stream_sequence, timestamp(info.published), info.pending, info.consumer_sequence);
        let is_redelivered = info.delivered > 1;
        let subject = message.subject.to_string();
        let scheduler = message.headers.as_ref().and_then(|headers| headers.get("Nats-Scheduler"));
        let scheduler = scheduler.map(ToString::to_string).filter(|it| *it != subject);
        let received = Instant::now();
        let size::Size { weight, headers_left_out } = size::reduce(&mut message);
        let delivery_of = Self {
            message,
            subject,
            scheduler,
            said: published,
            sequence,
            published,
            pending,
            weight,
            headers_left_out,
            is_redelivered,
            reservation: None,
            received,
            is_unacknowledged: false,
            is_acknowledged: false,
        };
        Some((delivery_of, delivery))
    }

    /// Whether the message may have been delivered without its payload, which a consumer with `headers_only` does. A
    /// publisher can write this header, too.
    pub(super) fn may_lack_payload(&self) -> bool {
        let has_size = |headers: &HeaderMap| headers.get("Nats-Msg-Size").is_some();
        self.payload().is_empty() && self.headers().is_some_and(has_size)
    }

    /// Returns the subject that the message was originally published on.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the same subject for the log: a token of it can be a secret.
    pub(crate) fn subject_for_log(&self) -> String {
        mask::for_log(&self.subject)
    }

    /// Gives the copy of a deferred message the subjects and the time of the message, as far as they are known.
    pub(crate) fn restore(
        &mut self,
        subject: Option<String>,
        scheduler: Option<String>,
        published: Option<Timestamp>,
    ) {
        if let Some(subject) = subject {
            self.subject = subject;
        }
        self.scheduler = scheduler;
        self.said = published.unwrap_or(self.said);
    }

    /// Returns the subject of the schedule that has made the message, unless it is that of the message.
    pub(crate) fn scheduler(&self) -> Option<&str> {
        self.scheduler.as_deref()
    }

    /// Returns the subject by which people and alerts tell publishers apart: the one that the message was published on,
    /// with that of a schedule before it.
    pub(crate) fn speaking_subject(&self) -> Cow<'_, str> {
        match &self.scheduler {
            Some(scheduler) => Cow::Owned(subject::scheduled(&self.subject, scheduler)),
            None => Cow::Borrowed(&self.subject),
        }
    }

    /// Returns the payload.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// Returns the headers, if there are any.
    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    /// Returns the publisher's own headers, without those of NATS, which were instructions to the stream that has
    /// stored the message.
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

    /// Returns the origin of the event that shows the given part of the message.
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
