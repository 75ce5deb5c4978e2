//! The creators of a room, found in its state. They can do anything there, and read everything that is posted.
//!
//! An alias proves nothing. Anybody with an account may take a free alias for a room of their own, or for a room that
//! we made for other people.

use std::fmt;

use matrix_sdk::ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, RoomVersionId, UserId,
    events::StateEventType,
};
use serde::Deserialize;

/// The parts of a room's state that show who owns it.
#[derive(Default)]
pub(crate) struct Ownership {
    created: Option<Created>,
    aliases: Option<WithAliases>,
    tombstone: Option<Tombstone>,
}

/// The reason why an alias does not lead to a room of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Objection {
    /// The state of the room does not show who created it.
    Unknown,
    /// This creator is neither we nor a trusted user.
    Stranger(OwnedUserId),
    /// The room is ours, but somebody else has given it the alias.
    NotItsAlias,
    /// The room is to replace another one, of which it does not say so.
    NotItsSuccessor,
}

/// The type of a state event.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: StateEventType,
    state_key: String,
}

/// An `m.room.create` event.
#[derive(Deserialize)]
struct Created {
    sender: OwnedUserId,
    content: CreatedContent,
}

#[derive(Deserialize)]
struct CreatedContent {
    #[serde(default)]
    room_version: Option<RoomVersionId>,
    #[serde(default)]
    additional_creators: Vec<OwnedUserId>,
    #[serde(default)]
    predecessor: Option<Predecessor>,
}

/// The room that a room replaces.
#[derive(Deserialize)]
struct Predecessor {
    room_id: OwnedRoomId,
}

/// An `m.room.tombstone` event, which says that a room is replaced by another one.
#[derive(Deserialize)]
struct Tombstone {
    sender: OwnedUserId,
}

/// The aliases of a room.
#[derive(Default, Deserialize)]
struct Aliases {
    #[serde(default)]
    alias: Option<OwnedRoomAliasId>,
    #[serde(default)]
    alt_aliases: Vec<OwnedRoomAliasId>,
}

/// An `m.room.canonical_alias` event.
#[derive(Deserialize)]
struct WithAliases {
    sender: OwnedUserId,
    content: Aliases,
}

/// Whether creators have more power than any level in rooms of a version.
pub(super) fn privileges_creators(version: &str) -> bool {
    let rules = RoomVersionId::try_from(version).ok().and_then(|version| version.rules());
    rules.is_some_and(|rules| rules.authorization.explicitly_privilege_room_creators)
}

impl Ownership {
    /// Notes an event of the room's state, if it shows who owns the room. Most events do not.
    pub(crate) fn note(&mut self, event: &[u8]) {
        let Ok(Kind { kind, state_key }) = serde_json::from_slice(event) else { return };
        match kind {
            StateEventType::RoomCreate if state_key.is_empty() => {
                self.created = serde_json::from_slice(event).ok();
            }
            StateEventType::RoomCanonicalAlias if state_key.is_empty() => {
                self.aliases = serde_json::from_slice(event).ok();
            }
            StateEventType::RoomTombstone if state_key.is_empty() => {
                self.tombstone = serde_json::from_slice(event).ok();
            }
            _ => {}
        }
    }

    /// The users who created the room.
    pub(crate) fn creators(&self) -> impl Iterator<Item = &OwnedUserId> {
        let created = self.created.iter();
        created.flat_map(|event| {
            std::iter::once(&event.sender).chain(&event.content.additional_creators)
        })
    }

    /// Whether a user has more power than any level. Since room version 12 the creators have it, without a level of
    /// their own (<https://spec.matrix.org/v1.16/rooms/v12/>).
    pub(crate) fn gives_all_power_to(&self, user: &UserId) -> bool {
        let version = self.created.as_ref().and_then(|event| event.content.room_version.as_ref());
        self.creators().any(|creator| creator == user)
            && version.is_some_and(|version| privileges_creators(version.as_str()))
    }

    /// Returns the objection, if any, to posting into this room in place of `old`, whose id is `id`. The creators of the
    /// new room have to be known: those of the old one, who has replaced it, or `known`.
    pub(crate) fn objection_to_replace(
        &self,
        old: &Self,
        id: &RoomId,
        known: &[OwnedUserId],
    ) -> Option<Objection> {
        let Some(created) = &self.created else { return Some(Objection::Unknown) };
        if created.content.predecessor.as_ref().is_none_or(|before| before.room_id != id) {
            return Some(Objection::NotItsSuccessor);
        }
        let by = old.tombstone.as_ref().map(|tombstone| &tombstone.sender);
        let is_known =
            |user: &OwnedUserId| old.creators().chain(by).chain(known).any(|known| known == user);
        self.creators().find(|user| !is_known(user)).cloned().map(Objection::Stranger)
    }

    /// Returns the objection, if any, to treating this as the room of an alias that `own` or one of `trusted`
    /// created.
    pub(crate) fn objection(
        &self,
        alias: &RoomAliasId,
        own: &UserId,
        trusted: &[OwnedUserId],
    ) -> Option<Objection> {
        if self.created.is_none() {
            return Some(Objection::Unknown);
        }
        let is_known = |user: &OwnedUserId| *user == own || trusted.contains(user);
        if let Some(stranger) = self.creators().find(|user| !is_known(user)) {
            return Some(Objection::Stranger(stranger.clone()));
        }
        // In a room for other people, some of them may have the power to change its aliases.
        let said = self.aliases.iter().filter(|event| is_known(&event.sender));
        let aliases =
            said.flat_map(|event| event.content.alias.iter().chain(&event.content.alt_aliases));
        let is_its_alias = aliases.into_iter().any(|of_room| *of_room == alias);
        (!is_its_alias).then_some(Objection::NotItsAlias)
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("does not say who made it"),
            Self::Stranger(user) => write!(f, "was made by {user}, who can do anything there"),
            Self::NotItsAlias => f.write_str(
                "does not list this alias among its addresses, so anybody may have given the alias to it",
            ),
            Self::NotItsSuccessor => f.write_str("does not say that it replaces the one before"),
        }
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::{owned_user_id, room_alias_id, room_id, user_id};
    use serde_json::{Value, json};

    use super::*;

    fn ownership(state: &[Value]) -> Ownership {
        let mut ownership = Ownership::default();
        for event in state {
            ownership.note(event.to_string().as_bytes());
        }
        ownership
    }

    fn created_by(sender: &str, more: &[&str]) -> Value {
        let content = json!({ "room_version": "12", "additional_creators": more });
        json!({ "type": "m.room.create", "state_key": "", "sender": sender, "content": content })
    }

    fn with_alias(content: &Value) -> Value {
        json!({ "type": "m.room.canonical_alias", "state_key": "", "sender": "@bridge:x", "content": content })
    }

    fn objection(state: &[Value]) -> Option<Objection> {
        let trusted = [owned_user_id!("@alice:x")];
        ownership(state).objection(room_alias_id!("#ops:x"), user_id!("@bridge:x"), &trusted)
    }

    #[test]
    fn a_room_is_ours_if_all_its_creators_are_known_and_it_has_the_alias() {
        let alias = with_alias(&json!({ "alias": "#ops:x" }));
        let other = with_alias(&json!({ "alias": "#web:x", "alt_aliases": ["#ops:x"] }));
        let foreign = with_alias(&json!({ "alias": "#web:x" }));
        let mut by_mallory = alias.clone();
        by_mallory["sender"] = json!("@mallory:x");
        let own = created_by("@bridge:x", &[]);
        let stranger = || Some(Objection::Stranger(owned_user_id!("@eve:x")));
        for (state, expected) in [
            (vec![own.clone(), alias.clone()], None),
            (vec![created_by("@alice:x", &["@bridge:x"]), other], None),
            (vec![created_by("@eve:x", &[]), alias.clone()], stranger()),
            (vec![created_by("@bridge:x", &["@eve:x"]), alias.clone()], stranger()),
            (vec![own.clone(), foreign], Some(Objection::NotItsAlias)),
            (vec![own.clone(), by_mallory], Some(Objection::NotItsAlias)),
            (vec![own], Some(Objection::NotItsAlias)),
            (vec![alias], Some(Objection::Unknown)),
            (vec![], Some(Objection::Unknown)),
        ] {
            assert_eq!(objection(&state), expected, "{state:?}");
        }
    }

    #[test]
    fn a_room_replaces_another_if_it_says_so_and_its_creators_are_known() {
        let (own, id) = (owned_user_id!("@bridge:x"), room_id!("!old:x"));
        let tombstone = |sender: &str| json!({ "type": "m.room.tombstone", "state_key": "", "sender": sender, "content": {} });
        let new = |sender: &str, before: &str| {
            let content = json!({ "room_version": "11", "predecessor": { "room_id": before } });
            json!({ "type": "m.room.create", "state_key": "", "sender": sender, "content": content })
        };
        let old = ownership(&[created_by("@alice:x", &[]), tombstone("@carol:x")]);
        let objection = |event: Value| {
            ownership(&[event]).objection_to_replace(&old, id, std::slice::from_ref(&own))
        };
        for known in ["@alice:x", "@carol:x", "@bridge:x"] {
            assert_eq!(objection(new(known, "!old:x")), None, "{known}");
        }
        let stranger = Objection::Stranger(owned_user_id!("@eve:x"));
        assert_eq!(objection(new("@eve:x", "!old:x")), Some(stranger));
        assert_eq!(objection(new("@alice:x", "!other:x")), Some(Objection::NotItsSuccessor));
        assert_eq!(objection(created_by("@alice:x", &[])), Some(Objection::NotItsSuccessor));
        assert_eq!(objection(tombstone("@alice:x")), Some(Objection::Unknown));
    }

    #[test]
    fn an_event_of_that_type_with_a_key_is_not_the_rooms_own() {
        let mut forged = created_by("@bridge:x", &[]);
        forged["state_key"] = json!("x");
        let alias = with_alias(&json!({ "alias": "#ops:x" }));
        let state = [forged, created_by("@eve:x", &[]), alias];
        assert!(matches!(objection(&state), Some(Objection::Stranger(_))));
    }
}
