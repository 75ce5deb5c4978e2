//! The health of the bridge and of each route, shared by all tasks.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use matrix_sdk::ruma::{OwnedRoomId, RoomId};
use tokio::{sync::watch, time::sleep_until};
use tracing::info;

use crate::{
    failure::Failure,
    status::{
        board::{self, Board, Phase, Shown, State},
        metrics::{Metrics, RouteMetrics},
        repetitions::Repetitions,
        waiting::{First, Waiting},
    },
};

/// The health of the bridge; shared by all tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health(pub(crate) Arc<Shared>);

#[derive(Debug, Default)]
pub(crate) struct Shared {
    board: Mutex<Board>,
    pub(crate) metrics: Metrics,
    changes: watch::Sender<()>,
    reconnections: Mutex<Repetitions>,
}

impl Health {
    /// The health of one route. The deferred messages of a route have an entry of their own.
    pub(crate) fn route(&self, name: &str) -> RouteHealth {
        self.board().add_route(name);
        let metrics = self.0.metrics.route(name);
        RouteHealth { health: self.clone(), name: name.into(), metrics }
    }

    /// Creates a condition for something that may fail, of one route or of all.
    pub(crate) fn condition(&self, route: Option<&str>) -> Condition {
        let number = self.board().new_number();
        Condition { health: self.clone(), number, route: route.map(Into::into) }
    }

    /// Resets the state for a configuration; `refused` is the failure of the one after it, if the bridge fell back to this
    /// one.
    pub(crate) fn begin(&self, refused: Option<&Failure>) {
        self.change(|board| board.begin(refused.map(ToString::to_string)));
    }

    /// Notes that a new configuration was refused and the present one stays.
    pub(crate) fn refused(&self, failure: &Failure) {
        self.change(|board| board.refused = Some(failure.to_string()));
    }

    /// Notes that all routes are started.
    pub(crate) fn serving(&self) {
        self.change(|board| board.phase = Phase::Serving);
    }

    /// Notes that the bridge was told to stop.
    pub(crate) fn draining(&self) {
        self.change(|board| board.phase = Phase::Draining);
    }

    /// The routes that have failed and are retried, each with the reason.
    pub(crate) fn failures(&self) -> Vec<(Arc<str>, String)> {
        self.board().failures()
    }

    /// Notes that the connection to NATS was restored. Returns whether to log it and the messages that follow from it.
    pub(crate) fn reconnects(&self) -> bool {
        self.reconnections().note("")
    }

    /// Waits until the log is due to report the restored connections that it left out, and returns their number.
    pub(crate) async fn untold_reconnections(&self) -> u64 {
        let due = self.reconnections().due();
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.reconnections().take()
    }

    fn reconnections(&self) -> MutexGuard<'_, Repetitions> {
        self.0.reconnections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Describes the state in one line, as for `systemctl status`.
    pub(crate) fn words(&self) -> String {
        self.board().words()
    }

    /// Describes the routes whose message makes no progress. While NATS is unreachable, for all routes or for one, or a
    /// route waits for memory, the affected routes do not count, and their time starts again when that is over.
    pub(crate) fn stuck(&self) -> Option<String> {
        self.board().stuck()
    }

    /// Returns a receiver that is notified of every change of the status line.
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

/// The health of one route.
#[derive(Debug, Clone)]
pub(crate) struct RouteHealth {
    pub(crate) health: Health,
    pub(crate) name: Arc<str>,
    pub(crate) metrics: RouteMetrics,
}

impl RouteHealth {
    /// The name of the route's entry.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether connections to NATS are restored so often that the log leaves some out.
    pub(crate) fn reconnects_often(&self) -> bool {
        self.health.reconnections().are_many()
    }

    /// Notes that the route receives messages.
    pub(crate) fn begun(&self) {
        let mut had_failed = false;
        self.health.change(|board| had_failed = board.begun(&self.name));
        if had_failed {
            info!("works again");
        }
    }

    /// Notes that the route has failed; the reason stays until it receives messages again. Returns whether it is a new
    /// one.
    pub(crate) fn fails(&self, state: State, reason: &str) -> bool {
        let mut is_news = false;
        self.health.change(|board| is_news = board.fails(&self.name, state, reason));
        is_news
    }

    /// Removes the route's entry, because there is no source for its messages, until it is asked for again.
    pub(crate) fn set_aside(&self) {
        self.health.change(|board| board.set_aside(&self.name));
    }

    /// Notes the room that the route posts into.
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

    /// Notes that the bridge begins to process a message.
    pub(crate) fn begin(&self, message: First) {
        self.health.board().route(&self.name).take(message);
    }

    /// Notes that the message in progress is finished.
    pub(crate) fn end(&self) {
        self.health.board().route(&self.name).end();
    }

    /// Notes that the message in progress waits again.
    pub(crate) fn put_back(&self) {
        self.health.board().put_back(&self.name);
    }

    /// Returns how long something has been wrong with the route.
    pub(crate) fn ill_for(&self) -> Duration {
        self.health.board().ill_for(&self.name)
    }

    /// Notes progress with the message.
    pub(crate) fn beat(&self) {
        self.health.board().route(&self.name).beat(Duration::ZERO);
    }

    /// Notes that a request to the homeserver for the message succeeded.
    pub(crate) fn attempt_succeeded(&self) {
        self.health.board().route(&self.name).attempt_succeeded();
    }

    /// Notes that a request to the homeserver for the message failed, and what is wrong.
    pub(crate) fn attempt_failed(&self, state: State) {
        self.health.board().route(&self.name).attempt_failed(state);
    }

    /// Whether the message cannot be shown until somebody lets the bridge into its room, or changes that room.
    pub(crate) fn is_shut_out(&self) -> bool {
        self.health.board().route(&self.name).is_shut_out()
    }

    /// Notes the outcome for a message, or for several of which this is the last.
    pub(crate) fn note(&self, subject: &str, said: Timestamp, shown: Shown) {
        self.health.board().note(&self.name, subject, said, shown);
        self.metrics.note(shown);
    }

    /// Notes that the stream has removed this many messages before they could be read.
    pub(crate) fn removed(&self, count: u64) {
        self.health.board().removed(&self.name, count);
        self.metrics.removed.inc_by(count);
    }

    /// Notes that an older dead letter was given up for one that is kept.
    pub(crate) fn pushed_out(&self) {
        self.health.board().pushed_out(&self.name);
        self.metrics.pushed_out.inc();
    }

    /// Notes which messages wait, as NATS reports them.
    pub(crate) fn waits(&self, waiting: Waiting) {
        if let Some(line) = self.health.board().known(&self.name) {
            line.wait(waiting);
        }
    }

    /// The first message that is not in the room, if it is known.
    pub(crate) fn first(&self) -> Option<First> {
        self.health.board().known(&self.name)?.first()
    }

    /// Creates a condition for something of the route that may fail.
    pub(crate) fn condition(&self) -> Condition {
        self.health.condition(Some(&self.name))
    }
}

/// A condition that holds while one thing does not work. Dropping it clears it.
#[derive(Debug)]
pub(crate) struct Condition {
    health: Health,
    number: u64,
    route: Option<Arc<str>>,
}

impl Condition {
    /// Notes that the thing does not work and is retried after `pause`.
    pub(crate) fn set(&self, state: State, reason: &dyn Display, pause: Duration) {
        self.health.change(|board| {
            board.set(self.number, self.route.clone(), state, &reason.to_string());
            if let Some(route) = &self.route {
                board.route(route).beat(pause);
            }
        });
    }

    /// Notes that the thing works.
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
