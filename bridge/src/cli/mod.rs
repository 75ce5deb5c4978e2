//! The command line: one file per subcommand.

mod alert;
mod check;
mod common;
mod connect;
#[cfg(test)]
mod manual;
mod preview;
mod provision;
mod publisher;
mod report;
mod run;
mod schema;
mod stored_subjects;
mod summary;
mod waiting;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{cli::common::ConfigFile, failure::Failure, log::Log, text};

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
