//! Connections to NATS that are made anew, and how often the log says so: any publisher can end the client, again and
//! again.

use std::time::Duration;

use tokio::time::Instant;

/// What is said of one of them is not said again of others within this time.
const QUIET: Duration = Duration::from_mins(1);

/// The connections of late that were made anew.
#[derive(Debug, Default)]
pub(crate) struct Reconnections {
    /// When the last one was that the log tells of.
    said: Option<Instant>,
    /// How many there were that it has not told of.
    more: u64,
}

impl Reconnections {
    /// Notes one. Whether the log is to tell of it.
    pub(crate) fn note(&mut self) -> bool {
        if self.said.is_some_and(|said| said.elapsed() < QUIET) {
            self.more += 1;
            return false;
        }
        self.said = Some(Instant::now());
        true
    }

    /// Whether they follow each other so soon that the log does not tell of each.
    pub(crate) fn are_many(&self) -> bool {
        self.more > 0 && self.said.is_some_and(|said| said.elapsed() < QUIET)
    }

    /// When the log is to tell how many more there were, if there were more.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.said.filter(|_| self.more > 0).map(|said| said + QUIET)
    }

    /// How many the log has not told of; it does now.
    pub(crate) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_of_many_is_told_of_and_then_their_number() {
        let mut all = Reconnections::default();
        assert!(all.note() && !all.are_many() && all.due().is_none());
        let due = Instant::now() + QUIET;
        assert!(!all.note() && !all.note() && all.are_many());
        assert_eq!(all.due(), Some(due));
        tokio::time::advance(QUIET).await;
        assert!(!all.are_many());
        assert_eq!((all.take(), all.due()), (2, None));
        assert!(all.note(), "the next is told of again");
    }
}
