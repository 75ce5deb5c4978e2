//! The command line: one file per subcommand.

mod alert;
mod check;
mod connect;
#[cfg(test)]
mod manual;
mod preview;
mod provision;
mod publisher;
mod report;
mod run;
mod schema;
mod summary;
mod waiting;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{failure::Failure, log::Log, text};

/// Reports and alerts from NATS JetStream into Matrix rooms.
#[derive(Debug, Parser)]
#[command(name = "nats-matrix", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Relay messages until told to stop.
    ///
    /// SIGHUP has the configuration, its templates and its secrets read again; `systemctl reload nats-matrix` sends it.
    /// What is on its way is finished first, and nothing is lost or shown twice. A configuration that is wrong is refused
    /// with a line in the log, and the one before stays in force. SIGTERM and SIGINT stop it within ten seconds.
    Run(ConfigFile),
    /// Check configuration, servers, subjects, login and rooms; say what is wrong and what to do.
    Check(check::Options),
    /// Make the declared accounts and rooms that are missing, and bring the others to what is declared.
    Provision(provision::Options),
    /// Say how a person gets to the room with a phone, with a QR code.
    Connect(connect::Options),
    /// Publish how this machine is: disk, memory, load and failed units, and what was done.
    Report(report::Options),
    /// Publish that something wants a person's attention.
    Alert(alert::Options),
    /// Show what a room would show for the payload on standard input, or for samples.
    Preview(preview::Options),
    /// Sum up what came in by a route up to now, to look at it or to post it.
    Summary(summary::Options),
    /// Print the JSON Schema of a report or an alert.
    Schema(schema::Options),
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration, in TOML. Variables like `NATS_MATRIX__MATRIX__USER` win over it.
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "NATS_MATRIX_CONFIG",
        default_value = "/etc/nats-matrix/config.toml"
    )]
    config: PathBuf,
}

/// Runs the program with the process's own arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let code = if error.use_stderr() { Failure::Config(String::new()).code() } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let log = Log::to_stderr();
    let result = match cli.command {
        Command::Run(options) => run::main(&options, &log),
        Command::Check(options) => return check::main(&options),
        Command::Provision(options) => provision::main(&options),
        Command::Connect(options) => connect::main(&options),
        Command::Report(options) => report::main(options),
        Command::Alert(options) => alert::main(&options),
        Command::Preview(options) => preview::main(&options),
        Command::Summary(options) => summary::main(&options),
        Command::Schema(options) => {
            schema::main(&options);
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say_error(&failure);
            ExitCode::from(&failure)
        }
    }
}

/// The one line for the person who must act.
#[expect(clippy::print_stderr, reason = "this is the program's last word, not a log record")]
fn say_error(failure: &Failure) {
    eprintln!("nats-matrix: {}", text::clean(&failure.to_string()));
}

/// Prints what was asked for, in which words of publishers and servers command no terminal. Whoever closes the pipe has
/// read enough.
fn print(lines: &str) {
    print_for_terminal(&text::clean(lines));
}

/// Prints text of our own as it is, also what sets colours.
fn print_for_terminal(lines: &str) {
    let _ = writeln!(std::io::stdout(), "{lines}");
}

/// One thread for everything: the work is waiting, and more threads only cost memory.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Bug(format!("no async runtime: {error}")))?;
    Ok(runtime.block_on(work))
}
