//! The permissions in NATS without which a feed stops, and requests that show whether the bridge has them.
//!
//! Each request is one that the server answers and that changes nothing: it is about a message that does not exist, or
//! is no valid request.

use futures_util::future::join_all;

use crate::{
    nats::{Access, Nats},
    source::feed::Feed,
};

/// The payload of an invalid request. A valid one may be answered with a message, or make something.
const INVALID: &str = "{";

/// The number of no message. An acknowledgement of number 0 gets no receipt.
const NO_MESSAGE: u64 = (1 << 53) - 1;

/// A permission to publish on a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Right {
    /// The subject that is asked about.
    subject: String,
    /// The subject to permit.
    permit: String,
    /// The purpose, in words that follow "to".
    purpose: &'static str,
    /// The payload of a request that does no harm; `None` for an empty message that no stream takes.
    payload: Option<&'static str>,
}

impl Right {
    /// Creates the right to make a request; `payload` makes one that does no harm.
    pub(crate) fn to_request(
        subject: String,
        purpose: &'static str,
        payload: &'static str,
    ) -> Self {
        Self { permit: subject.clone(), subject, purpose, payload: Some(payload) }
    }

    /// Creates the right to publish for a stream on a subject, one of those that `permit` matches.
    pub(crate) fn to_publish(subject: String, permit: String, purpose: &'static str) -> Self {
        Self { permit, subject, purpose, payload: None }
    }

    /// Returns whether the bridge has the permission.
    pub(crate) async fn access(&self, nats: &Nats) -> Access {
        match self.payload {
            Some(payload) => nats.access(&self.subject, payload).await,
            None => nats.access_to_publish(&self.subject).await,
        }
    }

    /// Returns what to do, if the bridge does not have the permission.
    pub(crate) fn lack(&self, access: Access) -> Option<String> {
        let Self { permit, purpose, .. } = self;
        match access {
            Access::Granted | Access::Unheard => None,
            Access::Denied => Some(format!(
                "NATS does not let us publish on {permit}, to {purpose}: have the user under [nats] permitted to"
            )),
            Access::Unanswered => Some(format!(
                "NATS does not answer on {permit}, to {purpose}: have the user under [nats] permitted to publish there, \
                 also by leaf nodes and accounts in between"
            )),
        }
    }
}

/// The rights to find out about the stream and the consumer of a feed.
pub(crate) fn to_ask(nats: &Nats, feed: &Feed) -> [Right; 2] {
    let (stream, consumer) = (feed.stream(), feed.consumer());
    [
        Right::to_request(nats.api(&format!("STREAM.INFO.{stream}")), "find the stream", ""),
        Right::to_request(
            nats.api(&format!("CONSUMER.INFO.{stream}.{consumer}")),
            "find the route's consumer",
            "",
        ),
    ]
}

/// The right to make or change a consumer that delivers the messages of a feed.
pub(crate) fn to_make_consumer(
    nats: &Nats,
    feed: &Feed,
    name: Option<&str>,
    purpose: &'static str,
) -> Right {
    let mut subject = format!("CONSUMER.CREATE.{}", feed.stream());
    // The client names the consumer and its only filter, if there are any, in the subject.
    if let Some(token) = name {
        subject = format!("{subject}.{token}");
        if let [filter] = feed.subjects() {
            subject = format!("{subject}.{filter}");
        }
    }
    Right::to_request(nats.api(&subject), purpose, INVALID)
}

/// The right to ask for messages of a consumer on the stream of a feed.
pub(crate) fn to_pull(nats: &Nats, feed: &Feed, consumer: &str, purpose: &'static str) -> Right {
    let subject = format!("CONSUMER.MSG.NEXT.{}.{consumer}", feed.stream());
    Right::to_request(nats.api(&subject), purpose, INVALID)
}

/// The rights to find and to make a stream of the bridge's own.
pub(crate) fn to_make_stream(nats: &Nats, stream: &str, purpose: &'static str) -> [Right; 2] {
    let right = |verb: &str, payload| {
        Right::to_request(nats.api(&format!("STREAM.{verb}.{stream}")), purpose, payload)
    };
    [right("INFO", ""), right("CREATE", INVALID)]
}

/// The rights to take messages of a feed, whose consumer exists or will be made.
pub(crate) fn to_take(nats: &Nats, feed: &Feed) -> [Right; 3] {
    let (stream, consumer) = (feed.stream(), feed.consumer());
    let ack = format!("$JS.ACK.{stream}.{consumer}");
    [
        Right::to_request(
            nats.api(&format!("STREAM.MSG.GET.{stream}")),
            "read single messages",
            "{\"seq\":18446744073709551615,\"next_by_subj\":\">\"}",
        ),
        to_pull(nats, feed, consumer, "ask for messages"),
        Right {
            subject: format!("{ack}.1.{NO_MESSAGE}.0.0.0"),
            permit: format!("{ack}.>"),
            purpose: "acknowledge messages, of which only the first 64 come otherwise",
            // A sign that a message is being worked on.
            payload: Some("+WPI"),
        },
    ]
}

/// Returns what to do about those of the rights that the server denies. Others may only be slow to be answered.
pub(crate) async fn denied(nats: &Nats, rights: &[Right]) -> Vec<String> {
    let denied = rights.iter().map(async |right| match right.access(nats).await {
        access @ Access::Denied => right.lack(access),
        _ => None,
    });
    join_all(denied).await.into_iter().flatten().collect()
}

/// Returns what to do about those of the rights that the bridge does not have.
pub(crate) async fn lacking(nats: &Nats, rights: &[Right]) -> Vec<String> {
    let lacks = rights.iter().map(async |right| right.lack(right.access(nats).await));
    join_all(lacks).await.into_iter().flatten().collect()
}

/// Whether a complaint of the server names the consumer of a feed, or its stream.
pub(crate) fn is_about(feed: &Feed, complaint: &str) -> bool {
    let Some(subject) = complaint.split('"').nth(1) else { return false };
    let tokens: Vec<&str> = subject.split('.').collect();
    let names_consumer = tokens.windows(2).any(|pair| pair == [feed.stream(), feed.consumer()]);
    let names_stream = tokens.contains(&"STREAM") && tokens.last() == Some(&feed.stream());
    names_consumer || names_stream
}
