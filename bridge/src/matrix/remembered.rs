//! The rooms that the aliases of a route have led to. Somebody else may get hold of an alias, and lead it to a room of
//! their own, where they would read all that the route posts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use matrix_sdk::ruma::{OwnedRoomId, OwnedUserId, RoomAliasId};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    config::Route,
    directory::{self, Directory, Missing},
};

/// The maximum size of the file, in bytes.
const MOST: u64 = 64 * 1024;

/// A file with the rooms that the aliases of a route have led to.
#[derive(Debug)]
pub(crate) struct Remembered {
    file: PathBuf,
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
        Self { file: state_dir.join(format!("rooms.{}.{}.json", route.stream, route.name)) }
    }

    /// Returns the file, which a person removes to confirm that an alias leads elsewhere.
    pub(crate) fn file(&self) -> &Path {
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
        if let Err(error) = self.write(&all) {
            warn!(
                "matrix.state_dir: cannot save in {} which room {alias} leads to ({error}); after a restart another \
                 room may be taken for it",
                self.file.display()
            );
        }
    }

    fn read(&self) -> BTreeMap<String, Meaning> {
        let text = directory::read(&self.file, MOST).ok();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Saves the rooms, replacing the file in one step.
    fn write(&self, all: &BTreeMap<String, Meaning>) -> std::io::Result<()> {
        let (directory, name) = Directory::around(&self.file, Missing::Make)?;
        directory.replace(&name, &serde_json::to_vec_pretty(all)?)
    }
}
