//! `cargo bench-bridge`: what the bridge costs, beside the least and the usual that is possible.
//!
//! Three contenders, one after another on the same servers and again in every round: `raw` sends
//! the messages over one HTTP connection without any NATS, `baseline` is a plain Python bot, and
//! `bridge` is nats-matrix, beside another build of it if one is given. The table at the end is Markdown, and says what it
//! was measured on.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it shows things to a person")]

mod contender;
mod job;
mod measure;
mod raw;
mod report;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use nats_matrix_testbed::{Homeserver, HomeserverKind, Nats, TcpProxy, bridge_binary, cache};

use contender::Contender;
use job::Bench;
use report::Report;

/// Measures the bridge on this machine, against real servers.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-bridge", bin_name = "cargo bench-bridge")]
struct Arguments {
    /// Number of times that each contender drains its backlog; the table has the medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// The backlog that is drained [default: 2000, with Synapse 300].
    #[arg(long)]
    messages: Option<usize>,

    /// Time for which messages are sent at 10 a second, for the latency.
    #[arg(long, default_value = "30s", value_parser = duration)]
    paced: Duration,

    /// The deep queue of the memory measurement.
    #[arg(long, default_value_t = 100_000)]
    deep: usize,

    /// The alerts that are shown as a digest.
    #[arg(long, default_value_t = 10_000)]
    storm: usize,

    /// The Python baseline [default: `../shared/peer/nio_bridge.py` if it exists].
    #[arg(long)]
    baseline: Option<PathBuf>,

    /// Another build of the bridge to measure beside this one, such as the one before a change.
    #[arg(long, value_name = "PROGRAM")]
    beside: Option<PathBuf>,

    /// Only drain, with NATS behind a link of this round-trip time, such as 50ms.
    #[arg(long, value_parser = duration)]
    link_latency: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| "a number is missing".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err("the unit is neither ms nor s".to_owned()),
    }
}

/// The homeserver's own speed, the baseline and two builds of the bridge.
const MOST_CONTENDERS: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Arguments::parse())).await {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cargo bench-bridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<Report> {
    let binary = bridge_binary()?;
    let baseline = baseline(arguments.baseline)?;
    // Each contender posts with an account of its own in each round, and once at a steady pace; the
    // bridge also for each of its queues and storms.
    let queues = [100, arguments.deep];
    let people = MOST_CONTENDERS * (arguments.rounds + 1) + queues.len() + arguments.rounds;
    let homeserver = Homeserver::builder().people(people);
    let (nats, homeserver) = tokio::try_join!(Nats::start(), homeserver.start(&binary))?;
    let messages = arguments.messages.unwrap_or(match homeserver.kind() {
        HomeserverKind::Conduit | HomeserverKind::Tuwunel => 2000,
        HomeserverKind::Synapse | HomeserverKind::Dendrite => 300,
    });
    let link = match arguments.link_latency {
        Some(round_trip) => {
            let nats = format!("127.0.0.1:{}", nats.port());
            Some(TcpProxy::start(&nats, round_trip / 2).await?)
        }
        None => None,
    };
    let mut report =
        Report::new(&nats, &homeserver, messages, arguments.rounds, arguments.link_latency).await?;
    let alice = homeserver.account("alice").await?;
    let bench = Bench { nats, homeserver, alice, link };

    let mut contenders = vec![Contender::Raw];
    contenders.extend(baseline);
    if let Some(binary) = arguments.beside {
        // It will be started in another directory.
        let binary = binary.canonicalize().with_context(|| binary.display().to_string())?;
        contenders.push(Contender::Other { binary });
    }
    contenders.push(Contender::Bridge { binary: binary.clone() });

    for round in 1..=arguments.rounds {
        for contender in &contenders {
            eprintln!("round {round}: {} drains {messages} messages ...", contender.name());
            let drain = measure::drain(&bench, contender, messages).await;
            let drain = drain.with_context(|| format!("{} draining", contender.name()))?;
            eprintln!("    {drain}");
            report.add_drain(contender, drain);
        }
    }
    if arguments.link_latency.is_some() {
        return Ok(report);
    }
    for contender in &contenders {
        eprintln!("{}: 10 messages a second for {:?} ...", contender.name(), arguments.paced);
        let paced = measure::paced(&bench, contender, arguments.paced).await;
        let paced = paced.with_context(|| format!("{} at a steady pace", contender.name()))?;
        eprintln!("    {paced}");
        report.add_paced(contender, paced);
    }
    if let Some(bridge) = contenders.last() {
        for queued in queues {
            eprintln!("{}: memory with {queued} queued ...", bridge.name());
            let memory = measure::memory(&bench, bridge, queued).await?;
            eprintln!("    {memory}");
            report.add_memory(memory);
        }
    }
    for round in 1..=arguments.rounds {
        eprintln!("round {round}: bridge shows {} alerts that waited ...", arguments.storm);
        let storm = measure::storm(&bench, &binary, arguments.storm).await?;
        eprintln!("    {storm}");
        report.add_storm(storm);
    }
    Ok(report)
}

/// The Python baseline, if it is given or where it usually is.
fn baseline(given: Option<PathBuf>) -> Result<Option<Contender>> {
    let usual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/peer/nio_bridge.py");
    let is_given = given.is_some();
    let script = given.unwrap_or_else(|| usual.into());
    if !is_given && !script.is_file() {
        eprintln!("no Python baseline here: name one with --baseline to compare with it");
        return Ok(None);
    }
    // It will run in a directory of its own.
    let script = script.canonicalize().with_context(|| script.display().to_string())?;
    Ok(Some(Contender::Baseline { python: cache::baseline_python()?, script }))
}
