//! Finds out what waits for a route, without taking anything of it.

use async_nats::jetstream::stream::Info as StreamInfo;
use tokio::time::Instant;

use crate::{
    config::Start,
    nats::{Nats, timestamp},
    source::{
        consumer,
        feed::{Feed, Observed},
        outstanding,
        stored::{self, Stored},
    },
    status::{First, Waiting},
};

/// The number of observations after which a message that could not be read is tried again.
const SELDOM: u32 = 20;

/// The place where the first waiting message is looked for, and the number of times it was seen there without being
/// worked on or known.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    from: u64,
    times: u32,
}

impl Seen {
    /// Whether the message is to be read: when it was there the last time, too, and seldom again if it cannot be read.
    /// It may be so large that a leaf node closes its link.
    fn again(&mut self, from: u64) -> bool {
        let times = if self.from == from { self.times + 1 } else { 0 };
        *self = Self { from, times };
        times % SELDOM == 1
    }
}

/// Asks NATS, and reads the first message if it has waited for a while and is not the one that is `known`. Returns
/// `None` if there was no answer.
pub(crate) async fn waiting(
    nats: &Nats,
    feed: &Feed,
    known: Option<First>,
    seen: &mut Seen,
) -> Option<Waiting> {
    let asked = Instant::now();
    // The consumer is created only after the room was entered.
    let stream = nats.jetstream.get_stream_no_info(feed.stream()).await.ok()?;
    let info = consumer::find(nats, &stream, feed).await.ok()?;
    // Asked after the consumer, the stream has all that the consumer has delivered.
    let stream = stream.get_info().await.ok()?;
    feed.observe(Observed { asked, consumer: info.clone(), stream: stream.clone() });
    let count = info.as_ref().map(consumer::unsettled);
    let is_none = count.map_or(feed.start() == Start::New, |count| count == 0);
    let from = info.as_ref().map_or(1, |info| outstanding::begin(info).0);
    let known = known.filter(|known| !is_none && is_in(*known, &stream, from));
    if is_none || known.is_some() || !seen.again(from) {
        return Some(Waiting { count, first: known });
    }
    // Only the messages themselves are worth waiting for.
    let Some(memory) = nats.memory.reserve_now(stored::need(nats)) else {
        return Some(Waiting { count, first: None });
    };
    let first = match &info {
        Some(info) => outstanding::first(nats, info, &memory).await,
        None => Stored::first(nats, feed.stream(), 1, feed.subjects(), &memory).await,
    };
    Some(Waiting { count, first: first.ok().flatten().map(First::from) })
}

/// Whether a message may still be the first one of the stream at or after the sequence `from`.
fn is_in(message: First, stream: &StreamInfo, from: u64) -> bool {
    let state = &stream.state;
    let (first, last) = (state.first_sequence.max(from), state.last_sequence);
    // A stream that was made anew assigns the numbers again, to later messages.
    (first..=last).contains(&message.sequence)
        && message.published >= timestamp(state.first_timestamp)
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
