//! The command line: one file per subcommand.

mod alert;
mod check;
mod clock;
mod common;
mod connect;
mod consumers;
mod permissions;
mod preview;
mod provision;
mod publisher;
mod refresh;
mod report;
mod retention;
mod rights;
mod run;
mod schema;
mod shape;
mod stored_subjects;
mod summary;
mod tunnel;
mod unused_consumers;
mod waiting;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    book, cli::common::ConfigFile, failure::Failure, log::Log, status::metrics::Metrics, text,
};

/// Relay reports and alerts from NATS JetStream into Matrix rooms.
#[derive(Debug, Parser)]
#[command(name = "nats-matrix", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Relay messages until stopped.
    ///
    /// On SIGHUP, which `systemctl reload nats-matrix` sends, the bridge finishes the messages in progress and then
    /// reads the configuration, its templates and its secrets again. No message is lost or shown twice. If the new
    /// configuration is wrong, the bridge logs why and continues with the old one. On SIGTERM and SIGINT it stops
    /// within ten seconds.
    Run(ConfigFile),
    /// Check the configuration, servers, subjects, login and rooms, and say what is wrong and what to do.
    Check(check::Options),
    /// List the durable consumers of the routes, or rename them.
    Consumers(consumers::Options),
    /// Print the permissions in NATS that the bridge needs for its configuration, each with the reason.
    ///
    /// Neither NATS nor the homeserver is asked. `check` tries whether the bridge has these permissions.
    Permissions(permissions::Options),
    /// Create the declared accounts and rooms that are missing, and update the others.
    Provision(provision::Options),
    /// Show how to get to the room with a phone, with a QR code.
    Connect(connect::Options),
    /// Restart a homeserver on this machine whenever it holds too much memory.
    ///
    /// The homeserver is sent SIGTERM, and systemd has to start it again. It has to run as the same user, and is looked at
    /// each second. One that holds as much right after a restart is left alone for ten minutes, then for longer and longer.
    Refresh(refresh::Options),
    /// Publish a report about this machine: disk, memory, load, failed units and finished tasks.
    Report(report::Options),
    /// Publish an alert that needs a person's attention.
    Alert(alert::Options),
    /// Show what a room would show for the payload on standard input, or for samples.
    Preview(preview::Options),
    /// Summarise a route's messages up to now, to look at the summary or to post it.
    Summary(summary::Options),
    /// Help to write shapes, which say how the messages of other programs are shown.
    Shape(shape::Options),
    /// Print the JSON Schema of a report, an alert or the configuration.
    Schema(schema::Options),
}

/// Returns the definition of the command line, from which the manual is made.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Returns the names and texts of the JSON Schemas of messages and of the configuration, from which the reference is made.
#[must_use]
pub fn schemas() -> Vec<(String, String)> {
    schema::all()
}

/// Returns the metrics of a bridge with a route in the `OpenMetrics` format, from which the reference is made.
#[must_use]
pub fn metrics() -> String {
    Metrics::sample()
}

/// Returns the permissions in NATS of a bridge that uses every feature, from which the reference is made: the feature,
/// the subject and the purpose of each.
#[must_use]
pub fn example_permissions() -> Vec<[String; 3]> {
    permissions::example()
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Requests for help and version are not errors, and are answered on standard output.
            let code = if error.use_stderr() { Failure::Config(String::new()).code() } else { 0 };
            // A script may pass on what others have written, and the message repeats it.
            let plain = error.render().to_string();
            let cleaned = text::clean(&plain);
            if cleaned == plain {
                let _ = error.print();
            } else {
                let _ = write!(io::stderr(), "{cleaned}");
            }
            return ExitCode::from(code);
        }
    };
    let log = Log::to_stderr();
    let result = match cli.command {
        Command::Run(options) => run::main(&options, &log),
        Command::Check(options) => return check::main(&options),
        Command::Consumers(options) => consumers::main(&options),
        Command::Permissions(options) => permissions::main(&options),
        Command::Provision(options) => provision::main(&options),
        Command::Connect(options) => connect::main(&options),
        Command::Refresh(options) => refresh::main(&options),
        Command::Report(options) => report::main(options),
        Command::Alert(options) => alert::main(&options),
        Command::Preview(options) => preview::main(&options),
        Command::Summary(options) => summary::main(&options),
        Command::Shape(options) => shape::main(&options),
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

/// Prints the failure as one line for the person who must act, and where to read more.
#[expect(clippy::print_stderr, reason = "the final error message, not a log record")]
fn say_error(failure: &Failure) {
    eprintln!("nats-matrix: {}", text::clean(&failure.to_string()));
    eprintln!("nats-matrix: what such a line means: {}", book::troubleshooting());
}
