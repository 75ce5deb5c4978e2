//! Files in a directory that another user may own, such as the state of a service on which root runs a command.
//!
//! The owner of a directory can at any moment put there a symbolic or hard link to another user's file, a pipe that
//! blocks its reader for ever, or another directory in place of one that was checked. So each directory is opened
//! once, its files are reached from there by name alone (`openat`), and never through a link. A file is checked after
//! it is opened and before it is used; a new file is created with `O_EXCL`, under a temporary name first.
//!
//! On the way to the directory, a link is followed only if root or our own user owns both the link and the directory
//! that contains it. The link that systemd makes in `/var/lib` for a service with a user of its own is one of these.
//!
//! A file that is read by its path, such as a secret, is used only if nobody else could have put it there: neither as
//! the owner of a directory on the way, up to the root, nor because a directory on the way lets others write.

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
    process::{getegid, geteuid},
};

/// The maximum number of links on the way to a file, which is the kernel's own limit.
const MOST_LINKS: usize = 40;

/// The permissions of new files and directories: none for other users.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

const DIRECTORY_MODE: Mode = Mode::RWXU;

/// The permissions of a new file without secrets, before the umask: readable by all.
const READABLE_MODE: Mode = Mode::from_bits_retain(0o666);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    stat: Stat,
    /// The path of the directory, for messages.
    path: PathBuf,
    /// The directories on the way here, the first one first, with this one.
    way: Vec<Passed>,
}

/// A directory on the way to a file.
#[derive(Debug, Clone)]
struct Passed {
    path: PathBuf,
    owner: u32,
    group: u32,
    mode: Mode,
}

/// The treatment of a missing directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Fails.
    Fail,
    /// Creates it and its missing parents, for their owner alone.
    Make,
}

/// The permissions, the owner and the durability of a new file.
#[derive(Debug, Clone, Copy)]
struct New {
    mode: Mode,
    /// The user and group to whom root gives the file; those of the directory if `None`.
    owner: Option<(u32, u32)>,
    durability: Durability,
}

impl Default for New {
    fn default() -> Self {
        Self { mode: FILE_MODE, owner: None, durability: Durability::Disk }
    }
}

/// The event that a written file has to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The end of the process. The write does not wait for the disk.
    Process,
    /// A power failure.
    Disk,
}

/// The treatment of a name that is taken already.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The write fails.
    Free,
    /// The write replaces the existing file.
    Taken,
}

/// Reads the file at a path, up to `most` bytes.
///
/// # Errors
///
/// Fails if the file cannot be read, or if another user may have put the file there, or a link in the way.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    let file = directory.existing(&name, OFlags::RDONLY)?;
    directory.check_way(&name, &fstat(&file)?)?;
    directory.bytes(&name, file, most)
}

/// Writes the file at a path, replacing an existing one. The umask decides which other users may read it.
///
/// # Errors
///
/// Fails if the file cannot be written, if the path leads to something other than a file, or if another user may have
/// put a link in the way.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (directory, name) = Directory::around(path, Missing::Fail)?;
    match statat(&directory.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if !is_file(&found) => return Err(no_file(path)),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    directory.written(&name, bytes, New { mode: READABLE_MODE, ..New::default() }, Place::Taken)
}

impl Directory {
    /// Opens the directory at a path.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be opened, or if another user may have put a link in the way.
    pub(crate) fn open(path: &Path, missing: Missing) -> io::Result<Self> {
        let (above, name) = Self::around(path, missing)?;
        above.enter(&name, OFlags::RDONLY, missing)
    }

    /// Opens the directory that contains a file, or will contain it, and returns it with the file's name.
    ///
    /// # Errors
    ///
    /// The errors of [`Directory::open`].
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
                    let mut way = here.way;
                    here = Self::beginning(&target)?;
                    way.append(&mut here.way);
                    here.way = way;
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

    /// Opens the directory where a path starts: the root or the working directory.
    fn beginning(path: &Path) -> io::Result<Self> {
        let begin = if path.is_absolute() { "/" } else { "." };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, begin, flags, Mode::empty())?;
        let (stat, path) = (fstat(&fd)?, PathBuf::from(begin));
        let way = vec![Passed::of(&path, &stat)];
        Ok(Self { fd, stat, path, way })
    }

    /// Reads the target of a link; `None` if the name is not a link.
    fn link(&self, name: &OsStr) -> io::Result<Option<PathBuf>> {
        // The link is opened first, so that nobody can exchange it between the check and the reading.
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
                    // Another process has just made it.
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open(access)?
            }
            opened => opened?,
        };
        let (stat, path) = (fstat(&fd)?, self.path.join(name));
        let mut way = self.way.clone();
        way.push(Passed::of(&path, &stat));
        Ok(Self { fd, stat, path, way })
    }

    /// Checks that nobody but the directory's owner could have put there what we then use with our own rights, and that
    /// the owner is root or our own user, or we are root.
    pub(crate) fn check_writers(&self) -> io::Result<()> {
        let (owner, path) = (self.stat.st_uid, self.path.display());
        let refused = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        if Mode::from_raw_mode(self.stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
            return refused(format!("others may put files into {path}: chmod go-w {path}"));
        }
        if geteuid().is_root() || is_trusted_user(owner) {
            return Ok(());
        }
        refused(format!("{path} belongs to uid {owner}, who may put files there"))
    }

    /// Checks that nobody but root, us and the owner of this directory can replace a new file in it.
    pub(crate) fn check_place(&self, name: &OsStr) -> io::Result<()> {
        self.check_way(name, &self.stat)
    }

    /// Checks that nobody but root, us and the owner of a file in this directory could have put that file there.
    fn check_way(&self, name: &OsStr, file: &Stat) -> io::Result<()> {
        let is_relative = self.way.first().is_some_and(|first| first.path.is_relative());
        let mut way = if is_relative { above_working_directory()? } else { Vec::new() };
        way.extend(self.way.iter().cloned());
        let file_path = self.path.join(name);
        // In a sticky directory such as /tmp everybody may put files, but nobody may replace those of root and of us.
        let mut must_be_ours = false;
        for passed in way {
            let is_ours = is_trusted_user(passed.owner);
            if !is_ours && (must_be_ours || passed.owner != file.st_uid) {
                return Err(passed.distrusted(
                    &file_path,
                    &format!("belongs to uid {}, who may put other files there", passed.owner),
                    "",
                ));
            }
            must_be_ours = passed.is_open_to_others();
            if must_be_ours && !(is_ours && passed.mode.contains(Mode::SVTX)) {
                let mode = passed.mode.bits();
                return Err(passed.distrusted(
                    &file_path,
                    &format!("has mode {mode:03o}, so other users may put files there"),
                    &format!(", or run chmod go-w {}", passed.path.display()),
                ));
            }
        }
        if must_be_ours && !is_trusted(file) {
            return Err(io::Error::other(format!(
                "{} belongs to uid {} in a directory where everybody may put files: move it to a directory of its user",
                file_path.display(),
                file.st_uid
            )));
        }
        Ok(())
    }

    /// The names of all entries.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            names.push(OsString::from_vec(entry?.file_name().to_bytes().to_vec()));
        }
        Ok(names)
    }

    /// The size of a file, or of a link itself, in bytes.
    pub(crate) fn size(&self, name: &OsStr) -> io::Result<u64> {
        let found = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(u64::try_from(found.st_size).unwrap_or_default())
    }

    /// Reads a file, up to `most` bytes.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is larger than `most`, is a link or not a regular file, or belongs to
    /// another user.
    pub(crate) fn read(&self, name: &OsStr, most: u64) -> io::Result<Vec<u8>> {
        self.bytes(name, self.existing(name, OFlags::RDONLY)?, most)
    }

    fn bytes(&self, name: &OsStr, file: File, most: u64) -> io::Result<Vec<u8>> {
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

    /// Opens a file to read, write or lock it, creating an empty one if there is none.
    pub(crate) fn open_or_create(&self, name: &OsStr) -> io::Result<File> {
        match self.existing(name, OFlags::RDWR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match self.create(name, New::default()) {
            Ok(_) => {}
            // Another process has just made it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.existing(name, OFlags::RDWR)
    }

    /// Writes a file atomically, replacing an existing one.
    pub(crate) fn replace(
        &self,
        name: &OsStr,
        bytes: &[u8],
        durability: Durability,
    ) -> io::Result<()> {
        self.written(name, bytes, New { durability, ..New::default() }, Place::Taken)
    }

    /// Writes a file atomically, and fails if there is one already.
    pub(crate) fn write_new(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        self.written(name, bytes, New::default(), Place::Free)
    }

    /// Writes a file atomically, replacing an existing one, and gives it to the owner of the file `other`.
    pub(crate) fn replace_as(&self, name: &OsStr, bytes: &[u8], other: &OsStr) -> io::Result<()> {
        let other = fstat(self.existing(other, OFlags::RDONLY)?)?;
        let owner = Some((other.st_uid, other.st_gid));
        self.written(name, bytes, New { owner, ..New::default() }, Place::Taken)
    }

    /// Renames a file, replacing any file that has the new name.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        renameat(&self.fd, from, &self.fd, to)?;
        self.sync()
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Whether the directory has an entry of this name.
    pub(crate) fn holds(&self, name: &OsStr) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Writes a file under a temporary name of this process, and then gives it its own name.
    fn written(&self, name: &OsStr, bytes: &[u8], kind: New, place: Place) -> io::Result<()> {
        let mut new = name.to_owned();
        new.push(format!(".{}.tmp", process::id()));
        if self.holds(&new) {
            // A killed process with the same process ID has left it.
            self.remove(&new)?;
        }
        let mut file = self.create(&new, kind)?;
        let is_durable = kind.durability == Durability::Disk;
        let done = file.write_all(bytes);
        let done = done.and_then(|()| if is_durable { file.sync_all() } else { Ok(()) });
        let done = done.and_then(|()| self.bring(&new, name, place));
        if done.is_err() {
            let _ = self.remove(&new);
        }
        done.and_then(|()| if is_durable { self.sync() } else { Ok(()) })
    }

    fn bring(&self, new: &OsStr, name: &OsStr, place: Place) -> io::Result<()> {
        match place {
            Place::Taken => renameat(&self.fd, new, &self.fd, name)?,
            // The link does what a rename with `RENAME_NOREPLACE` would do, which not every file system supports.
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

    /// Gives a file that root makes to the owner of the directory: the service whose state it is.
    fn hand_over(&self, made: &OwnedFd) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        give(made, self.stat.st_uid, self.stat.st_gid)
    }

    /// Gives a directory that was made just now to the owner of this one. That owner may have replaced it with
    /// another directory since, which must not be given to them.
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

    /// Opens an existing file without blocking on a pipe that has no writer.
    fn existing(&self, name: &OsStr, access: OFlags) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = openat(&self.fd, name, flags | access, Mode::empty());
        let path = || self.path.join(name);
        let file = match opened {
            Ok(file) => file,
            Err(Errno::LOOP) => {
                return Err(self.planted(name, &statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?));
            }
            // A socket, or a pipe without a reader.
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

    /// Whether the file was put here by its owner or by us, and not by another user as a hard link.
    fn may_hold(&self, file: &Stat) -> bool {
        let is_linked_once = file.st_nlink == 1;
        if is_trusted(&self.stat) {
            return is_linked_once || !self.is_shared();
        }
        // In another user's directory a file of root's can only be a link that was planted there.
        let is_own = is_trusted(file) && is_linked_once && !geteuid().is_root();
        file.st_uid == self.stat.st_uid || is_own
    }

    /// Whether users other than the owner may put files here.
    fn is_shared(&self) -> bool {
        Mode::from_raw_mode(self.stat.st_mode).intersects(Mode::WGRP | Mode::WOTH)
    }

    fn planted(&self, name: &OsStr, link: &Stat) -> io::Error {
        io::Error::other(format!(
            "{} is a link that is not followed, as uid {} may have put it there: use the path that it leads to, or remove it",
            self.path.join(name).display(),
            if is_trusted(link) { self.stat.st_uid } else { link.st_uid }
        ))
    }

    fn sync(&self) -> io::Result<()> {
        // A directory opened on the way to a file has only `O_PATH` access, which `fsync` does not accept.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::fsync(openat(&self.fd, ".", flags, Mode::empty())?)?)
    }
}

impl Passed {
    fn of(path: &Path, stat: &Stat) -> Self {
        let (owner, group) = (stat.st_uid, stat.st_gid);
        Self { path: path.to_owned(), owner, group, mode: Mode::from_raw_mode(stat.st_mode) }
    }

    /// Whether users other than root and the owner may put files there. Our own group and that of root have no others.
    fn is_open_to_others(&self) -> bool {
        let is_own_group = self.group == 0 || self.group == getegid().as_raw();
        self.mode.contains(Mode::WOTH) || self.mode.contains(Mode::WGRP) && !is_own_group
    }

    fn distrusted(&self, file: &Path, why: &str, remedy: &str) -> io::Error {
        let (file, directory) = (file.display(), self.path.display());
        io::Error::other(format!(
            "{file} may be another user's, as the directory {directory} {why}: move the file to a directory of its \
             user alone{remedy}"
        ))
    }
}

/// Returns the directories above the working directory, the nearest first.
fn above_working_directory() -> io::Result<Vec<Passed>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (mut way, mut path) = (Vec::new(), PathBuf::from(".."));
    let mut below = fstat(openat(CWD, ".", flags, Mode::empty())?)?;
    loop {
        let above = fstat(openat(CWD, &path, flags, Mode::empty())?)?;
        if (above.st_dev, above.st_ino) == (below.st_dev, below.st_ino) {
            // The root is above itself.
            return Ok(way);
        }
        way.push(Passed::of(&path, &above));
        path.push("..");
        below = above;
    }
}

/// Returns the name of the file that a process was writing under this temporary name; the process may have been
/// killed.
pub(crate) fn unfinished(name: &OsStr) -> Option<&OsStr> {
    let (name, process) = name.to_str()?.strip_suffix(".tmp")?.rsplit_once('.')?;
    process.parse::<u32>().is_ok().then_some(name.as_ref())
}

/// Whether root or our own user owns a file.
fn is_trusted(found: &Stat) -> bool {
    is_trusted_user(found.st_uid)
}

fn is_trusted_user(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

fn is_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// Gives an open file or directory to a user, unless that user owns it already.
fn give(made: impl AsFd, owner: u32, group: u32) -> io::Result<()> {
    let own = fstat(&made)?;
    if (own.st_uid, own.st_gid) == (owner, group) {
        return Ok(());
    }
    Ok(fchown(made, Some(Uid::from_raw(owner)), Some(Gid::from_raw(group)))?)
}

fn no_file(path: &Path) -> io::Error {
    io::Error::other(format!("{} is not a regular file", path.display()))
}

/// The components of a path.
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

    /// The user ID of another user.
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
            directory.replace(name.as_ref(), b"two", Durability::Disk).unwrap();
            assert_eq!(directory.read(name.as_ref(), 9).unwrap(), b"two");
        }
        let mut names = directory.names().unwrap();
        names.retain(|name| ![".", ".."].contains(&name.to_str().unwrap()));
        names.sort();
        assert_eq!(
            names,
            ["file", "link"],
            "no unfinished file is left, and none was made elsewhere"
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
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("dir");
        std::fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        std::fs::write(at("file"), "text").unwrap();
        symlink("file", at("roots")).unwrap();
        symlink("file", at("theirs")).unwrap();
        lchown(at("theirs"), Some(OTHER), None).unwrap();
        assert_eq!(read(&at("roots"), 9).unwrap(), b"text");
        assert!(said(read(&at("theirs"), 9)).contains("as uid 61234 may have put it there"));

        // The hard link may come from another user only in a directory that others may write to.
        std::fs::hard_link(at("file"), at("again")).unwrap();
        assert_eq!(read(&at("again"), 9).unwrap(), b"text");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(said(read(&at("again"), 9)).contains("who may have linked it there"));
        std::fs::remove_file(at("again")).unwrap();
        assert!(said(read(&at("roots"), 9)).contains("other users may put files there"));
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(read(&at("roots"), 9).unwrap(), b"text");

        // The new owner of the directory may have moved root's files there.
        chown(&dir, Some(OTHER), None).unwrap();
        assert!(said(read(&at("roots"), 9)).contains("as uid 61234 may have put it there"));
        assert!(said(read(&at("file"), 9)).contains("who may have linked it there"));
        chown(at("file"), Some(OTHER), None).unwrap();
        assert_eq!(read(&at("file"), 9).unwrap(), b"text");
    }

    #[test]
    fn a_file_that_others_could_have_put_there_is_not_read_however_far_above_that_is() {
        if !geteuid().is_root() {
            return not_run(&anyhow::anyhow!("only root can give files to others")).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        Directory::open(&at("a/b"), Missing::Make).unwrap();
        let file = at("a/b/file");
        std::fs::write(&file, "text").unwrap();
        symlink(at("a/b"), at("link")).unwrap();
        symlink(at("link/file"), at("a/to")).unwrap();
        let paths = [&file, &at("link/file"), &at("a/to"), &at("a/b/../b/file")];
        let set = |owner, group, mode| {
            chown(at("a"), Some(owner), Some(group)).unwrap();
            std::fs::set_permissions(at("a"), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for mode in [0o755, 0o775, 0o1777, 0o1775] {
            set(0, 0, mode);
            for path in paths {
                assert_eq!(read(path, 9).unwrap(), b"text", "{mode:o} {}", path.display());
            }
        }
        for (owner, group, mode, words) in [
            (0, 0, 0o757, "a has mode 757, so other users may put files there"),
            (0, OTHER, 0o775, "chmod go-w"),
            (OTHER, 0, 0o755, "a belongs to uid 61234"),
            (OTHER, 0, 0o1777, "a belongs to uid 61234"),
        ] {
            set(owner, group, mode);
            for path in [&file, &at("link/file"), &at("a/b/../b/file")] {
                let text = said(read(path, 9));
                assert!(text.contains(words), "{mode:o} {}: {text}", path.display());
            }
            said(read(&at("a/to"), 9));
        }
        // A directory of another user may hold a file of that user, but neither may one where everybody puts files.
        for path in ["a/b", "a/b/file"] {
            chown(at(path), Some(OTHER), None).unwrap();
        }
        set(OTHER, 0, 0o755);
        assert_eq!(read(&file, 9).unwrap(), b"text");
        set(0, 0, 0o1777);
        assert!(said(read(&file, 9)).contains("b belongs to uid 61234"));
        chown(at("a/b"), Some(0), None).unwrap();
        std::fs::set_permissions(at("a/b"), std::fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(said(read(&file, 9)).contains("file belongs to uid 61234 in a directory"));
    }

    #[test]
    fn the_directories_above_the_working_directory_are_known_up_to_the_root() {
        let here = std::env::current_dir().unwrap();
        let above = above_working_directory().unwrap();
        assert_eq!(above.len(), here.components().count() - 1);
        assert!(read(Path::new("Cargo.toml"), 1 << 20).is_ok());
    }
}
