//! The health of the bridge for monitoring systems and for people with a browser.
//!
//! `http` answers with the state that `status` holds; `pulse` checks servers and rooms regularly while there is nothing
//! to post.

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
