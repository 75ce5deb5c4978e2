//! The summary of a route: when it comes, how often, and what it shows.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit, tz::TimeZone};
use nats_matrix_testbed::{Clock, Event, Fault, FaultKind};
use serde_json::{Value, json};

use crate::scene::{Config, PATIENCE, Scene};

const MARK: &str = "io.github.nats-matrix.summary";

/// A line of the route: a summary every day, at the minute of a moment.
fn daily_at(moment: Timestamp) -> String {
    let time = moment.to_zoned(TimeZone::UTC).strftime("%H:%M");
    format!("summary = {{ every = \"day\", at = \"{time}\" }}\n")
}

/// The beginning of the next minute that is not so near that it is over before a clock is set.
fn next_minute() -> Result<Timestamp> {
    let soon = Timestamp::now() + SignedDuration::from_secs(15);
    Ok(soon.round(TimestampRound::new().smallest(Unit::Minute).mode(RoundMode::Ceil))?)
}

/// Sets a clock so that it is this moment in `rest`.
fn set_before(moment: Timestamp, rest: Duration, clock: &Clock) -> Result<()> {
    let ahead = moment.duration_since(Timestamp::now()) - SignedDuration::try_from(rest)?;
    clock.set(ahead.as_secs())
}

fn with(mut config: Config, line: &str) -> Config {
    config.routes += line;
    config
}

fn summaries(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.content.get(MARK).is_some()).collect()
}

/// Asserts that a PNG of the size that `info` says is behind a URI.
async fn check_picture(scene: &Scene, url: &Value, info: &Value) -> Result<()> {
    let bytes = scene.alice.download(url.as_str().context("no URI")?).await?;
    assert_eq!(info["size"], bytes.len());
    assert_eq!(info["mimetype"], "image/png");
    let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
    assert_eq!(
        (&info["w"], &info["h"]),
        (&json!(reader.info().width), &json!(reader.info().height))
    );
    Ok(())
}

async fn publish(scene: &Scene) -> Result<()> {
    for (subject, payload) in [
        ("ops.server-01", r#"{"host":"server-01","disk_percent":14,"memory_percent":16}"#),
        ("ops.db-01", r#"{"host":"db-01","disk_percent":96.7,"memory_percent":40}"#),
        ("ops.db-01", r#"{"severity":"critical","summary":"Disk almost full","source":"db-01"}"#),
        ("ops.evil", r#"{"severity":"critical","summary":"Backup lost","source":"db-01"}"#),
        ("ops.x", "some text"),
    ] {
        scene.nats.publish(subject, payload).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_summary_comes_once_when_it_is_due() -> Result<()> {
    let (scene, clock) = Scene::new().await?.with_clock()?;
    let (proxy, config) = scene.through_proxy().await?;
    proxy.inject(Fault::on("/nm-summary-", FaultKind::CutAfterRequest).times(1));
    publish(&scene).await?;
    let due = next_minute()?;
    let config = with(config, &daily_at(due));
    // Long enough for what was published to be shown before.
    set_before(due, Duration::from_secs(10), &clock)?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    reader.wait_for(4, PATIENCE).await?;
    let before = bridge.rss_kib()?;
    reader.wait_until(|events| !summaries(events).is_empty(), PATIENCE).await?;
    let peak = bridge.peak_rss_kib()?;
    assert!(peak < before + 15 * 1024, "{before} KiB before the picture, {peak} KiB at its peak");
    bridge.kill();
    let mut bridge = scene.start(&config)?;
    scene.nats.publish("ops.x", "after the summary").await?;
    reader
        .wait_until(|events| events.last().unwrap().said() == "after the summary", PATIENCE)
        .await?;
    bridge.terminate()?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0);
    let events = reader.settle(Duration::from_secs(2)).await?.to_vec();

    // Not one of the day before, as there was no stream.
    let summaries = summaries(&events);
    assert_eq!(summaries.len(), 1, "{events:?}");
    let summary = summaries[0];
    let content = &summary.content;
    assert_eq!(summary.msgtype(), "m.image");
    assert_eq!(content["io.github.nats-matrix.origin"], Value::Null, "it is no message's");
    assert_eq!(
        (&content[MARK]["stream"], &content[MARK]["route"]),
        (&json!("OPS"), &json!("reports"))
    );
    assert_eq!(content["m.mentions"], json!({}));
    let lines: Vec<&str> = summary.body().lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "2 reports from 2 hosts, 2 alerts (2 critical), 1 other message",
            "💾 Disk almost full: db-01 97%",
            "🔴 Not resolved: Disk almost full (db-01), Backup lost (db-01) (via ops.evil)",
        ]
    );
    assert!(summary.html().starts_with("<strong>📈 Summary of reports, "));
    let today = due.to_zoned(TimeZone::UTC).date();
    assert_eq!(content["filename"], format!("reports-{today}.png"));
    check_picture(&scene, &content["url"], &content["info"]).await?;
    let info = &content["info"];
    check_picture(&scene, &info["thumbnail_url"], &info["thumbnail_info"]).await?;
    assert_eq!(info["w"], 1080);
    assert_eq!(info["thumbnail_info"]["w"], 540);
    Ok(())
}

#[tokio::test]
async fn a_summary_that_was_missed_comes_late_and_says_when_there_was_nothing() -> Result<()> {
    let (scene, clock) = Scene::new().await?.with_clock()?;
    // Due when no bridge runs, and after there is a stream.
    let due = next_minute()?;
    set_before(due, Duration::ZERO, &clock)?;
    let config = with(scene.config(), &daily_at(due));
    let mut reader = scene.reader().await?;
    for _ in 0..3 {
        let bridge = scene.start(&config)?;
        reader.wait_until(|events| !summaries(events).is_empty(), PATIENCE).await?;
        reader.settle(Duration::from_secs(2)).await?;
        bridge.kill();
        // With a new login the homeserver knows nothing of our transactions; the room does.
        scene.forget_session()?;
    }
    let events = reader.settle(Duration::from_secs(2)).await?;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].msgtype(), "m.notice");
    assert!(events[0].body().ends_with("\n⚠️ Nothing came in."), "{}", events[0].body());
    Ok(())
}

#[tokio::test]
async fn a_homeserver_that_takes_no_pictures_gets_the_words() -> Result<()> {
    let (scene, clock) = Scene::new().await?.with_clock()?;
    let (proxy, config) = scene.through_proxy().await?;
    let answer = json!({ "errcode": "M_TOO_LARGE", "error": "too large" });
    proxy.inject(Fault::on("/upload", FaultKind::respond(413, answer)));
    publish(&scene).await?;
    let due = next_minute()?;
    set_before(due, Duration::from_secs(3), &clock)?;
    let _bridge = scene.start(&with(config, &daily_at(due)))?;
    let mut reader = scene.reader().await?;
    let events = reader.wait_until(|events| !summaries(events).is_empty(), PATIENCE).await?;
    let summary = summaries(events)[0];
    assert_eq!(summary.msgtype(), "m.notice");
    assert!(summary.body().contains("2 reports from 2 hosts"), "{}", summary.body());
    Ok(())
}

#[tokio::test]
async fn summary_shows_what_a_route_takes_up_to_now() -> Result<()> {
    let scene = Scene::new().await?;
    publish(&scene).await?;
    let config = with(scene.config(), "match.kind = \"report\"\nlanguage = \"zh\"\n");
    let file = scene.dir.path().join("picture.png");
    let file = file.to_str().unwrap();
    let output = scene.run(&config, &["summary", "--output", file, "--post"])?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("\n2 台主机的 2 份报告\n💾 磁盘将满：db-01 97%\n\n"), "{said}");
    assert!(said.contains(&format!("The picture is in {file}")), "{said}");
    let mut reader = scene.reader().await?;
    let events = reader.wait_for(1, PATIENCE).await?;
    assert!(said.starts_with(events[0].body()), "{said}");
    let posted = scene.alice.download(events[0].content["url"].as_str().unwrap()).await?;
    assert_eq!(std::fs::read(file)?, posted);
    // It left nothing behind in the stream.
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    assert_eq!(stream.cached_info().state.consumer_count, 0);

    let output = scene.run(&config, &["summary", "--route", "nobody"])?;
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no route \"nobody\", only reports"), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_a_stream_does_not_keep_cannot_be_summed_up_but_is_relayed() -> Result<()> {
    let scene = Scene::new().await?;
    let jetstream = scene.nats.jetstream().await?;
    jetstream.delete_stream("OPS").await?;
    let queue = async_nats::jetstream::stream::Config {
        name: "OPS".to_owned(),
        subjects: vec!["ops.>".to_owned()],
        retention: async_nats::jetstream::stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    jetstream.create_stream(queue).await?;
    let config = with(scene.config(), &daily_at(Timestamp::now()));
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("retention workqueue", PATIENCE).await?;
    scene.publish_numbered(1, 3).await?;
    let mut reader = scene.reader().await?;
    assert_eq!(crate::scene::read_all(&mut reader, 3).await?.len(), 3);
    for command in ["summary", "check"] {
        let output = scene.run(&config, &[command])?;
        assert_eq!(output.status.code(), Some(64));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("route reports: stream OPS deletes messages once"), "{said}");
    }
    Ok(())
}
