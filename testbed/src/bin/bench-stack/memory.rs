//! The memory and the processor time of a process, as `/proc/PID/status` and `stat` tell them.

use std::{fs, time::Duration};

use nats_matrix_testbed::Usage;

/// The use of memory at a moment, in KiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// All that is resident, the files of the program included.
    pub(crate) rss: u64,
    /// Memory of its own, without files.
    pub(crate) anonymous: u64,
}

/// Looks at a process; `None` once it has ended.
pub(crate) fn look(pid: u32) -> Option<(Memory, Duration)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let anonymous = anonymous.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let usage = Usage::of(pid).ok()?;
    Some((Memory { rss: usage.rss_kib, anonymous }, usage.cpu_time))
}
