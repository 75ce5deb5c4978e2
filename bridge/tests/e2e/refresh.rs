//! A homeserver that grows is restarted as planned, and the bridge rides over it.
//!
//! The tests do what systemd does: they list the homeserver's process in a cgroup, which is a directory here, and start
//! it again whenever it has ended.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result};
use nats_matrix_testbed::{BridgeProcess, Homeserver, HomeserverKind, ScratchDir, not_meant_for};

use crate::scene::{BINARY, PATIENCE, Scene};

/// `nats-matrix refresh` for one homeserver.
struct Watched<'a> {
    homeserver: &'a Homeserver,
    watch: BridgeProcess,
    /// The directory that lists the homeserver, which also has the log of the watch.
    cgroup: ScratchDir,
}

impl<'a> Watched<'a> {
    fn start(homeserver: &'a Homeserver, above: &str) -> Result<Self> {
        let cgroup = ScratchDir::new("cgroup")?;
        list(homeserver, &cgroup)?;
        let mut command = Command::new(BINARY);
        command.arg("refresh").arg("--cgroup").arg(cgroup.path()).args(["--above", above]);
        let watch = BridgeProcess::spawn_command(&command, cgroup.path())?;
        Ok(Self { homeserver, watch, cgroup })
    }

    /// Starts the homeserver again whenever it ends, and counts that.
    async fn keep_up(&self, restarts: &mut usize) -> Result<()> {
        loop {
            assert_eq!(self.homeserver.ended().await?, 0, "it was asked to end, not killed");
            self.homeserver.restart().await?;
            list(self.homeserver, &self.cgroup)?;
            *restarts += 1;
        }
    }
}

fn list(homeserver: &Homeserver, cgroup: &ScratchDir) -> Result<()> {
    let pid = homeserver.pid().context("it runs as a process")?;
    Ok(fs::write(cgroup.path().join("cgroup.procs"), format!("{pid}\n"))?)
}

/// The memory of the homeserver without files, in KiB.
fn anonymous_kib(homeserver: &Homeserver) -> Result<u64> {
    let pid = homeserver.pid().context("it runs as a process")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[tokio::test]
async fn a_homeserver_that_has_grown_is_restarted_and_nothing_is_lost_or_shown_twice() -> Result<()>
{
    let homeserver = Homeserver::builder().as_process().as_packaged().start(BINARY).await?;
    if homeserver.kind() != HomeserverKind::Conduit {
        return not_meant_for("homeservers that do not grow with each message");
    }
    let scene = Scene::on(&homeserver).await?;
    let phone = scene.phone().await?;
    let bridge = scene.start(&scene.config().digests(0))?;
    scene.publish_numbered(1, 1).await?;
    scene.shows_numbered(1).await?;
    // The first of these starts leaves freed memory behind, which would hold many messages. Each takes 6 to 9 KiB.
    homeserver.restart().await?;
    homeserver.restart().await?;
    let above = anonymous_kib(&homeserver)? + 3072;
    let mut watched = Watched::start(&homeserver, &format!("{above}KiB"))?;

    let (mut count, mut restarts) = (1, 0);
    while restarts == 0 && count < 6000 {
        scene.publish_numbered(count + 1, count + 300).await?;
        count += 300;
        tokio::select! {
            done = scene.wait_until_done(u64::try_from(count)?) => done?,
            failed = watched.keep_up(&mut restarts) => failed?,
        }
    }
    assert!(restarts > 0, "{}", watched.watch.logs());
    watched.watch.wait_for_log("the homeserver is back after", PATIENCE).await?;
    let told = watched.watch.logs();
    // No restart comes while the room is read.
    drop(watched);
    homeserver.restart().await?;
    scene.shows_numbered(count).await?;
    let planned = told.matches("it is restarted, as planned").count();
    assert!(planned >= restarts, "{told}");

    let logs = bridge.logs();
    assert!(logs.contains("works again after"), "{logs}");
    assert!(!logs.contains("ERROR"), "a planned restart alarms nobody: {logs}");
    assert!(!phone.settle(1, PATIENCE, Duration::from_secs(1)).await.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_homeserver_that_a_restart_does_not_make_smaller_is_left_alone_and_that_is_said()
-> Result<()> {
    let homeserver = Homeserver::builder().as_process().as_packaged().start(BINARY).await?;
    let pid = homeserver.pid();
    let mut watched = Watched::start(&homeserver, "1MiB")?;
    watched.watch.wait_for_log("a restart may be of no use", PATIENCE).await?;
    assert_eq!(homeserver.pid(), pid);
    assert!(!watched.watch.logs().contains("as planned"));
    anonymous_kib(&homeserver)?;
    Ok(())
}
