//! The life of an alert: what a message does to it ([`thread`]), and what is remembered of it ([`store`]).
//!
//! It uses `message` and `nats`; `pipeline::threads` asks the room whether what is remembered is true.

mod members;
pub(crate) mod store;
pub(crate) mod thread;

pub(crate) use self::{
    store::Store,
    thread::{AlertThread, AlertUpdate, ThreadState, Transition},
};

#[cfg(test)]
mod tests;
