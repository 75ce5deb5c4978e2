//! Reports and alerts from NATS JetStream into Matrix rooms.
//!
//! The map, from the ground up. A module imports only from those before it; `tests/layers.rs` checks that, and
//! ARCHITECTURE.md tells a message's way through them.
//!
//! - Leaves: `failure` (why the program stops), `subject`, `text` (text as people see it), `json` (within a budget),
//!   `hash`, `suggest`, `directory`, `secrets`, `signals`, `reserved`, `samples`
//! - `message`: what can be said, as types
//! - `config`: TOML and environment to types
//! - `log`, `status`: what is told of the bridge itself
//! - `nats`, `matrix`: the two servers
//! - `source`: messages in order
//! - `decode`: bytes to a message
//! - `alerts`: the life of an alert
//! - `render`: a message to what a room shows, in words of a language
//! - `pipeline`: one message all the way to the room, a file per stage
//! - `summary`, `health`: what is shown besides
//! - `provision`, `publish`: programs of their own in the same binary
//! - `run`: start, supervision, reload, end
//! - `cli`: the command line

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")
)]

mod alerts;
pub mod cli;
mod config;
mod decode;
mod directory;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod hash;
mod health;
mod json;
mod log;
mod matrix;
mod message;
mod nats;
mod pipeline;
mod provision;
mod publish;
mod render;
mod reserved;
mod run;
mod samples;
mod secrets;
mod signals;
mod source;
mod status;
mod subject;
mod suggest;
mod summary;
mod text;
