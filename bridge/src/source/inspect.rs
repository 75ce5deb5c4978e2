//! Looks at the regular observations of a consumer for what operators of NATS, or others, have done to it.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::consumer::{Info as ConsumerInfo, SequenceInfo};
use tokio::{sync::watch, time::Instant};
use tracing::{error, warn};

use crate::{
    nats::timestamp,
    source::feed::{Feed, Observed},
    status::{Condition, RouteHealth, State},
};

/// The time for which it is reported that somebody else acknowledges messages, after that was last seen.
const REMEMBERED: Duration = Duration::from_mins(15);

/// The inspection of one consumer.
pub(super) struct Inspection {
    health: RouteHealth,
    observed: watch::Receiver<Option<Arc<Observed>>>,
    /// The time when the present flow began. Earlier observations say nothing about it.
    begun: Instant,
    /// The position up to which the consumer has certainly delivered what it had to.
    sound: SequenceInfo,
    /// The messages that somebody else has acknowledged.
    passed: Option<Passed>,
    acked_elsewhere: Condition,
    paused: Condition,
    /// The reported pause, if the consumer is paused.
    said: Option<String>,
}

/// A range of messages that somebody else has acknowledged before they were posted.
struct Passed {
    first: u64,
    last: u64,
    /// The message up to which they are counted.
    counted: u64,
    seen: Instant,
}

impl Inspection {
    pub(super) fn of(feed: &Feed, health: RouteHealth) -> Self {
        Self {
            observed: feed.observed(),
            begun: Instant::now(),
            sound: SequenceInfo { consumer_sequence: 0, stream_sequence: 0, last_active: None },
            passed: None,
            acked_elsewhere: health.condition(),
            paused: health.condition(),
            said: None,
            health,
        }
    }

    /// Notes that a flow of messages begins with a sound consumer.
    pub(super) fn begin(&mut self, info: &ConsumerInfo) {
        self.begun = Instant::now();
        self.sound = info.delivered;
    }

    /// Waits until there is a new observation.
    pub(super) async fn changed(&mut self) {
        // The sender is in the feed, which lives as long as the source.
        let _ = self.observed.changed().await;
        self.observed.mark_changed();
    }

    /// Returns the new observation, if there is one of the present flow.
    pub(super) fn next(&mut self) -> Option<Arc<Observed>> {
        if !self.observed.has_changed().unwrap_or(false) {
            return None;
        }
        let observed = self.observed.borrow_and_update().clone()?;
        Some(observed).filter(|observed| observed.asked >= self.begun)
    }

    /// Compares the acknowledgements that the server has noted with the first message that is held and not
    /// acknowledged. Returns the first message that somebody else has acknowledged, and that is not posted yet.
    pub(super) fn compare_floor(&mut self, info: &ConsumerInfo, held: Option<u64>) -> Option<u64> {
        let floor = info.ack_floor.stream_sequence;
        if let Some(first) = held.filter(|first| *first <= floor) {
            if self.passed.as_ref().is_none_or(|passed| passed.last < first) {
                self.health.metrics.acked_elsewhere.inc_by(floor - first + 1);
            }
            self.note_passed(info, first, floor);
            self.counted_to(floor);
        }
        let passed = self.passed.as_ref()?;
        if passed.seen.elapsed() >= REMEMBERED {
            self.acked_elsewhere.clear();
        }
        let is_held = held.is_some_and(|held| held <= passed.last);
        is_held.then_some(passed.first)
    }

    /// Notes which messages of a range were taken: those that are not posted yet although the server has all up to `last`
    /// as acknowledged. There may be more of them, which are noted later.
    pub(super) fn taken(&mut self, info: &ConsumerInfo, taken: &[u64], last: u64) {
        let ([first, ..], [.., end]) = (taken, taken) else { return };
        self.note_passed(info, *first, last);
        let counted = self.passed.as_ref().map_or(0, |passed| passed.counted);
        let news = taken.iter().filter(|sequence| **sequence > counted).count();
        self.health.metrics.acked_elsewhere.inc_by(news as u64);
        self.counted_to(*end);
    }

    /// Notes that somebody else has acknowledged messages that the stream does not keep after that.
    pub(super) fn gone(&mut self, info: &ConsumerInfo, (first, last): (u64, u64), count: u64) {
        let ConsumerInfo { name, stream_name: stream, .. } = info;
        error!(
            "somebody else acknowledged {count} messages from {first} to {last} of consumer {name}; stream {stream} keeps no \
             message that is acknowledged, so these are never posted. {CAUSE}"
        );
        self.health.metrics.acked_elsewhere.inc_by(count);
        self.report(info);
        self.passed = Some(Passed { first, last, counted: last, seen: Instant::now() });
    }

    fn note_passed(&mut self, info: &ConsumerInfo, first: u64, last: u64) {
        let before = self.passed.take_if(|passed| passed.last >= first);
        if before.is_none() {
            error!(
                "somebody else acknowledged messages {first} to {last} of consumer {name}, which are not posted yet; they \
                 are posted now. {CAUSE}",
                name = info.name
            );
        }
        self.report(info);
        let (first, counted) = before.map_or((first, 0), |it| (it.first.min(first), it.counted));
        self.passed = Some(Passed { first, last, counted, seen: Instant::now() });
    }

    fn report(&mut self, info: &ConsumerInfo) {
        let reason = format!(
            "somebody else acknowledges messages of consumer {} on stream {}: {CAUSE}",
            info.name, info.stream_name
        );
        self.acked_elsewhere.set(State::AckedElsewhere, &reason, Duration::ZERO);
    }

    fn counted_to(&mut self, sequence: u64) {
        if let Some(passed) = &mut self.passed {
            passed.counted = passed.counted.max(sequence);
        }
    }

    /// Reports whether the consumer is paused.
    pub(super) fn note_pause(&mut self, info: &ConsumerInfo) {
        if !info.paused {
            self.paused.clear();
            self.said = None;
            return;
        }
        let (name, stream) = (&info.name, &info.stream_name);
        let until = info.config.pause_until.map_or_else(
            || "somebody resumes it".to_owned(),
            |until| timestamp(until).strftime("%Y-%m-%d %H:%M UTC").to_string(),
        );
        let reason = format!(
            "consumer {name} on stream {stream} is paused until {until}: nats consumer resume {stream} {name}"
        );
        if self.said.as_ref() != Some(&reason) {
            warn!("{reason}");
            self.paused.set(State::ConsumerPaused, &reason, Duration::ZERO);
            self.said = Some(reason);
        }
    }

    /// Notes that the consumer is as it has to be.
    pub(super) fn note_sound(&mut self, info: &ConsumerInfo) {
        self.sound = info.delivered;
    }

    /// Returns the first message that a consumer may have left out since it was last as it has to be.
    ///
    /// Messages that it left out before one that was shown since cannot be told from those in the room, which the log says.
    pub(super) fn first_left_out(&self, info: &ConsumerInfo) -> u64 {
        let (first, last) = (self.sound.stream_sequence + 1, info.delivered.stream_sequence);
        if info.delivered.consumer_sequence > self.sound.consumer_sequence {
            warn!(
                "consumer {name} delivered messages after it was changed: of messages {first} to {last} of stream {stream} \
                 those that it left out before these may not be shown; nats stream get {stream} shows them",
                name = info.name,
                stream = info.stream_name
            );
        }
        first
    }
}

const CAUSE: &str = "Another bridge, perhaps at another site behind a leaf node, or a tool has a consumer of this name: name \
                     another one with `consumer` of the route. Or somebody has taken messages from it, or has moved it: see \
                     which users may publish on $JS.ACK, $JS.API.CONSUMER.MSG.NEXT and $JS.API.CONSUMER.RESET of it";
