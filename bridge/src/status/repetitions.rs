//! What happens again and again, and how often the log says so: a publisher, or whoever is in the place of a server, can
//! have it happen without end.

use std::time::Duration;

use tokio::time::Instant;

/// What is not logged within this time is counted.
const QUIET: Duration = Duration::from_mins(1);

/// Events of one kind.
#[derive(Debug)]
pub(crate) struct Repetitions {
    /// How many different ones are logged within a minute.
    most: usize,
    /// When the first one was that is among `logged`.
    since: Option<Instant>,
    /// Those that were logged since then.
    logged: Vec<String>,
    /// How many there were that were not logged.
    unlogged: u64,
}

impl Default for Repetitions {
    fn default() -> Self {
        Self::up_to(1)
    }
}

impl Repetitions {
    /// Events of which `most` that differ are logged within a minute.
    pub(crate) fn up_to(most: usize) -> Self {
        Self { most, since: None, logged: Vec::new(), unlogged: 0 }
    }

    /// Notes one. Whether it is to be logged; else it is counted.
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

    /// Whether they follow each other so soon that not each is logged.
    pub(crate) fn are_many(&self) -> bool {
        self.unlogged > 0 && self.is_within_a_minute()
    }

    /// How many were not logged.
    pub(crate) fn unlogged(&self) -> u64 {
        self.unlogged
    }

    /// When the log is to say how many more there were, if there were more.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.unlogged > 0).map(|since| since + QUIET)
    }

    /// How many were not logged, of which the count begins anew.
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
