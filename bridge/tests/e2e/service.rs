//! The notifications that the service manager gets.

use std::{os::unix::net::UnixDatagram, process::Command, time::Duration};

use anyhow::{Context, Result};
use nats_matrix_testbed::{BridgeProcess, Fault, FaultKind};

use crate::{
    reload::with_password,
    scene::{BINARY, Config, PATIENCE, Scene, through_proxy},
};

/// A stand-in for systemd's end of the notification socket.
pub(crate) struct Manager(UnixDatagram);

impl Manager {
    /// Receives until a message has a line that begins with `start`, and returns the line.
    pub(crate) fn wait_for(&self, start: &str) -> Result<String> {
        let message = self.wait_for_message(start)?;
        let line = message.lines().find(|line| line.starts_with(start));
        line.map(str::to_owned).context("the message has the line")
    }

    /// All that it was told by a bridge that has ended, and that was not received yet.
    fn rest(&self) -> Result<String> {
        self.0.set_nonblocking(true)?;
        let (mut buffer, mut rest) = ([0; 4096], String::new());
        while let Ok(length) = self.0.recv(&mut buffer) {
            rest += &String::from_utf8_lossy(&buffer[..length]);
            rest.push('\n');
        }
        Ok(rest)
    }

    /// The whole message with such a line.
    pub(crate) fn wait_for_message(&self, start: &str) -> Result<String> {
        let mut buffer = [0; 4096];
        loop {
            let length = self.0.recv(&mut buffer).with_context(|| format!("no {start}"))?;
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(start)) {
                return Ok(text);
            }
        }
    }
}

pub(crate) fn start(scene: &Scene) -> Result<(BridgeProcess, Manager)> {
    start_with(scene, &scene.config())
}

fn start_with(scene: &Scene, config: &Config) -> Result<(BridgeProcess, Manager)> {
    let socket = scene.dir.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&socket)?);
    manager.0.set_read_timeout(Some(PATIENCE))?;
    let path = scene.dir.path().join("bridge.toml");
    std::fs::write(&path, config.toml())?;
    let mut command = Command::new(BINARY);
    command.args(["run", "--config"]).arg(&path).current_dir(scene.dir.path());
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    Ok((BridgeProcess::spawn_command(&command, scene.dir.path())?, manager))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_when_all_works_and_keeps_the_watchdog_quiet() -> Result<()> {
    let scene = Scene::new().await?;
    let (mut bridge, manager) = start(&scene)?;
    manager.wait_for("READY=1")?;
    manager.wait_for("WATCHDOG=1")?;
    manager.wait_for("WATCHDOG=1")?;
    bridge.terminate()?;
    manager.wait_for("STOPPING=1")?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_too_when_it_has_to_wait_and_says_for_what() -> Result<()> {
    let scene = Scene::new().await?;
    scene.nats.kill().await;
    let (_bridge, manager) = start(&scene)?;
    let status = manager.wait_for("STATUS=nats-unreachable")?;
    assert!(status.contains("cannot be reached"), "{status}");
    scene.nats.restart().await?;
    manager.wait_for("STATUS=connected: relaying 1 route")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_never_ready_with_a_wrong_password() -> Result<()> {
    let mut scene = Scene::new().await?;
    scene.bot.password = "not the password".to_owned();
    let (mut bridge, manager) = start(&scene)?;
    assert_eq!(bridge.wait(PATIENCE).await?, 77);
    let told = manager.rest()?;
    assert!(!told.contains("READY=1"), "systemctl start must fail: {told}");
    let last = told.lines().rfind(|line| line.starts_with("STATUS=")).unwrap_or_default();
    assert!(last.starts_with("STATUS=credentials-refused: homeserver"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_that_nats_refuses_it_from_the_start() -> Result<()> {
    let scene = with_password("right").await?;
    let config = scene.config().nats("user = \"bridge\"\npassword = \"wrong\"");
    let (mut bridge, manager) = start_with(&scene, &config)?;
    let status = manager.wait_for("STATUS=credentials-refused")?;
    assert!(status.contains("refuses our credentials"), "{status}");
    assert_eq!(bridge.wait(PATIENCE).await?, 77);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_that_it_starts_and_that_it_finishes_what_is_on_its_way() -> Result<()> {
    let (scene, proxy, config) = through_proxy().await?;
    let slowly = FaultKind::Delay(Duration::from_secs(2));
    proxy.inject(Fault::on("/login", slowly.clone()).times(1));
    let (mut bridge, manager) = start_with(&scene, &config)?;
    manager.wait_for("STATUS=starting")?;
    manager.wait_for("STATUS=connected")?;
    proxy.inject(Fault::on("/send/", slowly).times(1));
    scene.nats.publish("ops.x", "hello").await?;
    proxy.wait_for_requests("/send/", 1, PATIENCE).await?;
    bridge.terminate()?;
    manager.wait_for("STATUS=draining")?;
    // Else the bridge would wait for us to receive the rest.
    drop(manager);
    assert_eq!(bridge.wait(PATIENCE).await?, 0);
    Ok(())
}
