//! The servers, what stands between them and the bridges, and the rooms.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull::OrderedConfig},
    stream::Config as StreamConfig,
};
use futures_util::StreamExt;
use nats_matrix_testbed::{
    Account, BridgeConfig, Clock, Event, FaultProxy, Homeserver, NatsCluster, ScratchDir, TcpProxy,
    route_consumer,
};
use serde_json::json;
use tokio::{
    sync::{Mutex as AsyncMutex, RwLock},
    time::{Instant, sleep, timeout},
};

use crate::{
    bridge::Bridge,
    check::Mark,
    disk::Disk,
    leaf::LeafSite,
    rights::{self, OPERATOR, Revoked, Rights},
    routes::{self, PURGED, ROUTES, Route, STREAMS, Site},
    schedule::Kind,
};

/// The number of NATS servers that keep each message.
const NODES: usize = 3;
/// The time that an answer of NATS may take when nothing is broken any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// A backlog that does not get smaller for so long is stuck. The bridge may wait 15 s between two attempts, and a
/// connection that is half open is noticed by its silence.
const STUCK: Duration = Duration::from_mins(4);

/// The phase of the run, which is a part of all subjects. It changes only while nothing is being published.
pub(crate) type Phase = Arc<RwLock<u32>>;

/// Everything that a run needs. Dropped in this order.
pub(crate) struct Scene {
    /// The bridge of the hub.
    pub(crate) bridge: Bridge,
    pub(crate) leaf: LeafSite,
    pub(crate) clock: Result<Clock>,
    pub(crate) disk: Result<Disk>,
    /// The links, one for each NATS server.
    pub(crate) links: Vec<TcpProxy>,
    pub(crate) proxy: FaultProxy,
    pub(crate) cluster: NatsCluster,
    pub(crate) homeserver: Homeserver,
    /// The bridge's account, on a device of our own.
    pub(crate) bot: Account,
    alice: Account,
    pub(crate) phase: Phase,
    /// Held while a server of the cluster is down, and by whoever needs all of them.
    pub(crate) servers: AsyncMutex<()>,
    pub(crate) rights: Rights,
    purged: Mutex<Purged>,
    /// The bridge's configuration file.
    config: PathBuf,
    /// Their ids, in the order of [`ROUTES`].
    rooms: Vec<String>,
    dir: ScratchDir,
}

/// The messages that were in a stream before it was purged.
#[derive(Default)]
struct Purged {
    messages: BTreeMap<u64, Mark>,
    times: u64,
}

/// A change of the bridge's configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    None,
    /// A route is left out, by its index.
    Without(usize),
    /// A route takes the messages of one phase alone.
    Only(usize, u32),
}

impl Scene {
    /// Starts all but the bridge, whose logs go to directories below `logs`.
    pub(crate) async fn new(
        binary: &Path,
        logs: &Path,
        kinds: &[Kind],
        length: Duration,
    ) -> Result<Self> {
        let dir = ScratchDir::new("soak")?;
        // A bridge, and a person who looks, for each site.
        let homeserver = Homeserver::builder().as_process().people(2);
        let cluster = NatsCluster::builder().domain("hub").takes_leaf_nodes();
        let cluster = cluster
            .user(OPERATOR.0, OPERATOR.1)
            .config(&Rights::default().without(Revoked::Nothing));
        let (cluster, homeserver) =
            tokio::try_join!(cluster.start(NODES), homeserver.start(binary))?;
        let mut links = Vec::new();
        for node in cluster.nodes() {
            let address = format!("127.0.0.1:{}", node.port());
            links.push(TcpProxy::start(&address, Duration::ZERO).await?);
        }
        let proxy = FaultProxy::start(&homeserver.url()).await?;
        let bot = homeserver.account("bridge").await?;
        let (leaf, leaf_config) =
            LeafSite::new(binary, dir.path(), logs, &cluster, &homeserver, &proxy).await?;
        create_streams(&cluster, &leaf, length).await?;

        let alice = homeserver.account("alice").await?;
        let mut rooms = Vec::new();
        for route in &ROUTES {
            let bridge = match route.stream.site {
                Site::Hub => &bot.user_id,
                Site::Leaf => &leaf.user,
            };
            let room = json!({ "preset": "private_chat", "name": route.name, "invite": [bridge] });
            rooms.push(alice.create_room(room).await?);
        }
        LeafSite::configure(dir.path(), leaf_config, &rooms[routes::at(Site::Hub).len()..])?;
        let state_dir = dir.path().join("state");
        let disk = wanted(kinds, &[Kind::DiskFull], || Disk::mount(&state_dir));
        let clock =
            wanted(kinds, &[Kind::ClockJump, Kind::StreamPurged], || Clock::new(dir.path()));
        let config = dir.path().join("nats-matrix.toml");
        let environment = clock.as_ref().map(Clock::environment).unwrap_or_default();
        let bridge = Bridge::new(binary, &config, logs, environment);
        let mut scene = Self {
            phase: Phase::default(),
            servers: AsyncMutex::default(),
            rights: Rights::default(),
            purged: Mutex::default(),
            config,
            bridge,
            leaf,
            clock,
            disk,
            links,
            proxy,
            cluster,
            homeserver,
            bot,
            alice,
            rooms,
            dir,
        };
        let text = scene.configuration(&state_dir, Change::None);
        fs::write(&scene.config, text).context("cannot write the configuration")?;
        scene.rights = Rights::least(binary, &scene.config)?;
        scene.revoke(Revoked::Nothing).await?;
        Ok(scene)
    }

    /// `JetStream` at a site, over a connection of its own. A request without an answer fails after `patience`.
    pub(crate) async fn jetstream(
        &self,
        site: Site,
        patience: Duration,
    ) -> Result<jetstream::Context> {
        match site {
            Site::Hub => self.cluster.jetstream(patience).await,
            Site::Leaf => self.leaf.nats.patient_jetstream(patience).await,
        }
    }

    /// `JetStream` at the hub.
    pub(crate) async fn operator(&self) -> Result<jetstream::Context> {
        self.jetstream(Site::Hub, PATIENCE).await
    }

    /// Notes what the stream of the purged route has, which is about to be purged.
    pub(crate) fn note_purge(&self, stored: BTreeMap<u64, Mark>) {
        let mut purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        purged.messages.extend(stored);
        purged.times += 1;
    }

    /// The messages that the stream of a route has, or had before it was purged, and the number of times that it was.
    pub(crate) async fn history(&self, route: &Route) -> Result<(BTreeMap<u64, Mark>, u64)> {
        let stored = self.stored(route).await?;
        if *route.stream != PURGED {
            return Ok((stored, 0));
        }
        let purged = self.purged.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = purged.messages.clone();
        all.extend(stored);
        Ok((all, purged.times))
    }

    /// Begins the next phase, once NATS has all messages of the one before.
    pub(crate) async fn begin_phase(&self) -> u32 {
        let mut phase = self.phase.write().await;
        *phase += 1;
        *phase
    }

    /// Writes the configuration of a second bridge, on a machine of its own.
    pub(crate) fn second_config(&self, number: usize) -> Result<PathBuf> {
        let state_dir = self.dir.path().join(format!("second-{number}"));
        let file = self.dir.path().join(format!("second-{number}.toml"));
        fs::write(&file, self.configuration(&state_dir, Change::None))?;
        Ok(file)
    }

    /// Gives the bridge a configuration with this change.
    pub(crate) async fn reload(&self, change: Change) -> Result<()> {
        let text = self.configuration(&self.dir.path().join("state"), change);
        // A bridge that starts at this moment must not read half of it.
        let next = self.config.with_extension("next");
        fs::write(&next, text)?;
        fs::rename(&next, &self.config).context("cannot replace the configuration")?;
        self.bridge.hang_up().await;
        Ok(())
    }

    fn configuration(&self, state_dir: &Path, change: Change) -> String {
        let servers: Vec<_> =
            self.links.iter().map(|link| format!("nats://{}", link.address())).collect();
        let servers: Vec<_> = servers.iter().map(String::as_str).collect();
        let bridge = self.bot.through(&self.proxy.url());
        let (user, password) = rights::BRIDGE;
        let config = BridgeConfig::of_cluster(&servers, &bridge, state_dir);
        let mut config = config.nats_user(user, password);
        let routes = routes::at(Site::Hub);
        for (index, (route, room)) in routes.into_iter().zip(&self.rooms).enumerate() {
            if matches!(change, Change::Without(left_out) if left_out == index) {
                continue;
            }
            config = config.route(route.configured, route.stream.name, &[route.subjects], room);
            config = config.digests(route.digest_above);
            if let Change::Only(narrowed, phase) = change
                && narrowed == index
            {
                config = config.lines(&Route::only(phase));
            }
        }
        config.toml().to_owned()
    }

    /// Waits until every route has what its stream has. What is left if that gets no further.
    pub(crate) async fn drain(&self, said: impl Fn(u64)) -> Result<u64> {
        let hub = self.operator().await?;
        let leaf = self.jetstream(Site::Leaf, PATIENCE).await?;
        let (mut left, mut since) = (None, Instant::now());
        while left != Some(0) && since.elapsed() < STUCK {
            sleep(Duration::from_secs(1)).await;
            // A cluster that has just come back may be without a leader for a moment.
            let Ok(now) = waiting(&hub, &leaf).await else { continue };
            if left != Some(now) {
                (left, since) = (Some(now), Instant::now());
                said(now);
            }
        }
        left.context("NATS does not answer any more")
    }

    /// The messages that the stream has for a route, by their sequence numbers.
    pub(crate) async fn stored(&self, route: &Route) -> Result<BTreeMap<u64, Mark>> {
        let jetstream = self.jetstream(route.stream.site, PATIENCE).await?;
        let stream = jetstream.get_stream(route.stream.name).await?;
        let config = OrderedConfig {
            filter_subject: route.subjects.to_owned(),
            deliver_policy: DeliverPolicy::All,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await?;
        let mut left = consumer.cached_info().num_pending;
        let mut messages = consumer.messages().await?;
        let mut stored = BTreeMap::new();
        while left > 0 {
            let Some(message) = timeout(PATIENCE, messages.next()).await? else {
                bail!("the stream ended before {left} more messages of {}", route.name);
            };
            let message = message?;
            let info = message.info().map_err(|error| anyhow::anyhow!(error))?;
            left = info.pending;
            let marks = Mark::all_in(&String::from_utf8_lossy(&message.payload), route.name);
            stored.extend(marks.into_iter().map(|mark| (info.stream_sequence, mark)));
        }
        Ok(stored)
    }

    /// The events that a route's room shows.
    pub(crate) async fn timeline(&self, route: &Route) -> Result<Vec<Event>> {
        let room = ROUTES.iter().zip(&self.rooms).find(|(other, _)| other.name == route.name);
        let (_, room) = room.context("a route without a room")?;
        self.alice.timeline(room).await
    }

    /// Writes what the servers printed to files in `logs`.
    pub(crate) async fn keep_logs(&self, logs: &Path) -> Result<()> {
        for (index, node) in self.cluster.nodes().iter().enumerate() {
            fs::write(logs.join(format!("nats-{}.log", index + 1)), node.log().await)?;
        }
        fs::write(logs.join("nats-leaf.log"), self.leaf.nats.log().await)?;
        fs::write(logs.join("homeserver.log"), self.homeserver.log().await)?;
        Ok(())
    }
}

/// Makes what some kinds of faults need, or says why it cannot be had.
fn wanted<T>(kinds: &[Kind], of: &[Kind], make: impl FnOnce() -> Result<T>) -> Result<T> {
    ensure!(of.iter().any(|kind| kinds.contains(kind)), "not asked for");
    make()
}

async fn create_streams(cluster: &NatsCluster, leaf: &LeafSite, length: Duration) -> Result<()> {
    for stream in STREAMS {
        let (jetstream, num_replicas) = match stream.site {
            Site::Hub => (cluster.jetstream(PATIENCE).await?, NODES),
            Site::Leaf => (leaf.nats.patient_jetstream(PATIENCE).await?, 1),
        };
        let config = StreamConfig {
            name: stream.name.to_owned(),
            subjects: vec![stream.subjects.to_owned()],
            num_replicas,
            // A publisher may have to try for as long as there are faults.
            duplicate_window: length + Duration::from_mins(10),
            ..StreamConfig::default()
        };
        let created = jetstream.create_stream(config).await;
        created.with_context(|| format!("cannot create the stream {}", stream.name))?;
    }
    Ok(())
}

/// The number of messages that are not done with, of all routes.
async fn waiting(hub: &jetstream::Context, leaf: &jetstream::Context) -> Result<u64> {
    let mut waiting = 0;
    for route in &ROUTES {
        let jetstream = match route.stream.site {
            Site::Hub => hub,
            Site::Leaf => leaf,
        };
        let info = route_consumer(jetstream, route.stream.name, route.configured).await?;
        waiting += info.num_pending + info.num_ack_pending as u64;
    }
    Ok(waiting)
}
