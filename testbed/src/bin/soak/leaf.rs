//! The site at a leaf node of the cluster: a server, a bridge and a room of its own. Its stream and its route have the
//! names of others at the hub, because leaf nodes pass on acknowledgements, which name no site.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use nats_matrix_testbed::{
    BridgeConfig, FaultProxy, Homeserver, Nats, NatsCluster, TcpProxy, leaf_node, wait_for_hub,
};
use tokio::time::sleep;

use crate::{
    bridge::Bridge,
    rights::OPERATOR,
    routes::{self, Site},
    schedule::{Fault, Kind},
};

/// The leaf node, and what is beside it. Dropped in this order.
pub(crate) struct LeafSite {
    pub(crate) bridge: Bridge,
    pub(crate) nats: Nats,
    /// The links to the hub, one for each of its servers.
    links: Vec<TcpProxy>,
    /// The id of its bridge's account.
    pub(crate) user: String,
}

impl LeafSite {
    /// Starts the server. The configuration is still to be [written](Self::configure).
    pub(crate) async fn new(
        binary: &Path,
        dir: &Path,
        logs: &Path,
        cluster: &NatsCluster,
        homeserver: &Homeserver,
        proxy: &FaultProxy,
    ) -> Result<(Self, BridgeConfig)> {
        let (user, password) = OPERATOR;
        let (mut links, mut hubs) = (Vec::new(), Vec::new());
        for port in cluster.leaf_ports() {
            let link = TcpProxy::start(&format!("127.0.0.1:{port}"), Duration::ZERO).await?;
            hubs.push(format!("nats://{user}:{password}@{}", link.address()));
            links.push(link);
        }
        let nats = leaf_node(&hubs).start().await?;
        wait_for_hub(&nats).await?;
        let bot = homeserver.account("bridge").await?;
        let state_dir = dir.join("leaf-state");
        let config = BridgeConfig::new(&nats.url(), &bot.through(&proxy.url()), &state_dir);
        let file = dir.join("leaf.toml");
        let bridge = Bridge::new(binary, &file, &logs.join("leaf"), Vec::new());
        Ok((Self { bridge, nats, links, user: bot.user_id }, config))
    }

    /// Writes the configuration of its bridge, whose routes have these rooms.
    pub(crate) fn configure(dir: &Path, mut config: BridgeConfig, rooms: &[String]) -> Result<()> {
        for (route, room) in routes::at(Site::Leaf).into_iter().zip(rooms) {
            config = config.route(route.configured, route.stream.name, &[route.subjects], room);
            config = config.digests(route.digest_above);
        }
        fs::write(dir.join("leaf.toml"), config.toml()).context("cannot write the configuration")
    }

    /// Has a fault strike it, and returns when it is over and repaired.
    pub(crate) async fn strike(&self, fault: &Fault) -> Result<()> {
        match fault.kind {
            Kind::LeafKill => {
                self.nats.kill().await;
                sleep(fault.lasts).await;
                self.nats.restart().await
            }
            Kind::LeafBridgeKill => {
                self.bridge.kill().await;
                sleep(fault.lasts).await;
                self.bridge.start().await
            }
            _ => {
                for link in &self.links {
                    link.block();
                    link.cut();
                }
                sleep(fault.lasts).await;
                self.links.iter().for_each(TcpProxy::unblock);
                Ok(())
            }
        }
    }
}
