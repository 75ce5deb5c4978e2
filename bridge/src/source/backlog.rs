//! What waits for a route, read beside its consumer, which hands out only a few messages at a time.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{
        DeliverPolicy,
        pull::{Ordered, OrderedConfig},
    },
};
use futures_util::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::Delivery;
use crate::{config::Route, failure::chain, health::RouteHealth, nats::Nats};

/// More messages than these are for the next digest.
const MOST_MESSAGES: usize = 10_000;
/// So are more bytes of payload, which are all held in memory.
const MOST_BYTES: usize = 4 * 1024 * 1024;
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
        let (mut pending, mut messages) = flow(&nats, &self.route.stream, first, filters).await?;
        let (mut read, mut bytes) = (Vec::new(), 0);
        // A digest that was begun is read whole, or its end would never be shown.
        let is_full = |count: usize, bytes: usize| {
            last.is_none() && (count >= MOST_MESSAGES || bytes >= MOST_BYTES)
        };
        while pending > 0 && !is_full(read.len(), bytes) {
            let next = tokio::select! {
                biased;
                next = timeout(SLOW, messages.next()) => next,
                () = nats.drained() => Ok(None),
            };
            let message = match next {
                Ok(Some(Ok(message))) => message,
                // What was read is a digest, too.
                _ if last.is_none()
                    && (!read.is_empty() || nats.lost().now_or_never().is_some()) =>
                {
                    break;
                }
                Ok(Some(Err(error))) => return Err(chain(&error)),
                Ok(None) => return Err("the server ended the flow of messages".to_owned()),
                Err(_) => return Err(format!("no message for {} s", SLOW.as_secs())),
            };
            self.health.beat();
            let Some((delivery, _)) = Delivery::new(message) else { continue };
            let at_least = read.last().map_or(first, |before: &Delivery| before.sequence + 1);
            if delivery.sequence < at_least {
                // The client begins with the first message of the stream when the connection broke
                // before it had any.
                match last {
                    None => break,
                    Some(_) => return Err("the connection to NATS broke".to_owned()),
                }
            }
            if last.is_some_and(|last| delivery.sequence > last) {
                break;
            }
            let is_last = last == Some(delivery.sequence);
            pending = delivery.pending;
            bytes += delivery.payload().len();
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
    let (pending, mut messages) = flow(&nats, stream, from, vec![filter.to_owned()]).await?;
    if pending == 0 {
        return Ok(None);
    }
    let next = tokio::select! {
        biased;
        next = timeout(SLOW, messages.next()) => next,
        () = nats.drained() => return Err("the connection to NATS broke".to_owned()),
    };
    match next {
        Ok(Some(Ok(message))) => Ok(Some(message)),
        Ok(Some(Err(error))) => Err(chain(&error)),
        Ok(None) => Err("the server ended the flow of messages".to_owned()),
        Err(_) => Err(format!("no message for {} s", SLOW.as_secs())),
    }
}

/// The messages from a sequence on, in order, without taking them, and how many there are.
async fn flow(
    nats: &Nats,
    stream: &str,
    first: u64,
    filters: Vec<String>,
) -> Result<(u64, Ordered), String> {
    let stream = nats.jetstream.get_stream_no_info(stream).await;
    let stream = stream.map_err(|error| chain(&error))?;
    let config = OrderedConfig {
        description: Some("nats-matrix reads what waits".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: first },
        filter_subjects: filters,
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| chain(&error))?;
    let pending = consumer.cached_info().num_pending;
    let messages = consumer.messages().await.map_err(|error| chain(&error))?;
    Ok((pending, messages))
}
