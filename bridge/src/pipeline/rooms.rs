//! The rooms that a route posts into: one, or one for each value of some tokens of the subject.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use matrix_sdk::ruma::OwnedRoomId;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::{RoomTarget, Route},
    failure::Interrupted,
    matrix::{Account, Closed, Guard, Listened, NewRooms, Opened, Room, RoomRole, join, room},
    message::StreamId,
    pipeline::{
        context::Services,
        outcome::Halted,
        sender::{Sender, Shown},
        storm::Storms,
    },
    source::{Delivery, Tenure},
    status::{Condition, RouteHealth, State},
};

/// The number of rooms that are remembered.
const MOST_PLACES: usize = 256;

/// The time for which a room that does not belong to the bridge is not tried again.
const LEFT_ALONE: Duration = Duration::from_mins(10);

/// The time for which a room that has let the bridge in before, or the fallback room, is not tried again: people may be
/// repairing it.
const LEFT_ALONE_SHORTLY: Duration = Duration::from_secs(30);

/// The time that finding the room of an alias may take, when it is only to be read.
const FINDING: Duration = Duration::from_secs(10);

/// The time for which an alias is assumed to lead where it did.
const FOUND: Duration = Duration::from_mins(5);

/// The interval of reports that no more rooms are created.
const SAID_AGAIN: Duration = Duration::from_hours(1);

/// The rooms of one route, each entered when there is a message for it.
pub(crate) struct Rooms {
    route: Arc<Route>,
    account: Arc<Account>,
    /// The rooms in which people may answer.
    listened: Listened,
    health: RouteHealth,
    /// The condition that the fallback room cannot be used.
    fallback: Condition,
    tenure: Tenure,
    stop: CancellationToken,
    guard: Guard,
    places: Vec<Place>,
    /// The index of the current room.
    here: usize,
    /// The rooms that could not be used; an entry is removed when the room is posted into again.
    closed: HashMap<RoomTarget, ClosedRoom>,
    /// The time when it was last reported that no more rooms are created.
    said: Option<Instant>,
    /// Whether it was reported that the fallback room cannot be used.
    has_no_fallback: bool,
    /// The closed room that is read to find out what an earlier process has posted there, and the time when it was
    /// read first.
    read: Option<(RoomTarget, Instant, Box<Sender>)>,
    /// The closed room in which the current message is perhaps shown, too.
    elsewhere: Option<Elsewhere>,
}

/// A closed room in which a message is perhaps shown, too.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    pub(crate) room: RoomTarget,
    /// Whether the first event of the message is known to be there.
    pub(crate) has_begun: bool,
}

/// The result of entering a room.
pub(crate) enum JoinOutcome {
    In,
    /// The room is closed by now, and the message was shown there before.
    Shown,
    /// Neither the room, for this reason, nor the fallback room, if there is one, can be used.
    Closed(String),
}

/// A room that could not be used.
struct ClosedRoom {
    /// The time when the room was found closed.
    since: Instant,
    closed: Closed,
    /// The time for which the room is not tried again.
    left_alone: Duration,
    /// Whether the log reports it.
    is_said: bool,
}

/// A room that was entered.
pub(crate) struct Place {
    id: OwnedRoomId,
    /// The names that lead to the room; there can be several aliases.
    targets: Vec<RoomTarget>,
    /// Whether this is the route's fallback room.
    pub(crate) is_fallback: bool,
    /// Whether the room let the bridge in once, and no longer does.
    is_closed: bool,
    pub(crate) sender: Sender,
    /// The ids and aliases that were found to lead to this room or to another one, and when.
    found: HashMap<RoomTarget, (bool, Instant)>,
    /// The storms that were shown in the room.
    pub(crate) storms: Storms,
    late: Option<Late>,
    /// The messages published up to this time are known to be too few for a digest.
    pub(crate) too_few_until: Timestamp,
}

/// The result of an attempt to open a room.
enum Opening {
    /// The room is open, and has this index.
    At(usize),
    Closed(Closed),
}

/// The messages that came late and have not been reported in the room yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Late {
    pub(crate) count: u64,
    pub(crate) oldest: Duration,
}

impl Rooms {
    /// Creates the rooms of a route, of which none is entered yet.
    pub(crate) fn new(
        route: Arc<Route>,
        new_rooms: Arc<NewRooms>,
        services: &Services,
        tenure: Tenure,
        health: RouteHealth,
    ) -> Self {
        let trusted = services.administrators.iter().chain(&route.room_creators).cloned().collect();
        Self {
            route,
            account: Arc::clone(&services.account),
            listened: services.listened.clone(),
            fallback: health.condition(),
            health,
            tenure,
            stop: services.stop.clone(),
            guard: Guard { trusted, new_rooms },
            places: Vec::new(),
            here: 0,
            closed: HashMap::new(),
            said: None,
            has_no_fallback: false,
            read: None,
            elsewhere: None,
        }
    }

    /// Enters the room if the route has only one, else the fallback room: the person who has to invite the bridge
    /// should learn of that before the first message.
    ///
    /// # Errors
    ///
    /// See [`join::open_room`].
    pub(crate) async fn enter_first(&mut self) -> Result<(), Interrupted> {
        match self.route.rooms.one().cloned() {
            Some(room) => self.open(&room, false).await.map(drop),
            None => self.enter_fallback().await.map(drop),
        }
    }

    /// Enters the room for what concerns the whole route: its only one, or else its fallback room.
    pub(crate) async fn enter_default(&mut self) -> Result<JoinOutcome, Interrupted> {
        let Some(room) = self.route.rooms.one().cloned() else {
            return self.enter_fallback().await;
        };
        if let Some(index) = self.places.iter().position(|place| place.has(&room)) {
            self.here = index;
            return Ok(JoinOutcome::In);
        }
        Ok(match self.open(&room, false).await? {
            Opening::At(index) => {
                self.here = index;
                JoinOutcome::In
            }
            Opening::Closed(closed) => JoinOutcome::Closed(closed.to_string()),
        })
    }

    /// Enters the room of a message, and waits until the bridge is let in. A route with several rooms uses the fallback
    /// room instead of waiting.
    ///
    /// # Errors
    ///
    /// See [`join::open_room`].
    pub(crate) async fn enter(
        &mut self,
        stream: &StreamId,
        delivery: &Delivery,
    ) -> Result<JoinOutcome, Interrupted> {
        self.elsewhere = None;
        let target = self.route.rooms.of(delivery.subject());
        if let Some(index) = self.places.iter().position(|place| place.has(&target)) {
            let place = &mut self.places[index];
            if !place.is_closed {
                self.here = index;
                return Ok(JoinOutcome::In);
            }
            if place.sender.shows_all_of(stream, delivery) {
                return Ok(JoinOutcome::Shown);
            }
        }
        // A message that went to the fallback room before a restart stays there, even if its own room can be used now.
        if self.is_in_fallback(stream, delivery).await? {
            return Ok(JoinOutcome::In);
        }
        let closed = match self.left_alone(&target).cloned() {
            Some(closed) => closed,
            None => match self.open(&target, false).await? {
                Opening::At(index) => {
                    self.here = index;
                    return Ok(JoinOutcome::In);
                }
                Opening::Closed(closed) => closed,
            },
        };
        let shown = self.shown_in_closed(&target, stream, delivery).await?;
        if shown == Shown::Whole {
            return Ok(JoinOutcome::Shown);
        }
        let has_begun = shown == Shown::Begun;
        let room = target.clone();
        self.elsewhere = (shown != Shown::No).then_some(Elsewhere { room, has_begun });
        self.health.metrics.diverted.inc();
        let entered = self.enter_fallback().await?;
        self.note_closed(&target, &closed, matches!(entered, JoinOutcome::In));
        Ok(match entered {
            JoinOutcome::Closed(_) => {
                JoinOutcome::Closed(format!("its room cannot be used: {closed}"))
            }
            entered => entered,
        })
    }

    /// Forgets the current room, which was replaced. It is entered anew, or the one in its place, with the next message.
    pub(crate) fn forget(&mut self) {
        if self.here < self.places.len() {
            self.places[self.here].sender.end(false);
            self.places.remove(self.here);
        }
        self.here = 0;
    }

    /// Whether the only room, or the fallback room, was replaced, or its alias leads to another one. It is the current
    /// room then. Without an answer it is assumed not to have moved.
    pub(crate) async fn has_first_moved(&mut self) -> bool {
        let first = self.route.rooms.one().or(self.route.fallback_room.as_ref());
        let Some(target) = first else { return false };
        let Some(index) = self.places.iter().position(|place| place.has(target)) else {
            return false;
        };
        let has_moved = self.places[index].sender.has_moved().await.unwrap_or(false);
        if has_moved {
            self.here = index;
        }
        has_moved
    }

    /// Returns the closed room in which the current message is perhaps shown, too.
    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.elsewhere.as_ref()
    }

    /// Finds out what is known of a message in its own room, which is closed: it may have been sent there just before,
    /// by this process or, if it was delivered before, by an earlier one.
    async fn shown_in_closed(
        &mut self,
        target: &RoomTarget,
        stream: &StreamId,
        delivery: &Delivery,
    ) -> Result<Shown, Interrupted> {
        if let Some(place) = self.places.iter_mut().find(|place| place.has(target)) {
            return looked(place.sender.last_look(stream, delivery).await);
        }
        if !delivery.is_redelivered {
            return Ok(Shown::No);
        }
        let is_fresh = |(room, since, _): &(RoomTarget, Instant, Box<Sender>)| {
            room == target && since.elapsed() < LEFT_ALONE_SHORTLY
        };
        if !self.read.as_ref().is_some_and(is_fresh) {
            let found = timeout(FINDING, room::resolve(&self.account, target)).await;
            let id = match found {
                Ok(Ok(Some(id))) => id,
                // There is no such room.
                Ok(Ok(None)) => return Ok(Shown::No),
                Ok(Err(_)) | Err(_) => return Ok(Shown::Unknown),
            };
            let room = Room::new(Arc::clone(&self.account), id);
            let (tenure, health) = (self.tenure.clone(), self.health.clone());
            let mut sender =
                Sender::new(&self.route, target, room, tenure, health, self.stop.clone());
            sender.suspect_everything();
            self.read = Some((target.clone(), Instant::now(), Box::new(sender)));
        }
        match &mut self.read {
            Some((_, _, sender)) => looked(sender.last_look(stream, delivery).await),
            None => Ok(Shown::Unknown),
        }
    }

    /// Returns why a room that was tried a short while ago is not tried again yet.
    fn left_alone(&self, target: &RoomTarget) -> Option<&Closed> {
        let room = self.closed.get(target)?;
        (room.since.elapsed() < room.left_alone).then_some(&room.closed)
    }

    /// Notes that the current room no longer takes anything from the bridge.
    pub(crate) fn close(&mut self, closed: &Closed) {
        let Some(place) = self.places.get_mut(self.here) else { return };
        place.is_closed = true;
        place.sender.end(false);
        let left_alone = match closed {
            Closed::ForLong(_) if !place.is_fallback => LEFT_ALONE,
            _ => LEFT_ALONE_SHORTLY,
        };
        for target in place.targets.clone() {
            self.leave_alone(&target, closed, left_alone);
        }
    }

    fn leave_alone(&mut self, target: &RoomTarget, closed: &Closed, left_alone: Duration) {
        if self.closed.len() >= MOST_PLACES
            && !self.closed.contains_key(target)
            && let Some(oldest) = self.oldest_closed()
        {
            self.closed.remove(&oldest);
        }
        let before = self.closed.get(target);
        let is_said = before.is_some_and(|before| before.is_said && before.closed == *closed);
        let (since, closed) = (Instant::now(), closed.clone());
        self.closed.insert(target.clone(), ClosedRoom { since, closed, left_alone, is_said });
        self.tell_closed();
    }

    /// Returns the room that was found closed the longest time ago.
    fn oldest_closed(&self) -> Option<RoomTarget> {
        let oldest = self.closed.iter().min_by_key(|(_, room)| room.since);
        oldest.map(|(target, _)| target.clone())
    }

    /// Logs once what is wrong with a room, instead of once for each message.
    fn note_closed(&mut self, target: &RoomTarget, closed: &Closed, has_fallback: bool) {
        let before = self.closed.get(target);
        let is_said = match closed {
            Closed::NotMade(_) => self.said.is_some_and(|said| said.elapsed() < SAID_AGAIN),
            _ => before.is_some_and(|before| before.is_said && before.closed == *closed),
        };
        if !is_said {
            let fallback = &self.route.fallback_room;
            let now = match fallback.as_ref().filter(|_| has_fallback) {
                Some(room) => format!("its messages go to {room}"),
                None => "its messages are dead letters; another room can be their `fallback_room`"
                    .to_owned(),
            };
            warn!("room {target} cannot be used: {closed}; {now}");
        }
        if matches!(closed, Closed::NotMade(_)) {
            if !is_said {
                self.said = Some(Instant::now());
            }
            return;
        }
        if self.left_alone(target).is_none() {
            let left_alone = match closed {
                Closed::ForLong(_) => LEFT_ALONE,
                Closed::ToUs(_) | Closed::NotMade(_) => Duration::ZERO,
            };
            self.leave_alone(target, closed, left_alone);
        }
        if let Some(room) = self.closed.get_mut(target) {
            room.is_said = true;
        }
    }

    /// Reports the rooms that cannot be used on the status page and in the metrics.
    fn tell_closed(&self) {
        let closed = self.closed.iter();
        let closed = closed.map(|(target, room)| (target.to_string(), room.closed.to_string()));
        self.health.closed(closed.collect());
    }

    /// Whether a message is in the fallback room, which then becomes the current room.
    ///
    /// No digest is posted in the fallback room, so every message before the last one shown there is done with: it is
    /// in its own room, or in this one.
    async fn is_in_fallback(
        &mut self,
        stream: &StreamId,
        delivery: &Delivery,
    ) -> Result<bool, Interrupted> {
        if let JoinOutcome::Closed(_) = self.enter_fallback().await? {
            return Ok(false);
        }
        let route = Arc::clone(&self.route);
        if self.sender().is_done(stream, delivery) {
            return Ok(true);
        }
        match self.sender().has_begun(stream, &route, delivery, 0).await {
            Ok(is_there) => Ok(is_there),
            Err(Halted::Interrupted(interrupted)) => Err(interrupted),
            Err(Halted::Closed(closed)) => {
                self.close(&closed);
                Ok(false)
            }
            Err(Halted::Replaced(_)) => {
                self.forget();
                Ok(false)
            }
        }
    }

    /// Enters the fallback room. Returns `Closed` if there is none, or if it is closed to the bridge.
    async fn enter_fallback(&mut self) -> Result<JoinOutcome, Interrupted> {
        let Some(target) = self.route.fallback_room.clone() else {
            return Ok(JoinOutcome::Closed("the route has no fallback_room".to_owned()));
        };
        let is_it = |place: &Place| place.is_fallback && !place.is_closed;
        if let Some(index) = self.places.iter().position(is_it) {
            self.here = index;
            return Ok(JoinOutcome::In);
        }
        let closed = match self.left_alone(&target).cloned() {
            Some(closed) => closed,
            None => match self.open(&target, true).await? {
                Opening::At(index) => {
                    self.here = index;
                    self.places[index].is_fallback = true;
                    self.places[index].sender.never_gives_way();
                    self.health.entered(&self.places[index].id);
                    self.has_no_fallback = false;
                    self.fallback.clear();
                    return Ok(JoinOutcome::In);
                }
                Opening::Closed(closed) => {
                    if matches!(closed, Closed::ForLong(_)) {
                        self.leave_alone(&target, &closed, LEFT_ALONE_SHORTLY);
                    }
                    closed
                }
            },
        };
        let reason = format!("fallback room {target} cannot be used: {closed}");
        self.fallback.set(State::NotInRoom, &reason, Duration::ZERO);
        if !std::mem::replace(&mut self.has_no_fallback, true) {
            warn!("{reason}; its messages become dead letters");
        }
        Ok(JoinOutcome::Closed(closed.to_string()))
    }

    async fn open(
        &mut self,
        target: &RoomTarget,
        is_fallback: bool,
    ) -> Result<Opening, Interrupted> {
        let kind = match (is_fallback, self.route.rooms.one()) {
            (true, _) => RoomRole::Fallback,
            (false, Some(_)) => RoomRole::Only,
            (false, None) => RoomRole::OfMany(&self.guard),
        };
        let room = (target, kind);
        let open = join::open_room(&self.route, room, &self.account, &self.health, &self.stop);
        let room = match Box::pin(open).await? {
            Opened::Room(room) => room,
            Opened::Closed(closed) => return Ok(Opening::Closed(closed)),
        };
        if self.route.answers.is_some() {
            self.listened.add(room.id(), &self.route.name);
        }
        // A room with several aliases has one record of how far the route has come.
        if let Some(index) = self.places.iter().position(|place| place.id == room.id()) {
            let place = &mut self.places[index];
            place.is_closed = false;
            if !place.has(target) {
                place.targets.push(target.clone());
            }
            return Ok(Opening::At(index));
        }
        if self.places.len() >= MOST_PLACES
            && let Some(oldest) = self.places.iter().position(|place| !place.is_fallback)
        {
            // A forgotten place is read from the room again when there is a message for it.
            self.places.remove(oldest);
        }
        if self.route.rooms.one().is_some() {
            self.health.entered(room.id());
        }
        let (tenure, health) = (self.tenure.clone(), self.health.clone());
        let sender =
            Sender::new(&self.route, target, room.clone(), tenure, health, self.stop.clone());
        self.places.push(Place {
            id: room.id().to_owned(),
            targets: vec![target.clone()],
            is_fallback,
            is_closed: false,
            sender,
            found: HashMap::new(),
            storms: Storms::default(),
            late: None,
            too_few_until: Timestamp::UNIX_EPOCH,
        });
        Ok(Opening::At(self.places.len() - 1))
    }

    /// Returns the current room.
    pub(crate) fn here(&mut self) -> &mut Place {
        &mut self.places[self.here]
    }

    /// Returns the sender of a room in which late messages have to be reported, and what came late.
    pub(crate) fn late(&mut self) -> Option<(&mut Sender, Late)> {
        let place = self.places.iter_mut().find(|place| place.late.is_some())?;
        place.late.map(|late| (&mut place.sender, late))
    }

    /// Notes that the late messages were reported in that room.
    pub(crate) fn told(&mut self) {
        if let Some(place) = self.places.iter_mut().find(|place| place.late.is_some()) {
            place.late = None;
        }
    }

    /// Ends the work on a message; `is_there` says whether it is in its room.
    pub(crate) fn end(&mut self, is_there: bool) {
        let Some(place) = self.places.get_mut(self.here) else { return };
        place.sender.end(is_there);
        if is_there && !self.closed.is_empty() {
            let before = self.closed.len();
            self.closed.retain(|target, _| !place.targets.contains(target));
            if self.closed.len() < before {
                self.tell_closed();
            }
        }
    }

    /// Returns the sender of the current room.
    pub(crate) fn sender(&mut self) -> &mut Sender {
        &mut self.here().sender
    }
}

/// Returns what a look into a closed room has shown.
fn looked(shown: Result<Shown, Halted>) -> Result<Shown, Interrupted> {
    match shown {
        Ok(shown) => Ok(shown),
        Err(Halted::Closed(_) | Halted::Replaced(_)) => Ok(Shown::Unknown),
        Err(Halted::Interrupted(interrupted)) => Err(interrupted),
    }
}

impl Place {
    /// Whether a name leads to this room.
    pub(crate) fn has(&self, target: &RoomTarget) -> bool {
        self.targets.contains(target)
    }

    /// Whether an id or alias leads to this room, whatever the route calls it.
    pub(crate) async fn is_at(&mut self, target: &RoomTarget) -> Result<bool, Halted> {
        if self.has(target) {
            return Ok(true);
        }
        if let Some((is_here, at)) = self.found.get(target)
            && at.elapsed() < FOUND
        {
            return Ok(*is_here);
        }
        let is_here = self.sender.is_at(target).await?;
        if self.found.len() >= MOST_PLACES {
            self.found.clear();
        }
        self.found.insert(target.clone(), (is_here, Instant::now()));
        Ok(is_here)
    }

    /// Notes that a message came late, at this age.
    pub(crate) fn note_late(&mut self, age: Duration) {
        let late = self.late.get_or_insert(Late { count: 0, oldest: age });
        late.count += 1;
        late.oldest = late.oldest.max(age);
    }
}
