//! Shows messages as a digest when too many are waiting to be read one by one.

mod gather;
mod post;

use std::{num::NonZeroU64, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::{
    failure::{Interrupted, chain},
    message::Span,
    nats::Reservation,
    pipeline::{digest::post::Digest, outcome::Halted, poison, state::State},
    source::{Delivery, Upstream},
    status::{self, Outage},
};

/// The shortest time between two digests while a storm goes on.
const BETWEEN: Duration = Duration::from_secs(10);

/// The time after which reading the waiting messages is tried again when it failed, for example for lack of a
/// permission.
const UNREADABLE: Duration = Duration::from_mins(10);

/// The number of deferred messages above which they are shown as a digest.
const DEFERRED_ABOVE: u64 = 1;

/// The digests of one feed.
pub(crate) struct Digests {
    /// The time until which no digest is made, because reading the waiting messages failed or ended the process.
    none_until: Option<Instant>,
}

impl Digests {
    /// Creates the digests of a feed. None is made for a while if `poison` reports that one ended the process.
    pub(crate) fn new(poison: &poison::Guard) -> Self {
        Self { none_until: poison.ended_in_digest().then(|| Instant::now() + UNREADABLE) }
    }

    /// Shows the waiting messages, from `delivery` on, as a digest if they are too many to be read one by one, or
    /// continues a digest that was not finished. Returns whether `delivery` is shown by that.
    pub(crate) async fn show(
        &mut self,
        state: &mut State,
        delivery: &Delivery,
        upstream: &Upstream,
    ) -> Result<bool, Halted> {
        let stream = &upstream.stream;
        let unfinished = state.rooms.sender().unfinished_digest(stream, &state.route, delivery);
        if let Some(span) = unfinished.await? {
            return Box::pin(finish(state, delivery, upstream, span)).await;
        }
        let declared = state.route.digest_above.map(NonZeroU64::get);
        let limit = Some(DEFERRED_ABOVE).filter(|_| state.feed.is_deferred()).or(declared);
        let Some(limit) = limit else { return Ok(false) };
        if !self.may_begin(state, delivery) || state.backlog.waiting(delivery).await <= limit {
            return Ok(false);
        }
        wait_for_more(state).await?;
        let memory = state.stop.run_until_cancelled(state.backlog.reserve()).await;
        let memory = memory.ok_or(Interrupted::Stopping)?;
        let _note = state.composer.poison().digest();
        Box::pin(self.begin(state, delivery, upstream, limit, memory)).await
    }

    fn may_begin(&self, state: &mut State, delivery: &Delivery) -> bool {
        let place = state.rooms.here();
        // After a restart it may be decided differently which messages have no room of their own.
        // A large message has a reservation, and must not wait for another.
        !state.backlog.memory().is_held()
            && !place.is_fallback
            && delivery.published > place.too_few_until
            && self.none_until.is_none_or(|until| Instant::now() >= until)
            && !place.sender.has_any_of(delivery)
    }

    /// Begins a digest of the messages that wait from `delivery` on, if there are enough of them for the room.
    async fn begin(
        &mut self,
        state: &mut State,
        delivery: &Delivery,
        upstream: &Upstream,
        limit: u64,
        mut memory: Reservation,
    ) -> Result<bool, Halted> {
        let originals = match state.backlog.read(delivery.sequence, None, &memory).await {
            Ok(originals) => originals,
            Err(error) => {
                warn!("no digest, as what waits cannot be read: {}", chain(&error));
                self.none_until = Some(Instant::now() + UNREADABLE);
                return Ok(false);
            }
        };
        let taken = gather::gather(state, delivery, upstream, originals, true).await?;
        // The count also included messages that other routes take or that are for other rooms.
        if taken.entries.len() as u64 <= limit {
            state.rooms.here().too_few_until = taken.published;
            return Ok(false);
        }
        // What allocations take beside their contents is about as much again (`cargo memory`, its rows "digests").
        memory.shrink_to(2 * taken.weight);
        let span = Span { first: delivery.sequence, last: taken.last, root: None };
        Digest::new(delivery, upstream, span, taken, false).post(state).await
    }
}

/// Continues a digest that an earlier process began. Returns whether `delivery` is a part of it.
async fn finish(
    state: &mut State,
    delivery: &Delivery,
    upstream: &Upstream,
    span: Span,
) -> Result<bool, Halted> {
    info!("going on with the digest up to {}", span.last);
    let what = "reading what waits";
    let mut outage = Outage::of(what, state.health.condition());
    // A digest begins with a small message; if that is gone from the stream, the current one may be large and have a
    // reservation already.
    let reserved;
    let memory = if let Some(own) = &delivery.reservation {
        own
    } else {
        let memory = state.stop.run_until_cancelled(state.backlog.reserve()).await;
        reserved = memory.ok_or(Interrupted::Stopping)?;
        &reserved
    };
    let originals = loop {
        match state.backlog.read(span.first, Some(span.last), memory).await {
            Ok(originals) => break originals,
            Err(error) => {
                let reason = chain(&error);
                let pause = outage.failed(status::State::NatsUnreachable, &reason, None);
                if timeout(pause, state.stop.cancelled()).await.is_ok() {
                    return Err(Interrupted::Stopping.into());
                }
            }
        }
    };
    let taken = gather::gather(state, delivery, upstream, originals, false).await?;
    // The messages of the digest may be gone from the stream.
    let is_in_it = delivery.sequence <= span.last;
    let is_posted = Digest::new(delivery, upstream, span, taken, true).post(state).await?;
    Ok(is_posted && is_in_it)
}

/// Waits so that a storm that goes on can add to the next digest.
async fn wait_for_more(state: &mut State) -> Result<(), Interrupted> {
    let Some(last) = state.rooms.here().storms.last_digest() else { return Ok(()) };
    match timeout_at(last + BETWEEN, state.stop.cancelled()).await {
        Ok(()) => Err(Interrupted::Stopping),
        Err(_) => Ok(()),
    }
}
