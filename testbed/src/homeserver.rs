//! A Matrix homeserver without federation: Conduit if this machine has it, else Synapse.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    cache,
    matrix::Account,
    server::{Probe, Server},
};

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
        let program = spawn_blocking(move || Program::find(self.rate_limited)).await??;
        let version = program.version()?;
        let name = match program.kind {
            HomeserverKind::Conduit => "conduit",
            HomeserverKind::Synapse => "synapse",
        };
        let server = Server::launch(name, Probe::MatrixVersions, |dir, port| match program.kind {
            HomeserverKind::Conduit => self.prepare_conduit(&program.path, dir, port),
            HomeserverKind::Synapse => self.prepare_synapse(&program.path, dir, port),
        })
        .await?;
        let homeserver = Homeserver { server, kind: program.kind, version };
        // Conduit makes the first account its administrator, which puts it into a room of its own.
        // That would surprise a test, so it happens to nobody.
        homeserver.register("first").await?;
        Ok(homeserver)
    }

    fn prepare_conduit(&self, program: &Path, dir: &Path, port: u16) -> Result<Command> {
        let config = dir.join("conduit.toml");
        let database = Value::from(dir.join("database").to_string_lossy());
        let max_request_size = self.max_upload.unwrap_or(20_000_000);
        fs::write(
            &config,
            format!(
                r#"[global]
server_name = "{SERVER_NAME}"
address = "127.0.0.1"
port = {port}
database_backend = "rocksdb"
database_path = {database}
db_cache_capacity_mb = 16
conduit_cache_capacity_modifier = 0.1
max_request_size = {max_request_size}
allow_registration = true
registration_token = "{REGISTRATION_TOKEN}"
allow_federation = false
allow_check_for_updates = false
enable_lightning_bolt = false
trusted_servers = []
log = "warn"
"#
            ),
        )
        .context("cannot write Conduit's configuration")?;
        let mut command = Command::new(program);
        command.env("CONDUIT_CONFIG", config);
        Ok(command)
    }

    fn prepare_synapse(&self, python: &Path, dir: &Path, port: u16) -> Result<Command> {
        let logging = dir.join("logging.json");
        fs::write(&logging, synapse_logging().to_string())?;
        // JSON is YAML.
        let mut settings = json!({
            "server_name": SERVER_NAME,
            "pid_file": dir.join("pid"),
            "listeners": [{
                "port": port,
                "type": "http",
                "tls": false,
                "bind_addresses": ["127.0.0.1"],
                "resources": [{ "names": ["client"] }],
            }],
            "database": { "name": "sqlite3", "args": { "database": dir.join("homeserver.db") } },
            "log_config": logging,
            "media_store_path": dir.join("media"),
            "max_upload_size": self.max_upload.unwrap_or(20_000_000),
            // No key is worth keeping on a server that federates with nobody: all zeros.
            "signing_key": format!("ed25519 testbed {}", "A".repeat(43)),
            "trusted_key_servers": [],
            "suppress_key_server_warning": true,
            "federation_domain_whitelist": [],
            "macaroon_secret_key": "testbed",
            "form_secret": "testbed",
            "report_stats": false,
            "enable_registration": true,
            "enable_registration_without_verification": true,
            "bcrypt_rounds": 4,
            // Else a second initial sync within two minutes is given the first one's answer.
            "caches": { "sync_response_cache_duration": "0s" },
            "presence": { "enabled": false },
            "user_directory": { "enabled": false },
            "enable_search": false,
        });
        let plenty = json!({ "per_second": 1_000_000, "burst_count": 1_000_000 });
        let limits = settings.as_object_mut().context("settings are an object")?;
        for name in
            ["rc_registration", "rc_registration_token_validity", "rc_message", "rc_media_create"]
        {
            limits.insert(name.to_owned(), plenty.clone());
        }
        for (name, kinds) in [
            ("rc_login", ["address", "account", "failed_attempts"].as_slice()),
            ("rc_joins", &["local", "remote"]),
            ("rc_invites", &["per_room", "per_user", "per_issuer"]),
        ] {
            let each: Value =
                kinds.iter().map(|kind| ((*kind).to_owned(), plenty.clone())).collect();
            limits.insert(name.to_owned(), each);
        }
        if self.rate_limited {
            limits["rc_message"] = json!({ "per_second": 1, "burst_count": 5 });
        }
        let config = dir.join("homeserver.json");
        fs::write(&config, settings.to_string()).context("cannot write Synapse's configuration")?;
        let mut command = Command::new(python);
        command.args(["-I", "-m", "synapse.app.homeserver", "--config-path"]).arg(config);
        Ok(command)
    }
}

/// Warnings only: to describe every request costs Synapse a noticeable part of its speed.
fn synapse_logging() -> Value {
    json!({
        "version": 1,
        "formatters": { "line": { "format": "%(asctime)s %(levelname)s %(name)s: %(message)s" } },
        "handlers": { "console": { "class": "logging.StreamHandler", "formatter": "line" } },
        "root": { "level": "WARNING", "handlers": ["console"] },
        "disable_existing_loggers": false,
    })
}

/// Which homeserver to start, and with what.
struct Program {
    kind: HomeserverKind,
    path: PathBuf,
}

impl Program {
    /// `$NATS_MATRIX_HOMESERVER_KIND` chooses; left open, Conduit is taken if this machine has it.
    fn find(synapse_only: bool) -> Result<Self> {
        let wanted =
            if synapse_only { Some(HomeserverKind::Synapse) } else { HomeserverKind::from_env()? };
        let conduit = match wanted {
            Some(HomeserverKind::Synapse) => None,
            Some(HomeserverKind::Conduit) | None => cache::conduit()?,
        };
        match (conduit, wanted) {
            (Some(path), _) => Ok(Self { kind: HomeserverKind::Conduit, path }),
            (None, Some(HomeserverKind::Conduit)) => bail!(
                "NATS_MATRIX_HOMESERVER_KIND asks for Conduit, but there is no conduit on PATH; \
                 name it in CONDUIT_BIN"
            ),
            (None, _) => Ok(Self { kind: HomeserverKind::Synapse, path: cache::synapse_python()? }),
        }
    }

    fn version(&self) -> Result<String> {
        let mut command = Command::new(&self.path);
        match self.kind {
            HomeserverKind::Conduit => command.arg("--version"),
            HomeserverKind::Synapse => command.args([
                "-I",
                "-c",
                "import importlib.metadata as m; print(m.version('matrix-synapse'))",
            ]),
        };
        let output =
            command.output().with_context(|| format!("cannot run {}", self.path.display()))?;
        if !output.status.success() {
            bail!(
                "cannot ask {} for its version: {}",
                self.path.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let text = text.trim();
        Ok(text.strip_prefix("conduit ").unwrap_or(text).to_owned())
    }
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
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Kills the homeserver with SIGKILL.
    pub async fn kill(&self) {
        self.server.kill();
    }

    /// Starts the homeserver again on the same port and data, killing it first if it runs.
    pub async fn restart(&self) -> Result<()> {
        self.server.start().await
    }

    /// Freezes the homeserver: connections are taken, but nothing answers.
    pub async fn pause(&self) -> Result<()> {
        self.server.pause()
    }

    /// Ends a [`Self::pause`].
    pub async fn resume(&self) -> Result<()> {
        self.server.resume()
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
