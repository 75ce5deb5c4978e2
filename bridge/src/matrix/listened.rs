//! The rooms in which people may answer, each with the routes that post there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use matrix_sdk::ruma::{OwnedRoomId, RoomId};
use tokio::sync::Notify;

use crate::message::RouteName;

/// The number of rooms that are listened to.
const MOST_ROOMS: usize = 1000;

/// The names of the routes that post into each room.
pub(crate) type ByRoom = BTreeMap<OwnedRoomId, BTreeSet<String>>;

/// The rooms in which people may answer. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listened(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    rooms: Mutex<ByRoom>,
    is_changed: Notify,
}

impl Listened {
    /// Adds a room that a route posts into.
    pub(crate) fn add(&self, room: &RoomId, route: &RouteName) {
        let mut rooms = self.rooms();
        if rooms.len() >= MOST_ROOMS && !rooms.contains_key(room) {
            rooms.pop_first();
        }
        let is_new = rooms.entry(room.to_owned()).or_default().insert(route.to_string());
        drop(rooms);
        if is_new {
            self.0.is_changed.notify_one();
        }
    }

    /// Adds the rooms that were known before a restart, as far as these routes still ask for it.
    pub(crate) fn add_all(&self, known: ByRoom, routes: &BTreeSet<&str>) {
        let mut rooms = self.rooms();
        for (room, names) in known {
            let names = names.into_iter().filter(|name| routes.contains(name.as_str()));
            let names: BTreeSet<String> = names.collect();
            if !names.is_empty() && rooms.len() < MOST_ROOMS {
                rooms.entry(room).or_default().extend(names);
            }
        }
    }

    /// Returns the rooms with their routes.
    pub(crate) fn all(&self) -> ByRoom {
        self.rooms().clone()
    }

    /// Whether this is one of the rooms.
    pub(crate) fn has(&self, room: &RoomId) -> bool {
        self.rooms().contains_key(room)
    }

    /// Waits until a room was added.
    pub(crate) async fn changed(&self) {
        self.0.is_changed.notified().await;
    }

    fn rooms(&self) -> MutexGuard<'_, ByRoom> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
