//! Getting into a room with patience.

use std::sync::Arc;

use matrix_sdk::ruma::RoomAliasId;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::{RoomTarget, Route},
    failure::Failure,
    health::{RouteHealth, State},
    matrix::{Account, LoginError, MatrixError},
    retry::Outage,
    room::{Entry, Room},
};

/// How an attempt to get into a room ended.
pub(crate) enum Opened {
    /// We are in.
    Room(Room),
    /// It does not let us in, and there are others that do.
    Closed(String),
    /// We were told to stop first.
    Stopped,
}

/// Enters a room of a route, or makes it; waits as long as we are not let in, unless the route has others.
///
/// # Errors
///
/// [`Failure::Config`] for an encrypted room, [`Failure::Refused`] when the homeserver no longer
/// accepts our login.
pub(crate) async fn open_room(
    route: &Route,
    target: &RoomTarget,
    account: &Arc<Account>,
    health: &RouteHealth,
    stop: &CancellationToken,
) -> Result<Opened, Failure> {
    // One of many must not hold the others up.
    let may_wait = route.rooms.one().is_some();
    let mut outage = Outage::of(format!("route {}: room {target}", route.name), health.spot());
    loop {
        let error = match try_open_room(route, target, account).await {
            Ok(room) => {
                outage.over();
                info!("route {}: posting into {target} as {}", route.name, account.user);
                return Ok(Opened::Room(room));
            }
            Err(OpenError::Encrypted) if !may_wait => {
                return Ok(Opened::Closed(format!("room {target} is encrypted")));
            }
            Err(OpenError::Encrypted) => {
                return Err(Failure::Config(format!(
                    "route {}: room {target} is encrypted, and the bridge posts without encryption: make a room without it",
                    route.name
                )));
            }
            Err(OpenError::Matrix(error)) => error,
        };
        if !may_wait && error.is_final() {
            return Ok(Opened::Closed(format!("room {target} does not let us in: {error}")));
        }
        let reason = match &error {
            MatrixError::TokenRefused(_) => match account.renew().await {
                Err(LoginError::Final(failure)) => return Err(failure),
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
            return Ok(Opened::Stopped);
        }
    }
}

enum OpenError {
    Encrypted,
    Matrix(MatrixError),
}

impl From<MatrixError> for OpenError {
    fn from(error: MatrixError) -> Self {
        Self::Matrix(error)
    }
}

async fn try_open_room(
    route: &Route,
    target: &RoomTarget,
    account: &Arc<Account>,
) -> Result<Room, OpenError> {
    let id = match Room::enter(account, target).await? {
        Entry::Joined(id) => id,
        Entry::Free => {
            let alias = <&RoomAliasId>::try_from(&**target).expect("only aliases are free");
            Room::create(account, alias, &route.invite).await?
        }
    };
    let room = Room::new(Arc::clone(account), id);
    if room.is_encrypted().await? {
        return Err(OpenError::Encrypted);
    }
    Ok(room)
}
