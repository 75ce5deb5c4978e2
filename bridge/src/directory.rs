//! Files in a directory that may belong to somebody else, such as the state of a service over which root runs a
//! command.
//!
//! The owner of a directory can put there, at any moment, a link to a file of somebody else's, a hard link to one, a
//! pipe that keeps its reader for ever, or another directory in the place of one that was looked at. So a directory
//! is opened once, and its files are reached from there by their names alone (`openat`), never through a link. What
//! was opened is looked at before it is used, and what is new is made as new (`O_EXCL`), under another name first.
//!
//! On the way to the directory a link is followed only if it is root's or ours, and so is the directory that it is
//! in: such as the one that systemd makes in `/var/lib` for a service with a user of its own.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
    process,
};

use rustix::{
    fs::{
        self, AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, fchown, fstat, linkat,
        mkdirat, openat, readlinkat, renameat, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};

/// The most links on the way to a file, as the kernel has it.
const MOST_LINKS: usize = 40;

/// What a new file and a new directory are to others: nothing.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

const DIRECTORY_MODE: Mode = Mode::RWXU;

/// What a new file is that is not secret, before the umask: readable.
const READABLE_MODE: Mode = Mode::from_bits_retain(0o666);

/// A directory that is open.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    stat: Stat,
    /// For messages.
    path: PathBuf,
}

/// Whether a directory is made that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is an error.
    Fail,
    /// It is made, with those above it, for its owner alone.
    Make,
}

/// What a new file is.
#[derive(Debug, Clone, Copy)]
struct New {
    mode: Mode,
    /// User and group to whom root gives it; as of the directory if not said.
    owner: Option<(u32, u32)>,
}

/// What may be where a new file comes.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// Nothing; else it is not written.
    Free,
    /// Another one, which it replaces.
    Taken,
}

/// Reads a file that has a path, up to `most` bytes.
///
/// # Errors
///
/// Why it cannot be read; also that somebody else may have put it, or a link, in the way.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    directory.read(&name, most)
}

/// Writes a file that has a path, which others may read as the process's umask says, in the place of one that is there.
///
/// # Errors
///
/// Why it cannot be written; also that something else than a file is there, or a link that somebody else may have put
/// there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    match statat(&directory.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if !is_file(&found) => return Err(no_file(path)),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    directory.written(&name, bytes, New { mode: READABLE_MODE, owner: None }, Place::Taken)
}

impl Directory {
    /// Opens a directory by its path.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened; also that a link is in the way that somebody else may have put there.
    pub(crate) fn open(path: &Path, missing: Missing) -> io::Result<Self> {
        let (above, name) = Self::around(path, missing)?;
        above.enter(&name, OFlags::RDONLY, missing)
    }

    /// The directory in which a file is, or would be, and its name there.
    ///
    /// # Errors
    ///
    /// As of [`Directory::open`].
    pub(crate) fn around(path: &Path, missing: Missing) -> io::Result<(Self, OsString)> {
        let mut here = Self::beginning(path)?;
        let (mut left, mut links) = (parts(path), 0);
        while let Some(name) = left.pop_front() {
            if name == ".." {
                here = here.enter(&name, OFlags::PATH, Missing::Fail)?;
            } else if let Some(target) = here.link(&name)? {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                if target.is_absolute() {
                    here = Self::beginning(&target)?;
                }
                parts(&target).into_iter().rev().for_each(|part| left.push_front(part));
            } else if left.is_empty() {
                return Ok((here, name));
            } else {
                here = here.enter(&name, OFlags::PATH, missing)?;
            }
        }
        Ok((here, ".".into()))
    }

    /// Where a path begins.
    fn beginning(path: &Path) -> io::Result<Self> {
        let begin = if path.is_absolute() { "/" } else { "." };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, begin, flags, Mode::empty())?;
        Ok(Self { stat: fstat(&fd)?, fd, path: begin.into() })
    }

    /// What a link leads to; nothing for what is no link.
    fn link(&self, name: &OsStr) -> io::Result<Option<PathBuf>> {
        // Opened, so that it cannot be exchanged between the look at it and its reading.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(link) => link,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = fstat(&link)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        if !is_trusted(&found) || !is_trusted(&self.stat) {
            return Err(self.planted(name, &found));
        }
        let target = readlinkat(&link, "", Vec::new())?;
        Ok(Some(OsString::from_vec(target.into_bytes()).into()))
    }

    /// Opens a directory in this one.
    fn enter(&self, name: &OsStr, access: OFlags, missing: Missing) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |access| openat(&self.fd, name, flags | access, Mode::empty());
        let fd = match open(access) {
            Err(Errno::NOENT) if missing == Missing::Make => {
                match mkdirat(&self.fd, name, DIRECTORY_MODE) {
                    Ok(()) => self.hand_over_new(name, &open(OFlags::RDONLY)?)?,
                    // By another process, just now.
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open(access)?
            }
            opened => opened?,
        };
        Ok(Self { stat: fstat(&fd)?, fd, path: self.path.join(name) })
    }

    /// The names of what is there.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            names.push(OsString::from_vec(entry?.file_name().to_bytes().to_vec()));
        }
        Ok(names)
    }

    /// The size of a file in bytes. A link has one, too.
    pub(crate) fn size(&self, name: &OsStr) -> io::Result<u64> {
        let found = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(u64::try_from(found.st_size).unwrap_or_default())
    }

    /// Reads a file, up to `most` bytes.
    ///
    /// # Errors
    ///
    /// Why it cannot be read; also that it is larger, a link, no regular file, or one of somebody else's.
    pub(crate) fn read(&self, name: &OsStr, most: u64) -> io::Result<Vec<u8>> {
        let file = self.existing(name, OFlags::RDONLY)?;
        let size = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(most)).unwrap_or_default());
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            let path = self.path.join(name);
            return Err(io::Error::other(format!(
                "{} is larger than {most} bytes",
                path.display()
            )));
        }
        Ok(bytes)
    }

    /// Opens a file to lock it, which is made if there is none. Its contents are nothing.
    pub(crate) fn lock_file(&self, name: &OsStr) -> io::Result<File> {
        match self.existing(name, OFlags::RDWR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match self.create(name, New { mode: FILE_MODE, owner: None }) {
            // By another process, just now.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.existing(name, OFlags::RDWR)
            }
            created => created,
        }
    }

    /// Writes a file, whole or not at all, in the place of one that is there.
    pub(crate) fn replace(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        self.written(name, bytes, New { mode: FILE_MODE, owner: None }, Place::Taken)
    }

    /// Writes a file, whole or not at all. One that is there already is an error.
    pub(crate) fn write_new(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        self.written(name, bytes, New { mode: FILE_MODE, owner: None }, Place::Free)
    }

    /// Writes a file, whole or not at all, in the place of one that is there, for the owner of another one.
    pub(crate) fn replace_as(&self, name: &OsStr, bytes: &[u8], other: &OsStr) -> io::Result<()> {
        let other = fstat(self.existing(other, OFlags::RDONLY)?)?;
        let owner = Some((other.st_uid, other.st_gid));
        self.written(name, bytes, New { mode: FILE_MODE, owner }, Place::Taken)
    }

    /// Gives a file another name, under which no other one is left.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        renameat(&self.fd, from, &self.fd, to)?;
        self.sync()
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Whether there is something of this name.
    pub(crate) fn holds(&self, name: &OsStr) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Writes a file under a name that is nobody else's, and brings it to its own.
    fn written(&self, name: &OsStr, bytes: &[u8], kind: New, place: Place) -> io::Result<()> {
        let mut new = name.to_owned();
        new.push(format!(".{}.tmp", process::id()));
        if self.holds(&new) {
            // Of a process of this number that was killed.
            self.remove(&new)?;
        }
        let mut file = self.create(&new, kind)?;
        let done = file.write_all(bytes).and_then(|()| file.sync_all());
        let done = done.and_then(|()| self.bring(&new, name, place));
        if done.is_err() {
            let _ = self.remove(&new);
        }
        done.and_then(|()| self.sync())
    }

    fn bring(&self, new: &OsStr, name: &OsStr, place: Place) -> io::Result<()> {
        match place {
            Place::Taken => renameat(&self.fd, new, &self.fd, name)?,
            // What a rename with `RENAME_NOREPLACE` does, which not every file system knows.
            Place::Free => {
                linkat(&self.fd, new, &self.fd, name, AtFlags::empty())?;
                unlinkat(&self.fd, new, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn create(&self, name: &OsStr, kind: New) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, flags, kind.mode)?;
        match kind.owner {
            Some((owner, group)) => give(&file, owner, group)?,
            None => self.hand_over(&file)?,
        }
        Ok(file.into())
    }

    /// What root makes in a directory belongs to whom the directory belongs to: the service of which it is the state.
    fn hand_over(&self, made: &OwnedFd) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        give(made, self.stat.st_uid, self.stat.st_gid)
    }

    /// The same for a directory that was made just now. Whoever owns this one may have put another in its place since,
    /// which is not theirs to be given.
    fn hand_over_new(&self, name: &OsStr, made: &OwnedFd) -> io::Result<()> {
        let mut is_empty = true;
        for entry in Dir::read_from(made)? {
            is_empty &= matches!(entry?.file_name().to_bytes(), b"." | b"..");
        }
        let found = fstat(made)?;
        if !is_empty || found.st_uid != geteuid().as_raw() {
            return Err(self.planted(name, &found));
        }
        self.hand_over(made)
    }

    /// Opens a file that is there, and waits for nobody to write into a pipe.
    fn existing(&self, name: &OsStr, access: OFlags) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(&self.fd, name, flags | access, Mode::empty());
        let path = || self.path.join(name);
        let file = match opened {
            Ok(file) => file,
            Err(Errno::LOOP) => {
                return Err(self.planted(name, &statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?));
            }
            // A socket, or a pipe that nobody reads.
            Err(Errno::NXIO) => return Err(no_file(&path())),
            Err(error) => return Err(error.into()),
        };
        let found = fstat(&file)?;
        if !is_file(&found) {
            return Err(no_file(&path()));
        }
        if !self.may_hold(&found) {
            return Err(io::Error::other(format!(
                "{} belongs to uid {} in a directory of uid {}, who may have linked it there: remove it",
                path().display(),
                found.st_uid,
                self.stat.st_uid
            )));
        }
        Ok(file.into())
    }

    /// Whether a file is here because its owner or we have put it here, and nobody else a link to it.
    fn may_hold(&self, file: &Stat) -> bool {
        let is_linked_once = file.st_nlink == 1;
        if is_trusted(&self.stat) {
            return is_linked_once || !self.is_shared();
        }
        // Of root's files none is in a directory of somebody else's unless it was brought there.
        let is_own = is_trusted(file) && is_linked_once && !geteuid().is_root();
        file.st_uid == self.stat.st_uid || is_own
    }

    /// Whether others than its owner may put files here.
    fn is_shared(&self) -> bool {
        Mode::from_raw_mode(self.stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
    }

    fn planted(&self, name: &OsStr, link: &Stat) -> io::Error {
        io::Error::other(format!(
            "{} is a link that is not followed, as uid {} may have put it there: name what it leads to, or remove it",
            self.path.join(name).display(),
            if is_trusted(link) { self.stat.st_uid } else { link.st_uid }
        ))
    }

    fn sync(&self) -> io::Result<()> {
        // The handle of a directory on the way to a file is good for names alone.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::fsync(openat(&self.fd, ".", flags, Mode::empty())?)?)
    }
}

/// The name of a file that was being written under this one, by a process that may have been killed.
pub(crate) fn unfinished(name: &OsStr) -> Option<&OsStr> {
    let (name, process) = name.to_str()?.strip_suffix(".tmp")?.rsplit_once('.')?;
    process.parse::<u32>().is_ok().then_some(name.as_ref())
}

/// Whether it is root's or ours.
fn is_trusted(found: &Stat) -> bool {
    found.st_uid == 0 || found.st_uid == geteuid().as_raw()
}

fn is_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// Gives what is open to another user, unless it is that user's.
fn give(made: impl AsFd, owner: u32, group: u32) -> io::Result<()> {
    let own = fstat(&made)?;
    if (own.st_uid, own.st_gid) == (owner, group) {
        return Ok(());
    }
    Ok(fchown(made, Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)))?)
}

fn no_file(path: &Path) -> io::Error {
    io::Error::other(format!("{} is no regular file", path.display()))
}

/// The names in a path.
fn parts(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use nats_matrix_testbed::not_run;

    use super::*;

    /// Somebody else.
    const OTHER: u32 = 61_234;

    fn said(result: io::Result<Vec<u8>>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn our_own_links_are_followed_and_end() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        Directory::open(&at("a/b"), Missing::Make).unwrap();
        let (directory, name) = Directory::around(&at("a/b/../b/./file"), Missing::Fail).unwrap();
        directory.write_new(&name, b"text").unwrap();
        for (link, target) in [("one", "a/b"), ("two", "one/../../a"), ("three", "two/b/file")] {
            symlink(target, at(link)).unwrap();
        }
        symlink(at("three"), at("four")).unwrap();
        for path in ["one/file", "two/b/file", "three", "four"] {
            assert_eq!(read(&at(path), 4).unwrap(), b"text", "{path}");
        }
        assert!(said(read(&at("four"), 3)).contains("file is larger than 3 bytes"));
        symlink("round", at("round")).unwrap();
        assert_eq!(read(&at("round"), 4).unwrap_err().raw_os_error(), Some(40));
        assert_eq!(read(&at("none/file"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_new_file_takes_the_place_of_none_and_another_one_that_of_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path(), Missing::Fail).unwrap();
        let name = OsStr::new("file");
        directory.write_new(name, b"one").unwrap();
        let kind = directory.write_new(name, b"two").unwrap_err().kind();
        assert_eq!(
            (kind, directory.read(name, 9).unwrap()),
            (io::ErrorKind::AlreadyExists, b"one".into())
        );
        symlink("elsewhere", dir.path().join("link")).unwrap();
        for name in ["file", "link"] {
            directory.replace(name.as_ref(), b"two").unwrap();
            assert_eq!(directory.read(name.as_ref(), 9).unwrap(), b"two");
        }
        let mut names = directory.names().unwrap();
        names.retain(|name| ![".", ".."].contains(&name.to_str().unwrap()));
        names.sort();
        assert_eq!(
            names,
            ["file", "link"],
            "nothing that was unfinished is left, or made elsewhere"
        );
    }

    #[test]
    fn a_name_tells_of_which_file_it_is_the_beginning() {
        assert_eq!(unfinished("a.json.17.tmp".as_ref()), Some("a.json".as_ref()));
        for other in ["a.json", "a.tmp", "a.json.b.tmp", "17.tmp"] {
            assert_eq!(unfinished(other.as_ref()), None, "{other}");
        }
    }

    #[test]
    fn only_links_of_root_in_directories_of_root_are_followed_by_root() {
        if !geteuid().is_root() {
            return not_run(&anyhow::anyhow!("only root can give files to others")).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        symlink("file", at("roots")).unwrap();
        symlink("file", at("theirs")).unwrap();
        lchown(at("theirs"), Some(OTHER), None).unwrap();
        assert_eq!(read(&at("roots"), 9).unwrap(), b"text");
        assert!(said(read(&at("theirs"), 9)).contains("as uid 61234 may have put it there"));

        // A directory that others may write to may hold a hard link of theirs, and nobody else's does.
        std::fs::hard_link(at("file"), at("again")).unwrap();
        assert_eq!(read(&at("again"), 9).unwrap(), b"text");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(said(read(&at("again"), 9)).contains("who may have linked it there"));
        std::fs::remove_file(at("again")).unwrap();
        assert_eq!(read(&at("roots"), 9).unwrap(), b"text");

        // What was root's may have been renamed.
        chown(dir.path(), Some(OTHER), None).unwrap();
        assert!(said(read(&at("roots"), 9)).contains("as uid 61234 may have put it there"));
        assert!(said(read(&at("file"), 9)).contains("who may have linked it there"));
        chown(at("file"), Some(OTHER), None).unwrap();
        assert_eq!(read(&at("file"), 9).unwrap(), b"text");
    }
}
