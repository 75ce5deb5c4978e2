//! What is held back in quiet hours: copied into a stream of our own, and shown in the morning from
//! there, as from any other stream.
//!
//! Whether a message is held depends on the hour in which it comes. One that comes again later, because
//! a kill came before the acknowledgement, was held or not. Each copy has a subject of its own that is
//! made of the message's origin, so that the stream tells which are there, and takes none twice.

use std::{error::Error as _, sync::Arc, time::Duration};

use async_nats::{
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM},
    jetstream::{
        self, ErrorCode,
        context::{ConsumerInfoErrorKind, GetStreamErrorKind, PublishError, PublishErrorKind},
        stream::{Config as StreamConfig, DiscardPolicy},
    },
};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::{
    config::{Quiet, Route, Start},
    failure::chain,
    limits,
    nats::Nats,
    origin::Origin,
    render::Urgency,
    source::{
        Delivery,
        stored::{Stored, Unread},
    },
    subject::Subject,
};

/// The stream.
pub(crate) const STREAM: &str = "NATS_MATRIX_HELD";
/// What it takes.
const PREFIX: &str = "nats-matrix.held";
/// How long it keeps messages; those that were shown, too.
const KEPT_FOR: Duration = Duration::from_hours(24 * 7);
/// How much of them it keeps, in bytes.
const KEPT_BYTES: i64 = 64 * 1024 * 1024;
/// The header with the subject that it was published on.
pub(crate) const SUBJECT: &str = "Nats-Matrix-Subject";
/// The header with the time when it was published, in nanoseconds since 1970.
pub(crate) const PUBLISHED: &str = "Nats-Matrix-Published";
/// Where nothing can be held it is tried again after this time.
const PAUSE: Duration = Duration::from_mins(1);
/// How long to wait before asking again for what was not answered.
const AWAY: Duration = Duration::from_secs(1);

/// What a route holds back.
pub(crate) struct Held {
    nats: Nats,
    quiet: Quiet,
    route: String,
    replicas: usize,
    /// How far the route's copies go, once that was asked.
    reach: Option<Reach>,
    /// When it may be tried again, after it could not be done.
    retry: Option<Instant>,
    /// That nothing can be held was said.
    is_said: bool,
}

/// What is to become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is to be shown.
    Show,
    /// It is to be held.
    Hold,
    /// It was held already.
    WasHeld,
}

/// Of which messages there may be copies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Nothing,
    /// This is the last of them.
    UpTo {
        created: String,
        sequence: u64,
    },
}

impl Reach {
    fn of(origin: &Origin) -> Self {
        let (created, sequence) = (origin.stream.created.clone(), origin.position.sequence);
        Self::UpTo { created, sequence }
    }

    /// By the subject of the last copy.
    fn read(subject: &str) -> Option<Self> {
        let mut parts = subject.rsplit('.');
        let sequence = parts.next()?.parse().ok()?;
        let created = parts.nth(1)?.to_owned();
        Some(Self::UpTo { created, sequence })
    }

    fn may_have(&self, origin: &Origin) -> bool {
        match self {
            Self::Nothing => false,
            Self::UpTo { created, sequence } => {
                *created == origin.stream.created && origin.position.sequence <= *sequence
            }
        }
    }
}

/// Why a copy is not there.
enum NoCopy {
    /// Perhaps it is: there was no answer.
    Unknown,
    /// The stream does not take it.
    Refused(String),
}

impl Held {
    /// Of a route that has quiet hours.
    pub(crate) fn of(route: &Route, nats: Nats) -> Option<Self> {
        Some(Self {
            nats,
            quiet: route.quiet.clone()?,
            route: route.name.to_string(),
            replicas: 1,
            reach: None,
            retry: None,
            is_said: false,
        })
    }

    /// The stream is as safe as one with that many replicas, when it is made from now on.
    pub(crate) fn replicate(&mut self, replicas: usize) {
        self.replicas = replicas;
    }

    /// What is to become of a message that is this urgent. What is critical is never held.
    pub(crate) async fn fate(&mut self, urgency: Urgency, origin: &Origin) -> Fate {
        let may_try = self.retry.is_none_or(|retry| Instant::now() >= retry);
        // Others may be there, if it is for want of room that this one is not taken.
        let may_be_held = self.reach.as_ref().is_some_and(|reach| reach.may_have(origin));
        if urgency >= Urgency::Critical || !may_try && !may_be_held {
            return Fate::Show;
        }
        match self.has(origin).await {
            Ok(true) => Fate::WasHeld,
            Ok(false) if may_try && self.quiet.end(Timestamp::now()).is_some() => Fate::Hold,
            Ok(false) => Fate::Show,
            Err(reason) => {
                self.failed(&reason);
                Fate::Show
            }
        }
    }

    /// Copies a message into the stream. False if the stream does not take it, or not this one, so that it has to be
    /// shown.
    pub(crate) async fn hold(&mut self, delivery: &Delivery, origin: &Origin) -> bool {
        let subject = subject(&self.route, origin);
        match self.insist(async || self.copy(delivery, &subject).await).await {
            Ok(true) => {
                self.reach = Some(Reach::of(origin));
                true
            }
            Ok(false) => {
                let (route, sequence) = (&self.route, delivery.sequence);
                info!(
                    "route {route}: message {sequence} is too large to be held back in quiet hours, so it is shown"
                );
                false
            }
            Err(reason) => {
                self.failed(&reason);
                false
            }
        }
    }

    /// Whether there is a copy of a message.
    async fn has(&mut self, origin: &Origin) -> Result<bool, String> {
        let reach = match &self.reach {
            Some(reach) => reach.clone(),
            None => self.insist(async || self.read_reach().await).await?,
        };
        let may_be = reach.may_have(origin);
        self.reach = Some(reach);
        if !may_be {
            return Ok(false);
        }
        let subject = subject(&self.route, origin);
        let last = self.insist(async || self.last(&subject).await).await?;
        Ok(last.is_some())
    }

    async fn read_reach(&self) -> Result<Reach, NoCopy> {
        let last = self.last(&filter(&self.route)).await?;
        let reach = last.and_then(|last| Reach::read(&last.message.subject));
        Ok(reach.unwrap_or(Reach::Nothing))
    }

    async fn last(&self, subject: &str) -> Result<Option<Stored>, NoCopy> {
        Stored::last(&self.nats, STREAM, subject).await.map_err(|unread| match unread {
            Unread::NoAnswer => NoCopy::Unknown,
            Unread::Refused(reason) => NoCopy::Refused(reason),
        })
    }

    /// Asks until there is an answer: without one nobody knows whether there is a copy.
    ///
    /// # Errors
    ///
    /// What the answer was, or that the server does not let us ask.
    async fn insist<T>(&self, ask: impl AsyncFn() -> Result<T, NoCopy>) -> Result<T, String> {
        let denied = self.nats.denies(&[STREAM, PREFIX]);
        let answered = async {
            loop {
                match ask().await {
                    Ok(answer) => return Ok(answer),
                    Err(NoCopy::Refused(reason)) => return Err(reason),
                    Err(NoCopy::Unknown) => sleep(AWAY).await,
                }
            }
        };
        tokio::select! {
            biased;
            answer = answered => answer,
            reason = denied => Err(reason),
        }
    }

    /// Whether there is a copy now: none of a message that is too large with what is noted in its headers.
    async fn copy(&self, delivery: &Delivery, subject: &str) -> Result<bool, NoCopy> {
        let mut headers = delivery.own_headers();
        headers.insert(SUBJECT, delivery.subject());
        headers.insert(PUBLISHED, delivery.published.unix_timestamp_nanos().to_string());
        headers.insert(NATS_EXPECTED_STREAM, STREAM);
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
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
                // It is there already.
                PublishErrorKind::WrongLastSequence => return Ok(true),
                _ if is_too_large(&error) => return Ok(false),
                PublishErrorKind::StreamNotFound if !is_made => {
                    make_stream(&self.nats, self.replicas).await.map_err(NoCopy::Refused)?;
                }
                PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                    return Err(NoCopy::Unknown);
                }
                _ if !self.nats.is_connected() => return Err(NoCopy::Unknown),
                _ => return Err(NoCopy::Refused(chain(&error))),
            }
        }
        Err(NoCopy::Refused("its stream does not take it".to_owned()))
    }

    fn failed(&mut self, reason: &str) {
        self.retry = Some(Instant::now() + PAUSE);
        if !std::mem::replace(&mut self.is_said, true) {
            warn!(
                "route {}: nothing can be held back in quiet hours ({reason}), so all is shown at once; {STREAM} must \
                 not be full (nats stream edit {STREAM} --max-bytes), and what the NATS user needs for it and for \
                 {PREFIX}.> is in the README under Configuration",
                self.route
            );
        }
    }
}

/// Whether the message is at fault and not the stream: anybody can publish one that is as large as may be.
fn is_too_large(error: &PublishError) -> bool {
    let refusal = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let too_large =
        [ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM, ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM];
    error.kind() == PublishErrorKind::MaxPayloadExceeded
        || refusal.is_some_and(|refusal| too_large.contains(&refusal.error_code()))
}

/// The subject of a message's copy.
fn subject(route: &str, origin: &Origin) -> String {
    let (created, sequence) = (&origin.stream.created, origin.position.sequence);
    format!("{PREFIX}.{route}.{created}.{}.{sequence}", origin.published())
}

/// The subjects of all copies of a route.
fn filter(route: &str) -> String {
    format!("{PREFIX}.{route}.>")
}

/// Makes the stream if there is none.
///
/// # Errors
///
/// Why there is none.
pub(crate) async fn make_stream(nats: &Nats, replicas: usize) -> Result<(), String> {
    let wanted = stream_config(replicas);
    if let Ok(stream) = nats.jetstream.get_stream(STREAM).await {
        limits::set(nats, &stream.cached_info().config, &wanted).await;
        return Ok(());
    }
    nats.jetstream.get_or_create_stream(wanted).await.map_err(|error| chain(&error))?;
    info!("what is held back in quiet hours is kept in stream {STREAM}");
    Ok(())
}

/// The stream as it is made. When it is full it takes no more, so that nothing is lost that was held back.
pub(crate) fn stream_config(replicas: usize) -> StreamConfig {
    StreamConfig {
        name: STREAM.to_owned(),
        description: Some("What nats-matrix shows after quiet hours".to_owned()),
        subjects: vec![format!("{PREFIX}.>")],
        max_age: KEPT_FOR,
        max_bytes: KEPT_BYTES,
        discard: DiscardPolicy::New,
        num_replicas: replicas,
        ..StreamConfig::default()
    }
}

/// Whether something of that way is left. Asks until it knows.
pub(crate) async fn has_any(nats: &Nats, morning: &Route) -> bool {
    let answer = async {
        loop {
            match left(nats, morning.name.as_str()).await {
                Ok(left) => return left > 0,
                Err(reason) => debug!("what is left of quiet hours: {reason}"),
            }
            sleep(AWAY).await;
        }
    };
    tokio::select! {
        biased;
        is_any = answer => is_any,
        // Who may not ask has never held anything.
        _ = nats.denies(&[STREAM]) => false,
    }
}

async fn left(nats: &Nats, consumer: &str) -> Result<u64, String> {
    let stream = match nats.jetstream.get_stream(STREAM).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                return Ok(0);
            }
            _ => return Err(chain(&error)),
        },
    };
    match stream.consumer_info(consumer).await {
        Ok(info) => Ok(info.num_pending + info.num_ack_pending as u64),
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => Ok(0),
        Err(error) => Err(chain(&error)),
    }
}

/// Whether a route is that of what another has held back.
pub(crate) fn is_morning(route: &Route) -> bool {
    route.stream == STREAM
}

/// The way of what a route has held back: from our stream, outside of quiet hours, as a digest.
pub(crate) fn morning(route: &Route) -> Arc<Route> {
    Arc::new(Route {
        stream: STREAM.to_owned(),
        subjects: vec![Subject::filter(&filter(route.name.as_str())).expect("names have no dots")],
        start: Start::All,
        matchers: Vec::new(),
        continues: false,
        is_default: false,
        digest_above: std::num::NonZeroU64::new(1),
        summary: None,
        // All of it is late, and meant to be.
        late_after: None,
        ..route.clone()
    })
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::{
        config::RouteName,
        origin::{Position, StreamId},
    };

    #[test]
    fn the_subject_of_a_copy_tells_how_far_copies_go() {
        let origin = |created: &str, sequence| {
            let stream = StreamId { stream: "OPS".to_owned(), created: created.to_owned() };
            let route = RouteName::parse("r-1").unwrap();
            let position = Position { sequence, part: 0 };
            Origin::new(stream, &route, position, OffsetDateTime::UNIX_EPOCH)
        };
        let last = origin("17", 40);
        let reach = Reach::read(&subject("r-1", &last)).unwrap();
        assert_eq!(reach, Reach::of(&last));
        assert!(reach.may_have(&last) && reach.may_have(&origin("17", 1)));
        assert!(!reach.may_have(&origin("17", 41)) && !reach.may_have(&origin("18", 1)));
        assert_eq!(Reach::read("something"), None);
    }
}
