//! `[nats]`: servers, TLS and credentials.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use async_nats::ServerAddr;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    config::{
        error::ConfigError,
        list::list,
        secret::{self, Files, Secret},
    },
    failure::Failure,
    hash,
    subject::Subject,
};

/// The connection to NATS.
#[derive(Clone)]
pub(crate) struct Nats {
    /// The servers, at least one: all with TLS or none. Without TLS the client discovers the rest of a cluster itself.
    pub servers: Vec<ServerAddr>,
    /// A private CA (PEM) whose certificates are trusted instead of those of the system's CAs.
    pub ca_file: Option<PathBuf>,
    /// The client certificate for mutual TLS.
    pub certificate: Option<ClientCertificate>,
    /// The credentials.
    pub auth: Auth,
    /// The JetStream domain, if the streams are behind a leaf node.
    pub jetstream_domain: Option<String>,
    /// The subject of dead letters, the messages that can never be posted: they are published under `<this>.<route>`.
    pub dead_letter_subject: Subject,
    /// The prefix of the inboxes. NATS sends its answers, and with them every message that is read, on `<this>.>`.
    /// Everybody who may subscribe there can therefore read all of them.
    pub inbox_prefix: Subject,
}

/// The default inbox prefix of the bridge. It is not the usual `_INBOX`, because in many accounts everybody may
/// subscribe to that.
pub(super) const BRIDGE_INBOX: &str = "_INBOX_nats-matrix";

/// The default inbox prefix of a machine that publishes, followed by the name of the machine.
pub(super) const PUBLISHER_INBOX: &str = "_INBOX_nats-matrix-publish";

/// The default of `dead_letter_subject`.
const DEAD_LETTER_SUBJECT: &str = "nats-matrix.dead-letter";

impl Nats {
    /// Whether every connection uses TLS. A CA or a client certificate in the configuration requires it, too.
    pub(crate) fn is_over_tls(&self) -> bool {
        self.ca_file.is_some()
            || self.certificate.is_some()
            || self.servers.iter().any(ServerAddr::tls_required)
    }

    /// The servers on other machines that are used without TLS.
    pub(crate) fn in_clear(&self) -> Vec<String> {
        self.without_tls(|host| !is_here(host))
    }

    /// The servers on this machine that are used without TLS.
    pub(crate) fn on_loopback(&self) -> Vec<String> {
        self.without_tls(is_here)
    }

    /// The names, other than addresses, by which servers on this machine are used without TLS.
    pub(crate) fn names_on_loopback(&self) -> BTreeSet<String> {
        let servers = self.servers.iter().filter(|_| !self.is_over_tls());
        let names = servers.map(ServerAddr::host).filter(|host| *host == LOCALHOST);
        names.map(str::to_owned).collect()
    }

    /// Whether a secret itself is sent to the server. With an nkey or credentials only a signature is.
    pub(crate) fn sends_secret(&self) -> bool {
        matches!(self.auth, Auth::Password { .. } | Auth::Token(_))
    }

    fn without_tls(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        if self.is_over_tls() {
            return Vec::new();
        }
        let servers = self.servers.iter().filter(|server| is_meant(server.host()));
        servers.map(|server| server.as_url_str().to_owned()).collect()
    }

    /// Returns the subject of a request to `JetStream`, such as "STREAM.INFO.OPS".
    pub(crate) fn api(&self, request: &str) -> String {
        match &self.jetstream_domain {
            Some(domain) => format!("$JS.{domain}.API.{request}"),
            None => format!("$JS.API.{request}"),
        }
    }

    /// Returns the subject on which a value of a key-value bucket is published, from that without a domain.
    pub(crate) fn key(&self, subject: &str) -> String {
        match &self.jetstream_domain {
            Some(_) => self.api(subject),
            None => subject.to_owned(),
        }
    }

    /// The files for TLS, each with the key that names it.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let ca = self.ca_file.as_deref().map(|path| ("nats.ca_file", path));
        let own = self.certificate.iter().flat_map(|own| {
            [("nats.cert_file", own.cert_file.as_path()), ("nats.key_file", own.key_file.as_path())]
        });
        ca.into_iter().chain(own)
    }

    /// Returns a hash of everything that a connection depends on: servers, certificates and credentials, with the paths
    /// and the present contents of the files.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] for a file that cannot be read.
    pub(crate) fn fingerprint(&self) -> Result<[u8; 32], Failure> {
        let text = |text: &str| Zeroizing::new(text.to_owned());
        let mut texts: Vec<Zeroizing<String>> =
            self.servers.iter().map(|server| text(server.as_url_str())).collect();
        for (key, path) in self.certificates() {
            texts.extend([text(key), text(&path.to_string_lossy()), secret::read(key, path)?]);
        }
        texts.push(text(self.jetstream_domain.as_deref().unwrap_or_default()));
        texts.push(text(self.inbox_prefix.as_str()));
        let (kind, secret) = match &self.auth {
            Auth::None => ("", None),
            Auth::Nkey(seed) => ("nkey", Some(seed)),
            Auth::Credentials(text) => ("credentials", Some(text)),
            Auth::Password { user, password } => {
                texts.push(text(user));
                ("password", Some(password))
            }
            Auth::Token(token) => ("token", Some(token)),
        };
        let place = secret.map(Secret::place).unwrap_or_default();
        let secret = secret.map(Secret::read).transpose()?.unwrap_or_default();
        let texts = texts.iter().map(|text| text.as_str());
        Ok(hash::of_texts(texts.chain([kind, &place, secret.expose_secret()])))
    }
}

/// A client certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub(crate) struct ClientCertificate {
    /// The certificate chain.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// The ways to authenticate to a NATS server.
#[derive(Debug, Clone)]
pub(crate) enum Auth {
    /// No credentials, or only the client certificate.
    None,
    /// An nkey seed, `SU...`.
    Nkey(Secret),
    /// A credentials file with a user JWT and its seed, as `nsc` writes it.
    Credentials(Secret),
    /// User and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
}

impl Auth {
    /// The secret part of the credentials.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::None => None,
            Self::Nkey(secret)
            | Self::Credentials(secret)
            | Self::Password { password: secret, .. }
            | Self::Token(secret) => Some(secret),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNats {
    /// All as `tls://host:4222` or all as `nats://host:4222`. Of a cluster without TLS one is enough. With TLS [name
    /// each](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/reference/nats-permissions.md#tls).
    #[serde(deserialize_with = "list")]
    #[schemars(example = ["tls://nats.example.com:4222"], extend("x-type" = "list of addresses"))]
    servers: Vec<String>,
    /// A private CA (PEM). It is trusted instead of the system's, and any address is spoken to with TLS. A CA without
    /// a keyUsage extension is fine.
    #[schemars(
        example = &"nats-ca.pem",
        extend("x-type" = "file", "x-default" = "the system's CAs")
    )]
    ca_file: Option<PathBuf>,
    /// The client's certificate (PEM), for mutual TLS with any address. It needs `key_file`, too.
    #[schemars(example = &"bridge.pem", extend("x-type" = "file"))]
    cert_file: Option<PathBuf>,
    /// The key of the client's certificate (PEM).
    #[schemars(example = &"bridge.key", extend("x-type" = "file"))]
    key_file: Option<PathBuf>,
    /// An nkey seed, `SU...`. At most one kind of credentials may be given.
    #[schemars(with = "Option<String>", example = &"SUAN...", extend("x-type" = "secret"))]
    nkey_seed: Option<SecretString>,
    /// The file of the nkey seed, `SU...`.
    #[schemars(example = &"bridge.nk", extend("x-type" = "file"))]
    nkey_seed_file: Option<PathBuf>,
    /// Credentials of `nsc`: a JWT and its seed.
    #[schemars(
        with = "Option<String>", example = &"-----BEGIN NATS USER JWT-----...",
        extend("x-type" = "secret")
    )]
    credentials: Option<SecretString>,
    /// The credentials file of `nsc`: a JWT and its seed.
    #[schemars(example = &"bridge.creds", extend("x-type" = "file"))]
    credentials_file: Option<PathBuf>,
    /// The user, with `password` or `password_file`.
    #[schemars(example = &"bridge")]
    user: Option<String>,
    /// The password of the user.
    #[schemars(with = "Option<String>", example = &"s3cret", extend("x-type" = "secret"))]
    password: Option<SecretString>,
    /// The file of the password.
    #[schemars(example = &"nats-password", extend("x-type" = "file"))]
    password_file: Option<PathBuf>,
    /// A token.
    #[schemars(with = "Option<String>", example = &"s3cret", extend("x-type" = "secret"))]
    token: Option<SecretString>,
    /// The file of the token.
    #[schemars(example = &"nats-token", extend("x-type" = "file"))]
    token_file: Option<PathBuf>,
    /// The domain of the streams, if they are behind a leaf node or [in another
    /// account](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/reference/nats-permissions.md#accounts).
    #[schemars(example = &"OPS")]
    jetstream_domain: Option<String>,
    /// Where messages go that can never be posted, with `.<route>` behind it.
    ///
    /// [Messages that can never be
    /// posted](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/design/guarantees.md#4-broken-input-neither-blocks-nor-vanishes)
    /// are published on `<dead_letter_subject>.<route>`. No route shows them, so none may name their subjects. For
    /// example, with `dead_letter_subject = "ops.undelivered"` a route with `subjects = ["ops.>"]` is refused:
    ///
    /// ```text
    /// FAIL  config      /etc/nats-matrix/config.toml:14: routes[0].subjects: "ops.>" also matches "ops.undelivered.>", where messages are kept that can never be posted, and which no route shows: name fewer subjects, as in "ops.report.>", or set nats.dead_letter_subject to one that no route names
    /// ```
    ///
    /// Subjects that begin with a wildcard, such as `">"` or `"*.x"`, are accepted although they overlap: they stand
    /// for all that a stream has. If such a stream keeps dead letters, too, they are not shown, as the room already
    /// says that the message was refused. To see them in a room, have a stream copy them to another subject, and name
    /// that one. In any case the bridge recognises its own dead letters, also under other subjects, and never makes a
    /// dead letter of one again.
    ///
    /// A stream with the retention `workqueue` or `interest` deletes the dead letters that a route reads: let another
    /// stream take them.
    #[schemars(
        example = &"undelivered.ops",
        extend("x-type" = "subject", "default" = DEAD_LETTER_SUBJECT)
    )]
    dead_letter_subject: Option<String>,
    /// Where NATS answers and delivers. Whoever may subscribe to `<this>.>` reads along, so [give it to nobody
    /// else](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/reference/nats-permissions.md).
    #[schemars(
        example = &"_INBOX_bridge",
        extend(
            "x-type" = "subject",
            "x-default" = "`\"_INBOX_nats-matrix\"`; for `report` and `alert` `\"_INBOX_nats-matrix-publish.<host>\"`"
        )
    )]
    inbox_prefix: Option<String>,
}

impl Nats {
    /// The addresses of the servers without any user and password in them.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let host = |server: &ServerAddr| {
            format!("{}://{}:{}", server.scheme(), server.host(), server.port())
        };
        self.servers.iter().map(host).collect()
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats")
            .field("servers", &self.hosts())
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

impl RawNats {
    /// Checks the section; `inbox` is the inbox prefix if none is given.
    pub(super) fn check(self, files: &Files, inbox: &Subject) -> Result<Nats, ConfigError> {
        let servers = self
            .servers
            .iter()
            .map(|text| server("nats.servers", text))
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(ConfigError::new("nats.servers", "name at least one, as nats://host:4222"));
        }
        all_with_tls_or_none("nats.servers", &servers)?;
        let certificate = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => {
                Some(ClientCertificate { cert_file: files.find(cert), key_file: files.find(key) })
            }
            (None, None) => None,
            (Some(_), None) => {
                return Err(ConfigError::new("nats.cert_file", "needs key_file too"));
            }
            (None, Some(_)) => {
                return Err(ConfigError::new("nats.key_file", "needs cert_file too"));
            }
        };
        let dead_letters = self.dead_letter_subject.as_deref().unwrap_or(DEAD_LETTER_SUBJECT);
        let dead_letter_subject = Subject::literal(dead_letters)
            .map_err(|what| ConfigError::new("nats.dead_letter_subject", what))?;
        let inbox_prefix = match self.inbox_prefix.as_deref() {
            Some(prefix) => inbox_prefix("nats.inbox_prefix", prefix)?,
            None => inbox.clone(),
        };
        Ok(Nats {
            servers,
            inbox_prefix,
            certificate,
            ca_file: self.ca_file.as_deref().map(|name| files.find(name)),
            jetstream_domain: self.jetstream_domain.clone(),
            dead_letter_subject,
            auth: self.auth(files)?,
        })
    }

    fn auth(self, files: &Files) -> Result<Auth, ConfigError> {
        let secret =
            |key: &str, inline, file| Secret::of(&format!("nats.{key}"), inline, file, files);
        let nkey = secret("nkey_seed", self.nkey_seed, self.nkey_seed_file)?;
        let credentials = secret("credentials", self.credentials, self.credentials_file)?;
        let password = secret("password", self.password, self.password_file)?;
        let token = secret("token", self.token, self.token_file)?;
        let password = match (self.user, password) {
            (Some(user), Some(password)) => Some(Auth::Password { user, password }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(ConfigError::new("nats.user", "needs password or password_file too"));
            }
            (None, Some(_)) => return Err(ConfigError::new("nats.password", "needs user too")),
        };
        let mut ways = [
            nkey.map(Auth::Nkey),
            credentials.map(Auth::Credentials),
            password,
            token.map(Auth::Token),
        ]
        .into_iter()
        .flatten();
        let auth = ways.next().unwrap_or(Auth::None);
        if ways.next().is_some() {
            return Err(ConfigError::new(
                "nats",
                "give only one of nkey_seed(_file), credentials(_file), user with password(_file), token(_file)",
            ));
        }
        Ok(auth)
    }
}

/// The inbox prefix of a machine that publishes, which no other machine uses.
pub(super) fn publisher_inbox(host: &str) -> Subject {
    Subject::literal(PUBLISHER_INBOX).expect("it is a subject").of(host)
}

/// The default inbox prefix of the bridge.
pub(super) fn bridge_inbox() -> Subject {
    Subject::literal(BRIDGE_INBOX).expect("it is a subject")
}

fn inbox_prefix(key: &str, text: &str) -> Result<Subject, ConfigError> {
    let prefix = Subject::literal(text).map_err(|error| ConfigError::new(key, error))?;
    if text.starts_with('$') {
        let what =
            format!("\"{text}\" is reserved for NATS; write something like \"{BRIDGE_INBOX}\"");
        return Err(ConfigError::new(key, what));
    }
    Ok(prefix)
}

/// The name of this machine for itself.
const LOCALHOST: &str = "localhost";

fn is_here(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == LOCALHOST || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Refuses a list that mixes servers with and without TLS: an attacker who blocks the ones with TLS would make the
/// client connect without it.
fn all_with_tls_or_none(key: &str, servers: &[ServerAddr]) -> Result<(), ConfigError> {
    let (with, without): (Vec<_>, Vec<_>) =
        servers.iter().partition(|server| server.tls_required());
    match (with.first(), without.first()) {
        (Some(_), Some(server)) => Err(ConfigError::new(
            key,
            format!(
                "some have tls:// but {}:{} does not: write tls:// before each, or what is meant for a server with TLS \
                 is sent there in clear",
                server.host(),
                server.port()
            ),
        )),
        _ => Ok(()),
    }
}

fn server(key: &str, text: &str) -> Result<ServerAddr, ConfigError> {
    let wrong = |what: String| ConfigError::new(key, what);
    // The part before the last @ may be a password.
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let address: ServerAddr =
        text.parse().map_err(|error| wrong(format!("\"{shown}\" is not an address: {error}")))?;
    if address.host().is_empty() {
        return Err(wrong(format!("\"{shown}\" is not an address: it names no host")));
    }
    // The client would use a WebSocket port as an ordinary NATS port, without TLS.
    if address.is_websocket() {
        return Err(wrong(format!(
            "\"{shown}\" is for WebSockets, which are not supported: write tls://host:4222 or nats://host:4222"
        )));
    }
    if address.has_user_pass() || address.username().is_some() {
        return Err(wrong(format!(
            "the address of {} has a user in it, which is not supported: write user and password, or token, under [nats]",
            address.host()
        )));
    }
    Ok(address)
}
