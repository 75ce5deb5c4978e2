//! The queues that are tried.

use crate::{
    shape::{SHAPES, Shape},
    trial::{Setting, Trial},
};

/// The anonymous memory in KiB that the bridge is to stay below.
const MOST_KIB: u64 = 48 * 1024;
/// The number of routes that have nothing to do, and the memory in KiB that the bridge may take with them.
const IDLE_ROUTES: usize = 200;
const MOST_IDLE_KIB: u64 = 26 * 1024;
/// The shapes of large messages that many routes take at once: text that is attached, what decoding makes the most of,
/// and a file that is decoded before it is attached.
const ATTACK: [&str; 3] =
    ["text: letters", "object: nested arrays", "CloudEvent: data_base64, text"];
/// The shape of the alerts that come by the thousand.
const STORM: &str = "alert: many labels";
/// The bytes of a message that a server takes by default, with some room for what else there is.
const NEARLY_A_MEGABYTE: usize = 900_000;
/// The default of `digest_above`.
const USUAL: u64 = 100;
/// The limit of digests that lets every message be shown by itself.
const ONE_BY_ONE: u64 = 0;
/// The bytes of a message that is small.
const SMALL: usize = 300;
/// The bytes of a message that is small, and large when it is decoded.
const MIDDLING: usize = 4_000;

/// The shapes of which thousands are queued: those with the most memory for their bytes, of each kind.
const QUEUED: [&str; 15] = [
    "report: many items",
    "report: nested",
    "alert: many labels",
    "group: many members",
    "group: many alerts",
    "Grafana: many texts",
    "Uptime Kuma: many tags",
    "Forgejo: many commits",
    "CloudEvent: a report of zeros",
    "CloudEvent: data_base64, zeros",
    "object: nested arrays",
    "array: zeros",
    "binary",
    "headers: many",
    "subject: long",
];
/// The trials whose messages are shown one by one, too, which takes longer.
const ONE_BY_ONE_TOO: [&str; 4] =
    ["alert: many labels", "group: many alerts", "object: nested arrays", "headers: many"];

/// All trials with a NATS whose `max_payload` is so many megabytes, of which the first is of good reports alone.
/// `queue`
/// is how many messages are queued of each kind that is small.
pub(crate) fn of(megabytes: usize, queue: usize) -> Vec<Trial> {
    let size = megabytes * 1024 * 1024;
    let mut trials = vec![Trial { bad: 0, ..trial("good reports alone", &[], size, 0) }];
    // The more there is of it, the longer it takes.
    let each = if megabytes > 2 { 2 } else { 4 };
    for shape in &SHAPES {
        trials.push(trial(shape.name, &[shape], size, each));
    }
    let all: Vec<&Shape> = SHAPES.iter().filter(|shape| !shape.is_bounded()).collect();
    // In other places a few of them are enough where they are larger.
    let some: Vec<&Shape> =
        all.iter().copied().step_by(if megabytes > 2 { 5 } else { 1 }).collect();
    let settings = [
        ("all, templates", Setting::Templates, ONE_BY_ONE),
        ("all, match on payloads", Setting::Match, ONE_BY_ONE),
        ("all, digests", Setting::Plain, 3),
        ("all, quiet hours", Setting::QuietHours, 3),
    ];
    for (name, setting, digest_above) in settings {
        trials.push(Trial { setting, digest_above, ..trial(name, &some, size, some.len()) });
    }
    // Only the good messages in a summary are to be reports.
    let no_reports: Vec<&Shape> =
        some.iter().copied().filter(|shape| !shape.name.contains("report")).collect();
    let summary = trial("all, summary", &no_reports, size, no_reports.len());
    trials.push(Trial { setting: Setting::Summary, ..summary });
    let name = "all, 5 routes";
    trials.push(Trial { setting: Setting::MoreRoutes(4), ..trial(name, &some, size, some.len()) });
    if megabytes > 2 {
        trials.push(Trial {
            setting: Setting::MoreRoutes(2),
            digest_above: USUAL,
            ..trial("attacked, 3 routes", &ATTACK.map(shape), size, 9)
        });
    } else {
        trials.extend(many_routes());
        trials.extend(queues(queue));
        for digest_above in [ONE_BY_ONE, USUAL] {
            let name = format!("all, a real homeserver, digest_above {digest_above}");
            let setting = Setting::RealHomeserver;
            trials.push(Trial { setting, digest_above, ..trial(&name, &some, size, some.len()) });
        }
    }
    trials
}

/// More routes than a host usually has.
fn many_routes() -> Vec<Trial> {
    let attacked = Trial {
        setting: Setting::MoreRoutes(29),
        digest_above: USUAL,
        ..trial("attacked, 30 routes", &ATTACK.map(shape), NEARLY_A_MEGABYTE, 6)
    };
    let storms = Trial {
        setting: Setting::MoreRoutes(3),
        digest_above: USUAL,
        good_every: 1_000,
        ..trial("alerts, 10000 queued, digests, 4 routes", &[shape(STORM)], SMALL, 10_000)
    };
    let idle = Trial {
        setting: Setting::IdleRoutes(IDLE_ROUTES),
        most_kib: MOST_IDLE_KIB,
        ..trial(&format!("idle, {IDLE_ROUTES} more routes"), &[], SMALL, 0)
    };
    vec![attacked, storms, idle]
}

/// The shape of this name.
fn shape(name: &str) -> &'static Shape {
    SHAPES.iter().find(|shape| shape.name == name).expect("all names are of shapes")
}

/// Thousands of small messages.
fn queues(queue: usize) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut queued = |name: &str, size: usize, count: usize, digest_above: u64| {
        let shapes: Vec<&Shape> = SHAPES.iter().filter(|shape| shape.name == name).collect();
        let how = if digest_above == ONE_BY_ONE { "one by one" } else { "digests" };
        let name = format!("{name}, {count} queued, {how}");
        trials.push(Trial { digest_above, good_every: 10, ..trial(&name, &shapes, size, count) });
    };
    for name in QUEUED {
        // Headers and subjects may hold far fewer bytes than a payload.
        let is_bounded = SHAPES.iter().any(|shape| shape.name == name && shape.is_bounded());
        let (size, count) = if is_bounded { (usize::MAX, queue / 5) } else { (SMALL, queue) };
        queued(name, size, count, USUAL);
        if ONE_BY_ONE_TOO.contains(&name) {
            queued(name, size, count, ONE_BY_ONE);
        }
    }
    for name in ["object: nested arrays", "group: many alerts", "alert: many labels"] {
        queued(name, MIDDLING, queue / 2, USUAL);
    }
    trials
}

fn trial(name: &str, shapes: &[&'static Shape], size: usize, bad: usize) -> Trial {
    Trial {
        name: name.to_owned(),
        shapes: shapes.to_vec(),
        size,
        bad,
        good_every: 1,
        setting: Setting::Plain,
        digest_above: ONE_BY_ONE,
        most_kib: MOST_KIB,
    }
}
