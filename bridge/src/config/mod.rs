//! The configuration: a TOML file, then the environment over it, parsed once into types that cannot
//! hold a wrong state.
//!
//! Environment variables are named `NATS_MATRIX__SECTION__KEY`, as in
//! `NATS_MATRIX__MATRIX__USER=bridge`, and win over the file. A list is written with commas. Routes
//! can only be given in the file.

mod alert_scope;
mod choice;
mod display;
mod duration;
mod explain;
mod health;
mod log;
mod matcher;
mod matrix;
mod nats;
mod place;
mod provision;
mod publish;
mod quiet;
mod room;
mod route;
mod secret;
mod size;
mod summary;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use ::config::{Environment, File, FileFormat};
use serde::{Deserialize, de::DeserializeOwned};
use zeroize::Zeroizing;

pub use self::{
    alert_scope::AlertScope,
    display::{Display, Language},
    health::Health,
    log::{Level, Log},
    matcher::{Field, Matcher, Pattern},
    matrix::{HomeserverOwner, Login, Matrix},
    nats::{Auth, ClientCertificate, Nats},
    provision::{DeclaredRoom, Implementation, Means, Person, Post, Provision, User},
    publish::{Publish, Publisher},
    quiet::Quiet,
    room::{RoomTarget, Rooms},
    route::{Patience, Route, RouteName, Start},
    secret::{Files, Secret},
    summary::{Every, Summary},
};
pub(crate) use self::{display::time_zone, place::Source, secret::read as read_file};
use crate::failure::Failure;

/// Everything the bridge is told, checked as far as is possible without a network.
#[derive(Debug, Clone)]
pub struct Config {
    /// How to reach NATS.
    pub nats: Nats,
    /// How to reach the homeserver and as whom.
    pub matrix: Matrix,
    /// What goes where; at least one.
    pub routes: Vec<Route>,
    /// How messages are worded where a route does not say otherwise.
    pub display: Display,
    /// The accounts and rooms that there are to be.
    pub provision: Provision,
    /// Where the bridge tells how it is.
    pub health: Health,
    /// What is logged.
    pub log: Log,
}

/// The configuration as it is written, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    nats: nats::Written,
    matrix: matrix::Written,
    #[serde(default)]
    routes: Vec<route::Written>,
    #[serde(default)]
    display: display::Written,
    #[serde(default)]
    health: health::Written,
    #[serde(default)]
    log: Log,
    #[serde(default)]
    publish: publish::Written,
    #[serde(default)]
    provision: provision::Written,
    #[serde(default)]
    users: BTreeMap<String, provision::WrittenUser>,
    #[serde(default)]
    rooms: BTreeMap<String, provision::WrittenRoom>,
}

impl Config {
    /// Reads `file`, lays the process environment over it and checks the result.
    ///
    /// Files that the configuration names are not opened: that is for [`Secret::read`].
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] with one line that names the file or variable, the key and the mend.
    pub fn load(file: &Path) -> Result<Self, Failure> {
        Self::load_with(file, &std::env::vars().collect())
    }

    /// [`Config::load`] with a given environment.
    pub fn load_with(file: &Path, environment: &HashMap<String, String>) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Config(format!("cannot read {}: {error}", file.display())))?;
        Self::parse(&Zeroizing::new(text), file, environment)
    }

    /// The configuration that a file with this text is, with an environment over it.
    pub(crate) fn parse(
        text: &str,
        file: &Path,
        environment: &HashMap<String, String>,
    ) -> Result<Self, Failure> {
        let source = Source { file, text };
        Self::check(read(source, environment)?, source)
    }

    fn check(written: Written, source: Source<'_>) -> Result<Self, Failure> {
        let (within, file) = (|wrong: Wrong| wrong.within(source), source.file);
        let files = Files::beside(file);
        // Not the bridge's, but a mistake in it had better show now.
        written.publish.check().map_err(within)?;
        let provision =
            written.provision.check(written.users, written.rooms, &files).map_err(within)?;
        let made = provision.bridge_password(&files);
        let matrix = written.matrix.check(&files, made).map_err(within)?;
        provision.check_bridge(&matrix.login).map_err(within)?;
        let display = written.display.check("display", &Display::default()).map_err(within)?;
        Ok(Self {
            nats: written.nats.check(&files, &nats::bridge_inbox()).map_err(within)?,
            matrix,
            routes: route::check(written.routes, &display, &files).map_err(within)?,
            display,
            provision,
            health: written.health.check().map_err(within)?,
            log: written.log,
        })
    }
}

/// A file with the environment over it.
fn read<T: DeserializeOwned>(
    source: Source<'_>,
    environment: &HashMap<String, String>,
) -> Result<T, Failure> {
    if let Some(fault) = source.fault() {
        return Err(Failure::Config(fault));
    }
    let variables = Environment::with_prefix("NATS_MATRIX")
        .prefix_separator("__")
        .separator("__")
        .source(Some(environment.clone()));
    ::config::Config::builder()
        .add_source(File::from_str(source.text, FileFormat::Toml))
        .add_source(variables)
        .build()
        .and_then(::config::Config::try_deserialize)
        .map_err(|error| {
            Failure::Config(explain::explain(&error, source, |name| environment.contains_key(name)))
        })
}

/// A wrong value: the key it is under, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {what}")]
struct Wrong {
    key: String,
    what: String,
}

impl Wrong {
    /// Says in which line of which file it is.
    fn within(self, source: Source<'_>) -> Failure {
        Failure::Config(format!("{}: {self}", source.place(&self.key)))
    }

    fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { key: key.into(), what: what.into() }
    }
}

/// Where the bridge keeps its session when the configuration does not say: what systemd's
/// `StateDirectory=` made, else the directory of a service of this name.
fn default_state_dir() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY")
        .map_or_else(|| PathBuf::from("/var/lib/nats-matrix"), PathBuf::from)
}

#[cfg(test)]
mod tests;
