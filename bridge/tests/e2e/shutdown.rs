//! SIGTERM at every moment: what is on its way arrives, the rest stays, the exit code is 0.

use std::time::Duration;

use anyhow::Result;
use nats_matrix_testbed::{BridgeProcess, Fault, FaultKind};

use crate::scene::{PATIENCE, Scene, through_proxy};

const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Asserts that the bridge ends well within ten seconds of being told to stop.
async fn stops_soon(bridge: &mut BridgeProcess) -> Result<()> {
    bridge.terminate()?;
    assert_eq!(bridge.wait(TEN_SECONDS).await?, 0, "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn during_a_send_it_is_finished_and_acknowledged_and_the_rest_is_left() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::Delay(Duration::from_secs(2))).times(1));
    scene.publish_numbered(1, 5).await?;
    let mut bridge = scene.start(&config)?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    stops_soon(&mut bridge).await?;
    scene.shows_numbered(1).await?;
    assert_eq!(
        scene.consumer().await?.ack_floor.stream_sequence,
        1,
        "the one in flight was acknowledged"
    );

    let _bridge = scene.start(&config)?;
    scene.shows_numbered(5).await?;
    Ok(())
}

#[tokio::test]
async fn while_the_homeserver_does_not_answer() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(1, 3).await?;
    let mut bridge = scene.start(&config)?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    stops_soon(&mut bridge).await?;
    proxy.clear();
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(3).await?;
    Ok(())
}

#[tokio::test]
async fn while_the_homeserver_hangs_at_anything_else() -> Result<()> {
    for path in ["/login", "/join/", "/messages"] {
        let (scene, proxy, config) = through_proxy().await?;
        proxy.inject(Fault::on(path, FaultKind::HoldForever));
        scene.publish_numbered(1, 1).await?;
        let mut bridge = scene.start(&config)?;
        proxy.wait_for_requests(path, 1, PATIENCE).await?;
        stops_soon(&mut bridge).await?;
    }
    Ok(())
}

#[tokio::test]
async fn while_it_waits_for_servers_that_are_away() -> Result<()> {
    let scene = Scene::new().await?;
    scene.nats.kill().await;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("cannot be reached", PATIENCE).await?;
    stops_soon(&mut bridge).await
}

#[tokio::test]
async fn while_nothing_happens() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    stops_soon(&mut bridge).await
}
