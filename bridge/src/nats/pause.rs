//! Decides how long the NATS client waits before it connects again.

use std::{cmp::min, time::Duration};

use tokio::time::Instant;

/// The time within which a connection that ends counts as useless, as with a server that closes each at once.
const SHORT: Duration = Duration::from_secs(10);

/// The pause after the first useless connection, and after many.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(15)];

/// The pause after a short connection that has delivered messages. Any publisher can end a connection with a message
/// that the client cannot read, and the messages before it must not wait for that.
const AFTER_MESSAGES: Duration = Duration::from_millis(50);

/// The longest pause while no server can be reached.
const LONGEST_AWAY: Duration = Duration::from_secs(4);

/// The attempts to connect.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// The time when the last attempt began.
    last: Option<Instant>,
    /// The last pause that followed a connection.
    pause: Duration,
}

impl Attempts {
    /// Returns the pause before another attempt, which is the `count`th since there was a connection.
    ///
    /// While no server can be reached the pause grows as the client's own does, except that the client has none at all
    /// after a connection.
    /// `has_delivered` is whether messages have come since the last call.
    pub(super) fn pause(&mut self, count: usize, has_delivered: bool) -> Duration {
        let now = Instant::now();
        let pause = if count > 1 {
            let doublings = u32::try_from(count - 1).unwrap_or(u32::MAX);
            min(Duration::from_millis(2_u64.saturating_pow(doublings)), LONGEST_AWAY)
        } else {
            let was_short = self.last.is_some_and(|last| now.duration_since(last) < SHORT);
            let [first, last] = PAUSES;
            self.pause = match (was_short, has_delivered) {
                (false, _) => Duration::ZERO,
                (true, true) => AFTER_MESSAGES,
                (true, false) => (self.pause * 2).clamp(first, last),
            };
            self.pause
        };
        self.last = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_that_do_not_last_are_made_ever_more_slowly() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.pause(1, false), Duration::ZERO, "the first of all");
        let mut pauses = Vec::new();
        for _ in 0..7 {
            advance(Duration::from_millis(10)).await;
            let pause = attempts.pause(1, false);
            advance(pause).await;
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15, 15]);
        advance(SHORT).await;
        assert_eq!(attempts.pause(1, false), Duration::ZERO, "one that has lasted");
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_deliver_messages_are_made_again_soon() {
        let mut attempts = Attempts::default();
        attempts.pause(1, false);
        for _ in 0..5 {
            advance(Duration::from_millis(100)).await;
            assert_eq!(attempts.pause(1, true), AFTER_MESSAGES);
        }
        advance(Duration::from_millis(100)).await;
        assert_eq!(attempts.pause(1, false), PAUSES[0], "the first that delivers nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_away_is_looked_for_soon() {
        let mut attempts = Attempts::default();
        let pauses = [1, 2, 5, 12, 13, 99].map(|count| attempts.pause(count, false).as_millis());
        assert_eq!(pauses, [0, 2, 16, 2_048, 4_000, 4_000]);
    }
}
