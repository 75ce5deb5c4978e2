//! Tries each subject that the bridge publishes on in NATS, for `check`. Nothing is taken, made or stored.

use crate::{
    config::{Config, Route},
    nats::{Access, Nats, bucket},
    reserved::{self, BUCKET, DEAD_LETTERS_STREAM, DEFERRED_PREFIX, DEFERRED_STREAM},
    source::{
        Feed,
        identity::{self, Names},
        rights::{self, Right},
    },
};

/// The name of a consumer that does not exist.
const NO_CONSUMER: &str = "nats-matrix-check";

/// The permissions that a route does not have, each with what to do.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    /// The rights without which the route stops.
    pub(super) essential: Vec<String>,
    /// The rights without which it shows its messages in a simpler way.
    pub(super) optional: Vec<String>,
}

/// Tries all that a feed and its route need. `makes_consumer` says that its consumer has to be made or changed.
pub(super) async fn lacks(
    nats: &Nats,
    config: &Config,
    feed: &Feed,
    consumer: &str,
    makes_consumer: bool,
) -> Lacks {
    let mut essential = rights::to_take(nats, feed, consumer).to_vec();
    if makes_consumer {
        let purpose = "make or change the route's consumer";
        essential.push(rights::to_make_consumer(nats, feed, Some(consumer), purpose));
    }
    let mut lacks = Lacks {
        essential: rights::lacking(nats, &essential).await,
        optional: rights::lacking(nats, &optional(nats, feed).await).await,
    };
    lacks.essential.extend(dead_letters(nats, config, &feed.route).await);
    lacks
}

/// Tries what keeps messages that can never be posted; the first of them stops a route that cannot keep it.
async fn dead_letters(nats: &Nats, config: &Config, route: &Route) -> Vec<String> {
    let prefix = &config.nats.dead_letter_subject;
    let (subject, permit) = (format!("{prefix}.{}", route.name), format!("{prefix}.>"));
    let purpose = "keep messages that can never be posted";
    let right = Right::to_publish(subject, permit, purpose);
    match right.access(nats).await {
        Access::Unheard => {
            rights::denied(nats, &rights::to_make_stream(nats, DEAD_LETTERS_STREAM, purpose)).await
        }
        access => right.lack(access).into_iter().collect(),
    }
}

/// The rights for digests, summaries and quiet hours, as far as the route has them.
async fn optional(nats: &Nats, feed: &Feed) -> Vec<Right> {
    let (route, mut optional) = (&feed.route, Vec::new());
    if route.digest_above.is_some() {
        let purpose = "read digests";
        optional.push(rights::to_make_consumer(nats, feed, None, purpose));
        optional.push(rights::to_pull(nats, feed, NO_CONSUMER, purpose));
    }
    if route.summary.is_some() {
        let (name, purpose) = (format!("{}:summary", route.name), "read summaries");
        optional.push(rights::to_make_consumer(nats, feed, Some(&name), purpose));
        optional.push(rights::to_pull(nats, feed, &name, purpose));
    }
    if route.quiet.is_some() {
        let deferred = Feed::deferred(route, feed.user());
        // The streams of the bridge are where the stream of the route is.
        if let Ok(domain) = identity::domain(nats, feed).await {
            let consumer = Names::of(&deferred, &domain).own;
            optional.extend(of_quiet_hours(nats, &deferred, &consumer));
        }
    }
    optional
}

/// Tries what keeps the alerts of all routes. Without it they are known until the next restart.
pub(super) async fn lacks_for_alerts(nats: &Nats) -> Vec<String> {
    rights::lacking(nats, &of_alerts(nats)).await
}

fn of_alerts(nats: &Nats) -> Vec<Right> {
    let purpose = "know alerts after a restart and notice a second bridge";
    let (stream, key) = (bucket::stream_name(), format!("$KV.{BUCKET}.{NO_CONSUMER}"));
    let mut rights = rights::to_make_stream(nats, &stream, purpose).to_vec();
    let read = nats.api(&format!("DIRECT.GET.{stream}.{key}"));
    rights.push(Right::to_request(read, purpose, ""));
    rights.push(Right::to_publish(nats.key(&key), nats.key(&format!("$KV.{BUCKET}.>")), purpose));
    rights
}

/// The rights for messages that quiet hours defer.
fn of_quiet_hours(nats: &Nats, feed: &Feed, consumer: &str) -> Vec<Right> {
    let (route, purpose) = (feed.route.name.as_str(), "defer messages in quiet hours");
    let subject = format!("{DEFERRED_PREFIX}.{route}.{NO_CONSUMER}");
    let permit = reserved::deferred_subjects(route);
    let mut rights = rights::to_make_stream(nats, DEFERRED_STREAM, purpose).to_vec();
    rights.push(Right::to_publish(subject, permit, purpose));
    rights.push(rights::to_make_consumer(nats, feed, Some(consumer), purpose));
    rights.extend(rights::to_take(nats, feed, consumer));
    rights
}
