//! How the bridge is, for those who watch over it: the service manager, a monitoring system, a
//! person with a phone.
//!
//! Whoever finds out that something does not work notes it on the board, and takes it back when it
//! works again. Everything that tells of our state reads it from there.

mod http;
mod page;
mod pulse;

#[cfg(test)]
pub(crate) use self::tests::with_a_message;
pub(crate) use self::{
    http::{bind, serve},
    pulse::Pulse,
};

#[cfg(test)]
mod tests;
