//! Reads and counts what waits for a route, beside its consumer, which delivers only a few messages at a time.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::ControlFlow,
    rc::Rc,
    time::Duration,
};

use async_nats::jetstream::consumer::DeliverPolicy;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::debug;

use crate::{
    failure::chain,
    nats::{Allowance, Memory, Nats, Need, Reservation},
    source::{
        beside::{Reader, Selection},
        consumer,
        delivery::Delivery,
        feed::Feed,
        ledger::Ledger,
        problem::ReadError,
        pull::PullError,
        stored::Stored,
    },
    status::RouteHealth,
};

/// The number of messages that a digest holds; more are left for the next digest.
const MOST_MESSAGES: usize = 10_000;

/// The number of bytes that a digest holds, as all of them are in memory; more messages are left for the next digest.
const MOST_WEIGHT: usize = 8 * 1024 * 1024;

/// The number of broken connections after which a digest ends before the next unreadable message.
const MOST_BREAKS: u32 = 16;

/// The limit of the doublings: after each broken connection twice as many messages are read one by one, up to two to
/// the power of this.
const MOST_DOUBLINGS: u32 = 8;

/// The time for which a count of waiting messages is taken as current.
const FRESH: Duration = Duration::from_secs(2);

/// The number of messages that a source holds and nobody has asked for yet, shared with its backlog.
#[derive(Debug, Default)]
pub(super) struct Queue(Cell<Option<Tail>>);

/// The last of those messages.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// The number of further messages that the server had when it delivered this one.
    pending: u64,
    received: Instant,
    /// The number of messages that the source holds, including this one.
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
    memory: Memory,
    feed: Feed,
    health: RouteHealth,
    queue: Rc<Queue>,
    ledger: Rc<RefCell<Ledger>>,
    /// The number of waiting messages, and the time when they were counted.
    counted: Option<(Instant, u64)>,
}

impl Backlog {
    pub(super) fn new(
        nats: Nats,
        memory: Memory,
        feed: Feed,
        health: RouteHealth,
        queue: Rc<Queue>,
        ledger: Rc<RefCell<Ledger>>,
    ) -> Self {
        Self { nats, memory, feed, health, queue, ledger, counted: None }
    }

    /// Notes which of the messages of the last [`Backlog::read`] a digest is to show. They are not lost if the stream removes
    /// them now.
    pub(crate) fn hold(&self, messages: impl Iterator<Item = (u64, Timestamp)>) {
        self.ledger.borrow_mut().read(messages);
    }

    /// Notes that the digest has shown them, up to this one; those in `elsewhere` are for other rooms.
    pub(crate) fn done(&self, last: u64, elsewhere: &[u64]) {
        self.ledger.borrow_mut().read_done(last, elsewhere);
    }

    /// Returns the route's view of the memory for messages.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Waits for the memory that a digest takes, of which there is enough for one at a time.
    pub(crate) async fn reserve(&self) -> Reservation {
        let condition = self.health.condition();
        self.memory.queue(Need::Digest).reservation(Some(&condition)).await
    }

    /// Returns how many messages wait for the route, including one that was delivered and is not done with.
    pub(crate) async fn waiting(&mut self, current: &Delivery) -> u64 {
        let own = Tail { pending: current.pending, received: current.received, count: 0 };
        let last = self.queue.0.get().unwrap_or(own);
        if last.received.elapsed() < FRESH {
            return last.pending + last.count + 1;
        }
        // More messages may have come while the homeserver was away.
        if let Some((at, waiting)) = self.counted
            && at.elapsed() < FRESH
        {
            return waiting;
        }
        // Without an answer, as after a lost connection, the last delivery tells.
        let counted = consumer::waiting(&self.nats, &self.feed).await;
        let waiting = counted.unwrap_or(last.pending + last.count + 1);
        self.counted = Some((Instant::now(), waiting));
        waiting
    }

    /// Returns the messages from `first` on, in order: all up to `last`, or, without it, as many as fit into a digest and
    /// into its reserved memory. Messages that the client cannot read are read from the stream itself; where there are
    /// very many of these, a digest ends before them.
    ///
    /// # Errors
    ///
    /// The reason why the messages cannot be read; nothing has changed by that.
    pub(crate) async fn read(
        &self,
        first: u64,
        last: Option<u64>,
        memory: &Reservation,
    ) -> Result<Vec<Delivery>, ReadError> {
        let mut read = Read { next: first, last, memory, messages: Vec::new(), weight: 0 };
        match Box::pin(self.read_into(&mut read)).await {
            // The messages read so far are enough for a digest.
            Err(_) if last.is_none() && !read.messages.is_empty() => {}
            done => done?,
        }
        Ok(read.messages)
    }

    async fn read_into(&self, read: &mut Read<'_>) -> Result<(), ReadError> {
        for breaks in 0.. {
            let Flowed::Broken(reason) = self.flow_into(read).await? else { break };
            // A digest that was begun is read whole, or its end would never be shown.
            if read.last.is_none() && breaks >= MOST_BREAKS {
                break;
            }
            debug!("reading single messages: {}", chain(&reason));
            // Unreadable messages rarely come alone, and each broken connection takes its time.
            let count = 1 << breaks.min(MOST_DOUBLINGS);
            if self.read_single(read, count).await?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads over one connection.
    async fn flow_into(&self, read: &mut Read<'_>) -> Result<Flowed, ReadError> {
        let nats = self.nats.another().await.map_err(ReadError::Unconnected)?;
        let wanted = Selection {
            stream: self.feed.stream(),
            begin: DeliverPolicy::ByStartSequence { start_sequence: read.next },
            filters: self.feed.filters(),
            consumer: None,
        };
        let memory = Allowance::reserved(read.memory, read.left());
        let mut reader = Reader::open(&nats, wanted, memory).await?;
        while !read.is_full() {
            reader.allow(read.left());
            let delivery = match reader.next().await {
                Ok(Some(delivery)) => delivery,
                // A message for which there is not enough memory left begins another digest, or is shown by itself.
                Ok(None) | Err(ReadError::Pull(PullError::NotAllowed)) => break,
                // The messages read are enough for a digest that has no fixed end.
                Err(ReadError::Silence(_)) if read.last.is_none() && !read.messages.is_empty() => {
                    break;
                }
                Err(error) => return Ok(Flowed::Broken(error)),
            };
            self.health.beat();
            if !read.take(delivery) {
                break;
            }
        }
        Ok(Flowed::Whole)
    }

    /// Reads some messages from the stream itself, whatever their headers and subjects are. Breaks if there are no more.
    async fn read_single(
        &self,
        read: &mut Read<'_>,
        count: usize,
    ) -> Result<ControlFlow<()>, ReadError> {
        let stream = self.feed.stream();
        for _ in 0..count {
            if read.is_full() {
                return Ok(ControlFlow::Break(()));
            }
            let subjects = self.feed.subjects();
            let found = Stored::first(&self.nats, stream, read.next, subjects, read.memory).await?;
            let Some(stored) = found else { return Ok(ControlFlow::Break(())) };
            self.health.beat();
            if stored.message.payload.len() > read.left() {
                return Ok(ControlFlow::Break(()));
            }
            // The address only tells the message's place in the stream: it is acknowledged when its consumer delivers
            // it.
            if !read.take(stored.delivery(&self.nats, stream, "backlog", 1, 1)?) {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The end of a flow of messages.
enum Flowed {
    /// Everything that was asked for was read, or enough for a digest.
    Whole,
    /// The connection ended before that, as at a message that the client cannot read.
    Broken(ReadError),
}

/// The messages that have been read so far.
struct Read<'a> {
    /// The sequence number to read next.
    next: u64,
    /// The sequence number of the last message of a digest that was begun.
    last: Option<u64>,
    /// The memory that is reserved for the messages.
    memory: &'a Reservation,
    messages: Vec<Delivery>,
    weight: usize,
}

impl Read<'_> {
    /// Returns the number of bytes that the next message may have.
    fn left(&self) -> usize {
        if self.last.is_some() { usize::MAX } else { MOST_WEIGHT.saturating_sub(self.weight) }
    }

    /// Whether a digest holds no more. A digest that was begun is read whole, or its end would never be shown.
    fn is_full(&self) -> bool {
        let is_much = self.messages.len() >= MOST_MESSAGES || self.weight >= MOST_WEIGHT;
        self.last.is_none() && is_much
    }

    /// Takes the next message. Returns false if it is the last, or comes after it: what follows need not be readable.
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
