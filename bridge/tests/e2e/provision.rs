//! `nats-matrix provision` and `connect`: from nothing to a room.

use std::{
    collections::HashSet,
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nats_matrix_testbed::{
    Account, BridgeConfig, BridgeProcess, Fault, FaultKind, FaultProxy, Homeserver, HomeserverKind,
    Nats, ScratchDir, not_meant_for, secrets,
};
use serde_json::json;
use tokio::time::sleep;

use crate::scene::{BINARY, PATIENCE, read_all, shared_homeserver};

const ALIAS: &str = "#ops:testbed.localhost";

/// A homeserver on which nobody is yet, and a declaration.
struct Site {
    homeserver: Homeserver,
    dir: ScratchDir,
}

impl Site {
    async fn new() -> Result<Self> {
        let homeserver = Homeserver::builder().as_process().people(0).start(BINARY).await?;
        Ok(Self { homeserver, dir: ScratchDir::new("provision")? })
    }

    fn made(&self) -> PathBuf {
        self.dir.path().join("made")
    }

    fn password_file(&self, user: &str) -> PathBuf {
        self.made().join("passwords").join(user)
    }

    fn password(&self, user: &str) -> Result<String> {
        let file = self.password_file(user);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(text.trim_end().to_owned())
    }

    async fn log_in(&self, user: &str) -> Result<Account> {
        Account::login(&self.homeserver.url(), user, &self.password(user)?).await
    }

    /// Writes the configuration: what is declared, and a route to the room.
    fn declare(&self, users_and_rooms: &str) -> Result<PathBuf> {
        self.declare_for("nats://127.0.0.1:1", users_and_rooms)
    }

    fn declare_for(&self, nats: &str, users_and_rooms: &str) -> Result<PathBuf> {
        let sections = format!("{}{users_and_rooms}", self.homeserver.provisioning(&self.made())?);
        let state = self.dir.path().join("state");
        let config = BridgeConfig::declared(nats, &self.homeserver.url(), &state, &sections).route(
            "reports",
            "OPS",
            &["ops.>"],
            ALIAS,
        );
        self.write(config.toml())
    }

    fn write(&self, config: &str) -> Result<PathBuf> {
        let file = self.dir.path().join("nats-matrix.toml");
        fs::write(&file, config)?;
        Ok(file)
    }

    /// Runs `nats-matrix provision` as it is run for this homeserver.
    async fn provision(&self, config: &Path) -> Result<(i32, String)> {
        said(&self.homeserver.provision(BINARY.as_ref(), config).await?)
    }
}

/// The exit code and all that was printed.
fn said(output: &Output) -> Result<(i32, String)> {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    Ok((output.status.code().context("killed")?, String::from_utf8(text)?))
}

/// Runs another command while the homeserver runs.
fn run(config: &Path, arguments: &[&str]) -> Result<(i32, String)> {
    said(&secrets::output(Command::new(BINARY).args(arguments).arg("--config").arg(config))?)
}

/// A configuration for a homeserver that is not the site's.
fn elsewhere(homeserver: &str, login: &str, sections: &str) -> String {
    format!(
        "[nats]\nservers = [\"nats://127.0.0.1:1\"]\n\
         [matrix]\nhomeserver = \"{homeserver}\"\n{login}\n\
         [[routes]]\nname = \"reports\"\nstream = \"OPS\"\nsubjects = [\"ops.>\"]\nroom = \"!x:y\"\n\
         {sections}"
    )
}

#[track_caller]
fn assert_item(text: &str, mark: &str, kind: &str, what: &str) {
    let found = text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(mark) && words.next() == Some(kind) && line.contains(what)
    });
    assert!(found, "no line \"{mark} {kind} ... {what}\" in:\n{text}");
}

const DECLARED: &str = r#"
[users.alice]
admin = true
display_name = "Alice A."
[users.bob]
[rooms.ops]
name = "Operations"
topic = "What the machines report"
invite = ["alice", "bob"]
"#;

#[tokio::test]
async fn what_is_declared_is_made_once_and_found_from_then_on() -> Result<()> {
    let site = Site::new().await?;
    let config = site.declare(DECLARED)?;
    let (code, text) = site.provision(&config).await?;
    assert_eq!(code, 0, "{text}");
    assert_item(&text, "made", "user", "alice, with the password in ");
    assert_item(&text, "made", "user", "bob, with the password in ");
    assert_item(&text, "made", "user", "bridge, the bridge");
    assert_item(&text, "made", "room", ALIAS);
    let bridge = fs::read_to_string(site.made().join("bridge-password"))?;
    for (password, file) in [
        (site.password("alice")?, site.password_file("alice")),
        (bridge.trim_end().to_owned(), site.made().join("bridge-password")),
    ] {
        assert!(password.len() >= 20, "a password of {} characters", password.len());
        assert!(!text.contains(&password), "a password is printed:\n{text}");
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::metadata(site.made().join("passwords"))?.permissions().mode() & 0o777, 0o700);

    let alice = site.log_in("alice").await?;
    assert_eq!(alice.display_name().await?, "Alice A.");
    assert_eq!(alice.devices().await?.len(), 1, "no session is left of provisioning");
    let room = alice.join(ALIAS).await?;
    let state = async |kind| alice.state(&room, kind, "").await.map(Option::unwrap_or_default);
    assert_eq!(state("m.room.name").await?["name"], "Operations");
    assert_eq!(state("m.room.topic").await?["topic"], "What the machines report");
    let levels = state("m.room.power_levels").await?;
    assert_eq!(levels["users"][&alice.user_id], 100);
    assert_eq!(levels["users_default"], 0);
    assert_eq!(levels["state_default"], 50);
    assert_eq!(levels["invite"], 50);
    for kind in ["m.room.canonical_alias", "m.room.encryption"] {
        assert_eq!(levels["events"][kind], 100, "{kind}");
    }
    assert_eq!(levels["events_default"].as_i64().unwrap_or_default(), 0);

    let before = alice.timeline(&room).await?.len();
    // Standard error may have more: tuwunel calls errors what is none.
    let output = site.homeserver.provision(BINARY.as_ref(), &config).await?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    assert!(text.lines().all(|line| line.starts_with("found ")), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert_eq!(alice.timeline(&room).await?.len(), before, "nothing happened in the room");
    Ok(())
}

#[tokio::test]
async fn a_changed_declaration_is_applied_and_what_people_did_stays() -> Result<()> {
    let site = Site::new().await?;
    assert_eq!(site.provision(&site.declare(DECLARED)?).await?.0, 0);
    let mut alice = site.log_in("alice").await?;
    let room = alice.join(ALIAS).await?;
    alice.set_display_name("Ally").await?;
    alice.change_password("a password of her own").await?;
    let own_room = alice.create_room(json!({ "name": "Lunch" })).await?;
    alice.set_power_level(&room, "@bob:testbed.localhost", 50).await?;
    let bob = site.log_in("bob").await?;
    bob.join(ALIAS).await?;
    bob.leave(&room).await?;

    let changed =
        DECLARED.replace("What the machines report", "Reports") + "[users.carol]\nadmin = true\n";
    let changed = changed.replace("\"bob\"]", "\"bob\", \"carol\"]\npost = \"bridge\"");
    let (code, text) = site.provision(&site.declare(&changed)?).await?;
    assert_eq!(code, 0, "{text}");
    assert_item(&text, "made", "user", "carol, with the password in ");
    assert_item(&text, "found", "user", "alice");
    assert_item(
        &text,
        "changed",
        "room",
        "topic, power levels, invitation of @carol:testbed.localhost",
    );
    assert!(!text.contains("bob:"), "who left is not invited again:\n{text}");

    site.log_in("carol").await?.join(ALIAS).await?;
    let topic = alice.state(&room, "m.room.topic", "").await?.unwrap_or_default();
    assert_eq!(topic["topic"], "Reports");
    let levels = alice.state(&room, "m.room.power_levels", "").await?.unwrap_or_default();
    assert_eq!(levels["events_default"], 50);
    assert_eq!(levels["users"]["@bob:testbed.localhost"], 50, "a level that alice gave");
    assert_eq!(alice.display_name().await?, "Ally");
    assert!(alice.joined_rooms().await?.contains(&own_room));
    Account::login(&site.homeserver.url(), "alice", "a password of her own").await?;
    Ok(())
}

#[tokio::test]
async fn admins_are_administrators_of_the_homeserver_whenever_they_are_declared() -> Result<()> {
    let site = Site::new().await?;
    let without = "[users.bob]\n[users.alice]\n";
    assert_eq!(site.provision(&site.declare(without)?).await?.0, 0);
    let bob = site.log_in("bob").await?;
    assert!(!is_server_admin(&site, &bob).await?, "the first account is nobody special");
    let mut alice = site.log_in("alice").await?;
    // Nobody has her password any more.
    alice.change_password("a password of her own").await?;

    let with = "[users.bob]\n[users.alice]\nadmin = true\n[users.zoe]\nadmin = true\n";
    let (code, text) = site.provision(&site.declare(with)?).await?;
    assert_eq!(code, 0, "{text}");
    let zoe = site.log_in("zoe").await?;
    assert!(is_server_admin(&site, &zoe).await?, "{text}");
    assert!(!is_server_admin(&site, &bob).await?, "{text}");
    // Synapse and Dendrite let only an administrator make another one of an account that is there.
    if site.homeserver.kind().stops_for_provisioning() {
        assert_item(&text, "changed", "user", "alice: now an administrator");
        assert!(is_server_admin(&site, &alice).await?, "{text}");
    }
    Ok(())
}

/// Whether an account administrates the homeserver, by the homeserver's own definition.
async fn is_server_admin(site: &Site, account: &Account) -> Result<bool> {
    match site.homeserver.kind() {
        HomeserverKind::Conduit | HomeserverKind::Tuwunel => {
            let admins =
                account.resolve_alias("#admins:testbed.localhost").await?.context("no room")?;
            Ok(account.joined_rooms().await?.contains(&admins))
        }
        HomeserverKind::Synapse => {
            account.may_get(&format!("/_synapse/admin/v2/users/{}", account.user_id)).await
        }
        HomeserverKind::Dendrite => account.may_get("/_dendrite/admin/registrationTokens").await,
    }
}

#[tokio::test]
async fn people_only_read_where_the_bridge_posts() -> Result<()> {
    let site = Site::new().await?;
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let declared = DECLARED.replace("invite", "post = \"bridge\"\ninvite");
    let config = site.declare_for(&nats.url(), &declared)?;
    assert_eq!(site.provision(&config).await?.0, 0);
    let bob = site.log_in("bob").await?;
    let room = bob.join(ALIAS).await?;
    let message = json!({ "msgtype": "m.text", "body": "hello?" });
    let sent = bob.send(&room, "m.room.message", "1", message.clone()).await;
    assert!(format!("{:#}", sent.unwrap_err()).contains("403"), "bob is to read only");
    let renamed = bob.set_state(&room, "m.room.name", "", json!({ "name": "Bob's" })).await;
    assert!(format!("{:#}", renamed.unwrap_err()).contains("403"), "bob changes no settings");
    let alice = site.log_in("alice").await?;
    alice.join(ALIAS).await?;
    alice.send(&room, "m.room.message", "1", message).await?;

    let (code, text) = run(&config, &["check"])?;
    assert_eq!(code, 0, "{text}");
    nats.publish("ops.report", "the report").await?;
    let mut bridge = BridgeProcess::spawn(BINARY, &fs::read_to_string(&config)?, site.dir.path())?;
    let mut reader = bob.reader(&room).await?;
    reader
        .wait_until(|seen| seen.iter().any(|event| event.said() == "the report"), PATIENCE)
        .await?;
    bridge.terminate()?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_is_closed_to_strangers_at_every_moment() -> Result<()> {
    let site = Site::new().await?;
    let url = site.homeserver.url();
    let done = Arc::new(AtomicBool::new(false));
    let stranger = tokio::spawn({
        let (url, done) = (url.clone(), Arc::clone(&done));
        async move {
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                answers.push(Account::try_to_register(&url, "stranger").await);
                sleep(Duration::from_millis(2)).await;
            }
            answers
        }
    });
    assert_eq!(site.provision(&site.declare(DECLARED)?).await?.0, 0);
    assert_eq!(
        site.provision(&site.declare(&(DECLARED.to_owned() + "[users.carol]\n"))?).await?.0,
        0
    );
    sleep(Duration::from_millis(100)).await;
    done.store(true, Ordering::Relaxed);
    let answers = stranger.await?;
    let refused = answers.iter().filter(|answer| **answer == Some(403)).count();
    // A Conduit is not there while another one is in its place.
    let others: Vec<_> = answers.iter().flatten().filter(|status| **status != 403).collect();
    assert!(refused > 0 && others.is_empty(), "{refused} times 403, besides {others:?}");
    Ok(())
}

/// The environments and arguments of all processes that were seen while somebody looked.
#[derive(Default)]
struct Processes {
    /// Command lines and environments.
    texts: HashSet<String>,
    /// The configurations that homeservers were started with for a moment, and their modes.
    configurations: HashSet<(PathBuf, String, u32)>,
}

impl Processes {
    fn look(&mut self) {
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            for file in ["cmdline", "environ"] {
                let Ok(text) = fs::read(process.path().join(file)) else { continue };
                let text = String::from_utf8_lossy(&text).into_owned();
                let named = text.split('\0').find_map(|variable| {
                    let file = variable.strip_prefix("CONDUIT_CONFIG=")?;
                    file.starts_with(&*env::temp_dir().join("conduit-").to_string_lossy())
                        .then(|| PathBuf::from(file))
                });
                self.configurations.extend(named.and_then(|file| {
                    let mode = fs::metadata(&file).ok()?.permissions().mode() & 0o777;
                    Some((file.clone(), fs::read_to_string(file).ok()?, mode))
                }));
                self.texts.insert(text);
            }
        }
    }

    /// Looks again and again until this is said to be over.
    fn watch(done: Arc<AtomicBool>) -> std::thread::JoinHandle<Self> {
        std::thread::spawn(move || {
            let mut seen = Self::default();
            while !done.load(Ordering::Relaxed) {
                seen.look();
            }
            seen
        })
    }

    /// The token for registrations and the key for logins of a homeserver that was started on this database, whose
    /// file only its user can read; its processes had neither under any name.
    fn made_up_secrets(&self, database: &str) -> Result<Vec<String>> {
        let mut secrets = Vec::new();
        for (file, text, mode) in &self.configurations {
            // Others are provisioned at the same time.
            if !text.lines().any(|line| line == database) {
                continue;
            }
            assert_eq!(*mode, 0o600, "{}", file.display());
            assert!(!file.exists(), "{} is left over", file.display());
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
                line.map(|value| value.trim_end_matches('"').to_owned())
            };
            secrets.extend([
                value("registration_token").context("no registration_token")?,
                value("jwt_secret").context("no jwt_secret")?,
            ]);
            let named = file.to_string_lossy();
            for text in self.texts.iter().filter(|text| text.contains(&*named)) {
                let variables = ["_REGISTRATION_TOKEN=", "_JWT_SECRET="];
                assert!(!variables.iter().any(|variable| text.contains(variable)), "{text}");
            }
        }
        Ok(secrets)
    }
}

#[tokio::test]
async fn neither_the_process_list_nor_an_environment_shows_a_secret() -> Result<()> {
    let site = Site::new().await?;
    let config = site.declare(DECLARED)?;
    let done = Arc::new(AtomicBool::new(false));
    let watcher = Processes::watch(Arc::clone(&done));
    assert_eq!(site.provision(&config).await?.0, 0);
    done.store(true, Ordering::Relaxed);
    let seen = watcher.join().expect("the watcher does not panic");
    let config = config.display().to_string();
    assert!(seen.texts.iter().any(|text| text.contains(&config)), "provision was not seen");
    let bridge = fs::read_to_string(site.made().join("bridge-password"))?;
    let mut secrets = vec![
        site.password("alice")?,
        site.password("bob")?,
        "shared by the testbed".to_owned(),
        bridge.trim_end().to_owned(),
    ];
    if site.homeserver.kind() == HomeserverKind::Conduit {
        let text = fs::read_to_string(&config)?;
        let declared = text.lines().find_map(|line| line.strip_prefix("conduit = "));
        let declared = declared.context("no conduit")?.trim_matches('"');
        let declared = fs::read_to_string(declared)?;
        let database = declared.lines().find(|line| line.starts_with("database_path = "));
        let made_up = seen.made_up_secrets(database.context("no database_path")?)?;
        assert!(made_up.len() >= 2, "the homeserver's configuration was not seen");
        secrets.extend(made_up);
    }
    for text in seen.texts {
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn the_bridge_enters_no_room_that_a_stranger_invites_it_to() -> Result<()> {
    let site = Site::new().await?;
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let config = site.declare_for(&nats.url(), DECLARED)?;
    assert_eq!(site.provision(&config).await?.0, 0);
    let bob = site.log_in("bob").await?;
    let room = bob.join(ALIAS).await?;
    let text = fs::read_to_string(&config)?;
    let bridge = BridgeProcess::spawn(BINARY, &text, site.dir.path())?;
    let bot = "@bridge:testbed.localhost";
    let trap = bob.create_room(json!({ "preset": "private_chat", "invite": [bot] })).await?;
    let direct = bob
        .create_room(
            json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [bot] }),
        )
        .await?;
    nats.publish("ops.report", "while invited").await?;
    let mut reader = bob.reader(&room).await?;
    read_all(&mut reader, 1).await?;
    bridge.kill();
    nats.publish("ops.report", "after a restart").await?;
    let _bridge = BridgeProcess::spawn(BINARY, &text, site.dir.path())?;
    read_all(&mut reader, 2).await?;
    assert_eq!(site.provision(&config).await?.0, 0);
    for room in [&trap, &direct] {
        let member = bob.state(room, "m.room.member", bot).await?.unwrap_or_default();
        assert_eq!(member["membership"], "invite");
        assert!(bob.messages(room).await?.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn a_dry_run_tells_the_plan_and_changes_nothing() -> Result<()> {
    let site = Site::new().await?;
    let config = site.declare(DECLARED)?;
    let (code, text) = run(&config, &["provision", "--dry-run"])?;
    assert_eq!(code, 0, "{text}");
    assert_item(&text, "make", "user", "alice");
    assert_item(&text, "make", "user", "bridge, the bridge");
    assert_item(&text, "make", "room", "#ops");
    assert!(!site.made().join("passwords").exists(), "no password is made");

    assert_eq!(site.provision(&config).await?.0, 0);
    let changed = DECLARED.replace("Operations", "Ops") + "[users.carol]\n[rooms.lunch]\n";
    let config = site.declare(&changed)?;
    for _ in 0..2 {
        let (code, text) = run(&config, &["provision", "--dry-run"])?;
        assert_eq!(code, 0, "{text}");
        assert_item(&text, "found", "user", "alice");
        assert_item(&text, "make", "user", "carol");
        assert_item(&text, "change", "room", &format!("{ALIAS}: name"));
        assert_item(&text, "make", "room", "#lunch:");
    }
    let alice = site.log_in("alice").await?;
    assert_eq!(alice.resolve_alias("#lunch:testbed.localhost").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_password_is_rotated_in_its_file_and_ends_the_old_sessions() -> Result<()> {
    let site = Site::new().await?;
    let config = site.declare(DECLARED)?;
    assert_eq!(site.provision(&config).await?.0, 0);
    let before = site.log_in("alice").await?;
    let old = site.password("alice")?;
    let (code, text) = run(&config, &["provision", "--rotate", "alice", "--rotate", "bridge"])?;
    assert_eq!(code, 0, "{text}");
    assert_item(&text, "changed", "user", "alice: a new password");
    assert_item(&text, "changed", "user", "bridge: a new password; for the bridge to use it");
    let new = site.password("alice")?;
    assert_ne!(new, old);
    assert!(!text.contains(&new) && !text.contains(&old), "{text}");
    assert_eq!(fs::metadata(site.password_file("alice"))?.permissions().mode() & 0o777, 0o600);
    assert!(Account::login(&site.homeserver.url(), "alice", &old).await.is_err());
    assert!(before.joined_rooms().await.is_err(), "the old session is ended");
    let alice = site.log_in("alice").await?;
    assert_eq!(alice.devices().await?.len(), 1);
    assert_eq!(site.provision(&config).await?.0, 0, "the bridge's file is up to date");

    // Cut short after the homeserver took it, and before it was in its place.
    let file = site.password_file("alice");
    fs::rename(&file, file.with_extension("new"))?;
    fs::write(&file, &old)?;
    assert_eq!(run(&config, &["provision", "--rotate", "alice"])?.0, 0);
    assert_eq!(site.password("alice")?, new);

    let mut alice = site.log_in("alice").await?;
    alice.change_password("a password of her own").await?;
    let (code, text) = run(&config, &["provision", "--rotate", "alice"])?;
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("reset-password alice"), "{text}");
    assert_eq!(site.password("alice")?, new, "nothing is changed then");
    let (code, text) = run(&config, &["provision", "--rotate", "zoe"])?;
    assert_eq!((code, text.contains("zoe is neither one of [users]")), (64, true), "{text}");
    Ok(())
}

#[tokio::test]
async fn on_somebody_elses_homeserver_a_token_makes_the_rooms_and_stays_valid() -> Result<()> {
    let homeserver = shared_homeserver().await?;
    let (bot, alice) = (homeserver.account("bridge").await?, homeserver.account("alice").await?);
    let dir = ScratchDir::new("provision")?;
    let name = format!("ops-{}", bot.localpart());
    let config = dir.path().join("nats-matrix.toml");
    let login = format!("access_token = \"{}\"", bot.access_token);
    let room = format!("[rooms.{name}]\nname = \"Operations\"\ninvite = [\"{}\"]\n", alice.user_id);
    let text = elsewhere(&homeserver.url(), &login, &room);
    fs::write(&config, &text)?;
    let (code, said) = run(&config, &["provision"])?;
    assert_eq!(code, 0, "{said}");
    assert_item(&said, "found", "user", &format!("{}, the bridge", bot.user_id));
    assert_item(&said, "made", "room", &name);
    alice.join(&format!("#{name}:{}", homeserver.server_name())).await?;
    assert_eq!(bot.joined_rooms().await?.len(), 1, "the token is still valid");

    fs::write(&config, text + "[users.carol]\n")?;
    let (code, said) = run(&config, &["provision"])?;
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("users.carol: there is no way to create accounts"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() -> Result<()> {
    let homeserver = shared_homeserver().await?;
    let bot = homeserver.account("bridge").await?;
    let proxy = FaultProxy::start(&homeserver.url()).await?;
    let dir = ScratchDir::new("provision")?;
    let config = dir.path().join("nats-matrix.toml");
    fs::write(
        &config,
        elsewhere(
            &proxy.url(),
            &format!("user = \"{}\"\npassword = \"not the password\"", bot.localpart()),
            "[rooms.ops]\n",
        ),
    )?;
    for arguments in [&["provision"][..], &["connect"], &["provision", "--dry-run"]] {
        let before = proxy.requests_matching("/login").len();
        let config = config.clone();
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let (code, text) = tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            run(&config, &arguments)
        })
        .await??;
        assert_eq!(code, 77, "{text}");
        assert!(text.contains("refuses our login"), "{text}");
        assert!(!text.contains("not the password"), "a secret is printed: {text}");
        let logins = proxy.requests_matching("/login");
        let posted = logins[before..].iter().filter(|request| request.method == "POST").count();
        assert_eq!(posted, 1, "{logins:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_room_has_the_declared_picture_and_a_file_that_is_none_is_refused() -> Result<()> {
    let site = Site::new().await?;
    let picture = site.dir.path().join("ops.png");
    let png = b"\x89PNG\r\n\x1a\n and the rest";
    fs::write(&picture, png)?;
    let declared = |file: &str| format!("{DECLARED}avatar_file = \"{file}\"\n[rooms.lunch]\n");
    let config = site.declare(&declared("ops.png"))?;
    assert_eq!(site.provision(&config).await?.0, 0);
    let alice = site.log_in("alice").await?;
    let room = alice.join(ALIAS).await?;
    let avatar =
        async || alice.state(&room, "m.room.avatar", "").await.map(Option::unwrap_or_default);
    let first = avatar().await?;
    let url = first["url"].as_str().context("no avatar")?;
    assert_eq!(alice.download(url).await?, png);

    let (_, text) = site.provision(&config).await?;
    assert_item(&text, "found", "room", ALIAS);
    assert_eq!(avatar().await?, first, "the same picture is not uploaded again");
    fs::write(&picture, b"GIF89a another")?;
    let (_, text) = site.provision(&config).await?;
    assert_item(&text, "changed", "room", &format!("{ALIAS}: avatar"));

    fs::write(&picture, "no picture")?;
    let (code, text) = site.provision(&config).await?;
    assert_eq!(code, 64, "{text}");
    assert_item(&text, "FAIL", "room", "is not a picture that phones show");
    assert_item(&text, "found", "room", "#lunch:");
    Ok(())
}

#[tokio::test]
async fn an_account_that_is_there_with_another_password_is_said() -> Result<()> {
    let site = Site::new().await?;
    let config = site.declare(DECLARED)?;
    assert_eq!(site.provision(&config).await?.0, 0);
    let file = site.made().join("bridge-password");
    fs::remove_file(&file)?;
    let (code, text) = site.provision(&config).await?;
    assert_eq!(code, 77, "{text}");
    let what =
        "bridge, the bridge's account, exists already, but its password is missing: write it into ";
    assert_item(&text, "FAIL", "user", what);
    assert!(!file.exists(), "no password that is nobody's");
    fs::remove_file(site.password_file("alice"))?;
    let (_, text) = site.provision(&config).await?;
    assert_item(&text, "found", "user", "alice");
    assert!(!site.password_file("alice").exists(), "no password that is nobody's");
    Ok(())
}

#[tokio::test]
async fn a_password_that_everybody_can_read_or_write_is_said() -> Result<()> {
    let site = Site::new().await?;
    let config = site.declare("[users.alice]\n[users.bob]\n")?;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    fs::create_dir_all(site.made().join("passwords"))?;
    for dir in [site.dir.path(), &site.made(), &site.made().join("passwords")] {
        set(dir, 0o711)?;
    }
    for (file, mode) in [
        (site.password_file("alice"), 0o666),
        (site.password_file("bob"), 0o600),
        (site.made().join("bridge-password"), 0o644),
    ] {
        fs::write(&file, "somebody may know this\n")?;
        set(&file, mode)?;
    }
    let (code, text) = site.provision(&config).await?;
    assert_eq!(code, 64, "{text}");
    let what = "passwords/alice has mode 666, so every user of this machine can write it: put a new secret there and";
    assert!(text.lines().any(|line| line.starts_with("FAIL") && line.contains(what)), "{text}");
    assert_item(&text, "made", "user", "bob");
    assert_item(&text, "made", "user", "bridge, the bridge");
    let file = site.made().join("bridge-password");
    let what = format!("can read it: run chmod 600 {}", file.display());
    assert!(text.contains(&what) && text.contains("bridge-password has mode 644"), "{text}");

    for file in [&site.password_file("alice"), &file] {
        set(file, 0o600)?;
    }
    let (code, text) = site.provision(&config).await?;
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("has mode"), "{text}");
    assert_item(&text, "made", "user", "alice");
    Ok(())
}

#[tokio::test]
async fn a_room_that_a_stranger_made_is_not_taken_for_ours() -> Result<()> {
    let site = Site::new().await?;
    assert_eq!(site.provision(&site.declare("[users.alice]\n[users.bob]\n")?).await?.0, 0);
    let bob = site.log_in("bob").await?;
    let bot = "@bridge:testbed.localhost";
    let room = json!({ "preset": "private_chat", "room_alias_name": "ops", "invite": [bot] });
    let room = bob.create_room(room).await?;
    let declared =
        "[users.alice]\n[users.bob]\n[rooms.ops]\nname = \"Operations\"\ninvite = [\"alice\"]\n";
    let config = site.declare(declared)?;
    let (code, text) = site.provision(&config).await?;
    assert_eq!(code, 77, "{text}");
    assert_item(
        &text,
        "FAIL",
        "room",
        "was made by @bob:testbed.localhost, who can do anything there",
    );
    let member = bob.state(&room, "m.room.member", bot).await?.unwrap_or_default();
    assert_ne!(member["membership"], "join", "the bridge does not stay there");
    assert_eq!(bob.state(&room, "m.room.name", "").await?, None);

    // With everybody's consent.
    let adopted = site.declare(&(declared.to_owned() + "adopt = true\n"))?;
    let (code, text) = site.provision(&adopted).await?;
    assert_eq!(code, 77, "{text}");
    assert_item(&text, "FAIL", "room", ALIAS);
    bob.invite(&room, bot).await?;
    bob.set_power_level(&room, bot, 100).await?;
    let (code, text) = site.provision(&adopted).await?;
    assert_eq!(code, 0, "{text}");
    assert_item(&text, "changed", "room", "name");
    Ok(())
}

#[tokio::test]
async fn a_room_that_an_administrator_made_is_brought_to_what_is_declared() -> Result<()> {
    let site = Site::new().await?;
    let users = "[users.alice]\nadmin = true\n";
    assert_eq!(site.provision(&site.declare(users)?).await?.0, 0);
    let alice = site.log_in("alice").await?;
    let bot = "@bridge:testbed.localhost";
    for version in ["10", "12"] {
        let name = format!("ops{version}");
        let made = json!({
            "preset": "private_chat",
            "room_version": version,
            "room_alias_name": name,
            "invite": [bot],
            "power_level_content_override": { "users": { (bot): 100 } },
        });
        // Levels that are given replace those of the preset, which has the maker's until version 11.
        let mut made = made;
        if version == "10" {
            made["power_level_content_override"]["users"][&alice.user_id] = 100.into();
        }
        let room = alice.create_room(made).await?;
        let config = site.declare(&format!("{users}[rooms.{name}]\ntopic = \"Ours\"\n"))?;
        let (code, text) = site.provision(&config).await?;
        assert_eq!(code, 0, "version {version}: {text}");
        assert_item(&text, "changed", "room", "topic");
        assert!(
            alice
                .state(&room, "m.room.member", bot)
                .await?
                .is_some_and(|it| it["membership"] == "join")
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_declared_of_a_room_is_whoevers_it_is() -> Result<()> {
    let site = Site::new().await?;
    let config =
        site.declare("[users.alice]\nadmin = true\n[rooms.ops]\ninvite = [\"alice\"]\n")?;
    assert_eq!(site.provision(&config).await?.0, 0);
    let alice = site.log_in("alice").await?;
    let room = alice.join(ALIAS).await?;
    assert_eq!(alice.state(&room, "m.room.name", "").await?.unwrap_or_default()["name"], "ops");
    alice.set_state(&room, "m.room.name", "", json!({ "name": "Hers" })).await?;
    alice.set_state(&room, "m.room.topic", "", json!({ "topic": "Hers" })).await?;
    let mut levels = alice.state(&room, "m.room.power_levels", "").await?.unwrap_or_default();
    levels["events_default"] = 50.into();
    alice.set_state(&room, "m.room.power_levels", "", levels).await?;
    let (code, text) = site.provision(&config).await?;
    assert_eq!(code, 0, "{text}");
    assert_item(&text, "found", "room", ALIAS);
    Ok(())
}

#[tokio::test]
async fn who_cannot_be_invited_is_named_and_keeps_nobody_else_out() -> Result<()> {
    let site = Site::new().await?;
    let declared = DECLARED.replace("\"alice\", ", "\"@zoe:elsewhere.example\", \"alice\", ");
    let (code, text) = site.provision(&site.declare(&declared)?).await?;
    assert_eq!(code, 77, "{text}");
    assert_item(&text, "FAIL", "room", "cannot invite @zoe:elsewhere.example: the homeserver");
    assert_item(&text, "made", "room", ALIAS);
    for user in ["alice", "bob"] {
        site.log_in(user).await?.join(ALIAS).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_signal_ends_it_with_the_conduit_that_it_started() -> Result<()> {
    let site = Site::new().await?;
    let config = site.declare(DECLARED)?;
    if site.homeserver.kind().stops_for_provisioning() {
        site.homeserver.kill().await;
    }
    for wait in [50, 150, 300, 600] {
        let mut command = Command::new(BINARY);
        command.arg("provision").arg("--config").arg(&config);
        let mut process = BridgeProcess::spawn_command(&command, site.dir.path())?;
        sleep(Duration::from_millis(wait)).await;
        // The last ones may be done already.
        let _ = process.terminate();
        process.wait(PATIENCE).await?;
    }
    let (code, text) = site.provision(&config).await?;
    assert_eq!(code, 0, "nothing holds the database, and what was made is found: {text}");
    site.log_in("alice").await?.join(ALIAS).await?;
    Ok(())
}

#[tokio::test]
async fn a_homeserver_that_limits_logins_is_not_waited_for_in_silence() -> Result<()> {
    let homeserver = shared_homeserver().await?;
    let bot = homeserver.account("bridge").await?;
    let proxy = FaultProxy::start(&homeserver.url()).await?;
    proxy.inject(Fault::on("/login", FaultKind::rate_limited(Duration::from_mins(5))));
    let dir = ScratchDir::new("provision")?;
    let config = dir.path().join("nats-matrix.toml");
    let login = format!("user = \"{}\"\npassword = \"{}\"", bot.localpart(), bot.password);
    fs::write(&config, elsewhere(&proxy.url(), &login, "[rooms.ops]\n"))?;
    let (code, text) = tokio::task::spawn_blocking(move || run(&config, &["provision"])).await??;
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("asks us to slow down"), "{text}");
    assert_eq!(proxy.requests_matching("/login").len(), 1);
    Ok(())
}

#[tokio::test]
async fn connect_says_what_to_type_and_its_code_leads_to_the_room() -> Result<()> {
    let site = Site::new().await?;
    let config = site.declare(DECLARED)?;
    assert_eq!(site.provision(&config).await?.0, 0);
    let (code, text) = run(&config, &["connect"])?;
    assert_eq!(code, 0, "{text}");
    for wanted in [
        &format!("homeserver  {}\n", site.homeserver.url()),
        "user        alice (@alice:testbed.localhost)\n",
        &format!("password    sudo cat {}\n", site.password_file("alice").display()),
        "\nhttps://matrix.to/#/%23ops:testbed.localhost\n",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in:\n{text}");
    }
    assert!(!text.contains(&site.password("alice")?), "{text}");
    fs::remove_file(site.password_file("bob"))?;
    let (_, without) = run(&config, &["connect"])?;
    assert!(without.contains("password    the declared one, or the one chosen since"), "{without}");
    assert_eq!(scan(&text)?, "https://matrix.to/#/%23ops:testbed.localhost");
    Ok(())
}

/// Reads the QR code among lines of text, of which each has two rows, as a camera would.
fn scan(text: &str) -> Result<String> {
    let is_code = |line: &&str| line.chars().all(|each| " █▀▄".contains(each)) && line.len() > 20;
    let rows: Vec<Vec<char>> =
        text.lines().filter(is_code).map(|line| line.chars().collect()).collect();
    let width = rows.first().context("no code")?.len();
    let is_dark = |x: usize, y: usize| match (rows[y / 2][x], y % 2) {
        ('█', _) | ('▀', 0) | ('▄', 1) => 0,
        _ => 255,
    };
    let mut image =
        rqrr::PreparedImage::prepare_from_greyscale(width * 4, rows.len() * 2 * 4, |x, y| {
            is_dark(x / 4, y / 4)
        });
    let grids = image.detect_grids();
    Ok(grids.first().context("no code is seen")?.decode()?.1)
}

/// In a terminal the umask lets everybody read what a program makes.
#[tokio::test]
async fn a_database_that_it_makes_is_for_its_user_alone() -> Result<()> {
    let site = Site::new().await?;
    if !site.homeserver.kind().stops_for_provisioning() {
        return not_meant_for("homeservers that make accounts while they run");
    }
    let mode = |path: &Path| anyhow::Ok(fs::metadata(path)?.permissions().mode() & 0o777);
    let usual = site.dir.path().join("usual");
    fs::create_dir(&usual)?;
    ensure!(mode(&usual)? & 0o005 == 0o005, "the umask of the test hides the fault");
    let mut declared: toml::Table = site.homeserver.provisioning(&site.made())?.parse()?;
    let provision = declared["provision"].as_table_mut().context("no [provision]")?;
    let conduit = provision["conduit"].as_str().context("no conduit")?.to_owned();
    let mut settings: toml::Table = fs::read_to_string(conduit)?.parse()?;
    let database = site.dir.path().join("fresh");
    let global = settings["global"].as_table_mut().context("no [global]")?;
    global.insert("database_path".to_owned(), database.display().to_string().into());
    let conduit = site.dir.path().join("fresh.toml");
    fs::write(&conduit, toml::to_string(&settings)?)?;
    provision.insert("conduit".to_owned(), conduit.display().to_string().into());
    let state = site.dir.path().join("state");
    let sections = format!("{}{DECLARED}", toml::to_string(&declared)?);
    let url = site.homeserver.url();
    let config = BridgeConfig::declared("nats://127.0.0.1:1", &url, &state, &sections);
    let config = site.write(config.route("reports", "OPS", &["ops.>"], ALIAS).toml())?;
    let (code, text) = run(&config, &["provision"])?;
    assert_eq!(code, 0, "{text}");
    assert_eq!(mode(&database)?, 0o700, "{text}");
    fs::set_permissions(&database, fs::Permissions::from_mode(0o755))?;
    fs::set_permissions(site.dir.path(), fs::Permissions::from_mode(0o711))?;
    let (_, text) = run(&config, &["check"])?;
    assert!(text.contains("the homeserver's database_path: "), "{text}");
    Ok(())
}

#[tokio::test]
async fn what_conduit_cannot_do_is_said() -> Result<()> {
    let dir = ScratchDir::new("provision")?;
    let config = dir.path().join("nats-matrix.toml");
    let write = |provision: &str| {
        let section =
            format!("[provision]\nstate_dir = \"{}\"\n{provision}\n", dir.path().display());
        fs::write(&config, elsewhere("http://127.0.0.1:1", "user = \"bridge\"", &section))
    };
    fs::write(dir.path().join("empty"), "")?;
    fs::write(dir.path().join("conduit.toml"), "[global]\ndatabase_path = \"none\"\n")?;
    // As root we can make a directory that is not ours; else the root directory is one.
    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign)?;
    let foreign = match std::os::unix::fs::chown(&foreign, Some(65534), None) {
        Ok(()) => foreign,
        Err(_) => PathBuf::from("/"),
    };
    let foreign = format!("[global]\ndatabase_path = \"{}\"\n", foreign.display());
    fs::write(dir.path().join("foreign.toml"), foreign)?;
    for (provision, code, said) in [
        ("conduit = \"none.toml\"", 64, "none.toml: cannot be read: "),
        ("conduit = \"conduit.toml\"\nconduit_program = \"/no/conduit\"", 64, "cannot be started"),
        (
            "conduit = \"conduit.toml\"\nconduit_program = \"/bin/false\"",
            64,
            "ended while it started",
        ),
        ("conduit = \"foreign.toml\"", 64, "belongs to another user than the one that runs this"),
        ("conduit = \"empty\"", 64, "has no database_path"),
        (
            "registration_secret_file = \"none\"",
            64,
            "provision.registration_secret_file: cannot read",
        ),
        ("registration_secret_file = \"empty\"", 64, "empty is empty"),
    ] {
        write(provision)?;
        let (seen, text) = run(&config, &["provision"])?;
        assert_eq!(seen, code, "{provision}: {text}");
        assert!(text.contains(said), "{provision}: {text}");
    }
    Ok(())
}
