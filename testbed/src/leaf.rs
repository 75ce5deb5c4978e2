//! A hub and a leaf node, each of which keeps streams of its own.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use crate::{nats::Nats, ports::Port};

/// The time that the leaf node may take to connect to the hub.
const PATIENCE: Duration = Duration::from_mins(1);

/// Two sites: a NATS server, and a leaf node of it. Each has a `JetStream` domain of its own.
#[derive(Debug)]
pub struct Sites {
    // Dropped in this order: what runs, then the port that they reach one another on.
    /// The server in the domain `hub`.
    pub hub: Nats,
    /// The leaf node in the domain `leaf`.
    pub leaf: Nats,
    /// The port on which the hub listens for leaf nodes.
    pub port: Port,
}

impl Sites {
    /// Starts both, and waits until they are connected.
    pub async fn start() -> Result<Self> {
        let port = Port::reserve()?;
        let number = port.number();
        let listen = format!("leafnodes {{ host: 127.0.0.1, port: {number} }}");
        let hub = Nats::builder().domain("hub").config(&listen).as_process().start().await?;
        let remote = format!("leafnodes {{ remotes: [{{ url: \"nats://127.0.0.1:{number}\" }}] }}");
        let leaf = Nats::builder().domain("leaf").config(&remote).as_process().start().await?;
        let deadline = Instant::now() + PATIENCE;
        while !leaf.log().await.contains("Leafnode connection created") {
            if Instant::now() > deadline {
                bail!("the leaf node did not connect within {PATIENCE:?}:\n{}", leaf.log().await);
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { hub, leaf, port })
    }
}
