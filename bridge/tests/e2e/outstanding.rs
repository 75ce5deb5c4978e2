//! What was delivered to a bridge that was killed before it was shown.

use anyhow::Result;
use nats_matrix_testbed::{Event, Fault, FaultKind, FaultProxy};

use crate::scene::{Config, PATIENCE, Scene, assert_each_once_in_order, read_all};

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
    let scene = Scene::new().await?;
    let (proxy, config) = scene.through_proxy().await?;
    scene.publish_numbered(1, 100).await?;
    taken(&scene, &proxy, &config).await?;
    scene.publish_numbered(101, 120).await?;
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    assert_each_once_in_order(&read_all(&mut reader, 120).await?, 120);
    Ok(())
}

#[tokio::test]
async fn what_the_route_takes_no_more_is_not_shown_and_holds_nothing_up() -> Result<()> {
    let scene = Scene::new().await?;
    let (proxy, mut config) = scene.through_proxy().await?;
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
    let events = read_all(&mut reader, 4).await?;
    let shown: Vec<&str> = events.iter().map(Event::body).collect();
    assert_eq!(shown, ["b 1", "b 2", "b 3", "b 4"]);
    assert_eq!(scene.consumer().await?.config.filter_subject, "ops.b");
    Ok(())
}

#[tokio::test]
async fn what_was_there_before_a_route_that_begins_with_what_is_new_is_not_shown() -> Result<()> {
    let scene = Scene::new().await?;
    let (proxy, mut config) = scene.through_proxy().await?;
    config.routes += "start = \"new\"\n";
    scene.nats.publish_many("ops.text", (1..=5).map(|number| format!("old {number}"))).await?;
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("made durable consumer", PATIENCE).await?;
    bridge.kill();
    scene.publish_numbered(1, 2).await?;
    taken(&scene, &proxy, &config).await?;
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    assert_each_once_in_order(&read_all(&mut reader, 2).await?, 2);
    Ok(())
}
