//! How the bridge and each of its routes are, shared by all tasks.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use matrix_sdk::ruma::{OwnedRoomId, RoomId};
use time::OffsetDateTime;
use tokio::{sync::watch, time::sleep_until};
use tracing::info;

use crate::{
    failure::Failure,
    status::{
        board::{self, Board, Phase, Shown, State},
        metrics::{Metrics, RouteMetrics},
        reconnections::Reconnections,
        waiting::{First, Waiting},
    },
};

/// How all is; shared by all tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health(pub(crate) Arc<Shared>);

#[derive(Debug, Default)]
pub(crate) struct Shared {
    board: Mutex<Board>,
    pub(crate) metrics: Metrics,
    changes: watch::Sender<()>,
    reconnections: Mutex<Reconnections>,
}

impl Health {
    /// The line of one route; what it holds back has one of its own.
    pub(crate) fn route(&self, name: &str) -> RouteHealth {
        self.board().add_route(name);
        let metrics = self.0.metrics.route(name);
        RouteHealth { health: self.clone(), name: name.into(), metrics }
    }

    /// A place to note that something does not work, of a route or of all.
    pub(crate) fn condition(&self, route: Option<&str>) -> Condition {
        let number = self.board().new_number();
        Condition { health: self.clone(), number, route: route.map(Into::into) }
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

    pub(crate) fn snapshot(&self) -> board::Snapshot {
        self.board().snapshot()
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
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
    pub(crate) health: Health,
    pub(crate) name: Arc<str>,
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

    /// These of its many rooms cannot be used, for these reasons.
    pub(crate) fn closed(&self, rooms: BTreeMap<String, String>) {
        self.health.board().route(&self.name).closed = rooms;
    }

    pub(crate) fn room(&self) -> Option<OwnedRoomId> {
        self.health.board().known(&self.name)?.room.clone()
    }

    /// A message is worked on from now on.
    pub(crate) fn begin(&self, message: First) {
        self.health.board().route(&self.name).take(message);
    }

    /// None is worked on any more.
    pub(crate) fn end(&self) {
        self.health.board().route(&self.name).end();
    }

    /// Something was done.
    pub(crate) fn beat(&self) {
        self.health.board().route(&self.name).beat(Duration::ZERO);
    }

    /// What became of a message, or of some of which this is the last.
    pub(crate) fn note(&self, subject: &str, said: OffsetDateTime, shown: Shown) {
        self.health.board().route(&self.name).note(subject, said, shown);
        self.metrics.note(shown);
    }

    /// What NATS says that waits.
    pub(crate) fn waits(&self, waiting: Waiting) {
        if let Some(line) = self.health.board().known(&self.name) {
            line.wait(waiting);
        }
    }

    /// The first message that is not in the room, as far as it is known.
    pub(crate) fn first(&self) -> Option<First> {
        self.health.board().known(&self.name)?.first()
    }

    /// A place to note what does not work for the route.
    pub(crate) fn condition(&self) -> Condition {
        self.health.condition(Some(&self.name))
    }
}

/// Where one thing is noted that may not work for a while; when it is dropped the note is gone.
#[derive(Debug)]
pub(crate) struct Condition {
    health: Health,
    number: u64,
    route: Option<Arc<str>>,
}

impl Condition {
    /// It does not work, and is tried again after `pause`.
    pub(crate) fn set(&self, state: State, reason: &dyn Display, pause: Duration) {
        self.health.change(|board| {
            board.set(self.number, self.route.clone(), state, &reason.to_string());
            if let Some(route) = &self.route {
                board.route(route).beat(pause);
            }
        });
    }

    /// It works.
    pub(crate) fn clear(&self) {
        let was_ill = self.health.board().clear(self.number);
        if was_ill {
            self.health.0.changes.send_replace(());
        }
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.clear();
    }
}
