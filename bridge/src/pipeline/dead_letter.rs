//! Keeps messages that can never be posted under a subject of their own, with the reason.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{
        context::{PublishError, PublishErrorKind},
        publish::PublishAck,
        stream::{Config as StreamConfig, DiscardPolicy},
    },
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::{
    failure::chain,
    message::{RouteName, StreamId},
    nats::{
        Nats, headers,
        streams::{self, StreamError},
    },
    reserved::{DEAD_LETTERS_STREAM, SUBJECT_HEADER},
    signature::{Purpose, Signer, SigningKey},
    source::{Delivery, Upstream},
    subject::Subject,
};

/// The total size of the dead letters that are kept, in bytes.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// The time for which dead letters are kept.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);

/// The number of dead letters that are kept on one subject. Each route has two: the first ones, which explain a failure
/// best, stay on `<prefix>.<route>`; when that is full, the next ones go to `<prefix>.<route>.later`, where the newest
/// replace the oldest. With the limit on the size of each, every route has its own share of the stream, and a publisher
/// who fills one share pushes out nothing of other routes.
const KEPT_ON_SUBJECT: i64 = 250;

/// The last token of the subject of those for which there is no room among the first ones.
const LATER: &str = "later";

/// The longest time to wait for the number of dead letters that are kept.
const COUNTING: Duration = Duration::from_secs(2);

/// The time for which the dead letters are not counted again if there was no answer, or another stream keeps them.
const UNCOUNTED: Duration = Duration::from_mins(10);

/// The interval of reports that dead letters were pushed out.
const SAID_AGAIN: Duration = Duration::from_hours(1);

/// The part of a payload that is kept, in bytes, if the original stream keeps the whole message.
const HEAD: usize = 8 * 1024;

/// The part of the server's `max_payload` that is reserved for headers, in bytes.
const HEADERS_AT_MOST: usize = 16 * 1024;

/// The part of that which the message's own headers may take, in bytes.
const OWN_HEADERS_AT_MOST: usize = 4 * 1024;

/// The longest reason in bytes; a homeserver's error text can be of any length.
const REASON_AT_MOST: usize = 2 * 1024;

/// The longest subject in bytes. Percent-encoded it may be three times as long.
const SUBJECT_AT_MOST: usize = 1024;

/// The headers that each dead letter has: the reason, and the stream and the number of the message.
const REASON_HEADER: &str = "Nats-Matrix-Reason";

const STREAM_HEADER: &str = "Nats-Matrix-Stream";

const SEQUENCE_HEADER: &str = "Nats-Matrix-Sequence";

/// The destination of a route's dead letters.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    nats: Nats,
    prefix: Subject,
    subject: String,
    /// Makes the ids of dead letters. Somebody else may publish to the stream that keeps them. If he could guess the id of
    /// the next one, he could use it first, and the server would take ours for a repetition.
    ids: Signer,
    /// Whether the stream also keeps messages that are done with.
    has_originals: bool,
    /// The time until which the dead letters are not counted.
    uncounted_until: Option<Instant>,
    /// The number of dead letters that were pushed out and not reported in the log, and the time of the last report.
    pushed_out: u64,
    said: Option<Instant>,
}

/// A dead letter that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) subject: String,
    /// Whether an older one was given up for it.
    pub(crate) has_pushed_out: bool,
}

/// The subject for the next dead letter.
struct Place {
    subject: String,
    /// Whether as many are kept there as may be.
    is_full: bool,
}

/// The server's answer about the dead letters on a subject.
#[derive(Deserialize)]
struct Count {
    config: Option<Limits>,
    state: Option<Subjects>,
}

#[derive(Deserialize)]
struct Limits {
    #[serde(default, rename = "max_msgs_per_subject")]
    on_subject: i64,
}

#[derive(Deserialize)]
struct Subjects {
    #[serde(default)]
    subjects: BTreeMap<String, i64>,
}

impl DeadLetters {
    /// Creates the destination of one route's dead letters, under `<prefix>.<route>`.
    pub(crate) fn of(nats: Nats, prefix: &Subject, route: &RouteName, key: &SigningKey) -> Self {
        let subject = format!("{prefix}.{route}");
        Self {
            nats,
            subject,
            ids: key.signer(Purpose::DeadLetterIds),
            prefix: prefix.clone(),
            has_originals: false,
            uncounted_until: None,
            pushed_out: 0,
            said: None,
        }
    }

    /// Notes the properties of the stream that the next messages come from.
    pub(crate) fn note(&mut self, upstream: &Upstream) {
        self.has_originals = upstream.keeps_messages;
    }

    /// Publishes the message with what is known of it in its headers, and waits until a stream has it. Creates a stream
    /// when there is none.
    ///
    /// # Errors
    ///
    /// [`NotKept::TooLarge`] if no stream takes the message, however much is left out. After the others the caller
    /// should try again.
    pub(crate) async fn keep(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
        reason: &str,
    ) -> Result<Kept, NotKept> {
        let Place { subject, is_full } = self.place().await;
        let max_payload = self.nats.max_payload();
        let room = max_payload.saturating_sub(HEADERS_AT_MOST);
        let room = if self.has_originals { room.min(HEAD) } else { room };
        // A stream that somebody has set up for dead letters may only take small messages.
        let shares = [Share { payload: room, headers: OWN_HEADERS_AT_MOST }, Share::default()];
        for share in shares {
            let letter = self.letter(delivery, stream, reason, share);
            match self.publish_or_make(&subject, &letter, &stream.stream).await {
                Ok(ack) => {
                    let has_pushed_out = is_full && !ack.duplicate;
                    if has_pushed_out {
                        self.note_pushed_out(&subject);
                    }
                    return Ok(Kept { subject, has_pushed_out });
                }
                Err(NotKept::TooLarge) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NotKept::TooLarge)
    }

    /// Finds out where there is room for the next dead letter. A stream that somebody else has set up has limits of its
    /// own, so everything goes to one subject there.
    async fn place(&mut self) -> Place {
        let first = Place { subject: self.subject.clone(), is_full: false };
        if self.uncounted_until.is_some_and(|until| Instant::now() < until) {
            return first;
        }
        let later = format!("{}.{LATER}", self.subject);
        let counts = async {
            match self.count(&self.subject).await {
                Ok(Some((count, limit))) if limit > 0 && count >= limit => {
                    self.count(&later).await.map(|counted| (true, counted))
                }
                counted => counted.map(|counted| (false, counted)),
            }
        };
        let counted = timeout(COUNTING, counts).await.map_err(|_| "no answer".to_owned());
        match counted.and_then(|counted| counted) {
            Ok((true, Some((count, limit)))) => {
                return Place { subject: later, is_full: count >= limit };
            }
            // There is room among the first ones, or no such stream yet.
            Ok(_) => {}
            Err(reason) => {
                debug!(
                    "the dead letters of stream {DEAD_LETTERS_STREAM} are not counted: {reason}"
                );
                self.uncounted_until = Some(Instant::now() + UNCOUNTED);
            }
        }
        first
    }

    /// Returns how many dead letters are kept on a subject of our own stream, and how many may be. `None` if there is no
    /// such stream.
    async fn count(&self, subject: &str) -> Result<Option<(i64, i64)>, String> {
        let asked = json!({ "subjects_filter": subject });
        let answer: Result<Count, _> =
            self.nats.jetstream.request(format!("STREAM.INFO.{DEAD_LETTERS_STREAM}"), &asked).await;
        let Count { config, state } = answer.map_err(|error| chain(&error))?;
        let count = state.and_then(|state| state.subjects.get(subject).copied());
        Ok(config.map(|limits| (count.unwrap_or(0), limits.on_subject)))
    }

    /// Logs, not too often, that older dead letters had to make room.
    fn note_pushed_out(&mut self, subject: &str) {
        self.pushed_out += 1;
        if self.said.is_some_and(|said| said.elapsed() < SAID_AGAIN) {
            return;
        }
        warn!(
            "there are more dead letters than are kept: the first ones stay on {}, and of those on {subject} the newest \
             push out the oldest, {} by now; find out what makes them, and read or purge those of stream {DEAD_LETTERS_STREAM}",
            self.subject, self.pushed_out
        );
        self.said = Some(Instant::now());
        self.pushed_out = 0;
    }

    /// Publishes a letter on a message of the stream `origin`, and creates a stream for it if there is none.
    async fn publish_or_make(
        &self,
        subject: &str,
        letter: &Letter,
        origin: &str,
    ) -> Result<PublishAck, NotKept> {
        match self.publish(subject, letter).await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {}
            published => return published.map_err(|error| self.not_kept(error)),
        }
        // No stream has been set up before the first dead letter.
        let made = streams::ensure(&self.nats, stream_config(&self.prefix), origin).await;
        made.map_err(|error| NotKept::NoStream { prefix: self.prefix.to_string(), error })?;
        self.publish(subject, letter).await.map_err(|error| self.not_kept(error))
    }

    /// Whether a message is a dead letter of any route, delivered under its own subject, or under another one after a
    /// stream has copied it by a source, a transform or a republication.
    pub(crate) fn have(&self, delivery: &Delivery) -> bool {
        is_below(&self.prefix, delivery.subject()) || is_marked(delivery.headers())
    }

    /// Returns the subject that the first dead letters are published on.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the letter that is kept of a message, with at most `share` of its payload and headers.
    fn letter(&self, delivery: &Delivery, stream: &StreamId, reason: &str, share: Share) -> Letter {
        let (mut headers, left_out) = bounded(&delivery.own_headers(), share.headers);
        let mut set = |name, text: &str| headers::set(&mut headers, name, text);
        let left_out = left_out + delivery.headers_left_out;
        if left_out > 0 {
            set("Nats-Matrix-Headers-Left-Out", &left_out.to_string());
        }
        set(REASON_HEADER, &head(reason, REASON_AT_MOST).replace(['\r', '\n'], " "));
        set(STREAM_HEADER, &stream.stream);
        set(SEQUENCE_HEADER, &delivery.sequence.to_string());
        set(SUBJECT_HEADER, head(delivery.subject(), SUBJECT_AT_MOST));
        // Published twice, as after a kill, the letter is kept once.
        set("Nats-Msg-Id", &self.id(stream, delivery));
        let mut payload = delivery.payload().clone();
        if payload.len() > share.payload {
            set("Nats-Matrix-Cut", &format!("{} of {} bytes", share.payload, payload.len()));
            payload.truncate(share.payload);
        }
        Letter { headers, payload }
    }

    /// Returns the id of the dead letter of a message. A message is the same one in a stream that was restored from a
    /// backup.
    fn id(&self, stream: &StreamId, delivery: &Delivery) -> String {
        let (published, number) = (delivery.published.as_nanosecond(), delivery.sequence);
        let parts = [&self.subject, &stream.stream, &published.to_string(), &number.to_string()];
        self.ids.sign(parts)
    }

    async fn publish(&self, subject: &str, letter: &Letter) -> Result<PublishAck, PublishError> {
        let Letter { headers, payload } = letter.clone();
        let jetstream = &self.nats.jetstream;
        jetstream.publish_with_headers(subject.to_owned(), headers, payload).await?.await
    }

    fn not_kept(&self, error: PublishError) -> NotKept {
        match error.kind() {
            _ if streams::is_too_large(&error) => NotKept::TooLarge,
            PublishErrorKind::TimedOut => {
                NotKept::Unanswered { subject: self.subject.clone(), error }
            }
            _ => NotKept::Unpublished(error),
        }
    }
}

/// Returns the configuration that the stream of dead letters is created with.
pub(crate) fn stream_config(prefix: &Subject) -> StreamConfig {
    StreamConfig {
        name: DEAD_LETTERS_STREAM.to_owned(),
        description: Some(
            "Messages that nats-matrix could not post, with the reason in their headers".to_owned(),
        ),
        subjects: vec![format!("{prefix}.>")],
        max_bytes: KEPT_BYTES,
        max_messages_per_subject: KEPT_ON_SUBJECT,
        max_age: KEPT_FOR,
        discard: DiscardPolicy::Old,
        ..StreamConfig::default()
    }
}

/// Whether a message is a dead letter of any route under its own subject. Somebody else's message there is none.
pub(crate) fn is_dead_letter(prefix: &Subject, subject: &str, headers: Option<&HeaderMap>) -> bool {
    is_below(prefix, subject) && is_marked(headers)
}

fn is_below(prefix: &Subject, subject: &str) -> bool {
    subject.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether a message has the headers of a dead letter.
fn is_marked(headers: Option<&HeaderMap>) -> bool {
    let has = |name: &&str| headers.is_some_and(|headers| headers.get(*name).is_some());
    [REASON_HEADER, STREAM_HEADER, SEQUENCE_HEADER].iter().all(has)
}

/// The limits of what is kept of a message, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    payload: usize,
    headers: usize,
}

/// A dead letter, ready to be published.
#[derive(Debug, Clone)]
struct Letter {
    headers: HeaderMap,
    payload: Bytes,
}

/// The reason why a letter is not kept.
#[derive(Debug, Error)]
pub(crate) enum NotKept {
    /// The letter is larger than the server, or a stream, accepts.
    #[error("it is larger than the server, or a stream, accepts")]
    TooLarge,
    /// No stream takes dead letters, and none was created.
    #[error(
        "no stream keeps dead letters ({}): let one take \"{prefix}.>\", or set nats.dead_letter_subject to a subject that \
         one takes", chain(.error)
    )]
    NoStream {
        /// The beginning of the subjects of all dead letters.
        prefix: String,
        /// The reason why no stream was created.
        #[source]
        error: StreamError,
    },
    /// There was no answer. A missing permission looks like a time-out, too.
    #[error("{} (the user under [nats] has to publish on {subject})", chain(.error))]
    Unanswered {
        /// The subject of the letter.
        subject: String,
        /// The client's reason.
        #[source]
        error: PublishError,
    },
    /// The letter was not published, which may pass.
    #[error(transparent)]
    Unpublished(PublishError),
}

/// Returns the beginning of a text, of at most `bytes` bytes.
fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Returns as many of the headers as fit, and how many are left out.
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
