//! Finds the durable consumers of the bridge that no route of the configuration uses.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{FromConsumer, Info as ConsumerInfo, pull::Config as PullConfig},
    stream::Stream,
};
use futures_util::TryStreamExt;
use tokio::time::timeout;

use crate::{
    config::Route,
    nats::Nats,
    run::history::StreamHistory,
    source::consumer::{self, ACK_WAIT, MAX_ACK_PENDING},
};

/// The time to wait for the list of consumers. The permission for it may be missing.
const UNASKED: Duration = Duration::from_secs(2);

/// Returns a line for each consumer of a stream that no route uses. Without an answer there is none: the bridge does
/// not need the permission to list consumers.
pub(super) async fn unused(nats: &Nats, history: &StreamHistory, routes: &[Route]) -> Vec<String> {
    let Ok(stream) = consumer::stream(nats, history.name()).await else { return Vec::new() };
    let removed = history.removed();
    let is_used = |name: &str| {
        routes.iter().any(|route| route.stream == history.name() && route.consumer() == name)
    };
    let mut lines = Vec::new();
    for info in ours(&stream).await {
        let (stream, name) = (history.name(), &info.name);
        let count = info.num_pending + info.num_ack_pending as u64;
        if is_used(name) {
            continue;
        }
        lines.push(match removed.iter().find(|route| route.consumer() == name) {
            Some(route) => format!(
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

/// Returns the consumers of a stream that are configured as only the bridge does it.
async fn ours(stream: &Stream) -> Vec<ConsumerInfo> {
    let all = timeout(UNASKED, stream.consumers().try_collect::<Vec<_>>()).await;
    let mut all = all.ok().and_then(Result::ok).unwrap_or_default();
    all.retain(|info| {
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
