//! Metrics for Prometheus.

use std::{
    fmt,
    sync::atomic::{AtomicU32, AtomicU64},
    time::Duration,
};

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::status::board::{DeadFor, RouteSnapshot, Shown, Snapshot, State};

/// Upper bounds of the histogram of posting requests, in seconds: from a homeserver on the same machine to a request
/// that is about to time out.
const BUCKETS: [f64; 12] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// The labels of a metric that belongs to a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    route: String,
}

/// One label whose values are known beforehand, with its name.
type Label = [(&'static str, &'static str); 1];

/// The labels of the answers to alerts of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswersOf {
    route: String,
    action: &'static str,
}

type Ages = Family<Of, Gauge<f64, AtomicU64>>;

/// All metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    received: Family<Of, Counter>,
    posted: Family<Of, Counter>,
    digested: Family<Of, Counter>,
    digests: Family<Of, Counter>,
    held: Family<Of, Counter>,
    dead: Family<Of, Counter>,
    without_room: Family<Of, Counter>,
    pushed_out: Family<Of, Counter>,
    diverted: Family<Of, Counter>,
    removed: Family<Of, Counter>,
    rooms_made: Family<Of, Counter>,
    retried: Family<Of, Counter>,
    flawed: Family<Of, Counter>,
    masked: Family<Of, Counter>,
    fallbacks: Family<Of, Counter>,
    withheld: Family<Of, Counter>,
    acked_elsewhere: Family<Of, Counter>,
    denied: Family<Of, Counter>,
    markers: Family<Of, Counter>,
    answers: Family<AnswersOf, Counter>,
    /// The time of the last answer to a `/sync`; without a value where the bridge does not listen.
    heard: Family<[(&'static str, &'static str); 0], Gauge<f64, AtomicU64>>,
    sends: Family<Of, Histogram>,
    pending: Family<Of, Gauge>,
    oldest: Ages,
    last_posted: Ages,
    route_ready: Family<Of, Gauge<u32, AtomicU32>>,
    state: Family<Label, Gauge<u32, AtomicU32>>,
    pub(crate) nats_reconnects: Counter,
}

/// The metrics of one route.
#[derive(Debug, Clone)]
pub(crate) struct RouteMetrics {
    /// The messages that came from NATS, including redelivered ones.
    pub(crate) received: Counter,
    /// The messages that are in the room, alone or in digests.
    pub(crate) posted: Counter,
    pub(crate) digests: Counter,
    digested: Counter,
    held: Counter,
    pub(crate) dead: Counter,
    /// The messages for which no room could be used.
    without_room: Counter,
    /// The dead letters that were given up for later ones.
    pub(crate) pushed_out: Counter,
    /// The messages whose own room could not be used.
    pub(crate) diverted: Counter,
    /// The messages that the stream has removed before they could be read.
    pub(crate) removed: Counter,
    pub(crate) rooms_made: Counter,
    /// The attempts that failed and were repeated.
    pub(crate) retried: Counter,
    /// The messages that were posted unformatted because they could not be read.
    pub(crate) flawed: Counter,
    /// The secrets that were hidden.
    pub(crate) masked: Counter,
    /// The messages that were posted with a built-in template because the user's own template failed.
    pub(crate) fallbacks: Counter,
    /// The files that were not uploaded.
    pub(crate) withheld: Counter,
    /// The messages that somebody else acknowledged before they were posted.
    pub(crate) acked_elsewhere: Counter,
    /// The things that NATS denied for lack of a permission.
    pub(crate) denied: Counter,
    /// The messages that only say that others are gone.
    pub(crate) markers: Counter,
    sends: Histogram,
}

/// A deed of a person about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// Acknowledged it.
    Acknowledged,
    /// Took an acknowledgement back.
    TakenBack,
}

impl Answered {
    /// The name for machines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "ack",
            Self::TakenBack => "unack",
        }
    }
}

impl fmt::Display for RouteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (posted, flawed, digests) = (self.posted.get(), self.flawed.get(), self.digests.get());
        let (fallbacks, dead) = (self.fallbacks.get(), self.dead.get());
        write!(
            f,
            "{posted} messages posted, {flawed} flawed, {fallbacks} for which a template failed; {digests} digests, {dead} dead letters"
        )
    }
}

impl RouteMetrics {
    pub(crate) fn note(&self, shown: Shown) {
        match shown {
            Shown::Posted => drop(self.posted.inc()),
            Shown::Digested(count) => {
                self.posted.inc_by(count);
                self.digested.inc_by(count);
                self.digests.inc();
            }
            Shown::Deferred => drop(self.held.inc()),
            Shown::Dead(of) => {
                self.dead.inc();
                if of == DeadFor::Room {
                    self.without_room.inc();
                }
            }
        }
    }

    /// Records how long the homeserver took to answer a posting request.
    pub(crate) fn sent(&self, after: Duration) {
        self.sends.observe(after.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("nats_matrix"),
            received: Family::default(),
            posted: Family::default(),
            digested: Family::default(),
            digests: Family::default(),
            held: Family::default(),
            dead: Family::default(),
            without_room: Family::default(),
            pushed_out: Family::default(),
            diverted: Family::default(),
            removed: Family::default(),
            rooms_made: Family::default(),
            retried: Family::default(),
            flawed: Family::default(),
            masked: Family::default(),
            fallbacks: Family::default(),
            withheld: Family::default(),
            acked_elsewhere: Family::default(),
            denied: Family::default(),
            markers: Family::default(),
            answers: Family::default(),
            heard: Family::default(),
            sends: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            pending: Family::default(),
            oldest: Family::default(),
            last_posted: Family::default(),
            route_ready: Family::default(),
            state: Family::default(),
            nats_reconnects: Counter::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    /// Returns the metrics of a bridge that has one route and has just started.
    pub(crate) fn sample() -> String {
        let metrics = Self::default();
        let name = "reports";
        drop(metrics.route(name));
        metrics.expect_answers(name);
        metrics.heard();
        let route = RouteSnapshot {
            name: name.into(),
            state: State::Connected,
            reason: None,
            since: None,
            pending: Some(0),
            oldest_seconds: 0,
            last_posted: Some(Timestamp::UNIX_EPOCH),
            dead_letters: None,
            removed_unread: None,
            closed_rooms: Vec::new(),
            recent: Vec::new(),
        };
        metrics.text(&Snapshot {
            state: State::Connected,
            what_to_do: "",
            reasons: Vec::new(),
            routes: vec![route],
        })
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        // The type "info" exists only in OpenMetrics.
        let build = Family::<Label, Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("build_info", "The program that runs, always 1", build);
        self.register_counters();
        self.register_gauges();
        self
    }

    fn register_counters(&mut self) {
        for (name, help, family) in [
            (
                "received",
                "Messages received from NATS, including those that were delivered again",
                &self.received,
            ),
            ("posted", "Messages that are in the room, by themselves or in digests", &self.posted),
            ("digested", "Messages that are in the room in digests", &self.digested),
            ("digests", "Digests that were posted", &self.digests),
            ("held", "Messages that were held back in quiet hours", &self.held),
            (
                "dead_lettered",
                "Messages that can never be posted and are kept in NATS as dead letters",
                &self.dead,
            ),
            (
                "dead_lettered_without_room",
                "Messages of them for which no room can be used",
                &self.without_room,
            ),
            (
                "dead_letters_pushed_out",
                "Dead letters that were given up for later ones of the same route",
                &self.pushed_out,
            ),
            (
                "diverted",
                "Messages whose own room could not be used: in the fallback room, or kept in NATS",
                &self.diverted,
            ),
            (
                "removed_unread",
                "Messages that the stream removed before they could be read, at most this many",
                &self.removed,
            ),
            ("rooms_made", "Rooms that the bridge made", &self.rooms_made),
            ("retried", "Attempts to post that failed and were repeated", &self.retried),
            (
                "flawed",
                "Messages that were posted unformatted because they cannot be read",
                &self.flawed,
            ),
            (
                "secrets_masked",
                "Secrets in messages that were hidden before anything was shown",
                &self.masked,
            ),
            (
                "template_failures",
                "Messages posted with the built-in template because their own failed",
                &self.fallbacks,
            ),
            (
                "attachments_withheld",
                "Files that were not uploaded: too large, over attach_limit, or the homeserver took none",
                &self.withheld,
            ),
            (
                "acked_elsewhere",
                "Messages that somebody else acknowledged before they were posted",
                &self.acked_elsewhere,
            ),
            (
                "denied",
                "Requests and acknowledgements that NATS denied for lack of a permission",
                &self.denied,
            ),
            (
                "markers",
                "Messages without content that only say that others were deleted or have expired; they are not shown",
                &self.markers,
            ),
        ] {
            self.registry.register(name, help, family.clone());
        }
    }

    fn register_gauges(&mut self) {
        let registry = &mut self.registry;
        let seconds = Unit::Seconds;
        let help = "Time that the homeserver took to answer requests that post";
        registry.register_with_unit("send_duration", help, seconds.clone(), self.sends.clone());
        let help = "Messages that wait in NATS for the route, including those in progress; asked every 15 seconds";
        registry.register("pending", help, self.pending.clone());
        let help =
            "Time that the first message that is not in the room has waited; 0 if there is none";
        registry.register_with_unit(
            "oldest_unposted_age",
            help,
            seconds.clone(),
            self.oldest.clone(),
        );
        let help = "Time of the last posted message, in seconds since 1970";
        registry.register_with_unit(
            "last_posted_timestamp",
            help,
            seconds,
            self.last_posted.clone(),
        );
        let help = "1 if the route is connected, as in /readyz, else 0";
        registry.register("route_ready", help, self.route_ready.clone());
        let help = "1 for the state that the bridge is in, as in /readyz, 0 for the others";
        registry.register("state", help, self.state.clone());
        let help = "Times that the connection to NATS was lost and restored";
        registry.register("nats_reconnects", help, self.nats_reconnects.clone());
        self.register_answers();
    }

    fn register_answers(&mut self) {
        let registry = &mut self.registry;
        let help = "Answers of people to alerts that were carried out";
        registry.register("answers", help, self.answers.clone());
        let help = "Time when the homeserver last told what people have done in the rooms, in seconds since 1970";
        let unit = Unit::Seconds;
        registry.register_with_unit("last_heard_timestamp", help, unit, self.heard.clone());
    }

    /// Clears the gauges of all routes, as the routes may have changed since the last request.
    fn forget_gauges(&self) {
        self.pending.clear();
        self.oldest.clear();
        self.last_posted.clear();
        self.route_ready.clear();
    }

    /// Returns the metrics of a route. They are exported from now on, beginning with 0.
    pub(crate) fn route(&self, name: &str) -> RouteMetrics {
        let of = Of { route: name.to_owned() };
        let counter = |family: &Family<Of, Counter>| family.get_or_create(&of).clone();
        RouteMetrics {
            received: counter(&self.received),
            posted: counter(&self.posted),
            digests: counter(&self.digests),
            digested: counter(&self.digested),
            held: counter(&self.held),
            dead: counter(&self.dead),
            without_room: counter(&self.without_room),
            pushed_out: counter(&self.pushed_out),
            diverted: counter(&self.diverted),
            removed: counter(&self.removed),
            rooms_made: counter(&self.rooms_made),
            retried: counter(&self.retried),
            flawed: counter(&self.flawed),
            masked: counter(&self.masked),
            fallbacks: counter(&self.fallbacks),
            withheld: counter(&self.withheld),
            acked_elsewhere: counter(&self.acked_elsewhere),
            denied: counter(&self.denied),
            markers: counter(&self.markers),
            sends: self.sends.get_or_create(&of).clone(),
        }
    }

    /// Counts an answer of a person to an alert of a route.
    pub(crate) fn answered(&self, route: &str, answered: Answered) {
        let of = AnswersOf { route: route.to_owned(), action: answered.name() };
        self.answers.get_or_create(&of).inc();
    }

    /// Exports the answers to alerts of a route from now on, beginning with 0.
    pub(crate) fn expect_answers(&self, route: &str) {
        for answered in [Answered::Acknowledged, Answered::TakenBack] {
            let of = AnswersOf { route: route.to_owned(), action: answered.name() };
            drop(self.answers.get_or_create(&of));
        }
    }

    /// Notes that the homeserver has just told what people have done.
    pub(crate) fn heard(&self) {
        self.heard.get_or_create(&[]).set(Timestamp::now().as_duration().as_secs_f64());
    }

    /// Returns all metrics in the `OpenMetrics` format, with the present values of the gauges.
    pub(crate) fn text(&self, snapshot: &Snapshot) -> String {
        for state in State::ALL {
            self.state
                .get_or_create(&[("state", state.name())])
                .set(u32::from(state == snapshot.state));
        }
        self.forget_gauges();
        for route in &snapshot.routes {
            let of = Of { route: route.name.as_ref().to_owned() };
            let is_ready = route.state == State::Connected;
            self.route_ready.get_or_create(&of).set(u32::from(is_ready));
            #[expect(clippy::cast_precision_loss, reason = "ages are far below 2^52 seconds")]
            self.oldest.get_or_create(&of).set(route.oldest_seconds as f64);
            if let Some(pending) = route.pending {
                self.pending.get_or_create(&of).set(pending.try_into().unwrap_or(i64::MAX));
            }
            if let Some(posted) = route.last_posted {
                self.last_posted.get_or_create(&of).set(posted.as_duration().as_secs_f64());
            }
        }
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("a string takes everything");
        out
    }
}

/// Converts the metrics to the older Prometheus format, in which the description of a counter also ends in `_total`.
pub(crate) fn classic(open_metrics: &str) -> String {
    let is_counter = |name: &str| open_metrics.contains(&format!("\n# TYPE {name} counter\n"));
    let lines = open_metrics.lines().map(|line| match *line.splitn(4, ' ').collect::<Vec<_>>() {
        ["#", what, name, said] if is_counter(name) => format!("# {what} {name}_total {said}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}
