//! The way of a report: source, decode, render, room, ack. One task per route, one message at a
//! time, in stream order.

use std::{sync::Arc, time::Duration};

use matrix_sdk::ruma::RoomAliasId;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    config::{self, Route},
    dead_letter::DeadLetters,
    failure::Failure,
    matrix::{Account, LoginError, MatrixError},
    nats::Nats,
    origin::{Origin, Position, StreamId},
    payload::Decoded,
    render::{Attachment, Rendered, Renderer},
    retry::Outage,
    room::{Entry, Room, Standing},
    source::{Delivery, Source},
};

/// How long a request that is on its way may take to finish after we were told to stop.
const GRACE: Duration = Duration::from_secs(7);

/// Everything that one route needs.
pub(crate) struct Relay {
    route: Arc<Route>,
    source: Source,
    post: Post,
    dead_letters: DeadLetters,
    renderer: Renderer,
    tally: Tally,
}

/// What happened since the start.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    posted: u64,
    flawed: u64,
    dead: u64,
}

/// How the work on a message ended.
enum Outcome {
    /// It is in the room, now or since before.
    Posted,
    /// The homeserver will never take it.
    Refused(String),
    /// We were told to stop first.
    Stopped,
}

impl Relay {
    /// The relay of one route, in `room`.
    pub(crate) fn new(
        route: Arc<Route>,
        nats: Nats,
        config: &config::Nats,
        room: Room,
        stop: CancellationToken,
    ) -> Self {
        let dead_letters = DeadLetters::of(nats.clone(), &config.dead_letter_subject, &route.name);
        let outage = Outage::of(format!("route {}: room {}", route.name, route.room));
        Self {
            source: Source::new(nats, Arc::clone(&route)),
            post: Post { room, outage, known: Known::default(), stop },
            dead_letters,
            renderer: Renderer::new(),
            tally: Tally::default(),
            route,
        }
    }

    /// Relays until told to stop.
    ///
    /// # Errors
    ///
    /// What only a person can mend: a consumer that cannot be used, credentials that are refused.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let stop = self.post.stop.clone();
        let unfinished = loop {
            let delivery = tokio::select! {
                biased;
                () = stop.cancelled() => break None,
                delivery = self.source.next() => delivery?,
            };
            if !self.relay(&delivery).await? {
                break Some(delivery);
            }
        };
        self.source.close(unfinished).await;
        let Tally { posted, flawed, dead } = self.tally;
        info!(
            "route {}: stopped; posted {posted}, of them {flawed} flawed, and {dead} dead letters",
            self.route.name
        );
        Ok(())
    }

    /// Takes one message all the way. False if it is not done because we were told to stop.
    async fn relay(&mut self, delivery: &Delivery) -> Result<bool, Failure> {
        let Some(stream) = self.source.stream().cloned() else {
            return Err(Failure::Bug("a message of no stream".to_owned()));
        };
        self.post.known.of(&stream);
        if self.post.known.is_done(delivery.sequence) {
            debug!(sequence = delivery.sequence, "delivered again, is in the room");
            delivery.ack().await;
            return Ok(true);
        }
        let decoded = Decoded::from_bytes(delivery.payload());
        let rendered = self.renderer.render(delivery.subject(), &decoded, delivery.payload());
        let route = Arc::clone(&self.route);
        let message = Message { delivery, stream: &stream, route: &route, rendered: &rendered };
        match self.source.keep_while(delivery, self.post.message(&message)).await? {
            Outcome::Stopped => return Ok(false),
            Outcome::Posted => {
                self.tally.posted += 1;
                self.note_flaw(delivery, &decoded);
                delivery.ack().await;
            }
            Outcome::Refused(reason) => {
                if !self.bury(delivery, &reason).await {
                    return Ok(false);
                }
                // After the dead letter: a kill in between brings the message back, and with it the
                // note.
                let note = refusal_note(delivery, &reason, self.dead_letters.subject());
                if let Outcome::Stopped =
                    self.source.keep_while(delivery, self.post.note(&message, note)).await?
                {
                    return Ok(false);
                }
                delivery.terminate(&reason).await;
            }
        }
        self.post.known.done(delivery.sequence);
        Ok(true)
    }

    fn note_flaw(&mut self, delivery: &Delivery, decoded: &Decoded) {
        let Some(flaw) = &decoded.flaw else { return };
        self.tally.flawed += 1;
        warn!(
            "route {}: message {} on {} is posted as it is: {flaw}",
            self.route.name,
            delivery.sequence,
            delivery.subject()
        );
    }

    /// Keeps a message that the homeserver refuses as a dead letter, however long that takes. False
    /// if we were told to stop first.
    async fn bury(&mut self, delivery: &Delivery, reason: &str) -> bool {
        let mut outage =
            Outage::of(format!("route {}: dead letter {}", self.route.name, delivery.sequence));
        let (dead_letters, stream, stop) =
            (&self.dead_letters, &self.route.stream, &self.post.stop);
        let kept = async {
            while let Err(error) = dead_letters.keep(delivery, stream, reason).await {
                let pause = outage.failed(&error, None);
                tokio::select! {
                    () = stop.cancelled() => return false,
                    () = sleep(pause) => {}
                }
            }
            true
        };
        if !self.source.keep_while(delivery, kept).await {
            return false;
        }
        self.tally.dead += 1;
        warn!(
            "route {}: message {} on {} can never be posted ({reason}); it is kept on {}",
            self.route.name,
            delivery.sequence,
            delivery.subject(),
            self.dead_letters.subject()
        );
        true
    }
}

/// A rendered message on its way.
struct Message<'a> {
    delivery: &'a Delivery,
    stream: &'a StreamId,
    route: &'a Route,
    rendered: &'a Rendered,
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

/// Posting with patience.
struct Post {
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
    /// Posts all parts of a message that are not in the room yet.
    async fn message(&mut self, message: &Message<'_>) -> Result<Outcome, Failure> {
        self.parts(message).await.into_outcome()
    }

    /// Says in the room that a message, or its file, could not be posted. It stands in for the part
    /// that was refused.
    async fn note(&mut self, message: &Message<'_>, note: Value) -> Result<Outcome, Failure> {
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
            let last =
                self.insist(async |room| room.last_posted(stream, route, published).await).await?;
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

/// What the room shows in place of a message that the homeserver refuses: nobody should have to
/// read a log to learn of an alert.
fn refusal_note(delivery: &Delivery, reason: &str, subject: &str) -> Value {
    let plain = format!(
        "⚠️ Message {} on {} cannot be shown in full: the homeserver {reason}. It is kept on {subject}",
        delivery.sequence,
        delivery.subject()
    );
    Rendered::words(&plain).content()
}

/// Enters the room of a route, or makes it; waits as long as we are not let in. `None` if we were
/// told to stop first.
///
/// # Errors
///
/// [`Failure::Config`] for an encrypted room, [`Failure::Refused`] when the homeserver no longer
/// accepts our login.
pub(crate) async fn open_room(
    route: &Route,
    account: &Arc<Account>,
    stop: &CancellationToken,
) -> Result<Option<Room>, Failure> {
    let mut outage = Outage::of(format!("route {}: room {}", route.name, route.room));
    loop {
        let error = match try_open_room(route, account).await {
            Ok(room) => {
                outage.over();
                info!("route {}: posting into {} as {}", route.name, route.room, account.user);
                return Ok(Some(room));
            }
            Err(OpenError::Encrypted) => {
                return Err(Failure::Config(format!(
                    "route {}: room {} is encrypted, and the bridge posts without encryption: make a room without it",
                    route.name, route.room
                )));
            }
            Err(OpenError::Matrix(error)) => error,
        };
        let reason = match &error {
            MatrixError::TokenRefused(_) => match account.renew().await {
                Err(LoginError::Final(failure)) => return Err(failure),
                _ => error.to_string(),
            },
            MatrixError::Forbidden(_) => {
                format!("we are not let in: invite {} ({error})", account.user)
            }
            MatrixError::NotFound(_) => {
                format!("there is no such room ({error}): correct `room` of the route")
            }
            _ => error.to_string(),
        };
        let pause = outage.failed(&reason, None);
        if timeout(pause, stop.cancelled()).await.is_ok() {
            return Ok(None);
        }
    }
}

enum OpenError {
    Encrypted,
    Matrix(MatrixError),
}

impl From<MatrixError> for OpenError {
    fn from(error: MatrixError) -> Self {
        Self::Matrix(error)
    }
}

async fn try_open_room(route: &Route, account: &Arc<Account>) -> Result<Room, OpenError> {
    let id = match Room::enter(account, &route.room).await? {
        Entry::Joined(id) => id,
        Entry::Free => {
            let alias = <&RoomAliasId>::try_from(&*route.room).expect("only aliases are free");
            Room::create(account, alias, &route.invite).await?
        }
    };
    let room = Room::new(Arc::clone(account), id);
    if room.is_encrypted().await? {
        return Err(OpenError::Encrypted);
    }
    Ok(room)
}
