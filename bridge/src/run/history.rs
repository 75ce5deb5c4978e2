//! The history of the configuration: which routes were in force up to which message of a stream.
//!
//! Messages that waited for a route when the configuration changed are decided by that under which they waited. The
//! state directory keeps the routes of each stream under which the bridge last ran, and, as long as something waits
//! from before a change, the earlier ones, each with the last message that was stored under it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{
    consumer::Info as ConsumerInfo,
    stream::{Info as StreamInfo, RetentionPolicy, Stream},
};
use matrix_sdk::ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::OnceCell, time::sleep};
use tracing::{info, warn};

use crate::{
    config::{Route, Start},
    directory::Durability,
    message::is_same_creation,
    nats::{Nats, timestamp},
    pipeline::Epoch,
    source::{Feed, Passage, ReadError, consumer, is_restored, outstanding},
    state_file::StateFile,
    subject::Subject,
};

/// The file in the state directory.
const FILE: &str = "routes.json";

/// The time after which a change of the configuration that was not noted, or not written, is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The number of earlier configurations of a stream that are kept apart.
const MOST_EPOCHS: usize = 16;

/// The number of removed routes of a stream of which it is kept where they ended.
const MOST_ENDED: usize = 256;

/// The routes of one stream, as the file keeps them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct KeptStream {
    /// The routes under which the bridge last ran.
    routes: Vec<Arc<Value>>,
    /// The earlier routes from which something may still wait, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    epochs: Vec<KeptEpoch>,
    /// The removed routes that have shown all that waited for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<Ended>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptEpoch {
    created: String,
    until: u64,
    #[serde(default)]
    is_work_queue: bool,
    routes: Vec<KeptRoute>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptRoute {
    written: Arc<Value>,
    /// The message up to which the route was done with all; `None` if it had no consumer.
    done: Option<u64>,
}

/// The end of a removed route. If the route comes back, it goes on there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Ended {
    consumer: String,
    created: String,
    until: u64,
}

/// The history of all streams. It lasts as long as the process: a reload has to know of a change that could not be written.
pub(crate) struct History {
    state_dir: PathBuf,
    file: StateFile,
    kept: Mutex<BTreeMap<String, KeptStream>>,
    /// Whether the file has what is kept.
    is_written: AtomicBool,
}

impl History {
    /// Reads the history from the state directory. Without it the present configuration alone counts.
    pub(crate) fn read(state_dir: &Path) -> Arc<Self> {
        let file = StateFile::new(state_dir, FILE);
        let kept = file.read_or_default();
        Arc::new(Self::of_file(state_dir, file, kept))
    }

    /// Reads the history for a look at it. Whoever may not read it sees none.
    pub(crate) fn peek(state_dir: &Path) -> Arc<Self> {
        let file = StateFile::new(state_dir, FILE);
        let kept = file.read().ok().flatten().unwrap_or_default();
        Arc::new(Self::of_file(state_dir, file, kept))
    }

    fn of_file(state_dir: &Path, file: StateFile, kept: BTreeMap<String, KeptStream>) -> Self {
        let (state_dir, kept) = (state_dir.to_owned(), Mutex::new(kept));
        Self { state_dir, file, kept, is_written: AtomicBool::new(true) }
    }

    /// Whether this is the history in the state directory.
    pub(crate) fn is_in(&self, state_dir: &Path) -> bool {
        self.state_dir == state_dir
    }

    /// Returns the history of each stream that the routes, or earlier ones, read from.
    ///
    /// `user` is the Matrix user of the bridge, to whom the consumers belong.
    pub(crate) fn of_streams(
        self: &Arc<Self>,
        routes: &[Arc<Route>],
        user: &UserId,
    ) -> Vec<Arc<StreamHistory>> {
        let kept = self.kept();
        let is_open = |kept: &KeptStream| !kept.routes.is_empty() || !kept.epochs.is_empty();
        let open = kept.iter().filter(|(_, kept)| is_open(kept)).map(|(name, _)| name.clone());
        let mut names: BTreeSet<String> = open.collect();
        drop(kept);
        names.extend(routes.iter().map(|route| route.stream.clone()));
        let of = |name: String| {
            let own = routes.iter().filter(|route| route.stream == name).cloned().collect();
            let (user, shared) = (user.to_owned(), Arc::clone(self));
            Arc::new(StreamHistory { name, user, routes: own, shared, settled: OnceCell::new() })
        };
        names.into_iter().map(of).collect()
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, KeptStream>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, stream: &str) -> KeptStream {
        self.kept().get(stream).cloned().unwrap_or_default()
    }

    /// Keeps the history of a stream. A stream without any is forgotten. Returns whether the file has it.
    fn keep(&self, stream: &str, kept: KeptStream) -> bool {
        let mut all = self.kept();
        if all.get(stream) == Some(&kept) && self.is_written.load(Ordering::Relaxed) {
            return true;
        }
        if kept == KeptStream::default() {
            all.remove(stream);
        } else {
            all.insert(stream.to_owned(), kept);
        }
        self.write(&all)
    }

    fn write(&self, all: &BTreeMap<String, KeptStream>) -> bool {
        let written = self.file.write(all, Durability::Disk);
        let was_written = self.is_written.swap(written.is_ok(), Ordering::Relaxed);
        match &written {
            Err(error) if was_written => warn!(
                "matrix.state_dir: cannot write {}: {error}; trying again: if the bridge is started anew before that works, \
                 what waits then is decided by the routes before the change",
                self.file
            ),
            Ok(()) if !was_written => info!("matrix.state_dir: {} is written again", self.file),
            _ => {}
        }
        written.is_ok()
    }

    /// Waits until the file has what is kept.
    async fn written(&self) {
        while !self.is_written.load(Ordering::Relaxed) {
            sleep(AGAIN).await;
            let kept = self.kept();
            if !self.is_written.load(Ordering::Relaxed) {
                self.write(&kept);
            }
        }
    }
}

/// The history of one stream, and its present routes.
pub(crate) struct StreamHistory {
    name: String,
    /// The Matrix user of the bridge, to whom the consumers belong.
    user: OwnedUserId,
    routes: Vec<Arc<Route>>,
    shared: Arc<History>,
    settled: OnceCell<Settled>,
}

/// The history as it is once a change of the configuration is noted.
struct Settled {
    epochs: Vec<Arc<Epoch>>,
    /// The places up to which earlier configurations decide, by the name of the consumer.
    passages: BTreeMap<String, Passage>,
    /// The feeds of what removed routes have deferred.
    deferred: Vec<Feed>,
    /// The messages after which new consumers begin, by their names.
    begins: BTreeMap<String, u64>,
}

impl Settled {
    fn note_end(&self, consumer: &str, kept: &mut KeptStream) {
        let Some((passage, epoch)) = self.passages.get(consumer).zip(self.epochs.last()) else {
            return;
        };
        let (created, until) = (epoch.created().to_owned(), passage.until());
        kept.ended.retain(|ended| ended.consumer != *consumer);
        kept.ended.push(Ended { consumer: consumer.to_owned(), created, until });
        let surplus = kept.ended.len().saturating_sub(MOST_ENDED);
        kept.ended.drain(..surplus);
    }
}

impl StreamHistory {
    /// Returns the name of the stream.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns how many messages are left at most for a route that was removed, if that was noted.
    pub(crate) fn left(&self, route: &Route, info: &ConsumerInfo) -> Option<u64> {
        let kept = self.shared.of(&self.name);
        let has = |epoch: &&KeptEpoch| {
            let mut written = epoch.routes.iter().map(|it| it.written.get("name"));
            written.any(|name| name.and_then(Value::as_str) == Some(route.name.as_str()))
        };
        let until = kept.epochs.iter().rev().find(has)?.until;
        Some(outstanding::left(info, until))
    }

    /// Whether this is the history of the route's stream.
    pub(crate) fn is_of(&self, route: &Route) -> bool {
        self.name == route.stream
    }

    /// Returns the routes that are not in the configuration any more and for which messages may wait.
    pub(crate) fn removed(&self) -> Vec<Arc<Route>> {
        let kept = self.shared.of(&self.name);
        let mut removed: Vec<Arc<Route>> = Vec::new();
        let earlier = kept.epochs.iter().rev().flat_map(|epoch| &epoch.routes);
        let earlier = earlier.filter(|route| route.done.is_some()).map(|route| &route.written);
        for written in kept.routes.iter().chain(earlier) {
            let Some(route) = restore(written) else { continue };
            let is_same = |other: &Arc<Route>| other.consumer_key() == route.consumer_key();
            let is_present = self.routes.iter().any(is_same) || self.heir(&route).is_some();
            if !is_present && !removed.iter().any(is_same) {
                removed.push(route);
            }
        }
        removed
    }

    /// Returns the present route that goes on with what waits for an earlier one: the one with the same name, if that has
    /// another consumer now.
    fn heir(&self, earlier: &Route) -> Option<&Arc<Route>> {
        let has_key = |route: &&Arc<Route>| route.consumer_key() == earlier.consumer_key();
        let mut named = self.routes.iter().filter(|route| route.name == earlier.name);
        named.next().filter(|_| !self.routes.iter().any(|route| has_key(&route)))
    }

    /// Returns the feed `live` of a route with what earlier configurations decide, and their rules. `None` if nothing can
    /// wait for a route that was removed.
    ///
    /// # Errors
    ///
    /// The configuration has changed, and NATS does not say how far the stream is.
    pub(crate) async fn settle(
        &self,
        nats: &Nats,
        live: &Feed,
    ) -> Result<Option<(Feed, &[Arc<Epoch>])>, ReadError> {
        let route = &live.route;
        let settled = self.settled.get_or_try_init(|| self.note_change(nats)).await?;
        let epochs = settled.epochs.as_slice();
        let consumer = route.consumer_key();
        let begin_after = settled.begins.get(consumer).copied();
        let feed = live.clone().beginning_after(begin_after);
        let is_present = self.routes.iter().any(|it| Arc::ptr_eq(it, route));
        let feed = if is_present { feed } else { feed.removed() };
        Ok(match settled.passages.get(consumer) {
            Some(passage) => Some((feed.passing(passage.clone()), epochs)),
            None => is_present.then_some((feed, epochs)),
        })
    }

    /// Returns the feed of what a removed route has deferred.
    pub(crate) fn deferred(&self, route: &Route) -> Option<Feed> {
        let mut feeds = self.settled.get()?.deferred.iter();
        feeds.find(|feed| feed.route.consumer_key() == route.consumer_key()).cloned()
    }

    /// Notes that a removed route has shown all that waited for it. Until that is noted its consumer has to stay: if the
    /// route came back, a new one would begin with the first message of the stream.
    pub(crate) async fn note_end(&self, route: &Route) {
        let Some(settled) = self.settled.get() else { return };
        loop {
            let mut kept = self.shared.of(&self.name);
            settled.note_end(route.consumer_key(), &mut kept);
            if self.shared.keep(&self.name, kept) {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// Waits until nothing is left to be decided by earlier configurations, and forgets them. A change that could not be
    /// written is written meanwhile.
    pub(crate) async fn outlive(&self, nats: &Nats) {
        let settled = loop {
            match self.settled.get_or_try_init(|| self.note_change(nats)).await {
                Ok(settled) => break settled,
                // The routes of the stream report it.
                Err(_) => sleep(AGAIN).await,
            }
        };
        self.shared.written().await;
        if settled.epochs.is_empty() {
            return;
        }
        let deferred = settled.deferred.iter().filter_map(Feed::passage);
        for passage in settled.passages.values().chain(deferred) {
            passage.passed().cancelled().await;
        }
        let mut kept = self.shared.of(&self.name);
        let is_present =
            |consumer: &str| self.routes.iter().any(|it| it.consumer_key() == consumer);
        kept.ended.retain(|ended| !is_present(&ended.consumer));
        for consumer in settled.passages.keys().filter(|it| !is_present(it)) {
            settled.note_end(consumer, &mut kept);
        }
        kept.epochs.clear();
        self.shared.keep(&self.name, kept);
        self.shared.written().await;
    }

    /// Compares the routes with those under which the bridge last ran, and notes a change.
    async fn note_change(&self, nats: &Nats) -> Result<Settled, ReadError> {
        let (mut kept, mut ended) = (self.shared.of(&self.name), None);
        let before: Vec<_> = kept.routes.iter().filter_map(|written| restore(written)).collect();
        // Without a history there is nothing to decide about.
        if kept != KeptStream::default() && !is_same(&before, &self.routes) {
            match consumer::stream(nats, &self.name).await {
                Ok(stream) => ended = self.end_epoch(nats, &stream, &before, &mut kept).await?,
                Err(ReadError::NoStream(_)) => {
                    info!(
                        "stream {} does not exist, so nothing waits from before its routes changed",
                        self.name
                    );
                    kept.epochs.clear();
                    kept.ended.clear();
                }
                Err(error) => return Err(error),
            }
        }
        kept.routes = self.routes.iter().map(|route| Arc::clone(&route.written)).collect();
        self.shared.keep(&self.name, kept.clone());
        // People who read this may rely on it, also after a kill.
        if let Some(until) = ended {
            info!(
                "the routes of stream {} have changed: what was stored up to message {until} is decided as before",
                self.name
            );
        }
        Ok(self.settled(&kept))
    }

    /// Notes that the routes `before` were in force up to now. Returns the last message that they decide about, if there is
    /// one.
    async fn end_epoch(
        &self,
        nats: &Nats,
        stream: &Stream,
        before: &[Arc<Route>],
        kept: &mut KeptStream,
    ) -> Result<Option<u64>, ReadError> {
        let info = stream.cached_info();
        let created = lineage(kept, info);
        let until = info.state.last_sequence;
        let is_work_queue = info.config.retention == RetentionPolicy::WorkQueue;
        kept.epochs.retain(|epoch| epoch.created == created);
        kept.ended.retain(|ended| is_same_creation(&ended.created, &created));
        let mut routes = Vec::new();
        for route in before {
            let consumer = route.consumer_key();
            let now = self.routes.iter().find(|it| it.consumer_key() == consumer);
            if is_work_queue && !self.may_drain(route, now) {
                // Messages that it has not acknowledged stay in the work queue, for the consumers of the present routes.
                if let Ok(Some(info)) = find(nats, stream, &Feed::live(route, &self.user)).await {
                    let _ = stream.delete_consumer(&info.name).await;
                }
                continue;
            }
            let mut done = self.done(nats, stream, route).await?.map(|done| done.min(until));
            if done.is_none() && now.is_some() {
                // Its consumer was deleted. A route that seems to come back would leave out what waits for it.
                done = kept.epochs.last().and_then(|last| last.done(consumer));
            }
            if done.is_some() || now.is_some() {
                routes.push(KeptRoute { written: Arc::clone(&route.written), done });
            }
        }
        if until > 0 {
            kept.epochs.push(KeptEpoch { created: created.clone(), until, is_work_queue, routes });
        }
        self.hand_on(&created, kept);
        merge(&self.name, &mut kept.epochs);
        Ok((until > 0).then_some(until))
    }

    /// Returns the message up to which a route was done with all. `None` if it has no consumer that the bridge can use.
    async fn done(
        &self,
        nats: &Nats,
        stream: &Stream,
        route: &Arc<Route>,
    ) -> Result<Option<u64>, ReadError> {
        let feed = Feed::live(route, &self.user);
        match find(nats, stream, &feed).await {
            Ok(found) => Ok(found.map(|info| outstanding::done(&feed, &info))),
            Err(ReadError::ConsumerDenied { reason, .. }) => {
                warn!("what waited for route {} is not shown: {reason}", route.name);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Hands on what waits for a route to the route of the same name that has another consumer now. Its consumer begins
    /// where the earlier one was.
    fn hand_on(&self, created: &str, kept: &mut KeptStream) {
        for earlier in kept.epochs.iter_mut().flat_map(|epoch| &mut epoch.routes) {
            let Some(route) = restore(&earlier.written) else { continue };
            let Some(heir) = self.heir(&route) else { continue };
            earlier.written = route.with_consumer_of(heir).written;
            if let Some(until) = earlier.done {
                let consumer = heir.consumer_key().to_owned();
                kept.ended.retain(|ended| ended.consumer != consumer);
                kept.ended.push(Ended { consumer, created: created.to_owned(), until });
            }
        }
    }

    /// Whether the consumer of a route of a work queue can stay as it is: a work queue has one consumer for each subject.
    fn may_drain(&self, route: &Route, now: Option<&Arc<Route>>) -> bool {
        let overlaps = |other: &Arc<Route>| {
            let mut subjects = route.subjects.iter();
            subjects.any(|own| other.subjects.iter().any(|subject| subject.overlaps(own)))
        };
        match now {
            Some(now) => now.subjects == route.subjects,
            None => !self.routes.iter().any(overlaps),
        }
    }

    fn settled(&self, kept: &KeptStream) -> Settled {
        let epochs: Vec<Arc<Epoch>> =
            kept.epochs.iter().map(KeptEpoch::restored).map(Arc::new).collect();
        let mut begins: BTreeMap<_, _> =
            kept.ended.iter().map(|it| (it.consumer.clone(), it.until)).collect();
        let mut passages = BTreeMap::new();
        let Some(newest) = epochs.last() else {
            return Settled { epochs, passages, deferred: Vec::new(), begins };
        };
        let (created, until) = (newest.created(), newest.until());
        for route in &self.routes {
            let mut subjects = route.subjects.clone();
            let earlier = |epoch: &Arc<Epoch>| epoch.route(route.consumer_key()).cloned();
            for earlier in epochs.iter().filter_map(earlier) {
                if !newest.is_work_queue() {
                    join(&mut subjects, &earlier.subjects);
                }
            }
            let passage = Passage::through(created, until, subjects);
            passages.insert(route.consumer_key().to_owned(), passage);
            // A route that comes back goes on where it ended, and one that begins with new messages misses none.
            let ended =
                epochs.iter().rev().find(|it| of_consumer(it, route.consumer_key()).is_some());
            let ended = ended.filter(|it| it.until() < until).map(|it| it.until());
            let is_new =
                route.start == Start::New && of_consumer(newest, route.consumer_key()).is_none();
            if let Some(begin) = ended.or_else(|| is_new.then_some(until)) {
                let known = begins.entry(route.consumer_key().to_owned()).or_insert(begin);
                *known = begin.max(*known);
            }
        }
        let mut deferred = Vec::new();
        for epoch in epochs.iter().rev() {
            for route in epoch.routes() {
                let name = route.consumer_key();
                if !passages.contains_key(name) {
                    let subjects = earlier_subjects(&epochs, name);
                    let passage = Passage::to_the_end(epoch.created(), epoch.until(), subjects);
                    deferred.push(Feed::deferred(route, &self.user).ending_after(&passage));
                    passages.insert(name.to_owned(), passage);
                }
            }
        }
        Settled { epochs, passages, deferred, begins }
    }
}

/// Finds the consumer of a feed, if it has one that the bridge can use.
async fn find(
    nats: &Nats,
    stream: &Stream,
    feed: &Feed,
) -> Result<Option<ConsumerInfo>, ReadError> {
    let found = consumer::find(nats, stream, feed).await?;
    Ok(found.filter(|info| consumer::usable(feed, info).is_ok()))
}

impl KeptEpoch {
    /// Returns the message up to which the route with this consumer was done with all.
    fn done(&self, consumer: &str) -> Option<u64> {
        let is_it = |it: &&KeptRoute| {
            restore(&it.written).is_some_and(|route| route.consumer_key() == consumer)
        };
        self.routes.iter().find(is_it)?.done
    }

    fn restored(&self) -> Epoch {
        let restored = |it: &KeptRoute| Some((restore(&it.written)?, it.done));
        let routes = self.routes.iter().filter_map(restored).collect();
        Epoch::new(&self.created, self.until, self.is_work_queue, routes)
    }
}

fn restore(written: &Value) -> Option<Arc<Route>> {
    match Route::restore(written) {
        Ok(route) => Some(Arc::new(route)),
        Err(error) => {
            let name = written.get("name").and_then(Value::as_str).unwrap_or("without a name");
            warn!(
                "an earlier route {name} cannot be used any more, and what waited for it is not shown: {error}"
            );
            None
        }
    }
}

/// Whether two lists of routes take the same messages.
fn is_same(before: &[Arc<Route>], now: &[Arc<Route>]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(a, b)| a.decides_like(b))
}

fn of_consumer<'a>(epoch: &'a Epoch, consumer: &str) -> Option<&'a Arc<Route>> {
    epoch.routes().find(|route| route.consumer_key() == consumer)
}

fn earlier_subjects(epochs: &[Arc<Epoch>], consumer: &str) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for route in epochs.iter().filter_map(|epoch| of_consumer(epoch, consumer)) {
        join(&mut subjects, &route.subjects);
    }
    subjects
}

/// Adds filters to others, none of which may overlap another.
fn join(subjects: &mut Vec<Subject>, more: &[Subject]) {
    for subject in more {
        if subjects.iter().any(|it| it.covers(subject)) {
            continue;
        }
        let mut joined = subject.clone();
        while let Some(at) = subjects.iter().position(|it| it.overlaps(&joined)) {
            joined = subjects.remove(at).joined(&joined);
        }
        subjects.push(joined);
    }
}

/// Returns the creation time of the incarnation to which the earlier configurations belong, if the stream continues that one,
/// or else its own.
fn lineage(kept: &KeptStream, info: &StreamInfo) -> String {
    let created = timestamp(info.created).as_nanosecond().to_string();
    let continues = |earlier: &String| is_same_creation(earlier, &created) || is_restored(info);
    let earlier = kept.epochs.last().map(|epoch| &epoch.created);
    let ended = || kept.ended.last().map(|ended| &ended.created);
    earlier.or_else(ended).filter(|it| continues(it)).cloned().unwrap_or(created)
}

/// Merges the oldest configurations if there are too many. The later one decides then, except about routes that only
/// the earlier one had.
fn merge(stream: &str, epochs: &mut Vec<KeptEpoch>) {
    while epochs.len() > MOST_EPOCHS {
        let oldest = epochs.remove(0);
        let Some(next) = epochs.first_mut() else { return };
        let name =
            |route: &KeptRoute| restore(&route.written).map(|it| it.consumer_key().to_owned());
        let names: Vec<_> = next.routes.iter().map(name).collect();
        next.routes.extend(oldest.routes.into_iter().filter(|it| !names.contains(&name(it))));
        warn!(
            "the routes of stream {stream} have changed more than {MOST_EPOCHS} times while messages wait from before: those \
             up to message {} are decided as those up to message {}",
            oldest.until, next.until
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn route(name: &str, subjects: &[&str]) -> Arc<Route> {
        let written = json!({
            "name": name, "stream": "S", "subjects": subjects, "room": "!r:x", "time_zone": "Asia/Shanghai",
            "match": { "header.Team": ["a", "b"] }, "quiet": { "from": "22:00", "to": "07:00" },
            "summary": { "every": "day" }, "templates": "/t", "language": "zh",
        });
        Arc::new(Route::restore(&written).unwrap())
    }

    fn kept(until: u64, routes: &[(&Arc<Route>, Option<u64>)]) -> KeptEpoch {
        let kept = |(route, done): &(&Arc<Route>, Option<u64>)| KeptRoute {
            written: Arc::clone(&route.written),
            done: *done,
        };
        let routes = routes.iter().map(kept).collect();
        KeptEpoch { created: "1".to_owned(), until, is_work_queue: false, routes }
    }

    fn history(routes: &[&Arc<Route>]) -> StreamHistory {
        let shared = History::peek(Path::new("/nonexistent"));
        let routes = routes.iter().map(|route| Arc::clone(route)).collect();
        let user = UserId::parse("@b:x").unwrap();
        StreamHistory { name: "S".to_owned(), user, routes, shared, settled: OnceCell::new() }
    }

    #[test]
    fn a_route_is_restored_as_it_was_written() {
        let first = route("r", &["ops.>"]);
        let again = Route::restore(&first.written).unwrap();
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
        assert!(first.decides_like(&again));
        assert!(!first.decides_like(&route("r", &["ops.a"])));
        assert!(restore(&json!({ "name": "r" })).is_none());
    }

    #[test]
    fn filters_are_joined_without_an_overlap() {
        let filters = |texts: &[&str]| -> Vec<Subject> {
            texts.iter().map(|text| Subject::filter(text).unwrap()).collect()
        };
        for (own, more, joined) in [
            (&["ops.a"][..], &["ops.b"][..], &["ops.a", "ops.b"][..]),
            (&["ops.a", "x"], &["ops.>"], &["x", "ops.>"]),
            (&["ops.*.x", "ops.a.y"], &["ops.a.*"], &["ops.*.*"]),
        ] {
            let mut subjects = filters(own);
            join(&mut subjects, &filters(more));
            assert_eq!(subjects, filters(joined));
        }
    }

    #[test]
    fn each_feed_knows_how_far_the_past_reaches() {
        let (stays, gone, back) =
            (route("stays", &["a"]), route("gone", &["ops.b"]), route("back", &["ops.c"]));
        let before = route("stays", &["ops.x"]);
        let epochs = vec![
            kept(10, &[(&before, Some(0)), (&gone, Some(0)), (&back, Some(10))]),
            kept(20, &[(&stays, Some(0))]),
        ];
        let history = history(&[&stays, &back]);
        let ended = Ended { consumer: "back".to_owned(), created: "1".to_owned(), until: 4 };
        let settled =
            history.settled(&KeptStream { epochs, ended: vec![ended], ..KeptStream::default() });
        let until = |name: &str| settled.passages[name].until();
        assert_eq!((until("stays"), until("gone"), until("back")), (20, 10, 20));
        // A route that comes back goes on where it was removed the last time.
        assert_eq!(settled.begins, BTreeMap::from([("back".to_owned(), 10)]));
        assert_eq!(settled.deferred.len(), 1);
        let feed = Feed::live(&stays, &history.user).passing(settled.passages["stays"].clone());
        assert_eq!(feed.filters(), ["a", "ops.x"]);
        feed.passage().unwrap().passed().cancel();
        assert_eq!(feed.filters(), ["a"]);
    }

    #[test]
    fn a_route_with_another_consumer_goes_on_with_what_waits() {
        let before = route("r", &["ops.>"]);
        let with = |name: &str, consumer: &str| {
            let mut written = (*before.written).clone();
            written["name"] = name.into();
            written["consumer"] = consumer.into();
            Arc::new(Route::restore(&written).unwrap())
        };
        // A route that was renamed keeps its consumer, and with it what waits.
        let renamed = history(&[&with("s", "r-1f0c2a9b")]);
        let mut of_before =
            KeptStream { epochs: vec![kept(9, &[(&before, Some(4))])], ..KeptStream::default() };
        renamed.hand_on("1", &mut of_before);
        assert_eq!(renamed.settled(&of_before).passages.keys().collect::<Vec<_>>(), ["r"]);
        assert!(of_before.ended.is_empty());
        // With another consumer it begins where the earlier one was.
        let other = history(&[&with("r", "mine")]);
        other.hand_on("1", &mut of_before);
        let settled = other.settled(&of_before);
        assert_eq!(settled.passages.keys().collect::<Vec<_>>(), ["mine"]);
        assert_eq!(settled.begins, BTreeMap::from([("mine".to_owned(), 4)]));
        assert!(settled.deferred.is_empty());
    }

    #[test]
    fn the_oldest_of_too_many_configurations_are_merged() {
        let routes: Vec<_> = (0..20).map(|number| route(&format!("r{number}"), &["a"])).collect();
        let mut epochs: Vec<_> =
            routes.iter().zip(1..).map(|(route, until)| kept(until, &[(route, Some(0))])).collect();
        merge("S", &mut epochs);
        assert_eq!(epochs.len(), MOST_EPOCHS);
        assert_eq!(epochs[0].routes.len(), 5, "no removed route is forgotten");
        assert_eq!((epochs[0].until, epochs[MOST_EPOCHS - 1].until), (5, 20));
    }
}
