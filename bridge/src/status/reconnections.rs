//! Restored connections to NATS, and how often they are logged. Any publisher can make the client reconnect again and
//! again, so the log must be limited.

use std::time::Duration;

use tokio::time::Instant;

/// The time after a logged reconnection in which others are only counted.
const QUIET: Duration = Duration::from_mins(1);

/// The recent reconnections.
#[derive(Debug, Default)]
pub(crate) struct Reconnections {
    /// The time of the last one that was logged.
    said: Option<Instant>,
    /// The number of later ones that were not logged.
    more: u64,
}

impl Reconnections {
    /// Notes a reconnection. Returns whether to log it.
    pub(crate) fn note(&mut self) -> bool {
        if self.said.is_some_and(|said| said.elapsed() < QUIET) {
            self.more += 1;
            return false;
        }
        self.said = Some(Instant::now());
        true
    }

    /// Whether reconnections are so frequent that the log leaves some out.
    pub(crate) fn are_many(&self) -> bool {
        self.more > 0 && self.said.is_some_and(|said| said.elapsed() < QUIET)
    }

    /// The time at which to log the number of those left out, if there are any.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.said.filter(|_| self.more > 0).map(|said| said + QUIET)
    }

    /// Returns the number of those left out, and resets it.
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
