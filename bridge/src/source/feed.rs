//! A feed: the messages that a source reads, either those of a route or those that its quiet hours have deferred.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_nats::jetstream::{consumer::Info as ConsumerInfo, stream::Info as StreamInfo};
use matrix_sdk::ruma::{OwnedUserId, UserId};
use tokio::{sync::watch, time::Instant};

use crate::{
    config::{Route, Start},
    message::ConsumerName,
    reserved,
    source::passage::Passage,
    subject::Subject,
};

/// The messages that one consumer delivers.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    /// The route that shows the messages.
    pub(crate) route: Arc<Route>,
    kind: Kind,
    /// The filters of the consumer.
    subjects: Arc<[Subject]>,
    /// The Matrix user of the bridge, to whom the consumer belongs.
    user: OwnedUserId,
    /// The names of the consumer, as far as they are known.
    names: Arc<Mutex<KnownNames>>,
    /// The last regular observation of the consumer.
    observed: watch::Sender<Option<Arc<Observed>>>,
    /// The place up to which an earlier configuration decides, if there is one.
    passage: Option<Passage>,
    /// Whether the route is not in the configuration any more.
    is_removed: bool,
    /// The message after which a new consumer begins, if the configuration does not say that alone.
    begin_after: Option<u64>,
}

/// The names of a feed's consumer.
#[derive(Debug, Default)]
struct KnownNames {
    /// The name of the consumer that was found.
    found: Option<String>,
    /// The name that a new consumer gets.
    own: Option<String>,
}

/// An answer of NATS about a consumer and its stream.
#[derive(Debug)]
pub(super) struct Observed {
    /// The time when NATS was asked.
    pub(super) asked: Instant,
    /// The consumer. `None` if there is none.
    pub(super) consumer: Option<ConsumerInfo>,
    pub(super) stream: StreamInfo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The messages published for the route, as they come.
    Live,
    /// The messages that quiet hours have deferred, which are shown when these are over.
    Deferred,
}

impl Feed {
    /// Returns the feed of the messages published for a route.
    pub(crate) fn live(route: &Arc<Route>, user: &UserId) -> Self {
        Self::new(route, Kind::Live, route.subjects.clone().into(), user)
    }

    /// Returns the feed of the messages that quiet hours of a route have deferred, now or before they were removed from
    /// the configuration.
    pub(crate) fn deferred(route: &Arc<Route>, user: &UserId) -> Self {
        let filter = reserved::deferred_subjects(route.name.as_str());
        let subjects = [Subject::filter(&filter).expect("names of routes have no dots")].into();
        Self::new(route, Kind::Deferred, subjects, user)
    }

    fn new(route: &Arc<Route>, kind: Kind, subjects: Arc<[Subject]>, user: &UserId) -> Self {
        let (route, user) = (Arc::clone(route), user.to_owned());
        let observed = watch::Sender::new(None);
        Self {
            route,
            kind,
            subjects,
            user,
            names: Arc::default(),
            observed,
            passage: None,
            is_removed: false,
            begin_after: None,
        }
    }

    /// Returns the feed for a route that is not in the configuration any more.
    pub(crate) fn removed(self) -> Self {
        Self { is_removed: true, ..self }
    }

    /// Returns the feed with the place up to which an earlier configuration decides.
    pub(crate) fn passing(self, passage: Passage) -> Self {
        Self { passage: Some(passage), ..self }
    }

    /// Returns the feed of messages that a removed route has deferred. It ends after the live one.
    pub(crate) fn ending_after(self, live: &Passage) -> Self {
        let passage = Passage::of_deferred(Arc::clone(&self.subjects), live);
        self.passing(passage).removed()
    }

    /// Returns the feed with the message after which a new consumer begins.
    pub(crate) fn beginning_after(self, begin_after: Option<u64>) -> Self {
        Self { begin_after, ..self }
    }

    /// Returns the place up to which an earlier configuration decides, if there is one.
    pub(crate) fn passage(&self) -> Option<&Passage> {
        self.passage.as_ref()
    }

    /// Returns the message after which a new consumer begins, if the configuration does not say that alone.
    pub(super) fn begin_after(&self) -> Option<u64> {
        self.begin_after
    }

    /// Whether the route is not in the configuration any more, and the feed ends when nothing is left of what waited.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_removed
    }

    /// Whether this is the feed of deferred messages.
    pub(crate) fn is_deferred(&self) -> bool {
        self.kind == Kind::Deferred
    }

    /// Returns the name of the stream that the feed is read from.
    pub(crate) fn stream(&self) -> &str {
        match self.kind {
            Kind::Live => &self.route.stream,
            Kind::Deferred => reserved::DEFERRED_STREAM,
        }
    }

    /// Returns the Matrix user of the bridge, to whom the consumer belongs.
    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    /// Returns the name that the configuration gives to the durable consumer, if it gives one.
    pub(super) fn declared_consumer(&self) -> Option<&str> {
        match self.kind {
            Kind::Live => self.route.consumer.as_ref().map(ConsumerName::as_str),
            Kind::Deferred => None,
        }
    }

    /// Returns the name of the durable consumer, if it was found.
    pub(super) fn found(&self) -> Option<String> {
        self.names().found.clone()
    }

    /// Notes the name of the durable consumer, or that there is none of that name any more.
    pub(super) fn note_found(&self, name: Option<&str>) {
        self.names().found = name.map(str::to_owned);
    }

    /// Notes the name that a new durable consumer gets.
    pub(super) fn note_own(&self, name: &str) {
        self.names().own = Some(name.to_owned());
    }

    /// Returns the name of the durable consumer: the one that was found, or else the one that a new consumer gets.
    /// `None` before NATS has answered.
    pub(crate) fn consumer(&self) -> Option<String> {
        let names = self.names();
        names.found.as_ref().or(names.own.as_ref()).cloned()
    }

    /// Hands on an observation of the consumer to the source that reads from it.
    pub(super) fn observe(&self, observed: Observed) {
        self.observed.send_replace(Some(Arc::new(observed)));
    }

    /// Returns a receiver of the regular observations of the consumer.
    pub(super) fn observed(&self) -> watch::Receiver<Option<Arc<Observed>>> {
        self.observed.subscribe()
    }

    fn names(&self) -> MutexGuard<'_, KnownNames> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the filter subjects of the consumer.
    pub(crate) fn subjects(&self) -> &[Subject] {
        self.passage.as_ref().and_then(Passage::subjects).unwrap_or(&self.subjects)
    }

    /// Returns the filter subjects of the consumer as NATS takes them.
    pub(crate) fn filters(&self) -> Vec<String> {
        self.subjects().iter().map(ToString::to_string).collect()
    }

    /// Returns where the consumer begins when it is created.
    pub(crate) fn start(&self) -> Start {
        match self.kind {
            Kind::Live => self.route.start,
            Kind::Deferred => Start::All,
        }
    }

    /// Returns the name of the feed on the status page and in the metrics.
    pub(crate) fn label(&self) -> Cow<'_, str> {
        let name = self.route.name.as_str();
        match self.kind {
            Kind::Live if self.is_draining() => Cow::Owned(format!("{name}:draining")),
            Kind::Live => Cow::Borrowed(name),
            Kind::Deferred => Cow::Owned(format!("{name}:held")),
        }
    }
}
