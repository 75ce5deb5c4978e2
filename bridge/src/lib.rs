//! Relays reports and alerts from NATS JetStream into Matrix rooms.
//!
//! This is the map of the modules, from the lowest layer up. A module imports only from those before it, which
//! `tests/layers.rs` checks. ARCHITECTURE.md describes the way of a message through them.
//!
//! - Leaves: `failure` (why the program stops), `subject`, `text` (text as people see it), `json` (within a budget),
//!   `hash`, `suggest`, `directory`, `secrets`, `signals`, `reserved`, `samples`
//! - `message`: the types of messages
//! - `config`: TOML and environment, parsed into types
//! - `log`, `status`: the log and the health of the bridge itself
//! - `nats`, `matrix`: the connections to the two servers
//! - `source`: the messages of a stream, in order
//! - `decode`: from bytes to a message
//! - `alerts`: the life cycle of alerts
//! - `render`: from a message to what a room shows, in one of the languages
//! - `pipeline`: the stages of one message on its way to the room, one file each
//! - `summary`, `health`: the regular summaries, and the pages about the bridge's health
//! - `provision`, `publish`: programs of their own in the same binary
//! - `run`: start, supervision, reload and stop
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
