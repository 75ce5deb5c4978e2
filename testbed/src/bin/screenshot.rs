//! `cargo screenshot`: the picture of a room on a phone in the README and in the book, made with real servers and a real
//! client.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it tells a person what it does")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use nats_matrix_testbed::{
    Account, BridgeConfig, BridgeProcess, Cinny, Event, Homeserver, Nats, PhoneScene, Reader,
    ScratchDir, bridge_binary, repository,
};
use serde_json::{Value, json};

/// The reader and the room, as a configuration declares them.
const DECLARED: &str = r#"
[users.alice]
admin = true
display_name = "Alice"

[rooms.ops]
name = "Operations"
topic = "What the machines report"
invite = ["alice"]
"#;

/// The time that messages may take to arrive.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts NATS, a homeserver and the bridge, publishes what machines do in a night, and makes a picture of the room.
#[derive(Debug, Parser)]
#[command(name = "cargo screenshot", bin_name = "cargo screenshot")]
struct Arguments {
    /// The directory of a built Cinny, a Matrix client for browsers: what a release of
    /// <https://github.com/cinnyapp/cinny> has in it, or `dist` after `npm ci && npm run build` in its repository.
    client: PathBuf,

    /// The picture.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Box::pin(screenshot(&arguments)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo screenshot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn screenshot(arguments: &Arguments) -> Result<()> {
    let client = Cinny::new(&arguments.client).await?;
    let output = arguments
        .output
        .clone()
        .unwrap_or_else(|| repository::root().join("docs/src/images/room.png"));
    let binary = bridge_binary()?;
    let homeserver = Homeserver::builder().people(0);
    let (nats, homeserver) = tokio::try_join!(Nats::start(), homeserver.start(&binary))?;
    nats.create_stream("OPS", &["ops.>"]).await?;
    let dir = ScratchDir::new("screenshot")?;
    let made = dir.path().join("made");
    let declared = format!("{}{DECLARED}", homeserver.provisioning(&made)?);
    let alias = format!("#ops:{}", homeserver.server_name());
    let state = dir.path().join("state");
    let config = BridgeConfig::declared(&nats.url(), &homeserver.url(), &state, &declared)
        .route("ops", "OPS", &["ops.>"], &alias)
        .digests(2);
    let file = dir.path().join("nats-matrix.toml");
    fs::write(&file, config.toml())?;
    let provisioned = homeserver.provision(&binary, &file).await?;
    let said = String::from_utf8_lossy(&provisioned.stderr);
    ensure!(provisioned.status.success(), "provision failed: {said}");
    let password = fs::read_to_string(made.join("passwords/alice")).context("no password")?;
    let alice = Account::login(&homeserver.url(), "alice", password.trim_end()).await?;
    let room = alice.join(&alias).await?;
    let mut reader = alice.reader(&room).await?;

    // Reports that came while the bridge was away.
    for (host, disk, memory) in NIGHT {
        let report = json!({ "host": host, "completed": ["Backup"], "disk_percent": disk, "memory_percent": memory });
        nats.publish(&format!("ops.report.{host}"), report.to_string()).await?;
    }
    let bridge = BridgeProcess::spawn(&binary, config.toml(), dir.path())?;
    wait(&mut reader, "web-01", &bridge).await?;
    for (subject, payload, shown) in morning() {
        nats.publish(subject, payload.to_string()).await?;
        wait(&mut reader, shown, &bridge).await?;
    }
    for event in reader.events() {
        println!("{}\n", event.body());
    }
    let digest = reader.events().first().map(|event| event.event_id.as_str());
    let scenes = [
        PhoneScene { message: digest, texts: &["3 messages", "web-01 Operational Report"] },
        PhoneScene {
            message: None,
            texts: &["RESOLVED: Certificate", "CRITICAL: Disk almost full"],
        },
    ];
    client.photograph(&alice, &room, &scenes, &output).await?;
    println!("{}", relative(&output));
    Ok(())
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository::root()).unwrap_or(path).display().to_string()
}

/// The reports of the night: host, and how full disk and memory are.
const NIGHT: [(&str, u8, u8); 3] = [("db-01", 91, 62), ("db-02", 48, 55), ("web-01", 22, 41)];

/// Returns the messages that come afterwards, each with its subject and a text by which it is seen to be there.
fn morning() -> Vec<(&'static str, Value, &'static str)> {
    let begun = (Timestamp::now() - SignedDuration::from_mins(11)).to_string();
    let certificate = |status: &str| {
        json!({
            "severity": "warning", "source": "web-01", "status": status, "fingerprint": "certificate",
            "summary": "Certificate expires", "time": begun,
        })
    };
    let disk = |severity: &str, left: &str| {
        json!({
            "severity": severity, "source": "db-01", "status": "firing", "fingerprint": "disk",
            "summary": "Disk almost full", "description": left,
        })
    };
    vec![
        (
            "ops.report.server-01",
            json!({
                "host": "server-01",
                "completed": ["Database backup", "SSL renewal"],
                "disk_percent": 14, "memory_percent": 16,
            }),
            "server-01",
        ),
        ("ops.alert.web-01", certificate("firing"), "WARNING: Certificate"),
        ("ops.alert.web-01", certificate("resolved"), "RESOLVED after"),
        ("ops.alert.db-01", disk("warning", "/var has 9% left"), "9% left"),
        ("ops.alert.db-01", disk("critical", "/var has 2% left"), "2% left"),
    ]
}

async fn wait(reader: &mut Reader, text: &str, bridge: &BridgeProcess) -> Result<()> {
    let has = |events: &[Event]| events.iter().any(|event| event.body().contains(text));
    let seen = reader.wait_until(has, PATIENCE).await;
    seen.map(drop).with_context(|| format!("no \"{text}\"; the bridge says:\n{}", bridge.logs()))
}
