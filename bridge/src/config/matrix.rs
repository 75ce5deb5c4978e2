//! `[matrix]`: the homeserver and the bridge's account on it.

use std::path::{Path, PathBuf};

use matrix_sdk::ruma::{ServerName, UserId};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::{Host, Url};

use crate::{
    config::{
        error::ConfigError,
        secret::{self, Files, Secret},
    },
    failure::Failure,
    hash,
};

/// The homeserver, and the account on it.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    /// The URL of the client API, like `http://127.0.0.1:6167`.
    pub homeserver: Url,
    /// A private CA (PEM) whose certificates are trusted in addition to those of the system's CAs.
    pub ca_file: Option<PathBuf>,
    /// The account and its credentials.
    pub login: Login,
    /// The directory of the session, so that the device stays the same across restarts.
    pub state_dir: PathBuf,
    /// The user whose program the homeserver is, if it runs on this machine.
    pub owner: HomeserverOwner,
}

/// The user whose program may answer for the homeserver on a local connection without TLS. Root always may, except with
/// `Own`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum HomeserverOwner {
    /// Any system user, or the bridge's own user, but no user who logs in.
    #[default]
    Undeclared,
    /// The user with this name or number.
    Named(String),
    /// Only the bridge's own user, not even root.
    Own,
    /// Any user.
    Anybody,
}

impl Matrix {
    /// Whether the homeserver is on this machine according to its URL.
    pub(crate) fn is_here(&self) -> bool {
        match self.homeserver.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }

    /// Returns a hash of everything that a session depends on: the paths, and the present contents of the files.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] for a file that cannot be read.
    pub(crate) fn fingerprint(&self) -> Result<[u8; 32], Failure> {
        let ca_file = self.ca_file.as_deref();
        let ca = ca_file.map(|path| secret::read("matrix.ca_file", path)).transpose()?;
        let (user, secret) = match &self.login {
            Login::Password { user, password } => (user.as_str(), password),
            Login::AccessToken(token) => ("", token),
        };
        Ok(hash::of_texts([
            self.homeserver.as_str(),
            &ca_file.map(Path::to_string_lossy).unwrap_or_default(),
            &ca.unwrap_or_default(),
            user,
            &secret.place(),
            secret.read()?.expose_secret(),
            &self.state_dir.to_string_lossy(),
            &format!("{:?}", self.owner),
        ]))
    }
}

impl Login {
    /// The part of the bridge's user id before the colon, if it is known without asking the homeserver.
    #[must_use]
    pub(crate) fn localpart(&self) -> Option<&str> {
        match self {
            Self::Password { user, .. } => Some(match <&UserId>::try_from(user.as_str()) {
                Ok(id) => id.localpart(),
                Err(_) => user,
            }),
            Self::AccessToken(_) => None,
        }
    }
}

/// The bridge's account and its credentials.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// User and password; the bridge logs in once and keeps the device.
    Password {
        /// The user, like `bridge` or `@bridge:chat.example.com`.
        user: String,
        /// The password.
        password: Secret,
    },
    /// The access token of a device that somebody created for the bridge.
    AccessToken(Secret),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMatrix {
    /// The URL of the client API.
    #[schemars(example = &"http://127.0.0.1:6167", extend("x-type" = "URL"))]
    homeserver: String,
    /// The user whose program the homeserver is, if it is on this machine and without TLS.
    ///
    /// This is the name or the number of a user. The bridge sends nothing to a program of another user [that has
    /// taken the
    /// port](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/install/homeserver.md#whose-program-has-the-homeservers-port).
    ///
    /// | value | accepted |
    /// | --- | --- |
    /// | not declared | root, any system user, the bridge's own user; no user who logs in |
    /// | `"conduit"`, `"997"` | that user, and root |
    /// | `"*"` | everybody |
    ///
    /// With `https://` the key is refused, because the certificate proves who answers.
    #[schemars(
        example = &"matrix-synapse",
        extend("x-type" = "user", "x-default" = "root, any system user, or the bridge's own")
    )]
    homeserver_owner: Option<String>,
    /// A private CA (PEM) to trust besides the system's.
    #[schemars(example = &"matrix-ca.pem", extend("x-type" = "file"))]
    ca_file: Option<PathBuf>,
    /// The account, as a local part or a whole id.
    #[schemars(example = &"bridge")]
    user: Option<String>,
    /// The password of the account. With a way to make accounts in `[provision]`, none is needed: it is generated.
    #[schemars(with = "Option<String>", example = &"s3cret", extend("x-type" = "secret"))]
    password: Option<SecretString>,
    /// The file of the password.
    #[schemars(
        example = &"matrix-password",
        extend("x-type" = "file", "x-default" = "generated, if `[provision]` makes accounts")
    )]
    password_file: Option<PathBuf>,
    /// An access token, instead of user and password.
    #[schemars(with = "Option<String>", example = &"syt_...", extend("x-type" = "secret"))]
    access_token: Option<SecretString>,
    /// The file of the access token.
    #[schemars(example = &"matrix-token", extend("x-type" = "file"))]
    access_token_file: Option<PathBuf>,
    /// Where the session and a few notes are kept, by one `run` at a time, such as the routes under which the bridge
    /// [last
    /// ran](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/reload.md#messages-that-wait-while-you-change-a-route)
    /// and which [room an alias led to](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/rooms.md#when-an-alias-leads-to-another-room).
    #[schemars(
        example = &"/var/lib/nats-matrix",
        extend(
            "x-type" = "directory",
            "x-default" = "`$STATE_DIRECTORY`, else `\"/var/lib/nats-matrix\"`"
        )
    )]
    state_dir: Option<PathBuf>,
}

impl RawMatrix {
    /// Checks the section. `made` is the password that `nats-matrix provision` makes for the bridge's account, if it
    /// makes one.
    pub(super) fn check(self, files: &Files, made: Option<Secret>) -> Result<Matrix, ConfigError> {
        let homeserver = homeserver(&self.homeserver)?;
        Ok(Matrix {
            owner: owner(self.homeserver_owner.as_deref(), &homeserver)?,
            homeserver,
            ca_file: self.ca_file.as_deref().map(|name| files.find(name)),
            state_dir: self.state_dir.clone().unwrap_or_else(default_state_dir),
            login: self.login(files, made)?,
        })
    }

    fn login(self, files: &Files, made: Option<Secret>) -> Result<Login, ConfigError> {
        let password = Secret::of("matrix.password", self.password, self.password_file, files)?;
        let token =
            Secret::of("matrix.access_token", self.access_token, self.access_token_file, files)?;
        if let Some(user) = self.user.as_deref().filter(|user| user.starts_with('@')) {
            UserId::parse(user).map_err(|error| {
                ConfigError::new("matrix.user", format!("\"{user}\" is not a user id: {error}"))
            })?;
        }
        let made = made.filter(|_| self.user.is_some() && token.is_none());
        match (self.user, password.or(made), token) {
            (Some(user), Some(password), None) => Ok(Login::Password { user, password }),
            (None, None, Some(token)) => Ok(Login::AccessToken(token)),
            (_, Some(_), Some(_)) => Err(ConfigError::new(
                "matrix",
                "give either user with password(_file), or access_token(_file), not both",
            )),
            (Some(_), None, Some(_)) => {
                Err(ConfigError::new("matrix.user", "is known from the access token; leave it out"))
            }
            (Some(_), None, None) => {
                Err(ConfigError::new("matrix.user", "needs password or password_file too"))
            }
            (None, Some(_), None) => Err(ConfigError::new("matrix.password", "needs user too")),
            (None, None, None) => Err(ConfigError::new(
                "matrix",
                "missing user with password_file (or password), or access_token_file",
            )),
        }
    }
}

fn homeserver(text: &str) -> Result<Url, ConfigError> {
    let wrong = |what: String| ConfigError::new("matrix.homeserver", what);
    // The part before an @ may be a password.
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    // A bare server name is a likely mistake, and Url reads "host:port" as a scheme.
    if !text.contains("://") && ServerName::parse(text).is_ok() {
        return Err(wrong(format!("\"{text}\" lacks http:// or https://")));
    }
    let url: Url =
        text.parse().map_err(|error| wrong(format!("\"{shown}\" is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong(format!("\"{shown}\" is not an http or https URL")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a user or a password in it: give those under [matrix]".to_owned()));
    }
    Ok(url)
}

/// Parses the owner of the homeserver. Root's name is a name like any other.
fn owner(declared: Option<&str>, homeserver: &Url) -> Result<HomeserverOwner, ConfigError> {
    let wrong = |what: String| Err(ConfigError::new("matrix.homeserver_owner", what));
    match declared {
        None => Ok(HomeserverOwner::Undeclared),
        Some(_) if homeserver.scheme() == "https" => wrong(
            "has no effect with https://, where the certificate proves who answers: leave it out"
                .to_owned(),
        ),
        Some("*") => Ok(HomeserverOwner::Anybody),
        // The characters that useradd(8) accepts, which include those of numbers.
        Some(name) if !name.is_empty() && name.bytes().all(is_of_a_user) => {
            Ok(HomeserverOwner::Named(name.to_owned()))
        }
        Some(name) => wrong(format!("\"{name}\" is not a user name")),
    }
}

fn is_of_a_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.@$".contains(&byte)
}

/// The default directory of the session: the one that systemd's `StateDirectory=` created, or else that of a service of
/// this name.
pub(crate) fn default_state_dir() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY")
        .map_or_else(|| PathBuf::from("/var/lib/nats-matrix"), PathBuf::from)
}
