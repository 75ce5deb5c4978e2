//! Messages that somebody else takes from the consumer of a route and acknowledges, or that somebody has it skip.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use async_nats::{
    Client, Message, Subscriber,
    jetstream::stream::{Config as StreamConfig, RetentionPolicy},
};
use futures_util::StreamExt;
use nats_matrix_testbed::{
    BridgeProcess, Event, Fault, FaultKind, FaultProxy, Nats, ScratchDir, not_run,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    closed_rooms::Hosts,
    health::{Pages, listening},
    scene::{BINARY, Config, PATIENCE, Scene, read_all, shared_homeserver, through_proxy},
};

/// The line of the log about messages that were taken.
const SAID: &str = "somebody else acknowledged messages";

/// The time after which the bridge has certainly looked at a consumer once more.
const LOOKED: Duration = Duration::from_secs(20);

/// The time after which a thief's requests have expired.
const EXPIRED: Duration = Duration::from_secs(5);

/// The number of requests that are open at once, so that nearly all that comes goes to the thief.
const REQUESTS: usize = 40;

/// The way in which messages are asked for.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// By `CONSUMER.MSG.NEXT`.
    Next,
    /// By an acknowledgement, whose subject can be guessed.
    Acknowledgement,
}

/// Somebody who takes messages from the consumer of the route.
struct Thief {
    client: Client,
    inbox: Subscriber,
}

impl Thief {
    /// Asks for messages.
    async fn asking(scene: &Scene, ask: Ask, requests: usize, batch: usize) -> Result<Self> {
        let client = scene.nats.client().await?;
        let consumer = scene.consumer().await?.name;
        let to = client.new_inbox();
        let inbox = client.subscribe(to.clone()).await?;
        let wanted = json!({ "batch": batch, "expires": EXPIRED.as_secs() * 1_000_000_000 });
        let (subject, wanted) = match ask {
            Ask::Next => (format!("$JS.API.CONSUMER.MSG.NEXT.OPS.{consumer}"), wanted.to_string()),
            Ask::Acknowledgement => {
                (format!("$JS.ACK.OPS.{consumer}.1.1.1.1.0"), format!("+NXT {wanted}"))
            }
        };
        for _ in 0..requests {
            let wanted = wanted.clone().into();
            client.publish_with_reply(subject.clone(), to.clone(), wanted).await?;
        }
        client.flush().await?;
        // The requests are answered by other parts of the server than the next messages.
        sleep(Duration::from_millis(200)).await;
        Ok(Self { client, inbox })
    }

    /// Ends as many messages as come within two seconds of each other, and returns how many there were.
    async fn end(mut self, kind: &'static str) -> Result<usize> {
        let mut taken = Vec::new();
        while let Ok(Some(message)) = timeout(Duration::from_secs(2), self.inbox.next()).await {
            let Message { reply, .. } = message;
            taken.extend(reply.filter(|reply| reply.starts_with("$JS.ACK.")));
        }
        for reply in &taken {
            self.client.publish(reply.clone(), kind.into()).await?;
        }
        self.client.flush().await?;
        Ok(taken.len())
    }
}

/// Starts the bridge, and has it show "message 1" to "message 3".
async fn begun(scene: &Scene, config: &Config) -> Result<(BridgeProcess, Pages)> {
    let mut bridge = scene.start(&listening(config.clone()))?;
    let pages = Pages::of(&mut bridge).await?;
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await?;
    scene.wait_until_done(3).await?;
    Ok((bridge, pages))
}

/// Asserts that the bridge says that somebody takes messages.
async fn is_said(scene: &Scene, bridge: &mut BridgeProcess, pages: &Pages) -> Result<Value> {
    let said = pages.wait_for("acked-elsewhere").await?;
    let consumer = scene.consumer().await?.name;
    let reason = said["routes"]["reports"]["reason"].as_str().context("no reason")?;
    assert!(reason.contains(&format!("consumer {consumer} on stream OPS")), "{said}");
    bridge.wait_for_log(SAID, PATIENCE).await?;
    Ok(said)
}

/// Asserts that the bridge says nothing of the kind.
async fn nothing_is_said(bridge: &BridgeProcess, pages: &Pages) -> Result<()> {
    assert!(!bridge.logs().contains(SAID), "{}", bridge.logs());
    let (_, text) = pages.get("readyz").await?;
    assert!(!text.contains("acked-elsewhere"), "{text}");
    assert!(pages.number("nats_matrix_acked_elsewhere_total{").await? < 1.0);
    Ok(())
}

const TAKEN: &str = "nats_matrix_acked_elsewhere_total{";

#[tokio::test]
async fn what_is_taken_from_an_idle_route_is_shown_although_nothing_comes_after_it() -> Result<()> {
    for (ask, end) in [(Ask::Next, "+ACK"), (Ask::Acknowledgement, "+TERM")] {
        let scene = Scene::new().await?;
        let (mut bridge, pages) = begun(&scene, &scene.config()).await?;
        let thief = Thief::asking(&scene, ask, REQUESTS, 2).await?;
        scene.publish_numbered(4, 15).await?;
        let taken = thief.end(end).await?;
        assert!(taken >= 8, "{ask:?}: only {taken}");
        scene.shows_numbered(15).await.with_context(|| bridge.logs())?;
        is_said(&scene, &mut bridge, &pages).await?;
        assert!(pages.number(TAKEN).await? >= 8.0, "{}", bridge.logs());
        scene.publish_numbered(16, 17).await?;
        scene.shows_numbered(17).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_taken_while_the_room_is_slow_is_shown_before_what_comes_after_it() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let (mut bridge, pages) = begun(&scene, &config).await?;
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(4, 4).await?;
    proxy.wait_for_requests("/send/", 4, PATIENCE).await?;
    let thief = Thief::asking(&scene, Ask::Next, REQUESTS, 2).await?;
    scene.publish_numbered(5, 15).await?;
    let taken = thief.end("+ACK").await?;
    assert!(taken >= 8, "only {taken}");
    sleep(EXPIRED).await;
    scene.publish_numbered(16, 30).await?;
    proxy.clear();
    scene.shows_numbered(30).await.with_context(|| bridge.logs())?;
    is_said(&scene, &mut bridge, &pages).await?;
    assert!(pages.number(TAKEN).await? >= 1.0, "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn what_is_taken_from_a_route_with_digests_is_in_one() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut bridge, pages) = begun(&scene, &scene.config().digests(5)).await?;
    let thief = Thief::asking(&scene, Ask::Next, REQUESTS, 5).await?;
    // The bridge is the first whose turn it is. It would read what is there already for its digest.
    scene.publish_numbered(4, 4).await?;
    sleep(Duration::from_millis(300)).await;
    scene.publish_numbered(5, 43).await?;
    let taken = thief.end("+ACK").await?;
    assert!(taken >= 20, "only {taken}");
    is_said(&scene, &mut bridge, &pages).await?;
    scene.wait_until_done(43).await?;
    scene.publish_numbered(44, 44).await?;
    let has = |events: &[Event], text: &str| {
        let lines = events.iter().flat_map(|event| event.said().lines());
        lines.map(str::trim).any(|line| line == text)
    };
    let mut reader = scene.reader().await?;
    let events = reader.wait_until(|events| has(events, "message 44"), PATIENCE).await?;
    for number in 4..=43 {
        let text = format!("message {number}");
        assert!(has(events, &text), "{text} is not in {events:#?}");
    }
    Ok(())
}

/// Ends a bridge that has shown "message 1" to "message 3".
async fn end(scene: &Scene, bridge: BridgeProcess, is_killed: bool) -> Result<()> {
    let mut bridge = bridge;
    if is_killed {
        bridge.kill();
        // The requests of a process that was killed are answered as long as its connection is not known to be lost.
        sleep(Duration::from_secs(1)).await;
    } else {
        bridge.terminate()?;
        assert_eq!(bridge.wait(PATIENCE).await?, 0, "{}", bridge.logs());
    }
    assert_eq!(scene.consumer().await?.num_waiting, 0);
    Ok(())
}

/// Makes a scene whose bridge has ended after "message 3". Of "message 4" to "message 23" somebody else has taken ten.
async fn taken_while_none_runs(is_killed: bool) -> Result<Scene> {
    let scene = Scene::new().await?;
    let (bridge, _) = begun(&scene, &scene.config()).await?;
    end(&scene, bridge, is_killed).await?;
    scene.publish_numbered(4, 23).await?;
    let thief = Thief::asking(&scene, Ask::Next, 1, 10).await?;
    assert_eq!(thief.end("+ACK").await?, 10);
    Ok(scene)
}

#[tokio::test]
async fn what_is_taken_while_no_bridge_runs_is_shown_by_the_next() -> Result<()> {
    for is_killed in [false, true] {
        let scene = taken_while_none_runs(is_killed).await?;
        let mut bridge = scene.start(&listening(scene.config()))?;
        let pages = Pages::of(&mut bridge).await?;
        scene.shows_numbered(23).await.with_context(|| bridge.logs())?;
        is_said(&scene, &mut bridge, &pages).await?;
        assert!(pages.number(TAKEN).await? >= 10.0, "{}", bridge.logs());
        bridge.wait_for_log(&format!("{SAID} 4 to 13 of consumer "), PATIENCE).await?;
    }
    Ok(())
}

/// A machine without the state of the one before cannot tell which of them that one has shown, and accuses nobody.
#[tokio::test]
async fn what_is_taken_while_no_bridge_runs_is_shown_on_another_machine() -> Result<()> {
    for is_killed in [false, true] {
        let scene = taken_while_none_runs(is_killed).await?;
        let dir = ScratchDir::new("machine")?;
        let config = listening(scene.config());
        let mut bridge = BridgeProcess::spawn(BINARY, &config.toml(), dir.path())?;
        let pages = Pages::of(&mut bridge).await?;
        scene.shows_numbered(23).await.with_context(|| bridge.logs())?;
        nothing_is_said(&bridge, &pages).await?;
    }
    Ok(())
}

/// A stream that keeps no message that is acknowledged.
#[tokio::test]
async fn what_is_taken_from_a_work_queue_is_said() -> Result<()> {
    let scene = Scene::new().await?;
    scene.nats.delete_stream("OPS").await?;
    let queue = StreamConfig {
        name: "OPS".to_owned(),
        subjects: vec!["ops.>".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        ..StreamConfig::default()
    };
    scene.nats.jetstream().await?.create_stream(queue).await?;
    let (mut bridge, pages) = begun(&scene, &scene.config()).await?;
    let thief = Thief::asking(&scene, Ask::Next, REQUESTS, 2).await?;
    scene.publish_numbered(4, 15).await?;
    let taken = thief.end("+ACK").await?;
    assert!(taken >= 8, "only {taken}");
    pages.wait_for("acked-elsewhere").await?;
    bridge.wait_for_log("; stream OPS keeps no message that is acknowledged", PATIENCE).await?;
    assert!(pages.number(TAKEN).await? >= 8.0, "{}", bridge.logs());
    scene.publish_numbered(16, 16).await?;
    let mut reader = scene.reader().await?;
    // The room is told, too.
    let events = read_all(&mut reader, 16 - taken + 1).await?;
    let of = |event: &&Event| event.body().contains("before they could be read");
    assert_eq!(events.iter().filter(of).count(), 1, "{events:#?}");
    assert_eq!(events.last().context("nothing")?.said(), "message 16");
    Ok(())
}

/// Has the consumer of the route go on with the message `next`. Returns false if the server cannot.
async fn reset(scene: &Scene, next: u64) -> Result<bool> {
    let consumer = scene.consumer().await?.name;
    let subject = format!("$JS.API.CONSUMER.RESET.OPS.{consumer}");
    let wanted = json!({ "seq": next }).to_string();
    let answer = scene.nats.client().await?.request(subject, wanted.into()).await;
    let Ok(answer) = answer else {
        not_run(&anyhow!("this nats-server cannot reset a consumer"))?;
        return Ok(false);
    };
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    anyhow::ensure!(answer.get("error").is_none(), "{answer}");
    Ok(true)
}

#[tokio::test]
async fn what_a_consumer_is_moved_past_while_no_bridge_runs_is_shown() -> Result<()> {
    let scene = Scene::new().await?;
    let (bridge, _) = begun(&scene, &scene.config()).await?;
    end(&scene, bridge, false).await?;
    scene.publish_numbered(4, 13).await?;
    if !reset(&scene, 14).await? {
        return Ok(());
    }
    scene.publish_numbered(14, 14).await?;
    let mut bridge = scene.start(&listening(scene.config()))?;
    let pages = Pages::of(&mut bridge).await?;
    scene.shows_numbered(14).await.with_context(|| bridge.logs())?;
    is_said(&scene, &mut bridge, &pages).await?;
    Ok(())
}

/// A bridge is killed between the digests of two rooms of a route: what is for the second one is not done with.
#[tokio::test]
async fn what_a_consumer_is_moved_past_between_two_digests_is_shown() -> Result<()> {
    let hosts = Hosts::new().await?;
    let (mut db, mut web) = (hosts.room("db").await?, hosts.room("web").await?);
    for number in 1..=8 {
        for host in ["db", "web"] {
            hosts.publish(host, &format!("message {number}")).await?;
        }
    }
    let (proxy, config) = hosts.through_proxy().await?;
    let config = config.digests(3);
    // A digest and its thread are two events.
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever).after(2));
    let bridge = hosts.scene.start(&config)?;
    proxy.wait_for_requests("/send/", 3, PATIENCE).await?;
    bridge.kill();
    proxy.clear();
    assert_eq!(read_all(&mut db, 2).await?.len(), 2);
    if !reset(&hosts.scene, 17).await? {
        return Ok(());
    }
    let bridge = hosts.scene.start(&config)?;
    let has_last = |events: &[Event]| events.iter().any(|it| it.body().contains("message 8"));
    let patience = Duration::from_secs(40);
    let events = web.wait_until(has_last, patience).await.with_context(|| bridge.logs())?;
    let all: String = events.iter().map(Event::body).collect();
    for number in 1..=8 {
        assert!(all.contains(&format!("message {number}")), "{number} of {all}");
    }
    assert_eq!(read_all(&mut db, 2).await?.len(), 2, "and nothing is shown twice");
    Ok(())
}

#[tokio::test]
async fn what_a_consumer_is_moved_past_is_shown_whether_or_not_something_comes_after_it()
-> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let scene = scene.in_haste()?;
    let (mut bridge, pages) = begun(&scene, &config).await?;
    // It counts from 1 again, and the next delivery has the number that the bridge expects.
    if !reset(&scene, 3).await? {
        return Ok(());
    }
    scene.acknowledged(3).await?;
    reset(&scene, 4).await?;
    sleep(LOOKED).await;
    nothing_is_said(&bridge, &pages).await?;
    // While the room is slow, what comes is stored before the consumer delivers it.
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(4, 4).await?;
    proxy.wait_for_requests("/send/", 4, PATIENCE).await?;
    bridge.pause()?;
    scene.publish_numbered(5, 150).await?;
    reset(&scene, 151).await?;
    proxy.clear();
    bridge.resume()?;
    scene.shows_numbered(150).await.with_context(|| bridge.logs())?;
    is_said(&scene, &mut bridge, &pages).await?;
    scene.publish_numbered(151, 152).await?;
    scene.shows_numbered(152).await?;
    Ok(())
}

#[tokio::test]
async fn a_consumer_that_was_moved_and_counts_from_one_again_leaves_nothing_out() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut bridge, pages) = begun(&scene, &scene.config()).await?;
    // The bridge notices, and expects the number 1.
    if !reset(&scene, 4).await? {
        return Ok(());
    }
    scene.nats.restart().await?;
    scene.acknowledged(3).await?;
    sleep(Duration::from_secs(3)).await;
    bridge.pause()?;
    scene.publish_numbered(4, 150).await?;
    reset(&scene, 151).await?;
    scene.publish_numbered(151, 151).await?;
    bridge.resume()?;
    scene.shows_numbered(151).await.with_context(|| bridge.logs())?;
    is_said(&scene, &mut bridge, &pages).await?;
    Ok(())
}

/// Lets through what the route does not take, removes messages, ends bridges in each way, and has what was done with
/// delivered again.
#[tokio::test]
async fn where_nobody_takes_anything_nobody_is_accused() -> Result<()> {
    let nats = Nats::builder().as_process().start().await?;
    let scene = Scene::with(shared_homeserver().await?, nats).await?.in_haste()?;
    let proxy = FaultProxy::start(&scene.bot.homeserver).await?;
    let refused = FaultKind::respond(413, json!({ "errcode": "M_TOO_LARGE" }));
    let config = Config::new(&scene.nats.url(), &proxy.url(), &scene.bot);
    let config = listening(config.route("reports", "ops.text", &scene.room));
    let publish = async |first: usize, last: usize| -> Result<()> {
        for number in first..=last {
            scene.nats.publish("ops.text", format!("message {number}")).await?;
            scene.nats.publish("ops.other", format!("other {number}")).await?;
        }
        Ok(())
    };
    let shown = async |count: usize| -> Result<()> {
        read_all(&mut scene.reader().await?, count).await.map(drop)
    };
    publish(1, 30).await?;
    let mut bridge = scene.start(&config)?;
    let mut pages = Pages::of(&mut bridge).await?;
    shown(30).await?;
    // A dead letter, the last of the stream.
    proxy.inject(Fault::on("/send/", refused).times(2));
    publish(31, 31).await?;
    bridge.wait_for_log("can never be posted", PATIENCE).await?;
    for (round, is_killed) in [false, true, true, false].into_iter().enumerate() {
        let first = 40 * (round + 1);
        // Messages of the route and of others are removed in the middle and at the beginning.
        let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
        let last = stream.cached_info().state.last_sequence;
        stream.delete_message(last - 3).await?;
        stream.purge().sequence(last - 10).await?;
        publish(first, first + 19).await?;
        sleep(Duration::from_secs(2)).await;
        nothing_is_said(&bridge, &pages).await?;
        if is_killed {
            bridge.kill();
        } else {
            bridge.terminate()?;
            bridge.wait(PATIENCE).await?;
        }
        // Messages that the route would have taken are removed while it does not run.
        publish(first + 20, first + 29).await?;
        let last = scene.nats.jetstream().await?.get_stream("OPS").await?;
        let last = last.cached_info().state.last_sequence;
        stream.delete_message(last - 5).await?;
        if round == 3 {
            let limits = StreamConfig { max_messages: 5, ..stream.cached_info().config.clone() };
            scene.nats.jetstream().await?.update_stream(limits).await?;
        }
        bridge = scene.start(&config)?;
        pages = Pages::of(&mut bridge).await?;
        pages.wait_for("connected").await?;
        scene.nats.restart().await?;
        pages.wait_for("connected").await?;
        sleep(LOOKED / 2).await;
        nothing_is_said(&bridge, &pages).await?;
    }
    Ok(())
}
