//! NATS: the connection that reconnects for as long as it takes, its credentials, and the limits of the streams that
//! the bridge creates. This layer uses `config` and `status`; `source` reads messages over it.

mod connection;
mod credentials;
pub(crate) mod headers;
pub(crate) mod limits;
mod memory;
mod pause;

pub(crate) use self::{
    connection::Nats,
    memory::{Allowance, Memory, Need, Reservation, Wait},
};
