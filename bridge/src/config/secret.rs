//! Secrets and other small files that the configuration names.

use std::{
    borrow::Cow,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{config::error::ConfigError, directory, failure::Failure};

/// The largest file that is read, in bytes: all CAs of a system are smaller.
const MOST_BYTES: u64 = 1024 * 1024;

/// Where relative file names of the configuration are looked for.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    credentials: Option<PathBuf>,
    beside: PathBuf,
}

impl Files {
    /// First `$CREDENTIALS_DIRECTORY`, which systemd's `LoadCredential=` fills, then the directory
    /// of the configuration file.
    pub(super) fn beside(config: &Path) -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self::in_directories(credentials.as_deref(), config.parent().unwrap_or(Path::new("")))
    }

    pub(super) fn in_directories(credentials: Option<&Path>, beside: &Path) -> Self {
        Self { credentials: credentials.map(Path::to_owned), beside: beside.to_owned() }
    }

    /// The path a name stands for: of a credential that is there and not blank, else beside the configuration. The
    /// file need not exist, as in an offline check at build time.
    pub(super) fn find(&self, name: &Path) -> PathBuf {
        // The same file, written out.
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

    /// A file that `nats-matrix provision` makes: the credential of this name, unless that is missing or
    /// blank, as it is for a unit that was started before there was the file.
    pub(super) fn made(&self, name: &str, path: PathBuf) -> PathBuf {
        let credential = self.credentials.as_ref().map(|directory| directory.join(name));
        credential.filter(|file| is_there(file)).unwrap_or(path)
    }
}

/// Whether a credential was handed over. Our units set those to a newline whose file is not there, so that they start
/// without it.
fn is_there(credential: &Path) -> bool {
    std::fs::read_to_string(credential).is_ok_and(|text| !Zeroizing::new(text).trim().is_empty())
}

/// The credential that a file becomes: of a directory `secrets`, `LoadCredential=secrets:/...` makes
/// one `secrets_x` of each file `x` (systemd.exec(5)).
fn credential(name: &Path) -> String {
    name.to_string_lossy().replace('/', "_")
}

/// A secret: written in the configuration, or in a file that it names.
#[derive(Debug, Clone)]
pub(crate) enum Secret {
    /// The secret itself.
    Inline(SecretString),
    /// A file that holds it; a newline at its end does not count.
    File {
        /// The key that names the file, for messages.
        key: String,
        /// Its path.
        path: PathBuf,
    },
}

impl Secret {
    /// From the keys `key` and `key_file`, of which at most one may be given.
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

    /// The key that it is under: `key`, unless a file holds it.
    pub(crate) fn name<'a>(&'a self, key: &'a str) -> &'a str {
        match self {
            Self::Inline(_) => key,
            Self::File { key, .. } => key,
        }
    }

    /// The key of the file that holds it, and the file; none for what is written in the configuration.
    pub(crate) fn file(&self) -> Option<(&str, &Path)> {
        match self {
            Self::Inline(_) => None,
            Self::File { key, path } => Some((key, path)),
        }
    }

    /// Where it is: a file, or nothing for what is written in the configuration.
    pub(super) fn place(&self) -> Cow<'_, str> {
        match self {
            Self::Inline(_) => Cow::default(),
            Self::File { path, .. } => path.to_string_lossy(),
        }
    }

    /// The secret's text.
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

/// Reads a small text file that the configuration names under `key`, which may be a secret.
///
/// # Errors
///
/// [`Failure::Config`] when it cannot be read, or when somebody else may have put another one in its place: what is in
/// a password's file is sent to a server.
pub(crate) fn read(key: &str, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = directory::read(path, MOST_BYTES).and_then(|bytes| {
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes);
        text.map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
    });
    text.map_err(|error| {
        // What is only root's is handed to the service when it starts, and to nobody else.
        let advice = match error.kind() {
            ErrorKind::PermissionDenied if std::env::var_os("CREDENTIALS_DIRECTORY").is_some() => {
                ": it is not among the credentials that systemd handed over. If it is there, and no link, restart \
                 the service"
            }
            ErrorKind::PermissionDenied => ": run this with sudo",
            _ => "",
        };
        Failure::Config(format!("{key}: cannot read {}: {error}{advice}", path.display()))
    })
}
