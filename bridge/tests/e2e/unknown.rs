//! Messages of programs that the bridge does not know.

use anyhow::Result;
use nats_matrix_testbed::Event;
use serde_json::{Value, json};

use crate::{
    noise::mention,
    scene::{PATIENCE, Scene, read_all},
};

fn relation(event: &Event) -> Option<(&str, &str)> {
    let relation = &event.content["m.relates_to"];
    Some((relation["rel_type"].as_str()?, relation["event_id"].as_str()?))
}

fn alert(number: usize, status: &str) -> Value {
    json!({ "title": format!("Queue {number} is stuck"), "priority": "P1", "state": status, "host": "mx-1", "incident_id": number })
}

#[tokio::test]
async fn an_alert_by_its_fields_mentions_and_ends_in_its_conversation() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes.push_str(&mention(&scene.alice.user_id));
    config.routes.push_str("match.severity = \"critical\"\n");
    let _bridge = scene.start(&config)?;
    scene
        .nats
        .publish(
            "ops.alert.mx-1",
            json!({ "level": "info", "msg": "not for this route" }).to_string(),
        )
        .await?;
    scene.nats.publish("ops.alert.mx-1", alert(7, "triggered").to_string()).await?;
    scene.nats.publish("ops.alert.mx-1", alert(7, "ok").to_string()).await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 3).await?;
    let [root, edit, notice] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!(root.body().lines().next(), Some("🔴 CRITICAL: Queue 7 is stuck"));
    assert_eq!(root.content["m.mentions"]["user_ids"], json!([scene.alice.user_id]));
    let id = root.event_id.as_str();
    assert_eq!(relation(edit), Some(("m.replace", id)));
    assert_eq!((notice.msgtype(), relation(notice)), ("m.notice", Some(("m.thread", id))));
    Ok(())
}

/// A message with the begin and the end of three alerts, one object a line.
fn lines(number: usize) -> String {
    let numbers = [3 * number, 3 * number + 1, 3 * number + 2];
    let lines = ["triggered", "resolved"]
        .iter()
        .flat_map(|status| numbers.iter().map(move |number| alert(*number, status).to_string()));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn objects_in_lines_are_shown_once_and_in_order_over_kill_9() -> Result<()> {
    const MESSAGES: usize = 40;
    /// Each alert is an event, an edit and a reply.
    const EVENTS: usize = MESSAGES * 9;
    let scene = Scene::new().await?;
    for number in 0..MESSAGES {
        scene.nats.publish("ops.alert.mx-1", lines(number)).await?;
    }
    let mut reader = scene.reader().await?;
    let mut bridge = scene.start(&scene.config())?;
    for kill in 1..=8 {
        reader.wait_for(kill * EVENTS / 10, PATIENCE).await?;
        bridge.kill();
        if kill == 4 {
            // A new device: no homeserver knows our transaction ids any more, only the room tells.
            scene.forget_session()?;
        }
        bridge = scene.start(&scene.config())?;
    }
    reader.wait_for(EVENTS, PATIENCE).await?;
    scene.wait_until_done(MESSAGES as u64).await?;
    let events = reader.settle(std::time::Duration::from_secs(2)).await?;
    assert_eq!(events.len(), EVENTS, "each once");
    let fired = events.iter().filter(|event| relation(event).is_none());
    let titles: Vec<&str> = fired.filter_map(|event| event.body().lines().next()).collect();
    let expected: Vec<String> =
        (0..3 * MESSAGES).map(|number| format!("🔴 CRITICAL: Queue {number} is stuck")).collect();
    assert_eq!(titles, expected, "in order");
    for event in events.iter().filter(|event| relation(event).is_none()) {
        let about = |kind: &str| {
            let related = events.iter().filter_map(relation);
            related.filter(|it| *it == (kind, event.event_id.as_str())).count()
        };
        assert_eq!((about("m.replace"), about("m.thread")), (1, 1), "{}", event.body());
    }
    Ok(())
}
