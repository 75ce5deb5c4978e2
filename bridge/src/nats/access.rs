//! Finds out whether the server lets the bridge publish on a subject.
//!
//! A server does not answer a request for which a permission is missing; it only complains, on its own time. So the
//! bridge publishes something that does no harm there, and waits for either.

use std::time::Duration;

use async_nats::{HeaderMap, RequestErrorKind, client::Request};
use bytes::Bytes;
use tokio::time::timeout;

use crate::nats::{Nats, headers};

/// The longest time to wait for an answer.
const SLOW: Duration = Duration::from_secs(5);

/// A header by which a stream refuses a message, unless it has the name in it.
const EXPECTED_STREAM: &str = "Nats-Expected-Stream";

/// The name of a stream that does not exist.
const NO_STREAM: &str = "none-as-nats-matrix-only-asks-whether-it-may-publish";

/// The result of publishing on a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The server has passed it on, and somebody has answered.
    Granted,
    /// The server permits it, and nobody listens there.
    Unheard,
    /// The server denies it.
    Denied,
    /// Nobody has answered.
    Unanswered,
}

impl Nats {
    /// Sends a request that does no harm, and returns whether the server lets the bridge do so.
    pub(crate) async fn access(&self, subject: &str, payload: &'static str) -> Access {
        self.try_request(subject, Request::new().payload(Bytes::from_static(payload.as_bytes())))
            .await
    }

    /// Publishes an empty message that no stream takes, and returns whether the server lets the bridge do so.
    pub(crate) async fn access_to_publish(&self, subject: &str) -> Access {
        let mut refused = HeaderMap::new();
        headers::set(&mut refused, EXPECTED_STREAM, NO_STREAM);
        self.try_request(subject, Request::new().headers(refused)).await
    }

    async fn try_request(&self, subject: &str, request: Request) -> Access {
        let complaint = format!("publish to \"{subject}\"");
        let complaints = [complaint.as_str()];
        let denied = self.denies(&complaints);
        let request = self.client.send_request(subject.to_owned(), request.timeout(Some(SLOW)));
        tokio::select! {
            biased;
            _ = denied => Access::Denied,
            answer = timeout(SLOW, request) => match answer {
                Ok(Ok(_)) => Access::Granted,
                Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Access::Unheard,
                Ok(Err(_)) | Err(_) => Access::Unanswered,
            },
        }
    }
}
