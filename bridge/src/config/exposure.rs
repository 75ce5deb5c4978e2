//! Secrets in files that other users of the machine can read or write.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The permissions of all users in a mode.
const READ: u32 = 0o004;
const WRITE: u32 = 0o002;
const SEARCH: u32 = 0o001;

/// A file that every user of this machine can read or write. Its group does not matter: the administrator chooses who
/// is in it.
#[derive(Debug)]
pub(crate) struct Exposure {
    path: PathBuf,
    mode: u32,
    is_directory: bool,
}

impl Exposure {
    /// Checks a file. Returns `None` if other users cannot read or write it, or if it does not exist.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mode = |path: &Path| Some(fs::metadata(path).ok()?.permissions().mode() & 0o7777);
        // The target of a symbolic link is in other directories, whose permissions matter.
        let place = path.canonicalize().ok()?;
        let is_open = mode(&place)? & (READ | WRITE) != 0;
        let mut above = place.ancestors().skip(1);
        let is_reached = above.all(|dir| mode(dir).is_some_and(|mode| mode & SEARCH != 0));
        let is_directory = place.is_dir();
        (is_open && is_reached).then_some(Self {
            path: path.to_owned(),
            mode: mode(&place)?,
            is_directory,
        })
    }

    /// Checks a directory with secret files, which every user can enter and list. Returns `None` if they cannot, or if it
    /// does not exist.
    pub(crate) fn of_directory(path: &Path) -> Option<Self> {
        Self::of(path).filter(|found| found.is_directory && found.mode & SEARCH != 0)
    }

    /// Whether every user may have changed the content.
    pub(crate) fn is_writable(&self) -> bool {
        self.mode & WRITE != 0
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, mode) = (self.path.display(), self.mode);
        let right = if self.is_directory { 700 } else { 600 };
        let (what, first) = if self.is_writable() {
            ("write", "put a new secret there and ")
        } else {
            ("read", "")
        };
        write!(
            f,
            "{path} has mode {mode:03o}, so every user of this machine can {what} it: {first}run chmod {right} {path}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_file_that_everybody_reaches_is_named_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        let path = dir.path().join("secret");
        fs::write(&path, "x").unwrap();
        let of = |mode| {
            set(&path, mode).unwrap();
            Exposure::of(&path).map(|exposure| (exposure.is_writable(), exposure.to_string()))
        };
        // No other user can enter the directory.
        set(dir.path(), 0o700).unwrap();
        assert_eq!(of(0o666), None);
        set(dir.path(), 0o711).unwrap();
        for mode in [0o600, 0o640, 0o660, 0o400] {
            assert_eq!(of(mode), None, "{mode:o}");
        }
        let (is_writable, words) = of(0o644).unwrap();
        let path = path.display().to_string();
        let end = format!("can read it: run chmod 600 {path}");
        assert!(!is_writable && words.contains("has mode 644") && words.ends_with(&end), "{words}");
        let (is_writable, words) = of(0o666).unwrap();
        assert!(is_writable && words.contains("mode 666") && words.contains("write it"), "{words}");
        assert!(Exposure::of(Path::new("/no/such/file")).is_none());
        let database = dir.path().join("db");
        fs::create_dir(&database).unwrap();
        let of_directory = |mode| {
            set(&database, mode).unwrap();
            Exposure::of_directory(&database).map(|exposure| exposure.to_string())
        };
        assert_eq!((of_directory(0o700), of_directory(0o744)), (None, None));
        let words = of_directory(0o755).unwrap();
        assert!(words.ends_with(&format!("run chmod 700 {}", database.display())), "{words}");
    }
}
