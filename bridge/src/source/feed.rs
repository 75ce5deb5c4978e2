//! A feed: the messages that a source reads, either those of a route or those that its quiet hours have deferred.

use std::{borrow::Cow, sync::Arc};

use crate::{
    config::{Route, Start},
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
    /// The place up to which an earlier configuration decides, if there is one.
    passage: Option<Passage>,
    /// Whether the route is not in the configuration any more.
    is_removed: bool,
    /// The message after which a new consumer begins, if the configuration does not say that alone.
    begin_after: Option<u64>,
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
    pub(crate) fn live(route: &Arc<Route>) -> Self {
        let subjects = route.subjects.clone().into();
        Self::new(route, Kind::Live, subjects)
    }

    /// Returns the feed of the messages that quiet hours of a route have deferred, now or before they were removed from
    /// the configuration.
    pub(crate) fn deferred(route: &Arc<Route>) -> Self {
        let filter = reserved::deferred_subjects(route.name.as_str());
        let subjects = [Subject::filter(&filter).expect("names of routes have no dots")].into();
        Self::new(route, Kind::Deferred, subjects)
    }

    fn new(route: &Arc<Route>, kind: Kind, subjects: Arc<[Subject]>) -> Self {
        let route = Arc::clone(route);
        Self { route, kind, subjects, passage: None, is_removed: false, begin_after: None }
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

    /// Returns the name of the durable consumer on that stream.
    pub(crate) fn consumer(&self) -> &str {
        self.route.name.as_str()
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
