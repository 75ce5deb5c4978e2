//! SIGHUP: what is right takes over without a message lost, shown twice or out of order; what is wrong is
//! refused and changes nothing. Renewed credentials and certificates, with and without it.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use async_nats::ConnectOptions;
use nats_matrix_testbed::{BridgeProcess, Fault, FaultKind, Nats};
use nkeys::KeyPair;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    connections::{Pki, over_tls, write},
    hostile::publish_poison,
    scene::{
        Config, PATIENCE, Scene, assert_each_once_in_order, read_all, read_numbered,
        shared_homeserver, through_proxy,
    },
    service,
};

const TAKES_OVER: &str = "the new configuration takes over";
const REFUSED: &str = "the new configuration is refused, the one before is in force";

/// A bridge whose configuration is changed while it runs.
pub(crate) struct Running<'a> {
    scene: &'a Scene,
    pub(crate) bridge: BridgeProcess,
}

impl<'a> Running<'a> {
    pub(crate) async fn start(scene: &'a Scene, config: &Config) -> Result<Self> {
        let mut bridge = scene.start(config)?;
        bridge.wait_for_log("posting into", PATIENCE).await?;
        Ok(Self { scene, bridge })
    }

    fn write(&self, config: &str) -> Result<()> {
        write(self.scene.dir.path(), "nats-matrix.toml", config)
    }

    pub(crate) fn lines(&self, text: &str) -> Vec<String> {
        let logs = self.bridge.logs();
        logs.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// The line of the log that is new and contains `text`, after SIGHUP.
    async fn hang_up(&mut self, text: &str) -> Result<String> {
        let (before, both) = (self.lines(text).len(), [TAKES_OVER, REFUSED]);
        let all = self.lines(both[0]).len() + self.lines(both[1]).len();
        self.bridge.hang_up()?;
        let deadline = Instant::now() + PATIENCE;
        while self.lines(both[0]).len() + self.lines(both[1]).len() == all {
            if Instant::now() > deadline || !self.bridge.is_running()? {
                bail!("neither taken nor refused:\n{}", self.bridge.logs());
            }
            sleep(Duration::from_millis(10)).await;
        }
        let lines = self.lines(text);
        lines.get(before).cloned().with_context(|| format!("not {text}:\n{}", self.bridge.logs()))
    }

    pub(crate) async fn takes(&mut self, config: &Config) -> Result<()> {
        self.write(&config.toml())?;
        self.hang_up(TAKES_OVER).await.map(drop)
    }

    async fn refuses(&mut self, config: &str) -> Result<String> {
        self.write(config)?;
        self.hang_up(REFUSED).await
    }
}

async fn scene(nats: Nats) -> Result<Scene> {
    Scene::with(shared_homeserver().await?, nats).await
}

#[tokio::test]
async fn a_new_route_another_room_and_a_new_template_are_used() -> Result<()> {
    let scene = Scene::new().await?;
    let second = json!({ "preset": "private_chat", "invite": [scene.bot.user_id] });
    let second = scene.alice.create_room(second).await?;
    let mut running = Running::start(&scene, &scene.config_for("ops.text", &scene.room)).await?;
    scene.nats.publish("ops.text", "before").await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(1, PATIENCE).await?;

    let templates = scene.dir.path().join("templates");
    fs::create_dir(&templates)?;
    write(&templates, "report.txt.jinja", "{{ host }} by a template")?;
    write(&templates, "report.html.jinja", "{{ host }}")?;
    let mut both = scene.config_for("ops.text", &second).route("more", "ops.report", &scene.room);
    both.routes += "templates = \"templates\"\n";
    running.takes(&both).await?;
    scene.nats.publish("ops.text", "in another room").await?;
    let report = json!({ "host": "server-01", "disk_percent": 14 }).to_string();
    scene.nats.publish("ops.report", report.clone()).await?;
    let mut other = scene.alice.reader(&second).await?;
    assert_eq!(read_all(&mut other, 1).await?[0].said(), "in another room");
    assert_eq!(read_all(&mut reader, 2).await?[1].said(), "server-01 by a template");

    // The configuration is the same, a template is not.
    write(&templates, "report.txt.jinja", "{{ host }} by a newer one")?;
    running.takes(&both).await?;
    scene.nats.publish("ops.report", report).await?;
    assert_eq!(read_all(&mut reader, 3).await?[2].said(), "server-01 by a newer one");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_one_line_and_the_one_before_goes_on() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    let mut running = Running::start(&scene, &config).await?;
    let templates = scene.dir.path().join("templates");
    fs::create_dir(&templates)?;
    write(&templates, "report.txt.jinja", "{{ host | sizee }}")?;
    let good = config.toml();
    let wrong = [
        ("[nats\n".to_owned(), "not valid TOML"),
        (good.replace("subjects", "subjcts"), "did you mean \"subjects\"?"),
        (format!("{good}templates = \"templates\"\n"), "unknown filter \"sizee\""),
        (good.replace("[matrix]", "nkey_seed_file = \"none.nk\"\n[matrix]"), "cannot read"),
        (good.replace("password = ", "password_file = \"none\" # "), "cannot read"),
        (good.replace("[matrix]", "ca_file = \"none.pem\"\n[matrix]"), "cannot read"),
    ];
    let mut reader = scene.reader().await?;
    for (number, (config, what)) in (1..).zip(wrong) {
        let line = running.refuses(&config).await?;
        assert!(line.contains("ERROR") && line.contains(what), "{line}");
        scene.publish_numbered(number, number).await?;
        reader.wait_for(number, PATIENCE).await?;
    }
    read_numbered(&mut reader, 6).await?;
    let logs = running.bridge.logs();
    assert!(!logs.contains("stopped") && logs.matches("posting into").count() == 1, "{logs}");
    Ok(())
}

#[tokio::test]
async fn what_only_the_servers_know_to_be_wrong_gives_way_again() -> Result<()> {
    let scene = Scene::new().await?;
    scene.add_push_consumer("pushed").await?;
    let mut running = Running::start(&scene, &scene.config()).await?;
    let wrong = scene.config_for("ops.text", &scene.room).route("pushed", "ops.x", &scene.room);
    let wrong = wrong.lines("consumer = \"pushed\"");
    running.takes(&wrong).await?;
    let line = running.bridge.wait_for_log(REFUSED, PATIENCE).await?;
    assert!(line.contains("route pushed: stream OPS already has a consumer"), "{line}");
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await?;
    assert!(running.bridge.is_running()?);
    Ok(())
}

#[tokio::test]
async fn in_the_middle_of_a_stream_nothing_is_lost_twice_or_out_of_order() -> Result<()> {
    const COUNT: usize = 600;
    let scene = Scene::new().await?;
    let mut running = Running::start(&scene, &scene.config()).await?;
    scene.publish_numbered(1, COUNT / 2).await?;
    let mut reader = scene.reader().await?;
    for round in 1..=10 {
        reader.wait_for(round * 25, PATIENCE).await?;
        running.takes(&scene.config()).await?;
        if round == 5 {
            scene.publish_numbered(COUNT / 2 + 1, COUNT).await?;
        }
    }
    let shown = reader.wait_for(1, PATIENCE).await?.len();
    assert!(shown < COUNT, "all were shown before the last reload: it proves nothing");
    read_numbered(&mut reader, COUNT).await?;
    let logs = running.bridge.logs();
    assert_eq!(logs.matches("connected to NATS").count(), 1, "{logs}");
    assert_eq!(logs.matches("logged in to").count(), 1, "{logs}");
    Ok(())
}

#[tokio::test]
async fn signals_that_come_together_are_one_more_reload() -> Result<()> {
    let scene = Scene::new().await?;
    let mut running = Running::start(&scene, &scene.config()).await?;
    scene.publish_numbered(1, 100).await?;
    let second = json!({ "preset": "private_chat", "invite": [scene.bot.user_id] });
    let second = scene.alice.create_room(second).await?;
    for _ in 0..20 {
        running.bridge.hang_up()?;
    }
    // The last signal is for what was written before it, whatever was going on.
    running.write(&scene.config_for("ops.>", &second).toml())?;
    running.bridge.hang_up()?;
    running.bridge.wait_for_log(&format!("posting into {second}"), PATIENCE).await?;
    scene.nats.publish("ops.text", "last").await?;
    let mut last = scene.alice.reader(&second).await?;
    let some = Duration::from_secs(1);
    while last.settle(some).await?.last().is_none_or(|event| event.said() != "last") {
        assert!(running.bridge.is_running()?, "{}", running.bridge.logs());
    }
    let first = scene.reader().await?.settle(Duration::from_secs(2)).await?.to_vec();
    let shown = [first, last.settle(some).await?.to_vec()].concat();
    assert_eq!(shown.len(), 101);
    assert_each_once_in_order(&shown[..100], 100);
    Ok(())
}

#[tokio::test]
async fn a_homeserver_that_hangs_does_not_hold_it_up_for_ever() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let mut running = Running::start(&scene, &config).await?;
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(1, 20).await?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    let asked = Instant::now();
    running.takes(&config).await?;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    proxy.clear();
    scene.shows_numbered(20).await?;
    Ok(())
}

#[tokio::test]
async fn a_stop_while_it_goes_on_is_a_stop() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let mut running = Running::start(&scene, &config).await?;
    proxy.inject(Fault::on("/send/", FaultKind::HoldForever));
    scene.publish_numbered(1, 1).await?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    running.bridge.hang_up()?;
    running.bridge.wait_for_log("SIGHUP: reading", PATIENCE).await?;
    let asked = Instant::now();
    running.bridge.terminate()?;
    assert_eq!(running.bridge.wait(PATIENCE).await?, 0, "{}", running.bridge.logs());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(!running.bridge.logs().contains(TAKES_OVER), "{}", running.bridge.logs());
    Ok(())
}

#[tokio::test]
async fn a_client_that_ends_meanwhile_does_not_have_it_forgotten() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let mut running = Running::start(&scene, &scene.config()).await?;
    proxy.inject(Fault::on("/_matrix/", FaultKind::HoldForever).times(1));
    running.write(&config.toml())?;
    running.bridge.hang_up()?;
    proxy.wait_for_requests("/_matrix/", 1, PATIENCE).await?;
    publish_poison(&scene).await?;
    running.bridge.wait_for_log("cannot read; reconnecting", PATIENCE).await?;
    running.bridge.wait_for_log(TAKES_OVER, PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_address_of_nats_is_refused_while_the_right_one_works() -> Result<()> {
    let scene = Scene::new().await?;
    let config = scene.config();
    let mut running = Running::start(&scene, &config).await?;
    let wrong = config.toml().replace(&scene.nats.url(), "nats://127.0.0.1:9");
    let line = running.refuses(&wrong).await?;
    assert!(line.contains("NATS at nats://127.0.0.1:9 cannot be reached"), "{line}");
    // A server that is down need not be reached to be left.
    scene.nats.kill().await;
    running.bridge.wait_for_log("connection lost", PATIENCE).await?;
    running.hang_up(TAKES_OVER).await?;
    running.bridge.wait_for_log("nats://127.0.0.1:9 cannot be reached: ", PATIENCE).await?;
    scene.nats.restart().await?;
    running.takes(&config).await?;
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await?;
    Ok(())
}

#[tokio::test]
async fn another_account_logs_in_unless_the_homeserver_refuses_it() -> Result<()> {
    let homeserver = shared_homeserver().await?;
    let scene = Scene::on(homeserver).await?;
    let mut config = scene.config();
    let mut running = Running::start(&scene, &config).await?;
    let session = || fs::read_to_string(scene.dir.path().join("state/session.json"));
    let before = session()?;
    let other = homeserver.account("bridge").await?;
    let wrong = config.toml().replace(&scene.bot.user_id, &other.user_id);
    let line = running.refuses(&wrong).await?;
    assert!(line.contains("refuses our login"), "{line}");
    let away = config.toml().replace(&scene.bot.homeserver, "http://127.0.0.1:9");
    let line = running.refuses(&away).await?;
    assert!(line.contains("homeserver http://127.0.0.1:9/: cannot be reached"), "{line}");
    assert_eq!(session()?, before);

    config.matrix = config.matrix.replace(&scene.bot.user_id, &other.user_id);
    config.matrix = config.matrix.replace(&scene.bot.password, &other.password);
    let room = json!({ "preset": "private_chat", "invite": [other.user_id] });
    let room = scene.alice.create_room(room).await?;
    config.routes = config.routes.replace(&scene.room, &room);
    running.takes(&config).await?;
    scene.nats.publish("ops.text", "from another").await?;
    let mut reader = scene.alice.reader(&room).await?;
    let events = read_all(&mut reader, 1).await?;
    assert_eq!((events[0].said(), &events[0].sender), ("from another", &other.user_id));
    Ok(())
}

/// Users of NATS: the test's own, and the bridge with this password.
pub(crate) fn users(password: &str) -> String {
    format!(
        "authorization {{ users: [ {{ user: admin, password: a }}, {{ user: bridge, password: \"{password}\" }} ] }}"
    )
}

pub(crate) async fn with_password(password: &str) -> Result<Scene> {
    let admin = || ConnectOptions::with_user_and_password("admin".into(), "a".into());
    let nats = Nats::builder().config(&users(password)).client_options(admin).as_process();
    scene(nats.start().await?).await
}

#[tokio::test]
async fn a_renewed_password_of_nats_is_used_without_a_signal() -> Result<()> {
    let scene = with_password("first-password").await?;
    let file = |password: &str| write(scene.dir.path(), "nats-password", password);
    file("first-password\n")?;
    let config = scene.config().nats("user = \"bridge\"\npassword_file = \"nats-password\"");
    let mut running = Running::start(&scene, &config).await?;
    let mut reader = scene.reader().await?;
    scene.publish_numbered(1, 1).await?;
    reader.wait_for(1, PATIENCE).await?;

    // The file first: nobody notices.
    file("second-password\n")?;
    scene.nats.reload(&users("second-password"), &[]).await?;
    running.bridge.wait_for_log("connected again", PATIENCE).await?;
    scene.publish_numbered(2, 2).await?;
    reader.wait_for(2, PATIENCE).await?;

    // The server first: it is tried for a while.
    scene.nats.reload(&users("third-password"), &[]).await?;
    running.bridge.wait_for_log("NATS does not accept our credentials", PATIENCE).await?;
    sleep(Duration::from_secs(3)).await;
    file("third-password\n")?;
    scene.publish_numbered(3, 3).await?;
    reader.wait_for(3, PATIENCE).await.with_context(|| running.bridge.logs())?;
    read_numbered(&mut reader, 3).await?;
    let logs = running.bridge.logs();
    assert!(!["first", "second", "third"].iter().any(|secret| logs.contains(secret)), "{logs}");

    // Nobody renews them.
    scene.nats.reload(&users("fourth-password"), &[]).await?;
    running.bridge.wait_for_log("trying again; messages wait in NATS", PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn renewed_credentials_of_nats_are_tried_before_they_are_used() -> Result<()> {
    let (first, second, admin) = (KeyPair::new_user(), KeyPair::new_user(), KeyPair::new_user());
    let users = |bridge: &[&KeyPair]| {
        let users = bridge.iter().copied().chain([&admin]);
        let users: Vec<_> = users.map(|key| format!("{{ nkey: {} }}", key.public_key())).collect();
        format!("authorization {{ users: [ {} ] }}", users.join(", "))
    };
    let seed = admin.seed()?;
    let nats = Nats::builder().config(&users(&[&first])).as_process();
    let nats = nats.client_options(move || ConnectOptions::with_nkey(seed.clone()));
    let scene = scene(nats.start().await?).await?;
    write(scene.dir.path(), "bridge.nk", &first.seed()?)?;
    let config = scene.config().nats("nkey_seed_file = \"bridge.nk\"");
    let mut running = Running::start(&scene, &config).await?;
    let mut reader = scene.reader().await?;

    write(scene.dir.path(), "bridge.nk", &second.seed()?)?;
    let line = running.refuses(&config.toml()).await?;
    assert!(line.contains("refuses our credentials"), "{line}");
    scene.publish_numbered(1, 1).await?;
    reader.wait_for(1, PATIENCE).await?;

    // The server takes both for a while, as it should, and nobody is cut off.
    scene.nats.reload(&users(&[&first, &second]), &[]).await?;
    running.takes(&config).await?;
    scene.nats.reload(&users(&[&second]), &[]).await?;
    scene.publish_numbered(2, 20).await?;
    read_numbered(&mut reader, 20).await?;
    let logs = running.bridge.logs();
    assert!(!logs.contains("connection lost"), "{logs}");
    Ok(())
}

#[tokio::test]
async fn a_renewed_ca_is_used_with_and_without_a_signal() -> Result<()> {
    const TLS: &str = "tls { cert_file: \"server.pem\", key_file: \"server.key\" }";
    let pkis = [Pki::without_key_usage()?, Pki::without_key_usage()?, Pki::without_key_usage()?];
    let all: String = pkis.iter().map(|pki| pki.ca.as_str()).collect();
    let trusted = tempfile::tempdir()?;
    write(trusted.path(), "ca.pem", &all)?;
    let ca = trusted.path().join("ca.pem");
    let nats = Nats::builder()
        .file("server.pem", pkis[0].server.0.clone())
        .file("server.key", pkis[0].server.1.clone())
        .config(TLS)
        .client_options(move || {
            ConnectOptions::new().require_tls(true).add_root_certificates(ca.clone())
        })
        .as_process()
        .start()
        .await?;
    let scene = scene(nats).await?;
    let trust = |pki: &Pki| write(scene.dir.path(), "ca.pem", &pki.ca);
    trust(&pkis[0])?;
    let config = over_tls(&scene).nats("ca_file = \"ca.pem\"");
    let mut running = Running::start(&scene, &config).await?;
    let mut reader = scene.reader().await?;
    let serve = async |pki: &Pki| {
        let files = [("server.pem", pki.server.0.as_str()), ("server.key", &pki.server.1)];
        scene.nats.reload(TLS, &files).await
    };

    // One that has signed nothing here would be found out only when the connection is lost.
    trust(&pkis[1])?;
    let line = running.refuses(&config.toml()).await?;
    assert!(line.contains("signed by none of our CAs"), "{line}");
    serve(&pkis[1]).await?;
    running.takes(&config).await?;
    scene.publish_numbered(1, 1).await?;
    reader.wait_for(1, PATIENCE).await?;

    // Without a signal, at the next connection.
    trust(&pkis[2])?;
    serve(&pkis[2]).await?;
    scene.nats.restart().await?;
    running.bridge.wait_for_log("connected again", PATIENCE).await?;
    scene.publish_numbered(2, 2).await?;
    read_numbered(&mut reader, 2).await?;
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_what_was_replaced() -> Result<()> {
    let scene = with_password("always-the-same").await?;
    let config = |number: usize| {
        // Each has another file, so each makes a new connection.
        let name = format!("password-{}", number % 2);
        write(scene.dir.path(), &name, "always-the-same")?;
        anyhow::Ok(scene.config().nats(&format!("user = \"bridge\"\npassword_file = \"{name}\"")))
    };
    let mut running = Running::start(&scene, &config(0)?).await?;
    let open = |running: &Running<'_>| -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", running.bridge.pid()))?.count())
    };
    running.takes(&config(1)?).await?;
    // On a busy machine the bridge still opens connections after it has said that it takes over.
    let mut before = 0;
    while before < open(&running)? {
        before = open(&running)?;
        sleep(Duration::from_secs(2)).await;
    }
    let resident = running.bridge.rss_kib()?;
    for number in 2..=20 {
        running.takes(&config(number)?).await?;
    }
    let fewer = async {
        while open(&running)? > before {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, fewer).await.context("connections are left open")??;
    let grown = running.bridge.rss_kib()?.saturating_sub(resident);
    assert!(grown < 8 * 1024, "{grown} KiB more are in use");
    scene.publish_numbered(1, 3).await?;
    scene.shows_numbered(3).await?;
    Ok(())
}

#[tokio::test]
async fn the_level_of_the_log_changes() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    let mut running = Running::start(&scene, &config).await?;
    let routes = config.routes.clone();
    assert!(!running.bridge.logs().contains("DEBUG"), "{}", running.bridge.logs());
    config.routes = format!("{routes}[log]\nlevel = \"debug\"\n");
    running.takes(&config).await?;
    scene.publish_numbered(1, 1).await?;
    running.bridge.wait_for_log("DEBUG route reports: posted", PATIENCE).await?;

    config.routes = format!("{routes}[log]\nlevel = \"error\"\n");
    running.takes(&config).await?;
    scene.publish_numbered(2, 2).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(2, PATIENCE).await?;
    let posting = running.lines("posting into").len();
    let line = running.refuses(&config.toml().replace("\"error\"", "\"loud\"")).await?;
    assert!(line.contains("log.level") && line.contains("loud"), "{line}");
    assert_eq!(running.lines("posting into").len(), posting);
    assert_eq!(posting, 2, "{}", running.bridge.logs());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut bridge, manager) = service::start(&scene)?;
    manager.wait_for("STATUS=connected: relaying 1 route")?;
    let reloading = |bridge: &mut BridgeProcess| -> Result<()> {
        bridge.hang_up()?;
        let message = manager.wait_for_message("RELOADING=1")?;
        assert!(message.contains("MONOTONIC_USEC="), "{message}");
        Ok(())
    };
    let file = scene.dir.path().join("bridge.toml");
    let more = scene.config_for("ops.text", &scene.room).route("more", "ops.more", &scene.room);
    let more = more.toml();
    fs::write(&file, &more)?;
    reloading(&mut bridge)?;
    manager.wait_for("READY=1")?;
    manager.wait_for("STATUS=connected: relaying 2 routes")?;

    fs::write(&file, more.replacen("[nats]", "[nats", 1))?;
    reloading(&mut bridge)?;
    manager.wait_for("READY=1")?;
    manager.wait_for("STATUS=connected: relaying 2 routes; new configuration refused: ")?;
    manager.wait_for("WATCHDOG=1")?;
    bridge.terminate()?;
    manager.wait_for("STOPPING=1")?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0);
    Ok(())
}
