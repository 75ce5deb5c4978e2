//! Getting into a room with patience.

use std::{fmt, sync::Arc};

use matrix_sdk::ruma::{OwnedRoomId, OwnedUserId, RoomAliasId};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

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

/// That often a room of many is tried that a homeserver fails at which answers all else.
const ATTEMPTS: u32 = 3;

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
    let mut outage = Outage::of(format!("route {}: room {target}", route.name), health.condition());
    let mut attempts = 0;
    loop {
        let error = match try_open_room(route, (target, kind), account, health).await {
            Ok(room) => {
                outage.over();
                if health.reconnects_often() {
                    debug!("route {}: posting into {target} as {}", route.name, account.user);
                } else {
                    info!("route {}: posting into {target} as {}", route.name, account.user);
                }
                return Ok(Opened::Room(room));
            }
            Err(OpenError::Closed(closed)) => return Ok(Opened::Closed(closed)),
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
        attempts += 1;
        if !may_wait && let Some(closed) = closed(&error, attempts, account).await {
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
        let pause = outage.failed(State::of(&error), &reason, None);
        if timeout(pause, stop.cancelled()).await.is_ok() {
            return Err(Interrupted::Stopping);
        }
    }
}

/// Whether what failed says something about the room, one of many, and not about the homeserver.
async fn closed(error: &MatrixError, attempts: u32, account: &Account) -> Option<Closed> {
    if error.is_final() {
        return Some(Closed::ToUs(format!("it does not let us in: {error}")));
    }
    // An alias can lead to a room on a server that does not answer, or to one whose state has no end.
    let is_unreachable = matches!(error, MatrixError::Unreachable(_)) && attempts >= ATTEMPTS;
    if is_unreachable && room::joined(account).await.is_ok() {
        return Some(Closed::ForLong(format!("the homeserver fails at it alone: {error}")));
    }
    None
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

async fn try_open_room(
    route: &Route,
    (target, kind): (&RoomTarget, RoomRole<'_>),
    account: &Arc<Account>,
    health: &RouteHealth,
) -> Result<Room, OpenError> {
    let alias = <&RoomAliasId>::try_from(&**target).ok();
    let before = match kind {
        RoomRole::OfMany(_) => room::joined(account).await?,
        RoomRole::Only | RoomRole::Fallback => Vec::new(),
    };
    let id = match Room::enter(account, target).await? {
        Entry::Joined(id) => id,
        Entry::Free => {
            let alias = alias.expect("only aliases are free");
            if let RoomRole::OfMany(guard) = kind {
                let too_many = |too_many| OpenError::Closed(Closed::NotMade(too_many));
                guard.new_rooms.take(alias).map_err(too_many)?;
            }
            let id = Room::create(account, alias, &route.invite).await?;
            health.metrics.rooms_made.inc();
            id
        }
    };
    let room = Room::new(Arc::clone(account), id);
    if let (RoomRole::OfMany(guard), Some(alias)) = (kind, alias) {
        guard.check(&room, alias, &before).await?;
    }
    if room.is_encrypted().await? {
        return Err(OpenError::Encrypted);
    }
    Ok(room)
}

impl Guard {
    /// Checks that a room is ours. Another one is left again, unless we were in it before: an alias of a stranger
    /// can lead to a room that is ours by another.
    async fn check(
        &self,
        room: &Room,
        alias: &RoomAliasId,
        before: &[OwnedRoomId],
    ) -> Result<(), OpenError> {
        let ownership = room.ownership().await?;
        let own = &room.account().user;
        let Some(objection) = ownership.objection(alias, own, &self.trusted) else { return Ok(()) };
        if !before.iter().any(|joined| joined == room.id()) {
            // Best effort: what matters is that nothing is posted there.
            let _ = room.leave().await;
        }
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
