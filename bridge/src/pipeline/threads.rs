//! The threads of alerts: what the earlier messages about an alert said, and whether the room still shows them.
//!
//! The state of the threads is kept in a bucket, into which others may be permitted to write, and people may remove
//! messages from the room. Only the room can tell what is shown.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use matrix_sdk::ruma::{EventId, OwnedEventId, RoomId};
use tokio::{sync::Mutex, time::Instant};
use tracing::{info, warn};

use crate::{
    alerts::{AlertThread, AlertUpdate, Store, ThreadState},
    config::Route,
    message::{Decoded, Origin, StreamId, Urgency},
    pipeline::{outcome::Halted, sender::Sender},
    source::Delivery,
};

/// The time for which a first message that was seen in the room is assumed to be still there.
const FRESH: Duration = Duration::from_mins(1);

/// The number of first messages that are remembered, at about 150 bytes each.
const MOST_ROOTS: usize = 1024;

/// The threads of one feed.
pub(crate) struct Threads {
    route: Arc<Route>,
    /// The store of thread states, shared with the other feed of the route.
    store: Arc<Mutex<Store>>,
    /// The first messages that were seen in the room, and when.
    roots: HashMap<OwnedEventId, Instant>,
}

/// The result of comparing a thread with the room.
pub(crate) enum Confirmed {
    /// The message is to be shown as an update of this thread.
    Thread(Box<AlertThread>),
    /// The room already shows the message.
    Shown,
}

impl Threads {
    pub(crate) fn new(route: Arc<Route>, store: Arc<Mutex<Store>>) -> Self {
        Self { route, store, roots: HashMap::new() }
    }

    /// Returns the thread that a message belongs to in a room, if the message is about an alert.
    pub(crate) async fn of(
        &self,
        room: &RoomId,
        delivery: &Delivery,
        decoded: &Decoded,
    ) -> Option<AlertThread> {
        let update = AlertUpdate::of(&decoded.payload)?;
        let subject = delivery.speaking_subject();
        let key = update.key(&self.route, room, &subject);
        let shared = update.shared_key(&self.route, room, &subject);
        let mut known = self.known(shared.iter().cloned().chain([key.clone()])).await;
        let before = shared.as_ref().and_then(|shared| known.remove(shared));
        let before = before.or_else(|| known.remove(&key));
        let mut thread = self.after(before, key, update, delivery.said);
        thread.shared_key = shared;
        Some(thread)
    }

    /// Returns what is known of some threads, by their names.
    pub(crate) async fn known(
        &self,
        keys: impl IntoIterator<Item = String>,
    ) -> HashMap<String, ThreadState> {
        let mut store = self.store.lock().await;
        store.get_all(keys).await
    }

    /// Returns the update that follows what was said before. In quiet hours, updates of alerts that go on are shown,
    /// but only critical ones make a phone buzz.
    pub(crate) fn after(
        &self,
        before: Option<ThreadState>,
        key: String,
        update: AlertUpdate,
        at: Timestamp,
    ) -> AlertThread {
        let is_quiet = update.urgency < Urgency::Critical
            && self.route.quiet.as_ref().is_some_and(|quiet| quiet.end(Timestamp::now()).is_some());
        let thread = AlertThread::new(key, update, before, at, self.route.patience);
        if is_quiet { thread.muted() } else { thread }
    }

    /// Notes what was shown of a message: its first event, and whether phones buzzed for it.
    pub(crate) async fn note(
        &self,
        thread: AlertThread,
        root: Option<OwnedEventId>,
        origin: Origin,
    ) {
        let (has_pushed, shared) = (thread.pushes(), thread.shared_key.clone());
        if let Some((key, after)) = thread.after(root, origin, has_pushed) {
            let shared = shared.map(|shared| (shared, after.clone()));
            self.note_all(shared.into_iter().chain([(key, after)]).collect()).await;
        }
    }

    /// Notes the states of many threads, by their names.
    pub(crate) async fn note_all(&self, states: Vec<(String, ThreadState)>) {
        self.store.lock().await.put_all(states).await;
    }

    /// Checks a thread against the room, for a message whose parts begin with the number `first`: it counts as shown only if
    /// the room confirms it, and a thread is continued only if the room still shows its first message.
    ///
    /// # Errors
    ///
    /// See [`Sender::has_begun`].
    pub(crate) async fn confirm(
        &mut self,
        sender: &mut Sender,
        delivery: &Delivery,
        stream: &StreamId,
        first: u32,
        thread: AlertThread,
    ) -> Result<Confirmed, Halted> {
        let name = &self.route.name;
        if !thread.is_said(&delivery.origin(stream, name, first)) {
            let thread = self.with_root(sender, thread).await?;
            return Ok(Confirmed::Thread(Box::new(thread)));
        }
        if sender.has_begun(stream, &self.route, delivery, first).await? {
            return Ok(Confirmed::Shown);
        }
        warn!(
            "message {} is not in the room, although the bucket of conversations says so; its \
             conversation starts again",
            delivery.sequence
        );
        Ok(Confirmed::Thread(Box::new(thread.without_root(self.route.patience))))
    }

    /// Returns the same thread if the room shows its first message, else a new thread.
    ///
    /// # Errors
    ///
    /// See [`Sender::shows`].
    pub(crate) async fn with_root(
        &mut self,
        sender: &mut Sender,
        thread: AlertThread,
    ) -> Result<AlertThread, Halted> {
        // What people must not miss is never put under a message that somebody has just removed.
        let may_assume = |before: &&ThreadState| {
            thread.is_quiet() && !thread.outdates_root() && self.is_fresh(&before.root)
        };
        let Some(before) = thread.before.as_ref().filter(|before| !may_assume(before)) else {
            return Ok(thread);
        };
        if sender.shows(&before.root).await? {
            self.note_root(before.root.clone());
            return Ok(thread);
        }
        info!(
            "the first message of an alert, {}, is no longer in the room; the alert begins anew",
            before.root
        );
        Ok(thread.without_root(self.route.patience))
    }

    fn is_fresh(&self, root: &EventId) -> bool {
        self.roots.get(root).is_some_and(|seen| seen.elapsed() < FRESH)
    }

    fn note_root(&mut self, root: OwnedEventId) {
        if self.roots.len() >= MOST_ROOTS {
            self.roots.clear();
        }
        self.roots.insert(root, Instant::now());
    }
}

/// Threads by their names.
pub(crate) type ByName = BTreeMap<String, AlertThread>;
