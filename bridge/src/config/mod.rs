//! The configuration: a TOML file, overridden by the environment, and parsed once into types that cannot hold an
//! invalid state.
//!
//! Environment variables are named `NATS_MATRIX__SECTION__KEY`, as in `NATS_MATRIX__MATRIX__USER=bridge`, and win over
//! the file. A list is written with commas. Routes can only be given in the file.

mod alert_scope;
pub(crate) mod answers;
mod diagnostics;
pub(crate) mod display;
pub(crate) mod duration;
mod environment;
pub(crate) mod error;
mod exposure;
mod health;
pub(crate) mod list;
mod location;
mod log;
pub(crate) mod matcher;
mod matrix;
mod nats;
mod one_of;
mod provision;
mod publish;
pub(crate) mod quiet;
pub(crate) mod room;
mod route;
mod schema;
mod secret;
pub(crate) mod size;
pub(crate) mod summary;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

pub(crate) use self::{
    alert_scope::AlertScope,
    answers::Answers,
    display::{Display, Language, time_zone},
    exposure::Exposure,
    health::Health,
    location::Source,
    log::{Format, Level, Log},
    matcher::{Field, Matcher},
    matrix::{HomeserverOwner, Login, Matrix},
    nats::{Auth, Nats},
    provision::{DeclaredRoom, Implementation, Means, Person, Post, Provision, User},
    publish::Publisher,
    quiet::Quiet,
    room::RoomTarget,
    route::{Patience, Route, Start, Unknown},
    schema::schema,
    secret::{Files, Secret, read as read_file},
    summary::{Every, Summary},
};
use crate::{config::error::ConfigError, failure::Failure};

/// The configuration of the bridge, checked as far as is possible without a network.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The connection to NATS.
    pub nats: Nats,
    /// The homeserver and the account on it.
    pub matrix: Matrix,
    /// The routes; at least one.
    pub routes: Vec<Route>,
    /// The accounts and rooms to create.
    pub provision: Provision,
    /// The address at which the bridge reports its health.
    pub health: Health,
    /// The level and the format of the log.
    pub log: Log,
}

/// The configuration as it is written, before it is checked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    /// Where NATS is, and who the bridge is there.
    nats: nats::RawNats,
    /// Where the homeserver is, and which account the bridge has.
    matrix: matrix::RawMatrix,
    /// The routes, each with the messages that go into a room. There has to be at least one.
    #[serde(default)]
    routes: Vec<route::RawRoute>,
    /// [Shapes](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/shapes.md) of your own, absolute or
    /// beside the configuration, for all routes that name none.
    #[schemars(example = &"shapes", extend("x-type" = "directory or file"))]
    shapes: Option<PathBuf>,
    /// The language and time zone of all rooms; a route may differ.
    #[serde(default)]
    display: display::RawDisplay,
    /// Where those who watch over the bridge find it.
    #[serde(default)]
    health: health::RawHealth,
    /// The level and the format of the log.
    #[serde(default)]
    log: Log,
    /// The reports and alerts that this machine publishes of itself.
    #[serde(default)]
    publish: publish::RawPublish,
    /// How `nats-matrix provision` makes accounts and rooms.
    #[serde(default)]
    provision: provision::RawProvision,
    /// The accounts to make, by the part of their id before the colon.
    #[serde(default)]
    users: BTreeMap<String, provision::RawUser>,
    /// The rooms to make, by their alias without `#` and server.
    #[serde(default)]
    rooms: BTreeMap<String, provision::RawRoom>,
}

impl Config {
    /// Reads `file`, overrides it with the process environment, and checks the result.
    ///
    /// Files that the configuration names are not opened; [`Secret::read`] does that.
    ///
    /// # Errors
    ///
    /// Returns [`Failure::Config`] with one line that names the file or variable and the key, and says what to do.
    pub(crate) fn load(file: &Path) -> Result<Self, Failure> {
        Self::load_with(file, &environment::variables()?)
    }

    /// Reads the configuration like [`Config::load`], with a given environment.
    pub(crate) fn load_with(
        file: &Path,
        environment: &HashMap<String, String>,
    ) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Config(format!("cannot read {}: {error}", file.display())))?;
        Self::parse(&Zeroizing::new(text), file, environment)
    }

    /// Parses the text of a file, overridden by an environment.
    pub(crate) fn parse(
        text: &str,
        file: &Path,
        variables: &HashMap<String, String>,
    ) -> Result<Self, Failure> {
        let source = Source { file, text };
        Self::check(environment::read(source, variables)?, source)
    }

    /// The files with secrets, each with the key that names it. Any of them may be missing.
    pub(crate) fn secret_files(&self) -> Vec<(Cow<'_, str>, &Path)> {
        let login = match &self.matrix.login {
            Login::Password { password, .. } => password,
            Login::AccessToken(token) => token,
        };
        let registration = match &self.provision.means {
            Some(Means::Synapse(secret)) => Some(secret),
            Some(Means::Conduit { .. }) | None => None,
        };
        let secrets = self.nats.auth.secret().into_iter().chain([login]).chain(registration);
        let secrets = secrets.filter_map(Secret::file).map(|(key, path)| (key.into(), path));
        let certificate = self.nats.certificate.iter();
        let key = certificate.map(|own| ("nats.key_file".into(), own.key_file.as_path()));
        let users = self.provision.users.iter().map(|user| {
            (format!("users.{}.password_file", user.localpart).into(), &*user.password_file)
        });
        secrets.chain(key).chain(users).collect()
    }

    fn check(written: RawConfig, source: Source<'_>) -> Result<Self, Failure> {
        let (within, file) = (|wrong: ConfigError| wrong.within(source), source.file);
        let files = Files::beside(file);
        // The bridge does not use this section, but a mistake in it should show now.
        written.publish.check().map_err(within)?;
        let provision =
            written.provision.check(written.users, written.rooms, &files).map_err(within)?;
        let made = provision.bridge_password(&files);
        let matrix = written.matrix.check(&files, made).map_err(within)?;
        provision.check_bridge(&matrix.login).map_err(within)?;
        let display = written.display.check("display", &Display::default()).map_err(within)?;
        let nats = written.nats.check(&files, &nats::bridge_inbox()).map_err(within)?;
        let routes = route::check(written.routes, &display, written.shapes.as_ref(), &files)
            .map_err(within)?;
        route::check_dead_letters(&routes, &nats.dead_letter_subject).map_err(within)?;
        Ok(Self {
            nats,
            matrix,
            routes,
            provision,
            health: written.health.check().map_err(within)?,
            log: written.log,
        })
    }
}

#[cfg(test)]
impl Route {
    /// Returns a route with these lines in its configuration, for tests.
    pub(crate) fn with(lines: &str) -> Self {
        let toml = format!(
            "[nats]\nservers = [\"nats://h\"]\n[matrix]\nhomeserver = \"http://h\"\nuser = \"u\"\npassword = \"p\"\n\
             [[routes]]\nname = \"r\"\nstream = \"S\"\nsubjects = [\"ops.>\"]\nroom = \"!r:x\"\n{lines}\n"
        );
        let config = Config::parse(&toml, Path::new("c.toml"), &HashMap::new());
        config.unwrap().routes.remove(0)
    }
}

#[cfg(test)]
mod tests;
