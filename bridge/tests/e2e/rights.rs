//! The accounts of `examples/nats-account.conf`, as users copy them: all that the bridge and the machines do works
//! there without one violation, and another user reads nothing and says nothing in their name, neither directly nor by
//! the place where they have NATS answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use async_nats::{
    Client, ConnectOptions, Event,
    jetstream::{consumer::pull::Config as PullConfig, stream::Config as StreamConfig},
};
use futures_util::{StreamExt, TryStreamExt};
use nats_matrix_testbed::{
    BridgeProcess, Event as Shown, Fault, FaultKind, FaultProxy, Nats, Reader, secrets,
};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    quiet::{alert, quiet, wait_until_held},
    scene::{BINARY, Config, PATIENCE, Scene, printed, read_all, shared_homeserver},
};

/// The very file that users copy, and the one that makes the same with `nsc`.
const ACCOUNT: &str = include_str!("../../examples/nats-account.conf");
const ACCOUNT_BY_NSC: &str = include_str!("../../examples/nats-account.sh");

/// The prefix by which machines and people reach the stream's account.
const DOMAIN: &str = "OPS";
const USERS: [&str; 6] = ["admin", "bridge", "listener", "server-01", "server-02", "alice"];

/// The seeds of the account's users.
struct Seeds(BTreeMap<&'static str, String>);

impl Seeds {
    fn of(&self, user: &str) -> &str {
        &self.0[user]
    }

    fn options(&self, user: &str) -> ConnectOptions {
        ConnectOptions::with_nkey(self.of(user).to_owned())
    }
}

/// A server with the accounts and with these lines in its configuration, and the keys of its users.
async fn account(lines: &str) -> Result<(Nats, Seeds)> {
    let mut builder = Nats::builder()
        .file("nats-account.conf", ACCOUNT)
        .config("include \"nats-account.conf\"")
        .config(lines);
    let mut seeds = BTreeMap::new();
    for user in USERS {
        let pair = KeyPair::new_user();
        let variable = format!("OPS_{}", user.to_uppercase().replace('-', "_"));
        builder = builder.environment(&variable, &pair.public_key());
        seeds.insert(user, pair.seed()?);
    }
    let seeds = Seeds(seeds);
    let admin = seeds.of("admin").to_owned();
    let nats = builder.client_options(move || ConnectOptions::with_nkey(admin.clone())).start();
    Ok((nats.await?, seeds))
}

/// A scene in the account. The stream allows direct access, as one that the nats command makes.
async fn scene() -> Result<(Scene, Seeds)> {
    let (nats, seeds) = account("").await?;
    let scene = Scene::with(shared_homeserver().await?, nats).await?;
    scene.nats.jetstream().await?.update_stream(stream()).await?;
    Ok((scene, seeds))
}

fn stream() -> StreamConfig {
    StreamConfig {
        name: "OPS".to_owned(),
        subjects: vec!["ops.>".to_owned()],
        allow_direct: true,
        ..Default::default()
    }
}

/// A machine of the account publishes.
async fn publish(scene: &Scene, seeds: &Seeds, host: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(BINARY);
    command.args(arguments).args(["--server", &scene.nats.url(), "--spool"]).arg(spool(scene));
    command
        .env("NATS_MATRIX__PUBLISH__HOST", host)
        .env("NATS_MATRIX__NATS__NKEY_SEED", seeds.of(host))
        .env("NATS_MATRIX__NATS__JETSTREAM_DOMAIN", DOMAIN);
    let mut kept = secrets::expect(command.as_std());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    secrets::none_in_output(&output, &mut kept);
    let said = printed(&output);
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

fn spool(scene: &Scene) -> std::path::PathBuf {
    scene.dir.path().join("spool")
}

/// Asserts that neither the bridge, which logged this, nor NATS speaks of a right that is missing.
pub(crate) async fn assert_no_violation(scene: &Scene, logs: &str) {
    for log in [logs, &scene.nats.log().await] {
        let violations = log.lines().filter(|line| line.to_lowercase().contains("violation"));
        assert_eq!(violations.collect::<Vec<_>>(), [""; 0], "{log}");
    }
}

/// Has a bridge post a digest, continue the conversation of an alert over a kill, and keep a dead letter. Returns the
/// bridge that runs at the end, and the log of the one before.
pub(crate) async fn digest_conversation_and_dead_letter(
    scene: &Scene,
    config: &Config,
    proxy: &FaultProxy,
    reader: &mut Reader,
) -> Result<(BridgeProcess, String)> {
    // A digest, and the conversation of an alert over a kill.
    let many = vec![alert("warning", "s", "firing"); 30];
    scene.nats.publish_many("ops.alert.server-01", many).await?;
    let first = scene.start(config)?;
    reader.wait_for(2, PATIENCE).await.with_context(|| first.logs())?;
    let logs = first.logs();
    first.kill();
    let second = scene.start(config)?;
    scene.nats.publish("ops.alert.server-01", alert("warning", "s", "resolved")).await?;
    let events = reader.wait_for(3, PATIENCE).await.with_context(|| second.logs())?;
    let shown = events[0].event_id.clone();
    assert_eq!(events[2].content["m.relates_to"]["event_id"], shown.as_str());

    // A dead letter.
    let answer = json!({ "errcode": "M_BAD_JSON", "error": "M_BAD_JSON: no" });
    proxy.inject(Fault::on("/send/", FaultKind::respond(400, answer)).times(1));
    scene.nats.publish("ops.report.server-01", "dead").await?;
    let dead = |event: &Shown| event.body().contains("400 M_BAD_JSON no.");
    reader.wait_until(|events| events.iter().any(dead), PATIENCE).await?;
    let letters = scene.nats.jetstream().await?.get_stream("NATS_MATRIX_DEAD_LETTERS").await?;
    assert_eq!(letters.cached_info().state.messages, 1);
    Ok((second, logs))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_the_bridge_and_machines_do_works_in_the_account_of_the_example() -> Result<()> {
    let (scene, seeds) = scene().await?;
    let (proxy, config) = scene.through_proxy().await?;
    let mut config = config.digests(20).nats(&format!("nkey_seed = \"{}\"", seeds.of("bridge")));
    config.routes.push_str("summary = { every = \"day\" }\n");
    // On another thread than the proxy, which they wait for.
    let run = |subcommand: &str| -> Result<String> {
        let output = tokio::task::block_in_place(|| scene.run(&config, &[subcommand]))?;
        let said = printed(&output);
        ensure!(output.status.success(), "{said}");
        Ok(said)
    };
    assert!(run("check")?.contains("connected to nats-server"));
    let mut reader = scene.reader().await?;

    let (second, mut logs) =
        digest_conversation_and_dead_letter(&scene, &config, &proxy, &mut reader).await?;

    machines_publish(&scene, &seeds).await?;
    let late = |event: &Shown| event.body().contains("last of server-01");
    reader.wait_until(|events| events.iter().any(late), PATIENCE).await?;
    assert!(run("check")?.contains("connected to nats-server"));
    let summary = run("summary")?;
    assert!(summary.contains("2 reports from 1 host"), "{summary}");
    logs += &second.logs();
    second.kill();

    // Quiet hours, and what they have held back when they are taken away.
    let mut at_night = config.clone();
    at_night.routes.push_str(&quiet());
    let mut third = scene.start(&at_night)?;
    third.wait_for_log("posting into", PATIENCE).await?;
    scene.nats.publish("ops.alert.server-01", alert("warning", "at night", "firing")).await?;
    wait_until_held(&scene, 1).await.with_context(|| third.logs())?;
    logs += &third.logs();
    third.kill();
    let fourth = scene.start(&config)?;
    let morning = |event: &Shown| event.body().contains("at night");
    reader
        .wait_until(|events| events.iter().any(morning), PATIENCE)
        .await
        .with_context(|| fourth.logs())?;
    logs += &fourth.logs();
    assert_no_violation(&scene, &logs).await;
    Ok(())
}

/// A report, an alert that waits while NATS is away, and nothing twice after that.
async fn machines_publish(scene: &Scene, seeds: &Seeds) -> Result<()> {
    let alert = |summary| ["alert", "--severity", "info", "--summary", summary];
    let said = publish(scene, seeds, "server-01", &["report"]).await?;
    assert!(said.contains("ops.report.server-01: stored in OPS"), "{said}");
    scene.nats.kill().await;
    let waits = [&alert("of server-01 while NATS was away")[..], &["--timeout", "1s"]].concat();
    let said = publish(scene, seeds, "server-01", &waits).await?;
    assert!(said.contains("kept as"), "{said}");
    // One that is older than a minute is looked for before it is sent.
    let waiting = spool(scene).join("0000000001.json");
    let mut message: Value = serde_json::from_slice(&fs::read(&waiting)?)?;
    message["time"] = json!("2026-01-01T00:00:00Z");
    fs::write(&waiting, message.to_string())?;
    let copy = fs::read(&waiting)?;
    scene.nats.restart().await?;
    publish(scene, seeds, "server-01", &["report"]).await?;
    // As if its acknowledgement had been lost.
    fs::write(&waiting, copy)?;
    publish(scene, seeds, "server-01", &alert("last of server-01")).await?;
    let mut stream = scene.nats.jetstream().await?.get_stream("OPS").await?;
    let last = stream.info().await?.state.last_sequence;
    let mut alerts = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await?;
        if let Ok(payload) = serde_json::from_slice::<Value>(&message.payload)
            && let Some(summary) =
                payload["summary"].as_str().filter(|text| text.contains("server"))
        {
            alerts.push(summary.to_owned());
        }
    }
    assert_eq!(alerts, ["of server-01 while NATS was away", "last of server-01"]);
    Ok(())
}

/// A connection of somebody's, and what the server does not let it do.
struct Somebody {
    client: Client,
    denied: Arc<Mutex<Vec<String>>>,
    /// The number of messages that came, on whatever it has asked for.
    received: Arc<AtomicUsize>,
}

impl Somebody {
    async fn connect(nats: &Nats, options: ConnectOptions, inbox: &str) -> Result<Self> {
        let denied = Arc::<Mutex<Vec<String>>>::default();
        let note = Arc::clone(&denied);
        let options = options.custom_inbox_prefix(inbox).event_callback(move |event| {
            if let Event::ServerError(error) = event {
                note.lock().unwrap().push(error.to_string().to_lowercase());
            }
            std::future::ready(())
        });
        let client = nats.client_with(options).await?;
        Ok(Self { client, denied, received: Arc::default() })
    }

    async fn listen(&self, subject: &str) -> Result<()> {
        let mut messages = self.client.subscribe(subject.to_owned()).await?;
        let received = Arc::clone(&self.received);
        tokio::spawn(async move {
            while messages.next().await.is_some() {
                received.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(())
    }

    /// Publishes with an address for an answer.
    async fn say(&self, subject: &str, payload: &str) -> Result<()> {
        self.has_answered(subject, payload, &self.client.new_inbox()).await
    }

    /// Publishes and has NATS send the answer to a subject of our choice.
    async fn has_answered(&self, subject: &str, payload: &str, to: &str) -> Result<()> {
        let (subject, to) = (subject.to_owned(), to.to_owned());
        self.client.publish_with_reply(subject, to, payload.to_owned().into()).await?;
        Ok(())
    }

    /// Waits until the server has denied each of these.
    async fn is_denied(&self, kind: &str, subjects: &[String]) -> Result<()> {
        let missing = || {
            let denied = self.denied.lock().unwrap().join("\n");
            let words = |subject: &String| format!("{kind} to \"{}\"", subject.to_lowercase());
            let mut missing = subjects.to_vec();
            missing.retain(|subject| !denied.contains(&words(subject)));
            missing
        };
        for _ in 0..100 {
            if missing().is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("not denied: {kind} {:?}", missing())
    }
}

fn owned(subjects: &[&str]) -> Vec<String> {
    subjects.iter().map(|&subject| subject.to_owned()).collect()
}

/// The subjects on which others are answered, or speak.
const OTHERS: [&str; 13] = [
    ">",
    "*.>",
    "_INBOX.>",
    "_INBOX_nats-matrix.>",
    "_INBOX_nats-matrix-publish.>",
    "_INBOX_nats-matrix-publish.server-01.>",
    "_INBOX_alice.>",
    "ops.>",
    "ops.report.server-01",
    "nats-matrix.>",
    "$JS.>",
    "$JS.ACK.>",
    "$KV.>",
];

/// Requests that would read, change or speak for somebody else.
const DEEDS: [(&str, &str); 24] = [
    ("ops.report.server-01", "forged"),
    ("ops.alert.server-01", "forged"),
    ("ops.backup", "forged"),
    ("nats-matrix.held.reports.0.0.1", "forged"),
    ("nats-matrix.dead-letter.reports", "forged"),
    ("$KV.nats-matrix-alerts.a", "{}"),
    ("$JS.ACK.OPS.reports.1.1.1.1.0", "+TERM"),
    ("$JS.ACK.OPS.reports.1.2.2.1.0", ""),
    ("$JS.API.INFO", ""),
    ("$JS.API.STREAM.LIST", ""),
    ("$JS.API.STREAM.INFO.OPS", ""),
    ("$JS.API.STREAM.MSG.GET.OPS", "{\"seq\":1}"),
    ("$JS.API.STREAM.MSG.DELETE.OPS", "{\"seq\":1}"),
    ("$JS.API.STREAM.PURGE.OPS", ""),
    ("$JS.API.STREAM.DELETE.OPS", ""),
    ("$JS.API.STREAM.CREATE.MINE", "{\"name\":\"MINE\",\"sources\":[{\"name\":\"OPS\"}]}"),
    ("$JS.API.DIRECT.GET.OPS", "{\"seq\":1}"),
    ("$JS.API.DIRECT.GET.OPS.ops.report.server-01", ""),
    ("$JS.OPS.API.DIRECT.GET.OPS.ops.report.server-01", ""),
    ("$JS.OPS.API.STREAM.DELETE.OPS", ""),
    ("$JS.API.DIRECT.GET.KV_nats-matrix-alerts.$KV.nats-matrix-alerts.a", ""),
    (
        "$JS.API.CONSUMER.CREATE.OPS.mine",
        "{\"stream_name\":\"OPS\",\"config\":{\"name\":\"mine\"}}",
    ),
    ("$JS.API.CONSUMER.MSG.NEXT.OPS.reports", "{\"batch\":10}"),
    ("$JS.API.CONSUMER.DELETE.OPS.reports", ""),
];

#[tokio::test]
async fn another_machine_reads_nothing_and_says_nothing_in_the_name_of_others() -> Result<()> {
    let (scene, seeds) = scene().await?;
    let nats = &scene.nats;
    let inbox = "_INBOX_nats-matrix-publish.server-02";
    let other = Somebody::connect(nats, seeds.options("server-02"), inbox).await?;
    for subject in OTHERS {
        other.listen(subject).await?;
    }
    other.listen(&format!("{inbox}.>")).await?;
    other.is_denied("subscription", &owned(&OTHERS)).await?;
    // One whom nobody has restricted hears what is delivered, so there is something to hear.
    let admin = Somebody::connect(nats, seeds.options("admin"), "_INBOX_admin").await?;
    admin.listen("_INBOX_nats-matrix.>").await?;
    admin.client.flush().await?;

    let config = scene.config().nats(&format!("nkey_seed = \"{}\"", seeds.of("bridge")));
    let bridge = scene.start(&config)?;
    for number in 1..=3 {
        let summary = format!("number {number}");
        let alert = ["alert", "--severity", "warning", "--summary", &summary];
        publish(&scene, &seeds, "server-01", &alert).await?;
        for (subject, payload) in DEEDS {
            other.say(subject, payload).await?;
        }
    }
    let deeds: Vec<String> = DEEDS.iter().map(|(subject, _)| (*subject).to_owned()).collect();
    other.is_denied("publish", &deeds).await?;
    let mut reader = scene.reader().await?;
    reader.wait_for(3, PATIENCE).await.with_context(|| bridge.logs())?;
    assert_eq!(other.received.load(Ordering::SeqCst), 0);
    assert!(admin.received.load(Ordering::SeqCst) > 3);

    // And yet it may do its own work.
    publish(&scene, &seeds, "server-02", &["alert", "--severity", "info", "--summary", "own"])
        .await?;
    let events = read_all(&mut reader, 4).await.with_context(|| bridge.logs())?;
    let first: Vec<_> = events.iter().filter_map(|event| event.body().lines().next()).collect();
    let number = |number: u8| format!("🟠 WARNING: number {number}");
    assert_eq!(first, [&number(1), &number(2), &number(3), "🔵 INFO: own"]);
    Ok(())
}

#[tokio::test]
async fn people_see_what_is_published_and_change_nothing() -> Result<()> {
    let (scene, seeds) = scene().await?;
    let alice = Somebody::connect(&scene.nats, seeds.options("alice"), "_INBOX_alice").await?;
    let listener = Somebody::connect(&scene.nats, seeds.options("listener"), "_INBOX_l").await?;
    listener.listen("ops.>").await?;
    listener.client.flush().await?;
    publish(&scene, &seeds, "server-01", &["report"]).await?;
    let jetstream = async_nats::jetstream::with_domain(alice.client.clone(), DOMAIN);
    let stream = jetstream.get_stream("OPS").await?;
    let report: Value = serde_json::from_slice(&stream.get_raw_message(1).await?.payload)?;
    assert_eq!(report["host"], "server-01");
    for somebody in [&alice, &listener] {
        assert_eq!(somebody.denied.lock().unwrap().as_slice(), [""; 0]);
        let subscriptions = ["_INBOX.>", "_INBOX_nats-matrix.>", "$JS.>", "$KV.>", "nats-matrix.>"];
        for subject in subscriptions {
            somebody.listen(subject).await?;
        }
        somebody.is_denied("subscription", &owned(&subscriptions)).await?;
        for (subject, payload) in DEEDS {
            somebody.say(subject, payload).await?;
        }
        let deeds: Vec<String> = DEEDS.iter().map(|(subject, _)| (*subject).to_owned()).collect();
        somebody.is_denied("publish", &deeds).await?;
    }
    // By which an answer could be asked for.
    listener.say("$JS.API.STREAM.NAMES", "").await?;
    listener.is_denied("publish", &owned(&["$JS.API.STREAM.NAMES"])).await?;
    assert_eq!(alice.received.load(Ordering::SeqCst), 0);
    assert_eq!(listener.received.load(Ordering::SeqCst), 1);
    Ok(())
}

/// Orders that NATS can be given by an answer: the subject, and the text, which a machine has NATS read from its own
/// message.
/// NATS itself refuses answers to `$JS.ACK.>`.
const ORDERS: [(&str, &str); 11] = [
    ("$JS.API.STREAM.MSG.DELETE.OPS", "{\"seq\":1}"),
    ("$JS.API.STREAM.UPDATE.OPS", "{\"name\":\"OPS\",\"subjects\":[\"ops.report.*\"]}"),
    ("$JS.API.STREAM.CREATE.MINE", "{\"name\":\"MINE\",\"sources\":[{\"name\":\"OPS\"}]}"),
    ("$JS.API.CONSUMER.DELETE.OPS.reports", ""),
    (
        "$JS.API.CONSUMER.CREATE.OPS.mine",
        "{\"stream_name\":\"OPS\",\"config\":{\"name\":\"mine\",\"deliver_subject\":\
         \"_INBOX_nats-matrix-publish.server-02.mine\"}}",
    ),
    ("$JS.OPS.API.STREAM.DELETE.OPS", ""),
    ("$JS.OPS.API.DIRECT.GET.OPS.ops.report.server-01", ""),
    ("ops.alert.server-01", "{\"severity\":\"critical\",\"summary\":\"forged\"}"),
    ("ops.report.server-01", "forged"),
    ("$JS.API.STREAM.PURGE.OPS", ""),
    ("$JS.API.STREAM.DELETE.OPS", ""),
];

/// The state of the stream's account, as text to compare: streams with their subjects and how many messages
/// these have, and the consumer of a route.
async fn of_others(nats: &Nats, own: &str) -> Result<String> {
    let jetstream = nats.jetstream().await?;
    let names: BTreeSet<String> = jetstream.stream_names().try_collect().await?;
    let mut text = String::new();
    for name in names {
        let stream = jetstream.get_stream(&name).await?;
        let held: BTreeMap<String, usize> =
            stream.info_with_subjects(">").await?.try_collect().await?;
        let held: Vec<_> = held.iter().filter(|(subject, _)| *subject != own).collect();
        let info = stream.get_info().await?;
        let (taken, consumers) = (&info.config.subjects, info.state.consumer_count);
        writeln!(text, "{name} takes {taken:?}, holds {held:?}, has {consumers} consumers")?;
    }
    let reports: Value = jetstream.request("CONSUMER.INFO.OPS.reports", &()).await?;
    writeln!(text, "reports: {} {}", reports["delivered"], reports["error"])?;
    Ok(text)
}

/// Tries each of these ways, with this text or that of the order, and has NATS answer where
/// an order would have an effect.
async fn effects(
    nats: &Nats,
    somebody: &Somebody,
    own: &str,
    ways: &[(&str, Option<&str>)],
) -> Result<Vec<String>> {
    let reports = PullConfig { durable_name: Some("reports".to_owned()), ..Default::default() };
    let jetstream = nats.jetstream().await?;
    let mut effects = Vec::new();
    for (to, text) in ORDERS {
        for (way, payload) in ways {
            // The order before may have changed the stream or the consumer.
            jetstream.create_or_update_stream(stream()).await?;
            jetstream.create_consumer_on_stream(reports.clone(), "OPS").await?;
            nats.publish("ops.report.server-01", "of another").await?;
            nats.publish(own, text).await?;
            let before = of_others(nats, own).await?;
            somebody.has_answered(way, payload.unwrap_or(text), to).await?;
            somebody.client.flush().await?;
            // An order that is obeyed is so at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let after = of_others(nats, own).await?;
            if after != before {
                effects.push(format!("{way}, answered to {to}"));
            }
        }
    }
    Ok(effects)
}

/// Sees that neither a machine nor a person has NATS do something by where they have it answer.
async fn assert_answers_are_harmless(nats: &Nats, seeds: &Seeds) -> Result<()> {
    let inbox = "_INBOX_nats-matrix-publish.server-02";
    let machine = Somebody::connect(nats, seeds.options("server-02"), inbox).await?;
    let alice = Somebody::connect(nats, seeds.options("alice"), "_INBOX_alice").await?;
    let own = "ops.report.server-02";
    let ways = [
        (own, None),
        // A text here is the message that is published first.
        ("$JS.API.DIRECT.GET.OPS.ops.report.server-02", Some("")),
        ("$JS.OPS.API.DIRECT.GET.OPS.ops.report.server-02", Some("")),
        ("$JS.API.STREAM.NAMES", Some("")),
        ("$JS.OPS.API.STREAM.NAMES", Some("")),
    ];
    let mut seen = effects(nats, &machine, own, &ways).await?;
    let ways = [
        ("$JS.API.STREAM.MSG.GET.OPS", Some("{\"seq\":1}")),
        ("$JS.OPS.API.STREAM.MSG.GET.OPS", Some("{\"seq\":1}")),
        ("$JS.API.STREAM.INFO.OPS", Some("")),
        ("$JS.OPS.API.STREAM.INFO.OPS", Some("")),
        ("$JS.API.CONSUMER.INFO.OPS.reports", Some("")),
        ("$JS.OPS.API.CONSUMER.INFO.OPS.reports", Some("")),
    ];
    seen.extend(effects(nats, &alice, own, &ways).await?);
    assert_eq!(seen, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn nobody_has_nats_do_something_by_where_they_have_it_answer() -> Result<()> {
    let (nats, seeds) = account("").await?;
    assert_answers_are_harmless(&nats, &seeds).await
}

/// Servers before 2.12, and later ones that are told so, obey orders that have more in them than they know.
#[tokio::test]
async fn nor_if_the_server_is_lenient() -> Result<()> {
    let (nats, seeds) = account("jetstream { store_dir: \"lenient\", strict: false }").await?;
    assert_answers_are_harmless(&nats, &seeds).await
}

/// The rights of each user: subscriptions, publishing, and what they may not publish.
type Rights = BTreeMap<String, [Vec<String>; 3]>;

/// Each account with what is written of it.
fn accounts_of_the_configuration() -> impl Iterator<Item = (&'static str, &'static str)> {
    ["OPS", "MACHINES", "PEOPLE"].into_iter().map(|name| {
        let (_, text) =
            ACCOUNT.split_once(&format!("\n  {name} {{\n")).expect("the account is there");
        (name, text.split("\n  }\n").next().unwrap_or_default())
    })
}

/// The services that an account has of another one: who, which subject, and by which name.
type Imports = BTreeSet<(String, String, String)>;

/// The exports of OPS, and what others import of them.
fn imports_of_the_configuration() -> [Imports; 2] {
    let quoted = |line: &str, key: &str| {
        let value = line.split_once(&format!("{key}: \""))?.1.split_once('"')?.0;
        Some(value.to_owned())
    };
    let (mut exports, mut imports) = (Imports::new(), Imports::new());
    for (account, text) in accounts_of_the_configuration() {
        for line in text.lines() {
            if let Some(subject) = quoted(line, "service") {
                let (_, to) = line.split_once("accounts: [").expect("it is for some accounts only");
                for to in to.split(']').next().unwrap_or_default().split(", ") {
                    exports.insert((to.to_owned(), subject.clone(), String::new()));
                }
            } else if let Some(subject) = quoted(line, "account: OPS, subject") {
                let name = quoted(line, "to").unwrap_or_else(|| subject.clone());
                imports.insert((account.to_owned(), subject, name));
            }
        }
    }
    [exports, imports]
}

fn imports_of_nsc() -> Imports {
    let lines = |verb| {
        let lines = ACCOUNT_BY_NSC.lines().filter(move |line| line.starts_with(verb));
        lines.map(|line| -> Vec<String> {
            line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
        })
    };
    let offered: BTreeSet<String> = lines("offer '").map(|offer| offer[1].clone()).collect();
    let given = ["give MACHINES", "give PEOPLE"].into_iter().flat_map(lines).map(|given| {
        assert!(offered.contains(&given[2]), "{given:?}");
        (given[1].clone(), given[2].clone(), given.get(3).unwrap_or(&given[2]).clone())
    });
    given.collect()
}

fn rights_of_the_configuration() -> Rights {
    let users = accounts_of_the_configuration().flat_map(|(account, text)| {
        text.split("nkey: $OPS_").skip(1).map(move |user| (account, user))
    });
    let rights = users.map(|(account, user)| {
        let name = user.split_whitespace().next().unwrap_or_default();
        let list = |key: &str| {
            let (_, list) = user.split_once(&format!("{key}: [")).unwrap_or_default();
            let list = list.split_once(']').unwrap_or_default().0;
            let lines = list.lines().map(str::trim).filter(|line| line.starts_with('"'));
            let mut list: Vec<_> = lines.map(|line| line.trim_matches('"').to_owned()).collect();
            list.sort();
            list
        };
        (
            format!("{account} {}", name.to_lowercase().replace('_', "-")),
            [list("subscribe"), list("publish"), list("deny")],
        )
    });
    rights.collect()
}

fn rights_of_nsc() -> Rights {
    let users = ACCOUNT_BY_NSC.split("nsc add user --account ").skip(1);
    let rights = users.map(|user| {
        // The text after the last user is about accounts.
        let user = user.split("\n\n").next().unwrap_or_default();
        let mut words = user.split_whitespace().filter(|word| *word != "\\");
        let account = words.next().unwrap_or_default();
        assert_eq!(words.next(), Some("--name"));
        let name = format!("{account} {}", words.next().unwrap_or_default());
        let mut rights = [const { Vec::new() }; 3];
        while let (Some(option), Some(subject)) = (words.next(), words.next()) {
            let kinds = ["--allow-sub", "--allow-pub", "--deny-pub"];
            let kind = kinds.iter().position(|kind| *kind == option);
            let kind = kind.unwrap_or_else(|| panic!("{option}"));
            // The shell would take the dollars for its own.
            let plain = subject.strip_prefix('\'').and_then(|subject| subject.strip_suffix('\''));
            rights[kind].push(plain.unwrap_or_else(|| panic!("{subject}")).to_owned());
        }
        for list in &mut rights {
            list.sort();
        }
        (name, rights)
    });
    rights.collect()
}

#[test]
fn nsc_gives_the_same_rights() {
    let rights = rights_of_the_configuration();
    let machines = ["MACHINES server-01", "MACHINES server-02"];
    let users = ["OPS admin", "OPS bridge", "OPS listener", "PEOPLE alice"];
    assert_eq!(rights.keys().collect::<Vec<_>>(), [&machines[..], &users[..]].concat());
    assert!(rights["OPS bridge"][1].len() > 20 && rights[machines[0]][0].len() == 1);
    assert_eq!(rights["OPS listener"][2], [">"]);
    assert_eq!(rights_of_nsc(), rights);
    let [exports, imports] = imports_of_the_configuration();
    assert!(imports.len() > 10, "{imports:?}");
    assert_eq!(imports_of_nsc(), imports);
    let offered = imports.into_iter().map(|(to, subject, _)| (to, subject, String::new()));
    assert_eq!(exports, offered.collect::<Imports>());
}

/// A server where everybody may listen only where clients do that ask for no inbox of their own.
async fn with_common_inboxes() -> Result<Nats> {
    Nats::builder()
        .config(
            "authorization { users: [ { user: admin, password: a }, { user: bridge, password: \
             only-the-bridge-knows, permissions: { subscribe: \"_INBOX.>\" } } ] }",
        )
        .client_options(|| ConnectOptions::with_user_and_password("admin".into(), "a".into()))
        .start()
        .await
}

#[tokio::test]
async fn an_inbox_that_is_not_permitted_is_named() -> Result<()> {
    let scene = Scene::with(shared_homeserver().await?, with_common_inboxes().await?).await?;
    let config: Config = scene.config().nats(crate::connections::LOGIN);
    let words = "NATS does not let us subscribe to _INBOX_nats-matrix.>";
    let mut bridge = scene.start(&config)?;
    assert_eq!(bridge.wait(PATIENCE).await?, 77, "{}", bridge.logs());
    let log = bridge.logs();
    assert!(log.contains(words) && log.contains("set nats.inbox_prefix"), "{log}");
    for arguments in [["check"], ["summary"]] {
        let output = scene.run(&config, &arguments)?;
        let said = printed(&output);
        assert!(output.status.code() == Some(77) && said.contains(words), "{said}");
    }
    let mut command = Command::new(BINARY);
    command.args(["report", "--server", &scene.nats.url(), "--spool"]).arg(spool(&scene));
    command.env("NATS_MATRIX__PUBLISH__HOST", "db.example.com");
    command.env("NATS_MATRIX__NATS__USER", "bridge");
    command.env("NATS_MATRIX__NATS__PASSWORD", "only-the-bridge-knows");
    let said = command.stdin(Stdio::null()).output().await?;
    let errors = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(77), "{errors}");
    assert!(
        errors.contains("subscribe to _INBOX_nats-matrix-publish.db-example-com.>"),
        "{errors}"
    );
    assert!(Path::new(&spool(&scene)).join("0000000001.json").exists(), "{errors}");

    // As it was before the bridge had inboxes of its own.
    let bridge = scene.start(&config.nats("inbox_prefix = \"_INBOX\""))?;
    scene.nats.publish("ops.x", "hello").await?;
    let mut reader = scene.reader().await?;
    // The report was stored, only nobody was told.
    let events = read_all(&mut reader, 2).await.with_context(|| bridge.logs())?;
    assert!(events[0].body().contains("db.example.com"), "{}", events[0].body());
    assert_eq!(events[1].said(), "hello");
    Ok(())
}
