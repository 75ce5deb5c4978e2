//! How the bridge is, for those who watch over it: a monitoring system, a person with a browser.
//!
//! `http` answers from what `status` knows; `pulse` asks now and then whether all is well while there is nothing to post.

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
