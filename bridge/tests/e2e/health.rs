//! Health as those see it who watch over the bridge: states, metrics, the status page, and the room itself.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use nats_matrix_testbed::{BridgeProcess, Fault, FaultKind, PHONE_WIDTH, Phone, not_run};
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_SECURITY_POLICY, HOST},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    connections::write,
    reload::{users, with_password},
    scene::{Config, PATIENCE, Scene, read_all, through_proxy},
};

/// The beginning of the line that says where the pages are.
const LISTENS: &str = "status page on http://";

/// The listener of a bridge.
pub(crate) struct Pages {
    client: reqwest::Client,
    url: String,
}

impl Pages {
    pub(crate) async fn of(bridge: &mut BridgeProcess) -> Result<Self> {
        bridge.wait_for_log(LISTENS, PATIENCE).await?;
        Self::last(bridge)
    }

    /// The pages of a bridge that may have been reloaded, and then listens elsewhere.
    pub(crate) async fn latest(bridge: &BridgeProcess) -> Result<Self> {
        let begun = Instant::now();
        loop {
            let pages = Self::last(bridge)?;
            if pages.get("livez").await.is_ok() {
                return Ok(pages);
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "no page: {}", bridge.logs());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn last(bridge: &BridgeProcess) -> Result<Self> {
        let logs = bridge.logs();
        let line = logs.lines().rfind(|line| line.contains(LISTENS)).context("no page")?;
        let url = line.split("status page on ").nth(1).context("no address")?.trim().to_owned();
        Ok(Self { client: reqwest::Client::new(), url })
    }

    pub(crate) async fn get(&self, page: &str) -> Result<(StatusCode, String)> {
        let answer = self.client.get(format!("{}{page}", self.url)).send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    /// Waits until the bridge is in a state; returns all that it says then.
    pub(crate) async fn wait_for(&self, state: &str) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let (status, text) = self.get("readyz").await?;
            let said: Value = serde_json::from_str(&text)?;
            if said["state"] == state {
                assert_eq!(status.is_success(), state == "connected", "{text}");
                return Ok(said);
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "never {state}: {text}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn number(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("metrics").await?;
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.with_context(|| format!("no {name} in\n{text}"))?;
        Ok(line.rsplit(' ').next().context("no number")?.parse()?)
    }
}

pub(crate) fn listening(config: Config) -> Config {
    let mut config = config;
    config.routes.insert_str(0, "[health]\nlisten = \"127.0.0.1:0\"\n");
    config
}

#[tokio::test]
async fn each_state_has_a_name_a_reason_and_what_to_do() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    scene.nats.kill().await;
    let mut bridge = scene.start(&listening(config))?;
    let pages = Pages::of(&mut bridge).await?;
    let said = pages.wait_for("nats-unreachable").await?;
    assert!(said["reasons"][0].as_str().unwrap().contains("cannot be reached"), "{said}");
    assert!(said["what_to_do"].as_str().unwrap().contains("NATS"), "{said}");
    assert_eq!(pages.get("livez").await?.0, StatusCode::OK, "waiting is no fault of ours");

    scene.nats.restart().await?;
    let said = pages.wait_for("connected").await?;
    assert_eq!(said["routes"]["reports"]["state"], "connected");

    proxy.inject(Fault::on("/send/", FaultKind::respond(502, json!({}))));
    scene.nats.publish("ops.x", "hello").await?;
    let said = pages.wait_for("homeserver-unreachable").await?;
    assert!(said["routes"]["reports"]["reason"].as_str().unwrap().contains("502"), "{said}");
    sleep(Duration::from_secs(1)).await;
    assert!(pages.number("nats_matrix_oldest_unposted_age_seconds{").await? >= 1.0);
    assert!(pages.number("nats_matrix_retried_total{").await? >= 1.0);
    proxy.clear();
    pages.wait_for("connected").await?;
    assert!(pages.number("nats_matrix_oldest_unposted_age_seconds{").await? < 0.5);

    scene.nats.kill().await;
    pages.wait_for("nats-unreachable").await?;
    scene.nats.restart().await?;
    pages.wait_for("connected").await?;
    assert!(pages.number("nats_matrix_nats_reconnects_total").await? >= 1.0);
    Ok(())
}

#[tokio::test]
async fn while_it_starts_and_while_it_stops_it_is_not_ready() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let slowly = FaultKind::Delay(Duration::from_secs(3));
    proxy.inject(Fault::on("/login", slowly.clone()).times(1));
    let mut bridge = scene.start(&listening(config))?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("starting").await?;
    pages.wait_for("connected").await?;
    proxy.inject(Fault::on("/send/", slowly).times(1));
    scene.nats.publish("ops.x", "hello").await?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    bridge.terminate()?;
    pages.wait_for("draining").await?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0, "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn credentials_that_nats_refuses_are_told_as_long_as_they_may_be_renewed() -> Result<()> {
    let scene = with_password("first").await?;
    let file = |password: &str| write(scene.dir.path(), "nats-password", password);
    file("first")?;
    let config = scene.config().nats("user = \"bridge\"\npassword_file = \"nats-password\"");
    let mut bridge = scene.start(&listening(config))?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    scene.nats.reload(&users("second"), &[]).await?;
    let said = pages.wait_for("credentials-refused").await?;
    assert!(said["reasons"][0].as_str().unwrap().contains("our credentials"), "{said}");
    file("second")?;
    pages.wait_for("connected").await?;
    scene.nats.reload(&users("third"), &[]).await?;
    pages.wait_for("credentials-refused").await?;
    bridge.wait_for_log("NATS no longer accepts our credentials", PATIENCE).await?;
    // It goes on trying, and says so as long as that lasts.
    let said = pages.wait_for("credentials-refused").await?;
    assert!(said["reasons"][0].as_str().unwrap().contains("our credentials"), "{said}");
    file("third")?;
    pages.wait_for("connected").await?;
    Ok(())
}

#[tokio::test]
async fn a_homeserver_that_is_away_is_noticed_before_the_next_message() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let (proxy, config) = scene.through_proxy().await?;
    let mut bridge = scene.start(&listening(config))?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    proxy.inject(Fault::on("/joined_rooms", FaultKind::respond(502, json!({}))));
    pages.wait_for("homeserver-unreachable").await?;
    proxy.clear();
    pages.wait_for("connected").await?;
    Ok(())
}

#[tokio::test]
async fn a_room_that_has_put_us_out_is_noticed_and_entered_when_we_are_invited() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let mut bridge = scene.start(&listening(scene.config()))?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    scene.alice.kick(&scene.room, &scene.bot.user_id).await?;
    let said = pages.wait_for("not-in-room").await?;
    let invite = format!("invite {}", scene.bot.user_id);
    assert!(said["reasons"][0].as_str().unwrap().contains(&invite), "{said}");
    scene.alice.invite(&scene.room, &scene.bot.user_id).await?;
    pages.wait_for("connected").await?;
    let mut reader = scene.reader().await?;
    scene.nats.publish("ops.x", "hello").await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "hello");
    Ok(())
}

#[tokio::test]
async fn what_waits_for_its_room_or_for_nats_grows_older() -> Result<()> {
    let scene = Scene::new().await?;
    let room = scene.alice.create_room(json!({ "preset": "private_chat" })).await?;
    scene.nats.publish("ops.x", "hello").await?;
    let published = Instant::now();
    let mut bridge = scene.start(&listening(scene.config_for("ops.>", &room)))?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("not-in-room").await?;
    let age = async || pages.number("nats_matrix_oldest_unposted_age_seconds{").await;
    while age().await? < 2.0 {
        anyhow::ensure!(published.elapsed() < PATIENCE, "{}", pages.get("metrics").await?.1);
        sleep(Duration::from_millis(50)).await;
    }
    assert!(age().await? <= published.elapsed().as_secs_f64() + 1.0);
    // The last that was known goes on.
    scene.nats.kill().await;
    pages.wait_for("nats-unreachable").await?;
    let before = age().await?;
    sleep(Duration::from_secs(2)).await;
    assert!(age().await? > before);
    scene.nats.restart().await?;
    scene.alice.invite(&room, &scene.bot.user_id).await?;
    pages.wait_for("connected").await?;
    read_all(&mut scene.alice.reader(&room).await?, 1).await?;
    assert!(age().await? < 0.5);
    Ok(())
}

#[tokio::test]
async fn metrics_and_the_page_tell_what_became_of_messages() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&listening(scene.config()))?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    assert!(pages.number("nats_matrix_posted_total{route=\"reports\"}").await?.abs() < 0.5);
    let mut reader = scene.reader().await?;
    scene.publish_numbered(1, 3).await?;
    read_all(&mut reader, 3).await?;
    for (name, count) in [
        ("nats_matrix_received_total{", 3.0),
        ("nats_matrix_posted_total{", 3.0),
        ("nats_matrix_dead_lettered_total{", 0.0),
        ("nats_matrix_send_duration_seconds_count{", 3.0),
        ("nats_matrix_state{state=\"connected\"}", 1.0),
        ("nats_matrix_route_ready{", 1.0),
    ] {
        let number = pages.number(name).await?;
        assert!((number - count).abs() < 0.5, "{name}: {number}");
    }
    let (status, html) = pages.get("").await?;
    assert!(status.is_success());
    assert_eq!(html.matches("<code>ops.text</code>").count(), 3, "{html}");
    assert!(html.contains("posted") && html.contains("connected"), "{html}");
    assert!(!html.contains("http://") && !html.contains("https://"), "nothing from elsewhere");
    Ok(())
}

#[tokio::test]
async fn the_page_can_be_read_on_a_phone() -> Result<()> {
    let phone = match Phone::find().await {
        Ok(phone) => phone,
        Err(error) => return not_run(&error),
    };
    let (scene, proxy, config) = through_proxy().await?;
    let mut bridge = scene.start(&listening(config))?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("connected").await?;
    let long = format!("ops.report.{}", "a-host-with-a-long-name".repeat(5));
    scene.nats.publish(&long, "hello").await?;
    read_all(&mut scene.reader().await?, 1).await?;
    proxy.inject(Fault::on("/send/", FaultKind::respond(502, json!({}))));
    scene.nats.publish("ops.x", "hello").await?;
    pages.wait_for("homeserver-unreachable").await?;
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-page.png");
    let view = phone.show(&pages.url, &screenshot).await?;
    assert_eq!(view.styles, 1, "the listener's policy lets the page have its own");
    assert!(view.width <= PHONE_WIDTH, "{} wide", view.width);
    for text in ["homeserver-unreachable", "What to do:", "reports", "502", &long, "posted"] {
        assert!(view.text.contains(text), "{text} is not in\n{}", view.text);
    }
    assert!(std::fs::metadata(&screenshot)?.len() > 5_000, "{}", screenshot.display());
    Ok(())
}

#[tokio::test]
async fn the_listener_reads_only_and_bad_guests_do_not_keep_others_out() -> Result<()> {
    let scene = Scene::new().await?;
    let mut bridge = scene.start(&listening(scene.config()))?;
    let pages = Pages::of(&mut bridge).await?;
    let answer = pages.client.request(Method::POST, &pages.url).body("x").send().await?;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    let answer = pages.client.head(format!("{}livez", pages.url)).send().await?;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers().contains_key(CONTENT_SECURITY_POLICY));
    assert_eq!(pages.get("etc/passwd").await?.0, StatusCode::NOT_FOUND);

    let address = pages.url.trim_start_matches("http://").trim_end_matches('/');
    let mut guests = Vec::new();
    for _ in 0..200 {
        let mut guest = TcpStream::connect(address).await?;
        guest.write_all(b"GET / HTTP/1.1\r\n").await?;
        guests.push(guest);
    }
    let asked = Instant::now();
    assert_eq!(pages.get("livez").await?.0, StatusCode::OK);
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    // They are not kept either.
    let first = timeout(Duration::from_secs(3), guests[0].read_u8()).await?;
    assert!(first.is_err(), "the first is open, and was told {first:?}");
    scene.nats.publish("ops.x", "hello").await?;
    let mut reader = scene.reader().await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "hello");
    Ok(())
}

/// A web page of anybody's can have a browser ask, by a name of its own that leads here.
#[tokio::test]
async fn it_is_asked_by_names_that_are_its_own() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = listening(scene.config());
    config.routes = config.routes.replacen("[health]", "[health]\nhosts = [\"server-01.lan\"]", 1);
    let mut bridge = scene.start(&config)?;
    let pages = Pages::of(&mut bridge).await?;
    let as_name = async |name: &str| -> Result<(StatusCode, String)> {
        let request = pages.client.get(format!("{}readyz", pages.url)).header(HOST, name);
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    };
    for name in
        ["evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example"]
    {
        let (status, text) = as_name(name).await?;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{name}: {text}");
        assert!(text.contains("health.hosts") && !text.contains("reports"), "{text}");
    }
    for name in
        ["127.0.0.1:9464", "[::1]:9464", "localhost:9464", "Server-01.LAN:9464", "192.0.2.7"]
    {
        assert_ne!(as_name(name).await?.0, StatusCode::MISDIRECTED_REQUEST, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_mistake_in_the_configuration() -> Result<()> {
    let scene = Scene::new().await?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut config = scene.config();
    config.routes.insert_str(0, &format!("[health]\nlisten = \"{}\"\n", taken.local_addr()?));
    let mut bridge = scene.start(&config)?;
    assert_eq!(bridge.wait(PATIENCE).await?, 64);
    assert!(bridge.logs().contains("health.listen: cannot listen on"), "{}", bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_backlog_that_was_worked_off_is_told_once() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes.push_str("late_after = \"2s\"\n");
    // Messages from before the route are not late.
    scene.publish_numbered(1, 1).await?;
    sleep(Duration::from_secs(3)).await;
    let bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    read_all(&mut reader, 1).await?;
    bridge.kill();

    scene.publish_numbered(2, 4).await?;
    sleep(Duration::from_secs(3)).await;
    let bridge = scene.start(&config)?;
    let events = read_all(&mut reader, 5).await?;
    let note = &events[4];
    assert!(note.body().contains("3 messages were late"), "{}", note.body());
    assert_eq!(note.msgtype(), "m.notice", "what needs somebody has made phones buzz itself");
    bridge.kill();

    let _bridge = scene.start(&config)?;
    scene.publish_numbered(5, 5).await?;
    let events = read_all(&mut reader, 6).await?;
    assert_eq!(events[5].said(), "message 5");
    Ok(())
}

/// The last thing to be posted need not be a message.
#[tokio::test]
async fn all_is_well_again_when_nothing_is_left_to_be_posted() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let mut config = listening(config);
    config.routes.push_str("late_after = \"1s\"\n");
    let bridge = scene.start(&config)?;
    scene.publish_numbered(1, 1).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(1, PATIENCE).await?;
    bridge.kill();
    scene.publish_numbered(2, 2).await?;
    sleep(Duration::from_secs(2)).await;
    proxy.inject(Fault::on("-late", FaultKind::respond(502, json!("Bad Gateway"))).times(3));
    let mut bridge = scene.start(&config)?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("homeserver-unreachable").await?;
    let events = reader.wait_for(3, PATIENCE).await?;
    assert!(events[2].body().contains("1 message was late"), "{}", events[2].body());
    pages.wait_for("connected").await?;
    Ok(())
}

#[tokio::test]
async fn a_collector_of_logs_is_told_in_json_of_which_route_and_message() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes += "\n[log]\nformat = \"json\"\n";
    let mut bridge = scene.start(&config)?;
    // It begins like JSON and is none, which is logged.
    scene.nats.publish("ops.broken", "{ \"a").await?;
    let record = bridge.wait_for_log("is posted as it is", PATIENCE).await?;
    let record: Value = serde_json::from_str(&record)?;
    assert_eq!(record["level"], "WARN");
    let spans = record["spans"].as_array().expect("spans");
    assert_eq!(spans[0]["route"], "reports", "{record:#}");
    assert_eq!((&spans[1]["stream"], &spans[1]["sequence"]), (&json!("OPS"), &json!(1)));
    assert_eq!(spans[1]["room"], scene.room.as_str());
    Ok(())
}
