//! Posting with patience: a message into its room, until the homeserver has it or will never take
//! it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::Route,
    failure::Failure,
    matrix::{LoginError, MatrixError},
    origin::{Origin, Position, StreamId},
    render::{Attachment, Rendered},
    retry::Outage,
    room::{Room, Standing},
    source::Delivery,
};

/// How long a request that is on its way may take to finish after we were told to stop.
const GRACE: Duration = Duration::from_secs(7);

/// How the work on a message ended.
pub(crate) enum Outcome {
    /// It is in the room, now or since before.
    Posted,
    /// The homeserver will never take it.
    Refused(String),
    /// We were told to stop first.
    Stopped,
}

/// A rendered message on its way.
pub(crate) struct Message<'a> {
    pub(crate) delivery: &'a Delivery,
    pub(crate) stream: &'a StreamId,
    pub(crate) route: &'a Route,
    pub(crate) rendered: &'a Rendered,
}

impl Message<'_> {
    fn origin(&self, part: u32) -> Origin {
        let position = Position { sequence: self.delivery.sequence, part };
        Origin::new(self.stream.clone(), &self.route.name, position, self.delivery.published)
    }

    fn file_name(&self, file: &Attachment) -> String {
        format!("{}-{}.{}", self.route.stream, self.delivery.sequence, file.extension)
    }
}

/// What we know of the room: how far the route has come in it.
#[derive(Debug, Default)]
struct Known {
    stream: Option<StreamId>,
    reached: Option<Position>,
    /// Messages up to this one are done with, in the room or as dead letters.
    done: Option<u64>,
    /// When the latest of these was published, in nanoseconds since 1970. A later message with a
    /// number that we know is another one: a NATS server that lost its last messages in a power
    /// failure gives their numbers again.
    newest: i128,
    /// False when an event may be in the room of which we had no word: at the start, and after a
    /// request without an answer.
    certain: bool,
}

impl Known {
    /// Forgets everything when the stream is another than before, or its numbers begin anew.
    fn of(&mut self, stream: &StreamId, sequence: u64, published: i128) {
        let is_known = self.stream.as_ref() == Some(stream);
        let highest = self.done.max(self.reached.map(|reached| reached.sequence));
        let is_reused =
            highest.is_some_and(|highest| sequence <= highest) && published > self.newest;
        if is_known && is_reused {
            warn!(
                "stream {}: number {sequence} is used again, so the stream has lost messages",
                stream.stream
            );
        }
        if !is_known || is_reused {
            *self = Self { stream: Some(stream.clone()), ..Self::default() };
        }
    }

    fn is_done(&self, sequence: u64, published: i128) -> bool {
        self.done.is_some_and(|done| sequence <= done) && published <= self.newest
    }

    fn done(&mut self, sequence: u64, published: i128) {
        let is_later = published > self.newest;
        self.done = if is_later { Some(sequence) } else { self.done.max(Some(sequence)) };
        self.newest = self.newest.max(published);
    }

    fn reached(&mut self, origin: &Origin) {
        let is_later = origin.published() > self.newest;
        let position = Some(origin.position);
        self.reached = if is_later { position } else { self.reached.max(position) };
        self.newest = self.newest.max(origin.published());
    }

    fn has(&self, origin: &Origin) -> bool {
        self.reached.is_some_and(|reached| origin.position <= reached)
            && origin.published() <= self.newest
    }
}

/// Posts the messages of one route.
pub(crate) struct Post {
    room: Room,
    outage: Outage,
    known: Known,
    /// The message was forbidden once, although the room is open to us.
    is_doubted: bool,
    stop: CancellationToken,
}

/// Why a step did not succeed.
enum Setback {
    /// The homeserver will never take it.
    Refused(String),
    /// We were told to stop.
    Stopped,
    /// Nothing works any more.
    Fatal(Failure),
}

trait IntoOutcome {
    fn into_outcome(self) -> Result<Outcome, Failure>;
}

impl IntoOutcome for Result<(), Setback> {
    fn into_outcome(self) -> Result<Outcome, Failure> {
        match self {
            Ok(()) => Ok(Outcome::Posted),
            Err(Setback::Refused(reason)) => Ok(Outcome::Refused(reason)),
            Err(Setback::Stopped) => Ok(Outcome::Stopped),
            Err(Setback::Fatal(failure)) => Err(failure),
        }
    }
}

impl Post {
    /// Nothing is known of the room yet.
    pub(crate) fn new(route: &Route, room: Room, stop: CancellationToken) -> Self {
        let outage = Outage::of(format!("route {}: room {}", route.name, route.room));
        Self { room, outage, known: Known::default(), is_doubted: false, stop }
    }

    /// Whether a message is done with, so that it need not be looked at again.
    pub(crate) fn is_done(&mut self, stream: &StreamId, delivery: &Delivery) -> bool {
        let published = delivery.published.unix_timestamp_nanos();
        self.known.of(stream, delivery.sequence, published);
        self.known.is_done(delivery.sequence, published)
    }

    /// Notes that a message is done with, in the room or as a dead letter.
    pub(crate) fn done(&mut self, delivery: &Delivery) {
        self.known.done(delivery.sequence, delivery.published.unix_timestamp_nanos());
    }

    /// Posts all parts of a message that are not in the room yet.
    pub(crate) async fn message(&mut self, message: &Message<'_>) -> Result<Outcome, Failure> {
        // A doubt is about one message; the last one may have been refused together with its note.
        self.is_doubted = false;
        self.parts(message).await.into_outcome()
    }

    /// Says in the room that a message, or its file, could not be posted. It stands in for the part
    /// that was refused.
    pub(crate) async fn note(
        &mut self,
        message: &Message<'_>,
        note: Value,
    ) -> Result<Outcome, Failure> {
        self.part(message, 1, note).await.into_outcome()
    }

    async fn parts(&mut self, message: &Message<'_>) -> Result<(), Setback> {
        self.part(message, 0, message.rendered.content(&message.route.mention)).await?;
        if let Some(file) = &message.rendered.attachment {
            if self.is_posted(message, 1).await? {
                return Ok(());
            }
            let name = message.file_name(file);
            let url = self.insist(async |room| room.upload(file, &name).await).await?;
            self.part(message, 1, file_content(file, &name, url.as_str())).await?;
        }
        Ok(())
    }

    async fn part(
        &mut self,
        message: &Message<'_>,
        part: u32,
        content: Value,
    ) -> Result<(), Setback> {
        let origin = message.origin(part);
        loop {
            // Asked again after every attempt without an answer: the homeserver's own memory of
            // transaction ids may be younger than the event, if it was killed in between.
            if !self.is_posted(message, part).await? {
                let sent = self.attempt(async |room| room.send(&origin, content.clone()).await);
                if sent.await?.is_none() {
                    continue;
                }
                self.known.reached(&origin);
            }
            // Only now: a homeserver that can be read from may still not take anything.
            self.outage.over();
            self.is_doubted = false;
            return Ok(());
        }
    }

    async fn is_posted(&mut self, message: &Message<'_>, part: u32) -> Result<bool, Setback> {
        if !self.known.certain {
            let (stream, route) = (message.stream, message.route.name.as_str());
            let published = message.delivery.published;
            let look = async |room: &Room| room.last_posted(stream, route, published).await;
            let last = loop {
                match self.insist(look).await {
                    // A homeserver that will not let us look says nothing against the message.
                    Err(Setback::Refused(reason)) => {
                        let pause = self.outage.failed(&reason, None);
                        self.wait(pause).await?;
                    }
                    looked => break looked?,
                }
            };
            if let Some(last) = last {
                self.known.reached(&last);
            }
            self.known.certain = true;
        }
        Ok(self.known.has(&message.origin(part)))
    }

    /// Does a request until it succeeds or is refused for good.
    async fn insist<T>(
        &mut self,
        mut request: impl AsyncFnMut(&Room) -> Result<T, MatrixError>,
    ) -> Result<T, Setback> {
        loop {
            if let Some(done) = self.attempt(&mut request).await? {
                return Ok(done);
            }
        }
    }

    /// Does a request once. `None`: it failed in a way that may pass, and the pause before the next
    /// attempt is over.
    async fn attempt<T>(
        &mut self,
        mut request: impl AsyncFnMut(&Room) -> Result<T, MatrixError>,
    ) -> Result<Option<T>, Setback> {
        let answer = tokio::select! {
            biased;
            answer = request(&self.room) => answer,
            () = async { self.stop.cancelled().await; sleep(GRACE).await } => return Err(Setback::Stopped),
        };
        let error = match answer {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        let pause = self.mend(error).await?;
        self.wait(pause).await?;
        Ok(None)
    }

    async fn wait(&self, pause: Duration) -> Result<(), Setback> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Setback::Stopped),
            () = sleep(pause) => Ok(()),
        }
    }

    /// Does what can be done about an error, and says how long to wait.
    async fn mend(&mut self, error: MatrixError) -> Result<Duration, Setback> {
        let (reason, asked) = match &error {
            MatrixError::Unreachable(_) => {
                self.known.certain = false;
                (error.to_string(), None)
            }
            MatrixError::Limited { wait, .. } => (error.to_string(), *wait),
            MatrixError::TokenRefused(_) => match self.room.account().renew().await {
                Ok(()) => (error.to_string(), None),
                Err(LoginError::Passing(error)) => (error.to_string(), None),
                Err(LoginError::Final(failure)) => return Err(Setback::Fatal(failure)),
            },
            MatrixError::Forbidden(_) | MatrixError::NotFound(_) => {
                (self.reenter(&error).await?, None)
            }
            MatrixError::Rejected(_) => return Err(Setback::Refused(error.to_string())),
        };
        Ok(self.outage.failed(&reason, asked))
    }

    /// Tells a message that is forbidden from a room that is closed to us; the latter is waited
    /// for, because it is no fault of the message.
    async fn reenter(&mut self, error: &MatrixError) -> Result<String, Setback> {
        let user = &self.room.account().user;
        Ok(match self.room.standing().await {
            // Somebody may have let us in again since; if not, it is the message.
            Ok(Standing::MayPost) if self.is_doubted => {
                return Err(Setback::Refused(error.to_string()));
            }
            Ok(Standing::MayPost) => {
                self.is_doubted = true;
                error.to_string()
            }
            Ok(Standing::NoPower { have, need }) => {
                format!(
                    "we may not post: {user} has power level {have}, needs {need}; raise it in the room's settings"
                )
            }
            Ok(Standing::NotJoined) => {
                match Room::enter(self.room.account(), self.room.id().into()).await {
                    Ok(_) => "we had been removed from the room and joined it again".to_owned(),
                    Err(error) => format!("we are not in the room: invite {user} ({error})"),
                }
            }
            Err(error) => error.to_string(),
        })
    }
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

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::config::RouteName;

    fn stream() -> StreamId {
        StreamId { stream: "OPS".to_owned(), created: "1".to_owned() }
    }

    fn origin(sequence: u64, part: u32, published: i128) -> Origin {
        let published = OffsetDateTime::from_unix_timestamp_nanos(published).unwrap();
        let route = RouteName::parse("r").unwrap();
        Origin::new(stream(), &route, Position { sequence, part }, published)
    }

    #[test]
    fn what_was_reached_is_there_with_all_before_it() {
        let mut known = Known::default();
        known.of(&stream(), 7, 70);
        known.reached(&origin(7, 0, 70));
        assert!(known.has(&origin(6, 1, 60)) && known.has(&origin(7, 0, 70)));
        assert!(!known.has(&origin(7, 1, 70)) && !known.has(&origin(8, 0, 80)));
        known.reached(&origin(7, 1, 70));
        assert!(known.has(&origin(7, 1, 70)));
        known.done(7, 70);
        assert!(known.is_done(7, 70) && known.is_done(6, 60) && !known.is_done(8, 80));
    }

    #[test]
    fn another_incarnation_of_the_stream_begins_anew() {
        let mut known = Known::default();
        known.of(&stream(), 7, 70);
        known.done(7, 70);
        known.of(&StreamId { created: "2".to_owned(), ..stream() }, 1, 80);
        assert!(!known.is_done(1, 80));
    }

    #[test]
    fn a_number_that_is_used_again_is_another_message() {
        let mut known = Known::default();
        known.of(&stream(), 100, 1_000);
        known.reached(&origin(100, 0, 1_000));
        known.done(100, 1_000);
        // The server has lost its last messages and goes on with number 90.
        known.of(&stream(), 90, 2_000);
        assert!(!known.certain && !known.is_done(90, 2_000));
        // The room still shows number 100 of before.
        known.reached(&origin(100, 0, 1_000));
        known.certain = true;
        assert!(!known.has(&origin(90, 0, 2_000)));
        known.reached(&origin(90, 0, 2_000));
        known.done(90, 2_000);
        known.of(&stream(), 91, 2_100);
        assert!(known.certain, "noticed once");
        assert!(!known.has(&origin(91, 0, 2_100)));
        assert!(known.is_done(90, 2_000));
    }

    #[test]
    fn a_clock_of_nats_that_is_set_back_makes_nothing_new() {
        let mut known = Known::default();
        known.of(&stream(), 5, 100);
        known.done(5, 100);
        known.of(&stream(), 6, 90);
        known.done(6, 90);
        known.of(&stream(), 5, 100);
        assert!(known.is_done(5, 100) && known.is_done(6, 90));
    }
}
