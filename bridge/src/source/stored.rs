//! Reads single messages from the stream itself, as JSON with the headers encoded. So even messages can be read whose
//! headers break the connection of a client (`async-nats`, pull request 1612); any publisher may store one.
//!
//! In JSON a message is larger by a third, which a slow link may not transfer in time, and a leaf node not at all (from
//! nats-server 2.14 on it closes the link). Such a message is read as any consumer does.

use std::borrow::Cow;

use async_nats::{
    HeaderMap, HeaderName, HeaderValue, Message,
    jetstream::{self, ErrorCode},
};
use data_encoding::BASE64;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    mask,
    nats::{Nats, Need, Reservation, headers, timestamp},
    source::{
        beside,
        delivery::Delivery,
        problem::{ReadError, StoredError},
        pull,
    },
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
    time: Timestamp,
}

/// A message as it is stored in the stream.
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) published: Timestamp,
    pub(crate) message: Message,
    /// The number of headers that no client can read, and that were left out.
    pub(crate) unreadable: usize,
}

impl From<Stored> for First {
    fn from(stored: Stored) -> Self {
        Self { sequence: stored.sequence, published: stored.published }
    }
}

impl Stored {
    /// Returns the first message from a sequence number on, on a subject that one of the filters matches, read into
    /// reserved memory. Headers that no client can read are logged.
    pub(crate) async fn first(
        nats: &Nats,
        stream: &str,
        from: u64,
        filters: &[impl AsRef<str>],
        memory: &Reservation,
    ) -> Result<Option<Self>, ReadError> {
        let first = Self::first_of_many(nats, stream, from, filters, memory).await?;
        Ok(first.inspect(|first| first.log(stream)))
    }

    /// Returns the first message as [`Stored::first`] does, but logs nothing: where many are read, the caller counts.
    pub(crate) async fn first_of_many(
        nats: &Nats,
        stream: &str,
        from: u64,
        filters: &[impl AsRef<str>],
        memory: &Reservation,
    ) -> Result<Option<Self>, ReadError> {
        let mut first: Option<Self> = None;
        for filter in filters {
            let found = Self::first_on(nats, stream, from, filter.as_ref(), memory).await?;
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
    ) -> Result<Option<Self>, ReadError> {
        let wanted = json!({ "seq": from, "next_by_subj": filter });
        let unanswered = match get(nats, stream, &wanted).await {
            Ok(Got::Message(message)) => return Ok(Some(*message)),
            Ok(Got::Nothing) => return Ok(None),
            Ok(Got::NoStream) => return Err(StoredError::NoStream(stream.to_owned()).into()),
            Err(error) if error.is_unanswered() => error,
            Err(error) => return Err(error.into()),
        };
        let delivered = match beside::first(nats, stream, from, filter, memory).await {
            Ok(delivered) => delivered,
            Err(error) => {
                return Err(ReadError::Neither { alone: unanswered, delivered: error.into() });
            }
        };
        Ok(delivered.and_then(|message| {
            let info = message.info().ok()?;
            let (sequence, published) = (info.stream_sequence, timestamp(info.published));
            Some(Self { sequence, published, message: message.message, unreadable: 0 })
        }))
    }

    /// Returns the last message on a subject, which may have wildcards, read into reserved memory. `None` also if there
    /// is no such stream.
    pub(crate) async fn last(
        nats: &Nats,
        stream: &str,
        subject: &str,
        _memory: &Reservation,
    ) -> Result<Option<Self>, StoredError> {
        match get(nats, stream, &json!({ "last_by_subj": subject })).await? {
            Got::Message(message) => {
                message.log(stream);
                Ok(Some(*message))
            }
            Got::Nothing | Got::NoStream => Ok(None),
        }
    }

    /// Returns the message as a consumer would deliver it. `given` is a consumer sequence that the server has assigned,
    /// if the delivery is to be acknowledged. `time` is 1 for the first delivery.
    ///
    /// # Errors
    ///
    /// The reason why the message has no place in the stream.
    pub(crate) fn delivery(
        self,
        nats: &Nats,
        stream: &str,
        consumer: &str,
        given: u64,
        time: u64,
    ) -> Result<Delivery, ReadError> {
        let (sequence, published) = (self.sequence, self.published.as_nanosecond());
        // The address has the form of nats-server's ADR-15. The server finds the acknowledged message by the stream
        // sequence alone, but requires a consumer sequence that it has assigned.
        let reply = format!("$JS.ACK.{stream}.{consumer}.{time}.{sequence}.{given}.{published}.0");
        let message = Message { reply: Some(reply.into()), ..self.message };
        let message = jetstream::Message { message, context: nats.jetstream.clone() };
        let delivery = Delivery::new(message).map(|(delivery, _)| delivery);
        delivery.ok_or_else(|| ReadError::NoPlace { stream: stream.to_owned(), sequence })
    }

    fn read(stream: &str, raw: RawMessage<'_>) -> Result<Self, StoredError> {
        let RawMessage { subject, sequence, payload, headers, time } = raw;
        let decoded = |text: Cow<'_, str>| {
            let bytes = BASE64.decode(text.as_bytes());
            let stream = || stream.to_owned();
            bytes.map_err(|error| StoredError::NotBase64 { stream: stream(), sequence, error })
        };
        let (headers, unreadable) = headers.map(decoded).transpose()?.map_or_else(
            || (HeaderMap::new(), 0),
            |headers| readable(&String::from_utf8_lossy(&headers)),
        );
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
        Ok(Self { sequence, published: time, message, unreadable })
    }

    fn log(&self, stream: &str) {
        let Self { sequence, message, unreadable, .. } = self;
        if *unreadable > 0 {
            let subject = mask::for_log(&message.subject);
            warn!(
                "stream {stream}: message {sequence} on {subject} has headers that no client can read; it is read without {unreadable} of them"
            );
        }
    }
}

/// The memory that is needed to read a message whose size is not known.
pub(crate) fn need(nats: &Nats) -> Need {
    Need::Stored(pull::largest(nats))
}

/// Checks ahead of time that messages of the stream may be read.
pub(crate) async fn check(nats: &Nats, stream: &str) -> Result<(), StoredError> {
    get(nats, stream, &json!({ "seq": u64::MAX, "next_by_subj": ">" })).await.map(drop)
}

/// The server's answer to a request for a message.
enum Got {
    Message(Box<Stored>),
    /// There is no such message.
    Nothing,
    NoStream,
}

async fn get(nats: &Nats, stream: &str, wanted: &Value) -> Result<Got, StoredError> {
    let subject = nats.config().api(&format!("STREAM.MSG.GET.{stream}"));
    let names = || (stream.to_owned(), wanted.to_string());
    let answer = nats.client.request(subject, wanted.to_string().into()).await;
    let answer = answer
        .map_err(|error| StoredError::Unanswered { stream: stream.to_owned(), error })?
        .payload;
    let answer: Answer<'_> = serde_json::from_slice(&answer).map_err(|error| {
        let (stream, wanted) = names();
        StoredError::NotJson { stream, wanted, error }
    })?;
    match answer {
        Answer { message: Some(raw), .. } => {
            nats.note_delivery();
            Stored::read(stream, raw).map(|message| Got::Message(Box::new(message)))
        }
        Answer { error: Some(error), .. } => match error.error_code() {
            ErrorCode::NO_MESSAGE_FOUND => Ok(Got::Nothing),
            ErrorCode::STREAM_NOT_FOUND => Ok(Got::NoStream),
            _ => {
                let (stream, wanted) = names();
                Err(StoredError::Refused { stream, wanted, error })
            }
        },
        Answer { .. } => {
            let (stream, wanted) = names();
            Err(StoredError::NoMessage { stream, wanted })
        }
    }
}

/// Returns the headers that can be read, in the way the client reads them, and how many cannot.
fn readable(stored: &str) -> (HeaderMap, usize) {
    let (mut headers, mut unreadable) = (HeaderMap::new(), 0);
    // The first line is the version, without which a client does not read the others.
    if !stored.is_empty() && !stored.starts_with("NATS/1.0") {
        unreadable += 1;
    }
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
        assert_eq!(readable("X\r\n\r\n").1, 1);
        assert!(readable("").0.is_empty() && readable("NATS/1.0\r\n\r\n").0.is_empty());
    }
}
