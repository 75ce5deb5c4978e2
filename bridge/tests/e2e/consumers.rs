//! Durable consumers, and what operators of NATS do to them.

use anyhow::Result;
use async_nats::jetstream::consumer::{self, pull};
use nats_matrix_testbed::{Fault, FaultKind};

use crate::{
    health::{Pages, listening},
    scene::{Config, PATIENCE, Scene, printed, through_proxy},
};

/// Makes a consumer on stream OPS for `ops.>`.
async fn make(scene: &Scene, name: &str, metadata: &[(&str, &str)]) -> Result<()> {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: "ops.>".to_owned(),
        metadata: metadata.collect(),
        ..pull::Config::default()
    };
    scene.nats.jetstream().await?.get_stream("OPS").await?.create_consumer(config).await?;
    Ok(())
}

/// Runs `nats-matrix consumers` with these arguments, and returns what it prints.
fn consumers(scene: &Scene, config: &Config, arguments: &[&str]) -> Result<String> {
    let output = scene.run(config, &[&["consumers"], arguments].concat())?;
    let said = printed(&output);
    assert!(output.status.success(), "{said}");
    Ok(said)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_named_like_its_route_is_used_until_it_is_moved() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    make(&scene, "reports", &[]).await?;
    scene.publish_numbered(1, 10).await?;
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("nats-matrix consumers move --route reports", PATIENCE).await?;
    scene.shows_numbered(10).await?;
    // Some messages are outstanding when the bridge ends.
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(11, 30).await?;
    proxy.wait_for_requests("/send/", 11, PATIENCE).await?;
    bridge.kill();
    proxy.clear();
    let before = scene.consumer().await?;
    assert_eq!(before.name, "reports");
    assert!(before.num_ack_pending > 0);
    assert_eq!(before.config.metadata["nats-matrix.user"], scene.bot.user_id);

    let said = consumers(&scene, &config, &[])?;
    assert!(said.contains("route reports: reports on stream OPS, 20 messages wait; "), "{said}");
    let said = consumers(&scene, &config, &["move", "--route", "reports"])?;
    assert!(said.contains("consumer reports on stream OPS is now reports-"), "{said}");
    let after = scene.consumer().await?;
    assert_ne!(after.name, "reports");
    assert_eq!(after.num_pending, 20, "{said}");
    let again = consumers(&scene, &config, &["move"])?;
    assert!(again.contains(&format!("consumer {} on stream OPS stays", after.name)), "{again}");
    scene.publish_numbered(31, 32).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(32).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_runs_notices_that_its_consumer_was_moved() -> Result<()> {
    let scene = Scene::new().await?;
    make(&scene, "reports", &[]).await?;
    scene.publish_numbered(1, 10).await?;
    let _bridge = scene.start(&scene.config())?;
    scene.shows_numbered(10).await?;
    consumers(&scene, &scene.config(), &["move", "--route", "reports"])?;
    scene.publish_numbered(11, 20).await?;
    scene.shows_numbered(20).await?;
    let now = scene.consumer().await?;
    assert_ne!(now.name, "reports");
    assert_eq!((now.num_pending, now.num_ack_pending), (0, 0));
    Ok(())
}

/// A consumer that is named like the route, and that is not ours, is left alone.
#[tokio::test]
async fn one_of_another_bridge_is_not_used() -> Result<()> {
    let scene = Scene::new().await?;
    let other = [("nats-matrix.user", "@other:example.com"), ("nats-matrix.route", "reports")];
    make(&scene, "reports", &other).await?;
    scene.publish_numbered(1, 3).await?;
    let bridge = scene.start(&scene.config())?;
    scene.shows_numbered(3).await?;
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    let theirs: consumer::Info = stream.consumer_info("reports").await?;
    assert_eq!((theirs.num_pending, theirs.delivered.consumer_sequence), (3, 0));

    // It is refused where the configuration names it.
    bridge.kill();
    let config = scene.config().lines("consumer = \"reports\"");
    let mut bridge = scene.start(&listening(config.clone()))?;
    let pages = Pages::of(&mut bridge).await?;
    let said = pages.wait_for("route-refused").await?;
    let reason = said["routes"]["reports"]["reason"].as_str().unwrap();
    assert!(reason.contains("belongs to the bridge @other:example.com"), "{said}");
    assert!(reason.contains("nats consumer rm OPS reports"), "{said}");
    let checked = printed(&scene.run(&config, &["check"])?);
    assert!(checked.contains("belongs to the bridge @other:example.com"), "{checked}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_route_keeps_the_consumer_that_it_names() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config().lines("consumer = \"kept\"\nstart = \"new\"");
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("made durable consumer kept on stream OPS", PATIENCE).await?;
    scene.publish_numbered(1, 5).await?;
    scene.shows_numbered(5).await?;
    bridge.terminate()?;
    bridge.wait(PATIENCE).await?;
    scene.publish_numbered(6, 10).await?;
    let mut renamed = config.clone();
    renamed.routes = renamed.routes.replace("\"reports\"", "\"renamed\"");
    let _bridge = scene.start(&renamed)?;
    scene.shows_numbered(10).await?;
    let said = consumers(&scene, &renamed, &[])?;
    assert!(said.contains("route renamed: kept on stream OPS, 0 messages wait"), "{said}");
    Ok(())
}
