//! NATS: the connection, its credentials, and what the bridge makes there.

mod connection;
mod credentials;
pub(crate) mod limits;
mod pause;

pub(crate) use self::connection::Nats;
