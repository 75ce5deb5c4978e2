//! Changes of the configuration while messages wait: the configuration under which they waited decides about them.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::{
    consumer::DeliverPolicy,
    stream::{Config as StreamConfig, RetentionPolicy},
};
use nats_matrix_testbed::{BridgeProcess, Event, Reader, StreamBackup};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    health::{Pages, listening},
    quiet,
    reload::Running,
    scene::{Config, PATIENCE, Scene, printed, read_all},
};

/// The number of messages that wait.
const BACKLOG: usize = 20;

/// The number of messages that are left for a removed route.
const LEFT: &str = "nats_matrix_pending{route=\"reports:draining\"}";

/// How the bridge gets another configuration while messages wait.
#[derive(Debug, Clone, Copy)]
enum By {
    /// The rooms are closed, and the bridge gets SIGHUP.
    Hangup,
    /// The bridge is away.
    Restart,
}

/// A scene with a second room.
struct Two {
    scene: Scene,
    second: String,
    in_first: Reader,
    in_second: Reader,
}

impl Two {
    async fn new() -> Result<Self> {
        let scene = Scene::new().await?;
        let room = json!({ "preset": "private_chat", "invite": [scene.bot.user_id] });
        let second = scene.alice.create_room(room).await?;
        let (in_first, in_second) = (scene.reader().await?, scene.alice.reader(&second).await?);
        Ok(Self { scene, second, in_first, in_second })
    }

    fn config(&self) -> Config {
        listening(Config::new(&self.scene.nats.url(), &self.scene.bot.homeserver, &self.scene.bot))
    }

    /// A configuration with `reports` for the first room and `more` for the second.
    fn both(&self, reports: &str, more: &str) -> Config {
        self.config().route("reports", reports, &self.scene.room).route("more", more, &self.second)
    }

    async fn publish(
        &self,
        subject: &str,
        what: &str,
        numbers: std::ops::Range<usize>,
    ) -> Result<()> {
        let texts = numbers.map(|number| format!("{what} {number}"));
        self.scene.nats.publish_many(subject, texts).await?;
        Ok(())
    }

    async fn close(&self, rooms: &[&str]) -> Result<()> {
        for room in rooms {
            self.scene.alice.kick(room, &self.scene.bot.user_id).await?;
        }
        Ok(())
    }

    async fn open(&self, rooms: &[&str]) -> Result<()> {
        for room in rooms {
            self.scene.alice.invite(room, &self.scene.bot.user_id).await?;
        }
        Ok(())
    }

    /// Starts the bridge and waits until each of its routes has a consumer.
    async fn start(&self, config: &Config, routes: &[&str]) -> Result<Running<'_>> {
        let running = Running::start(&self.scene, config).await?;
        let deadline = Instant::now() + PATIENCE;
        for route in routes {
            while self.consumer(route).await?.is_none() {
                ensure!(Instant::now() < deadline, "no consumer:\n{}", running.bridge.logs());
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(running)
    }

    /// Runs the bridge with a wide `match`, has five messages wait that only that one takes, and narrows it.
    async fn narrowed(&self, narrow: &Config, wide: &Config) -> Result<BridgeProcess> {
        let mut running = self.start(wide, &["reports"]).await?;
        self.close(&[&self.scene.room]).await?;
        self.publish("ops.b", "one", 0..5).await?;
        running.takes(narrow).await?;
        running.bridge.wait_for_log("up to message 5 is decided as before", PATIENCE).await?;
        Ok(running.bridge)
    }

    /// The name of the consumer of a route, if there is one.
    async fn consumer(&self, route: &str) -> Result<Option<String>> {
        self.scene.nats.jetstream().await?.get_stream("OPS").await?;
        let info = self.scene.nats.consumer("OPS", route).await.ok();
        Ok(info.map(|info| info.name))
    }

    async fn wait_until_deleted(&self, route: &str, bridge: &BridgeProcess) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.consumer(route).await?.is_some() {
            ensure!(Instant::now() < deadline, "{route} has a consumer:\n{}", bridge.logs());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Runs the bridge with `before`, lets messages wait that `publish` publishes, and gives the bridge `after`.
    async fn change(
        &self,
        by: By,
        before: (&Config, &[&str]),
        publish: impl AsyncFn() -> Result<()>,
        after: &Config,
    ) -> Result<Running<'_>> {
        let rooms = [self.scene.room.as_str(), &self.second];
        let used: Vec<&str> =
            rooms.into_iter().filter(|room| before.0.routes.contains(room)).collect();
        let mut running = self.start(before.0, before.1).await?;
        let noted = "is decided as before";
        match by {
            By::Hangup => {
                self.close(&used).await?;
                publish().await?;
                running.takes(after).await?;
                running.bridge.wait_for_log(noted, PATIENCE).await?;
                self.open(&used).await?;
                Ok(running)
            }
            By::Restart => {
                running.bridge.terminate()?;
                assert_eq!(running.bridge.wait(PATIENCE).await?, 0, "{}", running.bridge.logs());
                publish().await?;
                let mut running = Running::start(&self.scene, after).await?;
                running.bridge.wait_for_log(noted, PATIENCE).await?;
                Ok(running)
            }
        }
    }

    /// Asserts that the rooms show these texts, each once and in order, and nothing else.
    async fn shows(
        &mut self,
        first: &[String],
        second: &[String],
        running: &BridgeProcess,
    ) -> Result<()> {
        for (reader, expected) in [(&mut self.in_first, first), (&mut self.in_second, second)] {
            let events = read_all(reader, expected.len()).await;
            let events = events.with_context(|| running.logs())?;
            let shown: Vec<&str> = events.iter().map(Event::said).collect();
            assert_eq!(shown, expected, "{}", running.logs());
        }
        Ok(())
    }
}

fn texts(what: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{what} {number}")).collect()
}

async fn a_moved_subject(by: By) -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.both("ops.moves", "ops.stays");
    let mut after = two.both("ops.a", "ops.stays");
    after.routes = after.routes.replace("[\"ops.stays\"]", "[\"ops.stays\", \"ops.moves\"]");
    let change = two.change(
        by,
        (&before, &["reports", "more"]),
        async || two.publish("ops.moves", "old", 0..BACKLOG).await,
        &after,
    );
    let running = change.await?;
    two.publish("ops.moves", "new", 0..3).await?;
    two.publish("ops.a", "a", 0..3).await?;
    let bridge = running.bridge;
    let first = [texts("old", 0..BACKLOG), texts("a", 0..3)].concat();
    two.shows(&first, &texts("new", 0..3), &bridge).await?;
    let narrowed = two.scene.consumer().await?.config;
    assert_eq!(narrowed.filter_subject, "ops.a", "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_subject_that_is_moved_by_a_reload_is_shown_where_it_waited() -> Result<()> {
    a_moved_subject(By::Hangup).await
}

#[tokio::test]
async fn a_subject_that_is_moved_by_a_restart_is_shown_where_it_waited() -> Result<()> {
    a_moved_subject(By::Restart).await
}

async fn a_removed_route(by: By) -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.both("ops.a", "ops.b");
    let after = two.config().route("more", "ops.b", &two.second);
    let change = two.change(
        by,
        (&before, &["reports", "more"]),
        async || two.publish("ops.a", "old", 0..BACKLOG).await,
        &after,
    );
    let mut running = change.await?;
    two.publish("ops.a", "new", 0..3).await?;
    two.publish("ops.b", "b", 0..3).await?;
    let done = "route reports is done with all that waited for it when it was removed";
    running.bridge.wait_for_log(done, PATIENCE).await?;
    let bridge = running.bridge;
    two.wait_until_deleted("reports", &bridge).await?;
    two.shows(&texts("old", 0..BACKLOG), &texts("b", 0..3), &bridge).await
}

#[tokio::test]
async fn a_route_that_is_removed_by_a_reload_shows_what_waits_for_it() -> Result<()> {
    a_removed_route(By::Hangup).await
}

#[tokio::test]
async fn a_route_that_is_removed_by_a_restart_shows_what_waits_for_it() -> Result<()> {
    a_removed_route(By::Restart).await
}

async fn a_narrowed_match(by: By) -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.config().route("reports", "ops.*", &two.scene.room);
    let after = before.clone().lines("match.\"subject.2\" = \"a\"");
    let change = two.change(
        by,
        (&before, &["reports"]),
        async || two.publish("ops.b", "old", 0..BACKLOG).await,
        &after,
    );
    let running = change.await?;
    two.publish("ops.b", "new", 0..3).await?;
    two.publish("ops.a", "a", 0..3).await?;
    let first = [texts("old", 0..BACKLOG), texts("a", 0..3)].concat();
    two.shows(&first, &[], &running.bridge).await
}

#[tokio::test]
async fn a_match_that_is_narrowed_by_a_reload_is_for_what_comes_later() -> Result<()> {
    a_narrowed_match(By::Hangup).await
}

#[tokio::test]
async fn a_match_that_is_narrowed_by_a_restart_is_for_what_comes_later() -> Result<()> {
    a_narrowed_match(By::Restart).await
}

async fn a_widened_match(by: By) -> Result<()> {
    let mut two = Two::new().await?;
    let of = |pattern: &str| {
        let config = two.config().route("reports", "ops.*", &two.scene.room);
        let config = config.lines(&format!("match.\"subject.2\" = \"{pattern}\""));
        config.route("more", "ops.*", &two.second)
    };
    let before = of("a");
    let mut after = before.clone();
    after.routes = after.routes.replace("\"subject.2\" = \"a\"", "\"subject.2\" = [\"a\", \"b\"]");
    let change = two.change(
        by,
        (&before, &["reports", "more"]),
        async || two.publish("ops.b", "old", 0..BACKLOG).await,
        &after,
    );
    let running = change.await?;
    two.publish("ops.b", "new", 0..3).await?;
    let bridge = running.bridge;
    two.shows(&texts("new", 0..3), &texts("old", 0..BACKLOG), &bridge).await
}

#[tokio::test]
async fn a_match_that_is_widened_by_a_reload_takes_nothing_from_others() -> Result<()> {
    a_widened_match(By::Hangup).await
}

#[tokio::test]
async fn a_match_that_is_widened_by_a_restart_takes_nothing_from_others() -> Result<()> {
    a_widened_match(By::Restart).await
}

#[tokio::test]
async fn two_reloads_in_a_row_decide_each_about_its_own() -> Result<()> {
    let mut two = Two::new().await?;
    let here = two.both("ops.x", "ops.other");
    let there = two.both("ops.other", "ops.x");
    let rooms = [two.scene.room.clone(), two.second.clone()];
    let rooms = [rooms[0].as_str(), &rooms[1]];
    let mut running = two.start(&here, &["reports", "more"]).await?;
    two.close(&rooms).await?;
    two.publish("ops.x", "one", 0..5).await?;
    running.takes(&there).await?;
    // A configuration that was never in force decides about nothing.
    running.bridge.wait_for_log("up to message 5 is decided as before", PATIENCE).await?;
    two.publish("ops.x", "two", 0..5).await?;
    running.takes(&here).await?;
    running.bridge.wait_for_log("up to message 10 is decided as before", PATIENCE).await?;
    two.publish("ops.x", "three", 0..5).await?;
    running.bridge.kill();
    // The history is kept over a kill.
    let mut running = two.scene.start(&there)?;
    running.wait_for_log("up to message 15 is decided as before", PATIENCE).await?;
    two.open(&rooms).await?;
    two.publish("ops.x", "four", 0..5).await?;
    let first = [texts("one", 0..5), texts("three", 0..5)].concat();
    let second = [texts("two", 0..5), texts("four", 0..5)].concat();
    two.shows(&first, &second, &running).await
}

/// Runs the bridge with a narrow `match`, closes the room, and has the bridge widen the `match` while it cannot write its
/// history. Five messages wait then that only the wide one takes. Returns what stands in the way of the file, too.
async fn widened_unwritten<'a>(
    two: &'a Two,
    narrow: &Config,
    wide: &Config,
) -> Result<(Running<'a>, PathBuf)> {
    let mut running = two.start(narrow, &["reports"]).await?;
    two.close(&[&two.scene.room]).await?;
    two.publish("ops.a", "a", 0..1).await?;
    let temporary = format!("state/routes.json.{}.tmp", running.bridge.pid());
    let obstacle = two.scene.dir.path().join(temporary);
    fs::create_dir(&obstacle)?;
    running.takes(wide).await?;
    running.bridge.wait_for_log("matrix.state_dir: cannot write", PATIENCE).await?;
    running.bridge.wait_for_log("up to message 1 is decided as before", PATIENCE).await?;
    two.publish("ops.b", "b", 0..5).await?;
    Ok((running, obstacle))
}

fn narrow_and_wide(two: &Two) -> (Config, Config) {
    let wide = two.config().route("reports", "ops.*", &two.scene.room);
    (wide.clone().lines("match.\"subject.2\" = \"a\""), wide)
}

#[tokio::test]
async fn a_reload_knows_of_a_change_that_could_not_be_written() -> Result<()> {
    let mut two = Two::new().await?;
    let (narrow, wide) = narrow_and_wide(&two);
    let (mut running, _obstacle) = widened_unwritten(&two, &narrow, &wide).await?;
    running.takes(&wide).await?;
    two.open(&[&two.scene.room]).await?;
    two.publish("ops.b", "c", 0..1).await?;
    let first = [texts("a", 0..1), texts("b", 0..5), texts("c", 0..1)].concat();
    let bridge = running.bridge;
    two.shows(&first, &[], &bridge).await
}

#[tokio::test]
async fn a_change_that_could_not_be_written_is_written_later() -> Result<()> {
    let mut two = Two::new().await?;
    let (narrow, wide) = narrow_and_wide(&two);
    let (mut running, obstacle) = widened_unwritten(&two, &narrow, &wide).await?;
    fs::remove_dir(&obstacle)?;
    running.bridge.wait_for_log("routes.json is written again", PATIENCE).await?;
    running.bridge.kill();
    let mut bridge = two.scene.start(&narrow)?;
    bridge.wait_for_log("up to message 6 is decided as before", PATIENCE).await?;
    two.open(&[&two.scene.room]).await?;
    two.publish("ops.b", "not shown", 0..1).await?;
    two.publish("ops.a", "c", 0..1).await?;
    let first = [texts("a", 0..1), texts("b", 0..5), texts("c", 0..1)].concat();
    two.shows(&first, &[], &bridge).await
}

/// A consumer that somebody deletes between two changes is no sign that its route was removed meanwhile.
#[tokio::test]
async fn a_consumer_that_is_deleted_between_two_changes_leaves_nothing_out() -> Result<()> {
    let mut two = Two::new().await?;
    let (narrow, wide) = narrow_and_wide(&two);
    two.narrowed(&narrow, &wide).await?.kill();
    two.publish("ops.a", "two", 0..5).await?;
    let consumer = two.consumer("reports").await?.context("no consumer")?;
    let stream = two.scene.nats.jetstream().await?.get_stream("OPS").await?;
    stream.delete_consumer(&consumer).await?;
    let mut bridge = two.scene.start(&wide)?;
    bridge.wait_for_log("up to message 10 is decided as before", PATIENCE).await?;
    two.open(&[&two.scene.room]).await?;
    bridge.wait_for_log("made durable consumer", PATIENCE).await?;
    // Otherwise only what the bridge keeps besides would have it read what is left out.
    let made = two.scene.consumer().await?.config.deliver_policy;
    assert_eq!(made, DeliverPolicy::All, "{}", bridge.logs());
    two.publish("ops.b", "three", 0..5).await?;
    let first = [texts("one", 0..5), texts("two", 0..5), texts("three", 0..5)].concat();
    two.shows(&first, &[], &bridge).await
}

/// Nobody knows then whether the route is new, so it shows what it takes by either configuration.
#[tokio::test]
async fn a_consumer_that_is_deleted_before_a_change_leaves_nothing_out() -> Result<()> {
    let mut two = Two::new().await?;
    let (narrow, wide) = narrow_and_wide(&two);
    let bridge = two.start(&wide, &["reports"]).await?.bridge;
    two.publish("ops.a", "old", 0..1).await?;
    two.shows(&texts("old", 0..1), &[], &bridge).await?;
    bridge.kill();
    two.publish("ops.b", "waits", 0..3).await?;
    let consumer = two.consumer("reports").await?.context("no consumer")?;
    two.scene.nats.jetstream().await?.get_stream("OPS").await?.delete_consumer(&consumer).await?;
    let mut bridge = two.scene.start(&narrow)?;
    bridge.wait_for_log("made durable consumer", PATIENCE).await?;
    two.publish("ops.b", "not shown", 0..1).await?;
    two.publish("ops.a", "new", 0..1).await?;
    let first = [texts("old", 0..1), texts("waits", 0..3), texts("new", 0..1)].concat();
    two.shows(&first, &[], &bridge).await
}

/// A restored stream is another one for NATS, and the same messages wait in it.
#[tokio::test]
async fn what_waits_is_decided_as_before_also_after_the_stream_was_restored() -> Result<()> {
    for by in [By::Hangup, By::Restart] {
        let mut two = Two::new().await?;
        let (narrow, wide) = narrow_and_wide(&two);
        let bridge = two.narrowed(&narrow, &wide).await?;
        let client = two.scene.nats.client().await?;
        let backup = StreamBackup::with_consumers(&client, "OPS").await?;
        let replace = async || -> Result<()> {
            two.scene.nats.delete_stream("OPS").await?;
            backup.restore(&client).await
        };
        let bridge = match by {
            By::Restart => {
                bridge.kill();
                replace().await?;
                two.scene.start(&narrow)?
            }
            By::Hangup => {
                replace().await?;
                bridge
            }
        };
        two.publish("ops.b", "not shown", 0..1).await?;
        two.publish("ops.a", "two", 0..1).await?;
        two.open(&[&two.scene.room]).await?;
        let first = [texts("one", 0..5), texts("two", 0..1)].concat();
        two.shows(&first, &[], &bridge).await.with_context(|| format!("{by:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_renamed_route_shows_what_waited_once() -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.config().route("reports", "ops.a", &two.scene.room);
    let after = two.config().route("renamed", "ops.a", &two.scene.room).lines("start = \"new\"");
    let change = two.change(
        By::Restart,
        (&before, &["reports"]),
        async || two.publish("ops.a", "old", 0..BACKLOG).await,
        &after,
    );
    let running = change.await?;
    two.wait_until_deleted("reports", &running.bridge).await?;
    two.publish("ops.a", "new", 0..3).await?;
    let first = [texts("old", 0..BACKLOG), texts("new", 0..3)].concat();
    two.shows(&first, &[], &running.bridge).await
}

#[tokio::test]
async fn a_renamed_route_that_keeps_its_consumer_goes_on_with_what_waits() -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.config().route("reports", "ops.a", &two.scene.room);
    let mut running = two.start(&before, &["reports"]).await?;
    let consumer = two.scene.consumer().await?.name;
    running.bridge.terminate()?;
    assert_eq!(running.bridge.wait(PATIENCE).await?, 0, "{}", running.bridge.logs());
    two.publish("ops.a", "old", 0..BACKLOG).await?;
    let after = two.config().route("renamed", "ops.a", &two.scene.room);
    let after = after.lines(&format!("consumer = \"{consumer}\""));
    let bridge = Running::start(&two.scene, &after).await?.bridge;
    two.publish("ops.a", "new", 0..3).await?;
    let first = [texts("old", 0..BACKLOG), texts("new", 0..3)].concat();
    two.shows(&first, &[], &bridge).await?;
    assert_eq!(two.consumer("reports").await?, Some(consumer), "{}", bridge.logs());
    assert!(!bridge.logs().contains("is not in the configuration any more"), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_route_with_another_consumer_shows_what_waited_once() -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.config().route("reports", "ops.*", &two.scene.room);
    let after = two.config().route("reports", "ops.a", &two.scene.room);
    let after = after.lines("consumer = \"mine\"\nstart = \"new\"");
    let change = two.change(
        By::Restart,
        (&before, &["reports"]),
        async || two.publish("ops.b", "old", 0..BACKLOG).await,
        &after,
    );
    let running = change.await?;
    two.publish("ops.b", "not", 0..3).await?;
    two.publish("ops.a", "new", 0..3).await?;
    let first = [texts("old", 0..BACKLOG), texts("new", 0..3)].concat();
    two.shows(&first, &[], &running.bridge).await
}

#[tokio::test]
async fn a_route_that_is_removed_and_comes_back_shows_nothing_twice() -> Result<()> {
    let two = Two::new().await?;
    let mut in_first = two.scene.reader().await?;
    let with = two.both("ops.a", "ops.b");
    let without = two.config().route("more", "ops.b", &two.second);
    let mut running = two.start(&with, &["reports", "more"]).await?;
    two.publish("ops.a", "old", 0..BACKLOG).await?;
    in_first.wait_for(BACKLOG, PATIENCE).await?;
    running.takes(&without).await?;
    two.wait_until_deleted("reports", &running.bridge).await?;
    two.publish("ops.a", "away", 0..3).await?;
    // The room shows it too far behind to be recognised.
    for number in 0..150 {
        let content = json!({ "msgtype": "m.text", "body": "chatter" });
        two.scene
            .alice
            .send(&two.scene.room, "m.room.message", &format!("t{number}"), content)
            .await?;
    }
    running.takes(&with).await?;
    two.publish("ops.a", "new", 0..3).await?;
    let all = read_all(&mut in_first, BACKLOG + 150 + 6).await?;
    let shown: Vec<&str> = all.iter().map(Event::said).filter(|body| *body != "chatter").collect();
    let expected = [texts("old", 0..BACKLOG), texts("away", 0..3), texts("new", 0..3)].concat();
    assert_eq!(shown, expected, "{}", running.bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_removed_route_whose_room_is_closed_waits_and_is_visible() -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.both("ops.a", "ops.b");
    let after = two.config().route("more", "ops.b", &two.second);
    let room = two.scene.room.clone();
    let mut running = two.start(&before, &["reports", "more"]).await?;
    two.close(&[&room]).await?;
    two.publish("ops.a", "old", 0..BACKLOG).await?;
    running.takes(&after).await?;
    let pages = Pages::latest(&running.bridge).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = pages.wait_for("not-in-room").await?;
        assert_eq!(said["routes"]["reports:draining"]["state"], "not-in-room", "{said}");
        let left = pages.number(LEFT).await;
        if left.as_ref().is_ok_and(|left| left.to_string() == "20") {
            break;
        }
        ensure!(Instant::now() < deadline, "{left:?}\n{}", running.bridge.logs());
        sleep(Duration::from_millis(100)).await;
    }
    // The others go on, and what comes later does not count.
    two.publish("ops.a", "new", 0..3).await?;
    two.publish("ops.b", "b", 0..3).await?;
    two.scene.alice.reader(&two.second).await?.wait_for(3, PATIENCE).await?;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(pages.number(LEFT).await?.to_string(), "20");
    let mut checked = after.clone();
    let state = format!("state_dir = \"{}\"", two.scene.dir.path().join("state").display());
    checked.matrix = checked.matrix.replace("state_dir = \"state\"", &state);
    let checked = printed(&two.scene.run(&checked, &["check"])?);
    let line = "route reports is not in the configuration any more, and 20 messages wait for it";
    assert!(checked.contains(line), "{checked}");
    running.bridge.kill();
    let bridge = two.scene.start(&after)?;
    two.open(&[&room]).await?;
    two.wait_until_deleted("reports", &bridge).await?;
    two.shows(&texts("old", 0..BACKLOG), &texts("b", 0..3), &bridge).await
}

#[tokio::test]
async fn a_kill_while_a_removed_route_drains_loses_nothing() -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.both("ops.a", "ops.b");
    let after = two.config().route("more", "ops.b", &two.second);
    let change = two.change(
        By::Restart,
        (&before, &["reports", "more"]),
        async || two.publish("ops.a", "old", 0..100).await,
        &after,
    );
    let mut bridge = change.await?.bridge;
    for some in [1, 20, 50] {
        two.in_first.wait_for(some, PATIENCE).await?;
        bridge.kill();
        bridge = two.scene.start(&after)?;
    }
    two.wait_until_deleted("reports", &bridge).await?;
    two.shows(&texts("old", 0..100), &[], &bridge).await
}

#[tokio::test]
async fn a_removed_route_whose_consumer_is_deleted_ends() -> Result<()> {
    let mut two = Two::new().await?;
    let before = two.both("ops.a", "ops.b");
    let after = two.config().route("more", "ops.b", &two.second);
    let room = two.scene.room.clone();
    let mut running = two.start(&before, &["reports", "more"]).await?;
    two.close(&[&room]).await?;
    two.publish("ops.a", "old", 0..BACKLOG).await?;
    running.takes(&after).await?;
    let consumer = two.scene.consumer().await?.name;
    let command = format!("run nats consumer rm OPS {consumer}");
    running.bridge.wait_for_log(&command, PATIENCE).await?;
    let stream = two.scene.nats.jetstream().await?.get_stream("OPS").await?;
    stream.delete_consumer(&consumer).await?;
    let line = "its consumer was deleted, so nothing is left of what waited for it";
    running.bridge.wait_for_log(line, PATIENCE).await?;
    let pages = Pages::latest(&running.bridge).await?;
    let said = pages.wait_for("connected").await?;
    assert!(said["routes"]["reports:draining"].is_null(), "{said}");
    two.shows(&[], &[], &running.bridge).await
}

#[tokio::test]
async fn a_removed_route_for_which_nothing_waits_needs_no_room() -> Result<()> {
    let two = Two::new().await?;
    let (closed, room) = (two.scene.alice.create_room(json!({})).await?, two.scene.room.clone());
    let before = two.both("ops.a", "ops.b").route("never", "ops.c", &closed);
    let after = two.config().route("more", "ops.b", &two.second);
    let mut running = two.start(&before, &["reports", "more"]).await?;
    two.close(&[&room]).await?;
    two.publish("ops.c", "never", 0..3).await?;
    running.takes(&after).await?;
    two.wait_until_deleted("reports", &running.bridge).await?;
    let said = Pages::latest(&running.bridge).await?.wait_for("connected").await?;
    assert_eq!(said["routes"].as_object().map(serde_json::Map::len), Some(1), "{said}");
    assert!(!running.bridge.logs().contains("route reports is not in the configuration any more"));
    Ok(())
}

#[tokio::test]
async fn what_a_removed_route_has_deferred_is_shown() -> Result<()> {
    let (scene, clock) = Scene::new().await?.with_clock()?;
    let night = quiet::Night::now();
    let more = json!({ "preset": "private_chat", "invite": [scene.bot.user_id] });
    let second = scene.alice.create_room(more).await?;
    let config = scene.config_for("ops.alert", &scene.room).lines(&night.line);
    let mut running = Running::start(&scene, &config).await?;
    scene.nats.publish("ops.alert", quiet::alert("warning", "deferred", "firing")).await?;
    quiet::wait_until_held(&scene, 1).await?;
    let after = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot);
    running.takes(&after.route("more", "ops.b", &second)).await?;
    let mut reader = scene.reader().await?;
    night.is_over_in(Duration::from_secs(5), &clock)?;
    let events = read_all(&mut reader, 1).await.with_context(|| running.bridge.logs())?;
    assert!(events[0].body().starts_with("🟠 WARNING: deferred"), "{}", events[0].body());
    let deleted = |line: &str| {
        line.contains("deleted durable consumer reports-")
            && line.contains("on stream NATS_MATRIX_HELD")
    };
    let deadline = Instant::now() + PATIENCE;
    while !running.bridge.logs().lines().any(deleted) {
        ensure!(Instant::now() < deadline, "{}", running.bridge.logs());
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_work_queue_gives_what_waits_to_the_new_routes() -> Result<()> {
    let mut two = Two::new().await?;
    two.scene.nats.delete_stream("OPS").await?;
    let queue = StreamConfig {
        name: "OPS".to_owned(),
        subjects: vec!["ops.>".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        ..StreamConfig::default()
    };
    two.scene.nats.jetstream().await?.create_stream(queue).await?;
    let before = two.both("ops.moves", "ops.stays").route("gone", "ops.gone", &two.scene.room);
    let mut after = two.both("ops.a", "ops.stays");
    after.routes = after.routes.replace("[\"ops.stays\"]", "[\"ops.stays\", \"ops.moves\"]");
    let change = two.change(
        By::Restart,
        (&before, &["reports", "more", "gone"]),
        async || {
            two.publish("ops.moves", "old", 0..BACKLOG).await?;
            two.publish("ops.gone", "gone", 0..3).await
        },
        &after,
    );
    let running = change.await?;
    two.wait_until_deleted("gone", &running.bridge).await?;
    two.publish("ops.moves", "new", 0..3).await?;
    let second = [texts("old", 0..BACKLOG), texts("new", 0..3)].concat();
    two.shows(&texts("gone", 0..3), &second, &running.bridge).await
}
