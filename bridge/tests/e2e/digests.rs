//! Digests of what is too much to be read one by one.

use std::{collections::HashSet, time::Duration};

use anyhow::{Result, bail};
use nats_matrix_testbed::Event;
use serde_json::json;
use tokio::time::Instant;

use crate::noise::mention;
use crate::scene::{PATIENCE, Scene, assert_each_once_in_order, read_all};

fn alert(severity: &str, host: &str, status: &str) -> String {
    json!({ "severity": severity, "summary": "Disk almost full", "source": host, "status": status })
        .to_string()
}

fn relation(event: &Event) -> Option<(&str, &str)> {
    let relation = &event.content["m.relates_to"];
    Some((relation["rel_type"].as_str()?, relation["event_id"].as_str()?))
}

/// The texts under the heads in the threads, in order.
fn shown(events: &[Event]) -> Vec<&str> {
    let in_thread = events.iter().filter(|event| relation(event).is_some());
    let heads = in_thread.flat_map(|event| event.body().split("── ").skip(1));
    heads.map(|message| message.split_once('\n').unwrap_or_default().1.trim()).collect()
}

/// The events that sum up a digest.
fn sums(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| relation(event).is_none()).collect()
}

#[tokio::test]
async fn what_waited_is_one_message_and_one_buzz() -> Result<()> {
    let scene = Scene::new().await?;
    let gateway = scene.phone().await?;
    let mut config = scene.config().digests(20);
    config.routes.push_str(&mention(&scene.alice.user_id));
    for number in 0..60 {
        let host = format!("db-{:02}", number % 3);
        let alert = alert("warning", &host, "firing");
        scene.nats.publish(&format!("ops.alert.{host}"), alert).await?;
        let report = json!({ "host": host, "disk_percent": 14 }).to_string();
        scene.nats.publish(&format!("ops.report.{host}"), report).await?;
    }
    scene.nats.publish("ops.alert.evil", alert("critical", "web-01", "firing")).await?;
    scene.nats.publish("ops.alert.db-02", alert("warning", "db-02", "resolved")).await?;
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    let [sum] = sums(&events)[..] else { panic!("one sum: {events:#?}") };
    assert_eq!(sum.msgtype(), "m.text");
    assert_eq!(sum.content["m.mentions"]["user_ids"], json!([scene.alice.user_id]));
    let lines: Vec<_> = sum.body().lines().collect();
    assert!(lines[0].starts_with("📚 122 messages, 20"), "{}", sum.body());
    assert_eq!(lines[1], "🔴 1 critical · 🟠 2 warning · ✅ 1 resolved · 📊 60 reports");
    assert_eq!(lines[2], "📍 db-02 41, db-00 40, db-01 40, web-01 (via ops.alert.evil) 1");
    assert_eq!(lines[4], "🔴 CRITICAL: Disk almost full");
    assert!(sum.body().contains("The newest:\n✅ RESOLVED: Disk almost full"), "{}", sum.body());
    assert_eq!(shown(&events).len(), 122);
    for event in events.iter().skip(1) {
        assert_eq!(event.msgtype(), "m.notice");
        assert_eq!(relation(event), Some(("m.thread", sum.event_id.as_str())));
    }
    let pushes = gateway.settle(1, PATIENCE, Duration::from_secs(3)).await;
    assert_eq!(pushes.len(), 1, "{:?}", pushes.iter().map(|push| &push.body).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn few_messages_and_routine_ones_make_no_noise() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config().digests(20);
    config.routes += "match.kind = \"report\"\n";
    // Only those of the route count.
    for number in 0..50 {
        scene.nats.publish("ops.text", format!("other {number}")).await?;
    }
    let report = |number: usize| json!({ "host": "db", "disk_percent": number }).to_string();
    scene.nats.publish_many("ops.report", (0..20).map(report)).await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 20).await?;
    assert_eq!((events.len(), shown(&events).len()), (20, 0));
    bridge.kill();
    scene.nats.publish_many("ops.report", (0..21).map(report)).await?;
    let _bridge = scene.start(&config)?;
    let events = read_all(&mut reader, 22).await?;
    assert_eq!(events.len(), 22, "a sum and one piece");
    assert!(events.iter().all(|event| event.msgtype() == "m.notice"));
    assert_eq!(shown(&events).len(), 21);
    Ok(())
}

/// Kills fall between the events of a digest and of two of them, and before the acknowledgements.
#[tokio::test]
async fn kills_lose_nothing_of_a_digest_and_show_nothing_twice() -> Result<()> {
    let scene = Scene::new().await?;
    // A digest that was begun is finished, also by one that would begin none.
    let (with, without) = (scene.config().digests(50), scene.config());
    let (count, mut published, mut kills) = (12_000, 0, 0);
    let mut reader = scene.reader().await?;
    while shown(reader.events()).len() < count {
        let some = 4_000.min(count - published);
        if some > 0 {
            scene.publish_numbered(published + 1, published + some).await?;
            published += some;
        }
        let bridge = scene.start(&with)?;
        let before = reader.events().len();
        let enough =
            |events: &[Event]| events.len() > before + kills % 7 || shown(events).len() >= count;
        if let Err(error) = reader.wait_until(enough, PATIENCE).await {
            let in_room = scene.alice.messages(&scene.room).await?;
            let missing = |events: &[Event]| {
                let there: HashSet<&str> = shown(events).into_iter().collect();
                let all = (1..=published).map(|number| format!("message {number}"));
                all.filter(|text| !there.contains(text.as_str())).collect::<Vec<_>>().join(", ")
            };
            bail!(
                "after {kills} kills {before} events were there, and now {}; the reader misses {}; the room misses {}; {}\n{error}",
                reader.events().len(),
                missing(reader.events()),
                missing(&in_room),
                bridge.logs()
            );
        }
        bridge.kill();
        kills += 1;
    }
    assert!(kills > 5, "{kills} kills");
    let _bridge = scene.start(&without)?;
    let events = reader.settle(Duration::from_secs(3)).await?.to_vec();
    let messages: Vec<Event> = shown(&events)
        .into_iter()
        .map(|body| Event { content: json!({ "body": body }), ..events[0].clone() })
        .collect();
    assert_each_once_in_order(&messages, count);
    for event in events.iter().filter(|event| relation(event).is_some()) {
        let root = relation(event).unwrap().1;
        assert!(sums(&events).iter().any(|sum| sum.event_id == root));
    }
    Ok(())
}

#[tokio::test]
async fn ten_thousand_alerts_are_one_message_in_little_memory() -> Result<()> {
    let scene = Scene::new().await?;
    let hosts =
        (0..10_000).map(|number| alert("warning", &format!("host-{}", number % 500), "firing"));
    scene.nats.publish_many("ops.alert", hosts).await?;
    let began = Instant::now();
    let bridge = scene.start(&scene.config().digests(100))?;
    let mut reader = scene.reader().await?;
    reader.wait_until(|events| shown(events).len() == 10_000, PATIENCE).await?;
    let peak = bridge.peak_rss_kib()? / 1024;
    // How long it takes is measured by `cargo bench-bridge`.
    eprintln!("10,000 alerts after {:.1?}, with at most {peak} MiB", began.elapsed());
    assert_eq!(sums(reader.events()).len(), 1);
    assert!(peak < 100, "more than the service may have: {peak} MiB");
    Ok(())
}

#[tokio::test]
async fn a_digest_goes_on_with_conversations_and_begins_them() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config().digests(20);
    let mut reader = scene.reader().await?;
    let bridge = scene.start(&config)?;
    scene.nats.publish("ops.alert", alert("warning", "old", "firing")).await?;
    reader.wait_for(1, PATIENCE).await?;
    bridge.kill();
    let hosts = (0..30).map(|number| alert("warning", &format!("host-{number}"), "firing"));
    scene.nats.publish_many("ops.alert", hosts).await?;
    scene.nats.publish("ops.alert", alert("warning", "old", "resolved")).await?;
    let _bridge = scene.start(&config)?;
    let events = read_all(&mut reader, 4).await?;
    let old = events[0].event_id.as_str();
    let edit = events.iter().find(|event| relation(event) == Some(("m.replace", old))).unwrap();
    let text = edit.content["m.new_content"]["body"].as_str().unwrap();
    assert!(text.starts_with("✅ RESOLVED") && text.contains(" s)"), "{text}");

    let digest = sums(&events)[1].event_id.clone();
    scene.nats.publish("ops.alert", alert("warning", "host-7", "resolved")).await?;
    let events = read_all(&mut reader, 5).await?;
    let over = &events[4];
    assert_eq!(relation(over), Some(("m.thread", digest.as_str())), "the digest is not edited");
    assert!(over.body().starts_with("✅ RESOLVED after"), "{}", over.body());
    Ok(())
}

/// An alert that has made a phone buzz does so only when it is due again, however much of it is said together.
#[tokio::test]
async fn a_digest_of_what_is_known_is_silent() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config().digests(20);
    config.routes.push_str(&mention(&scene.alice.user_id));
    let hosts = |severity: &str| -> Vec<String> {
        (0..30).map(|number| alert(severity, &format!("host-{number}"), "firing")).collect()
    };
    let mut reader = scene.reader().await?;
    let mut loudness = Vec::new();
    let new = alert("critical", "host-31", "firing");
    for messages in [hosts("critical"), hosts("critical"), [hosts("critical"), vec![new]].concat()]
    {
        scene.nats.publish_many("ops.alert", messages).await?;
        // A new process knows nothing of the storm before.
        let bridge = scene.start(&config)?;
        let before = reader.events().len();
        reader.wait_for(before + 2, PATIENCE).await?;
        reader.settle(Duration::from_secs(2)).await?;
        let sum = &reader.events()[before];
        loudness.push((sum.msgtype().to_owned(), sum.content["m.mentions"]["user_ids"].is_array()));
        bridge.kill();
    }
    let [text, notice] = ["m.text", "m.notice"].map(str::to_owned);
    assert_eq!(loudness, [(text.clone(), true), (notice, false), (text, true)]);
    Ok(())
}

#[tokio::test]
async fn what_is_long_has_its_file_in_the_thread() -> Result<()> {
    let scene = Scene::new().await?;
    let long = "x".repeat(20_000);
    for number in 0..30 {
        let text = if number == 13 { long.clone() } else { format!("message {number}") };
        scene.nats.publish("ops.text", text).await?;
    }
    let _bridge = scene.start(&scene.config().digests(20))?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 4).await?;
    let kinds: Vec<_> = events.iter().map(Event::msgtype).collect();
    assert_eq!(kinds, ["m.text", "m.notice", "m.file", "m.notice"]);
    let file = &events[2];
    assert_eq!(relation(file), Some(("m.thread", events[0].event_id.as_str())));
    let bytes = scene.alice.download(file.content["url"].as_str().unwrap()).await?;
    assert_eq!(bytes, long.as_bytes());
    assert_eq!(shown(&events).len(), 30);
    Ok(())
}

/// A publisher who makes a storm on a subject of its own causes digests, but takes away nobody's push.
#[tokio::test]
async fn a_storm_of_another_does_not_mute_what_is_critical() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config().digests(20);
    config.routes.push_str(&mention(&scene.alice.user_id));
    let mut number = 0;
    let mut noise = |count: usize| -> Vec<String> {
        number += count;
        let of = |number| json!({ "severity": "critical", "summary": format!("noise {number}"), "fingerprint": format!("n{number}") });
        (number - count..number).map(|number| of(number).to_string()).collect()
    };
    let mut reader = scene.reader().await?;
    let digests = |events: &[Event]| -> Vec<Event> {
        events.iter().filter(|event| event.body().starts_with("📚")).cloned().collect()
    };
    scene.nats.publish_many("ops.alert.evil", noise(100)).await?;
    let _bridge = scene.start(&config)?;
    reader.wait_until(|events| digests(events).len() == 1, PATIENCE).await?;
    scene.nats.publish_many("ops.alert.evil", noise(200)).await?;
    reader.wait_until(|events| digests(events).len() == 2, PATIENCE).await?;
    let real = json!({ "severity": "critical", "source": "db-01", "summary": "REAL DISK FULL" });
    let (before, after) = (noise(150), noise(100));
    scene.nats.publish_many("ops.alert.evil", before).await?;
    scene.nats.publish("ops.alert.db-01", real.to_string()).await?;
    scene.nats.publish_many("ops.alert.evil", after).await?;
    reader.wait_until(|events| digests(events).len() == 3, PATIENCE).await?;
    scene.nats.publish_many("ops.alert.evil", noise(200)).await?;
    reader.wait_until(|events| digests(events).len() == 4, PATIENCE).await?;
    let digests = digests(reader.events());
    let loudness: Vec<_> = digests
        .iter()
        .map(|it| (it.msgtype(), it.content["m.mentions"]["user_ids"].is_array()))
        .collect();
    let [loud, silent] = [("m.text", true), ("m.notice", false)];
    assert_eq!(loudness, [loud, silent, loud, silent]);
    let shown = digests[2].body();
    let first = shown.lines().position(|line| line.contains("CRITICAL")).unwrap_or_default();
    assert!(shown.lines().nth(first).is_some_and(|it| it.contains("REAL DISK FULL")), "{shown}");
    Ok(())
}
