//! A hub and a leaf node with a bridge at each, whose streams and routes have the same names: leaf nodes pass on
//! acknowledgements, which name no `JetStream` domain.

use anyhow::{Context as _, Result};
use nats_matrix_testbed::{
    BridgeProcess, Fault, FaultKind, FaultProxy, Nats, ScratchDir, Sites, ports::Port,
};
use serde_json::json;

use crate::{
    health::{Pages, listening},
    scene::{BINARY, Config, PATIENCE, Scene, read_numbered, shared_homeserver},
};

/// The number of messages at each site.
const COUNT: usize = 40;

/// Two sites with a bridge of the same account at each.
struct TwoBridges {
    /// The leaf node, whose stream OPS takes `ops.>`, and the room of its bridge.
    leaf: Scene,
    proxy: FaultProxy,
    /// The hub, whose stream OPS takes `hub.>`, and the room of its bridge.
    hub: Nats,
    room: String,
    dir: ScratchDir,
    _port: Port,
}

impl TwoBridges {
    async fn new() -> Result<Self> {
        let Sites { hub, leaf, port } = Sites::start().await?;
        hub.create_stream("OPS", &["hub.>"]).await?;
        let leaf = Scene::with(shared_homeserver().await?, leaf).await?;
        let how = json!({ "preset": "private_chat", "invite": [leaf.bot.user_id] });
        let room = leaf.alice.create_room(how).await?;
        let proxy = FaultProxy::start(&leaf.bot.homeserver).await?;
        Ok(Self { leaf, proxy, hub, room, dir: ScratchDir::new("hub-bridge")?, _port: port })
    }

    /// The configuration of the leaf node's bridge, with a proxy before the homeserver.
    fn of_leaf(&self) -> Config {
        let config = Config::new(&self.leaf.nats.url(), &self.proxy.url(), &self.leaf.bot);
        config.route("reports", "ops.>", &self.leaf.room)
    }

    /// The configuration of the hub's bridge.
    fn of_hub(&self) -> Config {
        let config = Config::new(&self.hub.url(), &self.leaf.bot.homeserver, &self.leaf.bot);
        config.route("reports", "hub.>", &self.room)
    }

    /// Has the bridge at the leaf node hold its messages, while that at the hub shows its own, which have the same
    /// numbers. Returns the former.
    async fn hold_at_leaf(&self, at_leaf: &Config, at_hub: &Config) -> Result<BridgeProcess> {
        self.proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
        self.leaf.publish_numbered(1, COUNT).await?;
        let bridge = self.leaf.start(at_leaf)?;
        self.proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
        let texts = (1..=COUNT).map(|number| format!("message {number}"));
        self.hub.publish_many("hub.text", texts).await?;
        let at_hub = BridgeProcess::spawn(BINARY, &at_hub.toml(), self.dir.path())?;
        read_numbered(&mut self.leaf.alice.reader(&self.room).await?, COUNT).await?;
        at_hub.kill();
        Ok(bridge)
    }
}

#[tokio::test]
async fn two_sites_with_the_same_names_do_not_settle_each_others_messages() -> Result<()> {
    let two = TwoBridges::new().await?;
    let (at_leaf, at_hub) = (two.of_leaf(), two.of_hub());
    let bridge = two.hold_at_leaf(&at_leaf, &at_hub).await?;
    bridge.kill();
    two.proxy.clear();
    let of_leaf = two.leaf.consumer().await?;
    let of_hub = two.hub.consumer("OPS", "reports").await?;
    assert_ne!(of_leaf.name, of_hub.name);
    assert_eq!((of_leaf.num_ack_pending, of_hub.num_ack_pending), (COUNT, 0));
    let _bridge = two.leaf.start(&at_leaf)?;
    two.leaf.shows_numbered(COUNT).await?;
    Ok(())
}

#[tokio::test]
async fn acknowledgements_of_others_are_reported_and_what_they_settle_is_shown() -> Result<()> {
    let two = TwoBridges::new().await?;
    let same = "consumer = \"reports\"";
    let at_leaf = listening(two.of_leaf().lines(same));
    let mut bridge = two.hold_at_leaf(&at_leaf, &two.of_hub().lines(same)).await?;
    assert_eq!(two.leaf.consumer().await?.ack_floor.stream_sequence, COUNT as u64);
    let pages = Pages::of(&mut bridge).await?;
    let said = pages.wait_for("acked-elsewhere").await?;
    let reason = said["routes"]["reports"]["reason"].as_str().unwrap();
    assert!(reason.contains("consumer reports on stream OPS"), "{said}");
    let line = format!("somebody else acknowledged messages 1 to {COUNT} of consumer reports");
    bridge.wait_for_log(&line, PATIENCE).await?;
    assert!(pages.number("nats_matrix_acked_elsewhere_total{").await? >= 1.0);

    // The server has nothing outstanding for it any more.
    bridge.kill();
    two.proxy.clear();
    let bridge = two.leaf.start(&at_leaf)?;
    two.leaf.shows_numbered(COUNT).await.with_context(|| bridge.logs())?;
    two.leaf.publish_numbered(COUNT + 1, COUNT + 2).await?;
    two.leaf.shows_numbered(COUNT + 2).await?;
    Ok(())
}
