//! `nats-matrix check`: one line for each step, ok or what to do.

use std::{
    fmt::Write as _, fs::Permissions, os::unix::fs::PermissionsExt, path::Path, process::Command,
    time::Duration,
};

use anyhow::Result;
use nats_matrix_testbed::{Nats, SERVER_NAME};
use serde_json::json;

use crate::scene::{BINARY, Config, PATIENCE, Scene, printed, shared_homeserver};

/// Runs `check` and returns its exit code and what it printed.
fn check(scene: &Scene, config: &Config) -> Result<(i32, String)> {
    let output = scene.run(config, &["check"])?;
    let text = printed(&output);
    Ok((output.status.code().unwrap(), text))
}

#[track_caller]
fn assert_line(text: &str, mark: &str, step: &str, what: &str) {
    let found = text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(mark) && words.next() == Some(step) && line.contains(what)
    });
    assert!(found, "no line \"{mark} {step} ... {what}\" in:\n{text}");
}

#[tokio::test]
async fn all_is_well() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    scene.nats.publish("ops.report.server-01", "x").await?;
    let devices = scene.bot.devices().await?.len();
    let (code, text) = check(&scene, &scene.config())?;
    assert_eq!(code, 0, "{text}");
    for (step, what) in [
        ("config", "1 route"),
        ("nats", "connected to nats-server"),
        ("stream", "OPS holds 1 messages and takes ops.>"),
        ("subjects", "\"ops.>\" matches 1 messages on 1 subject: ops.report.server-01 (1)"),
        ("consumer", "will be made at the first start"),
        ("homeserver", "speaks Matrix up to v1."),
        ("login", &format!("as {}", scene.bot.user_id)),
        ("room", "may post into"),
    ] {
        assert_line(&text, "ok", step, what);
    }
    assert_eq!(scene.bot.devices().await?.len(), devices, "a check leaves no device behind");
    assert!(scene.consumer().await.is_err(), "a check makes no consumer");
    assert!(!scene.dir.path().join("state").exists(), "a check keeps no session");
    Ok(())
}

#[tokio::test]
async fn limits_that_drop_messages_within_an_hour_are_named() -> Result<()> {
    let scene = Scene::new().await?;
    scene.publish_numbered(1, 30).await?;
    let jetstream = scene.nats.jetstream().await?;
    let mut config = jetstream.get_stream("OPS").await?.cached_info().config.clone();
    config.max_age = Duration::from_mins(30);
    config.max_messages = 40;
    config.max_bytes = 1_000_000_000;
    config.max_messages_per_subject = 50;
    jetstream.update_stream(config.clone()).await?;
    let (_, text) = check(&scene, &scene.config())?;
    for what in [
        "route reports: stream OPS: max_age of 30m drops messages that wait for longer",
        "max_msgs of 40 is reached in 1m 20s at the current rate",
        "max_msgs_per_subject of 50 drops earlier messages that still wait",
    ] {
        assert_line(&text, "note", "retention", what);
    }
    assert!(!text.contains("max_bytes"), "{text}");
    config.max_age = Duration::from_hours(2);
    (config.max_messages, config.max_messages_per_subject) = (-1, -1);
    jetstream.update_stream(config).await?;
    assert!(!check(&scene, &scene.config())?.1.contains("retention"));
    Ok(())
}

#[tokio::test]
async fn a_subject_that_the_stream_does_not_have_is_named_by_check_and_run() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config_for("report.ops.>", &scene.room);
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 64, "{text}");
    let line =
        "subject \"report.ops.>\" can never match: stream OPS takes ops.>; correct `subjects`";
    assert_line(&text, "FAIL", "subjects", line);
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log(line, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_stream_that_does_not_exist_is_named() -> Result<()> {
    let scene = Scene::new().await?;
    scene.nats.delete_stream("OPS").await?;
    let (code, text) = check(&scene, &scene.config())?;
    assert_eq!(code, 69, "{text}");
    assert_line(
        &text,
        "FAIL",
        "stream",
        "stream OPS does not exist on this NATS server: create it",
    );
    Ok(())
}

#[tokio::test]
async fn a_consumer_of_another_kind_is_named_by_check_and_by_run() -> Result<()> {
    let scene = Scene::new().await?;
    scene.add_push_consumer("reports").await?;
    let config = scene.config().lines("consumer = \"reports\"");
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 64, "{text}");
    let what = "already has a consumer \"reports\" that pushes to a subject";
    assert_line(&text, "FAIL", "consumer", what);
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("nats consumer rm OPS reports", PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_consumer_with_other_settings_is_changed_and_that_is_said() -> Result<()> {
    let scene = Scene::new().await?;
    let stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    let other = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("reports".to_owned()),
        filter_subject: "ops.other".to_owned(),
        max_deliver: 3,
        // Less than the bridge asks for at a time: every pull would be refused.
        max_batch: 5,
        ..Default::default()
    };
    stream.create_consumer(other).await?;
    let (code, text) = check(&scene, &scene.config())?;
    assert_eq!(code, 0, "{text}");
    assert_line(&text, "ok", "consumer", "the next start changes subjects from ops.other to ops.>");
    let mut bridge = scene.start(&scene.config())?;
    bridge
        .wait_for_log("changing durable consumer reports: max_deliver from 3 to -1", PATIENCE)
        .await?;
    bridge
        .wait_for_log("changing durable consumer reports: max_batch from 5 to 0", PATIENCE)
        .await?;
    scene.publish_numbered(1, 2).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(2, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_77_and_not_tried_again() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.matrix = config.matrix.replace(&scene.bot.password, "not the password");
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 77, "{text}");
    assert_line(&text, "FAIL", "login", "refuses our login");
    let mut bridge = scene.start(&config)?;
    assert_eq!(bridge.wait(PATIENCE).await?, 77);
    let log = bridge.logs();
    assert_eq!(log.matches("refuses our login").count(), 1, "{log}");
    assert!(log.contains("check matrix.user and its password"), "{log}");
    assert!(!log.contains("not the password"), "a secret is in the log: {log}");
    Ok(())
}

#[tokio::test]
async fn servers_that_are_away_are_69() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.nats = "servers = [\"nats://127.0.0.1:1\"]\n".to_owned();
    config.matrix = config.matrix.replace(&scene.bot.homeserver, "http://127.0.0.1:1");
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 69, "{text}");
    assert_line(&text, "FAIL", "nats", "NATS at nats://127.0.0.1:1 cannot be reached");
    assert_line(&text, "FAIL", "homeserver", "http://127.0.0.1:1");
    Ok(())
}

#[tokio::test]
async fn rooms_are_told_apart() -> Result<()> {
    let scene = Scene::new().await?;
    let free = format!("#free-{}:{SERVER_NAME}", scene.bot.localpart());
    let made = format!("#made-{}:{SERVER_NAME}", scene.bot.localpart());
    let mut config = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot)
        .route("free", "ops.a", &free)
        .route("invited", "ops.b", &scene.room)
        .route("nowhere", "ops.c", "#nowhere:elsewhere.example")
        .route("made", "ops.d", &made);
    let invite = json!([scene.alice.user_id]);
    writeln!(config.routes, "invite = {invite}")?;
    let (_, text) = check(&scene, &config)?;
    assert_line(&text, "note", "room", "route free: #free-");
    assert_line(&text, "note", "room", "at the first start with nobody in it: is the alias right?");
    assert_line(&text, "ok", "room", "is free, and will be made at the first start");
    assert_line(&text, "note", "room", "is not in room");

    scene.bot.join(&scene.room).await?;
    scene.alice.set_power_level(&scene.room, &scene.bot.user_id, -1).await?;
    let (code, text) = check(&scene, &scene.config())?;
    assert_eq!(code, 64, "{text}");
    assert_line(&text, "FAIL", "power", "has power level -1");
    Ok(())
}

#[tokio::test]
async fn what_no_route_takes_and_who_cannot_be_mentioned_is_noted() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    for subject in ["ops.report.a", "ops.alert.a", "ops.alert.a", "ops.backup"] {
        scene.nats.publish(subject, "x").await?;
    }
    let mut config = scene.config_for("ops.report.>", &scene.room);
    let stranger = format!("@stranger:{SERVER_NAME}");
    let _ = writeln!(config.routes, "mention = [\"{}\", \"{stranger}\"]", scene.alice.user_id);
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 0, "{text}");
    let what =
        "stream OPS: no route takes 3 messages on 2 subjects: ops.alert.a (2), ops.backup (1);";
    assert_line(&text, "note", "subjects", what);
    assert_line(&text, "note", "mention", &format!("{stranger}, who is not in the room"));
    assert!(!text.contains(&format!("{}, who is not", scene.alice.user_id)), "{text}");
    Ok(())
}

#[tokio::test]
async fn what_has_no_room_of_its_own_is_told_where_it_goes() -> Result<()> {
    let scene = Scene::new().await?;
    let (_, server) = scene.bot.user_id.split_once(':').unwrap();
    let room = format!("#{}-{{subject.3}}:{server}", scene.bot.localpart());
    let mut config = scene.config_for("ops.report.*", &room);
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 0, "{text}");
    assert_line(
        &text,
        "note",
        "room",
        "at most 20 are made within an hour, and what is for others is a dead letter",
    );
    config = config.lines(&format!("fallback_room = \"{}\"\nnew_rooms_per_hour = 5", scene.room));
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 0, "{text}");
    assert_line(
        &text,
        "note",
        "room",
        &format!(
            "at most 5 are made within an hour, and what is for others goes to {}",
            scene.room
        ),
    );
    assert_line(&text, "note", "room", "is not in room");
    scene.bot.join(&scene.room).await?;
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 0, "{text}");
    let whose = format!("may post into {}, made by {}", scene.room, scene.alice.user_id);
    assert_line(&text, "ok", "room", &whose);
    Ok(())
}

/// Publishes on as many subjects, each of which is 3,000 bytes long.
async fn publish_on_long_subjects(nats: &Nats, prefix: &str, count: usize) -> Result<()> {
    let client = nats.client().await?;
    let stuffing = "x".repeat(3_000 - prefix.len() - 6);
    for number in 0..count {
        client.publish(format!("{prefix}.{number:05}{stuffing}"), "x".into()).await?;
    }
    client.flush().await?;
    let jetstream = nats.jetstream().await?;
    let stream = jetstream.get_stream("OPS").await?;
    while stream.get_info().await?.state.messages < count as u64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test]
async fn more_subjects_than_memory_holds_are_counted() -> Result<()> {
    let scene = Scene::new().await?;
    publish_on_long_subjects(&scene.nats, "ops.a", 15_000).await?;
    scene.nats.publish("ops.b", "x").await?;
    let config = scene.config_for("ops.a.>", &scene.room);
    let path = scene.dir.path().join("check.toml");
    std::fs::write(&path, config.toml())?;
    // As much as the service has.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -d 64000 && exec \"$@\"", "sh", BINARY, "check", "--config"]);
    let output = command.arg(&path).output()?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_line(
        &text,
        "ok",
        "subjects",
        "\"ops.a.>\" matches messages on 15000 subjects: ops.a.1499",
    );
    assert_line(&text, "note", "subjects", "stream OPS: no route takes messages on 1 subject;");
    let (_, text) = check(&scene, &scene.config())?;
    assert!(!text.contains("no route takes"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_secret_that_everybody_can_read_is_noted() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.matrix = config.matrix.replace(
        &format!("password = \"{}\"", scene.bot.password),
        "password_file = \"matrix-password\"",
    );
    let file = scene.dir.path().join("matrix-password");
    std::fs::write(&file, &scene.bot.password)?;
    let set = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
    set(scene.dir.path(), 0o711)?;
    set(&file, 0o644)?;
    let (code, text) = check(&scene, &config)?;
    assert_eq!(code, 0, "{text}");
    assert_line(&text, "note", "secrets", "matrix.password_file: ");
    assert_line(
        &text,
        "note",
        "secrets",
        "has mode 644, so every user of this machine can read it",
    );
    set(&file, 0o640)?;
    let (_, text) = check(&scene, &config)?;
    assert!(!text.contains("secrets"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_stream_that_takes_larger_messages_than_was_measured_is_named() -> Result<()> {
    let nats = Nats::builder().max_payload(16).start().await?;
    let scene = Scene::with(shared_homeserver().await?, nats).await?;
    let (_, text) = check(&scene, &scene.config())?;
    assert_line(&text, "note", "limits", "stream OPS takes messages of up to 16777216 bytes");
    let jetstream = scene.nats.jetstream().await?;
    let mut own = jetstream.get_stream("OPS").await?.cached_info().config.clone();
    own.max_message_size = 8 << 20;
    jetstream.update_stream(&own).await?;
    let (_, text) = check(&scene, &scene.config())?;
    assert!(!text.contains("takes messages of up to"), "{text}");
    Ok(())
}
