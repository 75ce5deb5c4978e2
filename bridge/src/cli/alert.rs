//! `nats-matrix alert`

use std::io::{Read, stdin};

use tracing::info;

use crate::{
    cli::{common::block_on, publisher::Publishing},
    failure::Failure,
    message::{Alert, Severity, Status},
    publish::{
        now,
        unit::{self, FailedUnit},
    },
};

/// What is read of a description. Nobody reads more on a phone.
const MOST_BYTES: u64 = 64 * 1024;

/// The unit that posts about others.
const OWN_UNIT: &str = "nats-matrix-alert@";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    publisher: Publishing,
    /// How bad it is: `critical`, `warning` or `info`.
    #[arg(long, required_unless_present = "unit", value_parser = severity)]
    severity: Option<Severity>,
    /// What happened, in one line.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, required_unless_present = "unit")]
    summary: Option<String>,
    /// What it happened to, instead of this machine.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// More words; `-` reads them from standard input.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    description: Option<String>,
    /// What tells alerts apart; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Where to look.
    #[arg(long)]
    url: Option<String>,
    /// Alerts with the same fingerprint are about the same trouble.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    fingerprint: Option<String>,
    /// It is over.
    #[arg(long)]
    resolved: bool,
    /// A unit of systemd that has failed: why, and its last lines in the journal, with secrets masked. It is critical
    /// unless said otherwise.
    #[arg(long, allow_hyphen_values = true)]
    unit: Option<String>,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    if let Some(unit) = options.unit.as_deref().filter(|unit| unit.starts_with(OWN_UNIT)) {
        // With OnFailure= for all services, an alert that fails would call for another one, for ever.
        info!("{unit} is for alerts itself, so nothing is published about it");
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
    let mut alert = Alert::new(severity, options.summary.clone().unwrap_or_default());
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

/// Says of a unit what was not said on the command line.
fn of_unit(alert: &mut Alert, unit: &str, host: &str, failed: Option<FailedUnit>) {
    alert.fingerprint.get_or_insert_with(|| format!("unit:{host}:{unit}"));
    let is_said = !alert.summary.is_empty();
    if let Some(failed) = failed {
        if !is_said {
            alert.summary = format!("{unit} has failed: {}", failed.reason);
        }
        if alert.description.is_none() && !failed.log.is_empty() {
            alert.description = Some(failed.log);
        }
        alert.last_ok = failed.worked_since.map(|since| since.to_string());
        let result = failed.result.map(|result| ("result".to_owned(), result));
        alert.labels.extend(result);
    } else if !is_said {
        alert.summary = format!("{unit} works again");
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

/// A slip in a word had better show now than when nobody's phone buzzes.
fn severity(text: &str) -> Result<Severity, String> {
    match Severity::from(text.to_owned()) {
        Severity::Other(_) => Err("must be critical, warning or info".to_owned()),
        known => Ok(known),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be a name and a value, like mount=/var".to_owned()),
    }
}
