//! Alerts as threads: an alert that fires begins a thread, later messages about it are replies there, and when it is
//! resolved its first message is edited to say so.
//!
//! Each decision depends only on the messages, on their times in the stream and on earlier decisions. A message that is
//! redelivered after a crash is therefore decided on in the same way, and the room shows which of its events are
//! already there.

use std::{collections::BTreeSet, time::Duration};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use matrix_sdk::ruma::{EventId, OwnedEventId, OwnedUserId, RoomId};
use serde::{Deserialize, Serialize};

use crate::{
    alerts::members::Members,
    config::{Patience, Route},
    hash,
    message::{
        Alert, AlertMark, Group, Origin, Payload, Status, Urgency,
        alert::identity,
        rfc3339,
        urgency::{alert_urgency, group_urgency},
    },
};

/// The number of members of a group that are told apart.
const MOST_MEMBERS: usize = 256;

/// The number of acknowledgements of one alert that are kept.
const MOST_HOLDERS: usize = 8;

/// The largest difference to expect between the clocks of this host and of NATS.
const CLOCK_SKEW: Duration = Duration::from_mins(15);

/// The part of a message that changes the state of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlertUpdate {
    /// The identity of the alert among those of one scope.
    fingerprint: Vec<String>,
    /// The Alertmanager or Grafana that sent the message, if it is known.
    sender: Option<String>,
    pub(crate) status: Status,
    pub(crate) urgency: Urgency,
    /// The members that fire.
    members: BTreeSet<u32>,
    /// Whether the group has more members than the message lists.
    is_partial: bool,
    /// The last time at which all was well, if the message has it, in seconds since 1970.
    last_ok: Option<i64>,
    /// The time at which the alert began, if the message has it, in seconds since 1970.
    begun: Option<i64>,
    /// The latest beginning of a firing alert, if the message tells beginnings, in seconds since 1970.
    latest_beginning: Option<i64>,
    /// The identity and the beginning of the only alert of the message, if it tells the beginning.
    episode: Option<(u32, i64)>,
    /// The time at which the alert ended, if the message has it, in seconds since 1970.
    ended: Option<i64>,
}

/// The state of an alert thread after the messages so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThreadState {
    /// The event that began the thread.
    pub(crate) root: OwnedEventId,
    /// Whether the root is a digest. A digest covers several alerts, so it is not edited for one of them.
    #[serde(default)]
    pub(crate) is_shared: bool,
    pub(crate) status: Status,
    /// The time at which the alert began, in seconds since 1970.
    pub(crate) begun: i64,
    /// The time at which it was last resolved, in seconds since 1970.
    pub(crate) resolved: i64,
    /// The time of the last push notification, in seconds since 1970.
    pub(crate) pushed: i64,
    /// The number of times that the alert has begun.
    pub(crate) times: u32,
    /// The highest urgency so far.
    urgency: Urgency,
    /// The urgency in the latest message.
    level: Urgency,
    /// The last time at which the urgency fell without the alert being resolved, in seconds since 1970.
    pub(crate) eased: i64,
    /// The members that have fired, each with the time at which it stopped.
    pub(crate) members: Members,
    /// The publication time of the latest message, in seconds since 1970. A deferred message can arrive after one that
    /// was published later.
    #[serde(default)]
    pub(crate) said: i64,
    /// The latest beginning of a firing alert that a message has told, in seconds since 1970.
    #[serde(default)]
    latest_beginning: Option<i64>,
    /// The last message that was posted in the thread.
    pub(crate) last: Origin,
    /// The people who have acknowledged the alert. Others may be able to write them here, so the caller must also find
    /// their events in the room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) holders: Vec<Holder>,
    /// The latest event that has replaced the content of the root, for a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) edit: Option<OwnedEventId>,
    /// The key under which the state is stored a second time, where other servers that report the same alert find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shared_key: Option<String>,
}

/// Somebody who has acknowledged an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) user: OwnedUserId,
    /// The time of the acknowledgement, in seconds since 1970.
    pub(crate) at: i64,
    /// The event with which it was given.
    pub(crate) event: OwnedEventId,
}

/// The effect of a message on its alert thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transition {
    /// The alert fires for the first time.
    Opened,
    /// The message is about an alert that already fires, or that is already resolved.
    Updated {
        /// Whether the message sends a push notification.
        pushes: bool,
        /// Whether the alert is worse or better than before, so that the first message is no longer right.
        is_other: bool,
    },
    /// The alert is resolved.
    Resolved,
    /// The alert fires again, soon after its end or after an end that was not reported.
    Reopened {
        /// Whether the message sends a push notification.
        pushes: bool,
    },
    /// A resolution of an alert that was never shown.
    Orphaned,
}

/// The events that show a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Posted {
    /// The first of them, which begins a thread.
    pub(crate) root: Option<OwnedEventId>,
    /// The one that has replaced the content of the root of the thread, if any.
    pub(crate) edit: Option<OwnedEventId>,
}

/// A message and the alert thread that it belongs to.
#[derive(Debug)]
pub(crate) struct AlertThread {
    key: String,
    /// The key under which other servers find the thread.
    pub(crate) shared_key: Option<String>,
    saying: AlertUpdate,
    pub(crate) before: Option<ThreadState>,
    pub(crate) turn: Transition,
    /// Whether the thread had a first message that the room does not show.
    pub(crate) has_lost_root: bool,
    at: Timestamp,
}

impl AlertUpdate {
    /// The update that a message makes, or `None` if it is not an alert.
    pub(crate) fn of(payload: &Payload) -> Option<Self> {
        match payload {
            Payload::Alert(alert) => Some(Self::of_one(alert, alert_urgency(alert))),
            Payload::Alerts(group) => Some(Self::of_group(group, group_urgency(group))),
            _ => None,
        }
    }

    /// The updates that a message with several objects makes, in their order.
    pub(crate) fn all(payload: &Payload) -> Vec<Self> {
        match payload {
            Payload::Several(items) => {
                items.iter().filter_map(|item| Self::of(&item.decoded.payload)).collect()
            }
            one => Self::of(one).into_iter().collect(),
        }
    }

    fn of_one(alert: &Alert, urgency: Urgency) -> Self {
        let identity = identity(alert);
        let fires = alert.status == Status::Firing;
        let episode_member = member(&identity);
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
            latest_beginning: beginning(alert).filter(|_| fires),
            episode: beginning(alert).map(|begun| (episode_member, begun)),
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
            latest_beginning: firing().filter_map(beginning).max(),
            episode: None,
            ended: times(|alert| alert.ended.as_deref()).into_iter().max(),
        }
    }

    /// The approximate memory that the update takes on the heap, in bytes.
    pub(crate) fn weight(&self) -> usize {
        /// The memory of one member in the tree, in bytes.
        const MEMBER: usize = 16;
        let texts = self.fingerprint.iter().map(|text| size_of::<String>() + text.len());
        texts.sum::<usize>() + MEMBER * self.members.len()
    }

    /// The key of the thread in a room, for this route and for a message that was published on `subject`. The scope
    /// adds the subject, or a token of it, because that is the one property of a message that NATS permissions control.
    pub(crate) fn key(&self, route: &Route, room: &RoomId, subject: &str) -> String {
        let scope = route.alert_scope.texts(subject, self.sender.as_deref());
        let parts = scope.into_iter().chain(self.fingerprint.iter().map(String::as_str));
        let hash = hash::of_texts([route.name.as_str(), room.as_str()].into_iter().chain(parts));
        HEXLOWER.encode(&hash[..16])
    }

    /// The key under which another server that says the same finds the thread. Two Alertmanagers of a cluster send the
    /// same alert, with the same beginning, each under its own address. An alert of another cluster has other labels,
    /// and so another identity. Groups of several alerts have no such key, as their members come and go.
    pub(crate) fn shared_key(&self, route: &Route, room: &RoomId, subject: &str) -> Option<String> {
        self.sender.as_ref()?;
        let episode = self.episode?;
        let scope = route.alert_scope.texts(subject, None);
        let episode = format!("{:08x} {}", episode.0, episode.1);
        let parts = scope.into_iter().chain(self.fingerprint.iter().map(String::as_str));
        let parts =
            [route.name.as_str(), room.as_str(), "episode", &episode].into_iter().chain(parts);
        Some(HEXLOWER.encode(&hash::of_texts(parts)[..16]))
    }

    /// The transition that this update makes from the state `before`.
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
        // An alert that comes and goes within this time is flapping.
        let is_long = |since: i64| at.saturating_sub(since) > seconds(patience.flapping);
        let is_worse =
            self.urgency > before.level && (self.urgency > before.urgency || is_long(before.eased));
        let is_news = self.members.iter().any(|member| before.members.is_news(*member, is_long));
        // Nobody has to be reminded of an alert that somebody has acknowledged, unless it was forgotten.
        let is_due = match before.acknowledged() {
            None => at.saturating_sub(before.pushed) >= seconds(patience.remind),
            Some(since) => {
                at.saturating_sub(before.pushed.max(since)) >= seconds(patience.acknowledged)
            }
        };
        let pushes = is_worse || is_news || is_due;
        let was_well = || self.last_ok.is_some_and(|well| well > before.said && is_long(well));
        // An alert that began after the latest message must have ended before, although nobody said so.
        let has_begun_anew = self.latest_beginning.is_some_and(|begun| begun > before.said);
        match (before.status, self.status) {
            (Status::Firing, Status::Firing) if has_begun_anew && before.is_older_than(self) => {
                Transition::Reopened { pushes: pushes || is_long(before.said) }
            }
            (Status::Firing, Status::Firing) if was_well() => Transition::Reopened { pushes: true },
            (Status::Firing, Status::Firing) => {
                Transition::Updated { pushes, is_other: self.urgency != before.level }
            }
            (Status::Firing, Status::Resolved) => Transition::Resolved,
            // Another server of a cluster repeats what is over; it will say that, too.
            (Status::Resolved, Status::Firing)
                if self.latest_beginning.is_some()
                    && self.latest_beginning == before.latest_beginning =>
            {
                Transition::Reopened { pushes: false }
            }
            (Status::Resolved, Status::Firing) if is_long(before.resolved) => Transition::Opened,
            (Status::Resolved, Status::Firing) => Transition::Reopened { pushes },
            (Status::Resolved, Status::Resolved) => {
                Transition::Updated { pushes: false, is_other: false }
            }
        }
    }
}

impl AlertThread {
    /// Creates the thread for a message that was published at `at`; `before` is the state of the thread until then.
    pub(crate) fn new(
        key: String,
        saying: AlertUpdate,
        before: Option<ThreadState>,
        at: Timestamp,
        patience: Patience,
    ) -> Self {
        let turn = saying.turn(before.as_ref(), at.as_second(), patience);
        Self { key, shared_key: None, saying, before, turn, has_lost_root: false, at }
    }

    /// Whether the stored state says that this message, or a later one, was already posted. Others may be able to write
    /// that state, so the caller must also find the message in the room.
    pub(crate) fn is_said(&self, origin: &Origin) -> bool {
        self.before.as_ref().is_some_and(|before| origin.is_up_to(&before.last))
    }

    /// The time at which the alert began, in seconds since 1970.
    pub(crate) fn begun(&self) -> i64 {
        let begun = self.before.as_ref().map(|before| before.begun);
        self.saying.begun.or(begun).unwrap_or(self.at.as_second())
    }

    /// The time at which the alert ended, in seconds since 1970.
    pub(crate) fn ended(&self) -> i64 {
        self.saying.ended.unwrap_or(self.at.as_second())
    }

    /// Whether the alert was shown as firing before this message.
    pub(crate) fn goes_on(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.status == Status::Firing)
    }

    /// Whether the message sends a push notification.
    pub(crate) fn pushes(&self) -> bool {
        self.saying.urgency > Urgency::Routine
            && match self.turn {
                Transition::Opened | Transition::Orphaned => true,
                Transition::Updated { pushes, .. } | Transition::Reopened { pushes } => pushes,
                Transition::Resolved => false,
            }
    }

    /// Whether the message must not send a push notification because an earlier one of the thread already did.
    pub(crate) fn is_quiet(&self) -> bool {
        self.saying.urgency > Urgency::Routine
            && self.saying.status == Status::Firing
            && self.before.is_some()
            && !self.pushes()
    }

    /// Returns the thread without the push notification of an update.
    pub(crate) fn muted(mut self) -> Self {
        if let Transition::Updated { pushes, .. } | Transition::Reopened { pushes } = &mut self.turn
        {
            *pushes = false;
        }
        self
    }

    /// Whether the first message of the thread is out of date and has to be edited.
    pub(crate) fn outdates_root(&self) -> bool {
        let may_edit = self.before.as_ref().is_some_and(|before| !before.is_shared);
        may_edit
            && match self.turn {
                Transition::Updated { is_other, .. } => is_other,
                Transition::Resolved | Transition::Reopened { .. } => true,
                Transition::Opened | Transition::Orphaned => false,
            }
    }

    /// Returns the mark of the events that show this thread.
    pub(crate) fn mark(&self, route: &Route) -> AlertMark {
        AlertMark {
            stream: route.stream.clone(),
            route: route.name.to_string(),
            key: self.key.clone(),
            shared_key: self.shared_key.clone(),
        }
    }

    /// Whether the message begins a thread about an alert that fires.
    pub(crate) fn begins(&self) -> bool {
        self.saying.status == Status::Firing
            && (self.turn == Transition::Opened || self.before.is_none())
    }

    /// The urgency of the message.
    pub(crate) fn urgency(&self) -> Urgency {
        self.saying.urgency
    }

    /// The people who have the alert after this message. The end of an alert ends that, too.
    pub(crate) fn holders(&self) -> &[Holder] {
        match (self.turn, &self.before) {
            (Transition::Updated { .. }, Some(before)) if before.status == Status::Firing => {
                &before.holders
            }
            _ => &[],
        }
    }

    /// Returns the thread with only these of its holders.
    pub(crate) fn with_holders(mut self, holders: Vec<Holder>, patience: Patience) -> Self {
        if let Some(before) = &mut self.before {
            before.holders = holders;
        }
        let (shared_key, has_lost_root) = (self.shared_key, self.has_lost_root);
        let thread = Self::new(self.key, self.saying, self.before, self.at, patience);
        Self { shared_key, has_lost_root, ..thread }
    }

    /// Returns the thread without its former state, for when the room does not have those messages or no longer has
    /// them.
    pub(crate) fn anew(self, patience: Patience) -> Self {
        let shared_key = self.shared_key;
        Self { shared_key, ..Self::new(self.key, self.saying, None, self.at, patience) }
    }

    /// Returns the thread [anew](Self::anew), because the room does not show its first message.
    pub(crate) fn without_root(self, patience: Patience) -> Self {
        Self { has_lost_root: true, ..self.anew(patience) }
    }

    /// The keys and the state of the thread after the message was posted. Without the first event of it, and without a
    /// former state, there are none. `has_pushed` is whether a push notification was sent.
    pub(crate) fn after(
        self,
        Posted { root, edit }: Posted,
        last: Origin,
        has_pushed: bool,
    ) -> Vec<(String, ThreadState)> {
        let at = self.at.as_second();
        let mut after = match (self.turn, self.before) {
            (Transition::Opened | Transition::Orphaned, _) | (_, None) => {
                let Some(root) = root else { return Vec::new() };
                ThreadState::begin(&self.saying, root, at, last)
            }
            (turn, Some(before)) => before.after(&self.saying, turn, at, last),
        };
        if has_pushed {
            after.pushed = at;
        }
        after.edit = edit.or(after.edit);
        after.shared_key.clone_from(&self.shared_key);
        let shared = self.shared_key.map(|shared| (shared, after.clone()));
        shared.into_iter().chain([(self.key, after)]).collect()
    }
}

impl ThreadState {
    /// Creates the state of a thread whose first message is the event `root`.
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
            latest_beginning: saying.latest_beginning,
            last,
            holders: Vec::new(),
            edit: None,
            shared_key: None,
        }
    }

    /// The time of the latest acknowledgement, in seconds since 1970.
    fn acknowledged(&self) -> Option<i64> {
        self.holders.iter().map(|holder| holder.at).max()
    }

    /// Whether somebody has the alert by an acknowledgement that was given with this event.
    pub(crate) fn is_held_by(&self, event: &EventId) -> bool {
        self.holders.iter().any(|holder| holder.event == event)
    }

    /// Adds somebody who has acknowledged the alert. Returns whether there was room for one more.
    pub(crate) fn hold(&mut self, holder: Holder) -> bool {
        let is_known = self.is_held_by(&holder.event);
        if !is_known && self.holders.len() < MOST_HOLDERS {
            self.holders.push(holder);
            return true;
        }
        is_known
    }

    /// Whether the state has a time that is after `now`, in seconds since 1970. Such a state is forged, as all its
    /// times are those at which the stream stored messages.
    pub(crate) fn is_of_future(&self, now: i64) -> bool {
        let latest = now.saturating_add(seconds(CLOCK_SKEW));
        let times = [self.said, self.pushed, self.resolved, self.eased, self.members.latest()];
        times.into_iter().chain(self.acknowledged()).any(|at| at > latest)
            || self.holders.len() > MOST_HOLDERS
            || self.last.published() > i128::from(latest) * 1_000_000_000
    }

    /// Returns the state of a thread of which it is not known that anybody was told.
    pub(crate) fn untold(self) -> Self {
        let level = Urgency::Routine;
        let members = Members::default();
        Self { pushed: 0, said: 0, eased: 0, urgency: level, level, members, ..self }
    }

    /// Returns the state after a message.
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
        if !matches!(turn, Transition::Updated { .. }) {
            self.holders.clear();
        }
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
            self.latest_beginning = saying.latest_beginning.or(self.latest_beginning);
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

    /// Whether the state has all members of an update, so that a late beginning is not that of a new one.
    fn is_older_than(&self, update: &AlertUpdate) -> bool {
        update.members.iter().all(|member| !self.members.is_news(*member, |_| true))
    }

    /// The memory that the state takes, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let names = [&self.last.stream.stream, &self.last.stream.created, &self.last.route];
        let names = names.iter().map(|name| name.len()).sum::<usize>();
        let holders = self.holders.iter().map(|holder| {
            size_of::<Holder>() + holder.user.as_str().len() + holder.event.as_str().len()
        });
        let edit = self.edit.as_ref().map_or(0, |edit| edit.as_str().len());
        let shared_key = self.shared_key.as_ref().map_or(0, String::len);
        size_of::<Self>()
            + self.root.as_str().len()
            + names
            + self.members.weight()
            + holders.sum::<usize>()
            + edit
            + shared_key
    }
}

/// The time at which an alert began, if the message does not merely tell its own time.
fn beginning(alert: &Alert) -> Option<i64> {
    alert.time.as_deref().filter(|_| alert.is_beginning_known).and_then(rfc3339::seconds)
}

fn member(identity: &[String]) -> u32 {
    let [a, b, c, d, ..] = hash::of_texts(identity.iter().map(String::as_str));
    u32::from_be_bytes([a, b, c, d])
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
