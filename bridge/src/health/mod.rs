//! How the bridge is, for those who watch over it: the service manager, a monitoring system, a
//! person with a phone.
//!
//! Whoever finds out that something does not work notes it on the board, and takes it back when it
//! works again. Everything that tells of our state reads it from there.

mod board;
mod http;
mod metrics;
mod page;
mod pulse;
mod reconnections;

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use matrix_sdk::ruma::{OwnedRoomId, RoomId};
use serde::Serialize;
use tokio::{sync::watch, time::sleep_until};
use tracing::info;

use self::{
    board::{Board, Phase},
    metrics::Metrics,
    reconnections::Reconnections,
};
pub(crate) use self::{
    board::{Shown, State},
    http::{bind, serve},
    metrics::RouteMetrics,
    pulse::Pulse,
};
use crate::{
    config::Route,
    failure::Failure,
    held,
    source::{Delivery, First, Waiting},
};

/// A message that is in hand for this long, with nothing tried and nothing waited for, hangs.
const PATIENCE: Duration = Duration::from_mins(5);

/// How all is; shared by all tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    board: Mutex<Board>,
    metrics: Metrics,
    changes: watch::Sender<()>,
    reconnections: Mutex<Reconnections>,
}

impl Health {
    /// The line of one route; what it holds back has one of its own.
    pub(crate) fn route(&self, route: &Route) -> RouteHealth {
        let suffix = if held::is_morning(route) { ":held" } else { "" };
        let name = format!("{}{suffix}", route.name);
        self.board().add_route(&name);
        let metrics = self.0.metrics.route(&name);
        RouteHealth { health: self.clone(), name: name.into(), metrics }
    }

    /// A place to note that something does not work, of a route or of all.
    pub(crate) fn spot(&self, route: Option<&str>) -> Spot {
        let number = self.board().new_number();
        Spot { health: self.clone(), number, route: route.map(Into::into) }
    }

    /// A configuration takes over; `refused` if it does because the one after it failed.
    pub(crate) fn begin(&self, refused: Option<&Failure>) {
        self.change(|board| board.begin(refused.map(ToString::to_string)));
    }

    /// A new configuration was refused, so that the present one stays.
    pub(crate) fn refused(&self, failure: &Failure) {
        self.change(|board| board.refused = Some(failure.to_string()));
    }

    /// All routes are there.
    pub(crate) fn serving(&self) {
        self.change(|board| board.phase = Phase::Serving);
    }

    /// We were told to stop.
    pub(crate) fn draining(&self) {
        self.change(|board| board.phase = Phase::Draining);
    }

    /// The routes that have ended and are tried again, and why they have.
    pub(crate) fn failures(&self) -> Vec<(Arc<str>, String)> {
        self.board().failures()
    }

    /// Notes that the connection to NATS is made anew. Whether the log is to tell of it, and so of what comes with it.
    pub(crate) fn reconnects(&self) -> bool {
        self.reconnections().note()
    }

    /// Waits until the log is to tell how many more connections were made anew than it has told of, and returns how many.
    pub(crate) async fn untold_reconnections(&self) -> u64 {
        let due = self.reconnections().due();
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.reconnections().take()
    }

    fn reconnections(&self) -> MutexGuard<'_, Reconnections> {
        self.0.reconnections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In a line, as for `systemctl status`.
    pub(crate) fn words(&self) -> String {
        self.board().words()
    }

    /// The routes whose message has been in hand for too long, in words. While NATS is away, for all or
    /// for one of them, they wait for it, and are given time anew when it is back.
    pub(crate) fn stuck(&self) -> Option<String> {
        self.board().stuck()
    }

    /// A receiver of every change of the words.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    fn snapshot(&self) -> board::Snapshot {
        self.board().snapshot()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Board)) {
        change(&mut self.board());
        self.0.changes.send_replace(());
    }
}

/// How one route is.
#[derive(Debug, Clone)]
pub(crate) struct RouteHealth {
    health: Health,
    name: Arc<str>,
    pub(crate) metrics: RouteMetrics,
}

impl RouteHealth {
    /// The name of its line.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether connections to NATS are made anew so often that the log does not tell of each.
    pub(crate) fn reconnects_often(&self) -> bool {
        self.health.reconnections().are_many()
    }

    /// Messages come from now on.
    pub(crate) fn begun(&self) {
        let mut had_failed = false;
        self.health.change(|board| had_failed = board.begun(&self.name));
        if had_failed {
            info!("route {}: works again", self.name);
        }
    }

    /// It has ended for this reason, which is noted until its messages come again. Whether that is news.
    pub(crate) fn fails(&self, state: State, reason: &str) -> bool {
        let mut is_news = false;
        self.health.change(|board| is_news = board.fails(&self.name, state, reason));
        is_news
    }

    /// There is nothing that messages could come from, so that there is no such line until it is asked
    /// for again.
    pub(crate) fn set_aside(&self) {
        self.health.change(|board| board.set_aside(&self.name));
    }

    /// This is the room that it posts into.
    pub(crate) fn entered(&self, room: &RoomId) {
        self.health.board().route(&self.name).room = Some(room.to_owned());
    }

    fn room(&self) -> Option<OwnedRoomId> {
        self.health.board().known(&self.name)?.room.clone()
    }

    /// A message is worked on from now on.
    pub(crate) fn took(&self, delivery: &Delivery) {
        let Delivery { sequence, published, .. } = *delivery;
        self.health.board().route(&self.name).take(First { sequence, published });
    }

    /// None is worked on any more.
    pub(crate) fn let_go(&self) {
        self.health.board().route(&self.name).let_go();
    }

    /// Something was done.
    pub(crate) fn beat(&self) {
        self.health.board().route(&self.name).beat(Duration::ZERO);
    }

    /// What became of a message, or of some of which this is the last.
    pub(crate) fn note(&self, delivery: &Delivery, shown: Shown) {
        let subject = delivery.subject();
        self.health.board().route(&self.name).note(subject, delivery.said, shown);
        self.metrics.note(shown);
    }

    /// What NATS says that waits.
    fn waits(&self, waiting: Waiting) {
        if let Some(line) = self.health.board().known(&self.name) {
            line.wait(waiting);
        }
    }

    /// The first message that is not in the room, as far as it is known.
    fn first(&self) -> Option<First> {
        self.health.board().known(&self.name)?.first()
    }

    /// A place to note what does not work for the route.
    pub(crate) fn spot(&self) -> Spot {
        self.health.spot(Some(&self.name))
    }
}

/// Where one thing is noted that may not work for a while; when it is dropped the note is gone.
#[derive(Debug)]
pub(crate) struct Spot {
    health: Health,
    number: u64,
    route: Option<Arc<str>>,
}

impl Spot {
    /// It does not work, and is tried again after `pause`.
    pub(crate) fn ails(&self, state: State, reason: &dyn Display, pause: Duration) {
        self.health.change(|board| {
            board.ails(self.number, self.route.clone(), state, &reason.to_string());
            if let Some(route) = &self.route {
                board.route(route).beat(pause);
            }
        });
    }

    /// It works.
    pub(crate) fn well(&self) {
        let was_ill = self.health.board().well(self.number);
        if was_ill {
            self.health.0.changes.send_replace(());
        }
    }
}

impl Drop for Spot {
    fn drop(&mut self) {
        self.well();
    }
}

/// When something was, for people and machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Moment(Timestamp);

impl Moment {
    fn now() -> Self {
        Self(Timestamp::now())
    }

    /// How long it is since; nothing if a clock was set.
    fn age(self) -> Duration {
        Self::now().since(self)
    }

    fn since(self, before: Self) -> Duration {
        Duration::try_from(self.0.duration_since(before.0)).unwrap_or_default()
    }

    /// In seconds since 1970.
    fn seconds(self) -> f64 {
        Duration::try_from(self.0.as_duration()).unwrap_or_default().as_secs_f64()
    }

    /// In RFC 3339, to the second.
    fn written(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

#[cfg(test)]
pub(crate) use tests::with_a_message;
#[cfg(test)]
mod tests;
