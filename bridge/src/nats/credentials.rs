//! The credentials for a NATS server. They are read again for each connection, so that credentials that are renewed
//! while the bridge runs are used at the next one.

use std::sync::{Mutex, PoisonError};

use async_nats::{Auth, AuthError};
use nkeys::{KeyPair, KeyPairType};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tracing::warn;

use crate::{
    config::{self, Secret},
    failure::Failure,
};

/// The credentials that the configuration names.
#[derive(Debug)]
pub(crate) struct Credentials {
    auth: config::Auth,
    last: Mutex<Last>,
}

/// The credentials that were read last.
#[derive(Debug)]
struct Last {
    proof: Proof,
    /// The reason why nothing newer can be read, as it was logged.
    trouble: Option<Failure>,
}

/// The proof of identity that a server asks for.
enum Proof {
    Key(KeyPair),
    Token(SecretString),
    Password { user: String, password: SecretString },
    Jwt { jwt: String, key: KeyPair },
}

impl Credentials {
    /// Reads the credentials for the first time. Returns `None` if the configuration has none.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] for a file that cannot be read, or that holds something else.
    pub(crate) fn read(auth: &config::Auth) -> Result<Option<Self>, Failure> {
        let last = Proof::read(auth)?.map(|proof| Mutex::new(Last { proof, trouble: None }));
        Ok(last.map(|last| Self { auth: auth.clone(), last }))
    }

    /// Returns the answer to a server that has sent this nonce.
    ///
    /// A file that cannot be read, or that is just being written, does not keep the bridge from a server that still
    /// accepts the credentials read before.
    pub(crate) fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match Proof::read(&self.auth) {
            Ok(Some(proof)) => *last = Last { proof, trouble: None },
            Ok(None) => {}
            // There is an attempt every few seconds while a server is away, so the same failure is logged once.
            Err(failure) if last.trouble.as_ref() == Some(&failure) => {}
            Err(failure) => {
                warn!("{failure}; using the credentials that were read before");
                last.trouble = Some(failure);
            }
        }
        last.proof.answer(nonce).map_err(AuthError::new)
    }
}

impl Proof {
    fn read(auth: &config::Auth) -> Result<Option<Self>, Failure> {
        Ok(Some(match auth {
            config::Auth::None => return Ok(None),
            config::Auth::Nkey(secret) => {
                let seed = secret.read()?;
                let key = user_key(seed.expose_secret().trim());
                let wrong =
                    |error| Failure::Config(format!("{}: {error}", secret.name("nats.nkey_seed")));
                Self::Key(key.map_err(wrong)?)
            }
            config::Auth::Credentials(secret) => Self::of_file(secret)?,
            config::Auth::Password { user, password } => {
                Self::Password { user: user.clone(), password: password.read()? }
            }
            config::Auth::Token(token) => Self::Token(token.read()?),
        }))
    }

    /// Reads the contents of a file as `nsc` writes it: a token and a seed, each between two lines that name it.
    fn of_file(secret: &Secret) -> Result<Self, Failure> {
        let text = secret.read()?;
        let mut lines = text.expose_secret().lines().map(str::trim);
        let mut block = |name: &str| {
            lines.find(|line| {
                line.starts_with("---") && line.contains("BEGIN") && line.contains(name)
            })?;
            lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
        };
        let wrong = |what: &str| {
            let name = secret.name("nats.credentials");
            Failure::Config(format!("{name}: not a NATS credentials file: {what}"))
        };
        let jwt = block("JWT").ok_or_else(|| wrong("it has no user JWT"))?.to_owned();
        let seed = block("SEED").ok_or_else(|| wrong("it has no seed behind the JWT"))?;
        Ok(Self::Jwt { jwt, key: user_key(seed).map_err(|error| wrong(&error.to_string()))? })
    }

    fn answer(&self, nonce: &[u8]) -> Result<Auth, nkeys::error::Error> {
        let mut auth = Auth::new();
        match self {
            Self::Key(key) => {
                auth.nkey = Some(key.public_key());
                auth.signature = Some(key.sign(nonce)?);
            }
            Self::Token(token) => auth.token = Some(token.expose_secret().to_owned()),
            Self::Password { user, password } => {
                auth.username = Some(user.clone());
                auth.password = Some(password.expose_secret().to_owned());
            }
            Self::Jwt { jwt, key } => {
                auth.jwt = Some(jwt.clone());
                auth.signature = Some(key.sign(nonce)?);
            }
        }
        Ok(auth)
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof")
    }
}

/// The reason why a text is not the seed of a user.
#[derive(Debug, Error)]
enum InvalidSeed {
    #[error("not an nkey seed: {0}")]
    NotASeed(nkeys::error::Error),
    #[error("the seed of a user is needed (SU...), not of {0:?}")]
    OfAnother(KeyPairType),
}

fn user_key(seed: &str) -> Result<KeyPair, InvalidSeed> {
    let key = KeyPair::from_seed(seed).map_err(InvalidSeed::NotASeed)?;
    match key.key_pair_type() {
        KeyPairType::User => Ok(key),
        other => Err(InvalidSeed::OfAnother(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, config::Auth) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, text).unwrap();
        let secret = Secret::File { key: "nats.credentials_file".to_owned(), path };
        (directory, config::Auth::Credentials(secret))
    }

    fn nsc(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\r\n{jwt}\r\n------END NATS USER JWT------\r\n\r\n\
             ************************* IMPORTANT *************************\r\n\
             NKEY Seed printed below can be used to sign and prove identity.\r\n\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        )
    }

    #[test]
    fn a_file_of_nsc_is_signed_with_its_seed() {
        let key = KeyPair::new_user();
        let (_directory, auth) = file(&nsc("a.b.c", &key.seed().unwrap()));
        let answer = Credentials::read(&auth).unwrap().unwrap().answer(b"nonce").unwrap();
        assert_eq!(answer.jwt.as_deref(), Some("a.b.c"));
        key.verify(b"nonce", &answer.signature.unwrap()).unwrap();
    }

    #[test]
    fn what_is_renewed_is_used_next_and_what_is_broken_is_not() {
        let (first, second) = (KeyPair::new_user(), KeyPair::new_user());
        let (directory, auth) = file(&nsc("first", &first.seed().unwrap()));
        let credentials = Credentials::read(&auth).unwrap().unwrap();
        let jwt = || credentials.answer(b"").unwrap().jwt.unwrap();
        assert_eq!(jwt(), "first");
        let path = directory.path().join("secret");
        std::fs::write(&path, nsc("second", &second.seed().unwrap())).unwrap();
        assert_eq!(jwt(), "second");
        for broken in ["", "-----BEGIN NATS USER JWT-----\nthird", "third"] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(jwt(), "second", "{broken}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(jwt(), "second");
    }

    #[test]
    fn what_is_no_credentials_file_is_said_without_its_text() {
        let account = KeyPair::new_account().seed().unwrap();
        for (text, what) in [
            (nsc("", ""), "no user JWT"),
            ("SUSECRET".to_owned(), "no user JWT"),
            ("-----BEGIN NATS USER JWT-----\na.b.c\n".to_owned(), "no seed"),
            (nsc("a.b.c", "SUSECRET"), "not an nkey seed"),
            (nsc("a.b.c", &account), "not of Account"),
        ] {
            let (_directory, auth) = file(&text);
            let failure = Credentials::read(&auth).unwrap_err().to_string();
            assert!(
                failure.contains("nats.credentials_file: ") && failure.contains(what),
                "{failure}"
            );
            assert!(!failure.contains("SUSECRET") && !failure.contains(&account), "{failure}");
        }
    }
}
