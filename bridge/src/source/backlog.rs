//! What waits for a route, read beside its consumer, which hands out only a few messages at a time.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull::Config as PullConfig},
};
use futures_util::FutureExt;
use tokio::time::timeout;

use super::{Delivery, pull::Pull};
use crate::{config::Route, failure::chain, health::RouteHealth, nats::Nats};

/// More messages than these are for the next digest.
const MOST_MESSAGES: usize = 10_000;
/// So is what takes more bytes of memory than this, as all of it is held there.
const MOST_WEIGHT: usize = 8 * 1024 * 1024;
/// When the server forgets the consumer of a bridge that was killed while it read.
const FORGET: Duration = Duration::from_secs(30);
/// How long the next message may take, of which the server has said that it is there.
const SLOW: Duration = Duration::from_secs(10);

/// Reads what waits, over connections of its own: a message that the client cannot read breaks them.
pub(crate) struct Backlog {
    pub(super) nats: Nats,
    pub(super) route: Arc<Route>,
    pub(super) health: RouteHealth,
}

impl Backlog {
    /// The messages from `first` on, in order: all to `last`, or those to the latest there is that fit
    /// into a digest and can be read at once.
    ///
    /// # Errors
    ///
    /// Why they cannot be read; nothing has changed by that.
    pub(crate) async fn read(
        &self,
        first: u64,
        last: Option<u64>,
    ) -> Result<Vec<Delivery>, String> {
        let nats = self.nats.another().await?;
        let filters = self.route.subjects.iter().map(ToString::to_string).collect();
        let (mut pending, mut pull) = flow(&nats, &self.route.stream, first, filters).await?;
        let (mut read, mut weight) = (Vec::new(), 0);
        // A digest that was begun is read whole, or its end would never be shown.
        let is_full = |count: usize, weight: usize| {
            last.is_none() && (count >= MOST_MESSAGES || weight >= MOST_WEIGHT)
        };
        let mut reached = 0;
        while pending > 0 && !is_full(read.len(), weight) {
            let next = tokio::select! {
                biased;
                next = timeout(SLOW, pull.next()) => next,
                () = nats.drained() => Ok(Err("the connection to NATS broke".to_owned())),
            };
            let message = match next {
                Ok(Ok(message)) => message,
                // What was read is a digest, too.
                _ if last.is_none()
                    && (!read.is_empty() || nats.lost().now_or_never().is_some()) =>
                {
                    break;
                }
                Ok(Err(reason)) => return Err(reason),
                Err(_) => return Err(format!("no message for {} s", SLOW.as_secs())),
            };
            self.health.beat();
            let Some((delivery, number)) = Delivery::new(message) else { continue };
            reached += 1;
            // One before it was lost on its way, and does not come again.
            if number != reached {
                match last {
                    None => break,
                    Some(_) => return Err("a message was lost on its way".to_owned()),
                }
            }
            if last.is_some_and(|last| delivery.sequence > last) {
                break;
            }
            let is_last = last == Some(delivery.sequence);
            pending = delivery.pending;
            weight += delivery.weight;
            read.push(delivery);
            // What comes after it need not be readable.
            if is_last {
                break;
            }
        }
        Ok(read)
    }
}

/// The first message from a sequence on that a filter matches, over a connection of its own. `None` if
/// there is none.
///
/// # Errors
///
/// Why it cannot be read.
pub(super) async fn first(
    nats: &Nats,
    stream: &str,
    from: u64,
    filter: &str,
) -> Result<Option<jetstream::Message>, String> {
    let nats = nats.another().await?;
    let (pending, mut pull) = flow(&nats, stream, from, vec![filter.to_owned()]).await?;
    if pending == 0 {
        return Ok(None);
    }
    let next = tokio::select! {
        biased;
        next = timeout(SLOW, pull.next()) => next,
        () = nats.drained() => return Err("the connection to NATS broke".to_owned()),
    };
    let message = next.map_err(|_| format!("no message for {} s", SLOW.as_secs()))?;
    message.map(Some)
}

/// The messages from a sequence on, in order, without taking them, and how many there are.
async fn flow(
    nats: &Nats,
    stream: &str,
    first: u64,
    mut filters: Vec<String>,
) -> Result<(u64, Pull), String> {
    let stream = nats.jetstream.get_stream_no_info(stream).await;
    let stream = stream.map_err(|error| chain(&error))?;
    // One filter goes where servers before 2.10 look for it.
    let filter_subject = if filters.len() == 1 { filters.remove(0) } else { String::new() };
    let config = PullConfig {
        description: Some("nats-matrix reads what waits".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: first },
        ack_policy: AckPolicy::None,
        replay_policy: ReplayPolicy::Instant,
        filter_subject,
        filter_subjects: filters,
        inactive_threshold: FORGET,
        memory_storage: true,
        num_replicas: 1,
        ..PullConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| chain(&error))?;
    let pending = consumer.cached_info().num_pending;
    Ok((pending, Pull::begin(nats, consumer).await?))
}
