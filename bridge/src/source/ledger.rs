//! The ledger of a feed: it notices messages that the stream removes before they are read.
//!
//! A stream drops messages by its limits, by a purge, or with itself, and says nothing of it to consumers. Where the
//! stream holds messages of the feed alone, numbers that are missing in the sequence are those messages. Where others
//! share the stream, the number of unread messages at the last observation tells how many have to be left.
//!
//! The ledger is kept in the state directory over restarts, because the consumer's own floor moves over removed messages
//! as if they had been acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    directory::{Directory, Missing},
    message::{Removal, StreamId, is_same_creation},
    source::{consumer::MAX_ACK_PENDING, feed::Feed, observation::Observation},
    status::RouteHealth,
};

/// The shortest time between two reports in the room.
const BETWEEN_REPORTS: SignedDuration = SignedDuration::from_hours(1);

/// The shortest time between two log lines.
const BETWEEN_LINES: Duration = Duration::from_mins(1);

/// The time without an observation after which messages may have come and gone unseen. In a stream that others share, a
/// restart is shorter, and what others lose in it is no loss of this feed.
const AWAY: SignedDuration = SignedDuration::from_mins(1);

/// The length of the file in bytes. It is always written at full length, and so replaces what was there.
const LENGTH: usize = 2048;

/// The contents of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The stream, and the time of its creation in nanoseconds since 1970.
    stream: String,
    created: String,
    /// The lease of the bridge that has the feed, which no other ledger of it has.
    #[serde(default)]
    lease: String,
    /// The sequence number up to which everything is done with, not of this feed, or counted as removed.
    done: u64,
    /// The time when the last message that is done with was published.
    done_at: Timestamp,
    /// The number of deliveries so far.
    delivered: u64,
    /// The last and the first message of the stream at the last observation, and the number of messages that had been
    /// removed behind the first.
    last: u64,
    first: u64,
    deleted: u64,
    /// The time of the last observation.
    seen: Timestamp,
    /// The number of messages up to `last` that are not done with.
    unread: u64,
    /// Whether all messages of the stream are of this feed, so that each missing number is one of its messages.
    is_whole: bool,
    /// The number of missing numbers behind `done`, up to `ahead_to`, that are already counted as removed, or that were
    /// missing when the ledger began.
    ahead: u64,
    ahead_to: u64,
    /// The removed messages that no event in the room reports.
    untold: Option<Removal>,
    /// The removed messages that an event reports which may be in the room.
    telling: Option<Removal>,
    /// The time of the last report.
    told: Option<Timestamp>,
}

/// The ledger of one feed.
pub(super) struct Ledger {
    route: String,
    health: RouteHealth,
    /// The file. `None` if it cannot be written; then the ledger lasts as long as the process.
    file: Option<File>,
    kept: Kept,
    /// Whether the machine was started anew since the file was written, so that the last changes may be lost.
    may_be_older: bool,
    /// The sequence number up to which missing numbers are counted.
    counted: u64,
    /// The number of missing numbers from `counted` on that an earlier process has counted, or that were missing when the
    /// ledger began.
    credit: u64,
    /// The messages that were delivered and are not done with. They are shown whatever the stream removes.
    in_hand: BTreeSet<u64>,
    /// The messages that were read beside the consumer for a digest, and when each was published.
    read: BTreeMap<u64, Timestamp>,
    /// The messages that a digest has shown, but behind others that are for other rooms and not done with.
    shown: BTreeMap<u64, Timestamp>,
    /// The removed messages that the log does not report yet.
    unlogged: Option<Removal>,
    logged: Option<Instant>,
}

impl Ledger {
    /// Opens the ledger in a directory that is created if necessary.
    pub(super) fn open(state_dir: &Path, feed: &Feed, health: RouteHealth) -> Self {
        let path = state_dir.join(format!("ledger-{}", feed.label().replace(':', "-")));
        let (file, kept) = match open(&path) {
            Ok((file, kept)) => (Some(file), kept),
            Err(error) => {
                warn!(
                    "messages that the stream removes while the bridge does not run would not be noticed, as {} cannot be \
                     written: {error}",
                    path.display()
                );
                (None, None)
            }
        };
        let kept = kept.unwrap_or_default();
        let uptime = SignedDuration::from_secs(rustix::system::sysinfo().uptime);
        Self {
            route: feed.route.name.to_string(),
            health,
            file,
            may_be_older: Timestamp::now().duration_since(kept.seen) > uptime,
            kept,
            counted: 0,
            credit: 0,
            in_hand: BTreeSet::new(),
            read: BTreeMap::new(),
            shown: BTreeMap::new(),
            unlogged: None,
            logged: None,
        }
    }

    /// Compares the stream with the ledger before messages are taken from it, at the start and after each lost
    /// connection.
    pub(super) fn begin(&mut self, seen: &Observation) {
        self.in_hand.clear();
        self.read.clear();
        let is_known = self.is_of_stream(&seen.stream, &seen.created);
        if is_known {
            self.compare_acknowledged(seen);
        } else {
            self.shown.clear();
            // Nobody knows what a stream that was restored from a backup had before.
            if self.kept.stream == seen.stream && !seen.is_restored() {
                self.count_deleted_stream();
            }
            let Kept { lease, untold, telling, told, .. } = std::mem::take(&mut self.kept);
            self.kept = Kept {
                stream: seen.stream.clone(),
                created: seen.created.clone(),
                lease,
                done: seen.beginning(),
                done_at: seen.first_at,
                is_whole: seen.is_whole,
                untold,
                telling,
                told,
                ..Kept::default()
            };
            self.note_unread(seen);
        }
        self.kept.delivered = seen.delivered;
        (self.counted, self.credit) = (self.kept.done, self.kept.ahead);
        self.observe(seen);
        if !is_known && seen.is_whole {
            self.note_missing(seen);
            self.credit = self.kept.ahead;
            self.write();
        }
    }

    /// Takes the word of the server for what is acknowledged, where it knows more.
    fn compare_acknowledged(&mut self, seen: &Observation) {
        if seen.last < self.kept.done {
            // The server has lost the last messages of the stream, and assigns their numbers again.
            self.kept.done = seen.last;
            (self.kept.unread, self.kept.last, self.kept.ahead) = (0, seen.last, 0);
        }
        // Somebody else, such as a bridge on another machine, has read on. Otherwise a floor below the first message may
        // have been moved there when messages were removed.
        let most = self.kept.delivered + MAX_ACK_PENDING as u64;
        let is_real = seen.acknowledged >= seen.first || seen.delivered > most;
        if seen.acknowledged > self.kept.done && is_real {
            (self.kept.done, self.kept.unread) = (seen.acknowledged, 0);
            self.kept.ahead =
                self.kept.ahead.min(self.kept.ahead_to.saturating_sub(seen.acknowledged));
        }
    }

    /// Counts the messages that have gone with a stream that was deleted and made anew.
    fn count_deleted_stream(&mut self) {
        let Kept { done, done_at, last, unread, .. } = self.kept;
        // The first of them may have been shown just before a kill. Nobody can look it up any more.
        self.kept.is_whole = false;
        if unread > 0 {
            self.add(unread, done + 1, last.max(done + 1), (done_at, Timestamp::now()));
        }
    }

    /// Notes with which lease the bridge has the feed.
    pub(super) fn hold(&mut self, lease: String) {
        self.kept.lease = lease;
    }

    /// Whether the ledger is that of the bridge that has, or had, the feed with this lease.
    pub(super) fn is_of(&self, lease: &str) -> bool {
        self.kept.lease == lease
    }

    /// Returns the message of this stream up to which everything is done with.
    pub(super) fn done_in(&self, stream: &StreamId) -> Option<u64> {
        self.is_of_stream(&stream.stream, &stream.created).then_some(self.kept.done)
    }

    /// Whether the ledger is of this incarnation of the stream.
    fn is_of_stream(&self, name: &str, created: &str) -> bool {
        self.kept.stream == name && is_same_creation(&self.kept.created, created)
    }

    /// Whether the ledger may lack the last changes, as the machine was started anew since.
    pub(super) fn may_be_older(&self) -> bool {
        self.may_be_older
    }

    /// Returns the number of deliveries that the feed has seen.
    pub(super) fn deliveries(&self) -> u64 {
        self.kept.delivered
    }

    /// Returns when the last message that is done with was stored, if it is this one.
    pub(super) fn done_at(&self, sequence: u64) -> Option<Timestamp> {
        (self.kept.done == sequence).then_some(self.kept.done_at)
    }

    /// Notes that a message was delivered. Messages come in order.
    pub(super) fn arrived(&mut self, sequence: u64, published: Timestamp) {
        if sequence > self.counted {
            if self.kept.is_whole {
                self.count_missing(sequence - 1, published);
            }
            self.counted = sequence;
        }
        if sequence > self.kept.done {
            self.in_hand.insert(sequence);
        }
    }

    /// Notes how many deliveries there were so far.
    pub(super) fn delivered(&mut self, number: u64) {
        self.kept.delivered = self.kept.delivered.max(number);
    }

    /// Notes that a message, and all before it, is done with.
    pub(super) fn done(&mut self, sequence: u64, published: Timestamp) {
        self.arrived(sequence, published);
        let rest = self.in_hand.split_off(&(sequence + 1));
        let done = std::mem::replace(&mut self.in_hand, rest).len() as u64;
        self.shown = self.shown.split_off(&(sequence + 1));
        if sequence <= self.kept.done {
            return;
        }
        let missing = (sequence - self.kept.done).saturating_sub(done.max(1));
        self.kept.ahead = self.kept.ahead.saturating_sub(missing);
        (self.kept.done, self.kept.done_at) = (sequence, published);
        if sequence <= self.kept.last {
            self.kept.unread = self.kept.unread.saturating_sub(1);
        }
        if sequence > self.kept.ahead_to {
            self.kept.ahead = 0;
        }
        self.write();
    }

    /// Notes messages that were read beside the consumer, with the times of their publication. They are shown even if the
    /// stream removes them now.
    pub(super) fn read(&mut self, messages: impl Iterator<Item = (u64, Timestamp)>) {
        self.read = messages.collect();
    }

    /// Notes that the messages that were read were shown, up to this one. They are done with as far as none of `elsewhere`
    /// comes before them: those are for other rooms, and still wait unless a digest there has shown them.
    pub(super) fn read_done(&mut self, last: u64, elsewhere: &[u64]) {
        self.shown.extend(std::mem::take(&mut self.read).range(..=last));
        let waits =
            |sequence: &&u64| **sequence > self.kept.done && !self.shown.contains_key(*sequence);
        let first = elsewhere.iter().find(waits).copied().unwrap_or(u64::MAX);
        let rest = self.shown.split_off(&first);
        let done = std::mem::replace(&mut self.shown, rest);
        for (sequence, published) in done {
            self.done(sequence, published);
        }
    }

    /// Notes that what was delivered and is not done with will be delivered again.
    pub(super) fn put_back(&mut self) {
        self.in_hand.clear();
        self.read.clear();
        (self.counted, self.credit) = (self.kept.done, self.kept.ahead);
    }

    /// Returns the number behind which the messages of the feed have to be counted for a comparison, if there are
    /// messages of others in the stream and some were removed.
    pub(super) fn counts_behind(&self, seen: &Observation) -> Option<u64> {
        let Kept { last, first, deleted, unread, .. } = &self.kept;
        let has_shrunk = seen.first > *first || seen.deleted != *deleted;
        (!seen.is_whole && has_shrunk && *unread > 0).then_some(*last)
    }

    /// Compares the stream with the ledger.
    pub(super) fn observe(&mut self, seen: &Observation) {
        let is_other = !self.is_of_stream(&seen.stream, &seen.created);
        // A message on its way is neither read nor removed.
        let is_under_way = !seen.is_beginning && seen.delivered != self.kept.delivered;
        if is_other || is_under_way {
            return;
        }
        let was_whole = std::mem::replace(&mut self.kept.is_whole, seen.is_whole);
        let gone = seen.first.saturating_sub(1);
        if was_whole && seen.is_whole {
            self.count_missing(gone, seen.first_at);
        } else {
            self.compare_unread(seen);
            self.counted = self.counted.max(gone);
        }
        if self.in_hand.is_empty() && seen.outstanding == 0 && gone > self.kept.done {
            (self.kept.done, self.kept.ahead) = (gone, self.credit);
        }
        self.note_unread(seen);
        if seen.is_whole && !was_whole {
            self.note_missing(seen);
            (self.counted, self.credit) = (self.counted.max(seen.last), 0);
        }
        self.write();
        self.log();
    }

    fn note_unread(&mut self, seen: &Observation) {
        self.kept.unread = seen.pending + (self.in_hand.len() as u64).max(seen.outstanding);
        (self.kept.last, self.kept.first) = (seen.last, seen.first);
        self.kept.deleted = seen.deleted;
        self.kept.seen = Timestamp::now();
    }

    /// Notes how many numbers are missing in the stream when it begins to be of this feed alone: of messages that were
    /// removed before, or that are of others. They are no loss. All numbers but these are of unread messages.
    fn note_missing(&mut self, seen: &Observation) {
        let begin = self.kept.done.max(seen.first.saturating_sub(1));
        let numbers = seen.last.saturating_sub(begin);
        self.kept.ahead += numbers.saturating_sub(self.kept.unread);
        self.kept.ahead_to = seen.last;
    }

    /// Counts the numbers up to this one that are missing. Each was a message of the feed.
    fn count_missing(&mut self, up_to: u64, before: Timestamp) {
        if up_to <= self.counted {
            return;
        }
        let range = self.counted + 1..=up_to;
        let read = [&self.read, &self.shown].map(|read| read.range(range.clone()));
        let read = read.into_iter().flatten().map(|(sequence, _)| sequence);
        let safe: BTreeSet<_> = self.in_hand.range(range.clone()).chain(read).collect();
        let missing = (up_to - self.counted).saturating_sub(safe.len() as u64);
        let known = missing.min(self.credit);
        self.credit -= known;
        let (first, lost) = (self.counted + 1, missing - known);
        self.counted = up_to;
        if lost > 0 {
            self.kept.ahead += lost;
            self.kept.ahead_to = up_to;
            self.add(lost, first, up_to, (self.kept.done_at, before));
            self.write();
        }
    }

    /// Compares the unread messages of the feed with those at the last observation, in a stream that others share.
    fn compare_unread(&mut self, seen: &Observation) {
        let Kept { last, unread, done, done_at, .. } = self.kept;
        let gone = seen.first.saturating_sub(1);
        let in_hand = self.in_hand.range(..=last).count() as u64;
        let read =
            [&self.read, &self.shown].map(|read| read.range(..=gone.min(last)).count() as u64);
        let safe = in_hand.max(seen.outstanding) + read.iter().sum::<u64>();
        let is_behind = unread > safe;
        let mut lost = match seen.later {
            Some(later) => {
                unread.saturating_sub(safe).saturating_sub(seen.pending.saturating_sub(later))
            }
            None => 0,
        };
        let mut end = gone.max(last.min(seen.last));
        // Nobody knows whose the messages were that came and went since.
        let is_new_lost = seen.drops_unread || lost > 0;
        let was_away = seen.is_beginning && Timestamp::now().duration_since(self.kept.seen) >= AWAY;
        let begin = last.max(self.counted).max(done);
        if is_new_lost && (was_away || is_behind) && gone > begin {
            lost += gone - begin;
        }
        if is_new_lost && was_away && seen.deleted_since > 0 {
            lost += seen.deleted_since;
            end = seen.last;
        }
        if lost > 0 {
            self.add(lost, done + 1, end.max(done + 1), (done_at, seen.first_at));
        }
    }

    fn add(&mut self, count: u64, first: u64, last: u64, (since, until): (Timestamp, Timestamp)) {
        let removal = Removal {
            stream: self.kept.stream.clone(),
            route: self.route.clone(),
            count,
            is_exact: self.kept.is_whole,
            first,
            last,
            since: since.min(until),
            until,
        };
        self.health.removed(count);
        for sum in [&mut self.kept.untold, &mut self.unlogged] {
            match sum {
                Some(sum) => sum.add(&removal),
                None => *sum = Some(removal.clone()),
            }
        }
        self.log();
    }

    fn log(&mut self) {
        if self.logged.is_some_and(|logged| logged.elapsed() < BETWEEN_LINES) {
            return;
        }
        if let Some(removal) = self.unlogged.take() {
            let stream = &removal.stream;
            warn!(
                "{removal} were removed by the stream {stream} before they could be read: raise its max_age, max_bytes, max_msgs or \
                 max_msgs_per_subject, so that it keeps messages for as long as an outage may last (nats stream edit {stream})"
            );
            self.logged = Some(Instant::now());
        }
    }

    /// Whether an event in the room has to report removed messages by now.
    pub(super) fn is_due(&self) -> bool {
        // The report has its place behind everything that was published before.
        let is_next =
            |removal: &Removal| self.in_hand.first().is_none_or(|in_hand| *in_hand > removal.first);
        let now = Timestamp::now();
        // A clock that was set back must not hold a report back for ever.
        let is_long_ago =
            |told: Timestamp| told > now || now.duration_since(told) >= BETWEEN_REPORTS;
        self.kept.telling.is_some()
            || self.kept.untold.as_ref().is_some_and(is_next)
                && self.kept.told.is_none_or(is_long_ago)
    }

    /// Returns the removed messages that an event in the room has to report by now. It is the same ones until
    /// [`Ledger::told`], also after a restart.
    pub(super) fn due(&mut self) -> Option<Removal> {
        if !self.is_due() {
            return None;
        }
        if self.kept.telling.is_none() {
            self.kept.telling = self.kept.untold.take();
            self.kept.told = Some(Timestamp::now());
            self.write();
            self.sync();
        }
        self.kept.telling.clone()
    }

    /// Returns when the event that [`Ledger::due`] asks for may have been posted first.
    pub(super) fn since(&self) -> Timestamp {
        self.kept.told.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Notes that the removed messages were reported.
    pub(super) fn told(&mut self) {
        self.kept.telling = None;
        self.kept.told = Some(Timestamp::now());
        self.write();
        self.sync();
    }

    /// Writes the file. It has to survive the process; only reports are synced to disk.
    fn write(&self) {
        let Some(file) = &self.file else { return };
        let Ok(text) = serde_json::to_string(&self.kept) else { return };
        let text = format!("{text:<width$}\n", width = LENGTH - 1);
        // Best effort: a full disk must not stop messages.
        let _ = file.write_at(text.as_bytes(), 0);
    }

    fn sync(&self) {
        if let Some(file) = &self.file {
            let _ = file.sync_data();
        }
    }
}

fn open(path: &Path) -> io::Result<(File, Option<Kept>)> {
    let (directory, name) = Directory::around(path, Missing::Make)?;
    let file = directory.open_or_create(&name)?;
    let mut text = [0; LENGTH];
    let length = file.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..length]);
    let kept = serde_json::from_str(&text).ok();
    if kept.is_none() && !text.trim().is_empty() {
        warn!("matrix.state_dir: {} is damaged and is begun anew", path.display());
    }
    Ok((file, kept))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use matrix_sdk::ruma::UserId;
    use tempfile::TempDir;

    use super::*;
    use crate::{config::Route, status::Health};

    struct Scene {
        state: TempDir,
        health: Health,
    }

    impl Scene {
        fn new() -> Self {
            Self { state: tempfile::tempdir().unwrap(), health: Health::default() }
        }

        fn open(&self) -> Ledger {
            let user = UserId::parse("@bridge:example.com").unwrap();
            let feed = Feed::live(&Arc::new(Route::with("")), &user);
            Ledger::open(self.state.path(), &feed, self.health.route("r"))
        }

        fn count(&self) -> u64 {
            let snapshot = self.health.snapshot();
            snapshot.routes[0].removed_unread.map_or(0, |removed| removed.count)
        }
    }

    /// Returns the observation of a stream with messages of this feed alone, all of them delivered.
    fn seen(first: u64, last: u64) -> Observation {
        Observation {
            stream: "OPS".to_owned(),
            created: "1".to_owned(),
            is_whole: true,
            drops_unread: true,
            first,
            last,
            first_at: Timestamp::UNIX_EPOCH,
            deleted: 0,
            deleted_since: 0,
            pending: 0,
            later: None,
            outstanding: 0,
            delivered: 0,
            acknowledged: 0,
            looked_at: 0,
            is_beginning: true,
        }
    }

    fn shared(first: u64, last: u64, pending: u64) -> Observation {
        Observation { is_whole: false, pending, ..seen(first, last) }
    }

    impl Observation {
        fn of_another_stream(self) -> Self {
            let first_at = Timestamp::from_second(3).unwrap();
            Self { created: "2000000000".to_owned(), first_at, ..self }
        }
    }

    fn running(seen: Observation) -> Observation {
        Observation { is_beginning: false, ..seen }
    }

    #[test]
    fn what_is_in_hand_is_not_missing_and_what_is_counted_is_not_counted_again() {
        let scene = Scene::new();
        let mut ledger = scene.open();
        let at = Timestamp::UNIX_EPOCH;
        ledger.begin(&seen(1, 0));
        for sequence in 1..=3 {
            ledger.arrived(sequence, at);
        }
        ledger.done(1, at);
        // The stream drops 2 and 3, which are in hand, and 4 to 9.
        ledger.observe(&running(seen(10, 12)));
        assert_eq!(scene.count(), 6);
        // The process is killed: now 2 and 3 are lost, too.
        let mut ledger = scene.open();
        ledger.begin(&seen(10, 12));
        assert_eq!(scene.count(), 8);
        ledger.done(10, at);
        ledger.arrived(12, at);
        assert_eq!(scene.count(), 9, "11 is missing between deliveries");
        let mut ledger = scene.open();
        ledger.begin(&seen(12, 12));
        ledger.done(12, at);
        assert_eq!(scene.count(), 9);
        let removal = ledger.due().unwrap();
        assert_eq!((removal.count, removal.first, removal.last), (9, 2, 11));
        assert_eq!(scene.open().due(), Some(removal), "it is the same after a kill");
        ledger.told();
        assert_eq!(scene.open().due(), None);
    }

    #[test]
    fn what_a_digest_has_read_is_not_missing() {
        let (scene, at) = (Scene::new(), Timestamp::UNIX_EPOCH);
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 20, ..seen(1, 20) });
        ledger.arrived(1, at);
        ledger.read((1..=10).filter(|sequence| *sequence != 5).map(|sequence| (sequence, at)));
        ledger.observe(&running(seen(9, 20)));
        assert_eq!(scene.count(), 1, "5 was gone before it was read");
        ledger.read_done(10, &[]);
        let mut ledger = scene.open();
        ledger.begin(&seen(11, 20));
        assert_eq!(scene.count(), 1);
    }

    #[test]
    fn what_waits_for_another_room_is_not_done_with_after_a_digest() {
        let (scene, at) = (Scene::new(), Timestamp::UNIX_EPOCH);
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 10, ..seen(1, 10) });
        ledger.arrived(1, at);
        let (odd, even) = ([1, 3, 5, 7, 9], [2, 4, 6, 8, 10]);
        ledger.read(odd.into_iter().map(|sequence| (sequence, at)));
        ledger.read_done(10, &even);
        let done = |ledger: &Ledger| ledger.kept.done;
        assert_eq!((done(&ledger), done(&scene.open())), (1, 1), "2 waits for the other room");
        // The stream drops some: only what waits for the other room is lost.
        ledger.arrived(2, at);
        ledger.observe(&running(seen(5, 10)));
        assert_eq!(scene.count(), 1, "4");
        ledger.read(even[2..].iter().map(|sequence| (*sequence, at)));
        ledger.read_done(10, &odd);
        assert_eq!(done(&ledger), 10, "both rooms have all");
    }

    #[test]
    fn in_a_shared_stream_only_unread_messages_count() {
        let (scene, at) = (Scene::new(), Timestamp::UNIX_EPOCH);
        let mut ledger = scene.open();
        ledger.begin(&shared(1, 100, 10));
        ledger.arrived(3, at);
        ledger.done(3, at);
        assert_eq!(ledger.counts_behind(&running(shared(50, 200, 6))), Some(100));
        // Two of 6 unread messages were published since, so 9 - 4 are gone.
        ledger.observe(&running(Observation { later: Some(2), ..shared(50, 200, 6) }));
        assert_eq!(scene.count(), 5);
        // A feed that has read all is not concerned with what others lose.
        ledger.done(210, at);
        ledger.observe(&running(shared(50, 210, 0)));
        ledger.observe(&running(shared(400, 500, 0)));
        assert_eq!(scene.count(), 5);
        assert_eq!(ledger.due().unwrap().to_string().split(' ').next(), Some("up"));
    }

    #[test]
    fn a_first_start_and_what_another_bridge_has_read_are_no_loss() {
        let scene = Scene::new();
        scene.open().begin(&seen(1000, 2000));
        assert_eq!(scene.count(), 0);
        let read_by_other = Observation { acknowledged: 4000, delivered: 3000, ..seen(4500, 5000) };
        scene.open().begin(&read_by_other);
        assert_eq!(scene.count(), 499, "4001 to 4499");
        scene.open().begin(&seen(7, 9).of_another_stream());
        assert_eq!(scene.count(), 499, "nothing was unread in the stream before");
    }

    #[test]
    fn what_was_missing_when_the_ledger_began_is_no_loss() {
        let (scene, at) = (Scene::new(), Timestamp::UNIX_EPOCH);
        let mut ledger = scene.open();
        // Only 1, 2, 9, 10, 19 and 20 of 20 are left.
        ledger.begin(&Observation { pending: 6, ..seen(1, 20) });
        for sequence in [1, 2, 9] {
            ledger.arrived(sequence, at);
            ledger.done(sequence, at);
        }
        ledger.arrived(10, at);
        assert_eq!(scene.count(), 0, "3 to 8 were missing before");
        // The process is killed, and 19 is removed before the next one reads it.
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 2, ..seen(1, 20) });
        for sequence in [10, 20, 21] {
            ledger.done(sequence, at);
        }
        assert_eq!(scene.count(), 1, "of 11 to 19 only 19 was there");
        ledger.done(23, at);
        assert_eq!(scene.count(), 2, "22 was published later");
    }

    #[test]
    fn what_was_missing_when_the_ledger_began_is_no_loss_behind_what_is_removed_later() {
        let (scene, at) = (Scene::new(), Timestamp::UNIX_EPOCH);
        let mut ledger = scene.open();
        // 11 to 18 are missing; later 1 to 5 as well.
        ledger.begin(&Observation { pending: 12, ..seen(1, 20) });
        ledger.observe(&running(Observation { pending: 7, ..seen(6, 20) }));
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 7, ..seen(6, 20) });
        for sequence in [6, 7, 8, 9, 10, 19, 20] {
            ledger.done(sequence, at);
        }
        assert_eq!(scene.count(), 5);
        // Another bridge, which has no ledger yet, goes on from what is acknowledged.
        let (scene, here) = (Scene::new(), Observation { pending: 2, ..seen(1, 20) });
        let mut ledger = scene.open();
        ledger.begin(&Observation { acknowledged: 10, delivered: 10, ..here });
        ledger.done(19, at);
        assert_eq!(scene.count(), 0);
    }

    #[test]
    fn what_others_have_in_a_stream_that_they_leave_is_no_loss() {
        let (scene, at) = (Scene::new(), Timestamp::UNIX_EPOCH);
        let mut ledger = scene.open();
        ledger.begin(&shared(1, 100, 10));
        ledger.observe(&running(Observation { pending: 10, ..seen(1, 100) }));
        for sequence in [5, 50] {
            ledger.done(sequence, at);
        }
        assert_eq!(scene.count(), 0);
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 8, ..seen(1, 100) });
        for sequence in [60, 61, 62, 63, 64, 65, 66, 99, 101, 103] {
            ledger.done(sequence, at);
        }
        assert_eq!(scene.count(), 1, "102");
    }

    #[test]
    fn of_a_deleted_stream_at_most_what_was_unread_is_lost() {
        let scene = Scene::new();
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 5, ..seen(1, 5) });
        ledger.done(1, Timestamp::UNIX_EPOCH);
        let mut ledger = scene.open();
        ledger.begin(&seen(1, 0).of_another_stream());
        let removal = ledger.due().unwrap();
        assert_eq!((removal.count, removal.first, removal.last), (4, 2, 5));
        assert!(!removal.is_exact, "2 may have been shown before the kill");
    }

    #[test]
    fn what_a_restored_stream_has_again_is_no_loss() {
        let scene = Scene::new();
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 5, ..seen(1, 5) });
        ledger.done(1, Timestamp::UNIX_EPOCH);
        let mut ledger = scene.open();
        let restored = Observation { created: "2000000000".to_owned(), pending: 5, ..seen(1, 5) };
        ledger.begin(&restored);
        (1..=5).for_each(|sequence| ledger.done(sequence, Timestamp::UNIX_EPOCH));
        assert_eq!(scene.count(), 0);
    }

    #[test]
    fn what_is_read_again_although_it_is_acknowledged_counts_until_it_is_shown() {
        let scene = Scene::new();
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 9, ..seen(1, 9) });
        (1..=3).for_each(|sequence| ledger.done(sequence, Timestamp::UNIX_EPOCH));
        let acked_elsewhere = Observation { acknowledged: 9, delivered: 9, ..seen(7, 9) };
        let mut ledger = scene.open();
        ledger.begin(&acked_elsewhere.clone().with_unposted(4));
        assert_eq!(scene.count(), 3, "4 to 6");
        // A queue drops what is acknowledged, so that there is nothing to be read.
        let scene = Scene::new();
        let mut ledger = scene.open();
        ledger.begin(&Observation { pending: 9, ..seen(1, 9) });
        (1..=3).for_each(|sequence| ledger.done(sequence, Timestamp::UNIX_EPOCH));
        let mut ledger = scene.open();
        ledger.begin(&Observation { drops_unread: false, ..acked_elsewhere }.with_unposted(4));
        assert_eq!(scene.count(), 0);
    }
}
