//! The meaning of a failed request to the homeserver.

use std::time::{Duration, SystemTime};

use matrix_sdk::{
    HttpError,
    ruma::api::error::{ErrorBody, ErrorKind, RetryAfter},
};
use thiserror::Error;

use crate::{
    failure::chain,
    matrix::neighbour::Stranger,
    status::State,
    text::{head, shown::line},
    tls,
};

/// The keys that decide about TLS.
const TLS_KEYS: tls::Keys =
    tls::Keys { address: "matrix.homeserver", ca: "matrix.ca_file", certificate: None };

/// Describes why there was no answer, and what to do about it if that is known.
fn unanswered(error: &HttpError) -> String {
    if let Some(advice) = tls::Cause::of(error).and_then(|cause| cause.advice(TLS_KEYS)) {
        return advice;
    }
    let reason = chain(error);
    // The path names the request; the query after it is long.
    let (before, after) = reason.split_once('?').unwrap_or((&reason, ""));
    let after = after.split_once(')').map_or(String::new(), |(_, after)| format!("){after}"));
    format!("cannot be reached: {before}{after}")
}

/// The longest wait that a homeserver can ask for. Afterwards it may ask again.
pub(crate) const LONGEST_WAIT_ASKED: Duration = Duration::from_mins(2);

/// The maximum length of a homeserver's error text that is repeated, in characters.
pub(crate) const MAX_REASON_CHARS: usize = 400;

/// The meaning of a failed request for the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum MatrixError {
    /// There was no answer, or one that says nothing about the request (5xx, a proxy's page, a suspended account).
    /// The homeserver may or may not have accepted the request.
    #[error("{0}")]
    Unreachable(String),
    /// The request was not sent, because another user's program has the homeserver's port, or may have it.
    #[error("{0}")]
    Untrusted(String),
    /// The request was not sent, because the room is encrypted and the bridge posts unencrypted events.
    #[error("{0}")]
    Encrypted(String),
    /// The request was not sent, because the room is replaced by another one, and nobody looks at it any more.
    #[error("{0}")]
    Replaced(String),
    /// The answer is longer than any expected one. The homeserver may or may not have accepted the request.
    #[error(
        "answers with more than {megabytes} MiB, the most that is read: is matrix.homeserver the address of a \
         homeserver?"
    )]
    TooLong {
        /// The maximum that is read, in MiB.
        megabytes: usize,
    },
    /// The request was refused because there were too many (429).
    #[error("asks us to slow down: {reason}")]
    Limited {
        /// The wait that the homeserver asks for.
        wait: Option<Duration>,
        /// The homeserver's error text.
        reason: String,
    },
    /// Our access token is not valid, or no longer valid.
    #[error("does not accept our access token: {0}")]
    TokenRefused(String),
    /// We are not allowed to do this (403).
    #[error("forbids it: {0}")]
    Forbidden(String),
    /// The requested object does not exist (404).
    #[error("does not know it: {0}")]
    NotFound(String),
    /// The request itself is wrong, so the homeserver will refuse it every time.
    #[error("refuses it: {0}")]
    Rejected(String),
}

impl MatrixError {
    /// Words the failure with the homeserver as its subject, for a line that is about a room.
    pub(crate) fn of_homeserver(&self) -> String {
        match self {
            Self::Encrypted(reason) | Self::Replaced(reason) => reason.clone(),
            _ => format!("the homeserver {self}"),
        }
    }

    /// Whether the same request will fail in the same way until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::NotFound(_) | Self::Rejected(_))
    }
}

impl From<HttpError> for MatrixError {
    fn from(error: HttpError) -> Self {
        let Some(answer) = error.as_client_api_error() else {
            if let Some(stranger) = Stranger::behind(&error) {
                return Self::Untrusted(stranger.to_string());
            }
            return Self::Unreachable(unanswered(&error));
        };
        let status = answer.status_code.as_u16();
        // Only a homeserver answers in this form; any other answer comes from a proxy in between.
        let (kind, reason) = match &answer.body {
            ErrorBody::Standard(body) => {
                // Some homeservers begin their message with the error code.
                let code = body.kind.errcode().to_string();
                let message = body.message.trim_start_matches(&*code);
                let message = message.trim_start_matches([':', ' ']);
                let words = format!("{status} {code} {message}");
                // The text goes into the log and into a line in the room.
                (Some(&body.kind), head(&line(&words), MAX_REASON_CHARS).to_owned())
            }
            _ => (None, format!("HTTP {status}, which a proxy says, not a homeserver")),
        };
        match (status, kind) {
            (429, kind) => {
                let asked = match kind {
                    Some(ErrorKind::LimitExceeded(data)) => data.retry_after,
                    _ => None,
                };
                let wait = asked.map(|asked| match asked {
                    RetryAfter::Delay(delay) => delay,
                    RetryAfter::DateTime(time) => {
                        time.duration_since(SystemTime::now()).unwrap_or_default()
                    }
                });
                Self::Limited { wait: wait.map(|wait| wait.min(LONGEST_WAIT_ASKED)), reason }
            }
            (_, Some(ErrorKind::UnknownToken(_) | ErrorKind::MissingToken)) => {
                Self::TokenRefused(reason)
            }
            // The API does not exist there: the URL is wrong, or the homeserver is starting.
            (_, Some(ErrorKind::Unrecognized)) => Self::Unreachable(answers(&reason)),
            (413, _) | (400, Some(_)) => Self::Rejected(reason),
            (403, Some(ErrorKind::Forbidden)) => Self::Forbidden(reason),
            (404, Some(_)) => Self::NotFound(reason),
            // The other answers are not about the request: the server is full, or our account is locked or suspended.
            // A backlog must not become dead letters because of that.
            _ => Self::Unreachable(answers(&reason)),
        }
    }
}

/// Words an answer of the homeserver that says nothing about the request.
fn answers(reason: &str) -> String {
    format!("answers {reason}")
}

impl State {
    /// Returns the state that a failed request puts the bridge into.
    pub(crate) fn of(error: &MatrixError) -> Self {
        match error {
            MatrixError::Unreachable(_)
            | MatrixError::TooLong { .. }
            | MatrixError::Limited { .. }
            | MatrixError::Rejected(_) => Self::HomeserverUnreachable,
            MatrixError::Untrusted(_) => Self::HomeserverUntrusted,
            MatrixError::Encrypted(_) => Self::RoomEncrypted,
            MatrixError::TokenRefused(_) => Self::CredentialsRefused,
            MatrixError::Forbidden(_) | MatrixError::NotFound(_) | MatrixError::Replaced(_) => {
                Self::NotInRoom
            }
        }
    }
}
