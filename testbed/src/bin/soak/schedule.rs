//! The schedule of faults, made from a seed before anything starts, so that a run can be repeated.

use std::{fmt, ops::RangeInclusive, time::Duration};

use clap::ValueEnum;
use fastrand::Rng;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Kind {
    BridgeKill,
    BridgeStop,
    DiskFull,
    TokenRevoked,
    ClockJump,
    NatsNodeKill,
    NatsNodeStop,
    NatsAllKill,
    NatsCut,
    NatsSlow,
    NatsHeld,
    NatsHalfOpen,
    HomeserverKill,
    HomeserverStop,
    RequestsCut,
    AnswersCut,
    AnswersSlow,
    HomeserverHalfOpen,
    TooManyRequests,
    BadGateway,
    RoutesChanged,
    RoutesNarrowed,
    SecondBridge,
    ConsumerEdited,
    ConsumerDeleted,
    StreamPurged,
    StreamRestored,
    RightsRevoked,
    LeafKill,
    LeafBridgeKill,
    LeafCut,
}

impl Kind {
    /// All there are, as they are told of.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// Its name, as it is given to `--faults`.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// A description of it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::BridgeKill => "kill -9 of the bridge, up to 4 in a row",
            Self::BridgeStop => "the bridge frozen (SIGSTOP)",
            Self::DiskFull => "the disk of the state directory full, token revoked, kill -9",
            Self::TokenRevoked => "the bridge's access token revoked",
            Self::ClockJump => "the bridge's clock set",
            Self::NatsNodeKill => "kill -9 of a NATS server, each in turn",
            Self::NatsNodeStop => "a NATS server frozen (SIGSTOP), each in turn",
            Self::NatsAllKill => "kill -9 of all NATS servers",
            Self::NatsCut => "connections to NATS cut and refused",
            Self::NatsSlow => "a slow link to NATS",
            Self::NatsHeld => "a link to NATS that drops packets",
            Self::NatsHalfOpen => "connections to NATS half open for good",
            Self::HomeserverKill => "kill -9 of the homeserver",
            Self::HomeserverStop => "the homeserver frozen (SIGSTOP)",
            Self::RequestsCut => "requests to the homeserver cut",
            Self::AnswersCut => "the homeserver's answers cut, its work done",
            Self::AnswersSlow => "slow answers of the homeserver",
            Self::HomeserverHalfOpen => "connections to the homeserver half open",
            Self::TooManyRequests => "storms of 429 Too Many Requests",
            Self::BadGateway => "502 Bad Gateway",
            Self::RoutesChanged => "a route removed while messages wait, and put back",
            Self::RoutesNarrowed => {
                "a route narrowed while messages wait that it does not take any more"
            }
            Self::SecondBridge => "a second bridge with the same routes, which ends or is killed",
            Self::ConsumerEdited => "a consumer edited or paused by an operator, and put back",
            Self::ConsumerDeleted => "a consumer deleted",
            Self::StreamPurged => "a stream purged while messages wait",
            Self::StreamRestored => "a stream and its consumers restored from a backup",
            Self::RightsRevoked => "rights in NATS taken from the bridge, and given back",
            Self::LeafKill => "kill -9 of the leaf node",
            Self::LeafBridgeKill => "kill -9 of the bridge at the leaf node",
            Self::LeafCut => "the link between hub and leaf node cut",
        }
    }

    fn lane(self) -> Lane {
        match self {
            Self::BridgeKill | Self::BridgeStop => Lane::Bridge,
            Self::DiskFull | Self::TokenRevoked | Self::ClockJump => Lane::Surroundings,
            Self::NatsNodeKill | Self::NatsNodeStop | Self::NatsAllKill => Lane::Nats,
            Self::NatsCut | Self::NatsSlow | Self::NatsHeld | Self::NatsHalfOpen => Lane::NatsLink,
            Self::HomeserverKill | Self::HomeserverStop => Lane::Homeserver,
            Self::RequestsCut
            | Self::AnswersCut
            | Self::AnswersSlow
            | Self::HomeserverHalfOpen
            | Self::TooManyRequests
            | Self::BadGateway => Lane::HomeserverLink,
            Self::RoutesChanged | Self::RoutesNarrowed => Lane::Configuration,
            Self::SecondBridge => Lane::SecondBridge,
            Self::ConsumerEdited
            | Self::ConsumerDeleted
            | Self::StreamPurged
            | Self::StreamRestored
            | Self::RightsRevoked => Lane::Operator,
            Self::LeafKill | Self::LeafBridgeKill | Self::LeafCut => Lane::Leaf,
        }
    }

    /// The milliseconds that it lasts: usually, and once in a while.
    fn lasts(self) -> (RangeInclusive<u64>, RangeInclusive<u64>) {
        match self {
            Self::TokenRevoked | Self::NatsHalfOpen | Self::ConsumerDeleted => (0..=0, 0..=0),
            // There has to be time for the bridge to notice.
            Self::DiskFull | Self::ClockJump => (4_000..=8_000, 10_000..=20_000),
            // It has to start, log in, and find out that another one has the routes.
            Self::SecondBridge => (8_000..=16_000, 25_000..=40_000),
            // The bridge looks at its consumers and rights every 15 s.
            Self::ConsumerEdited | Self::RightsRevoked => (1_000..=8_000, 18_000..=30_000),
            // JetStream delivers again after 30 s.
            Self::BridgeStop => (200..=5_000, 31_000..=40_000),
            Self::BridgeKill | Self::HomeserverKill | Self::NatsNodeKill => {
                (0..=4_000, 10_000..=20_000)
            }
            // The bridge gives a request up after 60 s; one that a frozen homeserver has is done all the same when it
            // goes on.
            Self::HomeserverHalfOpen | Self::HomeserverStop => (1_000..=8_000, 62_000..=65_000),
            _ => (500..=6_000, 10_000..=20_000),
        }
    }
}

/// A part of the scene that has one fault at a time. Different lanes have theirs at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    Bridge,
    Surroundings,
    Nats,
    NatsLink,
    Homeserver,
    HomeserverLink,
    Configuration,
    SecondBridge,
    Operator,
    Leaf,
}

impl Lane {
    /// All there are.
    pub(crate) const ALL: [Self; 10] = [
        Self::Bridge,
        Self::Surroundings,
        Self::Nats,
        Self::NatsLink,
        Self::Homeserver,
        Self::HomeserverLink,
        Self::Configuration,
        Self::SecondBridge,
        Self::Operator,
        Self::Leaf,
    ];
}

/// The milliseconds for which a lane is left alone between two faults.
const REST: RangeInclusive<u64> = 2_000..=14_000;
/// One of so many faults lasts long.
const LONG: u32 = 8;
/// A fault takes at most this part of the run.
const MOST: u32 = 4;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The time from the start of the run.
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    /// The number of faults of its kind that came before.
    pub(crate) turn: usize,
    /// A random number for whatever else there is to choose.
    dice: u64,
}

impl Fault {
    /// A number from `least` to `most`, the same each time.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        Rng::with_seed(self.dice).u64(least..=most)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, at, lasts, .. } = self;
        let (at, lasts) = (at.as_secs_f64(), lasts.as_secs_f64());
        write!(f, "{at:7.1} s  {:21} for {lasts:4.1} s", kind.name())
    }
}

/// All faults of a run, in the order in which they begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) faults: Vec<Fault>,
}

impl Schedule {
    /// Faults of these kinds for so long, the same for the same seed.
    pub(crate) fn new(seed: u64, length: Duration, kinds: &[Kind]) -> Self {
        let mut seeds = Rng::with_seed(seed);
        let mut faults = Vec::new();
        for lane in Lane::ALL {
            // Drawn for every lane, so that leaving out one lane's kinds changes no other's faults.
            let rng = Rng::with_seed(seeds.u64(..));
            let mut kinds: Vec<_> =
                kinds.iter().copied().filter(|kind| kind.lane() == lane).collect();
            kinds.sort_unstable();
            kinds.dedup();
            faults.extend(lane_faults(rng, length, &kinds));
        }
        faults.sort_by_key(|fault| fault.at);
        Self { faults }
    }

    /// The faults of a lane.
    pub(crate) fn of(&self, lane: Lane) -> Vec<Fault> {
        self.faults.iter().filter(|fault| fault.kind.lane() == lane).cloned().collect()
    }
}

fn lane_faults(mut rng: Rng, length: Duration, kinds: &[Kind]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut bag = Vec::new();
    let mut at = Duration::from_millis(rng.u64(REST));
    while !kinds.is_empty() {
        // Each kind comes before any comes again, so that a short run has as many as it can.
        if bag.is_empty() {
            bag = kinds.to_vec();
            rng.shuffle(&mut bag);
        }
        let Some(kind) = bag.pop() else { break };
        let (usual, long) = kind.lasts();
        let (usual, long) = (rng.u64(usual), rng.u64(long));
        let lasts = if rng.u32(..LONG) == 0 { long } else { usual };
        let lasts = Duration::from_millis(lasts).min(length / MOST);
        if at + lasts > length {
            break;
        }
        let turn = faults.iter().filter(|fault: &&Fault| fault.kind == kind).count();
        faults.push(Fault { kind, at, lasts, turn, dice: rng.u64(..) });
        at += lasts + Duration::from_millis(rng.u64(REST));
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LENGTH: Duration = Duration::from_mins(10);

    #[test]
    fn the_same_seed_makes_the_same_schedule_and_another_does_not() {
        let first = Schedule::new(7, LENGTH, Kind::all());
        assert_eq!(first, Schedule::new(7, LENGTH, Kind::all()));
        assert_ne!(first, Schedule::new(8, LENGTH, Kind::all()));
    }

    #[test]
    fn a_seed_means_the_same_from_version_to_version() {
        let schedule = Schedule::new(1, LENGTH, Kind::all());
        let first: Vec<_> = schedule.faults.iter().take(3).map(ToString::to_string).collect();
        assert_eq!(
            first,
            [
                "    2.8 s  nats-all-kill         for  3.9 s",
                "    2.9 s  clock-jump            for  4.8 s",
                "    5.3 s  bad-gateway           for 14.6 s",
            ]
        );
    }

    #[test]
    fn every_kind_comes_and_none_outlasts_the_run() {
        let schedule = Schedule::new(3, LENGTH, Kind::all());
        let kinds: BTreeSet<_> = schedule.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), Kind::all().len());
        assert!(schedule.faults.is_sorted_by_key(|fault| fault.at));
        assert!(schedule.faults.iter().all(|fault| fault.at + fault.lasts <= LENGTH));
    }

    #[test]
    fn every_kind_comes_in_the_two_minutes_of_ci() {
        let schedule = Schedule::new(7, Duration::from_mins(2), Kind::all());
        let kinds: BTreeSet<_> = schedule.faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds.len(), Kind::all().len());
    }

    #[test]
    fn a_lane_has_one_fault_at_a_time() {
        let schedule = Schedule::new(4, LENGTH, Kind::all());
        for lane in Lane::ALL {
            let faults = schedule.of(lane);
            assert!(!faults.is_empty(), "{lane:?}");
            assert!(faults.windows(2).all(|pair| pair[0].at + pair[0].lasts < pair[1].at));
        }
    }

    #[test]
    fn only_the_chosen_kinds_come_and_at_the_same_times_as_among_others() {
        let all = Schedule::new(5, LENGTH, Kind::all());
        let bridge = [Kind::BridgeStop, Kind::BridgeKill];
        let some = Schedule::new(5, LENGTH, &bridge);
        assert_eq!(some.faults, all.of(Lane::Bridge));
    }

    #[test]
    fn a_short_run_has_short_faults() {
        let length = Duration::from_mins(1);
        let schedule = Schedule::new(6, length, Kind::all());
        assert!(schedule.faults.iter().all(|fault| fault.lasts <= length / MOST));
    }
}
