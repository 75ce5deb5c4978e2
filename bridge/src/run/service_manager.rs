//! Notifications to the service manager: readiness, status and the watchdog.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{debug, error};

use crate::status::Health;

/// The watchdog, which is notified twice as often as the service manager requires, as long as this thread, which all
/// tasks share, runs and no route is stuck with a message.
pub(crate) struct Watchdog {
    interval: Option<tokio::time::Interval>,
    health: Health,
    /// Whether the log already says that notifications have stopped.
    is_said: bool,
}

impl Watchdog {
    pub(crate) fn new(health: Health) -> Self {
        let period = sd_notify::watchdog_enabled()
            .map(|limit| limit / 2)
            .filter(|period| *period > Duration::ZERO);
        Self { interval: period.map(tokio::time::interval), health, is_said: false }
    }

    pub(crate) async fn tick(&mut self) {
        match &mut self.interval {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }

    pub(crate) fn feed(&mut self) {
        if self.is_to_be_fed() {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// Whether no route is stuck. Logs the first time that one is.
    fn is_to_be_fed(&mut self) -> bool {
        let stuck = self.health.stuck();
        if let Some(stuck) = &stuck
            && !std::mem::replace(&mut self.is_said, true)
        {
            error!(
                "{stuck}: no longer notifying the watchdog, so that the service manager restarts the bridge; messages wait in NATS"
            );
        }
        stuck.is_none()
    }
}

pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("service manager not notified: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::with_a_message;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_no_more_when_a_route_hangs() {
        let (health, route) = with_a_message("a");
        let mut watchdog = Watchdog::new(health);
        tokio::time::advance(Duration::from_mins(4)).await;
        assert!(watchdog.is_to_be_fed());
        tokio::time::advance(Duration::from_mins(2)).await;
        assert!(!watchdog.is_to_be_fed() && watchdog.is_said);
        assert!(!watchdog.is_to_be_fed(), "nor the next time");
        route.end();
        assert!(watchdog.is_to_be_fed());
    }
}
