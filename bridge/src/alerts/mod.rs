//! The life cycle of an alert: how a message changes it ([`thread`]), and where its state is stored ([`store`]).
//!
//! This layer uses `message` and `nats`. `pipeline::threads` checks against the room whether the stored state is true.

mod members;
pub(crate) mod store;
pub(crate) mod thread;

pub(crate) use self::{
    store::Store,
    thread::{AlertThread, AlertUpdate, Holder, Posted, ThreadState, Transition},
};

#[cfg(test)]
mod tests;
