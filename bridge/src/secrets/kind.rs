//! The kinds of secrets, and the words that take their places.

use std::fmt;

/// The kinds of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secret {
    Jwt,
    PrivateKey,
    /// The seed of an nkey, or the credentials of a NATS user.
    Nkey,
    Password,
    /// A token, API key or cookie.
    Token,
    /// A link that unsubscribes whoever opens it. It stays readable, but clients do not make it a link.
    Unsubscribe,
}

impl Secret {
    pub(crate) const ALL: [Self; 6] =
        [Self::Jwt, Self::PrivateKey, Self::Nkey, Self::Password, Self::Token, Self::Unsubscribe];

    /// The name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::PrivateKey => "private-key",
            Self::Nkey => "nkey",
            Self::Password => "password",
            Self::Token => "token",
            Self::Unsubscribe => "unsubscribe-link",
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The words that take the place of a secret.
pub(crate) type Label<'a> = &'a dyn Fn(Secret) -> &'static str;

/// The words in the log and for publishers.
pub(crate) fn english(secret: Secret) -> &'static str {
    match secret {
        Secret::Jwt => "[JWT hidden]",
        Secret::PrivateKey => "[private key hidden]",
        Secret::Nkey => "[NATS credentials hidden]",
        Secret::Password => "[password hidden]",
        Secret::Token => "[token hidden]",
        Secret::Unsubscribe => "[link hidden]",
    }
}
