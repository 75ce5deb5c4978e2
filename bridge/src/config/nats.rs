//! `[nats]`: servers, TLS and credentials.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use async_nats::ServerAddr;
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

/// How to reach NATS.
#[derive(Clone)]
pub(crate) struct Nats {
    /// Any of these, at least one: all with TLS or none. Without TLS the client finds the rest of a cluster itself.
    pub servers: Vec<ServerAddr>,
    /// Trust only certificates that this private CA (PEM) signed, instead of the system's CAs.
    pub ca_file: Option<PathBuf>,
    /// Mutual TLS.
    pub certificate: Option<ClientCertificate>,
    /// Who we are.
    pub auth: Auth,
    /// JetStream domain, when the streams are behind a leaf node.
    pub jetstream_domain: Option<String>,
    /// Messages that can never be posted are published under `<this>.<route>`.
    pub dead_letter_subject: Subject,
    /// Answers of NATS, and with them all messages that are read, come on `<this>.>`: whoever may subscribe to that reads
    /// along.
    pub inbox_prefix: Subject,
}

/// The inboxes of the bridge, if nothing else is said. None of those that a client has who asks for none (`_INBOX`), as
/// in many accounts everybody may subscribe to these.
pub(super) const BRIDGE_INBOX: &str = "_INBOX_nats-matrix";

/// The inboxes of a machine that publishes are under this and its name.
pub(super) const PUBLISHER_INBOX: &str = "_INBOX_nats-matrix-publish";

impl Nats {
    /// Whether nothing is said to a server without TLS. Who declares a CA or a certificate of ours wants that, too.
    pub(crate) fn is_over_tls(&self) -> bool {
        self.ca_file.is_some()
            || self.certificate.is_some()
            || self.servers.iter().any(ServerAddr::tls_required)
    }

    /// The servers on other machines that are spoken to without TLS.
    pub(crate) fn in_clear(&self) -> Vec<String> {
        self.without_tls(|host| !is_here(host))
    }

    /// The servers on this machine that are spoken to without TLS.
    pub(crate) fn on_loopback(&self) -> Vec<String> {
        self.without_tls(is_here)
    }

    /// Whether something secret is sent to a server as it is: of an nkey and of credentials, a signature is.
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

    /// The files of TLS with the keys that name them.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let ca = self.ca_file.as_deref().map(|path| ("nats.ca_file", path));
        let own = self.certificate.iter().flat_map(|own| {
            [("nats.cert_file", own.cert_file.as_path()), ("nats.key_file", own.key_file.as_path())]
        });
        ca.into_iter().chain(own)
    }

    /// A hash of all that a connection is made of: servers, certificates and credentials, where they
    /// are and what the files hold now.
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

/// The ways to prove to a NATS server who we are.
#[derive(Debug, Clone)]
pub(crate) enum Auth {
    /// Nothing, or the client certificate is the proof.
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
    /// What is secret of it.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNats {
    #[serde(deserialize_with = "list")]
    servers: Vec<String>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    nkey_seed: Option<SecretString>,
    nkey_seed_file: Option<PathBuf>,
    credentials: Option<SecretString>,
    credentials_file: Option<PathBuf>,
    user: Option<String>,
    password: Option<SecretString>,
    password_file: Option<PathBuf>,
    token: Option<SecretString>,
    token_file: Option<PathBuf>,
    jetstream_domain: Option<String>,
    dead_letter_subject: Option<String>,
    inbox_prefix: Option<String>,
}

impl Nats {
    /// The servers without what else may be in their addresses, which is a user with a password.
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
    /// What is written, with `inbox` for the inboxes if nothing is said of them.
    pub(super) fn check(self, files: &Files, inbox: &Subject) -> Result<Nats, ConfigError> {
        let servers = self
            .servers
            .iter()
            .map(|text| server(text).map_err(|what| ConfigError::new("nats.servers", what)))
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(ConfigError::new("nats.servers", "name at least one, as nats://host:4222"));
        }
        all_with_tls_or_none(&servers).map_err(|what| ConfigError::new("nats.servers", what))?;
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
        let dead_letters = self.dead_letter_subject.as_deref().unwrap_or("nats-matrix.dead-letter");
        let dead_letter_subject = Subject::literal(dead_letters)
            .map_err(|what| ConfigError::new("nats.dead_letter_subject", what))?;
        let inbox_prefix = match self.inbox_prefix.as_deref() {
            Some(prefix) => {
                inbox_prefix(prefix).map_err(|what| ConfigError::new("nats.inbox_prefix", what))?
            }
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

/// The inboxes of a machine of that name that publishes: nobody's but its own.
pub(super) fn publisher_inbox(host: &str) -> Subject {
    Subject::literal(PUBLISHER_INBOX).expect("it is a subject").of(host)
}

/// The inboxes of the bridge.
pub(super) fn bridge_inbox() -> Subject {
    Subject::literal(BRIDGE_INBOX).expect("it is a subject")
}

fn inbox_prefix(text: &str) -> Result<Subject, String> {
    let prefix = Subject::literal(text)?;
    if text.starts_with('$') {
        return Err(format!("\"{text}\" is NATS's own; write something like \"{BRIDGE_INBOX}\""));
    }
    Ok(prefix)
}

fn is_here(host: &str) -> bool {
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Refuses a list by which whoever cuts the connections with TLS would have us go on without it.
fn all_with_tls_or_none(servers: &[ServerAddr]) -> Result<(), String> {
    let (with, without): (Vec<_>, Vec<_>) =
        servers.iter().partition(|server| server.tls_required());
    match (with.first(), without.first()) {
        (Some(_), Some(server)) => Err(format!(
            "some have tls:// and {}:{} has not: write tls:// before each, or what is for those with TLS goes there in \
             clear",
            server.host(),
            server.port()
        )),
        _ => Ok(()),
    }
}

fn server(text: &str) -> Result<ServerAddr, String> {
    // What comes before the last @ may be a password.
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let address: ServerAddr =
        text.parse().map_err(|error| format!("\"{shown}\" is not an address: {error}"))?;
    if address.host().is_empty() {
        return Err(format!("\"{shown}\" is not an address: it names no host"));
    }
    // The client would take the port of a WebSocket for one of NATS, without TLS.
    if address.is_websocket() {
        return Err(format!(
            "\"{shown}\" is for WebSockets, which are not used: write tls://host:4222 or nats://host:4222"
        ));
    }
    if address.has_user_pass() || address.username().is_some() {
        return Err(format!(
            "the address of {} has a name in it, which is not used: write user and password, or token, under [nats]",
            address.host()
        ));
    }
    Ok(address)
}
