//! Sends the waiting messages, in order, and then the message of this process.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::Path,
    time::Duration,
};

use async_nats::{
    StatusCode,
    header::NATS_MESSAGE_ID,
    jetstream::{
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
        stream::{DirectGetError, DirectGetErrorKind},
    },
};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use crate::{
    config,
    failure::{Failure, chain},
    nats::Nats,
    publish::{
        message::Message,
        spool::{Number, Spool},
    },
    text::head,
};

/// The time to wait for an acknowledgement before asking again.
const ACK: Duration = Duration::from_secs(5);

/// The time to look for a message in its stream.
const LOOK: Duration = Duration::from_secs(2);

/// The number of logged characters of an error. The owner of a spool can put a message there that causes a very long
/// one.
const ERROR_CHARS: usize = 400;

/// The number of unreadable files that are each named in the log.
const MOST_NAMED: usize = 10;

/// The reason why a message was not sent.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// No message can be sent.
    Away(Failure),
    /// This message cannot be sent, and the later ones on its subject have to wait for it.
    Blocked(Failure),
}

/// The message of this process.
pub(super) struct Own<'a> {
    pub(super) message: &'a Message,
    /// The message's number in the spool, if it was kept.
    pub(super) kept: Option<Number>,
}

/// The number of unreadable files of a spool that were found so far.
#[derive(Default)]
struct Unreadable(usize);

impl Unreadable {
    /// Logs the file by name, unless there are many.
    fn note(&mut self, path: &Path, error: &io::Error) {
        self.0 += 1;
        if self.0 <= MOST_NAMED {
            let error = error.to_string();
            let error = head(&error, ERROR_CHARS);
            warn!("{} cannot be read and is left there: {error}", path.display());
        }
    }
}

impl Drop for Unreadable {
    /// Logs the number of files that were not named, however the search for them ended.
    fn drop(&mut self) {
        if self.0 > MOST_NAMED {
            warn!("{} more files cannot be read and are left there", self.0 - MOST_NAMED);
        }
    }
}

/// A connection to NATS, opened when it is first needed, with the deadline for all its work.
pub(super) struct Sender<'a> {
    config: &'a config::Nats,
    nats: Option<Nats>,
    until: Instant,
}

impl<'a> Sender<'a> {
    pub(super) fn new(config: &'a config::Nats, until: Instant) -> Self {
        Self { config, nats: None, until }
    }

    /// Sends the waiting messages and then our own, each in one attempt.
    pub(super) async fn round(
        &mut self,
        spool: Option<&Spool>,
        own: &Own<'_>,
    ) -> Result<Receipt, Trouble> {
        let mut sent = None;
        if let Some(spool) = spool {
            let end = self.end_of_others(own);
            match spool.turn(end).await {
                Ok(Some(_turn)) => sent = self.drain(spool, own, end).await?,
                // The process that holds the lock may not be sending at all, and may never release it.
                Ok(None) if own.kept.is_none() => {
                    warn!(
                        "another nats-matrix has been sending all the while, so this message does not wait its turn"
                    );
                }
                Ok(None) => {
                    let reason = "another nats-matrix has been sending all the while".to_owned();
                    return Err(Trouble::Away(Failure::Unavailable(reason)));
                }
                // The spool could not be written before, which is reported at the end.
                Err(error) if own.kept.is_none() => debug!("the spool cannot be used: {error}"),
                Err(error) => warn!("what waits cannot be sent: {error}"),
            }
        }
        let receipt = match (sent, spool.zip(own.kept)) {
            (Some(receipt), _) => return Ok(receipt),
            // Another process has sent the message in the meantime.
            (None, Some((spool, number))) if !spool.holds(number) => return Ok(Receipt::Known),
            (None, _) => self.send(own.message, true).await?,
        };
        if let Some((spool, number)) = spool.zip(own.kept) {
            remove(spool, number);
        }
        Ok(receipt)
    }

    /// Returns the deadline for sending the messages before ours. If ours is kept, it can be sent later. If it is not,
    /// it needs a part of the time.
    fn end_of_others(&self, own: &Own<'_>) -> Instant {
        let left = self.until.saturating_duration_since(Instant::now());
        if own.kept.is_some() { self.until } else { self.until - left / 2 }
    }

    /// Sends the waiting messages, in order, until `end`. Returns the receipt of our own message, if it is among them.
    async fn drain(
        &mut self,
        spool: &Spool,
        own: &Own<'_>,
        end: Instant,
    ) -> Result<Option<Receipt>, Trouble> {
        let mut unreadable = Unreadable::default();
        let mut subjects = HashSet::new();
        let mut blocked: HashMap<String, Trouble> = HashMap::new();
        let mut ours = None;
        for number in spool.waiting().unwrap_or_default() {
            let is_ours = own.kept == Some(number);
            let path = spool.path(number);
            // The deadline is checked for unreadable files, too, because there may be too many of them.
            if Instant::now() >= end && own.kept.is_some() {
                return Err(Trouble::Away(late("not all that waits could be sent")));
            }
            if Instant::now() >= end {
                break;
            }
            let message = match spool.message(number) {
                Ok(Some(message)) => message,
                Ok(None) => continue,
                Err(error) => {
                    unreadable.note(&path, &error);
                    continue;
                }
            };
            let is_first = subjects.insert(message.subject.clone());
            let result = match blocked.get(&message.subject) {
                Some(trouble) => Err(trouble.clone()),
                None => self.send(&message, is_first).await,
            };
            match &result {
                Ok(_) => remove(spool, number),
                Err(trouble @ Trouble::Blocked(failure)) => {
                    if is_first && !is_ours {
                        let failure = failure.to_string();
                        let failure = head(&failure, ERROR_CHARS);
                        warn!("{failure}; {} waits for that", path.display());
                    }
                    blocked.insert(message.subject, trouble.clone());
                }
                Err(trouble @ Trouble::Away(_)) => return Err(trouble.clone()),
            }
            if is_ours {
                ours = Some(result);
            }
        }
        ours.transpose()
    }

    /// Sends one message and waits for its acknowledgement.
    ///
    /// Only the first waiting message of a subject can already be stored, because the next one is not sent before the
    /// first is acknowledged.
    async fn send(&mut self, message: &Message, is_first: bool) -> Result<Receipt, Trouble> {
        let until = self.until;
        let nats = self.connected().await.map_err(Trouble::Away)?;
        if is_first && message.is_late() && is_stored(nats, message).await {
            return Ok(Receipt::Known);
        }
        let publish = async {
            let text = PublishMessage::build().payload(message.text().into());
            let sent =
                nats.jetstream.send_publish(message.subject.clone(), text.message_id(&message.id));
            sent.await?.await
        };
        let until = until.min(Instant::now() + ACK);
        let acknowledged = tokio::select! {
            // A denial is heard only from the moment on at which somebody waits for it.
            biased;
            failure = nats.denied(&message.subject) => return Err(Trouble::Blocked(failure)),
            failure = nats.refused(None) => return Err(Trouble::Away(failure)),
            acknowledged = timeout_at(until, publish) => acknowledged,
        };
        match acknowledged {
            Ok(Ok(ack)) => Ok(Receipt::Stored { stream: ack.stream, sequence: ack.sequence }),
            Ok(Err(error)) => Err(trouble(&error, &message.subject)),
            Err(_) => Err(unacknowledged()),
        }
    }

    async fn connected(&mut self) -> Result<&Nats, Failure> {
        if Instant::now() >= self.until {
            return Err(late("not all that waits could be sent"));
        }
        let nats = match self.nats.take() {
            Some(nats) => nats,
            None => timeout_at(self.until, Nats::connect(self.config))
                .await
                .unwrap_or_else(|_| Err(late("NATS does not answer")))?,
        };
        Ok(self.nats.insert(nats))
    }
}

fn remove(spool: &Spool, number: Number) {
    if let Err(error) = spool.done(number) {
        warn!("{} was sent but cannot be removed: {error}", spool.path(number).display());
    }
}

fn late(what: &str) -> Failure {
    Failure::Unavailable(format!("{what} in the time that there was"))
}

/// Interprets the error that NATS returned for a message.
fn trouble(error: &PublishError, subject: &str) -> Trouble {
    let blocked = |text: String| Trouble::Blocked(Failure::Unavailable(text));
    match error.kind() {
        PublishErrorKind::StreamNotFound => blocked(format!(
            "no stream of NATS takes the subject {subject}, or JetStream is off: have a stream take it, or mend the \
             subject"
        )),
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => unacknowledged(),
        _ => blocked(format!("NATS does not take the message on {subject}: {}", chain(error))),
    }
}

fn unacknowledged() -> Trouble {
    Trouble::Away(Failure::Unavailable("NATS does not acknowledge the message".to_owned()))
}

/// Whether the last message of the subject is this one. If NATS cannot be asked, the answer is no, because a duplicate
/// is better than a loss.
async fn is_stored(nats: &Nats, message: &Message) -> bool {
    let last = async {
        let stream = nats.jetstream.stream_by_subject(message.subject.as_str()).await.ok()?;
        let stream = nats.jetstream.get_stream_no_info(stream).await.ok()?;
        // Permissions for this kind of read can be limited to one subject; those for the other kind cover the whole
        // stream.
        let last = match stream.direct_get_last_for_subject(message.subject.as_str()).await {
            Ok(last) => last.headers,
            Err(error) if is_off(&error) => {
                stream.get_last_raw_message_by_subject(&message.subject).await.ok()?.headers
            }
            Err(_) => return None,
        };
        Some(last.get(NATS_MESSAGE_ID)?.as_str() == message.id)
    };
    timeout(LOOK, last).await.ok().flatten().unwrap_or(false)
}

/// Whether the stream does not allow direct reads.
fn is_off(error: &DirectGetError) -> bool {
    matches!(error.kind(), DirectGetErrorKind::ErrorResponse(StatusCode::NO_RESPONDERS, _))
}

/// The result of sending a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// The message was stored now.
    Stored {
        /// The name of the stream.
        stream: String,
        /// The sequence of the message in the stream.
        sequence: u64,
    },
    /// NATS already had the message: another process sent it, or an earlier acknowledgement was lost.
    Known,
}
