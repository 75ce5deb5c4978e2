//! The subcommand `nats-matrix report`: publishes a report about this machine.

use std::path::PathBuf;

use crate::{
    cli::{
        common::{block_on, words},
        publisher::Publishing,
    },
    failure::Failure,
    message::Report,
    publish::collect,
};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    publisher: Publishing,
    /// A finished task. May be given several times.
    #[arg(long, value_name = "TEXT", value_parser = words(), allow_hyphen_values = true)]
    completed: Vec<String>,
    /// A task in progress. May be given several times.
    #[arg(long, value_name = "TEXT", value_parser = words(), allow_hyphen_values = true)]
    in_progress: Vec<String>,
    /// Your satisfaction, from 0 to 5.
    #[arg(long, value_name = "NUMBER", value_parser = satisfaction)]
    satisfaction: Option<f64>,
    /// The name of this machine, instead of its host name.
    #[arg(long, value_name = "NAME", value_parser = words())]
    host: Option<String>,
    /// The mount point of a file system whose usage to report. May be given several times; the fullest one is
    /// reported. By default the root file system.
    #[arg(long = "disk", value_name = "PATH")]
    disks: Vec<PathBuf>,
    /// A file with the output of `systemctl list-units --state=failed --plain --no-legend`, or an empty line if there
    /// was none. For a service that may not ask systemd itself.
    #[arg(long, value_name = "FILE")]
    failed_units: Option<PathBuf>,
}

pub(super) fn main(options: Options) -> Result<(), Failure> {
    let publisher = options.publisher.load()?;
    let host = options.host.unwrap_or_else(|| publisher.publish.host.clone());
    let subject = publisher.publish.report_subject.of(&host);
    let mut report = Report {
        host,
        completed: options.completed,
        in_progress: options.in_progress,
        satisfaction: options.satisfaction,
        ..Report::default()
    };
    let disks = if options.disks.is_empty() { &publisher.publish.disks } else { &options.disks };
    block_on(collect::fill(&mut report, disks, options.failed_units.as_deref()))?;
    options.publisher.publish(publisher, subject, &report)
}

fn satisfaction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=5.0).contains(&number) => Ok(number),
        _ => Err("must be a number from 0 to 5".to_owned()),
    }
}
