//! Large messages, of which few are in memory at the same time: no route is starved by others.

use std::time::Duration;

use anyhow::{Context, Result};
use nats_matrix_testbed::{Event, Nats};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    ill_routes::another_room,
    scene::{Config, PATIENCE, Scene, shared_homeserver},
};

/// The size of a message of which one fits into the memory for messages, and a second does not.
const LARGE: usize = 7_500_000;

/// A NATS that takes messages of 8 MB.
async fn scene() -> Result<Scene> {
    let nats = Nats::builder().max_payload(8).start().await?;
    Scene::with(shared_homeserver().await?, nats).await
}

fn large(text: &str) -> String {
    format!("{text} {}", "x".repeat(LARGE))
}

fn has(text: &str) -> impl Fn(&[Event]) -> bool {
    move |events| events.iter().any(|event| event.said().starts_with(text))
}

#[tokio::test]
async fn routes_that_are_done_with_theirs_take_no_memory_from_others() -> Result<()> {
    let scene = scene().await?;
    let mut config = scene.config_for("ops.a", &scene.room);
    config = config.route("b", "ops.b", &scene.room).route("c", "ops.c", &scene.room);
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    for route in ["a", "b"] {
        let text = format!("large of {route}");
        scene.nats.publish(&format!("ops.{route}"), large(&text)).await?;
        reader.wait_until(has(&text), PATIENCE).await.with_context(|| bridge.logs())?;
    }
    // Routes whose requests found nothing are over with them after this.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    for number in 1..=3 {
        scene.nats.publish("ops.c", large(&format!("large {number} of c"))).await?;
    }
    scene.nats.publish("ops.c", "a good one").await?;
    reader.wait_until(has("a good one"), PATIENCE).await.with_context(|| bridge.logs())?;
    // Without anything to wait for, and with some patience for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}: {}", begun.elapsed(), bridge.logs());
    Ok(())
}

/// Not even one that cannot be shown, however long that may be so.
#[tokio::test]
async fn a_route_whose_room_is_closed_gives_way() -> Result<()> {
    let scene = scene().await?;
    let room = json!({ "preset": "private_chat", "invite": [scene.bot.user_id] });
    let rooms =
        [scene.alice.create_room(room.clone()).await?, scene.alice.create_room(room).await?];
    let config = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot)
        .route("a", "ops.a", &rooms[0])
        .route("b", "ops.b", &rooms[1])
        .route("c", "ops.c", &scene.room);
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    for (route, room) in ["a", "b"].into_iter().zip(&rooms) {
        let mut closed = scene.alice.reader(room).await?;
        scene.nats.publish(&format!("ops.{route}"), "before").await?;
        closed.wait_until(has("before"), PATIENCE).await.with_context(|| bridge.logs())?;
        scene.alice.kick(room, &scene.bot.user_id).await?;
        scene.nats.publish(&format!("ops.{route}"), large("large")).await?;
    }
    // One of them has what there is, and the other waits for it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.nats.publish("ops.c", large("large")).await?;
    scene.nats.publish("ops.c", "a good one").await?;
    reader.wait_until(has("a good one"), PATIENCE).await.with_context(|| bridge.logs())?;
    assert!(bridge.logs().contains("is put back until it can be shown"), "{}", bridge.logs());
    for room in &rooms {
        scene.alice.invite(room, &scene.bot.user_id).await?;
        let mut opened = scene.alice.reader(room).await?;
        opened.wait_until(has("large"), PATIENCE).await.with_context(|| bridge.logs())?;
    }
    Ok(())
}

/// Messages that are digested together, and take so much that there is no memory for a second digest beside them.
#[tokio::test]
async fn a_digest_that_cannot_be_posted_gives_way() -> Result<()> {
    let scene = scene().await?;
    let closed = json!({ "power_level_content_override": { "events_default": 50 } });
    let silent = another_room(&scene, closed).await?;
    let config = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot)
        .route("a", "ops.a", &silent)
        .digests(2)
        .route("b", "ops.b", &scene.room)
        .digests(2);
    scene.nats.publish("ops.a", "a small one").await?;
    for _ in 0..7 {
        scene.nats.publish("ops.a", "x".repeat(1_100_000)).await?;
    }
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("has power level 0, needs 50", PATIENCE).await?;
    for number in 0..50 {
        scene.nats.publish("ops.b", format!("of b {number}")).await?;
    }
    let mut reader = scene.reader().await?;
    let is_there = |events: &[Event]| events.iter().any(|event| event.body().contains("of b 49"));
    reader.wait_until(is_there, PATIENCE).await.with_context(|| bridge.logs())?;
    assert!(bridge.logs().contains("is put back until it can be shown"), "{}", bridge.logs());
    scene.alice.set_power_level(&silent, &scene.bot.user_id, 50).await?;
    let mut opened = scene.alice.reader(&silent).await?;
    let is_there =
        |events: &[Event]| events.iter().any(|event| event.body().starts_with("📚 8 messages"));
    opened.wait_until(is_there, PATIENCE).await.with_context(|| bridge.logs())?;
    Ok(())
}
