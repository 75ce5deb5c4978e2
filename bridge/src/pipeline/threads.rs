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
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};
use tracing::{info, warn};

use crate::{
    alerts::{AlertThread, AlertUpdate, Holder, Posted, Store, ThreadState},
    answers::is_acknowledgement,
    config::Route,
    matrix::Room,
    message::{Decoded, Origin, StreamId, Urgency},
    pipeline::{outcome::Halted, sender::Sender},
    source::Delivery,
};

/// The time for which a first message or an acknowledgement that was seen in the room is assumed to be still there.
const FRESH: Duration = Duration::from_mins(1);

/// The number of events that are remembered, at about 150 bytes each.
const MOST_SEEN: usize = 1024;

/// The threads of one feed.
pub(crate) struct Threads {
    route: Arc<Route>,
    /// The store of thread states, shared with the other feed of the route.
    store: Arc<Mutex<Store>>,
    /// Held while messages about alerts are shown, where the answers of people edit first messages, too.
    editing: Arc<Mutex<()>>,
    /// The first messages and the acknowledgements that were seen in the room, and when.
    seen: HashMap<OwnedEventId, Instant>,
}

/// The result of comparing a thread with the room.
pub(crate) enum Confirmed {
    /// The message is to be shown as an update of this thread.
    Thread(Box<AlertThread>),
    /// The room already shows the message.
    Shown,
}

impl Threads {
    pub(crate) fn new(
        route: Arc<Route>,
        store: Arc<Mutex<Store>>,
        editing: Arc<Mutex<()>>,
    ) -> Self {
        Self { route, store, editing, seen: HashMap::new() }
    }

    /// Waits until no answer of a person is being carried out, and keeps others from it until the guard is dropped.
    pub(crate) async fn begin_editing(&self) -> Option<OwnedMutexGuard<()>> {
        match self.route.answers {
            Some(_) => Some(Arc::clone(&self.editing).lock_owned().await),
            None => None,
        }
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
        self.in_quiet_hours(AlertThread::new(key, update, before, at, self.route.patience))
    }

    fn in_quiet_hours(&self, thread: AlertThread) -> AlertThread {
        let is_quiet = thread.urgency() < Urgency::Critical
            && self.route.quiet.as_ref().is_some_and(|quiet| quiet.end(Timestamp::now()).is_some());
        if is_quiet { thread.muted() } else { thread }
    }

    /// Notes what was shown of a message: its events, and whether phones buzzed for it.
    pub(crate) async fn note(&self, thread: AlertThread, posted: Posted, origin: Origin) {
        let has_pushed = thread.pushes();
        let states = thread.after(posted, origin, has_pushed);
        if !states.is_empty() {
            self.note_all(states).await;
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

    /// Returns the same thread if the room shows its first message, else a new thread. People have acknowledged an alert
    /// only if the room shows that, too.
    ///
    /// # Errors
    ///
    /// See [`Sender::shows`].
    pub(crate) async fn with_root(
        &mut self,
        sender: &mut Sender,
        thread: AlertThread,
    ) -> Result<AlertThread, Halted> {
        let Some(before) = thread.before.as_ref() else { return Ok(thread) };
        // A message that people must not miss is never put under one that somebody has just removed.
        let may_assume =
            thread.is_quiet() && !thread.outdates_root() && self.is_fresh(&before.root);
        if !may_assume {
            if !sender.shows(&before.root).await? {
                info!(
                    "the first message of an alert, {}, is no longer in the room; the alert begins anew",
                    before.root
                );
                return Ok(thread.without_root(self.route.patience));
            }
            self.note_seen(before.root.clone());
        }
        let confirmed = self.confirmed_holders(sender, before).await?;
        if confirmed.len() == before.holders.len() {
            return Ok(thread);
        }
        info!(
            "the room no longer shows that somebody has acknowledged the alert that begins with {}, and it does not count",
            before.root
        );
        Ok(self.in_quiet_hours(thread.with_holders(confirmed, self.route.patience)))
    }

    /// Returns those of the people who have acknowledged an alert of whom the room shows it.
    async fn confirmed_holders(
        &mut self,
        sender: &mut Sender,
        before: &ThreadState,
    ) -> Result<Vec<Holder>, Halted> {
        let Some(answers) = self.route.answers.clone() else { return Ok(Vec::new()) };
        let mut confirmed = Vec::new();
        for holder in &before.holders {
            if !self.is_fresh(&holder.event) {
                let given = (&*holder.event, &*holder.user);
                let ask = async |room: &Room| {
                    is_acknowledgement(room, &answers, given, &before.root).await
                };
                // An event that cannot be read does not count, so that nobody can silence an alert in that way.
                if !sender.asks(ask).await?.unwrap_or(false) {
                    continue;
                }
                self.note_seen(holder.event.clone());
            }
            confirmed.push(holder.clone());
        }
        Ok(confirmed)
    }

    fn is_fresh(&self, event: &EventId) -> bool {
        self.seen.get(event).is_some_and(|seen| seen.elapsed() < FRESH)
    }

    fn note_seen(&mut self, event: OwnedEventId) {
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(event, Instant::now());
    }
}

/// Threads by their names.
pub(crate) type ByName = BTreeMap<String, AlertThread>;
