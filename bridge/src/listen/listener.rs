//! Hears what happens in the rooms of routes that ask for it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    ops::ControlFlow,
    rc::Rc,
    time::Duration,
};

use matrix_sdk::ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};
use serde::Deserialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    answers::Answer,
    listen::{
        desk::{AnsweredRoute, Desk},
        kept::Kept,
    },
    matrix::{
        Listened, MatrixError,
        sync::{Synced, fill, sync},
    },
    pipeline::Services,
    status::{Outage, State},
};

/// The time for which the homeserver waits for something to happen.
const WAIT: Duration = Duration::from_secs(30);

/// The shortest time between two requests if nobody has answered anything. Some homeservers report whatever happens, such
/// as each message of the bridge.
const PACE: Duration = Duration::from_secs(1);

/// The number of answers that wait to be carried out above which no more are heard.
const MOST_PENDING: usize = 1000;

/// The number of answers that are heard at once.
const MOST_AT_ONCE: usize = 5000;

/// The number of answers of one person that wait to be carried out. Anybody in a room can put thousands of reactions there.
const MOST_OF_ONE: usize = 200;

/// Hears what people answer, and has it carried out.
pub(crate) struct Listener {
    desk: Rc<Desk>,
    listened: Listened,
    stop: CancellationToken,
}

/// The answers that were heard at once, in each room, in order.
#[derive(Default)]
struct Heard {
    rooms: HashMap<OwnedRoomId, Vec<Answer>>,
    /// The latest event of each room.
    latest: BTreeMap<OwnedRoomId, OwnedEventId>,
    /// The number of answers of each person, with those that were heard before and wait.
    people: HashMap<OwnedUserId, usize>,
    /// The people of whom more was heard than is carried out.
    cut_off: BTreeSet<OwnedUserId>,
    count: usize,
    is_cut: bool,
}

impl Listener {
    /// Creates the listener for the routes that ask for it.
    pub(crate) fn new(routes: Vec<AnsweredRoute>, services: &Services) -> Self {
        let Services { account, nats, health, listened, .. } = services.clone();
        let key =
            |route: &AnsweredRoute| (route.route.stream.clone(), route.route.name.to_string());
        let routes: BTreeMap<_, _> = routes.into_iter().map(|route| (key(&route), route)).collect();
        let names: BTreeSet<&str> = routes.keys().map(|(_, name)| name.as_str()).collect();
        for name in &names {
            health.0.metrics.expect_answers(name);
        }
        let kept = Kept::open(&account, listened.clone(), &names);
        let desk = Desk { account, nats, health, kept, routes, in_hand: RefCell::default() };
        Self { desk: Rc::new(desk), listened, stop: services.stop.clone() }
    }

    /// Listens until told to stop. What is heard and not carried out then, the next process carries out.
    pub(crate) async fn run(self) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            never = self.hear() => match never {},
            never = self.work() => match never {},
        }
    }

    /// Has the answers of each room carried out by a task of its own, so that no room waits for another.
    async fn work(&self) -> Infallible {
        let (mut tasks, mut busy) = (JoinSet::new(), HashMap::new());
        loop {
            for room in self.desk.kept.rooms() {
                if !busy.values().any(|other| *other == room) {
                    let task = tasks.spawn_local(Rc::clone(&self.desk).work_in(room.clone()));
                    busy.insert(task.id(), room);
                }
            }
            let ended = tokio::select! {
                () = self.desk.kept.has_more.notified() => continue,
                Some(ended) = tasks.join_next_with_id() => ended,
            };
            match ended {
                Ok((task, ())) => drop(busy.remove(&task)),
                Err(error) => {
                    let room = busy.remove(&error.id());
                    let answer = room.and_then(|room| self.desk.in_hand.borrow_mut().remove(&room));
                    error!(
                        "an answer is not carried out: {error} (this is a bug in nats-matrix, please report it)"
                    );
                    if let Some(answer) = answer {
                        self.desk.kept.done(&answer, None);
                    }
                }
            }
        }
    }

    async fn hear(&self) -> Infallible {
        let account = &self.desk.account;
        let what = "what people do in the rooms";
        let mut outage = Outage::of(what, self.desk.health.condition(None));
        loop {
            let begun = Instant::now();
            let error = match self.hear_once().await {
                Ok(count) => {
                    outage.over();
                    self.desk.health.0.metrics.heard();
                    if count == 0 {
                        sleep_until(begun + PACE).await;
                    }
                    while self.desk.kept.pending() >= MOST_PENDING {
                        sleep(PACE).await;
                    }
                    continue;
                }
                Err(error) => error,
            };
            let asked = match &error {
                MatrixError::Limited { wait, .. } => *wait,
                MatrixError::TokenRefused(_) => {
                    // Another task reports a login that is refused, too.
                    let _ = account.recover(&error).await;
                    None
                }
                MatrixError::Rejected(reason) if self.desk.kept.position().is_some() => {
                    warn!(
                        "the homeserver does not know how far the bridge has read the rooms ({reason}): answers that people \
                         have given while it was away do not count"
                    );
                    self.desk.kept.forget_position();
                    None
                }
                _ => None,
            };
            sleep(outage.failed(State::of(&error), &error.of_homeserver(), asked)).await;
        }
    }

    /// Waits for what happens next, in one attempt, and notes the answers in it. Returns their number.
    async fn hear_once(&self) -> Result<usize, MatrixError> {
        let rooms: BTreeSet<OwnedRoomId> = self.listened.all().into_keys().collect();
        if rooms.is_empty() {
            // The routes have not entered their rooms yet, and what happened there must not be passed over.
            self.listened.changed().await;
            self.desk.kept.write();
            return Ok(0);
        }
        let since = self.desk.kept.position();
        let mut heard = Heard::default();
        let take = |room: &RoomId, event: &[u8]| {
            if let Some(id) = id(event).filter(|_| self.listened.has(room)) {
                heard.latest.insert(room.to_owned(), id);
            }
            if since.is_some() {
                self.note(&mut heard, room, event);
            }
        };
        let wait = if since.is_some() { WAIT } else { Duration::ZERO };
        let synced = tokio::select! {
            biased;
            synced = sync(&self.desk.account, since.as_deref(), &rooms, wait, take) => synced?,
            // The filter has to name the new room, too, and after a kill what happened there must not be passed over.
            () = self.listened.changed() => {
                self.desk.kept.write();
                return Ok(0);
            }
        };
        let Synced { next, gaps } = synced;
        let Some(since) = since else {
            info!("listening to what people answer from now on");
            self.desk.kept.take(next, heard.latest, Vec::new());
            return Ok(0);
        };
        for (room, before) in gaps {
            if self.listened.has(&room) {
                self.fill(&mut heard, &room, &before, &since).await?;
            }
        }
        if heard.is_cut {
            warn!("more than {MOST_AT_ONCE} answers have come at once, and some do not count");
        }
        for person in &heard.cut_off {
            warn!(
                "{person} has given more than {MOST_OF_ONE} answers at once, and the others do not count"
            );
        }
        let count = heard.count;
        let Heard { rooms, latest, .. } = heard;
        self.desk.kept.take(next, latest, rooms.into_values().flatten().collect());
        Ok(count)
    }

    /// Reads what a homeserver has left out of the timeline of a room.
    async fn fill(
        &self,
        heard: &mut Heard,
        room: &RoomId,
        before: &str,
        since: &str,
    ) -> Result<(), MatrixError> {
        let mut earlier = Heard { count: heard.count, ..Heard::default() };
        std::mem::swap(&mut earlier.people, &mut heard.people);
        let read = self.desk.kept.read_up_to(room);
        let filled = fill(&self.desk.account, (room, before), since, |event| {
            if read.is_some() && id(event) == read {
                return ControlFlow::Break(());
            }
            self.note(&mut earlier, room, event);
            ControlFlow::Continue(())
        });
        match filled.await {
            Ok(true) => {}
            Ok(false) => warn!(
                "room {room} has had so many messages while the bridge was away that it has not read them all: the first of \
                 the answers in it do not count"
            ),
            // The bridge was removed from the room.
            Err(error @ (MatrixError::Forbidden(_) | MatrixError::NotFound(_))) => {
                warn!(
                    "what people have answered in room {room} is not known: the homeserver {error}"
                );
            }
            Err(error) => return Err(error),
        }
        heard.count = earlier.count;
        heard.people = earlier.people;
        heard.cut_off.append(&mut earlier.cut_off);
        heard.is_cut |= earlier.is_cut;
        let mut answers = earlier.rooms.remove(room).unwrap_or_default();
        answers.reverse();
        let later = heard.rooms.entry(room.to_owned()).or_default();
        answers.append(later);
        *later = answers;
        Ok(())
    }

    fn note(&self, heard: &mut Heard, room: &RoomId, event: &[u8]) {
        if !self.listened.has(room) {
            return;
        }
        let Some(answer) = Answer::read(room, event) else { return };
        if !self.desk.may_concern(&answer) {
            return;
        }
        if heard.count >= MOST_AT_ONCE {
            heard.is_cut = true;
            return;
        }
        let waiting = || self.desk.kept.pending_of(&answer.who);
        let of_one = heard.people.entry(answer.who.clone()).or_insert_with(waiting);
        if *of_one >= MOST_OF_ONE {
            heard.cut_off.insert(answer.who);
            return;
        }
        *of_one += 1;
        heard.count += 1;
        heard.rooms.entry(room.to_owned()).or_default().push(answer);
    }
}

/// The id of an event.
fn id(event: &[u8]) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Event {
        event_id: OwnedEventId,
    }
    serde_json::from_slice::<Event>(event).ok().map(|event| event.event_id)
}
