//! Getting into a room with patience.

use std::{fmt, sync::Arc, time::Duration};

use matrix_sdk::ruma::{OwnedRoomId, OwnedUserId, RoomAliasId};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    config::{RoomTarget, Route},
    failure::{Failure, Interrupted},
    matrix::{
        account::{Account, LoginError},
        error::MatrixError,
        new_rooms::{NewRooms, TooMany},
        ownership::Objection,
        room::{self, Entry, Room, encrypted},
    },
    status::{Outage, RouteHealth, State},
};

/// So often a room is tried, of a route that has others, when the homeserver fails at it and answers all else.
const ATTEMPTS: u32 = 3;

/// For no longer than this one room holds the others of its route up, when the homeserver answers all else.
const HOLD_UP: Duration = Duration::from_secs(20);

/// What a room is to its route.
#[derive(Clone, Copy)]
pub(crate) enum RoomRole<'a> {
    /// The only one, which is waited for.
    Only,
    /// The one for messages whose own room cannot be used.
    Fallback,
    /// One of many, which a message names; none of them holds the others up.
    OfMany(&'a Guard),
}

/// What guards the rooms that messages name.
pub(crate) struct Guard {
    /// Who may have made one, besides us.
    pub(crate) trusted: Vec<OwnedUserId>,
    pub(crate) new_rooms: Arc<NewRooms>,
}

/// How an attempt to get into a room ended.
pub(crate) enum Opened {
    /// We are in.
    Room(Room),
    /// It cannot be used, and there are others that can.
    Closed(Closed),
}

/// Why a room cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closed {
    /// It does not let us in, or is encrypted; somebody may change that at any moment.
    ToUs(String),
    /// It is better left alone for a while: a stranger's, or one that the homeserver fails at.
    ForLong(String),
    /// It would have to be made, and there were too many.
    NotMade(TooMany),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToUs(reason) | Self::ForLong(reason) => f.write_str(reason),
            Self::NotMade(too_many) => too_many.fmt(f),
        }
    }
}

/// Enters a room of a route, or makes it; waits as long as we are not let in, unless the route has others.
///
/// # Errors
///
/// [`Failure::Encrypted`] for an encrypted room, [`Failure::Refused`] when the homeserver no longer
/// accepts our login; [`Interrupted::Stopping`] when we are told to stop first.
pub(crate) async fn open_room(
    route: &Route,
    (target, kind): (&RoomTarget, RoomRole<'_>),
    account: &Arc<Account>,
    health: &RouteHealth,
    stop: &CancellationToken,
) -> Result<Opened, Interrupted> {
    // One of many must not hold the others up.
    let may_wait = matches!(kind, RoomRole::Only);
    let mut outage = Outage::of(format!("room {target}"), health.condition());
    let mut attempt = Attempt::new(route, (target, kind), account, health);
    let mut failures = Failures::default();
    loop {
        let error = match attempt.open().await {
            Ok(room) => {
                outage.over();
                if health.reconnects_often() {
                    debug!("posting into {target} as {}", account.user);
                } else {
                    info!("posting into {target} as {}", account.user);
                }
                return Ok(Opened::Room(room));
            }
            Err(OpenError::Closed(closed)) => {
                attempt.leave_unchecked().await;
                return Ok(Opened::Closed(closed));
            }
            Err(OpenError::Encrypted) if !may_wait => {
                return Ok(Opened::Closed(Closed::ToUs("it is encrypted".to_owned())));
            }
            Err(OpenError::Encrypted) => {
                return Err(Interrupted::Fatal(Failure::Encrypted(format!(
                    "route {}: {}",
                    route.name,
                    encrypted(target)
                ))));
            }
            Err(OpenError::Matrix(error)) => error,
        };
        if !may_wait && let Some(closed) = closed(&error, &mut failures, account).await {
            attempt.leave_unchecked().await;
            return Ok(Opened::Closed(closed));
        }
        let reason = match &error {
            MatrixError::TokenRefused(_) => match account.renew().await {
                Err(LoginError::Final(failure)) => return Err(failure.into()),
                _ => error.to_string(),
            },
            MatrixError::Forbidden(_) => {
                format!("we are not let in: invite {} ({error})", account.user)
            }
            MatrixError::NotFound(_) => {
                format!("there is no such room ({error}): correct `room` of the route")
            }
            _ => error.to_string(),
        };
        let asked = match &error {
            MatrixError::Limited { wait, .. } if may_wait => *wait,
            MatrixError::Limited { wait, .. } => wait.map(|wait| wait.min(HOLD_UP)),
            _ => None,
        };
        let pause = outage.failed(State::of(&error), &reason, asked);
        if timeout(pause, stop.cancelled()).await.is_ok() {
            return Err(Interrupted::Stopping);
        }
    }
}

/// Whether what failed says something about the room, which must not hold others up, and not about the homeserver.
async fn closed(error: &MatrixError, failures: &mut Failures, account: &Account) -> Option<Closed> {
    if error.is_final() {
        return Some(Closed::ToUs(format!("it does not let us in: {error}")));
    }
    if !failures.are_enough(error) {
        return None;
    }
    failures.are_of_one_room(error, account).await
}

/// How often, and since when, the homeserver has failed at one room.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: u32,
    since: Option<Instant>,
}

impl Failures {
    /// Notes another one. Whether it is time to ask if it is the room.
    pub(crate) fn are_enough(&mut self, error: &MatrixError) -> bool {
        self.count += 1;
        let since = *self.since.get_or_insert_with(Instant::now);
        let is_long = since.elapsed() >= HOLD_UP;
        match error {
            // The room has more state than anybody reads, and will not have less.
            MatrixError::TooLong { .. } => true,
            // The homeserver has said when it may be asked again.
            MatrixError::Limited { .. } => is_long,
            _ => is_long || self.count >= ATTEMPTS,
        }
    }

    /// Whether they are the room's own, as the homeserver answers all else.
    pub(crate) async fn are_of_one_room(
        &self,
        error: &MatrixError,
        account: &Account,
    ) -> Option<Closed> {
        let answers = room::joined(account).await.is_ok();
        answers.then(|| Closed::ForLong(format!("the homeserver fails at it alone: {error}")))
    }
}

enum OpenError {
    Encrypted,
    Closed(Closed),
    Matrix(MatrixError),
}

impl From<MatrixError> for OpenError {
    fn from(error: MatrixError) -> Self {
        Self::Matrix(error)
    }
}

/// Getting into one room, as often as it is tried.
struct Attempt<'a> {
    route: &'a Route,
    target: &'a RoomTarget,
    kind: RoomRole<'a>,
    account: &'a Arc<Account>,
    health: &'a RouteHealth,
    /// The rooms that we were in before the first attempt.
    before: Option<Vec<OwnedRoomId>>,
    /// The room that the attempts led into, as long as it may be a stranger's.
    unchecked: Option<Room>,
}

impl<'a> Attempt<'a> {
    fn new(
        route: &'a Route,
        (target, kind): (&'a RoomTarget, RoomRole<'a>),
        account: &'a Arc<Account>,
        health: &'a RouteHealth,
    ) -> Self {
        Self { route, target, kind, account, health, before: None, unchecked: None }
    }

    async fn open(&mut self) -> Result<Room, OpenError> {
        let account = self.account;
        let alias = <&RoomAliasId>::try_from(&**self.target).ok();
        if self.before.is_none() && matches!(self.kind, RoomRole::OfMany(_)) {
            self.before = Some(room::joined(account).await?);
        }
        let id = match Room::enter(account, self.target).await? {
            Entry::Joined(id) => id,
            Entry::Free => {
                let alias = alias.expect("only aliases are free");
                if let RoomRole::OfMany(guard) = self.kind {
                    let too_many = |too_many| OpenError::Closed(Closed::NotMade(too_many));
                    guard.new_rooms.take(alias).map_err(too_many)?;
                }
                let id = Room::create(account, alias, &self.route.invite).await?;
                self.health.metrics.rooms_made.inc();
                id
            }
        };
        let room = Room::new(Arc::clone(account), id);
        if let (RoomRole::OfMany(guard), Some(alias)) = (self.kind, alias) {
            self.unchecked = Some(room.clone());
            guard.check(&room, alias).await?;
            self.unchecked = None;
        }
        if room.is_encrypted().await? {
            return Err(OpenError::Encrypted);
        }
        Ok(room)
    }

    /// Leaves a room that was not found to be ours, unless we were in it before: an alias of a stranger can lead to a
    /// room that is ours by another.
    async fn leave_unchecked(&mut self) {
        let Some(room) = self.unchecked.take() else { return };
        let was_in = self.before.iter().flatten().any(|joined| joined == room.id());
        if !was_in && let Err(error) = room.leave().await {
            // What matters is that nothing is posted there.
            warn!("{} is not left: {error}", room.id());
        }
    }
}

impl Guard {
    /// Checks that a room is ours.
    async fn check(&self, room: &Room, alias: &RoomAliasId) -> Result<(), OpenError> {
        let ownership = room.ownership().await?;
        let own = &room.account().user;
        let Some(objection) = ownership.objection(alias, own, &self.trusted) else { return Ok(()) };
        let advice = match objection {
            Objection::Stranger(_) | Objection::Unknown => {
                "name them in `room_creators` of the route if that is right, else have the alias removed"
            }
            Objection::NotItsAlias => {
                "make it the main address in the room's settings if that is right, else have it removed"
            }
        };
        Err(OpenError::Closed(Closed::ForLong(format!("it {objection}: {advice}"))))
    }
}
