//! The rooms that a route posts into: one, or one for each value of some tokens of the subject.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{RoomTarget, Route},
    failure::Failure,
    join,
    matrix::Account,
    post::Post,
    render::Urgency,
};

/// A digest this long after the last one is of another storm.
const CALM: Duration = Duration::from_mins(10);

/// The rooms of one route, which are entered when there is something for them.
pub(super) struct Rooms {
    route: Arc<Route>,
    account: Arc<Account>,
    stop: CancellationToken,
    places: Vec<Place>,
    /// The index of the room that is posted into.
    here: usize,
}

/// One of the rooms.
pub(super) struct Place {
    pub(super) target: RoomTarget,
    pub(super) post: Post,
    storm: Option<Storm>,
    /// Up to this message too few are waiting for a digest.
    pub(super) too_few_until: u64,
}

/// Of the storm that goes on, or was the last.
#[derive(Debug)]
struct Storm {
    /// When its last digest was posted.
    last: Instant,
    /// The loudest of its digests.
    urgency: Urgency,
}

impl Rooms {
    /// None is entered yet.
    pub(super) fn new(route: Arc<Route>, account: Arc<Account>, stop: CancellationToken) -> Self {
        Self { route, account, stop, places: Vec::new(), here: 0 }
    }

    /// Goes to a room, and waits until it lets us in. False if we were told to stop first.
    ///
    /// # Errors
    ///
    /// As of [`join::open_room`].
    pub(super) async fn enter(&mut self, target: &RoomTarget) -> Result<bool, Failure> {
        if let Some(index) = self.places.iter().position(|place| place.target == *target) {
            self.here = index;
            return Ok(true);
        }
        let room = join::open_room(&self.route, target, &self.account, &self.stop).await?;
        let Some(room) = room else { return Ok(false) };
        let post = Post::new(&self.route, target, room, self.stop.clone());
        self.here = self.places.len();
        self.places.push(Place { target: target.clone(), post, storm: None, too_few_until: 0 });
        Ok(true)
    }

    /// The room that was entered last.
    pub(super) fn here(&mut self) -> &mut Place {
        &mut self.places[self.here]
    }

    /// Posts into the room that was entered last.
    pub(super) fn post(&mut self) -> &mut Post {
        &mut self.here().post
    }
}

impl Place {
    /// How loud the storm was that still goes on.
    pub(super) fn loudness(&self) -> Urgency {
        let storm = self.storm.as_ref().filter(|storm| storm.last.elapsed() < CALM);
        storm.map_or(Urgency::Routine, |storm| storm.urgency)
    }

    /// When the last digest was posted, if there was one.
    pub(super) fn last_digest(&self) -> Option<Instant> {
        self.storm.as_ref().map(|storm| storm.last)
    }

    /// Notes that a digest was posted in a storm that was as loud as that.
    pub(super) fn note_digest(&mut self, urgency: Urgency) {
        self.storm = Some(Storm { last: Instant::now(), urgency });
    }
}
