//! Messages that are meant to harm readers, and what another client then gets from the homeserver.

#[path = "../../../fuzz/src/sound.rs"]
mod sound;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use nats_matrix_testbed::{Event, Fault, FaultKind};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use self::sound::{Markup, assert_sound};
use crate::scene::{Config, PATIENCE, Scene, printed, through_proxy};

/// The last message, after which nothing more is to come.
const END: &str = "the end";

/// Publishes the last message and returns all events of the room. None of them may mention anybody, or make Alice's
/// client highlight the room.
async fn all_sound(scene: &Scene, markup: Markup) -> Result<Vec<Event>> {
    scene.nats.publish("ops.x", END).await?;
    let mut reader = scene.reader().await?;
    let is_end = |events: &[Event]| events.iter().any(|event| event.said() == END);
    let events = reader.wait_until(is_end, PATIENCE).await?.to_vec();
    for event in events.iter().filter(|event| event.sender == scene.bot.user_id) {
        assert_sound(&event.content, markup);
    }
    assert_eq!(scene.alice.unread(&scene.room).await?.highlights, 0);
    Ok(events)
}

/// The messages of the fuzz targets' corpus, each with its subject and headers: reports, alerts, groups of Alertmanager
/// and Grafana, and what Uptime Kuma, Forgejo and `CloudEvents` send, all with HTML, scripts, mentions, addresses and
/// characters in them that mislead.
fn hostile_messages() -> Result<Vec<(String, HeaderMap, Vec<u8>)>> {
    let mut messages = Vec::new();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/render");
    for entry in std::fs::read_dir(directory).context(directory)? {
        let bytes = std::fs::read(entry?.path())?;
        let end = bytes.windows(2).position(|it| it == b"\n\n").context("no empty line")?;
        let mut lines = std::str::from_utf8(&bytes[..end])?.lines();
        let subject = lines.next().context("no subject")?.to_owned();
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            // JetStream would keep only the first of several messages with one id.
            if name != "Nats-Msg-Id" {
                #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
                headers.insert(name, value);
            }
        }
        messages.push((subject, headers, bytes[end + 2..].to_vec()));
    }
    Ok(messages)
}

async fn publish_all(scene: &Scene) -> Result<usize> {
    let (jetstream, messages) = (scene.nats.jetstream().await?, hostile_messages()?);
    let count = messages.len();
    for (subject, headers, payload) in messages {
        jetstream.publish_with_headers(subject, headers, payload.into()).await?.await?;
    }
    Ok(count)
}

#[tokio::test]
async fn no_message_of_any_shape_does_harm_to_its_readers() -> Result<()> {
    let scene = Scene::new().await?;
    let count = publish_all(&scene).await?;
    let bridge = scene.start(&scene.config())?;
    let events = all_sound(&scene, Markup::BuiltIn).await?;
    assert!(count > 20 && events.len() > count, "{} of {count} are shown", events.len());
    let links: usize = events.iter().map(|event| event.html().matches("<a href").count()).sum();
    assert!(links > 0, "what is no trick is still a link");
    assert!(!bridge.logs().contains("can never be posted"), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn nor_does_any_in_a_digest() -> Result<()> {
    let scene = Scene::new().await?;
    publish_all(&scene).await?;
    let _bridge = scene.start(&scene.config().digests(1))?;
    let mut reader = scene.reader().await?;
    let has_end = |events: &[Event]| events.iter().any(|event| event.body().contains(END));
    scene.nats.publish("ops.x", END).await?;
    let events = reader.wait_until(has_end, PATIENCE).await?.to_vec();
    assert!(events.iter().any(|event| event.body().starts_with("📚")), "{events:?}");
    for event in events {
        assert_sound(&event.content, Markup::BuiltIn);
    }
    assert_eq!(scene.alice.unread(&scene.room).await?.highlights, 0);
    Ok(())
}

#[tokio::test]
async fn nor_does_any_in_a_careless_template() -> Result<()> {
    let scene = Scene::new().await?;
    let directory = scene.dir.path().join("templates");
    std::fs::create_dir(&directory)?;
    let careless = "<p {{ subject }}>{{ headers['X-Y'] | default('') }}</p>\
                    <a href='{{ headers['X-Y'] | default('') }}'>a</a><img src='{{ headers['X-Y'] | default('') }}'>\
                    {% set ours = payload | string %}<b title='{{ ours }}'>{{ ours }}</b>\
                    {% include [ours, '../../../../etc/passwd', headers['X-Y'] | default('')] ignore missing %}";
    for kind in ["report", "alert", "alerts", "note", "event", "object", "text"] {
        std::fs::write(directory.join(format!("{kind}.html.jinja")), careless)?;
    }
    publish_all(&scene).await?;
    let mut config = scene.config();
    config.routes += "templates = \"templates\"\n";
    let bridge = scene.start(&config)?;
    let events = all_sound(&scene, Markup::Own).await?;
    assert!(events.iter().any(|event| event.html().starts_with("<p>")), "the templates are used");
    assert!(!bridge.logs().contains("root:"), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_megabyte_of_any_kind_is_shown_in_short_with_a_file() -> Result<()> {
    let scene = Scene::new().await?;
    let fill = |before: &str, repeated: &str, after: &str| {
        let count = (1_000_000 - before.len() - after.len()) / repeated.len();
        format!("{before}{}{after}", repeated.repeat(count))
    };
    let large = [
        fill("{\"a\":", "[", ""),
        fill("{\"host\":\"a\",\"completed\":[\"b\"", ",\"<b>@room\"", "]}"),
        fill("{\"severity\":\"critical\",\"summary\":\"", "<\u{202e}", "\"}"),
        fill("{\"severity\":\"critical\",\"summary\":\"s\",\"labels\":{\"a\":\"", "&", "\"}}"),
        fill(
            "{\"severity\":\"critical\",\"summary\":\"s\",\"url\":\"https://a.example/",
            "%22",
            "\"}",
        ),
        fill("{\"a\":\"", "https://a.example/ ", "\"}"),
        fill("{\"b\":1", ",\"b\":[[[1.5]]]", "}"),
        fill("", "\u{200b}", ""),
        fill("", "a\u{301}\u{302}", ""),
    ];
    for payload in &large {
        scene.nats.publish("ops.x", payload.clone()).await?;
    }
    let _bridge = scene.start(&scene.config())?;
    let events = all_sound(&scene, Markup::BuiltIn).await?;
    let files: Vec<&Event> = events.iter().filter(|event| event.msgtype() == "m.file").collect();
    assert_eq!(files.len(), large.len());
    let first = scene.alice.download(files[0].content["url"].as_str().unwrap_or_default()).await?;
    assert!(first == large[0].as_bytes(), "the file is what was published");
    Ok(())
}

/// Publishes as no client would, with these lines for headers.
async fn publish_raw(scene: &Scene, headers: &str, payload: &str) -> Result<()> {
    publish_bytes(scene, format!("NATS/1.0\r\n{headers}\r\n").as_bytes(), payload).await
}

/// The same with all that is before the payload.
async fn publish_bytes(scene: &Scene, head: &[u8], payload: &str) -> Result<()> {
    publish_on(scene, b"ops.raw", head, payload).await
}

/// The same on a subject that need not be text.
pub(crate) async fn publish_on(
    scene: &Scene,
    subject: &[u8],
    head: &[u8],
    payload: &str,
) -> Result<()> {
    let before = messages(scene).await?;
    let (header_size, size) = (head.len(), head.len() + payload.len());
    let mut server = TcpStream::connect(("127.0.0.1", scene.nats.port())).await?;
    let begin = b"CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB ";
    let sizes = format!(" {header_size} {size}\r\n");
    let end = format!("{payload}\r\nPING\r\n");
    server.write_all(&[begin, subject, sizes.as_bytes(), head, end.as_bytes()].concat()).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while messages(scene).await? == before {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "not stored: {payload}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn messages(scene: &Scene) -> Result<u64> {
    Ok(scene.nats.jetstream().await?.get_stream("OPS").await?.get_info().await?.state.messages)
}

#[tokio::test]
async fn odd_headers_keep_nothing_from_being_shown() -> Result<()> {
    let scene = Scene::new().await?;
    // JetStream takes 64 KiB of headers.
    let huge = format!("X-Huge: {}\r\n", "h".repeat(65_000));
    let many: Vec<String> = (0..3_000).map(|it| format!("X-{it}: <b>@room\r\n")).collect();
    let many = many.concat();
    let headers = [
        "X-Y: a\nInjected: b\r\n",
        "X-Y: \u{202e}b \u{1f600}\r\n",
        "X-Y: a\r\nX-Y: b\r\nx-y: c\r\n",
        "X-Y:\r\n folded\r\n",
        "\r\n",
        &huge,
        &many,
    ];
    for (number, lines) in (1..).zip(headers) {
        publish_raw(&scene, lines, &format!("message {number}")).await?;
    }
    let _bridge = scene.start(&scene.config())?;
    let events = all_sound(&scene, Markup::BuiltIn).await?;
    let shown: Vec<&str> = events.iter().map(Event::said).filter(|body| *body != END).collect();
    let expected: Vec<String> = (1..=headers.len()).map(|it| format!("message {it}")).collect();
    assert_eq!(shown, expected);
    Ok(())
}

/// Messages that break the connection of a client that reads them, end the client or are not handed on by it.
const POISON: [&[u8]; 6] = [
    b"NATS/1.0\r\nX-Y: a\rb\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nno name: a\r\n\r\n",
    b"NATS/1.0\r\nX-Y: \xff\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    // This one the client keeps for itself.
    b"NATS/1.0 100 x\r\n\r\n",
];

/// Each of them between two others.
pub(crate) async fn publish_poison(scene: &Scene) -> Result<usize> {
    for (number, head) in POISON.iter().enumerate() {
        scene.nats.publish("ops.x", format!("message {}", 2 * number + 1)).await?;
        publish_bytes(scene, head, &format!("message {}", 2 * number + 2)).await?;
    }
    Ok(2 * POISON.len())
}

#[tokio::test]
async fn headers_that_no_client_can_read_hold_nothing_up() -> Result<()> {
    let scene = Scene::new().await?;
    publish_poison(&scene).await?;
    let bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    reader.wait_for(2 * POISON.len(), PATIENCE).await.with_context(|| bridge.logs())?;
    // And again, now that it is up.
    publish_poison(&scene).await?;
    let events = all_sound(&scene, Markup::BuiltIn).await.with_context(|| bridge.logs())?;
    let shown: Vec<&str> = events.iter().map(Event::said).filter(|body| *body != END).collect();
    let once: Vec<String> = (1..=2 * POISON.len()).map(|it| format!("message {it}")).collect();
    assert_eq!(shown, [&once[..], &once[..]].concat());
    assert!(bridge.logs().contains("has headers that no client can read"), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn they_are_told_of_in_few_lines() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    let mut reader = scene.reader().await?;
    let count = 12;
    for number in 1..=count {
        publish_bytes(&scene, POISON[0], &format!("message {number}")).await?;
        reader.wait_for(number, PATIENCE).await.with_context(|| bridge.logs())?;
    }
    // Each has ended the client.
    bridge.wait_for_log("more times since", PATIENCE).await?;
    let logs = bridge.logs();
    assert_eq!(logs.matches("cannot read; reconnecting").count(), 1, "{logs}");
    assert!(logs.matches("posting into").count() <= 2, "{logs}");
    assert!(logs.matches("route reports: stopped").count() <= 2, "{logs}");
    Ok(())
}

/// Whether a message is shown, by itself or in a thread; the sum of a digest quotes some, too.
fn is_shown(events: &[Event], message: &str) -> bool {
    let mut shown = events.iter().map(Event::said).filter(|body| !body.starts_with("📚"));
    shown.any(|body| body.contains(message))
}

#[tokio::test]
async fn nor_do_they_in_a_digest() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(101, 120).await?;
    let count = publish_poison(&scene).await?;
    scene.publish_numbered(121, 740).await?;
    let bridge = scene.start(&scene.config().digests(10))?;
    scene.nats.publish("ops.x", END).await?;
    let mut reader = scene.reader().await?;
    let has_end = |events: &[Event]| is_shown(events, END);
    let events = reader.wait_until(has_end, PATIENCE).await.with_context(|| bridge.logs())?;
    let all: Vec<&str> = events.iter().map(Event::said).collect();
    assert!(all[0].starts_with("📚"), "{}", bridge.logs());
    for number in 1..=count {
        let line = format!("message {number}");
        let times: usize = all
            .iter()
            .filter(|body| !body.starts_with("📚"))
            .flat_map(|body| body.lines())
            .filter(|shown| shown.ends_with(&line))
            .count();
        assert_eq!(times, 1, "{line} in {all:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn nor_do_they_keep_what_waits_from_being_a_digest() -> Result<()> {
    let scene = Scene::new().await?;
    let warning = |number: usize| json!({ "severity": "warning", "summary": format!("message {number}"), "source": "db" });
    // Fewer between two of them than make a digest.
    let (between, most) = (20, 100);
    for number in 1..=300 {
        scene.nats.publish("ops.x", warning(number).to_string()).await?;
        if number % between == 0 {
            let subject: &[u8] = if number % 40 == 0 { b"ops.\xff" } else { b"ops.raw" };
            let head = if number % 40 == 0 { &b"NATS/1.0\r\n\r\n"[..] } else { POISON[0] };
            publish_on(&scene, subject, head, &warning(1_000 + number).to_string()).await?;
        }
    }
    let bridge = scene.start(&scene.config().digests(most))?;
    scene.nats.publish("ops.x", END).await?;
    let mut reader = scene.reader().await?;
    let has_end = |events: &[Event]| is_shown(events, END);
    let events = reader.wait_until(has_end, PATIENCE).await.with_context(|| bridge.logs())?;
    let loud: Vec<&str> = events
        .iter()
        .filter(|event| event.msgtype() == "m.text")
        .map(|event| event.body().lines().next().unwrap_or_default())
        .collect();
    assert_eq!(loud.len(), 1, "{loud:#?}");
    assert!(loud[0].starts_with("📚 31"), "all that waited is in it: {loud:?}");
    for number in (1..=300).chain((1..=15).map(|it| 1_000 + it * between)) {
        assert!(is_shown(events, &format!("message {number}")), "{number}");
    }
    Ok(())
}

#[tokio::test]
async fn nor_do_they_after_a_digest_that_was_begun() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let config = config.digests(10);
    scene.publish_numbered(101, 120).await?;
    // Its sum is shown, its thread is not.
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever).after(1));
    let bridge = scene.start(&config)?;
    proxy.wait_for_requests("/send/", 2, PATIENCE).await?;
    bridge.kill();
    proxy.clear();
    publish_poison(&scene).await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let last = format!("message {}", 2 * POISON.len());
    let has_last = |events: &[Event]| is_shown(events, &last);
    let events = reader.wait_until(has_last, PATIENCE).await.with_context(|| bridge.logs())?;
    assert!(events[0].body().starts_with("📚 20 messages"), "{}", events[0].body());
    assert_eq!(events[1].said().matches("── ").count(), 20, "{}", events[1].said());
    Ok(())
}

#[tokio::test]
async fn nor_do_they_in_a_summary() -> Result<()> {
    let scene = Scene::new().await?;
    let report = |host: usize| json!({ "host": host.to_string(), "disk_percent": 50 }).to_string();
    for (number, head) in POISON.iter().enumerate() {
        scene.nats.publish("ops.x", report(2 * number)).await?;
        publish_bytes(&scene, head, &report(2 * number + 1)).await?;
    }
    let output = scene.run(&scene.config(), &["summary"])?;
    let said = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{problems}");
    let all = format!("{} reports", 2 * POISON.len());
    assert!(said.contains(&all), "{said}{problems}");
    Ok(())
}

#[tokio::test]
async fn a_message_with_huge_headers_that_is_refused_is_kept_and_holds_nothing_up() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let answer =
        json!({ "errcode": "M_BAD_JSON", "error": format!("no\r\nX: {}", "y".repeat(100_000)) });
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
    // As much as JetStream takes, so that there is no room for anything more.
    let huge = format!("X-Small: kept\r\nX-Huge: {}\r\n", "h".repeat(65_400));
    publish_raw(&scene, &huge, &"refused ".repeat(10_000)).await?;
    let _bridge = scene.start(&config)?;
    let events = all_sound(&scene, Markup::BuiltIn).await?;
    assert!(events[0].body().contains("M_BAD_JSON"), "{}", events[0].body());
    let dead = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    let dead = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.reports").await?;
    let header = |name: &str| dead.headers.get(name).map(ToString::to_string);
    // The stream still has the whole.
    assert_eq!(dead.payload.len(), 8 * 1024);
    assert_eq!(header("Nats-Matrix-Cut").as_deref(), Some("8192 of 80000 bytes"));
    assert_eq!(header("Nats-Matrix-Sequence").as_deref(), Some("1"));
    assert_eq!(header("X-Small").as_deref(), Some("kept"));
    assert_eq!(header("X-Huge"), None);
    assert_eq!(header("Nats-Matrix-Headers-Left-Out").as_deref(), Some("1"));
    assert!(header("Nats-Matrix-Reason").is_some_and(|reason| reason.len() < 3_000));
    Ok(())
}

/// A subject that no header can have as it is.
pub(crate) const BROKEN: &[u8] = b"ops.text.a\rX:b%0D";

#[tokio::test]
async fn a_message_on_a_broken_subject_that_is_refused_is_kept_and_holds_nothing_up() -> Result<()>
{
    let scene = Scene::new().await?;
    let (proxy, config) = scene.through_proxy().await?;
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "no" });
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
    publish_on(&scene, BROKEN, b"NATS/1.0\r\n\r\n", "refused").await?;
    let mut bridge = scene.start(&config)?;
    let events = all_sound(&scene, Markup::BuiltIn).await.with_context(|| bridge.logs())?;
    assert!(events[0].body().contains("M_BAD_JSON"), "{}", events[0].body());
    assert!(bridge.is_running()? && !bridge.logs().contains("panicked"), "{}", bridge.logs());
    let dead = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    let dead = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.reports").await?;
    let subject = dead.headers.get("Nats-Matrix-Subject").map(ToString::to_string);
    assert_eq!(subject.as_deref(), Some("ops.text.a%0DX:b%250D"));
    assert_eq!(dead.payload, "refused");
    Ok(())
}

/// A stream that somebody has made for dead letters may take none as large as they are, or none at all.
#[tokio::test]
async fn a_message_of_which_no_dead_letter_is_taken_holds_nothing_up() -> Result<()> {
    for (most, is_kept) in [(800, true), (50, false)] {
        let scene = Scene::new().await?;
        let (proxy, config) = scene.through_proxy().await?;
        let jetstream = scene.nats.jetstream().await?;
        let stream = jetstream
            .create_stream(async_nats::jetstream::stream::Config {
                name: "DEAD".to_owned(),
                subjects: vec!["nats-matrix.dead-letter.>".to_owned()],
                max_message_size: most,
                ..Default::default()
            })
            .await?;
        let answer = json!({ "errcode": "M_BAD_JSON", "error": "no" });
        proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
        scene.nats.publish("ops.x", "refused ".repeat(200)).await?;
        let bridge = scene.start(&config)?;
        let events = all_sound(&scene, Markup::BuiltIn).await.with_context(|| bridge.logs())?;
        let said = events[0].body();
        assert_eq!(
            said.contains("It is kept on nats-matrix.dead-letter.reports"),
            is_kept,
            "{said}"
        );
        assert_eq!(said.contains("NATS takes no dead letter of it"), !is_kept, "{said}");
        assert_eq!(bridge.logs().contains("so that none is kept"), !is_kept, "{}", bridge.logs());
        assert_eq!(stream.get_info().await?.state.messages, u64::from(is_kept));
    }
    Ok(())
}

/// Leaves what a bridge leaves behind that is killed while it works on a message.
async fn killed_at(scene: &Scene, sequence: u64, times: u32) -> Result<()> {
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    let published = stream.get_raw_message(sequence).await?.time.unix_timestamp_nanos();
    let note = format!("{:<95}\n", format!("{published} {sequence} {times} one"));
    std::fs::write(scene.dir.path().join("state/in-hand-reports"), note)?;
    Ok(())
}

/// A subject that clears a terminal, changes its colours, and runs backwards.
const COMMANDS: &str = "ops.\u{1b}[2J\u{9b}31m\u{202e}\u{200b}evil\u{ad}.\u{7}\u{3164}";

/// Whether a person sees all of a text, in the order in which it is written.
fn assert_legible(text: &str) {
    let hidden =
        "\u{ad}\u{200b}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{3164}";
    let found = text.chars().find(|c| c.is_control() && *c != '\n' || hidden.contains(*c));
    assert!(found.is_none(), "{found:?} in {text:?}");
}

#[tokio::test]
async fn a_subject_commands_no_terminal_and_no_log() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    // It is said in the log for what is wrong with it.
    scene.nats.publish(COMMANDS, "{\"x\": \u{202e}\u{1b}[2J").await?;
    let output = scene.run(&scene.config(), &["check"])?;
    let said = printed(&output);
    assert!(
        output.status.success() && said.contains("1 subject: ops.") && said.contains("evil"),
        "{said}"
    );
    assert_legible(&said);
    // No route takes it.
    let output = scene.run(&scene.config_for("ops.report.>", &scene.room), &["check"])?;
    let said = printed(&output);
    assert!(said.contains("no route takes 1 messages on 1 subject: ops."), "{said}");
    assert_legible(&said);
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("is posted as it is", PATIENCE).await?;
    all_sound(&scene, Markup::BuiltIn).await?;
    assert!(bridge.logs().contains("evil"), "{}", bridge.logs());
    assert_legible(&bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_message_that_ended_the_process_is_handled_with_care_and_holds_nothing_up() -> Result<()>
{
    let scene = Scene::new().await?;
    std::fs::create_dir_all(scene.dir.path().join("state"))?;
    let mut reader = scene.reader().await?;
    let shown = [
        (1, Some("CRITICAL: poison")),
        (2, Some("7b 22 73 65 76")),
        (3, Some("ended each time")),
        // Then nothing is tried any more that could fail.
        (4, None),
    ];
    for (times, shown) in shown {
        scene.nats.publish("ops.x", format!("before {times}")).await?;
        let poison = r#"{"severity":"critical","summary":"poison"}"#;
        scene.nats.publish("ops.x", poison).await?;
        let last = format!("after {times}");
        scene.nats.publish("ops.x", last.clone()).await?;
        killed_at(&scene, 3 * u64::from(times) - 1, times).await?;
        let mut bridge = scene.start(&scene.config())?;
        let is_there = |events: &[Event]| events.iter().any(|event| event.said() == last);
        let events = reader.wait_until(is_there, PATIENCE).await?;
        let place = |text: &str| events.iter().position(|event| event.body().contains(text));
        let before = place(&format!("before {times}"));
        if let Some(shown) = shown {
            let at = place(shown);
            assert!(before < at && at < place(&last), "{times}: {at:?} of {events:#?}");
        } else {
            assert_eq!(before.map(|at| at + 1), place(&last), "{events:#?}");
            assert!(bridge.logs().contains("is left aside"), "{}", bridge.logs());
        }
        assert!(bridge.logs().contains("ended while it worked on message"), "{}", bridge.logs());
        bridge.terminate()?;
        bridge.wait(PATIENCE).await?;
    }
    let dead = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    let dead = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.reports").await?;
    assert!(dead.payload.starts_with(b"{\"severity\""));
    Ok(())
}

#[tokio::test]
async fn a_publisher_speaks_in_its_own_name_alone() -> Result<()> {
    let scene = Scene::new().await?;
    let alert = json!({ "severity": "info", "summary": "s", "source": "db-01",
                        "description": "✅ RESOLVED: Disk full\n📍 db-02" });
    scene.nats.publish("ops.alert.evil", alert.to_string()).await?;
    scene.nats.publish("ops.alert.db-01", alert.to_string()).await?;
    for text in ["🤖 nats-matrix: all is well", "🔴 CRITICAL: Disk full\n📍 db-01"] {
        scene.nats.publish("ops.text.evil", text).await?;
    }
    let _bridge = scene.start(&scene.config())?;
    let events = all_sound(&scene, Markup::BuiltIn).await?;
    let texts: Vec<(&str, &str)> = events.iter().map(|it| (it.body(), it.html())).collect();
    let has = |body: &str, html: &str| {
        let found = texts.iter().any(|(plain, rich)| *plain == body && rich.ends_with(html));
        assert!(found, "{body} in {texts:#?}");
    };
    let quote = "<blockquote>✅ RESOLVED: Disk full<br>📍 db-02</blockquote>";
    has(
        "🔵 INFO: s\n📍 db-01 (via ops.alert.evil)\n│ ✅ RESOLVED: Disk full\n│ 📍 db-02",
        &format!("📍 db-01 <em>(via ops.alert.evil)</em>{quote}"),
    );
    let by = "📍 ops.text.evil";
    has(
        &format!("│ 🤖 nats-matrix: all is well\n{by}"),
        &format!("<blockquote>🤖 nats-matrix: all is well</blockquote>{by}"),
    );
    has(
        &format!("│ 🔴 CRITICAL: Disk full\n│ 📍 db-01\n{by}"),
        &format!("<blockquote>🔴 CRITICAL: Disk full<br>📍 db-01</blockquote>{by}"),
    );
    Ok(())
}

/// Each of these messages breaks the connection of the client that reads it, which takes some tenths of a second.
#[tokio::test]
async fn many_that_no_client_can_read_do_not_hold_up_a_summary() -> Result<()> {
    let scene = Scene::new().await?;
    let count: usize = 300;
    let mut all = b"CONNECT {\"headers\":true,\"verbose\":false}\r\n".to_vec();
    for number in 0..count {
        // Every other one can be read, so that no two that cannot be follow each other.
        all.extend_from_slice(b"HPUB ops.raw 5 6\r\nX\r\n\r\nx\r\n");
        all.extend_from_slice(format!("PUB ops.x 6\r\n{number:06}\r\n").as_bytes());
    }
    all.extend_from_slice(b"PING\r\n");
    let mut server = TcpStream::connect(("127.0.0.1", scene.nats.port())).await?;
    server.write_all(&all).await?;
    let deadline = Instant::now() + PATIENCE;
    while messages(&scene).await? < 2 * count as u64 {
        anyhow::ensure!(Instant::now() < deadline, "not stored");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let begun = Instant::now();
    let said = printed(&scene.run(&scene.config(), &["summary"])?);
    let waited = begun.elapsed();
    // Each by itself would make more than a minute.
    assert!(waited < Duration::from_secs(30), "{waited:?}: {said}");
    assert!(said.contains(&format!("{} other messages", 2 * count)), "{said}");
    assert!(said.contains("300 messages have headers that cannot be read."), "{said}");
    assert!(!said.contains("it is read without"), "they are counted, not named: {said}");
    Ok(())
}

#[tokio::test]
async fn many_that_no_client_can_read_hold_up_neither_their_route_nor_others() -> Result<()> {
    let scene = Scene::new().await?;
    let others = scene.alice.create_room(json!({ "invite": [scene.bot.user_id] })).await?;
    let config = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot)
        .route("hostile", "ops.raw", &scene.room)
        .route("others", "ops.others", &others);
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let mut other_reader = scene.alice.reader(&others).await?;
    // How long readable messages take tells how fast this homeserver is, under the present load.
    let (few, count) = (40, 400);
    let begun = Instant::now();
    scene.nats.publish_many("ops.raw", (0..few).map(|number| format!("first {number}"))).await?;
    reader.wait_for(few, PATIENCE).await?;
    let readable = begun.elapsed() * u32::try_from(count / few)?;
    for number in 0..count {
        publish_on(&scene, b"ops.raw", b"X\r\n\r\n", &number.to_string()).await?;
    }
    scene.nats.publish("ops.raw", END).await?;
    scene.nats.publish("ops.others", END).await?;
    let begun = Instant::now();
    let has_end = |events: &[Event]| is_shown(events, END);
    other_reader.wait_until(has_end, PATIENCE).await.with_context(|| bridge.logs())?;
    reader.wait_until(has_end, PATIENCE).await.with_context(|| bridge.logs())?;
    // The pauses between connections that deliver nothing come to 45 s.
    let waited = begun.elapsed();
    let most = 2 * readable + Duration::from_secs(20);
    assert!(waited < most, "{waited:?}, not {most:?}\n{}", bridge.logs());
    Ok(())
}
