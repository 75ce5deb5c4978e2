//! Runs a private Conduit for a short time on the database of the one that people use, which is stopped meanwhile. It
//! listens on a port of loopback that nothing else knows. Only we have its token for registrations and its key to log
//! in as any user; the Conduit that people use accepts neither.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use ::config::{Config, File, FileFormat};
use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use matrix_sdk::ruma::{
    RoomAliasId, UserId,
    api::client::membership::{invite_user, join_room_by_id, joined_members},
};
use rustix::{
    fs::Mode,
    process::{Pid, Signal, geteuid, kill_process, umask},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tempfile::NamedTempFile;
use thiserror::Error;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use toml::{Table, Value};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    config::{self, Exposure, HomeserverOwner, Implementation, Source},
    failure::Failure,
    matrix::{Account, LoginError, MatrixError, account, room},
    provision::password,
};

/// The time limit for a start. The first start creates the database, and a new version may migrate it.
const PATIENCE: Duration = Duration::from_mins(10);

/// The time limit for a stop, in which the database is flushed. It is the same as that of the homeserver's unit.
const STOP_PATIENCE: Duration = Duration::from_mins(2);

/// The lifetime of a login token.
const LOGIN_TOKEN_VALID: Duration = Duration::from_mins(1);

/// Conduit's own user. The members of its room `#admins` are the administrators.
const SERVER_USER: &str = "conduit";

const ADMINS: &str = "admins";

/// The way in which a homeserver ended while it started.
#[derive(Debug, Error)]
enum Ended {
    #[error("{0}")]
    Exited(ExitStatus),
    /// Nobody knows whether it still runs.
    #[error(transparent)]
    Unknown(io::Error),
}

/// A running private Conduit, which is killed when dropped.
pub(super) struct Private {
    child: Child,
    /// The implementation: Conduit or a relative of it.
    pub(super) implementation: Implementation,
    /// The configuration to connect to it.
    pub(super) there: config::Matrix,
    /// The token that it accepts registrations with.
    pub(super) token: SecretString,
    login_key: SecretString,
}

impl Private {
    /// Starts the homeserver and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] if it does not start.
    pub(super) async fn start(
        implementation: Implementation,
        program: &Path,
        config: &Path,
        matrix: &config::Matrix,
    ) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::Config(format!("{}: {what}", program.display()));
        may_use(config)?;
        let (token, login_key) = (password::random()?, password::random()?);
        // The file is removed when this function ends; the homeserver has read it by then.
        let private = private_config(config, implementation, &token, &login_key)?;
        let port = free_port().map_err(|error| wrong(format!("no free port: {error}")))?;
        let mut command = command(implementation, program, private.path());
        for (variable, value) in [
            ("ADDRESS", Ipv4Addr::LOCALHOST.to_string().as_str()),
            ("PORT", &port.to_string()),
            ("ALLOW_REGISTRATION", "true"),
        ]
        .into_iter()
        .chain(first_account_is_no_admin(implementation))
        {
            command.env(prefix(implementation).to_owned() + variable, value);
        }
        for variable in SECRET_VARIABLES {
            command.env_remove(prefix(implementation).to_owned() + variable);
        }
        let child = for_us_alone(|| command.spawn()).map_err(|error| {
            wrong(format!("cannot be started: {error}: correct provision.conduit_program"))
        })?;
        let homeserver = Url::parse(&format!("http://127.0.0.1:{port}/")).expect("a valid URL");
        // Another user of this machine may take the port first, and would receive passwords.
        let owner = HomeserverOwner::Own;
        let there = config::Matrix { homeserver, ca_file: None, owner, ..matrix.clone() };
        let mut started = Self { child, implementation, there, token, login_key };
        match timeout(PATIENCE, started.answers()).await {
            Ok(Ok(())) => Ok(started),
            Ok(Err(ended)) => Err(wrong(format!(
                "ended while it started ({ended}); its output says why. Does another one run on this \
                 database? Stop it, or let systemd do all of it: systemctl restart nats-matrix-provision"
            ))),
            Err(_) => Err(wrong(format!("did not answer within {PATIENCE:?}"))),
        }
    }

    /// Waits until the homeserver answers.
    async fn answers(&mut self) -> Result<(), Ended> {
        loop {
            let answered = account::versions(&self.there).await.is_ok();
            match self.child.try_wait() {
                Ok(None) if answered => return Ok(()),
                Ok(None) => sleep(Duration::from_millis(50)).await,
                Ok(Some(status)) => return Err(Ended::Exited(status)),
                Err(error) => return Err(Ended::Unknown(error)),
            }
        }
    }

    /// Stops the homeserver, so that another one can open the database.
    ///
    /// # Errors
    ///
    /// [`Failure::Unavailable`] if it had to be killed, or did not end successfully.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // The homeserver may have ended already, which does no harm.
            let _ = kill_process(pid, Signal::TERM);
        }
        let how = match timeout(STOP_PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Ok(status)) => format!("ended with {status}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("did not stop within {STOP_PATIENCE:?}, and was killed"),
        };
        Err(Failure::Unavailable(format!("the homeserver that was started for provisioning {how}")))
    }

    /// Opens a session of any account, whatever its current password is.
    pub(super) async fn log_in_as(&self, localpart: &str) -> Result<Account, MatrixError> {
        let kind = match self.implementation {
            Implementation::Conduit => "m.login.token",
            Implementation::Tuwunel | Implementation::Continuwuity => "org.matrix.login.jwt",
        };
        let token = login_token(&self.login_key, localpart);
        let there = self.there.clone();
        Account::open_by_token_login(there, kind, &token).await.map_err(|error| match error {
            LoginError::Transient(error) => error,
            LoginError::Permanent(failure) => MatrixError::Rejected(failure.to_string()),
        })
    }

    /// Lets those users into the room `#admins` who are not administrators yet, and returns them.
    pub(super) async fn make_admins(&self, users: &[&str]) -> Result<Vec<String>, MatrixError> {
        let server = self.log_in_as(SERVER_USER).await?;
        let made = self.let_in(&server, users).await;
        server.log_out().await;
        made
    }

    async fn let_in(&self, server: &Account, users: &[&str]) -> Result<Vec<String>, MatrixError> {
        let name = server.user.server_name();
        let alias = RoomAliasId::parse(format!("#{ADMINS}:{name}")).expect("a valid alias");
        let found = room::find(server, &alias).await?;
        let room = found.ok_or_else(|| MatrixError::NotFound(format!("there is no {alias}")))?;
        let members = joined_members::v3::Request::new(room.clone());
        let joined = server.request(members).await?.joined;
        let mut made = Vec::new();
        for localpart in users {
            let user = UserId::parse_with_server_name(*localpart, name)
                .map_err(|error| MatrixError::Rejected(error.to_string()))?;
            if joined.contains_key(&user) {
                continue;
            }
            let recipient = invite_user::v3::InviteUserId::new(user).into();
            let invitation = invite_user::v3::Request::new(room.clone(), recipient);
            server.request(invitation).await?;
            let account = self.log_in_as(localpart).await?;
            let join = join_room_by_id::v3::Request::new(room.clone());
            let joined = account.request(join).await;
            account.log_out().await;
            joined?;
            made.push((*localpart).to_owned());
        }
        Ok(made)
    }
}

/// Makes users administrators on a continuwuity, which has no logins by token. It is started once more without a
/// network, to run its own admin commands. It refuses to promote a user who is an administrator already.
///
/// # Errors
///
/// [`Failure::Unavailable`] if it does not start or does not end.
pub(super) async fn make_admins_by_command(
    program: &Path,
    config: &Path,
    users: &[&str],
) -> Result<(), Failure> {
    let implementation = Implementation::Continuwuity;
    let wrong = |what: String| Failure::Unavailable(format!("{}: {what}", program.display()));
    let mut command = command(implementation, program, config);
    command.arg("--maintenance");
    for user in users {
        command.args(["--execute", &format!("users make-user-admin {user}")]);
    }
    command.args(["--execute", "server shutdown"]);
    command.env(prefix(implementation).to_owned() + "ADMIN_EXECUTE_ERRORS_IGNORE", "true");
    let status = for_us_alone(|| command.status());
    let ended = timeout(PATIENCE, status).await;
    match ended.map_err(|_| wrong(format!("did not end within {PATIENCE:?}")))? {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(wrong(format!("cannot make administrators of {}: {status}", users.join(", "))))
        }
        Err(error) => Err(wrong(format!("cannot be started: {error}"))),
    }
}

/// The prefix of its environment variables.
fn prefix(implementation: Implementation) -> &'static str {
    match implementation {
        Implementation::Conduit => "CONDUIT_",
        Implementation::Tuwunel => "TUWUNEL_",
        Implementation::Continuwuity => "CONTINUWUITY_",
    }
}

/// The setting that keeps the first account from becoming an administrator, declared or not.
fn first_account_is_no_admin(
    implementation: Implementation,
) -> Option<(&'static str, &'static str)> {
    match implementation {
        Implementation::Conduit => None,
        Implementation::Tuwunel => Some(("GRANT_ADMIN_TO_FIRST_USER", "false")),
        Implementation::Continuwuity => Some(("FORCE_DISABLE_FIRST_RUN_MODE", "true")),
    }
}

/// The environment variables that would override the secrets of [`private_config`].
const SECRET_VARIABLES: [&str; 6] = [
    "REGISTRATION_TOKEN",
    "REGISTRATION_TOKEN_FILE",
    "JWT_SECRET",
    "JWT__ENABLE",
    "JWT__KEY",
    "JWT__REGISTER_USER",
];

/// Writes the configuration with our token for registrations and our key for logins into a file of this user alone.
/// An environment variable would be visible in /proc for as long as the process lives, and to every program that it
/// starts. The file is removed when dropped.
fn private_config(
    config: &Path,
    implementation: Implementation,
    token: &SecretString,
    login_key: &SecretString,
) -> Result<NamedTempFile, Failure> {
    let wrong = |what: &dyn std::fmt::Display| {
        Failure::Config(format!("provision.conduit: {}: {what}", config.display()))
    };
    let text = Zeroizing::new(std::fs::read_to_string(config).map_err(|error| wrong(&error))?);
    let mut settings: Table =
        text.parse().map_err(|error: toml::de::Error| wrong(&error.message()))?;
    let global = table(&mut settings, "global").ok_or_else(|| wrong(&"global is not a table"))?;
    global.remove("registration_token_file");
    let owned = |secret: &SecretString| Value::String(secret.expose_secret().to_owned());
    global.insert("registration_token".to_owned(), owned(token));
    match implementation {
        Implementation::Conduit => {
            global.insert("jwt_secret".to_owned(), owned(login_key));
        }
        Implementation::Tuwunel => {
            let jwt = table(global, "jwt").ok_or_else(|| wrong(&"global.jwt is not a table"))?;
            jwt.insert("enable".to_owned(), true.into());
            jwt.insert("key".to_owned(), owned(login_key));
            jwt.insert("register_user".to_owned(), false.into());
        }
        Implementation::Continuwuity => {}
    }
    let text = Zeroizing::new(toml::to_string(&settings).map_err(|error| wrong(&error))?);
    let cannot = |error| Failure::Unavailable(format!("cannot write a temporary file: {error}"));
    // Temporary files of this kind are readable by their owner alone.
    let mut file =
        tempfile::Builder::new().prefix("conduit-").suffix(".toml").tempfile().map_err(cannot)?;
    file.write_all(text.as_bytes()).map_err(cannot)?;
    Ok(file)
}

/// Returns the table of this name within another one, created if it is missing; `None` if the name is not a table.
fn table<'a>(settings: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    settings.entry(name).or_insert_with(|| Table::new().into()).as_table_mut()
}

/// Starts a program, which is to make its files for this user alone: the database holds what people write.
fn for_us_alone<T>(start: impl FnOnce() -> T) -> T {
    let before = umask(Mode::RWXG | Mode::RWXO);
    let started = start();
    umask(before);
    started
}

/// Returns the directory of the database, if every user of this machine can read it; with the mode that allows it.
pub(crate) fn readable_database(config: &Path) -> Option<Exposure> {
    let settings: Table = std::fs::read_to_string(config).ok()?.parse().ok()?;
    let database = settings.get("global")?.get("database_path")?.as_str()?;
    Exposure::of_directory(Path::new(database))
}

fn command(implementation: Implementation, program: &Path, config: &Path) -> Command {
    let prefix = prefix(implementation);
    let mut command = Command::new(program);
    command
        .env(prefix.to_owned() + "CONFIG", config)
        // The owner of the database was looked up in the configuration.
        .env_remove(prefix.to_owned() + "DATABASE_PATH")
        // Its warnings would only be about being stopped.
        .env(prefix.to_owned() + "LOG", "error")
        // The homeserver would tell systemd that our unit is ready.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        // Its log belongs with ours, as standard output is for the report.
        .stdout(std::io::stderr())
        .kill_on_drop(true);
    command
}

/// Checks that we can work with the configuration. Files written into the database have to belong to its current
/// owner, as files of root's would keep the Conduit that people use from starting.
fn may_use(config: &Path) -> Result<(), Failure> {
    let wrong =
        |what: String| Failure::Config(format!("provision.conduit: {}: {what}", config.display()));
    let text = std::fs::read_to_string(config)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    // The text may contain secrets.
    let text = Zeroizing::new(text);
    if let Some(fault) = (Source { file: config, text: &text }).fault() {
        return Err(Failure::Config(format!("provision.conduit: {fault}")));
    }
    let settings = Config::builder()
        .add_source(File::from_str(&text, FileFormat::Toml))
        .build()
        .map_err(|error| wrong(error.to_string()))?;
    if settings.get_table("global.tls").is_ok() {
        return Err(wrong(
            "has [global.tls], but must be reachable without TLS, on loopback".to_owned(),
        ));
    }
    let Ok(database) = settings.get_string("global.database_path") else {
        return Err(wrong("has no database_path".to_owned()));
    };
    match std::fs::metadata(&database) {
        Ok(found) if found.uid() != geteuid().as_raw() => Err(wrong(format!(
            "the database {database} belongs to another user than the one that runs this. Let systemd run it: \
             systemctl restart nats-matrix-provision"
        ))),
        _ => Ok(()),
    }
}

/// Creates a JSON Web Token (RFC 7519) that Conduit accepts as a login of `localpart`: `HS256` with its `jwt_secret`.
fn login_token(key: &SecretString, localpart: &str) -> SecretString {
    let until = (Timestamp::now() + LOGIN_TOKEN_VALID).as_second();
    let part = |value: serde_json::Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = part(json!({ "alg": "HS256", "typ": "JWT" }));
    let claims = part(json!({ "sub": localpart, "exp": until }));
    let signed = format!("{header}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret().as_bytes());
    let signature = BASE64URL_NOPAD.encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    SecretString::from(format!("{signed}.{signature}"))
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
