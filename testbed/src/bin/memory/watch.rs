//! The memory of a process, looked at a thousand times a second.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Looks at a process until it is dropped.
pub(crate) struct Watch {
    peak_kib: Arc<AtomicU64>,
    /// The end of the channel that keeps the watch going until it is dropped.
    goes_on: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The memory that `/proc/PID/status` tells, in KiB.
#[derive(Clone, Copy)]
struct Look {
    /// Memory of its own: `RssAnon`.
    anonymous: u64,
    /// Files that are mapped, as the program itself: `RssFile`.
    files: u64,
    /// The most that both together ever were: `VmHWM`.
    most: u64,
}

impl Watch {
    /// Begins to look at the process.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let peak_kib = Arc::<AtomicU64>::default();
        let peak = Arc::clone(&peak_kib);
        let (goes_on, over) = mpsc::sync_channel(0);
        let look = move || {
            let mut before: Option<Look> = None;
            while let Some(now) = Look::at(pid) {
                peak.fetch_max(now.peak(before), Ordering::Relaxed);
                before = Some(now);
                if over.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        };
        // A thread of its own, which looks also while the others are busy.
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(look);
        let thread = Some(thread.context("no thread to look")?);
        Ok(Self { peak_kib, goes_on: Some(goes_on), thread })
    }

    /// The most anonymous memory that the process had, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.peak_kib.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.goes_on.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Look {
    /// `None` once it has ended.
    fn at(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kib = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        Some(Self { anonymous: kib("RssAnon")?, files: kib("RssFile")?, most: kib("VmHWM")? })
    }

    /// The most anonymous memory since the look before. The kernel keeps the peak of anonymous memory and files
    /// together; where that has grown, what is not of files is of ours, and no peak between two looks is missed.
    fn peak(self, before: Option<Self>) -> u64 {
        let Some(before) = before.filter(|before| self.most > before.most) else {
            return self.anonymous;
        };
        let between = self.most.saturating_sub(self.files.max(before.files));
        self.anonymous.max(between)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_between_two_looks_is_seen() {
        let look = |anonymous, files, most| Look { anonymous, files, most };
        let before = look(10, 5, 15);
        assert_eq!(before.peak(None), 10);
        assert_eq!(look(12, 5, 17).peak(Some(before)), 12);
        assert_eq!(look(12, 6, 50).peak(Some(before)), 44);
        assert_eq!(look(9, 5, 15).peak(Some(before)), 9);
    }

    #[test]
    fn this_process_has_memory() {
        let watch = Watch::of(std::process::id()).unwrap();
        while watch.peak_kib() < 100 {
            thread::yield_now();
        }
    }
}
