//! The names of routes and of durable consumers.

use std::fmt;

use thiserror::Error;

/// The name of a route, with which the name of its durable consumer begins: letters, digits, `-` and `_`.
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
        if !is_valid(name, 64) {
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

/// The name of a durable consumer, of the same characters as the name of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ConsumerName(String);

/// A text that cannot name a durable consumer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" cannot name a durable consumer: use 1 to {LONGEST} letters, digits, - and _")]
pub(crate) struct InvalidConsumerName(String);

impl ConsumerName {
    pub(crate) fn parse(name: &str) -> Result<Self, InvalidConsumerName> {
        if !is_valid(name, LONGEST) {
            return Err(InvalidConsumerName(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The greatest length of a consumer's name: that of a route with the hash that the bridge puts behind it, and more.
const LONGEST: usize = 80;

fn is_valid(name: &str, longest: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !name.is_empty() && name.len() <= longest && name.chars().all(allowed)
}
