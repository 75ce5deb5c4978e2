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

/// What was not read is tried again after it was seen so often.
const SELDOM: u32 = 20;

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

/// Where the first message is to be looked for, and how often it was found to wait there, without being
/// worked on or known.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    from: u64,
    times: u32,
}

impl Seen {
    /// Whether it is to be read: when it was there the last time, too, and seldom again if it cannot be. It
    /// may be so large that a leaf node closes its link.
    fn again(&mut self, from: u64) -> bool {
        let times = if self.from == from { self.times + 1 } else { 0 };
        *self = Self { from, times };
        times % SELDOM == 1
    }
}

/// Asks NATS, and reads the first message if that has waited for a while and is not the one which is
/// `known`. `None` if there was no answer.
pub(crate) async fn waiting(
    nats: &Nats,
    route: &Route,
    known: Option<First>,
    seen: &mut Seen,
) -> Option<Waiting> {
    let stream = consumer::stream(nats, route).await.ok()?;
    let info = match stream.consumer_info(route.name.as_str()).await {
        Ok(info) => Some(info),
        // It is made when the room was entered.
        Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => None,
        Err(_) => return None,
    };
    let count = info.as_ref().map(|info| info.num_pending + info.num_ack_pending as u64);
    let is_none = count.map_or(route.start == Start::New, |count| count == 0);
    let from = info.as_ref().map_or(1, |info| outstanding::begin(info).0);
    let known = known.filter(|known| !is_none && known.is_in(stream.cached_info(), from));
    if is_none || known.is_some() || !seen.again(from) {
        return Some(Waiting { count, first: known });
    }
    let first = match &info {
        Some(info) => outstanding::first(nats, info).await,
        None => first_of(nats, route).await,
    };
    Some(Waiting { count, first: first.ok().flatten().map(First::from) })
}

async fn first_of(nats: &Nats, route: &Route) -> Result<Option<Stored>, Problem> {
    let filters: Vec<String> = route.subjects.iter().map(ToString::to_string).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    Stored::first(nats, &route.stream, 1, &filters).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_is_read_and_seldom_again() {
        let mut seen = Seen::default();
        let mut read = |from: u64| (0..40).map(|_| seen.again(from)).collect::<Vec<_>>();
        let times = |read: &[bool]| read.iter().filter(|read| **read).count();
        for all in [read(7), read(8)] {
            assert!(!all[0] && all[1] && times(&all) == 2, "{all:?}");
        }
        assert!((9..50).all(|from| !seen.again(from)), "the route goes on");
    }
}
