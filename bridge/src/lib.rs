//! Reports and alerts from NATS JetStream into Matrix rooms.
//!
//! A message goes one straight way: `source` pulls it from a durable consumer, [`payload`] decodes
//! it, [`render`] makes text and HTML of it, `room` posts it until the homeserver has it, and only
//! then it is acknowledged. `relay` is that way.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")
)]

mod attachments;
pub mod cli;
pub mod config;
mod conversation;
mod credentials;
mod dead_letter;
mod digest;
mod directory;
pub mod failure;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod hash;
mod health;
mod held;
mod join;
mod lifecycle;
mod limits;
mod log;
mod matrix;
mod nats;
mod neighbour;
mod new_rooms;
pub mod origin;
mod ownership;
pub mod payload;
mod poison;
mod post;
mod provision;
mod publish;
mod relay;
mod reload;
pub mod render;
mod retry;
mod room;
mod routing;
pub mod samples;
mod secrets;
mod serve;
mod session;
mod signals;
mod source;
pub mod subject;
mod suggest;
mod summary;
mod supervise;
mod text;
mod words;
