//! A new password for a declared account.

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

/// Changes the password of an account and its password file, and ends all sessions of the account. At any time either
/// this file or the one beside it holds a valid password, and the next attempt finds it.
///
/// # Errors
///
/// [`Failure::Refused`] if the password in the file is not, or no longer, that of the account; nothing is changed
/// then. [`Failure::Config`] if there is no such account or its file cannot be written.
pub(crate) async fn rotate(config: &Config, localpart: &str) -> Result<(), Failure> {
    let path = password_file(config, localpart)?;
    let waiting = password::waiting(path);
    if path.is_symlink() {
        return Err(Failure::Config(format!(
            "{} is a link to a file that is managed elsewhere: change the password in Element, and then in that file",
            path.display()
        )));
    }
    if waiting.exists() {
        match log_in(&config.matrix, localpart, &password::read(&waiting)?).await {
            // An earlier attempt was interrupted after the homeserver had accepted the new password; only the file is
            // left to do.
            Ok(account) => {
                account.log_out().await;
                return replace(path);
            }
            Err(LoginError::Permanent(Failure::Refused(_))) => {}
            Err(error) => return Err(login_failure(&config.matrix, error)),
        }
    }
    let old = password::read(path)?;
    let account = log_in(&config.matrix, localpart, &old).await.map_err(|error| match error {
        LoginError::Permanent(Failure::Refused(_)) => Failure::Refused(format!(
            "{localpart} has another password than the one in {}, so only {localpart} or an administrator can change \
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

/// Changes the password on the homeserver, which asks for the old one as a proof.
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

/// Advice for somebody who has lost a password.
pub(crate) fn how_to_reset(localpart: &str) -> String {
    format!(
        "With Conduit, an administrator can reset it in the room #admins: @conduit:SERVER: reset-password {localpart}"
    )
}
