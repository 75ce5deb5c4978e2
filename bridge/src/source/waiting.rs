//! What waits for a route, as seen by who takes nothing of it.

use async_nats::jetstream::{context::ConsumerInfoErrorKind, stream::Info as StreamInfo};
use time::OffsetDateTime;

use super::{
    consumer::{self, Problem},
    outstanding,
    stored::Stored,
};
use crate::{
    config::{Route, Start},
    nats::Nats,
};

/// What is not acknowledged, delivered or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// How many messages; unknown as long as there is no consumer.
    pub(crate) count: Option<u64>,
    /// The first of them, if there is one.
    pub(crate) first: Option<First>,
}

/// A message, as the stream knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) sequence: u64,
    pub(crate) published: OffsetDateTime,
}

impl First {
    /// Whether it may still be the first one from that sequence on.
    fn is_in(self, stream: &StreamInfo, from: u64) -> bool {
        let state = &stream.state;
        let (first, last) = (state.first_sequence.max(from), state.last_sequence);
        (first..=last).contains(&self.sequence) && self.published >= stream.created
    }
}

impl From<Stored> for First {
    fn from(stored: Stored) -> Self {
        Self { sequence: stored.sequence, published: stored.published }
    }
}

/// Asks NATS, and reads the first message unless that is the one which is `known`: it may be large.
/// `None` if there was no answer.
pub(crate) async fn waiting(nats: &Nats, route: &Route, known: Option<First>) -> Option<Waiting> {
    let stream = consumer::stream(nats, route).await.ok()?;
    let still = |from: u64| known.filter(|known| known.is_in(stream.cached_info(), from));
    match stream.consumer_info(route.name.as_str()).await {
        Ok(info) => {
            let count = info.num_pending + info.num_ack_pending as u64;
            let first = match still(outstanding::begin(&info).0) {
                _ if count == 0 => None,
                Some(first) => Some(first),
                None => outstanding::first(nats, &info).await.ok()?.map(First::from),
            };
            Some(Waiting { count: Some(count), first })
        }
        // It is made when the room was entered.
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => {
            let first = match (route.start, still(1)) {
                (Start::New, _) => None,
                (Start::All, Some(first)) => Some(first),
                (Start::All, None) => first_of(nats, route).await.ok()?,
            };
            Some(Waiting { count: None, first })
        }
        Err(_) => None,
    }
}

async fn first_of(nats: &Nats, route: &Route) -> Result<Option<First>, Problem> {
    let filters: Vec<String> = route.subjects.iter().map(ToString::to_string).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    Ok(Stored::first(nats, &route.stream, 1, &filters).await?.map(First::from))
}
