//! The lease of a process: how it shows other bridges with the same routes that it is alive, and how it learns that one
//! of them has taken its place.
//!
//! A running process writes an entry of the bridge's bucket again and again, each time only if it is still as the
//! process has left it. Another bridge that has seen no change for [`SILENCE`] deletes the entry under the same condition.
//! Either the process has written it in time, or it finds out with its next attempt that the lease is over. It posts
//! nothing more than [`VALID`] after an attempt that succeeded, which is less than `SILENCE`, so that the two never post
//! at the same time.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde_json::json;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tracing::{debug, info, warn};

use crate::{
    failure::{Failure, chain},
    nats::{
        Nats,
        bucket::{self, BucketError, answered},
    },
    reserved::BUCKET,
};

/// The interval at which the entry is written.
const BEAT: Duration = Duration::from_secs(5);

/// The interval of attempts while writing fails.
const RETRY: Duration = Duration::from_secs(1);

/// The shortest time after which a bucket that cannot be used is tried again. It then takes as long again as it has taken
/// already, so that a permission that was missing for a moment is not missed for long.
const SOON: Duration = Duration::from_secs(15);

/// The longest time after which it is tried again.
const LATER: Duration = Duration::from_mins(5);

/// The same when a permission is missing, as each attempt brings a line into the log.
const MUCH_LATER: Duration = Duration::from_hours(6);

/// The time for which a process may post after it began a write that succeeded.
const VALID: Duration = Duration::from_secs(10);

/// The time for which a process may post after it has read that nobody has ended its lease. Whoever ends a lease waits
/// longer before it posts.
const VALID_AS_READ: Duration = Duration::from_secs(1);

/// The time without a sign of life after which others may end the lease.
pub(super) const SILENCE: Duration = Duration::from_secs(12);

/// The time that requests under way may still take after a lease was ended.
pub(super) const UNDERWAY: Duration = Duration::from_secs(3);

/// The time for which the bucket may fail before the bridge goes on without a lease.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same for a bridge that has just begun. A NATS cluster that has just begun, too, may not know the bucket's stream yet,
/// and two bridges that both go on at once show everything twice.
const PATIENCE_AT_FIRST: Duration = Duration::from_secs(5);

/// The interval at which claims are written again, because the bucket forgets old entries.
const REFRESH: Duration = Duration::from_hours(1);

/// A moment by two clocks: one stops while the machine is suspended, the other can be set.
#[derive(Debug, Clone, Copy)]
struct Moment(Instant, SystemTime);

impl Moment {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    fn age(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// Whether a second bridge with the same routes is kept from posting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    /// The bucket was not asked yet.
    Unknown,
    /// The lease is kept.
    Kept,
    /// The bucket cannot be used.
    Without,
}

/// The lease of the process, which lasts over reloads and connections.
#[derive(Debug, Clone)]
pub(crate) struct Lease(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The id of the process, with which the ids of all its leases begin.
    process: String,
    state: Mutex<State>,
    /// The number of leases that have ended.
    ended: watch::Sender<u64>,
    /// The result of the last attempt to write the entry.
    protection: watch::Sender<Protection>,
    hurry: Notify,
}

#[derive(Debug)]
struct State {
    /// Processes that have certainly ended.
    dead: Vec<String>,
    revision: u64,
    /// The end of the time in which the process may post.
    confirmed: Option<(Moment, Duration)>,
    failing: Option<Moment>,
    /// Whether a request was abandoned that may still take effect.
    is_doubtful: bool,
    is_said: bool,
    bucket: Option<kv::Store>,
    claims: HashMap<String, Claimed>,
}

/// A claim of this process.
#[derive(Debug, Clone)]
struct Claimed {
    text: Bytes,
    revision: u64,
    written: Moment,
}

impl Lease {
    /// Creates the lease of this process.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut chance = [0; 12];
        aws_lc_rs::rand::fill(&mut chance)
            .map_err(|_| Failure::Bug("the system has no random numbers".to_owned()))?;
        Ok(Self(Arc::new(Shared {
            process: HEXLOWER.encode(&chance),
            state: Mutex::new(State {
                dead: Vec::new(),
                revision: 0,
                confirmed: None,
                failing: None,
                is_doubtful: false,
                is_said: false,
                bucket: None,
                claims: HashMap::new(),
            }),
            ended: watch::Sender::default(),
            protection: watch::Sender::new(Protection::Unknown),
            hurry: Notify::new(),
        })))
    }

    /// Returns the id of the process.
    pub(crate) fn process(&self) -> &str {
        &self.0.process
    }

    /// Notes that the process with this id has certainly ended.
    pub(crate) fn outlives(&self, process: String) {
        self.state().dead.push(process);
    }

    /// Notes that a request was abandoned that may still take effect. The lease is then left to run out.
    pub(crate) fn doubt(&self) {
        self.state().is_doubtful = true;
    }

    /// Keeps the lease, without end. `stream` is the stream that the bucket resembles if it is created.
    pub(crate) async fn keep(&self, nats: &Nats, stream: &str) -> Infallible {
        self.state().bucket = None;
        loop {
            let pause = if nats.is_connected() { self.beat(nats, stream).await } else { RETRY };
            let _ = timeout(pause, self.0.hurry.notified()).await;
        }
    }

    /// Ends the lease, so that another bridge can take over at once.
    pub(crate) async fn release(&self) {
        let (bucket, key, revision) = {
            let state = self.state();
            let bucket = state.bucket.clone().filter(|_| !state.is_doubtful);
            (bucket, key(&self.id()), state.revision)
        };
        let Some(bucket) = bucket.filter(|_| revision > 0) else { return };
        let deleted = bucket.delete_expect_revision(key, Some(revision));
        if !matches!(timeout(RETRY, deleted).await, Ok(Ok(()))) {
            debug!("the lease was not ended; it runs out");
        }
    }

    /// The id of the present lease.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.0.process, self.ended())
    }

    /// The number of leases of this process that have ended.
    pub(super) fn ended(&self) -> u64 {
        *self.0.ended.borrow()
    }

    /// Waits until more than `count` leases of this process have ended.
    pub(super) async fn ends(&self, count: u64) {
        let mut ended = self.0.ended.subscribe();
        // The sender lives as long as `self`.
        let _ = ended.wait_for(|ended| *ended > count).await;
    }

    /// Whether the process that had this lease has certainly ended, or the lease is an earlier one of this process.
    pub(crate) fn is_over(&self, lease: &str) -> bool {
        let process = lease.rsplit_once('-').map_or(lease, |(process, _)| process);
        let is_own = process == self.0.process && lease != self.id();
        is_own || self.state().dead.iter().any(|dead| dead == process)
    }

    /// Waits until it is known whether there is a lease.
    pub(super) async fn protection(&self) -> Protection {
        let mut protection = self.0.protection.subscribe();
        let known = protection.wait_for(|it| *it != Protection::Unknown).await;
        known.map_or(Protection::Without, |it| *it)
    }

    /// Waits until it is certain that the lease lasts, for long enough to begin a request.
    pub(super) async fn confirmed(&self) {
        let mut protection = self.0.protection.subscribe();
        loop {
            protection.mark_unchanged();
            let is_valid = self.state().confirmed.is_some_and(|(at, valid)| at.age() < valid);
            if is_valid || *protection.borrow() == Protection::Without {
                return;
            }
            self.0.hurry.notify_one();
            let _ = timeout(RETRY, protection.changed()).await;
        }
    }

    pub(super) fn bucket(&self) -> Option<kv::Store> {
        self.state().bucket.clone()
    }

    /// Notes a claim, which is kept as long as the lease.
    pub(super) fn claimed(&self, key: String, text: Bytes, revision: u64) {
        self.state().claims.insert(key, Claimed { text, revision, written: Moment::now() });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the entry once, and returns how long to wait before the next time.
    async fn beat(&self, nats: &Nats, stream: &str) -> Duration {
        match bucket::unless_denied(nats, Box::pin(self.write(nats, stream))).await {
            Ok(()) => {
                self.state().failing = None;
                let before = self.0.protection.send_replace(Protection::Kept);
                if std::mem::take(&mut self.state().is_said) {
                    info!(
                        "the bucket {BUCKET} can be used again, so a second bridge with the same routes is kept from posting"
                    );
                }
                if before == Protection::Without && self.state().claims.is_empty() {
                    // Routes that were begun without a claim are claimed now.
                    self.end();
                    return Duration::ZERO;
                }
                BEAT
            }
            Err(error) => self.failed(nats, &error).await,
        }
    }

    async fn write(&self, nats: &Nats, stream: &str) -> Result<(), BucketError> {
        let known = self.state().bucket.clone();
        let bucket = match known {
            Some(bucket) => bucket,
            None => Box::pin(bucket::open(nats, stream)).await?,
        };
        loop {
            let key = key(&self.id());
            let begun = Moment::now();
            let revision = self.state().revision;
            let update = timeout(VALID / 2, bucket.update(&key, self.text(), revision)).await;
            match update.map_err(|_| BucketError::NoAnswer)? {
                Ok(revision) => {
                    let mut state = self.state();
                    state.revision = revision;
                    state.confirmed = Some((begun, VALID));
                    state.bucket = Some(bucket.clone());
                    break;
                }
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                    match answered(bucket.entry(&key)).await? {
                        // The answer to an earlier attempt was lost.
                        Some(entry)
                            if entry.operation == Operation::Put && entry.revision != revision =>
                        {
                            self.state().revision = entry.revision;
                        }
                        Some(entry) if entry.operation == Operation::Put => {
                            return Err(BucketError::request(error));
                        }
                        _ => self.end(),
                    }
                }
                Err(error) => return Err(BucketError::request(error)),
            }
        }
        self.refresh(&bucket).await;
        Ok(())
    }

    fn text(&self) -> Bytes {
        json!({ "process": self.0.process }).to_string().into()
    }

    /// Notes that another bridge has ended the lease, and begins another one.
    fn end(&self) {
        let has_claims = {
            let mut state = self.state();
            (state.revision, state.confirmed) = (0, None);
            !std::mem::take(&mut state.claims).is_empty()
        };
        if has_claims {
            warn!(
                "another bridge may have taken over, because this one was not heard of for {SILENCE:?}: nothing more is posted \
                 until it is certain which one does"
            );
        }
        self.0.ended.send_modify(|count| *count += 1);
    }

    /// Writes old claims again.
    async fn refresh(&self, bucket: &kv::Store) {
        let old: Vec<_> = {
            let state = self.state();
            let claims = state.claims.iter();
            claims
                .filter(|(_, claim)| claim.written.age() > REFRESH)
                .map(|(key, claim)| (key.clone(), claim.clone()))
                .collect()
        };
        for (key, claim) in old {
            match answered(bucket.update(&key, claim.text.clone(), claim.revision)).await {
                Ok(revision) => self.claimed(key, claim.text, revision),
                Err(error) => debug!("claim not written again: {}", chain(&error)),
            }
        }
    }

    async fn failed(&self, nats: &Nats, error: &BucketError) -> Duration {
        if !nats.is_connected() {
            return RETRY;
        }
        let failing = *self.state().failing.get_or_insert_with(Moment::now);
        // A bucket that takes nothing, as on a full disk, may still say that nobody has ended the lease.
        if self.is_still_there().await {
            return RETRY;
        }
        let is_denied = matches!(error, BucketError::Denied(_));
        let patience = match *self.0.protection.borrow() {
            Protection::Kept => PATIENCE,
            Protection::Unknown => PATIENCE_AT_FIRST,
            Protection::Without => Duration::ZERO,
        };
        if !is_denied && failing.age() < patience {
            return RETRY;
        }
        self.state().bucket = None;
        self.warn_once(error);
        self.0.protection.send_replace(Protection::Without);
        failing.age().clamp(SOON, if is_denied { MUCH_LATER } else { LATER })
    }

    /// Logs that the bucket cannot be used.
    pub(super) fn warn_once(&self, error: &BucketError) {
        if !std::mem::replace(&mut self.state().is_said, true) {
            let reason = chain(error);
            warn!(
                "a second bridge with the same routes is noticed only while it reads, because the bucket {BUCKET} cannot be used \
                 ({reason}): {}",
                error.remedy()
            );
        }
    }

    async fn is_still_there(&self) -> bool {
        let (bucket, revision) = {
            let state = self.state();
            (state.bucket.clone(), state.revision)
        };
        let Some(bucket) = bucket.filter(|_| revision > 0) else { return false };
        let begun = Moment::now();
        let Ok(Some(entry)) = answered(bucket.entry(key(&self.id()))).await else { return false };
        let is_there = entry.operation == Operation::Put && entry.revision == revision;
        if is_there {
            self.state().confirmed = Some((begun, VALID_AS_READ));
            self.0.protection.send_replace(Protection::Kept);
            debug!("the bucket {BUCKET} takes nothing at the moment; the bridge goes on");
        }
        is_there
    }
}

/// Returns the key of a lease's entry.
pub(super) fn key(lease: &str) -> String {
    format!("holder.{lease}")
}
