//! `nats-matrix provision`: creates the declared accounts and rooms that are missing. Running it again changes
//! nothing, and anything that people made by hand stays.

mod accounts;
mod conduit;
mod password;
mod rooms;
mod rotate;

use matrix_sdk::ruma::{OwnedUserId, UserId, api::client::profile::get_profile};

pub(crate) use self::{conduit::readable_database, rotate::rotate};
use crate::{
    config::{self, Config, DeclaredRoom, Implementation, Login, Means, Person, Secret, User},
    failure::Failure,
    matrix::{Account, MatrixError},
    provision::{
        accounts::{Registered, Registrar, Wanted, failure, login_failure},
        conduit::Private,
        rooms::Mode,
        rotate::how_to_reset,
    },
    signals::Signals,
};

/// One line of the report: an account or a room, and the result for it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) mark: Mark,
    /// The kind of item: "user" or "room".
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

/// The result for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Made,
    Found,
    Changed,
    Failed,
}

/// The output of the items, and the first failure.
struct Report<'a> {
    say: &'a mut dyn FnMut(Item),
    result: Result<(), Failure>,
}

impl Report<'_> {
    fn item(&mut self, mark: Mark, kind: &'static str, text: impl Into<String>) {
        (self.say)(Item { mark, kind, text: text.into() });
    }

    fn fail(&mut self, kind: &'static str, failure: Failure) {
        self.item(Mark::Failed, kind, failure.to_string());
        if self.result.is_ok() {
            self.result = Err(failure);
        }
    }
}

/// Creates what is missing and passes each item to `say`. After a failure the other items are still tried; the first
/// failure is returned.
///
/// # Errors
///
/// The errors of the homeserver and of the password files.
pub(crate) async fn provision(config: &Config, say: &mut dyn FnMut(Item)) -> Result<(), Failure> {
    let report = Report { say, result: Ok(()) };
    match &config.provision.means {
        Some(Means::Conduit { implementation, program, config: file }) => {
            let mut signals = Signals::install()?;
            let private = Private::start(*implementation, program, file, &config.matrix).await?;
            let registrar = Registrar::Conduit(&private);
            let done = tokio::select! {
                done = make(config, &private.there, &registrar, report) => done,
                name = signals.next() => {
                    Err(Failure::Unavailable(format!("{name}: stopped before everything was done; run it again")))
                }
            };
            // The private homeserver is stopped in any case, as the one that people use has to start again.
            let done = done.and(private.stop().await);
            let admins = admins(config);
            if *implementation == Implementation::Continuwuity && !admins.is_empty() {
                done?;
                return conduit::make_admins_by_command(program, file, &admins).await;
            }
            done
        }
        Some(Means::Synapse(secret)) => {
            guard(secret)?;
            let registrar = Registrar::Synapse(secret.read()?);
            make(config, &config.matrix, &registrar, report).await
        }
        // Without rooms not even a login is needed.
        None if config.provision.rooms.is_empty() => Ok(()),
        None => make(config, &config.matrix, &Registrar::Nobody, report).await,
    }
}

async fn make(
    config: &Config,
    there: &config::Matrix,
    registrar: &Registrar<'_>,
    mut report: Report<'_>,
) -> Result<(), Failure> {
    for user in &config.provision.users {
        if let Err(failure) = person(there, registrar, user, &mut report).await {
            report.fail("user", failure);
        }
    }
    if let Registrar::Conduit(private) = registrar
        && private.implementation != Implementation::Continuwuity
    {
        make_admins(private, &admins(config), &mut report).await;
    }
    match bridge(there, registrar, &mut report).await {
        Ok(account) => {
            rooms(config, &account, Mode::Apply, &mut report).await;
            account.log_out().await;
        }
        Err(failure) => report.fail("user", failure),
    }
    report.result
}

/// Creates the account of a person, with a random password if there is none yet.
async fn person(
    there: &config::Matrix,
    registrar: &Registrar<'_>,
    user: &User,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let password = password::first(&user.password_file)?;
    let wanted = Wanted {
        localpart: &user.localpart,
        password: &password.text,
        display_name: user.display_name.as_deref(),
        admin: user.admin,
    };
    match registrar.register(there, &wanted).await? {
        Registered::Made => {
            let file = user.password_file.display();
            report.item(
                Mark::Made,
                "user",
                format!("{}, with the password in {file}", user.localpart),
            );
        }
        Registered::Taken => {
            // The new password belongs to no account.
            if password.is_new {
                let _ = password::remove(&user.password_file);
            }
            report.item(Mark::Found, "user", &user.localpart);
        }
    }
    Ok(())
}

/// The declared administrators of the homeserver.
fn admins(config: &Config) -> Vec<&str> {
    let admins = config.provision.users.iter().filter(|user| user.admin);
    admins.map(|user| user.localpart.as_str()).collect()
}

async fn make_admins(private: &Private, admins: &[&str], report: &mut Report<'_>) {
    if admins.is_empty() {
        return;
    }
    match private.make_admins(admins).await {
        Ok(made) => {
            for user in made {
                report.item(Mark::Changed, "user", format!("{user}: now an administrator"));
            }
        }
        Err(error) => {
            let who = admins.join(", ");
            let what = format!("cannot make administrators of {who}: the homeserver {error}");
            report.fail("user", Failure::Unavailable(what));
        }
    }
}

/// Creates the bridge's account if possible, and logs in to it briefly.
async fn bridge(
    there: &config::Matrix,
    registrar: &Registrar<'_>,
    report: &mut Report<'_>,
) -> Result<Account, Failure> {
    match &there.login {
        Login::Password { password, .. } if !matches!(registrar, Registrar::Nobody) => {
            registered_bridge(there, registrar, password, report).await
        }
        Login::Password { password: secret, .. } | Login::AccessToken(secret) => {
            guard(secret)?;
            let account = log_in(there).await?;
            report.item(Mark::Found, "user", format!("{}, the bridge", account.user));
            Ok(account)
        }
    }
}

async fn registered_bridge(
    there: &config::Matrix,
    registrar: &Registrar<'_>,
    password: &Secret,
    report: &mut Report<'_>,
) -> Result<Account, Failure> {
    let (text, new_file) = match password {
        Secret::Inline(text) => (text.clone(), None),
        Secret::File { path, .. } => {
            let first = password::first(path)?;
            (first.text, first.is_new.then_some(path))
        }
    };
    let localpart = there.login.localpart().unwrap_or_default();
    let wanted = Wanted { localpart, password: &text, display_name: None, admin: false };
    let registered = registrar.register(there, &wanted).await?;
    if let (Registered::Taken, Some(path)) = (registered, new_file) {
        let _ = password::remove(path);
        return Err(Failure::Refused(format!(
            "{localpart}, the bridge's account, exists already, but its password is missing: write it into {}. {}",
            path.display(),
            how_to_reset(localpart)
        )));
    }
    let account = log_in(there).await.map_err(|failure| match (failure, password) {
        (Failure::Refused(_), Secret::File { path, .. }) if password::waiting(path).exists() => {
            Failure::Refused(format!(
                "a new password of {localpart} is not in its place yet: run nats-matrix provision --rotate {localpart}"
            ))
        }
        (Failure::Refused(what), _) => {
            Failure::Refused(format!("{what}. {}", how_to_reset(localpart)))
        }
        (failure, _) => failure,
    })?;
    let mark = if registered == Registered::Made { Mark::Made } else { Mark::Found };
    report.item(mark, "user", format!("{localpart}, the bridge"));
    Ok(account)
}

/// Checks a secret like [`password::guarded`] does, if it is in a file.
fn guard(secret: &Secret) -> Result<(), Failure> {
    secret.file().map_or(Ok(()), |(_, path)| password::guarded(path))
}

async fn log_in(there: &config::Matrix) -> Result<Account, Failure> {
    Account::open_briefly(there.clone()).await.map_err(|error| login_failure(there, error))
}

async fn rooms(config: &Config, account: &Account, mode: Mode, report: &mut Report<'_>) {
    for room in &config.provision.rooms {
        let people = people(config, account, room);
        match rooms::ensure(account, room, &people, mode).await {
            Ok(done) => {
                let alias = done.alias;
                for failure in done.failures {
                    report.fail("room", failure);
                }
                match (done.is_new, done.changed.join(", ")) {
                    (true, _) => report.item(Mark::Made, "room", alias.as_str()),
                    (false, changed) if changed.is_empty() => {
                        report.item(Mark::Found, "room", alias.as_str());
                    }
                    (false, changed) => {
                        report.item(Mark::Changed, "room", format!("{alias}: {changed}"));
                    }
                }
            }
            Err(failure) => report.fail("room", failure),
        }
    }
}

fn people(config: &Config, account: &Account, room: &DeclaredRoom) -> rooms::People {
    let invite = room.invite.iter().map(|person| match person {
        Person::Declared(name) => here(account, name),
        Person::Other(id) => id.clone(),
    });
    rooms::People {
        // The bridge is in the room anyway.
        invite: invite.filter(|user| *user != account.user).collect(),
        admins: config.provision.administrators(account.user.server_name()).collect(),
    }
}

/// Passes to `say` what [`provision`] would do, according to the running homeserver. Changes nothing.
///
/// # Errors
///
/// The errors of the homeserver, which has to run unless it was never provisioned.
pub(crate) async fn plan(config: &Config, say: &mut dyn FnMut(Item)) -> Result<(), Failure> {
    let mut report = Report { say, result: Ok(()) };
    let there = &config.matrix;
    let account = match log_in(there).await {
        Ok(account) => Some(account),
        // The homeserver has never been started.
        Err(_) if config.provision.means.is_some() && has_no_password(there) => None,
        Err(failure) => return Err(failure),
    };
    let Some(account) = account else {
        for user in &config.provision.users {
            report.item(Mark::Made, "user", &user.localpart);
        }
        let own = there.login.localpart().unwrap_or_default();
        report.item(Mark::Made, "user", format!("{own}, the bridge"));
        for room in &config.provision.rooms {
            report.item(Mark::Made, "room", format!("#{}", room.alias));
        }
        return Ok(());
    };
    for user in &config.provision.users {
        match is_there(&account, &user.localpart).await {
            Ok(true) => report.item(Mark::Found, "user", &user.localpart),
            Ok(false) => report.item(Mark::Made, "user", &user.localpart),
            Err(error) => report.fail("user", failure(there, &error)),
        }
    }
    report.item(Mark::Found, "user", format!("{}, the bridge", account.user));
    rooms(config, &account, Mode::DryRun, &mut report).await;
    account.log_out().await;
    report.result
}

/// Whether the bridge's password is still to be created.
fn has_no_password(there: &config::Matrix) -> bool {
    matches!(&there.login, Login::Password { password: Secret::File { path, .. }, .. } if !path.exists())
}

async fn is_there(account: &Account, localpart: &str) -> Result<bool, MatrixError> {
    let request = get_profile::v3::Request::new(here(account, localpart));
    match account.request(request).await {
        Ok(_) => Ok(true),
        Err(MatrixError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the user ID of an account on the bridge's own homeserver.
fn here(account: &Account, localpart: &str) -> OwnedUserId {
    UserId::parse_with_server_name(localpart, account.user.server_name())
        .expect("the configuration takes only names that are valid")
}
