//! The routes of the run, and what is published for them.

use serde_json::{Value, json};

use crate::check::Mark;

/// A place with streams of its own, and a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// The cluster.
    Hub,
    /// A leaf node of it.
    Leaf,
}

/// A stream that is published to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) site: Site,
    pub(crate) name: &'static str,
    pub(crate) subjects: &'static str,
}

/// The stream that several routes share.
pub(crate) static SHARED: Stream = Stream { site: Site::Hub, name: "SOAK", subjects: "soak.>" };
/// The stream that a route has to itself, so that the bridge can tell exactly what was removed from it.
pub(crate) static PURGED: Stream =
    Stream { site: Site::Hub, name: "SOAK_PURGED", subjects: "purged.route.>" };
/// The stream of the leaf node, with the name of one of the hub.
pub(crate) static AT_LEAF: Stream =
    Stream { site: Site::Leaf, name: "SOAK", subjects: "leaf.plain.>" };

/// All of them.
pub(crate) static STREAMS: [&Stream; 3] = [&SHARED, &PURGED, &AT_LEAF];

/// A route through a bridge, with a room of its own.
pub(crate) struct Route {
    /// Its name here, in the marks of its messages, and of its room.
    pub(crate) name: &'static str,
    /// Its name in the configuration of its bridge.
    pub(crate) configured: &'static str,
    pub(crate) stream: &'static Stream,
    /// The subjects that it takes.
    pub(crate) subjects: &'static str,
    /// The number of waiting messages above which they are a digest; 0 for never.
    pub(crate) digest_above: u64,
    payload: fn(Mark) -> Value,
}

/// The routes of the hub, which faults strike in turn, and then that of the leaf node.
pub(crate) static ROUTES: [Route; 6] = [
    Route::shared("plain", "soak.plain.>", 0, report),
    Route::shared("digests", "soak.digests.>", 5, report),
    Route::shared("alerts", "soak.alerts.>", 0, alert),
    Route::shared("storms", "soak.storms.>", 10, alert),
    // One by one, so that the bridge posts one message at a time.
    Route {
        name: "purged",
        configured: "purged",
        stream: &PURGED,
        subjects: PURGED.subjects,
        digest_above: 0,
        payload: report,
    },
    Route {
        name: "plain at the leaf",
        configured: "plain",
        stream: &AT_LEAF,
        subjects: AT_LEAF.subjects,
        digest_above: 0,
        payload: report,
    },
];

/// The routes of a site.
pub(crate) fn at(site: Site) -> Vec<&'static Route> {
    ROUTES.iter().filter(|route| route.stream.site == site).collect()
}

impl Route {
    const fn shared(
        name: &'static str,
        subjects: &'static str,
        digest_above: u64,
        payload: fn(Mark) -> Value,
    ) -> Self {
        Self { name, configured: name, stream: &SHARED, subjects, digest_above, payload }
    }

    /// The subject on which a publisher publishes for it in one phase of the run.
    pub(crate) fn subject(&self, publisher: u32, phase: u32) -> String {
        format!("{}node-{publisher}.{phase}", self.subjects.trim_end_matches('>'))
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
    fn the_streams_have_the_subjects_of_their_routes() {
        for route in &ROUTES {
            let start = route.stream.subjects.trim_end_matches('>');
            assert!(route.subject(1, 0).starts_with(start), "{}", route.name);
            // The number of the phase is where `only` looks for it.
            assert_eq!(route.subject(1, 7).split('.').nth(3), Some("7"));
        }
    }

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
