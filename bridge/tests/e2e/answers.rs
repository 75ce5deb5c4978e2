//! People who answer alerts in the room.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use nats_matrix_testbed::{
    Account, BridgeProcess, Event, Fault, FaultKind, FaultProxy, Homeserver, Reader,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    connections::{CONSUMER, KEPT, LOGIN, NEEDED, restricted},
    identity::group,
    scene::{Config, PATIENCE, Scene, printed, read_all, shared_homeserver},
    standby::{Machine, NOTICED},
};

/// The stream that the bridge makes for answers.
const STREAM: &str = "NATS_MATRIX_ANSWERS";

fn alert_of(source: &str, severity: &str, status: &str) -> String {
    json!({ "severity": severity, "summary": "Disk almost full", "source": source, "status": status })
        .to_string()
}

/// The text that an edit puts in the place of the first message; `None` if the event is no edit of it.
fn edited<'a>(event: &'a Event, root: &str) -> Option<&'a str> {
    let relation = &event.content["m.relates_to"];
    let is_it = relation["rel_type"] == "m.replace" && relation["event_id"] == root;
    is_it.then(|| event.content["m.new_content"]["body"].as_str().unwrap_or_default())
}

/// Whether an event is a notice in the thread of the first message.
fn is_note(event: &Event, root: &str) -> bool {
    let relation = &event.content["m.relates_to"];
    event.msgtype() == "m.notice"
        && relation["rel_type"] == "m.thread"
        && relation["event_id"] == root
}

struct Answering {
    homeserver: &'static Homeserver,
    scene: Scene,
    config: Config,
    reader: Reader,
}

impl Answering {
    async fn new(lines: &str) -> Result<Self> {
        let homeserver = shared_homeserver().await?;
        let scene = Scene::on(homeserver).await?;
        let config = scene.config().lines(&format!("remind = \"2s\"\n[routes.answers]\n{lines}"));
        let reader = scene.reader().await?;
        Ok(Self { homeserver, scene, config, reader })
    }

    /// Starts the bridge, and waits until it listens.
    async fn listen(&self) -> Result<BridgeProcess> {
        let mut bridge = self.scene.start(&self.config)?;
        if !self.scene.dir.path().join("state/answers.json").exists() {
            bridge.wait_for_log("listening to what people answer", PATIENCE).await?;
        }
        Ok(bridge)
    }

    async fn say(&self, source: &str, severity: &str, status: &str) -> Result<()> {
        let alert = alert_of(source, severity, status);
        self.scene.nats.publish(format!("ops.alert.{source}").as_str(), alert).await?;
        Ok(())
    }

    /// Publishes an alert, and returns the event that begins it in the room.
    async fn fire(&mut self, source: &str) -> Result<String> {
        self.say(source, "warning", "firing").await?;
        let is_it = |event: &&Event| {
            event.content["m.relates_to"].is_null() && event.body().contains(source)
        };
        let begun = |events: &[Event]| events.iter().any(|event| is_it(&event));
        let events = self.reader.wait_until(begun, PATIENCE).await?;
        Ok(events.iter().find(is_it).context("it is there")?.event_id.clone())
    }

    async fn react(&self, who: &Account, to: &str, reaction: &str) -> Result<String> {
        react(who, &self.scene.room, to, reaction).await
    }

    async fn reply(&self, who: &Account, root: &str, text: &str) -> Result<String> {
        let relation = json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": true,
            "m.in_reply_to": { "event_id": root },
        });
        let content = json!({ "msgtype": "m.text", "body": text, "m.relates_to": relation });
        let transaction = format!("reply-{root}-{text}-{}", who.user_id);
        who.send(&self.scene.room, "m.room.message", &transaction, content).await
    }

    /// Waits until the first message of an alert is edited to a text.
    async fn shows(&mut self, root: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
        let last = |events: &[Event]| {
            let edit = events.iter().rev().find_map(|event| edited(event, root));
            edit.map(str::to_owned).filter(|text| is_it(text))
        };
        let events = self.reader.wait_until(|events| last(events).is_some(), PATIENCE).await?;
        last(events).context("it is there")
    }

    async fn shows_holder(&mut self, root: &str, who: &Account) -> Result<String> {
        let line = format!("👤 {} has it (", who.localpart());
        self.shows(root, |text| text.contains(&line)).await
    }

    /// The notices in the thread of an alert that are about people.
    fn notes(&self, root: &str) -> Vec<&str> {
        let notes = self.reader.events().iter().filter(|event| is_note(event, root));
        notes.map(Event::body).filter(|body| body.starts_with("👤")).collect()
    }

    async fn waits_for_notes(&mut self, root: &str, count: usize) -> Result<()> {
        let enough = |events: &[Event]| {
            let notes = events.iter().filter(|event| is_note(event, root));
            notes.filter(|event| event.body().starts_with("👤")).count() >= count
        };
        self.reader.wait_until(enough, PATIENCE).await.map(drop)
    }

    /// Waits until there are so many answers on NATS, and returns all.
    async fn on_nats(&self, count: usize) -> Result<Vec<(String, Value)>> {
        let begun = Instant::now();
        loop {
            let answers = on_nats(&self.scene).await?;
            if answers.len() >= count {
                return Ok(answers);
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "{answers:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn react(who: &Account, room: &str, to: &str, reaction: &str) -> Result<String> {
    let relation = json!({ "rel_type": "m.annotation", "event_id": to, "key": reaction });
    let transaction = format!("react-{to}-{reaction}-{}", who.user_id);
    who.send(room, "m.reaction", &transaction, json!({ "m.relates_to": relation })).await
}

/// All answers on NATS, each with its message id.
async fn on_nats(scene: &Scene) -> Result<Vec<(String, Value)>> {
    let Ok(mut stream) = scene.nats.jetstream().await?.get_stream(STREAM).await else {
        return Ok(Vec::new());
    };
    let last = stream.info().await?.state.last_sequence;
    let mut answers = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await?;
        assert_eq!(message.subject.as_str(), "nats-matrix.answer.reports");
        let id = message.headers.get("Nats-Msg-Id").context("no id")?.to_string();
        answers.push((id, serde_json::from_slice(&message.payload)?));
    }
    Ok(answers)
}

#[tokio::test]
async fn a_reaction_acknowledges_an_alert_until_its_end() -> Result<()> {
    let mut answering = Answering::new("offer = true").await?;
    let _bridge = answering.listen().await?;
    let alice = answering.scene.alice.clone();
    let root = answering.fire("db-01").await?;
    // The form that Element sends.
    let reaction = answering.react(&alice, &root, "👍\u{fe0f}").await?;
    let shown = answering.shows_holder(&root, &alice).await?;
    assert!(shown.starts_with("🟠 WARNING: Disk almost full"), "{shown}");
    answering.waits_for_notes(&root, 1).await?;

    let timeline = alice.timeline(&answering.scene.room).await?;
    let offered =
        |event: &&Event| event.kind == "m.reaction" && event.sender == answering.scene.bot.user_id;
    let offered: Vec<_> = timeline.iter().filter(offered).collect();
    assert_eq!(offered.len(), 1, "{offered:?}");
    assert_eq!(offered[0].content["m.relates_to"]["event_id"], root);
    assert_eq!(offered[0].content["m.relates_to"]["key"], "👍");

    let answers = answering.on_nats(1).await?;
    let (id, answer) = &answers[0];
    assert_eq!((answers.len(), id), (1, &reaction), "the bridge's own reaction does not count");
    let expected = [
        ("action", "ack"),
        ("route", "reports"),
        ("who", &alice.user_id),
        ("text", "👍"),
        ("room", &answering.scene.room),
        ("event", &reaction),
        ("root", &root),
    ];
    for (key, value) in expected {
        assert_eq!(answer[key], value, "{key}");
    }
    assert_eq!(answer["message"], json!({ "stream": "OPS", "sequence": 1 }));
    assert!(answer["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{answer}");

    // Long after `remind`, nobody is reminded of an alert that somebody has, but of one that has got worse.
    sleep(Duration::from_secs(3)).await;
    answering.say("db-01", "warning", "firing").await?;
    answering.say("db-01", "critical", "firing").await?;
    let shown = answering.shows(&root, |text| text.starts_with("🔴 CRITICAL")).await?;
    assert!(shown.contains(&format!("👤 {} has it (", alice.localpart())), "{shown}");
    let in_thread = |event: &&Event| event.content["m.relates_to"]["rel_type"] == "m.thread";
    let events = answering.reader.events().iter().filter(in_thread);
    let kinds: Vec<_> =
        events.filter(|event| !event.body().starts_with("👤")).map(Event::msgtype).collect();
    assert_eq!(kinds, ["m.notice", "m.text"]);

    answering.say("db-01", "critical", "resolved").await?;
    let shown = answering.shows(&root, |text| text.starts_with("✅ RESOLVED")).await?;
    assert!(!shown.contains("has it"), "{shown}");
    // An alert that is over cannot be acknowledged.
    answering.react(&alice, &root, "✅").await?;
    answering.reader.settle(Duration::from_secs(3)).await?;
    assert_eq!(answering.notes(&root).len(), 1);
    assert_eq!(on_nats(&answering.scene).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_taken_back_no_longer_counts() -> Result<()> {
    let mut answering = Answering::new("").await?;
    let _bridge = answering.listen().await?;
    let alice = answering.scene.alice.clone();
    let root = answering.fire("db-01").await?;
    let reaction = answering.react(&alice, &root, "✅").await?;
    answering.shows_holder(&root, &alice).await?;
    // A person who has it already changes nothing by one more answer, nor by taking only that away.
    let another = answering.reply(&alice, &root, "ack, on it").await?;
    alice.redact(&answering.scene.room, &another).await?;
    alice.redact(&answering.scene.room, &reaction).await?;
    let shown = answering.shows(&root, |text| !text.contains("has it")).await?;
    assert!(shown.starts_with("🟠 WARNING: Disk almost full"), "{shown}");
    answering.waits_for_notes(&root, 2).await?;
    let gone = format!("👤 {} no longer has it", alice.localpart());
    assert_eq!(answering.notes(&root)[1], gone);
    let answers = answering.on_nats(2).await?;
    let actions: Vec<_> = answers.iter().map(|(_, answer)| &answer["action"]).collect();
    assert_eq!(actions, ["ack", "unack"]);
    // Now people are reminded again.
    sleep(Duration::from_secs(3)).await;
    answering.say("db-01", "warning", "firing").await?;
    let reminded = |events: &[Event]| {
        events.iter().any(|event| {
            event.msgtype() == "m.text"
                && event.content["m.relates_to"]["event_id"] == root.as_str()
        })
    };
    answering.reader.wait_until(reminded, PATIENCE).await?;
    Ok(())
}

/// Two servers of a cluster report one alert: an answer to the message of one counts for those of the other.
#[tokio::test]
async fn an_answer_counts_whichever_server_reports_the_alert() -> Result<()> {
    let mut answering = Answering::new("").await?;
    let _bridge = answering.listen().await?;
    let alice = answering.scene.alice.clone();
    let report = async |scene: &Scene, server: &str| {
        let firing = group(&format!("http://{server}:9093"), "shop", "firing");
        scene.nats.publish("ops.alertmanager", firing).await
    };
    report(&answering.scene, "n1").await?;
    let root = answering.reader.wait_for(1, PATIENCE).await?[0].event_id.clone();
    let reaction = answering.react(&alice, &root, "👍").await?;
    answering.shows_holder(&root, &alice).await?;
    answering.on_nats(1).await?;
    let said = |events: &[Event]| {
        let in_thread = events.iter().filter(|event| {
            let relation = &event.content["m.relates_to"];
            relation["rel_type"] == "m.thread" && relation["event_id"] == root.as_str()
        });
        let alerts = in_thread.filter(|event| !event.body().starts_with("👤"));
        alerts.map(|event| event.msgtype().to_owned()).collect::<Vec<_>>()
    };
    // Long after `remind`.
    sleep(Duration::from_secs(3)).await;
    for (count, server) in (1..).zip(["n2", "n1"]) {
        report(&answering.scene, server).await?;
        answering.reader.wait_until(|events| said(events).len() >= count, PATIENCE).await?;
    }
    assert_eq!(said(answering.reader.events()), ["m.notice"; 2], "nobody is reminded");
    alice.redact(&answering.scene.room, &reaction).await?;
    answering.shows(&root, |text| !text.contains("has it")).await?;
    answering.on_nats(2).await?;
    report(&answering.scene, "n2").await?;
    answering.reader.wait_until(|events| said(events).len() >= 3, PATIENCE).await?;
    assert_eq!(said(answering.reader.events())[2], "m.text", "everybody is reminded again");
    Ok(())
}

#[tokio::test]
async fn a_reply_acknowledges_an_alert_and_other_words_do_not() -> Result<()> {
    let mut answering = Answering::new("").await?;
    let _bridge = answering.listen().await?;
    let alice = answering.scene.alice.clone();
    let begun = answering.fire("db-01").await?;
    let other = answering.fire("db-02").await?;
    answering.reply(&alice, &other, "who looks at this?").await?;
    answering.react(&alice, &other, "👎").await?;
    // A bot, and an event that is not the bridge's.
    let relation = json!({ "m.in_reply_to": { "event_id": other } });
    let notice = json!({ "msgtype": "m.notice", "body": "ack", "m.relates_to": relation });
    let room = answering.scene.room.clone();
    alice.send(&room, "m.room.message", "notice", notice).await?;
    let mark = json!({ "stream": "OPS", "route": "reports", "key": "0".repeat(32) });
    let forged =
        json!({ "msgtype": "m.text", "body": "fire", "io.github.nats-matrix.alert": mark });
    let forged = alice.send(&room, "m.room.message", "forged", forged).await?;
    answering.react(&alice, &forged, "👍").await?;
    let reply = answering.reply(&alice, &begun, "Ack, on it").await?;
    answering.shows_holder(&begun, &alice).await?;
    let answers = answering.on_nats(1).await?;
    answering.reader.settle(Duration::from_secs(2)).await?;
    assert_eq!(answering.notes(&other), Vec::<&str>::new());
    let (id, answer) = &answers[0];
    assert_eq!((answers.len(), id), (1, &reply));
    assert_eq!(answer["text"], "Ack, on it");
    Ok(())
}

#[tokio::test]
async fn only_those_who_may_answer_do() -> Result<()> {
    let mut answering = Answering::new("power = 50").await?;
    let mut bridge = answering.listen().await?;
    let room = answering.scene.room.clone();
    let alice = answering.scene.alice.clone();
    let begun = answering.fire("db-01").await?;
    let mallory = answering.homeserver.account("alice").await?;
    alice.invite(&room, &mallory.user_id).await?;
    mallory.join(&room).await?;
    answering.react(&mallory, &begun, "👍").await?;
    bridge.wait_for_log("may not answer alerts of route reports", PATIENCE).await?;
    answering.react(&alice, &begun, "👍").await?;
    let shown = answering.shows_holder(&begun, &alice).await?;
    assert!(!shown.contains(mallory.localpart()), "{shown}");
    let answers = answering.on_nats(1).await?;
    assert_eq!((answers.len(), answers[0].1["who"].as_str()), (1, Some(alice.user_id.as_str())));
    Ok(())
}

/// Somebody with hundreds of answers holds up nobody else, and they are gone through once.
#[tokio::test]
async fn a_flood_of_answers_holds_nobody_up() -> Result<()> {
    const REFUSED: &str = "may not answer alerts of route reports";
    let mut answering = Answering::new("power = 50").await?;
    let bridge = answering.listen().await?;
    let room = answering.scene.room.clone();
    let (alice, mallory) =
        (answering.scene.alice.clone(), answering.homeserver.account("alice").await?);
    alice.invite(&room, &mallory.user_id).await?;
    mallory.join(&room).await?;
    let (first, second) = (answering.fire("db-01").await?, answering.fire("db-02").await?);
    bridge.kill();
    for number in 0..240 {
        answering.reply(&mallory, &first, &format!("ack {number}")).await?;
    }
    answering.reply(&alice, &first, "ack").await?;
    let mut bridge = answering.listen().await?;
    bridge.wait_for_log(&format!("{} has acknowledged", alice.user_id), PATIENCE).await?;
    let refused = bridge.logs().matches(REFUSED).count();
    assert!(refused < 10, "{refused} answers came before hers: {}", bridge.logs());
    bridge.wait_for_log("has given more than 200 answers at once", PATIENCE).await?;
    let begun = Instant::now();
    while bridge.logs().matches(REFUSED).count() < 200 {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "{}", bridge.logs());
        sleep(Duration::from_millis(100)).await;
    }
    // More than a homeserver sends at once: what was read before is not read again.
    bridge.terminate()?;
    bridge.wait(PATIENCE).await?;
    for number in 0..70 {
        answering.reply(&mallory, &first, &format!("talk {number}")).await?;
    }
    answering.reply(&alice, &second, "ack").await?;
    let bridge = answering.listen().await?;
    answering.shows_holder(&second, &alice).await?;
    assert_eq!(bridge.logs().matches(REFUSED).count(), 0, "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn what_people_answer_while_the_bridge_is_away_counts() -> Result<()> {
    let mut answering = Answering::new("").await?;
    let bridge = answering.listen().await?;
    let alice = answering.scene.alice.clone();
    let (first, second) = (answering.fire("db-01").await?, answering.fire("db-02").await?);
    bridge.kill();
    let reaction = answering.react(&alice, &first, "👍").await?;
    let taken_back = answering.react(&alice, &second, "👍").await?;
    // More than a homeserver sends at once.
    for number in 0..120 {
        let text = json!({ "msgtype": "m.text", "body": format!("talk {number}") });
        let transaction = format!("talk-{number}");
        alice.send(&answering.scene.room, "m.room.message", &transaction, text).await?;
    }
    alice.redact(&answering.scene.room, &taken_back).await?;
    let bridge = answering.listen().await?;
    tokio::time::timeout(Duration::from_secs(25), answering.shows_holder(&first, &alice))
        .await
        .with_context(|| bridge.logs())??;
    let answers = answering.on_nats(1).await?;
    answering.reader.settle(Duration::from_secs(3)).await?;
    assert_eq!(answering.notes(&second), Vec::<&str>::new());
    assert_eq!((answers.len(), &answers[0].0), (1, &reaction));
    assert_eq!(on_nats(&answering.scene).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn kills_lose_no_answer_and_show_none_twice() -> Result<()> {
    let mut answering = Answering::new("").await?;
    let alice = answering.scene.alice.clone();
    let mut roots = Vec::new();
    let bridge = answering.listen().await?;
    for number in 0..8 {
        roots.push(answering.fire(&format!("db-{number:02}")).await?);
    }
    bridge.kill();
    let mut reactions = BTreeSet::new();
    for root in &roots {
        reactions.insert(answering.react(&alice, root, "👍").await?);
    }
    // Each answer is an edit and a note; a kill comes after either, or after some time.
    let expected = answering.reader.events().len() + 2 * roots.len();
    let mut kills = 0;
    while answering.reader.events().len() < expected {
        let bridge = answering.listen().await?;
        let before = answering.reader.events().len();
        let enough = |events: &[Event]| events.len() > (before + kills % 3).min(expected - 1);
        answering.reader.wait_until(enough, PATIENCE).await?;
        sleep(Duration::from_millis((kills as u64 % 4) * 5)).await;
        bridge.kill();
        kills += 1;
    }
    assert!(kills > 4, "{kills} kills");
    let _bridge = answering.listen().await?;
    answering.on_nats(roots.len()).await?;
    let events = read_all(&mut answering.reader, expected).await?;
    assert_eq!(events.len(), expected);
    for root in &roots {
        assert_eq!(answering.notes(root).len(), 1, "{root}");
        let edits = events.iter().filter(|event| edited(event, root).is_some());
        assert_eq!(edits.count(), 1, "{root}");
    }
    let answers = on_nats(&answering.scene).await?;
    let ids: BTreeSet<_> = answers.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!((answers.len(), ids), (roots.len(), reactions));
    Ok(())
}

#[tokio::test]
async fn nobody_listens_unless_a_route_asks_for_it() -> Result<()> {
    let scene = Scene::new().await?;
    let (proxy, config) = scene.through_proxy().await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    scene.nats.publish("ops.alert.db-01", alert_of("db-01", "warning", "firing")).await?;
    let root = reader.wait_for(1, PATIENCE).await?[0].clone();
    assert!(root.content["io.github.nats-matrix.alert"].is_null(), "{:?}", root.content);
    react(&scene.alice, &scene.room, &root.event_id, "👍").await?;
    reader.settle(Duration::from_secs(3)).await?;
    assert_eq!(reader.events().len(), 1);
    assert_eq!(proxy.requests_matching("/sync").len(), 0);
    bridge.kill();

    let _bridge = scene.start(&config.lines("[routes.answers]"))?;
    proxy.wait_for_requests("/sync", 2, PATIENCE).await?;
    let filter = proxy.requests_matching("/sync").pop().context("it is there")?.path;
    assert!(filter.contains("set_presence=offline"), "{filter}");
    assert!(filter.contains("m.reaction") && filter.contains("not_senders"), "{filter}");
    Ok(())
}

/// A homeserver that cannot be asked for what happens delays answers, and nothing else.
#[tokio::test]
async fn alerts_arrive_while_the_bridge_cannot_listen() -> Result<()> {
    let scene = Scene::new().await?;
    let (proxy, config): (FaultProxy, Config) = scene.through_proxy().await?;
    let config = config.lines("[routes.answers]");
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("listening to what people answer", PATIENCE).await?;
    proxy.inject(Fault::on("/sync", FaultKind::respond(502, json!({}))));
    let mut reader = scene.reader().await?;
    scene.nats.publish("ops.alert.db-01", alert_of("db-01", "warning", "firing")).await?;
    let root = reader.wait_for(1, PATIENCE).await?[0].event_id.clone();
    react(&scene.alice, &scene.room, &root, "👍").await?;
    bridge
        .wait_for_log("what people do in the rooms: the homeserver answers HTTP 502", PATIENCE)
        .await?;
    proxy.clear();
    let has_it = |events: &[Event]| {
        events.iter().any(|event| edited(event, &root).is_some_and(|text| text.contains("has it")))
    };
    reader.wait_until(has_it, PATIENCE).await?;
    Ok(())
}

/// A user who may write into the bucket must not be able to keep people from being reminded.
#[tokio::test]
async fn a_forged_acknowledgement_silences_no_alert() -> Result<()> {
    let mut answering = Answering::new("").await?;
    let bridge = answering.listen().await?;
    let root = answering.fire("db-01").await?;
    let alice = answering.scene.alice.clone();
    // An event of hers that is no answer.
    let text = json!({ "msgtype": "m.text", "body": "hello" });
    let said = alice.send(&answering.scene.room, "m.room.message", "hello", text).await?;
    bridge.kill();
    let bucket = answering.scene.nats.jetstream().await?;
    let bucket = bucket.get_key_value(crate::conversations::BUCKET).await?;
    let (key, mut known) = crate::conversations::kept(&bucket, &root).await?;
    let at = known["state"]["said"].clone();
    known["state"]["holders"] = json!([
        { "user": alice.user_id, "at": at, "event": said },
        { "user": "@mallory:x", "at": at, "event": format!("${}", "a".repeat(43)) },
    ]);
    bucket.put(key, known.to_string().into()).await?;
    let mut bridge = answering.listen().await?;
    sleep(Duration::from_secs(3)).await;
    answering.say("db-01", "warning", "firing").await?;
    let is_reminder = |event: &Event| {
        event.msgtype() == "m.text" && event.content["m.relates_to"]["event_id"] == root.as_str()
    };
    let reminded = |events: &[Event]| events.iter().any(is_reminder);
    answering.reader.wait_until(reminded, PATIENCE).await?;
    bridge.wait_for_log("no longer shows that somebody has acknowledged", PATIENCE).await?;
    Ok(())
}

/// Two bridges hear what people answer, and the one that posts carries it out.
#[tokio::test]
async fn a_bridge_that_stands_by_carries_no_answer_out() -> Result<()> {
    const LISTENS: &str = "listening to what people answer";
    let mut answering = Answering::new("").await?;
    let alice = answering.scene.alice.clone();
    let mut one = Machine::start(&answering.config)?;
    one.bridge.wait_for_log(LISTENS, PATIENCE).await?;
    let mut other = Machine::start(&answering.config)?;
    other.stands_by().await?;
    other.bridge.wait_for_log(LISTENS, PATIENCE).await?;
    let (first, second) = (answering.fire("db-01").await?, answering.fire("db-02").await?);
    let reaction = answering.react(&alice, &first, "👍").await?;
    answering.shows_holder(&first, &alice).await?;
    answering.on_nats(1).await?;
    answering.reader.settle(Duration::from_secs(4)).await?;
    let edits = |events: &[Event], root: &str| {
        events.iter().filter(|event| edited(event, root).is_some()).count()
    };
    assert_eq!(edits(answering.reader.events(), &first), 1, "{}", other.bridge.logs());
    assert_eq!(answering.notes(&first).len(), 1);

    // The other one knows what was answered while it stood by, and what nobody has carried out.
    one.bridge.kill();
    answering.react(&alice, &second, "👍").await?;
    other.takes_over(NOTICED).await?;
    answering.shows_holder(&second, &alice).await?;
    assert_eq!(answering.on_nats(2).await?.len(), 2);
    alice.redact(&answering.scene.room, &reaction).await?;
    answering.shows(&first, |text| !text.contains("has it")).await?;
    let answers = answering.on_nats(3).await?;
    answering.reader.settle(Duration::from_secs(2)).await?;
    let actions: Vec<_> = answers.iter().map(|(_, answer)| &answer["action"]).collect();
    assert_eq!(actions, ["ack", "ack", "unack"]);
    let events = answering.reader.events();
    assert_eq!((edits(events, &first), edits(events, &second)), (2, 1));
    assert_eq!((answering.notes(&first).len(), answering.notes(&second).len()), (2, 1));
    Ok(())
}

/// Events in a room take no memory, however many there are.
#[tokio::test]
async fn a_busy_room_takes_no_memory() -> Result<()> {
    let mut answering = Answering::new("").await?;
    let bridge = answering.listen().await?;
    let alice = answering.scene.alice.clone();
    let begun = answering.fire("db-01").await?;
    let (before, room) = (bridge.rss_kib()?, answering.scene.room.clone());
    answering.react(&alice, &begun, "👍").await?;
    let long = "x".repeat(16_000);
    for round in 0..40 {
        let send = |number: usize| {
            let (alice, room, long) = (alice.clone(), room.clone(), long.clone());
            async move {
                let text = json!({ "msgtype": "m.text", "body": long });
                let transaction = format!("busy-{round}-{number}");
                alice.send(&room, "m.room.message", &transaction, text).await
            }
        };
        futures_util::future::try_join_all((0..50).map(send)).await?;
    }
    answering.shows_holder(&begun, &alice).await?;
    let grown = bridge.rss_kib()?.saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
    Ok(())
}

/// The permissions that answers need besides, as docs/src/reference/nats-permissions.md says.
const ANSWERS: [&str; 4] = [
    "nats-matrix.answer.>",
    "$JS.API.STREAM.INFO.NATS_MATRIX_ANSWERS",
    "$JS.API.STREAM.CREATE.NATS_MATRIX_ANSWERS",
    "$JS.API.STREAM.UPDATE.NATS_MATRIX_ANSWERS",
];

/// Acknowledges an alert of a bridge that may publish on these subjects, and returns it with its log.
async fn acknowledged_with(publish: &[&str]) -> Result<(Scene, BridgeProcess)> {
    let scene = restricted(publish).await?;
    let config = scene.config().nats(LOGIN).lines(CONSUMER).lines("[routes.answers]");
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("listening to what people answer", PATIENCE).await?;
    let mut reader = scene.reader().await?;
    scene.nats.publish("ops.alert.db-01", alert_of("db-01", "warning", "firing")).await?;
    let root = reader.wait_for(1, PATIENCE).await?[0].event_id.clone();
    react(&scene.alice, &scene.room, &root, "👍").await?;
    let has_it = |events: &[Event]| {
        events.iter().any(|event| edited(event, &root).is_some_and(|text| text.contains("has it")))
    };
    reader.wait_until(has_it, PATIENCE).await?;
    Ok((scene, bridge))
}

#[tokio::test]
async fn the_documented_permissions_suffice() -> Result<()> {
    let (scene, bridge) = acknowledged_with(&[&NEEDED[..], &KEPT, &ANSWERS].concat()).await?;
    let begun = Instant::now();
    while on_nats(&scene).await?.is_empty() {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "{}", bridge.logs());
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!bridge.logs().contains("WARN"), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn without_permission_the_room_still_shows_who_has_an_alert() -> Result<()> {
    let (scene, mut bridge) = acknowledged_with(&[&NEEDED[..], &KEPT].concat()).await?;
    let said =
        bridge.wait_for_log("is not on NATS: NATS does not let us publish on", PATIENCE).await?;
    assert!(said.contains("nats-matrix.answer.reports"), "{said}");
    let config = scene.config().nats(LOGIN).lines(CONSUMER).lines("[routes.answers]");
    let said = printed(&scene.run(&config, &["check"])?);
    let lack =
        "note  rights      route reports: NATS does not let us publish on nats-matrix.answer.>";
    assert!(said.contains(lack), "{said}");
    assert!(said.contains("people may answer alerts of reports"), "{said}");
    Ok(())
}

/// An answer may come before the bridge has noted what it has posted, and before it is killed there.
#[tokio::test]
async fn an_answer_counts_that_is_faster_than_the_bridge() -> Result<()> {
    for is_killed in [false, true] {
        let scene = Scene::new().await?;
        let (proxy, config) = scene.through_proxy().await?;
        let config = config.lines("[routes.answers]\noffer = true");
        let mut bridge = scene.start(&config)?;
        bridge.wait_for_log("listening to what people answer", PATIENCE).await?;
        // The bridge offers a reaction before it notes the state of the alert.
        proxy.inject(Fault::on("/send/m.reaction", FaultKind::Delay(Duration::from_secs(6))));
        let mut reader = scene.reader().await?;
        scene.nats.publish("ops.alert.db-01", alert_of("db-01", "warning", "firing")).await?;
        let root = reader.wait_for(1, PATIENCE).await?[0].event_id.clone();
        proxy.wait_for_requests("/send/m.reaction", 1, PATIENCE).await?;
        let reaction = react(&scene.alice, &scene.room, &root, "👍").await?;
        let bridge = if is_killed {
            bridge.kill();
            proxy.clear();
            scene.start(&config)?
        } else {
            bridge
        };
        let has_it = |events: &[Event]| {
            events
                .iter()
                .any(|event| edited(event, &root).is_some_and(|text| text.contains("has it")))
        };
        reader.wait_until(has_it, PATIENCE).await.with_context(|| bridge.logs())?;
        let begun = Instant::now();
        while on_nats(&scene).await?.is_empty() {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "it is not on NATS");
            sleep(Duration::from_millis(100)).await;
        }
        let answers = on_nats(&scene).await?;
        assert_eq!((answers.len(), &answers[0].0), (1, &reaction));
    }
    Ok(())
}
