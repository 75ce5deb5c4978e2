//! The stages of a message: route, defer, digest or show, report what was late.
//!
//! [`relay`] takes the messages of a feed from its source one by one and has each worked on under a lease; [`process`]
//! takes one message through the stages, each a file of its own; [`state`] is what they share.

pub(crate) mod attachments;
mod bury;
mod compose;
mod context;
mod dead_letter;
mod defer;
pub(crate) mod deferral;
mod digest;
mod letter_ids;
mod outcome;
mod parts;
mod poison;
mod process;
mod progress;
mod relay;
mod rooms;
pub(crate) mod routing;
mod sender;
mod show;
mod state;
mod storm;
mod threads;

pub(crate) use self::{
    context::{RouteContext, Services},
    letter_ids::LetterIds,
    relay::{Ended, Relay},
    routing::{Epoch, Facts, Routing},
};
