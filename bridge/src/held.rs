//! What is held back in quiet hours: copied into a stream of our own, and shown in the morning from
//! there, as from any other stream.
//!
//! Whether a message is held depends on when it was published and on whether those quiet hours are
//! over. One that comes again after them, because a kill came before the acknowledgement, was held
//! or not, and the last copy tells.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{context::PublishErrorKind, stream::Config as StreamConfig},
};
use jiff::Timestamp;
use time::OffsetDateTime;
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
/// The header with the message's origin, as JSON.
const ORIGIN: &str = "Nats-Matrix-Origin";
/// The header with the subject that it was published on.
pub(crate) const SUBJECT: &str = "Nats-Matrix-Subject";
/// The header with the time when it was published, in nanoseconds since 1970.
pub(crate) const PUBLISHED: &str = "Nats-Matrix-Published";

/// What a route holds back.
pub(crate) struct Held {
    nats: Nats,
    quiet: Quiet,
    subject: String,
    last: Last,
    /// That nothing can be held was said.
    is_said: bool,
}

/// The last message that was held.
enum Last {
    /// Nobody has looked for it yet.
    Unknown,
    None,
    Is(Origin),
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

impl Held {
    /// Of a route that has quiet hours.
    pub(crate) fn of(route: &Route, nats: Nats) -> Option<Self> {
        let subject = format!("{PREFIX}.{}", route.name);
        let quiet = route.quiet.clone()?;
        Some(Self { nats, quiet, subject, last: Last::Unknown, is_said: false })
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
        if self.last().await.is_some_and(|last| origin.is_up_to(last)) {
            return Fate::WasHeld;
        }
        if end > Timestamp::now() { Fate::Hold } else { Fate::Show }
    }

    /// Copies a message into the stream. False if that cannot be done, so that it has to be shown.
    pub(crate) async fn hold(&mut self, delivery: &Delivery, origin: &Origin) -> bool {
        match self.copy(delivery, origin).await {
            Ok(()) => {
                self.last = Last::Is(origin.clone());
                true
            }
            Err(reason) => {
                if !std::mem::replace(&mut self.is_said, true) {
                    warn!(
                        "{}: nothing can be held back in quiet hours ({reason}), so all is shown at once: allow the \
                         bridge to publish on {PREFIX}.> and $JS.API.STREAM.*.{STREAM}",
                        origin.route
                    );
                }
                false
            }
        }
    }

    async fn copy(&mut self, delivery: &Delivery, origin: &Origin) -> Result<(), String> {
        let mut headers = delivery.headers().cloned().unwrap_or_else(HeaderMap::new);
        let json = serde_json::to_string(origin).expect("an origin is plain data");
        headers.insert(ORIGIN, json.as_str());
        headers.insert(SUBJECT, delivery.subject());
        headers.insert(PUBLISHED, delivery.published.unix_timestamp_nanos().to_string().as_str());
        let id = format!("{}.{}.{}", self.subject, origin.stream.created, delivery.sequence);
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
        for made in [false, true] {
            let payload = delivery.payload().to_vec().into();
            let jetstream = &self.nats.jetstream;
            let sent =
                jetstream.publish_with_headers(self.subject.clone(), headers.clone(), payload);
            let answer = match sent.await {
                Ok(answer) => answer.await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if !made && error.kind() == PublishErrorKind::StreamNotFound => {
                    make_stream(&self.nats).await?;
                }
                Err(error) => return Err(chain(&error)),
            }
        }
        Err("its stream does not take it".to_owned())
    }

    async fn last(&mut self) -> Option<&Origin> {
        if matches!(self.last, Last::Unknown) {
            let stream = self.nats.jetstream.get_stream_no_info(STREAM).await.ok()?;
            let found = stream.get_last_raw_message_by_subject(&self.subject).await.ok();
            let origin = found.and_then(|message| {
                serde_json::from_str(message.headers.get(ORIGIN)?.as_str()).ok()
            });
            self.last = origin.map_or(Last::None, Last::Is);
        }
        match &self.last {
            Last::Is(origin) => Some(origin),
            Last::Unknown | Last::None => None,
        }
    }
}

/// Makes the stream if there is none.
///
/// # Errors
///
/// Why there is none.
pub(crate) async fn make_stream(nats: &Nats) -> Result<(), String> {
    if nats.jetstream.get_stream(STREAM).await.is_ok() {
        return Ok(());
    }
    let config = StreamConfig {
        name: STREAM.to_owned(),
        description: Some("What nats-matrix shows after quiet hours".to_owned()),
        subjects: vec![format!("{PREFIX}.>")],
        max_age: KEPT_FOR,
        ..StreamConfig::default()
    };
    nats.jetstream.get_or_create_stream(config).await.map_err(|error| chain(&error))?;
    info!("what is held back in quiet hours is kept in stream {STREAM}");
    Ok(())
}

/// The way of what a route has held back: from our stream, outside of quiet hours, as a digest.
pub(crate) fn morning(route: &Route) -> Arc<Route> {
    let subject = format!("{PREFIX}.{}", route.name);
    Arc::new(Route {
        stream: STREAM.to_owned(),
        subjects: vec![Subject::literal(&subject).expect("route names have no dots")],
        start: Start::All,
        matchers: Vec::new(),
        continues: false,
        is_default: false,
        digest_above: std::num::NonZeroU64::new(1),
        summary: None,
        ..route.clone()
    })
}
