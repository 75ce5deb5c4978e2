//! The memory budget of the process for messages, which all routes share.
//!
//! Nothing that may be large is read without a [`Reservation`]: a flow of messages is opened with an [`Allowance`], and
//! a request for a single message takes a reservation. Reservations are given in the order in which they were asked
//! for. A route has one at a time, for its current message or for a digest, so no route waits for itself; and one whose
//! room cannot be reached gives it back when others wait (`pipeline::relay`), so no route waits for another for ever.
//!
//! Small messages need no reservation. Each route holds a fixed [part](Memory::in_hand) of the memory for them.

use std::{
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::status::{Condition, State};

/// The memory that can be reserved, in bytes.
const ALL: usize = 20 * 1024 * 1024;

/// The memory for a digest while its messages are read and rendered, in bytes. There is not enough for two at a time.
const DIGEST: usize = 14 * 1024 * 1024;

/// The memory for small messages that routes hold, in bytes, for all routes together.
const SMALL: usize = 8 * 1024 * 1024;

/// The limits of the part of it that a route holds, in bytes.
const MOST_IN_HAND: usize = 512 * 1024;
const LEAST_IN_HAND: usize = 32 * 1024;

/// The time after which a wait is reported.
const NOTED_AFTER: Duration = Duration::from_secs(5);

/// The need for which memory is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A message of this many bytes, with what is made from it until it is shown.
    Message(usize),
    /// A message of this many bytes at most that is read from the stream itself, as JSON.
    Stored(usize),
    /// The messages of a digest and their texts.
    Digest,
}

impl Need {
    /// The memory to reserve, in KiB.
    fn kib(self) -> u32 {
        let bytes = match self {
            // A file that was encoded in a message is decoded and uploaded while the message is there.
            Self::Message(bytes) => 2 * bytes,
            // The answer is larger by a third, and there while it is decoded.
            Self::Stored(bytes) => 2 * bytes + bytes / 3,
            Self::Digest => DIGEST,
        };
        kib(bytes)
    }
}

/// The memory of all routes, or the view that one route has of it.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    shared: Arc<Shared>,
    /// The number of reservations of the route.
    held: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    /// The number of those that wait for memory.
    waiting: Arc<AtomicUsize>,
    /// The number of feeds that hold small messages.
    feeds: AtomicUsize,
    /// The permit to read a whole stream.
    reader: Arc<Semaphore>,
}

/// Reserved memory; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    permit: OwnedSemaphorePermit,
    _held: Counted,
}

/// The memory into which a flow takes messages that are large.
pub(crate) enum Allowance<'a> {
    /// A reservation for each. The condition reports a wait for it.
    Each(Memory, Option<Condition>),
    /// A [reservation of the reader](Allowance::reserved), and the number of bytes that the next message may have.
    Reserved(usize, PhantomData<&'a Reservation>),
}

impl<'a> Allowance<'a> {
    /// Allows a flow to take messages of up to `bytes` bytes, for as long as the reservation lasts.
    pub(crate) fn reserved(_by: &'a Reservation, bytes: usize) -> Self {
        Self::Reserved(bytes, PhantomData)
    }
}

type Acquired = Result<OwnedSemaphorePermit, AcquireError>;

/// A place in the queue for memory. Dropping it gives the place up; the future of [`Wait::reservation`] can be dropped
/// without losing it.
pub(crate) struct Wait {
    since: Instant,
    acquire: Pin<Box<dyn Future<Output = Acquired> + Send>>,
    held: Arc<AtomicUsize>,
    _counted: Counted,
}

/// An entry in a number.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn in_number(number: &Arc<AtomicUsize>) -> Self {
        number.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(number))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Memory {
    pub(crate) fn new() -> Self {
        let shared = Shared {
            free: Arc::new(Semaphore::new(ALL / 1024)),
            waiting: Arc::default(),
            feeds: AtomicUsize::new(1),
            reader: Arc::new(Semaphore::new(1)),
        };
        Self { shared: Arc::new(shared), held: Arc::default() }
    }

    /// Returns the view of a route, which tells its own reservations from those of others.
    pub(crate) fn of_one(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), held: Arc::default() }
    }

    /// Divides the memory for small messages among so many feeds.
    pub(crate) fn divide(&self, feeds: usize) {
        self.shared.feeds.store(feeds.max(1), Ordering::Relaxed);
    }

    /// The number of bytes of small messages that a feed holds before it takes no more.
    pub(crate) fn in_hand(&self) -> usize {
        let feeds = self.shared.feeds.load(Ordering::Relaxed);
        (SMALL / feeds).clamp(LEAST_IN_HAND, MOST_IN_HAND)
    }

    /// Queues for memory, or for all that there is if that is less.
    pub(crate) fn queue(&self, need: Need) -> Wait {
        Wait {
            since: Instant::now(),
            acquire: Box::pin(Arc::clone(&self.shared.free).acquire_many_owned(need.kib())),
            held: Arc::clone(&self.held),
            _counted: Counted::in_number(&self.shared.waiting),
        }
    }

    /// Reserves memory if it is free now.
    pub(crate) fn reserve_now(&self, need: Need) -> Option<Reservation> {
        let permit = Arc::clone(&self.shared.free).try_acquire_many_owned(need.kib()).ok()?;
        Some(Reservation { permit, _held: Counted::in_number(&self.held) })
    }

    /// Whether somebody waits for memory.
    pub(crate) fn is_wanted(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether the route has a reservation.
    pub(crate) fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed) > 0
    }

    /// Waits until nobody else reads a whole stream. The reader keeps the permit until it has read.
    pub(crate) async fn reader(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.shared.reader).acquire_owned().await {
            Ok(permit) => permit,
            // Nobody closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Wait {
    /// Waits for the memory, once. A long wait is reported in `condition`, if there is one.
    pub(crate) async fn reservation(&mut self, condition: Option<&Condition>) -> Reservation {
        let soon = timeout_at(self.since + NOTED_AFTER, &mut self.acquire).await;
        let acquired = if let Ok(acquired) = soon {
            acquired
        } else {
            if let Some(condition) = condition {
                let reason = "large messages wait until those of other routes are done with";
                condition.set(State::MemoryTaken, &reason, Duration::ZERO);
            }
            (&mut self.acquire).await
        };
        if let Some(condition) = condition {
            condition.clear();
        }
        match acquired {
            Ok(permit) => Reservation { permit, _held: Counted::in_number(&self.held) },
            // Nobody closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Reservation {
    /// Gives back all memory in excess of a need.
    pub(crate) fn shrink(&mut self, need: Need) {
        self.give_back(need.kib());
    }

    /// Gives back all memory in excess of `bytes` bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.give_back(kib(bytes));
    }

    fn give_back(&mut self, all_but: u32) {
        let more = self.permit.num_permits().saturating_sub(all_but as usize);
        drop(self.permit.split(more));
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.min(ALL).div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::status::Health;

    const MEGABYTE: usize = 1024 * 1024;

    async fn is_waiting(wait: &mut Wait, condition: &Condition) -> bool {
        let reservation = wait.reservation(Some(condition));
        // Each call drops the future of the one before.
        tokio::time::timeout(Duration::from_millis(10), reservation).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_has_memory_first_however_often_the_wait_is_taken_up() {
        let (memory, health) = (Memory::new(), Health::default());
        let (condition, other) = (health.condition(Some("a")), health.condition(Some("b")));
        let eight = Need::Message(8 * MEGABYTE);
        let first = memory.queue(eight).reservation(Some(&condition)).await;
        let mut large = memory.queue(eight);
        for _ in 0..100 {
            assert!(is_waiting(&mut large, &condition).await);
        }
        // There is memory for a small message, but it is not its turn.
        let mut small = memory.queue(Need::Message(MEGABYTE));
        assert!(is_waiting(&mut small, &other).await && memory.is_wanted());
        drop(first);
        let reservation = large.reservation(None).now_or_never().unwrap();
        drop(large);
        assert!(!is_waiting(&mut small, &other).await);
        drop((small, reservation));
        assert!(!memory.is_wanted());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_noted_until_it_is_over() {
        let (memory, health) = (Memory::new(), Health::default());
        let condition = health.condition(Some("a"));
        let all = memory.reserve_now(Need::Message(ALL));
        let mut wait = memory.queue(Need::Message(1));
        for (seconds, state) in [(4, false), (2, true)] {
            let time = Duration::from_secs(seconds);
            let waited = tokio::time::timeout(time, wait.reservation(Some(&condition)));
            assert!(waited.await.is_err());
            assert_eq!(health.board().state() == State::MemoryTaken, state);
        }
        drop(all);
        wait.reservation(Some(&condition)).await;
        assert_ne!(health.board().state(), State::MemoryTaken);
    }

    #[test]
    fn memory_that_is_not_needed_is_given_back() {
        let memory = Memory::new();
        let mut all = memory.reserve_now(Need::Stored(ALL)).unwrap();
        all.shrink(Need::Message(7 * MEGABYTE));
        assert!(memory.reserve_now(Need::Message(3 * MEGABYTE)).is_some());
        assert!(memory.reserve_now(Need::Message(4 * MEGABYTE)).is_none());
        all.shrink_to(MEGABYTE);
        all.shrink_to(2 * MEGABYTE);
        assert!(memory.reserve_now(Need::Message(9 * MEGABYTE)).is_some());
    }

    #[test]
    fn one_digest_and_one_of_the_largest_messages_is_in_memory_at_a_time() {
        let memory = Memory::new();
        for need in [Need::Digest, Need::Message(8 * MEGABYTE), Need::Stored(8 * MEGABYTE)] {
            let first = memory.reserve_now(need).unwrap();
            for other in [Need::Digest, Need::Message(8 * MEGABYTE), Need::Stored(8 * MEGABYTE)] {
                assert!(memory.reserve_now(other).is_none(), "{other:?} beside {need:?}");
            }
            drop(first);
        }
    }

    #[test]
    fn a_route_tells_its_reservations_from_those_of_others() {
        let memory = Memory::new();
        let (one, other) = (memory.of_one(), memory.of_one());
        let reservation = one.reserve_now(Need::Digest);
        assert!(one.is_held() && !other.is_held());
        drop(reservation);
        assert!(!one.is_held());
    }

    #[test]
    fn many_routes_hold_no_more_than_a_few() {
        let memory = Memory::new();
        assert_eq!(memory.in_hand(), MOST_IN_HAND);
        for feeds in [1, 16, 30, 200] {
            memory.divide(feeds);
            assert!(memory.in_hand() * feeds <= SMALL, "{feeds} feeds");
        }
        memory.divide(1_000);
        assert_eq!(memory.in_hand(), LEAST_IN_HAND);
    }
}
