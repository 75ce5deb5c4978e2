//! The right to speak of an alert: nobody resolves, mutes or takes over what somebody else has said.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::HeaderMap;
use nats_matrix_testbed::Event;
use serde_json::json;

use crate::{
    quiet::{Night, wait_until_held},
    scene::{Config, PATIENCE, Scene, read_all},
};

fn alert(summary: &str, status: &str) -> String {
    json!({
        "severity": "critical",
        "summary": summary,
        "source": "db-01",
        "fingerprint": "disk:db-01",
        "status": status,
    })
    .to_string()
}

/// A group of one alert that an Alertmanager of that address sends, with the same key as all others do.
pub(crate) fn group(address: &str, pod: &str, status: &str) -> String {
    json!({
        "version": "4",
        "receiver": "nats",
        "groupKey": "{}:{alertname=\"PodNotReady\"}",
        "externalURL": address,
        "status": status,
        "groupLabels": { "alertname": "PodNotReady" },
        "commonLabels": { "alertname": "PodNotReady", "pod": pod, "severity": "critical" },
        "alerts": [{
            "status": status,
            "labels": { "alertname": "PodNotReady", "pod": pod, "severity": "critical" },
            "annotations": { "summary": format!("Pod {pod} is not ready") },
            "startsAt": "2026-11-23T06:00:00Z",
            "endsAt": if status == "resolved" { "2026-11-23T06:10:00Z" } else { "0001-01-01T00:00:00Z" },
        }],
    })
    .to_string()
}

/// The messages that begin a thread or stand alone, as first posted.
fn roots(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.content["m.relates_to"].is_null()).collect()
}

/// The text that an edit gives a message, if there is one.
fn edited<'a>(events: &'a [Event], root: &Event) -> Option<&'a str> {
    let edit = events.iter().rfind(|event| {
        let relation = &event.content["m.relates_to"];
        relation["rel_type"] == "m.replace" && relation["event_id"] == root.event_id.as_str()
    })?;
    edit.content["m.new_content"]["body"].as_str()
}

/// Publishes that a disk is full, or is no longer, on these subjects.
async fn say(scene: &Scene, said: &[(&str, &str)]) -> Result<()> {
    for (subject, status) in said {
        scene.nats.publish(subject, alert("Disk full", status)).await?;
    }
    Ok(())
}

/// Asserts that four events show one alert, which is resolved at the end.
async fn assert_one_that_is_resolved(scene: &Scene) -> Result<()> {
    let events = read_all(&mut scene.reader().await?, 4).await?;
    let [root] = roots(&events)[..] else { panic!("not one: {events:#?}") };
    assert!(edited(&events, root).is_some_and(|text| text.starts_with("✅ RESOLVED")));
    Ok(())
}

fn scoped(scene: &Scene, scope: &str) -> Config {
    scene.config().lines(&format!("alert_scope = \"{scope}\""))
}

#[tokio::test]
async fn a_stranger_does_not_resolve_the_alert_of_another() -> Result<()> {
    let scene = Scene::new().await?;
    let _bridge = scene.start(&scene.config())?;
    say(
        &scene,
        &[
            ("ops.alert.db-01", "firing"),
            ("ops.alert.evil", "resolved"),
            ("ops.alert.db-01", "firing"),
        ],
    )
    .await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 3).await?;
    let roots = roots(&events);
    assert_eq!(roots.len(), 2, "db-01's, and the end of nothing: {events:#?}");
    assert_eq!(edited(&events, roots[0]), None, "nobody has resolved db-01's");
    assert_eq!(events[2].content["m.relates_to"]["event_id"], roots[0].event_id.as_str());
    scene.nats.publish("ops.alert.db-01", alert("Disk full", "resolved")).await?;
    let events = read_all(&mut reader, 5).await?;
    assert!(edited(&events, roots[0]).is_some_and(|text| text.starts_with("✅ RESOLVED")));
    Ok(())
}

#[tokio::test]
async fn a_stranger_who_is_first_takes_nobodys_push_away() -> Result<()> {
    let scene = Scene::new().await?;
    let phone = scene.phone().await?;
    let _bridge = scene.start(&scene.config())?;
    scene.nats.publish("ops.alert.evil", alert("nothing of matter", "firing")).await?;
    scene.nats.publish("ops.alert.db-01", alert("Disk full", "firing")).await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    assert_eq!((events[1].msgtype(), roots(&events).len()), ("m.text", 2));
    let pushes = phone.settle(2, PATIENCE, Duration::from_secs(2)).await;
    let has_pushed = pushes.iter().any(|push| push.event_id == events[1].event_id);
    assert!(has_pushed && pushes.len() == 2, "{pushes:?}");
    Ok(())
}

/// The same in a digest, which is as loud as what is still true at its end.
#[tokio::test]
async fn a_stranger_resolves_nothing_in_a_digest() -> Result<()> {
    let scene = Scene::new().await?;
    scene.nats.publish("ops.alert.db-01", alert("Disk full", "firing")).await?;
    for _ in 0..6 {
        scene.nats.publish("ops.alert.evil", alert("Disk full", "resolved")).await?;
    }
    let _bridge = scene.start(&scene.config().digests(5))?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    assert!(events[0].body().starts_with("📚 7 messages"), "{}", events[0].body());
    assert_eq!(events[0].msgtype(), "m.text", "it is still critical: {}", events[0].said());
    // And the alert goes on in the digest's thread.
    scene.nats.publish("ops.alert.db-01", alert("Disk full", "firing")).await?;
    let events = read_all(&mut reader, 3).await?;
    assert_eq!(events[2].content["m.relates_to"]["event_id"], events[0].event_id.as_str());
    Ok(())
}

#[tokio::test]
async fn two_clusters_with_one_group_key_are_two_alerts() -> Result<()> {
    let scene = Scene::new().await?;
    let _bridge = scene.start(&scene.config())?;
    let (eu, us) = ("http://am.eu.example.com", "http://am.us.example.com");
    for (address, pod, status) in
        [(eu, "shop-eu", "firing"), (us, "shop-us", "firing"), (eu, "shop-eu", "resolved")]
    {
        scene.nats.publish("ops.alertmanager", group(address, pod, status)).await?;
    }
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 4).await?;
    let [eu_root, us_root] = roots(&events)[..] else { panic!("not two: {events:#?}") };
    assert!(edited(&events, eu_root).is_some_and(|text| text.starts_with("✅ RESOLVED")));
    assert!(us_root.body().contains("shop-us") && us_root.msgtype() == "m.text");
    assert_eq!(edited(&events, us_root), None, "it still burns in the US");
    scene.nats.publish("ops.alertmanager", group(us, "shop-us", "resolved")).await?;
    let events = read_all(&mut reader, 6).await?;
    assert!(edited(&events, us_root).is_some_and(|text| text.starts_with("✅ RESOLVED")));
    Ok(())
}

#[tokio::test]
async fn a_pair_of_alertmanagers_with_one_address_is_one() -> Result<()> {
    let scene = Scene::new().await?;
    let _bridge = scene.start(&scene.config())?;
    // One of them tells that it fires, both do, and the other that it is over.
    for status in ["firing", "firing", "resolved"] {
        let said = group("http://alerts.example.com", "shop", status);
        scene.nats.publish("ops.alertmanager", said).await?;
    }
    assert_one_that_is_resolved(&scene).await
}

#[tokio::test]
async fn a_route_declares_which_token_of_the_subject_counts() -> Result<()> {
    let scene = Scene::new().await?;
    let _bridge = scene.start(&scoped(&scene, "subject.3"))?;
    say(
        &scene,
        &[
            ("ops.firing.db-01", "firing"),
            ("ops.resolved.evil", "resolved"),
            ("ops.resolved.db-01", "resolved"),
        ],
    )
    .await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 4).await?;
    let roots = roots(&events);
    assert_eq!(roots.len(), 2, "{events:#?}");
    assert!(roots[1].body().starts_with("✅ RESOLVED"), "the end of nothing");
    let edit = &events[2].content["m.relates_to"];
    assert_eq!(edit["event_id"], roots[0].event_id.as_str(), "after the stranger's word");
    Ok(())
}

/// The peers of a cluster have an address each, as by default.
#[tokio::test]
async fn a_route_declares_that_all_speak_of_the_same_alerts() -> Result<()> {
    let scene = Scene::new().await?;
    let _bridge = scene.start(&scoped(&scene, "route"))?;
    for (node, status) in [("n3", "firing"), ("n2", "firing"), ("n1", "resolved")] {
        let said = group(&format!("http://{node}:9093"), "shop", status);
        scene.nats.publish(&format!("ops.{node}"), said).await?;
    }
    assert_one_that_is_resolved(&scene).await
}

/// A message that is held back is copied to another subject; the one on which it was published counts.
#[tokio::test]
async fn what_was_held_back_is_of_whoever_published_it() -> Result<()> {
    let (scene, clock) = Scene::new().await?.with_clock()?;
    let say = |subject: &'static str, status: &'static str| {
        let warning = alert("Disk full", status).replace("critical", "warning");
        scene.nats.publish(subject, warning)
    };
    let night = Night::now();
    let mut config = scene.config();
    config.routes += &night.line;
    let bridge = scene.start(&config)?;
    say("ops.alert.db-01", "firing").await?;
    say("ops.alert.evil", "resolved").await?;
    wait_until_held(&scene, 2).await.with_context(|| bridge.logs())?;
    night.is_over_in(Duration::ZERO, &clock)?;
    let mut reader = scene.reader().await?;
    // The digest of the morning and its thread.
    reader.wait_for(2, PATIENCE).await?;
    let events = reader.events();
    assert!(events[0].body().starts_with("📚 2 messages"), "{}", events[0].body());
    say("ops.alert.db-01", "firing").await?;
    let events = read_all(&mut reader, 3).await?;
    let relation = &events[2].content["m.relates_to"];
    assert_eq!(relation["event_id"], events[0].event_id.as_str(), "it goes on");
    assert_eq!(events[2].msgtype(), "m.notice", "and was not over: {}", events[2].said());
    Ok(())
}

/// In a stream with schedules, whoever may publish on one subject can have the server store messages on another.
#[tokio::test]
async fn a_stranger_resolves_nothing_by_a_schedule() -> Result<()> {
    let scene = Scene::new().await?;
    let bridge = scene.start(&scene.config())?;
    say(&scene, &[("ops.alert.db-01", "firing")]).await?;
    let mut reader = scene.reader().await?;
    read_all(&mut reader, 1).await?;
    let jetstream = scene.nats.jetstream().await?;
    let mut config = jetstream.get_stream("OPS").await?.cached_info().config.clone();
    config.allow_message_schedules = true;
    config.allow_rollup = true;
    jetstream.update_stream(config).await?;
    let check = String::from_utf8(scene.run(&scene.config(), &["check"])?.stdout)?;
    for setting in ["allow_msg_schedules", "allow_rollup_hdrs"] {
        assert!(check.contains(&format!("OPS has {setting}: whoever may publish")), "{check}");
    }
    let at = format!("@at {:.0}", jiff::Timestamp::now() + Duration::from_secs(1));
    let headers = [("Nats-Schedule", &*at), ("Nats-Schedule-Target", "ops.alert.db-01")]
        .into_iter()
        .map(|(name, value)| anyhow::Ok((name.parse()?, value.parse()?)))
        .collect::<Result<HeaderMap>>()?;
    let resolved = alert("Disk full", "resolved").into();
    jetstream.publish_with_headers("ops.alert.evil", headers, resolved).await?.await?;
    let vias = ["ops.alert.evil", "ops.alert.evil → ops.alert.db-01"];
    let is_shown = |events: &[Event], via: &str| {
        events.iter().any(|event| event.body().contains(&format!("(via {via})")))
    };
    let are_shown = |events: &[Event]| vias.iter().all(|via| is_shown(events, via));
    let events = reader.wait_until(are_shown, PATIENCE).await.with_context(|| bridge.logs())?;
    assert_eq!(edited(events, &events[0]), None, "nobody has resolved db-01's: {events:#?}");
    Ok(())
}

/// A digest that has the end of an alert from another server of the cluster than the one that reported its beginning.
#[tokio::test]
async fn a_digest_ends_an_alert_that_another_server_reported() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config().digests(3);
    let bridge = scene.start(&config)?;
    let (one, other) = ("http://n1:9093", "http://n2:9093");
    scene.nats.publish("ops.alertmanager", group(one, "shop", "firing")).await?;
    let mut reader = scene.reader().await?;
    let begun = read_all(&mut reader, 1).await?[0].clone();
    bridge.kill();
    for (pod, server, status) in
        [("shop", other, "resolved"), ("cart", one, "firing"), ("cart", other, "resolved")]
    {
        scene.nats.publish("ops.alertmanager", group(server, pod, status)).await?;
    }
    let report = |number| json!({ "host": "db", "disk_percent": number }).to_string();
    scene.nats.publish_many("ops.report", (0..3).map(report)).await?;
    let _bridge = scene.start(&config)?;
    // The digest, its thread, and the end of the alert.
    let events = read_all(&mut reader, 4).await?;
    assert!(edited(&events, &begun).is_some_and(|text| text.starts_with("✅ RESOLVED")));
    let [_, sum] = roots(&events)[..] else { panic!("not one digest: {events:#?}") };
    assert!(sum.body().contains("✅ 2 resolved") && !sum.body().contains('🔴'), "{}", sum.body());
    assert_eq!(sum.msgtype(), "m.notice", "nothing fires any more");
    // Both servers know that.
    for (pod, server) in [("shop", one), ("cart", one), ("cart", other)] {
        scene.nats.publish("ops.alertmanager", group(server, pod, "resolved")).await?;
    }
    let events = read_all(&mut reader, 7).await?;
    assert_eq!(roots(&events).len(), 2, "no end of nothing: {events:#?}");
    Ok(())
}
