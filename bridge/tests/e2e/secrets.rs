//! Secrets in messages, of which neither the room nor a file shows anything.

use anyhow::Result;
use async_nats::HeaderMap;
use nats_matrix_testbed::{Event, Fault, FaultKind};
use serde_json::json;

use crate::scene::{PATIENCE, Scene, read_all};

const JWT: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkifQ.bm8tc2lnbmF0dXJl";

/// Texts that are in the secrets of [`payloads`], and nowhere else.
const MARKS: [&str; 4] = ["eyJ", "hunter2", "MHcCAQEE", "bm8tc2ln"];

fn payloads() -> [String; 5] {
    let key = "-----BEGIN PRIVATE KEY-----\nMHcCAQEE\n-----END PRIVATE KEY-----";
    let filler = "the words of a long log line ".repeat(300);
    [
        json!({ "event": "client gone", "id": "x-1", "client": { "name": "leaf", "jwt": JWT } }).to_string(),
        json!({ "severity": "critical", "summary": format!("login with password=hunter2 failed {key}"),
            "labels": { "dsn": "postgres://app:hunter2@db/x", "api_token": JWT } })
        .to_string(),
        format!("{filler}\nAuthorization: Bearer {JWT}\n{key}\npassword: hunter2\n"),
        json!({ "host": "a", "completed": [format!("rotated {JWT}")], "db_password": "hunter2 hunter2" }).to_string(),
        format!("{{\"text\":\"one\",\"token\":\"{JWT}\"}}\n{{\"text\":\"two\",\"password\":\"hunter2\"}}\n"),
    ]
}

#[tokio::test]
async fn no_secret_is_in_the_room_or_in_a_file() -> Result<()> {
    let scene = Scene::new().await?;
    for payload in payloads() {
        scene.nats.publish("ops.x.node-1", payload).await?;
    }
    scene.nats.publish("ops.x.node-1", "that was all").await?;
    let bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    let is_end =
        |events: &[Event]| events.last().is_some_and(|event| event.said() == "that was all");
    let events = reader.wait_until(is_end, PATIENCE).await?.to_vec();
    let mut files = 0;
    for event in &events {
        let content = event.content.to_string();
        assert!(MARKS.iter().all(|mark| !content.contains(mark)), "{content}");
        if event.msgtype() == "m.file" {
            files += 1;
            let file = scene.alice.download(event.content["url"].as_str().unwrap()).await?;
            let file = String::from_utf8(file)?;
            assert!(MARKS.iter().all(|mark| !file.contains(mark)), "{file}");
            assert!(file.contains(" hidden]"), "{file}");
        }
    }
    assert!(files >= 2, "{events:#?}");
    let hidden = events.iter().filter(|event| event.body().contains("[JWT hidden]"));
    assert!(hidden.count() >= 2, "{events:#?}");
    assert!(MARKS.iter().all(|mark| !bridge.logs().contains(mark)), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_route_shows_the_secrets_that_it_names() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config().lines("unmasked = [\"jwt\"]\nunknown = \"notice\"");
    let _bridge = scene.start(&config)?;
    scene.nats.publish("ops.x", format!("token {JWT} and password=hunter2")).await?;
    let mut headers = HeaderMap::new();
    #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
    headers.insert("Nats-Matrix-Show-Flaw", "true");
    let report = "{\"host\":\"a\",\"disk_percent\":\"a lot\"}";
    let jetstream = scene.nats.jetstream().await?;
    jetstream.publish_with_headers("ops.x", headers, report.into()).await?.await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    assert_eq!(events[0].said(), format!("token {JWT} and password=[password hidden]"));
    assert_eq!(
        events[0].msgtype(),
        "m.notice",
        "as the route says of what does not say how urgent it is"
    );
    assert!(events[1].body().contains("disk_percent is not a number"), "{}", events[1].body());
    Ok(())
}

/// The secret in [`forms`], in two halves: no scanner takes the tests for a leak.
const HALVES: (&str, &str) = ("Zq7Rk2Lm", "9Vb4Tn8Qx");

/// A subject with a token in it.
fn subject() -> String {
    format!("ops.x.ghp_{}", "Zq7Rk2Lm9Vb4".repeat(3))
}

/// Messages that have the secret in other forms than `password=`.
fn forms() -> Vec<String> {
    let secret = format!("{}{}", HALVES.0, HALVES.1);
    let texts = [
        "\u{1b}[31mpassword\u{1b}[0m=@@",
        "pass\u{200b}word=@@",
        "restic --password \"@@ two\" backup",
        "mysql -u root -p@@ app, curl -u bob:@@ https://a.example",
        "Authorization: Token @@",
        "{'password': u'@@'} password: Some(\"@@\")",
        "login failed with password @@ for bob",
        "password=\n@@",
        "password: |\n  @@",
        "<password>@@</password> user:@@@tcp(db:3306)/x",
        "AccountKey=@@@@== secret_key_base: @@\npsk=@@",
    ];
    let payloads = [
        json!({ "event": "x", "password": { "value": "@@" }, "password2": "@@", "passwords": ["@@"] }),
        json!({ "event": "x", "headers": { "Authorization": "ApiKey @@" }, "args": ["--password", "@@"] }),
        json!({ "event": "x", "env": [{ "name": "DB_PASSWORD", "value": "@@" }] }),
        json!({ "event": "x", "key": ["-----BEGIN PRIVATE KEY-----", "@@", "-----END PRIVATE KEY-----"] }),
        json!({ "event": "x", "token=@@": 1 }),
        json!({ "severity": "critical", "summary": "\u{1b}[1mpassword\u{1b}[0m=@@", "source": "password=@@",
            "description": "--token \"@@\"", "labels": { "password=@@": "x", "api_key": "@@" } }),
        json!({ "host": "a", "completed": ["--password '@@'"], "secrets": { "value": "@@" } }),
        json!({ "version": "4", "groupKey": "g", "status": "firing", "receiver": "r", "groupLabels": {},
            "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://a", "alerts": [{
                "status": "firing", "labels": { "alertname": "A", "severity": "critical", "token": "@@" },
                "annotations": { "summary": "s", "description": "--password \"@@\"" },
                "startsAt": "2026-11-30T10:00:00Z" }] }),
        json!({ "specversion": "1.0", "type": "t", "source": "s", "id": "1", "data": { "password": { "value": "@@" } } }),
    ];
    let payloads = payloads.map(|payload| payload.to_string());
    let filler = "the words of a long log line ".repeat(300);
    // Too long for the room, so that there is a file.
    let long = format!("{filler}\n{}\n{}", texts.join("\n"), payloads.join("\n"));
    let texts = texts.map(str::to_owned);
    texts
        .into_iter()
        .chain(payloads)
        .chain([long])
        .map(|text| text.replace("@@", &secret))
        .collect()
}

/// Asserts that neither half of the secret is in the room, in a file or in the log.
async fn assert_hidden(scene: &Scene, events: &[Event], log: &str) -> Result<()> {
    let is_told = |text: &str| text.contains(HALVES.0) || text.contains(HALVES.1);
    for event in events.iter().filter(|event| event.sender == scene.bot.user_id) {
        assert!(!is_told(&event.content.to_string()), "{}", event.content);
        if event.msgtype() == "m.file" {
            let file = scene.alice.download(event.content["url"].as_str().unwrap()).await?;
            let file = String::from_utf8(file)?;
            assert!(!is_told(&file) && file.contains(" hidden]"), "{file}");
        }
    }
    assert!(!is_told(log), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_secret_is_hidden_in_every_form_and_in_the_notice_of_a_dead_letter() -> Result<()> {
    let scene = Scene::new().await?;
    let (proxy, config) = scene.through_proxy().await?;
    let secret = format!("{}{}", HALVES.0, HALVES.1);
    let answer =
        json!({ "errcode": "M_BAD_JSON", "error": format!("no: --password \"{secret}\"") });
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
    scene.nats.publish(&subject(), "refused").await?;
    for form in forms() {
        scene.nats.publish(&subject(), form).await?;
    }
    scene.nats.publish("ops.x", "that was all").await?;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let is_end = |events: &[Event]| events.iter().any(|event| event.said() == "that was all");
    let events = reader.wait_until(is_end, PATIENCE).await?.to_vec();
    assert_hidden(&scene, &events, &bridge.logs()).await?;
    assert!(events[0].body().contains("M_BAD_JSON"), "{}", events[0].body());
    assert!(events[0].body().contains("[token hidden]"), "the subject: {}", events[0].body());
    assert!(events.iter().any(|event| event.msgtype() == "m.file"), "{events:#?}");
    assert!(events.len() > forms().len(), "{events:#?}");
    Ok(())
}

#[tokio::test]
async fn a_secret_is_hidden_in_every_form_in_a_digest_and_its_thread() -> Result<()> {
    let scene = Scene::new().await?;
    let forms = forms();
    for form in &forms {
        scene.nats.publish(&subject(), form.clone()).await?;
    }
    scene.nats.publish("ops.x", "that was all").await?;
    let bridge = scene.start(&scene.config().digests(10))?;
    let mut reader = scene.reader().await?;
    let is_end = |events: &[Event]| {
        let mut in_thread = events.iter().filter(|event| event.content["m.relates_to"].is_object());
        in_thread.any(|event| event.body().contains("that was all"))
    };
    let events = reader.wait_until(is_end, PATIENCE).await?.to_vec();
    assert!(events[0].body().starts_with("📚"), "{}", events[0].body());
    assert_hidden(&scene, &events, &bridge.logs()).await
}
