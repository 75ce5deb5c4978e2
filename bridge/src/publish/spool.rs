//! Messages on disk until NATS has them: one file each, in the order in which they were made.
//!
//! A message is there before it is sent and goes once it is acknowledged, so that a kill at any moment
//! loses none. Two locks keep processes apart: one to put messages in, held for a moment, and one to send
//! them, so that no two send the same or overtake each other.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::Message;

/// The most messages that may wait, and their bytes: a small server's disk is not for this. What waits is
/// never dropped for what comes; whoever brings one too many is told.
const MOST: usize = 1_000;
const MOST_BYTES: u64 = 16 << 20;

/// How often a process that waits for the lock looks whether it is free.
const LOOK: Duration = Duration::from_millis(20);

/// A directory of waiting messages.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    dir: PathBuf,
}

/// The place of a message in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u64);

/// Why a message cannot be kept.
#[derive(Debug, Error)]
pub(crate) enum SpoolError {
    #[error(
        "{} messages of {} bytes wait in {} already, and more are not kept: they are sent once NATS is there; remove \
         those that nobody needs", .count, .bytes, .dir.display()
    )]
    Full { dir: PathBuf, count: usize, bytes: u64 },
    #[error("cannot write {}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// The right to send, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: File,
}

impl Spool {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Keeps a message behind all others; it is on disk when this returns.
    pub(crate) fn put(&self, message: &Message) -> Result<Number, SpoolError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| SpoolError::Io { path, error }
        };
        let text = serde_json::to_vec(message).map_err(|error| failed(&self.dir)(error.into()))?;
        let dir = &self.dir;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
        let lock = self.create("put.lock").map_err(failed(dir))?;
        lock.lock().map_err(failed(dir))?;

        let waiting = self.waiting().map_err(failed(dir))?;
        let bytes: u64 = waiting
            .iter()
            .map(|number| fs::metadata(self.path(*number)).map_or(0, |file| file.len()))
            .sum();
        if waiting.len() >= MOST || bytes + text.len() as u64 > MOST_BYTES {
            return Err(SpoolError::Full { dir: dir.clone(), count: waiting.len(), bytes });
        }
        // Of what is sent meanwhile nothing is overtaken: it came before.
        let number = Number(waiting.last().map_or(1, |last| last.0 + 1));
        let path = self.path(number);
        let write = || {
            let mut file = self.create("new")?;
            file.set_len(0)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(dir.join("new"), &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(failed(&path))?;
        Ok(number)
    }

    /// What waits, the first to go first.
    pub(crate) fn waiting(&self) -> io::Result<Vec<Number>> {
        let mut waiting = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            waiting.extend(number.map(Number));
        }
        waiting.sort_unstable();
        Ok(waiting)
    }

    /// A message that waits; none if it has gone.
    pub(crate) fn message(&self, number: Number) -> io::Result<Option<Message>> {
        match fs::read(self.path(number)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a message, which NATS has.
    pub(crate) fn done(&self, number: Number) -> io::Result<()> {
        fs::remove_file(self.path(number))
    }

    /// Waits for the turn to send; none if others had it until then.
    pub(crate) async fn turn(&self, until: Instant) -> io::Result<Option<Turn>> {
        let lock = self.create("send.lock")?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(Turn { _lock: lock })),
                Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOOK).await,
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// The file of a message.
    pub(crate) fn path(&self, number: Number) -> PathBuf {
        self.dir.join(format!("{:010}.json", number.0))
    }

    /// Opens a file, which is made if there is none. Made by root, it belongs to whom the directory
    /// belongs to: the service of which this is the state.
    fn create(&self, name: &str) -> io::Result<File> {
        let path = self.dir.join(name);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let (dir, own) = (fs::metadata(&self.dir)?, file.metadata()?);
        if own.uid() != dir.uid() && rustix::process::geteuid().is_root() {
            fchown(&file, Some(dir.uid()), Some(dir.gid()))?;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::subject::Subject;

    fn message(text: &str) -> Message {
        let subject = Subject::literal("ops.report.a").unwrap();
        Message::new(&subject, &json!({ "host": text })).unwrap()
    }

    fn spool() -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::new(dir.path().join("deep/spool"));
        (dir, spool)
    }

    #[test]
    fn what_was_put_first_goes_first() {
        let (_dir, spool) = spool();
        let put: Vec<Number> =
            (0..12).map(|n| spool.put(&message(&n.to_string())).unwrap()).collect();
        assert_eq!(spool.waiting().unwrap(), put);
        spool.done(put[0]).unwrap();
        assert!(spool.message(put[0]).unwrap().is_none());
        assert_eq!(spool.message(put[1]).unwrap().unwrap().payload["host"], "1");
        let next = spool.put(&message("12")).unwrap();
        assert_eq!(spool.waiting().unwrap().last(), Some(&next));
    }

    #[test]
    fn a_write_that_was_cut_short_is_no_message() {
        let (_dir, spool) = spool();
        spool.put(&message("a")).unwrap();
        fs::write(
            spool.dir.join("new"),
            "{\"id\":\"a message that is longer than the next one, which",
        )
        .unwrap();
        let next = spool.put(&message("b")).unwrap();
        assert_eq!(spool.waiting().unwrap().len(), 2);
        assert_eq!(spool.message(next).unwrap().unwrap().payload["host"], "b");
    }

    #[test]
    fn a_full_spool_keeps_what_it_has_and_says_so() {
        let (_dir, spool) = spool();
        let large = "x".repeat(usize::try_from(MOST_BYTES / 3).unwrap());
        for _ in 0..2 {
            spool.put(&message(&large)).unwrap();
        }
        let refused = spool.put(&message(&large)).unwrap_err().to_string();
        assert!(refused.contains("2 messages of") && refused.contains("not kept"), "{refused}");
        assert_eq!(spool.waiting().unwrap().len(), 2);
        spool.put(&message("small")).unwrap();
    }

    #[test]
    fn nobody_else_can_read_it() {
        let (_dir, spool) = spool();
        let number = spool.put(&message("a")).unwrap();
        assert_eq!(fs::metadata(&spool.dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(spool.path(number)).unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn only_one_sends_at_a_time() {
        let (_dir, spool) = spool();
        spool.put(&message("a")).unwrap();
        let turn = spool.turn(Instant::now()).await.unwrap().unwrap();
        assert!(spool.turn(Instant::now()).await.unwrap().is_none());
        drop(turn);
        assert!(spool.turn(Instant::now()).await.unwrap().is_some());
    }
}
