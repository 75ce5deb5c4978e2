//! Accounts, on a homeserver that takes registrations from nobody else.

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use matrix_sdk::{
    reqwest::{RequestBuilder, header::CONTENT_TYPE},
    ruma::{
        api::{
            client::{
                account::register,
                profile::set_profile_field,
                uiaa::{AuthData, RegistrationToken},
            },
            error::ErrorKind,
        },
        profile::ProfileFieldValue,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::{
    config::{self, Login, Secret},
    failure::{Failure, chain},
    matrix::{Account, LoginError, MatrixError, Session, session},
    provision::conduit::Private,
};

/// Who makes accounts.
pub(super) enum Registrar<'a> {
    /// A Conduit that takes registrations from us.
    Conduit(&'a Private),
    /// A Synapse, or a Dendrite, whose `registration_shared_secret` we have.
    Synapse(SecretString),
    /// Somebody else.
    Nobody,
}

/// An account that there is to be.
pub(super) struct Wanted<'a> {
    pub(super) localpart: &'a str,
    pub(super) password: &'a SecretString,
    pub(super) display_name: Option<&'a str>,
    pub(super) admin: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registered {
    Made,
    /// There is such an account, whoever made it. Nothing was changed.
    Taken,
}

impl Registrar<'_> {
    /// Makes the account unless there is one of this name.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] when we may not; [`Failure::Unavailable`].
    pub(super) async fn register(
        &self,
        there: &config::Matrix,
        wanted: &Wanted<'_>,
    ) -> Result<Registered, Failure> {
        match self {
            Self::Conduit(private) => by_token(private, wanted).await,
            Self::Synapse(secret) => by_shared_secret(there, secret, wanted).await,
            // The login will tell.
            Self::Nobody => Ok(Registered::Taken),
        }
    }
}

async fn by_token(private: &Private, wanted: &Wanted<'_>) -> Result<Registered, Failure> {
    let there = &private.there;
    let token = RegistrationToken::new(private.token.expose_secret().to_owned());
    let mut request = register::v3::Request::new();
    request.username = Some(wanted.localpart.to_owned());
    request.password = Some(wanted.password.expose_secret().to_owned());
    request.auth = Some(AuthData::RegistrationToken(token));
    // Conduit makes the first account that logs in so its administrator, declared or not.
    request.inhibit_login = true;
    match Session::anonymous(there)?.send(request).await {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), Some(ErrorKind::UserInUse)) => {
            return Ok(Registered::Taken);
        }
        Err(error) => return Err(failure(there, &error.into())),
    }
    if let Some(name) = wanted.display_name {
        let named = set_display_name(there, wanted, name).await;
        named.map_err(|error| login_failure(there, error))?;
    }
    Ok(Registered::Made)
}

/// A session for a moment of somebody whose password we have.
pub(super) async fn log_in(
    there: &config::Matrix,
    localpart: &str,
    password: &SecretString,
) -> Result<Account, LoginError> {
    let login =
        Login::Password { user: localpart.to_owned(), password: Secret::Inline(password.clone()) };
    Account::open_briefly(config::Matrix { login, ..there.clone() }).await
}

async fn set_display_name(
    there: &config::Matrix,
    of: &Wanted<'_>,
    name: &str,
) -> Result<(), LoginError> {
    let account = log_in(there, of.localpart, of.password).await?;
    let value = ProfileFieldValue::DisplayName(name.to_owned());
    let request = set_profile_field::v3::Request::new(account.user.clone(), value);
    let named = account.request(request).await;
    account.log_out().await;
    named.map(drop).map_err(LoginError::Passing)
}

/// Synapse's `/_synapse/admin/v1/register`, as its documentation describes it
/// (<https://element-hq.github.io/synapse/latest/admin_api/register_api.html>).
async fn by_shared_secret(
    there: &config::Matrix,
    secret: &SecretString,
    wanted: &Wanted<'_>,
) -> Result<Registered, Failure> {
    let url = there.homeserver.join("/_synapse/admin/v1/register").expect("a valid path");
    let http = session::http_client(there)?;
    let wrong = |what: String| Failure::Unavailable(format!("{}: {what}", there.homeserver));
    let (status, said) = ask(http.get(url.clone())).await.map_err(wrong)?;
    let nonce = match (status, said["nonce"].as_str()) {
        (200, Some(nonce)) => nonce,
        // In Matrix's own form: whoever answered is a homeserver, and cannot do it.
        (400 | 404, None) if said["errcode"].is_string() => {
            return Err(Failure::Config(format!(
                "provision.registration_secret_file: {url} takes no registrations. Is it a Synapse or a Dendrite, is \
                 registration_shared_secret set there, and is matrix.homeserver its own address and not a proxy's?"
            )));
        }
        _ => return Err(wrong(format!("answers {status} when asked for a registration"))),
    };
    let body = json!({
        "nonce": nonce,
        "username": wanted.localpart,
        "displayname": wanted.display_name,
        "password": wanted.password.expose_secret(),
        "admin": wanted.admin,
        "inhibit_login": true,
        "mac": signature(secret, nonce, wanted),
    });
    let request = http.post(url).header(CONTENT_TYPE, "application/json").body(body.to_string());
    match ask(request).await.map_err(wrong)? {
        (200, said) => {
            // Dendrite logs in whether asked to or not.
            if let Some(token) = said["access_token"].as_str() {
                let url = there.homeserver.join("/_matrix/client/v3/logout").expect("a valid path");
                // Best effort: nobody else has the token.
                let _ = ask(http.post(url).bearer_auth(token)).await;
            }
            Ok(Registered::Made)
        }
        (400, said) if said["errcode"] == "M_USER_IN_USE" => Ok(Registered::Taken),
        (403, _) => Err(Failure::Refused(format!(
            "provision.registration_secret_file: {} has another registration_shared_secret",
            there.homeserver
        ))),
        (status, said) => {
            let what = format!(
                "refuses the account {}: {status} {}",
                wanted.localpart,
                said["error"].as_str().unwrap_or_default()
            );
            Err(if status == 400 {
                Failure::Refused(format!("{}: {what}", there.homeserver))
            } else {
                wrong(what)
            })
        }
    }
}

/// Synapse's protocol asks for HMAC-SHA1.
fn signature(secret: &SecretString, nonce: &str, wanted: &Wanted<'_>) -> String {
    let admin = if wanted.admin { "admin" } else { "notadmin" };
    let signed = [nonce, wanted.localpart, wanted.password.expose_secret(), admin].join("\0");
    let signed = Zeroizing::new(signed);
    let key = secret.expose_secret().as_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    HEXLOWER.encode(hmac::sign(&key, signed.as_bytes()).as_ref())
}

/// The status and JSON of an answer, or what was wrong.
async fn ask(request: RequestBuilder) -> Result<(u16, Value), String> {
    let request = request.timeout(session::REQUEST_TIMEOUT);
    let answer = request.send().await.map_err(|error| chain(&error))?;
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    let one = Semaphore::new(1);
    let read = session::read(answer, &mut body, &one).await;
    read.map_err(|error| MatrixError::from(error).to_string())?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// What an unsuccessful request means for whoever started us: whether the next attempt may succeed.
pub(super) fn failure(there: &config::Matrix, error: &MatrixError) -> Failure {
    let what = format!("{}: {error}", there.homeserver);
    match error {
        MatrixError::Unreachable(_)
        | MatrixError::Untrusted(_)
        | MatrixError::TooLong { .. }
        | MatrixError::Limited { .. } => Failure::Unavailable(what),
        MatrixError::TokenRefused(_)
        | MatrixError::Encrypted(_)
        | MatrixError::Forbidden(_)
        | MatrixError::NotFound(_)
        | MatrixError::Rejected(_) => Failure::Refused(what),
    }
}

/// The same of a login.
pub(super) fn login_failure(there: &config::Matrix, error: LoginError) -> Failure {
    match error {
        LoginError::Final(failure) => failure,
        LoginError::Passing(error) => failure(there, &error),
    }
}
