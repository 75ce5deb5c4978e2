//! Root runs a command over the state of a service, whose owner has put there what leads elsewhere: links, hard
//! links, pipes, devices. Nothing of root's is read or changed by that, and nothing waits for ever.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Result, anyhow, ensure};
use nats_matrix_testbed::{Nats, ScratchDir, not_run, secrets};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::{
    publish::stored,
    scene::{BINARY, Config, PATIENCE, Scene, printed},
};

/// The user that the state belongs to; systemd makes up such ones.
const OWNER: u32 = 61_234;

/// The message that only root may read; as the spool has them, so that it would be sent.
fn secret() -> String {
    json!({
        "id": "a", "time": "2026-01-01T00:00:00Z", "subject": "ops.secret",
        "payload": { "summary": "a secret of root's" }
    })
    .to_string()
}

/// A state directory as systemd makes it for a service with a user of its own, and files of root's beside it.
struct State {
    dir: ScratchDir,
}

impl State {
    fn new() -> Result<Self> {
        let it = Self { dir: ScratchDir::new("planted")? };
        fs::create_dir_all(it.own())?;
        chown(it.own(), Some(OWNER), Some(OWNER))?;
        fs::set_permissions(it.own().join(".."), fs::Permissions::from_mode(0o700))?;
        symlink("private/nats-matrix-publish", it.at("lib/nats-matrix-publish"))?;
        fs::create_dir(it.at("root"))?;
        fs::write(it.secret(), secret())?;
        fs::set_permissions(it.secret(), fs::Permissions::from_mode(0o600))?;
        Ok(it)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The directory of the service.
    fn own(&self) -> PathBuf {
        self.at("lib/private/nats-matrix-publish")
    }

    fn secret(&self) -> PathBuf {
        self.at("root/secret")
    }

    /// Makes the spool, which belongs to the service.
    fn spool(&self) -> Result<PathBuf> {
        let spool = self.own().join("spool");
        fs::create_dir(&spool)?;
        chown(&spool, Some(OWNER), Some(OWNER))?;
        Ok(spool)
    }

    /// Root publishes an alert that says "mine".
    async fn alert(&self, nats: &str) -> Result<Output> {
        let mut command = Command::new(BINARY);
        command.args(["alert", "--severity", "info", "--summary", "mine", "--timeout", "2s"]);
        command.args(["--server", nats, "--spool"]).arg(self.at("lib/nats-matrix-publish/spool"));
        command.env("NATS_MATRIX__PUBLISH__HOST", "node-1").stdin(Stdio::null()).kill_on_drop(true);
        Ok(timeout(PATIENCE / 2, command.output()).await??)
    }

    /// Asserts that root's files are as they were, and that there are no others.
    fn is_untouched(&self) -> Result<()> {
        let file = fs::metadata(self.secret())?;
        let text = fs::read_to_string(self.secret())?;
        ensure!(text == secret(), "a file of root's was overwritten: {text}");
        ensure!((file.uid(), file.mode() & 0o777) == (0, 0o600), "a file of root's was given away");
        let names = fs::read_dir(self.at("root"))?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<Result<Vec<_>>>()?;
        ensure!(names == ["secret"], "files were made: {names:?}");
        ensure!(fs::metadata(self.at("root"))?.uid() == 0, "a directory of root's was given away");
        Ok(())
    }
}

/// Has the owner put a link to `target` at `place`.
fn plant_link(target: &Path, place: &Path) -> Result<()> {
    symlink(target, place)?;
    Ok(lchown(place, Some(OWNER), Some(OWNER))?)
}

/// Has the owner put a message there that is like one of ours but for one value.
fn plant_message(spool: &Path, key: &str, value: &str) -> Result<()> {
    let mut message: Value = serde_json::from_str(&secret())?;
    message[key] = value.into();
    let path = spool.join("0000000001.json");
    fs::write(&path, message.to_string())?;
    Ok(chown(path, Some(OWNER), Some(OWNER))?)
}

fn is_root() -> Result<bool> {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        not_run(&anyhow!("only root can give files to others"))?;
    }
    Ok(is_root)
}

/// The files that the owner of a spool puts there, and what is said of them.
type Trap = (&'static str, fn(&State, &Path) -> Result<()>, &'static str);

const TRAPS: [Trap; 14] = [
    (
        "a message that is a link",
        |state, spool| plant_link(&state.secret(), &spool.join("0000000001.json")),
        "0000000001.json is a link that is not followed",
    ),
    (
        "a message that is a hard link",
        |state, spool| Ok(fs::hard_link(state.secret(), spool.join("0000000001.json"))?),
        "0000000001.json belongs to uid 0 in a directory of uid 61234",
    ),
    (
        "a message that is a pipe",
        |_, spool| Ok(mknodat(CWD, spool.join("0000000001.json"), FileType::Fifo, Mode::RWXU, 0)?),
        "0000000001.json is not a regular file",
    ),
    (
        "a message that has no end",
        |_, spool| {
            let zero = makedev(1, 5);
            let path = spool.join("0000000001.json");
            Ok(mknodat(CWD, path, FileType::CharacterDevice, Mode::RWXU, zero)?)
        },
        "0000000001.json is not a regular file",
    ),
    (
        "a message that is large",
        |_, spool| {
            let path = spool.join("0000000001.json");
            File::create(&path)?.set_len(1 << 40)?;
            Ok(chown(path, Some(OWNER), Some(OWNER))?)
        },
        "cannot be read and is left there",
    ),
    (
        "a message whose id ends a line",
        |_, spool| plant_message(spool, "id", "a\r\nNats-Rollup: all"),
        "0000000001.json cannot be read and is left there: its id is not one of letters and digits",
    ),
    (
        "a message whose subject is longer than a line of NATS",
        |_, spool| plant_message(spool, "subject", &format!("ops.{}", "x".repeat(10_000))),
        "0000000001.json cannot be read and is left there: the subject has more than 1024 bytes",
    ),
    (
        "a new message that is a link",
        |state, spool| plant_link(&state.secret(), &spool.join("new")),
        "",
    ),
    (
        "a lock that is a link",
        |state, spool| plant_link(&state.secret(), &spool.join("put.lock")),
        "put.lock is a link that is not followed",
    ),
    (
        "a lock that is a link to what is not there",
        |state, spool| plant_link(&state.at("root/made"), &spool.join("put.lock")),
        "put.lock is a link that is not followed",
    ),
    (
        "a lock that is a hard link",
        |state, spool| Ok(fs::hard_link(state.secret(), spool.join("put.lock"))?),
        "put.lock belongs to uid 0 in a directory of uid 61234",
    ),
    (
        "a lock that is a pipe",
        |_, spool| Ok(mknodat(CWD, spool.join("put.lock"), FileType::Fifo, Mode::RWXU, 0)?),
        "put.lock is not a regular file",
    ),
    (
        "the lock of the sender is a link",
        |state, spool| plant_link(&state.secret(), &spool.join("send.lock")),
        "what waits cannot be sent",
    ),
    (
        "a spool that is a link",
        |state, spool| {
            fs::remove_dir(spool)?;
            plant_link(&state.at("root"), spool)
        },
        "spool is a link that is not followed, as uid 61234 may have put it there",
    ),
];

#[tokio::test]
async fn what_the_owner_of_a_spool_puts_there_leads_root_nowhere() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let mut sprung = Vec::new();
    for trap in TRAPS {
        if let Err(error) = spring(trap).await {
            sprung.push(format!("{}: {error:#}", trap.0));
        }
    }
    ensure!(sprung.is_empty(), "{}", sprung.join("\n"));
    Ok(())
}

/// Has root publish an alert over a spool with a trap in it.
async fn spring((_, plant, words): Trap) -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let state = State::new()?;
    plant(&state, &state.spool()?)?;
    let said = state.alert(&nats.url()).await?;
    let errors = String::from_utf8_lossy(&said.stderr);
    state.is_untouched()?;
    ensure!(errors.contains(words), "no \"{words}\" in: {errors}");
    let stored = stored(&nats).await?;
    ensure!(stored == ["mine"], "{stored:?} was sent: {errors}");
    Ok(())
}

#[tokio::test]
async fn what_root_puts_into_a_spool_is_its_owners() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let state = State::new()?;
    let said = state.alert("nats://127.0.0.1:1").await?;
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(errors.contains("kept as"), "{errors}");
    let spool = state.own().join("spool");
    for name in [".", "put.lock", "send.lock", "0000000001.json"] {
        let file = fs::symlink_metadata(spool.join(name))?;
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o077), (OWNER, OWNER, 0), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_lock_that_is_never_left_holds_up_no_message() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let state = State { dir: ScratchDir::new("planted")? };
    fs::create_dir_all(state.at("lib/nats-matrix-publish/spool"))?;
    let mut locks = Vec::new();
    for (name, count) in [("put.lock", 1), ("send.lock", 2)] {
        let lock = File::create(state.at("lib/nats-matrix-publish/spool").join(name))?;
        lock.lock()?;
        locks.push(lock);
        let said = state.alert(&nats.url()).await?;
        let errors = String::from_utf8_lossy(&said.stderr);
        assert!(errors.contains("put.lock is held for more than 10 s"), "{errors}");
        assert_eq!(said.status.code(), Some(0), "{errors}");
        assert_eq!(stored(&nats).await?, vec!["mine"; count], "{errors}");
    }
    Ok(())
}

/// The scene's bridge with its password in a file of a directory that belongs to somebody else.
fn with_password_file(scene: &Scene, made: &Path) -> Result<Config> {
    fs::create_dir(made)?;
    let file = made.join("bridge-password");
    fs::write(&file, format!("{}\n", scene.bot.password))?;
    for path in [made, &file] {
        chown(path, Some(OWNER), Some(OWNER))?;
    }
    let mut config = scene.config();
    let written = format!("password = \"{}\"\n", scene.bot.password);
    let named = format!("password_file = \"{}\"\n", file.display());
    assert!(config.matrix.contains(&written));
    config.matrix = config.matrix.replace(&written, &named);
    Ok(config)
}

#[tokio::test]
async fn root_sends_no_file_but_the_password_to_a_homeserver() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new().await?;
    let state = State::new()?;
    let made = state.at("made");
    let config = with_password_file(&scene, &made)?;
    let file = made.join("bridge-password");
    let user = scene.bot.user_id.trim_start_matches('@').split(':').next().unwrap_or_default();
    let rotate = ["provision", "--rotate", user];
    let said = async |arguments: &[&str]| -> Result<String> {
        let path = state.at("config.toml");
        fs::write(&path, config.toml())?;
        let mut command = std::process::Command::new(BINARY);
        command.args(arguments).arg("--config").arg(path).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || secrets::output(&mut command));
        let output = timeout(PATIENCE, output).await???;
        Ok(printed(&output))
    };

    // The file that waits to become the password.
    let waiting = made.join("bridge-password.new");
    plant_link(&state.secret(), &waiting)?;
    let text = said(&rotate).await?;
    assert!(text.contains("bridge-password.new is a link that is not followed"), "{text}");
    fs::remove_file(&waiting)?;
    mknodat(CWD, &waiting, FileType::Fifo, Mode::RWXU, 0)?;
    let text = said(&rotate).await?;
    assert!(text.contains("bridge-password.new is not a regular file"), "{text}");
    fs::remove_file(&waiting)?;

    // The password.
    let kept = made.join("kept");
    fs::rename(&file, &kept)?;
    for plant in [
        |state: &State, file: &Path| plant_link(&state.secret(), file),
        |state: &State, file: &Path| Ok(fs::hard_link(state.secret(), file)?),
    ] {
        plant(&state, &file)?;
        for arguments in [&["check"][..], &["connect"], &rotate] {
            let text = said(arguments).await?;
            let is_said = ["is a link", "belongs to uid 0 in a directory of uid 61234"];
            assert!(is_said.iter().any(|words| text.contains(words)), "{arguments:?}: {text}");
            // Else it would have been sent and refused.
            assert!(!text.contains("refuses our login"), "{arguments:?}: {text}");
        }
        fs::remove_file(&file)?;
    }
    fs::rename(&kept, &file)?;

    let text = said(&rotate).await?;
    assert!(text.contains("a new password"), "{text}");
    let new = fs::symlink_metadata(&file)?;
    assert_eq!((new.uid(), new.gid(), new.mode() & 0o777), (OWNER, OWNER, 0o600));
    assert_ne!(fs::read_to_string(&file)?.trim_end(), scene.bot.password);
    assert!(!waiting.exists());
    state.is_untouched()
}

#[tokio::test]
async fn a_bridge_that_root_runs_keeps_its_session_for_the_service() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new().await?;
    let state = State::new()?;
    let directory = scene.dir.path().join("state");
    plant_link(&state.at("root"), &directory)?;
    let mut bridge = scene.start(&scene.config())?;
    assert_eq!(bridge.wait(PATIENCE).await?, 64, "{}", bridge.logs());
    assert!(bridge.logs().contains("state is a link that is not followed"), "{}", bridge.logs());
    state.is_untouched()?;

    fs::remove_file(&directory)?;
    fs::create_dir(&directory)?;
    chown(&directory, Some(OWNER), Some(OWNER))?;
    plant_link(&state.secret(), &directory.join("session.json"))?;
    let mut bridge = scene.start(&scene.config())?;
    assert_eq!(bridge.wait(PATIENCE).await?, 64, "{}", bridge.logs());
    fs::remove_file(directory.join("session.json"))?;
    let mut bridge = scene.start(&scene.config())?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    bridge.kill();
    let session = fs::symlink_metadata(directory.join("session.json"))?;
    assert_eq!((session.uid(), session.mode() & 0o777), (OWNER, 0o600));
    state.is_untouched()
}

#[tokio::test]
async fn the_picture_of_a_summary_is_written_through_no_link_of_others() -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let scene = Scene::new().await?;
    let state = State::new()?;
    let report = json!({ "host": "a", "disk_percent": 14 }).to_string();
    scene.nats.publish("ops.report.a", report).await?;
    let picture = state.own().join("picture.png");
    let write = async || -> Result<(Option<i32>, String)> {
        let output =
            scene.run(&scene.config(), &["summary", "--output", &picture.to_string_lossy()])?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    plant_link(&state.secret(), &picture)?;
    let (code, text) = write().await?;
    assert!(
        code == Some(64) && text.contains("picture.png is a link that is not followed"),
        "{text}"
    );
    fs::remove_file(&picture)?;
    mknodat(CWD, &picture, FileType::Fifo, Mode::RWXU, 0)?;
    let (code, text) = write().await?;
    assert!(code == Some(64) && text.contains("picture.png is not a regular file"), "{text}");
    fs::remove_file(&picture)?;
    assert_eq!(write().await?, (Some(0), String::new()));
    assert!(fs::read(&picture)?.starts_with(b"\x89PNG"));
    assert_eq!(fs::symlink_metadata(&picture)?.uid(), OWNER);
    state.is_untouched()
}

/// The user of a service, who has been told to use a spool that somebody else has made.
#[tokio::test]
async fn a_service_sends_nothing_from_a_spool_of_somebody_else() -> Result<()> {
    let said = format!("belongs to uid {OWNER}, who may put files there");
    sends_no_planted_message(OWNER, 0o755, &said).await
}

/// A spool of the user's own, such as a directory below `/tmp` that was made by a careless script.
#[tokio::test]
async fn a_service_sends_nothing_from_a_spool_that_others_may_write() -> Result<()> {
    for mode in [0o777, 0o1777, 0o770] {
        sends_no_planted_message(VICTIM, mode, "others may put files into").await?;
    }
    Ok(())
}

/// The user of a service.
const VICTIM: u32 = 61_235;

async fn sends_no_planted_message(owner: u32, mode: u32, words: &str) -> Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let dir = tempfile::Builder::new().prefix("nats-matrix-spool").tempdir_in("/tmp")?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let binary = dir.path().join("nats-matrix");
    fs::copy(BINARY, &binary)?;
    let spool = dir.path().join("spool");
    let planted = spool.join("0000000001.json");
    fs::create_dir(&spool)?;
    fs::write(&planted, secret())?;
    chown(&planted, Some(OWNER), Some(OWNER))?;
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o777))?;
    chown(&spool, Some(owner), Some(owner))?;
    fs::set_permissions(&spool, fs::Permissions::from_mode(mode))?;
    let mut command = Command::new(binary);
    command.args(["alert", "--severity", "info", "--summary", "mine", "--timeout", "2s"]);
    command.args(["--subject", "ops.alert.a", "--server", &nats.url(), "--spool"]).arg(&spool);
    command.current_dir("/").uid(VICTIM).gid(VICTIM).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE / 2, command.output()).await??;
    let said = printed(&output);
    ensure!(said.contains(words), "{mode:o}: {said}");
    let state = nats.jetstream().await?.get_stream("OPS").await?.cached_info().state.clone();
    ensure!(state.messages <= 1, "{mode:o}: {state:?}: {said}");
    ensure!(planted.exists(), "{mode:o}: it was sent: {said}");
    Ok(())
}
