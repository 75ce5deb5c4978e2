//! Real servers on loopback for the demo, the tests and the benchmarks of nats-matrix.
//!
//! [`Nats`] and [`Homeserver`] start a NATS server and a Matrix homeserver on free ports, downloading
//! them once if the machine has none. An [`Account`] looks at a room from the other side, as a person
//! does. [`FaultProxy`] and [`TcpProxy`] stand in between and misbehave on demand. Nothing outlives
//! the process that started it, see [`leash`].

#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a test does not call an accessor and forget about it"
)]

mod bridge;
pub mod cache;
mod homeserver;
pub mod leash;
mod matrix;
mod nats;
pub mod ports;
mod proxy;
mod server;

pub use bridge::{BridgeConfig, BridgeProcess, Usage, bridge_binary};
pub use homeserver::{Homeserver, HomeserverBuilder, HomeserverKind, SERVER_NAME};
pub use leash::ScratchDir;
pub use matrix::{Account, Event, Reader, Unread};
pub use nats::{Nats, NatsBuilder};
pub use proxy::{Fault, FaultKind, FaultProxy, Recorded, TcpProxy};
