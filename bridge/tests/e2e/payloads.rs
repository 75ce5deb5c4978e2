//! Payloads of strangers, and what the room shows of them.

use anyhow::{Context as _, Result};
use nats_matrix_testbed::Event;
use serde_json::json;

use crate::scene::{PATIENCE, Scene, read_all};

/// Publishes payloads to one bridge and returns the events that show them, and what the bridge printed.
async fn shown(payloads: &[Vec<u8>], events: usize) -> Result<(Scene, Vec<Event>, String)> {
    let scene = Scene::new().await?;
    for payload in payloads {
        scene.nats.publish("ops.x.node-1", payload.clone()).await?;
    }
    // The last message shows that nothing held the others up.
    scene.nats.publish("ops.x.node-1", "the end").await?;
    let bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    let shown = read_all(&mut reader, events + 1).await?;
    assert_eq!(shown.len(), events + 1);
    assert_eq!(shown.last().map(Event::body), Some("the end\n📍 ops.x.node-1"));
    Ok((scene, shown, bridge.logs()))
}

#[tokio::test]
async fn broken_payloads_are_posted_readably_in_order_and_logged_once() -> Result<()> {
    let mut deep = "[".repeat(10_000);
    deep.insert_str(0, "{\"deep\":");
    let payloads: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"not JSON, just text".to_vec(),
        b"{\"host\": \"server-01\", \"completed\": [".to_vec(),
        b"\xff\xfd\x00binary\x80".to_vec(),
        json!({ "host": "server-01", "disk_percent": "a lot" }).to_string().into(),
        json!({ "temperature": 21.5, "list": [1.25, { "x": 2e300 }] }).to_string().into(),
        json!({ "severity": "critical" }).to_string().into(),
        b"[1, 2.5, \"three\"]".to_vec(),
        b"nul \x00 and bell \x07".to_vec(),
        deep.into_bytes(),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(),
    ];
    // Three of them come with a file: the binary one, the deep one and the picture.
    let (scene, events, log) = shown(&payloads, 14).await?;
    let bodies: Vec<&str> = events.iter().map(Event::said).collect();
    assert_eq!(bodies[0], "🤖 nats-matrix: an empty message on ops.x.node-1");
    assert_eq!(bodies[1], "not JSON, just text");
    assert!(
        bodies[2].starts_with(
            "{\"host\": \"server-01\", \"completed\": [\n📍 ops.x.node-1\n🤖 nats-matrix: its sender has made a mistake"
        ),
        "{}",
        bodies[2]
    );
    assert!(bodies[3].contains("10 bytes of data that is not text"), "{}", bodies[3]);
    assert_eq!(events[4].msgtype(), "m.file");
    let file = scene.alice.download(events[4].content["url"].as_str().unwrap()).await?;
    assert_eq!(file, payloads[3]);
    assert_eq!(events[4].content["info"]["mimetype"], "application/octet-stream");
    assert!(
        bodies[5].contains("disk_percent: a lot") && bodies[5].contains("Disk usage: unknown"),
        "{}",
        bodies[5]
    );
    assert!(events[6].body().contains("temperature: 21.5"), "{}", events[6].body());
    assert!(events[7].body().contains("severity: critical"), "{}", events[7].body());
    assert_eq!(bodies[8], "[1, 2.5, \"three\"]");
    assert_eq!(bodies[9], "nul \u{fffd} and bell \u{fffd}");
    assert!(bodies[10].chars().count() < 4_200);
    assert_eq!(events[11].msgtype(), "m.file");
    assert_eq!(events[13].content["info"]["mimetype"], "image/png");
    assert_eq!(events[13].body(), "OPS-11.png");
    for (flaw, expected) in [
        ("empty payload", 1),
        ("begins like JSON but is not", 2),
        ("not UTF-8 text at byte 0", 2),
        ("disk_percent is not a number", 1),
    ] {
        let lines = log.lines().filter(|line| line.contains(flaw)).count();
        assert_eq!(lines, expected, "{flaw}\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_long_message_is_cut_and_attached_whole() -> Result<()> {
    let line = "line <with> \"all\" sorts of 'signs' & umlauts äöü 😀\n";
    let long = line.repeat(1_000_000 / line.len());
    let (scene, events, _) = shown(&[long.clone().into_bytes()], 2).await?;
    let text = &events[0];
    assert!(
        text.body().contains("the whole (976.5 KiB) is in the attached file"),
        "{}",
        text.body()
    );
    assert!(text.body().len() < 20_000);
    let file = &events[1];
    assert_eq!(file.msgtype(), "m.file");
    assert_eq!(file.body(), "OPS-1.txt");
    let whole = scene.alice.download(file.content["url"].as_str().unwrap()).await?;
    assert!(whole == long.as_bytes(), "the file is what was published");
    Ok(())
}

#[tokio::test]
async fn nothing_in_a_payload_is_markup_or_mentions_anybody() -> Result<()> {
    let scene = Scene::new().await?;
    let alice = scene.alice.user_id.clone();
    let evil =
        format!("@room {alice} <a href=\"https://matrix.to/#/{alice}\">x</a><script>y</script>");
    let payloads = [
        evil.clone(),
        json!({ "severity": "critical", "summary": evil, "source": evil, "labels": { "a": evil } })
            .to_string(),
        json!({ "host": evil, "completed": [evil], "note": evil }).to_string(),
        json!({ "key <b>": evil }).to_string(),
    ];
    for payload in &payloads {
        scene.nats.publish("ops.x", payload.clone()).await?;
    }
    let _bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    // The labels of the alert are too long, so that it comes with a file.
    let events = read_all(&mut reader, payloads.len() + 1).await?;
    assert_eq!(events.iter().filter(|event| event.msgtype() == "m.file").count(), 1);
    for event in events.iter().filter(|event| event.msgtype() != "m.file") {
        assert!(
            !event.html().contains("<a") && !event.html().contains("<script"),
            "{}",
            event.html()
        );
        assert_eq!(event.content["m.mentions"], json!({}));
    }
    // An object of no known form can have a page in a value, whose text is shown.
    let (page, others) = events.split_last().context("no event")?;
    assert!(page.html().ends_with(&format!("@room {alice} x")), "{}", page.html());
    for event in others.iter().filter(|event| event.msgtype() != "m.file") {
        assert!(event.html().contains("&lt;script&gt;"), "{}", event.html());
    }
    // The homeserver's own count decides: no highlight for Alice.
    let unread = scene.alice.unread(&scene.room).await?;
    assert_eq!(unread.highlights, 0);
    Ok(())
}

#[tokio::test]
async fn alerts_buzz_and_routine_does_not() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    let alert = |severity: &str, status: &str| {
        json!({ "severity": severity, "summary": "Disk almost full", "source": "db-01", "status": status,
                "fingerprint": format!("{severity} {status}"),
                "description": "Only 2 GiB left.\nCleaning starts at 1 GiB.", "time": "2026-11-23T07:35:51+01:00",
                "labels": { "mount": "/var", "device": "sda1" } })
    };
    for (severity, status) in [
        ("critical", "firing"),
        ("warning", "firing"),
        ("info", "firing"),
        ("critical", "resolved"),
    ] {
        scene.nats.publish("ops.alert.db-01", alert(severity, status).to_string()).await?;
    }
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 4).await?;
    let types: Vec<&str> = events.iter().map(Event::msgtype).collect();
    assert_eq!(types, ["m.text", "m.text", "m.notice", "m.notice"]);
    assert_eq!(
        events[0].body(),
        "🔴 CRITICAL: Disk almost full\n📍 db-01\n│ Only 2 GiB left.\n│ Cleaning starts at 1 GiB.\n\
         🏷️ device=sda1, mount=/var\n🕒 2026-11-23 06:35:51 UTC"
    );
    assert!(events[3].body().starts_with("✅ RESOLVED: Disk almost full"), "{}", events[3].body());
    Ok(())
}

/// A message of another service, as it documents it.
fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/src/samples/webhooks/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect(name)
}

#[tokio::test]
async fn what_others_send_is_shown_in_the_same_way() -> Result<()> {
    let names = [
        "alertmanager-one",
        "alertmanager-group",
        "grafana",
        "uptime-kuma-down",
        "uptime-kuma-up",
        "cloudevent",
        "forgejo-push",
        "forgejo-run-failure",
        "forgejo-run-recover",
    ];
    let payloads: Vec<Vec<u8>> = names.iter().map(|name| fixture(name)).collect();
    // The end of an alert is an edit of its message, and a word in its thread.
    let (_scene, mut events, log) = shown(&payloads, names.len() + 2).await?;
    events.retain(|event| !event.body().starts_with("✅ RESOLVED after"));
    for event in &mut events {
        let edited = event.content["m.new_content"].take();
        if edited.is_object() {
            event.content = edited;
        }
    }
    for (event, (msgtype, begin)) in events.iter().zip([
        ("m.text", "🔴 CRITICAL: Only 2 GiB left on /var of db-01\n📍 db-01:9100 (via ops.x.node-1)\n"),
        ("m.text", "🔴 6 alerts: DiskFull (1 critical, 2 warning, 1 resolved, 2 unknown) (via ops.x.node-1)\n"),
        ("m.text", "🟠 2 alerts: team=blue (2 warning)"),
        ("m.text", "🔴 CRITICAL: Services / Forgejo is down\n"),
        ("m.notice", "✅ RESOLVED: Services / Forgejo is up\n"),
        ("m.text", "☁️ com.example.backup.finished\n📍 /backup/db-01 nightly (via ops.x.node-1)\n"),
        ("m.notice", "🔨 alice pushed 3 commits to ops/infra main\n"),
        ("m.text", "🟠 WARNING: Workflow check.yml failed\n📍 ops/infra (via ops.x.node-1)\n"),
        ("m.notice", "✅ RESOLVED: Workflow check.yml succeeds again\n"),
    ]) {
        assert_eq!(event.msgtype(), msgtype, "{}", event.said());
        assert!(event.body().starts_with(begin), "{}", event.body());
        assert!(event.html().contains("<a href=\"http"), "{}", event.html());
    }
    assert!(!log.contains("WARN"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_flood_and_broken_messages_of_others_lose_nothing() -> Result<()> {
    let mut flood: serde_json::Value = serde_json::from_slice(&fixture("alertmanager-one"))?;
    flood["alerts"] = json!(vec![flood["alerts"][0].clone(); 300]);
    let mut broken: serde_json::Value = serde_json::from_slice(&fixture("uptime-kuma-down"))?;
    broken["heartbeat"]["status"] = json!("down");
    let payloads = [flood.to_string().into_bytes(), broken.to_string().into_bytes()];
    let (scene, events, log) = shown(&payloads, 4).await?;
    assert!(events[0].body().starts_with("🔴 300 alerts: DiskFull"), "{}", events[0].body());
    assert_eq!(events[1].msgtype(), "m.file");
    let file = scene.alice.download(events[1].content["url"].as_str().unwrap()).await?;
    // Conduit sorts the keys of every body that is JSON, files among them.
    assert!(serde_json::from_slice::<serde_json::Value>(&file)? == flood, "the file is all of it");
    let flaw = "looks like a message of Uptime Kuma but has no summary";
    assert!(events[2].body().contains("ECONNREFUSED"), "{}", events[2].body());
    assert!(!events[2].body().contains(flaw), "{}", events[2].body());
    assert_eq!(log.lines().filter(|line| line.contains(flaw)).count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn nothing_that_others_send_mentions_anybody() -> Result<()> {
    let scene = Scene::new().await?;
    let alice = scene.alice.user_id.clone();
    let pill = format!("https://matrix.to/#/{alice}");
    let evil = format!("@room {alice} <a href=\"{pill}\">x</a><script>y</script>");
    let mut push: serde_json::Value = serde_json::from_slice(&fixture("forgejo-push"))?;
    push["commits"][0]["message"] = json!(evil);
    push["commits"][0]["url"] = json!(pill);
    push["compare_url"] = json!(pill);
    let mut kuma: serde_json::Value = serde_json::from_slice(&fixture("uptime-kuma-down"))?;
    kuma["monitor"]["pathName"] = json!(evil);
    kuma["monitor"]["url"] = json!(pill);
    for payload in [&push, &kuma] {
        scene.nats.publish("ops.x", payload.to_string()).await?;
    }
    let _bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    for event in read_all(&mut reader, 2).await? {
        assert!(!event.html().contains("href=\"https:&#x2f;&#x2f;matrix.to"), "{}", event.html());
        assert!(event.html().contains("&lt;script&gt;"), "{}", event.html());
        assert_eq!(event.content["m.mentions"], json!({}));
    }
    assert_eq!(scene.alice.unread(&scene.room).await?.highlights, 0);
    Ok(())
}
