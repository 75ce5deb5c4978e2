//! Enters the room of a route, and tries again for as long as that is sensible.

use std::{fmt, sync::Arc, time::Duration};

use matrix_sdk::ruma::{OwnedRoomId, OwnedUserId, RoomAliasId, RoomId};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    config::{RoomTarget, Route},
    failure::{Failure, Interrupted},
    matrix::{
        account::Account,
        error::MatrixError,
        new_rooms::{NewRooms, TooMany},
        ownership::{Objection, Ownership},
        remembered::{Meaning, Remembered},
        room::{self, Entry, NewRoom, Room, encrypted},
    },
    status::{Outage, RouteHealth, State},
};

/// The number of times a room of a route with several is tried when the homeserver fails at it and answers everything
/// else.
const ATTEMPTS: u32 = 3;

/// The longest time for which one room blocks the others of its route when the homeserver answers everything else.
const HOLD_UP: Duration = Duration::from_secs(20);

/// The number of times that a room may have been replaced, one after the other.
const MOST_REPLACEMENTS: usize = 16;

/// The role of a room in its route.
#[derive(Clone, Copy)]
pub(crate) enum RoomRole<'a> {
    /// The only room, which is waited for.
    Only,
    /// The room for messages whose own room cannot be used.
    Fallback,
    /// A room of many, which a message names; none of them blocks the others.
    OfMany(&'a Guard),
}

/// The rules for rooms that messages name.
pub(crate) struct Guard {
    /// The users who may have created a room, besides the bridge.
    pub(crate) trusted: Vec<OwnedUserId>,
    pub(crate) new_rooms: Arc<NewRooms>,
}

/// The result of an attempt to enter a room.
pub(crate) enum Opened {
    /// The bridge is in the room.
    Room(Room),
    /// The room cannot be used, and there are others that can.
    Closed(Closed),
}

/// The reason why a room cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The bridge is not let in, or the room is encrypted; somebody may change that at any moment.
    ToUs(String),
    /// The room is better left alone for a while: it is a stranger's, or the homeserver fails at it.
    ForLong(String),
    /// The room would have to be created, and too many were.
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

/// Enters a room of a route, or creates it. Waits until the bridge is let in, unless the route has other rooms.
///
/// # Errors
///
/// [`Failure::Encrypted`] for an encrypted room, [`Failure::Refused`] when the homeserver no longer accepts the login;
/// [`Interrupted::Stopping`] when the bridge is told to stop first.
pub(crate) async fn open_room(
    route: &Route,
    (target, kind): (&RoomTarget, RoomRole<'_>),
    account: &Arc<Account>,
    health: &RouteHealth,
    stop: &CancellationToken,
) -> Result<Opened, Interrupted> {
    // One room of many must not block the others.
    let may_wait = matches!(kind, RoomRole::Only);
    let mut outage = Outage::of(format!("room {target}"), health.condition());
    let mut attempt = Attempt::new(route, (target, kind), account, health);
    let mut failures = Failures::default();
    loop {
        let mut replaced = None;
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
            Err(OpenError::Refused(reason)) if !may_wait => {
                attempt.leave_unchecked().await;
                return Ok(Opened::Closed(Closed::ForLong(reason)));
            }
            Err(OpenError::Refused(reason)) => {
                let pause = outage.failed(State::RouteRefused, &reason, None);
                if timeout(pause, stop.cancelled()).await.is_ok() {
                    return Err(Interrupted::Stopping);
                }
                continue;
            }
            Err(OpenError::NotFollowed(said, error)) => {
                replaced = Some(said);
                error
            }
            Err(OpenError::Matrix(error)) => error,
        };
        if !may_wait && let Some(closed) = closed(&error, &mut failures, account).await {
            attempt.leave_unchecked().await;
            return Ok(Opened::Closed(closed));
        }
        let reason = match &error {
            MatrixError::TokenRefused(_) => account.recover(&error).await?,
            MatrixError::Forbidden(_) => {
                format!("we are not let in: invite {} ({error})", account.user)
            }
            MatrixError::NotFound(_) => {
                format!("there is no such room ({error}): correct `room` of the route")
            }
            _ => error.of_homeserver(),
        };
        let reason = match replaced {
            Some(replaced) => format!("{replaced}: {reason}"),
            None => reason,
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

/// Returns why a room is closed, if a failure concerns that room, which must not block others, and not the homeserver.
async fn closed(error: &MatrixError, failures: &mut Failures, account: &Account) -> Option<Closed> {
    if error.is_final() {
        return Some(Closed::ToUs(format!("it does not let us in: {error}")));
    }
    if !failures.are_enough(error) {
        return None;
    }
    failures.are_of_one_room(error, account).await
}

/// The failures of the homeserver at one room: their number, and the time of the first.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: u32,
    since: Option<Instant>,
}

impl Failures {
    /// Counts another failure. Returns whether it is time to check if only this room fails.
    pub(crate) fn are_enough(&mut self, error: &MatrixError) -> bool {
        self.count += 1;
        let since = *self.since.get_or_insert_with(Instant::now);
        let is_long = since.elapsed() >= HOLD_UP;
        match error {
            // The room has more state than the bridge reads, and the state will not shrink.
            MatrixError::TooLong { .. } => true,
            // The homeserver has said when it may be asked again.
            MatrixError::Limited { .. } => is_long,
            _ => is_long || self.count >= ATTEMPTS,
        }
    }

    /// Whether only this room fails, as the homeserver answers everything else.
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
    /// A room that is not the one that was meant.
    Refused(String),
    /// The room that has replaced another one does not let the bridge in.
    NotFollowed(String, MatrixError),
    Closed(Closed),
    Matrix(MatrixError),
}

impl From<MatrixError> for OpenError {
    fn from(error: MatrixError) -> Self {
        Self::Matrix(error)
    }
}

/// The repeated attempts to enter one room.
struct Attempt<'a> {
    route: &'a Route,
    target: &'a RoomTarget,
    kind: RoomRole<'a>,
    account: &'a Arc<Account>,
    health: &'a RouteHealth,
    /// The rooms that the account was in before the first attempt.
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
                if let Some(room) = self.enter_again(alias).await? {
                    return self.finish(room, None).await;
                }
                if let RoomRole::OfMany(guard) = self.kind {
                    let too_many = |too_many| OpenError::Closed(Closed::NotMade(too_many));
                    guard.new_rooms.take(alias).map_err(too_many)?;
                }
                let new = NewRoom { invite: self.route.invite.clone(), ..NewRoom::default() };
                let id = room::create(account, alias, new).await?;
                info!("made room {alias} ({id})");
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
        self.finish(room, alias).await
    }

    /// Follows a room to the one in its place, and checks that it may be posted into. `alias` is what led there.
    async fn finish(&mut self, room: Room, alias: Option<&RoomAliasId>) -> Result<Room, OpenError> {
        let room = self.follow(room).await?;
        if let (RoomRole::Only | RoomRole::Fallback, Some(alias)) = (self.kind, alias) {
            self.recognise(alias, &room).await?;
        }
        if room.is_encrypted().await? {
            return Err(OpenError::Encrypted);
        }
        Ok(room)
    }

    /// Enters the room that a free alias led to before: somebody may be about to give it the alias again.
    async fn enter_again(&self, alias: &RoomAliasId) -> Result<Option<Room>, OpenError> {
        if matches!(self.kind, RoomRole::OfMany(_)) {
            return Ok(None);
        }
        let remembered = Remembered::of(self.route, self.account.state_dir());
        let Some(before) = remembered.room_of(alias) else { return Ok(None) };
        let said = format!(
            "{alias} leads nowhere now, and led to room {} before (to have a new one made, remove {})",
            before.room,
            remembered.file()
        );
        if let Err(error) = Room::enter(self.account, (&*before.room).into()).await {
            return Err(OpenError::NotFollowed(said, error));
        }
        info!("{said}, which is posted into");
        Ok(Some(Room::new(Arc::clone(self.account), before.room)))
    }

    /// Returns the room that has replaced this one, and so on, or this one.
    async fn follow(&mut self, room: Room) -> Result<Room, OpenError> {
        let (mut room, mut seen, mut steps) = (room, Vec::new(), Vec::new());
        while let Some(replacement) = room.replacement().await? {
            seen.push(room.id().to_owned());
            let said = format!("room {} {replacement}", room.id());
            let refuse = |why: &str| Err(OpenError::Refused(format!("{said}, {why}")));
            let Some(next) = replacement.room else {
                return refuse("so give the route another one");
            };
            if seen.contains(&next) || seen.len() >= MOST_REPLACEMENTS {
                return refuse("and this does not come to an end: give the route another room");
            }
            let is_new = !room::joined(self.account).await?.contains(&next);
            if is_new && let Err(error) = Room::enter(self.account, (&*next).into()).await {
                return Err(OpenError::NotFollowed(said, error));
            }
            let next = Room::new(Arc::clone(self.account), next);
            if matches!(self.kind, RoomRole::OfMany(_)) && is_new {
                self.unchecked = Some(next.clone());
            }
            if let Some(objection) = self.objection(&room, &next).await? {
                return refuse(&format!(
                    "which {objection}: give the route that room by its id if it is right"
                ));
            }
            self.unchecked = None;
            steps.push(said);
            room = next;
        }
        for step in steps {
            info!("{step}, which is followed");
        }
        Ok(room.named_by(seen.into_iter().next()))
    }

    /// Returns the objection, if any, to posting into a room that has replaced another one.
    async fn objection(&self, room: &Room, next: &Room) -> Result<Option<Objection>, MatrixError> {
        let own = &self.account.user;
        let new = next.ownership().await?;
        let RoomRole::OfMany(guard) = self.kind else {
            let old = ownership_or_unknown(room).await?;
            return Ok(new.objection_to_replace(&old, room.id(), std::slice::from_ref(own)));
        };
        let known: Vec<_> = guard.trusted.iter().chain([own]).cloned().collect();
        // A member with some power in a room of many must not lead the bridge into one of their own.
        Ok(new.objection_to_replace(&Ownership::default(), room.id(), &known))
    }

    /// Checks that an alias leads to the room that it led to before, or to one that has replaced it, or to one that the
    /// same people have made and given the alias to; and remembers that.
    async fn recognise(&self, alias: &RoomAliasId, room: &Room) -> Result<(), OpenError> {
        let remembered = Remembered::of(self.route, self.account.state_dir());
        let before = remembered.room_of(alias);
        if before.as_ref().is_some_and(|before| before.room == room.id()) {
            return Ok(());
        }
        let ownership = ownership_or_unknown(room).await?;
        let creators: Vec<_> = ownership.creators().cloned().collect();
        if let Some(before) = before {
            let is_known =
                |user: &OwnedUserId| before.creators.contains(user) || *user == self.account.user;
            // A moderator of one room can give its alias to any other one, which those who made both know nothing of.
            let by_the_same = !creators.is_empty()
                && creators.iter().all(is_known)
                && ownership.has_alias(alias, is_known);
            if !by_the_same && !self.is_replaced_by(&before.room, room).await? {
                let by = creators.iter().map(|user| user.as_str()).collect::<Vec<_>>().join(", ");
                return Err(OpenError::Refused(format!(
                    "{alias} leads to room {} now, made by {by}, and led to room {} before, which does not say that it \
                     was replaced by that one: if it is right, remove {} to confirm it; else have the alias lead back, \
                     or write the id of the room in its place",
                    room.id(),
                    before.room,
                    remembered.file(),
                )));
            }
        }
        remembered.note(alias, Meaning { room: room.id().to_owned(), creators });
        Ok(())
    }

    /// Whether a room says, and another one confirms, that it was replaced by that.
    async fn is_replaced_by(&self, old: &RoomId, new: &Room) -> Result<bool, OpenError> {
        let mut old = Room::new(Arc::clone(self.account), old.to_owned());
        for _ in 0..MOST_REPLACEMENTS {
            let replacement = match old.replacement().await {
                // The bridge was removed from the room, which can say nothing any more.
                Err(MatrixError::Forbidden(_) | MatrixError::NotFound(_)) => return Ok(false),
                replacement => replacement?,
            };
            let Some(next) = replacement.and_then(|replacement| replacement.room) else {
                return Ok(false);
            };
            let next = Room::new(Arc::clone(self.account), next);
            match self.objection(&old, &next).await {
                Ok(None) if next.id() == new.id() => return Ok(true),
                Ok(None) => old = next,
                Ok(Some(_)) | Err(MatrixError::Forbidden(_)) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    /// Leaves a room that was not found to belong to the bridge, unless the bridge was in it before: a stranger's alias
    /// can lead to a room that belongs to the bridge under another alias.
    async fn leave_unchecked(&mut self) {
        let Some(room) = self.unchecked.take() else { return };
        let was_in = self.before.iter().flatten().any(|joined| joined == room.id());
        if !was_in && let Err(error) = room.leave().await {
            // It is enough that nothing is posted there.
            warn!("cannot leave room {}: {error}", room.id());
        }
    }
}

impl Guard {
    /// Checks that a room belongs to the bridge.
    async fn check(&self, room: &Room, alias: &RoomAliasId) -> Result<(), OpenError> {
        let ownership = room.ownership().await?;
        let own = &room.account().user;
        let Some(objection) = ownership.objection(alias, own, &self.trusted) else { return Ok(()) };
        let advice = match objection {
            Objection::Stranger(_) | Objection::Unknown => {
                "name them in `room_creators` of the route if that is right, else have the alias removed"
            }
            Objection::NotItsAlias | Objection::NotItsSuccessor => {
                "make it the main address in the room's settings if that is right, else have it removed"
            }
        };
        Err(OpenError::Closed(Closed::ForLong(format!("it {objection}: {advice}"))))
    }
}

/// Returns who owns a room. A member with some power can make its state as large as they like; then nobody is known.
async fn ownership_or_unknown(room: &Room) -> Result<Ownership, MatrixError> {
    match room.ownership().await {
        Err(MatrixError::TooLong { .. }) => Ok(Ownership::default()),
        ownership => ownership,
    }
}
