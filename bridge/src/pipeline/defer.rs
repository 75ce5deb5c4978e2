//! Quiet hours: what is not critical is deferred until they are over.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use crate::{
    failure::Interrupted,
    message::Decoded,
    pipeline::{deferral::Deferral, outcome::Halted, state::State},
    source::{Delivery, Upstream},
    status::Shown,
};

/// The interval of the checks whether quiet hours are over.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(5);

/// Finds out what was deferred before, as long as the route has no message in memory.
///
/// # Errors
///
/// [`Interrupted::Stopping`] if the bridge is told to stop first.
pub(crate) async fn prepare(state: &mut State) -> Result<(), Interrupted> {
    let Some(deferred) = &mut state.deferred else { return Ok(()) };
    let prepared = state.stop.run_until_cancelled(deferred.prepare()).await;
    prepared.ok_or(Interrupted::Stopping)
}

/// Whether deferred messages have to wait for the end of the quiet hours.
pub(crate) fn has_to_wait(state: &State) -> bool {
    let quiet = state.route.quiet.as_ref().filter(|_| state.feed.is_deferred());
    quiet.is_some_and(|quiet| quiet.end(Timestamp::now()).is_some())
}

/// Waits until the quiet hours are over, if this is the feed of deferred messages.
pub(crate) async fn wait_for_end(state: &State) -> Result<(), Interrupted> {
    // In short steps: the clock may be set, and timers do not run while a machine sleeps.
    while has_to_wait(state) {
        if timeout(LOOK_AT_CLOCK, state.stop.cancelled()).await.is_ok() {
            return Err(Interrupted::Stopping);
        }
    }
    Ok(())
}

/// Defers a message if it is to be deferred. Without `may_defer` only a message that was deferred before counts as
/// deferred. Returns whether the message is deferred.
pub(crate) async fn defer(
    state: &mut State,
    delivery: &Delivery,
    decoded: &Decoded,
    upstream: &Upstream,
    may_defer: bool,
) -> Result<bool, Halted> {
    let origin = state.origin(delivery, &upstream.stream);
    let Some(deferred) = &mut state.deferred else { return Ok(false) };
    let deferral = deferred.deferral(decoded.payload.urgency(), &origin);
    let deferral =
        state.stop.run_until_cancelled(deferral).await.ok_or(Interrupted::Stopping)??;
    match deferral {
        Deferral::WasDeferred => return Ok(true),
        Deferral::Defer if may_defer => {}
        Deferral::Defer | Deferral::Show => return Ok(false),
    }
    // The message may come again after it was shown as an update of an alert that was going on.
    let sender = state.rooms.sender();
    if sender.has_begun(&upstream.stream, &state.route, delivery, 0).await? {
        return Ok(false);
    }
    // People who look at an alert during quiet hours should see what has become of it.
    let room = sender.room();
    let thread = state.threads.of(room, delivery, decoded).await;
    if thread.is_some_and(|thread| thread.goes_on()) {
        return Ok(false);
    }
    let Some(deferred) = &mut state.deferred else { return Ok(false) };
    // If the copy is stored all the same, that is found when the message comes again.
    let copied = state.stop.run_until_cancelled(deferred.hold(delivery, &origin)).await;
    let is_deferred = copied.ok_or(Interrupted::Stopping)?;
    if is_deferred {
        state.note(delivery, Shown::Deferred);
    }
    Ok(is_deferred)
}
