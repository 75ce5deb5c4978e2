//! The subcommand `nats-matrix shape`: helps to write shapes.

use std::io::Read;

use crate::{cli::common::print, decode::shape::draft, failure::Failure, json};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write the first draft of a shape for the payload on standard input.
    New,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    match options.command {
        Command::New => new(),
    }
}

fn new() -> Result<(), Failure> {
    let mut payload = String::new();
    std::io::stdin().read_to_string(&mut payload).map_err(|error| {
        Failure::Config(format!("cannot read the payload from standard input: {error}"))
    })?;
    let object = json::object(payload.trim()).map_err(|error| {
        Failure::Config(format!("a shape is for JSON objects, and the payload is none: {error}"))
    })?;
    print(draft(&object.value).trim_end());
    Ok(())
}
