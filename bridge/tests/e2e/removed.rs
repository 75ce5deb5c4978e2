//! Messages that a stream removes before they are read: the room is told once how many there were.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use async_nats::jetstream::stream::{Config as StreamConfig, Stream};
use nats_matrix_testbed::{BridgeProcess, Event};
use tokio::time::{Instant, sleep};

use crate::{
    health::{Pages, listening},
    scene::{Config, PATIENCE, Scene, read_all},
};

const REMOVED: &str = "before they could be read";

impl Scene {
    async fn stream(&self) -> Result<Stream> {
        Ok(self.nats.jetstream().await?.get_stream("OPS").await?)
    }

    /// Changes the configuration of the stream.
    async fn limit(&self, limit: impl FnOnce(&mut StreamConfig)) -> Result<()> {
        let jetstream = self.nats.jetstream().await?;
        let mut config = self.stream().await?.cached_info().config.clone();
        limit(&mut config);
        jetstream.update_stream(config).await?;
        Ok(())
    }

    /// Starts the bridge, lets it show "message 1" to "message `count`", and kills it.
    async fn show_and_kill(&self, config: &Config, count: usize) -> Result<()> {
        let bridge = self.start(config)?;
        self.publish_numbered(1, count).await?;
        read_all(&mut self.reader().await?, count).await?;
        self.acknowledged(count as u64).await?;
        bridge.kill();
        Ok(())
    }

    /// Waits until the first messages up to `sequence` are acknowledged.
    pub(crate) async fn acknowledged(&self, sequence: u64) -> Result<()> {
        let begun = Instant::now();
        loop {
            let floor = self.consumer().await.map(|info| info.ack_floor.stream_sequence);
            if floor.is_ok_and(|floor| floor >= sequence) {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "not acknowledged up to {sequence}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn notices(events: &[Event]) -> Vec<&str> {
    let bodies = events.iter().map(Event::said);
    bodies.filter(|body| body.contains(REMOVED)).collect()
}

/// Asserts that the room shows one notice with these words, before the message that ends with `next`.
#[track_caller]
fn assert_told(events: &[Event], words: &str, next: &str) {
    let bodies: Vec<_> = events.iter().map(Event::said).collect();
    assert_eq!(notices(events).len(), 1, "{bodies:#?}");
    let at = bodies.iter().position(|body| body.contains(REMOVED)).unwrap();
    assert!(bodies[at].starts_with("🤖 ") && bodies[at].contains(words), "{}", bodies[at]);
    assert_eq!(bodies.get(at + 1), Some(&next), "{bodies:#?}");
}

#[tokio::test]
async fn what_a_full_stream_has_dropped_is_told_once_over_kills() -> Result<()> {
    let scene = Scene::new().await?;
    let config = listening(scene.config());
    scene.show_and_kill(&config, 5).await?;
    scene.limit(|config| config.max_messages = 10).await?;
    scene.publish_numbered(6, 52).await?;
    let mut bridge = scene.start(&config)?;
    let line = bridge.wait_for_log(REMOVED, PATIENCE).await?;
    assert!(line.contains("37 messages (sequence 6 to 42, from "), "{line}");
    assert!(!line.contains("up to") && line.contains("nats stream edit OPS"), "{line}");
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 5 + 1 + 10).await?;
    assert_told(&events, "37 messages (sequence 6 to 42, from ", "message 43");
    let pages = Pages::of(&mut bridge).await?;
    let ready = pages.wait_for("connected").await?;
    assert_eq!(ready["routes"]["reports"]["removed_unread"]["count"], 37, "{ready}");
    let counted = pages.number(r#"nats_matrix_removed_unread_total{route="reports"}"#).await?;
    assert!((counted - 37.0).abs() < 0.5, "{counted}");
    let (_, page) = pages.get("").await?;
    assert!(page.contains("<dt>removed unread</dt><dd class=\"bad\">up to 37"), "{page}");
    bridge.kill();
    // The next process finds the same numbers missing, and knows of them.
    let bridge = scene.start(&config)?;
    scene.publish_numbered(53, 54).await?;
    let events = read_all(&mut reader, 5 + 1 + 10 + 2).await?;
    assert_told(&events, "37 messages", "message 43");
    assert!(!bridge.logs().contains(REMOVED), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn what_expires_while_the_room_is_closed_is_told_when_it_opens() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 3).await?;
    let mut reader = scene.reader().await?;
    read_all(&mut reader, 3).await?;
    scene.acknowledged(3).await?;
    scene.alice.kick(&scene.room, &scene.bot.user_id).await?;
    scene.publish_numbered(4, 403).await?;
    sleep(Duration::from_secs(4)).await;
    // Messages that the bridge holds are not lost, whatever the stream does.
    scene
        .limit(|config| {
            config.max_age = Duration::from_secs(1);
            config.duplicate_window = Duration::from_secs(1);
        })
        .await?;
    let mut bridge = bridge;
    let line = bridge.wait_for_log(REMOVED, PATIENCE).await?;
    scene.limit(|config| config.max_age = Duration::ZERO).await?;
    scene.alice.invite(&scene.room, &scene.bot.user_id).await?;
    scene.nats.publish("ops.text", "message 404").await?;
    let shown = |events: &[Event]| events.last().is_some_and(|event| event.said() == "message 404");
    let events = reader.wait_until(shown, PATIENCE).await?;
    // The stream may remove some, deliver others, and remove the rest.
    let number =
        |event: &Event| event.body().strip_prefix("message ")?.lines().next()?.parse().ok();
    let seen: BTreeSet<u64> = events.iter().filter_map(number).collect();
    let lost: Vec<u64> = (4..=403).filter(|number| !seen.contains(number)).collect();
    assert!((260..400).contains(&lost.len()), "{seen:?}");
    let range = |lost: &[u64]| format!("(sequence {} to {}", lost[0], lost[lost.len() - 1]);
    let words = format!("{} messages {}", lost.len(), range(&lost));
    assert_told(events, &words, "message 404");
    let logs = bridge.logs();
    assert!(line.contains(&format!("(sequence {} to ", lost[0])), "{line}: {words}");
    let said = logs.lines().filter(|line| line.contains(REMOVED));
    let counts = said.filter_map(|line| {
        let (before, _) = line.split_once(" messages (sequence")?;
        before.rsplit(' ').next()?.parse::<usize>().ok()
    });
    assert_eq!(counts.sum::<usize>(), lost.len(), "{logs}");
    Ok(())
}

#[tokio::test]
async fn what_is_purged_is_told_by_the_next_check() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let config = scene.config();
    scene.show_and_kill(&config, 2).await?;
    scene.publish_numbered(3, 22).await?;
    scene.stream().await?.purge().await?;
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 3).await?;
    assert_eq!(notices(&events).len(), 1, "{events:#?}");
    assert!(events[2].body().contains("20 messages (sequence 3 to 22"), "{}", events[2].body());
    Ok(())
}

#[tokio::test]
async fn what_newer_messages_on_a_subject_replace_is_told() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    scene.limit(|config| config.max_messages_per_subject = 2).await?;
    let bridge = scene.start(&config)?;
    scene.nats.publish("ops.a", "message 1").await?;
    let mut reader = scene.reader().await?;
    read_all(&mut reader, 1).await?;
    scene.acknowledged(1).await?;
    bridge.kill();
    scene.nats.publish("ops.b", "message 2").await?;
    for number in 3..=12 {
        scene.nats.publish("ops.a", format!("message {number}")).await?;
    }
    let bridge = scene.start(&config)?;
    let events = read_all(&mut reader, 1 + 1 + 1 + 2).await?;
    assert_told(&events, "8 messages (sequence 3 to 10", "message 11");
    bridge.kill();
    Ok(())
}

#[tokio::test]
async fn what_has_gone_with_its_stream_is_told() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 2).await?;
    let mut reader = scene.reader().await?;
    read_all(&mut reader, 2).await?;
    scene.acknowledged(2).await?;
    scene.alice.kick(&scene.room, &scene.bot.user_id).await?;
    scene.publish_numbered(3, 152).await?;
    // The bridge looks at the stream every 15 s of its own time.
    sleep(Duration::from_secs(6)).await;
    bridge.kill();
    scene.nats.delete_stream("OPS").await?;
    scene.nats.create_stream("OPS", &["ops.>"]).await?;
    scene.nats.publish("ops.text", "message 153").await?;
    scene.alice.invite(&scene.room, &scene.bot.user_id).await?;
    let _bridge = scene.start(&scene.config())?;
    let events = read_all(&mut reader, 4).await?;
    assert_told(&events, "150 messages (sequence 3 to 152", "message 153");
    Ok(())
}

/// A loss of another route of the stream is none of this one's business.
#[tokio::test]
async fn what_others_lose_and_what_was_shown_raises_no_alarm() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let config = scene.config_for("ops.alert.>", &scene.room);
    let publish = async |subject: &str, first: usize, last: usize| {
        let texts = (first..=last).map(|number| format!("message {number}"));
        scene.nats.publish_many(subject, texts).await
    };
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    publish("ops.alert.text", 1, 5).await?;
    read_all(&mut reader, 5).await?;
    scene.limit(|config| config.max_messages = 120).await?;
    for round in 0..8 {
        publish("ops.other", 1, 50).await?;
        sleep(Duration::from_secs(3)).await;
        if round == 4 {
            bridge.kill();
            bridge = scene.start(&config)?;
        }
    }
    publish("ops.alert.text", 6, 7).await?;
    let events = read_all(&mut reader, 7).await?;
    assert_eq!(events.len(), 7, "{:?} {}", notices(&events), bridge.logs());
    assert!(!bridge.logs().contains(REMOVED), "{}", bridge.logs());
    Ok(())
}

/// The number of messages that are missing in a stream that others share is known from the last look at it.
#[tokio::test]
async fn of_a_shared_stream_only_what_can_be_missing_is_told() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let config = scene.config_for("ops.alert.>", &scene.room);
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    scene.nats.publish("ops.alert.text", "message 1").await?;
    read_all(&mut reader, 1).await?;
    scene.alice.kick(&scene.room, &scene.bot.user_id).await?;
    for number in 2..=201 {
        scene.nats.publish("ops.alert.text", format!("message {number}")).await?;
        scene.nats.publish("ops.other", "of another route").await?;
    }
    // The bridge looks at the stream every 15 s of its own time.
    sleep(Duration::from_secs(6)).await;
    scene.stream().await?.purge().filter("ops.other").await?;
    scene.stream().await?.purge().sequence(302).await?;
    let line = bridge.wait_for_log(REMOVED, PATIENCE).await?;
    scene.alice.invite(&scene.room, &scene.bot.user_id).await?;
    let last = |events: &[Event]| events.iter().any(|event| event.said() == "message 201");
    reader.wait_until(last, PATIENCE).await?;
    let events = reader.settle(Duration::from_secs(3)).await?;
    let shown = events.iter().filter(|event| event.body().starts_with("message ")).count();
    let words = format!("up to {} messages", 201 - shown);
    assert!(line.contains(&words), "{line}: {words}");
    let told = notices(events);
    assert!(told.len() == 1 && told[0].contains(&words), "{told:?}: {words}");
    Ok(())
}

/// A stream under constant pressure does not flood the room.
#[tokio::test]
async fn what_goes_on_being_removed_is_told_once_an_hour() -> Result<()> {
    let (scene, clock) = Scene::new().await?.with_clock()?;
    let config = scene.config();
    scene.show_and_kill(&config, 1).await?;
    scene.limit(|config| config.max_messages = 1).await?;
    let mut reader = scene.reader().await?;
    for round in 1..=3 {
        scene.publish_numbered(10 * round, 10 * round + 9).await?;
        let bridge = scene.start(&config)?;
        let last = format!("message {}", 10 * round + 9);
        let is_last = |events: &[Event]| events.iter().any(|event| event.said() == last);
        reader.wait_until(is_last, PATIENCE).await?;
        scene.acknowledged(1 + 10 * round as u64).await?;
        bridge.kill();
    }
    assert_eq!(notices(reader.settle(Duration::from_secs(1)).await?).len(), 1);
    clock.set(2 * 60 * 60)?;
    let bridge: BridgeProcess = scene.start(&config)?;
    let two = |events: &[Event]| notices(events).len() == 2;
    let events = reader.wait_until(two, PATIENCE).await?;
    assert!(notices(events)[0].contains("9 messages"), "{:?}", notices(events));
    assert!(notices(events)[1].contains("18 messages"), "{:?}", notices(events));
    drop(bridge);
    Ok(())
}
