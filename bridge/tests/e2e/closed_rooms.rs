//! Rooms of many that somebody closes, or makes impossible to use: the messages for them go to the fallback room, and
//! what is for others does not wait.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nats_matrix_testbed::{Account, BridgeProcess, Event, Fault, FaultKind, FaultProxy, Reader};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    health::{Pages, listening},
    scene::{Config, HASTE, PATIENCE, Scene, read_all, shared_homeserver},
};

/// More than is read of a room's state, in events of 60 kB.
const STATE_WITHOUT_END: usize = 1_200;

/// A route with a room for each host, which alice makes, and a fallback room.
pub(crate) struct Hosts {
    pub(crate) scene: Scene,
    fallback: Reader,
}

impl Hosts {
    pub(crate) async fn new() -> Result<Self> {
        let scene = Scene::new().await?;
        let fallback = scene.reader().await?;
        Ok(Self { scene, fallback })
    }

    fn name(&self, host: &str) -> String {
        format!("{}-{host}", self.scene.bot.localpart())
    }

    fn alias(&self, host: &str) -> String {
        let server = self.scene.bot.user_id.split_once(':').unwrap_or_default().1;
        format!("#{}:{server}", self.name(host))
    }

    fn config(&self) -> Config {
        let config = self.scene.config_for("ops.report.*", &self.alias("{subject.3}"));
        config.lines(&format!(
            "fallback_room = \"{}\"\nroom_creators = [\"{}\"]",
            self.scene.room, self.scene.alice.user_id
        ))
    }

    /// Starts with a proxy before the homeserver.
    pub(crate) async fn through_proxy(&self) -> Result<(FaultProxy, Config)> {
        let proxy = FaultProxy::start(&self.scene.bot.homeserver).await?;
        let mut config = self.config();
        config.matrix = config.matrix.replace(&self.scene.bot.homeserver, &proxy.url());
        Ok((proxy, config))
    }

    pub(crate) async fn publish(&self, host: &str, text: &str) -> Result<()> {
        self.scene.nats.publish(&format!("ops.report.{host}"), text.to_owned()).await?;
        Ok(())
    }

    /// The room of a host, which somebody makes: private with the bridge invited, or open to all.
    async fn room_by(&self, account: &Account, host: &str, preset: &str) -> Result<Reader> {
        let name = self.name(host);
        let bot = &self.scene.bot.user_id;
        let mut room = json!({ "preset": preset, "room_alias_name": name });
        if preset == "private_chat" {
            room["invite"] = json!([bot]);
        }
        account.reader(&account.create_room(room).await?).await
    }

    pub(crate) async fn room(&self, host: &str) -> Result<Reader> {
        self.room_by(&self.scene.alice, host, "private_chat").await
    }

    async fn id(&self, host: &str) -> Result<String> {
        self.scene.alice.resolve_alias(&self.alias(host)).await?.context("no room")
    }

    /// Returns what the fallback room shows after this many messages, and some time.
    async fn in_fallback(&mut self, count: usize) -> Result<Vec<String>> {
        Ok(bodies(&read_all(&mut self.fallback, count).await?))
    }
}

fn bodies(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.said().to_owned()).collect()
}

/// Gives a room more state than the bridge reads.
async fn fill_state(account: &Account, room: &str) -> Result<()> {
    let content = json!({ "x": "y".repeat(60_000) });
    for number in 0..STATE_WITHOUT_END {
        account.set_state(room, "x.big", &number.to_string(), content.clone()).await?;
    }
    Ok(())
}

/// Sets the power level that is needed to post in a room.
async fn need_power(account: &Account, room: &str, need: i64) -> Result<()> {
    let levels = account.state(room, "m.room.power_levels", "").await?;
    let mut levels = levels.context("no power levels")?;
    levels["events_default"] = json!(need);
    account.set_state(room, "m.room.power_levels", "", levels).await
}

#[track_caller]
fn assert_no_dead_letters(bridge: &BridgeProcess) {
    let logs = bridge.logs();
    assert!(!logs.contains("dead letter") && !logs.contains("can never be posted"), "{logs}");
}

/// Takes a free alias that a message will name, for a room whose state has no end. Any account can do that.
#[tokio::test]
async fn a_strangers_room_with_state_without_end_holds_nothing_up_and_is_left() -> Result<()> {
    let mut hosts = Hosts::new().await?;
    let mallory = shared_homeserver().await?.account("alice").await?;
    hosts.room_by(&mallory, "db", "public_chat").await?;
    let trap = hosts.id("db").await?;
    fill_state(&mallory, &trap).await?;
    let mut open = hosts.room("open").await?;
    let bridge = hosts.scene.start(&hosts.config())?;
    hosts.publish("db", "of db").await?;
    hosts.publish("open", "of open").await?;
    hosts.publish("db", "of db again").await?;
    assert_eq!(bodies(&read_all(&mut open, 1).await?), ["of open"]);
    assert_eq!(hosts.in_fallback(2).await?, ["of db", "of db again"]);
    let joined = hosts.scene.bot.joined_rooms().await?;
    assert!(!joined.contains(&trap), "the bridge stays in the stranger's room: {joined:?}");
    let logs = bridge.logs();
    assert_eq!(logs.matches("more than 64 MiB").count(), 1, "said and read once: {logs}");
    assert_no_dead_letters(&bridge);
    Ok(())
}

/// A homeserver that does not say whose a room is, or asks for patience for ever where one room is concerned.
#[tokio::test]
async fn what_fails_at_one_room_alone_holds_no_other_up() -> Result<()> {
    let mut hosts = Hosts::new().await?;
    let (proxy, config) = hosts.through_proxy().await?;
    let mallory = shared_homeserver().await?.account("alice").await?;
    hosts.room_by(&mallory, "dark", "public_chat").await?;
    let dark = hosts.id("dark").await?;
    let error = json!({ "errcode": "M_UNKNOWN", "error": "broken" });
    proxy.inject(Fault::on(&format!("{dark}/state"), FaultKind::respond(500, error.clone())));
    let dark_encoded = dark.replace('!', "%21").replace(':', "%3A");
    proxy.inject(Fault::on(&format!("{dark_encoded}/state"), FaultKind::respond(500, error)));
    proxy.inject(Fault::on("-busy", FaultKind::rate_limited(Duration::from_hours(1))));
    let mut open = hosts.room("open").await?;
    let bridge = hosts.scene.start(&config)?;
    hosts.publish("dark", "of dark").await?;
    hosts.publish("busy", "of busy").await?;
    hosts.publish("open", "of open").await?;
    hosts.publish("busy", "of busy again").await?;
    assert_eq!(bodies(&read_all(&mut open, 1).await?), ["of open"]);
    assert_eq!(hosts.in_fallback(3).await?, ["of dark", "of busy", "of busy again"]);
    let joined = hosts.scene.bot.joined_rooms().await?;
    assert!(!joined.contains(&dark), "the bridge stays where it does not know whose it is");
    assert_no_dead_letters(&bridge);
    Ok(())
}

/// Somebody with power 50 in one of the rooms: asks for more power than the bridge has, puts it out, or switches
/// encryption on.
#[derive(Clone, Copy, Debug)]
enum Closing {
    Power,
    Kick,
    Encryption,
}

impl Closing {
    async fn close(self, hosts: &Hosts, host: &str) -> Result<()> {
        let (alice, room) = (&hosts.scene.alice, hosts.id(host).await?);
        match self {
            Self::Power => need_power(alice, &room, 50).await,
            Self::Kick => alice.kick(&room, &hosts.scene.bot.user_id).await,
            Self::Encryption => {
                let how = json!({ "algorithm": "m.megolm.v1.aes-sha2" });
                alice.set_state(&room, "m.room.encryption", "", how).await?;
                // For as long as that a room is taken to be in clear.
                sleep(Duration::from_secs(15)).await;
                Ok(())
            }
        }
    }
}

async fn goes_to_the_fallback_room(how: Closing) -> Result<()> {
    let mut hosts = Hosts::new().await?;
    let (mut db, mut open) = (hosts.room("db").await?, hosts.room("open").await?);
    let mut bridge = hosts.scene.start(&listening(hosts.config()))?;
    hosts.publish("db", "before").await?;
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    how.close(&hosts, "db").await?;
    for number in 1..=3 {
        hosts.publish("db", &format!("after {number}")).await?;
    }
    hosts.publish("open", "of open").await?;
    assert_eq!(hosts.in_fallback(3).await?, ["after 1", "after 2", "after 3"], "{how:?}");
    assert_eq!(bodies(&read_all(&mut open, 1).await?), ["of open"]);
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    assert_no_dead_letters(&bridge);
    let logs = bridge.logs();
    let line = format!("room {} cannot be used", hosts.alias("db"));
    assert_eq!(logs.matches(&line).count(), 1, "said once: {logs}");
    let pages = Pages::of(&mut bridge).await?;
    let said = pages.wait_for("connected").await?;
    let closed = &said["routes"]["reports"]["closed_rooms"];
    assert_eq!(closed[0]["room"], hosts.alias("db"), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_is_for_a_room_that_asks_for_more_power_goes_to_the_fallback_room() -> Result<()> {
    goes_to_the_fallback_room(Closing::Power).await
}

#[tokio::test]
async fn what_is_for_a_room_that_put_the_bridge_out_goes_to_the_fallback_room() -> Result<()> {
    goes_to_the_fallback_room(Closing::Kick).await
}

#[tokio::test]
async fn what_is_for_a_room_that_was_encrypted_goes_to_the_fallback_room() -> Result<()> {
    goes_to_the_fallback_room(Closing::Encryption).await
}

/// Also when it would have been a digest.
#[tokio::test]
async fn a_digest_for_a_closed_room_is_shown_in_the_fallback_room() -> Result<()> {
    let mut hosts = Hosts::new().await?;
    let mut db = hosts.room("db").await?;
    let config = hosts.config().digests(5);
    let bridge = hosts.scene.start(&config)?;
    hosts.publish("db", "before").await?;
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    bridge.kill();
    need_power(&hosts.scene.alice, &hosts.id("db").await?, 50).await?;
    let texts: Vec<String> = (1..=20).map(|number| format!("message {number}")).collect();
    hosts.scene.nats.publish_many("ops.report.db", texts.clone()).await?;
    let bridge = hosts.scene.start(&config)?;
    assert_eq!(hosts.in_fallback(20).await?, texts);
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    assert_no_dead_letters(&bridge);
    Ok(())
}

/// A digest that the room takes half of before it is closed: the other half is in the fallback room, and no message in both.
#[tokio::test]
async fn the_rest_of_a_digest_is_shown_in_the_fallback_room() -> Result<()> {
    let mut hosts = Hosts::new().await?;
    let (proxy, config) = hosts.through_proxy().await?;
    let mut db = hosts.room("db").await?;
    let config = config.digests(5);
    let texts: Vec<String> =
        (1..=40).map(|number| format!("message {number:02}{}", ".".repeat(900))).collect();
    hosts.scene.nats.publish_many("ops.report.db", texts).await?;
    // The sum and one piece are taken.
    let id = hosts.id("db").await?;
    let forbidden = json!({ "errcode": "M_FORBIDDEN", "error": "no" });
    for id in [id.clone(), id.replace('!', "%21").replace(':', "%3A")] {
        let fault = Fault::on(&format!("{id}/send/"), FaultKind::respond(403, forbidden.clone()));
        proxy.inject(fault.after(2));
    }
    // A client that asks whether it may post is told that it may not.
    let levels = json!({ "events_default": 50 });
    proxy.inject(Fault::on("m.room.power_levels", FaultKind::respond(200, levels)));
    let bridge = hosts.scene.start(&config)?;
    hosts
        .fallback
        .wait_until(
            |events| events.iter().any(|event| event.body().contains("message 40")),
            PATIENCE,
        )
        .await?;
    let in_fallback = bodies(hosts.fallback.settle(Duration::from_secs(2)).await?);
    let events = read_all(&mut db, 2).await?;
    let in_thread = &events[1];
    for number in 1..=40 {
        let text = format!("message {number:02}.");
        let there = usize::from(in_thread.body().contains(&text));
        let here = in_fallback.iter().filter(|body| body.contains(&text)).count();
        assert_eq!(there + here, 1, "{text} {}", bridge.logs());
    }
    assert!(in_fallback.len() > 5 && in_fallback.len() < 40, "{}", in_fallback.len());
    assert_no_dead_letters(&bridge);
    Ok(())
}

/// Starts the bridge, which shows one message in the room "db".
async fn begin_in_db(hosts: &Hosts, config: &Config) -> Result<(BridgeProcess, Reader)> {
    let mut db = hosts.room("db").await?;
    let bridge = hosts.scene.start(config)?;
    hosts.publish("db", "before").await?;
    read_all(&mut db, 1).await?;
    Ok((bridge, db))
}

/// Returns the texts by which a request about a room is recognised.
async fn on_room(hosts: &Hosts, host: &str, what: &str) -> Result<[String; 2]> {
    let id = hosts.id(host).await?;
    let encoded = id.replace('!', "%21").replace(':', "%3A");
    Ok([id, encoded].map(|id| format!("{id}/{what}")))
}

/// The bridge ended after the room took a message, and the room is closed when it starts again. Returns what the fallback
/// room shows then.
async fn after_an_end_at_the_moment_of_a_post(how: Closing, count: usize) -> Result<Vec<String>> {
    let mut hosts = Hosts::new().await?;
    let (proxy, config) = hosts.through_proxy().await?;
    let (bridge, mut db) = begin_in_db(&hosts, &config).await?;
    for path in on_room(&hosts, "db", "send/").await? {
        proxy.inject(Fault::on(&path, FaultKind::HoldAfterRequest));
    }
    hosts.publish("db", "at last").await?;
    db.wait_for(2, PATIENCE).await.with_context(|| bridge.logs())?;
    bridge.kill();
    proxy.clear();
    how.close(&hosts, "db").await?;
    hosts.publish("db", "later").await?;
    let bridge = hosts.scene.start(&config)?;
    let mut shown = hosts.in_fallback(count).await.with_context(|| bridge.logs())?;
    if shown.last().is_none_or(|body| body != "later") {
        shown = hosts.in_fallback(count + 1).await.with_context(|| bridge.logs())?;
    }
    assert_eq!(shown.last().map(String::as_str), Some("later"), "{shown:?}");
    assert_eq!(bodies(&read_all(&mut db, 2).await?), ["before", "at last"]);
    assert_no_dead_letters(&bridge);
    Ok(shown)
}

/// The bridge is still in the room and can read it.
#[tokio::test]
async fn a_message_that_a_room_took_before_it_was_closed_is_not_shown_again() -> Result<()> {
    let shown = after_an_end_at_the_moment_of_a_post(Closing::Encryption, 1).await?;
    assert_eq!(shown, ["later"]);
    Ok(())
}

/// Some homeservers let an account read what was in a room until it was put out.
#[tokio::test]
async fn a_message_that_a_room_took_before_it_put_the_bridge_out_is_not_just_shown_again()
-> Result<()> {
    let shown = after_an_end_at_the_moment_of_a_post(Closing::Kick, 1).await?;
    let before: Vec<&String> = shown.iter().filter(|body| *body != "later").collect();
    let is_said =
        |body: &String| body.starts_with("at last\n") && body.contains("may be a repetition");
    assert!(before.len() <= 1 && before.iter().all(|body| is_said(body)), "{before:?}");
    Ok(())
}

/// The room took a message, but the bridge was not told so, and can neither post there any more nor read what is there.
#[tokio::test]
async fn a_message_that_is_perhaps_in_a_closed_room_is_shown_as_a_possible_repetition() -> Result<()>
{
    let mut hosts = Hosts::new().await?;
    let (proxy, config) = hosts.through_proxy().await?;
    let (bridge, mut db) = begin_in_db(&hosts, &config).await?;
    let forbidden = json!({ "errcode": "M_FORBIDDEN", "error": "no" });
    for path in on_room(&hosts, "db", "send/").await? {
        proxy.inject(Fault::on(&path, FaultKind::CutAfterRequest).times(1));
    }
    for path in on_room(&hosts, "db", "messages").await? {
        proxy.inject(Fault::on(&path, FaultKind::respond(403, forbidden.clone())));
    }
    let levels = json!({ "events_default": 50 });
    proxy.inject(Fault::on("m.room.power_levels", FaultKind::respond(200, levels)));
    hosts.publish("db", "at last").await?;
    hosts.publish("db", "later").await?;
    let shown = hosts.in_fallback(2).await?;
    let note = format!("this may be a repetition, as {} was closed", hosts.alias("db"));
    assert!(shown[0].starts_with("at last\n") && shown[0].contains(&note), "{shown:?}");
    assert_eq!(shown[1], "later", "{}", bridge.logs());
    assert_eq!(bodies(&read_all(&mut db, 2).await?), ["before", "at last"]);
    Ok(())
}

/// Without another room it is a dead letter, and no other room waits.
#[tokio::test]
async fn without_a_fallback_room_what_is_for_a_closed_one_is_a_dead_letter() -> Result<()> {
    let hosts = Hosts::new().await?;
    let (mut db, mut open) = (hosts.room("db").await?, hosts.room("open").await?);
    hosts.scene.nats.create_stream("DEAD", &["nats-matrix.dead-letter.>"]).await?;
    let mut config = hosts.config();
    config.routes = config.routes.replace("fallback_room", "# fallback_room");
    let bridge = hosts.scene.start(&config)?;
    hosts.publish("db", "before").await?;
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    Closing::Power.close(&hosts, "db").await?;
    hosts.publish("db", "after").await?;
    hosts.publish("open", "of open").await?;
    assert_eq!(bodies(&read_all(&mut open, 1).await?), ["of open"]);
    let dead = hosts.scene.nats.jetstream().await?.get_stream("DEAD").await?;
    assert_eq!(dead.get_info().await?.state.messages, 1, "{}", bridge.logs());
    let letter = dead.get_last_raw_message_by_subject("nats-matrix.dead-letter.reports").await?;
    assert_eq!(letter.payload, "after");
    Ok(())
}

#[tokio::test]
async fn a_room_that_is_open_again_is_posted_into() -> Result<()> {
    let mut hosts = Hosts::new().await?;
    let mut db = hosts.room("db").await?;
    let mut bridge = hosts.scene.start(&listening(hosts.config()))?;
    hosts.publish("db", "before").await?;
    read_all(&mut db, 1).await?;
    Closing::Power.close(&hosts, "db").await?;
    hosts.publish("db", "closed").await?;
    assert_eq!(hosts.in_fallback(1).await?, ["closed"]);
    need_power(&hosts.scene.alice, &hosts.id("db").await?, 0).await?;
    let begun = Instant::now();
    let mut published = 0;
    while db.settle(Duration::from_secs(1)).await?.len() < 2 {
        ensure!(begun.elapsed() < PATIENCE, "{}", bridge.logs());
        published += 1;
        hosts.publish("db", &format!("open {published}")).await?;
        sleep(Duration::from_secs(5)).await;
    }
    let pages = Pages::of(&mut bridge).await?;
    let said = pages.wait_for("connected").await?;
    assert!(said["routes"]["reports"]["closed_rooms"].is_null(), "{said}");
    Ok(())
}

/// Everybody has left, so that nobody can let the bridge in again, and some homeservers answer that with a 500.
#[tokio::test]
async fn a_room_that_everybody_left_holds_no_other_up() -> Result<()> {
    let mut hosts = Hosts::new().await?;
    let (proxy, config) = hosts.through_proxy().await?;
    let mut db = hosts.room_by(&hosts.scene.alice, "db", "public_chat").await?;
    let mut open = hosts.room("open").await?;
    let bridge = hosts.scene.start(&config)?;
    hosts.publish("db", "before").await?;
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    let id = hosts.id("db").await?;
    hosts.scene.alice.kick(&id, &hosts.scene.bot.user_id).await?;
    hosts.scene.alice.leave(&id).await?;
    let error =
        json!({ "errcode": "M_UNKNOWN", "error": "No server available to assist in joining." });
    proxy.inject(Fault::on("/join/", FaultKind::respond(500, error)));
    hosts.publish("db", "of db").await?;
    proxy_lets_in(&proxy, &bridge, &mut hosts).await?;
    hosts.publish("open", "of open").await?;
    assert_eq!(bodies(&read_all(&mut open, 1).await?), ["of open"]);
    assert_no_dead_letters(&bridge);
    Ok(())
}

/// Once the message that was for the room is elsewhere, other rooms can be joined.
async fn proxy_lets_in(
    proxy: &FaultProxy,
    bridge: &BridgeProcess,
    hosts: &mut Hosts,
) -> Result<()> {
    let shown = hosts.fallback.wait_for(1, PATIENCE).await;
    shown.with_context(|| bridge.logs())?;
    proxy.clear();
    Ok(())
}

/// Somebody with power 50 in one room fills its state and asks for more power than the bridge has.
#[tokio::test]
async fn a_closed_room_with_state_without_end_holds_no_other_up() -> Result<()> {
    let mut hosts = Hosts::new().await?;
    let (mut db, mut open) = (hosts.room("db").await?, hosts.room("open").await?);
    let bridge = hosts.scene.start(&hosts.config())?;
    hosts.publish("db", "before").await?;
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    let id = hosts.id("db").await?;
    fill_state(&hosts.scene.alice, &id).await?;
    need_power(&hosts.scene.alice, &id, 50).await?;
    hosts.publish("db", "of db").await?;
    hosts.publish("open", "of open").await?;
    assert_eq!(bodies(&read_all(&mut open, 1).await?), ["of open"]);
    assert_eq!(hosts.in_fallback(1).await?, ["of db"]);
    assert_no_dead_letters(&bridge);
    Ok(())
}

/// Not at once: what the homeserver has taken all the same would be shown twice.
#[tokio::test]
async fn a_room_that_the_homeserver_cannot_post_into_gives_way_after_a_while() -> Result<()> {
    let mut hosts = Hosts::new().await?;
    hosts.scene = hosts.scene.in_haste()?;
    let (proxy, config) = hosts.through_proxy().await?;
    let (mut db, mut open) = (hosts.room("db").await?, hosts.room("open").await?);
    let bridge = hosts.scene.start(&config)?;
    hosts.publish("db", "before").await?;
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    let (id, begun) = (hosts.id("db").await?, Instant::now());
    let error = json!({ "errcode": "M_UNKNOWN", "error": "broken" });
    for id in [id.clone(), id.replace('!', "%21").replace(':', "%3A")] {
        proxy.inject(Fault::on(&format!("{id}/send/"), FaultKind::respond(500, error.clone())));
    }
    hosts.publish("db", "of db").await?;
    hosts.publish("open", "of open").await?;
    open.wait_for(1, 2 * PATIENCE).await.with_context(|| bridge.logs())?;
    assert!(begun.elapsed() * HASTE > Duration::from_secs(100), "{:?}", begun.elapsed());
    assert_eq!(hosts.in_fallback(1).await?, ["of db"]);
    assert_eq!(bodies(&read_all(&mut db, 1).await?), ["before"]);
    assert_no_dead_letters(&bridge);
    Ok(())
}

#[tokio::test]
async fn a_fallback_room_that_is_closed_too_is_a_condition_of_the_route() -> Result<()> {
    let hosts = Hosts::new().await?;
    let mut db = hosts.room("db").await?;
    let mut bridge = hosts.scene.start(&listening(hosts.config()))?;
    hosts.publish("db", "open").await?;
    db.wait_for(1, PATIENCE).await?;
    need_power(&hosts.scene.alice, &hosts.id("db").await?, 50).await?;
    need_power(&hosts.scene.alice, &hosts.scene.room, 50).await?;
    hosts.publish("db", "closed").await?;
    let pages = Pages::of(&mut bridge).await?;
    pages.wait_for("not-in-room").await?;
    let said = bridge.wait_for_log("its messages become dead letters", PATIENCE).await?;
    assert!(said.contains("fallback room"), "{said}");
    Ok(())
}
