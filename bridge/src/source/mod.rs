//! The source of messages: a durable consumer as an ordered sequence of deliveries.
//!
//! [`Source`] is that sequence, for one [`Feed`]. [`Backlog`] counts and reads what waits behind it without taking it.
//! This layer uses `nats`; the layer above it is `pipeline`.

mod backlog;
pub(crate) mod beside;
pub(crate) mod consume;
pub(crate) mod consumer;
mod delivery;
mod feed;
pub(crate) mod outstanding;
mod passage;
mod problem;
pub(crate) mod pull;
pub(crate) mod rights;
mod size;
pub(crate) mod stored;
pub(crate) mod waiting;

pub(crate) use self::{
    backlog::Backlog,
    consume::{Source, Upstream},
    delivery::Delivery,
    feed::Feed,
    passage::Passage,
    problem::{Problem, ReadError, StoredError},
    stored::Stored,
};
