//! The rooms that a route posts into: one, or one for each value of some tokens of the subject.

use std::{sync::Arc, time::Duration};

use matrix_sdk::ruma::OwnedRoomId;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{RoomTarget, Route},
    failure::Failure,
    health::RouteHealth,
    join::{self, Opened},
    matrix::Account,
    post::Post,
    render::Urgency,
};

/// A digest this long after the last one is of another storm.
const CALM: Duration = Duration::from_mins(10);

/// In a storm that goes on what is critical may make a phone buzz again after this time.
const AGAIN: Duration = Duration::from_mins(2);

/// More rooms than these are not kept in mind.
const MOST_PLACES: usize = 256;

/// The rooms of one route, which are entered when there is something for them.
pub(super) struct Rooms {
    route: Arc<Route>,
    account: Arc<Account>,
    health: RouteHealth,
    stop: CancellationToken,
    places: Vec<Place>,
    /// The index of the room that is posted into.
    here: usize,
}

/// Whether a room was entered.
pub(super) enum Entered {
    In,
    /// It does not let us in, for this reason; there are others.
    Closed(String),
    /// We were told to stop first.
    Stopped,
}

/// One of the rooms.
pub(super) struct Place {
    id: OwnedRoomId,
    /// What led there; more than one alias can.
    targets: Vec<RoomTarget>,
    pub(super) post: Post,
    storm: Option<Storm>,
    late: Option<Late>,
    /// Of the messages that were published up to then too few are waiting for a digest.
    pub(super) too_few_until: OffsetDateTime,
}

/// What came late, and of which the room was not told yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Late {
    pub(super) count: u64,
    pub(super) oldest: Duration,
}

/// Of the storm that goes on, or was the last.
#[derive(Debug)]
struct Storm {
    /// When its last digest was posted.
    last: Instant,
    /// The loudest of its digests.
    urgency: Urgency,
    /// When a phone buzzed for it last.
    pushed: Option<Instant>,
}

impl Rooms {
    /// None is entered yet.
    pub(super) fn new(
        route: Arc<Route>,
        account: Arc<Account>,
        health: RouteHealth,
        stop: CancellationToken,
    ) -> Self {
        Self { route, account, health, stop, places: Vec::new(), here: 0 }
    }

    /// Goes to a room, and waits until it lets us in.
    ///
    /// # Errors
    ///
    /// As of [`join::open_room`].
    pub(super) async fn enter(&mut self, target: &RoomTarget) -> Result<Entered, Failure> {
        if let Some(index) = self.places.iter().position(|place| place.has(target)) {
            self.here = index;
            return Ok(Entered::In);
        }
        let open = join::open_room(&self.route, target, &self.account, &self.health, &self.stop);
        let opened = Box::pin(open).await?;
        let room = match opened {
            Opened::Room(room) => room,
            Opened::Closed(reason) => return Ok(Entered::Closed(reason)),
            Opened::Stopped => return Ok(Entered::Stopped),
        };
        // How far the route has come there is known once for all of its aliases.
        if let Some(index) = self.places.iter().position(|place| place.id == room.id()) {
            self.places[index].targets.push(target.clone());
            self.here = index;
            return Ok(Entered::In);
        }
        if self.places.len() >= MOST_PLACES {
            // What is forgotten is read from the room when there is something for it again.
            self.places.remove(0);
        }
        if self.route.rooms.one().is_some() {
            self.health.entered(room.id());
        }
        self.here = self.places.len();
        self.places.push(Place {
            id: room.id().to_owned(),
            targets: vec![target.clone()],
            post: Post::new(&self.route, target, room, self.health.clone(), self.stop.clone()),
            storm: None,
            late: None,
            too_few_until: OffsetDateTime::UNIX_EPOCH,
        });
        Ok(Entered::In)
    }

    /// The room that was entered last.
    pub(super) fn here(&mut self) -> &mut Place {
        &mut self.places[self.here]
    }

    /// Posts into a room that is to be told what came late.
    pub(super) fn late(&mut self) -> Option<(&mut Post, Late)> {
        let place = self.places.iter_mut().find(|place| place.late.is_some())?;
        place.late.map(|late| (&mut place.post, late))
    }

    /// The rooms were told.
    pub(super) fn told(&mut self) {
        if let Some(place) = self.places.iter_mut().find(|place| place.late.is_some()) {
            place.late = None;
        }
    }

    /// The work on a message is over; `is_there` if it is in its room.
    pub(super) fn let_go(&mut self, is_there: bool) {
        if let Some(place) = self.places.get_mut(self.here) {
            place.post.let_go(is_there);
        }
    }

    /// Posts into the room that was entered last.
    pub(super) fn post(&mut self) -> &mut Post {
        &mut self.here().post
    }
}

impl Place {
    /// Whether a name leads here.
    pub(super) fn has(&self, target: &RoomTarget) -> bool {
        self.targets.contains(target)
    }

    /// Notes that a message came as late as that.
    pub(super) fn note_late(&mut self, age: Duration) {
        let late = self.late.get_or_insert(Late { count: 0, oldest: age });
        late.count += 1;
        late.oldest = late.oldest.max(age);
    }

    /// Whether phones are to buzz for a digest with news that are as urgent as that: in a storm that goes on
    /// only if that is worse than all before it, or critical and the last buzz is a while ago.
    pub(super) fn is_worth_a_push(&self, urgency: Urgency) -> bool {
        let Some(storm) = self.storm() else { return urgency > Urgency::Routine };
        let is_while_ago = || storm.pushed.is_none_or(|pushed| pushed.elapsed() >= AGAIN);
        urgency > storm.urgency || urgency == Urgency::Critical && is_while_ago()
    }

    /// The storm that goes on.
    fn storm(&self) -> Option<&Storm> {
        self.storm.as_ref().filter(|storm| storm.last.elapsed() < CALM)
    }

    /// When the last digest was posted, if there was one.
    pub(super) fn last_digest(&self) -> Option<Instant> {
        self.storm.as_ref().map(|storm| storm.last)
    }

    /// Notes that a digest was posted with news as urgent as that, and whether phones buzzed for it.
    pub(super) fn note_digest(&mut self, urgency: Urgency, has_pushed: bool) {
        let (now, before) = (Instant::now(), self.storm());
        let loudest = before.map_or(urgency, |before| before.urgency.max(urgency));
        let pushed = if has_pushed { Some(now) } else { before.and_then(|before| before.pushed) };
        self.storm = Some(Storm { last: now, urgency: loudest, pushed });
    }
}
