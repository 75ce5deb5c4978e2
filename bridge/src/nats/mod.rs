//! NATS: the connection that reconnects for as long as it takes, its credentials, and the streams that the
//! bridge creates. This layer uses `config` and `status`; `source` reads messages over it.

mod access;
pub(crate) mod bucket;
mod connection;
mod credentials;
pub(crate) mod headers;
mod memory;
mod pause;
pub(crate) mod streams;
mod time;

pub(crate) use self::{
    access::Access,
    connection::Nats,
    memory::{Allowance, Memory, Need, Reservation, Wait},
    time::{offset_date_time, timestamp},
};
