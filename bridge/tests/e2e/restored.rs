//! Streams that were restored from a backup.

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt;
use nats_matrix_testbed::Nats;
use serde_json::{Value, json};

use crate::{
    quiet::{quiet, wait_until_held},
    scene::{PATIENCE, Scene},
};

/// A backup of a stream, as `nats stream backup` makes it.
struct Backup {
    stream: String,
    about: Value,
    chunks: Vec<bytes::Bytes>,
}

impl Backup {
    /// Makes a backup without the consumers.
    async fn of(nats: &Nats, stream: &str) -> Result<Self> {
        let client = nats.client().await?;
        let inbox = client.new_inbox();
        let mut chunks = client.subscribe(inbox.clone()).await?;
        let wanted = json!({ "deliver_subject": inbox, "no_consumers": true, "chunk_size": 65536 });
        let subject = format!("$JS.API.STREAM.SNAPSHOT.{stream}");
        let answer = client.request(subject, wanted.to_string().into()).await?;
        let about: Value = serde_json::from_slice(&answer.payload)?;
        ensure!(about["error"].is_null(), "{about}");
        let mut backup = Self { stream: stream.to_owned(), about, chunks: Vec::new() };
        loop {
            let chunk = chunks.next().await.context("no end of the backup")?;
            if chunk.payload.is_empty() {
                return Ok(backup);
            }
            if let Some(reply) = chunk.reply {
                client.publish(reply, bytes::Bytes::new()).await?;
            }
            backup.chunks.push(chunk.payload);
        }
    }

    async fn restore(&self, nats: &Nats) -> Result<()> {
        let client = nats.client().await?;
        let wanted = json!({ "config": self.about["config"], "state": self.about["state"] });
        let subject = format!("$JS.API.STREAM.RESTORE.{}", self.stream);
        let answer = client.request(subject, wanted.to_string().into()).await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        let subject = answer["deliver_subject"].as_str().with_context(|| answer.to_string())?;
        let end = bytes::Bytes::new();
        let mut last = Value::Null;
        for chunk in self.chunks.iter().chain([&end]) {
            let answer = client.request(subject.to_owned(), chunk.clone()).await?;
            last = serde_json::from_slice(&answer.payload).unwrap_or_default();
        }
        ensure!(last["error"].is_null(), "{last}");
        Ok(())
    }
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
    let backup = Backup::of(&scene.nats, "OPS").await?;
    let before = created(&scene, "OPS").await?;
    scene.nats.delete_stream("OPS").await?;
    backup.restore(&scene.nats).await?;
    assert_ne!(created(&scene, "OPS").await?, before);
    scene.publish_numbered(51, 60).await?;
    let mut bridge = scene.start(&scene.config())?;
    scene.shows_numbered(60).await?;
    // The same once more, while the bridge runs.
    let backup = Backup::of(&scene.nats, "OPS").await?;
    scene.nats.delete_stream("OPS").await?;
    backup.restore(&scene.nats).await?;
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
    let backup = Backup::of(&scene.nats, "OPS").await?;
    scene.publish_numbered(11, 15).await?;
    scene.shows_numbered(15).await?;
    bridge.kill();
    scene.nats.delete_stream("OPS").await?;
    backup.restore(&scene.nats).await?;
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
    let backup = Backup::of(&scene.nats, "OPS").await?;
    scene.nats.delete_stream("OPS").await?;
    backup.restore(&scene.nats).await?;
    let _bridge = scene.start(&config)?;
    scene.acknowledged(5).await?;
    let held = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_HELD").await?;
    assert_eq!(held.cached_info().state.messages, 5);
    Ok(())
}
