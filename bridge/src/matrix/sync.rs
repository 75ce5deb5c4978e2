//! Reads what happens in rooms: one narrow `/sync`, and the events that it leaves out.
//!
//! An answer can be long, as not every homeserver applies filters, and any member can write as much as they like. So it
//! is read piece by piece, and each event is handed on and forgotten.

use std::{collections::BTreeSet, ops::ControlFlow, time::Duration};

use matrix_sdk::ruma::{
    OwnedRoomId, RoomId, UInt,
    api::{
        Direction,
        client::{
            filter::{Filter, FilterDefinition, LazyLoadOptions, RoomEventFilter, RoomFilter},
            message::get_message_events,
            sync::sync_events::v3 as sync_events,
        },
    },
    presence::PresenceState,
};

use crate::matrix::{
    account::Account,
    error::MatrixError,
    session::RequestError,
    values::{Path, Values},
};

/// The types of the events that people answer with.
const TYPES: [&str; 3] = ["m.reaction", "m.room.message", "m.room.redaction"];

/// The number of events of one room that the homeserver may send at once; older ones are asked for afterwards.
const TIMELINE: u32 = 50;

/// The number of rooms above which a filter does not name them, as it is part of an address.
const MOST_NAMED: usize = 50;

/// The number of events that are asked for at a time when a timeline has a gap.
const PAGE: u32 = 100;

/// The number of pages that are read to fill a gap.
const MOST_PAGES: u32 = 100;

/// The result of a `/sync`.
#[derive(Debug)]
pub(crate) struct Synced {
    /// The position from which the next one goes on.
    pub(crate) next: String,
    /// The rooms in which more has happened than was sent, each with the position before which it did.
    pub(crate) gaps: Vec<(OwnedRoomId, String)>,
}

/// Waits until something happens after `since`, `wait` at most, and passes each event of the timelines to `take`, in
/// order. Without `since` it only returns the present position.
///
/// # Errors
///
/// [`MatrixError::Rejected`] if the homeserver does not know the position.
pub(crate) async fn sync(
    account: &Account,
    since: Option<&str>,
    rooms: &BTreeSet<OwnedRoomId>,
    wait: Duration,
    mut take: impl FnMut(&RoomId, &[u8]),
) -> Result<Synced, MatrixError> {
    let mut request = sync_events::Request::new();
    request.filter = Some(sync_events::Filter::FilterDefinition(filter(account, rooms)));
    request.since = since.map(str::to_owned);
    request.set_presence = PresenceState::Offline;
    request.timeout = Some(wait);
    let mut values = Values::new(|path: &Path| Wanted::of(path).is_some());
    let (mut next, mut gaps) = (None, Gaps::default());
    let mut take = |path: &Path, value: &[u8]| match Wanted::of(path) {
        Some(Wanted::Next) => next = serde_json::from_slice(value).ok(),
        Some(Wanted::Event(room)) => {
            if let Ok(room) = <&RoomId>::try_from(room) {
                take(room, value);
            }
        }
        Some(Wanted::IsLimited(room)) if value == b"true" => gaps.of(room).is_limited = true,
        Some(Wanted::Before(room)) => gaps.of(room).before = serde_json::from_slice(value).ok(),
        Some(Wanted::IsLimited(_)) | None => {}
    };
    account.session().send_in_pieces(request, |piece| values.feed(piece, &mut take)).await?;
    let next: Option<String> = next.filter(|_| values.are_whole());
    let next = next.ok_or(RequestError::NotWhole)?;
    Ok(Synced { next, gaps: gaps.limited() })
}

/// Passes the events of a room that happened after `since` and before `before` to `take`, the latest first, until it
/// breaks. Returns whether these are all.
///
/// Conduit only stops at `since` if an event of the room has that very position, so `take` has to know what it knows.
pub(crate) async fn fill(
    account: &Account,
    (room, before): (&RoomId, &str),
    since: &str,
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<bool, MatrixError> {
    let mut filter = of_people(account);
    let (mut from, mut limit) = (before.to_owned(), PAGE);
    for _ in 0..MOST_PAGES {
        let mut request =
            get_message_events::v3::Request::new(room.to_owned(), Direction::Backward);
        request.from = Some(from.clone());
        request.to = Some(since.to_owned());
        request.limit = UInt::from(limit);
        request.filter = filter.clone();
        let page = match account.request(request).await {
            // Anybody in the room can write events of 64 kB, and not every homeserver applies the filter.
            Err(MatrixError::TooLong { .. }) if limit > 1 => {
                limit /= 2;
                continue;
            }
            page => page?,
        };
        if page.chunk.is_empty() && !filter.is_empty() {
            // Dendrite filters a page only after it has read it, and reports the end if nothing is left of it.
            filter = RoomEventFilter::default();
            continue;
        }
        let mut events = page.chunk.iter().map(|event| event.json().get().as_bytes());
        if events.try_for_each(&mut take).is_break() {
            return Ok(true);
        }
        match page.end {
            Some(end) if end != from && !page.chunk.is_empty() => from = end,
            _ => return Ok(true),
        }
    }
    Ok(false)
}

/// Returns the filter for what people do in these rooms, and for nothing else.
fn filter(account: &Account, rooms: &BTreeSet<OwnedRoomId>) -> FilterDefinition {
    let mut timeline = of_people(account);
    timeline.limit = Some(UInt::from(TIMELINE));
    let mut state = RoomEventFilter::ignore_all();
    state.lazy_load_options = LazyLoadOptions::Enabled { include_redundant_members: false };
    let mut room = RoomFilter::default();
    room.rooms = (rooms.len() <= MOST_NAMED).then(|| rooms.iter().cloned().collect());
    room.account_data = RoomEventFilter::ignore_all();
    room.ephemeral = RoomEventFilter::ignore_all();
    room.state = state;
    room.timeline = timeline;
    let mut filter = FilterDefinition::default();
    filter.presence = Filter::ignore_all();
    filter.account_data = Filter::ignore_all();
    filter.room = room;
    filter
}

fn of_people(account: &Account) -> RoomEventFilter {
    let mut filter = RoomEventFilter::default();
    filter.types = Some(TYPES.map(str::to_owned).to_vec());
    filter.not_senders = vec![account.user.clone()];
    filter
}

/// The values of an answer that are read.
enum Wanted<'a> {
    Next,
    Event(&'a str),
    IsLimited(&'a str),
    Before(&'a str),
}

impl<'a> Wanted<'a> {
    fn of(path: &'a Path) -> Option<Self> {
        // An answer has thousands of values, of which few are as deep.
        if let [Some(next)] = path {
            return (next == "next_batch").then_some(Self::Next);
        }
        let [Some(rooms), Some(join), Some(room), Some(timeline), Some(key), rest @ ..] = path
        else {
            return None;
        };
        if rooms != "rooms" || join != "join" || timeline != "timeline" {
            return None;
        }
        match (key.as_str(), rest) {
            ("events", [None]) => Some(Self::Event(room)),
            ("limited", []) => Some(Self::IsLimited(room)),
            ("prev_batch", []) => Some(Self::Before(room)),
            _ => None,
        }
    }
}

/// The knowledge of the timelines of rooms.
#[derive(Default)]
struct Gaps(Vec<(String, Gap)>);

#[derive(Default)]
struct Gap {
    is_limited: bool,
    before: Option<String>,
}

impl Gaps {
    fn of(&mut self, room: &str) -> &mut Gap {
        // The values of one room come together.
        if self.0.last().is_none_or(|(last, _)| last != room) {
            if self.0.last().is_some_and(|(_, gap)| !gap.is_limited) {
                self.0.pop();
            }
            self.0.push((room.to_owned(), Gap::default()));
        }
        let last = self.0.len() - 1;
        &mut self.0[last].1
    }

    fn limited(self) -> Vec<(OwnedRoomId, String)> {
        let limited = self.0.into_iter().filter(|(_, gap)| gap.is_limited);
        let gap = |(room, gap): (String, Gap)| Some((room.try_into().ok()?, gap.before?));
        limited.filter_map(gap).collect()
    }
}
