//! Reads single messages from the stream itself, as JSON with the headers encoded. So even messages can be read whose
//! headers break the connection of a client (`async-nats`, pull request 1612); any publisher may store one.
//!
//! In JSON a message is larger by a third, which a slow link may not transfer in time, and a leaf node not at all (from
//! nats-server 2.14 on it closes the link). Such a message is read as any consumer does.

use std::borrow::Cow;

use async_nats::{
    HeaderMap, HeaderName, HeaderValue, Message, RequestError, RequestErrorKind,
    jetstream::{self, ErrorCode},
};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tracing::warn;

use crate::{
    failure::chain,
    nats::{Nats, Need, Reservation, headers},
    source::{beside, problem::Problem, pull},
    status::First,
};

/// The server's answer to `STREAM.MSG.GET`. Base64 needs no escapes in JSON, so even the largest message is not copied
/// before it is decoded.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    message: Option<RawMessage<'a>>,
    error: Option<jetstream::Error>,
}

/// A stored message in the server's JSON.
#[derive(Deserialize)]
struct RawMessage<'a> {
    subject: String,
    #[serde(rename = "seq")]
    sequence: u64,
    #[serde(borrow, default, rename = "data")]
    payload: Cow<'a, str>,
    #[serde(borrow, rename = "hdrs")]
    headers: Option<Cow<'a, str>>,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
}

/// A message as it is stored in the stream.
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) published: OffsetDateTime,
    pub(crate) message: Message,
}

/// The reason why a message was not read.
pub(crate) enum Unread {
    /// There was no answer.
    NoAnswer,
    /// The server refused the request, for this reason.
    Refused(String),
}

impl From<Stored> for First {
    fn from(stored: Stored) -> Self {
        Self { sequence: stored.sequence, published: stored.published }
    }
}

impl Stored {
    /// Returns the first message from a sequence number on, on a subject that one of the filters matches, read into
    /// reserved memory.
    pub(crate) async fn first(
        nats: &Nats,
        stream: &str,
        from: u64,
        filters: &[&str],
        memory: &Reservation,
    ) -> Result<Option<Self>, Problem> {
        let mut first: Option<Self> = None;
        for filter in filters {
            let found = Self::first_on(nats, stream, from, filter, memory)
                .await
                .map_err(Problem::Passing)?;
            if let Some(found) = found
                && first.as_ref().is_none_or(|first| found.sequence < first.sequence)
            {
                first = Some(found);
            }
        }
        Ok(first)
    }

    async fn first_on(
        nats: &Nats,
        stream: &str,
        from: u64,
        filter: &str,
        memory: &Reservation,
    ) -> Result<Option<Self>, String> {
        let wanted = json!({ "seq": from, "next_by_subj": filter });
        let unanswered = match get(nats, stream, &wanted).await? {
            Got::Message(message) => return Ok(Some(*message)),
            Got::Nothing => return Ok(None),
            Got::NoStream => return Err(format!("there is no stream {stream}")),
            Got::NoAnswer(reason) => reason,
        };
        let delivered = beside::first(nats, stream, from, filter, memory).await;
        let delivered = delivered.map_err(|reason| format!("{unanswered}; {reason}"))?;
        Ok(delivered.and_then(|message| {
            let info = message.info().ok()?;
            let (sequence, published) = (info.stream_sequence, info.published);
            Some(Self { sequence, published, message: message.message })
        }))
    }

    /// Returns the last message on a subject, which may have wildcards, read into reserved memory. `None` also if there
    /// is no such stream.
    pub(crate) async fn last(
        nats: &Nats,
        stream: &str,
        subject: &str,
        _memory: &Reservation,
    ) -> Result<Option<Self>, Unread> {
        match get(nats, stream, &json!({ "last_by_subj": subject })).await {
            Ok(Got::Message(message)) => Ok(Some(*message)),
            Ok(Got::Nothing | Got::NoStream) => Ok(None),
            Ok(Got::NoAnswer(_)) => Err(Unread::NoAnswer),
            Err(reason) => Err(Unread::Refused(reason)),
        }
    }

    /// Returns the message as a consumer would deliver it, with this address for the acknowledgement.
    pub(crate) fn delivered(self, nats: &Nats, reply: Option<String>) -> jetstream::Message {
        let message = Message { reply: reply.map(Into::into), ..self.message };
        jetstream::Message { message, context: nats.jetstream.clone() }
    }

    fn read(stream: &str, raw: RawMessage<'_>) -> Result<Self, String> {
        let RawMessage { subject, sequence, payload, headers, time } = raw;
        let decoded = |text: Cow<'_, str>| {
            let bytes = BASE64.decode(text.as_bytes());
            bytes.map_err(|error| format!("message {sequence} of stream {stream}: {error}"))
        };
        let (headers, unreadable) = headers.map(decoded).transpose()?.map_or_else(
            || (HeaderMap::new(), 0),
            |headers| readable(&String::from_utf8_lossy(&headers)),
        );
        if unreadable > 0 {
            warn!(
                "stream {stream}: message {sequence} on {subject} has headers that no client can read; it is read without {unreadable} of them"
            );
        }
        let payload = decoded(payload)?;
        let message = Message {
            length: payload.len(),
            subject: subject.into(),
            reply: None,
            payload: payload.into(),
            headers: Some(headers),
            status: None,
            description: None,
        };
        Ok(Self { sequence, published: time, message })
    }
}

/// The memory that is needed to read a message whose size is not known.
pub(crate) fn need(nats: &Nats) -> Need {
    Need::Stored(pull::largest(nats))
}

/// Checks ahead of time that messages of the stream may be read.
pub(crate) async fn check(nats: &Nats, stream: &str) -> Result<(), Problem> {
    match get(nats, stream, &json!({ "seq": u64::MAX, "next_by_subj": ">" })).await {
        Ok(Got::Message(_) | Got::Nothing | Got::NoStream) => Ok(()),
        Ok(Got::NoAnswer(reason)) | Err(reason) => Err(Problem::Passing(reason)),
    }
}

/// The server's answer to a request for a message.
enum Got {
    Message(Box<Stored>),
    /// There is no such message.
    Nothing,
    NoStream,
    /// There is no usable answer, for this reason.
    NoAnswer(String),
}

async fn get(nats: &Nats, stream: &str, wanted: &Value) -> Result<Got, String> {
    let subject = nats.api(&format!("STREAM.MSG.GET.{stream}"));
    let answer = match nats.client.request(subject, wanted.to_string().into()).await {
        Ok(answer) => answer.payload,
        Err(error) => return Ok(Got::NoAnswer(unanswered(stream, &error))),
    };
    let answer: Answer<'_> = serde_json::from_slice(&answer)
        .map_err(|error| format!("message {wanted} of stream {stream}: {error}"))?;
    match answer {
        Answer { message: Some(raw), .. } => {
            nats.note_delivery();
            Stored::read(stream, raw).map(|message| Got::Message(Box::new(message)))
        }
        Answer { error: Some(error), .. } => match error.error_code() {
            ErrorCode::NO_MESSAGE_FOUND => Ok(Got::Nothing),
            ErrorCode::STREAM_NOT_FOUND => Ok(Got::NoStream),
            _ => Err(format!("message {wanted} of stream {stream}: {}", chain(&error))),
        },
        Answer { .. } => Ok(Got::NoAnswer(format!(
            "an answer without a message about message {wanted} of stream {stream}"
        ))),
    }
}

fn unanswered(stream: &str, error: &RequestError) -> String {
    // A missing permission also looks like a time-out.
    let hint = match error.kind() {
        RequestErrorKind::TimedOut => {
            format!(" (the user under [nats] has to publish on $JS.API.STREAM.MSG.GET.{stream})")
        }
        _ => String::new(),
    };
    format!("no answer about a message of stream {stream}: {}{hint}", chain(error))
}

/// Returns the headers that can be read, in the way the client reads them, and how many cannot.
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
        // For NATS a carriage return alone is no line break, but a header value must not contain one.
        let value = value.trim_end().replace('\r', " ").parse::<HeaderValue>();
        match (name.parse::<HeaderName>(), value) {
            (Ok(name), Ok(value)) => headers::add(&mut headers, &name, &value),
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
