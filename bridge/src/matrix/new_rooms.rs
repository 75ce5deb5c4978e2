//! The limit on the rooms that a route may create. Where rooms are named after subjects, any publisher can name one;
//! without a limit a publisher that invents tokens could create rooms and invitations without end.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use matrix_sdk::ruma::RoomAliasId;
use tracing::warn;

use crate::{config::Route, directory::Durability, state_file::StateFile};

/// The span of time that the limit applies to, in seconds.
const HOUR: i64 = 60 * 60;

/// The rooms that a route has created within the last hour. They are saved in a file, so that a restart, which a
/// publisher may be able to cause, does not reset the count.
#[derive(Debug)]
pub(crate) struct NewRooms {
    limit: u32,
    file: StateFile,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    /// The time at which each room was created, in seconds since 1970, by its alias.
    at: BTreeMap<String, i64>,
    /// Whether the log already says that they cannot be saved.
    is_said: bool,
}

/// The error of a route that has reached its limit. It holds the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany(u32);

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the rooms made within the hour have reached new_rooms_per_hour, which is {}",
            self.0
        )
    }
}

impl NewRooms {
    /// The rooms of a route, with those saved before a restart.
    pub(crate) fn of(route: &Route, state_dir: &Path) -> Self {
        // Neither of the two names can contain a dot.
        let name = format!("new-rooms.{}.{}.json", route.stream, route.name);
        Self::kept_in(StateFile::new(state_dir, &name), route.new_rooms_per_hour)
    }

    fn kept_in(file: StateFile, limit: u32) -> Self {
        let made = Made { at: file.read_or_default(), is_said: false };
        Self { limit, file, made: Mutex::new(made) }
    }

    /// Counts a room that is about to be created. A room whose creation failed counts only once when it is tried
    /// again.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if the limit is reached.
    pub(crate) fn take(&self, alias: &RoomAliasId) -> Result<(), TooMany> {
        self.take_at(alias, Timestamp::now().as_second())
    }

    fn take_at(&self, alias: &RoomAliasId, now: i64) -> Result<(), TooMany> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // Entries from a clock that was ahead are dropped, too.
        made.at.retain(|_, at| now.abs_diff(*at) < HOUR.unsigned_abs());
        if made.at.contains_key(alias.as_str()) {
            return Ok(());
        }
        if made.at.len() >= usize::try_from(self.limit).unwrap_or(usize::MAX) {
            return Err(TooMany(self.limit));
        }
        made.at.insert(alias.to_string(), now);
        if let Err(error) = self.file.write(&made.at, Durability::Disk)
            && !std::mem::replace(&mut made.is_said, true)
        {
            warn!(
                "matrix.state_dir: cannot save in {} which rooms were made ({error}); after a restart as many \
                 may be made again",
                self.file
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::room_alias_id;

    use super::*;

    const FILE: &str = "new-rooms.S.r.json";

    fn new_rooms(directory: &Path, limit: u32) -> NewRooms {
        NewRooms::kept_in(StateFile::new(&directory.join("state"), FILE), limit)
    }

    #[test]
    fn there_are_no_more_within_an_hour_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b, c) = (room_alias_id!("#a:x"), room_alias_id!("#b:x"), room_alias_id!("#c:x"));
        let rooms = new_rooms(directory.path(), 2);
        assert_eq!(rooms.take_at(a, 1_000), Ok(()));
        assert_eq!(rooms.take_at(a, 1_001), Ok(()), "the same");
        assert_eq!(rooms.take_at(b, 2_000), Ok(()));
        assert_eq!(rooms.take_at(c, 2_001), Err(TooMany(2)));
        let rooms = new_rooms(directory.path(), 2);
        assert_eq!(rooms.take_at(b, 2_002), Ok(()));
        assert_eq!(rooms.take_at(c, 1_000 + HOUR - 1), Err(TooMany(2)));
        assert_eq!(rooms.take_at(c, 1_000 + HOUR), Ok(()));
        assert_eq!(rooms.take_at(a, 1_000 + HOUR), Err(TooMany(2)));
    }

    #[test]
    fn neither_a_clock_that_was_wrong_nor_a_damaged_file_is_forever() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (room_alias_id!("#a:x"), room_alias_id!("#b:x"));
        let rooms = new_rooms(directory.path(), 1);
        assert_eq!(rooms.take_at(a, 1_000_000), Ok(()));
        assert_eq!(rooms.take_at(b, 1_000), Ok(()));
        std::fs::write(directory.path().join("state").join(FILE), "{").unwrap();
        assert_eq!(new_rooms(directory.path(), 1).take_at(a, 1_000), Ok(()));
        assert_eq!(new_rooms(directory.path(), 0).take_at(b, 9_000), Err(TooMany(0)));
    }

    #[test]
    fn what_cannot_be_kept_is_counted_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("state"), "no directory").unwrap();
        let rooms = new_rooms(directory.path(), 1);
        assert_eq!(rooms.take_at(room_alias_id!("#a:x"), 1), Ok(()));
        assert_eq!(rooms.take_at(room_alias_id!("#b:x"), 2), Err(TooMany(1)));
    }
}
