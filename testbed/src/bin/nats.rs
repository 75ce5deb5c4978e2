//! A NATS command line tool with what the scenarios of `nixos-tests` use, in the words of the real one, so that a test
//! in a virtual machine needs nothing but Rust. On NixOS they use the tool itself.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use async_nats::{
    ConnectOptions,
    jetstream::{self, stream},
};
use clap::{Parser, Subcommand};
use futures_util::TryStreamExt;

#[derive(Debug, Parser)]
#[command(name = "nats")]
struct Arguments {
    /// URL of NATS.
    #[arg(long, default_value = "nats://127.0.0.1:4222")]
    server: String,
    /// A CA to trust, in PEM.
    #[arg(long)]
    tlsca: Option<PathBuf>,
    /// A file with an nkey seed.
    #[arg(long)]
    nkey: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Streams.
    #[command(subcommand)]
    Stream(Stream),
    /// Publishes, and waits until the stream has acknowledged everything.
    Pub {
        /// Must be given: the tool itself also publishes without acknowledgements.
        #[arg(long, required = true)]
        jetstream: bool,
        /// It says nothing anyway.
        #[arg(long)]
        quiet: bool,
        /// Number of messages; "{{Count}}" in the payload becomes 1, 2, ...
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// The subject.
        subject: String,
        /// The payload.
        payload: String,
    },
}

#[derive(Debug, Subcommand)]
enum Stream {
    /// Lists their names.
    Ls,
    /// Makes one.
    Add {
        /// Its name.
        name: String,
        /// The subjects it takes.
        #[arg(long)]
        subjects: String,
        /// Must be given: nothing else can be.
        #[arg(long, required = true)]
        defaults: bool,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nats: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let mut options = ConnectOptions::new();
    if let Some(file) = &arguments.nkey {
        let seed = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        options = options.nkey(seed.trim().to_owned());
    }
    if let Some(ca) = arguments.tlsca {
        options = options.add_root_certificates(ca);
    }
    let client = options
        .connect(&arguments.server)
        .await
        .with_context(|| format!("cannot connect to {}", arguments.server))?;
    let jetstream = jetstream::new(client);
    match arguments.command {
        Command::Stream(Stream::Ls) => {
            let mut names = jetstream.stream_names();
            while let Some(name) = names.try_next().await? {
                println!("{name}");
            }
        }
        Command::Stream(Stream::Add { name, subjects, .. }) => {
            let config = stream::Config { name, subjects: vec![subjects], ..Default::default() };
            jetstream.create_stream(config).await?;
        }
        Command::Pub { count, subject, payload, .. } => {
            publish(&jetstream, &subject, &payload, count).await?;
        }
    }
    Ok(())
}

/// All are sent before the first acknowledgement is awaited: round trips are slow in an emulated machine.
async fn publish(
    jetstream: &jetstream::Context,
    subject: &str,
    payload: &str,
    count: usize,
) -> Result<()> {
    let mut acknowledgements = Vec::with_capacity(count);
    for number in 1..=count {
        let payload = payload.replace("{{Count}}", &number.to_string());
        acknowledgements.push(jetstream.publish(subject.to_owned(), payload.into()).await?);
    }
    for acknowledgement in acknowledgements {
        acknowledgement.await.context("a message was not acknowledged")?;
    }
    Ok(())
}
