//! Small files in the state directory, as JSON. A file is replaced in one step, and only our own user can read it; one
//! that is damaged is logged and begun anew.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use tracing::warn;
use zeroize::Zeroizing;

use crate::directory::{self, Directory, Durability, Missing};

/// The largest file that is read, in bytes.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// A file in the state directory.
#[derive(Debug)]
pub(crate) struct StateFile(PathBuf);

impl StateFile {
    /// Returns the file of this name, which need not exist.
    pub(crate) fn new(state_dir: &Path, name: &str) -> Self {
        Self(state_dir.join(name))
    }

    /// Reads the file. `None` if there is none, or a damaged one.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is too large, or if another user may have put it there.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        let text = match directory::read(&self.0, MOST_BYTES) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // The content of the file may be secret, so the parser's error is not shown.
        let value = serde_json::from_slice(&text).ok();
        if value.is_none() {
            warn!("matrix.state_dir: {self} is damaged and is begun anew");
        }
        Ok(value)
    }

    /// Reads the file. A file that cannot be read is logged and begun anew, as one that does not exist.
    pub(crate) fn read_or_default<T: DeserializeOwned + Default>(&self) -> T {
        let value = self.read().unwrap_or_else(|error| {
            warn!("matrix.state_dir: cannot read {self}, which is begun anew: {error}");
            None
        });
        value.unwrap_or_default()
    }

    /// Replaces the file in one step, and creates its directory if necessary.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written, or if another user may have put a link in the way.
    pub(crate) fn write(&self, value: &impl Serialize, durability: Durability) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(value)?);
        let (directory, name) = Directory::around(&self.0, Missing::Make)?;
        directory.replace(&name, &text, durability)
    }
}

impl fmt::Display for StateFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_for_our_own_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = directory.path().join("state");
        let file = StateFile::new(&state_dir, "numbers.json");
        assert_eq!(file.read::<Vec<u8>>().unwrap(), None);
        for (numbers, durability) in [([1, 2], Durability::Disk), ([3, 4], Durability::Process)] {
            file.write(&numbers, durability).unwrap();
            assert_eq!(file.read().unwrap(), Some(numbers));
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state_dir), mode(&file.0)), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&state_dir).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_damaged_file_and_one_that_cannot_be_read_are_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let file = StateFile::new(directory.path(), "numbers.json");
        std::fs::write(&file.0, "[1, 2").unwrap();
        assert_eq!(file.read::<Vec<u8>>().unwrap(), None);
        file.write(&[1], Durability::Disk).unwrap();
        assert_eq!(file.read_or_default::<Vec<u8>>(), [1]);
        std::fs::File::create(&file.0).unwrap().set_len(MOST_BYTES + 1).unwrap();
        file.read::<Vec<u8>>().unwrap_err();
        assert_eq!(file.read_or_default::<Vec<u8>>(), [0; 0]);
    }
}
