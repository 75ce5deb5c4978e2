//! Reports and alerts from NATS JetStream into Matrix rooms.

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
