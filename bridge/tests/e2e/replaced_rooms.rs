//! Rooms that are replaced by others, with a tombstone or without: the bridge follows where that was meant, and nothing is
//! posted into a room that nobody looks at any more, or that somebody else has put in its place.

use std::time::Duration;

use anyhow::{Context, Result};
use nats_matrix_testbed::{Account, SERVER_NAME};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    health::{Pages, listening},
    ill_routes::another_room,
    scene::{Config, PATIENCE, Scene, printed, read_all, shared_homeserver},
};

/// The scene with an alias for the room, which alice has made.
struct Upgrade {
    scene: Scene,
    alias: String,
}

impl Upgrade {
    async fn new() -> Result<Self> {
        let mut scene = Scene::new().await?.in_haste()?;
        let name = format!("ops-{}", scene.bot.localpart());
        let invite = [&scene.bot.user_id];
        let room = json!({ "preset": "private_chat", "invite": invite, "room_alias_name": name });
        scene.room = scene.alice.create_room(room).await?;
        let alias = format!("#{name}:{SERVER_NAME}");
        Ok(Self { scene, alias })
    }

    fn config(&self) -> Config {
        let mut config = self.scene.config_for("ops.>", &self.alias);
        // A check runs in another directory.
        let state = self.scene.dir.path().join("state");
        config.matrix = config.matrix.replace("\"state\"", &format!("\"{}\"", state.display()));
        listening(config)
    }

    /// A configuration with a room for each subject, those that alice makes among them.
    fn many(&self, fallback: &str) -> Config {
        let (alice, bot) = (&self.scene.alice.user_id, self.scene.bot.localpart());
        let config = self.scene.config_for("*.x", &format!("#{{subject.1}}-{bot}:{SERVER_NAME}"));
        config.lines(&format!("fallback_room = \"{fallback}\"\nroom_creators = [\"{alice}\"]"))
    }

    /// Makes the room that comes after the present one, as an upgrade does.
    async fn successor(&self, by: &Account, more: Value) -> Result<String> {
        let mut room = json!({
            "preset": "private_chat",
            "invite": [self.scene.bot.user_id],
            "creation_content": { "predecessor": { "room_id": self.scene.room, "event_id": "$last" } },
        });
        for (key, value) in more.as_object().context("an object")? {
            room[key] = value.clone();
        }
        if by.user_id != self.scene.alice.user_id {
            room["invite"] = json!([self.scene.bot.user_id, self.scene.alice.user_id]);
        }
        by.create_room(room).await
    }

    /// Says in the present room that another one has replaced it.
    async fn bury(&self, replacement: &str) -> Result<()> {
        let tombstone = json!({ "body": "replaced", "replacement_room": replacement });
        self.scene.alice.set_state(&self.scene.room, "m.room.tombstone", "", tombstone).await
    }

    /// Lets only alice write in the present room, as most upgrades do.
    async fn close(&self) -> Result<()> {
        let alice = &self.scene.alice;
        let levels = alice.state(&self.scene.room, "m.room.power_levels", "").await?;
        let mut levels = levels.context("no levels")?;
        levels["events_default"] = json!(50);
        alice.set_state(&self.scene.room, "m.room.power_levels", "", levels).await
    }

    async fn bodies(&self, room: &str, count: usize) -> Result<Vec<String>> {
        let mut reader = self.scene.alice.reader(room).await?;
        let events = read_all(&mut reader, count).await?;
        Ok(events.iter().map(|event| event.said().to_owned()).collect())
    }

    /// Gives the alias to another room.
    async fn lead_to(&self, by: &Account, room: &str) -> Result<()> {
        self.scene.alice.remove_alias(&self.alias).await?;
        by.set_alias(&self.alias, room).await
    }
}

async fn is_followed(is_closed: bool) -> Result<()> {
    let it = Upgrade::new().await?;
    let mut bridge = it.scene.start(&it.config())?;
    let pages = Pages::of(&mut bridge).await?;
    it.scene.nats.publish("ops.x", "before").await?;
    assert_eq!(it.bodies(&it.scene.room, 1).await?, ["before"]);
    let new = it.successor(&it.scene.alice, json!({})).await?;
    it.bury(&new).await?;
    if is_closed {
        it.close().await?;
    }
    // It is followed while there is nothing to post.
    bridge.wait_for_log(&format!("was replaced by {new}"), PATIENCE).await?;
    for text in ["first", "second"] {
        it.scene.nats.publish("ops.x", text).await?;
    }
    assert_eq!(it.bodies(&new, 2).await.with_context(|| bridge.logs())?, ["first", "second"]);
    assert_eq!(it.bodies(&it.scene.room, 1).await?, ["before"]);
    pages.wait_for("connected").await?;
    // The alias leads to the old room still, which is no reason to enter the new one again and again.
    sleep(Duration::from_secs(12)).await;
    assert_eq!(bridge.logs().matches("was replaced by").count(), 1, "{}", bridge.logs());
    // Nor is that forgotten.
    bridge.kill();
    let bridge = it.scene.start(&it.config())?;
    it.lead_to(&it.scene.alice, &new).await?;
    it.scene.nats.publish("ops.x", "third").await?;
    assert_eq!(it.bodies(&new, 3).await.with_context(|| bridge.logs())?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_room_that_is_replaced_is_left_though_the_bridge_could_post_there() -> Result<()> {
    is_followed(false).await
}

#[tokio::test]
async fn a_room_that_is_replaced_and_closed_is_left() -> Result<()> {
    is_followed(true).await
}

/// The room is replaced while the bridge is at work, and what it posts is forbidden.
#[tokio::test]
async fn a_message_that_is_forbidden_in_a_replaced_room_goes_to_the_next_one() -> Result<()> {
    let it = Upgrade::new().await?;
    let bridge = it.scene.start(&it.config())?;
    it.scene.nats.publish("ops.x", "before").await?;
    assert_eq!(it.bodies(&it.scene.room, 1).await?, ["before"]);
    let new = it.successor(&it.scene.alice, json!({})).await?;
    it.bury(&new).await?;
    it.close().await?;
    it.scene.nats.publish("ops.x", "after").await?;
    assert_eq!(it.bodies(&new, 1).await.with_context(|| bridge.logs())?, ["after"]);
    assert_eq!(it.bodies(&it.scene.room, 1).await?, ["before"]);
    Ok(())
}

#[tokio::test]
async fn a_replacement_that_does_not_let_the_bridge_in_is_waited_for() -> Result<()> {
    let it = Upgrade::new().await?;
    let mut bridge = it.scene.start(&it.config())?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    let new = it.successor(&it.scene.alice, json!({ "invite": [] })).await?;
    it.bury(&new).await?;
    it.scene.nats.publish("ops.x", "waits").await?;
    let said = pages.wait_for("not-in-room").await?;
    let reason = said["reasons"][0].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains(&format!("was replaced by {new}")), "{said}");
    assert!(reason.contains(&format!("invite {}", it.scene.bot.user_id)), "{said}");
    let output = it.scene.run(&it.config(), &["check"])?;
    let text = printed(&output);
    assert!(text.contains(&format!("was replaced by {new}")), "{text}");
    it.scene.alice.invite(&new, &it.scene.bot.user_id).await?;
    assert_eq!(it.bodies(&new, 1).await.with_context(|| bridge.logs())?, ["waits"]);
    pages.wait_for("connected").await?;
    Ok(())
}

/// Nothing is posted into a room that a stranger has made, that does not name the room before, or that leads back.
#[tokio::test]
async fn a_replacement_that_is_not_meant_is_refused() -> Result<()> {
    let it = Upgrade::new().await?;
    let mallory = shared_homeserver().await?.account("alice").await?;
    let mut bridge = it.scene.start(&it.config())?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    let stranger = it.successor(&mallory, json!({})).await?;
    let silent = it.successor(&it.scene.alice, json!({ "creation_content": {} })).await?;
    let circle = it.successor(&it.scene.alice, json!({})).await?;
    let back = json!({ "body": "replaced", "replacement_room": it.scene.room });
    it.scene.alice.set_state(&circle, "m.room.tombstone", "", back).await?;
    for (room, words) in [
        (&stranger, format!("was made by {}", mallory.user_id)),
        (&silent, "does not say that it replaces".to_owned()),
        (&circle, "does not come to an end".to_owned()),
    ] {
        it.bury(room).await?;
        it.scene.nats.publish("ops.x", "secret").await?;
        let begun = tokio::time::Instant::now();
        loop {
            let said = pages.wait_for("route-refused").await?;
            if said["reasons"][0].as_str().is_some_and(|reason| reason.contains(&words)) {
                break;
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "never {words}: {said}");
            sleep(Duration::from_millis(200)).await;
        }
    }
    assert!(mallory.messages(&stranger).await?.is_empty());
    assert!(it.scene.alice.messages(&silent).await?.is_empty());
    assert!(it.scene.alice.messages(&it.scene.room).await?.is_empty());
    // A room that is meant after all is followed.
    let new = it.successor(&it.scene.alice, json!({})).await?;
    it.bury(&new).await?;
    assert_eq!(it.bodies(&new, 3).await.with_context(|| bridge.logs())?, ["secret"; 3]);
    Ok(())
}

/// The alias is led to another room, of somebody else, without a word in the first one.
#[tokio::test]
async fn an_alias_that_somebody_else_has_taken_is_not_followed_until_that_is_confirmed()
-> Result<()> {
    let it = Upgrade::new().await?;
    let mallory = shared_homeserver().await?.account("alice").await?;
    let mut bridge = it.scene.start(&it.config())?;
    let pages = Pages::of(&mut bridge).await?;
    it.scene.nats.publish("ops.x", "before").await?;
    assert_eq!(it.bodies(&it.scene.room, 1).await?, ["before"]);
    let other = it.successor(&mallory, json!({})).await?;
    it.scene.alice.join(&other).await?;
    it.lead_to(&mallory, &other).await?;
    let said = pages.wait_for("route-refused").await?;
    let file = it.scene.dir.path().join("state/rooms.OPS.reports.json");
    let reason = said["reasons"][0].as_str().unwrap_or_default().to_owned();
    for words in [&mallory.user_id, &other, &it.scene.room, "rooms.OPS.reports.json", "confirm"] {
        assert!(reason.contains(words), "no {words} in {said}");
    }
    bridge.kill();

    // So it is after a restart.
    it.scene.nats.publish("ops.x", "secret").await?;
    let mut bridge = it.scene.start(&it.config())?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("route-refused").await?;
    let output = it.scene.run(&it.config(), &["check"])?;
    let text = printed(&output);
    assert!(text.contains("rooms.OPS.reports.json"), "{text}");
    assert!(mallory.messages(&other).await?.is_empty());
    std::fs::remove_file(&file)?;
    assert_eq!(it.bodies(&other, 1).await.with_context(|| bridge.logs())?, ["secret"]);
    pages.wait_for("connected").await?;
    Ok(())
}

/// A moderator can move the alias to any other room of the same people. Only these can have that room name the alias.
#[tokio::test]
async fn an_alias_that_its_own_people_lead_elsewhere_is_followed() -> Result<()> {
    let it = Upgrade::new().await?;
    let mut bridge = it.scene.start(&it.config())?;
    let pages = Pages::of(&mut bridge).await?;
    it.scene.nats.publish("ops.x", "before").await?;
    assert_eq!(it.bodies(&it.scene.room, 1).await?, ["before"]);
    let alice = &it.scene.alice;
    let second = it.successor(alice, json!({ "creation_content": {} })).await?;
    it.lead_to(alice, &second).await?;
    pages.wait_for("route-refused").await?;
    it.scene.nats.publish("ops.x", "after").await?;
    let own = json!({ "alias": it.alias });
    alice.set_state(&second, "m.room.canonical_alias", "", own).await?;
    assert_eq!(it.bodies(&second, 1).await.with_context(|| bridge.logs())?, ["after"]);
    Ok(())
}

#[tokio::test]
async fn an_alias_that_is_removed_does_not_become_another_room() -> Result<()> {
    let it = Upgrade::new().await?;
    let bridge = it.scene.start(&it.config())?;
    it.scene.nats.publish("ops.x", "before").await?;
    assert_eq!(it.bodies(&it.scene.room, 1).await?, ["before"]);
    bridge.kill();
    it.scene.alice.remove_alias(&it.alias).await?;
    let bridge = it.scene.start(&it.config())?;
    it.scene.nats.publish("ops.x", "after").await?;
    let shown = it.bodies(&it.scene.room, 2).await.with_context(|| bridge.logs())?;
    assert_eq!(shown, ["before", "after"]);
    assert_eq!(it.scene.alice.resolve_alias(&it.alias).await?, None);
    Ok(())
}

/// In a route with many rooms a replacement has to be made by somebody who may make rooms for it.
#[tokio::test]
async fn one_room_of_many_is_followed_to_a_room_of_its_creators_alone() -> Result<()> {
    let it = Upgrade::new().await?;
    let alice = &it.scene.alice;
    let stranger = shared_homeserver().await?.account("alice").await?;
    let fallback = another_room(&it.scene, json!({})).await?;
    let bridge = it.scene.start(&it.many(&fallback))?;
    it.scene.nats.publish("ops.x", "before").await?;
    assert_eq!(it.bodies(&it.scene.room, 1).await?, ["before"]);
    let theirs = it.successor(&stranger, json!({})).await?;
    it.bury(&theirs).await?;
    // The state of the room that was read is used for a while.
    sleep(Duration::from_secs(4)).await;
    it.scene.nats.publish("ops.x", "secret").await?;
    assert_eq!(it.bodies(&fallback, 1).await.with_context(|| bridge.logs())?, ["secret"]);
    assert!(stranger.messages(&theirs).await?.is_empty());
    bridge.kill();
    let new = it.successor(alice, json!({})).await?;
    it.bury(&new).await?;
    let bridge = it.scene.start(&it.many(&fallback))?;
    it.scene.nats.publish("ops.x", "after").await?;
    assert_eq!(it.bodies(&new, 1).await.with_context(|| bridge.logs())?, ["after"]);
    Ok(())
}
