//! `cargo demo`: the whole of it on one machine, with real servers and nothing to set up.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it shows things to a person")]

use std::{
    fs,
    path::Path,
    process::{Command as Program, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use nats_matrix_testbed::{
    Account, BridgeConfig, BridgeProcess, Event, Homeserver, Nats, Reader, ScratchDir,
    bridge_binary,
};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// The reader and the room, as a configuration declares them.
const DECLARED: &str = r#"
[users.alice]
admin = true

[rooms.ops]
name = "Operations"
topic = "What the machines report"
invite = ["alice"]
"#;

/// The time that the messages may take to arrive. On an idle machine they take well under a second.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts a NATS server, a Matrix homeserver and the bridge on this machine, publishes two reports
/// and an alert, and shows the room that they arrive in.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo", args_conflicts_with_subcommands = true)]
struct Arguments {
    /// End when the first messages have arrived; exit code 1 if they have not.
    #[arg(long)]
    once: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish a message to the NATS server of a demo that is running.
    Publish {
        /// The URL of that server, as the demo says.
        url: String,
        /// Such as ops.report.server-03.
        subject: String,
        /// Such as a report in JSON.
        payload: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Publish { url, subject, payload }) => publish(&url, subject, payload).await,
        None => Box::pin(interruptible(demo(arguments.once))).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until done or until Ctrl-C. Either way what was started is stopped by being dropped.
async fn interruptible(demo: impl Future<Output = Result<()>>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = demo => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn demo(once: bool) -> Result<()> {
    let binary = bridge_binary()?;

    let homeserver = Homeserver::builder().people(0);
    let (nats, homeserver) = tokio::try_join!(Nats::start(), homeserver.start(&binary))?;
    println!("NATS       nats-server {} at {}", nats.version().await?, nats.url());
    let kind = homeserver.kind().name();
    println!("Matrix     {kind} {} at {}", homeserver.version(), homeserver.url());

    nats.create_stream("OPS", &["ops.>"]).await?;
    let dir = ScratchDir::new("demo")?;
    let made = dir.path().join("made");
    let declared = format!("{}{DECLARED}", homeserver.provisioning(&made)?);
    let alias = format!("#ops:{}", homeserver.server_name());
    let state = dir.path().join("state");
    let config = BridgeConfig::declared(&nats.url(), &homeserver.url(), &state, &declared)
        .route("reports", "OPS", &["ops.report.>"], &alias)
        .route("alerts", "OPS", &["ops.alert.>"], &alias);
    let file = dir.path().join("nats-matrix.toml");
    fs::write(&file, config.toml()).context("cannot write the configuration")?;

    println!("Provision  nats-matrix provision:");
    let provisioned = homeserver.provision(&binary, &file).await?;
    let said = String::from_utf8_lossy(&provisioned.stdout);
    for line in said.lines() {
        println!("  │ {line}");
    }
    if !provisioned.status.success() {
        bail!("it failed:\n{}", String::from_utf8_lossy(&provisioned.stderr));
    }
    let password = fs::read_to_string(made.join("passwords/alice")).context("no password")?;
    let alice = Account::login(&homeserver.url(), "alice", password.trim_end()).await?;
    let room = alice.join(&alias).await?;
    let mut process = BridgeProcess::spawn(&binary, config.toml(), dir.path())?;
    println!("Bridge     {}", binary.display());

    let started = Instant::now();
    for (subject, payload) in first_round() {
        nats.publish(subject, payload.to_string()).await?;
        println!("Published  {subject}");
    }

    let mut reader = alice.reader(&room).await?;
    tokio::select! {
        seen = reader.wait_until(has_first_round, PATIENCE) => {
            seen.with_context(|| format!("not all arrived; the bridge says:\n{}", process.logs()))?;
        }
        code = process.ended() => {
            bail!("the bridge ended with exit code {}; it says:\n{}", code?, process.logs());
        }
    }
    println!("\n{alias} as {} sees it after {:.1?}:", alice.user_id, started.elapsed());
    let mut shown = show(&reader, 0);

    if !once {
        println!("\n{}\n{}", how_to_publish(&nats.url()), connect(&binary, &file)?);
        println!("Ctrl-C stops everything.");
        loop {
            let patience = Duration::from_hours(1);
            tokio::select! {
                seen = reader.wait_for(shown + 1, patience) => {
                    // An hour in which nothing came is nothing to complain about.
                    if seen.is_ok() {
                        shown = show(&reader, shown);
                    }
                }
                code = process.ended() => {
                    bail!("the bridge ended with exit code {}; it says:\n{}", code?, process.logs());
                }
            }
        }
    }
    process.terminate()?;
    match process.wait(Duration::from_secs(15)).await? {
        0 => Ok(()),
        code => bail!("the bridge stopped with exit code {code}; it says:\n{}", process.logs()),
    }
}

/// The first messages of three machines, as a node in any language would publish them.
fn first_round() -> [(&'static str, Value); 3] {
    let now = Timestamp::now().to_string();
    [
        (
            "ops.report.server-01",
            json!({
                "host": "server-01",
                "completed": ["Database backup", "log cleanup", "SSL renewal"],
                "in_progress": ["Performance optimization", "API integration"],
                "disk_percent": 14,
                "memory_percent": 16,
                "satisfaction": 3,
            }),
        ),
        (
            "ops.report.server-02",
            json!({
                "host": "server-02",
                "completed": ["Kernel update"],
                "disk_percent": 71,
                "memory_percent": 48,
                "satisfaction": 5,
            }),
        ),
        (
            "ops.alert.db-01",
            json!({
                "severity": "critical",
                "source": "db-01",
                "summary": "Disk almost full",
                "description": "/var/lib/postgresql has 2% left",
                "status": "firing",
                "time": now,
                "labels": { "mount": "/var/lib/postgresql" },
            }),
        ),
    ]
}

fn has_first_round(messages: &[Event]) -> bool {
    ["server-01", "server-02", "Disk almost full"]
        .iter()
        .all(|text| messages.iter().any(|message| message.body().contains(text)))
}

/// Prints the messages after the first `shown`, and says how many there are now.
fn show(reader: &Reader, shown: usize) -> usize {
    for message in &reader.events()[shown..] {
        println!("\n  {} ({})", message.sender, message.msgtype());
        for line in message.body().lines() {
            println!("  │ {line}");
        }
    }
    reader.events().len()
}

fn how_to_publish(nats: &str) -> String {
    let report = r#"{"host":"server-03","completed":["Hello"],"disk_percent":42}"#;
    format!(
        "To publish another report, from another terminal, with the NATS command line tool:\n\
         \n    nats --server {nats} pub ops.report.server-03 '{report}'\n\
         \nor without it:\n\
         \n    cargo demo publish {nats} ops.report.server-03 '{report}'\n"
    )
}

/// The output of `nats-matrix connect`. The addresses are of this machine, so a phone does not get there.
fn connect(binary: &Path, config: &Path) -> Result<String> {
    let output = Program::new(binary).arg("connect").arg("--config").arg(config).output()?;
    if !output.status.success() {
        bail!("`nats-matrix connect` failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(format!("To read along in Element on this machine, `nats-matrix connect` says:\n\n{said}"))
}

async fn publish(url: &str, subject: String, payload: String) -> Result<()> {
    let client = async_nats::connect(url)
        .await
        .with_context(|| format!("cannot connect to NATS at {url}: is the demo running?"))?;
    let ack = async_nats::jetstream::new(client)
        .publish(subject.clone(), payload.into())
        .await?
        .await
        .with_context(|| format!("nothing stores what is published to {subject}"))?;
    println!("stored as message {} of the stream {}", ack.sequence, ack.stream);
    Ok(())
}
