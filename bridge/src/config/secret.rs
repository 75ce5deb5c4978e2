//! Secrets and other small files that the configuration names.

use std::{
    borrow::Cow,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{config::error::ConfigError, directory, failure::Failure};

/// The size limit of a file, in bytes: even all CAs of a system are smaller.
const MOST_BYTES: u64 = 1024 * 1024;

/// The directories in which relative file names of the configuration are looked for.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    credentials: Option<PathBuf>,
    beside: PathBuf,
}

impl Files {
    /// Looks first in `$CREDENTIALS_DIRECTORY`, which systemd's `LoadCredential=` fills, then in the directory of the
    /// configuration file.
    pub(super) fn beside(config: &Path) -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self::in_directories(credentials.as_deref(), config.parent().unwrap_or(Path::new("")))
    }

    pub(super) fn in_directories(credentials: Option<&Path>, beside: &Path) -> Self {
        Self { credentials: credentials.map(Path::to_owned), beside: beside.to_owned() }
    }

    /// Returns the path for a file name: the credential, if there is one and it is not blank, or else the file beside
    /// the configuration. The file need not exist, as in an offline check at build time.
    pub(super) fn find(&self, name: &Path) -> PathBuf {
        // An absolute path into the same directory names the same file.
        let name = name.strip_prefix(&self.beside).unwrap_or(name);
        if name.is_absolute() {
            return name.to_owned();
        }
        self.credentials
            .iter()
            .map(|directory| directory.join(credential(name)))
            .find(|path| is_there(path))
            .unwrap_or_else(|| self.beside.join(name))
    }

    /// Returns the path of a file that `nats-matrix provision` makes: the credential of this name, or `path` if the
    /// credential is missing or blank, as for a unit that was started before the file existed.
    pub(super) fn made(&self, name: &str, path: PathBuf) -> PathBuf {
        let credential = self.credentials.as_ref().map(|directory| directory.join(name));
        credential.filter(|file| is_there(file)).unwrap_or(path)
    }
}

/// Whether a credential was passed. Our units set a credential whose file is missing to a newline, so that they can
/// start without it.
fn is_there(credential: &Path) -> bool {
    std::fs::read_to_string(credential).is_ok_and(|text| !Zeroizing::new(text).trim().is_empty())
}

/// The name of the credential for a file: for a directory `secrets`, `LoadCredential=secrets:/...` makes a credential
/// `secrets_x` of each file `x` (systemd.exec(5)).
fn credential(name: &Path) -> String {
    name.to_string_lossy().replace('/', "_")
}

/// A secret: written in the configuration, or in a file that it names.
#[derive(Debug, Clone)]
pub(crate) enum Secret {
    /// The secret itself.
    Inline(SecretString),
    /// A file that holds it, without the newline at its end.
    File {
        /// The key that names the file, for error texts.
        key: String,
        /// The path of the file.
        path: PathBuf,
    },
}

impl Secret {
    /// Takes the secret from the keys `key` and `key_file`, of which at most one may be given.
    pub(super) fn of(
        key: &str,
        inline: Option<SecretString>,
        file: Option<PathBuf>,
        files: &Files,
    ) -> Result<Option<Self>, ConfigError> {
        match (inline, file) {
            (Some(_), Some(_)) => {
                Err(ConfigError::new(key, format!("give either {key} or {key}_file, not both")))
            }
            (Some(text), None) => Ok(Some(Self::Inline(text))),
            (None, Some(name)) => {
                Ok(Some(Self::File { key: format!("{key}_file"), path: files.find(&name) }))
            }
            (None, None) => Ok(None),
        }
    }

    /// The name of the key that holds the secret: `key`, or that of its file.
    pub(crate) fn name<'a>(&'a self, key: &'a str) -> &'a str {
        match self {
            Self::Inline(_) => key,
            Self::File { key, .. } => key,
        }
    }

    /// The key of the file that holds the secret, and the file; `None` for a secret that is in the configuration
    /// itself.
    pub(crate) fn file(&self) -> Option<(&str, &Path)> {
        match self {
            Self::Inline(_) => None,
            Self::File { key, path } => Some((key, path)),
        }
    }

    /// The path of the file, or an empty text for a secret that is written in the configuration.
    pub(super) fn place(&self) -> Cow<'_, str> {
        match self {
            Self::Inline(_) => Cow::default(),
            Self::File { path, .. } => path.to_string_lossy(),
        }
    }

    /// Reads the text of the secret.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] when its file cannot be read or is empty.
    pub(crate) fn read(&self) -> Result<SecretString, Failure> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File { key, path } => {
                let text = read(key, path)?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                if text.is_empty() {
                    return Err(Failure::Config(format!("{key}: {} is empty", path.display())));
                }
                Ok(SecretString::from(text))
            }
        }
    }
}

/// Reads a small text file, possibly a secret, that the configuration names under `key`.
///
/// # Errors
///
/// [`Failure::Config`] when it cannot be read, or when another user could have replaced it: the content of a password
/// file is sent to a server.
pub(crate) fn read(key: &str, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = directory::read(path, MOST_BYTES).and_then(|bytes| {
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes);
        text.map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
    });
    text.map_err(|error| {
        // A file that only root can read is passed to the service when it starts, and cannot be read by anybody else.
        let advice = match error.kind() {
            ErrorKind::PermissionDenied if std::env::var_os("CREDENTIALS_DIRECTORY").is_some() => {
                ": it is not among the credentials that systemd passed. If the file exists and is not a link, \
                 restart the service"
            }
            ErrorKind::PermissionDenied => ": run this with sudo",
            _ => "",
        };
        Failure::Config(format!("{key}: cannot read {}: {error}{advice}", path.display()))
    })
}
