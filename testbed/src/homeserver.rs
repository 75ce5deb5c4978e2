//! A Matrix homeserver without federation: Conduit if this machine has it, else Synapse; others if asked for.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    matrix::Account,
    secrets,
    server::{Probe, Server, Software},
};

mod choice;
mod conduit;
mod dendrite;
mod people;
mod synapse;
mod tuwunel;

use choice::Chosen;
pub use choice::HomeserverKind;
use people::People;

/// The name behind the colon of every user and room of a testbed homeserver.
pub const SERVER_NAME: &str = "testbed.localhost";

/// Guards registration at a Conduit in a container. It listens on loopback only.
const REGISTRATION_TOKEN: &str = "testbed";
/// The configuration of a Conduit, or of its relative.
const CONDUIT_CONFIG: &str = "homeserver.toml";
/// The `registration_shared_secret` of Synapse and Dendrite.
const REGISTRATION_SECRET: &str = "shared by the testbed";
/// The file that has it.
const REGISTRATION_SECRET_FILE: &str = "registration-secret";

/// How many bridges and readers a homeserver has by itself, of a test's own.
const PEOPLE: usize = 2;

/// A homeserver of one's own, gone when dropped.
#[derive(Debug)]
pub struct Homeserver {
    server: Server,
    kind: HomeserverKind,
    version: String,
    max_upload: u32,
    /// Its program, if it is not in a container.
    program: Option<PathBuf>,
    people: People,
}

/// A homeserver with other than the usual settings.
#[derive(Clone, Debug, Default)]
pub struct HomeserverBuilder {
    rate_limited: bool,
    max_upload: Option<u32>,
    people: Option<usize>,
    as_process: bool,
    in_container: bool,
}

impl HomeserverBuilder {
    /// Not in a container, whatever is asked for: in one, no other Conduit can take the place of a Conduit.
    pub fn as_process(mut self) -> Self {
        self.as_process = true;
        self
    }

    /// How many bridges and readers it has; otherwise two of each.
    pub fn people(mut self, count: usize) -> Self {
        self.people = Some(count);
        self
    }

    /// Limits how fast an account may send messages: 5 at once, then one a second.
    ///
    /// Conduit has no such limit, so this homeserver is a Synapse in any case.
    pub fn rate_limited(mut self) -> Self {
        self.rate_limited = true;
        self
    }

    /// The largest upload in bytes; otherwise 20 MB. tuwunel takes no limit of less than 10 MB:
    /// [`Homeserver::max_upload`] tells.
    pub fn max_upload(mut self, bytes: u32) -> Self {
        self.max_upload = Some(bytes);
        self
    }

    /// Starts the homeserver and waits until it is ready. `nats_matrix` is the bridge's program, which makes its
    /// people.
    pub async fn start(mut self, nats_matrix: impl AsRef<Path>) -> Result<Homeserver> {
        let (rate_limited, as_process) = (self.rate_limited, self.as_process);
        let chosen = spawn_blocking(move || Chosen::find(rate_limited, as_process)).await??;
        self.in_container = matches!(chosen.software, Software::Image(_));
        let least = chosen.kind.least_max_upload();
        self.max_upload = self.max_upload.map(|bytes| bytes.max(least));
        let name = chosen.kind.name();
        let server =
            Server::launch(name, &chosen.software, Probe::MatrixVersions, |place| {
                match (chosen.kind, &chosen.software) {
                    (HomeserverKind::Conduit, _) => conduit::setup(&self, place),
                    (HomeserverKind::Tuwunel, _) => tuwunel::setup(&self, place),
                    (HomeserverKind::Dendrite, _) => dendrite::setup(&self, place),
                    (HomeserverKind::Synapse, Software::Program(_)) => {
                        synapse::program_setup(&self, place)
                    }
                    (HomeserverKind::Synapse, Software::Image(_)) => {
                        synapse::image_setup(&self, place)
                    }
                }
            })
            .await?;
        let program = match chosen.software {
            Software::Program(program) => Some(program.path),
            Software::Image(_) => None,
        };
        let mut homeserver = Homeserver {
            server,
            kind: chosen.kind,
            version: chosen.version,
            max_upload: self.max_upload_bytes(),
            program,
            people: People::default(),
        };
        let count = self.people.unwrap_or(PEOPLE);
        homeserver.people = People::make(&homeserver, nats_matrix.as_ref(), count).await?;
        Ok(homeserver)
    }

    fn max_upload_bytes(&self) -> u32 {
        self.max_upload.unwrap_or(20_000_000)
    }
}

impl Homeserver {
    /// Starts a homeserver of one's own, for a test that breaks it; its people are made by `nats_matrix`, the
    /// bridge's program.
    pub async fn start(nats_matrix: impl AsRef<Path>) -> Result<Self> {
        Self::builder().start(nats_matrix).await
    }

    /// For a homeserver with other settings.
    pub fn builder() -> HomeserverBuilder {
        HomeserverBuilder::default()
    }

    /// The homeserver that all tests of this process share, with `people` of each role. It is not to be killed or
    /// paused.
    pub async fn shared(nats_matrix: impl AsRef<Path>, people: usize) -> Result<&'static Self> {
        static SHARED: OnceCell<Homeserver> = OnceCell::const_new();
        // nextest runs each test in a process of its own.
        let people = env::var_os("NEXTEST").map_or(people, |_| PEOPLE);
        SHARED.get_or_try_init(|| Self::builder().people(people).start(nats_matrix)).await
    }

    /// Which implementation it is.
    pub fn kind(&self) -> HomeserverKind {
        self.kind
    }

    /// The implementation's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The largest upload in bytes.
    pub fn max_upload(&self) -> u32 {
        self.max_upload
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

    /// The `[provision]` of a configuration for this homeserver, whose passwords are made in `state_dir`.
    ///
    /// # Errors
    ///
    /// If it is a Conduit in a container, where no other Conduit can take its place.
    pub fn provisioning(&self, state_dir: &Path) -> Result<String> {
        let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
        let kind = self.kind;
        let means = match (kind.stops_for_provisioning(), self.server.files(), &self.program) {
            (true, Some(files), Some(program)) => format!(
                "conduit = {}\nconduit_program = {}\nimplementation = \"{}\"",
                quoted(&files.join(CONDUIT_CONFIG)),
                quoted(program),
                kind.name().to_lowercase(),
            ),
            (true, _, _) => {
                bail!("{} is in a container, and cannot be provisioned there", kind.name())
            }
            (false, _, _) => {
                let file = state_dir.join(REGISTRATION_SECRET_FILE);
                fs::create_dir_all(state_dir).context("cannot make the directory of passwords")?;
                fs::write(&file, REGISTRATION_SECRET)
                    .with_context(|| format!("cannot write {}", file.display()))?;
                format!("registration_secret_file = {}", quoted(&file))
            }
        };
        Ok(format!("[provision]\n{means}\nstate_dir = {}\n", quoted(state_dir)))
    }

    /// Runs `nats-matrix provision` to its end as it is run for this kind of homeserver, which does not run meanwhile
    /// if it [stops for that](HomeserverKind::stops_for_provisioning).
    pub async fn provision(&self, nats_matrix: &Path, config: &Path) -> Result<Output> {
        let stops = self.kind.stops_for_provisioning();
        if stops {
            self.kill().await;
        }
        let mut command = tokio::process::Command::new(nats_matrix);
        command.arg("provision").arg("--config").arg(config).kill_on_drop(true);
        let mut kept = secrets::expect(command.as_std());
        let output = command.output().await.context("cannot run nats-matrix")?;
        secrets::none_in_output(&output, &mut kept);
        if stops {
            self.restart().await?;
        }
        Ok(output)
    }

    /// A person whom nobody has used yet: "bridge" or "alice" and a number, logged in.
    pub async fn account(&self, role: &str) -> Result<Account> {
        let (user, password) = self.people.next(role)?;
        Account::login(&self.url(), &user, &password).await
    }
}
