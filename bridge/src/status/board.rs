//! What is known at the moment.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use matrix_sdk::ruma::OwnedRoomId;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::{
    status::{
        moment::Moment,
        waiting::{First, Waiting},
    },
    text,
};

/// So many of a route's last messages are known.
const RECENT: usize = 10;

/// So many rooms of a route that cannot be used are told of.
const CLOSED_ROOMS: usize = 20;

/// In what state the bridge, or one of its routes, is; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// All works.
    Connected,
    /// NATS and the homeserver were not asked yet.
    Starting,
    /// We are not in a room, or may not post there.
    NotInRoom,
    /// A room is encrypted, and we post in clear.
    RoomEncrypted,
    /// What a route declares cannot be done, as long as nobody changes it or what it is about.
    RouteRefused,
    /// The homeserver does not answer, or not with what we need.
    HomeserverUnreachable,
    /// Somebody else has the homeserver's port.
    HomeserverUntrusted,
    /// NATS does not answer, or not with what we need.
    NatsUnreachable,
    /// What is on its way is finished, then the process ends.
    Draining,
    /// NATS or the homeserver does not accept us.
    CredentialsRefused,
}

impl State {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Connected,
        Self::Starting,
        Self::NotInRoom,
        Self::RoomEncrypted,
        Self::RouteRefused,
        Self::HomeserverUnreachable,
        Self::HomeserverUntrusted,
        Self::NatsUnreachable,
        Self::Draining,
        Self::CredentialsRefused,
    ];

    /// As machines read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Starting => "starting",
            Self::NotInRoom => "not-in-room",
            Self::RoomEncrypted => "room-encrypted",
            Self::RouteRefused => "route-refused",
            Self::HomeserverUnreachable => "homeserver-unreachable",
            Self::HomeserverUntrusted => "homeserver-untrusted",
            Self::NatsUnreachable => "nats-unreachable",
            Self::Draining => "draining",
            Self::CredentialsRefused => "credentials-refused",
        }
    }

    /// What there is to do for a person.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Connected => "nothing",
            Self::Starting => "wait; if it lasts, see the log: journalctl -u nats-matrix",
            Self::NotInRoom => {
                "invite the bridge's user to the room, or raise its power level; messages wait in NATS"
            }
            Self::RoomEncrypted => {
                "give the route another room in the configuration and reload it, as encryption cannot be switched off; messages wait in NATS"
            }
            Self::RouteRefused => {
                "mend what the reason names: it is tried again every half minute, and with a reload at once; messages of the route wait in NATS, the others go on"
            }
            Self::HomeserverUnreachable => {
                "see whether the homeserver runs, and its log; messages wait in NATS"
            }
            Self::HomeserverUntrusted => {
                "end the program that has taken the homeserver's port, and find out why it did: it may be after passwords; nothing was sent to it, and messages wait in NATS"
            }
            Self::NatsUnreachable => {
                "nats-matrix check tells whether the server, the stream or a permission is missing; publishers keep what NATS does not take"
            }
            Self::Draining => "nothing; it ends within seconds",
            Self::CredentialsRefused => {
                "renew the credentials in the configuration, then restart if it has ended: nats-matrix check tells which"
            }
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Where in its life the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    #[default]
    Starting,
    Serving,
    Draining,
}

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// One is in the room by itself.
    Posted,
    /// As many are in the room, in a digest.
    Digested(u64),
    /// One is held back until the morning.
    Deferred,
    /// One can never be posted.
    Dead,
}

/// Something that does not work.
#[derive(Debug)]
struct Ailment {
    route: Option<Arc<str>>,
    state: State,
    reason: String,
    since: Moment,
}

impl Ailment {
    /// Whether the route has it, by itself or with all others.
    fn is_of(&self, route: &Arc<str>) -> bool {
        self.route.as_ref().is_none_or(|its| its == route)
    }
}

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) phase: Phase,
    /// Why a new configuration was refused.
    pub(crate) refused: Option<String>,
    numbers: u64,
    ailments: BTreeMap<u64, Ailment>,
    routes: BTreeMap<Arc<str>, Line>,
}

/// What is known of a route.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Its messages come.
    pub(crate) is_begun: bool,
    /// What it ended with, if it is not tried again with success yet.
    failure: Option<u64>,
    /// The room that it posts into, if that is one and was entered.
    pub(crate) room: Option<OwnedRoomId>,
    /// Those of its many rooms that cannot be used, and why.
    pub(crate) closed: BTreeMap<String, String>,
    in_hand: Option<InHand>,
    /// How many messages wait, when NATS was asked last.
    pending: Option<u64>,
    /// The first of them.
    first: Option<First>,
    /// The last that was done with.
    done: u64,
    last_posted: Option<Moment>,
    recent: VecDeque<Recent>,
}

/// The message that is worked on.
#[derive(Debug)]
struct InHand {
    message: First,
    /// If nothing was done until then, it hangs.
    until: Instant,
}

/// What became of one of the last messages.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Recent {
    pub(crate) at: Moment,
    pub(crate) published: Moment,
    pub(crate) subject: String,
    pub(crate) outcome: String,
}

/// What is known, at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(crate) what_to_do: &'static str,
    pub(crate) reasons: Vec<String>,
    pub(crate) routes: Vec<RouteSnapshot>,
}

/// What is known of a route, at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct RouteSnapshot {
    pub(crate) name: Arc<str>,
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) since: Option<Moment>,
    /// How many messages wait, if it is known.
    pub(crate) pending: Option<u64>,
    /// How long the oldest of them has waited.
    pub(crate) oldest_seconds: u64,
    pub(crate) last_posted: Option<Moment>,
    /// Some of its many rooms that cannot be used.
    pub(crate) closed_rooms: Vec<ClosedRoom>,
    pub(crate) recent: Vec<Recent>,
}

/// A room, of many, whose messages go to the fallback room or are dead letters.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClosedRoom {
    pub(crate) room: String,
    pub(crate) reason: String,
}

impl Board {
    /// What is there from now on is of another configuration.
    pub(crate) fn begin(&mut self, refused: Option<String>) {
        self.phase = Phase::Starting;
        self.refused = refused;
        for number in self.routes.values().filter_map(|line| line.failure) {
            self.ailments.remove(&number);
        }
        self.routes.clear();
    }

    pub(crate) fn new_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn add_route(&mut self, name: &str) {
        self.routes.entry(name.into()).or_default();
    }

    pub(crate) fn route(&mut self, name: &Arc<str>) -> &mut Line {
        self.routes.entry(Arc::clone(name)).or_default()
    }

    /// The route, if it is not set aside.
    pub(crate) fn known(&mut self, name: &Arc<str>) -> Option<&mut Line> {
        self.routes.get_mut(name)
    }

    /// Nobody has to wait for the route, until it is there again.
    pub(crate) fn set_aside(&mut self, name: &Arc<str>) {
        if let Some(number) = self.routes.remove(name).and_then(|line| line.failure) {
            self.clear(number);
        }
    }

    pub(crate) fn set(&mut self, number: u64, route: Option<Arc<str>>, state: State, reason: &str) {
        let before = self.ailments.get(&number).filter(|before| before.state == state);
        let since = before.map_or_else(Moment::now, |before| before.since);
        let reason = text::clean(reason);
        self.ailments.insert(number, Ailment { route, state, reason, since });
    }

    /// The route has ended, for this reason, and is tried again. Whether that is news.
    pub(crate) fn fails(&mut self, name: &Arc<str>, state: State, reason: &str) -> bool {
        let number = self.route(name).failure.unwrap_or_else(|| self.new_number());
        let before = self.ailments.get(&number).map(|before| &before.reason);
        let is_news = before != Some(&text::clean(reason));
        self.set(number, Some(Arc::clone(name)), state, reason);
        let line = self.route(name);
        line.failure = Some(number);
        line.is_begun = false;
        line.put_back();
        is_news
    }

    /// The route's messages come. Whether they had failed to.
    pub(crate) fn begun(&mut self, name: &Arc<str>) -> bool {
        let line = self.route(name);
        line.is_begun = true;
        line.failure.take().is_some_and(|number| self.clear(number))
    }

    /// The routes that have ended and are tried again, and why they have.
    pub(crate) fn failures(&self) -> Vec<(Arc<str>, String)> {
        let reason = |line: &Line| Some(self.ailments.get(&line.failure?)?.reason.clone());
        let routes = self.routes.iter();
        routes.filter_map(|(name, line)| Some((Arc::clone(name), reason(line)?))).collect()
    }

    /// Whether it was ill.
    pub(crate) fn clear(&mut self, number: u64) -> bool {
        self.ailments.remove(&number).is_some()
    }

    pub(crate) fn state(&self) -> State {
        let worst = self.ailments.values().map(|ailment| ailment.state).max();
        let phase = match self.phase {
            Phase::Serving if self.routes.values().all(|line| line.is_begun) => State::Connected,
            Phase::Starting | Phase::Serving => State::Starting,
            Phase::Draining => State::Draining,
        };
        worst.map_or(phase, |worst| worst.max(phase))
    }

    /// Why the state is what it is, without repetitions.
    fn reasons(&self, state: State) -> Vec<String> {
        let mut reasons = Vec::new();
        for ailment in self.ailments.values().filter(|ailment| ailment.state == state) {
            let reason = match &ailment.route {
                Some(route) => format!("route {route}: {}", ailment.reason),
                None => ailment.reason.clone(),
            };
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }

    fn refusal(&self) -> Option<String> {
        let reason = text::clean(self.refused.as_ref()?);
        Some(format!("new configuration refused: {reason}"))
    }

    pub(crate) fn words(&self) -> String {
        let state = self.state();
        let count = self.routes.len();
        let mut words = state.name().to_owned();
        if state == State::Connected {
            let routes = if count == 1 { "route" } else { "routes" };
            _ = write!(words, ": relaying {count} {routes}");
        }
        if let Some(reason) = self.reasons(state).first() {
            _ = write!(words, ": {reason}");
        }
        if let Some(refusal) = self.refusal() {
            _ = write!(words, "; {refusal}");
        }
        // A second line would be something else to systemd.
        words.lines().next().unwrap_or_default().to_owned()
    }

    pub(crate) fn stuck(&mut self) -> Option<String> {
        let away = self.ailments.values().filter(|it| it.state == State::NatsUnreachable);
        let now = Instant::now();
        let mut stuck = Vec::new();
        for (name, line) in &mut self.routes {
            let Some(in_hand) = &mut line.in_hand else { continue };
            // What another route misses, as its stream, is no excuse for this one.
            if away.clone().any(|ailment| ailment.is_of(name)) {
                in_hand.until = in_hand.until.max(now + PATIENCE);
            }
            if in_hand.until < now {
                stuck.push(format!("route {name} hangs with message {}", in_hand.message.sequence));
            }
        }
        (!stuck.is_empty()).then(|| stuck.join(", "))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let routes = self.routes.iter().map(|(name, line)| self.route_snapshot(name, line));
        Snapshot {
            state,
            what_to_do: state.advice(),
            reasons: self.reasons(state).into_iter().chain(self.refusal()).collect(),
            routes: routes.collect(),
        }
    }

    fn route_snapshot(&self, name: &Arc<str>, line: &Line) -> RouteSnapshot {
        let its = self.ailments.values().filter(|ailment| ailment.is_of(name));
        let worst = its.max_by_key(|ailment| ailment.state);
        let phase = if line.is_begun { State::Connected } else { State::Starting };
        let age = line.first().map(|first| moment(first.published).age());
        RouteSnapshot {
            name: Arc::clone(name),
            state: worst.map_or(phase, |worst| worst.state),
            reason: worst.map(|worst| worst.reason.clone()),
            since: worst.map(|worst| worst.since),
            pending: line.pending,
            oldest_seconds: age.unwrap_or_default().as_secs(),
            last_posted: line.last_posted,
            closed_rooms: line.closed_rooms(),
            recent: line.recent.iter().cloned().collect(),
        }
    }
}

impl Line {
    fn closed_rooms(&self) -> Vec<ClosedRoom> {
        let some = self.closed.iter().take(CLOSED_ROOMS);
        let clean = |(room, reason): (&String, &String)| ClosedRoom {
            room: text::clean(room),
            reason: text::clean(reason),
        };
        some.map(clean).collect()
    }

    pub(crate) fn take(&mut self, message: First) {
        self.in_hand = Some(InHand { message, until: Instant::now() + PATIENCE });
    }

    /// The message in hand is done with.
    pub(crate) fn end(&mut self) {
        if let Some(in_hand) = self.in_hand.take() {
            self.done = in_hand.message.sequence;
            self.forget_done();
        }
    }

    /// The message in hand waits again.
    fn put_back(&mut self) {
        if let Some(in_hand) = self.in_hand.take() {
            self.first = Some(in_hand.message);
        }
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) {
        (self.pending, self.first) = (waiting.count, waiting.first);
        // NATS may have been asked before it had the acknowledgement.
        self.forget_done();
    }

    fn forget_done(&mut self) {
        self.first = self.first.filter(|first| first.sequence > self.done);
    }

    /// What is worked on is the first of all.
    pub(crate) fn first(&self) -> Option<First> {
        self.in_hand.as_ref().map(|in_hand| in_hand.message).or(self.first)
    }

    /// Something was done, and nothing is to be done for as long as `pause`.
    pub(crate) fn beat(&mut self, pause: Duration) {
        if let Some(in_hand) = &mut self.in_hand {
            in_hand.until = Instant::now() + pause + PATIENCE;
        }
    }

    pub(crate) fn note(&mut self, subject: &str, published: OffsetDateTime, shown: Shown) {
        let at = Moment::now();
        let outcome = match shown {
            Shown::Posted => "posted".to_owned(),
            Shown::Digested(count) => format!("digest of {count}"),
            Shown::Deferred => "held back".to_owned(),
            Shown::Dead => "dead letter".to_owned(),
        };
        if matches!(shown, Shown::Posted | Shown::Digested(_)) {
            self.last_posted = Some(at);
        }
        self.recent.truncate(RECENT - 1);
        let subject = text::line(subject);
        self.recent.push_front(Recent { at, published: moment(published), subject, outcome });
    }
}

fn moment(time: OffsetDateTime) -> Moment {
    let time = Timestamp::from_nanosecond(time.unix_timestamp_nanos());
    Moment(time.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// A message that is in hand for this long, with nothing tried and nothing waited for, hangs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);
