//! A Matrix homeserver without federation: Conduit if this machine has it, else Synapse.

use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    cache,
    containers::{self, ImageOf},
    matrix::Account,
    process::Program,
    server::{Probe, Server, Software},
};

mod conduit;
mod synapse;

/// The name behind the colon of every user and room of a testbed homeserver.
pub const SERVER_NAME: &str = "testbed.localhost";

/// Guards registration where the homeserver wants it guarded. It listens on loopback only.
const REGISTRATION_TOKEN: &str = "testbed";

/// The homeserver's implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeserverKind {
    /// Small, in Rust.
    Conduit,
    /// The reference, in Python.
    Synapse,
}

impl HomeserverKind {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conduit => "Conduit",
            Self::Synapse => "Synapse",
        }
    }

    fn from_env() -> Result<Option<Self>> {
        match env::var("NATS_MATRIX_HOMESERVER_KIND").as_deref() {
            Err(_) | Ok("") => Ok(None),
            Ok("conduit") => Ok(Some(Self::Conduit)),
            Ok("synapse") => Ok(Some(Self::Synapse)),
            Ok(other) => bail!(
                "NATS_MATRIX_HOMESERVER_KIND is {other:?}, which is neither conduit nor synapse"
            ),
        }
    }
}

/// A homeserver of one's own, gone when dropped.
#[derive(Debug)]
pub struct Homeserver {
    server: Server,
    kind: HomeserverKind,
    version: String,
}

/// A homeserver with other than the usual settings.
#[derive(Clone, Debug, Default)]
pub struct HomeserverBuilder {
    rate_limited: bool,
    max_upload: Option<u32>,
}

impl HomeserverBuilder {
    /// Limits how fast an account may send messages: 5 at once, then one a second.
    ///
    /// Conduit has no such limit, so this homeserver is a Synapse in any case.
    pub fn rate_limited(mut self) -> Self {
        self.rate_limited = true;
        self
    }

    /// The largest upload in bytes; otherwise 20 MB.
    pub fn max_upload(mut self, bytes: u32) -> Self {
        self.max_upload = Some(bytes);
        self
    }

    /// Starts the homeserver and waits until it is ready.
    pub async fn start(self) -> Result<Homeserver> {
        let rate_limited = self.rate_limited;
        let chosen = spawn_blocking(move || Chosen::find(rate_limited)).await??;
        let name = chosen.kind.name();
        let server =
            Server::launch(name, &chosen.software, Probe::MatrixVersions, |place| {
                match (chosen.kind, &chosen.software) {
                    (HomeserverKind::Conduit, _) => conduit::setup(&self, place),
                    (HomeserverKind::Synapse, Software::Program(_)) => {
                        synapse::program_setup(&self, place)
                    }
                    (HomeserverKind::Synapse, Software::Image(_)) => {
                        synapse::image_setup(&self, place)
                    }
                }
            })
            .await?;
        let homeserver = Homeserver { server, kind: chosen.kind, version: chosen.version };
        // Conduit makes the first account its administrator, which puts it into a room of its own.
        // That would surprise a test, so it happens to nobody.
        homeserver.register("first").await?;
        Ok(homeserver)
    }

    fn max_upload_bytes(&self) -> u32 {
        self.max_upload.unwrap_or(20_000_000)
    }
}

/// Which homeserver to start.
struct Chosen {
    kind: HomeserverKind,
    software: Software,
    version: String,
}

impl Chosen {
    /// `$NATS_MATRIX_HOMESERVER_KIND` chooses; left open, it is Conduit where there is Conduit.
    fn find(rate_limited: bool) -> Result<Self> {
        let wanted = HomeserverKind::from_env()?;
        if containers::wanted()? {
            let kind = wanted.unwrap_or(HomeserverKind::Conduit);
            // There is one image, so a test that needs the other implementation runs a process.
            if kind == HomeserverKind::Synapse || !rate_limited {
                return Self::image(kind);
            }
        }
        if rate_limited {
            return Self::synapse();
        }
        match (wanted, cache::conduit()?) {
            (Some(HomeserverKind::Synapse), _) | (None, None) => Self::synapse(),
            (_, Some(path)) => Self::conduit(path),
            (Some(HomeserverKind::Conduit), None) => bail!(
                "NATS_MATRIX_HOMESERVER_KIND asks for Conduit, but there is no conduit on PATH; \
                 name it in CONDUIT_BIN"
            ),
        }
    }

    fn image(kind: HomeserverKind) -> Result<Self> {
        let server = match kind {
            HomeserverKind::Conduit => ImageOf::Conduit,
            HomeserverKind::Synapse => ImageOf::Synapse,
        };
        let image = server.image()?;
        let version = format!("in the container image {}:{}", image.name, image.tag);
        Ok(Self { kind, software: Software::Image(image), version })
    }

    fn conduit(path: PathBuf) -> Result<Self> {
        let version = printed_by(Command::new(&path).arg("--version"))?;
        let version = version.strip_prefix("conduit ").unwrap_or(&version).to_owned();
        let software = Software::Program(Program { path, arguments: &[] });
        Ok(Self { kind: HomeserverKind::Conduit, software, version })
    }

    fn synapse() -> Result<Self> {
        let path = cache::synapse_python()?;
        let ask = "import importlib.metadata as m; print(m.version('matrix-synapse'))";
        let version = printed_by(Command::new(&path).args(["-I", "-c", ask]))?;
        let software = Software::Program(Program { path, arguments: synapse::ARGUMENTS });
        Ok(Self { kind: HomeserverKind::Synapse, software, version })
    }
}

/// The one line that a program prints.
fn printed_by(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("cannot ask {} for its version: {}", program.display(), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Homeserver {
    /// Starts a homeserver of one's own, for a test that breaks it.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// For a homeserver with other settings.
    pub fn builder() -> HomeserverBuilder {
        HomeserverBuilder::default()
    }

    /// The homeserver that all tests of this process share. It is not to be killed or paused.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Homeserver> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// Which implementation it is.
    pub fn kind(&self) -> HomeserverKind {
        self.kind
    }

    /// The implementation's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The part behind the colon of its users and rooms.
    pub fn server_name(&self) -> &'static str {
        SERVER_NAME
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// What clients connect to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// What the homeserver printed: warnings and errors.
    pub async fn log(&self) -> String {
        self.server.log().await
    }

    /// The process id while it runs as a process.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Kills the homeserver with SIGKILL.
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Starts the homeserver again on the same port and data, killing it first if it runs.
    pub async fn restart(&self) -> Result<()> {
        self.server.start().await
    }

    /// Freezes the homeserver: connections are taken, but nothing answers.
    pub async fn pause(&self) -> Result<()> {
        self.server.pause().await
    }

    /// Ends a [`Self::pause`].
    pub async fn resume(&self) -> Result<()> {
        self.server.resume().await
    }

    /// Makes an account with exactly this name.
    pub async fn register(&self, localpart: &str) -> Result<Account> {
        let password = format!("{localpart}-password");
        Account::register(&self.url(), localpart, &password, REGISTRATION_TOKEN)
            .await
            .with_context(|| format!("cannot register {localpart}"))
    }

    /// Makes an account whose name begins with `prefix` and is unique on this homeserver.
    pub async fn account(&self, prefix: &str) -> Result<Account> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        self.register(&format!("{prefix}{number}")).await
    }
}
