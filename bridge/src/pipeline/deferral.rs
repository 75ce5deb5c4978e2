//! The store of messages that quiet hours defer: they are copied into a stream of the bridge's own, and shown from
//! there when the quiet hours are over, as from any other stream.
//!
//! Whether a message is deferred depends on the hour in which it comes. A message that comes again later, because a
//! kill came before the acknowledgement, may or may not have been deferred. Each copy has a subject of its own that is
//! made of the message's origin and of a secret, so that the stream shows which copies it has, and takes none twice.

use std::{error::Error as _, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{GetStreamError, GetStreamErrorKind, PublishError, PublishErrorKind},
    stream::{Config as StreamConfig, DiscardPolicy, InfoError},
};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::{
    config::{Quiet, Route},
    failure::{Interrupted, chain},
    message::{Origin, Urgency},
    nats::{
        Memory, Nats, headers,
        streams::{self, StreamError},
    },
    pipeline::deferred_copy::{Copies, Extent},
    reserved::{self, DEFERRED_PREFIX, DEFERRED_STREAM},
    signature::SigningKey,
    source::{Delivery, Feed, ReadError, Stored, StoredError, consumer, stored},
};

/// The time for which the stream keeps messages, including those that were shown.
const KEPT_FOR: Duration = Duration::from_hours(24 * 7);

/// The size up to which the stream keeps them, in bytes.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// The time after which deferring is tried again when it failed.
const PAUSE: Duration = Duration::from_mins(1);

/// The time after which a request without an answer is repeated.
const AWAY: Duration = Duration::from_secs(1);

/// The time for which the stream is taken to be as it was found.
const CHECKED: Duration = Duration::from_secs(10);

/// The permissions that deferring needs.
const PERMISSIONS: &str = "https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/reference/nats-permissions.md#quiet-hours";

/// The deferred messages of a route.
pub(crate) struct DeferredStore {
    nats: Nats,
    /// The route's view of the memory for messages.
    memory: Memory,
    quiet: Quiet,
    route: String,
    copies: Copies,
    /// The stream of the route.
    stream: String,
    /// The range of the route's copies, once that is known.
    reach: Option<Extent>,
    /// The time when deferring may be tried again after it failed.
    retry: Option<Instant>,
    /// The time when the stream was last found to keep what it takes.
    checked: Option<Instant>,
    /// Whether it was logged that nothing can be deferred.
    is_said: bool,
}

/// The decision about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deferral {
    /// The message is to be shown.
    Show,
    /// The message is to be deferred.
    Defer,
    /// The message was deferred before.
    WasDeferred,
}

/// The reason why nothing can be deferred.
#[derive(Debug, Error)]
pub(crate) enum DeferError {
    /// The server denies a permission; this is its reason.
    #[error("{0}")]
    Denied(String),
    /// A copy cannot be looked up.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The name of the stream is not taken.
    #[error(transparent)]
    Stream(#[from] GetStreamError),
    /// The stream does not tell its subjects.
    #[error(transparent)]
    Subjects(#[from] InfoError),
    /// The stream does not take a copy.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The stream was not there, and takes no copy after it was created.
    #[error("its stream does not take it")]
    NoStream,
    /// The stream would lose copies, for these reasons.
    #[error("stream {DEFERRED_STREAM} does not keep what it takes: {}", streams::unfit(.0, DEFERRED_STREAM))]
    Unfit(Vec<String>),
    /// There is no stream, and none was created.
    #[error(transparent)]
    Create(#[from] StreamError),
}

/// The reason why there is no confirmed copy.
enum NoCopy {
    /// There was no answer, so there may be a copy.
    Unknown,
    /// Nothing can be deferred.
    Refused(DeferError),
}

impl From<StoredError> for NoCopy {
    fn from(error: StoredError) -> Self {
        if error.is_unanswered() { Self::Unknown } else { Self::Refused(error.into()) }
    }
}

impl DeferredStore {
    /// Creates the store of a route that has quiet hours.
    pub(crate) fn of(route: &Route, nats: Nats, memory: Memory, key: &SigningKey) -> Option<Self> {
        Some(Self {
            nats,
            memory,
            quiet: route.quiet.clone()?,
            route: route.name.to_string(),
            copies: Copies::of(route.name.as_str(), key),
            stream: route.stream.clone(),
            reach: None,
            retry: None,
            checked: None,
            is_said: false,
        })
    }

    /// Finds out which copies there are, while the route has no message in memory yet. The last copy may be as large as a
    /// message can be, and there may not be memory for two.
    pub(crate) async fn prepare(&mut self) {
        if let Err(error) = self.extent().await {
            self.failed(&error);
        }
    }

    /// Decides about a message of this urgency. Critical messages are never deferred.
    ///
    /// # Errors
    ///
    /// [`Interrupted::GivingWay`] if there is no memory to find out which copies there are beside the current message.
    pub(crate) async fn deferral(
        &mut self,
        urgency: Urgency,
        origin: &Origin,
    ) -> Result<Deferral, Interrupted> {
        let may_try = self.retry.is_none_or(|retry| Instant::now() >= retry);
        // The stream may hold an earlier copy of this message, even if it is full and takes no new ones.
        let may_be_held = self.reach.as_ref().is_some_and(|reach| reach.may_have(origin));
        if urgency >= Urgency::Critical || !may_try && !may_be_held {
            return Ok(Deferral::Show);
        }
        if self.reach.is_none() && self.memory.is_held() {
            return Err(Interrupted::GivingWay);
        }
        Ok(match self.has(origin).await {
            Ok(true) => Deferral::WasDeferred,
            Ok(false) if may_try && self.quiet.end(Timestamp::now()).is_some() => Deferral::Defer,
            Ok(false) => Deferral::Show,
            Err(error) => {
                self.failed(&error);
                Deferral::Show
            }
        })
    }

    /// Copies a message into the stream. Returns false if the stream does not take it, so that it has to be shown.
    pub(crate) async fn hold(&mut self, delivery: &Delivery, origin: &Origin) -> bool {
        let subject = self.copies.subject(origin);
        let held = match self.require_fit().await {
            Ok(()) => self.insist(async || self.copy(delivery, &subject).await).await,
            Err(error) => Err(error),
        };
        match held {
            Ok(true) => {
                self.reach = Some(Extent::of(origin));
                true
            }
            Ok(false) => {
                let sequence = delivery.sequence;
                info!(
                    "message {sequence} is too large to be held back in quiet hours, so it is shown at once"
                );
                false
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    /// Makes sure that the stream keeps what it takes: somebody else may have created or changed it.
    async fn require_fit(&mut self) -> Result<(), DeferError> {
        if self.checked.is_some_and(|checked| checked.elapsed() < CHECKED) {
            return Ok(());
        }
        self.insist(async || self.check_stream().await).await?;
        self.checked = Some(Instant::now());
        Ok(())
    }

    async fn check_stream(&self) -> Result<(), NoCopy> {
        let stream = match self.nats.jetstream.get_stream(DEFERRED_STREAM).await {
            Ok(stream) => stream,
            // It is created with the first copy.
            Err(error) if streams::is_missing(&error) => return Ok(()),
            Err(error) if error.kind() == GetStreamErrorKind::Request => {
                return Err(NoCopy::Unknown);
            }
            Err(error) => return Err(NoCopy::Refused(error.into())),
        };
        let present = &stream.cached_info().config;
        let faults = streams::faults(&self.nats, present, &stream_config(), &self.stream).await;
        if faults.is_empty() { Ok(()) } else { Err(NoCopy::Refused(DeferError::Unfit(faults))) }
    }

    /// Whether there is a copy of a message.
    async fn has(&mut self, origin: &Origin) -> Result<bool, DeferError> {
        if !self.extent().await?.may_have(origin) {
            return Ok(false);
        }
        let subject = self.copies.subject_of_any(origin);
        self.insist(async || self.is_there(&subject).await).await
    }

    async fn extent(&mut self) -> Result<Extent, DeferError> {
        let reach = match &self.reach {
            Some(reach) => reach.clone(),
            None => self.insist(async || self.read_reach().await).await?,
        };
        self.reach = Some(reach.clone());
        Ok(reach)
    }

    async fn read_reach(&self) -> Result<Extent, NoCopy> {
        let memory = self.memory.queue(stored::need(&self.nats)).reservation(None).await;
        let subjects = reserved::deferred_subjects(&self.route);
        let last = Stored::last(&self.nats, DEFERRED_STREAM, &subjects, &memory).await?;
        Ok(last.map_or(Extent::Nothing, |last| self.copies.extent(&last.message.subject)))
    }

    /// Whether the stream has a message on a subject. The message itself is not read.
    async fn is_there(&self, subject: &str) -> Result<bool, NoCopy> {
        let stream = self.nats.jetstream.get_stream_no_info(DEFERRED_STREAM).await;
        let stream = stream.map_err(|error| NoCopy::Refused(error.into()))?;
        let answer = match stream.info_with_subjects(subject).await {
            Ok(mut subjects) => subjects.try_next().await,
            Err(error) => Err(error),
        };
        let error = match answer {
            Ok(found) => return Ok(found.is_some()),
            Err(error) => error,
        };
        // The client reports an answer of the server that is an error as the source of another.
        let said = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
        match said {
            Some(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(false),
            Some(_) => Err(NoCopy::Refused(error.into())),
            None => Err(NoCopy::Unknown),
        }
    }

    /// Asks until there is an answer: without one it is unknown whether there is a copy.
    ///
    /// # Errors
    ///
    /// The server's refusal, or its denial of permission to ask.
    async fn insist<T>(&self, ask: impl AsyncFn() -> Result<T, NoCopy>) -> Result<T, DeferError> {
        let denied = self.nats.denies(&[DEFERRED_STREAM, DEFERRED_PREFIX]);
        let answered = async {
            loop {
                match ask().await {
                    Ok(answer) => return Ok(answer),
                    Err(NoCopy::Refused(error)) => return Err(error),
                    Err(NoCopy::Unknown) => sleep(AWAY).await,
                }
            }
        };
        tokio::select! {
            biased;
            answer = answered => answer,
            reason = denied => Err(DeferError::Denied(reason)),
        }
    }

    /// Copies a message, and returns whether there is a copy now. A message that is too large together with the added
    /// headers is not copied.
    async fn copy(&self, delivery: &Delivery, subject: &str) -> Result<bool, NoCopy> {
        let mut headers = self.copies.headers(delivery, subject);
        headers::set(&mut headers, headers::EXPECTED_STREAM, DEFERRED_STREAM);
        headers::set(&mut headers, "Nats-Expected-Last-Subject-Sequence", "0");
        for is_made in [false, true] {
            let payload = delivery.payload().clone();
            let jetstream = &self.nats.jetstream;
            let sent = jetstream.publish_with_headers(subject.to_owned(), headers.clone(), payload);
            let answer = match sent.await {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            let Err(error) = answer else { return Ok(true) };
            match error.kind() {
                // The copy is there already: nobody else can know its subject.
                PublishErrorKind::WrongLastSequence => return Ok(true),
                _ if streams::is_too_large(&error) => return Ok(false),
                PublishErrorKind::StreamNotFound if !is_made => {
                    let made = make_stream(&self.nats, &self.stream).await;
                    made.map_err(|error| NoCopy::Refused(error.into()))?;
                }
                PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                    return Err(NoCopy::Unknown);
                }
                _ if !self.nats.is_connected() => return Err(NoCopy::Unknown),
                _ => return Err(NoCopy::Refused(error.into())),
            }
        }
        Err(NoCopy::Refused(DeferError::NoStream))
    }

    fn failed(&mut self, error: &DeferError) {
        self.retry = Some(Instant::now() + PAUSE);
        if !std::mem::replace(&mut self.is_said, true) {
            let reason = chain(error);
            if let DeferError::Unfit(_) = error {
                return warn!(
                    "nothing can be held back in quiet hours, so all is shown at once: {reason}"
                );
            }
            warn!(
                "nothing can be held back in quiet hours ({reason}), so all is shown at once; {DEFERRED_STREAM} must \
                 not be full (nats stream edit {DEFERRED_STREAM} --max-bytes), and the NATS user needs the permissions \
                 that {PERMISSIONS} lists"
            );
        }
    }
}

/// Creates the stream if there is none, for the messages of the stream `like`.
///
/// # Errors
///
/// The reason why there is no stream.
pub(crate) async fn make_stream(nats: &Nats, like: &str) -> Result<(), StreamError> {
    streams::ensure(nats, stream_config(), like).await
}

/// Returns the configuration that the stream is created with. When the stream is full it takes no more, so that no
/// deferred message is lost.
pub(crate) fn stream_config() -> StreamConfig {
    StreamConfig {
        name: DEFERRED_STREAM.to_owned(),
        description: Some("What nats-matrix shows after quiet hours".to_owned()),
        subjects: vec![format!("{DEFERRED_PREFIX}.>")],
        max_age: KEPT_FOR,
        max_bytes: KEPT_BYTES,
        discard: DiscardPolicy::New,
        // So nobody can publish a copy again that has been there.
        max_messages_per_subject: 1,
        discard_new_per_subject: true,
        ..StreamConfig::default()
    }
}

/// Whether a route still has deferred messages. Asks until it knows.
pub(crate) async fn has_any(nats: &Nats, feed: &Feed) -> bool {
    let answer = async {
        loop {
            match left(nats, feed).await {
                Ok(left) => return left > 0,
                Err(error) => debug!("looking for deferred messages: {}", chain(&error)),
            }
            sleep(AWAY).await;
        }
    };
    tokio::select! {
        biased;
        is_any = answer => is_any,
        // A bridge without the permission to ask has never deferred anything.
        _ = nats.denies(&[DEFERRED_STREAM]) => false,
    }
}

/// The reason why it is unknown whether a route has deferred messages.
#[derive(Debug, Error)]
enum LookError {
    #[error(transparent)]
    Stream(#[from] GetStreamError),
    #[error(transparent)]
    Consumer(#[from] ReadError),
    #[error(transparent)]
    Stored(#[from] StoredError),
}

async fn left(nats: &Nats, feed: &Feed) -> Result<u64, LookError> {
    let stream = match nats.jetstream.get_stream(DEFERRED_STREAM).await {
        Ok(stream) => stream,
        Err(error) if streams::is_missing(&error) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    if let Some(info) = consumer::find(nats, &stream, feed).await? {
        return Ok(consumer::unsettled(&info));
    }
    // An earlier process may have been killed after it deferred something and before it created its consumer.
    let subjects = reserved::deferred_subjects(feed.route.name.as_str());
    let memory = nats.memory.queue(stored::need(nats)).reservation(None).await;
    let last = Stored::last(nats, DEFERRED_STREAM, &subjects, &memory).await?;
    Ok(u64::from(last.is_some()))
}
