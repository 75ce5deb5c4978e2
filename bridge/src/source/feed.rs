//! What a source reads: the messages of a route, or those of them that quiet hours have deferred.

use std::{borrow::Cow, sync::Arc};

use crate::{
    config::{Route, Start},
    reserved,
    subject::Subject,
};

/// The messages that one consumer delivers.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    /// The route that shows them.
    pub(crate) route: Arc<Route>,
    kind: Kind,
    /// The filters of the consumer.
    subjects: Arc<[Subject]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What is published for the route, as it comes.
    Live,
    /// What quiet hours have deferred, which is shown when they are over.
    Deferred,
}

impl Feed {
    /// What is published for a route.
    pub(crate) fn live(route: &Arc<Route>) -> Self {
        let subjects = route.subjects.clone().into();
        Self { route: Arc::clone(route), kind: Kind::Live, subjects }
    }

    /// What quiet hours of a route have deferred, or have when it still had them.
    pub(crate) fn deferred(route: &Arc<Route>) -> Self {
        let filter = reserved::deferred_subjects(route.name.as_str());
        let subjects = [Subject::filter(&filter).expect("names of routes have no dots")].into();
        Self { route: Arc::clone(route), kind: Kind::Deferred, subjects }
    }

    /// Whether it is what quiet hours have deferred.
    pub(crate) fn is_deferred(&self) -> bool {
        self.kind == Kind::Deferred
    }

    /// The stream that it is read from.
    pub(crate) fn stream(&self) -> &str {
        match self.kind {
            Kind::Live => &self.route.stream,
            Kind::Deferred => reserved::DEFERRED_STREAM,
        }
    }

    /// The durable consumer on that stream.
    pub(crate) fn consumer(&self) -> &str {
        self.route.name.as_str()
    }

    /// The filters of the consumer.
    pub(crate) fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// Where the consumer begins when it is made.
    pub(crate) fn start(&self) -> Start {
        match self.kind {
            Kind::Live => self.route.start,
            Kind::Deferred => Start::All,
        }
    }

    /// Its name among all feeds, as status page and metrics have it.
    pub(crate) fn label(&self) -> Cow<'_, str> {
        let name = self.route.name.as_str();
        match self.kind {
            Kind::Live => Cow::Borrowed(name),
            Kind::Deferred => Cow::Owned(format!("{name}:held")),
        }
    }
}
