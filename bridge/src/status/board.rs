//! The current state of the bridge and its routes.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use matrix_sdk::ruma::OwnedRoomId;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::{
    status::{
        moment::age,
        waiting::{First, Waiting},
    },
    text,
};

/// The number of recent messages that are kept for each route.
const RECENT: usize = 10;

/// The number of unusable rooms of a route that are shown.
const CLOSED_ROOMS: usize = 20;

/// The state of the bridge or of one of its routes. The worst state is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Everything works.
    Connected,
    /// NATS and the homeserver have not answered yet.
    Starting,
    /// Another bridge posts the messages of a route.
    StandingBy,
    /// A large message of a route waits until those of other routes have left the memory.
    MemoryTaken,
    /// Somebody has paused the consumer of a route.
    ConsumerPaused,
    /// The bridge is not in a room, or may not post there.
    NotInRoom,
    /// A room is encrypted, but the bridge posts in clear.
    RoomEncrypted,
    /// The configuration of a route cannot be applied until somebody changes it or what it refers to.
    RouteRefused,
    /// The bridge's own code fails at a message of the route.
    RouteFailed,
    /// Somebody else acknowledges messages of a route.
    AckedElsewhere,
    /// The homeserver does not answer, or its answers cannot be used.
    HomeserverUnreachable,
    /// Another program listens on the homeserver's port.
    HomeserverUntrusted,
    /// NATS does not answer, or its answers cannot be used.
    NatsUnreachable,
    /// NATS denies the bridge something that a route cannot do without.
    NotPermitted,
    /// The bridge finishes the messages in progress, then the process ends.
    Draining,
    /// NATS or the homeserver rejects the bridge's credentials.
    CredentialsRefused,
}

impl State {
    /// All states.
    pub(crate) const ALL: [Self; 16] = [
        Self::Connected,
        Self::Starting,
        Self::StandingBy,
        Self::MemoryTaken,
        Self::ConsumerPaused,
        Self::NotInRoom,
        Self::RoomEncrypted,
        Self::RouteRefused,
        Self::RouteFailed,
        Self::AckedElsewhere,
        Self::HomeserverUnreachable,
        Self::HomeserverUntrusted,
        Self::NatsUnreachable,
        Self::NotPermitted,
        Self::Draining,
        Self::CredentialsRefused,
    ];

    /// Whether a person has to change something in a room first, while a server may answer again at any time.
    fn is_for_people(self) -> bool {
        matches!(self, Self::NotInRoom | Self::RoomEncrypted)
    }

    /// The name of the state for machines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Starting => "starting",
            Self::StandingBy => "standing-by",
            Self::MemoryTaken => "memory-taken",
            Self::ConsumerPaused => "consumer-paused",
            Self::NotInRoom => "not-in-room",
            Self::RoomEncrypted => "room-encrypted",
            Self::RouteRefused => "route-refused",
            Self::RouteFailed => "route-failed",
            Self::AckedElsewhere => "acked-elsewhere",
            Self::HomeserverUnreachable => "homeserver-unreachable",
            Self::HomeserverUntrusted => "homeserver-untrusted",
            Self::NatsUnreachable => "nats-unreachable",
            Self::NotPermitted => "not-permitted",
            Self::Draining => "draining",
            Self::CredentialsRefused => "credentials-refused",
        }
    }

    /// The advice for the person who has to act.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Connected => "nothing",
            Self::Starting => "wait; if it lasts, see the log: journalctl -u nats-matrix",
            Self::StandingBy => {
                "nothing during a change of machines: this bridge takes over when the other one stops; otherwise stop one of them"
            }
            Self::MemoryTaken => {
                "wait; if it lasts, see which other route has had a large message or a digest in hand for long, and why; messages wait in NATS"
            }
            Self::ConsumerPaused => {
                "resume the consumer with the command that the reason names, or wait for the end of the pause; messages wait in NATS"
            }
            Self::NotInRoom => {
                "invite the bridge's user to the room, or raise its power level; messages wait in NATS"
            }
            Self::RoomEncrypted => {
                "give the route another room in the configuration and reload it, as encryption cannot be switched off; messages wait in NATS"
            }
            Self::RouteRefused => {
                "fix what the reason names; the bridge tries again every half minute, or at once after a reload; the route's messages wait in NATS, other routes go on"
            }
            Self::RouteFailed => {
                "report the bug that the reason names, with the message: it is tried again every half minute, and a message that fails each time is soon left aside; messages of the route wait in NATS, the others go on"
            }
            Self::AckedElsewhere => {
                "find the other reader of the consumer that the reason names, and give one of them another consumer; what the stream still has of the messages is posted all the same"
            }
            Self::HomeserverUnreachable => {
                "check that the homeserver runs, and read its log; messages wait in NATS"
            }
            Self::HomeserverUntrusted => {
                "stop the program that has taken the homeserver's port, and find out why it did: it may be after passwords; nothing was sent to it, and messages wait in NATS"
            }
            Self::NatsUnreachable => {
                "run nats-matrix check, which tells whether the server, the stream or a permission is missing; publishers keep what NATS does not take"
            }
            Self::NotPermitted => {
                "have the user under [nats] permitted to publish on the subject that the reason names; nats-matrix check lists all that is missing; messages wait in NATS"
            }
            Self::Draining => "nothing; the bridge ends within seconds",
            Self::CredentialsRefused => {
                "run nats-matrix check to see which credentials, renew them in the configuration, and restart the bridge if it has stopped"
            }
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The phase in the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    #[default]
    Starting,
    Serving,
    Draining,
}

/// The outcome for one or more messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The message is in the room as its own event.
    Posted,
    /// This many messages are in the room as one digest.
    Digested(u64),
    /// The message is deferred until the quiet hours end.
    Deferred,
    /// The message can never be posted and is a dead letter.
    Dead(DeadFor),
}

/// The reason why a message is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadFor {
    /// The homeserver refuses the message, or the bridge fails at it.
    Itself,
    /// No room can be used for the message.
    Room,
}

/// The dead letters of a route since the start.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct DeadLetters {
    pub(crate) count: u64,
    /// The number of those that have no usable room.
    pub(crate) without_room: u64,
    /// The number of those that were given up for later ones.
    pub(crate) pushed_out: u64,
    /// The time when the last one was kept.
    pub(crate) last: Timestamp,
}

/// The messages of a route that its stream has removed before they could be read, since the start.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct RemovedUnread {
    /// The number of messages. In a stream with messages of others it is the highest possible one.
    pub(crate) count: u64,
    /// The time when the last ones were found missing.
    pub(crate) last: Timestamp,
}

/// Something that does not work.
#[derive(Debug)]
struct Ailment {
    route: Option<Arc<str>>,
    state: State,
    reason: String,
    since: Timestamp,
}

impl Ailment {
    /// Whether the route has the ailment, alone or together with all others.
    fn is_of(&self, route: &Arc<str>) -> bool {
        self.route.as_ref().is_none_or(|its| its == route)
    }
}

/// The current state of the whole bridge.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pub(crate) phase: Phase,
    /// The reason why a new configuration was refused, if it was.
    pub(crate) refused: Option<String>,
    numbers: u64,
    ailments: BTreeMap<u64, Ailment>,
    routes: BTreeMap<Arc<str>, Line>,
    /// The dead letters of each route that has some, whatever configuration is in force.
    dead_letters: BTreeMap<Arc<str>, DeadLetters>,
    /// The removed messages of each route that has lost some, whatever configuration is in force.
    removed: BTreeMap<Arc<str>, RemovedUnread>,
}

/// The current state of a route.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Whether the route receives messages.
    pub(crate) is_begun: bool,
    /// The number of the ailment with which the route ended, until a retry succeeds.
    failure: Option<u64>,
    /// The room that the route posts into, if it has only one and the bridge is in it.
    pub(crate) room: Option<OwnedRoomId>,
    /// The rooms of a route with many that cannot be used, with the reasons.
    pub(crate) closed: BTreeMap<String, String>,
    in_hand: Option<InHand>,
    /// The number of messages that waited when NATS was last asked.
    pending: Option<u64>,
    /// The first message that waits.
    first: Option<First>,
    /// The stream sequence of the last message that was finished.
    done: u64,
    last_posted: Option<Timestamp>,
    recent: VecDeque<Recent>,
}

/// The message in progress.
#[derive(Debug)]
struct InHand {
    message: First,
    /// The time by which something must happen, or the message counts as stuck.
    until: Instant,
    /// Whether its room is closed.
    is_shut_out: bool,
}

/// The outcome for a recent message.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Recent {
    pub(crate) at: Timestamp,
    pub(crate) published: Timestamp,
    pub(crate) subject: String,
    pub(crate) outcome: String,
}

/// The state of the bridge at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(crate) what_to_do: &'static str,
    pub(crate) reasons: Vec<String>,
    pub(crate) routes: Vec<RouteSnapshot>,
}

/// The state of a route at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct RouteSnapshot {
    pub(crate) name: Arc<str>,
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) since: Option<Timestamp>,
    /// The number of messages that wait, if it is known.
    pub(crate) pending: Option<u64>,
    /// The time for which the oldest of them has waited.
    pub(crate) oldest_seconds: i64,
    pub(crate) last_posted: Option<Timestamp>,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) removed_unread: Option<RemovedUnread>,
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
    /// Resets the board for another configuration.
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

    /// The route, unless it is set aside.
    pub(crate) fn known(&mut self, name: &Arc<str>) -> Option<&mut Line> {
        self.routes.get_mut(name)
    }

    /// Notes the outcome for a message of a route.
    pub(crate) fn note(
        &mut self,
        name: &Arc<str>,
        subject: &str,
        published: Timestamp,
        shown: Shown,
    ) {
        if let Shown::Dead(of) = shown {
            let dead_letters = self.dead_letters_of(name);
            dead_letters.count += 1;
            dead_letters.without_room += u64::from(of == DeadFor::Room);
            dead_letters.last = Timestamp::now();
        }
        self.route(name).note(subject, published, shown);
    }

    /// Notes messages of a route that were removed before they could be read.
    pub(crate) fn removed(&mut self, name: &Arc<str>, count: u64) {
        let none = RemovedUnread { count: 0, last: Timestamp::now() };
        let removed = self.removed.entry(Arc::clone(name)).or_insert(none);
        removed.count = removed.count.saturating_add(count);
        removed.last = Timestamp::now();
    }

    /// Notes that an older dead letter of a route was given up.
    pub(crate) fn pushed_out(&mut self, name: &Arc<str>) {
        self.dead_letters_of(name).pushed_out += 1;
    }

    fn dead_letters_of(&mut self, name: &Arc<str>) -> &mut DeadLetters {
        let none = DeadLetters { count: 0, without_room: 0, pushed_out: 0, last: Timestamp::now() };
        self.dead_letters.entry(Arc::clone(name)).or_insert(none)
    }

    /// Removes the route, so that the bridge is ready without it until it is added again.
    pub(crate) fn set_aside(&mut self, name: &Arc<str>) {
        if let Some(number) = self.routes.remove(name).and_then(|line| line.failure) {
            self.clear(number);
        }
    }

    pub(crate) fn set(&mut self, number: u64, route: Option<Arc<str>>, state: State, reason: &str) {
        let before = self.ailments.get(&number).filter(|before| before.state == state);
        let since = before.map_or_else(Timestamp::now, |before| before.since);
        let reason = text::clean(reason);
        self.ailments.insert(number, Ailment { route, state, reason, since });
    }

    /// Notes that the route has failed and is retried. Returns whether the reason is a new one.
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

    /// Returns how long something has been wrong with the route alone or with all routes.
    pub(crate) fn ill_for(&self, name: &Arc<str>) -> Duration {
        let its = self.ailments.values().filter(|ailment| ailment.is_of(name));
        its.map(|ailment| age(ailment.since).unsigned_abs()).max().unwrap_or_default()
    }

    /// Notes that the message in progress waits again.
    pub(crate) fn put_back(&mut self, name: &Arc<str>) {
        self.route(name).put_back();
    }

    /// Notes that the route receives messages. Returns whether it had failed before.
    pub(crate) fn begun(&mut self, name: &Arc<str>) -> bool {
        let line = self.route(name);
        line.is_begun = true;
        line.failure.take().is_some_and(|number| self.clear(number))
    }

    /// The routes that have failed and are retried, each with the reason.
    pub(crate) fn failures(&self) -> Vec<(Arc<str>, String)> {
        let reason = |line: &Line| Some(self.ailments.get(&line.failure?)?.reason.clone());
        let routes = self.routes.iter();
        routes.filter_map(|(name, line)| Some((Arc::clone(name), reason(line)?))).collect()
    }

    /// Removes an ailment. Returns whether it was there.
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

    /// The reasons for the state, without repetitions.
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
        // systemd would read a second line as another variable.
        words.lines().next().unwrap_or_default().to_owned()
    }

    pub(crate) fn stuck(&mut self) -> Option<String> {
        // A route that has the memory which others wait for, and is stuck itself, is among those that are reported.
        let excuses = [State::NatsUnreachable, State::NotPermitted, State::MemoryTaken];
        let away = self.ailments.values().filter(|it| excuses.contains(&it.state));
        let now = Instant::now();
        let mut stuck = Vec::new();
        for (name, line) in &mut self.routes {
            let Some(in_hand) = &mut line.in_hand else { continue };
            // Only an outage that concerns this route excuses the wait: another route may lack its own stream.
            if away.clone().any(|ailment| ailment.is_of(name)) {
                in_hand.until = in_hand.until.max(now + PATIENCE);
            }
            if in_hand.until < now {
                stuck
                    .push(format!("route {name} is stuck on message {}", in_hand.message.sequence));
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
        let age = line.first().map(|first| age(first.published));
        RouteSnapshot {
            name: Arc::clone(name),
            state: worst.map_or(phase, |worst| worst.state),
            reason: worst.map(|worst| worst.reason.clone()),
            since: worst.map(|worst| worst.since),
            pending: line.pending,
            oldest_seconds: age.unwrap_or_default().as_secs(),
            last_posted: line.last_posted,
            dead_letters: self.dead_letters.get(name).copied(),
            removed_unread: self.removed.get(name).copied(),
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
        let until = Instant::now() + PATIENCE;
        self.in_hand = Some(InHand { message, until, is_shut_out: false });
    }

    /// Notes that the room of the message in progress could not be used.
    pub(crate) fn attempt_failed(&mut self, state: State) {
        if let Some(in_hand) = &mut self.in_hand {
            in_hand.is_shut_out = state.is_for_people();
        }
    }

    /// Notes that a request for the message in progress succeeded.
    pub(crate) fn attempt_succeeded(&mut self) {
        self.beat(Duration::ZERO);
        if let Some(in_hand) = &mut self.in_hand {
            in_hand.is_shut_out = false;
        }
    }

    /// Whether the room of the message in progress is closed, as the last request has shown.
    pub(crate) fn is_shut_out(&self) -> bool {
        self.in_hand.as_ref().is_some_and(|in_hand| in_hand.is_shut_out)
    }

    /// Notes that the message in progress is finished.
    pub(crate) fn end(&mut self) {
        if let Some(in_hand) = self.in_hand.take() {
            self.done = in_hand.message.sequence;
            self.forget_done();
        }
    }

    /// Notes that the message in progress waits again.
    fn put_back(&mut self) {
        if let Some(in_hand) = self.in_hand.take() {
            self.first = Some(in_hand.message);
        }
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) {
        (self.pending, self.first) = (waiting.count, waiting.first);
        // NATS may have answered before it received the last acknowledgement.
        self.forget_done();
    }

    fn forget_done(&mut self) {
        self.first = self.first.filter(|first| first.sequence > self.done);
    }

    /// The first message that is not finished: the one in progress, or else the first that waits.
    pub(crate) fn first(&self) -> Option<First> {
        self.in_hand.as_ref().map(|in_hand| in_hand.message).or(self.first)
    }

    /// Notes progress, and that the next step may be `pause` away.
    pub(crate) fn beat(&mut self, pause: Duration) {
        if let Some(in_hand) = &mut self.in_hand {
            in_hand.until = Instant::now() + pause + PATIENCE;
        }
    }

    fn note(&mut self, subject: &str, published: Timestamp, shown: Shown) {
        let at = Timestamp::now();
        let outcome = match shown {
            Shown::Posted => "posted".to_owned(),
            Shown::Digested(count) => format!("digest of {count}"),
            Shown::Deferred => "held back".to_owned(),
            Shown::Dead(DeadFor::Itself) => "dead letter".to_owned(),
            Shown::Dead(DeadFor::Room) => "dead letter: no room can be used".to_owned(),
        };
        if matches!(shown, Shown::Posted | Shown::Digested(_)) {
            self.last_posted = Some(at);
        }
        self.recent.truncate(RECENT - 1);
        let subject = text::line(subject);
        self.recent.push_front(Recent { at, published, subject, outcome });
    }
}

/// The time without progress after which a message counts as stuck. Retries and announced pauses count as progress.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);
