//! Several bridges with the same routes, of which one posts and the others stand by.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::pull;
use futures_util::StreamExt;
use nats_matrix_testbed::{BridgeProcess, Fault, FaultKind, ScratchDir};
use tokio::time::sleep;

use crate::scene::{BINARY, Config, PATIENCE, Scene, read_numbered, through_proxy};

/// The time in which a bridge that was killed or frozen is certainly noticed.
pub(crate) const NOTICED: Duration = Duration::from_secs(40);

/// A bridge on a machine of its own.
pub(crate) struct Machine {
    pub(crate) bridge: BridgeProcess,
    _dir: ScratchDir,
}

impl Machine {
    pub(crate) fn start(config: &Config) -> Result<Self> {
        let dir = ScratchDir::new("machine")?;
        let bridge = BridgeProcess::spawn(BINARY, &config.toml(), dir.path())?;
        Ok(Self { bridge, _dir: dir })
    }

    async fn stop(mut self) -> Result<()> {
        self.bridge.terminate()?;
        assert_eq!(self.bridge.wait(PATIENCE).await?, 0, "{}", self.bridge.logs());
        Ok(())
    }

    pub(crate) async fn stands_by(&mut self) -> Result<()> {
        let line = self.bridge.wait_for_log("standing by: nats-matrix on ", PATIENCE).await?;
        assert!(line.contains("posts the messages of this route"), "{line}");
        Ok(())
    }

    pub(crate) async fn takes_over(&mut self, patience: Duration) -> Result<()> {
        self.bridge.wait_for_log("takes over the messages of this route", patience).await?;
        Ok(())
    }
}

/// Publishes "message `first`" to "message `last`" at a steady rate.
async fn publish_steadily(scene: &Scene, first: usize, last: usize) -> Result<()> {
    for number in first..=last {
        scene.publish_numbered(number, number).await?;
        sleep(Duration::from_millis(40)).await;
    }
    Ok(())
}

#[tokio::test]
async fn of_two_bridges_that_start_together_one_shows_all() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 200).await?;
    let one = Machine::start(&scene.config())?;
    let other = Machine::start(&scene.config())?;
    scene.shows_numbered(200).await?;
    scene.publish_numbered(201, 220).await?;
    scene.shows_numbered(220).await?;
    let stand_by = [&one, &other].map(|it| it.bridge.logs().contains("standing by: "));
    assert_ne!(stand_by[0], stand_by[1], "{}\n{}", one.bridge.logs(), other.bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_second_bridge_stands_by_and_says_so() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 200).await?;
    let one = Machine::start(&scene.config())?;
    let mut reader = scene.reader().await?;
    reader.wait_for(20, PATIENCE).await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut config = scene.config();
    config.routes = format!("[health]\nlisten = \"127.0.0.1:{port}\"\n{}", config.routes);
    let mut other = Machine::start(&config)?;
    other.stands_by().await?;
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await?;
    assert_eq!(answer.status(), 503);
    let text = answer.text().await?;
    assert!(text.contains("\"standing-by\""), "{text}");
    scene.shows_numbered(200).await?;
    one.stop().await?;
    other.takes_over(Duration::from_secs(10)).await?;
    scene.publish_numbered(201, 202).await?;
    scene.shows_numbered(202).await?;
    assert_eq!(reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_rolling_restart_under_load_shows_each_message_once_and_in_order() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    let roll = async {
        let mut present = Machine::start(&config)?;
        present.bridge.wait_for_log("posting into", PATIENCE).await?;
        for _ in 0..3 {
            let mut next = Machine::start(&config)?;
            next.stands_by().await?;
            sleep(Duration::from_secs(1)).await;
            let before = std::mem::replace(&mut present, next);
            before.stop().await?;
            present.takes_over(Duration::from_secs(10)).await?;
        }
        Ok::<_, anyhow::Error>(present)
    };
    let (last, published) = tokio::join!(roll, publish_steadily(&scene, 1, 300));
    let _last = last?;
    published?;
    scene.shows_numbered(300).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_killed_bridge_had_in_hand_is_shown_by_the_one_that_stands_by() -> Result<()> {
    let (scene, proxy, through) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever).after(5));
    scene.publish_numbered(1, 100).await?;
    let one = Machine::start(&through)?;
    proxy.wait_for_requests("/send/", 6, PATIENCE).await?;
    let mut other = Machine::start(&scene.config())?;
    other.stands_by().await?;
    one.bridge.kill();
    other.takes_over(NOTICED).await?;
    scene.shows_numbered(100).await?;
    Ok(())
}

#[tokio::test]
async fn a_frozen_bridge_posts_nothing_when_another_has_taken_over() -> Result<()> {
    let scene = Scene::new().await?;
    let mut one = Machine::start(&scene.config())?;
    one.bridge.wait_for_log("posting into", PATIENCE).await?;
    let mut other = Machine::start(&scene.config())?;
    other.stands_by().await?;
    let freeze = async {
        sleep(Duration::from_secs(2)).await;
        one.bridge.pause()?;
        other.takes_over(NOTICED).await?;
        sleep(Duration::from_secs(3)).await;
        one.bridge.resume()?;
        one.bridge.wait_for_log("another bridge may have taken over", PATIENCE).await?;
        one.stands_by().await
    };
    let (frozen, published) = tokio::join!(freeze, publish_steadily(&scene, 1, 400));
    frozen?;
    published?;
    scene.shows_numbered(400).await?;
    other.stop().await?;
    one.takes_over(Duration::from_secs(10)).await?;
    scene.publish_numbered(401, 402).await?;
    scene.shows_numbered(402).await?;
    Ok(())
}

#[tokio::test]
async fn a_bridge_that_is_killed_and_started_again_goes_on_at_once() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    scene.publish_numbered(1, 2).await?;
    scene.shows_numbered(2).await?;
    bridge.kill();
    scene.publish_numbered(3, 4).await?;
    let bridge = scene.start(&scene.config())?;
    scene.shows_numbered(4).await?;
    assert!(!bridge.logs().contains("standing by"), "{}", bridge.logs());
    Ok(())
}

/// A bridge of an earlier version claims nothing, but reads from the consumer.
#[tokio::test]
async fn a_program_that_reads_from_the_consumer_is_noticed() -> Result<()> {
    let scene = Scene::new().await?;
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    let consumer = pull::Config {
        durable_name: Some("reports".to_owned()),
        filter_subject: "ops.>".to_owned(),
        ..pull::Config::default()
    };
    let mut messages = stream.create_consumer(consumer).await?.messages().await?;
    let reads = tokio::spawn(async move { messages.next().await.is_some() });
    let mut machine = Machine::start(&scene.config())?;
    let said = "standing by: a program that reads from durable consumer reports";
    machine.bridge.wait_for_log(said, PATIENCE).await?;
    reads.abort();
    machine.bridge.wait_for_log("no longer standing by", NOTICED).await?;
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await
}

#[tokio::test]
async fn a_state_directory_is_used_by_one_process() -> Result<()> {
    let scene = Scene::new().await?;
    let mut one = scene.start(&scene.config())?;
    one.wait_for_log("posting into", PATIENCE).await?;
    let state = scene.dir.path().join("state");
    let mut config = scene.config();
    let own = config.matrix.replace("\"state\"", &format!("\"{}\"", state.display()));
    assert_ne!(own, config.matrix);
    config.matrix = own;
    let mut other = Machine::start(&config)?;
    let holder = format!("is in use by another nats-matrix run (process {})", one.pid());
    other.bridge.wait_for_log(&holder, PATIENCE).await?;
    assert_eq!(other.bridge.wait(PATIENCE).await?, 69, "{}", other.bridge.logs());
    let said = "stop that one, or give this one a state_dir of its own";
    assert!(other.bridge.logs().contains(said), "{}", other.bridge.logs());
    let mut next = Machine::start(&config)?;
    next.bridge.wait_for_log("waiting up to 15s for it to end", PATIENCE).await?;
    one.terminate()?;
    assert_eq!(one.wait(PATIENCE).await?, 0);
    scene.publish_numbered(1, 2).await?;
    next.bridge.wait_for_log("posting into", PATIENCE).await?;
    read_numbered(&mut scene.reader().await.context("no reader")?, 2).await
}
