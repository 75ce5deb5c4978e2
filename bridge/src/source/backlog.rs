//! What waits for a route, read beside its consumer, which hands out only a few messages at a time.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, pull::Config as PullConfig},
};
use tokio::time::timeout;
use tracing::debug;

use super::{Delivery, pull::Pull, stored::Stored};
use crate::{config::Route, failure::chain, health::RouteHealth, nats::Nats};

/// More messages than these are for the next digest.
const MOST_MESSAGES: usize = 10_000;
/// So is what takes more bytes of memory than this, as all of it is held there.
const MOST_WEIGHT: usize = 8 * 1024 * 1024;
/// When the server forgets the consumer of a bridge that was killed while it read.
const FORGET: Duration = Duration::from_secs(30);
/// How long the next message may take, of which the server has said that it is there.
const SLOW: Duration = Duration::from_secs(10);
/// A digest ends before a message that the client cannot read when so many have broken a connection.
const MOST_BREAKS: u32 = 16;
/// After each of them twice as many messages are read one by one, up to two to the power of this.
const MOST_DOUBLINGS: u32 = 8;

/// Reads what waits, over connections of its own: a message that the client cannot read breaks them.
pub(crate) struct Backlog {
    pub(super) nats: Nats,
    pub(super) route: Arc<Route>,
    pub(super) health: RouteHealth,
}

impl Backlog {
    /// The messages from `first` on, in order: all to `last`, or those to the latest there is that fit into a digest.
    /// Those that the client cannot read are read from the stream itself; where they are very many, a digest ends before
    /// them.
    ///
    /// # Errors
    ///
    /// Why they cannot be read; nothing has changed by that.
    pub(crate) async fn read(
        &self,
        first: u64,
        last: Option<u64>,
    ) -> Result<Vec<Delivery>, String> {
        let mut read = Read { next: first, last, messages: Vec::new(), weight: 0 };
        match self.read_into(&mut read).await {
            // What was read is a digest, too.
            Err(_) if last.is_none() && !read.messages.is_empty() => {}
            done => done?,
        }
        Ok(read.messages)
    }

    async fn read_into(&self, read: &mut Read) -> Result<(), String> {
        for breaks in 0.. {
            let Some(reason) = self.flow_into(read).await? else { break };
            // A digest that was begun is read whole, or its end would never be shown.
            if read.last.is_none() && breaks >= MOST_BREAKS {
                break;
            }
            debug!("route {}: reading single messages: {reason}", self.route.name);
            // Where there was one that cannot be read there are more, and each connection takes its time.
            let count = 1 << breaks.min(MOST_DOUBLINGS);
            if !self.read_single(read, count).await? {
                break;
            }
        }
        Ok(())
    }

    /// Reads over one connection. Some reason if that has ended before all was read, as at a message that the client
    /// cannot read.
    async fn flow_into(&self, read: &mut Read) -> Result<Option<String>, String> {
        let nats = self.nats.another().await?;
        let filters = self.route.subjects.iter().map(ToString::to_string).collect();
        let (mut pending, mut pull) = flow(&nats, &self.route.stream, read.next, filters).await?;
        let mut reached = 0;
        while pending > 0 && !read.is_full() {
            let next = tokio::select! {
                biased;
                next = timeout(SLOW, pull.next()) => next,
                () = nats.drained() => Ok(Err("the connection to NATS broke".to_owned())),
            };
            let message = match next {
                Ok(Ok(message)) => message,
                Ok(Err(reason)) => return Ok(Some(reason)),
                // What was read is enough for a digest that need not have an end.
                Err(_) if read.last.is_none() && !read.messages.is_empty() => return Ok(None),
                Err(_) => return Ok(Some(format!("no message for {} s", SLOW.as_secs()))),
            };
            self.health.beat();
            let Some((delivery, number)) = Delivery::new(message) else { continue };
            reached += 1;
            // The client keeps some for itself, and they do not come again.
            if number != reached {
                return Ok(Some("a message was lost on its way".to_owned()));
            }
            pending = delivery.pending;
            if !read.take(delivery) {
                break;
            }
        }
        Ok(None)
    }

    /// Reads some messages from the stream itself, whatever their headers and subjects are. False if there are no more.
    async fn read_single(&self, read: &mut Read, count: usize) -> Result<bool, String> {
        let stream = &self.route.stream;
        let subjects: Vec<String> = self.route.subjects.iter().map(ToString::to_string).collect();
        let filters: Vec<&str> = subjects.iter().map(String::as_str).collect();
        for _ in 0..count {
            if read.is_full() {
                return Ok(false);
            }
            let found = Stored::first(&self.nats, stream, read.next, &filters).await;
            let Some(stored) = found.map_err(|problem| problem.to_string())? else {
                return Ok(false);
            };
            self.health.beat();
            let sequence = stored.sequence;
            let published = stored.published.unix_timestamp_nanos();
            // Only its place in the stream is read from that: it is acknowledged when its consumer delivers it.
            let reply = format!("$JS.ACK.{stream}.backlog.1.{sequence}.1.{published}.0");
            let delivery = Delivery::new(stored.delivered(&self.nats, Some(reply)));
            let (delivery, _) = delivery
                .ok_or_else(|| format!("stream {stream}: message {sequence} has no place in it"))?;
            if !read.take(delivery) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What has been read so far.
struct Read {
    /// The sequence from which on it goes on.
    next: u64,
    /// That of the last message, if a digest was begun that ends with it.
    last: Option<u64>,
    messages: Vec<Delivery>,
    weight: usize,
}

impl Read {
    /// Whether it is as much as a digest holds. One that was begun is read whole, or its end would never be shown.
    fn is_full(&self) -> bool {
        let is_much = self.messages.len() >= MOST_MESSAGES || self.weight >= MOST_WEIGHT;
        self.last.is_none() && is_much
    }

    /// Takes the next message. False if it is the last, or after it: what comes then need not be readable.
    fn take(&mut self, delivery: Delivery) -> bool {
        let sequence = delivery.sequence;
        if self.last.is_some_and(|last| sequence > last) {
            return false;
        }
        self.next = sequence + 1;
        self.weight += delivery.weight;
        self.messages.push(delivery);
        self.last != Some(sequence)
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
