//! Alerts that go on, get worse, come back and end.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::kv;
use futures_util::TryStreamExt;
use nats_matrix_testbed::{Event, Homeserver, Nats};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::noise::mention;
use crate::scene::{BINARY, Config, PATIENCE, Scene, read_all, shared_homeserver};

fn alert(severity: &str, status: &str) -> String {
    json!({
        "severity": severity,
        "summary": "Disk almost full",
        "source": "db-01",
        "fingerprint": "disk:db-01",
        "status": status,
    })
    .to_string()
}

/// The relation of an event to another, and the other's id.
fn relation(event: &Event) -> Option<(&str, &str)> {
    let relation = &event.content["m.relates_to"];
    Some((relation["rel_type"].as_str()?, relation["event_id"].as_str()?))
}

fn new_body(event: &Event) -> &str {
    event.content["m.new_content"]["body"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn an_alert_is_one_conversation_from_its_first_word_to_its_end() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes.push_str(&mention(&scene.alice.user_id));
    let _bridge = scene.start(&config)?;
    for (severity, status) in [
        ("warning", "firing"),
        ("warning", "firing"),
        ("critical", "firing"),
        ("critical", "resolved"),
    ] {
        scene.nats.publish("ops.alert.db-01", alert(severity, status)).await?;
    }
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 6).await?;
    let [root, update, worse, edit, over, notice] = events.as_slice() else {
        panic!("{} events: {events:#?}", events.len());
    };
    let id = root.event_id.as_str();
    assert_eq!((root.msgtype(), relation(root)), ("m.text", None));
    assert!(root.body().starts_with("🟠 WARNING: Disk almost full"), "{}", root.body());

    assert_eq!((update.msgtype(), relation(update)), ("m.notice", Some(("m.thread", id))));
    assert_eq!(update.content["m.relates_to"]["m.in_reply_to"]["event_id"], id);

    assert_eq!((worse.msgtype(), relation(worse)), ("m.text", Some(("m.thread", id))));
    assert_eq!(worse.content["m.mentions"]["user_ids"], json!([scene.alice.user_id]));
    assert_eq!(relation(edit), Some(("m.replace", id)));
    assert!(new_body(edit).starts_with("🔴 CRITICAL"), "{}", new_body(edit));
    assert_eq!(edit.content["m.mentions"], json!({}), "an edit mentions nobody again");

    assert_eq!(relation(over), Some(("m.replace", id)));
    assert!(new_body(over).starts_with("✅ RESOLVED: Disk almost full"), "{}", new_body(over));
    assert!(new_body(over).contains(" s)"), "for how long: {}", new_body(over));
    assert_eq!((notice.msgtype(), relation(notice)), ("m.notice", Some(("m.thread", id))));
    assert!(notice.body().starts_with("✅ RESOLVED after "), "{}", notice.body());
    assert!(notice.body().ends_with(": Disk almost full"), "{}", notice.body());
    Ok(())
}

#[tokio::test]
async fn a_conversation_goes_on_after_the_bridge_was_killed() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    let mut reader = scene.reader().await?;
    let mut roots = Vec::new();
    for (status, count) in [("firing", 1), ("firing", 2), ("resolved", 4), ("firing", 6)] {
        let bridge = scene.start(&config)?;
        scene.nats.publish("ops.alert.db-01", alert("warning", status)).await?;
        let events = reader.wait_for(count, PATIENCE).await?;
        roots = events[1..].iter().map(|event| relation(event).unwrap().1.to_owned()).collect();
        bridge.kill();
    }
    let events = read_all(&mut reader, 6).await?;
    assert_eq!(roots, vec![events[0].event_id.clone(); 5]);
    let (said, edit) = (&events[4], &events[5]);
    assert_eq!(said.msgtype(), "m.notice", "it flaps");
    assert!(new_body(edit).contains("🔁 2 times since"), "{}", new_body(edit));
    assert!(new_body(edit).starts_with("🟠 WARNING"), "{}", new_body(edit));
    Ok(())
}

#[tokio::test]
async fn what_flaps_makes_a_phone_buzz_once() -> Result<()> {
    let scene = Scene::new().await?;
    let gateway = scene.phone().await?;
    let _bridge = scene.start(&scene.config())?;
    for round in 0..10 {
        let status = if round % 2 == 0 { "firing" } else { "resolved" };
        scene.nats.publish("ops.alert.db-01", alert("critical", status)).await?;
    }
    let mut reader = scene.reader().await?;
    read_all(&mut reader, 1 + 9 * 2).await?;
    // Four times it comes back, which is an edit of the first.
    let edits = if scene.kind.pushes_no_edits() { 0 } else { 4 };
    let pushes = gateway.settle(1 + edits, PATIENCE, Duration::from_secs(3)).await;
    let seen: Vec<_> = pushes.iter().map(|push| push.body.as_str()).collect();
    assert_eq!(seen.len(), 1 + edits, "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn what_fires_again_later_is_another_conversation() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes += "flapping = \"1s\"\n";
    let _bridge = scene.start(&config)?;
    for status in ["firing", "resolved", "firing"] {
        sleep(Duration::from_millis(2100)).await;
        scene.nats.publish("ops.alert.db-01", alert("warning", status)).await?;
    }
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 4).await?;
    assert_eq!((events[3].msgtype(), relation(&events[3])), ("m.text", None));
    Ok(())
}

#[tokio::test]
async fn what_goes_on_for_long_is_said_aloud_again() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes += "remind = \"2s\"\n";
    let _bridge = scene.start(&config)?;
    for _ in 0..2 {
        scene.nats.publish("ops.alert.db-01", alert("warning", "firing")).await?;
    }
    sleep(Duration::from_millis(3100)).await;
    scene.nats.publish("ops.alert.db-01", alert("warning", "firing")).await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 3).await?;
    let kinds: Vec<_> = events.iter().map(Event::msgtype).collect();
    assert_eq!(kinds, ["m.text", "m.notice", "m.text"]);
    assert_eq!(relation(&events[2]), Some(("m.thread", events[0].event_id.as_str())));
    Ok(())
}

/// Kills fall between an event and what is noted of it, between two events of one message, and before
/// the acknowledgement.
#[tokio::test]
async fn kills_show_nothing_twice_and_forget_no_end() -> Result<()> {
    let scene = Scene::new().await?;
    let alerts = 20;
    let say = |number: usize, status: &str| {
        json!({ "severity": "warning", "summary": "down", "source": format!("host-{number}"), "status": status })
            .to_string()
    };
    for status in ["firing", "resolved"] {
        let said = (0..alerts).map(|number| say(number, status));
        scene.nats.publish_many("ops.alert", said).await?;
    }
    let expected = alerts * 3;
    let mut reader = scene.reader().await?;
    let mut kills = 0;
    while reader.events().len() < expected {
        let bridge = scene.start(&scene.config())?;
        let before = reader.events().len();
        let enough = |events: &[Event]| events.len() > (before + kills % 5).min(expected - 1);
        reader.wait_until(enough, PATIENCE).await?;
        bridge.kill();
        kills += 1;
    }
    assert!(kills > 5, "{kills} kills");
    let _bridge = scene.start(&scene.config())?;
    let events = read_all(&mut reader, expected).await?;
    assert_eq!(events.len(), expected);
    for root in events.iter().filter(|event| relation(event).is_none()) {
        let to_root = |kind| {
            let is_it = |event: &&Event| relation(event) == Some((kind, root.event_id.as_str()));
            events.iter().filter(is_it).count()
        };
        assert_eq!((to_root("m.replace"), to_root("m.thread")), (1, 1), "{}", root.said());
    }
    Ok(())
}

#[tokio::test]
async fn alerts_of_a_group_are_one_conversation() -> Result<()> {
    let scene = Scene::new().await?;
    let _bridge = scene.start(&scene.config())?;
    let group = |members: &[(&str, &str)]| {
        let alerts: Vec<Value> = members
            .iter()
            .map(|(host, status)| {
                json!({
                    "status": status,
                    "labels": { "alertname": "Down", "instance": host, "severity": "warning" },
                    "startsAt": "2026-11-23T06:00:00Z",
                    "endsAt": if *status == "resolved" { "2026-11-23T06:10:00Z" } else { "0001-01-01T00:00:00Z" },
                })
            })
            .collect();
        let fires = members.iter().any(|(_, status)| *status == "firing");
        json!({
            "version": "4",
            "groupKey": "{}:{alertname=\"Down\"}",
            "status": if fires { "firing" } else { "resolved" },
            "groupLabels": { "alertname": "Down" },
            "commonLabels": { "alertname": "Down" },
            "alerts": alerts,
        })
        .to_string()
    };
    for members in [
        vec![("a", "firing")],
        vec![("a", "firing"), ("b", "firing")],
        vec![("a", "resolved"), ("b", "firing")],
        vec![("a", "resolved"), ("b", "resolved")],
    ] {
        scene.nats.publish("ops.alertmanager", group(&members)).await?;
    }
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 5).await?;
    let id = events[0].event_id.as_str();
    let seen: Vec<_> = events.iter().map(|event| (event.msgtype(), relation(event))).collect();
    assert_eq!(
        seen,
        [
            ("m.text", None),
            ("m.text", Some(("m.thread", id))),
            ("m.notice", Some(("m.thread", id))),
            ("m.notice", Some(("m.replace", id))),
            ("m.notice", Some(("m.thread", id))),
        ]
    );
    assert!(new_body(&events[3]).starts_with("✅ 2 alerts: Down"), "{}", new_body(&events[3]));
    assert!(events[4].body().contains("after 10 min"), "{}", events[4].body());
    Ok(())
}

#[tokio::test]
async fn without_a_bucket_alerts_arrive_all_the_same() -> Result<()> {
    let users = "authorization { users = [\n\
        { user: all, password: all },\n\
        { user: few, password: for-the-few, permissions: { publish: { deny: [\"$KV.>\", \"$JS.API.STREAM.*.KV_nats-matrix-alerts\"] } } },\n\
    ] }\n";
    let options =
        || async_nats::ConnectOptions::new().user_and_password("all".to_owned(), "all".to_owned());
    let nats = Nats::builder().config(users).client_options(options).start().await?;
    let scene = Scene::with(shared_homeserver().await?, nats).await?;
    let config = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot)
        .nats("user = \"few\"\npassword = \"for-the-few\"")
        .route("reports", "ops.>", &scene.room);
    let mut bridge = scene.start(&config)?;
    for status in ["firing", "resolved"] {
        scene.nats.publish("ops.alert.db-01", alert("warning", status)).await?;
    }
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 3).await?;
    assert_eq!(relation(&events[1]), Some(("m.replace", events[0].event_id.as_str())));
    let said = bridge.wait_for_log("known only until the next restart", PATIENCE).await?;
    assert!(said.contains("$KV.nats-matrix-alerts.>"), "{said}");
    Ok(())
}

pub(crate) const BUCKET: &str = "nats-matrix-alerts";

fn named(name: &str) -> String {
    json!({ "severity": "critical", "summary": name, "source": "db-01", "fingerprint": name })
        .to_string()
}

/// Shows an alert of each name, stops, and changes what the bucket has of each.
async fn forge(
    scene: &Scene,
    config: &Config,
    names: &[&str],
    change: impl Fn(&str, &mut Value),
) -> Result<usize> {
    let bridge = scene.start(config)?;
    for name in names {
        scene.nats.publish("ops.alert.db-01", named(name)).await?;
    }
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, names.len()).await?;
    let bucket = scene.nats.jetstream().await?.get_key_value(BUCKET).await?;
    for event in &events {
        let name = names.iter().find(|name| event.body().contains(**name)).expect("one of them");
        let (key, mut known) = kept(&bucket, &event.event_id).await?;
        change(name, &mut known["state"]);
        bucket.put(key, known.to_string().into()).await?;
    }
    bridge.kill();
    Ok(events.len())
}

/// The entry of the bucket for the conversation with that root, as soon as there is one.
pub(crate) async fn kept(bucket: &kv::Store, root: &str) -> Result<(String, Value)> {
    let search = async {
        loop {
            let keys: Vec<String> = bucket.keys().await?.try_collect().await?;
            for key in keys {
                let Some(value) = bucket.get(&key).await? else { continue };
                let value: Value = serde_json::from_slice(&value)?;
                if value["state"]["root"] == root {
                    return anyhow::Ok((key, value));
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await?
}

/// A moment in nanoseconds since 1970, as text.
fn nanoseconds(from_now: Duration) -> String {
    (jiff::Timestamp::now() + from_now).as_nanosecond().to_string()
}

#[tokio::test]
async fn a_forged_conversation_hides_no_alert() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    let names = ["of-a-late-number", "of-a-number", "of-a-late-word"];
    let change = |name: &str, known: &mut Value| match name {
        "of-a-late-number" => {
            known["last"]["seq"] = json!(u64::MAX);
            known["last"]["published"] = json!("9".repeat(30));
        }
        // Within what the clocks may differ.
        "of-a-number" => {
            known["last"]["seq"] = json!(u64::MAX);
            known["last"]["published"] = json!(nanoseconds(Duration::from_mins(10)));
        }
        _ => known["said"] = json!(i64::MAX),
    };
    let before = forge(&scene, &config, &names, change).await?;
    for name in names {
        scene.nats.publish("ops.alert.db-01", named(name)).await?;
    }
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, before + names.len()).await?;
    for (event, name) in events[before..].iter().zip(names) {
        assert!(event.body().contains(name), "{}", event.body());
        assert_eq!((event.msgtype(), relation(event)), ("m.text", None), "{name} is news");
    }
    let logs = bridge.logs();
    assert_eq!(logs.matches("with times in the future").count(), 1, "{logs}");
    assert!(logs.contains("is not in the room, although"), "{logs}");
    Ok(())
}

#[tokio::test]
async fn nor_one_that_is_in_a_digest() -> Result<()> {
    let scene = Scene::new().await?;
    let change = |_: &str, known: &mut Value| {
        known["last"]["seq"] = json!(u64::MAX);
        known["last"]["published"] = json!(nanoseconds(Duration::from_mins(10)));
    };
    let before = forge(&scene, &scene.config(), &["forged"], change).await?;
    scene.nats.publish("ops.alert.db-01", named("forged")).await?;
    // No phone buzzes for these.
    for percent in 1..=5 {
        let report = json!({ "host": "db-01", "disk_percent": percent });
        scene.nats.publish("ops.report", report.to_string()).await?;
    }
    let _bridge = scene.start(&scene.config().digests(3))?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, before + 2).await?;
    let sum = &events[before];
    assert!(sum.body().starts_with("📚"), "{}", sum.body());
    assert_eq!(sum.msgtype(), "m.text", "it is as loud as the alert, which is news");
    Ok(())
}

/// An attacker who may publish into the bucket and knows no event of the bridge makes one up.
#[tokio::test]
async fn a_root_that_does_not_exist_shows_an_alert_once() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    let invented = format!("${}", "a".repeat(43));
    let before = forge(&scene, &config, &["made up"], |_, known| {
        known["root"] = json!(invented);
        known["pushed"] = json!(known["said"]);
    })
    .await?;
    scene.nats.publish("ops.alert.db-01", named("made up")).await?;
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, before + 1).await?;
    let [_, shown] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!((shown.msgtype(), relation(shown)), ("m.text", None), "{}", shown.said());
    Ok(())
}

/// A user who may write the bucket can neither say that people were told of an alert, nor use the signature of another
/// state.
#[tokio::test]
async fn a_forged_push_mutes_no_alert() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    let of = |severity: &str, name: &str| {
        json!({ "severity": severity, "summary": name, "source": "db-01", "fingerprint": name })
            .to_string()
    };
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let names = ["changed", "unsigned", "copied", "true"];
    for name in names {
        let severity = if name == "true" { "critical" } else { "warning" };
        scene.nats.publish("ops.alert.db-01", of(severity, name)).await?;
    }
    let events = read_all(&mut reader, 4).await?;
    let bucket = scene.nats.jetstream().await?.get_key_value(BUCKET).await?;
    let (_, told) = kept(&bucket, &events[3].event_id).await?;
    for (event, name) in events.iter().zip(names) {
        let (key, mut known) = kept(&bucket, &event.event_id).await?;
        let state = &mut known["state"];
        state["urgency"] = json!("critical");
        state["level"] = json!("critical");
        state["members"] = told["state"]["members"].clone();
        match name {
            "changed" => {}
            "unsigned" => known = state.take(),
            "copied" => known = told.clone(),
            _ => continue,
        }
        bucket.put(key, known.to_string().into()).await?;
    }
    bridge.terminate()?;
    bridge.wait(PATIENCE).await?;
    for name in names {
        scene.nats.publish("ops.alert.db-01", of("critical", name)).await?;
    }
    let bridge = scene.start(&config)?;
    let events = read_all(&mut reader, 8).await?;
    let shown = |name: &str| {
        let of_name = |event: &&Event| event.body().contains(name);
        events[4..].iter().find(of_name).with_context(|| format!("{name}: {events:#?}"))
    };
    for name in ["changed", "unsigned", "copied"] {
        assert_eq!(shown(name)?.msgtype(), "m.text", "{name}: {}", bridge.logs());
    }
    assert_eq!(shown("true")?.msgtype(), "m.notice", "people were told: {}", bridge.logs());
    Ok(())
}

/// A moderator who removes the first message of an alert mutes it only until its next message.
#[tokio::test]
async fn an_alert_whose_first_message_was_removed_begins_anew() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    scene.nats.publish("ops.alert.db-01", alert("critical", "firing")).await?;
    let root = read_all(&mut reader, 1).await?[0].event_id.clone();
    scene.alice.redact(&scene.room, &root).await?;
    scene.nats.publish("ops.alert.db-01", alert("critical", "firing")).await?;
    bridge.wait_for_log("the alert begins anew", PATIENCE).await?;
    let news =
        |events: &[Event]| events.iter().filter(|event| event.msgtype() == "m.text").count() == 2;
    let events = reader.wait_until(news, PATIENCE).await?;
    let shown = events.last().expect("two");
    assert_eq!(relation(shown), None, "it is no reply to what is gone");
    // Updates of the new first message are quiet again.
    let anew = shown.event_id.clone();
    scene.nats.publish("ops.alert.db-01", alert("critical", "firing")).await?;
    let replies = |events: &[Event]| {
        events.iter().any(|event| relation(event) == Some(("m.thread", anew.as_str())))
    };
    reader.wait_until(replies, PATIENCE).await?;
    Ok(())
}

/// The bridge has just seen the first message, which an update of the alert goes under.
#[tokio::test]
async fn what_gets_critical_is_never_put_under_a_message_that_was_just_removed() -> Result<()> {
    let scene = Scene::new().await?;
    let phone = scene.phone().await?;
    let config = scene.config().lines(&mention(&scene.alice.user_id));
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    for _ in 0..2 {
        scene.nats.publish("ops.alert.db-01", alert("warning", "firing")).await?;
    }
    let root = read_all(&mut reader, 2).await?[0].event_id.clone();
    scene.alice.redact(&scene.room, &root).await?;
    scene.nats.publish("ops.alert.db-01", alert("critical", "firing")).await?;
    let is_critical = |event: &Event| event.body().contains("CRITICAL");
    let events = reader.wait_until(|events| events.iter().any(is_critical), PATIENCE).await?;
    let shown = events.iter().find(|event| is_critical(event)).expect("seen");
    assert_eq!((shown.msgtype(), relation(shown)), ("m.text", None), "{shown:?}");
    assert_eq!(shown.content["m.mentions"]["user_ids"], json!([scene.alice.user_id]));
    let id = shown.event_id.clone();
    let pushes = phone.settle(2, PATIENCE, Duration::from_secs(1)).await;
    assert!(pushes.iter().any(|push| push.event_id == id), "{pushes:?}");
    Ok(())
}

fn of_host(name: &str, status: &str) -> String {
    json!({
        "severity": "critical",
        "summary": format!("Disk of {name} almost full"),
        "source": name,
        "fingerprint": format!("disk:{name}"),
        "status": status,
    })
    .to_string()
}

#[tokio::test]
async fn the_end_of_an_alert_is_seen_after_its_beginning_was_lost_with_a_backup() -> Result<()> {
    let homeserver = Homeserver::builder().as_process().start(BINARY).await?;
    let files = homeserver.files().context("a process has files")?.to_owned();
    let scene = Scene::on(&homeserver).await?;
    let backup = scene.dir.path().join("backup");
    let copy = |from: &Path, to: &Path| -> Result<()> {
        if to.exists() {
            std::fs::remove_dir_all(to)?;
        }
        let status = Command::new("cp").arg("-a").args([from, to]).status()?;
        ensure!(status.success(), "cp: {status}");
        Ok(())
    };
    let _bridge = scene.start(&scene.config())?;
    scene.nats.publish("ops.alert.db-01", of_host("db-01", "firing")).await?;
    read_all(&mut scene.reader().await?, 1).await?;
    homeserver.kill().await;
    copy(&files, &backup)?;
    homeserver.restart().await?;
    for _ in 0..2 {
        scene.nats.publish("ops.alert.db-02", of_host("db-02", "firing")).await?;
    }
    read_all(&mut scene.reader().await?, 3).await?;
    homeserver.kill().await;
    copy(&backup, &files)?;
    homeserver.restart().await?;
    for name in ["db-01", "db-02"] {
        scene.nats.publish(&format!("ops.alert.{name}"), of_host(name, "resolved")).await?;
    }
    let mut reader = scene.reader().await?;
    // The first message of db-01, its edit and its end, and a new first message of db-02.
    let is_end = |event: &Event| event.body().contains("db-02") && relation(event).is_none();
    let events = reader.wait_until(|events| events.iter().any(is_end), PATIENCE).await?;
    let end = events.iter().find(|event| is_end(event)).expect("seen");
    assert!(end.body().starts_with("✅ RESOLVED"), "{}", end.body());
    let seen = reader.settle(Duration::from_secs(1)).await?;
    assert_eq!(seen.iter().filter(|event| is_end(event)).count(), 1, "{seen:#?}");
    Ok(())
}

#[tokio::test]
async fn nor_is_one_muted_in_a_digest_by_removing_its_first_message() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config().digests(2);
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    scene.nats.publish("ops.alert.db-01", alert("critical", "firing")).await?;
    let root = read_all(&mut reader, 1).await?[0].event_id.clone();
    bridge.kill();
    scene.alice.redact(&scene.room, &root).await?;
    for _ in 0..5 {
        scene.nats.publish("ops.alert.db-01", alert("critical", "firing")).await?;
    }
    let _bridge = scene.start(&config)?;
    let sum = |events: &[Event]| events.iter().any(|event| event.body().contains("5 messages"));
    let events = reader.wait_until(sum, PATIENCE).await?;
    let sum = events.iter().find(|event| event.body().contains("5 messages")).expect("seen");
    assert_eq!(
        sum.msgtype(),
        "m.text",
        "it is as loud as the alert, which nobody can see any more"
    );
    Ok(())
}
