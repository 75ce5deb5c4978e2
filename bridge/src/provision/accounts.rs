//! Accounts on a homeserver that accepts registrations from nobody else.

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
    failure::Failure,
    matrix::{
        Account, LoginError, MatrixError, Session,
        session::{self, RequestError},
    },
    provision::conduit::Private,
};

/// The ways to create accounts.
pub(super) enum Registrar<'a> {
    /// A Conduit that accepts registrations from us.
    Conduit(&'a Private),
    /// A Synapse or a Dendrite whose `registration_shared_secret` we have.
    Synapse(SecretString),
    /// None: somebody else creates the accounts.
    Nobody,
}

/// An account that should exist.
pub(super) struct Wanted<'a> {
    pub(super) localpart: &'a str,
    pub(super) password: &'a SecretString,
    pub(super) display_name: Option<&'a str>,
    pub(super) admin: bool,
}

/// The result of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registered {
    Made,
    /// The account exists already, no matter who created it. Nothing was changed.
    Taken,
}

impl Registrar<'_> {
    /// Creates the account unless the name is taken.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] if we may not create accounts; [`Failure::Unavailable`].
    pub(super) async fn register(
        &self,
        there: &config::Matrix,
        wanted: &Wanted<'_>,
    ) -> Result<Registered, Failure> {
        match self {
            Self::Conduit(private) => by_token(private, wanted).await,
            Self::Synapse(secret) => by_shared_secret(there, secret, wanted).await,
            // The login that follows shows whether the account exists.
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
    // Conduit makes the first account that logs in during registration its administrator, declared or not.
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

/// Opens a brief session for a user whose password we have.
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
    named.map(drop).map_err(LoginError::Transient)
}

/// Registers with Synapse's `/_synapse/admin/v1/register`, as its documentation describes
/// (<https://element-hq.github.io/synapse/latest/admin_api/register_api.html>).
async fn by_shared_secret(
    there: &config::Matrix,
    secret: &SecretString,
    wanted: &Wanted<'_>,
) -> Result<Registered, Failure> {
    let url = there.homeserver.join("/_synapse/admin/v1/register").expect("a valid path");
    let http = session::http_client(there)?;
    let wrong = |what: String| Failure::Unavailable(format!("{}: {what}", there.homeserver));
    let unanswered = |error: MatrixError| failure(there, &error);
    let (status, said) = ask(http.get(url.clone())).await.map_err(unanswered)?;
    let nonce = match (status, said["nonce"].as_str()) {
        (200, Some(nonce)) => nonce,
        // The answer has Matrix's own form, so it comes from a homeserver, which does not support this.
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
    match ask(request).await.map_err(unanswered)? {
        (200, said) => {
            // Dendrite logs in even if asked not to.
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

/// Signs a registration with HMAC-SHA1, which Synapse's protocol requires.
fn signature(secret: &SecretString, nonce: &str, wanted: &Wanted<'_>) -> String {
    let admin = if wanted.admin { "admin" } else { "notadmin" };
    let signed = [nonce, wanted.localpart, wanted.password.expose_secret(), admin].join("\0");
    let signed = Zeroizing::new(signed);
    let key = secret.expose_secret().as_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    HEXLOWER.encode(hmac::sign(&key, signed.as_bytes()).as_ref())
}

/// Returns the status and the JSON of an answer, or the reason why there is none.
async fn ask(request: RequestBuilder) -> Result<(u16, Value), MatrixError> {
    let request = request.timeout(session::REQUEST_TIMEOUT);
    let answer = request.send().await.map_err(RequestError::from)?;
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    let one = Semaphore::new(1);
    session::read(answer, &mut body, &one).await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Turns a failed request into a failure of the program, which tells whether another attempt may succeed.
pub(super) fn failure(there: &config::Matrix, error: &MatrixError) -> Failure {
    let what = format!("{}: {error}", there.homeserver);
    match error {
        MatrixError::Unreachable(_)
        | MatrixError::Untrusted(_)
        | MatrixError::TooLong { .. }
        | MatrixError::Limited { .. } => Failure::Unavailable(what),
        MatrixError::TokenRefused(_)
        | MatrixError::Encrypted(_)
        | MatrixError::Replaced(_)
        | MatrixError::Forbidden(_)
        | MatrixError::NotFound(_)
        | MatrixError::Rejected(_) => Failure::Refused(what),
    }
}

/// Turns a failed login into a failure of the program.
pub(super) fn login_failure(there: &config::Matrix, error: LoginError) -> Failure {
    error.into_failure(|error| failure(there, &error))
}
