//! A route with which something is wrong waits, says why, and goes on by itself when it is mended; another one, which
//! shares everything else with it, is not held up for a moment.

use std::{fs, time::Duration};

use anyhow::Result;
use async_nats::jetstream::{consumer, stream};
use nats_matrix_testbed::BridgeProcess;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    connections::write,
    health::{Pages, listening},
    scene::{Config, PATIENCE, Scene, read_all},
};

/// Two routes of one bridge: "sick" for `ops.sick` and "sound" for `ops.sound`.
struct Ward {
    bridge: BridgeProcess,
    pages: Pages,
    // After the bridge, whose log is there.
    scene: Scene,
}

impl Ward {
    async fn of(scene: Scene, config: Config) -> Result<Self> {
        let mut bridge = scene.start(&listening(config))?;
        let pages = Pages::of(&mut bridge).await?;
        Ok(Self { bridge, pages, scene })
    }

    /// Waits until the bridge is in this state because of the one route, while the other one shows a message; returns
    /// the reason.
    async fn is_ill(&mut self, state: &str, nth: usize) -> Result<String> {
        let mut said = self.pages.wait_for(state).await?;
        let begun = Instant::now();
        while said["routes"]["sound"]["state"] == "starting" && begun.elapsed() < PATIENCE {
            sleep(Duration::from_millis(50)).await;
            said = self.pages.wait_for(state).await?;
        }
        assert_eq!(said["routes"]["sick"]["state"], state, "{said}");
        assert_eq!(said["routes"]["sound"]["state"], "connected", "{said}");
        assert!(said["what_to_do"].as_str().unwrap().len() > 20, "{said}");
        self.scene.nats.publish("ops.sound", format!("sound {nth}")).await?;
        let mut reader = self.scene.reader().await?;
        let events = read_all(&mut reader, nth).await?;
        assert_eq!(events[nth - 1].said(), format!("sound {nth}"));
        assert!(self.bridge.is_running()?, "{}", self.bridge.logs());
        Ok(said["routes"]["sick"]["reason"].as_str().unwrap().to_owned())
    }

    /// Reads the configuration again, and waits until it is in force.
    async fn takes(&mut self, config: &Config) -> Result<()> {
        write(self.scene.dir.path(), "nats-matrix.toml", &config.toml())?;
        self.bridge.hang_up()?;
        self.bridge.wait_for_log("the new configuration takes over", PATIENCE).await.map(drop)
    }
}

/// Makes another room, to which the bridge is invited.
pub(crate) async fn another_room(scene: &Scene, more: Value) -> Result<String> {
    let mut how = json!({ "preset": "private_chat", "invite": [scene.bot.user_id] });
    for (key, value) in more.as_object().unwrap() {
        how[key] = value.clone();
    }
    scene.alice.create_room(how).await
}

fn routes(scene: &Scene, room: &str) -> Config {
    scene.config_for("ops.sound", &scene.room).route("sick", "ops.sick", room).renamed()
}

impl Config {
    fn renamed(mut self) -> Self {
        self.routes = self.routes.replacen("\"reports\"", "\"sound\"", 1);
        self
    }
}

fn encryption() -> Value {
    json!({ "algorithm": "m.megolm.v1.aes-sha2" })
}

#[tokio::test]
async fn an_encrypted_room_is_the_trouble_of_its_route_alone() -> Result<()> {
    let scene = Scene::new().await?;
    let event = json!({ "type": "m.room.encryption", "content": encryption() });
    let room = another_room(&scene, json!({ "initial_state": [event] })).await?;
    let open = another_room(&scene, json!({})).await?;
    let config = routes(&scene, &room);
    scene.nats.publish("ops.sick", "waits").await?;
    let mut ward = Ward::of(scene, config).await?;
    let reason = ward.is_ill("room-encrypted", 1).await?;
    assert!(reason.contains(&room) && reason.contains("give the route another room"), "{reason}");
    assert!(ward.bridge.logs().contains("is encrypted"), "{}", ward.bridge.logs());
    let checked = ward.scene.run(&routes(&ward.scene, &room), &["check"])?;
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(64), "{said}");
    assert!(
        said.contains("FAIL  room        route sick: room") && said.contains("is encrypted"),
        "{said}"
    );

    let next = listening(routes(&ward.scene, &open));
    ward.takes(&next).await?;
    let mut reader = ward.scene.alice.reader(&open).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "waits");
    Ok(())
}

#[tokio::test]
async fn encryption_that_is_switched_on_is_noticed_and_nothing_is_posted_in_clear() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let room = another_room(&scene, json!({})).await?;
    let open = another_room(&scene, json!({})).await?;
    let config = routes(&scene, &room);
    let mut ward = Ward::of(scene, config).await?;
    ward.pages.wait_for("connected").await?;
    ward.scene.nats.publish("ops.sick", "before").await?;
    let mut reader = ward.scene.alice.reader(&room).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "before");
    ward.scene.alice.set_state(&room, "m.room.encryption", "", encryption()).await?;
    let begun = Instant::now();
    // Nothing is published meanwhile: it asks by itself.
    ward.is_ill("room-encrypted", 1).await?;
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    for text in ["waits 1", "waits 2"] {
        ward.scene.nats.publish("ops.sick", text).await?;
    }
    ward.bridge.wait_for_log("its messages wait", PATIENCE).await?;
    ward.is_ill("room-encrypted", 2).await?;
    assert_eq!(read_all(&mut reader, 1).await?.len(), 1, "something was posted in clear");

    let next = listening(routes(&ward.scene, &open));
    ward.takes(&next).await?;
    let mut reader = ward.scene.alice.reader(&open).await?;
    let shown = read_all(&mut reader, 2).await?;
    assert_eq!((shown[0].said(), shown[1].said()), ("waits 1", "waits 2"));
    Ok(())
}

#[tokio::test]
async fn a_consumer_that_cannot_be_used_is_used_once_it_is_mended() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let room = another_room(&scene, json!({})).await?;
    let stream = scene.add_push_consumer("sick").await?;
    scene.nats.publish("ops.sick", "waits").await?;
    let config = routes(&scene, &room).lines("consumer = \"sick\"");
    let mut ward = Ward::of(scene, config).await?;
    let reason = ward.is_ill("route-refused", 1).await?;
    assert!(reason.contains("nats consumer rm OPS sick"), "{reason}");
    stream.delete_consumer("sick").await?;
    ward.pages.wait_for("connected").await?;
    let mut reader = ward.scene.alice.reader(&room).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "waits");
    assert!(ward.bridge.logs().contains("route sick: works again"), "{}", ward.bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_work_queue_that_has_another_consumer_is_read_once_it_has_not() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let jetstream = scene.nats.jetstream().await?;
    let queue = stream::Config {
        name: "WORK".to_owned(),
        subjects: vec!["work.>".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    let stream = jetstream.create_stream(queue).await?;
    let other = consumer::pull::Config {
        durable_name: Some("other".to_owned()),
        filter_subject: "work.>".to_owned(),
        ..Default::default()
    };
    stream.create_consumer(other).await?;
    let room = another_room(&scene, json!({})).await?;
    let mut config = routes(&scene, &room);
    config.routes = config.routes.replace("\"ops.sick\"", "\"work.sick\"");
    let at = config.routes.rfind("\"OPS\"").unwrap();
    config.routes.replace_range(at..at + 5, "\"WORK\"");
    scene.nats.publish("work.sick", "waits").await?;
    let mut ward = Ward::of(scene, config).await?;
    let reason = ward.is_ill("route-refused", 1).await?;
    assert!(
        reason.contains("consumer sick-") && reason.contains(" on stream WORK was not made"),
        "{reason}"
    );
    stream.delete_consumer("other").await?;
    ward.pages.wait_for("connected").await?;
    let mut reader = ward.scene.alice.reader(&room).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "waits");
    Ok(())
}

#[tokio::test]
async fn templates_that_are_wrong_are_tried_again() -> Result<()> {
    let scene = Scene::new().await?.in_haste()?;
    let room = another_room(&scene, json!({})).await?;
    let templates = scene.dir.path().join("templates");
    fs::create_dir(&templates)?;
    write(&templates, "text.txt.jinja", "{{ text | sizee }}")?;
    let mut config = routes(&scene, &room);
    config.routes += "templates = \"templates\"\n";
    scene.nats.publish("ops.sick", "waits").await?;
    let mut ward = Ward::of(scene, config).await?;
    let reason = ward.is_ill("route-refused", 1).await?;
    assert!(reason.contains("text.txt.jinja:1") && reason.contains("sizee"), "{reason}");
    write(&templates, "text.txt.jinja", "{{ text }}, mended")?;
    let mut reader = ward.scene.alice.reader(&room).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "waits, mended");
    ward.pages.wait_for("connected").await?;
    Ok(())
}

/// Somebody else's mistake does not keep what was asked for from being done, nor is it one of the new configuration.
#[tokio::test]
async fn a_route_that_was_ill_before_is_no_reason_to_refuse_a_new_configuration() -> Result<()> {
    let scene = Scene::new().await?;
    let event = json!({ "type": "m.room.encryption", "content": encryption() });
    let room = another_room(&scene, json!({ "initial_state": [event] })).await?;
    let open = another_room(&scene, json!({})).await?;
    let config = routes(&scene, &room);
    let mut ward = Ward::of(scene, config).await?;
    ward.is_ill("room-encrypted", 1).await?;
    let next = routes(&ward.scene, &room).route("third", "ops.third", &open);
    ward.takes(&listening(next)).await?;
    ward.scene.nats.publish("ops.third", "taken").await?;
    let mut reader = ward.scene.alice.reader(&open).await?;
    assert_eq!(read_all(&mut reader, 1).await?[0].said(), "taken");
    assert!(!ward.bridge.logs().contains("is refused, the one before"), "{}", ward.bridge.logs());
    Ok(())
}
