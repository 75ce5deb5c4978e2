//! Secrets in messages, of which neither the room nor a file shows anything.

use anyhow::Result;
use async_nats::HeaderMap;
use serde_json::json;

use crate::scene::{Scene, read_all};

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
    let is_end = |events: &[nats_matrix_testbed::Event]| {
        events.last().is_some_and(|event| event.said() == "that was all")
    };
    let events = reader.wait_until(is_end, crate::scene::PATIENCE).await?.to_vec();
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
