//! SIGTERM at every moment: what is on its way arrives, the rest stays, the exit code is 0.

use std::time::{Duration, Instant};

use anyhow::Result;
use nats_matrix_testbed::{Fault, FaultKind};

use crate::scene::{PATIENCE, Scene, assert_each_once_in_order, read_all};

const TEN_SECONDS: Duration = Duration::from_secs(10);

#[tokio::test]
async fn during_a_send_it_is_finished_and_acknowledged_and_the_rest_is_left() -> Result<()> {
    let scene = Scene::new().await?;
    let (proxy, config) = scene.through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::Delay(Duration::from_secs(2))).times(1));
    scene.publish_numbered(1, 5).await?;
    let mut bridge = scene.start(&config)?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    let asked = Instant::now();
    bridge.terminate()?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0, "{}", bridge.logs());
    assert!(asked.elapsed() < TEN_SECONDS, "{:?}", asked.elapsed());
    let mut reader = scene.reader().await?;
    assert_each_once_in_order(&read_all(&mut reader, 1).await?, 1);
    assert_eq!(
        scene.consumer().await?.ack_floor.stream_sequence,
        1,
        "the one in flight was acknowledged"
    );

    let _bridge = scene.start(&config)?;
    assert_each_once_in_order(&read_all(&mut reader, 5).await?, 5);
    Ok(())
}

#[tokio::test]
async fn while_the_homeserver_does_not_answer() -> Result<()> {
    let scene = Scene::new().await?;
    let (proxy, config) = scene.through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(1, 3).await?;
    let mut bridge = scene.start(&config)?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    let asked = Instant::now();
    bridge.terminate()?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0, "{}", bridge.logs());
    assert!(asked.elapsed() < TEN_SECONDS, "{:?}", asked.elapsed());
    proxy.clear();
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    assert_each_once_in_order(&read_all(&mut reader, 3).await?, 3);
    Ok(())
}

#[tokio::test]
async fn while_the_homeserver_hangs_at_anything_else() -> Result<()> {
    for path in ["/login", "/join/", "/messages"] {
        let scene = Scene::new().await?;
        let (proxy, config) = scene.through_proxy().await?;
        proxy.inject(Fault::on(path, FaultKind::HoldForever));
        scene.publish_numbered(1, 1).await?;
        let mut bridge = scene.start(&config)?;
        proxy.wait_for_requests(path, 1, PATIENCE).await?;
        let asked = Instant::now();
        bridge.terminate()?;
        assert_eq!(bridge.wait(PATIENCE).await?, 0, "{path}: {}", bridge.logs());
        assert!(asked.elapsed() < TEN_SECONDS, "{path}: {:?}", asked.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn while_it_waits_for_servers_that_are_away() -> Result<()> {
    let scene = Scene::new().await?;
    scene.nats.kill().await;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("cannot be reached", PATIENCE).await?;
    bridge.terminate()?;
    assert_eq!(bridge.wait(TEN_SECONDS).await?, 0, "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn while_nothing_happens() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    bridge.terminate()?;
    assert_eq!(bridge.wait(TEN_SECONDS).await?, 0, "{}", bridge.logs());
    Ok(())
}
