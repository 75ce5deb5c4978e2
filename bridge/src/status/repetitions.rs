//! Limits how often the log reports repeated events: a publisher, or an attacker in place of a server, can cause them
//! without end.

use std::time::Duration;

use tokio::time::Instant;

/// The time within which further events are counted instead of logged.
const QUIET: Duration = Duration::from_mins(1);

/// Events of one kind.
#[derive(Debug)]
pub(crate) struct Repetitions {
    /// The number of different events that are logged within a minute.
    most: usize,
    /// The time of the first event in `logged`.
    since: Option<Instant>,
    /// The events that were logged since then.
    logged: Vec<String>,
    /// The number of events that were not logged.
    unlogged: u64,
}

impl Default for Repetitions {
    fn default() -> Self {
        Self::up_to(1)
    }
}

impl Repetitions {
    /// Creates a limit of `most` different events that are logged within a minute.
    pub(crate) fn up_to(most: usize) -> Self {
        Self { most, since: None, logged: Vec::new(), unlogged: 0 }
    }

    /// Notes an event. Returns whether it is to be logged; otherwise it is counted.
    pub(crate) fn note(&mut self, event: &str) -> bool {
        if !self.is_within_a_minute() {
            self.since = Some(Instant::now());
            self.logged.clear();
        }
        let is_new = self.logged.len() < self.most && !self.logged.iter().any(|it| it == event);
        if is_new {
            self.logged.push(event.to_owned());
        } else {
            self.unlogged += 1;
        }
        is_new
    }

    /// Whether events follow each other so quickly that not all are logged.
    pub(crate) fn are_many(&self) -> bool {
        self.unlogged > 0 && self.is_within_a_minute()
    }

    /// Returns how many events were not logged.
    pub(crate) fn unlogged(&self) -> u64 {
        self.unlogged
    }

    /// Returns when the log is to report the number of events that were not logged, if there were any.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.unlogged > 0).map(|since| since + QUIET)
    }

    /// Returns how many events were not logged, and resets the count.
    pub(crate) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.unlogged)
    }

    fn is_within_a_minute(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() < QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_of_many_is_logged_and_then_their_number() {
        let mut all = Repetitions::default();
        assert!(all.note("a") && !all.are_many() && all.due().is_none());
        let due = Instant::now() + QUIET;
        assert!(!all.note("a") && !all.note("b") && all.are_many());
        assert_eq!(all.due(), Some(due));
        tokio::time::advance(QUIET).await;
        assert!(!all.are_many());
        assert_eq!((all.take(), all.due()), (2, None));
        assert!(all.note("a"), "the next is logged again");
    }

    #[tokio::test(start_paused = true)]
    async fn some_that_differ_are_logged_each_once() {
        let mut all = Repetitions::up_to(3);
        let logged: Vec<u32> = (0..100).filter(|n| all.note(&(n / 2).to_string())).collect();
        assert_eq!(logged, [0, 2, 4]);
        assert_eq!(all.unlogged(), 97);
        tokio::time::advance(QUIET).await;
        assert!(all.note("0") && !all.note("0"));
        assert_eq!(all.take(), 98);
    }
}
