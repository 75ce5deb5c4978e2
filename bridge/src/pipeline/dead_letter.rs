//! Messages that can never be posted: kept under a subject of their own, with the reason.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        context::{PublishError, PublishErrorKind},
        stream::{Config as StreamConfig, DiscardPolicy},
    },
};
use bytes::Bytes;
use tracing::info;

use crate::{
    failure::chain,
    message::{RouteName, StreamId},
    nats::{Nats, headers, limits},
    source::{Delivery, Upstream},
    subject::Subject,
};

/// The stream that is made when no other keeps dead letters.
const STREAM: &str = "NATS_MATRIX_DEAD_LETTERS";

/// How much of them is kept.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);

/// How many of a route are kept. With what one takes at most, a route has its share of the stream, and whoever fills that
/// pushes out nothing of other routes.
const KEPT_OF_ROUTE: i64 = 500;

/// How much of a payload is kept, in bytes, while the stream that it came by keeps the whole.
const HEAD: usize = 8 * 1024;

/// How much of the server's `max_payload` is left for headers.
const HEADERS_AT_MOST: usize = 16 * 1024;

/// How much of that the headers of the message itself may take.
const OWN_HEADERS_AT_MOST: usize = 4 * 1024;

/// The longest reason in bytes; a homeserver's words have no end.
const REASON_AT_MOST: usize = 2 * 1024;

/// The longest subject in bytes, which may be three times as long where it is written as in a URL.
const SUBJECT_AT_MOST: usize = 1024;

/// Where a route's dead letters go.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    nats: Nats,
    prefix: Subject,
    subject: String,
    /// The stream keeps messages that are done with, too.
    has_originals: bool,
}

impl DeadLetters {
    /// Those of one route, under `<prefix>.<route>`.
    pub(crate) fn of(nats: Nats, prefix: &Subject, route: &RouteName) -> Self {
        let subject = format!("{prefix}.{route}");
        Self { nats, subject, prefix: prefix.clone(), has_originals: false }
    }

    /// Notes what the messages are of that come from now on.
    pub(crate) fn note(&mut self, upstream: &Upstream) {
        self.has_originals = upstream.keeps_messages;
    }

    /// Publishes the message with what is known of it in its headers, and waits until a stream has
    /// it. Makes a stream when there is none. False if no stream takes it, however little is left of it.
    ///
    /// # Errors
    ///
    /// Why it is not kept, and what to do; trying again is right.
    pub(crate) async fn keep(
        &self,
        delivery: &Delivery,
        stream: &StreamId,
        reason: &str,
    ) -> Result<bool, String> {
        let max_payload = self.nats.max_payload();
        let room = max_payload.saturating_sub(HEADERS_AT_MOST);
        let room = if self.has_originals { room.min(HEAD) } else { room };
        // A stream that somebody has made for them may take but small ones.
        let shares = [Share { payload: room, headers: OWN_HEADERS_AT_MOST }, Share::default()];
        for share in shares {
            let letter = self.letter(delivery, stream, reason, share);
            match self.publish_or_make(&letter).await {
                Ok(()) => return Ok(true),
                Err(NotKept::TooLarge) => {}
                Err(NotKept::Passing(reason)) => return Err(reason),
            }
        }
        Ok(false)
    }

    /// Publishes a letter, and makes a stream for it if there is none.
    async fn publish_or_make(&self, letter: &Letter) -> Result<(), NotKept> {
        match self.publish(letter).await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {}
            published => return published.map_err(NotKept::from),
        }
        // Nobody has prepared for the first of them.
        self.make_stream().await.map_err(|error| {
            NotKept::Passing(format!(
                "no stream keeps dead letters ({error}): let one take \"{}.>\", or set nats.dead_letter_subject to a subject that one takes",
                self.prefix
            ))
        })?;
        self.publish(letter).await.map_err(NotKept::from)
    }

    /// Whether a subject is of dead letters, of whichever route.
    pub(crate) fn have(&self, subject: &str) -> bool {
        let rest = subject.strip_prefix(self.prefix.as_str());
        rest.is_some_and(|rest| rest.starts_with('.'))
    }

    /// The subject they are published on.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// What is kept of a message: so much of its payload and of its headers.
    fn letter(&self, delivery: &Delivery, stream: &StreamId, reason: &str, share: Share) -> Letter {
        let (mut headers, left_out) = bounded(&delivery.own_headers(), share.headers);
        let mut set = |name, text: &str| headers::set(&mut headers, name, text);
        let left_out = left_out + delivery.headers_left_out;
        if left_out > 0 {
            set("Nats-Matrix-Headers-Left-Out", &left_out.to_string());
        }
        set("Nats-Matrix-Reason", &head(reason, REASON_AT_MOST).replace(['\r', '\n'], " "));
        set("Nats-Matrix-Stream", &stream.stream);
        set("Nats-Matrix-Sequence", &delivery.sequence.to_string());
        set("Nats-Matrix-Subject", head(delivery.subject(), SUBJECT_AT_MOST));
        // Published twice, as after a kill, it is kept once.
        let id = format!("{}.{}.{}", self.subject, stream.created, delivery.sequence);
        set("Nats-Msg-Id", &id);
        let mut payload = delivery.payload().clone();
        if payload.len() > share.payload {
            set("Nats-Matrix-Cut", &format!("{} of {} bytes", share.payload, payload.len()));
            payload.truncate(share.payload);
        }
        Letter { headers, payload }
    }

    async fn publish(&self, letter: &Letter) -> Result<(), PublishError> {
        let Letter { headers, payload } = letter.clone();
        let subject = self.subject.clone();
        let published = self.nats.jetstream.publish_with_headers(subject, headers, payload);
        published.await?.await.map(drop)
    }

    async fn make_stream(&self) -> Result<(), String> {
        let config = StreamConfig {
            name: STREAM.to_owned(),
            description: Some(
                "Messages that nats-matrix could not post, with the reason in their headers"
                    .to_owned(),
            ),
            subjects: vec![format!("{}.>", self.prefix)],
            max_bytes: KEPT_BYTES,
            max_messages_per_subject: KEPT_OF_ROUTE,
            max_age: KEPT_FOR,
            discard: DiscardPolicy::Old,
            ..StreamConfig::default()
        };
        let made: Result<jetstream::stream::Stream, _> =
            self.nats.jetstream.get_or_create_stream(config).await;
        made.map_err(|error| chain(&error))?;
        info!("dead letters are kept in stream {STREAM}");
        Ok(())
    }
}

/// How much of a message is kept, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    payload: usize,
    headers: usize,
}

/// What is kept of a message.
#[derive(Debug, Clone)]
struct Letter {
    headers: HeaderMap,
    payload: Bytes,
}

/// Why a letter is not kept.
enum NotKept {
    /// It is larger than what the server, or a stream, takes.
    TooLarge,
    /// The reason may pass.
    Passing(String),
}

impl From<PublishError> for NotKept {
    fn from(error: PublishError) -> Self {
        if limits::is_too_large(&error) { Self::TooLarge } else { Self::Passing(chain(&error)) }
    }
}

/// The beginning of a text, of at most so many bytes.
fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// As many of the headers as there is room for, and how many are left out.
fn bounded(original: &HeaderMap, room: usize) -> (HeaderMap, usize) {
    let (mut headers, mut left_out, mut size) = (HeaderMap::new(), 0, 0);
    for (name, values) in original.iter() {
        let length = AsRef::<str>::as_ref(name).len();
        for value in values {
            let with_this = size + length + value.as_str().len() + ": \r\n".len();
            if with_this > room {
                left_out += 1;
                continue;
            }
            size = with_this;
            headers::add(&mut headers, name, value);
        }
    }
    (headers, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_publishers_headers_there_are_as_many_as_there_is_room_for() {
        let mut headers = HeaderMap::new();
        headers::set(&mut headers, "Huge", &"h".repeat(OWN_HEADERS_AT_MOST));
        for number in 0..2_000 {
            let value = format!("{number:04}").parse().unwrap();
            headers::add(&mut headers, &"Many".parse().unwrap(), &value);
        }
        let (kept, left_out) = bounded(&headers, OWN_HEADERS_AT_MOST);
        let many = kept.get_all("Many").count();
        assert_eq!((many, left_out), (OWN_HEADERS_AT_MOST / 12, 2_001 - many));
        assert!(bounded(&HeaderMap::new(), OWN_HEADERS_AT_MOST).0.is_empty());
    }
}
