//! The lock on the state directory, which only one `run` at a time can use.
//!
//! The file also tells the next process that has the lock who had it before: that process has ended, so its routes can be
//! taken over at once. A copy of the directory, or the same one seen from another machine, tells nothing of the kind.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{
    directory::{Directory, Missing},
    failure::Failure,
    source::Lease,
};

/// The name of the file.
const NAME: &str = "run.lock";

/// The time to wait for another process, which may take ten seconds to stop.
const PATIENCE: Duration = Duration::from_secs(15);

/// The interval of attempts.
const LOOK: Duration = Duration::from_millis(100);

/// The length of the file in bytes. It is always written at full length, and so replaces what was there.
const LENGTH: usize = 256;

/// The largest difference between two computations of when the machine was started, in seconds.
const SAME_START: u64 = 3;

/// A process that has the lock.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    /// The id of the process in its leases.
    process: String,
    /// The time when the machine was started, in seconds since 1970.
    started: u64,
    /// The file that the process has locked, by its device and its number there.
    file: (u64, u64),
}

/// The lock on the state directory, held until it is dropped.
#[derive(Debug)]
pub(crate) struct StateLock {
    /// `None` if the file system does not let us lock it.
    _file: Option<File>,
}

impl StateLock {
    /// Locks the directory for the process that has this lease.
    ///
    /// # Errors
    ///
    /// [`Failure::Unavailable`] if another process has the lock, and keeps it for longer than stopping takes.
    pub(crate) async fn take(state_dir: &Path, lease: &Lease) -> Result<Self, Failure> {
        match Self::wait(state_dir, lease).await {
            Ok(lock) => lock,
            Err(error) => {
                warn!(
                    "matrix.state_dir: {} cannot be locked, so a second nats-matrix run on it is not noticed: {error}",
                    state_dir.display()
                );
                Ok(Self { _file: None })
            }
        }
    }

    async fn wait(state_dir: &Path, lease: &Lease) -> io::Result<Result<Self, Failure>> {
        let (directory, name) = Directory::around(&state_dir.join(NAME), Missing::Make)?;
        let file = directory.open_or_create(&name)?;
        let begun = Instant::now();
        let mut is_said = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            let holder = Holder::read(&file)
                .map_or_else(String::new, |holder| format!(" (process {})", holder.pid));
            let state_dir = state_dir.display();
            if begun.elapsed() >= PATIENCE {
                return Ok(Err(Failure::Unavailable(format!(
                    "matrix.state_dir: {state_dir} is in use by another nats-matrix run{holder}: stop that one, or give \
                     this one a state_dir of its own"
                ))));
            }
            if !std::mem::replace(&mut is_said, true) {
                info!(
                    "matrix.state_dir: {state_dir} is in use by another nats-matrix run{holder}; waiting up to {PATIENCE:?} \
                     for it to end"
                );
            }
            sleep(LOOK).await;
        }
        let own = Holder::own(&file, lease)?;
        if let Some(before) = Holder::read(&file).filter(|before| before.has_locked_same(&own)) {
            lease.outlives(before.process);
        }
        own.write(&file);
        Ok(Ok(Self { _file: Some(file) }))
    }
}

impl Holder {
    fn own(file: &File, lease: &Lease) -> io::Result<Self> {
        let stat = file.metadata()?;
        Ok(Self {
            pid: std::process::id(),
            process: lease.process().to_owned(),
            started: started(),
            file: (stat.dev(), stat.ino()),
        })
    }

    /// Whether the two have locked the same file on the same machine, so that the lock tells that the first has ended.
    fn has_locked_same(&self, other: &Self) -> bool {
        self.file == other.file && self.started.abs_diff(other.started) <= SAME_START
    }

    fn read(file: &File) -> Option<Self> {
        let mut text = [0; LENGTH];
        let length = file.read_at(&mut text, 0).ok()?;
        serde_json::from_slice(text.get(..length)?).ok()
    }

    /// Writes the file as far as possible: without it another bridge only takes over later.
    fn write(&self, file: &File) {
        let text = serde_json::to_string(self).unwrap_or_default();
        let _ = file.write_all_at(format!("{text:<width$}\n", width = LENGTH - 1).as_bytes(), 0);
    }
}

/// Returns the time when the machine was started, in seconds since 1970.
fn started() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    now.saturating_sub(u64::try_from(rustix::system::sysinfo().uptime).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_process_waits_for_a_while_and_then_says_who_has_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (Lease::new().unwrap(), Lease::new().unwrap());
        let lock = StateLock::take(directory.path(), &first).await.unwrap();
        let failure = StateLock::take(directory.path(), &second).await.unwrap_err();
        assert!(matches!(failure, Failure::Unavailable(_)));
        assert!(failure.to_string().contains(&format!("process {}", std::process::id())));
        let end = async {
            sleep(PATIENCE / 2).await;
            drop(lock);
        };
        let (lock, ()) = tokio::join!(StateLock::take(directory.path(), &second), end);
        lock.unwrap();
        assert!(second.is_over(&format!("{}-0", first.process())));
        assert!(!second.is_over(&format!("{}-0", second.process())));
    }

    #[tokio::test]
    async fn a_copy_of_the_directory_does_not_tell_that_a_process_has_ended() {
        let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (first, second) = (Lease::new().unwrap(), Lease::new().unwrap());
        drop(StateLock::take(directory.path(), &first).await.unwrap());
        std::fs::copy(directory.path().join(NAME), copy.path().join(NAME)).unwrap();
        StateLock::take(copy.path(), &second).await.unwrap();
        assert!(!second.is_over(&format!("{}-0", first.process())));
    }
}
