//! What waits for a route, read beside its consumer, which hands out only a few messages at a time.

use std::{cell::Cell, collections::VecDeque, rc::Rc, time::Duration};

use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::{
    nats::Nats,
    source::{
        beside::{SLOW, flow},
        consumer,
        delivery::Delivery,
        feed::Feed,
        stored::Stored,
    },
    status::RouteHealth,
};

/// More messages than these are for the next digest.
const MOST_MESSAGES: usize = 10_000;

/// So is what takes more bytes of memory than this, as all of it is held there.
const MOST_WEIGHT: usize = 8 * 1024 * 1024;

/// A digest ends before a message that the client cannot read when so many have broken a connection.
const MOST_BREAKS: u32 = 16;

/// After each of them twice as many messages are read one by one, up to two to the power of this.
const MOST_DOUBLINGS: u32 = 8;

/// For how long a number of waiting messages is taken for right.
const FRESH: Duration = Duration::from_secs(2);

/// How many messages a source has in hand that nobody has asked for yet, shared with its backlog.
#[derive(Debug, Default)]
pub(super) struct Queue(Cell<Option<Tail>>);

/// The last of those messages.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// How many more the server had when it delivered it.
    pending: u64,
    received: Instant,
    /// How many messages are in hand with it.
    count: u64,
}

impl Queue {
    pub(super) fn note(&self, held: &VecDeque<Delivery>) {
        let count = held.len() as u64;
        let tail = |last: &Delivery| Tail { pending: last.pending, received: last.received, count };
        self.0.set(held.back().map(tail));
    }
}

/// Counts what waits, and reads it over connections of its own: a message that the client cannot read breaks them.
pub(crate) struct Backlog {
    nats: Nats,
    feed: Feed,
    health: RouteHealth,
    queue: Rc<Queue>,
    /// How many messages were waiting, when they were last counted.
    counted: Option<(Instant, u64)>,
}

impl Backlog {
    pub(super) fn new(nats: Nats, feed: Feed, health: RouteHealth, queue: Rc<Queue>) -> Self {
        Self { nats, feed, health, queue, counted: None }
    }

    /// How many messages wait for the route, with one that was delivered and is not done with.
    pub(crate) async fn waiting(&mut self, current: &Delivery) -> u64 {
        let own = Tail { pending: current.pending, received: current.received, count: 0 };
        let last = self.queue.0.get().unwrap_or(own);
        if last.received.elapsed() < FRESH {
            return last.pending + last.count + 1;
        }
        // More may have come while the homeserver was away.
        if let Some((at, waiting)) = self.counted
            && at.elapsed() < FRESH
        {
            return waiting;
        }
        let waiting = consumer::waiting(&self.nats, &self.feed).await.unwrap_or_default();
        self.counted = Some((Instant::now(), waiting));
        waiting
    }

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
            debug!("reading single messages: {reason}");
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
        let filters = self.feed.subjects().iter().map(ToString::to_string).collect();
        let (mut pending, mut pull) = flow(&nats, self.feed.stream(), read.next, filters).await?;
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
        let stream = self.feed.stream();
        let subjects: Vec<String> = self.feed.subjects().iter().map(ToString::to_string).collect();
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
