//! The rooms that the aliases of a route have led to. Somebody else may get hold of an alias, and lead it to a room of
//! their own, where they would read all that the route posts.

use std::{collections::BTreeMap, path::Path};

use matrix_sdk::ruma::{OwnedRoomId, OwnedUserId, RoomAliasId};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{config::Route, directory::Durability, state_file::StateFile};

/// A file with the rooms that the aliases of a route have led to.
#[derive(Debug)]
pub(crate) struct Remembered {
    file: StateFile,
}

/// A room that an alias has led to, and its creators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meaning {
    pub(crate) room: OwnedRoomId,
    pub(crate) creators: Vec<OwnedUserId>,
}

impl Remembered {
    /// Returns those of a route.
    pub(crate) fn of(route: &Route, state_dir: &Path) -> Self {
        // Neither of the two names can contain a dot.
        let name = format!("rooms.{}.{}.json", route.stream, route.name);
        Self { file: StateFile::new(state_dir, &name) }
    }

    /// Returns the file, which a person removes to confirm that an alias leads elsewhere.
    pub(crate) fn file(&self) -> &StateFile {
        &self.file
    }

    /// Returns the room that an alias led to the last time.
    pub(crate) fn room_of(&self, alias: &RoomAliasId) -> Option<Meaning> {
        self.read().remove(alias.as_str())
    }

    /// Notes the room that an alias leads to.
    pub(crate) fn note(&self, alias: &RoomAliasId, meaning: Meaning) {
        let mut all = self.read();
        all.insert(alias.to_string(), meaning);
        if let Err(error) = self.file.write(&all, Durability::Disk) {
            warn!(
                "matrix.state_dir: cannot save in {} which room {alias} leads to ({error}); after a restart another \
                 room may be taken for it",
                self.file
            );
        }
    }

    fn read(&self) -> BTreeMap<String, Meaning> {
        self.file.read_or_default()
    }
}
