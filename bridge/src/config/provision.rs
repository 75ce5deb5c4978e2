//! `[provision]`, `[users]` and `[rooms]`: the accounts and rooms that `nats-matrix provision` creates.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use matrix_sdk::ruma::{OwnedUserId, ServerName, UserId};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{
    error::ConfigError,
    matrix::Login,
    one_of,
    secret::{Files, Secret},
};

/// The default directory of generated passwords.
const STATE_DIR: &str = "/var/lib/nats-matrix-provision";

/// The name of the bridge's password in that directory, and of the credential that its unit receives.
const BRIDGE_PASSWORD: &str = "bridge-password";

/// The accounts and rooms to create. `run` uses none of this except the bridge's password.
#[derive(Debug, Clone)]
pub(crate) struct Provision {
    /// The way to create accounts; without one, only existing accounts are used.
    pub means: Option<Means>,
    /// The directory of generated passwords.
    pub state_dir: PathBuf,
    /// The accounts, besides the bridge's.
    pub users: Vec<User>,
    /// The rooms.
    pub rooms: Vec<DeclaredRoom>,
}

impl Provision {
    /// Returns the administrators of the homeserver and the rooms, as users of this server.
    pub(crate) fn administrators(&self, server: &ServerName) -> impl Iterator<Item = OwnedUserId> {
        let admins = self.users.iter().filter(|user| user.admin);
        // The configuration check has already refused names that cannot be part of a user id.
        admins.filter_map(move |user| UserId::parse(format!("@{}:{server}", user.localpart)).ok())
    }
}

/// The way to create accounts on a homeserver that does not allow registration.
#[derive(Debug, Clone)]
pub(crate) enum Means {
    /// A Conduit that is not running. Provisioning runs another one in its place that nobody else can reach.
    Conduit {
        /// The implementation.
        implementation: Implementation,
        /// The program.
        program: PathBuf,
        /// The configuration file.
        config: PathBuf,
    },
    /// Synapse's `registration_shared_secret`.
    Synapse(Secret),
}

/// Conduit, or a successor of conduwuit, a former fork of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Implementation {
    /// <https://conduit.rs>
    #[default]
    Conduit,
    /// <https://github.com/matrix-construct/tuwunel>
    Tuwunel,
    /// <https://continuwuity.org>
    Continuwuity,
}

/// A person's account.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// The part of the user id before the colon.
    pub localpart: String,
    /// Whether the person administrates the homeserver and the rooms.
    pub admin: bool,
    /// The initial display name; the person may change it.
    pub display_name: Option<String>,
    /// The file of the initial password.
    pub password_file: PathBuf,
}

/// A room to create.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredRoom {
    /// The part of the alias before the colon.
    pub alias: String,
    /// The name of the room; without one, the alias is its initial name.
    pub name: Option<String>,
    /// The topic of the room.
    pub topic: Option<String>,
    /// The picture of the room: PNG, JPEG, GIF or WebP.
    pub avatar_file: Option<PathBuf>,
    /// The people to invite.
    pub invite: Vec<Person>,
    /// The people who may write in the room; if it is not declared, everybody at first.
    pub post: Option<Post>,
    /// Whether the room may be one that somebody else has created.
    pub adopt: bool,
}

/// A person on this homeserver or on any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Person {
    /// A user of `[users]`.
    Declared(String),
    /// Any user id.
    Other(OwnedUserId),
}

/// The people who may write in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Post {
    /// Everybody in it.
    Everyone,
    /// The bridge and administrators; others only read.
    Bridge,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProvision {
    /// The configuration of a Conduit of this machine.
    #[schemars(example = &"/etc/nats-matrix/conduit.toml", extend("x-type" = "file"))]
    conduit: Option<PathBuf>,
    /// The program of the homeserver.
    #[schemars(
        example = &"/usr/local/bin/matrix-conduit",
        extend("x-type" = "program", "x-default" = "that of the implementation, on the `PATH`")
    )]
    conduit_program: Option<PathBuf>,
    /// The implementation of the homeserver.
    #[serde(default, deserialize_with = "one_of::one_of")]
    #[schemars(example = &"tuwunel", extend("default" = "conduit"))]
    implementation: Implementation,
    /// The `registration_shared_secret` of Synapse or Dendrite.
    #[schemars(example = &"registration", extend("x-type" = "file"))]
    registration_secret_file: Option<PathBuf>,
    /// Where passwords are generated: `passwords/NAME`, and `bridge-password`, which the bridge then uses.
    #[schemars(example = &"/srv/passwords", extend("x-type" = "directory", "default" = STATE_DIR))]
    state_dir: Option<PathBuf>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUser {
    /// Whether this is an administrator of homeserver and rooms.
    #[serde(default)]
    #[schemars(example = true)]
    admin: bool,
    /// The name that others see at first. One that the person has changed is kept.
    #[schemars(example = &"Alice")]
    display_name: Option<String>,
    /// The file of the first password.
    #[schemars(example = &"people/alice", extend("x-type" = "file", "x-default" = "generated"))]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoom {
    /// The name of the room.
    #[schemars(example = &"Operations", extend("x-default" = "the alias"))]
    name: Option<String>,
    /// The topic of the room.
    #[schemars(example = &"What the servers say")]
    topic: Option<String>,
    /// The picture of the room: a PNG, JPEG, GIF or WebP.
    #[schemars(example = &"/etc/nats-matrix/ops.png", extend("x-type" = "file"))]
    avatar_file: Option<PathBuf>,
    /// The people to invite: names of `[users]`, or whole ids.
    #[serde(default)]
    #[schemars(example = ["alice", "@bob:example.org"], extend("x-type" = "list of people"))]
    invite: Vec<String>,
    /// The members who may write. With `"bridge"`, people only read.
    #[serde(default, deserialize_with = "one_of::some_of")]
    #[schemars(example = &"bridge", extend("x-default" = "as in the room; everybody in a new one"))]
    post: Option<Post>,
    /// Whether it may be a room that somebody has made who is neither the bridge nor an administrator.
    #[serde(default)]
    #[schemars(example = true)]
    adopt: bool,
}

impl Implementation {
    /// The name of the implementation, which is also that of its program.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Conduit => "conduit",
            Self::Tuwunel => "tuwunel",
            Self::Continuwuity => "continuwuity",
        }
    }
}

impl RawProvision {
    pub(super) fn check(
        self,
        users: BTreeMap<String, RawUser>,
        rooms: BTreeMap<String, RawRoom>,
        files: &Files,
    ) -> Result<Provision, ConfigError> {
        let state_dir =
            self.state_dir.as_deref().map_or_else(|| STATE_DIR.into(), |dir| files.find(dir));
        let means = self.means(files)?;
        if means.is_none()
            && let Some(name) = users.keys().next()
        {
            return Err(ConfigError::new(
                format!("users.{name}"),
                "there is no way to create accounts: give provision.conduit or \
                 provision.registration_secret_file, or leave [users] out and invite by user id",
            ));
        }
        let passwords = state_dir.join("passwords");
        let users = users
            .into_iter()
            .map(|(name, user)| user.check(name, &passwords, files))
            .collect::<Result<Vec<_>, _>>()?;
        let rooms = rooms
            .into_iter()
            .map(|(alias, room)| room.check(alias, &users, files))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Provision { means, state_dir, users, rooms })
    }

    fn means(self, files: &Files) -> Result<Option<Means>, ConfigError> {
        let secret = Secret::of(
            "provision.registration_secret",
            None,
            self.registration_secret_file,
            files,
        )?;
        match (self.conduit, self.conduit_program, secret) {
            (Some(_), _, Some(_)) => Err(ConfigError::new(
                "provision",
                "give either conduit or registration_secret_file, not both",
            )),
            (Some(config), program, None) => Ok(Some(Means::Conduit {
                implementation: self.implementation,
                program: program.unwrap_or_else(|| self.implementation.name().into()),
                config: files.find(&config),
            })),
            (None, Some(_), _) => {
                Err(ConfigError::new("provision.conduit_program", "needs conduit too"))
            }
            (None, None, secret) => Ok(secret.map(Means::Synapse)),
        }
    }
}

impl Provision {
    /// The generated password of the bridge's account, if accounts are created here at all.
    pub(super) fn bridge_password(&self, files: &Files) -> Option<Secret> {
        self.means.as_ref().map(|_| Secret::File {
            key: "the bridge's password, which `nats-matrix provision` makes".to_owned(),
            path: files.made(BRIDGE_PASSWORD, self.state_dir.join(BRIDGE_PASSWORD)),
        })
    }

    /// Refuses a person who has the bridge's account.
    pub(super) fn check_bridge(&self, login: &Login) -> Result<(), ConfigError> {
        let own = login.localpart();
        match self.users.iter().find(|user| Some(user.localpart.as_str()) == own) {
            Some(user) => Err(ConfigError::new(
                format!("users.{}", user.localpart),
                "is matrix.user, the bridge's own account, which is created anyway",
            )),
            None => Ok(()),
        }
    }
}

impl RawUser {
    fn check(
        self,
        localpart: String,
        passwords: &Path,
        files: &Files,
    ) -> Result<User, ConfigError> {
        let any = ServerName::parse("localhost").expect("a valid server name");
        let is_valid = UserId::parse_with_server_name(localpart.as_str(), &any)
            .is_ok_and(|id| id.validate_strict().is_ok());
        if localpart == "conduit" {
            return Err(ConfigError::new("users.conduit", "is the account of Conduit itself"));
        }
        // The name is also a file name, and Matrix would accept a slash in it.
        if !is_valid || localpart.starts_with(['@', '.', '-']) || localpart.contains('/') {
            return Err(ConfigError::new(
                format!("users.\"{localpart}\""),
                "cannot be the name of an account: use a to z, 0 to 9, and _ = . - but not at the beginning",
            ));
        }
        let password_file = match self.password_file {
            Some(name) => files.find(&name),
            None => passwords.join(&localpart),
        };
        Ok(User { admin: self.admin, display_name: self.display_name, password_file, localpart })
    }
}

impl RawRoom {
    fn check(
        self,
        alias: String,
        users: &[User],
        files: &Files,
    ) -> Result<DeclaredRoom, ConfigError> {
        if alias.is_empty()
            || alias.contains(['#', ':', '\0'])
            || alias.contains(char::is_whitespace)
        {
            return Err(ConfigError::new(
                format!("rooms.\"{alias}\""),
                "is the alias of a room without # and the server's name, such as [rooms.ops]",
            ));
        }
        let person = |text: &String| {
            if let Ok(id) = UserId::parse(text.as_str()) {
                return Ok(Person::Other(id));
            }
            if users.iter().any(|user| user.localpart == *text) {
                return Ok(Person::Declared(text.clone()));
            }
            Err(ConfigError::new(
                format!("rooms.{alias}.invite"),
                format!(
                    "\"{text}\" is neither one of [users] nor a user id like @alice:chat.example.com"
                ),
            ))
        };
        Ok(DeclaredRoom {
            invite: self.invite.iter().map(person).collect::<Result<_, _>>()?,
            name: self.name,
            topic: self.topic,
            avatar_file: self.avatar_file.map(|name| files.find(&name)),
            post: self.post,
            adopt: self.adopt,
            alias,
        })
    }
}
