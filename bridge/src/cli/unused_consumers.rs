//! Finds the durable consumers of the bridge that no route of the configuration uses.

use std::sync::Arc;

use async_nats::jetstream::{
    consumer::{FromConsumer, Info as ConsumerInfo, pull::Config as PullConfig},
    stream::Stream,
};
use futures_util::TryStreamExt;
use matrix_sdk::ruma::UserId;
use tokio::time::timeout;

use crate::{
    cli::common::UNASKED,
    config::Route,
    nats::Nats,
    run::history::StreamHistory,
    source::{
        Feed,
        consumer::{self, ACK_WAIT, MAX_ACK_PENDING},
        identity::Owner,
    },
};

/// Returns a line for each consumer of a stream that no route uses. Without an answer there is none: the bridge does
/// not need the permission to list consumers.
pub(super) async fn unused(
    nats: &Nats,
    history: &StreamHistory,
    routes: &[Arc<Route>],
    user: &UserId,
) -> Vec<String> {
    let Ok(stream) = consumer::stream(nats, history.name()).await else { return Vec::new() };
    let present = routes.iter().filter(|route| route.stream == history.name()).cloned();
    let present = named(nats, &stream, present.collect(), user).await;
    let removed = named(nats, &stream, history.removed(), user).await;
    let mut lines = Vec::new();
    for info in ours(&stream, user).await {
        let (stream, name) = (history.name(), &info.name);
        let count = consumer::unsettled(&info);
        if present.iter().any(|(present, _)| present == name) {
            continue;
        }
        lines.push(match removed.iter().find(|(removed, _)| removed == name) {
            Some((_, route)) => format!(
                "route {} is not in the configuration any more, and {} messages wait for it, which the bridge still shows; \
                 to leave them out, run nats consumer rm {stream} {name}",
                route.name,
                history.left(route, &info).unwrap_or(count)
            ),
            None => format!(
                "no route uses durable consumer {name} of stream {stream}, in which {count} messages wait: if it was that of \
                 a route, run nats consumer rm {stream} {name}, as in a stream of the retention interest or workqueue it keeps \
                 messages for ever"
            ),
        });
    }
    lines
}

/// Returns the names of the consumers of some routes, as far as they have one.
async fn named(
    nats: &Nats,
    stream: &Stream,
    routes: Vec<Arc<Route>>,
    user: &UserId,
) -> Vec<(String, Arc<Route>)> {
    let mut named = Vec::new();
    for route in routes {
        let feed = Feed::live(&route, user);
        if let Ok(Some(info)) = consumer::find(nats, stream, &feed).await {
            named.push((info.name, route));
        }
    }
    named
}

/// Returns the consumers of a stream that belong to the bridge, or that say nothing of it and are configured as only
/// earlier versions of the bridge did it.
async fn ours(stream: &Stream, user: &UserId) -> Vec<ConsumerInfo> {
    let all = timeout(UNASKED, stream.consumers().try_collect::<Vec<_>>()).await;
    let mut all = all.ok().and_then(Result::ok).unwrap_or_default();
    all.retain(|info| {
        if let Some(owner) = Owner::of(info) {
            return owner.user == user.as_str();
        }
        let config = PullConfig::try_from_consumer_config(info.config.clone()).ok();
        config.is_some_and(|config| {
            config.durable_name.is_some()
                && config.ack_wait == ACK_WAIT
                && config.max_deliver == -1
                && usize::try_from(config.max_ack_pending) == Ok(MAX_ACK_PENDING)
        })
    });
    all
}
