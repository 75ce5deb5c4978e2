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
    /// The lines of each server's configuration that no other has.
    own: Vec<String>,
    user: Option<(String, String)>,
    _routes: Vec<Port>,
    leaf_ports: Vec<Port>,
}

/// A cluster with other than the usual settings.
#[derive(Clone, Debug, Default)]
pub struct NatsClusterBuilder {
    domain: Option<String>,
    lines: String,
    user: Option<(String, String)>,
    takes_leaf_nodes: bool,
}

impl NatsClusterBuilder {
    /// Gives it a `JetStream` domain.
    pub fn domain(mut self, name: &str) -> Self {
        self.domain = Some(name.to_owned());
        self
    }

    /// Adds lines to the configuration of each server.
    pub fn config(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.lines);
        self
    }

    /// Has the helpers connect as this user, where the servers do not take just anyone.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// Has each server listen for leaf nodes, at [`NatsCluster::leaf_ports`].
    pub fn takes_leaf_nodes(mut self) -> Self {
        self.takes_leaf_nodes = true;
        self
    }

    /// Starts so many servers and waits until they can keep streams.
    pub async fn start(self, size: usize) -> Result<NatsCluster> {
        let ports = |count| (0..count).map(|_| Port::reserve()).collect::<Result<Vec<_>>>();
        let routes = ports(size)?;
        let leaf_ports = ports(if self.takes_leaf_nodes { size } else { 0 })?;
        let url = |port: &Port| format!("\"nats-route://127.0.0.1:{}\"", port.number());
        let urls = routes.iter().map(url).collect::<Vec<_>>().join(", ");
        let own: Vec<_> = (0..size)
            .map(|index| {
                let cluster = format!(
                    "cluster {{\n    name: testbed\n    listen: \"127.0.0.1:{}\"\n    \
                     no_advertise: true\n    routes: [{urls}]\n}}\n",
                    routes[index].number()
                );
                leaf_ports.get(index).map_or(cluster.clone(), |port| {
                    let number = port.number();
                    format!(
                        "{cluster}leafnodes {{ listen: \"127.0.0.1:{number}\", no_advertise: true }}\n"
                    )
                })
            })
            .collect();
        let nodes = own.iter().enumerate().map(|(index, own)| {
            let mut node = Nats::builder()
                .member(&format!("node-{}", index + 1))
                .config(&format!("{own}{}", self.lines));
            if let Some(domain) = &self.domain {
                node = node.domain(domain);
            }
            let user = self.user.clone();
            node.client_options(move || options(user.as_ref())).start()
        });
        let nodes = future::try_join_all(nodes).await?;
        let cluster = NatsCluster { nodes, own, user: self.user, _routes: routes, leaf_ports };
        cluster.wait_for_leader().await?;
        Ok(cluster)
    }
}

fn options(user: Option<&(String, String)>) -> ConnectOptions {
    match user.cloned() {
        Some((name, password)) => ConnectOptions::with_user_and_password(name, password),
        None => ConnectOptions::new(),
    }
}

impl NatsCluster {
    /// Starts so many plain servers and waits until they can keep streams.
    pub async fn start(size: usize) -> Result<Self> {
        Self::builder().start(size).await
    }

    /// Builds a cluster with users, a domain or leaf nodes.
    pub fn builder() -> NatsClusterBuilder {
        NatsClusterBuilder::default()
    }

    /// The servers; each can be killed, frozen and started again by itself.
    pub fn nodes(&self) -> &[Nats] {
        &self.nodes
    }

    /// The URLs that clients connect to.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Nats::url).collect()
    }

    /// The ports on which the servers listen for leaf nodes, if they do.
    pub fn leaf_ports(&self) -> Vec<u16> {
        self.leaf_ports.iter().map(Port::number).collect()
    }

    /// Has all servers, which must be running, read their configuration again, with these lines in place of those of
    /// [`NatsClusterBuilder::config`].
    pub async fn reload(&self, lines: &str) -> Result<()> {
        let nodes = self.nodes.iter().zip(&self.own);
        let reloads =
            nodes.map(async |(node, own)| node.reload(&format!("{own}{lines}"), &[]).await);
        future::try_join_all(reloads).await.map(drop)
    }

    /// `JetStream` over a connection of its own, which goes from server to server as they come and go. A request
    /// without an answer fails after `patience`.
    pub async fn jetstream(&self, patience: Duration) -> Result<jetstream::Context> {
        let options = options(self.user.as_ref()).retry_on_initial_connect();
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
