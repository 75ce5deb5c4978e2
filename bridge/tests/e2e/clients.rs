//! The bridge's messages in clients that others wrote.

use anyhow::{Context, Result};
use nats_matrix_testbed::{ElementEngine, ElementMessage, Event, MatrixNio, not_run};
use serde_json::json;

use crate::scene::{PATIENCE, Scene, read_all};

/// A room with a report, and an alert that got worse and is over: a message, a thread and edits.
async fn room_with_all() -> Result<(Scene, Vec<Event>)> {
    let scene = Scene::new().await?;
    let _bridge = scene.start(&scene.config())?;
    let report = json!({ "host": "db-01", "completed": ["Backup"], "disk_percent": 14 });
    scene.nats.publish("ops.report.db-01", report.to_string()).await?;
    for (severity, status) in
        [("warning", "firing"), ("critical", "firing"), ("critical", "resolved")]
    {
        let alert = json!({
            "severity": severity,
            "summary": "Disk almost full",
            "source": "db-01",
            "fingerprint": "disk:db-01",
            "status": status,
        });
        scene.nats.publish("ops.alert.db-01", alert.to_string()).await?;
    }
    // The report, the alert, and twice something in its thread and an edit.
    let events = read_all(&mut scene.reader().await?, 6).await?;
    assert_eq!(events.len(), 6, "{events:#?}");
    Ok((scene, events))
}

#[tokio::test]
async fn matrix_nio_reads_messages_threads_and_edits() -> Result<()> {
    let nio = match MatrixNio::find().await {
        Ok(nio) => nio,
        Err(error) => return not_run(&error),
    };
    let (scene, events) = room_with_all().await?;
    let seen = nio.read(&scene.alice, &scene.room).await?;
    assert_eq!(seen.len(), events.len(), "{seen:#?}");
    for (seen, event) in seen.iter().zip(&events) {
        assert_eq!(seen.id, event.event_id);
        assert_eq!(seen.sender, scene.bot.user_id);
        assert_eq!((seen.body.as_str(), seen.html.as_str()), (event.body(), event.html()));
    }
    let [report, alert, ..] = seen.as_slice() else { panic!("{seen:#?}") };
    assert_eq!(report.kind, "RoomMessageNotice");
    assert!(report.body.starts_with("📊 db-01 Operational Report\n"), "{}", report.body);
    assert!(report.html.starts_with("📊 <strong>db-01</strong> "), "{}", report.html);
    assert_eq!(alert.kind, "RoomMessageText");
    assert!(alert.body.starts_with("🟠 WARNING: Disk almost full"), "{}", alert.body);
    let related = |kind: &str| {
        let is_it = |content: &serde_json::Value| {
            let relation = &content["m.relates_to"];
            relation["rel_type"] == kind && relation["event_id"] == alert.id.as_str()
        };
        seen.iter().filter(|seen| is_it(&seen.content)).collect::<Vec<_>>()
    };
    let thread: Vec<_> = related("m.thread").iter().map(|seen| seen.kind.as_str()).collect();
    assert_eq!(thread, ["RoomMessageText", "RoomMessageNotice"]);
    let edits = related("m.replace");
    let last = edits.last().context("no edit")?;
    let new_body = last.content["m.new_content"]["body"].as_str().unwrap_or_default();
    assert!(new_body.starts_with("✅ RESOLVED: Disk almost full"), "{new_body}");
    Ok(())
}

#[tokio::test]
async fn the_engine_of_element_web_shows_messages_threads_and_edits() -> Result<()> {
    let element = match ElementEngine::find().await {
        Ok(element) => element,
        Err(error) => return not_run(&error),
    };
    let (scene, events) = room_with_all().await?;
    let view = element.open(&scene.alice, &scene.room).await?;
    let kind = scene.kind;
    let has_threads = kind.has_threads();
    let (in_room, in_thread) = if has_threads { (2, 2) } else { (4, 0) };
    let is_whole = |shown: &[ElementMessage]| {
        shown.len() == in_room
            && shown[1].is_edited
            && shown[1].body.starts_with("✅ RESOLVED: Disk almost full")
            && shown[1].replies.len() == in_thread
    };
    let shown = view.wait_until(is_whole, PATIENCE).await?;
    let (report, alert) = (&shown[0], &shown[1]);
    assert_eq!((&report.id, report.msgtype.as_str()), (&events[0].event_id, "m.notice"));
    assert_eq!((report.body.as_str(), report.html.as_str()), (events[0].body(), events[0].html()));
    assert!(!report.is_edited);
    // The edit of its end is a notice.
    assert_eq!((&alert.id, alert.msgtype.as_str()), (&events[1].event_id, "m.notice"));
    assert!(alert.html.contains("RESOLVED"), "{}", alert.html);
    let mut said = if has_threads { alert.replies.clone() } else { shown[2..].to_vec() };
    if !kind.orders_threads() {
        said.sort_by_key(|reply| events.iter().position(|event| event.event_id == reply.id));
    }
    let types: Vec<_> = said.iter().map(|reply| reply.msgtype.as_str()).collect();
    assert_eq!(types, ["m.text", "m.notice"]);
    assert!(said[1].body.starts_with("✅ RESOLVED after "), "{}", said[1].body);

    // Somebody is looking while more comes.
    scene.nats.publish("ops.text", "one more").await?;
    let _bridge = scene.start(&scene.config())?;
    view.wait_until(
        |shown| shown.last().is_some_and(|last| last.body.starts_with("one more")),
        PATIENCE,
    )
    .await?;
    Ok(())
}
