//! The people of a homeserver: accounts that `nats-matrix provision` made, as it does for its users.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use super::{instance::Instance, settings::REGISTRATION_TOKEN};
use crate::{leash::ScratchDir, matrix::Account};

/// The accounts that a test has: one to post with, and one to read with.
const ROLES: [&str; 2] = ["bridge", "alice"];

/// Names and passwords by role.
#[derive(Debug, Default)]
pub(super) struct People(Mutex<HashMap<&'static str, VecDeque<(String, String)>>>);

impl People {
    /// Makes `count` of each role.
    pub(super) async fn make(
        homeserver: &Instance,
        nats_matrix: &Path,
        count: usize,
    ) -> Result<Self> {
        let names =
            (1..=count).flat_map(|number| ROLES.map(|role| (role, format!("{role}{number}"))));
        let names: Vec<_> = names.collect();
        let passwords = match (homeserver.kind, &homeserver.program) {
            _ if names.is_empty() => Vec::new(),
            (kind, None) if kind.stops_for_provisioning() => register(homeserver, &names).await?,
            _ => provision(homeserver, nats_matrix, &names).await?,
        };
        let mut people: HashMap<_, VecDeque<_>> = HashMap::new();
        for ((role, name), password) in names.into_iter().zip(passwords) {
            people.entry(role).or_default().push_back((name, password));
        }
        Ok(Self(Mutex::new(people)))
    }

    /// Takes the name and password of somebody whom no test had before.
    pub(super) fn next(&self, role: &str) -> Result<(String, String)> {
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        people.get_mut(role).and_then(VecDeque::pop_front).with_context(|| {
            format!("no {role} is left on this homeserver: start it with more people")
        })
    }
}

/// Makes accounts with the bridge's program, and tells their passwords.
async fn provision(
    homeserver: &Instance,
    nats_matrix: &Path,
    names: &[(&str, String)],
) -> Result<Vec<String>> {
    let dir = ScratchDir::new("people")?;
    let mut config = format!(
        "[nats]\nservers = [\"nats://127.0.0.1\"]\n\n\
         [matrix]\nhomeserver = \"{}\"\nuser = \"first\"\n\n\
         [[routes]]\nname = \"none\"\nstream = \"NONE\"\nsubjects = [\"none\"]\nroom = \"!none\"\n\n{}",
        homeserver.url(),
        homeserver.provisioning(dir.path())?,
    );
    for (_, name) in names {
        // Writing to a String cannot fail.
        let _ = writeln!(config, "[users.{name}]");
    }
    let file = dir.path().join("people.toml");
    fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
    let output = homeserver.provision(nats_matrix, &file).await?;
    if !output.status.success() {
        bail!(
            "`nats-matrix provision` ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let password = |(_, name): &(&str, String)| {
        let file = dir.path().join("passwords").join(name);
        let text = fs::read_to_string(&file);
        Ok(text.with_context(|| format!("no {}", file.display()))?.trim_end().to_owned())
    };
    names.iter().map(password).collect()
}

/// Registers accounts on a Conduit in a container, where no other Conduit can take its place, and tells their passwords.
async fn register(homeserver: &Instance, names: &[(&str, String)]) -> Result<Vec<String>> {
    // The first one becomes its administrator, which puts it into a room of its own. That would surprise a test.
    let mut passwords = Vec::new();
    for name in std::iter::once("first").chain(names.iter().map(|(_, name)| name.as_str())) {
        let password = format!("{name}-password");
        let account = Account::register(&homeserver.url(), name, &password, REGISTRATION_TOKEN)
            .await
            .with_context(|| format!("cannot register {name}"))?;
        // As the others, who have never been logged in.
        account.logout_all().await?;
        passwords.push(password);
    }
    passwords.remove(0);
    Ok(passwords)
}
