//! Memory for large messages, which all routes share.
//!
//! A route reserves memory when the server has announced that its next message is a large one, and keeps it as long as
//! the message. Routes get memory in the order in which they asked, and none takes a large message without it.

use std::{
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

/// The memory that all large messages that are held at the same time may take, in KiB.
const ALL_KIB: usize = 20 * 1024;

/// The time after which a wait is reported.
const NOTED_AFTER: Duration = Duration::from_secs(5);

/// The memory for large messages.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    /// The number of routes that wait for memory.
    waiting: Arc<AtomicUsize>,
}

/// Memory reserved for a large message; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Room(OwnedSemaphorePermit);

type Acquired = Result<OwnedSemaphorePermit, AcquireError>;

/// A place in the queue for memory. Dropping it gives the place up; the future of [`Wait::room`] can be dropped without
/// losing it.
pub(crate) struct Wait {
    since: Instant,
    acquire: Pin<Box<dyn Future<Output = Acquired> + Send>>,
    _counted: Counted,
}

/// An entry in the number of waiting routes.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(ALL_KIB)), waiting: Arc::default() }
    }

    /// Queues for `bytes` bytes of memory, or for all that there is if that is less.
    pub(crate) fn queue(&self, bytes: usize) -> Wait {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Wait {
            since: Instant::now(),
            acquire: Box::pin(Arc::clone(&self.free).acquire_many_owned(kib(bytes))),
            _counted: Counted(Arc::clone(&self.waiting)),
        }
    }

    /// Whether somebody waits for memory.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

impl Wait {
    /// Waits for the memory, once. A long wait is reported in `condition`.
    pub(crate) async fn room(&mut self, condition: &Condition) -> Room {
        let soon = timeout_at(self.since + NOTED_AFTER, &mut self.acquire).await;
        let acquired = if let Ok(acquired) = soon {
            acquired
        } else {
            let reason = "a large message waits until those of other routes are done with";
            condition.set(State::MemoryTaken, &reason, Duration::ZERO);
            (&mut self.acquire).await
        };
        condition.clear();
        match acquired {
            Ok(permit) => Room(permit),
            // Nobody closes the semaphore.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Room {
    /// Gives back all memory in excess of `bytes` bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let more = self.0.num_permits().saturating_sub(kib(bytes) as usize);
        drop(self.0.split(more));
    }

    /// Splits off memory for `bytes` bytes, or all that is left.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Self> {
        let part = self.0.num_permits().min(kib(bytes) as usize);
        self.0.split(part).map(Self)
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).min(ALL_KIB)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::status::Health;

    const MEGABYTE: usize = 1024 * 1024;

    async fn is_waiting(wait: &mut Wait, condition: &Condition) -> bool {
        // Each call drops the future of the one before.
        tokio::time::timeout(Duration::from_millis(10), wait.room(condition)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn who_came_first_has_room_first_however_often_the_wait_is_taken_up() {
        let (memory, health) = (Memory::new(), Health::default());
        let (condition, other) = (health.condition(Some("a")), health.condition(Some("b")));
        let first = memory.queue(15 * MEGABYTE).room(&condition).await;
        let mut large = memory.queue(15 * MEGABYTE);
        for _ in 0..100 {
            assert!(is_waiting(&mut large, &condition).await);
        }
        // There is memory for a small message, but it is not its turn.
        let mut small = memory.queue(MEGABYTE);
        assert!(is_waiting(&mut small, &other).await && memory.is_wanted());
        drop(first);
        let room = large.room(&condition).now_or_never().unwrap();
        drop(large);
        assert!(!is_waiting(&mut small, &other).await);
        drop((small, room));
        assert!(!memory.is_wanted());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_noted_until_it_is_over() {
        let (memory, health) = (Memory::new(), Health::default());
        let condition = health.condition(Some("a"));
        let all = memory.queue(usize::MAX).room(&condition).await;
        let mut wait = memory.queue(1);
        for (seconds, state) in [(4, false), (2, true)] {
            let sleep = tokio::time::timeout(Duration::from_secs(seconds), wait.room(&condition));
            assert!(sleep.await.is_err());
            assert_eq!(health.board().state() == State::MemoryTaken, state);
        }
        drop(all);
        wait.room(&condition).await;
        assert_ne!(health.board().state(), State::MemoryTaken);
    }

    #[tokio::test]
    async fn room_that_is_not_needed_is_given_back() {
        let (memory, health) = (Memory::new(), Health::default());
        let condition = health.condition(None);
        let mut room = memory.queue(usize::MAX).room(&condition).await;
        room.shrink(15 * MEGABYTE);
        let other = memory.queue(5 * MEGABYTE).room(&condition).now_or_never();
        assert!(other.is_some());
        let part = room.split(14 * MEGABYTE);
        drop(room);
        assert!(memory.queue(2 * MEGABYTE).room(&condition).now_or_never().is_none());
        assert!(memory.queue(MEGABYTE).room(&condition).now_or_never().is_some());
        drop(part);
    }
}
