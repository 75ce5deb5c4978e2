//! What the two servers have in common: a port, a directory, and a life that tests end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    leash::{Leash, ScratchDir, tail},
    matrix,
    ports::Port,
};

/// How long a server may take to become ready: a cold start of Synapse beside a compiler is slow.
const PATIENCE: Duration = Duration::from_mins(2);

/// How to tell that a server is ready for clients.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {
    /// It greets with `INFO`, as `nats-server` does once it has recovered its streams.
    NatsInfo,
    /// It answers `/_matrix/client/versions`.
    MatrixVersions,
}

impl Probe {
    async fn check(self, port: u16) -> Result<()> {
        match self {
            Self::NatsInfo => {
                let stream = TcpStream::connect(("127.0.0.1", port)).await?;
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).await?;
                if !line.starts_with("INFO ") {
                    bail!("the server greets with {line:?}, not with INFO");
                }
                Ok(())
            }
            Self::MatrixVersions => {
                let url = format!("http://127.0.0.1:{port}/_matrix/client/versions");
                matrix::http().get(url).send().await?.error_for_status()?;
                Ok(())
            }
        }
    }
}

/// A server on a port of 127.0.0.1 which can be killed, frozen, and started again on the same data.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    probe: Probe,
    command: Command,
    log: PathBuf,
    // Fields are dropped in this order: the process, then its directory, then its port.
    process: Mutex<Option<Leash>>,
    _dir: ScratchDir,
    port: Port,
}

impl Server {
    /// Prepares and starts a server. `prepare` writes the configuration for the given port into the
    /// given directory, in which the server will run, and says what to start.
    pub(crate) async fn launch(
        name: &'static str,
        probe: Probe,
        prepare: impl Fn(&Path, u16) -> Result<Command>,
    ) -> Result<Self> {
        let mut tries = 1;
        loop {
            let dir = ScratchDir::new(name)?;
            let port = Port::reserve()?;
            let mut command = prepare(dir.path(), port.number())?;
            command.current_dir(dir.path());
            let server = Self {
                name,
                probe,
                command,
                log: dir.path().join("log"),
                process: Mutex::new(None),
                _dir: dir,
                port,
            };
            match server.start().await {
                Ok(()) => return Ok(server),
                // A program that knows nothing of our reservations was faster.
                Err(_) if tries < 3 && server.found_port_taken() => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// The process id while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Leash::pid)
    }

    pub(crate) fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Starts the server, killing it first if it runs, and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<()> {
        self.kill();
        let leash = Leash::start(&self.command, &self.log)
            .with_context(|| format!("cannot start {}", self.name))?;
        *self.process() = Some(leash);
        self.ready().await
    }

    /// Kills the server with SIGKILL; its port refuses connections when this returns.
    pub(crate) fn kill(&self) {
        let running = self.process().take();
        drop(running);
    }

    /// Freezes the server: its port accepts connections, but nothing answers.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match self.process().as_mut() {
            Some(leash) => leash.signal(signal),
            None => bail!("{} is not running", self.name),
        }
    }

    async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let probed = timeout(Duration::from_secs(5), self.probe.check(self.port())).await;
            let problem = match probed {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer within 5 s".to_owned(),
            };
            let ended = match self.process().as_mut() {
                Some(leash) => leash.exit_code()?,
                None => bail!("{} was killed while it started", self.name),
            };
            if let Some(code) = ended {
                bail!(
                    "{} ended with exit code {code} while it started; its log ends with:\n{}",
                    self.name,
                    tail(&self.log, 20)
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} was not ready after {} s ({problem}); its log ends with:\n{}",
                    self.name,
                    PATIENCE.as_secs(),
                    tail(&self.log, 20)
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn found_port_taken(&self) -> bool {
        let log = tail(&self.log, 50).to_lowercase();
        log.contains("address already in use") || log.contains("address in use")
    }

    fn process(&self) -> MutexGuard<'_, Option<Leash>> {
        // A test that panicked elsewhere leaves nothing half done in an Option.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
