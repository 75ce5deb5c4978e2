//! A new password for an account that is declared.

use std::path::Path;

use matrix_sdk::ruma::api::client::{
    account::change_password,
    uiaa::{AuthData, MatrixUserIdentifier, Password, UserIdentifier},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    config::{Config, Login, Secret},
    failure::Failure,
    matrix::{Account, LoginError, MatrixError},
    provision::{
        accounts::{failure, log_in, login_failure},
        password,
    },
};

/// Changes the password of an account and the file that holds it, and ends all its sessions. The file always
/// holds a password that is valid, or another one beside it does, which the next attempt finds.
///
/// # Errors
///
/// [`Failure::Refused`] when the file's password is not, or no longer, that of the account; nothing is changed
/// then. [`Failure::Config`] when there is no such account or its file cannot be written.
pub(crate) async fn rotate(config: &Config, localpart: &str) -> Result<(), Failure> {
    let path = password_file(config, localpart)?;
    let waiting = password::waiting(path);
    if path.is_symlink() {
        return Err(Failure::Config(format!(
            "{} is a link, to a file that somebody else keeps: change the password in Element, and the file there",
            path.display()
        )));
    }
    if waiting.exists() {
        match log_in(&config.matrix, localpart, &password::read(&waiting)?).await {
            // An attempt was cut short after the homeserver had taken the new one: that was that.
            Ok(account) => {
                account.log_out().await;
                return replace(path);
            }
            Err(LoginError::Final(Failure::Refused(_))) => {}
            Err(error) => return Err(login_failure(&config.matrix, error)),
        }
    }
    let old = password::read(path)?;
    let account = log_in(&config.matrix, localpart, &old).await.map_err(|error| match error {
        LoginError::Final(Failure::Refused(_)) => Failure::Refused(format!(
            "{localpart} has another password than {} holds, so only {localpart} or an administrator can change \
             it. {}",
            path.display(),
            how_to_reset(localpart)
        )),
        other => login_failure(&config.matrix, other),
    })?;
    let new = password::random()?;
    let written =
        password::write_beside(path, &new).map_err(|error| password::unwritten(&waiting, &error));
    let changed = match written {
        Ok(()) => {
            change(&account, &old, &new).await.map_err(|error| failure(&config.matrix, &error))
        }
        Err(failure) => Err(failure),
    };
    account.log_out().await;
    changed.and_then(|()| replace(path))
}

fn password_file<'a>(config: &'a Config, localpart: &str) -> Result<&'a Path, Failure> {
    if config.matrix.login.localpart() == Some(localpart) {
        return match &config.matrix.login {
            Login::Password { password: Secret::File { path, .. }, .. } => Ok(path),
            _ => Err(Failure::Config(format!(
                "the password of {localpart} is written in the configuration: keep it in a file instead"
            ))),
        };
    }
    let user = config.provision.users.iter().find(|user| user.localpart == localpart);
    user.map(|user| user.password_file.as_path()).ok_or_else(|| {
        Failure::Config(format!("{localpart} is neither one of [users] nor the bridge's account"))
    })
}

fn replace(path: &Path) -> Result<(), Failure> {
    password::move_into_place(path).map_err(|error| {
        Failure::Config(format!(
            "the new password is in {} and cannot replace {}: {error}",
            password::waiting(path).display(),
            path.display()
        ))
    })
}

/// The homeserver asks for the old password once more.
async fn change(
    account: &Account,
    old: &SecretString,
    new: &SecretString,
) -> Result<(), MatrixError> {
    let request = || change_password::v3::Request::new(new.expose_secret().to_owned());
    let Err(error) = account.session().send(request()).await else { return Ok(()) };
    let session = match error.asks_for_proof() {
        Some(asked) => asked.session.clone(),
        None => return Err(error.into()),
    };
    let user = UserIdentifier::Matrix(MatrixUserIdentifier::new(account.user.to_string()));
    let mut proof = Password::new(user, old.expose_secret().to_owned());
    proof.session = session;
    let mut request = request();
    request.auth = Some(AuthData::Password(proof));
    account.request(request).await.map(drop)
}

/// For whoever has lost a password.
pub(crate) fn how_to_reset(localpart: &str) -> String {
    format!(
        "With Conduit, an administrator gives it a new one in the room #admins: @conduit:SERVER: reset-password {localpart}"
    )
}
