//! Real servers on loopback for the demo, the tests and the benchmarks of nats-matrix.
//!
//! Nothing outlives the process that started it. The modules, each of which imports only from those above it:
//!
//! | module | what it has |
//! | --- | --- |
//! | [`cache`] | the programs of the servers and what tests need besides, downloaded once |
//! | [`leash`], [`ports`], `clock` | processes that die with us, free ports, a clock for the bridge |
//! | [`repository`], [`secrets`], `machine`, `not_run`, [`numbered`] | the files of this repository, a search for secrets in what a program prints, words for reports, and messages for benchmarks |
//! | `matrix` | an [`Account`] that looks at a room from the other side, as a person does |
//! | `setup`, `process`, `containers`, `server` | a server of either kind, as a process or in a container |
//! | `nats`, `cluster`, `leaf`, `homeserver` | [`Nats`], [`NatsCluster`], [`Sites`] and [`Homeserver`] on free ports |
//! | `backup` | [`StreamBackup`]: a stream as it was, to be restored |
//! | `proxy`, `push` | [`FaultProxy`] and [`TcpProxy`], which stand in between and misbehave on demand; a [`PushGateway`] |
//! | `clients` | clients that others wrote |
//! | `bridge` | a [`BridgeProcess`] and its configuration |
//!
//! Variables of the environment change what is used:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `NATS_SERVER_BIN` | the NATS server to use; else `nats-server` on `PATH`, else a download |
//! | `CONDUIT_BIN` | the Conduit to use; else `conduit` on `PATH`, else Synapse, a download |
//! | `TUWUNEL_BIN`, `DENDRITE_BIN` | these, if they are asked for; else `tuwunel` and `dendrite` on `PATH` |
//! | `NATS_MATRIX_HOMESERVER_KIND` | `conduit`, `tuwunel`, `synapse` or `dendrite`, to have that one whatever is there |
//! | `LIBFAKETIME` | the libfaketime with which the bridge goes by another clock; else the one of the distribution, else its source code, compiled |
//! | `CHROMIUM_BIN`, `NPM_BIN` | what the test with Element Web's engine needs; else `chromium` and `npm` on `PATH` |
//! | `NATS_MATRIX_TESTBED_CACHE` | where downloads are kept; else `nats-matrix-testbed` in `XDG_CACHE_HOME` or `~/.cache` |
//! | `NATS_MATRIX_BIN` | the bridge to use in the demo, the benchmark and the trials of memory; else it is built |
//! | `NATS_MATRIX_TESTBED` | `containers` to run the servers in Docker (with the cargo feature `containers`) |
//! | `NATS_MATRIX_NATS_IMAGE` | the image to use then, `name:tag`; else `nats:2` |
//! | `NATS_MATRIX_HOMESERVER_IMAGE` | the image to use then, `name:tag`; else the public one of the kind |

#![expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a test does not call an accessor and forget about it"
)]

mod backup;
mod bridge;
pub mod cache;
mod clients;
mod clock;
mod cluster;
mod containers;
mod homeserver;
mod leaf;
pub mod leash;
mod machine;
mod matrix;
mod nats;
mod not_run;
pub mod numbered;
pub mod ports;
mod process;
mod proxy;
mod push;
pub mod repository;
pub mod secrets;
mod server;
mod setup;

pub use backup::StreamBackup;
pub use bridge::{BridgeConfig, BridgeProcess, Usage, bridge_binary, release_bridge};
pub use clients::{
    Cinny, ElementEngine, ElementMessage, ElementView, MatrixNio, NioMessage, PHONE_WIDTH, Phone,
    PhoneView, Scene as PhoneScene,
};
pub use clock::Clock;
pub use cluster::{NatsCluster, NatsClusterBuilder};
pub use homeserver::{Homeserver, HomeserverBuilder, HomeserverKind, SERVER_NAME};
pub use leaf::{Sites, leaf_node, wait_for_hub};
pub use leash::ScratchDir;
pub use machine::machine;
pub use matrix::{Account, Event, Reader, Unread};
pub use nats::{Nats, NatsBuilder, route_consumer};
pub use not_run::{not_meant_for, not_run};
pub use proxy::{Fault, FaultKind, FaultProxy, Recorded, TcpProxy};
pub use push::{Push, PushGateway};
