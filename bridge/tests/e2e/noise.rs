//! The messages that make a phone buzz, and those that do not.

use std::time::Duration;

use anyhow::Result;
use nats_matrix_testbed::Event;

use crate::scene::{PATIENCE, Scene, read_all};

const REPORT: &str = r#"{"host":"server-01","disk_percent":14}"#;
const INFO: &str = r#"{"severity":"info","summary":"a note"}"#;
const WARNING: &str = r#"{"severity":"warning","summary":"a warning"}"#;
const CRITICAL: &str = r#"{"severity":"critical","summary":"a critical alert"}"#;
const RESOLVED: &str = r#"{"severity":"critical","summary":"is over","status":"resolved"}"#;

/// A line of the route.
pub(crate) fn mention(user: &str) -> String {
    format!("mention = [\"{user}\"]\n")
}

#[tokio::test]
async fn only_what_is_critical_mentions_those_whom_the_route_names() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    let alice = &scene.alice.user_id;
    config.routes.push_str(&mention(alice));
    for payload in [REPORT, INFO, WARNING, RESOLVED, CRITICAL, r"@room or @alice?"] {
        scene.nats.publish("ops.x", payload).await?;
    }
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 6).await?;
    let types: Vec<_> = events.iter().map(Event::msgtype).collect();
    assert_eq!(types, ["m.notice", "m.notice", "m.text", "m.notice", "m.text", "m.text"]);
    for (number, event) in events.iter().enumerate() {
        let mentions = &event.content["m.mentions"];
        if number == 4 {
            assert_eq!(mentions["user_ids"], serde_json::json!([alice]));
            let pill = format!(">{}</a>", scene.alice.localpart());
            assert!(
                event.html().contains("https:&#x2f;&#x2f;matrix.to&#x2f;#&#x2f;"),
                "{}",
                event.html()
            );
            assert!(event.html().ends_with(&pill), "{}", event.html());
            assert!(event.body().ends_with(&format!("👤 {}", scene.alice.localpart())));
        } else {
            assert_eq!(*mentions, serde_json::json!({}), "{}", event.said());
        }
    }
    let unread = scene.alice.unread(&scene.room).await?;
    let highlights = u64::from(scene.kind.counts_highlights());
    assert_eq!(unread.highlights, highlights, "by the push rules that every server has");
    Ok(())
}

#[tokio::test]
async fn a_phone_buzzes_for_warnings_and_louder_for_what_is_critical() -> Result<()> {
    let scene = Scene::new().await?;
    let gateway = scene.phone().await?;
    let mut config = scene.config();
    config.routes.push_str(&mention(&scene.alice.user_id));
    let _bridge = scene.start(&config)?;
    for payload in [REPORT, INFO, RESOLVED, WARNING, CRITICAL] {
        scene.nats.publish("ops.x", payload).await?;
    }
    let mut reader = scene.reader().await?;
    read_all(&mut reader, 5).await?;
    let pushes = gateway.settle(2, PATIENCE, Duration::from_secs(2)).await;
    let seen: Vec<_> = pushes.iter().map(|push| (push.body.as_str(), push.is_highlight)).collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].0.contains("a warning") && !seen[0].1, "{seen:?}");
    assert!(seen[1].0.contains("a critical alert"), "{seen:?}");
    assert_eq!(seen[1].1, scene.kind.counts_highlights(), "{seen:?}");
    Ok(())
}
