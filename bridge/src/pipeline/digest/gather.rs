//! Collects the waiting messages that are for the room, ready to be shown.

use std::{collections::HashMap, rc::Rc};

use jiff::Timestamp;
use tokio::task::yield_now;

use crate::{
    alerts::AlertUpdate,
    message::Kind,
    pipeline::{defer::defer, outcome::Halted, routing::Facts, state::State},
    render::{Entry, OtherKeys, ThreadUpdate},
    source::{Delivery, Upstream},
};

/// The memory that the messages of a digest and their texts may take, in bytes. Further messages are left for the next
/// digest.
const MOST_WEIGHT: usize = 14 * 1024 * 1024;

/// The messages that a digest shows.
pub(super) struct Gathered {
    pub(super) entries: Vec<Entry>,
    /// The same messages as they were delivered.
    pub(super) originals: Vec<Delivery>,
    /// The memory that the entries and the messages take, in bytes.
    pub(super) weight: usize,
    /// The last message that was looked at, whether it is for the room or not.
    pub(super) last: u64,
    /// The messages among those that were read that are for other rooms of the route.
    pub(super) elsewhere: Vec<u64>,
    /// The latest time of publication among the messages that were looked at. If clocks were set, it need not be that
    /// of the last one.
    pub(super) published: Timestamp,
}

/// The alerts of a digest that several servers may report, each under a key of its own: the first key of each by the others.
#[derive(Default)]
struct SharedAlerts(HashMap<Rc<str>, Rc<str>>);

impl SharedAlerts {
    /// Returns the other keys of a thread, if it has any: it is that of the alert which had the shared key before or,
    /// without such, the own one.
    fn other_keys(&mut self, key: &Rc<str>, shared: Option<Rc<str>>) -> Option<Box<OtherKeys>> {
        let Self(known) = self;
        let first = shared.as_ref().and_then(|shared| known.get(shared)).or_else(|| known.get(key));
        let first = Rc::clone(first.unwrap_or(key));
        if let Some(shared) = &shared {
            for key in [shared, key] {
                known.insert(Rc::clone(key), Rc::clone(&first));
            }
        }
        let has_others = shared.is_some() || first != *key;
        has_others.then(|| Box::new(OtherKeys { shared, first }))
    }
}

/// Takes the waiting messages that are for the room; `current` is the first that is not done with. If `may_defer`,
/// messages that are to wait for the end of quiet hours are deferred, and those for which there is no memory are left
/// for the next digest. A digest that was begun before is shown whole.
pub(super) async fn gather(
    state: &mut State,
    current: &Delivery,
    upstream: &Upstream,
    mut read: Vec<Delivery>,
    may_defer: bool,
) -> Result<Gathered, Halted> {
    let elsewhere = hold_own(state, &mut read);
    let mut gathered = Gathered {
        elsewhere,
        entries: Vec::new(),
        originals: Vec::new(),
        weight: 0,
        last: current.sequence,
        published: current.published,
    };
    let mut alerts = SharedAlerts::default();
    for delivery in read {
        if may_defer && gathered.weight >= MOST_WEIGHT {
            break;
        }
        gathered.last = gathered.last.max(delivery.sequence);
        gathered.published = gathered.published.max(delivery.published);
        if gathered.elsewhere.binary_search(&delivery.sequence).is_ok() {
            continue;
        }
        let entry = entry(state, &mut alerts, (current, upstream), &delivery, may_defer).await?;
        if let Some(entry) = entry {
            gathered.weight += entry.weight() + delivery.weight;
            gathered.entries.push(entry);
            gathered.originals.push(delivery);
        }
    }
    Ok(gathered)
}

/// Gives copies of deferred messages their subjects, notes which messages are for the room, and returns the others.
fn hold_own(state: &mut State, read: &mut [Delivery]) -> Vec<u64> {
    let (mut own, mut elsewhere) = (Vec::new(), Vec::new());
    for delivery in read {
        state.restore(delivery);
        if state.rooms.here().has(&state.route.rooms.of(delivery.subject())) {
            own.push((delivery.sequence, delivery.published));
        } else {
            elsewhere.push(delivery.sequence);
        }
    }
    state.backlog.hold(own.into_iter());
    elsewhere
}

/// Returns a message for the room as a digest shows it, if the route takes it.
async fn entry(
    state: &mut State,
    alerts: &mut SharedAlerts,
    (current, upstream): (&Delivery, &Upstream),
    delivery: &Delivery,
    may_defer: bool,
) -> Result<Option<Entry>, Halted> {
    let subject = delivery.subject();
    let decoded = state.composer.decode(delivery);
    let facts = Facts {
        lineage: &upstream.lineage,
        sequence: delivery.sequence,
        subject,
        headers: delivery.headers(),
        decoded: &decoded,
        original: delivery.payload(),
        is_opaque: state.composer.is_opaque(delivery),
    };
    if !state.takes(delivery, &facts) || state.is_shown_by_earlier(delivery, &facts).await? {
        return Ok(None);
    }
    // It was decided before that the current message is shown.
    if delivery.sequence != current.sequence {
        state.health.beat();
        if defer(state, delivery, &decoded, upstream, may_defer).await? {
            return Ok(None);
        }
    }
    // Other routes and the watchdog must get their turn.
    yield_now().await;
    let shown = state.composer.render(delivery, (&decoded, delivery.payload()), current).await?;
    let room = state.rooms.sender().room();
    let updates = AlertUpdate::all(&decoded.payload);
    let subject = &*delivery.speaking_subject();
    let thread_update = |update: AlertUpdate| {
        let key = Rc::from(update.key(&state.route, room, subject));
        let shared = update.shared_key(&state.route, room, subject).map(Rc::from);
        let others = alerts.other_keys(&key, shared);
        ThreadUpdate { key, others, update }
    };
    let renderer = &state.composer.renderer;
    Ok(Some(Entry {
        sequence: delivery.sequence,
        published: delivery.published,
        said: delivery.said,
        subject: subject.to_owned(),
        head: renderer.head(delivery.said, subject),
        // The HTML of many messages would take several times the memory of everything else, and hardly any of it is
        // shown.
        rendered: shown.without_html(),
        kind: Kind::of(&decoded.payload),
        sources: renderer.sources(subject, &decoded.payload),
        updates: updates.into_iter().map(thread_update).collect(),
    }))
}
