//! What was delivered and is not acknowledged, read from the stream itself: as JSON, with the headers encoded.
//!
//! To have it delivered again would take until `ack_wait` is over. And a message whose headers the client cannot read,
//! as any publisher may store one, would break the connection again each time (`async-nats`, pull request 1612).

use std::collections::BTreeMap;

use async_nats::{
    HeaderMap, HeaderName, HeaderValue, Message,
    jetstream::{
        self, ErrorCode,
        consumer::{Config as ConsumerConfig, DeliverPolicy, Info as ConsumerInfo},
        context::{RequestError, RequestErrorKind},
        response::Response,
        stream::RawMessage,
    },
};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::json;
use tracing::warn;

use super::{Delivery, consumer::Problem};
use crate::{failure::chain, nats::Nats};

/// The server's answer to `STREAM.MSG.GET`.
#[derive(Deserialize)]
struct Stored {
    message: RawMessage,
}

/// Reads it, in the stream's order. What the stream no longer has is left out; what was acknowledged
/// may be among it, if the server has not noted all of that.
pub(super) async fn read(nats: &Nats, info: &ConsumerInfo) -> Result<Vec<Delivery>, Problem> {
    let config = &info.config;
    let begin = match config.deliver_policy {
        DeliverPolicy::ByStartSequence { start_sequence } => start_sequence,
        _ => 1,
    };
    let since = match config.deliver_policy {
        DeliverPolicy::New => Some(info.created),
        DeliverPolicy::ByStartTime { start_time } => Some(start_time),
        _ => None,
    };
    // Of a consumer that has acknowledged nothing the server may say that it began with the stream.
    let begin = begin.max(info.ack_floor.stream_sequence + 1);
    let mut stored = BTreeMap::new();
    for filter in filters(config) {
        let mut first = begin;
        while first <= info.delivered.stream_sequence {
            let next = stored_from(nats, &info.stream_name, first, filter).await?;
            let Some(next) = next.filter(|next| next.sequence <= info.delivered.stream_sequence)
            else {
                break;
            };
            first = next.sequence + 1;
            if since.is_none_or(|since| next.time >= since) {
                stored.insert(next.sequence, next);
            }
        }
    }
    let mut after = info.num_pending + stored.len() as u64;
    let deliveries = stored.into_values().map(|stored| {
        after -= 1;
        delivery(nats, info, stored, after).map_err(Problem::Passing)
    });
    deliveries.collect()
}

/// That messages of the stream may be read, before that is needed.
pub(crate) async fn check(nats: &Nats, stream: &str) -> Result<(), Problem> {
    stored_from(nats, stream, u64::MAX, ">").await.map(drop)
}

fn filters(config: &ConsumerConfig) -> Vec<&str> {
    match config.filter_subject.as_str() {
        "" if config.filter_subjects.is_empty() => vec![">"],
        "" => config.filter_subjects.iter().map(String::as_str).collect(),
        one => vec![one],
    }
}

/// The first message on a subject from that sequence on.
async fn stored_from(
    nats: &Nats,
    stream: &str,
    first: u64,
    subject: &str,
) -> Result<Option<RawMessage>, Problem> {
    let request = json!({ "seq": first, "next_by_subj": subject });
    let answer = nats.jetstream.request(format!("STREAM.MSG.GET.{stream}"), &request).await;
    match answer {
        Ok(Response::Ok(Stored { message })) => Ok(Some(message)),
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
            Ok(None)
        }
        Ok(Response::Err { error }) => {
            Err(Problem::Passing(format!("message {first} of stream {stream}: {}", chain(&error))))
        }
        Err(error) => Err(unanswered(stream, &error)),
    }
}

fn unanswered(stream: &str, error: &RequestError) -> Problem {
    // So it is where the permission is missing.
    let hint = match error.kind() {
        RequestErrorKind::TimedOut => {
            format!(": the user under [nats] has to publish on $JS.API.STREAM.MSG.GET.{stream}")
        }
        _ => String::new(),
    };
    Problem::Passing(format!(
        "no answer about a message of stream {stream}: {}{hint}",
        chain(error)
    ))
}

/// As it would be delivered, with so many after it.
fn delivery(
    nats: &Nats,
    info: &ConsumerInfo,
    stored: RawMessage,
    after: u64,
) -> Result<Delivery, String> {
    let RawMessage { subject, sequence, payload, headers, time } = stored;
    let (stream, consumer) = (&info.stream_name, &info.name);
    let decoded = |text: String| {
        let bytes = BASE64.decode(text.as_bytes());
        bytes.map_err(|error| format!("message {sequence} of stream {stream}: {error}"))
    };
    let (headers, unreadable) = headers.map(decoded).transpose()?.map_or_else(
        || (HeaderMap::new(), 0),
        |headers| readable(&String::from_utf8_lossy(&headers)),
    );
    if unreadable > 0 {
        warn!(
            "stream {stream}: message {sequence} on {subject} has headers that no client can read; it is shown without {unreadable} of them"
        );
    }
    // The form of nats-server's ADR-15. The server finds what is acknowledged by the sequence in the stream alone, and
    // wants one of the consumer that it has given.
    let (given, published) = (info.delivered.consumer_sequence, time.unix_timestamp_nanos());
    let reply = format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.{given}.{published}.{after}");
    let payload = decoded(payload)?;
    let message = Message {
        length: payload.len(),
        subject: subject.into(),
        reply: Some(reply.into()),
        payload: payload.into(),
        headers: Some(headers),
        status: None,
        description: None,
    };
    let message = jetstream::Message { message, context: nats.jetstream.clone() };
    let delivery = Delivery::new(message).map(|(delivery, _)| delivery);
    delivery.ok_or_else(|| format!("stream {stream}: message {sequence} has no place in it"))
}

/// What can be read of headers as they are stored, in the way of the client, and how many cannot.
fn readable(stored: &str) -> (HeaderMap, usize) {
    let (mut headers, mut unreadable) = (HeaderMap::new(), 0);
    // The first line is the version.
    let mut lines = stored.lines().skip(1).filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let Some((name, value)) = line.split_once(':') else {
            unreadable += 1;
            continue;
        };
        let mut value = value.trim_start().to_owned();
        while let Some(folded) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(folded);
        }
        // A break that is none for NATS.
        let value = value.trim_end().replace('\r', " ").parse::<HeaderValue>();
        match (name.parse::<HeaderName>(), value) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => unreadable += 1,
        }
    }
    (headers, unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_headers_is_read_what_can_be() {
        let stored = "NATS/1.0 404 x\r\nX-Y: a\r\nX-Y:b \r\n c\r\nno colon\r\nno name: d\r\nX-Z: e\rf\nX-W: g\r\n\r\n";
        let (headers, unreadable) = readable(stored);
        let all: Vec<&str> = headers.get_all("X-Y").map(HeaderValue::as_str).collect();
        assert_eq!((all, unreadable), (vec!["a", "b  c"], 2));
        assert_eq!(headers.get("X-Z").map(HeaderValue::as_str), Some("e f"));
        assert_eq!(headers.get("X-W").map(HeaderValue::as_str), Some("g"));
        assert!(readable("").0.is_empty() && readable("NATS/1.0\r\n\r\n").0.is_empty());
    }
}
