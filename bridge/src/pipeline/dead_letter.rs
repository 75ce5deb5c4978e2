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
use tracing::info;

use crate::{
    failure::chain,
    message::{RouteName, StreamId},
    nats::Nats,
    source::Delivery,
    subject::Subject,
};

/// The stream that is made when no other keeps dead letters.
const STREAM: &str = "NATS_MATRIX_DEAD_LETTERS";

/// How much of them is kept.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);

/// How much of the server's `max_payload` is left for headers.
const HEADERS_AT_MOST: usize = 16 * 1024;

/// How much of that the headers of the message itself may take.
const OWN_HEADERS_AT_MOST: usize = 8 * 1024;

/// The longest reason in bytes; a homeserver's words have no end.
const REASON_AT_MOST: usize = 2 * 1024;

/// Where a route's dead letters go.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    nats: Nats,
    prefix: Subject,
    subject: String,
}

impl DeadLetters {
    /// Those of one route, under `<prefix>.<route>`.
    pub(crate) fn of(nats: Nats, prefix: &Subject, route: &RouteName) -> Self {
        Self { nats, subject: format!("{prefix}.{route}"), prefix: prefix.clone() }
    }

    /// Publishes the message with what is known of it in its headers, and waits until a stream has
    /// it. Makes a stream when there is none.
    ///
    /// # Errors
    ///
    /// Why it is not kept, and what to do; trying again is right.
    pub(crate) async fn keep(
        &self,
        delivery: &Delivery,
        stream: &StreamId,
        reason: &str,
    ) -> Result<(), String> {
        match self.publish(delivery, stream, reason).await {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() != PublishErrorKind::StreamNotFound => {
                return Err(chain(&error));
            }
            // Nobody has prepared for the first of them.
            Err(_) => {}
        }
        self.make_stream().await.map_err(|error| {
            format!(
                "no stream keeps dead letters ({error}): let one take \"{}.>\", or set nats.dead_letter_subject to a subject that one takes",
                self.prefix
            )
        })?;
        self.publish(delivery, stream, reason).await.map_err(|error| chain(&error))
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

    async fn publish(
        &self,
        delivery: &Delivery,
        stream: &StreamId,
        reason: &str,
    ) -> Result<(), PublishError> {
        let (mut headers, left_out) = bounded(&delivery.own_headers());
        let left_out = left_out + delivery.headers_left_out;
        if left_out > 0 {
            headers.insert("Nats-Matrix-Headers-Left-Out", left_out.to_string());
        }
        let reason = &reason[..reason.floor_char_boundary(REASON_AT_MOST)];
        headers.insert("Nats-Matrix-Reason", reason.replace(['\r', '\n'], " "));
        headers.insert("Nats-Matrix-Stream", stream.stream.as_str());
        headers.insert("Nats-Matrix-Sequence", delivery.sequence.to_string());
        headers.insert("Nats-Matrix-Subject", delivery.subject());
        // Published twice, as after a kill, it is kept once.
        let id = format!("{}.{}.{}", self.subject, stream.created, delivery.sequence);
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        let mut payload = delivery.payload().clone();
        let room = self.nats.max_payload().saturating_sub(HEADERS_AT_MOST);
        if payload.len() > room {
            headers.insert("Nats-Matrix-Cut", format!("{} of {} bytes", room, payload.len()));
            payload.truncate(room);
        }
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

/// As many of the headers as there is room for, and how many are left out.
fn bounded(original: &HeaderMap) -> (HeaderMap, usize) {
    let (mut headers, mut left_out, mut size) = (HeaderMap::new(), 0, 0);
    for (name, values) in original.iter() {
        let name: &str = name.as_ref();
        for value in values {
            let with_this = size + name.len() + value.as_str().len() + ": \r\n".len();
            if with_this > OWN_HEADERS_AT_MOST {
                left_out += 1;
                continue;
            }
            size = with_this;
            headers.append(name, value.clone());
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
        headers.insert("Huge", "h".repeat(OWN_HEADERS_AT_MOST));
        for number in 0..2_000 {
            headers.append("Many", format!("{number:04}"));
        }
        let (kept, left_out) = bounded(&headers);
        let many = kept.get_all("Many").count();
        assert_eq!((many, left_out), (OWN_HEADERS_AT_MOST / 12, 2_001 - many));
        assert!(bounded(&HeaderMap::new()).0.is_empty());
    }
}
