//! What an unsuccessful request to the homeserver means.

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
};

/// Why there was no answer, with what to do where we know it.
pub(crate) fn unanswered(reason: &str) -> String {
    if ["UnknownIssuer", "BadSignature"].iter().any(|kind| reason.contains(kind)) {
        return "shows a certificate that is signed by none of our CAs: set matrix.ca_file to the CA that \
                signed it"
            .to_owned();
    }
    // What was asked for is in the path; what follows it is long.
    let (before, after) = reason.split_once('?').unwrap_or((reason, ""));
    let after = after.split_once(')').map_or(String::new(), |(_, after)| format!("){after}"));
    format!("cannot be reached: {before}{after}")
}

/// We never wait longer for a homeserver that asks for patience; then it may ask again.
pub(crate) const LONGEST_WAIT_ASKED: Duration = Duration::from_mins(2);

/// The longest words of a homeserver that are repeated, in characters.
pub(crate) const MAX_REASON_CHARS: usize = 400;

/// What an unsuccessful request means for us.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum MatrixError {
    /// No answer, or one that says nothing about the request (5xx, a proxy's page, an account that
    /// is suspended): it may or may not have been taken.
    #[error("{0}")]
    Unreachable(String),
    /// Not sent, because somebody else has the homeserver's port, or may have.
    #[error("{0}")]
    Untrusted(String),
    /// Not sent, because the room is encrypted, and what we post is not.
    #[error("{0}")]
    Encrypted(String),
    /// The answer is longer than any that we ask for: the request may or may not have been taken.
    #[error(
        "answers with more than {megabytes} MiB, of which no more is read: is matrix.homeserver the address of a \
         homeserver?"
    )]
    TooLong {
        /// How much is read, in MiB.
        megabytes: usize,
    },
    /// Not taken, because there were too many (429).
    #[error("asks us to slow down: {reason}")]
    Limited {
        /// How long we are asked to wait.
        wait: Option<Duration>,
        /// The server's words.
        reason: String,
    },
    /// Our access token is not valid, or no longer.
    #[error("does not accept our access token: {0}")]
    TokenRefused(String),
    /// We may not do this (403).
    #[error("forbids it: {0}")]
    Forbidden(String),
    /// There is no such thing (404).
    #[error("does not know it: {0}")]
    NotFound(String),
    /// The request itself is wrong; it will be refused whenever it is made.
    #[error("refuses it: {0}")]
    Rejected(String),
}

impl MatrixError {
    /// Whether the same request will be answered in the same way, until somebody changes something.
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
            return Self::Unreachable(unanswered(&chain(&error)));
        };
        let status = answer.status_code.as_u16();
        // Only a homeserver answers in this form; anything else was said by a proxy on the way.
        let (kind, reason) = match &answer.body {
            ErrorBody::Standard(body) => {
                // Some homeservers begin their message with the code.
                let code = body.kind.errcode().to_string();
                let message = body.message.trim_start_matches(&*code);
                let message = message.trim_start_matches([':', ' ']);
                let words = format!("{status} {code} {message}");
                // It goes into the log, and into a line of the room.
                (Some(&body.kind), head(&line(&words), MAX_REASON_CHARS).to_owned())
            }
            _ => (None, format!("HTTP {status}, not an answer of a homeserver")),
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
            // The API does not exist there: a wrong URL or a homeserver that is starting.
            (_, Some(ErrorKind::Unrecognized)) => Self::Unreachable(reason),
            (413, _) | (400, Some(_)) => Self::Rejected(reason),
            (403, Some(ErrorKind::Forbidden)) => Self::Forbidden(reason),
            (404, Some(_)) => Self::NotFound(reason),
            // The rest does not speak of the request: the server is full, our account is locked or
            // suspended. A backlog must not become dead letters for that.
            _ => Self::Unreachable(reason),
        }
    }
}

impl State {
    /// The state that an answer of the homeserver, or none, puts the bridge into.
    pub(crate) fn of(error: &MatrixError) -> Self {
        match error {
            MatrixError::Unreachable(_)
            | MatrixError::TooLong { .. }
            | MatrixError::Limited { .. }
            | MatrixError::Rejected(_) => Self::HomeserverUnreachable,
            MatrixError::Untrusted(_) => Self::HomeserverUntrusted,
            MatrixError::Encrypted(_) => Self::RoomEncrypted,
            MatrixError::TokenRefused(_) => Self::CredentialsRefused,
            MatrixError::Forbidden(_) | MatrixError::NotFound(_) => Self::NotInRoom,
        }
    }
}
