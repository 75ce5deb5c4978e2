//! `cargo memory`: whether anybody who may publish can make the bridge run out of memory.
//!
//! The program as it is released runs under a limit of memory that is kept by the kernel, and finds queues of the
//! messages that take the most memory for their bytes, with reports between them that have to arrive.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it shows things to a person")]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")
)]

mod limit;
mod publish;
mod recorder;
mod report;
mod seen;
mod shape;
mod trial;
mod trials;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use nats_matrix_testbed::{Homeserver, Nats, machine, not_run, release_bridge};
use tokio::runtime::Runtime;

use limit::Limit;
use recorder::Recorder;
use report::Report;
use trial::{Bench, Setting};

/// The most memory that the kernel gives the bridge.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Starts the bridge under a limit of 64 MiB with queues of messages that take the most memory, and tells whether every
/// report between them arrives once and in order, and how much memory it took. The exit code is 0 only if all did, and
/// none took 48 MiB, or 26 MiB with 200 idle routes.
#[derive(Debug, Parser)]
#[command(name = "cargo memory", bin_name = "cargo memory")]
struct Arguments {
    /// Only trials whose names contain one of these, separated by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,

    /// `max_payload` of NATS, in megabytes; several are separated by commas.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    max_payload: Vec<usize>,

    /// Number of messages that are queued of each kind that is small.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    queue: u32,

    /// Limit memory by `RLIMIT_DATA`, which needs no rights, even where there are control groups.
    #[arg(long)]
    rlimit: bool,

    /// Write the table into this file, too.
    #[arg(long)]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo memory: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool> {
    let limit = match Limit::new(LIMIT, arguments.rlimit) {
        Ok(limit) => limit,
        Err(error) => return not_run(&error.context("cargo memory")).map(|()| true),
    };
    let binary = release_bridge()?;
    let recorder = Recorder::start().await?;
    let mut report = Report::new(&machine(), &limit);
    println!("{}", report.heading());
    for megabytes in &arguments.max_payload {
        let is_wanted = |name: &str| {
            arguments.only.is_empty() || arguments.only.iter().any(|only| name.contains(only))
        };
        let mut trials = trials::of(*megabytes, arguments.queue as usize);
        trials.retain(|trial| is_wanted(&trial.name));
        if trials.is_empty() {
            continue;
        }
        let nats = Nats::builder().max_payload(*megabytes).as_process().start().await?;
        let is_real = trials.iter().any(|trial| trial.setting == Setting::RealHomeserver);
        let homeserver =
            if is_real { Some(Homeserver::builder().start(&binary).await?) } else { None };
        let bench = Bench {
            binary: &binary,
            limit: &limit,
            nats: &nats,
            recorder: &recorder,
            homeserver: homeserver.as_ref(),
        };
        for trial in &trials {
            let outcome = Box::pin(trial.run(&bench)).await;
            let outcome = outcome.with_context(|| trial.name.clone())?;
            println!("{}", report.add(*megabytes, outcome));
        }
    }
    println!("\n{}", report.sum());
    if let Some(file) = &arguments.output {
        std::fs::write(file, report.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report.is_well())
}
