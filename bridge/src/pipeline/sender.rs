//! Posts events into a room, and tries again until the homeserver has them or will never take them.

use std::time::Duration;

use jiff::Timestamp;
use matrix_sdk::ruma::{EventId, OwnedEventId, OwnedMxcUri, OwnedTransactionId, RoomId, UserId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::{RoomTarget, Route},
    failure::{Failure, Interrupted},
    matrix::{
        Closed, Failures, LastPosted, MatrixError, Membership, Room,
        room::{self, encrypted},
    },
    message::{
        Attachment, Origin, Position, Removal, RouteName, Span, StreamId, removal::REMOVAL_KEY,
    },
    pipeline::{
        outcome::{Halted, NotPosted},
        parts::{Message, Part},
        progress::Progress,
    },
    render::{content::in_thread, digest_entries},
    source::{Delivery, Tenure},
    status::{Outage, RouteHealth, State},
};

/// The time that a request may still take to finish after the bridge was told to stop.
const GRACE: Duration = Duration::from_secs(7);

/// The time after which messages go to the fallback room, if the homeserver fails at their room alone. It is not
/// shorter, because an event that was sent may still appear in the room, and would then be shown twice.
const GIVES_WAY: Duration = Duration::from_mins(2);

/// The number of times that an upload is tried while the homeserver answers everything else. After that the message
/// goes without its file.
const UPLOADS: u32 = 5;

/// The time for which an upload is tried that fails slowly, as over a congested connection.
const UPLOADING: Duration = Duration::from_secs(30);

/// The time after a failed upload in which further files are not even tried, so that the messages go on.
const NEXT_PROBE: Duration = Duration::from_mins(1);

/// The longest time that an upload may take after one has failed.
const PROBING: Duration = Duration::from_secs(5);

/// The time after a failed upload in which each further file gets only one attempt.
const NO_UPLOADS: Duration = Duration::from_mins(5);

/// The longest time for which a room that takes nothing more is read.
const LAST_LOOK: Duration = Duration::from_secs(20);

/// The knowledge whether a message is in a room that takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Nothing of it is there.
    No,
    /// Its first event is there, and perhaps more.
    Begun,
    /// All of it is there.
    Whole,
    /// It was sent, perhaps by an earlier process, and the room cannot be read.
    Unknown,
}

/// Posts the messages of one route.
pub(crate) struct Sender {
    route: RouteName,
    target: RoomTarget,
    room: Room,
    outage: Outage,
    health: RouteHealth,
    known: Progress,
    /// The last event that was sent without an answer, unless it is known by now whether it is in the room.
    unanswered: Option<Position>,
    /// Whether the message was refused as forbidden once, although the bridge may post in the room.
    is_doubted: bool,
    /// Whether the route has other rooms, which this room must not block.
    is_one_of_many: bool,
    /// Whether there is a fallback room, and this is not it.
    may_give_way: bool,
    /// The time when the homeserver began to fail at the room.
    failing: Option<Instant>,
    /// The failed attempts to find out whether the room is closed to the bridge.
    reentries: Failures,
    /// The time when uploads were last refused while everything else worked.
    no_uploads: Option<Instant>,
    tenure: Tenure,
    stop: CancellationToken,
}

impl Sender {
    /// Creates a sender that knows nothing of the room yet.
    pub(crate) fn new(
        route: &Route,
        target: &RoomTarget,
        room: Room,
        tenure: Tenure,
        health: RouteHealth,
        stop: CancellationToken,
    ) -> Self {
        let what = format!("room {target}");
        let outage = Outage::of(what, health.condition());
        Self {
            route: route.name.clone(),
            target: target.clone(),
            room,
            outage,
            health,
            known: Progress::default(),
            unanswered: None,
            is_doubted: false,
            is_one_of_many: route.rooms.one().is_none(),
            may_give_way: route.rooms.one().is_none() && route.fallback_room.is_some(),
            failing: None,
            reentries: Failures::default(),
            no_uploads: None,
            tenure,
            stop,
        }
    }

    /// Marks the room as the fallback room, which is waited for when the homeserver does not work.
    pub(crate) fn never_gives_way(&mut self) {
        self.may_give_way = false;
    }

    /// Returns the id of the room.
    pub(crate) fn room(&self) -> &RoomId {
        self.room.id()
    }

    /// Whether the room is replaced, or its name leads to another one.
    pub(crate) async fn has_moved(&self) -> Result<bool, MatrixError> {
        self.room.has_moved(&self.target).await
    }

    /// Whether a message is done with, so that it need not be looked at again.
    pub(crate) fn is_done(&mut self, stream: &StreamId, delivery: &Delivery) -> bool {
        let published = delivery.published.as_nanosecond();
        self.known.of(stream, delivery.sequence, published);
        self.known.is_done(delivery.sequence, published)
    }

    /// Whether all of a message is known to be in the room, on its own or in the thread of a digest.
    pub(crate) fn shows_all_of(&mut self, stream: &StreamId, delivery: &Delivery) -> bool {
        let is_done = self.is_done(stream, delivery);
        let whole = Position { sequence: delivery.sequence, part: digest_entries::TEXT };
        let is_whole = |reached: Position| match &self.known.digest {
            Some(_) => whole <= reached,
            // Each message is posted whole before the next one.
            None => delivery.sequence < reached.sequence,
        };
        is_done || self.known.reached.is_some_and(is_whole) && self.has_any_of(delivery)
    }

    /// Assumes that an earlier process may have sent anything into the room.
    pub(crate) fn suspect_everything(&mut self) {
        self.unanswered = Some(Position { sequence: u64::MAX, part: u32::MAX });
    }

    /// Finds out what is known of a message in the room, which takes nothing more. If an event was sent there without an
    /// answer, the room is read once more.
    pub(crate) async fn last_look(
        &mut self,
        stream: &StreamId,
        delivery: &Delivery,
    ) -> Result<Shown, Halted> {
        let is_unanswered = |unanswered: Option<Position>| {
            unanswered.is_some_and(|it| delivery.sequence <= it.sequence)
        };
        if self.shows_all_of(stream, delivery) {
            return Ok(Shown::Whole);
        }
        if is_unanswered(self.unanswered) {
            let (route, published) = (self.route.clone(), delivery.published);
            let look = async |room: &Room| {
                room.last_posted(stream, route.as_str(), published, || {}).await
            };
            if let Ok(looked) = timeout(LAST_LOOK, self.once(look)).await
                && let Ok(last) = looked?
            {
                self.note_look(last);
                // To one who is not in the room, some homeservers show nothing of it without an error.
                if self.is_member().await? {
                    self.unanswered = None;
                }
            }
        }
        Ok(if self.shows_all_of(stream, delivery) {
            Shown::Whole
        } else if self.known.digest.is_none() && self.has_any_of(delivery) {
            Shown::Begun
        } else if is_unanswered(self.unanswered) {
            Shown::Unknown
        } else {
            Shown::No
        })
    }

    /// Whether the bridge is known to be in the room.
    async fn is_member(&self) -> Result<bool, Halted> {
        let joined = async |room: &Room| {
            let joined = room::joined(room.account()).await?;
            Ok(joined.iter().any(|id| id == room.id()))
        };
        match timeout(LAST_LOOK, self.once(joined)).await {
            Ok(joined) => Ok(joined?.unwrap_or(false)),
            Err(_) => Ok(false),
        }
    }

    /// Notes what was read in the room.
    fn note_look(&mut self, last: Option<LastPosted>) {
        if let Some(last) = last {
            self.known.found(last);
        }
        self.known.certain = true;
        self.is_doubted = false;
        if self.unanswered.is_some_and(|unanswered| Some(unanswered) <= self.known.reached) {
            self.unanswered = None;
        }
    }

    /// Notes that a message, and all before it, is done with, in the room or as a dead letter.
    pub(crate) fn done(&mut self, delivery: &Delivery) {
        self.known.done(delivery.sequence, delivery.published.as_nanosecond());
    }

    /// Notes that the messages of a digest are done with.
    pub(crate) fn done_up_to(&mut self, sequence: u64, published: Timestamp) {
        self.known.digest = None;
        self.known.done(sequence, published.as_nanosecond());
    }

    /// Posts all parts of a message that are not yet in the room.
    pub(crate) async fn message(
        &mut self,
        message: &Message<'_>,
    ) -> Result<Option<OwnedEventId>, NotPosted> {
        // A doubt concerns one message only; the previous message may have been refused together with its note.
        self.is_doubted = false;
        self.parts(message).await
    }

    /// Posts a note that a message, or its file, could not be posted. The note takes the place of the part that was
    /// refused.
    pub(crate) async fn note(
        &mut self,
        message: &Message<'_>,
        note: Value,
    ) -> Result<Option<OwnedEventId>, NotPosted> {
        let origin = message.origin(message.note_part());
        self.event(&origin, message.delivery.published, note).await
    }

    /// Posts an event that shows no message of its own, such as an edit. Posting it twice changes nothing.
    pub(crate) async fn aside(
        &mut self,
        transaction: OwnedTransactionId,
        content: Value,
    ) -> Result<Option<OwnedEventId>, NotPosted> {
        let send = async |room: &Room| room.send_as(transaction.clone(), &content).await;
        let posted = self.insist(send).await.map(Some);
        self.end(posted.is_ok());
        posted
    }

    /// Posts an event that reports removed messages, unless the room has it, posted after `since`.
    pub(crate) async fn removal(
        &mut self,
        removal: &Removal,
        since: Timestamp,
        mut content: Value,
    ) -> Result<(), NotPosted> {
        content[REMOVAL_KEY] = json!(removal);
        self.is_doubted = false;
        loop {
            // Looked for before each attempt, as the one before may have succeeded without an answer.
            let has = async |room: &Room| room.has_removal(removal, since).await;
            let is_there = match self.insist(has).await {
                // A homeserver that refuses to let the bridge read does not count against the report.
                Err(NotPosted::Refused(_)) => false,
                is_there => is_there?,
            };
            let send =
                async |room: &Room| room.send_as(removal.transaction_id(room.id()), &content).await;
            if is_there || self.attempt(send).await?.is_some() {
                self.works();
                return Ok(());
            }
        }
    }

    /// Ends the work on a message. If the message is in the room, whatever failed before works again; if it will never
    /// be, the failures no longer matter.
    pub(crate) fn end(&mut self, is_there: bool) {
        if is_there {
            self.works();
        } else {
            self.outage.abandon();
        }
    }

    fn works(&mut self) {
        self.outage.over();
        self.failing = None;
        self.reentries = Failures::default();
    }

    /// Posts one event of a digest, unless it is already in the room.
    pub(crate) async fn digest_part(
        &mut self,
        origin: &Origin,
        published: Timestamp,
        part: Part,
        name: &str,
    ) -> Result<Option<OwnedEventId>, NotPosted> {
        self.is_doubted = false;
        self.one(origin, published, part, name).await
    }

    /// Returns the digest that was not finished, and how far it has come.
    pub(crate) async fn unfinished_digest(
        &mut self,
        stream: &StreamId,
        route: &Route,
        delivery: &Delivery,
    ) -> Result<Option<Span>, Halted> {
        self.look_if_open(stream, route, delivery.published).await?;
        let Some(position) = self.known.reached else { return Ok(None) };
        // A reused number is not a number of the digest.
        let is_later = delivery.published.as_nanosecond() > self.known.newest;
        if is_later && delivery.sequence <= position.sequence {
            return Ok(None);
        }
        let unfinished =
            self.known.digest.clone().filter(|span| {
                position.sequence < span.last || position.part < digest_entries::TEXT
            });
        Ok(unfinished.map(|span| {
            let root = span.root.or_else(|| self.known.events.get(&position).cloned());
            Span { root, ..span }
        }))
    }

    /// Returns how far the route has come in the room, as far as it is known.
    pub(crate) fn position(&self) -> Option<Position> {
        self.known.reached
    }

    /// Whether the event that shows a part of a message, or one that comes after it, is in the room.
    pub(crate) async fn has_begun(
        &mut self,
        stream: &StreamId,
        route: &Route,
        delivery: &Delivery,
        part: u32,
    ) -> Result<bool, Halted> {
        self.look_if_open(stream, route, delivery.published).await?;
        Ok(self.has(delivery, part))
    }

    /// Whether the room shows a message of the bridge with its text.
    pub(crate) async fn shows(&mut self, event: &EventId) -> Result<bool, Halted> {
        let is_shown = self.asks(async |room: &Room| room.shows(event).await).await?;
        // A homeserver that refuses to let the bridge read does not count against the message.
        Ok(is_shown.unwrap_or(true))
    }

    /// Asks something about what is in the room. Returns `None` if the homeserver refuses to answer.
    pub(crate) async fn asks(
        &mut self,
        question: impl AsyncFnMut(&Room) -> Result<bool, MatrixError>,
    ) -> Result<Option<bool>, Halted> {
        match self.insist(question).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => error.refusal().map(|_| None),
        }
    }

    /// Returns the event that shows a part of a message, if it is known.
    pub(crate) fn event_of(&self, position: Position) -> Option<&OwnedEventId> {
        self.known.events.get(&position)
    }

    /// Puts a reaction on an event, in one attempt: without it people can still put it there themselves.
    pub(crate) async fn react(
        &mut self,
        transaction: OwnedTransactionId,
        event: &EventId,
        reaction: &str,
    ) -> Result<Result<OwnedEventId, MatrixError>, Halted> {
        self.once(async |room: &Room| room.react(transaction.clone(), event, reaction).await).await
    }

    /// The user that posts.
    pub(crate) fn us(&self) -> &UserId {
        &self.room.account().user
    }

    /// Whether an id or alias leads to this room.
    pub(crate) async fn is_at(&mut self, target: &RoomTarget) -> Result<bool, Halted> {
        match self.insist(async |room: &Room| room::resolve(room.account(), target).await).await {
            Ok(found) => Ok(found.as_deref() == Some(self.room.id())),
            // The homeserver does not say where an alias leads.
            Err(error) => error.refusal().map(|_| false),
        }
    }

    /// Reads the room if necessary. If the homeserver does not let the bridge read it, nothing is known of it.
    async fn look_if_open(
        &mut self,
        stream: &StreamId,
        route: &Route,
        published: Timestamp,
    ) -> Result<(), Halted> {
        match self.look(stream, route.name.as_str(), published).await {
            Ok(()) => Ok(()),
            Err(error) => error.refusal().map(drop),
        }
    }

    /// Whether one of the events that show a message is known to be in the room.
    pub(crate) fn has_any_of(&self, delivery: &Delivery) -> bool {
        self.has(delivery, 0)
    }

    fn has(&self, delivery: &Delivery, part: u32) -> bool {
        let position = Position { sequence: delivery.sequence, part };
        self.known.has_part(position, delivery.published.as_nanosecond())
    }

    async fn parts(&mut self, message: &Message<'_>) -> Result<Option<OwnedEventId>, NotPosted> {
        let published = message.delivery.published;
        let mut first = None;
        for (number, part) in (message.first_part..).zip(&message.parts) {
            let name = match part {
                Part::File { file, .. } => message.file_name(file),
                Part::Text(_) => String::new(),
            };
            let event = self.one(&message.origin(number), published, part.clone(), &name).await?;
            if number == message.first_part {
                first = event;
            }
        }
        Ok(first)
    }

    async fn one(
        &mut self,
        origin: &Origin,
        published: Timestamp,
        part: Part,
        name: &str,
    ) -> Result<Option<OwnedEventId>, NotPosted> {
        let content = match part {
            Part::Text(content) => content,
            Part::File { file, thread, instead } => {
                if self.is_posted(origin, published).await? {
                    return Ok(self.known.events.get(&origin.position).cloned());
                }
                let url = self.upload(&file, name).await?;
                let content = url.map(|url| file_content(&file, name, url.as_str()));
                let content = content.unwrap_or(instead);
                match thread {
                    Some(root) => in_thread(content, &root),
                    None => content,
                }
            }
        };
        self.event(origin, published, content).await
    }

    /// Uploads a file. Returns `None` if the homeserver does not take it at the moment, but does everything else.
    async fn upload(
        &mut self,
        file: &Attachment,
        name: &str,
    ) -> Result<Option<OwnedMxcUri>, NotPosted> {
        let (begun, mut failures) = (Instant::now(), 0);
        let attempts = match self.no_uploads.map(|failed| failed.elapsed()) {
            Some(ago) if ago < NEXT_PROBE => {
                self.health.metrics.withheld.inc();
                return Ok(None);
            }
            Some(ago) if ago < NO_UPLOADS => 1,
            _ => UPLOADS,
        };
        loop {
            let time = if attempts == 1 { PROBING } else { UPLOADING };
            let upload = async |room: &Room| match timeout(time, room.upload(file, name)).await {
                Ok(uploaded) => uploaded,
                Err(_) => Err(MatrixError::Unreachable(format!("no answer within {time:?}"))),
            };
            let error = match self.once(upload).await? {
                Ok(url) => {
                    self.no_uploads = None;
                    return Ok(Some(url));
                }
                Err(error) => error,
            };
            let pause = self.mend(error.clone()).await?;
            let is_of_uploads =
                matches!(error, MatrixError::Unreachable(_) | MatrixError::Limited { .. });
            if is_of_uploads && self.once(answers).await?.is_ok() {
                failures += 1;
                let is_slow = failures > 1 && begun.elapsed() >= UPLOADING;
                if failures >= attempts || is_slow {
                    warn!(
                        "{name} is not attached, as the homeserver takes no files but everything else: {error}; \
                         check whether its disk is full"
                    );
                    self.outage.abandon();
                    self.no_uploads = Some(Instant::now());
                    self.health.metrics.withheld.inc();
                    return Ok(None);
                }
            }
            self.wait(pause).await?;
        }
    }

    async fn event(
        &mut self,
        origin: &Origin,
        published: Timestamp,
        content: Value,
    ) -> Result<Option<OwnedEventId>, NotPosted> {
        loop {
            // Asked again after every attempt without an answer: if the homeserver was killed in between, it may have
            // kept the event but forgotten its transaction id.
            if !self.is_posted(origin, published).await? {
                let metrics = self.health.metrics.clone();
                let send = async |room: &Room| {
                    let begun = Instant::now();
                    let sent = room.send(origin, content.clone()).await;
                    metrics.sent(begun.elapsed());
                    sent
                };
                let event = match self.once(send).await? {
                    Ok(event) => event,
                    Err(error) => {
                        if matches!(
                            error,
                            MatrixError::Unreachable(_) | MatrixError::TooLong { .. }
                        ) {
                            self.unanswered = Some(origin.position);
                        }
                        let pause = self.mend(error).await?;
                        self.wait(pause).await?;
                        continue;
                    }
                };
                self.unanswered = None;
                self.known.reached(origin);
                self.known.events.insert(origin.position, event);
            }
            // Only now: a homeserver that answers reads may still refuse every write.
            self.works();
            self.is_doubted = false;
            return Ok(self.known.events.get(&origin.position).cloned());
        }
    }

    async fn is_posted(
        &mut self,
        origin: &Origin,
        published: Timestamp,
    ) -> Result<bool, NotPosted> {
        self.look(&origin.stream, &origin.route, published).await?;
        Ok(self.known.has(origin))
    }

    /// Reads the room if it is not known how far the route has come there.
    async fn look(
        &mut self,
        stream: &StreamId,
        route: &str,
        published: Timestamp,
    ) -> Result<(), NotPosted> {
        if !self.known.certain {
            let health = self.health.clone();
            let look = async |room: &Room| {
                room.last_posted(stream, route, published, || health.beat()).await
            };
            let last = loop {
                match self.insist(look).await {
                    // A homeserver that refuses to let the bridge read does not count against the message.
                    Err(NotPosted::Refused(reason)) if self.is_one_of_many => {
                        let reason = format!("what is in it cannot be read: {reason}");
                        return Err(Closed::ForLong(reason).into());
                    }
                    Err(NotPosted::Refused(reason)) => {
                        let state = State::HomeserverUnreachable;
                        let pause = self.outage.failed(state, &reason, None);
                        self.wait(pause).await?;
                    }
                    looked => break looked?,
                }
            };
            // A homeserver that was restored from an older copy has lost events.
            self.known.forget_posted();
            self.note_look(last);
        }
        Ok(())
    }

    /// Repeats a request until it succeeds or is refused for good.
    async fn insist<T>(
        &mut self,
        mut request: impl AsyncFnMut(&Room) -> Result<T, MatrixError>,
    ) -> Result<T, NotPosted> {
        loop {
            if let Some(done) = self.attempt(&mut request).await? {
                return Ok(done);
            }
        }
    }

    /// Makes a request once. Returns `None` if it failed in a way that may pass, after the pause before the next
    /// attempt.
    async fn attempt<T>(
        &mut self,
        mut request: impl AsyncFnMut(&Room) -> Result<T, MatrixError>,
    ) -> Result<Option<T>, NotPosted> {
        let error = match self.once(&mut request).await? {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        let pause = self.mend(error).await?;
        self.wait(pause).await?;
        Ok(None)
    }

    /// Makes a request once, and returns its error unchanged. No request begins after another bridge may have taken over.
    async fn once<T>(
        &self,
        mut request: impl AsyncFnMut(&Room) -> Result<T, MatrixError>,
    ) -> Result<Result<T, MatrixError>, Halted> {
        let request = async {
            self.tenure.confirm().await?;
            Ok::<_, Interrupted>(request(&self.room).await)
        };
        let answer = tokio::select! {
            biased;
            answer = request => answer?,
            () = async { self.stop.cancelled().await; sleep(GRACE).await } => {
                self.tenure.doubt();
                return Err(Interrupted::Stopping.into());
            }
        };
        if answer.is_ok() {
            self.health.attempt_succeeded();
        }
        Ok(answer)
    }

    async fn wait(&self, pause: Duration) -> Result<(), NotPosted> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Interrupted::Stopping.into()),
            () = sleep(pause) => Ok(()),
        }
    }

    /// Does what can be done about an error, and returns how long to wait.
    async fn mend(&mut self, error: MatrixError) -> Result<Duration, NotPosted> {
        let state = State::of(&error);
        self.give_way(&error).await?;
        let (reason, asked) = match &error {
            MatrixError::Unreachable(_) | MatrixError::TooLong { .. } => {
                self.known.certain = false;
                (error.of_homeserver(), None)
            }
            MatrixError::Untrusted(_) => (error.of_homeserver(), None),
            // One room of many must not block the others.
            MatrixError::Encrypted(_) if self.is_one_of_many => {
                return Err(Closed::ToUs("it is encrypted".to_owned()).into());
            }
            MatrixError::Encrypted(_) => {
                let what = format!("route {}: {}", self.route, encrypted(&self.target));
                return Err(Failure::Encrypted(what).into());
            }
            MatrixError::Replaced(reason) => return Err(Halted::Replaced(reason.clone()).into()),
            MatrixError::Limited { wait, .. } => (error.of_homeserver(), *wait),
            MatrixError::TokenRefused(_) => (self.room.account().recover(&error).await?, None),
            MatrixError::Forbidden(_) | MatrixError::NotFound(_) => {
                (self.reenter(&error).await?, None)
            }
            MatrixError::Rejected(_) => return Err(NotPosted::Refused(error.to_string())),
        };
        self.health.metrics.retried.inc();
        self.health.attempt_failed(state);
        Ok(self.outage.failed(state, &reason, asked))
    }

    /// Switches to the fallback room when the homeserver has failed at this room alone for a while.
    async fn give_way(&mut self, error: &MatrixError) -> Result<(), NotPosted> {
        let is_passing = matches!(
            error,
            MatrixError::Unreachable(_) | MatrixError::TooLong { .. } | MatrixError::Limited { .. }
        );
        if !self.may_give_way || !is_passing {
            return Ok(());
        }
        let since = *self.failing.get_or_insert_with(Instant::now);
        if since.elapsed() < GIVES_WAY {
            return Ok(());
        }
        let closed = self.reentries.are_of_one_room(error, self.room.account()).await;
        closed.map_or(Ok(()), |closed| Err(closed.into()))
    }

    /// Finds out whether only the message is forbidden, or the room is closed to the bridge. A closed room is not the
    /// message's fault, so it is waited for, unless it is one of many.
    async fn reenter(&mut self, error: &MatrixError) -> Result<String, NotPosted> {
        if let Ok(true) = self.has_moved().await {
            let reason = format!("room {} was left for another one", self.target);
            return Err(Halted::Replaced(reason).into());
        }
        let user = &self.room.account().user;
        let (reason, error) = match self.room.standing().await {
            // Somebody may have let the bridge in again since. If it is refused once more, the message is the reason.
            Ok(Membership::MayPost) if self.is_doubted => {
                return Err(NotPosted::Refused(error.to_string()));
            }
            Ok(Membership::MayPost) => {
                self.is_doubted = true;
                return Ok(error.to_string());
            }
            Ok(Membership::NoPower { have, need }) => {
                let reason = format!(
                    "we may not post: {user} has power level {have}, needs {need}; raise it in the room's settings"
                );
                if self.is_one_of_many {
                    return Err(Closed::ToUs(reason).into());
                }
                return Ok(reason);
            }
            Ok(Membership::NotJoined) => {
                match Room::enter(self.room.account(), self.room.id().into()).await {
                    Ok(_) => {
                        let reason = "we had been removed from the room and joined it again";
                        (reason.to_owned(), error.clone())
                    }
                    Err(error) if self.is_one_of_many && error.is_final() => {
                        let reason = format!(
                            "we are not in the room any more, and it does not let us in: {error}"
                        );
                        return Err(Closed::ToUs(reason).into());
                    }
                    Err(error) => {
                        (format!("we are not in the room: invite {user} ({error})"), error)
                    }
                }
            }
            Err(error) => (error.to_string(), error),
        };
        if self.is_one_of_many
            && self.reentries.are_enough(&error)
            && let Some(closed) = self.reentries.are_of_one_room(&error, self.room.account()).await
        {
            return Err(closed.into());
        }
        Ok(reason)
    }
}

/// Makes a small request to see whether the homeserver answers.
async fn answers(room: &Room) -> Result<(), MatrixError> {
    room::joined(room.account()).await.map(drop)
}

fn file_content(file: &Attachment, name: &str, url: &str) -> Value {
    json!({
        "msgtype": "m.file",
        "body": name,
        "filename": name,
        "url": url,
        "info": { "mimetype": file.media_type, "size": file.bytes.len() },
        "m.mentions": {},
    })
}
