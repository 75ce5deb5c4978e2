//! NATS: the connection, its credentials, and what the bridge makes there.

mod connection;
mod credentials;
pub(crate) mod headers;
pub(crate) mod limits;
mod memory;

pub(crate) use self::{
    connection::Nats,
    memory::{Memory, Room, Wait},
};
