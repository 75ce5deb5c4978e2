//! Messages of NATS and of its clients that only say that others are gone.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::kv;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    health::{Pages, listening},
    scene::{PATIENCE, Scene, read_all},
    transforms::make_stream,
};

#[tokio::test]
async fn what_says_that_others_are_gone_is_not_shown() -> Result<()> {
    let scene = Scene::new().await?;
    let jetstream = scene.nats.jetstream().await?;
    let bucket = kv::Config { bucket: "machines".to_owned(), history: 5, ..Default::default() };
    let bucket = jetstream.create_key_value(bucket).await?;
    // A message that has expired leaves a marker.
    make_stream(
        &scene,
        json!({
            "name": "SHORT", "subjects": ["short.>"], "max_age": 10_000_000_000_u64,
            "allow_msg_ttl": true, "subject_delete_marker_ttl": 3_600_000_000_000_u64,
        }),
    )
    .await?;
    bucket.put("db-01", "is up".into()).await?;
    bucket.delete("db-01").await?;
    bucket.put("db-02", "is up, too".into()).await?;
    bucket.purge("db-02").await?;
    let mut config = listening(scene.config_for("$KV.machines.>", &scene.room));
    config = config.route("short", "short.>", &scene.room);
    config.routes =
        config.routes.replacen("\"OPS\"", "\"KV_machines\"", 1).replacen("\"OPS\"", "\"SHORT\"", 1);
    let mut bridge = scene.start(&config)?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    scene.nats.publish("short.a", "expires").await?;
    let begun = Instant::now();
    while pages.number("nats_matrix_markers_total{route=\"short\"}").await? < 1.0 {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "no marker: {}", bridge.logs());
        sleep(Duration::from_millis(100)).await;
    }
    scene.nats.publish("short.b", "the last").await?;
    let mut reader = scene.reader().await?;
    let shown = read_all(&mut reader, 3).await.with_context(|| bridge.logs())?;
    let mut bodies: Vec<&str> = shown.iter().map(nats_matrix_testbed::Event::said).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["expires", "is up", "the last"], "{}", bridge.logs());
    assert!(pages.number("nats_matrix_markers_total{route=\"reports\"}").await? >= 2.0);
    // They are acknowledged.
    for (stream, route) in [("KV_machines", "reports"), ("SHORT", "short")] {
        let begun = Instant::now();
        loop {
            let info = scene.nats.consumer(stream, route).await?;
            if info.num_ack_pending == 0 && info.num_pending == 0 {
                break;
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "{info:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}
