//! Faults, from their beginning to their end.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future;
use nats_matrix_testbed::{Clock, Fault as HttpFault, FaultKind, Nats};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    operate::persistently,
    routes::{self, Site},
    scene::{Change, Scene},
    schedule::{Fault, Kind},
};

/// The time in which the bridge may not notice a full disk, for other reasons.
const PATIENCE: Duration = Duration::from_mins(2);

/// The distances by which the bridge's clock is set, in seconds.
const JUMPS: [i64; 8] = [-600, 600, -3_600, 3_600, -86_400, 86_400, -31_536_000, 31_536_000];

/// The path of the requests that post.
const SEND: &str = "/send/";
/// Part of every path.
const ALL: &str = "/";

impl Scene {
    /// Why a kind of fault cannot be had here.
    pub(crate) fn obstacle(&self, kind: Kind) -> Option<&anyhow::Error> {
        match kind {
            Kind::DiskFull => self.disk.as_ref().err(),
            // A second purge is told of in the room after an hour, which the clock lets pass at the end.
            Kind::ClockJump | Kind::StreamPurged => self.clock.as_ref().err(),
            _ => None,
        }
    }

    /// Has a fault strike, and returns when it is over and repaired.
    ///
    /// # Errors
    ///
    /// If it did not strike as it should have.
    pub(crate) async fn strike(&self, fault: &Fault) -> Result<()> {
        let lasts = fault.lasts;
        match fault.kind {
            Kind::BridgeKill => self.kill_bridge(fault).await,
            Kind::BridgeStop => {
                self.bridge.pause().await;
                sleep(lasts).await;
                self.bridge.resume().await;
                Ok(())
            }
            Kind::DiskFull => self.fill_disk(lasts).await,
            Kind::TokenRevoked => self.revoke_token().await,
            Kind::ClockJump => self.set_clock(fault).await,
            Kind::NatsNodeKill => {
                let _down = self.servers.lock().await;
                let node = self.node(fault);
                node.kill().await;
                sleep(lasts).await;
                node.restart().await
            }
            Kind::NatsNodeStop => {
                let _down = self.servers.lock().await;
                let node = self.node(fault);
                node.pause().await?;
                sleep(lasts).await;
                node.resume().await
            }
            Kind::NatsAllKill => {
                let _down = self.servers.lock().await;
                let nodes = self.cluster.nodes();
                future::join_all(nodes.iter().map(Nats::kill)).await;
                sleep(lasts).await;
                future::try_join_all(nodes.iter().map(Nats::restart)).await.map(drop)
            }
            Kind::NatsCut | Kind::NatsSlow | Kind::NatsHeld | Kind::NatsHalfOpen => {
                self.disturb_links(fault).await;
                Ok(())
            }
            Kind::HomeserverKill => {
                self.homeserver.kill().await;
                sleep(lasts).await;
                self.homeserver.restart().await
            }
            Kind::HomeserverStop => {
                self.homeserver.pause().await?;
                sleep(lasts).await;
                self.homeserver.resume().await
            }
            Kind::RequestsCut
            | Kind::AnswersCut
            | Kind::AnswersSlow
            | Kind::HomeserverHalfOpen
            | Kind::TooManyRequests
            | Kind::BadGateway => {
                self.proxy.inject(http_fault(fault));
                sleep(lasts).await;
                self.proxy.clear();
                Ok(())
            }
            Kind::RoutesChanged => {
                self.reload(Change::Without(fault.turn % routes::at(Site::Hub).len())).await?;
                sleep(lasts).await;
                self.reload(Change::None).await
            }
            Kind::RoutesNarrowed => {
                // Messages of the phase before wait, or are under way, when the route stops taking them.
                let phase = self.begin_phase().await;
                self.reload(Change::Only(fault.turn % routes::at(Site::Hub).len(), phase)).await?;
                sleep(lasts).await;
                self.reload(Change::None).await
            }
            Kind::SecondBridge => {
                let config = self.second_config(fault.turn)?;
                let kill = fault.turn.is_multiple_of(2);
                self.bridge.run_second(&config, lasts, kill).await
            }
            Kind::ConsumerEdited
            | Kind::ConsumerDeleted
            | Kind::StreamPurged
            | Kind::StreamRestored
            | Kind::RightsRevoked => self.operate(fault).await,
            Kind::LeafKill | Kind::LeafBridgeKill | Kind::LeafCut => self.leaf.strike(fault).await,
        }
    }

    /// Once, or again and again before it has found its feet.
    async fn kill_bridge(&self, fault: &Fault) -> Result<()> {
        let times = u32::try_from(fault.between(1, 4))?;
        let pause = fault.lasts / times / 2;
        for time in 1..=times {
            self.bridge.kill().await;
            sleep(pause).await;
            self.bridge.start().await?;
            if time < times {
                sleep(pause).await;
            }
        }
        Ok(())
    }

    /// The NATS server that a fault strikes.
    fn node(&self, fault: &Fault) -> &Nats {
        let nodes = self.cluster.nodes();
        &nodes[fault.turn % nodes.len()]
    }

    async fn disturb_links(&self, fault: &Fault) {
        for link in &self.links {
            match fault.kind {
                Kind::NatsCut => {
                    link.block();
                    link.cut();
                }
                Kind::NatsSlow => link.set_delay(Duration::from_millis(fault.between(20, 400))),
                Kind::NatsHeld => link.hold(),
                _ => link.forget(),
            }
        }
        sleep(fault.lasts).await;
        for link in &self.links {
            link.unblock();
            link.set_delay(Duration::ZERO);
            link.release();
        }
    }

    /// The token is renewed while it cannot be kept, and then the bridge begins with the old one. The disk stays full
    /// until the bridge has run into it, which other faults can put off.
    async fn fill_disk(&self, lasts: Duration) -> Result<()> {
        let Ok(disk) = &self.disk else { bail!("there is no small disk") };
        let before = self.bridge.life().await.disk_full;
        disk.fill()?;
        let revoked = self.revoke_token().await;
        sleep(lasts / 2).await;
        self.bridge.kill().await;
        self.bridge.start().await?;
        sleep(lasts / 2).await;
        let deadline = Instant::now() + PATIENCE;
        // The report says if it never did.
        while self.bridge.life().await.disk_full == before && Instant::now() < deadline {
            sleep(Duration::from_millis(500)).await;
        }
        disk.free()?;
        revoked
    }

    /// Ends the bridge's session. It has to have one, so it is waited for if it has not.
    async fn revoke_token(&self) -> Result<()> {
        let revoke = async || {
            let devices = self.bot.devices().await?;
            if devices.iter().all(|device| *device == self.bot.device_id) {
                bail!("the bridge is not logged in");
            }
            self.bot.logout_others().await
        };
        persistently(revoke).await.context("the bridge's token was not revoked")
    }

    async fn set_clock(&self, fault: &Fault) -> Result<()> {
        let Ok(clock) = &self.clock else { bail!("there is no clock to set") };
        if let Some(pid) = self.bridge.pid().await {
            Clock::check(pid)?;
        }
        clock.set(JUMPS[fault.turn % JUMPS.len()])?;
        sleep(fault.lasts).await;
        clock.set(0)
    }
}

fn http_fault(fault: &Fault) -> HttpFault {
    match fault.kind {
        Kind::RequestsCut => HttpFault::on(ALL, FaultKind::CutBeforeRequest),
        // Only of what posts, or nobody could find out what became of it.
        Kind::AnswersCut => HttpFault::on(SEND, FaultKind::CutAfterRequest),
        Kind::AnswersSlow => {
            HttpFault::on(ALL, FaultKind::Delay(Duration::from_millis(fault.between(300, 3_000))))
        }
        Kind::HomeserverHalfOpen if fault.turn.is_multiple_of(2) => {
            HttpFault::on(SEND, FaultKind::HoldAfterRequest)
        }
        Kind::HomeserverHalfOpen => HttpFault::on(ALL, FaultKind::HoldForever),
        Kind::TooManyRequests => {
            let asked = Duration::from_millis(fault.between(100, 3_000));
            HttpFault::on(ALL, FaultKind::rate_limited(asked))
        }
        _ => HttpFault::on(ALL, FaultKind::respond(502, json!("Bad Gateway"))),
    }
}
