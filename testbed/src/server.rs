//! A server of either kind: a port, some files, and a life that tests end.

use std::{path::Path, time::Duration};

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    containers::{self, Container, Image},
    matrix,
    ports::Port,
    process::{Process, Program},
    setup::{Placement, Setup},
};

/// The time that a server may take to become ready: a cold start of Synapse beside a compiler is slow.
const PATIENCE: Duration = Duration::from_mins(2);

/// The sign that a server is ready for clients.
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
            }
            Self::MatrixVersions => {
                let url = format!("http://127.0.0.1:{port}/_matrix/client/versions");
                matrix::http().get(url).send().await?.error_for_status()?;
            }
        }
        Ok(())
    }
}

/// The software of a server: a program of this machine, or a container image.
#[derive(Clone, Debug)]
pub(crate) enum Software {
    Program(Program),
    Image(Image),
}

/// A server on a port of 127.0.0.1 which can be killed, frozen, and started again on the same data.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    probe: Probe,
    // Dropped in this order: what runs, then its port.
    host: Host,
    port: Port,
}

#[derive(Debug)]
enum Host {
    Process(Box<Process>),
    Container(Box<Container>),
}

impl Server {
    /// Starts a server and waits until it is ready.
    pub(crate) async fn launch(
        name: &'static str,
        software: &Software,
        probe: Probe,
        setup: impl Fn(&Placement) -> Setup,
    ) -> Result<Self> {
        let mut tries = 1;
        loop {
            let port = Port::reserve()?;
            let host = match software {
                Software::Program(program) => {
                    let process = Process::prepare(name, program, port.number(), &setup)?;
                    process.start()?;
                    Host::Process(Box::new(process))
                }
                Software::Image(image) => {
                    let created = containers::create(name, image, port.number(), &setup).await?;
                    Host::Container(Box::new(created))
                }
            };
            let server = Self { name, probe, host, port };
            match server.ready().await {
                Ok(()) => return Ok(server),
                // A program that knows nothing of our reservations was faster.
                Err(_) if tries < 3 && server.found_port_taken().await => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// The process id while it runs as a process.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.host {
            Host::Process(process) => process.pid(),
            Host::Container(_) => None,
        }
    }

    /// The directory with its files while it runs as a process.
    pub(crate) fn files(&self) -> Option<&Path> {
        match &self.host {
            Host::Process(process) => Some(process.files()),
            Host::Container(_) => None,
        }
    }

    /// Its output so far.
    pub(crate) async fn log(&self) -> String {
        match &self.host {
            Host::Process(process) => process.log(),
            Host::Container(container) => container.log().await,
        }
    }

    /// Starts the server, killing it first if it runs, and waits until it is ready.
    pub(crate) async fn start(&self) -> Result<()> {
        self.kill().await;
        match &self.host {
            Host::Process(process) => process.start()?,
            Host::Container(container) => container.start().await?,
        }
        self.ready().await
    }

    /// Kills the server with SIGKILL; its port refuses connections when this returns.
    ///
    /// # Panics
    ///
    /// If Docker fails to, after which no test could go on.
    pub(crate) async fn kill(&self) {
        match &self.host {
            Host::Process(process) => process.kill(),
            Host::Container(container) => {
                if let Err(error) = container.kill().await {
                    panic!("{error:#}");
                }
            }
        }
    }

    /// Freezes the server: its port accepts connections, but nothing answers.
    pub(crate) async fn pause(&self) -> Result<()> {
        match &self.host {
            Host::Process(process) => process.pause(),
            Host::Container(container) => container.pause().await,
        }
    }

    pub(crate) async fn resume(&self) -> Result<()> {
        match &self.host {
            Host::Process(process) => process.resume(),
            Host::Container(container) => container.resume().await,
        }
    }

    /// Waits until it ends by itself; returns its exit code.
    pub(crate) async fn ended(&self) -> Result<i32> {
        loop {
            if let Some(code) = self.exit_code().await? {
                return Ok(code);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn exit_code(&self) -> Result<Option<i32>> {
        match &self.host {
            Host::Process(process) => process.exit_code(),
            Host::Container(container) => container.exit_code().await,
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
            if let Some(code) = self.exit_code().await? {
                bail!(
                    "{} ended with exit code {code} while it started; its log ends with:\n{}",
                    self.name,
                    self.log_tail().await
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} was not ready after {PATIENCE:?} ({problem}); its log ends with:\n{}",
                    self.name,
                    self.log_tail().await
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn log_tail(&self) -> String {
        let log = self.log().await;
        let lines: Vec<&str> = log.trim_end().lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    async fn found_port_taken(&self) -> bool {
        let log = self.log_tail().await.to_lowercase();
        log.contains("address already in use") || log.contains("address in use")
    }
}
