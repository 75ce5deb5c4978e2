//! Permissions in NATS that are missing from the start, or taken away later: the bridge is not ready, and says what is
//! missing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nats_matrix_testbed::{Fault, FaultKind};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    connections::{CONSUMER, DEAD, KEPT, LOGIN, NEEDED, WANTED, permissions, restricted},
    health::{Pages, listening},
    quiet::{HELD, quiet},
    scene::{Config, PATIENCE, Scene, printed, read_all, read_numbered},
};

/// The longest time until a missing permission is noticed.
const NOTICED: Duration = Duration::from_secs(30);

fn config(scene: &Scene) -> Config {
    listening(scene.config().nats(LOGIN).lines(CONSUMER))
}

/// The needed permissions but those that begin like this.
fn without(start: &str) -> Vec<&'static str> {
    let all = NEEDED.iter().chain(&DEAD).copied();
    all.filter(|subject| !subject.starts_with(start)).collect()
}

/// Runs a bridge that lacks a permission, until it has it.
async fn is_missing_at_first(start: &str, subject: &str) -> Result<()> {
    let scene = restricted(&without(start)).await?;
    scene.publish_numbered(1, 150).await?;
    let mut bridge = scene.start(&config(&scene))?;
    let pages = Pages::of(&mut bridge).await?;
    let said = pages.wait_for("not-permitted").await?;
    let reason = said["routes"]["reports"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(&format!("does not let us publish on {subject}, to ")), "{said}");
    assert!(said["what_to_do"].as_str().unwrap().contains("permitted"), "{said}");
    bridge
        .wait_for_log(
            &format!("route reports: NATS does not let us publish on {subject}"),
            PATIENCE,
        )
        .await?;
    assert!(pages.number("nats_matrix_denied_total{").await? >= 1.0);
    let output = scene.run(&config(&scene), &["check"])?;
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(77), "{text}");
    let line =
        format!("FAIL  rights      route reports: NATS does not let us publish on {subject}, to ");
    assert!(text.contains(&line), "{text}");

    scene.nats.reload(&permissions(&without("none")), &[]).await?;
    pages.wait_for("connected").await.with_context(|| bridge.logs())?;
    let mut reader = scene.reader().await?;
    read_numbered(&mut reader, 150).await.with_context(|| bridge.logs())?;
    Ok(())
}

#[tokio::test]
async fn without_the_right_to_acknowledge_it_is_not_ready() -> Result<()> {
    is_missing_at_first("$JS.ACK.", "$JS.ACK.OPS.reports.>").await
}

#[tokio::test]
async fn without_the_right_to_ask_for_messages_it_is_not_ready() -> Result<()> {
    let subject = "$JS.API.CONSUMER.MSG.NEXT.OPS.reports";
    is_missing_at_first(subject, subject).await
}

/// Takes permissions away one by one while the bridge has nothing to do, and gives them back.
#[tokio::test]
async fn a_right_that_is_taken_away_is_noticed() -> Result<()> {
    let scene = restricted(&without("none")).await?.in_haste()?;
    let mut bridge = scene.start(&config(&scene))?;
    let pages = Pages::of(&mut bridge).await?;
    for (start, subject) in [
        ("$JS.ACK.", "$JS.ACK.OPS.reports.>"),
        ("$JS.API.CONSUMER.MSG.NEXT.", "$JS.API.CONSUMER.MSG.NEXT.OPS.reports"),
        ("$JS.API.STREAM.MSG.GET.", "$JS.API.STREAM.MSG.GET.OPS"),
        ("$JS.API.STREAM.INFO.", "$JS.API.STREAM.INFO.OPS"),
    ] {
        pages.wait_for("connected").await.with_context(|| bridge.logs())?;
        scene.nats.reload(&permissions(&without(start)), &[]).await?;
        let said = timeout(NOTICED, pages.wait_for("not-permitted")).await;
        let said = said.with_context(|| format!("{subject}: {}", bridge.logs()))??;
        assert!(said["reasons"][0].as_str().unwrap().contains(subject), "{said}");
        scene.nats.reload(&permissions(&without("none")), &[]).await?;
    }
    pages.wait_for("connected").await.with_context(|| bridge.logs())?;
    scene.publish_numbered(1, 3).await?;
    read_numbered(&mut scene.reader().await?, 3).await
}

/// A stop counts, too, when NATS refuses the bridge while its routes finish their messages.
#[tokio::test]
async fn a_stop_is_not_forgotten_when_the_inbox_is_denied() -> Result<()> {
    let scene = restricted(&without("none")).await?;
    let (proxy, some) = scene.through_proxy().await?;
    let mut bridge = scene.start(&listening(some.nats(LOGIN).lines(CONSUMER)))?;
    // It would try again for ever a NATS that has accepted it.
    let accepted = scene.dir.path().join("state/nats-accepted.json");
    let deadline = Instant::now() + PATIENCE;
    while !accepted.exists() {
        ensure!(Instant::now() < deadline, "not accepted: {}", bridge.logs());
        sleep(Duration::from_millis(50)).await;
    }
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(1, 1).await?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    let elsewhere = permissions(&without("none")).replace("_INBOX_nats-matrix.>", "_INBOX.>");
    scene.nats.reload(&elsewhere, &[]).await?;
    bridge.wait_for_log("Permissions Violation for Subscription", PATIENCE).await?;
    bridge.terminate()?;
    assert_eq!(bridge.wait(NOTICED).await?, 0);
    Ok(())
}

/// The protection from a second bridge comes back soon after the rights for it.
#[tokio::test]
async fn a_bucket_that_is_permitted_again_is_used_again() -> Result<()> {
    let all = [&NEEDED[..], &KEPT, &WANTED].concat();
    let scene = restricted(&all).await?;
    let mut bridge = scene.start(&config(&scene))?;
    Pages::of(&mut bridge).await?.wait_for("connected").await?;
    scene.nats.reload(&permissions(&[&NEEDED[..], &WANTED].concat()), &[]).await?;
    let without = "a second bridge with the same routes is noticed only while it reads";
    bridge.wait_for_log(without, PATIENCE).await?;
    let sign_of_life = async || -> Result<u64> {
        let bucket = scene.nats.jetstream().await?.get_stream("KV_nats-matrix-alerts").await?;
        let last = bucket.get_last_raw_message_by_subject("$KV.nats-matrix-alerts.holder.>");
        Ok(last.await?.sequence)
    };
    let before = sign_of_life().await?;
    scene.nats.reload(&permissions(&all), &[]).await?;
    let deadline = Instant::now() + PATIENCE;
    while sign_of_life().await? == before {
        ensure!(Instant::now() < deadline, "no sign of life: {}", bridge.logs());
        sleep(Duration::from_secs(1)).await;
    }
    assert!(bridge.logs().contains("the bucket nats-matrix-alerts can be used again"));
    Ok(())
}

#[tokio::test]
async fn without_the_right_to_keep_dead_letters_it_says_what_is_missing() -> Result<()> {
    let scene = restricted(&NEEDED).await?;
    let (proxy, some) = scene.through_proxy().await?;
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "no, never" });
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
    scene.publish_numbered(1, 2).await?;
    let mut bridge = scene.start(&listening(some.nats(LOGIN).lines(CONSUMER)))?;
    let pages = Pages::of(&mut bridge).await?;
    let said = pages.wait_for("nats-unreachable").await?;
    let reason = said["routes"]["reports"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("has to publish on nats-matrix.dead-letter.reports"), "{said}");
    scene.nats.reload(&permissions(&without("none")), &[]).await?;
    let mut reader = scene.reader().await?;
    let shown = read_all(&mut reader, 2).await.with_context(|| bridge.logs())?;
    assert_eq!(shown[1].said(), "message 2");
    pages.wait_for("connected").await?;
    Ok(())
}

/// A check stores and takes nothing of what it tries.
#[tokio::test]
async fn check_tries_the_rights_of_each_feature_and_changes_nothing() -> Result<()> {
    let scene = restricted(&without("none")).await?;
    scene.bot.join(&scene.room).await?;
    let mut some = scene.config().digests(20).nats(LOGIN).lines(CONSUMER);
    some.routes.push_str("summary = { every = \"day\" }\n");
    some.routes.push_str(&quiet());
    let run = || -> Result<(Option<i32>, String)> {
        let output = scene.run(&some, &["check"])?;
        Ok((output.status.code(), printed(&output)))
    };
    let (code, text) = run()?;
    assert_eq!(code, Some(0), "{text}");
    let wanted = [
        ("$KV.nats-matrix-alerts.>", "know alerts after a restart and notice a second bridge"),
        (
            "$JS.API.STREAM.CREATE.KV_nats-matrix-alerts",
            "know alerts after a restart and notice a second bridge",
        ),
        ("$JS.API.CONSUMER.CREATE.OPS", "read digests"),
        ("$JS.API.CONSUMER.CREATE.OPS.reports:summary.>", "read summaries"),
        ("nats-matrix.held.reports.>", "defer messages in quiet hours"),
        ("$JS.API.STREAM.MSG.GET.NATS_MATRIX_HELD", "read single messages"),
    ];
    for (subject, purpose) in wanted {
        let line = format!("NATS does not let us publish on {subject}, to {purpose}");
        let is_it = |text: &&str| text.starts_with("note  rights") && text.contains(&line);
        assert!(text.lines().any(|text| is_it(&text)), "no {line} in {text}");
    }
    assert!(text.contains("ok    rights      route reports: "), "{text}");

    // The dead letters stop a route that cannot keep them.
    scene.nats.reload(&permissions(&NEEDED), &[]).await?;
    let (code, text) = run()?;
    assert_eq!(code, Some(77), "{text}");
    assert!(text.contains("publish on nats-matrix.dead-letter.>, to keep messages"), "{text}");

    let all = [&NEEDED[..], &DEAD, &KEPT, &WANTED, &HELD].concat();
    scene.nats.reload(&permissions(&all), &[]).await?;
    let sequence = scene.nats.publish("ops.text", "message 1").await?;
    // Streams that would store what is tried.
    scene.nats.create_stream("ALL", &["nats-matrix.>", "$KV.>"]).await?;
    for _ in 0..2 {
        let (code, text) = run()?;
        assert_eq!(code, Some(0), "{text}");
        assert!(!text.contains("note  rights") && !text.contains("FAIL"), "{text}");
    }
    let jetstream = scene.nats.jetstream().await?;
    assert_eq!(jetstream.get_stream("ALL").await?.cached_info().state.last_sequence, 0);
    let stream = jetstream.get_stream("OPS").await?;
    let state = &stream.cached_info().state;
    assert_eq!((state.last_sequence, state.consumer_count), (sequence, 0));
    // Nor with a consumer, which keeps its messages.
    let _bridge = scene.start(&scene.config().nats(LOGIN).lines(CONSUMER))?;
    let mut reader = scene.reader().await?;
    reader.wait_for(1, PATIENCE).await?;
    scene.wait_until_done(sequence).await?;
    let before = scene.consumer().await?;
    run()?;
    let after = scene.consumer().await?;
    assert_eq!(before.delivered.consumer_sequence, after.delivered.consumer_sequence);
    assert_eq!(before.ack_floor.stream_sequence, after.ack_floor.stream_sequence);
    Ok(())
}
