//! NATS servers that keep streams together.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::{
    ConnectOptions,
    jetstream::{self, context::ContextBuilder},
};
use futures_util::future;
use tokio::time::{Instant, sleep};

use crate::{nats::Nats, ports::Port};

/// The time that the servers may take to find one another and to choose a leader.
const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster of NATS servers on loopback, gone when dropped.
///
/// None of them tells clients of the others, so that a client behind a proxy stays there.
#[derive(Debug)]
pub struct NatsCluster {
    // Dropped in this order: what runs, then the ports that they reach one another on.
    nodes: Vec<Nats>,
    _routes: Vec<Port>,
}

impl NatsCluster {
    /// Starts so many servers and waits until they can keep streams.
    pub async fn start(size: usize) -> Result<Self> {
        let routes = (0..size).map(|_| Port::reserve()).collect::<Result<Vec<_>>>()?;
        let url = |port: &Port| format!("\"nats-route://127.0.0.1:{}\"", port.number());
        let urls = routes.iter().map(url).collect::<Vec<_>>().join(", ");
        let nodes = routes.iter().enumerate().map(|(index, port)| {
            let cluster = format!(
                "cluster {{\n    name: testbed\n    listen: \"127.0.0.1:{}\"\n    \
                 no_advertise: true\n    routes: [{urls}]\n}}",
                port.number()
            );
            Nats::builder().member(&format!("node-{}", index + 1)).config(&cluster).start()
        });
        let nodes = future::try_join_all(nodes).await?;
        let cluster = Self { nodes, _routes: routes };
        cluster.wait_for_leader().await?;
        Ok(cluster)
    }

    /// The servers; each can be killed, frozen and started again by itself.
    pub fn nodes(&self) -> &[Nats] {
        &self.nodes
    }

    /// The URLs that clients connect to.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Nats::url).collect()
    }

    /// `JetStream` over a connection of its own, which goes from server to server as they come and go. A request
    /// without an answer fails after `patience`.
    pub async fn jetstream(&self, patience: Duration) -> Result<jetstream::Context> {
        let options = ConnectOptions::new().retry_on_initial_connect();
        let client = options.connect(self.urls()).await.context("cannot connect to the cluster")?;
        Ok(ContextBuilder::new().timeout(patience).ack_timeout(patience).build(client))
    }

    async fn wait_for_leader(&self) -> Result<()> {
        let jetstream = self.jetstream(Duration::from_secs(2)).await?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = jetstream.query_account().await {
            if Instant::now() > deadline {
                bail!("the NATS servers did not make a cluster within {PATIENCE:?}: {error}");
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
