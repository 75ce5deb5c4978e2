//! Answers that are longer than there is memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nats_matrix_testbed::BridgeProcess;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    front::{Answers, Front},
    scene::{Config, PATIENCE, Scene, assert_each_once_in_order, read_all, read_numbered},
};

/// The most memory in kB that the bridge may take for an answer.
const MOST_KB: u64 = 8 * 1024;

async fn behind_front(scene: &Scene) -> Result<(Front, Config)> {
    let front = Front::start(&scene.bot.homeserver).await?;
    let config = Config::new(&scene.nats.url(), &front.url(), &scene.bot);
    Ok((front, config.route("reports", "ops.>", &scene.room)))
}

/// The most memory that the bridge has had, in kB.
fn peak(bridge: &BridgeProcess) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bridge.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmHWM")?.parse()?)
}

/// Waits until the bridge has said so many times that an answer is too long.
async fn wait_until_said(bridge: &BridgeProcess, times: usize) -> Result<()> {
    let begun = Instant::now();
    while bridge.logs().matches("answers with more than 1 MiB").count() < times {
        ensure!(begun.elapsed() < PATIENCE, "{}", bridge.logs());
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_it() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let (front, config) = behind_front(&scene).await?;
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    scene.publish_numbered(1, 1).await?;
    reader.wait_for(1, PATIENCE).await?;
    let before = peak(&bridge)?;
    for (number, answers) in [(2, Answers::Endless), (3, Answers::Huge)] {
        front.set(answers);
        scene.publish_numbered(number, number).await?;
        wait_until_said(&bridge, number - 1).await?;
        assert!(bridge.logs().contains("is matrix.homeserver the address of a homeserver?"));
        front.set(Answers::Honest);
        reader.wait_for(number, PATIENCE).await?;
    }
    front.set(Answers::Slow);
    scene.publish_numbered(4, 4).await?;
    sleep(Duration::from_secs(3)).await;
    let most = peak(&bridge)? - before;
    assert!(most < MOST_KB, "{most} kB more");
    assert!(bridge.is_running()?);
    // A request that gets no answer is given up after a minute.
    front.set(Answers::Honest);
    read_numbered(&mut reader, 4).await?;
    assert_eq!(bridge.logs().matches("answers with more than 1 MiB").count(), 2);
    Ok(())
}

/// Anybody in a room can write events of 64 kB, and what the bridge has posted is found behind them.
#[tokio::test]
async fn pages_of_huge_events_are_read_in_smaller_ones() -> Result<()> {
    let scene = Scene::new().await?;
    let (front, config) = behind_front(&scene).await?;
    let mut reader = scene.reader().await?;
    let bridge = scene.start(&config)?;
    scene.publish_numbered(1, 2).await?;
    reader.wait_for(2, PATIENCE).await?;
    bridge.kill();
    front.set(Answers::HugeEvents);
    let (asked, before) = (front.asked("/messages?").len(), scene.start(&config)?);
    scene.publish_numbered(3, 3).await?;
    read_numbered(&mut reader, 3).await?;
    let asked = &front.asked("/messages?")[asked..];
    for limit in [100, 50, 25, 12] {
        let limit = format!("limit={limit}");
        assert!(asked.iter().any(|line| line.contains(&limit)), "{limit} of {asked:#?}");
    }
    assert!(!before.logs().contains("answers with more than"), "{}", before.logs());
    Ok(())
}

/// The same with a homeserver that may not heed the filter.
#[tokio::test]
async fn a_member_who_floods_the_room_stops_nothing() -> Result<()> {
    let scene = Scene::new().await?;
    let mut reader = scene.reader().await?;
    let bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 2).await?;
    reader.wait_for(2, PATIENCE).await?;
    bridge.kill();
    for number in 0..40 {
        let content = json!({ "msgtype": "m.text", "body": "x".repeat(60_000) });
        scene.alice.send(&scene.room, "m.room.message", &format!("huge{number}"), content).await?;
    }
    let bridge = scene.start(&scene.config())?;
    scene.publish_numbered(3, 3).await?;
    let events = read_all(&mut reader, 43).await?;
    let ours: Vec<_> = events.into_iter().filter(|it| it.sender == scene.bot.user_id).collect();
    assert_each_once_in_order(&ours, 3);
    assert!(!bridge.logs().contains("answers with more than"), "{}", bridge.logs());
    Ok(())
}
