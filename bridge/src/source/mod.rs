//! The source of messages: a durable consumer as an ordered sequence of deliveries.
//!
//! [`Source`] is that sequence, for one [`Feed`]. [`Backlog`] counts and reads what waits behind it without taking it.
//! This layer uses `nats`; the layer above it is `pipeline`.

mod account;
mod backlog;
pub(crate) mod beside;
mod checkpoint;
pub(crate) mod consume;
pub(crate) mod consumer;
mod delivery;
mod feed;
pub(crate) mod identity;
mod inspect;
mod lease;
mod ledger;
mod observation;
pub(crate) mod outstanding;
mod passage;
mod problem;
pub(crate) mod pull;
pub(crate) mod rename;
pub(crate) mod rights;
mod size;
pub(crate) mod stored;
mod tenure;
pub(crate) mod waiting;

pub(crate) use self::{
    backlog::Backlog,
    consume::{Source, Upstream, is_restored},
    delivery::Delivery,
    feed::Feed,
    lease::Lease,
    passage::Passage,
    problem::{Problem, ReadError, StoredError},
    stored::Stored,
    tenure::{Hold, Tenure},
};
