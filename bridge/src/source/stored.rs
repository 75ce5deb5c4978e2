//! Single messages, read from the stream itself: as JSON, with the headers encoded, so that also those can be read
//! whose headers break the connection of a client (`async-nats`, pull request 1612). Any publisher may store one.

use async_nats::{
    HeaderMap, HeaderName, HeaderValue, Message,
    jetstream::{
        self, ErrorCode,
        context::{RequestError, RequestErrorKind},
        response::Response,
        stream::RawMessage,
    },
};
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use tracing::warn;

use super::consumer::Problem;
use crate::{failure::chain, nats::Nats};

/// The server's answer to `STREAM.MSG.GET`.
#[derive(Deserialize)]
struct Answer {
    message: RawMessage,
}

/// A message as the stream has it.
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) published: OffsetDateTime,
    pub(crate) message: Message,
}

impl Stored {
    /// The first message from a sequence on, on a subject that one of the filters matches.
    pub(crate) async fn first(
        nats: &Nats,
        stream: &str,
        from: u64,
        filters: &[&str],
    ) -> Result<Option<Self>, Problem> {
        let mut first: Option<RawMessage> = None;
        for filter in filters {
            let found = get(nats, stream, from, filter).await?;
            if let Some(found) = found
                && first.as_ref().is_none_or(|first| found.sequence < first.sequence)
            {
                first = Some(found);
            }
        }
        first.map(|raw| Self::read(stream, raw).map_err(Problem::Passing)).transpose()
    }

    /// As a consumer would deliver it, with that address for the acknowledgement.
    pub(crate) fn delivered(self, nats: &Nats, reply: Option<String>) -> jetstream::Message {
        let message = Message { reply: reply.map(Into::into), ..self.message };
        jetstream::Message { message, context: nats.jetstream.clone() }
    }

    fn read(stream: &str, raw: RawMessage) -> Result<Self, String> {
        let RawMessage { subject, sequence, payload, headers, time } = raw;
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

/// That messages of the stream may be read, before that is needed.
pub(crate) async fn check(nats: &Nats, stream: &str) -> Result<(), Problem> {
    get(nats, stream, u64::MAX, ">").await.map(drop)
}

async fn get(
    nats: &Nats,
    stream: &str,
    from: u64,
    filter: &str,
) -> Result<Option<RawMessage>, Problem> {
    let request = json!({ "seq": from, "next_by_subj": filter });
    let answer = nats.jetstream.request(format!("STREAM.MSG.GET.{stream}"), &request).await;
    match answer {
        Ok(Response::Ok(Answer { message })) => Ok(Some(message)),
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
            Ok(None)
        }
        Ok(Response::Err { error }) => {
            Err(Problem::Passing(format!("message {from} of stream {stream}: {}", chain(&error))))
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
