//! The event on NATS for each answer of a person, in a stream of the bridge's own.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{
        context::{PublishError, PublishErrorKind},
        stream::{Config as StreamConfig, DiscardPolicy},
    },
};
use matrix_sdk::ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    failure::Failure,
    nats::{
        Nats, headers,
        streams::{self, StreamError},
    },
    reserved::{ANSWERS_PREFIX, ANSWERS_STREAM},
    status::Answered,
};

/// The time for which the stream keeps answers.
const KEPT_FOR: Duration = Duration::from_hours(24 * 30);

/// The size up to which the stream keeps them, in bytes: tens of thousands.
const KEPT_BYTES: i64 = 32 * 1024 * 1024;

/// The size limit of one answer, in bytes.
const LONGEST: i32 = 16 * 1024;

/// The time within which an answer that is published again, as after a kill, is kept once.
pub(super) const ONCE_WITHIN: Duration = Duration::from_hours(24);

/// An answer of a person to an alert in a room.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "nats-matrix answer")]
pub(crate) struct AnswerEvent {
    /// The deed.
    pub(super) action: Action,
    /// The route that shows the alert.
    pub(super) route: String,
    /// The alert: the same text for all answers to it, and for what its next messages say, in this room.
    pub(super) alert: String,
    /// The latest message about the alert.
    pub(super) message: Message,
    /// The Matrix id of whoever did it.
    #[schemars(with = "String")]
    pub(super) who: OwnedUserId,
    /// When it was done, as the homeserver says, in RFC 3339 and UTC.
    pub(super) time: String,
    /// The reaction, or the text of the reply; empty where an answer was taken back.
    pub(super) text: String,
    /// The room.
    #[schemars(with = "String")]
    pub(super) room: OwnedRoomId,
    /// The event that did it, which is also the `Nats-Msg-Id`.
    #[schemars(with = "String")]
    pub(super) event: OwnedEventId,
    /// The first message about the alert in the room.
    #[schemars(with = "String")]
    pub(super) root: OwnedEventId,
}

/// A deed about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Somebody has acknowledged it.
    Ack,
    /// An acknowledgement was taken back.
    Unack,
}

impl From<Action> for Answered {
    fn from(action: Action) -> Self {
        match action {
            Action::Ack => Self::Acknowledged,
            Action::Unack => Self::TakenBack,
        }
    }
}

/// A message in a stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Message {
    /// The stream.
    pub(super) stream: String,
    /// The sequence number in it.
    pub(super) sequence: u64,
}

/// The reason why an answer is not published.
#[derive(Debug, Error)]
pub(super) enum Unpublished {
    /// The server denies it.
    #[error(transparent)]
    Denied(Failure),
    /// No stream takes it, and none was created.
    #[error("no stream keeps answers: {0}")]
    NoStream(#[source] StreamError),
    /// It was not published, which may pass.
    #[error(transparent)]
    Other(#[from] PublishError),
}

impl AnswerEvent {
    fn subject(&self) -> String {
        format!("{ANSWERS_PREFIX}.{}", self.route)
    }

    async fn publish_or_make(&self, nats: &Nats, subject: &str) -> Result<(), Unpublished> {
        match self.publish_once(nats, subject).await {
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {}
            published => return Ok(published?),
        }
        let made = streams::ensure(nats, stream_config(), &self.message.stream).await;
        made.map_err(Unpublished::NoStream)?;
        Ok(self.publish_once(nats, subject).await?)
    }

    async fn publish_once(&self, nats: &Nats, subject: &str) -> Result<(), PublishError> {
        let mut headers = HeaderMap::new();
        headers::set(&mut headers, "Nats-Msg-Id", self.event.as_str());
        let payload = serde_json::to_vec(self).expect("an answer is plain data");
        let jetstream = &nats.jetstream;
        jetstream
            .publish_with_headers(subject.to_owned(), headers, payload.into())
            .await?
            .await
            .map(drop)
    }
}

/// Publishes an event, and waits until a stream has it. Creates the stream if there is none.
pub(super) async fn publish(event: &AnswerEvent, nats: &Nats) -> Result<(), Unpublished> {
    let subject = event.subject();
    tokio::select! {
        biased;
        published = event.publish_or_make(nats, &subject) => published,
        denied = nats.denied(&subject) => Err(Unpublished::Denied(denied)),
    }
}

/// Returns the configuration of the stream of answers.
pub(crate) fn stream_config() -> StreamConfig {
    StreamConfig {
        name: ANSWERS_STREAM.to_owned(),
        description: Some("What people have answered to alerts of nats-matrix".to_owned()),
        subjects: vec![format!("{ANSWERS_PREFIX}.>")],
        max_age: KEPT_FOR,
        max_bytes: KEPT_BYTES,
        max_message_size: LONGEST,
        duplicate_window: ONCE_WITHIN,
        discard: DiscardPolicy::Old,
        ..StreamConfig::default()
    }
}
