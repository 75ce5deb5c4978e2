//! Finds out why a systemd unit has failed, and its last lines in the journal.

use std::{collections::HashMap, env};

use jiff::Timestamp;
use tracing::warn;

use crate::{publish::collect::run, secrets::Masks};

/// The number of characters that are shown of a line in the journal.
const LINE_CHARS: usize = 300;

/// A failed unit, as far as systemd has information about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FailedUnit {
    /// The result in systemd's words, like `exit-code`.
    pub(crate) result: Option<String>,
    /// The reason in a few words, like "exit status 3".
    pub(crate) reason: String,
    /// The last lines in the journal, with secrets masked.
    pub(crate) log: String,
    /// The time since which the unit had worked before the failure, if it had.
    pub(crate) worked_since: Option<Timestamp>,
}

/// Collects information about a failed unit, with the last `lines` of its journal, masked by `masks`. If `OnFailure=`
/// of the unit started this process, the facts are taken from the environment, because the unit may be running again by
/// now. Otherwise systemd is asked.
pub(crate) async fn failed(unit: &str, lines: u16, masks: &Masks) -> FailedUnit {
    let known = match monitored(unit, |name| env::var(name).ok()) {
        Some(known) => known,
        None => shown(unit).await,
    };
    let log = match known.invocation.as_deref() {
        _ if lines == 0 => String::new(),
        // The journal of the failed run: the unit's own output, and systemd's lines about it.
        Some(id) => {
            let (of_unit, about_unit) =
                (format!("_SYSTEMD_INVOCATION_ID={id}"), format!("INVOCATION_ID={id}"));
            journal(lines, &[&of_unit, "+", &about_unit]).await
        }
        None => journal(lines, &["--unit", unit]).await,
    };
    let log = last_lines(&masks.mask(&log));
    let worked_since = worked_since(unit).await;
    FailedUnit { reason: known.reason(), result: known.result, log, worked_since }
}

/// Returns the time of the last successful start of the unit.
async fn worked_since(unit: &str) -> Option<Timestamp> {
    // This option needs systemd 251. Without it, each failure is treated as a repetition.
    let property = "--property=ActiveEnterTimestamp";
    let arguments = ["show", "--timestamp=unix", property, "--value", "--", unit];
    let shown = run("systemctl", &arguments).await.ok()?;
    at(&shown)
}

/// Parses a time as systemd prints it: `@1764364374`, or nothing for never.
fn at(text: &str) -> Option<Timestamp> {
    Timestamp::from_second(text.trim().strip_prefix('@')?.parse().ok()?).ok()
}

/// The end of a unit's run.
#[derive(Debug, Default)]
struct End {
    result: Option<String>,
    /// The exit status as a number, or the name of a signal.
    status: String,
    invocation: Option<String>,
}

/// Reads the variables that systemd (from 251 on) passes to a unit that it starts for `OnFailure=`.
fn monitored(unit: &str, variable: impl Fn(&str) -> Option<String>) -> Option<End> {
    (variable("MONITOR_UNIT")? == unit).then(|| End {
        result: variable("MONITOR_SERVICE_RESULT"),
        status: variable("MONITOR_EXIT_STATUS").unwrap_or_default(),
        invocation: variable("MONITOR_INVOCATION_ID"),
    })
}

async fn shown(unit: &str) -> End {
    let properties = "--property=Result,ExecMainStatus,InvocationID";
    let text = run("systemctl", &["show", properties, "--", unit]).await.unwrap_or_else(|error| {
        warn!("{error}");
        String::new()
    });
    let mut values: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('=')).collect();
    values.retain(|_, value| !value.is_empty());
    let get = |key: &str| values.get(key).map(|value| (*value).to_owned());
    End {
        result: get("Result"),
        status: get("ExecMainStatus").unwrap_or_default(),
        invocation: get("InvocationID"),
    }
}

impl End {
    fn reason(&self) -> String {
        match self.result.as_deref() {
            Some("exit-code") if !self.status.is_empty() => format!("exit status {}", self.status),
            Some("signal" | "core-dump") if !self.status.is_empty() => {
                format!("killed by signal {}", self.status)
            }
            Some("timeout") => "it took too long".to_owned(),
            Some("watchdog") => "it no longer answered the watchdog".to_owned(),
            Some("oom-kill") => "out of memory".to_owned(),
            Some("start-limit-hit") => "it failed too often".to_owned(),
            Some(result) => result.to_owned(),
            None => "systemd does not say why".to_owned(),
        }
    }
}

async fn journal(lines: u16, matches: &[&str]) -> String {
    let lines = format!("--lines={lines}");
    let mut arguments = vec![lines.as_str(), "--output=cat", "--no-pager", "--quiet"];
    arguments.extend(matches);
    // The alert shows the reason in place of the lines.
    run("journalctl", &arguments).await.unwrap_or_else(|error| error.to_string())
}

/// Keeps the lines that are not blank, each cut to a limited length.
fn last_lines(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .map(|line| line.chars().take(LINE_CHARS).collect())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "MONITOR_UNIT" => "backup.service",
            "MONITOR_SERVICE_RESULT" => "exit-code",
            "MONITOR_EXIT_STATUS" => "3",
            "MONITOR_INVOCATION_ID" => "0123456789abcdef",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn what_systemd_hands_over_is_of_one_unit() {
        let end = monitored("backup.service", environment).unwrap();
        assert_eq!(end.reason(), "exit status 3");
        assert_eq!(end.invocation.as_deref(), Some("0123456789abcdef"));
        assert!(monitored("other.service", environment).is_none());
        assert!(monitored("backup.service", |_| None).is_none());
    }

    #[test]
    fn the_reason_is_in_words() {
        let reason = |result: &str, status: &str| {
            End { result: Some(result.to_owned()), status: status.to_owned(), ..End::default() }
                .reason()
        };
        assert_eq!(reason("signal", "KILL"), "killed by signal KILL");
        assert_eq!(reason("timeout", "TERM"), "it took too long");
        assert_eq!(reason("oom-kill", "KILL"), "out of memory");
        assert_eq!(reason("resources", ""), "resources");
        assert_eq!(End::default().reason(), "systemd does not say why");
    }

    #[test]
    fn a_moment_is_in_seconds() {
        assert_eq!(at("@1764364374\n").unwrap().as_second(), 1_764_364_374);
        assert_eq!((at(""), at("@"), at("Sat 2025-11-28 21:12:54 UTC")), (None, None, None));
    }

    #[test]
    fn a_long_line_does_not_hide_the_others() {
        let text = format!("first\n\n{}\nlast  \n", "x".repeat(5_000));
        let shown = last_lines(&text);
        assert!(shown.starts_with("first\nxxx") && shown.ends_with("x\nlast"), "{shown}");
        assert!(shown.chars().count() < 400);
    }
}
