//! NATS: the connection, its credentials, and what the bridge makes there.

mod connection;
mod credentials;
pub(crate) mod limits;

pub(crate) use self::connection::Nats;
