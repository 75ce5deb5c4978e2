//! `cargo bench-stack`: the memory and the speed of the bridge and its homeserver over many messages in one room.
//!
//! The homeserver has the settings of our package. With Conduit, `nats-matrix refresh` watches it, and this program starts
//! it again as systemd would. The table at the end is Markdown, and says what it was measured on.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it shows things to a person")]

mod history;
mod memory;
mod report;
mod stack;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use nats_matrix_testbed::{Homeserver, HomeserverKind, Nats, bridge_binary};

use report::Report;
use stack::Stack;

/// Measures the bridge and its homeserver over many messages, against real servers.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-stack", bin_name = "cargo bench-stack")]
struct Arguments {
    /// Number of messages in the room.
    #[arg(long, default_value_t = 100_000)]
    messages: usize,

    /// Number of messages between two rows of the table.
    #[arg(long, default_value_t = 5_000)]
    every: usize,

    /// The memory above which a Conduit is restarted; 0 for never.
    #[arg(long, default_value = "40MiB")]
    above: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(Arguments::parse())).await {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("cargo bench-stack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<Report> {
    ensure!(arguments.every > 0, "--every has to be more than 0");
    let binary = bridge_binary()?;
    let homeserver = Homeserver::builder().as_process().as_packaged();
    let (nats, homeserver) = tokio::try_join!(Nats::start(), homeserver.start(&binary))?;
    let grows = homeserver.kind() == HomeserverKind::Conduit;
    let above = Some(arguments.above).filter(|above| grows && above != "0");
    let mut report = Report::new(&nats, &homeserver, arguments.messages, above.as_deref()).await?;
    let mut stack = Stack::start(&binary, nats, homeserver, above.as_deref()).await?;
    let measured = Box::pin(stack.run(arguments.messages, arguments.every, &mut report)).await;
    measured.map_err(|error| error.context(stack.logs()))?;
    stack.settle().await?;
    history::check(&stack.alice, &stack.room, arguments.messages).await?;
    Ok(report)
}
