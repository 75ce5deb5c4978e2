//! The reasons why messages cannot be read.

use std::{error::Error, time::Duration};

use async_nats::{
    RequestError, RequestErrorKind,
    jetstream::{
        self,
        context::{ConsumerInfoError, GetStreamError},
    },
};
use data_encoding::DecodeError;
use thiserror::Error;

use crate::{
    failure::{AttemptError, Failure, chain},
    message::RouteName,
    source::pull::PullError,
};

/// The reason why a consumer cannot be used.
pub(crate) type Problem = AttemptError<ReadError>;

/// The reason why messages cannot be read now. It may pass: a server is away, a stream does not exist yet.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// There is no stream of this name.
    #[error(
        "stream {0} does not exist on this NATS server: create it, or correct `stream` of the route"
    )]
    NoStream(String),
    /// The server, or our account on it, has no JetStream.
    #[error("JetStream is not enabled on this NATS server, or not for our account: enable it")]
    NoJetStream,
    /// There is no answer about a stream.
    #[error("no answer about stream {stream}")]
    StreamUnknown {
        /// The name of the stream.
        stream: String,
        /// The client's reason.
        #[source]
        error: GetStreamError,
    },
    /// There is no answer about the `JetStream` domain of a stream.
    #[error("no answer about the domain of stream {stream}")]
    DomainUnknown {
        /// The name of the stream.
        stream: String,
        /// The client's or the server's reason.
        #[source]
        error: ClientError,
    },
    /// There is no answer about a consumer.
    #[error("no answer about consumer {consumer} on stream {stream}")]
    ConsumerUnknown {
        /// The name of the consumer.
        consumer: String,
        /// The name of its stream.
        stream: String,
        /// The client's reason.
        #[source]
        error: ConsumerInfoError,
    },
    /// The server does not let us ask about a consumer.
    #[error(
        "NATS does not let us ask about consumer {consumer} on stream {stream} ({reason}): permit the user under [nats] \
         the subjects for this name, which the documentation lists under NATS permissions, or name another one with \
         `consumer` of the route"
    )]
    ConsumerDenied {
        /// The name of the consumer.
        consumer: String,
        /// The name of its stream.
        stream: String,
        /// The server's words.
        reason: String,
    },
    /// There is no consumer of a route, and no answer about how far the route was.
    #[error(
        "there is no consumer of route {0}, and NATS does not say how far the route was: it is asked again"
    )]
    CheckpointUnknown(RouteName),
    /// A consumer was not created or changed.
    #[error("consumer {consumer} on stream {stream} was not {done}")]
    ConsumerRefused {
        /// The name of the consumer.
        consumer: String,
        /// The name of its stream.
        stream: String,
        /// The thing that was not done: "made" or "changed".
        done: &'static str,
        /// The client's reason.
        #[source]
        error: ClientError,
    },
    /// A consumer was not deleted.
    #[error("consumer {consumer} on stream {stream} was not deleted")]
    ConsumerNotDeleted {
        /// The name of the consumer.
        consumer: String,
        /// The name of its stream.
        stream: String,
        /// The client's reason.
        #[source]
        error: ClientError,
    },
    /// Another request failed.
    #[error(transparent)]
    Request(ClientError),
    /// A connection of its own, for a flow of messages, was not made.
    #[error(transparent)]
    Unconnected(Failure),
    /// The connection broke, as it does at a message that the client cannot read.
    #[error("the connection to NATS broke")]
    ConnectionLost,
    /// The server has announced a message that does not come.
    #[error("NATS delivers no message for {} s", .0.as_secs())]
    Silence(Duration),
    /// The client did not pass on every message.
    #[error("NATS: a message was lost on its way")]
    Gap,
    /// A message was read that names no place in its stream.
    #[error("stream {stream}: message {sequence} has no place in it")]
    NoPlace {
        /// The name of the stream.
        stream: String,
        /// The sequence number of the message.
        sequence: u64,
    },
    /// A flow of messages has ended.
    #[error("NATS: {0}")]
    Pull(#[from] PullError),
    /// A single message was not read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// A message was read neither by itself nor as a consumer does.
    #[error("{}; {}", chain(.alone), chain(.delivered.as_ref()))]
    Neither {
        /// The reason why it was not read by itself.
        alone: StoredError,
        /// The reason why no consumer delivered it.
        #[source]
        delivered: Box<Self>,
    },
}

/// An error of the NATS client, whose many types nobody tells apart.
pub(crate) type ClientError = Box<dyn Error + Send + Sync>;

impl ReadError {
    /// Wraps an error of the NATS client that nobody tells from others.
    pub(crate) fn request(error: impl Into<ClientError>) -> Self {
        Self::Request(error.into())
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        Self::Transient(error)
    }
}

/// The reason why a single message was not read from its stream.
#[derive(Debug, Error)]
pub(crate) enum StoredError {
    /// There is no stream of this name.
    #[error("there is no stream {0}")]
    NoStream(String),
    /// There was no answer. A missing permission looks like a time-out, too.
    #[error("no answer about a message of stream {stream}: {}{}", chain(.error), permission(.stream, .error))]
    Unanswered {
        /// The name of the stream.
        stream: String,
        /// The client's reason.
        #[source]
        error: RequestError,
    },
    /// The answer has neither a message nor an error.
    #[error("an answer without a message about message {wanted} of stream {stream}")]
    NoMessage {
        /// The name of the stream.
        stream: String,
        /// The request.
        wanted: String,
    },
    /// The answer is not the expected JSON.
    #[error("message {wanted} of stream {stream}")]
    NotJson {
        /// The name of the stream.
        stream: String,
        /// The request.
        wanted: String,
        /// The first mistake.
        #[source]
        error: serde_json::Error,
    },
    /// The message in the answer is not in base64.
    #[error("message {sequence} of stream {stream}")]
    NotBase64 {
        /// The name of the stream.
        stream: String,
        /// The sequence number of the message.
        sequence: u64,
        /// The first mistake.
        #[source]
        error: DecodeError,
    },
    /// The server refused the request.
    #[error("message {wanted} of stream {stream}")]
    Refused {
        /// The name of the stream.
        stream: String,
        /// The request.
        wanted: String,
        /// The server's reason.
        #[source]
        error: jetstream::Error,
    },
}

impl StoredError {
    /// Whether there was no usable answer, so that it is unknown whether there is such a message.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self, Self::Unanswered { .. } | Self::NoMessage { .. })
    }
}

/// Returns the advice about a permission, if the error may be the lack of it.
fn permission(stream: &str, error: &RequestError) -> String {
    match error.kind() {
        RequestErrorKind::TimedOut => {
            format!(" (the user under [nats] has to publish on $JS.API.STREAM.MSG.GET.{stream})")
        }
        _ => String::new(),
    }
}
