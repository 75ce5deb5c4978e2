//! A Matrix homeserver without federation: Conduit if this machine has it, else Synapse; others if asked for.

use std::{env, path::Path, process::Output};

use anyhow::Result;
use tokio::{sync::Mutex, task::spawn_blocking};

use crate::{matrix::Account, server::Software};

mod choice;
mod conduit;
mod dendrite;
mod instance;
mod kind;
mod people;
mod settings;
mod synapse;
mod tuwunel;

use choice::Chosen;
use instance::Instance;
pub use kind::HomeserverKind;
use people::People;
pub use settings::SERVER_NAME;
use settings::Settings;

/// The number of bridges and of readers that a homeserver has unless a test asks for more.
const PEOPLE: usize = 2;

/// The number of each role that a shared homeserver has for those tests that need two.
const SPARE: usize = 8;

/// The largest upload in bytes unless a test asks for another.
const MAX_UPLOAD: u32 = 20_000_000;

/// A homeserver of one's own, gone when dropped.
#[derive(Debug)]
pub struct Homeserver {
    instance: Instance,
    version: String,
    max_upload: u32,
    people: People,
}

/// A homeserver with other than the usual settings.
#[derive(Clone, Debug, Default)]
pub struct HomeserverBuilder {
    rate_limited: bool,
    max_upload: Option<u32>,
    people: Option<usize>,
    as_process: bool,
    as_packaged: bool,
}

impl HomeserverBuilder {
    /// Gives a Conduit the settings that our package gives it. Others have the usual ones of the testbed.
    pub fn as_packaged(mut self) -> Self {
        self.as_packaged = true;
        self
    }

    /// Runs it as a process even if others run in containers: in one, no other Conduit can take the place of a Conduit.
    pub fn as_process(mut self) -> Self {
        self.as_process = true;
        self
    }

    /// Gives it so many bridges and readers; otherwise it has two of each.
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

    /// Limits uploads to so many bytes; otherwise to 20 MB. tuwunel takes no limit of less than 10 MB:
    /// [`Homeserver::max_upload`] tells.
    pub fn max_upload(mut self, bytes: u32) -> Self {
        self.max_upload = Some(bytes);
        self
    }

    /// Starts the homeserver and waits until it is ready. `nats_matrix` is the bridge's program, which makes its
    /// people.
    pub async fn start(self, nats_matrix: impl AsRef<Path>) -> Result<Homeserver> {
        let (rate_limited, as_process) = (self.rate_limited, self.as_process);
        let chosen = spawn_blocking(move || Chosen::find(rate_limited, as_process)).await??;
        let least = chosen.kind.least_max_upload();
        let settings = Settings {
            rate_limited,
            max_upload: self.max_upload.map_or(MAX_UPLOAD, |bytes| bytes.max(least)),
            in_container: matches!(chosen.software, Software::Image(_)),
            as_packaged: self.as_packaged,
        };
        let instance = Instance::start(&chosen, &settings).await?;
        let count = self.people.unwrap_or(PEOPLE);
        let people = People::make(&instance, nats_matrix.as_ref(), count).await?;
        Ok(Homeserver {
            instance,
            version: chosen.version,
            max_upload: settings.max_upload,
            people,
        })
    }
}

impl Homeserver {
    /// Starts a homeserver of one's own, for a test that breaks it; its people are made by `nats_matrix`, the
    /// bridge's program.
    pub async fn start(nats_matrix: impl AsRef<Path>) -> Result<Self> {
        Self::builder().start(nats_matrix).await
    }

    /// Builds a homeserver with other settings.
    pub fn builder() -> HomeserverBuilder {
        HomeserverBuilder::default()
    }

    /// A homeserver that `tests` tests of this process share, each of which takes one person of each role, and some of
    /// them two. The next test is given another one, since people are made before a homeserver starts, and most runs
    /// are of a few tests. It is not to be killed or paused.
    pub async fn shared(nats_matrix: impl AsRef<Path>, tests: usize) -> Result<&'static Self> {
        static SHARED: Mutex<Option<(usize, &Homeserver)>> = Mutex::const_new(None);
        let mut shared = SHARED.lock().await;
        if let Some((left, homeserver)) = &mut *shared
            && *left > 0
        {
            *left -= 1;
            return Ok(*homeserver);
        }
        // nextest runs each test in a process of its own.
        let people = env::var_os("NEXTEST").map_or(tests + SPARE, |_| PEOPLE);
        let homeserver = Self::builder().people(people).start(nats_matrix).await?;
        let homeserver = &*Box::leak(Box::new(homeserver));
        *shared = Some((tests - 1, homeserver));
        Ok(homeserver)
    }

    /// The implementation.
    pub fn kind(&self) -> HomeserverKind {
        self.instance.kind
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
        self.instance.server.port()
    }

    /// The URL that clients connect to.
    pub fn url(&self) -> String {
        self.instance.url()
    }

    /// The warnings and errors that it has printed.
    pub async fn log(&self) -> String {
        self.instance.server.log().await
    }

    /// The process id while it runs as a process.
    pub fn pid(&self) -> Option<u32> {
        self.instance.server.pid()
    }

    /// Waits until it has ended by itself, or by what somebody else did to it.
    pub async fn ended(&self) -> Result<i32> {
        self.instance.server.ended().await
    }

    /// Kills the homeserver with SIGKILL.
    pub async fn kill(&self) {
        self.instance.server.kill().await;
    }

    /// Starts the homeserver again on the same port and data, killing it first if it runs.
    pub async fn restart(&self) -> Result<()> {
        self.instance.server.start().await
    }

    /// Where the homeserver keeps its configuration and data, unless it runs in a container.
    pub fn files(&self) -> Option<&Path> {
        self.instance.server.files()
    }

    /// Freezes the homeserver: connections are taken, but nothing answers.
    pub async fn pause(&self) -> Result<()> {
        self.instance.server.pause().await
    }

    /// Ends a [`Self::pause`].
    pub async fn resume(&self) -> Result<()> {
        self.instance.server.resume().await
    }

    /// The `[provision]` of a configuration for this homeserver, whose passwords are made in `state_dir`.
    ///
    /// # Errors
    ///
    /// If it is a Conduit in a container, where no other Conduit can take its place.
    pub fn provisioning(&self, state_dir: &Path) -> Result<String> {
        self.instance.provisioning(state_dir)
    }

    /// Runs `nats-matrix provision` to its end as it is run for this kind of homeserver, which does not run meanwhile
    /// if it [stops for that](HomeserverKind::stops_for_provisioning).
    pub async fn provision(&self, nats_matrix: &Path, config: &Path) -> Result<Output> {
        self.instance.provision(nats_matrix, config).await
    }

    /// A person whom nobody has used yet: "bridge" or "alice" and a number, logged in.
    pub async fn account(&self, role: &str) -> Result<Account> {
        let (user, password) = self.people.next(role)?;
        Account::login(&self.url(), &user, &password).await
    }
}
