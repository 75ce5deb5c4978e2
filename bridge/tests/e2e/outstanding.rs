//! Messages that were delivered to a bridge that was killed before it showed them.

use std::net::TcpListener;

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::pull;
use futures_util::StreamExt;
use nats_matrix_testbed::{Event, Fault, FaultKind, FaultProxy, Nats, ScratchDir};

use crate::scene::{Config, PATIENCE, Scene, read_all, shared_homeserver, through_proxy};

/// Has a bridge take what waits, and kills it before anything of that is shown.
async fn taken(scene: &Scene, proxy: &FaultProxy, config: &Config) -> Result<()> {
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    let bridge = scene.start(config)?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    bridge.kill();
    proxy.clear();
    assert!(scene.consumer().await?.num_ack_pending > 0);
    Ok(())
}

#[tokio::test]
async fn it_is_shown_at_once_and_what_is_new_after_it() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    scene.publish_numbered(1, 100).await?;
    taken(&scene, &proxy, &config).await?;
    scene.publish_numbered(101, 120).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(120).await?;
    Ok(())
}

#[tokio::test]
async fn what_waits_on_a_subject_that_the_route_gives_up_is_shown_and_nothing_later() -> Result<()>
{
    let (scene, proxy, mut config) = through_proxy().await?;
    let both = config.routes.replace("\"ops.>\"", "\"ops.a\", \"ops.b\"");
    let one = config.routes.replace("\"ops.>\"", "\"ops.b\"");
    assert_ne!(both, one);
    for number in 1..=3 {
        scene.nats.publish("ops.a", format!("a {number}")).await?;
        scene.nats.publish("ops.b", format!("b {number}")).await?;
    }
    config.routes = both;
    taken(&scene, &proxy, &config).await?;
    config.routes = one;
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    reader.wait_for(3, PATIENCE).await?;
    scene.nats.publish("ops.a", "a 4").await?;
    scene.nats.publish("ops.b", "b 4").await?;
    let events = read_all(&mut reader, 7).await?;
    let shown: Vec<&str> = events.iter().map(Event::said).collect();
    assert_eq!(shown, ["a 1", "b 1", "a 2", "b 2", "a 3", "b 3", "b 4"]);
    assert_eq!(scene.consumer().await?.config.filter_subject, "ops.b");
    Ok(())
}

#[tokio::test]
async fn what_was_there_before_a_route_that_begins_with_what_is_new_is_not_shown() -> Result<()> {
    let (scene, proxy, mut config) = through_proxy().await?;
    config.routes += "start = \"new\"\n";
    scene.nats.publish_many("ops.text", (1..=5).map(|number| format!("old {number}"))).await?;
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("made durable consumer", PATIENCE).await?;
    bridge.kill();
    scene.publish_numbered(1, 2).await?;
    taken(&scene, &proxy, &config).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(2).await?;
    Ok(())
}

/// A consumer of our name that somebody else has made, and taken much from.
#[tokio::test]
async fn however_much_is_outstanding_all_of_it_is_shown_before_what_is_new() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 300).await?;
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    let consumer = pull::Config {
        durable_name: Some("reports".to_owned()),
        filter_subject: "ops.>".to_owned(),
        max_ack_pending: 1_000,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(consumer).await?;
    let mut taken = consumer.fetch().max_messages(250).messages().await?;
    for number in 0..250 {
        taken
            .next()
            .await
            .with_context(|| format!("only {number}"))?
            .map_err(|e| anyhow::anyhow!(e))?;
    }
    assert_eq!(scene.consumer().await?.num_ack_pending, 250);
    let _bridge = scene.start(&scene.config())?;
    scene.shows_numbered(300).await?;
    assert_eq!(scene.consumer().await?.num_ack_pending, 0);
    Ok(())
}

/// A message that a leaf node does not let through as JSON is read as it was delivered.
#[tokio::test]
async fn what_is_almost_as_large_as_may_be_comes_through_a_leaf_node() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let store = ScratchDir::new("leaf")?;
    let leaves = format!(
        "jetstream {{ store_dir: \"{}\", domain: hub }}\nleafnodes {{ host: 127.0.0.1, port: {port} }}",
        store.path().display()
    );
    let hub = Nats::builder().config(&leaves).as_process().start().await?;
    let remote = format!(
        "jetstream: false\nleafnodes {{ remotes: [{{ url: \"nats://127.0.0.1:{port}\" }}] }}"
    );
    let leaf = Nats::builder().config(&remote).as_process().start().await?;
    let scene = Scene::with(shared_homeserver().await?, hub).await?;
    let proxy = FaultProxy::start(&scene.bot.homeserver).await?;
    let config = Config::new(&leaf.url(), &proxy.url(), &scene.bot);
    let config = config.nats("jetstream_domain = \"hub\"").route("reports", "ops.>", &scene.room);
    scene.nats.publish("ops.text", "x".repeat(900_000)).await?;
    taken(&scene, &proxy, &config).await?;
    let _bridge = scene.start(&config)?;
    scene.nats.publish("ops.text", "after it").await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 3).await?;
    let kinds: Vec<&str> = events.iter().map(Event::msgtype).collect();
    assert_eq!(kinds, ["m.text", "m.file", "m.text"]);
    assert_eq!(events[1].content["info"]["size"], 900_000);
    assert_eq!(events[2].said(), "after it");
    Ok(())
}
