//! Declared rooms: created as declared, and brought back to it later. Changes that people made stay: other levels and
//! other members. A person who left is not invited again.

use std::{collections::HashMap, path::Path};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use matrix_sdk::ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId,
    api::client::{
        membership::{invite_user, join_room_by_id, leave_room},
        state::{get_state_events, send_state_event},
    },
    events::StateEventType,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    config::{DeclaredRoom, Post},
    failure::Failure,
    matrix::{
        Account, MatrixError, Objection, Ownership,
        room::{self, NewRoom},
    },
    message::picture_type,
};

/// The key for the hash of the declared picture, in the event with the URL of the upload.
const PICTURE_HASH: &str = "io.github.nats-matrix.sha256";

/// The power level of administrators. The bridge has this level or more, as it created the room.
const ADMIN: i64 = 100;

/// The power level for changing settings and inviting.
const MODERATOR: i64 = 50;

/// The power level of everybody else.
const EVERYONE: i64 = 0;

/// Whether changes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Make the changes.
    Apply,
    /// Only report the changes that would be made.
    DryRun,
}

/// The people who should be in a room.
pub(super) struct People {
    /// The users to invite.
    pub(super) invite: Vec<OwnedUserId>,
    /// The users who may change the room's settings.
    pub(super) admins: Vec<OwnedUserId>,
}

/// The result for one room.
pub(super) struct Done {
    pub(super) alias: OwnedRoomAliasId,
    pub(super) is_new: bool,
    /// The changed parts, such as "topic".
    pub(super) changed: Vec<String>,
    /// The failed invitations.
    pub(super) failures: Vec<Failure>,
}

/// A picture for a room.
struct Picture {
    bytes: Bytes,
    media_type: &'static str,
    hash: String,
}

/// Makes sure that a room exists as declared, or finds out what that would change.
///
/// # Errors
///
/// The errors of the homeserver and of the picture's file.
pub(super) async fn ensure(
    account: &Account,
    declared: &DeclaredRoom,
    people: &People,
    mode: Mode,
) -> Result<Done, Failure> {
    let alias = RoomAliasId::parse(format!("#{}:{}", declared.alias, account.user.server_name()))
        .map_err(|error| Failure::Config(format!("rooms.{}: {error}", declared.alias)))?;
    let picture = declared.avatar_file.as_deref().map(Picture::read).transpose()?;
    let wrong = |error: MatrixError| explain(account, &alias, &error);
    let found = room::find(account, &alias).await.map_err(wrong)?;
    let is_new = found.is_none();
    let id = match found {
        Some(id) => id,
        None if mode == Mode::DryRun => {
            return Ok(Done { alias, is_new, changed: Vec::new(), failures: Vec::new() });
        }
        None => {
            let (name, topic) = (declared.name.clone(), declared.topic.clone());
            let new = NewRoom { name, topic, ..NewRoom::default() };
            room::create(account, &alias, new).await.map_err(wrong)?
        }
    };
    let there = There::of(account, id, &people.invite, mode).await.map_err(wrong)?;
    if !declared.adopt
        && let Some(objection) = there.ownership.objection(&alias, &account.user, &people.admins)
    {
        there.leave_again().await;
        let who = match objection {
            Objection::Stranger(_) => " and is neither the bridge nor one of [users] with admin",
            Objection::Unknown | Objection::NotItsAlias | Objection::NotItsSuccessor => "",
        };
        return Err(Failure::Refused(format!(
            "room {alias}: {objection}{who}. Have the alias removed, choose another one, or set adopt = true in \
             [rooms.{}]",
            declared.alias
        )));
    }
    let mut changed = there.bring_to(declared, people, picture.as_ref()).await.map_err(wrong)?;
    let (invited, failures) = there.invite(&alias, &people.invite).await;
    changed.extend(invited);
    Ok(Done { alias, is_new, changed, failures })
}

fn explain(account: &Account, alias: &RoomAliasId, error: &MatrixError) -> Failure {
    match error {
        MatrixError::Forbidden(reason) => Failure::Refused(format!(
            "room {alias}: {} may not change it ({reason}): invite it there and give it the power level {ADMIN}",
            account.user
        )),
        MatrixError::Unreachable(_)
        | MatrixError::Untrusted(_)
        | MatrixError::TooLong { .. }
        | MatrixError::Limited { .. } => {
            Failure::Unavailable(format!("room {alias}: the homeserver {error}"))
        }
        _ => Failure::Refused(format!("room {alias}: the homeserver {error}")),
    }
}

/// An existing room, with the relevant part of its state as it was when read.
struct There<'a> {
    account: &'a Account,
    id: OwnedRoomId,
    /// The users whose membership matters.
    people: &'a [OwnedUserId],
    state: HashMap<(StateEventType, String), Value>,
    ownership: Ownership,
    /// Whether we joined the room just now.
    is_joined_now: bool,
    mode: Mode,
}

#[derive(Deserialize)]
struct StateEvent {
    #[serde(rename = "type")]
    kind: StateEventType,
    state_key: String,
    content: Value,
}

impl<'a> There<'a> {
    async fn of(
        account: &'a Account,
        id: OwnedRoomId,
        people: &'a [OwnedUserId],
        mode: Mode,
    ) -> Result<Self, MatrixError> {
        let there = Self {
            account,
            id,
            people,
            state: HashMap::new(),
            ownership: Ownership::default(),
            is_joined_now: false,
            mode,
        };
        match there.read().await {
            Ok(there) if there.is_in() || mode == Mode::DryRun => Ok(there),
            // The room is somebody else's, and we may have been invited.
            Ok(there) => there.join().await,
            Err((MatrixError::Forbidden(_), there)) if mode == Mode::Apply => there.join().await,
            Err((error, _)) => Err(error),
        }
    }

    async fn join(mut self) -> Result<Self, MatrixError> {
        let join = join_room_by_id::v3::Request::new(self.id.clone());
        self.account.request(join).await?;
        self.is_joined_now = true;
        self.read().await.map_err(|(error, _)| error)
    }

    async fn read(mut self) -> Result<Self, (MatrixError, Self)> {
        let request = get_state_events::v3::Request::new(self.id.clone());
        let account = self.account;
        let take = |event: &[u8]| self.note(event);
        match account.request_each(request, take).await {
            Ok(()) => Ok(self),
            Err(error) => Err((error, self)),
        }
    }

    /// Notes an event of the state if it matters. A room can have any number of others.
    fn note(&mut self, event: &[u8]) {
        self.ownership.note(event);
        let Ok(event) = serde_json::from_slice::<StateEvent>(event) else { return };
        let matters = match &event.kind {
            StateEventType::RoomMember => {
                let mut known = self.people.iter().chain([&self.account.user]);
                known.any(|user| user.as_str() == event.state_key)
            }
            StateEventType::RoomName
            | StateEventType::RoomTopic
            | StateEventType::RoomAvatar
            | StateEventType::RoomPowerLevels => event.state_key.is_empty(),
            _ => false,
        };
        if matters {
            self.state.insert((event.kind, event.state_key), event.content);
        }
    }

    fn is_in(&self) -> bool {
        let own = self.content(&StateEventType::RoomMember, self.account.user.as_str());
        own["membership"] == "join"
    }

    /// Leaves a room that turned out not to be ours, if we joined it just now.
    async fn leave_again(&self) {
        if self.is_joined_now {
            let leave = leave_room::v3::Request::new(self.id.clone());
            // Best effort: the error that matters is reported anyway.
            let _ = self.account.request(leave).await;
        }
    }

    /// Brings the room to its declaration, and returns the changed parts.
    async fn bring_to(
        &self,
        room: &DeclaredRoom,
        people: &People,
        picture: Option<&Picture>,
    ) -> Result<Vec<String>, MatrixError> {
        let mut changed = Vec::new();
        // Parts that are not declared are left to the people in the room.
        if let Some(name) = &room.name {
            changed.extend(self.text(StateEventType::RoomName, "name", name).await?);
        }
        if let Some(topic) = &room.topic {
            changed.extend(self.text(StateEventType::RoomTopic, "topic", topic).await?);
        }
        if let Some(picture) = picture {
            changed.extend(self.picture(picture).await?);
        }
        changed.extend(self.levels(room.post, &people.admins).await?);
        Ok(changed)
    }

    async fn text(
        &self,
        kind: StateEventType,
        key: &str,
        wanted: &str,
    ) -> Result<Option<String>, MatrixError> {
        if self.content(&kind, "")[key].as_str().unwrap_or_default() == wanted {
            return Ok(None);
        }
        self.set(kind, json!({ key: wanted })).await?;
        Ok(Some(key.to_owned()))
    }

    /// Restricts changes of settings and invitations to the bridge and administrators, and posting too with
    /// [`Post::Bridge`].
    async fn levels(
        &self,
        post: Option<Post>,
        admins: &[OwnedUserId],
    ) -> Result<Option<String>, MatrixError> {
        let present = self.content(&StateEventType::RoomPowerLevels, "");
        let mut wanted = present.clone();
        for key in ["state_default", "invite", "kick", "ban", "redact"] {
            wanted[key] = json!(MODERATOR);
        }
        // A user who can move the alias or replace the room receives the messages from the next start on. A user who
        // can switch on encryption, which nobody can switch off again, stops the posting.
        for kind in ["m.room.canonical_alias", "m.room.encryption", "m.room.tombstone"] {
            let level = present["events"][kind].as_i64().unwrap_or_default();
            wanted["events"][kind] = json!(level.max(ADMIN));
        }
        wanted["users_default"] = json!(EVERYONE);
        match post {
            Some(Post::Everyone) => wanted["events_default"] = json!(EVERYONE),
            Some(Post::Bridge) => wanted["events_default"] = json!(MODERATOR),
            None => {}
        }
        // Creators have more power than any level, and since room version 12 must not be given one.
        let is_creator = |user: &OwnedUserId| self.ownership.creators().any(|it| it == user);
        for admin in admins.iter().filter(|admin| !is_creator(admin)) {
            let level = present["users"][admin.as_str()].as_i64().unwrap_or_default();
            wanted["users"][admin.as_str()] = json!(level.max(ADMIN));
        }
        if wanted == present {
            return Ok(None);
        }
        self.set(StateEventType::RoomPowerLevels, wanted).await?;
        Ok(Some("power levels".to_owned()))
    }

    /// Invites those who were never in the room; those who left or were removed stay out. Returns the invitations and
    /// the failures.
    async fn invite(
        &self,
        alias: &RoomAliasId,
        people: &[OwnedUserId],
    ) -> (Vec<String>, Vec<Failure>) {
        let (mut invited, mut failures) = (Vec::new(), Vec::new());
        for user in people {
            if !self.content(&StateEventType::RoomMember, user.as_str()).is_null() {
                continue;
            }
            if self.mode == Mode::Apply {
                let recipient = invite_user::v3::InviteUserId::new(user.clone()).into();
                let request = invite_user::v3::Request::new(self.id.clone(), recipient);
                if let Err(error) = self.account.request(request).await {
                    let what =
                        format!("room {alias}: cannot invite {user}: the homeserver {error}");
                    failures.push(Failure::Refused(what));
                    continue;
                }
            }
            invited.push(format!("invitation of {user}"));
        }
        (invited, failures)
    }

    /// Uploads the picture if the room shows another one.
    async fn picture(&self, picture: &Picture) -> Result<Option<String>, MatrixError> {
        let present = self.content(&StateEventType::RoomAvatar, "");
        if present[PICTURE_HASH] == picture.hash.as_str() {
            return Ok(None);
        }
        if self.mode == Mode::Apply {
            let bytes = picture.bytes.clone();
            let url = room::upload(self.account, bytes, picture.media_type, None).await?;
            let content = json!({ "url": url, PICTURE_HASH: picture.hash });
            self.set(StateEventType::RoomAvatar, content).await?;
        }
        Ok(Some("avatar".to_owned()))
    }

    /// Returns the content of a state event; null if there is none.
    fn content(&self, kind: &StateEventType, key: &str) -> Value {
        self.state.get(&(kind.clone(), key.to_owned())).cloned().unwrap_or_default()
    }

    async fn set(&self, kind: StateEventType, content: Value) -> Result<(), MatrixError> {
        if self.mode == Mode::DryRun {
            return Ok(());
        }
        let body = serde_json::value::to_raw_value(&content).expect("a Value is valid JSON");
        let request = send_state_event::v3::Request::new_raw(
            self.id.clone(),
            kind,
            String::new(),
            Raw::from_json(body),
        );
        self.account.request(request).await.map(drop)
    }
}

impl Picture {
    fn read(path: &Path) -> Result<Self, Failure> {
        let wrong =
            |what: &str| Failure::Config(format!("avatar_file: {}: {what}", path.display()));
        let bytes =
            std::fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let media_type = picture_type(&bytes).ok_or_else(|| {
            wrong("is not a picture that phones show: use a PNG, JPEG, GIF or WebP")
        })?;
        let hash = HEXLOWER.encode(&Sha256::digest(&bytes));
        Ok(Self { bytes: bytes.into(), media_type, hash })
    }
}
