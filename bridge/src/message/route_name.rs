//! The name of a route.

use std::fmt;

use thiserror::Error;

/// The name of a route and of its durable consumer: letters, digits, `-` and `_`.
///
/// NATS forbids `.`, `*`, `>` and white space in consumer names. Slashes and other characters are refused too, because
/// file-backed streams create a directory of that name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RouteName(String);

/// A text that cannot name a route.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" cannot name a route (and its durable consumer): use 1 to 64 letters, digits, - and _"
)]
pub(crate) struct InvalidRouteName(String);

impl RouteName {
    pub(crate) fn parse(name: &str) -> Result<Self, InvalidRouteName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(InvalidRouteName(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
