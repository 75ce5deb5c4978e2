//! The permissions in NATS without which a feed stops, and requests that show whether the bridge has them.
//!
//! Each request is one that the server answers and that changes nothing: it is about a message that does not exist, or
//! is no valid request.

use futures_util::future::join_all;

use crate::{
    config,
    nats::{Access, Nats},
    source::feed::Feed,
    subject::Subject,
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
    trial: Trial,
}

/// The way to try a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// With a request with this payload, which does no harm.
    Request(&'static str),
    /// With an empty message that no stream takes.
    Message,
    /// It cannot be tried without harm.
    None,
}

impl Right {
    /// Creates the right to make a request; `payload` makes one that does no harm.
    pub(crate) fn to_request(
        subject: String,
        purpose: &'static str,
        payload: &'static str,
    ) -> Self {
        Self { permit: subject.clone(), subject, purpose, trial: Trial::Request(payload) }
    }

    /// Sets the subject to permit, if it is wider than the one that is asked about.
    pub(crate) fn with_permit(self, permit: String) -> Self {
        Self { permit, ..self }
    }

    /// Creates the right to publish for a stream on a subject, one of those that `permit` matches.
    pub(crate) fn to_publish(subject: String, permit: String, purpose: &'static str) -> Self {
        Self { permit, subject, purpose, trial: Trial::Message }
    }

    /// Returns the subject to permit.
    pub(crate) fn permit(&self) -> &str {
        &self.permit
    }

    /// Returns the purpose, in words that follow "to".
    pub(crate) fn purpose(&self) -> &'static str {
        self.purpose
    }

    /// Returns whether the bridge has the permission. A right that cannot be tried counts as granted.
    pub(crate) async fn access(&self, nats: &Nats) -> Access {
        match self.trial {
            Trial::Request(payload) => nats.access(&self.subject, payload).await,
            Trial::Message => nats.access_to_publish(&self.subject).await,
            Trial::None => Access::Granted,
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

/// The right to find out about a stream.
pub(crate) fn to_find_stream(config: &config::Nats, stream: &str) -> Right {
    Right::to_request(config.api(&format!("STREAM.INFO.{stream}")), "find the stream", "")
}

/// The right to find out about a consumer.
pub(crate) fn to_find_consumer(
    config: &config::Nats,
    stream: &str,
    consumer: &str,
    purpose: &'static str,
) -> Right {
    let subject = format!("CONSUMER.INFO.{stream}.{consumer}");
    Right::to_request(config.api(&subject), purpose, "")
}

/// The rights to find out about the stream of a feed and, if its name is known, about the consumer.
pub(crate) fn to_ask(config: &config::Nats, feed: &Feed) -> Vec<Right> {
    let stream = feed.stream();
    let of_consumer = feed.consumer();
    let of_consumer = of_consumer
        .map(|consumer| to_find_consumer(config, stream, &consumer, "find the route's consumer"));
    [to_find_stream(config, stream)].into_iter().chain(of_consumer).collect()
}

/// The right to make or change a consumer with this name that delivers messages on these subjects.
pub(crate) fn to_make_consumer(
    config: &config::Nats,
    (stream, consumer): (&str, &str),
    subjects: &[Subject],
    purpose: &'static str,
) -> Right {
    let subject = format!("CONSUMER.CREATE.{stream}.{consumer}");
    match subjects {
        // The client names the consumer's only filter in the subject.
        [filter] => Right {
            subject: config.api(&format!("{subject}.{filter}")),
            permit: config.api(&format!("{subject}.>")),
            purpose,
            trial: Trial::Request(INVALID),
        },
        _ => Right::to_request(config.api(&subject), purpose, INVALID),
    }
}

/// The rights to read a stream beside its durable consumer, with one that the server gives a name. For the answers
/// `consumer` stands for any name.
pub(crate) fn to_read_beside(
    config: &config::Nats,
    stream: &str,
    consumer: &str,
    purpose: &'static str,
) -> [Right; 3] {
    let of_any = |right: Right| Right { permit: any_name(&right.permit), ..right };
    let make = config.api(&format!("CONSUMER.CREATE.{stream}"));
    [
        Right::to_request(make, purpose, INVALID),
        of_any(to_pull(config, stream, consumer, purpose)),
        of_any(to_find_consumer(config, stream, consumer, purpose)),
    ]
}

/// Returns the subject with a wildcard for its last token.
fn any_name(subject: &str) -> String {
    subject.rsplit_once('.').map_or("*".to_owned(), |(rest, _)| format!("{rest}.*"))
}

/// The right to ask for messages of a consumer.
pub(crate) fn to_pull(
    config: &config::Nats,
    stream: &str,
    consumer: &str,
    purpose: &'static str,
) -> Right {
    let subject = format!("CONSUMER.MSG.NEXT.{stream}.{consumer}");
    Right::to_request(config.api(&subject), purpose, INVALID)
}

/// The right to delete a consumer. Only a request that would delete it could show whether it may be.
pub(crate) fn to_delete_consumer(
    config: &config::Nats,
    stream: &str,
    consumer: &str,
    purpose: &'static str,
) -> Right {
    let subject = config.api(&format!("CONSUMER.DELETE.{stream}.{consumer}"));
    Right { permit: subject.clone(), subject, purpose, trial: Trial::None }
}

/// The rights to find and to make a stream of the bridge's own.
pub(crate) fn to_make_stream(
    config: &config::Nats,
    stream: &str,
    purpose: &'static str,
) -> [Right; 2] {
    let right = |verb: &str, payload| {
        Right::to_request(config.api(&format!("STREAM.{verb}.{stream}")), purpose, payload)
    };
    [right("INFO", ""), right("CREATE", INVALID)]
}

/// The right to give a stream of the bridge's own a limit.
pub(crate) fn to_limit_stream(config: &config::Nats, stream: &str) -> Right {
    let subject = config.api(&format!("STREAM.UPDATE.{stream}"));
    Right::to_request(subject, "limit a stream of the bridge's own that has no limit", INVALID)
}

/// The rights to take messages of a consumer, which exists or will be made.
pub(crate) fn to_take(config: &config::Nats, stream: &str, consumer: &str) -> [Right; 3] {
    let ack = format!("$JS.ACK.{stream}.{consumer}");
    [
        Right::to_request(
            config.api(&format!("STREAM.MSG.GET.{stream}")),
            "read single messages",
            "{\"seq\":18446744073709551615,\"next_by_subj\":\">\"}",
        ),
        to_pull(config, stream, consumer, "ask for messages"),
        Right {
            subject: format!("{ack}.1.{NO_MESSAGE}.0.0.0"),
            permit: format!("{ack}.>"),
            purpose: "acknowledge messages, of which only the first 64 come otherwise",
            // A sign that a message is being worked on.
            trial: Trial::Request("+WPI"),
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
    let names_consumer = feed.consumer().is_some_and(|consumer| {
        tokens.windows(2).any(|pair| pair == [feed.stream(), consumer.as_str()])
    });
    let names_stream = tokens.contains(&"STREAM") && tokens.last() == Some(&feed.stream());
    names_consumer || names_stream
}
