//! What of the messages that wait is for the room, ready to be shown.

use time::OffsetDateTime;
use tokio::task::yield_now;

use crate::{
    alerts::AlertUpdate,
    message::Kind,
    pipeline::{defer::defer, outcome::Halted, routing::Facts, state::State},
    render::Entry,
    source::{Delivery, Upstream},
};

/// How much memory the messages of a digest and their texts may take, in bytes. What comes after that is for the next
/// one.
const MOST_WEIGHT: usize = 14 * 1024 * 1024;

/// The messages that a digest shows.
pub(super) struct Gathered {
    pub(super) entries: Vec<Entry>,
    /// The same, as they came.
    pub(super) originals: Vec<Delivery>,
    /// The last message that was looked at, whether it is for the room or not.
    pub(super) last: u64,
    /// When the latest of those that were looked at was published; that need not be the last of them, if clocks were
    /// set.
    pub(super) published: OffsetDateTime,
}

/// Takes those of the messages that are for the room; `current` is the first that is not done with. What is to be
/// deferred is, where `may_defer`. Those that there is no room for in memory are then left for the next digest: one that
/// was begun before is shown whole.
pub(super) async fn gather(
    state: &mut State,
    current: &Delivery,
    upstream: &Upstream,
    read: Vec<Delivery>,
    may_defer: bool,
) -> Result<Gathered, Halted> {
    let mut gathered = Gathered {
        entries: Vec::new(),
        originals: Vec::new(),
        last: current.sequence,
        published: current.published,
    };
    let mut weight = 0;
    for delivery in read {
        if may_defer && weight >= MOST_WEIGHT {
            break;
        }
        gathered.last = gathered.last.max(delivery.sequence);
        gathered.published = gathered.published.max(delivery.published);
        if let Some(entry) = entry(state, current, upstream, &delivery, may_defer).await? {
            weight += entry.weight() + delivery.weight;
            gathered.entries.push(entry);
            gathered.originals.push(delivery);
        }
    }
    Ok(gathered)
}

/// A message as a digest shows it, if it is for the room.
async fn entry(
    state: &mut State,
    current: &Delivery,
    upstream: &Upstream,
    delivery: &Delivery,
    may_defer: bool,
) -> Result<Option<Entry>, Halted> {
    let (stream, subject) = (&upstream.stream, delivery.subject());
    if !state.rooms.here().has(&state.route.rooms.of(subject)) {
        return Ok(None);
    }
    let decoded = state.composer.decode(delivery, stream);
    let (headers, original) = (delivery.headers(), delivery.payload());
    if !state.routing.takes(&Facts { subject, headers, decoded: &decoded, original }) {
        return Ok(None);
    }
    // What is current was decided on before; what was begun before is not deferred any more.
    if delivery.sequence != current.sequence {
        state.health.beat();
        if defer(state, delivery, &decoded, upstream, may_defer).await? {
            return Ok(None);
        }
    }
    // There are other routes, and a watchdog.
    yield_now().await;
    let shown = state.composer.render(delivery, &decoded, stream, current).await?;
    let room = state.rooms.sender().room();
    let key = |update: AlertUpdate| (update.key(&state.route, room, subject), update);
    let renderer = &state.composer.renderer;
    Ok(Some(Entry {
        sequence: delivery.sequence,
        published: delivery.published,
        said: delivery.said,
        subject: subject.to_owned(),
        head: renderer.head(delivery.said, subject),
        // Of many, the HTML would take several times the memory of all else, and hardly any of it is shown.
        rendered: shown.without_html(),
        kind: Kind::of(&decoded.payload),
        sources: renderer.sources(subject, &decoded.payload),
        saying: AlertUpdate::of(&decoded.payload).map(key),
    }))
}
