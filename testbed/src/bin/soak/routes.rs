//! The routes of the run, and what is published for them.

use serde_json::{Value, json};

use crate::check::Mark;

/// The stream of all of them.
pub(crate) const STREAM: &str = "SOAK";

/// A route through the bridge, with a room of its own.
pub(crate) struct Route {
    pub(crate) name: &'static str,
    /// The number of waiting messages above which they are a digest; 0 for never.
    pub(crate) digest_above: u64,
    payload: fn(Mark) -> Value,
}

/// All of them.
pub(crate) const ROUTES: [Route; 4] = [
    Route { name: "plain", digest_above: 0, payload: report },
    Route { name: "digests", digest_above: 5, payload: report },
    Route { name: "alerts", digest_above: 0, payload: alert },
    Route { name: "storms", digest_above: 10, payload: alert },
];

impl Route {
    /// The subjects that it takes.
    pub(crate) fn subjects(&self) -> String {
        format!("soak.{}.>", self.name)
    }

    /// The subject on which a publisher publishes for it in one phase of the run.
    pub(crate) fn subject(&self, publisher: u32, phase: u32) -> String {
        format!("soak.{}.node-{publisher}.{phase}", self.name)
    }

    /// The line of a route's configuration by which it takes the messages of one phase alone.
    pub(crate) fn only(phase: u32) -> String {
        format!("match.\"subject.4\" = \"{phase}\"")
    }

    /// The message with this mark.
    pub(crate) fn payload(&self, mark: Mark) -> String {
        (self.payload)(mark).to_string()
    }
}

fn report(mark: Mark) -> Value {
    json!({
        "host": format!("server-{}", mark.publisher),
        "completed": [format!("Database backup {mark}"), "log cleanup", "SSL renewal"],
        "disk_percent": mark.number % 100,
    })
}

/// Machines whose alerts begin, get worse and end, again and again.
fn alert(mark: Mark) -> Value {
    let (machine, round) = (mark.number % 7, mark.number / 7);
    let (severity, status) = match round % 4 {
        0 | 1 => ("warning", "firing"),
        2 => ("critical", "firing"),
        _ => ("critical", "resolved"),
    };
    json!({
        "severity": severity,
        "status": status,
        "summary": format!("Disk almost full {mark}"),
        "source": format!("db-{}-{machine}", mark.publisher),
        "fingerprint": format!("disk:{}:{machine}", mark.publisher),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_its_mark_once() {
        for route in &ROUTES {
            for number in 0..60 {
                let mark = Mark { route: route.name, publisher: 2, number };
                assert_eq!(Mark::all_in(&route.payload(mark), route.name), [mark]);
            }
        }
    }
}
