//! The life of an alert.

mod members;
pub(crate) mod store;
pub(crate) mod thread;

pub(crate) use self::{
    store::Store,
    thread::{AlertThread, AlertUpdate, ThreadState, Transition},
};

#[cfg(test)]
mod tests;
