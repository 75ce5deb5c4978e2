//! The state of a feed while its messages are worked on. The stages in this directory work on it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    config::Route,
    message::{Origin, StreamId},
    pipeline::{
        compose::Composer,
        context::{RouteContext, Services},
        dead_letter::DeadLetters,
        deferral::DeferredStore,
        deferred_copy::Copies,
        outcome::Halted,
        rooms::Rooms,
        routing::{Facts, Routing},
        threads::Threads,
    },
    render::Renderer,
    source::{Backlog, Delivery, Feed, Tenure, Upstream},
    status::{RouteHealth, Shown},
};

/// The state that the stages of a feed share.
pub(crate) struct State {
    pub(crate) route: Arc<Route>,
    pub(crate) feed: Feed,
    pub(crate) routing: Routing,
    pub(crate) rooms: Rooms,
    pub(crate) composer: Composer,
    pub(crate) threads: Threads,
    pub(crate) dead_letters: DeadLetters,
    /// The copies of deferred messages, if this is their feed.
    pub(crate) copies: Option<Copies>,
    /// The store of deferred messages. `None` without quiet hours, and for the feed of deferred messages itself.
    pub(crate) deferred: Option<DeferredStore>,
    pub(crate) backlog: Backlog,
    pub(crate) health: RouteHealth,
    pub(crate) stop: CancellationToken,
}

impl State {
    /// Creates the state of a feed that has no messages yet.
    pub(crate) fn new(
        context: RouteContext,
        renderer: Arc<Renderer>,
        services: &Services,
        backlog: Backlog,
        tenure: Tenure,
        health: RouteHealth,
    ) -> Self {
        let RouteContext { route, feed, routing, new_rooms, alerts, editing, budget, .. } = context;
        let Services { nats, account, config, key, stop, .. } = services.clone();
        let deferred = DeferredStore::of(&route, nats.clone(), backlog.memory().clone(), &key);
        let deferred = deferred.filter(|_| !feed.is_deferred());
        Self {
            rooms: Rooms::new(Arc::clone(&route), new_rooms, services, tenure, health.clone()),
            composer: Composer::new(
                &feed,
                renderer,
                routing.clone(),
                budget,
                account,
                health.clone(),
                stop.clone(),
            ),
            threads: Threads::new(Arc::clone(&route), alerts, editing),
            dead_letters: DeadLetters::of(nats, &config.dead_letter_subject, &route.name, &key),
            copies: feed.is_deferred().then(|| Copies::of(route.name.as_str(), &key)),
            deferred,
            routing,
            backlog,
            health,
            stop,
            feed,
            route,
        }
    }

    /// Returns the origin of the first event that shows a message.
    pub(crate) fn origin(&self, delivery: &Delivery, stream: &StreamId) -> Origin {
        delivery.origin(stream, &self.route.name, 0)
    }

    /// Whether the route is to post a message. Other routes may read it by other shapes.
    pub(crate) fn takes(&self, delivery: &Delivery, facts: &Facts<'_>) -> bool {
        self.composer.guard(delivery, || self.routing.takes(facts))
    }

    /// Whether an earlier route shows a message in the same room, under whatever name. One message is shown in one room
    /// once.
    pub(crate) async fn is_shown_by_earlier(
        &mut self,
        delivery: &Delivery,
        facts: &Facts<'_>,
    ) -> Result<bool, Halted> {
        let rooms = self.composer.guard(delivery, || self.routing.rooms_of_earlier(facts));
        for room in rooms {
            if self.rooms.here().is_at(&room).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Gives a message of the feed of deferred messages the subject and the time of the one that was deferred, if the
    /// bridge has deferred it.
    pub(crate) fn restore(&mut self, delivery: &mut Delivery) {
        if let Some(copies) = &mut self.copies {
            copies.restore(delivery);
        }
    }

    /// Notes what became of a message, or of several of which this is the last.
    pub(crate) fn note(&self, delivery: &Delivery, shown: Shown) {
        self.health.note(delivery.subject(), delivery.said, shown);
    }

    /// Notes that a message was shown late, if it was. Messages that quiet hours deferred are late on purpose and not
    /// counted.
    pub(crate) fn note_late(&mut self, delivery: &Delivery, upstream: &Upstream) {
        let Some(late_after) = self.route.late_after.filter(|_| !self.feed.is_deferred()) else {
            return;
        };
        if let Some(age) = upstream.age(delivery).filter(|age| *age > late_after) {
            self.rooms.here().note_late(age);
        }
    }
}
