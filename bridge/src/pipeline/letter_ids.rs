//! The ids of dead letters (`Nats-Msg-Id`), by which a stream keeps one once although it is published again after a
//! kill.
//!
//! Somebody else may publish to the stream that keeps dead letters. If he could guess the id of the next one, he could
//! use it first, and the server would take ours for a repetition. The ids therefore depend on a key that is made by
//! chance and kept in the state directory.

use std::{io, path::Path, sync::Mutex};

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{directory::Durability, hash, source::Delivery, state_file::StateFile};

/// The length of the key in bytes.
const KEY: usize = 32;

/// The ids of the dead letters of all routes.
#[derive(Debug)]
pub(crate) struct LetterIds {
    file: StateFile,
    /// The key in hexadecimal digits, once it has been needed.
    key: Mutex<Option<String>>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    key: String,
}

impl LetterIds {
    /// Returns the ids whose key is kept in this state directory. It is made with the first dead letter.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self { file: StateFile::new(state_dir, "dead-letters.json"), key: Mutex::default() }
    }

    /// Returns the id of the dead letter of a message, which is published on `subject`. A message is the same one in a
    /// stream that was restored from a backup.
    pub(crate) fn id(&self, subject: &str, stream: &str, delivery: &Delivery) -> String {
        let (published, number) = (delivery.published.as_nanosecond(), delivery.sequence);
        self.id_of(&[subject, stream, &published.to_string(), &number.to_string()])
    }

    fn id_of(&self, message: &[&str]) -> String {
        let mut key = self.key.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = key.get_or_insert_with(|| self.read_or_make());
        HEXLOWER.encode(&hash::of_texts([key.as_str()].into_iter().chain(message.iter().copied())))
    }

    fn read_or_make(&self) -> String {
        match self.file.read::<Saved>() {
            Ok(Some(saved)) if saved.key.len() == 2 * KEY => return saved.key,
            Ok(_) => {}
            Err(error) => warn!("matrix.state_dir: cannot read {}: {error}", self.file),
        }
        let mut bytes = [0; KEY];
        let made = rand::fill(&mut bytes).map_err(|_| io::Error::other("there is no chance"));
        let saved = Saved { key: HEXLOWER.encode(&bytes) };
        let written = made.and_then(|()| self.file.write(&saved, Durability::Process));
        if let Err(error) = written {
            warn!(
                "matrix.state_dir: cannot write {}, so that a dead letter may be kept twice after a restart: {error}",
                self.file
            );
        }
        saved.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_letter_is_the_same_after_a_restart_and_another_one_elsewhere() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = |dir: &Path, number| LetterIds::of(dir).id_of(&["dead.a", "OPS", number]);
        assert_eq!(id(here.path(), "7"), id(here.path(), "7"));
        assert_ne!(id(here.path(), "7"), id(here.path(), "8"));
        assert_ne!(id(here.path(), "7"), id(there.path(), "7"));
    }
}
