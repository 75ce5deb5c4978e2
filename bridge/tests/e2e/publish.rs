//! `nats-matrix report` and `nats-matrix alert`: what is published arrives, once and in order, whatever happens
//! to NATS or to them.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::future;
use nats_matrix_testbed::{Nats, ScratchDir, secrets};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::scene::{BINARY, PATIENCE, Scene, read_all};

/// A machine that publishes, with a spool of its own.
struct Node {
    dir: ScratchDir,
    server: String,
}

impl Node {
    fn new(server: &str) -> Result<Self> {
        Ok(Self { dir: ScratchDir::new("publish")?, server: server.to_owned() })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).args(["--server", &self.server, "--spool"]).arg(self.spool());
        command.env("NATS_MATRIX__PUBLISH__HOST", "node-1").stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Result<Said> {
        said(self.command(arguments)).await
    }

    /// An alert with this summary, tried for a second where there is no NATS.
    async fn alert(&self, summary: &str) -> Result<Said> {
        self.run(&["alert", "--severity", "info", "--summary", summary, "--timeout", "1s"]).await
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    /// The messages that wait.
    fn waiting(&self) -> Result<Vec<PathBuf>> {
        let mut waiting: Vec<PathBuf> =
            fs::read_dir(self.spool())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        waiting.retain(|path| path.extension().is_some_and(|kind| kind == "json"));
        waiting.sort();
        Ok(waiting)
    }
}

/// The output of a call, and how it ended.
struct Said(Output);

async fn said(mut command: Command) -> Result<Said> {
    let mut kept = secrets::expect(command.as_std());
    let output = command.output().await?;
    secrets::none_in_output(&output, &mut kept);
    Ok(Said(output))
}

impl Said {
    fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    fn errors(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    fn is(&self, code: i32, words: &[&str]) {
        let errors = self.errors();
        assert_eq!(self.code(), code, "{errors}");
        for word in words {
            assert!(errors.contains(word), "no \"{word}\" in: {errors}");
        }
    }
}

/// Makes what waits as if it had been made long ago.
fn grow_old(node: &Node) -> Result<()> {
    for path in node.waiting()? {
        let mut message: Value = serde_json::from_slice(&fs::read(&path)?)?;
        message["time"] = "2026-01-01T00:00:00Z".into();
        fs::write(path, message.to_string())?;
    }
    Ok(())
}

/// The summaries in stream OPS, in order.
pub(crate) async fn stored(nats: &Nats) -> Result<Vec<String>> {
    let mut stream = nats.jetstream().await?.get_stream("OPS").await?;
    let last = stream.info().await?.state.last_sequence;
    let mut stored = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await?;
        let payload: Value = serde_json::from_slice(&message.payload)?;
        stored.push(payload["summary"].as_str().context("no summary")?.to_owned());
    }
    Ok(stored)
}

/// Stands in front of NATS and keeps acknowledgements of JetStream to itself.
async fn without_acks(nats: &Nats) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let port = nats.port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let ((mut near_read, near_write), (far_read, mut far_write)) =
                (near.into_split(), far.into_split());
            tokio::spawn(async move { copy(&mut near_read, &mut far_write).await });
            tokio::spawn(until_ack(far_read, near_write));
        }
    });
    Ok(address)
}

async fn until_ack(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if String::from_utf8_lossy(&buffer[..length]).contains("\"stream\":") {
            return future::pending().await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_machine_reports_itself_and_an_alert_makes_the_phone_buzz() -> Result<()> {
    let scene = Scene::new().await?;
    let node = Node::new(&scene.nats.url())?;
    let _bridge = scene.start(&scene.config())?;
    let report =
        ["report", "--completed", "Backup", "--completed", "SSL renewal", "--in-progress", "Index"];
    let said = node.run(&[&report[..], &["--satisfaction", "3"]].concat()).await?;
    said.is(0, &[]);
    let line = String::from_utf8_lossy(&said.0.stdout).into_owned();
    assert_eq!(line.trim_end(), "ops.report.node-1: stored in OPS as 1");
    let alert =
        ["alert", "--severity", "crit", "--summary", "Disk almost full", "--label", "mount=/var"];
    node.run(&[&alert[..], &["--description", "2 GB left"]].concat()).await?.is(0, &[]);

    let mut reader = scene.reader().await?;
    let shown = read_all(&mut reader, 2).await?;
    let lines: Vec<&str> = shown[0].body().lines().collect();
    assert_eq!(
        lines[..3],
        [
            "📊 node-1 Operational Report",
            "✅ Completed: Backup, SSL renewal",
            "🔄 In progress: Index"
        ]
    );
    let usage = lines[3].strip_prefix("💻 Disk usage: ").context("no disk")?;
    let (disk, memory) = usage.split_once("% | Memory usage: ").context("no memory")?;
    for percent in [disk, memory.trim_end_matches('%')] {
        assert!(percent.parse::<u8>()? <= 100, "{usage}");
    }
    assert_eq!(lines[4], "😊 Satisfaction rating: 3/5");
    assert!(lines.iter().any(|line| line.starts_with("load: ")), "{lines:?}");
    assert_eq!(shown[0].msgtype(), "m.notice");

    assert_eq!(shown[1].msgtype(), "m.text");
    let alert = "🔴 CRITICAL: Disk almost full\n📍 node-1\n│ 2 GB left\n🏷️ mount=/var\n🕒 20";
    assert!(shown[1].body().starts_with(alert), "{}", shown[1].body());
    Ok(())
}

#[tokio::test]
async fn what_nats_could_not_take_is_sent_with_the_next_in_order() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let node = Node::new(&nats.url())?;
    nats.kill().await;
    let kept = ["cannot be reached", "kept as", "0000000001.json", "sent with the next message"];
    node.alert("one").await?.is(0, &kept);
    node.alert("two").await?.is(0, &["0000000002.json"]);
    assert_eq!(node.waiting()?.len(), 2);
    nats.restart().await?;
    node.run(&["alert", "--severity", "info", "--summary", "three"]).await?.is(0, &[]);
    assert_eq!(stored(&nats).await?, ["one", "two", "three"]);
    assert!(node.waiting()?.is_empty());
    Ok(())
}

#[tokio::test]
async fn an_outage_of_more_than_a_day_is_a_failure() -> Result<()> {
    let node = Node::new("nats://127.0.0.1:1")?;
    node.alert("one").await?.is(0, &["kept as"]);
    grow_old(&node)?;
    node.alert("two").await?.is(69, &["cannot be reached", "the message is kept as"]);
    assert_eq!(node.waiting()?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn it_waits_for_nats_as_long_as_it_is_told() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let node = Node::new(&nats.url())?;
    nats.kill().await;
    let patient = ["alert", "--severity", "info", "--summary", "one", "--timeout", "1h"];
    let waits = node.command(&patient).stderr(Stdio::piped()).spawn()?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    nats.restart().await?;
    let ended = tokio::time::timeout(PATIENCE, waits.wait_with_output()).await??;
    Said(ended).is(0, &[]);
    assert_eq!(stored(&nats).await?, ["one"]);
    Ok(())
}

#[tokio::test]
async fn a_lost_acknowledgement_makes_no_second_message() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let mut node = Node::new(&format!("nats://{}", without_acks(&nats).await?))?;
    node.alert("one").await?.is(0, &["does not acknowledge", "kept as"]);
    assert_eq!(stored(&nats).await?, ["one"], "it was stored all the same");
    node.server = nats.url();
    node.run(&["alert", "--severity", "info", "--summary", "two"]).await?.is(0, &[]);
    assert_eq!(stored(&nats).await?, ["one", "two"]);
    Ok(())
}

#[tokio::test]
async fn nor_does_it_when_the_stream_has_forgotten_the_id() -> Result<()> {
    let nats = Nats::start().await?;
    let stream = async_nats::jetstream::stream::Config {
        name: "OPS".to_owned(),
        subjects: vec!["ops.>".to_owned()],
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    };
    nats.jetstream().await?.create_stream(stream).await?;
    let mut node = Node::new(&format!("nats://{}", without_acks(&nats).await?))?;
    node.alert("one").await?.is(0, &["kept as"]);
    node.server = "nats://127.0.0.1:1".to_owned();
    node.alert("two").await?.is(0, &["kept as"]);
    assert_eq!(stored(&nats).await?, ["one"]);
    // The first is there, and the second is not.
    grow_old(&node)?;
    node.server = nats.url();
    node.run(&["alert", "--severity", "info", "--summary", "three"]).await?.is(0, &[]);
    assert_eq!(stored(&nats).await?, ["one", "two", "three"]);
    Ok(())
}

#[tokio::test]
async fn a_late_report_says_when_it_was_made() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let mut node = Node::new("nats://127.0.0.1:1")?;
    node.run(&["report", "--timeout", "100ms"]).await?.is(0, &["kept as"]);
    grow_old(&node)?;
    node.server = nats.url();
    node.run(&["report"]).await?.is(0, &[]);
    let stream = nats.jetstream().await?.get_stream("OPS").await?;
    let report = async |sequence| -> Result<Value> {
        Ok(serde_json::from_slice(&stream.get_raw_message(sequence).await?.payload)?)
    };
    assert_eq!(report(1).await?["time"], "2026-01-01T00:00:00Z");
    assert!(report(2).await?["time"].is_null(), "one in time does not say so");
    Ok(())
}

#[tokio::test]
async fn one_that_is_killed_before_the_acknowledgement_has_lost_nothing() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let mut node = Node::new(&format!("nats://{}", without_acks(&nats).await?))?;
    let alert = ["alert", "--severity", "info", "--summary", "one", "--timeout", "1h"];
    let mut waits = node.command(&alert).spawn()?;
    while stored(&nats).await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    waits.kill().await?;
    assert_eq!(node.waiting()?.len(), 1);
    node.server = nats.url();
    node.run(&["alert", "--severity", "info", "--summary", "two"]).await?.is(0, &[]);
    assert_eq!(stored(&nats).await?, ["one", "two"]);
    Ok(())
}

#[tokio::test]
async fn calls_at_once_send_each_message_once_and_those_that_wait_in_order() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let mut node = Node::new("nats://127.0.0.1:1")?;
    let waiting: Vec<String> = (0..5).map(|number| format!("waiting {number}")).collect();
    for summary in &waiting {
        node.alert(summary).await?.is(0, &["kept as"]);
    }
    node.server = nats.url();
    let new: Vec<String> = (0..8).map(|number| format!("new {number}")).collect();
    let calls = new.iter().map(async |summary| {
        node.run(&["alert", "--severity", "info", "--summary", summary, "--timeout", "1min"]).await
    });
    for said in future::try_join_all(calls).await? {
        said.is(0, &[]);
    }
    let mut stored = stored(&nats).await?;
    assert_eq!(stored[..5], waiting);
    stored[5..].sort();
    assert_eq!(stored[5..], new);
    assert!(node.waiting()?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_subject_that_no_stream_takes_is_said_and_holds_up_no_other() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.alert.>"]).await?;
    let node = Node::new(&nats.url())?;
    let said = node.run(&["report", "--timeout", "1s"]).await?;
    said.is(
        69,
        &["no stream", "takes the subject ops.report.node-1", "have a stream take it", "kept as"],
    );
    let said = node.run(&["alert", "--severity", "info", "--summary", "one"]).await?;
    said.is(0, &["ops.report.node-1", "0000000001.json waits for that"]);
    assert_eq!(stored(&nats).await?, ["one"]);
    nats.create_stream("REPORTS", &["ops.report.*"]).await?;
    node.run(&["report"]).await?.is(0, &[]);
    let mut stream = nats.jetstream().await?.get_stream("REPORTS").await?;
    assert_eq!(stream.info().await?.state.messages, 2);
    Ok(())
}

#[tokio::test]
async fn refused_it_says_so_and_keeps_the_message() -> Result<()> {
    let accounts = r#"authorization { users: [
        { user: "node", password: "the-right-one", permissions: {
            publish: ["ops.alert.>", "$JS.API.>"], subscribe: "_INBOX_nats-matrix-publish.node-1.>" } },
        { user: "admin", password: "admin" } ] }"#;
    let admin =
        || async_nats::ConnectOptions::with_user_and_password("admin".into(), "admin".into());
    let nats = Nats::builder().config(accounts).client_options(admin).start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let node = Node::new(&nats.url())?;
    let with = async |password: &str, arguments: &[&str]| -> Result<Said> {
        let mut command = node.command(arguments);
        command.env("NATS_MATRIX__NATS__USER", "node").env("NATS_MATRIX__NATS__PASSWORD", password);
        said(command).await
    };
    let alert = ["alert", "--severity", "info", "--summary"];
    with("the-wrong-one", &[&alert[..], &["one"]].concat())
        .await?
        .is(77, &["refuses our credentials", "check those under [nats]", "kept as"]);
    with("the-right-one", &["report"])
        .await?
        .is(77, &["does not let us publish on ops.report.node-1", "kept as"]);
    assert_eq!(stored(&nats).await?, ["one"], "kept, and sent with the next one");
    with("the-right-one", &[&alert[..], &["two"]].concat()).await?.is(0, &["ops.report.node-1"]);
    assert_eq!(stored(&nats).await?, ["one", "two"]);
    Ok(())
}

#[tokio::test]
async fn a_spool_that_cannot_be_written_holds_nothing_up() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let mut node = Node::new(&nats.url())?;
    fs::write(node.spool(), "a file in its place")?;
    node.alert("the disk is full").await?.is(0, &["cannot write", "had NATS been away"]);
    assert_eq!(stored(&nats).await?, ["the disk is full"]);
    node.server = "nats://127.0.0.1:1".to_owned();
    node.alert("two").await?.is(69, &["cannot be reached", "the message is lost", "cannot write"]);
    Ok(())
}

#[tokio::test]
async fn a_full_spool_refuses_what_comes_and_loses_nothing() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let mut node = Node::new("nats://127.0.0.1:1")?;
    node.alert("one").await?.is(0, &["kept as"]);
    let first = fs::read_to_string(&node.waiting()?[0])?;
    for number in 2..=1_000 {
        let message = first.replace("\"id\":\"", &format!("\"id\":\"{number}"));
        fs::write(node.spool().join(format!("{number:010}.json")), message)?;
    }
    node.alert("one too many").await?.is(69, &["1000 messages", "the message is lost"]);
    node.server = nats.url();
    let said = node.run(&["alert", "--severity", "info", "--summary", "last", "--timeout", "1min"]);
    said.await?.is(0, &[]);
    let stored = stored(&nats).await?;
    assert_eq!((stored.len(), stored.last().map(String::as_str)), (1_001, Some("last")));
    assert!(node.waiting()?.is_empty());
    Ok(())
}

/// Programs in place of systemd's, which containers lack: of a unit that has printed secrets. The scenario
/// `publishers` has the real ones.
fn journal_with_secrets(node: &Node) -> Result<PathBuf> {
    let programs = node.dir.path().join("programs");
    fs::create_dir(&programs)?;
    let lines = "connecting to postgres://app:hunter2@db-01/app\nPIN 4711\nno space left";
    let journal = format!("#!/bin/sh\necho '{lines}'\n");
    let unit = "#!/bin/sh\necho Result=exit-code\necho ExecMainStatus=3\n".to_owned();
    for (name, text) in [("journalctl", journal), ("systemctl", unit)] {
        let file = programs.join(name);
        fs::write(&file, text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(programs)
}

#[tokio::test]
async fn secrets_in_the_last_lines_of_a_unit_are_masked_and_the_lines_can_be_left_out() -> Result<()>
{
    let node = Node::new("nats://127.0.0.1:1")?;
    let programs = journal_with_secrets(&node)?;
    let description = async |variables: &[(&str, &str)]| -> Result<Value> {
        let mut command = node.command(&["alert", "--unit", "backup.service", "--dry-run"]);
        command.env("PATH", &programs).envs(variables.iter().copied());
        let said = said(command).await?;
        said.is(0, &[]);
        let text = String::from_utf8_lossy(&said.0.stdout).into_owned();
        let json = &text[text.find('{').context("no payload")?..];
        let alert: Value = serde_json::from_str(json)?;
        assert_eq!(alert["summary"], "backup.service has failed: exit status 3");
        Ok(alert["description"].clone())
    };
    let masked = "connecting to postgres://app:***@db-01/app\nPIN 4711\nno space left";
    assert_eq!(description(&[]).await?, masked);
    let declared = [("NATS_MATRIX__PUBLISH__SECRET_PATTERNS", "PIN (?P<secret>[0-9]+)")];
    assert_eq!(description(&declared).await?, masked.replace("4711", "***"));
    let left_out = [("NATS_MATRIX__PUBLISH__JOURNAL_LINES", "0")];
    assert_eq!(description(&left_out).await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn any_words_can_be_said() -> Result<()> {
    let node = Node::new("nats://127.0.0.1:1")?;
    let alert =
        ["alert", "--severity", "info", "--summary", "--dry-run is a flag", "--description", "-"];
    let mut call = node.command(&[&alert[..], &["--dry-run"]].concat());
    let mut call = call.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut words = call.stdin.take().context("no standard input")?;
    words.write_all(b"- one\n- two\xff\n").await?;
    drop(words);
    let said = call.wait_with_output().await?;
    let text = String::from_utf8(said.stdout)?;
    let (subject, payload) = text.split_once('\n').context("a subject and a payload")?;
    assert_eq!(subject, "ops.alert.node-1");
    let payload: Value = serde_json::from_str(payload)?;
    assert_eq!(payload["summary"], "--dry-run is a flag");
    assert_eq!(payload["description"], "- one\n- two\u{fffd}\n");
    assert!(!node.spool().exists(), "nothing is kept");
    let urgent = node.run(&["alert", "--severity", "urgent", "--summary", "x"]).await?;
    urgent.is(64, &["must be critical, warning or info"]);
    node.run(&["report", "--satisfaction", "6"]).await?.is(64, &["must be a number from 0 to 5"]);
    Ok(())
}

/// The payload that a call with `--dry-run` shows.
async fn shown(mut command: Command) -> Result<Value> {
    let output = command.arg("--dry-run").output().await?;
    let text = String::from_utf8(output.stdout)?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, payload) = text.split_once('\n').context(errors)?;
    Ok(serde_json::from_str(payload)?)
}

#[tokio::test]
async fn words_that_are_not_utf_8_are_said_as_far_as_they_can_be_read() -> Result<()> {
    let node = Node::new("nats://127.0.0.1:1")?;
    let text = OsStr::from_bytes(b"login by \xff");
    let mut call = node.command(&["alert", "--severity", "info"]);
    for option in ["--summary", "--description", "--source", "--url", "--fingerprint"] {
        call.arg(option).arg(text);
    }
    call.arg("--label").arg(OsStr::from_bytes(b"user=\xff"));
    let payload = shown(call).await?;
    for key in ["summary", "description", "source", "url", "fingerprint"] {
        assert_eq!(payload[key], "login by \u{fffd}", "{payload}");
    }
    assert_eq!(payload["labels"]["user"], "\u{fffd}");
    node.run(&["alert", "--severity", "info", "--summary", "x", "--label", "=x"])
        .await?
        .is(64, &["must be a name and a value"]);

    let mut call = node.command(&["report"]);
    for option in ["--completed", "--in-progress", "--host"] {
        call.arg(option).arg(text);
    }
    let payload = shown(call).await?;
    assert_eq!(payload["completed"][0], "login by \u{fffd}", "{payload}");
    assert_eq!(payload["in_progress"][0], "login by \u{fffd}", "{payload}");
    assert_eq!(payload["host"], "login by \u{fffd}", "{payload}");
    Ok(())
}

#[tokio::test]
async fn many_files_that_cannot_be_read_are_summed_up_in_short_lines() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let node = Node::new("nats://127.0.0.1:1")?;
    node.alert("one").await?.is(0, &["kept as"]);
    let mut message: Value = serde_json::from_slice(&fs::read(&node.waiting()?[0])?)?;
    message["payload"] = "x".repeat(900_000).into();
    for number in 1..=15 {
        fs::write(node.spool().join(format!("{number:010}.json")), message.to_string())?;
    }
    let node = Node { server: nats.url(), ..node };
    let said = node.alert("two").await?;
    said.is(0, &["0000000010.json cannot be read", "5 more files cannot be read"]);
    let errors = said.errors();
    assert_eq!(errors.matches("is left there").count(), 10, "{}", errors.len());
    assert!(errors.len() < 10_000, "{} bytes", errors.len());
    assert_eq!(stored(&nats).await?, ["two"]);
    Ok(())
}

#[tokio::test]
async fn an_alert_about_a_failed_alert_is_not_published() -> Result<()> {
    let node = Node::new("nats://127.0.0.1:1")?;
    let said = node.run(&["alert", "--unit", "nats-matrix-alert@backup.service.service"]).await?;
    said.is(0, &["nothing is published about it"]);
    assert!(!node.spool().exists());
    Ok(())
}

#[tokio::test]
async fn a_bridges_configuration_serves_and_only_its_nats_is_looked_at() -> Result<()> {
    let nats = Nats::start().await?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let dir = ScratchDir::new("publish")?;
    let file = dir.path().join("config.toml");
    let call = async |text: &str| -> Result<Said> {
        fs::write(&file, text)?;
        let mut command = Command::new(BINARY);
        command.args(["report", "--config"]).arg(&file).env("STATE_DIRECTORY", dir.path());
        said(command).await
    };
    let text = format!(
        "[nats]\nservers = [\"{}\"]\n[matrix]\nhomeserver = \"not looked at\"\n[publish]\nhost = \"db.example.com\"\n",
        nats.url()
    );
    let said = call(&text).await?;
    said.is(0, &[]);
    let line = String::from_utf8_lossy(&said.0.stdout).into_owned();
    assert!(line.starts_with("ops.report.db-example-com: stored in OPS"), "{line}");
    call(&text.replace("servers", "server")).await?.is(64, &["did you mean \"servers\"?"]);
    call(&text.replace("host =", "hots =")).await?.is(64, &["did you mean \"host\"?"]);
    Ok(())
}
