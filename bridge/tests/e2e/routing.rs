//! The routes, and the messages that each of them takes.

use std::time::Duration;

use anyhow::Result;
use nats_matrix_testbed::{Event, Reader};
use serde_json::json;
use tokio::time::sleep;

use crate::scene::{Config, HASTE, PATIENCE, Scene, read_all};

/// Two more rooms, with the bridge in them.
async fn more_rooms(scene: &Scene) -> Result<[(String, Reader); 2]> {
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let room = json!({ "preset": "private_chat", "invite": [scene.bot.user_id] });
        let room = scene.alice.create_room(room).await?;
        let reader = scene.alice.reader(&room).await?;
        rooms.push((room, reader));
    }
    Ok(rooms.try_into().map_err(|_| anyhow::anyhow!("two rooms")).unwrap())
}

fn bodies(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.said().lines().next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn the_first_route_that_fits_takes_a_message_unless_it_passes_it_on() -> Result<()> {
    let scene = Scene::new().await?;
    let [(second, mut in_second), (third, mut in_third)] = more_rooms(&scene).await?;
    let mut config = Config::new(&scene.nats.url(), &scene.bot.homeserver, &scene.bot).route(
        "page",
        "ops.>",
        &scene.room,
    );
    config.routes += "match.severity = \"critical\"\ncontinue = true\n";
    config = config.route("databases", "ops.>", &second);
    config.routes += "match = { \"subject.3\" = [\"db-*\", \"pg\"], \"header.Env\" = \"prod\" }\n";
    config = config.route("rest", "ops.>", &third);
    config.routes += "default = true\n";
    let alert =
        |severity: &str, text: &str| json!({ "severity": severity, "summary": text }).to_string();
    let client = scene.nats.jetstream().await?;
    let publish = async |subject: &str, env: &str, payload: String| -> Result<()> {
        let mut headers = async_nats::HeaderMap::new();
        #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
        headers.insert("Env", env);
        client.publish_with_headers(subject.to_owned(), headers, payload.into()).await?.await?;
        Ok(())
    };
    publish("ops.alert.db-1", "prod", alert("critical", "one")).await?;
    publish("ops.alert.db-1", "test", alert("critical", "two")).await?;
    publish("ops.alert.pg", "prod", alert("info", "three")).await?;
    publish("ops.alert.web", "prod", alert("warning", "four")).await?;
    publish("ops.text", "prod", "five".to_owned()).await?;
    let mut bridge = scene.start(&config)?;
    let mut in_first = scene.reader().await?;
    let first = read_all(&mut in_first, 2).await?;
    assert_eq!(bodies(&first), ["🔴 CRITICAL: one", "🔴 CRITICAL: two"]);
    let taken = read_all(&mut in_second, 2).await?;
    assert_eq!(bodies(&taken), ["🔴 CRITICAL: one", "🔵 INFO: three"]);
    let rest = read_all(&mut in_third, 2).await?;
    assert_eq!(bodies(&rest), ["🟠 WARNING: four", "five"]);

    bridge.terminate()?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0);
    for name in ["page", "databases", "rest"] {
        let info = scene.nats.consumer("OPS", name).await?;
        assert_eq!((info.num_pending, info.num_ack_pending), (0, 0), "{name} is done with all");
    }
    Ok(())
}

#[tokio::test]
async fn each_machine_has_a_room_of_its_own() -> Result<()> {
    let scene = Scene::new().await?;
    let (_, server) = scene.bot.user_id.split_once(':').unwrap();
    let name = scene.bot.localpart();
    let room = format!("#{name}-{{subject.3}}:{server}");
    let mut config = scene.config_for("ops.report.*", &room).digests(20);
    config.routes += "invite = [\"";
    config.routes += &scene.alice.user_id;
    config.routes += "\"]\n";
    let publish = async |host: &str, count: usize| {
        let texts = (1..=count).map(|number| format!("message {number}"));
        scene.nats.publish_many(&format!("ops.report.{host}"), texts).await
    };
    publish("db-01", 3).await?;
    publish("web_1", 2).await?;
    let bridge = scene.start(&config)?;
    let room_of = async |host: &str| -> Result<Reader> {
        let alias = format!("#{name}-{host}:{server}");
        let deadline = tokio::time::Instant::now() + PATIENCE;
        // The alias may be there before the invitation.
        loop {
            match scene.alice.join(&alias).await {
                Ok(room) => return scene.alice.reader(&room).await,
                Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    };
    let mut db = room_of("db-01").await?;
    let mut web = room_of("web_1").await?;
    assert_eq!(bodies(&read_all(&mut db, 3).await?), ["message 1", "message 2", "message 3"]);
    assert_eq!(bodies(&read_all(&mut web, 2).await?), ["message 1", "message 2"]);
    bridge.kill();

    // After an outage the room with much to show has a digest, the other one not.
    publish("db-01", 50).await?;
    publish("web_1", 5).await?;
    let bridge = scene.start(&config)?;
    assert_eq!(read_all(&mut web, 7).await?.len(), 7);
    let shown = read_all(&mut db, 5).await?;
    assert!(shown[3].body().starts_with("📚 50 messages"), "{}", shown[3].body());
    bridge.kill();
    let _bridge = scene.start(&config)?;
    publish("db-01", 1).await?;
    assert_eq!(read_all(&mut db, 6).await?.len(), 6, "nothing is shown twice");
    assert_eq!(read_all(&mut web, 7).await?.len(), 7);
    Ok(())
}

/// A room that is closed to the bridge does not block the others.
#[tokio::test]
async fn a_room_that_is_closed_to_us_holds_no_other_up() -> Result<()> {
    let scene = Scene::new().await?;
    let (_, server) = scene.bot.user_id.split_once(':').unwrap();
    let name = scene.bot.localpart();
    for (host, encrypted) in [("secret", true), ("private", false)] {
        let room = scene
            .alice
            .create_room(json!({
                "preset": "private_chat",
                "room_alias_name": format!("{name}-{host}"),
                "invite": if encrypted { vec![scene.bot.user_id.clone()] } else { Vec::new() },
            }))
            .await?;
        if encrypted {
            let how = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
            scene.alice.set_state(&room, "m.room.encryption", "", how).await?;
        }
    }
    let open = json!({ "preset": "private_chat", "room_alias_name": format!("{name}-open"),
                       "invite": [scene.bot.user_id] });
    let open = scene.alice.create_room(open).await?;
    let mut config = scene.config_for("ops.report.*", &format!("#{name}-{{subject.3}}:{server}"));
    config = config.lines(&format!("room_creators = [\"{}\"]", scene.alice.user_id));
    for host in ["secret", "private", "open"] {
        scene.nats.publish(&format!("ops.report.{host}"), format!("of {host}")).await?;
    }
    let mut bridge = scene.start(&config)?;
    let mut reader = scene.alice.reader(&open).await?;
    assert_eq!(bodies(&read_all(&mut reader, 1).await?), ["of open"]);
    for reason in ["is encrypted", "does not let us in"] {
        bridge.wait_for_log(reason, PATIENCE).await?;
    }
    let dead = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    assert_eq!(dead.cached_info().state.messages, 2);
    Ok(())
}

/// Nor is one that we are put out of, until we are let in again.
#[tokio::test]
async fn a_room_that_we_are_put_out_of_holds_no_other_up() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let (_, server) = scene.bot.user_id.split_once(':').unwrap();
    let name = scene.bot.localpart();
    let mut rooms = Vec::new();
    for host in ["a", "b"] {
        let room = json!({ "preset": "private_chat", "room_alias_name": format!("{name}-{host}"),
                           "invite": [scene.bot.user_id] });
        rooms.push(scene.alice.create_room(room).await?);
    }
    let (mut a, mut b) =
        (scene.alice.reader(&rooms[0]).await?, scene.alice.reader(&rooms[1]).await?);
    let mut config = scene.config_for("ops.report.*", &format!("#{name}-{{subject.3}}:{server}"));
    config = config.lines(&format!("room_creators = [\"{}\"]", scene.alice.user_id));
    // Nothing is held back, but whether it is, is asked.
    config.routes += "quiet = { from = \"00:00\", to = \"00:01\" }\n";
    let mut bridge = scene.start(&config)?;
    scene.nats.publish("ops.report.a", "first of a").await?;
    a.wait_for(1, PATIENCE).await?;
    scene.alice.kick(&rooms[0], &scene.bot.user_id).await?;
    scene.nats.publish("ops.report.a", "second of a").await?;
    scene.nats.publish("ops.report.b", "first of b").await?;
    assert_eq!(bodies(&read_all(&mut b, 1).await?), ["first of b"]);
    let said = bridge.wait_for_log("cannot be used", PATIENCE).await?;
    assert!(said.contains("we are not in the room any more"), "{said}");
    let dead = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    assert_eq!(dead.cached_info().state.messages, 1);
    scene.alice.invite(&rooms[0], &scene.bot.user_id).await?;
    // It is tried again after half a minute.
    sleep(Duration::from_secs(35) / HASTE).await;
    scene.nats.publish("ops.report.a", "third of a").await?;
    assert_eq!(bodies(&read_all(&mut a, 2).await?), ["first of a", "third of a"]);
    Ok(())
}

#[tokio::test]
async fn a_value_of_the_payload_decides() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes += "match = { \"payload.tags.0\" = \"prod\", \"payload.load\" = \"9*\" }\n";
    for payload in [
        r#"{"tags":["prod"],"load":99,"text":"in"}"#,
        r#"{"tags":["test"],"load":99,"text":"out"}"#,
        r#"{"tags":["prod"],"load":1,"text":"out"}"#,
        r#"{"tags":{},"text":"out"}"#,
        "no JSON",
        r#"{"tags":["prod"],"load":"9","text":"in"}"#,
    ] {
        scene.nats.publish("ops.x", payload).await?;
    }
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    assert!(events.iter().all(|event| event.body().starts_with("📨 in")), "{events:?}");
    Ok(())
}

/// The configuration cannot tell that an alias leads to the room of another route.
#[tokio::test]
async fn one_room_shows_a_message_once_whatever_its_names() -> Result<()> {
    let scene = Scene::new().await?;
    let room = json!({
        "preset": "private_chat",
        "room_alias_name": scene.bot.localpart(),
        "invite": [scene.bot.user_id],
    });
    let room = scene.alice.create_room(room).await?;
    let server = scene.bot.user_id.split_once(':').unwrap_or_default().1;
    let alias = format!("#{}:{server}", scene.bot.localpart());
    let mut first = scene.config_for("ops.text", &alias).lines("continue = true");
    first = first.route("again", "ops.>", &room);
    for digest_above in [0, 5] {
        let config = first.clone().digests(digest_above);
        scene.publish_numbered(1, 20).await?;
        scene.nats.publish("ops.other", "of the second route alone").await?;
        let bridge = scene.start(&config)?;
        let mut reader = scene.alice.reader(&room).await?;
        let is_last = |event: &Event| event.said() == "of the second route alone";
        reader.wait_until(|events| events.iter().any(is_last), PATIENCE).await?;
        let events = reader.settle(Duration::from_secs(4)).await?;
        let shown = |text: &str| events.iter().filter(|event| event.said() == text).count();
        if digest_above == 0 {
            for number in 1..=20 {
                assert_eq!(shown(&format!("message {number}")), 1, "{events:#?}");
            }
        } else {
            let of_digests = |event: &&Event| event.body().contains("20 messages");
            assert_eq!(events.iter().filter(of_digests).count(), 1, "{events:#?}");
            assert_eq!(shown("of the second route alone"), 2, "{events:#?}");
        }
        bridge.kill();
    }
    Ok(())
}
