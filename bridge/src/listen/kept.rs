//! The state of the listener on disk: how far it has come, and the answers that are not carried out yet.
//! Both are written in one step, so that each answer is carried out, however often the process is killed.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    io,
    ops::Not,
    time::Duration,
};

use matrix_sdk::ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};
use tracing::warn;

use crate::{
    answers::{Act, Answer, Target},
    directory::Durability,
    listen::event::{Action, AnswerEvent},
    matrix::{Account, Listened, listened::ByRoom},
    message::AlertMark,
    state_file::StateFile,
};

/// The file in the state directory.
const FILE: &str = "answers.json";

/// The longest time for which a position is not written if nobody has answered. After a kill, what happened since is
/// only read again.
const UNWRITTEN: Duration = Duration::from_mins(1);

/// The number of acknowledgements that are remembered, in case they are taken back.
const MOST_GIVEN: usize = 2000;

/// An acknowledgement that was carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Given {
    /// The event with which it was given.
    pub(super) event: OwnedEventId,
    pub(super) who: OwnedUserId,
    /// The first message of the alert.
    pub(super) root: OwnedEventId,
    pub(super) mark: AlertMark,
}

impl Given {
    pub(super) fn new(answer: &Answer, target: Target) -> Self {
        let Target { root, mark } = target;
        Self { event: answer.event.clone(), who: answer.who.clone(), root, mark }
    }

    /// The alert that it is about.
    pub(super) fn target(&self) -> Target {
        Target { root: self.root.clone(), mark: self.mark.clone() }
    }
}

/// An answer that counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Accepted {
    pub(super) event: AnswerEvent,
    /// The acknowledgement that was given or taken back.
    pub(super) given: Given,
    /// Whether the same person has the alert by another answer, too, so that nobody needs to be told.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub(super) is_repeated: bool,
}

/// An answer that is not carried out yet.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    answer: Answer,
    /// The consequence of it, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<Accepted>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    /// The homeserver and the account, whose positions are of no use to others.
    homeserver: String,
    user: String,
    /// The position in what happens in the rooms.
    since: Option<String>,
    /// The latest event that was read in each room. Not every homeserver stops there when it is asked for what came since
    /// a position.
    #[serde(default)]
    read: BTreeMap<OwnedRoomId, OwnedEventId>,
    rooms: ByRoom,
    /// The answers that are not carried out yet, in order.
    #[serde(default)]
    pending: VecDeque<Pending>,
    #[serde(default)]
    given: VecDeque<Given>,
}

/// The state of the listener.
pub(super) struct Kept {
    file: StateFile,
    listened: Listened,
    saved: RefCell<Saved>,
    written: RefCell<Option<Instant>>,
    /// The turn in which an answer of each person was last carried out, of those whose answers wait.
    served: RefCell<HashMap<OwnedUserId, u64>>,
    turns: Cell<u64>,
    /// Notified when there are more answers.
    pub(super) has_more: Notify,
}

impl Kept {
    /// Opens the state of an account; `routes` are those whose alerts people may answer.
    pub(super) fn open(account: &Account, listened: Listened, routes: &BTreeSet<&str>) -> Self {
        let file = StateFile::new(account.state_dir(), FILE);
        let own = Saved {
            homeserver: account.homeserver().to_owned(),
            user: account.user.to_string(),
            ..Saved::default()
        };
        let saved: Saved = file.read_or_default();
        let is_own = saved.homeserver == own.homeserver && saved.user == own.user;
        let mut saved = if is_own { saved } else { own };
        listened.add_all(std::mem::take(&mut saved.rooms), routes);
        Self {
            file,
            listened,
            saved: RefCell::new(saved),
            written: RefCell::default(),
            served: RefCell::default(),
            turns: Cell::default(),
            has_more: Notify::new(),
        }
    }

    /// The position from which the next request goes on; `None` if the listener has never run.
    pub(super) fn position(&self) -> Option<String> {
        self.saved.borrow().since.clone()
    }

    /// Forgets the position, which the homeserver does not know.
    pub(super) fn forget_position(&self) {
        self.saved.borrow_mut().since = None;
    }

    /// Returns the latest event that was read in a room.
    pub(super) fn read_up_to(&self, room: &RoomId) -> Option<OwnedEventId> {
        self.saved.borrow().read.get(room).cloned()
    }

    /// Notes the answers up to a position, and the latest event of each room. Answers that take back what nobody has
    /// answered are left out.
    pub(super) fn take(
        &self,
        next: String,
        read: BTreeMap<OwnedRoomId, OwnedEventId>,
        answers: Vec<Answer>,
    ) {
        let mut saved = self.saved.borrow_mut();
        saved.read.extend(read);
        saved.read.retain(|room, _| self.listened.has(room));
        let is_first = saved.since.replace(next).is_none();
        let before = saved.pending.len();
        for answer in answers {
            if saved.pending(&answer.event).is_none() && saved.wants(&answer) {
                saved.pending.push_back(Pending { answer, accepted: None });
            }
        }
        let has_more = saved.pending.len() > before;
        drop(saved);
        let is_due = self.written.borrow().is_none_or(|written| written.elapsed() >= UNWRITTEN);
        if has_more || is_first || is_due {
            self.write();
        }
        if has_more {
            self.has_more.notify_one();
        }
    }

    /// The number of answers that are not carried out yet.
    pub(super) fn pending(&self) -> usize {
        self.saved.borrow().pending.len()
    }

    /// The number of answers of a person that are not carried out yet.
    pub(super) fn pending_of(&self, who: &UserId) -> usize {
        self.saved.borrow().pending.iter().filter(|pending| pending.answer.who == who).count()
    }

    /// Returns the rooms in which there are answers that are not carried out yet.
    pub(super) fn rooms(&self) -> BTreeSet<OwnedRoomId> {
        self.saved.borrow().pending.iter().map(|pending| pending.answer.room.clone()).collect()
    }

    /// Returns the next answer in a room that is not carried out yet, of those that need not wait. People take turns, so that
    /// nobody has to wait for somebody else's hundreds.
    pub(super) fn next_in(
        &self,
        room: &RoomId,
        waits: impl Fn(&EventId) -> bool,
    ) -> Option<Answer> {
        let (saved, served) = (self.saved.borrow(), self.served.borrow());
        let answers = saved.pending.iter().map(|pending| &pending.answer);
        let answers = answers.filter(|answer| answer.room == room && !waits(&answer.event));
        answers.min_by_key(|answer| served.get(&answer.who).copied().unwrap_or_default()).cloned()
    }

    /// Returns the answer in a room that was heard first, of these.
    pub(super) fn first_in(
        &self,
        room: &RoomId,
        of: impl Fn(&EventId) -> bool,
    ) -> Option<OwnedEventId> {
        let saved = self.saved.borrow();
        let mut answers = saved.pending.iter().map(|pending| &pending.answer);
        let first = answers.find(|answer| answer.room == room && of(&answer.event))?;
        Some(first.event.clone())
    }

    /// Puts an answer behind the others.
    pub(super) fn put_last(&self, event: &EventId) {
        let mut saved = self.saved.borrow_mut();
        let place = saved.pending.iter().position(|pending| pending.answer.event == event);
        if let Some(pending) = place.and_then(|place| saved.pending.remove(place)) {
            self.note_served(&pending.answer.who);
            saved.pending.push_back(pending);
        }
    }

    fn note_served(&self, who: &UserId) {
        self.turns.set(self.turns.get() + 1);
        self.served.borrow_mut().insert(who.to_owned(), self.turns.get());
    }

    /// Returns what follows from an answer, if that is decided.
    pub(super) fn accepted(&self, event: &EventId) -> Option<Accepted> {
        self.saved.borrow().pending(event)?.accepted.clone()
    }

    /// Notes what follows from an answer, before any of it is done.
    pub(super) fn accept(&self, event: &EventId, accepted: &Accepted) {
        let mut saved = self.saved.borrow_mut();
        let is_it = |pending: &&mut Pending| pending.answer.event == event;
        let Some(pending) = saved.pending.iter_mut().find(is_it) else { return };
        if pending.accepted.is_none() {
            pending.accepted = Some(accepted.clone());
            drop(saved);
            self.write();
        }
    }

    /// Returns the acknowledgement that was given with an event.
    pub(super) fn given(&self, event: &EventId) -> Option<Given> {
        self.saved.borrow().given.iter().find(|given| given.event == event).cloned()
    }

    /// Notes that an answer is done with, and what followed from it. One from which nothing followed is not worth a write:
    /// after a kill it is only decided again.
    pub(super) fn done(&self, event: &EventId, accepted: Option<Accepted>) {
        let mut saved = self.saved.borrow_mut();
        let place = saved.pending.iter().position(|pending| pending.answer.event == event);
        if let Some(pending) = place.and_then(|place| saved.pending.remove(place)) {
            self.note_served(&pending.answer.who);
        }
        if saved.pending.is_empty() {
            self.served.borrow_mut().clear();
        }
        let is_worth_a_write = accepted.is_some() || saved.pending.is_empty();
        if let Some(Accepted { event, given, .. }) = accepted {
            saved.given.retain(|known| known.event != given.event);
            if event.action == Action::Ack {
                if saved.given.len() >= MOST_GIVEN {
                    saved.given.pop_front();
                }
                saved.given.push_back(given);
            }
        }
        drop(saved);
        if is_worth_a_write {
            self.write();
        }
    }

    /// Writes the file, as after a room was added.
    pub(super) fn write(&self) {
        let mut saved = self.saved.borrow_mut();
        saved.rooms = self.listened.all();
        let written = self.file.write(&*saved, Durability::Disk);
        saved.rooms.clear();
        *self.written.borrow_mut() = Some(Instant::now());
        if let Err(error) = written {
            self.note_unwritten(&error);
        }
    }

    fn note_unwritten(&self, error: &io::Error) {
        warn!(
            "matrix.state_dir: cannot write {}: {error}; an answer that somebody gives now may be lost if the bridge is killed",
            self.file
        );
    }
}

impl Saved {
    fn pending(&self, event: &EventId) -> Option<&Pending> {
        self.pending.iter().find(|pending| pending.answer.event == event)
    }

    /// Whether an answer may have an effect.
    fn wants(&self, answer: &Answer) -> bool {
        match &answer.act {
            Act::TakeAway { of } => {
                self.given.iter().any(|given| given.event == *of) || self.pending(of).is_some()
            }
            Act::React { .. } | Act::Reply { .. } => true,
        }
    }
}
