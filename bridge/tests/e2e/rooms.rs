//! Getting into a room.

use std::time::Duration;

use anyhow::{Context, Result};
use nats_matrix_testbed::{Event, Fault, FaultKind, FaultProxy, Reader, SERVER_NAME};
use serde_json::{Value, json};
use url::Url;

use crate::scene::{Config, PATIENCE, Scene, assert_each_once_in_order, read_all, through_proxy};

#[tokio::test]
async fn a_public_room_is_joined_by_its_alias() -> Result<()> {
    let scene = Scene::new().await?;
    let name = format!("public-{}", scene.bot.localpart());
    let room = scene
        .alice
        .create_room(json!({ "preset": "public_chat", "room_alias_name": name }))
        .await?;
    scene.nats.publish("ops.x", "hello").await?;
    let _bridge = scene.start(&scene.config_for("ops.>", &format!("#{name}:{SERVER_NAME}")))?;
    let mut reader = scene.alice.reader(&room).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "hello");
    Ok(())
}

#[tokio::test]
async fn a_free_alias_becomes_a_room_with_those_who_are_to_be_invited() -> Result<()> {
    let scene = Scene::new().await?;
    let alias = format!("#free-{}:{SERVER_NAME}", scene.bot.localpart());
    let mut config = scene.config_for("ops.>", &alias);
    let invite = format!("invite = [\"{}\"]\n", scene.alice.user_id);
    config.routes.push_str(&invite);
    scene.nats.publish("ops.x", "hello").await?;
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    let room = scene.alice.join(&alias).await?;
    let mut reader = scene.alice.reader(&room).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "hello");

    // The second start finds the room.
    bridge.kill();
    scene.nats.publish("ops.x", "again").await?;
    let _bridge = scene.start(&config)?;
    assert_eq!(read_all(&mut reader, 2).await?[1].said(), "again");
    Ok(())
}

#[tokio::test]
async fn a_bridge_that_is_not_invited_says_whom_to_invite_and_waits() -> Result<()> {
    let scene = Scene::new().await?;
    let room = scene.alice.create_room(json!({ "preset": "private_chat" })).await?;
    scene.nats.publish("ops.x", "hello").await?;
    let mut bridge = scene.start(&scene.config_for("ops.>", &room))?;
    let line = bridge.wait_for_log("we are not let in", PATIENCE).await?;
    assert!(line.contains(&format!("invite {}", scene.bot.user_id)), "{line}");
    scene.alice.invite(&room, &scene.bot.user_id).await?;
    let mut reader = scene.alice.reader(&room).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "hello");
    Ok(())
}

#[tokio::test]
async fn chatter_of_others_between_our_messages_does_not_hide_them() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 3).await?;
    let bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    reader.wait_for(3, PATIENCE).await?;
    bridge.kill();
    for number in 0..150 {
        let content = json!({ "msgtype": "m.text", "body": format!("chatter {number}") });
        scene
            .alice
            .send(&scene.room, "m.room.message", &format!("chatter-{number}"), content)
            .await?;
    }
    // Everything is delivered again, to a new device.
    forgets_all(&scene).await?;
    let _bridge = scene.start(&scene.config())?;
    scene.publish_numbered(4, 4).await?;
    reader
        .wait_until(|events| events.iter().any(|event| event.said() == "message 4"), PATIENCE)
        .await?;
    let ours: Vec<_> = read_all(&mut reader, 154)
        .await?
        .into_iter()
        .filter(|event| event.sender == scene.bot.user_id)
        .collect();
    assert_each_once_in_order(&ours, 4);
    Ok(())
}

/// Has a bridge show three messages, and kills it.
async fn shows_three_and_ends(scene: &Scene, config: &Config) -> Result<Reader> {
    scene.publish_numbered(1, 3).await?;
    let bridge = scene.start(config)?;
    let mut reader = scene.reader().await?;
    reader.wait_for(3, PATIENCE).await?;
    bridge.kill();
    Ok(reader)
}

/// Removes all but the room from which a bridge could know what it has shown.
async fn forgets_all(scene: &Scene) -> Result<()> {
    scene.forget_session()?;
    let name = scene.consumer().await?.name;
    scene.nats.jetstream().await?.get_stream("OPS").await?.delete_consumer(&name).await?;
    Ok(())
}

/// The latest `count` events of a room as a homeserver tells them that filters nothing, and what lies before them.
async fn unfiltered_page(scene: &Scene, count: usize) -> Result<Value> {
    let mut url = Url::parse(&scene.bot.homeserver)?;
    url.set_path(&format!("_matrix/client/v3/rooms/{}/messages", scene.room));
    url.query_pairs_mut().append_pair("dir", "b").append_pair("limit", &count.to_string());
    let client = reqwest::Client::new();
    let page = client.get(url).bearer_auth(&scene.alice.access_token).send().await?;
    Ok(page.error_for_status()?.json().await?)
}

/// Other homeservers and application services give their events any time, and Conduit shows them whatever the filter.
#[tokio::test]
async fn chatter_of_others_that_looks_old_does_not_hide_our_messages() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let mut reader = shows_three_and_ends(&scene, &config).await?;
    for number in 0..100 {
        let content = json!({ "msgtype": "m.text", "body": format!("chatter {number}") });
        let transaction = format!("chatter-{number}");
        scene.alice.send(&scene.room, "m.room.message", &transaction, content).await?;
    }
    let mut page = unfiltered_page(&scene, 100).await?;
    let chatter = page["chunk"].as_array_mut().context("no events")?;
    assert!(chatter.iter().all(|event| event["sender"] == scene.alice.user_id.as_str()));
    for event in chatter {
        event["origin_server_ts"] = json!(1_000);
    }
    proxy.inject(Fault::on("/messages", FaultKind::respond(200, page)).times(1));
    forgets_all(&scene).await?;
    let _bridge = scene.start(&config)?;
    scene.publish_numbered(4, 4).await?;
    let is_last = |event: &Event| event.said() == "message 4";
    reader.wait_until(|events| events.iter().any(is_last), PATIENCE).await?;
    let events = reader.settle(Duration::from_secs(2)).await?;
    let ours: Vec<Event> =
        events.iter().filter(|event| event.sender == scene.bot.user_id).cloned().collect();
    assert_each_once_in_order(&ours, 4);
    assert!(proxy.requests_matching("/messages").len() > 1, "it looked beyond the chatter");
    Ok(())
}

#[tokio::test]
async fn a_free_alias_of_which_the_homeserver_says_that_it_failed_becomes_a_room() -> Result<()> {
    let scene = Scene::new().await?;
    let proxy = FaultProxy::start(&scene.bot.homeserver).await?;
    // As Dendrite answers.
    proxy.inject(Fault::on("/join/", FaultKind::respond(500, json!({ "Err": "" }))));
    let alias = format!("#unused-{}:{SERVER_NAME}", scene.bot.localpart());
    scene.nats.publish("ops.x", "hello").await?;
    let config = Config::new(&scene.nats.url(), &proxy.url(), &scene.bot);
    let mut bridge = scene.start(&config.route("reports", "ops.>", &alias))?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    assert!(scene.bot.resolve_alias(&alias).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_homeserver_that_filters_pages_after_it_took_them_hides_nothing() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let mut reader = shows_three_and_ends(&scene, &config).await?;
    // Dendrite answers so for a page that holds only messages of others.
    let nothing = json!({ "chunk": [], "start": "t9_9" });
    proxy.inject(Fault::on("senders", FaultKind::respond(200, nothing)));
    forgets_all(&scene).await?;
    let _bridge = scene.start(&config)?;
    scene.publish_numbered(4, 4).await?;
    crate::scene::read_numbered(&mut reader, 4).await?;
    assert!(!proxy.requests_matching("senders").is_empty(), "it asked with a filter first");
    Ok(())
}
