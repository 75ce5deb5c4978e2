//! A homeserver that misbehaves, and one that says no.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::{
    HeaderMap, HeaderName, HeaderValue,
    jetstream::stream::{Config as StreamConfig, Republish},
};
use nats_matrix_testbed::{Account, Fault, FaultKind, FaultProxy, Homeserver, Nats, NatsCluster};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    quiet::quiet,
    scene::{BINARY, Config, PATIENCE, Scene, read_all, read_numbered, through_proxy},
};

#[tokio::test]
async fn slow_answers_are_waited_for() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::Delay(Duration::from_secs(3))).times(3));
    scene.publish_numbered(1, 6).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(6).await?;
    assert_eq!(
        proxy.requests_matching("/send/").len(),
        6,
        "nothing is sent twice because it is slow"
    );
    Ok(())
}

#[tokio::test]
async fn too_many_requests_are_retried_when_the_homeserver_says() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let asked = Duration::from_secs(3);
    proxy.inject(Fault::on("/send/", FaultKind::rate_limited(asked)).times(2));
    scene.publish_numbered(1, 5).await?;
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    read_numbered(&mut reader, 5).await?;
    bridge.wait_for_log("asks us to slow down", PATIENCE).await?;
    let sends = proxy.requests_matching("/send/");
    assert_eq!(sends.len(), 7);
    for pair in sends[..3].windows(2) {
        assert!(
            pair[1].at - pair[0].at >= asked,
            "sent again before the time it was asked to wait"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_real_rate_limit_is_respected() -> Result<()> {
    let homeserver = Homeserver::builder().rate_limited().start(BINARY).await?;
    let scene = Scene::on(&homeserver).await?;
    scene.publish_numbered(1, 12).await?;
    let mut bridge = scene.start(&scene.config())?;
    scene.shows_numbered(12).await?;
    bridge.wait_for_log("429 M_LIMIT_EXCEEDED", PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn server_errors_and_pages_of_a_proxy_are_retried() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::respond(502, json!("Bad Gateway"))).times(2));
    proxy.inject(
        Fault::on(
            "/send/",
            FaultKind::respond(500, json!({ "errcode": "M_UNKNOWN", "error": "oh" })),
        )
        .times(1),
    );
    // A firewall's challenge, not a homeserver's refusal.
    proxy.inject(
        Fault::on("/send/", FaultKind::respond(403, json!("<html>Just a moment...</html>")))
            .times(1),
    );
    scene.publish_numbered(1, 5).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(5).await?;
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_lost_posts_nothing_twice() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::CutAfterRequest).times(3));
    proxy.inject(Fault::on("/send/", FaultKind::CutBeforeRequest).times(2));
    scene.publish_numbered(1, 10).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(10).await?;
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_lost_together_with_the_device_posts_nothing_twice() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::CutAfterRequest).times(1));
    // The bridge is killed before it can ask the room.
    proxy.inject(Fault::on("/messages", FaultKind::HoldForever).after(1));
    scene.publish_numbered(1, 3).await?;
    let bridge = scene.start(&config)?;
    proxy.wait_for_requests("/messages", 2, PATIENCE).await?;
    bridge.kill();
    scene.forget_session()?;
    proxy.clear();
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(3).await?;
    Ok(())
}

#[tokio::test]
async fn an_outage_longer_than_ack_wait_delivers_nothing_again() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    proxy.inject(Fault::on("/send/", FaultKind::respond(503, json!("down"))));
    scene.publish_numbered(1, 20).await?;
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("HTTP 503", PATIENCE).await?;
    tokio::time::sleep(Duration::from_secs(40)).await;
    let info = scene.consumer().await?;
    assert_eq!(info.num_redelivered, 0, "kept by in-progress acknowledgements");
    assert_eq!(info.num_ack_pending, 20);
    proxy.clear();
    scene.shows_numbered(20).await?;
    Ok(())
}

#[tokio::test]
async fn a_revoked_token_is_renewed_on_the_same_device() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 2).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(2, PATIENCE).await?;
    let devices = async |bot: &nats_matrix_testbed::Account| bot.devices().await;
    let before: Vec<String> = devices(&scene.bot).await?;
    scene.bot.logout_others().await?;
    scene.publish_numbered(3, 5).await?;
    read_numbered(&mut reader, 5).await?;
    bridge.wait_for_log("logging in again", PATIENCE).await?;
    let mut after = devices(&scene.bot).await?;
    after.sort();
    let mut before = before;
    before.sort();
    assert_eq!(after, before);
    Ok(())
}

#[tokio::test]
async fn a_token_revoked_while_the_bridge_is_away_is_renewed_at_the_start() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    bridge.kill();
    scene.bot.logout_others().await?;
    scene.publish_numbered(1, 2).await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("logging in again", PATIENCE).await?;
    scene.shows_numbered(2).await?;
    Ok(())
}

#[tokio::test]
async fn an_access_token_is_used_as_it_is_and_ends_run_when_it_is_revoked() -> Result<()> {
    let scene = Scene::new().await?;
    let device = Account::login(&scene.bot.homeserver, scene.bot.localpart(), &scene.bot.password);
    let device = device.await?;
    let mut config = scene.config();
    config.matrix = format!(
        "homeserver = \"{}\"\naccess_token = \"{}\"\n",
        device.homeserver, device.access_token
    );
    let mut bridge = scene.start(&config)?;
    scene.publish_numbered(1, 2).await?;
    let mut reader = scene.reader().await?;
    read_numbered(&mut reader, 2).await?;
    scene.bot.logout_device(&device.device_id).await?;
    scene.publish_numbered(3, 3).await?;
    assert_eq!(bridge.wait(PATIENCE).await?, 77, "{}", bridge.logs());
    let log = bridge.logs();
    assert!(log.contains("check matrix.access_token_file"), "{log}");
    assert!(!log.contains(&device.access_token), "a secret is in the log: {log}");
    Ok(())
}

#[tokio::test]
async fn a_bridge_that_is_kicked_waits_to_be_invited_again() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    scene.publish_numbered(1, 2).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(2, PATIENCE).await?;
    scene.alice.kick(&scene.room, &scene.bot.user_id).await?;
    scene.publish_numbered(3, 6).await?;
    let line = bridge.wait_for_log("we are not in the room", PATIENCE).await?;
    assert!(line.contains(&format!("invite {}", scene.bot.user_id)), "{line}");
    scene.alice.invite(&scene.room, &scene.bot.user_id).await?;
    read_numbered(&mut reader, 6).await?;
    Ok(())
}

#[tokio::test]
async fn a_bridge_that_may_not_post_waits_for_power() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    scene.alice.set_power_level(&scene.room, &scene.bot.user_id, -1).await?;
    scene.publish_numbered(1, 2).await?;
    bridge.wait_for_log("has power level -1, needs 0", PATIENCE).await?;
    scene.alice.set_power_level(&scene.room, &scene.bot.user_id, 0).await?;
    scene.shows_numbered(2).await?;
    Ok(())
}

/// Dead letters that a stream hands on to the route under another subject, each with the headers of a dead letter.
#[tokio::test]
async fn a_dead_letter_that_comes_back_is_not_kept_again() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let jetstream = scene.nats.jetstream().await?;
    let config_of_dead = StreamConfig {
        name: "DEAD".to_owned(),
        subjects: vec!["nats-matrix.dead-letter.>".to_owned()],
        republish: Some(Republish {
            source: "nats-matrix.dead-letter.*".to_owned(),
            destination: "ops.came-back".to_owned(),
            headers_only: false,
        }),
        ..Default::default()
    };
    jetstream.create_stream(config_of_dead).await?;
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "no, never" });
    // Notes are refused, too.
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)));
    scene.nats.publish("ops.text", "the refused one").await?;
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("is a dead letter already, and not kept once more", PATIENCE).await?;
    scene.wait_until_done(2).await.with_context(|| bridge.logs())?;
    let dead = jetstream.get_stream("DEAD").await?;
    assert_eq!(dead.get_info().await?.state.messages, 1, "{}", bridge.logs());
    let all = jetstream.get_stream("OPS").await?;
    assert_eq!(all.get_info().await?.state.messages, 2, "{}", bridge.logs());
    Ok(())
}

/// The route reads all of a stream that also keeps the dead letters.
#[tokio::test]
async fn dead_letters_in_a_stream_that_is_read_whole_are_kept_once_and_not_shown() -> Result<()> {
    let (scene, proxy, mut config) = through_proxy().await?;
    config.routes = config.routes.replace("\"ops.>\"", "\">\"");
    let jetstream = scene.nats.jetstream().await?;
    let mut stream = jetstream.get_stream("OPS").await?.cached_info().config.clone();
    stream.subjects.push("nats-matrix.dead-letter.>".to_owned());
    jetstream.update_stream(stream).await?;
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "no, never" });
    // Two messages, and the note about the first one.
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(3));
    for text in ["refused", "refused, too", "the next one"] {
        scene.nats.publish("ops.text", text).await?;
    }
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let shown = read_all(&mut reader, 2).await.with_context(|| bridge.logs())?;
    let note = shown[0].body();
    assert!(note.contains("message 2 on ops.text cannot be shown"), "{note}");
    assert_eq!(shown[1].said(), "the next one");
    // Each refused message has one dead letter, and with those everything is done.
    scene.wait_until_done(5).await.with_context(|| bridge.logs())?;
    scene.nats.publish("ops.text", "the last one").await?;
    let shown = read_all(&mut reader, 3).await.with_context(|| bridge.logs())?;
    assert_eq!(shown.len(), 3, "{}", bridge.logs());
    assert_eq!(shown[2].said(), "the last one");
    let stream = jetstream.get_stream("OPS").await?;
    assert_eq!(stream.cached_info().state.messages, 6, "{}", bridge.logs());
    Ok(())
}

/// A stream of the user keeps the dead letters. Somebody who reads an earlier one and may publish to that stream guesses
/// the ids of the next ones, and uses them first.
#[tokio::test]
async fn nobody_can_have_a_dead_letter_taken_for_a_repetition() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let jetstream = scene.nats.jetstream().await?;
    let mut stream = jetstream.get_stream("OPS").await?.cached_info().config.clone();
    stream.subjects.push("nats-matrix.dead-letter.>".to_owned());
    jetstream.update_stream(stream).await?;
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "no, never" });
    // Notes are refused, too.
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)));
    let bridge = scene.start(&config)?;
    scene.nats.publish("ops.text", "refused").await?;
    let letter = async |reason: &str| {
        let begun = Instant::now();
        loop {
            let stream = jetstream.get_stream("OPS").await?;
            let subject = "nats-matrix.dead-letter.reports";
            match stream.get_last_raw_message_by_subject(subject).await {
                Ok(letter) if &letter.payload[..] == reason.as_bytes() => {
                    return anyhow::Ok(letter);
                }
                _ if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(200)).await,
                other => bail!("no dead letter of {reason}: {other:?}: {}", bridge.logs()),
            }
        }
    };
    let first = letter("refused").await?;
    let id = first.headers.get("Nats-Msg-Id").context("no id")?.as_str();
    let ids = (2..40).map(|number| match id.strip_suffix(".1") {
        Some(beginning) => format!("{beginning}.{number}"),
        None => format!("{id}.{number}"),
    });
    for id in ids {
        let header = ("Nats-Msg-Id".parse::<HeaderName>()?, id.parse::<HeaderValue>()?);
        let headers: HeaderMap = [header].into_iter().collect();
        let cover = "nats-matrix.dead-letter.cover";
        jetstream.publish_with_headers(cover, headers, "cover".into()).await?.await?;
    }
    for text in ["the next one", "and another"] {
        scene.nats.publish("ops.text", text).await?;
        letter(text).await?;
    }
    Ok(())
}

/// A message that is refused for good is kept, and does not hold up the room or the next message.
async fn refused(status: u16, errcode: &str) -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let answer = json!({ "errcode": errcode, "error": "no, never" });
    // A forbidden request is tried once more, because somebody may have let us in meanwhile.
    let times = if status == 403 { 2 } else { 1 };
    proxy.inject(Fault::on("/send/", FaultKind::respond(status, answer)).times(times));
    scene.nats.publish("ops.text", "the refused one").await?;
    scene.nats.publish("ops.text", "the next one").await?;
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    assert_eq!(events.len(), 2);
    let note = events[0].body();
    assert!(note.contains("🤖 nats-matrix: message 1 on ops.text cannot be shown"), "{note}");
    assert!(note.contains(errcode) && note.contains("nats-matrix.dead-letter.reports"), "{note}");
    assert_eq!(events[1].said(), "the next one");
    bridge.wait_for_log("can never be posted", PATIENCE).await?;

    let dead = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    let dead = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.reports").await?;
    assert_eq!(&dead.payload[..], b"the refused one");
    let header = |name: &str| dead.headers.get(name).map(ToString::to_string).unwrap_or_default();
    assert!(header("Nats-Matrix-Reason").contains(errcode), "{:?}", dead.headers);
    assert_eq!(header("Nats-Matrix-Stream"), "OPS");
    assert_eq!(header("Nats-Matrix-Sequence"), "1");
    assert_eq!(header("Nats-Matrix-Subject"), "ops.text");
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_too_large_for_the_homeserver_becomes_a_dead_letter() -> Result<()> {
    refused(413, "M_TOO_LARGE").await
}

#[tokio::test]
async fn a_message_that_is_forbidden_in_a_room_that_is_open_becomes_a_dead_letter() -> Result<()> {
    refused(403, "M_FORBIDDEN").await
}

#[tokio::test]
async fn a_message_that_is_forbidden_once_is_no_dead_letter() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let answer = json!({ "errcode": "M_FORBIDDEN", "error": "not in the room" });
    proxy.inject(Fault::on("/send/", FaultKind::respond(403, answer)).times(1));
    scene.publish_numbered(1, 3).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(3).await?;
    Ok(())
}

#[tokio::test]
async fn an_account_or_server_that_is_closed_for_now_makes_no_dead_letters() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let (proxy, config) = scene.through_proxy().await?;
    for (status, errcode) in
        [(403, "M_RESOURCE_LIMIT_EXCEEDED"), (401, "M_USER_LOCKED"), (403, "M_USER_SUSPENDED")]
    {
        let answer = json!({ "errcode": errcode, "error": "closed", "admin_contact": "x" });
        proxy.inject(Fault::on("/send/", FaultKind::respond(status, answer)).times(2));
    }
    scene.publish_numbered(1, 3).await?;
    let _bridge = scene.start(&config)?;
    scene.shows_numbered(3).await?;
    Ok(())
}

#[tokio::test]
async fn a_homeserver_that_takes_nothing_but_can_be_read_is_one_outage() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let full = json!({ "errcode": "M_UNKNOWN", "error": "disk full" });
    proxy.inject(Fault::on("/send/", FaultKind::respond(500, full)).times(4));
    scene.publish_numbered(1, 2).await?;
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    read_numbered(&mut reader, 2).await?;
    bridge.wait_for_log("works again after", PATIENCE).await?;
    let log = bridge.logs();
    assert_eq!(log.matches("disk full").count(), 1, "said once: {log}");
    assert_eq!(log.matches("works again after").count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn headers_of_nats_do_not_keep_a_dead_letter_from_being_kept() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "no" });
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
    let mut headers = HeaderMap::new();
    #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
    headers.insert("Nats-Expected-Stream", "OPS");
    #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
    headers.insert("X-Node", "server-01");
    let jetstream = scene.nats.jetstream().await?;
    jetstream.publish_with_headers("ops.text", headers, "refused".into()).await?.await?;
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    reader.wait_for(1, PATIENCE).await?;
    let dead = jetstream.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    let dead = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.reports").await?;
    assert_eq!(dead.headers.get("X-Node").map(ToString::to_string).as_deref(), Some("server-01"));
    assert!(dead.headers.get("Nats-Expected-Stream").is_none());
    Ok(())
}

#[tokio::test]
async fn the_bridges_own_streams_are_on_as_many_servers_as_that_of_its_route() -> Result<()> {
    let scene = Scene::new().await?;
    let cluster = NatsCluster::start(3).await?;
    let jetstream = cluster.jetstream(Duration::from_secs(5)).await?;
    let ops = StreamConfig {
        name: "OPS".to_owned(),
        subjects: vec!["ops.>".to_owned()],
        num_replicas: 3,
        ..StreamConfig::default()
    };
    jetstream.create_stream(ops).await?;
    let proxy = FaultProxy::start(&scene.bot.homeserver).await?;
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "no" });
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
    let config = Config::new(&cluster.nodes()[0].url(), &proxy.url(), &scene.bot);
    let mut config = config.route("reports", "ops.>", &scene.room);
    config.routes.push_str(&quiet());
    // One message is deferred, one becomes a dead letter, and one opens the thread of an alert.
    let alert = |summary| json!({ "severity": "critical", "summary": summary }).to_string();
    for payload in ["not now".to_owned(), alert("refused"), alert("shown")] {
        jetstream.publish("ops.x", payload.into()).await?.await?;
    }
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    reader
        .wait_until(|events| events.iter().any(|it| it.body().contains("shown")), PATIENCE)
        .await?;
    for name in ["NATS_MATRIX_HELD", "NATS_MATRIX_DEAD_LETTERS", "KV_nats-matrix-alerts"] {
        let stream = jetstream.get_stream(name).await.context(name)?;
        assert_eq!(stream.cached_info().config.num_replicas, 3, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_message_that_the_homeserver_calls_wrong_becomes_a_dead_letter() -> Result<()> {
    refused(400, "M_BAD_JSON").await
}

#[tokio::test]
async fn a_file_that_is_too_large_for_the_homeserver_is_not_uploaded() -> Result<()> {
    let homeserver = Homeserver::builder().max_upload(100_000).start(BINARY).await?;
    let nats = Nats::builder().config("max_payload: 16MB\n").start().await?;
    let scene = Scene::with(&homeserver, nats).await?;
    let long = "long ".repeat(homeserver.max_upload() as usize / 5 + 40_000);
    scene.nats.publish("ops.text", long).await?;
    scene.nats.publish("ops.text", "the next one").await?;
    let bridge = scene.start(&scene.config())?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    assert!(events[0].body().starts_with("long long"));
    assert!(events[0].body().contains("takes no file of more than"), "{}", events[0].body());
    assert_eq!(events[1].said(), "the next one");
    assert!(!bridge.logs().contains("can never be posted"), "{}", bridge.logs());
    Ok(())
}
