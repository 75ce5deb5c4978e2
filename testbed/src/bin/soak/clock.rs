//! A clock for the bridge that can be set while it runs: libfaketime, where it is installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Where distributions put it, below `/usr/lib`, `/usr/lib64`, `/usr/local/lib` or a directory of these.
const LIBRARY: &str = "faketime/libfaketime.so.1";

/// The wall clock of a process that runs with [`Clock::environment`].
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// One that tells the right time; what it is set to is kept in `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let library = library().context(
            "libfaketime is not installed (on Debian the package faketime or libfaketime)",
        )?;
        let clock = Self { library, file: dir.join("clock") };
        clock.set(0)?;
        Ok(clock)
    }

    /// What a process needs to go by this clock. Time that is measured, as for a timeout, is not changed.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.to_string_lossy().into_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_string_lossy().into_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// Sets it to so many seconds off the right time, which is noticed within a second.
    pub(crate) fn set(&self, offset: i64) -> Result<()> {
        // In one step, so that nobody reads half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{offset:+}"))?;
        fs::rename(&new, &self.file).context("cannot set the bridge's clock")
    }

    /// Whether a process really goes by it: a program that was linked statically does not.
    pub(crate) fn check(pid: u32) -> Result<()> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).context("the bridge is gone")?;
        if !maps.contains("libfaketime") {
            bail!("the bridge was started without libfaketime: is it linked statically?");
        }
        Ok(())
    }
}

fn library() -> Option<PathBuf> {
    let roots = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(Path::new);
    let below = roots.iter().filter_map(|root| fs::read_dir(root).ok()).flatten();
    let below: Vec<_> = below.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let places = roots.into_iter().chain(below.iter().map(PathBuf::as_path));
    places.map(|place| place.join(LIBRARY)).find(|library| library.is_file())
}
