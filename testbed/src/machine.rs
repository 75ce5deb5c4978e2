//! The machine that figures were measured on.

use std::{fs, thread};

/// The machine, in a few words.
pub fn machine() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    format!("{model}, {cores} cores, {}", std::env::consts::OS)
}
