//! Alerts as conversations: what fires begins one, what is said of it later is a reply in its
//! thread, and when it is over its first message says so.
//!
//! What is decided here depends on the messages alone, on their times in the stream and on what was
//! decided before. So a message that comes again after a kill is decided on in the same way, and
//! the room tells which of its events are there already.

use std::{collections::BTreeSet, time::Duration};

use data_encoding::HEXLOWER;
use matrix_sdk::ruma::{OwnedEventId, RoomId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    alerts::members::Members,
    config::{Patience, Route},
    hash,
    message::{Alert, Group, Origin, Payload, Status, Urgency, alert::identity, rfc3339},
};

/// More members of a group than these are not told apart.
const MOST_MEMBERS: usize = 256;

/// How much the clocks of this host and of NATS may differ.
const CLOCK_SKEW: Duration = Duration::from_mins(15);

/// What a message says in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlertUpdate {
    /// Which alert, among those of one scope.
    fingerprint: Vec<String>,
    /// The Alertmanager or Grafana that sent it, if it is known.
    sender: Option<String>,
    pub(crate) status: Status,
    pub(crate) urgency: Urgency,
    /// Those that fire.
    members: BTreeSet<u32>,
    /// There are more members, of which nothing is known.
    is_partial: bool,
    /// When all was well last, if the message tells, in seconds since 1970.
    last_ok: Option<i64>,
    /// When it began, if the message tells, in seconds since 1970.
    begun: Option<i64>,
    /// When it was over, likewise.
    ended: Option<i64>,
}

/// What has been said so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThreadState {
    /// The message that began it.
    pub(crate) root: OwnedEventId,
    /// Whether the root is a digest, which is not edited for one of many.
    #[serde(default)]
    pub(crate) is_shared: bool,
    pub(crate) status: Status,
    /// When the alert began, in seconds since 1970.
    pub(crate) begun: i64,
    /// When it was last resolved, likewise.
    pub(crate) resolved: i64,
    /// When it last made a phone buzz, likewise.
    pub(crate) pushed: i64,
    /// How often it has fired anew.
    pub(crate) times: u32,
    /// The worst so far.
    urgency: Urgency,
    /// How bad it was said to be last.
    level: Urgency,
    /// When it last got better without being over, in seconds since 1970.
    pub(crate) eased: i64,
    /// Those that have fired, and since when they no longer do.
    pub(crate) members: Members,
    /// When the latest message was said, likewise. What was held back can come after what was said later.
    #[serde(default)]
    pub(crate) said: i64,
    /// The last message that was said in it.
    pub(crate) last: Origin,
}

/// What a message is in its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// The first word.
    Opened,
    /// More about what goes on.
    Updated {
        /// Whether phones should buzz for it.
        pushes: bool,
        /// It is worse than it was, or not as bad, so the first message is no longer right.
        is_other: bool,
    },
    /// The end.
    Resolved,
    /// It has begun again, soon after its end or after one that nobody has told of.
    Reopened {
        /// Whether phones should buzz for it.
        pushes: bool,
    },
    /// The end of what nobody was told of.
    Orphaned,
}

/// A message and the conversation that it is part of.
#[derive(Debug)]
pub(crate) struct AlertThread {
    key: String,
    saying: AlertUpdate,
    pub(crate) before: Option<ThreadState>,
    pub(crate) turn: Transition,
    at: OffsetDateTime,
}

impl AlertUpdate {
    /// What a message says, if it is of a kind that has conversations.
    pub(crate) fn of(payload: &Payload) -> Option<Self> {
        let urgency = payload.urgency();
        match payload {
            Payload::Alert(alert) => Some(Self::of_one(alert, urgency)),
            Payload::Alerts(group) => Some(Self::of_group(group, urgency)),
            _ => None,
        }
    }

    fn of_one(alert: &Alert, urgency: Urgency) -> Self {
        let identity = identity(alert);
        let fires = alert.status == Status::Firing;
        Self {
            members: if fires { [member(&identity)].into() } else { BTreeSet::new() },
            fingerprint: alert
                .group
                .clone()
                .map_or(identity, |group| vec!["group".to_owned(), group]),
            sender: alert.sender.clone(),
            status: alert.status,
            urgency,
            is_partial: false,
            last_ok: alert.last_ok.as_deref().and_then(rfc3339::seconds),
            begun: alert.time.as_deref().and_then(rfc3339::seconds),
            ended: alert.ended.as_deref().and_then(rfc3339::seconds),
        }
    }

    fn of_group(group: &Group, urgency: Urgency) -> Self {
        let firing = || group.alerts.iter().filter(|alert| alert.status == Status::Firing);
        let is_over = firing().next().is_none() && group.truncated == 0;
        let fingerprint = match &group.fingerprint {
            Some(fingerprint) => fingerprint.clone(),
            None => format!("{} {:?}", group.title, group.labels),
        };
        let times = |time: fn(&Alert) -> Option<&str>| {
            group.alerts.iter().filter_map(time).filter_map(rfc3339::seconds).collect::<Vec<_>>()
        };
        Self {
            fingerprint: vec!["group".to_owned(), fingerprint],
            sender: group.url.clone(),
            status: if is_over { Status::Resolved } else { Status::Firing },
            urgency,
            members: firing().map(|alert| member(&identity(alert))).take(MOST_MEMBERS).collect(),
            is_partial: group.truncated > 0 || group.left_out.firing() > 0,
            last_ok: None,
            begun: times(|alert| alert.time.as_deref()).into_iter().min(),
            ended: times(|alert| alert.ended.as_deref()).into_iter().max(),
        }
    }

    /// About how many bytes of memory it takes, besides its own.
    pub(crate) fn weight(&self) -> usize {
        /// Of a member in a tree.
        const MEMBER: usize = 16;
        let texts = self.fingerprint.iter().map(|text| size_of::<String>() + text.len());
        texts.sum::<usize>() + MEMBER * self.members.len()
    }

    /// The name of its conversation in a room, by a route, when it was published on `subject`. Who may publish there
    /// is the one thing about a message that its publisher cannot choose.
    pub(crate) fn key(&self, route: &Route, room: &RoomId, subject: &str) -> String {
        let scope = route.alert_scope.texts(subject, self.sender.as_deref());
        let parts = scope.into_iter().chain(self.fingerprint.iter().map(String::as_str));
        let hash = hash::of_texts([route.name.as_str(), room.as_str()].into_iter().chain(parts));
        HEXLOWER.encode(&hash[..16])
    }

    /// What this is after what was said before.
    pub(crate) fn turn(
        &self,
        before: Option<&ThreadState>,
        at: i64,
        patience: Patience,
    ) -> Transition {
        let Some(before) = before else {
            return if self.status == Status::Firing {
                Transition::Opened
            } else {
                Transition::Orphaned
            };
        };
        if at < before.said {
            return Transition::Updated { pushes: false, is_other: false };
        }
        // What comes and goes sooner than that flaps.
        let is_long = |since: i64| at.saturating_sub(since) > seconds(patience.flapping);
        let is_worse =
            self.urgency > before.level && (self.urgency > before.urgency || is_long(before.eased));
        let is_news = self.members.iter().any(|member| before.members.is_news(*member, is_long));
        let is_due = at.saturating_sub(before.pushed) >= seconds(patience.remind);
        let pushes = is_worse || is_news || is_due;
        let was_well = || self.last_ok.is_some_and(|well| well > before.said && is_long(well));
        match (before.status, self.status) {
            (Status::Firing, Status::Firing) if was_well() => Transition::Reopened { pushes: true },
            (Status::Firing, Status::Firing) => {
                Transition::Updated { pushes, is_other: self.urgency != before.level }
            }
            (Status::Firing, Status::Resolved) => Transition::Resolved,
            (Status::Resolved, Status::Firing) if is_long(before.resolved) => Transition::Opened,
            (Status::Resolved, Status::Firing) => Transition::Reopened { pushes },
            (Status::Resolved, Status::Resolved) => {
                Transition::Updated { pushes: false, is_other: false }
            }
        }
    }
}

impl AlertThread {
    /// About a message that was published at `at`, after what was said `before`.
    pub(crate) fn new(
        key: String,
        saying: AlertUpdate,
        before: Option<ThreadState>,
        at: OffsetDateTime,
        patience: Patience,
    ) -> Self {
        let turn = saying.turn(before.as_ref(), at.unix_timestamp(), patience);
        Self { key, saying, before, turn, at }
    }

    /// Whether this very message, or a later one, was said already, by what is kept. That others may have written: it
    /// is so only if the room has the message.
    pub(crate) fn is_said(&self, origin: &Origin) -> bool {
        self.before.as_ref().is_some_and(|before| origin.is_up_to(&before.last))
    }

    /// When what goes on began, in seconds since 1970.
    pub(crate) fn begun(&self) -> i64 {
        let begun = self.before.as_ref().map(|before| before.begun);
        self.saying.begun.or(begun).unwrap_or(self.at.unix_timestamp())
    }

    /// When it was over, likewise.
    pub(crate) fn ended(&self) -> i64 {
        self.saying.ended.unwrap_or(self.at.unix_timestamp())
    }

    /// Whether it is about what goes on and was shown.
    pub(crate) fn goes_on(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.status == Status::Firing)
    }

    /// Whether phones should buzz for it.
    pub(crate) fn pushes(&self) -> bool {
        self.saying.urgency > Urgency::Routine
            && match self.turn {
                Transition::Opened | Transition::Orphaned => true,
                Transition::Updated { pushes, .. } | Transition::Reopened { pushes } => pushes,
                Transition::Resolved => false,
            }
    }

    /// Whether no phone is to buzz for it, as one did for what was said before.
    pub(crate) fn is_quiet(&self) -> bool {
        self.saying.urgency > Urgency::Routine
            && self.saying.status == Status::Firing
            && self.before.is_some()
            && !self.pushes()
    }

    /// The same, but no phone buzzes for what goes on.
    pub(crate) fn muted(mut self) -> Self {
        if let Transition::Updated { pushes, .. } | Transition::Reopened { pushes } = &mut self.turn
        {
            *pushes = false;
        }
        self
    }

    /// Whether its first message no longer tells how things are.
    pub(crate) fn outdates_root(&self) -> bool {
        let may_edit = self.before.as_ref().is_some_and(|before| !before.is_shared);
        may_edit
            && match self.turn {
                Transition::Updated { is_other, .. } => is_other,
                Transition::Resolved | Transition::Reopened { .. } => true,
                Transition::Opened | Transition::Orphaned => false,
            }
    }

    /// The same without what was said before, of which the room knows nothing, or nothing any more.
    pub(crate) fn anew(self, patience: Patience) -> Self {
        Self::new(self.key, self.saying, None, self.at, patience)
    }

    /// What is known after the message was posted, its first event being `root`; with the name of
    /// the conversation. `None` if there is none, as the first event is not known. `has_pushed` is
    /// whether phones buzzed for it.
    pub(crate) fn after(
        self,
        root: Option<OwnedEventId>,
        last: Origin,
        has_pushed: bool,
    ) -> Option<(String, ThreadState)> {
        let at = self.at.unix_timestamp();
        let mut after = match (self.turn, self.before) {
            (Transition::Opened | Transition::Orphaned, _) | (_, None) => {
                ThreadState::begin(&self.saying, root?, at, last)
            }
            (turn, Some(before)) => before.after(&self.saying, turn, at, last),
        };
        if has_pushed {
            after.pushed = at;
        }
        Some((self.key, after))
    }
}

impl ThreadState {
    /// One that begins with a message, shown by `root`.
    pub(crate) fn begin(saying: &AlertUpdate, root: OwnedEventId, at: i64, last: Origin) -> Self {
        Self {
            root,
            is_shared: false,
            status: saying.status,
            begun: saying.begun.unwrap_or(at),
            resolved: if saying.status == Status::Resolved { at } else { 0 },
            said: at,
            pushed: 0,
            times: 1,
            urgency: saying.urgency,
            level: saying.urgency,
            eased: 0,
            members: Members::firing(&saying.members),
            last,
        }
    }

    /// Whether it tells of something that is said, or was, after `now`, in seconds since 1970. So is only what was
    /// forged: the times are those at which the stream took messages.
    pub(crate) fn is_of_future(&self, now: i64) -> bool {
        let latest = now.saturating_add(seconds(CLOCK_SKEW));
        let times = [self.said, self.pushed, self.resolved, self.eased, self.members.latest()];
        times.iter().any(|at| *at > latest)
            || self.last.published() > i128::from(latest) * 1_000_000_000
    }

    /// What is known after a message.
    pub(crate) fn after(
        mut self,
        saying: &AlertUpdate,
        turn: Transition,
        at: i64,
        last: Origin,
    ) -> Self {
        if at < self.said {
            self.last = last;
            return self;
        }
        self.said = at;
        if turn == Transition::Resolved {
            self.resolved = at;
        }
        if matches!(turn, Transition::Reopened { .. }) {
            self.times = self.times.saturating_add(1);
        }
        if saying.status == Status::Firing {
            if saying.urgency < self.level {
                self.eased = at;
            }
            self.level = saying.urgency;
            self.urgency = self.urgency.max(saying.urgency);
        }
        self.note_members(saying, at);
        self.status = saying.status;
        self.last = last;
        self
    }

    fn note_members(&mut self, saying: &AlertUpdate, at: i64) {
        if !saying.is_partial {
            self.members.all_gone(at);
        }
        self.members.fire(&saying.members, MOST_MEMBERS);
    }

    /// How many bytes of memory it takes.
    pub(crate) fn weight(&self) -> usize {
        let names = [&self.last.stream.stream, &self.last.stream.created, &self.last.route];
        let names = names.iter().map(|name| name.len()).sum::<usize>();
        size_of::<Self>() + self.root.as_str().len() + names + self.members.weight()
    }
}

fn member(identity: &[String]) -> u32 {
    let [a, b, c, d, ..] = hash::of_texts(identity.iter().map(String::as_str));
    u32::from_be_bytes([a, b, c, d])
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
