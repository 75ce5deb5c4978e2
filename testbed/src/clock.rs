//! A clock for the bridge that is set while it runs, or that runs faster, by libfaketime.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::cache::faketime::libfaketime;

/// The clock of a process that runs with [`Clock::environment`].
#[derive(Clone, Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
    /// The number of the process's seconds that pass in a second, if all its time runs faster.
    pace: Option<u32>,
}

impl Clock {
    /// A wall clock that tells the right time, until it is set. Time that is measured, as for a timeout, is not
    /// changed. Its file is in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let clock = Self { library: libfaketime()?, file: dir.join("clock"), pace: None };
        clock.set(0)?;
        Ok(clock)
    }

    /// A clock from which all time of a process, that of its timeouts too, runs `pace` times as fast as that of the
    /// servers that it talks to.
    pub fn hasty(dir: &Path, pace: u32) -> Result<Self> {
        let clock = Self { pace: Some(pace), ..Self::new(dir)? };
        clock.set(0)?;
        Ok(clock)
    }

    /// The variables that make a process go by this clock.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("LD_PRELOAD", self.library.to_string_lossy().into_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_string_lossy().into_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        if self.pace.is_none() {
            environment.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()));
        }
        environment
    }

    /// Sets it to so many seconds off the right time, which is noticed within a second.
    pub fn set(&self, offset: i64) -> Result<()> {
        let pace = self.pace.map(|pace| format!(" x{pace}")).unwrap_or_default();
        // In one step, so that nobody reads half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{offset:+}{pace}"))?;
        fs::rename(&new, &self.file).context("cannot set the bridge's clock")
    }

    /// Fails unless a process really goes by it: a program that was linked statically does not.
    pub fn check(pid: u32) -> Result<()> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("the bridge is gone")?;
        if !maps.contains("libfaketime") {
            bail!("the bridge was started without libfaketime: is it linked statically?");
        }
        Ok(())
    }
}
