//! What is held back in quiet hours: copied into a stream of our own, and shown in the morning from
//! there, as from any other stream.
//!
//! Whether a message is held depends on when it was published and on whether those quiet hours are
//! over. One that comes again after them, because a kill came before the acknowledgement, was held
//! or not. Each copy has a subject of its own that is made of the message's origin, so that the
//! stream tells which are there, and takes none twice.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_nats::{
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM},
    jetstream::{context::PublishErrorKind, stream::Config as StreamConfig},
};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{
    config::{Quiet, Route, Start},
    failure::chain,
    nats::Nats,
    origin::Origin,
    render::Urgency,
    source::Delivery,
    subject::Subject,
};

/// The stream.
pub(crate) const STREAM: &str = "NATS_MATRIX_HELD";
/// What it takes.
const PREFIX: &str = "nats-matrix.held";
/// How long it keeps messages; those that were shown, too.
const KEPT_FOR: Duration = Duration::from_hours(24 * 7);
/// The header with the subject that it was published on.
pub(crate) const SUBJECT: &str = "Nats-Matrix-Subject";
/// The header with the time when it was published, in nanoseconds since 1970.
pub(crate) const PUBLISHED: &str = "Nats-Matrix-Published";
/// Where nothing can be held it is tried again after this time.
const PAUSE: Duration = Duration::from_mins(1);
/// How long to wait for a connection that is lost.
const AWAY: Duration = Duration::from_secs(1);

/// What a route holds back.
pub(crate) struct Held {
    nats: Nats,
    quiet: Quiet,
    route: String,
    replicas: usize,
    /// The subjects of all copies, once they were read.
    copies: Option<HashSet<String>>,
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

/// Why a copy is not there.
enum NoCopy {
    /// It is, or was never asked for: the connection is lost.
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
            copies: None,
            retry: None,
            is_said: false,
        })
    }

    /// The stream is as safe as one with that many replicas, when it is made from now on.
    pub(crate) fn replicate(&mut self, replicas: usize) {
        self.replicas = replicas;
    }

    /// What is to become of a message that is this urgent. What is critical is never held.
    pub(crate) async fn fate(
        &mut self,
        urgency: Urgency,
        origin: &Origin,
        published: OffsetDateTime,
    ) -> Fate {
        let Ok(moment) = Timestamp::from_nanosecond(published.unix_timestamp_nanos()) else {
            return Fate::Show;
        };
        let Some(end) = self.quiet.end(moment).filter(|_| urgency < Urgency::Critical) else {
            return Fate::Show;
        };
        let subject = subject(&self.route, origin);
        match self.copies().await {
            Some(copies) if copies.contains(&subject) => Fate::WasHeld,
            Some(_) if end > Timestamp::now() => Fate::Hold,
            None | Some(_) => Fate::Show,
        }
    }

    /// Copies a message into the stream; while the connection is lost it waits, as nobody knows then
    /// what became of the copy. False if the stream does not take it, so that it has to be shown.
    pub(crate) async fn hold(&mut self, delivery: &Delivery, origin: &Origin) -> bool {
        let subject = subject(&self.route, origin);
        loop {
            match self.copy(delivery, &subject).await {
                Ok(()) => {
                    self.copies.get_or_insert_default().insert(subject);
                    return true;
                }
                Err(NoCopy::Unknown) => sleep(AWAY).await,
                Err(NoCopy::Refused(reason)) => {
                    self.failed(&reason);
                    return false;
                }
            }
        }
    }

    async fn copy(&self, delivery: &Delivery, subject: &str) -> Result<(), NoCopy> {
        let mut headers = delivery.own_headers();
        headers.insert(SUBJECT, delivery.subject());
        headers.insert(PUBLISHED, delivery.published.unix_timestamp_nanos().to_string());
        headers.insert(NATS_EXPECTED_STREAM, STREAM);
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        for is_made in [false, true] {
            let payload = delivery.payload().to_vec().into();
            let jetstream = &self.nats.jetstream;
            let sent = jetstream.publish_with_headers(subject.to_owned(), headers.clone(), payload);
            let answer = match sent.await {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            let Err(error) = answer else { return Ok(()) };
            match error.kind() {
                // It is there already.
                PublishErrorKind::WrongLastSequence => return Ok(()),
                PublishErrorKind::StreamNotFound if !is_made => {
                    make_stream(&self.nats, self.replicas).await.map_err(NoCopy::Refused)?;
                }
                _ if !self.nats.is_connected() => return Err(NoCopy::Unknown),
                _ => return Err(NoCopy::Refused(chain(&error))),
            }
        }
        Err(NoCopy::Refused("its stream does not take it".to_owned()))
    }

    /// The subjects of all copies. `None` if nothing can be held.
    async fn copies(&mut self) -> Option<&HashSet<String>> {
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return None;
        }
        while self.copies.is_none() {
            match self.read_copies().await {
                Ok(copies) => self.copies = Some(copies),
                Err(_) if !self.nats.is_connected() => sleep(AWAY).await,
                Err(reason) => {
                    self.failed(&reason);
                    return None;
                }
            }
        }
        self.copies.as_ref()
    }

    async fn read_copies(&self) -> Result<HashSet<String>, String> {
        make_stream(&self.nats, self.replicas).await?;
        let stream = self.nats.jetstream.get_stream_no_info(STREAM).await;
        let stream = stream.map_err(|error| chain(&error))?;
        let subjects = stream.info_with_subjects(filter(&self.route)).await;
        let subjects = subjects.map_err(|error| chain(&error))?;
        subjects.map_ok(|(subject, _)| subject).try_collect().await.map_err(|error| chain(&error))
    }

    fn failed(&mut self, reason: &str) {
        self.retry = Some(Instant::now() + PAUSE);
        if !std::mem::replace(&mut self.is_said, true) {
            warn!(
                "route {}: nothing can be held back in quiet hours ({reason}), so all is shown at once; what the NATS \
                 user needs for {STREAM} and {PREFIX}.> is in the README under Configuration",
                self.route
            );
        }
    }
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
    if nats.jetstream.get_stream(STREAM).await.is_ok() {
        return Ok(());
    }
    let config = StreamConfig {
        name: STREAM.to_owned(),
        description: Some("What nats-matrix shows after quiet hours".to_owned()),
        subjects: vec![format!("{PREFIX}.>")],
        max_age: KEPT_FOR,
        num_replicas: replicas,
        ..StreamConfig::default()
    };
    nats.jetstream.get_or_create_stream(config).await.map_err(|error| chain(&error))?;
    info!("what is held back in quiet hours is kept in stream {STREAM}");
    Ok(())
}

/// Whether something of that way is left, as far as it is known.
pub(crate) async fn has_any(nats: &Nats, morning: &Route) -> bool {
    let Ok(stream) = nats.jetstream.get_stream(STREAM).await else { return false };
    let name = morning.name.as_str();
    stream
        .consumer_info(name)
        .await
        .is_ok_and(|info| info.num_pending + info.num_ack_pending as u64 > 0)
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
