//! Brings reports and alerts from NATS JetStream into Matrix rooms.
//!
//! The list below names the modules from the bottom up. A module imports only from those before it; `tests/layers.rs`
//! checks that, and docs/src/design/architecture.md describes a message's way through them.
//!
//! - Leaves: `failure` (why the program stops), `subject`, `text` (text as people see it), `mask` (secrets in texts),
//!   `json` (within a budget), `hash`, `suggest`, `directory`, `state_file`, `secrets`, `signals`, `reserved`, `book`,
//!   `samples`
//! - `message`: the types of reports, alerts, notes and events
//! - `config`: TOML and environment variables, parsed into types
//! - `log`, `status`: the log, and the bridge's own condition
//! - `nats`, `matrix`: the two servers
//! - `source`: messages in stream order
//! - `decode`: turns bytes into a message
//! - `answers`: what people answer to an alert, and who may
//! - `alerts`: the life of an alert
//! - `render`: turns a message into what a room shows, in the words of a language
//! - `pipeline`: takes one message all the way to the room, a file per stage
//! - `summary`, `health`: daily or weekly summaries, and the status page
//! - `listen`: hears what people answer in a room, and carries it out
//! - `provision`, `publish`: programs of their own in the same binary
//! - `run`: start, supervision, reload and stop
//! - `cli`: the command line

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")
)]

mod alerts;
mod answers;
mod book;
mod cli;
mod config;
mod decode;
mod directory;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod health;
mod json;
mod listen;
mod log;
mod mask;
mod matrix;
mod message;
mod nats;
mod pipeline;
mod provision;
mod publish;
mod refresh;
mod render;
mod reserved;
mod run;
mod samples;
mod secrets;
mod signals;
mod signature;
mod source;
mod state_file;
mod status;
mod subject;
mod suggest;
mod summary;
mod text;
mod tls;

pub use cli::{command, example_permissions, main, metrics, schemas};
