//! The bridge's account on the homeserver: it logs in once, keeps its device, and makes requests.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use matrix_sdk::ruma::{
    OwnedDeviceId, OwnedUserId, UserId,
    api::client::{
        account::whoami,
        authenticated_media::get_media_config,
        discovery::get_supported_versions,
        media,
        session::{
            login::{self, v3::LoginInfo},
            logout,
        },
        uiaa::{MatrixUserIdentifier, UserIdentifier},
    },
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;
use tracing::{info, warn};

use crate::{
    config::{self, Login, Secret},
    directory::Durability,
    failure::{AttemptError, Failure},
    matrix::{
        error::MatrixError,
        session::{Identity, Request, Session},
    },
    state_file::StateFile,
};

/// A logged-in account.
#[derive(Debug)]
pub(crate) struct Account {
    config: config::Matrix,
    /// The account's user ID.
    pub(crate) user: OwnedUserId,
    session: Mutex<Session>,
    /// The largest file that the homeserver accepts, in bytes, once the homeserver has told it.
    upload_limit: OnceCell<u64>,
    renewing: tokio::sync::Mutex<()>,
    /// Whether we logged in with a password. A configured access token is not ours to revoke.
    has_logged_in: bool,
}

/// The reason why a login failed.
pub(crate) type LoginError = AttemptError<MatrixError>;

impl Account {
    /// Restores the saved session, or logs in and saves the new one. Makes one attempt.
    pub(crate) async fn open(config: config::Matrix) -> Result<Self, LoginError> {
        let kept = match &config.login {
            Login::Password { user, .. } => read_kept(&config, user)?,
            Login::AccessToken(_) => None,
        };
        let session = match kept {
            Some(kept) => {
                let device = kept.device_id.clone();
                match restore(&config, kept).await {
                    Err(LoginError::Transient(MatrixError::TokenRefused(reason))) => {
                        info!("homeserver ended our session ({reason}); logging in again");
                        log_in(&config, Some(device)).await?
                    }
                    restored => restored?,
                }
            }
            None => log_in(&config, None).await?,
        };
        let has_logged_in = matches!(config.login, Login::Password { .. });
        Self::of(config, session, has_logged_in)
    }

    /// Opens a separate session that is not saved, for a check beside a running bridge. End it with
    /// [`Account::log_out`].
    pub(crate) async fn open_briefly(config: config::Matrix) -> Result<Self, LoginError> {
        let (session, has_logged_in) = match &config.login {
            Login::AccessToken(_) => (log_in(&config, None).await?, false),
            Login::Password { user, password } => {
                (password_login(&config, user, password, None).await?, true)
            }
        };
        Self::of(config, session, has_logged_in)
    }

    /// Opens a session that is not saved for the user that a token stands for, with the login type `kind`.
    pub(crate) async fn open_by_token_login(
        config: config::Matrix,
        kind: &str,
        token: &SecretString,
    ) -> Result<Self, LoginError> {
        let data = [("token".to_owned(), token.expose_secret().into())].into_iter().collect();
        let info = LoginInfo::new(kind, data);
        let info = info.map_err(|error| LoginError::Permanent(Failure::Bug(error.to_string())))?;
        let session = new_session(&config, info, None).await?;
        Self::of(config, session, true)
    }

    fn of(
        config: config::Matrix,
        session: Session,
        has_logged_in: bool,
    ) -> Result<Self, LoginError> {
        let user = session.identity().map(|identity| identity.user_id.clone());
        let user = user.ok_or_else(|| {
            LoginError::Permanent(Failure::Bug("the session has no account".to_owned()))
        })?;
        Ok(Self {
            config,
            user,
            session: Mutex::new(session),
            upload_limit: OnceCell::new(),
            renewing: tokio::sync::Mutex::default(),
            has_logged_in,
        })
    }

    /// Ends a session that was opened briefly. A configured access token stays valid.
    pub(crate) async fn log_out(self) {
        if self.has_logged_in {
            // Best effort: we forget the token either way.
            let _ = self.request(logout::v3::Request::new()).await;
        }
    }

    /// Makes one attempt at a request.
    pub(crate) async fn request<R: Request>(
        &self,
        request: R,
    ) -> Result<R::IncomingResponse, MatrixError> {
        Ok(self.session().send(request).await?)
    }

    /// Makes one attempt at a request whose body is `bytes`, without copying them.
    pub(crate) async fn request_with<R: Request>(
        &self,
        request: R,
        bytes: Bytes,
    ) -> Result<R::IncomingResponse, MatrixError> {
        Ok(self.session().send_bytes(request, bytes).await?)
    }

    /// Returns the largest file that the homeserver accepts, in bytes; `None` if the homeserver does not tell it.
    pub(crate) async fn upload_limit(&self) -> Option<u64> {
        let ask = async || -> Result<u64, MatrixError> {
            match self.request(get_media_config::v1::Request::new()).await {
                Ok(limits) => Ok(limits.upload_size.into()),
                // The homeserver is older than Matrix 1.11.
                Err(MatrixError::NotFound(_) | MatrixError::Unreachable(_)) => {
                    #[expect(deprecated, reason = "what such a homeserver knows")]
                    let request = media::get_media_config::v3::Request::new();
                    match self.request(request).await {
                        Ok(limits) => Ok(limits.upload_size.into()),
                        // The homeserver has no such limit or does not tell it.
                        Err(MatrixError::NotFound(_)) => Ok(u64::MAX),
                        Err(error) => Err(error),
                    }
                }
                Err(error) => Err(error),
            }
        };
        self.upload_limit.get_or_try_init(ask).await.ok().copied()
    }

    /// The address of the homeserver.
    pub(crate) fn homeserver(&self) -> &str {
        self.config.homeserver.as_str()
    }

    /// The directory for data that must survive a restart.
    pub(crate) fn state_dir(&self) -> &Path {
        &self.config.state_dir
    }

    /// Makes one attempt at a request that returns an array, and passes its elements to `take` one by one.
    pub(crate) async fn request_each<R: Request>(
        &self,
        request: R,
        take: impl FnMut(&[u8]),
    ) -> Result<(), MatrixError> {
        Ok(self.session().send_for_each(request, take).await?)
    }

    /// Logs in again with the same device, unless that was done meanwhile.
    async fn renew(&self) -> Result<(), LoginError> {
        let token =
            |session: &Session| session.identity().map(|identity| identity.access_token.clone());
        let before = token(&self.session());
        let _one_at_a_time = self.renewing.lock().await;
        if token(&self.session()) != before {
            return Ok(());
        }
        info!("homeserver ended our session; logging in again");
        let device = self.session().identity().map(|identity| identity.device_id.clone());
        let session = log_in(&self.config, device).await?;
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
        Ok(())
    }

    /// Logs in again after [`MatrixError::TokenRefused`]. Returns the reason why the request has failed so far.
    ///
    /// # Errors
    ///
    /// The homeserver refuses the login, too.
    pub(crate) async fn recover(&self, refused: &MatrixError) -> Result<String, Failure> {
        match self.renew().await {
            Ok(()) => Ok(refused.to_string()),
            Err(LoginError::Transient(error)) => Ok(error.to_string()),
            Err(LoginError::Permanent(failure)) => Err(failure),
        }
    }

    /// The session itself, for requests that [`Account::request`] does not cover.
    pub(crate) fn session(&self) -> Session {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Asks the homeserver for its versions, which needs no account and shows whether it runs.
pub(crate) async fn versions(config: &config::Matrix) -> Result<Vec<String>, LoginError> {
    let session = Session::anonymous(config)?;
    let answer = session.send(get_supported_versions::Request::new()).await;
    answer.map(|answer| answer.versions).map_err(|error| LoginError::Transient(error.into()))
}

async fn who_am_i(session: &Session) -> Result<whoami::v3::Response, LoginError> {
    let answer = session.send(whoami::v3::Request::new()).await;
    answer.map_err(|error| LoginError::Transient(error.into()))
}

async fn restore(config: &config::Matrix, kept: Identity) -> Result<Session, LoginError> {
    let session = Session::anonymous(config)?.of(kept);
    who_am_i(&session).await?;
    Ok(session)
}

async fn log_in(
    config: &config::Matrix,
    device: Option<OwnedDeviceId>,
) -> Result<Session, LoginError> {
    match &config.login {
        Login::AccessToken(token) => {
            let token = access_token(token)?;
            with_token(config, token).await
        }
        Login::Password { user, password } => {
            let session = password_login(config, user, password, device.clone()).await?;
            match (keep(config, &session), device) {
                (Ok(()), _) => {}
                // The saved file has this device already, only with an older token. The cost is another login after
                // the next start.
                (Err(failure), Some(_)) => warn!("{failure}"),
                (Err(failure), None) => return Err(LoginError::Permanent(failure)),
            }
            Ok(session)
        }
    }
}

/// The token of an account, which goes into a header of HTTP.
fn access_token(secret: &Secret) -> Result<SecretString, Failure> {
    let token = secret.read()?;
    if token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token);
    }
    Err(Failure::Config(format!(
        "{}: has a space, a line break or another character that no access token has: it must hold the token alone",
        secret.name("matrix.access_token")
    )))
}

async fn with_token(config: &config::Matrix, token: SecretString) -> Result<Session, LoginError> {
    // Only the homeserver knows whose token it is. This user ID is a placeholder until it has answered.
    let mut identity = Identity {
        homeserver: config.homeserver.to_string(),
        user_id: UserId::parse("@unknown:localhost").expect("a valid user id"),
        device_id: "UNKNOWN".into(),
        access_token: token.expose_secret().to_owned().into(),
    };
    let session = Session::anonymous(config)?.of(identity.clone());
    let me = who_am_i(&session).await.map_err(|error| match error {
        LoginError::Transient(MatrixError::TokenRefused(reason)) => {
            refused(config, "matrix.access_token_file", &reason)
        }
        other => other,
    })?;
    identity.user_id = me.user_id;
    identity.device_id = me.device_id.unwrap_or(identity.device_id);
    Ok(session.of(identity))
}

async fn password_login(
    config: &config::Matrix,
    user: &str,
    password: &config::Secret,
    device: Option<OwnedDeviceId>,
) -> Result<Session, LoginError> {
    let password = password.read()?;
    let identifier = UserIdentifier::Matrix(MatrixUserIdentifier::new(user.to_owned()));
    let info = LoginInfo::Password(login::v3::Password::new(
        identifier,
        password.expose_secret().to_owned(),
    ));
    new_session(config, info, device).await.map_err(|error| match error {
        LoginError::Transient(
            MatrixError::Forbidden(reason)
            | MatrixError::TokenRefused(reason)
            | MatrixError::Rejected(reason),
        ) => refused(config, "matrix.user and its password", &reason),
        other => other,
    })
}

/// Makes one attempt at a login. An address in the answer is ignored, because it is meant for public clients.
async fn new_session(
    config: &config::Matrix,
    info: LoginInfo,
    device: Option<OwnedDeviceId>,
) -> Result<Session, LoginError> {
    let session = Session::anonymous(config)?;
    let mut request = login::v3::Request::new(info);
    request.device_id = device;
    request.initial_device_display_name = Some("nats-matrix".to_owned());
    let answer =
        session.send(request).await.map_err(|error| LoginError::Transient(error.into()))?;
    Ok(session.of(Identity {
        homeserver: config.homeserver.to_string(),
        user_id: answer.user_id,
        device_id: answer.device_id,
        access_token: answer.access_token.into(),
    }))
}

pub(crate) fn refused(config: &config::Matrix, keys: &str, reason: &str) -> LoginError {
    LoginError::Permanent(Failure::Refused(format!(
        "homeserver {} refuses our login ({reason}): check {keys}",
        config.homeserver
    )))
}

fn session_file(config: &config::Matrix) -> StateFile {
    StateFile::new(&config.state_dir, "session.json")
}

/// Reads the saved session, if it belongs to this account on this homeserver.
fn read_kept(config: &config::Matrix, user: &str) -> Result<Option<Identity>, Failure> {
    let file = session_file(config);
    let kept: Option<Identity> = file.read().map_err(|error| {
        Failure::Config(format!(
            "matrix.state_dir: cannot read {file}: {error}; it must belong to the user that the bridge runs as"
        ))
    })?;
    Ok(kept.filter(|kept| {
        let same_user = kept.user_id.as_str() == user || kept.user_id.localpart() == user;
        // A token must only be sent to the server that issued it.
        same_user && kept.homeserver == config.homeserver.as_str()
    }))
}

/// Saves the session.
fn keep(config: &config::Matrix, session: &Session) -> Result<(), Failure> {
    let Some(kept) = session.identity() else {
        return Err(Failure::Bug("the session has no account".to_owned()));
    };
    let file = session_file(config);
    file.write(kept, Durability::Disk).map_err(|error| {
        Failure::Config(format!("matrix.state_dir: cannot keep the session in {file}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_with_more_beside_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let secret =
            Secret::File { key: "matrix.access_token_file".to_owned(), path: path.clone() };
        for (text, is_token) in [
            ("syt_YWxpY2U_Xy-z.9~+/=", true),
            ("syt_a\n", true),
            ("syt_a\n\n", false),
            ("syt_a\nsyt_b\n", false),
            ("token: syt_a", false),
            ("syt_\u{e9}", false),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = access_token(&secret).map_err(|failure| failure.to_string());
            let Err(said) = read else {
                assert!(is_token, "{text}");
                continue;
            };
            assert!(!is_token && !said.contains("syt_"), "{said}");
            assert!(
                said.starts_with("matrix.access_token_file: has a space, a line break"),
                "{said}"
            );
        }
    }
}
