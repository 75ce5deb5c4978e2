//! The stages of a message: route, defer, digest or show, report what was late.
//!
//! [`relay`] takes the messages of a feed from its source one by one and has each worked on under a lease; [`process`]
//! takes one message through the stages, each a file of its own; [`state`] is what they share.

pub(crate) mod attachments;
mod bury;
mod compose;
mod context;
pub(crate) mod dead_letter;
mod defer;
pub(crate) mod deferral;
mod deferred_copy;
mod digest;
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
    relay::{Ended, Relay},
    routing::{Epoch, Facts, Routing},
};
