//! A hub and a leaf node, each of which keeps streams of its own.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use crate::{
    nats::{Nats, NatsBuilder},
    ports::Port,
};

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
        let leaf = leaf_node(&[format!("nats://127.0.0.1:{number}")]).start().await?;
        wait_for_hub(&leaf).await?;
        Ok(Self { hub, leaf, port })
    }
}

/// A leaf node, in the domain `leaf`, of the servers that listen for it at these URLs.
pub fn leaf_node(hubs: &[String]) -> NatsBuilder {
    let hubs: Vec<_> = hubs.iter().map(|url| format!("\"{url}\"")).collect();
    let remote = format!("leafnodes {{ remotes: [{{ urls: [{}] }}] }}", hubs.join(", "));
    Nats::builder().domain("leaf").config(&remote).as_process()
}

/// Waits until a leaf node is connected.
///
/// # Errors
///
/// It takes longer than a minute.
pub async fn wait_for_hub(leaf: &Nats) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !leaf.log().await.contains("Leafnode connection created") {
        if Instant::now() > deadline {
            bail!("the leaf node did not connect within {PATIENCE:?}:\n{}", leaf.log().await);
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
