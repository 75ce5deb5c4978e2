//! The subcommand `nats-matrix alert`: publishes an alert.

use std::io::{Read, stdin};

use clap::builder::TypedValueParser;
use tracing::info;

use crate::{
    cli::{
        common::{block_on, words},
        publisher::Publishing,
    },
    failure::Failure,
    message::{Alert, Severity, Status},
    publish::{
        now,
        unit::{self, FailedUnit},
    },
};

/// The maximum length of a description from standard input, in bytes. Nobody reads more on a phone.
const MOST_BYTES: u64 = 64 * 1024;

/// The unit that publishes alerts about other units.
const OWN_UNIT: &str = "nats-matrix-alert@";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    publisher: Publishing,
    /// The severity: `critical`, `warning` or `info`.
    #[arg(long, required_unless_present = "unit", value_parser = severity)]
    severity: Option<Severity>,
    /// A summary of the event, in one line.
    #[arg(
        long, value_name = "TEXT", value_parser = words(), allow_hyphen_values = true, required_unless_present = "unit"
    )]
    summary: Option<String>,
    /// The source of the alert, instead of this machine.
    #[arg(long, value_name = "NAME", value_parser = words())]
    source: Option<String>,
    /// Further details; `-` reads them from standard input.
    #[arg(long, value_name = "TEXT", value_parser = words(), allow_hyphen_values = true)]
    description: Option<String>,
    /// A label that tells alerts apart. May be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = words().try_map(label))]
    labels: Vec<(String, String)>,
    /// A link to more information.
    #[arg(long, value_parser = words())]
    url: Option<String>,
    /// The identity of the problem: alerts with the same fingerprint are about the same one.
    #[arg(long, value_name = "TEXT", value_parser = words(), allow_hyphen_values = true)]
    fingerprint: Option<String>,
    /// The problem is over.
    #[arg(long)]
    resolved: bool,
    /// A failed systemd unit. The alert says why it failed and quotes its last lines in the journal, with secrets
    /// masked. It is critical unless --severity is given.
    #[arg(long, value_parser = words(), allow_hyphen_values = true)]
    unit: Option<String>,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    if let Some(unit) = options.unit.as_deref().filter(|unit| unit.starts_with(OWN_UNIT)) {
        // With OnFailure= for all services, a failing alert would trigger another alert, for ever.
        info!("{unit} publishes the alerts itself, so nothing is published about it");
        return Ok(());
    }
    let publisher = options.publisher.load()?;
    let host = publisher.publish.host.clone();
    let subject = publisher.publish.alert_subject.of(&host);
    let failed = match options.unit.as_deref() {
        Some(unit) if !options.resolved => {
            let publish = &publisher.publish;
            Some(block_on(unit::failed(unit, publish.journal_lines, &publish.masks))?)
        }
        _ => None,
    };
    let alert = alert(options, &host, failed)?;
    options.publisher.publish(publisher, subject, &alert)
}

fn alert(options: &Options, host: &str, failed: Option<FailedUnit>) -> Result<Alert, Failure> {
    let severity = options.severity.clone().unwrap_or(Severity::Critical);
    let mut alert = Alert::new(severity, options.summary.clone().unwrap_or_default().into());
    alert.source = Some(options.source.clone().unwrap_or_else(|| host.to_owned()));
    alert.description = match options.description.as_deref() {
        Some("-") => Some(standard_input()?),
        other => other.map(str::to_owned),
    };
    alert.labels = options.labels.iter().cloned().collect();
    alert.url.clone_from(&options.url);
    alert.fingerprint.clone_from(&options.fingerprint);
    let time = now().to_string();
    if options.resolved {
        alert.status = Status::Resolved;
        alert.ended = Some(time);
    } else {
        alert.time = Some(time);
    }
    if let Some(unit) = &options.unit {
        of_unit(&mut alert, unit, host, failed);
    }
    Ok(alert)
}

/// Fills in the parts of an alert about a unit that the command line does not give.
fn of_unit(alert: &mut Alert, unit: &str, host: &str, failed: Option<FailedUnit>) {
    alert.fingerprint.get_or_insert_with(|| format!("unit:{host}:{unit}"));
    let is_said = !alert.summary.in_no_language().is_empty();
    if let Some(failed) = failed {
        if !is_said {
            alert.summary = format!("{unit} has failed: {}", failed.reason).into();
        }
        if alert.description.is_none() && !failed.log.is_empty() {
            alert.description = Some(failed.log);
        }
        alert.last_ok = failed.worked_since.map(|since| since.to_string());
        let result = failed.result.map(|result| ("result".to_owned(), result));
        alert.labels.extend(result);
    } else if !is_said {
        alert.summary = format!("{unit} works again").into();
    }
    alert.labels.entry("unit".to_owned()).or_insert_with(|| unit.to_owned());
}

fn standard_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    stdin().take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| {
        Failure::Config(format!("cannot read the description from standard input: {error}"))
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Rejects unknown severities: a typo should show now, and not when nobody's phone buzzes.
fn severity(text: &str) -> Result<Severity, String> {
    match Severity::from(text.to_owned()) {
        Severity::Other(_) => Err("must be critical, warning or info".to_owned()),
        known => Ok(known),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a parser of the command line is given what it parses"
)]
fn label(text: String) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be a name and a value, like mount=/var".to_owned()),
    }
}
