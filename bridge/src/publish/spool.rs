//! The spool: messages that wait on disk until NATS has stored them, one file each, in the order of their creation.
//!
//! A message is written before it is sent and removed after it is acknowledged, so that no kill loses one. Two locks
//! coordinate processes. The lock for adding messages is held for a moment. The lock for sending them keeps two
//! processes from sending the same message or overtaking each other.
//!
//! The directory belongs to a service, and root uses it, too; see [`Directory`] for what its owner could put there.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::{
    directory::{Directory, Durability, Missing, unfinished},
    publish::message::Message,
};

/// The number of messages that may wait. It is low, and so is [`MOST_BYTES`], because the disk of a small server is not
/// meant for this. A waiting message is never dropped for a new one; the publisher of the new one gets an error.
const MOST: usize = 1_000;

const MOST_BYTES: u64 = 16 << 20;

/// The largest message, in bytes. It is the default limit of a NATS server.
const MOST_OF_ONE: u64 = 1 << 20;

/// The interval at which a process that waits for a lock tries again.
const LOOK: Duration = Duration::from_millis(20);

/// The time to wait for other processes that are adding messages.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory of waiting messages.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    dir: PathBuf,
}

/// The number of a message in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u64);

/// The reason why a message cannot be kept.
#[derive(Debug, Error)]
pub(crate) enum SpoolError {
    #[error(
        "{} messages of {} bytes wait in {} already, and more are not kept: they are sent once NATS is there; remove \
         those that nobody needs", .count, .bytes, .dir.display()
    )]
    Full { dir: PathBuf, count: usize, bytes: u64 },
    #[error("it has {size} bytes, and larger ones than {MOST_OF_ONE} are not kept")]
    Large { size: usize },
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

    /// Adds a message behind all others. It is on disk when this returns.
    pub(crate) async fn put(&self, message: &Message) -> Result<Number, SpoolError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| SpoolError::Io { path, error }
        };
        let dir = &self.dir;
        let text = serde_json::to_vec(message).map_err(|error| failed(dir)(error.into()))?;
        if text.len() as u64 > MOST_OF_ONE {
            return Err(SpoolError::Large { size: text.len() });
        }
        let directory = self.open(Missing::Make).map_err(failed(dir))?;
        let lock = locked(&directory, "put.lock", Instant::now() + PATIENCE).await;
        let _lock = lock.map_err(failed(dir))?.ok_or_else(|| {
            let held = format!("put.lock is held for more than {} s", PATIENCE.as_secs());
            failed(dir)(io::Error::other(held))
        })?;

        // A process that was killed while it held the lock has left these.
        remove_unfinished(&directory).map_err(failed(dir))?;
        let waiting = numbers(&directory).map_err(failed(dir))?;
        let sizes = waiting.iter().map(|number| directory.size(&number.name()).unwrap_or_default());
        let bytes = sizes.fold(0, u64::saturating_add);
        if waiting.len() >= MOST || bytes.saturating_add(text.len() as u64) > MOST_BYTES {
            return Err(SpoolError::Full { dir: dir.clone(), count: waiting.len(), bytes });
        }
        // Messages that are sent and removed at the same time came before this one, so it overtakes none of them.
        let number = Number(waiting.last().map_or(1, |last| last.0 + 1));
        let path = self.path(number);
        if number.0 > Number::MOST {
            return Err(failed(&path)(io::Error::other("there is no number after it: remove it")));
        }
        directory.replace(&number.name(), &text, Durability::Disk).map_err(failed(&path))?;
        Ok(number)
    }

    /// Returns the waiting messages in order.
    pub(crate) fn waiting(&self) -> io::Result<Vec<Number>> {
        numbers(&self.open(Missing::Fail)?)
    }

    /// Reads a waiting message. Returns `None` if it was removed.
    pub(crate) fn message(&self, number: Number) -> io::Result<Option<Message>> {
        match self.open(Missing::Fail)?.read(&number.name(), MOST_OF_ONE) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the message still waits.
    pub(crate) fn holds(&self, number: Number) -> bool {
        self.open(Missing::Fail).is_ok_and(|directory| directory.holds(&number.name()))
    }

    /// Removes a message that NATS has stored.
    pub(crate) fn done(&self, number: Number) -> io::Result<()> {
        self.open(Missing::Fail)?.remove(&number.name())
    }

    /// Waits for the lock for sending. Returns `None` if other processes hold it until then.
    pub(crate) async fn turn(&self, until: Instant) -> io::Result<Option<Turn>> {
        let lock = locked(&self.open(Missing::Fail)?, "send.lock", until).await?;
        Ok(lock.map(|lock| Turn { _lock: lock }))
    }

    /// Returns the path of a message's file.
    pub(crate) fn path(&self, number: Number) -> PathBuf {
        self.dir.join(number.name())
    }

    /// Opens the directory. Root also uses that of a service; see [`Directory`].
    fn open(&self, missing: Missing) -> io::Result<Directory> {
        let directory = Directory::open(&self.dir, missing)?;
        directory.check_writers()?;
        Ok(directory)
    }
}

impl Number {
    /// The highest possible number.
    const MOST: u64 = u64::MAX / 2;

    /// Returns the name of the message's file.
    fn name(self) -> OsString {
        format!("{:010}.json", self.0).into()
    }

    /// Parses the number in the name of a file.
    fn of(name: &OsStr) -> Option<Self> {
        let number = Self(name.to_str()?.strip_suffix(".json")?.parse().ok()?);
        (number.0 <= Self::MOST && number.name() == name).then_some(number)
    }
}

/// Returns the numbers of the messages in a directory, in order.
fn numbers(directory: &Directory) -> io::Result<Vec<Number>> {
    let mut numbers: Vec<Number> =
        directory.names()?.iter().filter_map(|name| Number::of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes files that were not completely written.
fn remove_unfinished(directory: &Directory) -> io::Result<()> {
    let names = directory.names()?;
    let is_message = |name: &OsStr| unfinished(name).and_then(Number::of).is_some();
    names.iter().filter(|name| is_message(name)).try_for_each(|name| directory.remove(name))
}

/// Waits for a lock. Returns `None` if other processes hold it until then.
async fn locked(directory: &Directory, name: &str, until: Instant) -> io::Result<Option<File>> {
    let lock = directory.open_or_create(name.as_ref())?;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOOK).await,
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

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

    #[tokio::test]
    async fn what_was_put_first_goes_first() {
        let (_dir, spool) = spool();
        let mut put = Vec::new();
        for number in 0..12 {
            put.push(spool.put(&message(&number.to_string())).await.unwrap());
        }
        assert_eq!(spool.waiting().unwrap(), put);
        spool.done(put[0]).unwrap();
        assert!(spool.message(put[0]).unwrap().is_none());
        assert_eq!(spool.message(put[1]).unwrap().unwrap().payload["host"], "1");
        let next = spool.put(&message("12")).await.unwrap();
        assert_eq!(spool.waiting().unwrap().last(), Some(&next));
    }

    #[tokio::test]
    async fn a_write_that_was_cut_short_is_no_message() {
        let (_dir, spool) = spool();
        spool.put(&message("a")).await.unwrap();
        let unfinished = spool.dir.join("0000000002.json.1234567890.tmp");
        fs::write(&unfinished, "{\"id\":\"a message that is longer than the next one, which")
            .unwrap();
        let next = spool.put(&message("b")).await.unwrap();
        assert_eq!(spool.waiting().unwrap().len(), 2);
        assert!(!unfinished.exists());
        assert_eq!(spool.message(next).unwrap().unwrap().payload["host"], "b");
    }

    #[tokio::test]
    async fn a_full_spool_keeps_what_it_has_and_says_so() {
        let (_dir, spool) = spool();
        let of = |part: u64| message(&"x".repeat(usize::try_from(MOST_OF_ONE / part).unwrap()));
        let refused = spool.put(&of(1)).await.unwrap_err().to_string();
        assert!(refused.contains("larger ones than 1048576 are not kept"), "{refused}");
        // Each message takes a little more than half of the limit, so one fewer fits than twice as many.
        let most = MOST_BYTES / MOST_OF_ONE * 2 - 1;
        for _ in 0..most {
            spool.put(&of(2)).await.unwrap();
        }
        let refused = spool.put(&of(2)).await.unwrap_err().to_string();
        let words = format!("{most} messages of");
        assert!(refused.contains(&words) && refused.contains("not kept"), "{refused}");
        assert_eq!(spool.waiting().unwrap().len() as u64, most);
        spool.put(&message("small")).await.unwrap();
    }

    #[tokio::test]
    async fn only_names_that_are_given_are_messages() {
        let (_dir, spool) = spool();
        spool.put(&message("a")).await.unwrap();
        for name in ["2.json", "+000000003.json", "18446744073709551615.json", "0000000004.json5"] {
            fs::write(spool.dir.join(name), "{}").unwrap();
        }
        assert_eq!(spool.put(&message("b")).await.unwrap(), Number(2));
        let last = Number(Number::MOST);
        fs::write(spool.path(last), "{}").unwrap();
        let refused = spool.put(&message("c")).await.unwrap_err().to_string();
        assert!(refused.contains("no number after it"), "{refused}");
    }

    #[tokio::test]
    async fn nothing_that_was_put_there_speaks_to_nats_itself() {
        let (_dir, spool) = spool();
        let number = spool.put(&message("a")).await.unwrap();
        let text = fs::read_to_string(spool.path(number)).unwrap();
        for subject in [
            "$JS.API.STREAM.DELETE.OPS",
            "ops.>",
            "ops.a\\r\\nPUB ops.b 0",
            "nats-matrix.held.ops.1.2.3",
            "_INBOX.x",
            "_INBOX_nats-matrix.x",
        ] {
            fs::write(spool.path(number), text.replace("ops.report.a", subject)).unwrap();
            let refused = spool.message(number).unwrap_err().to_string();
            assert!(refused.contains("subject") || refused.contains("wildcards"), "{refused}");
        }
    }

    #[tokio::test]
    async fn nobody_else_can_read_it() {
        let (_dir, spool) = spool();
        let number = spool.put(&message("a")).await.unwrap();
        assert_eq!(fs::metadata(&spool.dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(spool.path(number)).unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn only_one_sends_at_a_time() {
        let (_dir, spool) = spool();
        spool.put(&message("a")).await.unwrap();
        let turn = spool.turn(Instant::now()).await.unwrap().unwrap();
        assert!(spool.turn(Instant::now()).await.unwrap().is_none());
        drop(turn);
        assert!(spool.turn(Instant::now()).await.unwrap().is_some());
    }
}
