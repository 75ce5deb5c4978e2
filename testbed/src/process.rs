//! A server as a child process, in a directory of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::{
    leash::{Leash, ScratchDir},
    setup::{Placement, Setup},
};

/// A program of this machine, and the arguments that every use of it begins with.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: &'static [&'static str],
}

/// A server that may or may not be running at the moment.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    command: Command,
    log: PathBuf,
    // Dropped in this order: what runs, then its directory.
    running: Mutex<Option<Leash>>,
    dir: ScratchDir,
}

impl Process {
    /// Writes the server's files; nothing is started yet.
    pub(crate) fn prepare(
        name: &'static str,
        program: &Program,
        port: u16,
        setup: impl Fn(&Placement) -> Setup,
    ) -> Result<Self> {
        let dir = ScratchDir::new(name)?;
        let files = dir.path();
        let data = files.join("data");
        fs::create_dir(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let setup = setup(&Placement {
            files: files.to_string_lossy().into_owned(),
            data: data.to_string_lossy().into_owned(),
            address: "127.0.0.1",
            port,
        });
        for (file, contents) in &setup.files {
            fs::write(files.join(file), contents)
                .with_context(|| format!("cannot write {file} for {name}"))?;
        }
        let mut command = Command::new(&program.path);
        command
            .args(program.arguments)
            .args(&setup.arguments)
            .envs(setup.environment)
            .current_dir(files);
        let log = files.join("log");
        Ok(Self { name, command, log, running: Mutex::new(None), dir })
    }

    /// The directory with its files.
    pub(crate) fn files(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn start(&self) -> Result<()> {
        let leash = Leash::start(&self.command, &self.log)
            .with_context(|| format!("cannot start {}", self.name))?;
        *self.running() = Some(leash);
        Ok(())
    }

    pub(crate) fn kill(&self) {
        // Dropping the leash is what kills; not while the lock is held, since it waits.
        let running = self.running().take();
        drop(running);
    }

    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// The exit code if it ended by itself.
    pub(crate) fn exit_code(&self) -> Result<Option<i32>> {
        match self.running().as_mut() {
            Some(leash) => leash.exit_code(),
            None => bail!("{} was killed while it started", self.name),
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running().as_ref().map(Leash::pid)
    }

    pub(crate) fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match self.running().as_mut() {
            Some(leash) => leash.signal(signal),
            None => bail!("{} is not running", self.name),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Leash>> {
        // A test that panicked elsewhere leaves nothing half done in an Option.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
