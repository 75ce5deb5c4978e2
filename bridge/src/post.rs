//! Posting with patience: a message into its room, until the homeserver has it or will never take
//! it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

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
        Origin::new(self.stream.clone(), &self.route.name, position)
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
    /// False when an event may be in the room of which we had no word: at the start, and after a
    /// request without an answer.
    certain: bool,
}

impl Known {
    /// Forgets everything when the stream is another than before.
    fn of(&mut self, stream: &StreamId) {
        if self.stream.as_ref() != Some(stream) {
            *self = Self { stream: Some(stream.clone()), ..Self::default() };
        }
    }

    fn is_done(&self, sequence: u64) -> bool {
        self.done.is_some_and(|done| sequence <= done)
    }

    fn done(&mut self, sequence: u64) {
        self.done = self.done.max(Some(sequence));
    }

    fn reached(&mut self, position: Position) {
        self.reached = self.reached.max(Some(position));
    }

    fn has(&self, position: Position) -> bool {
        self.reached.is_some_and(|reached| position <= reached)
    }
}

/// Posts the messages of one route.
pub(crate) struct Post {
    room: Room,
    outage: Outage,
    known: Known,
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
        Self { room, outage, known: Known::default(), stop }
    }

    /// Whether a message is done with, so that it need not be looked at again.
    pub(crate) fn is_done(&mut self, stream: &StreamId, sequence: u64) -> bool {
        self.known.of(stream);
        self.known.is_done(sequence)
    }

    /// Notes that a message is done with, in the room or as a dead letter.
    pub(crate) fn done(&mut self, sequence: u64) {
        self.known.done(sequence);
    }

    /// Posts all parts of a message that are not in the room yet.
    pub(crate) async fn message(&mut self, message: &Message<'_>) -> Result<Outcome, Failure> {
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
        self.part(message, 0, message.rendered.content()).await?;
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
            if self.is_posted(message, part).await? {
                return Ok(());
            }
            if self.attempt(async |room| room.send(&origin, content.clone()).await).await?.is_some()
            {
                self.known.reached(origin.position);
                return Ok(());
            }
        }
    }

    async fn is_posted(&mut self, message: &Message<'_>, part: u32) -> Result<bool, Setback> {
        if !self.known.certain {
            let (stream, route) = (message.stream, message.route.name.as_str());
            let published = message.delivery.published;
            // A homeserver that will not let us look says nothing against the message.
            let look = async |room: &Room| match room.last_posted(stream, route, published).await {
                Err(MatrixError::Rejected(reason)) => Err(MatrixError::Unreachable(reason)),
                answer => answer,
            };
            let last = self.insist(look).await?;
            if let Some(last) = last {
                self.known.reached(last);
            }
            self.known.certain = true;
        }
        Ok(self.known.has(message.origin(part).position))
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
            Ok(done) => {
                self.outage.over();
                return Ok(Some(done));
            }
            Err(error) => error,
        };
        let pause = self.mend(error).await?;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Setback::Stopped),
            () = sleep(pause) => Ok(None),
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
            Ok(Standing::MayPost) => return Err(Setback::Refused(error.to_string())),
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
