//! Hours in which only what is critical is shown at once.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::{
    HeaderMap,
    jetstream::{
        self,
        stream::{Config as StreamConfig, SubjectTransform},
    },
};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use nats_matrix_testbed::{Clock, Event, Nats, TcpProxy};
use serde_json::json;

use crate::{
    connections::{CONSUMER, KEPT, LOGIN, NEEDED, WANTED, restricted},
    health::{Pages, listening},
    hostile::{BROKEN, publish_on},
    scene::{Config, PATIENCE, Scene, read_all, shared_homeserver},
};

/// Quiet hours that began an hour ago and end in about an hour: too late for a test that does not set its clock.
pub(crate) struct Night {
    /// The line of the route.
    pub(crate) line: String,
    end: Timestamp,
}

impl Night {
    pub(crate) fn now() -> Self {
        let now = Timestamp::now();
        let (begin, end) = (now - Duration::from_hours(1), now + Duration::from_hours(1));
        let minute = |at: Timestamp| at.strftime("%H:%M").to_string();
        let line =
            format!("quiet = {{ from = \"{}\", to = \"{}\" }}\n", minute(begin), minute(end));
        let whole = TimestampRound::new().smallest(Unit::Minute).mode(RoundMode::Trunc);
        let end = end.round(whole).unwrap();
        Self { line, end }
    }

    /// Sets a clock so that the quiet hours are over in `rest`.
    pub(crate) fn is_over_in(&self, rest: Duration, clock: &Clock) -> Result<()> {
        clock.set(self.end.duration_since(Timestamp::now() + rest).as_secs())
    }
}

/// The line of a route whose quiet hours last for as long as the test.
pub(crate) fn quiet() -> String {
    Night::now().line
}

pub(crate) fn alert(severity: &str, summary: &str, status: &str) -> String {
    json!({ "severity": severity, "summary": summary, "status": status }).to_string()
}

#[tokio::test]
async fn what_is_not_critical_comes_in_the_morning() -> Result<()> {
    let (scene, clock) = Scene::new().await?.with_clock()?;
    let night = Night::now();
    let mut config = scene.config();
    config.routes.push_str(&night.line);
    scene.nats.publish("ops.report", r#"{"host":"db-01","disk_percent":14}"#).await?;
    scene.nats.publish("ops.alert", alert("warning", "first", "firing")).await?;
    scene.nats.publish("ops.alert", alert("critical", "second", "firing")).await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = reader.wait_for(1, PATIENCE).await?;
    assert_eq!(events[0].body(), "🔴 CRITICAL: second\n📍 (via ops.alert)");
    bridge.kill();
    let bridge = scene.start(&config)?;
    scene.nats.publish("ops.alert", alert("critical", "second", "resolved")).await?;
    scene.nats.publish("ops.alert", alert("info", "third", "firing")).await?;
    // The end of a critical alert is told at once, and pushes nowhere.
    wait_until_held(&scene, 3).await.with_context(|| bridge.logs())?;
    let events = reader.wait_for(3, PATIENCE).await?;
    assert_eq!(events.len(), 3, "more is shown at night: {events:#?}");

    // The bridge runs when its clock is set, and when the night is over.
    night.is_over_in(Duration::from_secs(5), &clock)?;
    let events = read_all(&mut reader, 5).await?;
    let [_, _, _, sum, thread] = events.as_slice() else { panic!("{events:#?}") };
    assert!(sum.body().starts_with("📚 3 messages, 20"), "{}", sum.body());
    assert_eq!(sum.msgtype(), "m.text");
    for text in
        ["db-01 Operational Report", "🟠 WARNING: first", "🔵 INFO: third", "· ops.report\n"]
    {
        assert_eq!(thread.said().matches(text).count(), 1, "{}", thread.said());
    }
    // By day all is as ever, and the conversations go on.
    scene.nats.publish("ops.alert", alert("warning", "first", "resolved")).await?;
    let events = read_all(&mut reader, 6).await?;
    assert_eq!(events[5].content["m.relates_to"]["event_id"], sum_id(&events).as_str());
    Ok(())
}

#[tokio::test]
async fn what_was_published_on_a_broken_subject_is_held_and_shown_with_it() -> Result<()> {
    let scene = Scene::new().await?;
    let by_day = scene.config();
    let mut by_night = by_day.clone();
    by_night.routes.push_str(&quiet());
    let head = b"NATS/1.0\r\n\r\n";
    publish_on(&scene, BROKEN, head, &alert("warning", "broken", "firing")).await?;
    scene.nats.publish("ops.alert", alert("critical", "other", "firing")).await?;
    let mut bridge = scene.start(&by_night)?;
    let mut reader = scene.reader().await?;
    let events = reader.wait_for(1, PATIENCE).await.with_context(|| bridge.logs())?;
    assert_eq!(events[0].body(), "🔴 CRITICAL: other\n📍 (via ops.alert)");
    assert!(bridge.is_running()? && !bridge.logs().contains("panicked"), "{}", bridge.logs());
    let logs = bridge.logs();
    bridge.kill();
    let bridge = scene.start(&by_day)?;
    let events = reader.wait_for(2, PATIENCE).await;
    let events = events.with_context(|| format!("{logs}\n{}", bridge.logs()))?;
    let via = "🟠 WARNING: broken\n📍 (via ops.text.a X:b%0D)";
    assert_eq!(events[1].said(), via);
    Ok(())
}

/// An alert that was shown before and goes on is no reason to wake anybody, unless it is critical.
#[tokio::test]
async fn what_goes_on_makes_no_noise_at_night() -> Result<()> {
    let scene = Scene::new().await?;
    let by_day = scene.config();
    let mut by_night = by_day.clone();
    by_night.routes.push_str(&quiet());
    let group = |hosts: &[&str], severity: &str| {
        let alert = |host: &&str| json!({ "status": "firing", "labels": { "alertname": "Down", "instance": host, "severity": severity } });
        json!({ "groupKey": "{}:{alertname=\"Down\"}", "status": "firing", "groupLabels": { "alertname": "Down" },
                "alerts": hosts.iter().map(alert).collect::<Vec<_>>() })
        .to_string()
    };
    let mut reader = scene.reader().await?;
    let bridge = scene.start(&by_day)?;
    scene.nats.publish("ops.alert", group(&["a"], "warning")).await?;
    reader.wait_for(1, PATIENCE).await?;
    scene.nats.publish("ops.alert", group(&["a", "b"], "warning")).await?;
    assert_eq!(reader.wait_for(2, PATIENCE).await?[1].msgtype(), "m.text", "by day that is news");
    bridge.kill();
    let _bridge = scene.start(&by_night)?;
    scene.nats.publish("ops.alert", group(&["a", "b", "c"], "warning")).await?;
    assert_eq!(reader.wait_for(3, PATIENCE).await?[2].msgtype(), "m.notice");
    scene.nats.publish("ops.alert", group(&["a", "b", "c", "d"], "critical")).await?;
    assert_eq!(reader.wait_for(4, PATIENCE).await?[3].msgtype(), "m.text");
    Ok(())
}

/// Anybody can publish one that is as large as may be, and nobody else is to be woken by that.
#[tokio::test]
async fn what_is_too_large_to_be_held_is_shown_alone() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes.push_str(&quiet());
    let max_payload = scene.nats.client().await?.server_info().max_payload;
    let warning = |number: u8| alert("warning", &format!("alert {number}"), "firing");
    scene.nats.publish("ops.alert", warning(1)).await?;
    scene.nats.publish("ops.text", "x".repeat(max_payload)).await?;
    scene.nats.publish("ops.alert", warning(2)).await?;
    let mut headers = async_nats::HeaderMap::new();
    #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
    headers.insert("X-Huge", "h".repeat(65_450));
    let jetstream = scene.nats.jetstream().await?;
    jetstream.publish_with_headers("ops.text", headers, "with huge headers".into()).await?.await?;
    scene.nats.publish("ops.alert", warning(3)).await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    reader.wait_for(3, PATIENCE).await.with_context(|| bridge.logs())?;
    wait_until_held(&scene, 3).await.with_context(|| bridge.logs())?;
    let events = reader.settle(Duration::from_secs(2)).await?;
    let [text, file, with_headers] = events else { panic!("{events:#?}") };
    assert!(text.body().starts_with("xxx") && file.msgtype() == "m.file");
    assert_eq!(with_headers.said(), "with huge headers");
    Ok(())
}

/// NATS that does not answer for a while may have the copies all the same.
#[tokio::test]
async fn what_is_held_while_nats_is_slow_is_not_shown_twice() -> Result<()> {
    let scene = Scene::new().await?;
    let link =
        TcpProxy::start(&format!("127.0.0.1:{}", scene.nats.port()), Duration::from_millis(20))
            .await?;
    let url = format!("nats://{}", link.address());
    let mut config =
        Config::new(&url, &scene.bot.homeserver, &scene.bot).route("reports", "ops.>", &scene.room);
    config.routes.push_str(&quiet());
    let warnings = (0..50).map(|number| alert("warning", &format!("alert {number}"), "firing"));
    scene.nats.publish_many("ops.alert", warnings).await?;
    let bridge = scene.start(&config)?;
    wait_until_held_some(&scene).await.with_context(|| bridge.logs())?;
    // Longer than an answer is waited for, and not so long that the connection is given up.
    link.hold();
    tokio::time::sleep(Duration::from_secs(8)).await;
    link.release();
    wait_until_held(&scene, 50).await.with_context(|| bridge.logs())?;
    let mut reader = scene.reader().await?;
    let shown = reader.settle(Duration::from_secs(2)).await?;
    assert_eq!(shown.len(), 0, "nothing is shown at night: {shown:#?}\n{}", bridge.logs());
    Ok(())
}

fn sum_id(events: &[Event]) -> String {
    events[3].event_id.clone()
}

/// Starts a bridge and kills it at different moments, later ones after more kills.
async fn kill_after_a_moment(scene: &Scene, config: &Config, kills: u64) -> Result<()> {
    let bridge = scene.start(config)?;
    tokio::time::sleep(Duration::from_millis(700 + 300 * (kills % 5) + 50 * kills)).await;
    bridge.kill();
    Ok(())
}

/// A night in which much waits, for several rooms, and in which everything is killed again and again.
#[tokio::test]
async fn of_a_busy_night_nothing_is_lost_and_nothing_shown_twice() -> Result<()> {
    let (scene, clock) = Scene::new().await?.with_clock()?;
    let (_, server) = scene.bot.user_id.split_once(':').unwrap();
    let name = scene.bot.localpart();
    let mut readers = Vec::new();
    for host in ["a", "b"] {
        let room = json!({ "preset": "private_chat", "room_alias_name": format!("{name}-{host}"),
                           "invite": [scene.bot.user_id] });
        let room = scene.alice.create_room(room).await?;
        readers.push(scene.alice.reader(&room).await?);
    }
    let night = Night::now();
    let room = format!("#{name}-{{subject.2}}:{server}");
    let mut config = scene.config_for("ops.*", &room).digests(10);
    config.routes.push_str(&night.line);
    config = config.lines(&format!("room_creators = [\"{}\"]", scene.alice.user_id));
    for number in 0..60 {
        let host = if number % 3 == 0 { "b" } else { "a" };
        let severity = if number % 20 == 0 { "critical" } else { "info" };
        let alert = json!({ "severity": severity, "summary": format!("alert {number} of all"),
                            "fingerprint": number.to_string() });
        scene.nats.publish(&format!("ops.{host}"), alert.to_string()).await?;
    }
    // All but the three critical ones are held before the morning, however slow the machine is.
    let mut kills = 0;
    while kills < 8 || held(&scene).await < 57 {
        kill_after_a_moment(&scene, &config, kills).await?;
        kills += 1;
        anyhow::ensure!(kills < 40, "{} are held after {kills} kills", held(&scene).await);
    }
    night.is_over_in(Duration::from_secs(3), &clock)?;
    for more in 0..6 {
        kill_after_a_moment(&scene, &config, kills + more).await?;
    }
    let _bridge = scene.start(&config)?;
    let mut shown = String::new();
    for reader in &mut readers {
        let in_thread = |events: &[Event]| events.iter().any(|event| event.body().contains("── "));
        reader.wait_until(in_thread, PATIENCE).await?;
        for event in reader.settle(Duration::from_secs(5)).await? {
            // The sum of a digest repeats some of what is in its thread.
            if !event.body().starts_with("📚") {
                shown.push_str(event.body());
                shown.push('\n');
            }
        }
    }
    for number in 0..60 {
        let text = format!("alert {number} of all");
        assert_eq!(shown.matches(&format!(": {text}\n")).count(), 1, "{text} in\n{shown}");
    }
    Ok(())
}

/// The permissions that quiet hours need besides, as docs/src/reference/nats-permissions.md says.
pub(crate) const HELD: [&str; 11] = [
    "nats-matrix.held.reports.>",
    "$JS.API.STREAM.INFO.NATS_MATRIX_HELD",
    "$JS.API.STREAM.CREATE.NATS_MATRIX_HELD",
    "$JS.API.STREAM.UPDATE.NATS_MATRIX_HELD",
    "$JS.API.STREAM.MSG.GET.NATS_MATRIX_HELD",
    "$JS.API.CONSUMER.INFO.NATS_MATRIX_HELD.*",
    "$JS.API.CONSUMER.CREATE.NATS_MATRIX_HELD.*.>",
    "$JS.API.CONSUMER.MSG.NEXT.NATS_MATRIX_HELD.*",
    "$JS.ACK.NATS_MATRIX_HELD.*.>",
    "$JS.API.CONSUMER.CREATE.NATS_MATRIX_HELD",
    "$JS.API.CONSUMER.DELETE.NATS_MATRIX_HELD.*",
];

/// The number of messages that are held.
async fn held(scene: &Scene) -> u64 {
    let Ok(jetstream) = scene.nats.jetstream().await else { return 0 };
    let stream = jetstream.get_stream("NATS_MATRIX_HELD").await;
    stream.map_or(0, |held| held.cached_info().state.messages)
}

/// Waits until exactly so many messages are held.
pub(crate) async fn wait_until_held(scene: &Scene, count: u64) -> Result<()> {
    wait_until(async || held(scene).await == count).await
}

/// Waits until a few messages are held, and others perhaps on their way.
pub(crate) async fn wait_until_held_some(scene: &Scene) -> Result<()> {
    wait_until(async || held(scene).await > 5).await
}

async fn wait_until(is_so: impl AsyncFn() -> bool) -> Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "not held");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_held_when_quiet_hours_are_taken_away_is_shown_at_once() -> Result<()> {
    let scene = Scene::new().await?;
    let by_day = scene.config();
    let mut by_night = by_day.clone();
    by_night.routes.push_str(&quiet());
    scene.nats.publish("ops.alert", alert("warning", "first", "firing")).await?;
    let bridge = scene.start(&by_night)?;
    wait_until_held(&scene, 1).await.with_context(|| bridge.logs())?;
    bridge.kill();
    let _bridge = scene.start(&by_day)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 1).await?;
    assert_eq!(events[0].body(), "🟠 WARNING: first\n📍 (via ops.alert)");
    Ok(())
}

#[tokio::test]
async fn the_documented_permissions_suffice() -> Result<()> {
    let scene = restricted(&[&NEEDED[..], &KEPT, &WANTED, &HELD].concat()).await?;
    let (scene, clock) = scene.with_clock()?;
    let night = Night::now();
    let mut config = scene.config().digests(2).nats(LOGIN).lines(CONSUMER);
    config.routes.push_str(&night.line);
    for summary in ["first", "second", "third"] {
        scene.nats.publish("ops.alert", alert("warning", summary, "firing")).await?;
    }
    let bridge = scene.start(&config)?;
    // Held messages are outstanding until the morning, also for a new process.
    wait_until_held(&scene, 3).await.with_context(|| bridge.logs())?;
    bridge.kill();
    night.is_over_in(Duration::from_secs(2), &clock)?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    assert!(events[0].body().starts_with("📚 3 messages"), "{}", events[0].body());
    assert!(!bridge.logs().contains("WARN"), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_held_back_is_shown() -> Result<()> {
    let users = "authorization { users = [\n\
        { user: all, password: all },\n\
        { user: few, password: for-the-few, permissions: { publish: { deny: [\"nats-matrix.>\", \"$JS.API.STREAM.*.NATS_MATRIX_HELD\"] } } },\n\
    ] }\n";
    let options =
        || async_nats::ConnectOptions::new().user_and_password("all".to_owned(), "all".to_owned());
    let nats = Nats::builder().config(users).client_options(options).start().await?;
    let scene = Scene::with(shared_homeserver().await?, nats).await?;
    let mut config = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot)
        .nats("user = \"few\"\npassword = \"for-the-few\"")
        .route("reports", "ops.>", &scene.room);
    config.routes.push_str(&quiet());
    let mut bridge = scene.start(&listening(config))?;
    let pages = Pages::of(&mut bridge).await?;
    scene.nats.publish("ops.alert", alert("warning", "first", "firing")).await?;
    let mut reader = scene.reader().await?;
    let events = reader.wait_for(1, PATIENCE).await?;
    assert_eq!(events[0].body(), "🟠 WARNING: first\n📍 (via ops.alert)");
    // All works but this.
    let said = pages.wait_for("connected").await?;
    assert_eq!(said["routes"].as_object().map(serde_json::Map::len), Some(1), "{said}");
    bridge.wait_for_log("nothing can be held back in quiet hours", PATIENCE).await?;
    Ok(())
}

/// The header of a copy as an earlier version of the bridge has made it, or somebody else does.
#[expect(clippy::disallowed_methods, reason = "texts without line breaks")]
fn headers_of_a_copy(subject: &str, published: i128) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Matrix-Subject", subject);
    headers.insert("Nats-Matrix-Published", published.to_string());
    headers
}

/// Waits until the bridge has its stream for quiet hours.
async fn wait_until_prepared(scene: &Scene) -> Result<jetstream::stream::Stream> {
    let jetstream = scene.nats.jetstream().await?;
    wait_until(async || jetstream.get_stream("NATS_MATRIX_HELD").await.is_ok()).await?;
    Ok(jetstream.get_stream("NATS_MATRIX_HELD").await?)
}

/// Somebody who may publish there stores his message first, in the place of one that waits to be held.
#[tokio::test]
async fn a_forged_copy_neither_takes_the_place_of_a_message_nor_speaks_for_another() -> Result<()> {
    let scene = Scene::new().await?;
    let by_day = scene.config();
    let mut by_night = by_day.clone();
    by_night.routes.push_str(&quiet());
    let mut bridge = scene.start(&by_night)?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    let held = wait_until_prepared(&scene).await?;
    bridge.kill();

    let jetstream = scene.nats.jetstream().await?;
    let sequence = scene.nats.publish("ops.alert", alert("warning", "true", "firing")).await?;
    let ops = jetstream.get_stream("OPS").await?;
    let published = ops.get_raw_message(sequence).await?.time.unix_timestamp_nanos();
    let created = ops.cached_info().created.unix_timestamp_nanos();
    for (subject, summary) in [
        (format!("{created}.{published}.{sequence}"), "in its place"),
        (format!("{created}.{}.{}", published + 1, u64::MAX), "of the future"),
        ("x".to_owned(), "of nothing"),
    ] {
        let headers = headers_of_a_copy("ops.alert", published);
        let subject = format!("nats-matrix.held.reports.{subject}");
        let forged = alert("info", summary, "firing").into();
        jetstream.publish_with_headers(subject, headers, forged).await?.await?;
    }
    let bridge = scene.start(&by_night)?;
    wait_until_held(&scene, 4).await.with_context(|| bridge.logs())?;
    bridge.kill();
    // A true copy that is published once more is not taken.
    let copy = held.get_last_raw_message_by_subject("nats-matrix.held.reports.>").await?;
    let again = jetstream.publish_with_headers(copy.subject, copy.headers, copy.payload);
    again.await?.await.unwrap_err();

    let bridge = scene.start(&by_day)?;
    let events = read_all(&mut scene.reader().await?, 2).await?;
    let [_, thread] = events.as_slice() else { panic!("{events:#?}") };
    let all = thread.body();
    let (forged, own) = all.split_at(all.find("· ops.alert\n").with_context(|| bridge.logs())?);
    assert!(own.contains("🟠 WARNING: true\n📍 (via ops.alert)"), "{all}");
    for (subject, summary) in [
        (format!("{created}.{published}.{sequence}"), "in its place"),
        (format!("{created}.{}.{}", published + 1, u64::MAX), "of the future"),
        ("x".to_owned(), "of nothing"),
    ] {
        let said = format!("🔵 INFO: {summary}\n📍 (via nats-matrix.held.reports.{subject})");
        assert!(forged.contains(&said), "{said}\n{all}");
    }
    assert_eq!(bridge.logs().matches("was not deferred by this bridge").count(), 1);
    Ok(())
}

#[tokio::test]
async fn what_an_earlier_version_has_held_is_shown_as_what_it_is() -> Result<()> {
    let scene = Scene::new().await?;
    let jetstream = scene.nats.jetstream().await?;
    scene.nats.create_stream("NATS_MATRIX_HELD", &["nats-matrix.held.>"]).await?;
    let headers = headers_of_a_copy("ops.alert", Timestamp::now().as_nanosecond());
    let payload = alert("warning", "first", "firing").into();
    let subject = "nats-matrix.held.reports.1.2.3";
    jetstream.publish_with_headers(subject, headers, payload).await?.await?;
    let bridge = scene.start(&scene.config())?;
    let events = read_all(&mut scene.reader().await?, 1).await?;
    assert_eq!(events[0].body(), "🟠 WARNING: first\n📍 (via ops.alert)", "{}", bridge.logs());
    Ok(())
}

/// Somebody else may have made the stream: one that moves what it takes, and soon forgets it.
#[tokio::test]
async fn what_a_stream_of_others_would_lose_is_shown_at_once() -> Result<()> {
    let scene = Scene::new().await?;
    let transform = SubjectTransform { source: ">".to_owned(), destination: "moved.>".to_owned() };
    let held = StreamConfig {
        name: "NATS_MATRIX_HELD".to_owned(),
        subjects: vec!["nats-matrix.held.>".to_owned()],
        max_age: Duration::from_secs(10),
        subject_transform: Some(transform),
        ..StreamConfig::default()
    };
    scene.nats.jetstream().await?.create_stream(held).await?;
    let mut config = scene.config();
    config.routes.push_str(&quiet());
    let check = String::from_utf8(scene.run(&config, &["check"])?.stdout)?;
    let said = "NATS_MATRIX_HELD does not keep what nats-matrix writes there: a subject transform moves its messages, \
                its max_age is shorter than 25 hours: correct that";
    assert!(check.contains(said), "{check}");
    scene.nats.publish("ops.alert", alert("warning", "first", "firing")).await?;
    let mut bridge = scene.start(&config)?;
    let events = read_all(&mut scene.reader().await?, 1).await?;
    assert_eq!(events[0].body(), "🟠 WARNING: first\n📍 (via ops.alert)");
    let said =
        "nothing can be held back in quiet hours, so all is shown at once: stream NATS_MATRIX_HELD";
    bridge.wait_for_log(said, PATIENCE).await?;
    Ok(())
}
