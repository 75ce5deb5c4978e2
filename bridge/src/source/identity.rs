//! The identity of a route's durable consumer: its name, and whose it is.
//!
//! An acknowledgement goes to `$JS.ACK.<stream>.<consumer>...`, which names no `JetStream` domain, and leaf nodes pass
//! it on. Two sites with a stream and a consumer of the same names would settle each other's messages. The names that
//! the bridge makes are therefore different at each site, and are always the same at one site, so that permissions can
//! name them and a bridge on a new machine finds its consumer.

use std::collections::HashMap;

use async_nats::jetstream::{self, consumer::Info as ConsumerInfo};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::json;

use crate::{
    config::Route,
    hash,
    nats::Nats,
    source::{
        feed::Feed,
        problem::{ClientError, ReadError},
    },
};

/// The metadata of a consumer in which the bridge notes its Matrix user.
const USER: &str = "nats-matrix.user";

/// The metadata of a consumer in which the bridge notes the route.
const ROUTE: &str = "nats-matrix.route";

/// The metadata of a consumer in which the bridge notes its version.
const VERSION: &str = "nats-matrix.version";

/// The number of bytes of a hash that are in a name: enough for the few sites that are connected to each other.
const HASHED: usize = 4;

/// The server's answer to `STREAM.INFO`, as far as the client does not read it.
#[derive(Deserialize)]
struct StreamAnswer {
    /// The `JetStream` domain of the server. Older servers, and those without a domain, leave it out.
    #[serde(default)]
    domain: String,
    error: Option<jetstream::Error>,
}

/// Returns the `JetStream` domain of the server that has the feed's stream; empty if it has none.
pub(crate) async fn domain(nats: &Nats, feed: &Feed) -> Result<String, ReadError> {
    let stream = feed.stream();
    let unanswered =
        |error: ClientError| ReadError::DomainUnknown { stream: stream.to_owned(), error };
    let answer = nats.jetstream.request(format!("STREAM.INFO.{stream}"), &json!({})).await;
    let answer: StreamAnswer = answer.map_err(|error| unanswered(error.into()))?;
    match answer.error {
        Some(error) => Err(unanswered(error.into())),
        None => Ok(answer.domain),
    }
}

/// The names that the consumer of a feed can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// The name that a new consumer gets.
    pub(crate) own: String,
    /// The names that an existing consumer of ours may have instead: the name from before the server had a domain, and
    /// that of the route, which older versions of the bridge gave it.
    pub(crate) earlier: Vec<String>,
}

impl Names {
    /// Returns the names for a feed whose stream is in a `JetStream` domain.
    pub(crate) fn of(feed: &Feed, domain: &str) -> Self {
        if let Some(name) = feed.declared_consumer() {
            return Self { own: name.to_owned(), earlier: Vec::new() };
        }
        let route = feed.route.name.as_str();
        let name = |domain: &str| {
            let hash = hash::of_texts([domain, feed.user().as_str(), feed.stream()]);
            format!("{route}-{}", HEXLOWER.encode(&hash[..HASHED]))
        };
        let own = name(domain);
        let earlier =
            [name(""), route.to_owned()].into_iter().filter(|name| *name != own).collect();
        Self { own, earlier }
    }
}

/// Adds the owner to the metadata of a consumer.
pub(super) fn note_owner(feed: &Feed, metadata: &mut HashMap<String, String>) {
    let Route { name, .. } = &*feed.route;
    for (key, value) in
        [(USER, feed.user().as_str()), (ROUTE, name.as_str()), (VERSION, env!("CARGO_PKG_VERSION"))]
    {
        metadata.insert(key.to_owned(), value.to_owned());
    }
}

/// The owner of a consumer according to its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The Matrix user of the bridge that reads from the consumer.
    pub(crate) user: String,
    /// The route that the bridge reads it for.
    pub(crate) route: String,
}

impl Owner {
    /// Returns the owner that a consumer's metadata names, if they name one.
    pub(crate) fn of(info: &ConsumerInfo) -> Option<Self> {
        let metadata = &info.config.metadata;
        let user = metadata.get(USER)?.clone();
        Some(Self { user, route: metadata.get(ROUTE).cloned().unwrap_or_default() })
    }

    /// Whether the owner is the bridge with the route of this feed.
    pub(crate) fn is(&self, feed: &Feed) -> bool {
        self.user == feed.user().as_str() && self.route == feed.route.name.as_str()
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use matrix_sdk::ruma::UserId;

    use super::*;
    use crate::config::Config;

    fn feed(route: &str, lines: &str, user: &str) -> Feed {
        let text = format!(
            "[nats]\nservers = [\"nats://127.0.0.1\"]\n[matrix]\nhomeserver = \"http://127.0.0.1\"\nuser = \"b\"\n\
             password = \"p\"\n[[routes]]\nname = \"{route}\"\nstream = \"OPS\"\nsubjects = [\"ops.>\"]\n\
             room = \"#a:b.example\"\n{lines}"
        );
        let config = Config::parse(&text, Path::new("c.toml"), &HashMap::new()).unwrap();
        let user = UserId::parse(user).unwrap();
        Feed::live(&Arc::new(config.routes[0].clone()), &user)
    }

    #[test]
    fn a_name_differs_by_domain_user_and_stream_and_never_changes() {
        let ours = feed("r", "", "@bridge:example.com");
        let names = Names::of(&ours, "hub");
        assert_eq!(names.own, "r-9ae61818");
        let others = [
            Names::of(&ours, "leaf").own,
            Names::of(&ours, "").own,
            Names::of(&feed("r", "", "@bridge:example.org"), "hub").own,
            Names::of(&Feed::deferred(&ours.route, ours.user()), "hub").own,
        ];
        for (index, other) in others.iter().enumerate() {
            assert!(*other != names.own && !others[..index].contains(other), "{others:?}");
        }
        assert_eq!(names.earlier, [Names::of(&ours, "").own, "r".to_owned()]);
        assert_eq!(Names::of(&ours, "").earlier, ["r"]);
    }

    #[test]
    fn a_route_can_name_its_consumer() {
        let feed = feed("r", "consumer = \"mine\"", "@bridge:example.com");
        assert_eq!(Names::of(&feed, "hub"), Names { own: "mine".to_owned(), earlier: Vec::new() });
        let deferred = Feed::deferred(&feed.route, feed.user());
        assert!(Names::of(&deferred, "hub").own.starts_with("r-"), "it is on another stream");
    }
}
