//! A feed: the messages that a source reads, either those of a route or those that its quiet hours have deferred.

use std::{borrow::Cow, sync::Arc};

use crate::{
    config::{Route, Start},
    reserved,
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
        Self { route: Arc::clone(route), kind: Kind::Live, subjects }
    }

    /// Returns the feed of the messages that quiet hours of a route have deferred, now or before they were removed from
    /// the configuration.
    pub(crate) fn deferred(route: &Arc<Route>) -> Self {
        let filter = reserved::deferred_subjects(route.name.as_str());
        let subjects = [Subject::filter(&filter).expect("names of routes have no dots")].into();
        Self { route: Arc::clone(route), kind: Kind::Deferred, subjects }
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
        &self.subjects
    }

    /// Returns the filter subjects of the consumer as NATS takes them.
    pub(crate) fn filters(&self) -> Vec<String> {
        self.subjects.iter().map(ToString::to_string).collect()
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
            Kind::Live => Cow::Borrowed(name),
            Kind::Deferred => Cow::Owned(format!("{name}:held")),
        }
    }
}
