//! Failures as somebody on call sees them: the page on troubleshooting has the line, and what it says to do helps. The homeserver and NATS are real ones.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use nats_matrix_testbed::{
    Account, BridgeProcess, Clock, Fault, FaultKind, Homeserver, Nats, ScratchDir, not_run,
    repository, secrets,
};
use serde_json::json;

use crate::{
    connections::{CONSUMER, DEAD, LOGIN, NEEDED, permissions, restricted},
    health::{Pages, listening},
    scene::{BINARY, Config, PATIENCE, Scene, printed, through_proxy},
};

/// Returns the line with these words, and what the page on troubleshooting says to do about it.
fn advice(said: &str, words: &str) -> Result<String> {
    let line = said.lines().find(|line| line.contains(words));
    let line = line.with_context(|| format!("no line with \"{words}\": {said}"))?;
    let page = repository::root().join("docs/src/guide/troubleshooting.md");
    let page = std::fs::read_to_string(page)?;
    let sections = page.split("\n### `").skip(1).filter_map(|section| section.split_once("`\n"));
    let plain = line.replace('`', "");
    let fits = |heading: &str| {
        let mut rest = plain.as_str();
        let mut parts = heading.split('…').map(|part| part.trim_matches([':', ' ']));
        parts.all(|part| {
            let found = rest.find(&part.replace('`', ""));
            found.inspect(|at| rest = &rest[at + part.len()..]).is_some()
        })
    };
    let fitting = sections.filter(|(heading, _)| fits(heading));
    // The most exact one.
    let (_, section) = fitting
        .max_by_key(|(heading, _)| heading.replace('…', "").len())
        .with_context(|| format!("the page does not have: {line}"))?;
    let advice = section.split("**Do.**").nth(1).context("it does not say what to do")?;
    Ok(advice
        .split("\n## ")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" "))
}

#[track_caller]
fn assert_advice(said: &str, words: &str, does: &str) {
    let advice = advice(said, words).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(advice.contains(does), "{words}: {advice}");
}

fn check(scene: &Scene, config: &Config) -> Result<String> {
    let output = tokio::task::block_in_place(|| scene.run(config, &["check"]))?;
    Ok(printed(&output))
}

/// Sees that `check` fails with a line that the page knows, and no more once its advice is followed.
fn is_found_and_mended(
    scene: &Scene,
    (ill, mended): (&Config, &Config),
    (words, does): (&str, &str),
) -> Result<()> {
    let said = check(scene, ill)?;
    assert!(said.contains("FAIL "), "{said}");
    assert!(said.trim_end().ends_with("troubleshooting.md explains each FAIL"), "{said}");
    assert_advice(&said, words, does);
    let said = check(scene, mended)?;
    ensure!(!said.contains("FAIL "), "{words} is not mended: {said}");
    Ok(())
}

fn with(config: &Config, change: impl Fn(&mut Config)) -> Config {
    let mut config = config.clone();
    change(&mut config);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not_there_and_a_wrong_configuration() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    let good = scene.config();

    let away = with(&good, |config| config.nats = "servers = [\"nats://127.0.0.1:1\"]\n".into());
    is_found_and_mended(
        &scene,
        (&away, &good),
        ("NATS at nats://127.0.0.1:1 cannot be", "nats.servers"),
    )?;

    let homeserver = &scene.bot.homeserver;
    let away = with(&good, |config| {
        config.matrix = config.matrix.replace(homeserver.as_str(), "http://127.0.0.1:1");
    });
    is_found_and_mended(
        &scene,
        (&away, &good),
        ("http://127.0.0.1:1/: cannot be reached", "matrix.homeserver"),
    )?;

    let absent = with(&good, |config| config.routes = config.routes.replace("OPS", "NOPE"));
    is_found_and_mended(&scene, (&absent, &good), ("stream NOPE does not exist", "stream"))?;

    let wrong = with(&good, |config| config.nats = config.nats.replace("servers", "servrs"));
    is_found_and_mended(&scene, (&wrong, &good), ("unknown key \"servrs\"", "key"))
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_permissions_in_nats() -> Result<()> {
    let all = [&NEEDED[..], &DEAD].concat();
    let scene = restricted(&all).await?;
    scene.bot.join(&scene.room).await?;
    let good = scene.config().nats(LOGIN).lines(CONSUMER);
    let wrong = with(&good, |config| config.nats = config.nats.replace("only-the", "never-the"));
    is_found_and_mended(&scene, (&wrong, &good), ("refuses our credentials", "[nats]"))?;

    let few: Vec<_> = all.into_iter().filter(|subject| !subject.contains("ACK")).collect();
    scene.nats.reload(&permissions(&few), &[]).await?;
    let said = check(&scene, &good)?;
    assert_advice(&said, "publish on $JS.ACK.OPS.reports.>", "nats-matrix permissions");
    // As the page says.
    let output =
        tokio::task::block_in_place(|| scene.run(&good, &["permissions", "--format", "server"]))?;
    let users = format!(
        "authorization {{ users: [ {{ user: admin, password: a }}, \
         {{ user: bridge, password: only-the-bridge-knows\n{}\n}} ] }}",
        printed(&output)
    );
    scene.nats.reload(&users, &[]).await?;
    let said = check(&scene, &good)?;
    assert!(!said.contains("FAIL ") && !said.contains("note  rights"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    let session =
        || Account::login(&scene.bot.homeserver, scene.bot.localpart(), &scene.bot.password);
    let (revoked, valid) = (session().await?, session().await?);
    let by = |account: &Account| {
        with(&scene.config(), |config| {
            config.matrix = format!(
                "homeserver = \"{}\"\naccess_token = \"{}\"\nstate_dir = \"state\"\n",
                account.homeserver, account.access_token
            );
        })
    };
    scene.bot.logout_device(&revoked.device_id).await?;
    let words = ("refuses our login (401 M_UNKNOWN_TOKEN", "access_token_file");
    is_found_and_mended(&scene, (&by(&revoked), &by(&valid)), words)
}

/// Waits for a line of a bridge that the page knows, does what it says, and sees the route work.
async fn is_mended(
    mut bridge: BridgeProcess,
    (words, does): (&str, &str),
    mend: impl Future<Output = Result<()>>,
) -> Result<()> {
    let pages = Pages::of(&mut bridge).await?;
    bridge.wait_for_log(words, PATIENCE).await?;
    let logs = bridge.logs();
    assert_advice(&logs, words, does);
    assert!(logs.contains("troubleshooting.md)\n"), "no line says where it is explained: {logs}");
    mend.await?;
    pages.wait_for("connected").await.with_context(|| bridge.logs())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_has_stopped() -> Result<()> {
    let homeserver = Homeserver::start(BINARY).await?;
    let scene = Scene::on(&homeserver).await?;
    scene.bot.join(&scene.room).await?;
    let mut bridge = scene.start(&listening(scene.config()))?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    homeserver.kill().await;
    scene.nats.publish("ops.x", "hello").await?;
    let words = ("the homeserver cannot be reached: ", "systemctl status nats-matrix-conduit");
    is_mended(bridge, words, homeserver.restart()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_whose_disk_is_full() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    // As Conduit says it.
    let said = "There was a problem with the connection to the rocksdb database: IO error: No space left on device";
    let full = json!({ "errcode": "M_UNKNOWN", "error": said });
    proxy.inject(Fault::on("/send/", FaultKind::respond(500, full)));
    let bridge = scene.start(&listening(config))?;
    scene.nats.publish("ops.x", "hello").await?;
    let freed = async {
        proxy.clear();
        Ok(())
    };
    is_mended(bridge, ("the homeserver answers 500 M_UNKNOWN", "Free space"), freed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_the_bridge_is_not_in() -> Result<()> {
    let scene = Scene::new().await?;
    let room = scene.alice.create_room(json!({ "preset": "private_chat" })).await?;
    let config = listening(scene.config_for("ops.>", &room));
    let bridge = scene.start(&config)?;
    let invite = scene.alice.invite(&room, &scene.bot.user_id);
    is_mended(bridge, ("we are not let in: invite", "Invite"), invite).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_in_which_the_bridge_may_not_post() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    let level = |level| scene.alice.set_power_level(&scene.room, &scene.bot.user_id, level);
    level(-1).await?;
    assert_advice(&check(&scene, &scene.config())?, "has power level -1", "power");
    let bridge = scene.start(&listening(scene.config()))?;
    scene.nats.publish("ops.x", "hello").await?;
    is_mended(bridge, ("we may not post", "power"), level(0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong() -> Result<()> {
    let scene = Scene::new().await?;
    scene.bot.join(&scene.room).await?;
    let clock = Clock::new(scene.dir.path())?;
    let path = scene.dir.path().join("check.toml");
    std::fs::write(&path, scene.config().toml())?;
    let check = || {
        let mut command = Command::new(BINARY);
        command.args(["check", "--config"]).arg(&path).envs(clock.environment());
        anyhow::Ok(printed(&tokio::task::block_in_place(|| secrets::output(&mut command))?))
    };
    clock.set(2 * 24 * 60 * 60 + 30)?;
    assert_advice(&check()?, "the clock of this machine is 48h ahead of", "timedatectl");
    clock.set(-3630)?;
    assert_advice(&check()?, "the clock of this machine is 1h behind", "timedatectl");
    clock.set(0)?;
    let said = check()?;
    assert!(!said.contains("note  clock"), "{said}");
    Ok(())
}

/// A small file system of its own, which only root can have.
struct Disk(PathBuf);

impl Disk {
    fn new(scene: &Scene) -> Result<Self> {
        let path = scene.dir.path().join("state");
        std::fs::create_dir_all(&path)?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k,mode=700", "on-call"])
            .arg(&path)
            .output()?;
        ensure!(mount.status.success(), "mount: {}", String::from_utf8_lossy(&mount.stderr));
        Ok(Self(path))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full() -> Result<()> {
    let scene = Scene::new().await?;
    let disk = match Disk::new(&scene) {
        Ok(disk) => disk,
        Err(error) => return not_run(&error),
    };
    let filler = disk.0.join("filler");
    // As much as there is room for.
    let _ = std::fs::write(&filler, vec![b'x'; 1024 * 1024]);
    let mut bridge = scene.start(&scene.config())?;
    let code = bridge.wait(PATIENCE).await?;
    let logs = bridge.logs();
    assert_eq!(code, 64, "{logs}");
    assert_advice(&logs, "No space left on device", "disk");
    std::fs::remove_file(&filler)?;
    let bridge = scene.start(&scene.config())?;
    scene.nats.publish("ops.x", "hello").await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(1, PATIENCE).await.with_context(|| bridge.logs())?;
    Ok(())
}

/// A stream without room for the bridge's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_nats_whose_disk_is_full() -> Result<()> {
    // A second block takes the place of the first one.
    let dir = ScratchDir::new("disk")?;
    let limit = |limit: &str| {
        format!("jetstream {{ store_dir: \"{}\", max_file_store: {limit} }}", dir.path().display())
    };
    let nats = Nats::builder().config(&limit("1MB")).start().await?;
    let scene = Scene::with(crate::scene::shared_homeserver().await?, nats).await?;
    let mut bridge = scene.start(&scene.config())?;
    let alert = json!({ "severity": "warning", "source": "a", "summary": "s" });
    scene.nats.publish("ops.alert", alert.to_string()).await?;
    bridge.wait_for_log("alert threads are known only until", PATIENCE).await?;
    let logs = bridge.logs();
    assert_advice(&logs, "alert threads are known only until", "raise the limit");
    assert!(logs.contains("free space on the disk of NATS"), "{logs}");
    assert!(!logs.contains("allow the bridge to publish"), "it is permitted to: {logs}");
    bridge.terminate()?;
    bridge.wait(PATIENCE).await?;
    scene.nats.reload(&limit("1GB"), &[]).await?;
    let bridge = scene.start(&scene.config())?;
    scene.nats.publish("ops.alert", alert.to_string()).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(2, PATIENCE).await.with_context(|| bridge.logs())?;
    assert!(!bridge.logs().contains("WARN"), "{}", bridge.logs());
    Ok(())
}
