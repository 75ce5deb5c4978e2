//! Rooms: made as declared, and brought to it again. What a person added stays: other levels, other members;
//! and who left is not invited again.

use std::{collections::HashMap, path::Path};

use data_encoding::HEXLOWER;
use matrix_sdk::ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId,
    api::client::{
        alias::get_alias,
        media::create_content,
        membership::{invite_user, join_room_by_id},
        room::{Visibility, create_room},
        state::{get_state_events, send_state_event},
    },
    events::StateEventType,
    serde::Raw,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Mode;
use crate::{
    config::{DeclaredRoom, Post},
    failure::Failure,
    matrix::{Account, MatrixError},
};

/// Where the hash of the declared picture is kept, beside the address of its upload.
const PICTURE_HASH: &str = "io.github.nats-matrix.sha256";
/// The level of admins; the bridge has it or more, as it made the room.
const ADMIN: i64 = 100;
/// The level that changes settings and invites.
const MODERATOR: i64 = 50;
/// Everybody's level.
const EVERYONE: i64 = 0;

/// Who is to be in a room.
pub(super) struct People {
    /// Who is invited.
    pub(super) invite: Vec<OwnedUserId>,
    /// Who may change its settings.
    pub(super) admins: Vec<OwnedUserId>,
}

/// What came of it.
pub(super) struct Done {
    pub(super) alias: OwnedRoomAliasId,
    pub(super) is_new: bool,
    /// Such as "topic".
    pub(super) changed: Vec<String>,
}

/// A picture for a room.
struct Picture {
    bytes: Vec<u8>,
    media_type: &'static str,
    hash: String,
}

/// Sees to it that there is such a room, or tells what that would change.
///
/// # Errors
///
/// As the homeserver and the file of the picture say.
pub(super) async fn ensure(
    account: &Account,
    room: &DeclaredRoom,
    people: &People,
    mode: Mode,
) -> Result<Done, Failure> {
    let alias = RoomAliasId::parse(format!("#{}:{}", room.alias, account.user.server_name()))
        .map_err(|error| Failure::Config(format!("rooms.{}: {error}", room.alias)))?;
    let picture = room.avatar_file.as_deref().map(Picture::read).transpose()?;
    let wrong = |error: MatrixError| explain(account, &alias, &error);
    let Some(id) = find(account, &alias).await.map_err(wrong)? else {
        if mode == Mode::Apply {
            let id = create(account, room, &alias, people).await.map_err(wrong)?;
            let there = There::of(account, id, mode).await.map_err(wrong)?;
            there.bring_to(room, people, picture.as_ref()).await.map_err(wrong)?;
        }
        return Ok(Done { alias, is_new: true, changed: Vec::new() });
    };
    let there = There::of(account, id, mode).await.map_err(wrong)?;
    let changed = there.bring_to(room, people, picture.as_ref()).await.map_err(wrong)?;
    Ok(Done { alias, is_new: false, changed })
}

fn explain(account: &Account, alias: &RoomAliasId, error: &MatrixError) -> Failure {
    match error {
        MatrixError::Forbidden(reason) => Failure::Refused(format!(
            "room {alias}: {} may not change it ({reason}): invite it there and give it the power level {ADMIN}",
            account.user
        )),
        other => Failure::Unavailable(format!("room {alias}: {other}")),
    }
}

async fn find(account: &Account, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, MatrixError> {
    let request = get_alias::v3::Request::new(alias.to_owned());
    match account.request(|client| client.send(request)).await {
        Ok(found) => Ok(Some(found.room_id)),
        Err(MatrixError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn create(
    account: &Account,
    room: &DeclaredRoom,
    alias: &RoomAliasId,
    people: &People,
) -> Result<OwnedRoomId, MatrixError> {
    let mut request = create_room::v3::Request::new();
    request.room_alias_name = Some(alias.alias().to_owned());
    request.name = Some(room.name.clone());
    request.topic.clone_from(&room.topic);
    request.preset = Some(create_room::v3::RoomPreset::PrivateChat);
    request.visibility = Visibility::Private;
    request.invite.clone_from(&people.invite);
    Ok(account.request(|client| client.send(request)).await?.room_id)
}

/// A room that is there, with its state as it was when we looked.
struct There<'a> {
    account: &'a Account,
    id: OwnedRoomId,
    state: HashMap<(String, String), Value>,
    mode: Mode,
}

#[derive(Deserialize)]
struct StateEvent {
    #[serde(rename = "type")]
    kind: String,
    state_key: String,
    content: Value,
}

impl<'a> There<'a> {
    async fn of(account: &'a Account, id: OwnedRoomId, mode: Mode) -> Result<Self, MatrixError> {
        let request = || get_state_events::v3::Request::new(id.clone());
        let answer = match account.request(|client| client.send(request())).await {
            // Somebody else's room, into which we may be invited.
            Err(MatrixError::Forbidden(_)) if mode == Mode::Apply => {
                let join = join_room_by_id::v3::Request::new(id.clone());
                account.request(|client| client.send(join)).await?;
                account.request(|client| client.send(request())).await?
            }
            answer => answer?,
        };
        let events = answer.room_state.iter();
        let state = events
            .filter_map(|event| event.deserialize_as_unchecked::<StateEvent>().ok())
            .map(|event| ((event.kind, event.state_key), event.content))
            .collect();
        Ok(Self { account, id, state, mode })
    }

    /// What had to be changed.
    async fn bring_to(
        &self,
        room: &DeclaredRoom,
        people: &People,
        picture: Option<&Picture>,
    ) -> Result<Vec<String>, MatrixError> {
        let mut changed = Vec::new();
        changed.extend(self.text(StateEventType::RoomName, "name", &room.name).await?);
        // What is not declared is whoever's it is.
        if let Some(topic) = &room.topic {
            changed.extend(self.text(StateEventType::RoomTopic, "topic", topic).await?);
        }
        if let Some(picture) = picture {
            changed.extend(self.picture(picture).await?);
        }
        changed.extend(self.levels(room.post, &people.admins).await?);
        changed.extend(self.invite(&people.invite).await?);
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

    /// Only the bridge and admins change settings and invite; and write, if others are to read.
    async fn levels(
        &self,
        post: Post,
        admins: &[OwnedUserId],
    ) -> Result<Option<String>, MatrixError> {
        let present = self.content(&StateEventType::RoomPowerLevels, "");
        let mut wanted = present.clone();
        for key in ["state_default", "invite", "kick", "ban", "redact"] {
            wanted[key] = json!(MODERATOR);
        }
        wanted["users_default"] = json!(EVERYONE);
        wanted["events_default"] = json!(match post {
            Post::Everyone => EVERYONE,
            Post::Bridge => MODERATOR,
        });
        for admin in admins {
            let level = present["users"][admin.as_str()].as_i64().unwrap_or_default();
            wanted["users"][admin.as_str()] = json!(level.max(ADMIN));
        }
        if wanted == present {
            return Ok(None);
        }
        self.set(StateEventType::RoomPowerLevels, wanted).await?;
        Ok(Some("power levels".to_owned()))
    }

    /// Invites who never was; who left or was sent away stays so.
    async fn invite(&self, people: &[OwnedUserId]) -> Result<Vec<String>, MatrixError> {
        let mut invited = Vec::new();
        for user in people {
            if !self.content(&StateEventType::RoomMember, user.as_str()).is_null() {
                continue;
            }
            if self.mode == Mode::Apply {
                let recipient = invite_user::v3::InviteUserId::new(user.clone()).into();
                let request = invite_user::v3::Request::new(self.id.clone(), recipient);
                self.account.request(|client| client.send(request)).await?;
            }
            invited.push(format!("invitation of {user}"));
        }
        Ok(invited)
    }

    /// Uploads the picture if it is another one than the room shows.
    async fn picture(&self, picture: &Picture) -> Result<Option<String>, MatrixError> {
        let present = self.content(&StateEventType::RoomAvatar, "");
        if present[PICTURE_HASH] == picture.hash.as_str() {
            return Ok(None);
        }
        if self.mode == Mode::Apply {
            let mut request = create_content::v3::Request::new(picture.bytes.clone());
            request.content_type = Some(picture.media_type.to_owned());
            let url = self.account.request(|client| client.send(request)).await?.content_uri;
            let content = json!({ "url": url, PICTURE_HASH: picture.hash });
            self.set(StateEventType::RoomAvatar, content).await?;
        }
        Ok(Some("avatar".to_owned()))
    }

    /// The content of a state event; null if there is none.
    fn content(&self, kind: &StateEventType, key: &str) -> Value {
        self.state.get(&(kind.to_string(), key.to_owned())).cloned().unwrap_or_default()
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
        self.account.request(|client| client.send(request)).await.map(drop)
    }
}

impl Picture {
    fn read(path: &Path) -> Result<Self, Failure> {
        let wrong =
            |what: &str| Failure::Config(format!("avatar_file: {}: {what}", path.display()));
        let bytes =
            std::fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let media_type = media_type(&bytes).ok_or_else(|| {
            wrong("is no picture that phones show: give a PNG, JPEG, GIF or WebP")
        })?;
        let hash = HEXLOWER.encode(&Sha256::digest(&bytes));
        Ok(Self { bytes, media_type, hash })
    }
}

/// By what such files begin with.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}
