//! The permissions in NATS that the bridge needs for a configuration: `permissions` prints them, and `check` tries each
//! of them. Nothing is taken, made or stored by that.

use futures_util::future::join_all;

use crate::{
    config::{self, Config, Route},
    message::ConsumerName,
    nats::{Access, Nats, bucket},
    reserved::{
        self, ANSWERS_PREFIX, ANSWERS_STREAM, BUCKET, DEAD_LETTERS_STREAM, DEFERRED_PREFIX,
        DEFERRED_STREAM,
    },
    source::{
        Feed,
        identity::{self, Names},
        rights::{self, Right},
    },
    subject::Subject,
};

/// The name of a consumer that does not exist.
const NO_CONSUMER: &str = "nats-matrix-check";

/// The wildcard for a name that is not known without NATS and the homeserver.
const ANY: &str = "*";

/// Something that the bridge does, with the rights that it needs.
#[derive(Debug)]
pub(super) struct Feature {
    /// The name of the feature.
    pub(super) name: &'static str,
    /// Whether a route stops without it.
    is_essential: bool,
    /// The permissions to publish.
    pub(super) rights: Vec<Right>,
}

impl Feature {
    fn essential(name: &'static str, rights: Vec<Right>) -> Self {
        Self { name, is_essential: true, rights }
    }

    fn optional(name: &'static str, rights: Vec<Right>) -> Self {
        Self { name, is_essential: false, rights }
    }
}

/// The names of a route's consumers.
struct Consumers<'a> {
    /// The one that delivers the messages of the route.
    live: &'a str,
    /// Whether it has to be made or changed.
    is_changed: bool,
    /// The one that delivers what quiet hours have deferred.
    deferred: &'a str,
}

/// Returns all features of a route. A consumer that the configuration does not name may have any name.
pub(super) fn features(config: &Config, route: &Route) -> Vec<Feature> {
    let live = route.consumer.as_ref().map_or(ANY, ConsumerName::as_str);
    let consumers = Consumers { live, is_changed: true, deferred: ANY };
    let mut features = of_route(&config.nats, route, &consumers);
    features.push(dead_letters(&config.nats, route));
    features.push(limit_of_dead_letters(&config.nats));
    features
}

/// Returns what keeps the alerts of all routes, and how far these are.
pub(super) fn alerts(config: &config::Nats) -> Feature {
    let purpose = "know alerts after a restart and notice a second bridge";
    let (stream, key) = (bucket::stream_name(), format!("$KV.{BUCKET}.{NO_CONSUMER}"));
    let mut rights = rights::to_make_stream(config, &stream, purpose).to_vec();
    rights.push(rights::to_limit_stream(config, &stream));
    let read = |key: &str| config.api(&format!("DIRECT.GET.{stream}.{key}"));
    rights.push(Right::to_request(read(&key), purpose, "").with_permit(read(">")));
    let all = config.key(&format!("$KV.{BUCKET}.>"));
    rights.push(Right::to_publish(config.key(&key), all, purpose));
    Feature::optional("alerts", rights)
}

fn of_route(config: &config::Nats, route: &Route, consumers: &Consumers<'_>) -> Vec<Feature> {
    let (stream, live) = (route.stream.as_str(), consumers.live);
    let mut taken = vec![
        rights::to_find_stream(config, stream),
        rights::to_find_consumer(config, stream, live, "find the route's consumer"),
    ];
    taken.extend(rights::to_take(config, stream, live));
    let make = vec![to_make(config, (stream, live), &route.subjects)];
    let replace = "replace the route's consumer after its stream has lost messages";
    let replace = rights::to_delete_consumer(config, stream, live, replace);
    let list = config.api(&format!("CONSUMER.LIST.{stream}"));
    let list = Right::to_request(list, "name consumers that no route uses", "");
    let mut features = vec![
        Feature::essential("messages", taken),
        Feature { name: "messages", is_essential: consumers.is_changed, rights: make },
        Feature::optional("messages", vec![replace, list]),
    ];
    if route.digest_above.is_some() {
        let rights = rights::to_read_beside(config, stream, NO_CONSUMER, "read digests");
        features.push(Feature::optional("digests", rights.into()));
    }
    if route.summary.is_some() {
        features.push(summaries(config, route));
    }
    if route.answers.is_some() {
        features.push(answers(config, route));
    }
    if route.quiet.is_some() {
        features.push(quiet_hours(config, route, consumers.deferred));
    }
    features
}

fn to_make(config: &config::Nats, consumer: (&str, &str), subjects: &[Subject]) -> Right {
    rights::to_make_consumer(config, consumer, subjects, "make or change the route's consumer")
}

/// The rights for summaries, which are read with a consumer that has a name of its own.
fn summaries(config: &config::Nats, route: &Route) -> Feature {
    let (name, purpose) = (format!("{}:summary", route.name), "read summaries");
    let consumer = (route.stream.as_str(), name.as_str());
    let rights = vec![
        rights::to_make_consumer(config, consumer, &route.subjects, purpose),
        rights::to_pull(config, &route.stream, &name, purpose),
        rights::to_find_consumer(config, &route.stream, &name, purpose),
        rights::to_delete_consumer(config, &route.stream, &name, purpose),
    ];
    Feature::optional("summaries", rights)
}

/// The rights for messages that quiet hours defer.
fn quiet_hours(config: &config::Nats, route: &Route, consumer: &str) -> Feature {
    let purpose = "defer messages in quiet hours";
    let subject = format!("{DEFERRED_PREFIX}.{}.{NO_CONSUMER}", route.name);
    let permit = reserved::deferred_subjects(route.name.as_str());
    let filter = Subject::filter(&permit).ok();
    let mut rights = rights::to_make_stream(config, DEFERRED_STREAM, purpose).to_vec();
    rights.push(rights::to_limit_stream(config, DEFERRED_STREAM));
    rights.push(Right::to_publish(subject, permit, purpose));
    rights.push(rights::to_find_consumer(config, DEFERRED_STREAM, consumer, purpose));
    rights.push(to_make(config, (DEFERRED_STREAM, consumer), filter.as_slice()));
    rights.extend(rights::to_take(config, DEFERRED_STREAM, consumer));
    let replace = "replace the consumer after the stream has lost messages";
    rights.push(rights::to_delete_consumer(config, DEFERRED_STREAM, consumer, replace));
    if route.digest_above.is_some() {
        rights.extend(rights::to_read_beside(config, DEFERRED_STREAM, NO_CONSUMER, purpose));
    }
    Feature::optional("quiet hours", rights)
}

/// The rights for messages that can never be posted, of which the first one stops a route that cannot keep it.
fn dead_letters(config: &config::Nats, route: &Route) -> Feature {
    let prefix = &config.dead_letter_subject;
    let (subject, permit) = (format!("{prefix}.{}", route.name), format!("{prefix}.>"));
    let purpose = "keep messages that can never be posted";
    let mut rights = vec![Right::to_publish(subject, permit, purpose)];
    rights.extend(rights::to_make_stream(config, DEAD_LETTERS_STREAM, purpose));
    Feature::essential("dead letters", rights)
}

fn limit_of_dead_letters(config: &config::Nats) -> Feature {
    Feature::optional("dead letters", vec![rights::to_limit_stream(config, DEAD_LETTERS_STREAM)])
}

/// The permissions that a route does not have, each with what to do.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    /// The rights without which the route stops.
    pub(super) essential: Vec<String>,
    /// The rights without which it shows its messages in a simpler way.
    pub(super) optional: Vec<String>,
}

/// Tries all that a feed and its route need. `is_changed` says that its consumer has to be made or changed.
pub(super) async fn lacks(nats: &Nats, feed: &Feed, consumer: &str, is_changed: bool) -> Lacks {
    let route = &feed.route;
    let deferred = Feed::deferred(route, feed.user());
    // The streams of the bridge are where the stream of the route is. Without an answer, another check has reported it.
    let domain = match route.quiet {
        Some(_) => identity::domain(nats, feed).await.unwrap_or_default(),
        None => String::new(),
    };
    let deferred = Names::of(&deferred, &domain).own;
    let consumers = Consumers { live: consumer, is_changed, deferred: &deferred };
    let mut features = of_route(nats.config(), route, &consumers);
    features.push(limit_of_dead_letters(nats.config()));
    let lacking = features.iter().map(|feature| rights::lacking(nats, &feature.rights));
    let mut lacks = Lacks::default();
    for (feature, lacking) in features.iter().zip(join_all(lacking).await) {
        let of_weight =
            if feature.is_essential { &mut lacks.essential } else { &mut lacks.optional };
        of_weight.extend(lacking);
    }
    lacks.essential.extend(lacks_for_dead_letters(nats, route).await);
    lacks
}

/// Tries what keeps messages that can never be posted. A stream that takes them already need not be made.
async fn lacks_for_dead_letters(nats: &Nats, route: &Route) -> Vec<String> {
    let feature = dead_letters(nats.config(), route);
    let [publish, make @ ..] = &feature.rights[..] else { return Vec::new() };
    match publish.access(nats).await {
        Access::Unheard => rights::denied(nats, make).await,
        access => publish.lack(access).into_iter().collect(),
    }
}

/// The rights for answers to alerts.
fn answers(config: &config::Nats, route: &Route) -> Feature {
    let purpose = "tell scripts what people answer";
    let (subject, permit) =
        (format!("{ANSWERS_PREFIX}.{}", route.name), format!("{ANSWERS_PREFIX}.>"));
    let mut rights = rights::to_make_stream(config, ANSWERS_STREAM, purpose).to_vec();
    rights.push(rights::to_limit_stream(config, ANSWERS_STREAM));
    rights.push(Right::to_publish(subject, permit, purpose));
    Feature::optional("answers", rights)
}

/// Tries what keeps the alerts of all routes. Without it they are known until the next restart.
pub(super) async fn lacks_for_alerts(nats: &Nats) -> Vec<String> {
    rights::lacking(nats, &alerts(nats.config()).rights).await
}
