//! Rooms that are named after subjects, and what somebody makes of it who may publish or has an account.

use std::time::Duration;

use anyhow::{Context, Result};
use nats_matrix_testbed::{Account, Event, Homeserver, Reader};
use serde_json::json;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::{
    health::{Pages, listening},
    scene::{Config, PATIENCE, Scene, read_all, shared_homeserver},
};

/// A route with a room for each host, and a room for what has none.
struct Named {
    scene: Scene,
    server: String,
}

impl Named {
    async fn new() -> Result<Self> {
        Self::on(shared_homeserver().await?).await
    }

    async fn on(homeserver: &Homeserver) -> Result<Self> {
        let scene = Scene::on(homeserver).await?;
        let (_, server) = scene.bot.user_id.split_once(':').context("no server")?;
        Ok(Self { server: server.to_owned(), scene })
    }

    fn alias(&self, host: &str) -> String {
        format!("#{}-{host}:{}", self.scene.bot.localpart(), self.server)
    }

    /// A configuration with more lines of the route.
    fn config(&self, lines: &str) -> Config {
        let mut config = self.scene.config_for("ops.report.*", &self.alias("{subject.3}"));
        config.routes += lines;
        config.routes.push('\n');
        config
    }

    fn fallback(&self) -> String {
        format!("fallback_room = \"{}\"", self.scene.room)
    }

    async fn publish(&self, host: &str, text: &str) -> Result<()> {
        self.scene.nats.publish(&format!("ops.report.{host}"), text.to_owned()).await?;
        Ok(())
    }

    /// A room of that host's alias which somebody makes, and into which the bridge is invited.
    async fn made_by(&self, account: &Account, host: &str) -> Result<Reader> {
        let name = format!("{}-{host}", self.scene.bot.localpart());
        let room = json!({ "preset": "private_chat", "room_alias_name": name, "invite": [self.scene.bot.user_id] });
        account.reader(&account.create_room(room).await?).await
    }

    /// The number of hosts that have a room.
    async fn count_rooms(&self, hosts: impl Iterator<Item = String>) -> Result<usize> {
        let mut count = 0;
        for host in hosts {
            count += usize::from(self.scene.bot.resolve_alias(&self.alias(&host)).await?.is_some());
        }
        Ok(count)
    }
}

fn bodies(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::said).collect()
}

fn was_left(account: &str, timeline: &[Event]) -> bool {
    let of_us = |event: &&Event| {
        event.kind == "m.room.member" && event.state_key.as_deref() == Some(account)
    };
    timeline.iter().rfind(of_us).is_some_and(|event| event.content["membership"] != "join")
}

#[tokio::test]
async fn a_room_that_a_stranger_made_is_not_posted_into() -> Result<()> {
    let homeserver = shared_homeserver().await?;
    let named = Named::on(homeserver).await?;
    let mallory = homeserver.account("alice").await?;
    let mut trap = named.made_by(&mallory, "db").await?;
    let mut bridge = named.scene.start(&named.config(&named.fallback()))?;
    for number in 1..=3 {
        named.publish("db", &format!("message {number}")).await?;
    }
    let mut reader = named.scene.reader().await?;
    let events = read_all(&mut reader, 3).await?;
    assert_eq!(bodies(&events), ["message 1", "message 2", "message 3"]);
    assert!(trap.settle(Duration::from_secs(1)).await?.is_empty(), "nothing is said there");
    let line = bridge.wait_for_log("cannot be used", PATIENCE).await?;
    assert!(line.contains(&format!("was made by {}", mallory.user_id)), "{line}");
    assert!(line.contains("room_creators"), "{line}");
    let logs = bridge.logs();
    assert_eq!(logs.matches("cannot be used").count(), 1, "said once: {logs}");
    let rooms = named.scene.bot.joined_rooms().await?;
    assert_eq!(rooms, [named.scene.room.as_str()], "the bridge does not stay in the trap");
    // It was looked into once, not with each message.
    let room = mallory.resolve_alias(&named.alias("db")).await?.context("no room")?;
    let timeline = mallory.timeline(&room).await?;
    assert!(was_left(&named.scene.bot.user_id, &timeline), "{timeline:?}");
    let of_bot = timeline.iter().filter(|event| event.sender == named.scene.bot.user_id).count();
    assert_eq!(of_bot, 2, "in and out: {timeline:?}");
    Ok(())
}

#[tokio::test]
async fn without_another_room_what_is_for_a_strangers_is_a_dead_letter() -> Result<()> {
    let homeserver = shared_homeserver().await?;
    let named = Named::on(homeserver).await?;
    let mallory = homeserver.account("alice").await?;
    let mut trap = named.made_by(&mallory, "db").await?;
    let mut open = named.made_by(&named.scene.alice, "open").await?;
    let creators = format!("room_creators = [\"{}\"]", named.scene.alice.user_id);
    let _bridge = named.scene.start(&named.config(&creators))?;
    named.publish("db", "secret").await?;
    named.publish("open", "hello").await?;
    assert_eq!(bodies(&read_all(&mut open, 1).await?), ["hello"], "it holds no other up");
    assert!(trap.settle(Duration::from_secs(1)).await?.is_empty());
    let dead = named.scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    let dead = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.reports").await?;
    assert_eq!(&*dead.payload, b"secret");
    let reason = dead.headers.get("Nats-Matrix-Reason").context("no reason")?.to_string();
    assert!(reason.contains(&format!("was made by {}", mallory.user_id)), "{reason}");
    Ok(())
}

#[tokio::test]
async fn a_room_that_an_administrator_made_is_posted_into() -> Result<()> {
    let named = Named::new().await?;
    let mut room = named.made_by(&named.scene.alice, "db").await?;
    let mut config = named.config(&named.fallback());
    config = config.lines(&format!(
        "[provision]\nregistration_secret_file = \"unused\"\n[users.{}]\nadmin = true",
        named.scene.alice.localpart()
    ));
    let _bridge = named.scene.start(&config)?;
    named.publish("db", "hello").await?;
    assert_eq!(bodies(&read_all(&mut room, 1).await?), ["hello"]);
    Ok(())
}

/// A member of one of the bridge's rooms can give it a second alias, and so read what is for another one.
#[tokio::test]
async fn an_alias_that_somebody_gave_to_a_room_of_ours_leads_nowhere() -> Result<()> {
    let named = Named::new().await?;
    let invite = format!("invite = [\"{}\"]\n{}", named.scene.alice.user_id, named.fallback());
    let _bridge = named.scene.start(&named.config(&invite))?;
    named.publish("web", "of web").await?;
    let begun = Instant::now();
    let web = loop {
        match named.scene.alice.join(&named.alias("web")).await {
            Ok(room) => break room,
            Err(error) => anyhow::ensure!(begun.elapsed() < PATIENCE, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    };
    let mut reader = named.scene.alice.reader(&web).await?;
    assert_eq!(bodies(&read_all(&mut reader, 1).await?), ["of web"]);
    let mut url = Url::parse(&named.scene.alice.homeserver)?;
    url.path_segments_mut().ok().context("no path")?.extend([
        "_matrix",
        "client",
        "v3",
        "directory",
        "room",
        &named.alias("db"),
    ]);
    let request = reqwest::Client::new().put(url).bearer_auth(&named.scene.alice.access_token);
    let answer = request.json(&json!({ "room_id": web })).send().await?;
    anyhow::ensure!(answer.status().is_success(), "{}", answer.text().await?);
    named.publish("db", "of db").await?;
    let mut fallback = named.scene.reader().await?;
    assert_eq!(bodies(&read_all(&mut fallback, 1).await?), ["of db"]);
    // The bridge stays in the room that it is in for its own alias.
    named.publish("web", "more of web").await?;
    assert_eq!(bodies(&read_all(&mut reader, 2).await?), ["of web", "more of web"]);
    Ok(())
}

#[tokio::test]
async fn invented_names_make_few_rooms_and_the_rest_is_readable_in_order() -> Result<()> {
    let named = Named::new().await?;
    let config = named.config(&format!("new_rooms_per_hour = 3\n{}", named.fallback()));
    let count = 40;
    let publish = async |from: usize, to: usize| -> Result<()> {
        for number in from..=to {
            named.publish(&format!("fake-{number}"), &format!("message {number}")).await?;
        }
        Ok(())
    };
    publish(1, count / 2).await?;
    let mut reader = named.scene.reader().await?;
    // A kill may fall between a message and its acknowledgement, and begins no new hour.
    for round in 1..=4 {
        let bridge = named.scene.start(&config)?;
        reader.wait_for(4 * round, PATIENCE).await?;
        bridge.kill();
    }
    publish(count / 2 + 1, count).await?;
    let mut bridge = named.scene.start(&config)?;
    let events = read_all(&mut reader, count - 3).await?;
    let expected: Vec<String> = (4..=count).map(|number| format!("message {number}")).collect();
    assert_eq!(bodies(&events), expected);
    let hosts = (1..=count).map(|number| format!("fake-{number}"));
    assert_eq!(named.count_rooms(hosts).await?, 3);
    bridge.wait_for_log("new_rooms_per_hour, which is 3", PATIENCE).await?;
    let said = bridge.logs().matches("new_rooms_per_hour, which is 3").count();
    assert_eq!(said, 1, "{}", bridge.logs());
    // A room that is there is used.
    named.publish("fake-1", "again").await?;
    let room = named.scene.bot.resolve_alias(&named.alias("fake-1")).await?.context("no room")?;
    let deadline = Instant::now() + PATIENCE;
    while named.scene.bot.messages(&room).await?.len() < 2 {
        anyhow::ensure!(Instant::now() < deadline, "{}", bridge.logs());
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bodies(&named.scene.bot.messages(&room).await?), ["message 1", "again"]);
    Ok(())
}

#[tokio::test]
async fn what_is_over_the_limit_becomes_one_dead_letter_each() -> Result<()> {
    let named = Named::new().await?;
    let jetstream = named.scene.nats.jetstream().await?;
    named.scene.nats.create_stream("DEAD", &["nats-matrix.dead-letter.>"]).await?;
    let config = named.config("new_rooms_per_hour = 1");
    let mut bridge = named.scene.start(&config)?;
    for number in 1..=5 {
        named.publish(&format!("fake-{number}"), &format!("message {number}")).await?;
    }
    let dead = jetstream.get_stream("DEAD").await?;
    let deadline = Instant::now() + PATIENCE;
    while dead.get_info().await?.state.messages < 4 {
        anyhow::ensure!(Instant::now() < deadline, "{}", bridge.logs());
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(dead.get_info().await?.state.messages, 4, "each once: {}", bridge.logs());
    let letter = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.reports").await?;
    let reason = letter.headers.get("Nats-Matrix-Reason").context("no reason")?.to_string();
    assert!(reason.contains("new_rooms_per_hour, which is 1"), "{reason}");
    bridge.wait_for_log("its messages are dead letters", PATIENCE).await?;
    Ok(())
}

/// A publisher of one route can make any number of its dead letters, but cannot have those of others forgotten.
#[tokio::test]
async fn large_dead_letters_of_one_route_push_out_none_of_another() -> Result<()> {
    let named = Named::new().await?;
    named.scene.nats.create_stream("OTHER", &["other.>"]).await?;
    let lines = "new_rooms_per_hour = 0";
    let config = named.config(lines).route("other", "other.*", &named.alias("o-{subject.2}"));
    let routes =
        config.routes.replace("\"other\"\nstream = \"OPS\"", "\"other\"\nstream = \"OTHER\"");
    let config = listening(Config { routes: format!("{routes}{lines}\n"), ..config });
    let mut bridge = named.scene.start(&config)?;
    let pages = Pages::of(&mut bridge).await?;
    named.scene.nats.publish("other.db", "of another route").await?;
    let wait_for = async |count: u64| -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = pages.wait_for("connected").await?;
            let counts = |route: &str| said["routes"][route]["dead_letters"]["count"].as_u64();
            if counts("other") == Some(1) && counts("reports").unwrap_or(0) == count {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{said}: {}", bridge.logs());
            sleep(Duration::from_millis(50)).await;
        }
    };
    wait_for(0).await?;
    // More than the stream of dead letters holds.
    for number in 1..=90 {
        named.publish(&format!("fake-{number}"), &"x".repeat(800_000)).await?;
    }
    wait_for(90).await?;
    let said = pages.wait_for("connected").await?;
    assert_eq!(said["routes"]["reports"]["dead_letters"]["without_room"], 90, "{said}");
    let without_room = "nats_matrix_dead_lettered_without_room_total{route=\"reports\"}";
    assert!((pages.number(without_room).await? - 90.0).abs() < 0.5);
    let dead = named.scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    let other = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.other").await?;
    assert_eq!(other.payload, "of another route");
    let info = dead.get_info().await?;
    assert_eq!(info.state.messages, 91);
    assert!(info.state.bytes < 91 * 16 * 1024, "{} bytes", info.state.bytes);
    // Nor do many small ones, on the two subjects of a route.
    let share = 2 * info.config.max_messages_per_subject * 24 * 1024;
    assert!(share * 4 < info.config.max_bytes, "{share} bytes of {}", info.config.max_bytes);
    Ok(())
}

/// The first failures explain most, and the last ones how it is now. How many there were in between is said.
#[tokio::test]
async fn a_flood_of_dead_letters_pushes_out_neither_the_first_nor_the_last() -> Result<()> {
    let named = Named::new().await?;
    let config = listening(named.config("new_rooms_per_hour = 0"));
    let mut bridge = named.scene.start(&config)?;
    let pages = Pages::of(&mut bridge).await?;
    let (kept, count) = (250_u64, 530_u64);
    for number in 1..=count {
        named.publish("fake", &format!("message {number}")).await?;
    }
    let begun = Instant::now();
    let said = loop {
        let said = pages.wait_for("connected").await?;
        let dead_letters = &said["routes"]["reports"]["dead_letters"];
        if dead_letters["count"].as_u64() == Some(count) {
            break dead_letters.clone();
        }
        anyhow::ensure!(begun.elapsed() < PATIENCE, "{said}: {}", bridge.logs());
        sleep(Duration::from_millis(100)).await;
    };
    let pushed_out = count - 2 * kept;
    assert_eq!(said["pushed_out"], pushed_out, "{said}");
    let metric = "nats_matrix_dead_letters_pushed_out_total{route=\"reports\"}";
    #[expect(clippy::cast_precision_loss, reason = "it is a small number")]
    let expected = pushed_out as f64;
    assert!((pages.number(metric).await? - expected).abs() < 0.5);
    bridge.wait_for_log("more dead letters than are kept", PATIENCE).await?;
    assert_eq!(bridge.logs().matches("more dead letters than are kept").count(), 1);
    let dead = named.scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    assert_eq!(dead.get_info().await?.state.messages, 2 * kept);
    let subject = "nats-matrix.dead-letter.reports";
    let first = dead.get_first_raw_message_by_subject(subject, 1).await?;
    assert_eq!(first.payload, "message 1");
    let last = dead.get_last_raw_message_by_subject(&format!("{subject}.later")).await?;
    assert_eq!(last.payload, format!("message {count}"));
    Ok(())
}

/// An alias can lead to a room that the homeserver cannot get us into, however often it is asked.
#[tokio::test]
async fn a_room_that_the_homeserver_fails_at_holds_no_other_up() -> Result<()> {
    use nats_matrix_testbed::{Fault, FaultKind, FaultProxy};
    let named = Named::new().await?;
    let proxy = FaultProxy::start(&named.scene.bot.homeserver).await?;
    let answer = json!({ "errcode": "M_UNKNOWN", "error": "No server answered" });
    proxy.inject(Fault::on("-far", FaultKind::respond(502, answer)));
    let mut open = named.made_by(&named.scene.alice, "open").await?;
    let mut config = named.config(&format!(
        "{}\nroom_creators = [\"{}\"]",
        named.fallback(),
        named.scene.alice.user_id
    ));
    config.matrix = config.matrix.replace(&named.scene.bot.homeserver, &proxy.url());
    let _bridge = named.scene.start(&config)?;
    named.publish("far", "of far").await?;
    named.publish("open", "of open").await?;
    assert_eq!(bodies(&read_all(&mut open, 1).await?), ["of open"]);
    let mut fallback = named.scene.reader().await?;
    assert_eq!(bodies(&read_all(&mut fallback, 1).await?), ["of far"]);
    Ok(())
}
