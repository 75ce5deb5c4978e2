//! Limits to what fills disks: files on the homeserver, and streams of NATS.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::{
    self,
    stream::{Config as StreamConfig, DiscardPolicy},
};
use nats_matrix_testbed::{Event, Fault, FaultKind, FaultProxy};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    front::{Answers, Front},
    health::{Pages, listening},
    quiet::{alert, quiet},
    scene::{Config, HASTE, PATIENCE, Scene, read_all},
};

const MIB: i64 = 1024 * 1024;

/// A text of that many kB that begins with its number.
fn long(number: usize, kilobytes: usize) -> String {
    format!("text {number} {}", "long ".repeat(kilobytes * 200))
}

/// Whether each of the first texts has its file and the others say that theirs are withheld. All is there once.
#[track_caller]
fn assert_files(events: &[Event], files: usize, withheld: usize) {
    let of = |kind: &str| events.iter().filter(|event| event.msgtype() == kind).count();
    assert_eq!((of("m.file"), events.len()), (files, 2 * files + withheld), "{events:#?}");
    for number in 1..=files + withheld {
        let begin = format!("text {number} ");
        let texts: Vec<_> = events.iter().filter(|it| it.body().starts_with(&begin)).collect();
        let [text] = texts.as_slice() else { panic!("{number}: {texts:?}") };
        let is_said = text.body().contains("not attached");
        assert_eq!(is_said, number > files, "{}", text.said());
        let place = format!("it is message {number} of stream OPS");
        assert_eq!(text.said().contains(&place), number > files, "{}", text.said());
    }
}

/// Neither a kill nor a start gives more than there is in an hour, and nothing comes twice.
#[tokio::test]
async fn files_beyond_the_limit_of_an_hour_are_not_uploaded() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = listening(scene.config());
    config.routes += "attach_limit = \"500 kB\"\n";
    let texts = (1..=6).map(|number| long(number, 200));
    scene.nats.publish_many("ops.text", texts).await?;
    let mut reader = scene.reader().await?;
    // Killed at about each of the events.
    for count in 1..=6 {
        let bridge = scene.start(&config)?;
        reader.wait_for(count, PATIENCE).await.with_context(|| bridge.logs())?;
        bridge.kill();
    }
    let mut bridge = scene.start(&config)?;
    scene.nats.publish_many("ops.text", (7..=8).map(|number| long(number, 200))).await?;
    assert_files(&read_all(&mut reader, 10).await?, 2, 6);
    let pages = Pages::of(&mut bridge).await?;
    let withheld = "nats_matrix_attachments_withheld_total{route=\"reports\"}";
    assert!(pages.number(withheld).await? >= 2.0);
    assert_eq!(bridge.logs().matches("more than attach_limit").count(), 1, "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn files_of_a_digest_are_counted_too() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config().digests(2);
    config.routes += "attach_limit = \"250 kB\"\n";
    scene.nats.publish_many("ops.text", (1..=6).map(|number| long(number, 100))).await?;
    let mut reader = scene.reader().await?;
    let _bridge = scene.start(&config)?;
    let has_last = |events: &[Event]| events.iter().any(|event| event.body().contains("text 6 "));
    reader.wait_until(has_last, PATIENCE).await?;
    let events = reader.settle(Duration::from_secs(2)).await?;
    assert_eq!(events.iter().filter(|event| event.msgtype() == "m.file").count(), 2);
    let texts = events.iter().map(|event| event.body().matches("not attached").count());
    assert_eq!(texts.sum::<usize>(), 4, "{events:#?}");
    Ok(())
}

#[tokio::test]
async fn a_route_can_upload_nothing() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes += "attach_limit = \"0\"\n";
    scene.nats.publish("ops.text", long(1, 10)).await?;
    let _bridge = scene.start(&config)?;
    let events = read_all(&mut scene.reader().await?, 1).await?;
    assert_files(&events, 0, 1);
    assert!(events[0].body().contains("this route attaches no files"), "{}", events[0].body());
    Ok(())
}

#[tokio::test]
async fn a_file_that_the_homeserver_does_not_take_is_no_dead_letter() -> Result<()> {
    let scene = Scene::new().await?;
    let front = Front::start(&scene.bot.homeserver).await?;
    front.set(Answers::NoFileOver(100_000));
    let config = Config::new(&scene.nats.url(), &front.url(), &scene.bot);
    let config = config.route("reports", "ops.>", &scene.room);
    let bridge = scene.start(&config)?;
    scene.nats.publish_many("ops.text", [long(1, 90), long(2, 150)]).await?;
    let events = read_all(&mut scene.reader().await?, 3).await?;
    assert_files(&events, 1, 1);
    let said = "the homeserver takes no file of more than 97.7 KiB";
    assert!(events[2].body().contains(said), "{}", events[2].body());
    assert!(!bridge.logs().contains("can never be posted"), "{}", bridge.logs());
    Ok(())
}

/// A homeserver whose media store is full, which takes all else.
async fn without_uploads(scene: &Scene) -> Result<(FaultProxy, Config)> {
    let (proxy, config) = scene.through_proxy().await?;
    let error = json!({ "errcode": "M_UNKNOWN", "error": "No space left on device" });
    proxy.inject(Fault::on("/upload", FaultKind::respond(500, error)));
    Ok((proxy, config))
}

#[tokio::test]
async fn when_the_homeserver_takes_no_files_the_texts_come_without_them() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let (proxy, config) = without_uploads(&scene).await?;
    let mut bridge = scene.start(&listening(config))?;
    scene.nats.publish_many("ops.text", [long(1, 100), long(2, 100)]).await?;
    scene.nats.publish("ops.text", "message 3").await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 5).await?;
    let said = "is not attached, as the homeserver has not taken the file: it is message";
    for (number, pair) in events[..4].chunks(2).enumerate() {
        assert!(pair[0].body().starts_with(&format!("text {} ", number + 1)), "{events:#?}");
        let line = format!("{said} {} of stream OPS", number + 1);
        assert!(pair[1].body().contains(&line), "{events:#?}");
        assert_eq!(pair[1].msgtype(), "m.notice");
    }
    assert_eq!((events[4].said(), events.len()), ("message 3", 5));
    let pages = Pages::of(&mut bridge).await?;
    let withheld = "nats_matrix_attachments_withheld_total{route=\"reports\"}";
    assert!((pages.number(withheld).await? - 2.0).abs() < 0.1);
    pages.wait_for("connected").await?;
    let logs = bridge.logs();
    assert_eq!(logs.matches("takes no files").count(), 1, "{logs}");
    assert!(!logs.contains("can never be posted"), "{logs}");
    // With room on the disk there are files again, once the next upload is tried, a minute after the last.
    proxy.clear();
    sleep(Duration::from_secs(66) / HASTE).await;
    scene.nats.publish("ops.text", long(4, 100)).await?;
    assert_eq!(read_all(&mut reader, 7).await?[6].msgtype(), "m.file");
    Ok(())
}

#[tokio::test]
async fn a_digest_comes_without_its_files_too() -> Result<()> {
    let scene = Scene::new().await?;
    let (_proxy, config) = without_uploads(&scene).await?;
    scene.nats.publish_many("ops.text", (1..=4).map(|number| long(number, 100))).await?;
    let _bridge = scene.start(&config.digests(2))?;
    let mut reader = scene.reader().await?;
    let has_last = |events: &[Event]| events[1..].iter().any(|it| it.body().contains("text 4 "));
    reader.wait_until(|events| events.len() > 1 && has_last(events), PATIENCE).await?;
    let events = reader.settle(Duration::from_secs(2)).await?;
    let of = |text: &str| events.iter().filter(|event| event.body().contains(text)).count();
    assert_eq!(of("the homeserver has not taken the file: it is message"), 4, "{events:#?}");
    for event in &events[1..] {
        assert_eq!(event.content["m.relates_to"]["event_id"], events[0].event_id, "{event:#?}");
    }
    Ok(())
}

/// A homeserver that is away takes no files either, and then they are waited for.
#[tokio::test]
async fn a_file_is_waited_for_as_long_as_the_homeserver_is_away() -> Result<()> {
    let scene = Scene::new().await?;
    let (proxy, config) = scene.through_proxy().await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    scene.publish_numbered(1, 1).await?;
    reader.wait_for(1, PATIENCE).await?;
    proxy.inject(Fault::on("/upload", FaultKind::CutBeforeRequest));
    proxy.inject(Fault::on("/joined_rooms", FaultKind::CutBeforeRequest));
    scene.nats.publish("ops.text", long(2, 100)).await?;
    reader.wait_for(2, PATIENCE).await?;
    sleep(Duration::from_secs(20)).await;
    proxy.clear();
    let events = read_all(&mut reader, 3).await?;
    assert_eq!(events[2].msgtype(), "m.file", "{}", bridge.logs());
    Ok(())
}

async fn config_of(jetstream: &jetstream::Context, stream: &str) -> Result<StreamConfig> {
    Ok(jetstream.get_stream(stream).await?.cached_info().config.clone())
}

/// Streams of an older version have no limit, and get one; a limit that somebody has set stays.
#[tokio::test]
async fn every_stream_of_ours_has_a_limit() -> Result<()> {
    let scene = Scene::new().await?;
    let jetstream = scene.nats.jetstream().await?;
    let held = StreamConfig {
        name: "NATS_MATRIX_HELD".to_owned(),
        subjects: vec!["nats-matrix.held.>".to_owned()],
        ..StreamConfig::default()
    };
    jetstream.create_stream(held).await?;
    let bucket = jetstream::kv::Config {
        bucket: "nats-matrix-alerts".to_owned(),
        history: 1,
        ..jetstream::kv::Config::default()
    };
    jetstream.create_key_value(bucket).await?;
    let mut config = scene.config();
    config.routes.push_str(&quiet());
    let check = String::from_utf8(scene.run(&config, &["check"])?.stdout)?;
    assert_eq!(check.matches("has no limit of bytes").count(), 2, "{check}");
    let mut bridge = scene.start(&config)?;
    scene.nats.publish("ops.alert", alert("critical", "first", "firing")).await?;
    scene.reader().await?.wait_for(1, PATIENCE).await?;
    bridge.wait_for_log("stream NATS_MATRIX_HELD had no limit", PATIENCE).await?;
    bridge.wait_for_log("stream KV_nats-matrix-alerts had no limit", PATIENCE).await?;
    let held = config_of(&jetstream, "NATS_MATRIX_HELD").await?;
    assert_eq!((held.max_bytes, held.discard), (64 * MIB, DiscardPolicy::New));
    let alerts = config_of(&jetstream, "KV_nats-matrix-alerts").await?;
    assert_eq!((alerts.max_bytes, alerts.discard), (64 * MIB, DiscardPolicy::Old));
    assert_eq!(alerts.max_message_size, 64 * 1024);
    bridge.kill();
    let own = StreamConfig { max_bytes: 5 * MIB, ..held };
    jetstream.update_stream(&own).await?;
    let _bridge = scene.start(&config)?;
    scene.nats.publish("ops.alert", alert("critical", "second", "firing")).await?;
    scene.reader().await?.wait_for(2, PATIENCE).await?;
    assert_eq!(config_of(&jetstream, "NATS_MATRIX_HELD").await?.max_bytes, 5 * MIB);
    let check = String::from_utf8(scene.run(&config, &["check"])?.stdout)?;
    assert!(!check.contains("has no limit of bytes"), "{check}");
    Ok(())
}

/// The alerts would fill the stream several times over.
#[tokio::test]
async fn when_nothing_more_can_be_held_it_is_shown_at_once() -> Result<()> {
    let scene = Scene::new().await?;
    let jetstream = scene.nats.jetstream().await?;
    let held = StreamConfig {
        name: "NATS_MATRIX_HELD".to_owned(),
        subjects: vec!["nats-matrix.held.>".to_owned()],
        max_bytes: 4_000,
        discard: DiscardPolicy::New,
        ..StreamConfig::default()
    };
    let mut held = jetstream.create_stream(held).await?;
    let mut config = scene.config();
    config.routes.push_str(&quiet());
    let alerts = (1..=20).map(|number| alert("warning", &format!("alert {number}."), "firing"));
    scene.nats.publish_many("ops.alert", alerts).await?;
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let is_last = |events: &[Event]| events.iter().any(|it| it.body().contains("alert 20."));
    reader.wait_until(is_last, PATIENCE).await.with_context(|| bridge.logs())?;
    let shown = reader.settle(Duration::from_secs(2)).await?;
    let held = usize::try_from(held.info().await?.state.messages)?;
    assert!(held > 0, "some are held");
    assert_eq!(held + shown.len(), 20, "{shown:#?}");
    for number in held + 1..=20 {
        let text = format!("alert {number}.");
        let count = shown.iter().filter(|event| event.body().contains(&text)).count();
        assert_eq!(count, 1, "{text}");
    }
    bridge
        .wait_for_log("so all is shown at once; NATS_MATRIX_HELD must not be full", PATIENCE)
        .await?;
    Ok(())
}
