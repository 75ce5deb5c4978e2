//! Listens to what people answer to alerts in the rooms of routes that ask for it, and carries it out.
//!
//! [`listener`] hears what happens in the rooms. [`kept`] stores together how far that has come and which answers are
//! not carried out yet, so that a kill loses none. [`desk`] carries them out: it edits the first message of the alert,
//! says so in its thread, and publishes the [`event`].

mod desk;
pub(crate) mod event;
mod kept;
mod listener;
mod refresh;

pub(crate) use self::{desk::AnsweredRoute, listener::Listener};
