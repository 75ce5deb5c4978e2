//! NATS: the connection that reconnects for as long as it takes, its credentials, and the limits of what the bridge makes
//! there. It uses `config` and `status`; `source` reads messages over it.

mod connection;
mod credentials;
pub(crate) mod headers;
pub(crate) mod limits;
mod memory;
mod pause;

pub(crate) use self::{
    connection::Nats,
    memory::{Memory, Room, Wait},
};
