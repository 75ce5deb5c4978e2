//! Outages: how long to wait between attempts, and how often to log that the outage goes on.

use std::{fmt::Display, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::{
    SignedDuration, SignedDurationRound, Unit,
    fmt::friendly::{FractionalUnit, SpanPrinter},
};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::status::{board::State, health::Condition};

/// The first pause. It is short because most faults are a restarting server.
const FIRST: Duration = Duration::from_millis(250);

/// The longest pause unless the server asks for a longer one. After an outage the first message is at most this late.
const LONGEST: Duration = Duration::from_secs(15);

/// The shortest time between two log lines about the same outage.
const REMIND: Duration = Duration::from_mins(5);

/// A server or room that may be unreachable for a while. It returns growing, jittered pauses and logs the beginning,
/// the continuation (every five minutes) and the end of each outage.
#[derive(Debug)]
pub(crate) struct Outage {
    what: String,
    condition: Condition,
    since: Option<Instant>,
    said: Option<(Instant, String)>,
    pauses: ExponentialBackoff,
}

impl Outage {
    /// Creates the tracker. `what` is the subject of the log lines, like "homeserver <http://127.0.0.1:6167>";
    /// `condition` is set during an outage so that monitoring sees it.
    pub(crate) fn of(what: impl Into<String>, condition: Condition) -> Self {
        Self { what: what.into(), condition, since: None, said: None, pauses: pauses() }
    }

    /// Notes a failed attempt; returns how long to wait before the next one.
    ///
    /// `asked` is the pause that the server asked for (HTTP 429); it is used when it is longer than our own pause.
    pub(crate) fn failed(
        &mut self,
        state: State,
        reason: &dyn Display,
        asked: Option<Duration>,
    ) -> Duration {
        let now = Instant::now();
        self.since.get_or_insert(now);
        let reason = reason.to_string();
        let own = self.pauses.next().unwrap_or(LONGEST);
        let pause = asked.map_or(own, |asked| asked.max(own));
        self.condition.set(state, &reason, pause);
        let silent = self
            .said
            .as_ref()
            .is_some_and(|(at, last)| *last == reason && now.duration_since(*at) < REMIND);
        if !silent {
            // A reason may begin with its subject, such as "NATS".
            let is_named =
                reason.strip_prefix(&*self.what).is_some_and(|rest| rest.starts_with(' '));
            let what = if is_named { String::new() } else { format!("{}: ", self.what) };
            warn!("{what}{reason}; trying again; messages wait in NATS");
            self.said = Some((now, reason));
        }
        pause
    }

    /// Ends the outage without success, because there will be no more attempts.
    pub(crate) fn abandon(&mut self) {
        self.since = None;
        self.condition.clear();
    }

    /// Notes a success, which ends the outage if there was one.
    pub(crate) fn over(&mut self) {
        if let Some(since) = self.since.take() {
            info!("{}: works again after {}", self.what, lasted(since.elapsed()));
            self.said = None;
            self.pauses = pauses();
            self.condition.clear();
        }
    }
}

/// Formats the duration of an outage, like "2h 3m 4.2s".
fn lasted(duration: Duration) -> String {
    let tenths = SignedDurationRound::new().smallest(Unit::Millisecond).increment(100);
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    let printer = SpanPrinter::new().fractional(Some(FractionalUnit::Second));
    printer.duration_to_string(&duration.round(tenths).unwrap_or(duration))
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_how_long_an_outage_lasted() {
        assert_eq!(lasted(Duration::from_millis(7_384_250)), "2h 3m 4.3s");
        assert_eq!(lasted(Duration::from_millis(250)), "0.3s");
        assert_eq!(lasted(Duration::from_hours(50)), "50h");
    }
}
