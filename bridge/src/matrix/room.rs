//! A room: joining it, posting into it, and reading what is there.
//!
//! Each function here makes one attempt; `pipeline::sender` and `join` try again. Nothing is synced here,
//! but asked for where it is needed, which keeps the bridge small however large the room is. [`sync`](super::sync) hears
//! what people answer.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use matrix_sdk::ruma::{
    EventId, OwnedEventId, OwnedMxcUri, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomAliasId,
    RoomId, RoomOrAliasId, UInt, UserId,
    api::{
        Direction,
        client::{
            alias::get_alias,
            filter::RoomEventFilter,
            media::create_content,
            membership::{join_room_by_id_or_alias, joined_rooms, leave_room},
            message::{get_message_events, send_message_event},
            room::{Visibility, create_room, get_room_event},
            state::{get_state_event_for_key, get_state_events},
        },
    },
    events::{AnyTimelineEvent, MessageLikeEventType, StateEventType, TimelineEventType},
    serde::Raw,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    matrix::{
        account::Account,
        error::MatrixError,
        ownership::{self, Ownership},
    },
    message::{
        Attachment, Mark, Origin, Position, Removal, StreamId,
        origin::{ANEW, ORIGIN_KEY},
    },
};

/// The difference between the clocks of NATS and of the homeserver that is allowed for when the room is searched for
/// earlier posts.
const CLOCK_SKEW: Duration = Duration::from_mins(15);

/// The number of events that are asked for at a time when the room is searched.
const PAGE: u32 = 100;

/// The number of pages that are read before the homeserver is assumed to return the same ones for ever: 2 million
/// events.
const MOST_PAGES: u32 = 20_000;

/// The time for which a room that was neither encrypted nor replaced is assumed not to be. A member with the power to
/// change settings can do either at any time.
const USABLE: Duration = Duration::from_secs(15);

/// A room that the bridge has joined.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    account: Arc<Account>,
    id: OwnedRoomId,
    /// The room that the name led to, if this one has replaced it.
    named: Option<OwnedRoomId>,
    /// The time when the room was last seen to be neither encrypted nor replaced.
    usable: Arc<Mutex<Option<Instant>>>,
}

/// Whether the bridge may post in a room, and what keeps it from that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Membership {
    /// The bridge may post.
    MayPost,
    /// The bridge is not in the room.
    NotJoined,
    /// The bridge's power level does not suffice.
    NoPower {
        /// The bridge's level.
        have: i64,
        /// The level that sending messages needs.
        need: i64,
    },
}

/// The progress of a route in a room.
#[derive(Debug, Clone)]
pub(crate) struct LastPosted {
    /// The origin of the route's latest event.
    pub(crate) origin: Origin,
    /// The events that show the message of that origin.
    pub(crate) events: BTreeMap<Position, OwnedEventId>,
}

/// The result of trying to enter a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The bridge is in the room.
    Joined(OwnedRoomId),
    /// The alias is free and on the bridge's own server.
    Free,
}

/// The room that has replaced another one; `None` if the other one is only closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replacement {
    pub(crate) room: Option<OwnedRoomId>,
}

impl Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.room {
            Some(room) => write!(f, "was replaced by {room}"),
            None => f.write_str("was closed for good, and names no room in its place"),
        }
    }
}

/// Returns the rooms that the account has joined.
pub(crate) async fn joined(account: &Account) -> Result<Vec<OwnedRoomId>, MatrixError> {
    let request = joined_rooms::v3::Request::new();
    Ok(account.request(request).await?.joined_rooms)
}

/// Returns the room that an id or alias leads to, if there is one.
pub(crate) async fn resolve(
    account: &Account,
    target: &RoomOrAliasId,
) -> Result<Option<OwnedRoomId>, MatrixError> {
    match <&RoomAliasId>::try_from(target) {
        Ok(alias) => find(account, alias).await,
        Err(_) => Ok(<&RoomId>::try_from(target).ok().map(ToOwned::to_owned)),
    }
}

/// Returns the room that an alias names; `None` if the homeserver knows no such alias.
pub(crate) async fn find(
    account: &Account,
    alias: &RoomAliasId,
) -> Result<Option<OwnedRoomId>, MatrixError> {
    match account.request(get_alias::v3::Request::new(alias.to_owned())).await {
        Ok(found) => Ok(Some(found.room_id)),
        Err(MatrixError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The properties of a room that is to be created.
#[derive(Debug, Default)]
pub(crate) struct NewRoom {
    /// The name; by default that of the alias.
    pub(crate) name: Option<String>,
    pub(crate) topic: Option<String>,
    pub(crate) invite: Vec<OwnedUserId>,
}

/// Creates a private room with a free alias of the account's own server.
pub(crate) async fn create(
    account: &Account,
    alias: &RoomAliasId,
    new: NewRoom,
) -> Result<OwnedRoomId, MatrixError> {
    let mut request = create_room::v3::Request::new();
    request.room_alias_name = Some(alias.alias().to_owned());
    request.name = new.name.or_else(|| Some(alias.alias().to_owned()));
    request.topic = new.topic;
    request.preset = Some(create_room::v3::RoomPreset::PrivateChat);
    request.visibility = Visibility::Private;
    request.invite = new.invite;
    Ok(account.request(request).await?.room_id)
}

/// Uploads a file, which nobody sees until an event refers to it.
pub(crate) async fn upload(
    account: &Account,
    bytes: Bytes,
    media_type: &str,
    name: Option<&str>,
) -> Result<OwnedMxcUri, MatrixError> {
    let mut request = create_content::v3::Request::new(Vec::new());
    request.filename = name.map(str::to_owned);
    request.content_type = Some(media_type.to_owned());
    Ok(account.request_with(request, bytes).await?.content_uri)
}

/// Returns the message that a room is encrypted, and what to do.
pub(crate) fn encrypted(room: impl Display) -> String {
    format!(
        "room {room} is encrypted, which cannot be undone, and the bridge posts without encryption: give the route \
         another room"
    )
}

impl Room {
    /// Joins the room if the bridge is invited or the room is public. Joining a room twice does no harm.
    pub(crate) async fn enter(
        account: &Account,
        target: &RoomOrAliasId,
    ) -> Result<Entry, MatrixError> {
        let request = join_room_by_id_or_alias::v3::Request::new(target.to_owned());
        match account.request(request).await {
            Ok(joined) => Ok(Entry::Joined(joined.room_id)),
            Err(MatrixError::NotFound(_)) if is_ours(account, target) => Ok(Entry::Free),
            Err(error @ MatrixError::Unreachable(_)) if is_ours(account, target) => {
                // Dendrite answers with status 500 for an alias that does not exist.
                let Ok(alias) = <&RoomAliasId>::try_from(target) else { return Err(error) };
                let is_free = find(account, alias).await?.is_none();
                if is_free { Ok(Entry::Free) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Creates a handle for a room that was entered.
    pub(crate) fn new(account: Arc<Account>, id: OwnedRoomId) -> Self {
        Self { account, id, named: None, usable: Arc::default() }
    }

    /// Notes the room that the name leads to, if this one has replaced it.
    pub(crate) fn named_by(self, named: Option<OwnedRoomId>) -> Self {
        Self { named, ..self }
    }

    /// Returns the room's id.
    pub(crate) fn id(&self) -> &RoomId {
        &self.id
    }

    /// Returns the account that posts.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Posts one message with its origin. An event that the homeserver already has under the same
    /// transaction id is not posted again.
    pub(crate) async fn send(
        &self,
        origin: &Origin,
        mut content: Value,
    ) -> Result<OwnedEventId, MatrixError> {
        content[ORIGIN_KEY] = json!(origin);
        self.send_as(origin.transaction_id(&self.id), &content).await
    }

    /// Posts the content of a message. An event that the homeserver already has under the same transaction id is not
    /// posted again.
    pub(crate) async fn send_as(
        &self,
        transaction: OwnedTransactionId,
        content: &Value,
    ) -> Result<OwnedEventId, MatrixError> {
        self.send_event(MessageLikeEventType::RoomMessage, transaction, content).await
    }

    async fn send_event(
        &self,
        kind: MessageLikeEventType,
        transaction: OwnedTransactionId,
        content: &Value,
    ) -> Result<OwnedEventId, MatrixError> {
        self.expect_usable().await?;
        let body = serde_json::value::to_raw_value(content).expect("a Value is valid JSON");
        let request = send_message_event::v3::Request::new_raw(
            self.id.clone(),
            transaction,
            kind,
            Raw::from_json(body),
        );
        Ok(self.account.request(request).await?.event_id)
    }

    /// Puts a reaction on an event.
    pub(crate) async fn react(
        &self,
        transaction: OwnedTransactionId,
        event: &EventId,
        reaction: &str,
    ) -> Result<OwnedEventId, MatrixError> {
        let relation = json!({ "rel_type": "m.annotation", "event_id": event, "key": reaction });
        let content = json!({ "m.relates_to": relation });
        self.send_event(MessageLikeEventType::Reaction, transaction, &content).await
    }

    /// Uploads a file, which nobody sees until a message refers to it.
    pub(crate) async fn upload(
        &self,
        file: &Attachment,
        name: &str,
    ) -> Result<OwnedMxcUri, MatrixError> {
        self.expect_usable().await?;
        // The bytes are sent exactly as they came from NATS.
        upload(&self.account, file.bytes.clone(), file.media_type, Some(name)).await
    }

    /// Returns the latest of a route's events in the room that can show a message published at `published` or later.
    /// `went_on` is called after each page, as others may have written any number of events since.
    pub(crate) async fn last_posted(
        &self,
        stream: &StreamId,
        route: &str,
        published: Timestamp,
        went_on: impl Fn(),
    ) -> Result<Option<LastPosted>, MatrixError> {
        let mut reached: Option<LastPosted> = None;
        let find = |events: Vec<Posted>| {
            LastPosted::note_all(&mut reached, events, stream, route);
            // The first part of a message may be on the page before that of its last part.
            reached.as_ref().is_some_and(LastPosted::is_whole)
        };
        self.look_back(published, went_on, find).await?;
        Ok(reached)
    }

    /// Whether a summary is in the room.
    pub(crate) async fn has_summary(&self, mark: &Mark) -> Result<bool, MatrixError> {
        let is_it = |event: &Posted| event.content.summary.as_ref() == Some(mark);
        self.look_back(mark.until, || {}, |events| events.iter().any(is_it)).await
    }

    /// Whether the room has an event that reports these removed messages, posted after `since`.
    pub(crate) async fn has_removal(
        &self,
        removal: &Removal,
        since: Timestamp,
    ) -> Result<bool, MatrixError> {
        let is_it = |event: &Posted| event.content.removed.as_ref() == Some(removal);
        self.look_back(since, || {}, |events| events.iter().any(is_it)).await
    }

    /// Reads the account's own latest events, page by page, until `find` has found enough or they are all older than
    /// `oldest`. Returns whether `find` has.
    async fn look_back(
        &self,
        oldest: Timestamp,
        went_on: impl Fn(),
        mut find: impl FnMut(Vec<Posted>) -> bool,
    ) -> Result<bool, MatrixError> {
        let oldest_of_interest = oldest.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
        let oldest_of_interest = oldest_of_interest.as_millisecond();
        let mut filter = self.own_messages();
        let (mut from, mut limit) = (None, PAGE);
        for _ in 0..MOST_PAGES {
            let mut request =
                get_message_events::v3::Request::new(self.id.clone(), Direction::Backward);
            request.limit = UInt::from(limit);
            request.filter = filter.clone();
            request.from.clone_from(&from);
            let page = match self.account.request(request).await {
                // Anybody in the room can write events of 64 kB, and not every homeserver applies the filter.
                Err(MatrixError::TooLong { .. }) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                page => page?,
            };
            if page.chunk.is_empty() && !filter.is_empty() {
                // Dendrite filters a page only after it has read it. If nothing is left of the page, it reports, as
                // others do at the beginning of the room, that there is no more.
                filter = RoomEventFilter::default();
                continue;
            }
            // Not every homeserver applies the filter. Events of others cannot be relied on: anybody can write an
            // origin into one, and other homeservers and application services give them any time.
            let is_own = |event: &Posted| event.sender == self.account.user;
            let events: Vec<Posted> = posted(&page.chunk).filter(is_own).collect();
            let all_older =
                events.last().is_some_and(|event| event.origin_server_ts < oldest_of_interest);
            let found = find(events);
            let is_end = page.chunk.is_empty() || page.end.is_none() || page.end == from;
            if found || all_older || is_end {
                return Ok(found);
            }
            from = page.end;
            went_on();
        }
        Err(MatrixError::Unreachable(format!(
            "has given {MOST_PAGES} pages of room {} without an end to it",
            self.id
        )))
    }

    /// Whether a message of the bridge is in the room with its text. It is not after somebody has removed it, and never
    /// was if its id was made up.
    pub(crate) async fn shows(&self, event: &EventId) -> Result<bool, MatrixError> {
        let is_shown = |event: &RoomEvent| {
            event.sender == self.account.user && event.content["body"].is_string()
        };
        Ok(self.event(event).await?.as_ref().is_some_and(is_shown))
    }

    /// Returns an event of the room, if there is one with this id. One that somebody has removed has no content.
    pub(crate) async fn event(&self, event: &EventId) -> Result<Option<RoomEvent>, MatrixError> {
        let request = get_room_event::v3::Request::new(self.id.clone(), event.to_owned());
        match self.account.request(request).await {
            Ok(answer) => {
                let found = answer.event.deserialize_as_unchecked::<RoomEvent>().ok();
                let is_here =
                    |event: &RoomEvent| event.room_id.as_ref().is_none_or(|room| *room == self.id);
                Ok(found.filter(is_here))
            }
            Err(MatrixError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn own_messages(&self) -> RoomEventFilter {
        let mut filter = RoomEventFilter::default();
        filter.senders = Some(vec![self.account.user.clone()]);
        filter.types = Some(vec![TimelineEventType::RoomMessage.to_string()]);
        filter
    }

    /// Returns whether the bridge may post here, and what keeps it from that.
    pub(crate) async fn standing(&self) -> Result<Membership, MatrixError> {
        if !joined(&self.account).await?.contains(&self.id) {
            return Ok(Membership::NotJoined);
        }
        self.standing_for("m.room.message").await
    }

    /// Returns whether the bridge, which is in the room, may send events of a type, and what keeps it from that.
    pub(crate) async fn standing_for(&self, kind: &str) -> Result<Membership, MatrixError> {
        let levels = self.levels().await?;
        let need = levels.needed_for(kind);
        let have = levels.of(&self.account.user);
        if have >= need || self.gives_all_power_to(&self.account.user).await? {
            return Ok(Membership::MayPost);
        }
        Ok(Membership::NoPower { have, need })
    }

    /// Whether a user has at least this power level.
    pub(crate) async fn has_power(&self, user: &UserId, need: i64) -> Result<bool, MatrixError> {
        Ok(self.levels().await?.of(user) >= need || self.gives_all_power_to(user).await?)
    }

    async fn levels(&self) -> Result<PowerLevels, MatrixError> {
        let levels = self.state(StateEventType::RoomPowerLevels).await?;
        Ok(PowerLevels(levels.unwrap_or_default()))
    }

    /// Whether a user has all power, as the creators of a room have in newer room versions. The whole state is read
    /// only where it can matter: a member with some power can make it as large as they like.
    async fn gives_all_power_to(&self, user: &UserId) -> Result<bool, MatrixError> {
        let created = self.state(StateEventType::RoomCreate).await?;
        let version = created.as_ref().and_then(|content| content["room_version"].as_str());
        if !version.is_some_and(ownership::privileges_creators) {
            return Ok(false);
        }
        Ok(self.ownership().await?.gives_all_power_to(user))
    }

    /// Returns who owns the room. The creator is not in the content of an event, so the room's whole state is read.
    pub(crate) async fn ownership(&self) -> Result<Ownership, MatrixError> {
        let request = get_state_events::v3::Request::new(self.id.clone());
        let mut ownership = Ownership::default();
        self.account.request_each(request, |event: &[u8]| ownership.note(event)).await?;
        Ok(ownership)
    }

    /// Leaves the room.
    pub(crate) async fn leave(&self) -> Result<(), MatrixError> {
        let request = leave_room::v3::Request::new(self.id.clone());
        self.account.request(request).await.map(drop)
    }

    /// Whether the room is encrypted, so that plain messages do not belong there.
    pub(crate) async fn is_encrypted(&self) -> Result<bool, MatrixError> {
        Ok(self.state(StateEventType::RoomEncryption).await?.is_some())
    }

    /// Returns the room that has replaced this one, if one has.
    pub(crate) async fn replacement(&self) -> Result<Option<Replacement>, MatrixError> {
        let tombstone = self.state(StateEventType::RoomTombstone).await?;
        Ok(tombstone.map(|content| {
            let room = content["replacement_room"].as_str();
            Replacement { room: room.and_then(|room| room.try_into().ok()) }
        }))
    }

    /// Whether the room is replaced, or its alias leads to another one.
    pub(crate) async fn has_moved(&self, target: &RoomOrAliasId) -> Result<bool, MatrixError> {
        // An account that was removed from the room cannot read its state.
        match self.replacement().await {
            Ok(Some(_)) => return Ok(true),
            Ok(None) | Err(MatrixError::Forbidden(_)) => {}
            Err(error) => return Err(error),
        }
        let Ok(alias) = <&RoomAliasId>::try_from(target) else { return Ok(false) };
        let leads_to = find(&self.account, alias).await?;
        let here = self.named.as_ref().unwrap_or(&self.id);
        Ok(leads_to.is_some_and(|room| room != *here && room != self.id))
    }

    /// Makes sure that the room was neither encrypted nor replaced a moment ago. Everything posted into the room passes
    /// this check.
    async fn expect_usable(&self) -> Result<(), MatrixError> {
        if self.usable().is_some_and(|seen| seen.elapsed() < USABLE) {
            return Ok(());
        }
        let asked = Instant::now();
        if self.is_encrypted().await? {
            return Err(MatrixError::Encrypted(encrypted(&self.id)));
        }
        if let Some(replacement) = self.replacement().await? {
            return Err(MatrixError::Replaced(format!("room {} {replacement}", self.id)));
        }
        *self.usable() = Some(asked);
        Ok(())
    }

    fn usable(&self) -> MutexGuard<'_, Option<Instant>> {
        self.usable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a user is in the room, or invited.
    pub(crate) async fn has(&self, user: &UserId) -> Result<bool, MatrixError> {
        let member = self.state_of(StateEventType::RoomMember, user.as_str()).await?;
        let membership = member.as_ref().and_then(|member| member["membership"].as_str());
        Ok(matches!(membership, Some("join" | "invite")))
    }

    async fn state(&self, kind: StateEventType) -> Result<Option<Value>, MatrixError> {
        self.state_of(kind, "").await
    }

    async fn state_of(
        &self,
        kind: StateEventType,
        key: &str,
    ) -> Result<Option<Value>, MatrixError> {
        let request =
            get_state_event_for_key::v3::Request::new(self.id.clone(), kind, key.to_owned());
        match self.account.request(request).await {
            Ok(answer) => Ok(serde_json::from_str(answer.into_content().json().get()).ok()),
            Err(MatrixError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The content of `m.room.power_levels`.
struct PowerLevels(Value);

impl PowerLevels {
    /// The level that sending events of a type needs.
    fn needed_for(&self, kind: &str) -> i64 {
        let Self(levels) = self;
        level(&levels["events"][kind]).or_else(|| level(&levels["events_default"])).unwrap_or(0)
    }

    fn of(&self, user: &UserId) -> i64 {
        let Self(levels) = self;
        let own = level(&levels["users"][user.as_str()]);
        own.or_else(|| level(&levels["users_default"])).unwrap_or(0)
    }
}

/// Returns a power level, which older rooms may have as text.
fn level(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

impl LastPosted {
    fn note_all(reached: &mut Option<Self>, events: Vec<Posted>, stream: &StreamId, route: &str) {
        let ours = events
            .into_iter()
            .filter_map(|event| Some((event.content.origin?, event.event_id)))
            .filter(|(origin, _)| origin.is_of(stream) && origin.route == route);
        for (origin, event) in ours {
            Self::note(reached, origin, event);
        }
    }

    fn note(reached: &mut Option<Self>, origin: Origin, event: OwnedEventId) {
        // By time first: a stream that lost messages assigns their numbers again.
        let order = |origin: &Origin| (origin.published(), origin.position);
        let message = |origin: &Origin| (origin.published(), origin.position.sequence);
        let (events, is_last) = match reached {
            Some(known) if message(&known.origin) > message(&origin) => return,
            Some(known) if message(&known.origin) == message(&origin) => {
                (std::mem::take(&mut known.events), order(&origin) > order(&known.origin))
            }
            _ => (BTreeMap::new(), true),
        };
        let mut events = events;
        events.insert(origin.position, event);
        match reached {
            Some(known) if !is_last => known.events = events,
            _ => *reached = Some(Self { origin, events }),
        }
    }

    fn is_whole(&self) -> bool {
        self.origin.digest.is_some()
            || self.events.keys().any(|position| matches!(position.part, 0 | ANEW))
    }
}

/// An event of a room, as far as it matters who has sent it and what it says.
#[derive(Debug, Deserialize)]
pub(crate) struct RoomEvent {
    pub(crate) sender: OwnedUserId,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    room_id: Option<OwnedRoomId>,
    pub(crate) content: Value,
}

/// The fields of an event that say where it comes from.
#[derive(Deserialize)]
struct Posted {
    event_id: OwnedEventId,
    sender: OwnedUserId,
    origin_server_ts: i64,
    content: PostedContent,
}

#[derive(Deserialize)]
struct PostedContent {
    #[serde(rename = "io.github.nats-matrix.origin")]
    origin: Option<Origin>,
    // Another program with this account may write anything there.
    #[serde(default, rename = "io.github.nats-matrix.summary", deserialize_with = "lenient")]
    summary: Option<Mark>,
    #[serde(default, rename = "io.github.nats-matrix.removed", deserialize_with = "lenient")]
    removed: Option<Removal>,
}

/// Returns the events of a page that could be messages of the bridge.
fn posted(page: &[Raw<AnyTimelineEvent>]) -> impl Iterator<Item = Posted> {
    page.iter().filter_map(|event| event.deserialize_as_unchecked().ok())
}

/// Returns how far a route has come according to a page of events.
#[cfg(feature = "fuzzing")]
pub(crate) fn reached_in(
    page: &[Raw<AnyTimelineEvent>],
    stream: &StreamId,
    route: &str,
) -> Option<LastPosted> {
    let mut reached = None;
    LastPosted::note_all(&mut reached, posted(page).collect(), stream, route);
    reached
}

fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Value::deserialize(deserializer).map(|mark| serde_json::from_value(mark).ok())
}

/// Whether a target is an alias for which the bridge may create a room.
pub(crate) fn is_ours(account: &Account, target: &RoomOrAliasId) -> bool {
    target.is_room_alias_id() && target.server_name() == Some(account.user.server_name())
}
