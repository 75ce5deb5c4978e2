//! Decides which of several bridges posts the messages of a route.
//!
//! A route is claimed in the bridge's bucket with the [lease](Lease) of the process, before anything of it is taken. Other
//! bridges stand by as long as that lease lasts. Bridges of earlier versions, and those that may not use the bucket, claim
//! nothing, but are noticed as long as they read from the consumer.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    consumer::Info as ConsumerInfo,
    kv::{self, Entry, Operation, UpdateErrorKind},
};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use matrix_sdk::ruma::UserId;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep},
};
use tracing::{debug, info};

use crate::{
    config::Route,
    failure::{Interrupted, chain},
    hash,
    nats::{
        Nats,
        bucket::{self, BucketError, answered},
    },
    source::{
        consumer,
        feed::Feed,
        lease::{self, Lease, Protection, SILENCE, UNDERWAY},
    },
    status::{Condition, RouteHealth, State},
    text,
};

/// The part of a host's name that is shown, as others may have permission to write claims.
const LONGEST_HOST: usize = 64;

/// The interval at which a bridge that stands by looks again.
const LOOK: Duration = Duration::from_secs(1);

/// The interval while the consumer is watched for somebody who reads from it.
const WATCH: Duration = Duration::from_millis(250);

/// The time after which the bucket is looked for again after a reload.
const MOMENT: Duration = Duration::from_millis(25);

/// The number of failures after which a route is taken without a claim, as the bucket cannot be used.
const MOST_FAILURES: u32 = 3;

/// The number of times in a row that the server may not tell about the consumer.
const MOST_UNANSWERED: u32 = 3;

/// The time without a sign of life of a bridge that claims nothing, after which a route is free.
const QUIET: Duration = Duration::from_secs(2);

/// The claim of a route, as it is in the bucket.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claim {
    lease: String,
    route: String,
    stream: String,
    host: String,
    pid: u32,
    since: Timestamp,
}

impl Claim {
    /// Describes the bridge to people.
    fn holder(&self) -> String {
        format!("nats-matrix on {} (process {})", text::head(&self.host, LONGEST_HOST), self.pid)
    }
}

/// The right to post the messages of a route, which all its feeds share.
#[derive(Debug, Clone)]
pub(crate) struct Hold(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lease: Lease,
    route: Arc<Route>,
    key: String,
    /// The number of ended leases when the route was claimed. `None` before it was.
    held: watch::Sender<Option<u64>>,
    turn: Mutex<()>,
}

/// The result of claiming a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claiming {
    /// The bridge has the route, and had it before or got it at once.
    AtOnce,
    /// The bridge has the route after it has waited, and somebody else may have gone on meanwhile.
    Later,
    /// The server no longer tells about the consumer.
    Unknown,
}

/// The result of one attempt to claim a route.
enum Attempt {
    Done,
    /// Another bridge has it.
    Taken(String),
    /// It is not known yet whether another bridge has it.
    Unclear,
    /// Something has changed, so that it is tried again at once.
    Again,
}

impl Hold {
    /// Returns the right to post the messages of a route as this user.
    pub(crate) fn of(route: &Arc<Route>, user: &UserId, lease: Lease) -> Self {
        let hash = hash::of_texts([user.as_str(), &route.stream, route.consumer_key()]);
        let key = format!("claim.{}", HEXLOWER.encode(&hash[..16]));
        let (held, turn) = (watch::Sender::default(), Mutex::default());
        Self(Arc::new(Shared { lease, route: Arc::clone(route), key, held, turn }))
    }

    /// Begins work that ends with the present lease.
    pub(crate) fn tenure(&self) -> Tenure {
        Tenure { since: self.0.lease.ended(), hold: self.clone() }
    }

    /// Waits until the route is claimed.
    pub(crate) async fn held(&self) -> Tenure {
        let mut held = self.0.held.subscribe();
        loop {
            if self.is_held() {
                return self.tenure();
            }
            // The sender lives as long as `self`.
            let _ = held.changed().await;
        }
    }

    /// Returns the tenure of the bridge, if it has claimed the route.
    pub(crate) fn present(&self) -> Option<Tenure> {
        // Taken first, so that a claim that is lost meanwhile ends it.
        let tenure = self.tenure();
        self.is_held().then_some(tenure)
    }

    fn is_held(&self) -> bool {
        *self.0.held.borrow() == Some(self.0.lease.ended())
    }
}

/// Work that may go on as long as no other bridge takes over the route.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    hold: Hold,
    since: u64,
}

impl Tenure {
    /// Waits until another bridge may have taken over.
    pub(crate) async fn ended(&self) {
        self.hold.0.lease.ends(self.since).await;
    }

    /// Waits until it is certain that no other bridge has taken over, which is nearly always known.
    ///
    /// # Errors
    ///
    /// [`Interrupted::Displaced`] if another one may have.
    pub(crate) async fn confirm(&self) -> Result<(), Interrupted> {
        let lease = &self.hold.0.lease;
        tokio::select! {
            biased;
            () = self.ended() => Err(Interrupted::Displaced),
            () = lease.confirmed() => Ok(()),
        }
    }

    /// Waits until it is certain that no other bridge has taken over, and for ever if another one may have: for work that is
    /// dropped when the tenure has [ended](Self::ended).
    pub(crate) async fn certain(&self) {
        if self.confirm().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns the id of the lease with which the bridge has the route.
    pub(super) fn lease(&self) -> String {
        self.hold.0.lease.id()
    }

    /// Notes that a request was abandoned that may still take effect.
    pub(crate) fn doubt(&self) {
        self.hold.0.lease.doubt();
    }

    /// Claims the route, and stands by as long as another bridge has it. `is_made` says that the consumer did not exist
    /// before, so that nobody can have read from it.
    ///
    /// Dropping the future does no harm.
    pub(super) async fn claim(
        &self,
        nats: &Nats,
        feed: &Feed,
        info: &ConsumerInfo,
        is_made: bool,
        health: &RouteHealth,
    ) -> Claiming {
        let Shared { lease, held, turn, .. } = &*self.hold.0;
        let _turn = turn.lock().await;
        if self.hold.is_held() {
            return Claiming::AtOnce;
        }
        let mut standing = Standing::new(health);
        let mut reading = Reading::of(info);
        let mut beats = Beats::default();
        let (begun, mut failures) = (Instant::now(), 0);
        loop {
            let ended = lease.ended();
            lease.confirmed().await;
            let may_be_free = is_made || reading.quiet_for() >= QUIET;
            let is_protected =
                lease.protection().await != Protection::Without && failures < MOST_FAILURES;
            let attempt = if is_protected {
                let attempt = self.hold.attempt(&reading, &mut beats, may_be_free, &info.name);
                bucket::unless_denied(nats, Box::pin(attempt)).await
            } else if may_be_free {
                Ok(Attempt::Done)
            } else {
                Ok(reading.verdict(&info.name))
            };
            let pause = match attempt {
                Ok(Attempt::Done) => {
                    held.send_replace(Some(ended));
                    break;
                }
                Ok(Attempt::Again) => Duration::ZERO,
                Ok(Attempt::Unclear) => WATCH,
                Ok(Attempt::Taken(holder)) => {
                    standing.by(&holder);
                    LOOK
                }
                Err(error) => {
                    failures +=
                        if matches!(error, BucketError::Denied(_)) { MOST_FAILURES } else { 1 };
                    if failures >= MOST_FAILURES {
                        lease.warn_once(&error);
                    }
                    WATCH
                }
            };
            sleep(pause).await;
            let info = consumer::info(nats, feed).await;
            if !reading.note(info.as_ref()) {
                return Claiming::Unknown;
            }
        }
        standing.over();
        if begun.elapsed() < WATCH { Claiming::AtOnce } else { Claiming::Later }
    }
}

impl Hold {
    async fn attempt(
        &self,
        reading: &Reading,
        beats: &mut Beats,
        may_be_free: bool,
        consumer: &str,
    ) -> Result<Attempt, BucketError> {
        let Shared { lease, key, .. } = &*self.0;
        let Some(bucket) = lease.bucket() else {
            sleep(MOMENT).await;
            return Ok(Attempt::Again);
        };
        let entry = answered(bucket.entry(key.as_str())).await?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let claim = entry.filter(|entry| entry.operation == Operation::Put);
        let claim = claim.and_then(|entry| serde_json::from_slice::<Claim>(&entry.value).ok());
        let Some(claim) = claim else {
            return if may_be_free {
                self.write(&bucket, revision).await
            } else {
                Ok(reading.verdict(consumer))
            };
        };
        if claim.lease == lease.id() {
            return Ok(Attempt::Done);
        }
        if lease.is_over(&claim.lease) {
            return self.write(&bucket, revision).await;
        }
        let (holder, silent) = (lease::key(&claim.lease), reading.quiet_for());
        let beat = answered(bucket.entry(holder.as_str())).await?;
        match beats.note(&claim.lease, beat.as_ref()) {
            Life::Over => {}
            Life::Silent(since) if since.min(silent) >= SILENCE => {
                if let Some(beat) = beat {
                    let ended = bucket.delete_expect_revision(&holder, Some(beat.revision)).await;
                    if let Err(error) = ended {
                        debug!("the lease {} was not ended: {}", claim.lease, chain(&error));
                        return Ok(Attempt::Again);
                    }
                    sleep(UNDERWAY).await;
                }
            }
            Life::Silent(_) => return Ok(Attempt::Taken(claim.holder())),
        }
        let attempt = self.write(&bucket, revision).await;
        if matches!(attempt, Ok(Attempt::Done)) {
            info!("takes over the messages of this route from {}", claim.holder());
        }
        attempt
    }

    async fn write(&self, bucket: &kv::Store, revision: u64) -> Result<Attempt, BucketError> {
        let Shared { lease, route, key, .. } = &*self.0;
        let claim = Claim {
            lease: lease.id(),
            route: route.name.to_string(),
            stream: route.stream.clone(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            pid: std::process::id(),
            since: Timestamp::now(),
        };
        let text = serde_json::to_vec(&claim).map_err(BucketError::request)?;
        let text = bytes::Bytes::from(text);
        match bucket.update(key, text.clone(), revision).await {
            Ok(revision) => {
                lease.claimed(key.clone(), text, revision);
                Ok(Attempt::Done)
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(Attempt::Again),
            Err(error) => Err(BucketError::request(error)),
        }
    }
}

/// Whether anybody reads from a consumer, as far as the server tells.
struct Reading {
    /// The deliveries and acknowledgements that were counted last.
    counts: (u64, u64),
    /// The time since which nobody was seen to read.
    since: Instant,
    /// Whether anybody was seen to read.
    is_seen: bool,
    /// The number of times in a row that the server did not answer.
    unanswered: u32,
}

impl Reading {
    fn of(info: &ConsumerInfo) -> Self {
        let is_seen = info.num_waiting > 0;
        Self { counts: counts(info), since: Instant::now(), is_seen, unanswered: 0 }
    }

    /// Notes what the server says. Returns false if it says nothing for long.
    fn note(&mut self, info: Option<&ConsumerInfo>) -> bool {
        let Some(info) = info else {
            // Somebody may read.
            self.since = Instant::now();
            self.unanswered += 1;
            return self.unanswered < MOST_UNANSWERED;
        };
        self.unanswered = 0;
        let is_quiet = info.num_waiting == 0 && counts(info) == self.counts;
        self.counts = counts(info);
        if !is_quiet {
            self.is_seen = true;
            self.since = Instant::now();
        }
        true
    }

    fn quiet_for(&self) -> Duration {
        self.since.elapsed()
    }

    /// Says who has a route that nobody claims, once it is clear that somebody does.
    fn verdict(&self, consumer: &str) -> Attempt {
        if !self.is_seen {
            return Attempt::Unclear;
        }
        Attempt::Taken(format!("a program that reads from durable consumer {consumer}"))
    }
}

fn counts(info: &ConsumerInfo) -> (u64, u64) {
    (info.delivered.consumer_sequence, info.ack_floor.consumer_sequence)
}

/// The signs of life of the bridge that has the route.
#[derive(Default)]
struct Beats {
    lease: String,
    revision: Option<u64>,
    since: Option<Instant>,
}

enum Life {
    /// The lease is over.
    Over,
    /// There was no sign of life for this long.
    Silent(Duration),
}

impl Beats {
    fn note(&mut self, lease: &str, beat: Option<&Entry>) -> Life {
        if beat.is_some_and(|beat| beat.operation != Operation::Put) {
            return Life::Over;
        }
        let revision = beat.map(|beat| beat.revision);
        if self.lease != lease || self.revision != revision {
            lease.clone_into(&mut self.lease);
            (self.revision, self.since) = (revision, None);
        }
        Life::Silent(self.since.get_or_insert_with(Instant::now).elapsed())
    }
}

/// The report that a bridge stands by.
struct Standing<'a> {
    health: &'a RouteHealth,
    condition: Option<Condition>,
    said: String,
}

impl<'a> Standing<'a> {
    fn new(health: &'a RouteHealth) -> Self {
        Self { health, condition: None, said: String::new() }
    }

    fn by(&mut self, holder: &str) {
        let condition = self.condition.get_or_insert_with(|| self.health.condition());
        let reason = format!("{holder} posts the messages of this route");
        condition.set(State::StandingBy, &reason, Duration::ZERO);
        if self.said != reason {
            info!(
                "standing by: {reason}; this bridge takes over when that one stops, so stop one of them for good, or \
                 give one of them other routes"
            );
            self.said = reason;
        }
    }

    fn over(&mut self) {
        if self.condition.take().is_some() {
            info!("no longer standing by");
        }
    }
}
