//! Streams that were restored from a backup.

use anyhow::Result;
use nats_matrix_testbed::StreamBackup;

use crate::{
    quiet::{quiet, wait_until_held},
    scene::{PATIENCE, Scene},
};

/// Backs the stream OPS up.
async fn back_up(scene: &Scene) -> Result<StreamBackup> {
    StreamBackup::of(&scene.nats.client().await?, "OPS").await
}

/// Deletes the stream OPS, and restores it.
async fn replace(scene: &Scene, backup: &StreamBackup) -> Result<()> {
    scene.nats.delete_stream("OPS").await?;
    backup.restore(&scene.nats.client().await?).await
}

async fn created(scene: &Scene, stream: &str) -> Result<String> {
    let stream = scene.nats.jetstream().await?.get_stream(stream).await?;
    Ok(stream.cached_info().created.to_string())
}

#[tokio::test]
async fn what_was_shown_before_is_not_shown_again() -> Result<()> {
    let scene = Scene::new().await?;
    let bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 50).await?;
    scene.shows_numbered(50).await?;
    bridge.kill();
    let backup = back_up(&scene).await?;
    let before = created(&scene, "OPS").await?;
    replace(&scene, &backup).await?;
    assert_ne!(created(&scene, "OPS").await?, before);
    scene.publish_numbered(51, 60).await?;
    let mut bridge = scene.start(&scene.config())?;
    scene.shows_numbered(60).await?;
    // The same once more, while the bridge runs.
    let backup = back_up(&scene).await?;
    replace(&scene, &backup).await?;
    bridge.wait_for_log("was restored from a backup", PATIENCE).await?;
    scene.publish_numbered(61, 65).await?;
    scene.shows_numbered(65).await
}

#[tokio::test]
async fn what_the_backup_does_not_have_makes_room_for_other_messages() -> Result<()> {
    let scene = Scene::new().await?;
    let bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 10).await?;
    scene.shows_numbered(10).await?;
    let backup = back_up(&scene).await?;
    scene.publish_numbered(11, 15).await?;
    scene.shows_numbered(15).await?;
    bridge.kill();
    replace(&scene, &backup).await?;
    // These get the numbers that the backup does not have.
    scene.publish_numbered(16, 20).await?;
    let _bridge = scene.start(&scene.config())?;
    scene.shows_numbered(20).await
}

#[tokio::test]
async fn what_quiet_hours_hold_back_is_not_held_back_twice() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes += &quiet();
    let mut bridge = scene.start(&config)?;
    scene.publish_numbered(1, 5).await?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    wait_until_held(&scene, 5).await?;
    scene.wait_until_done(5).await?;
    bridge.kill();
    let backup = back_up(&scene).await?;
    replace(&scene, &backup).await?;
    let _bridge = scene.start(&config)?;
    scene.acknowledged(5).await?;
    let held = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_HELD").await?;
    assert_eq!(held.cached_info().state.messages, 5);
    Ok(())
}
