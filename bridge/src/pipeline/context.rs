//! The context of a route's feed, and the services that all routes share.

use std::{path::Path, sync::Arc};

use matrix_sdk::ruma::{OwnedUserId, UserId};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    alerts::Store,
    config::{self, Route},
    matrix::{Account, NewRooms},
    nats::Nats,
    pipeline::{attachments::Budget, routing::Routing},
    render::Renderer,
    source::Feed,
    status::Health,
};

/// The services that all routes share.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) nats: Nats,
    pub(crate) account: Arc<Account>,
    /// The administrators of the homeserver and of the rooms.
    pub(crate) administrators: Arc<[OwnedUserId]>,
    pub(crate) config: Arc<config::Nats>,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
}

/// The context of one feed of a route. The live feed and the feed of deferred messages share what the route has only
/// once.
#[derive(Clone)]
pub(crate) struct RouteContext {
    pub(crate) route: Arc<Route>,
    pub(crate) feed: Feed,
    pub(crate) routing: Routing,
    /// The renderer. `None` if the route's templates were refused.
    pub(crate) renderer: Option<Arc<Renderer>>,
    pub(crate) new_rooms: Arc<NewRooms>,
    pub(crate) alerts: Arc<Mutex<Store>>,
    /// The upload budget that the route has left.
    pub(crate) budget: Arc<Mutex<Budget>>,
}

impl RouteContext {
    /// Returns the context of the live feed of one of this number of routes.
    pub(crate) fn live(
        route: &Arc<Route>,
        routes: usize,
        routing: Routing,
        renderer: Option<Arc<Renderer>>,
        nats: Nats,
        state_dir: &Path,
        user: &UserId,
    ) -> Self {
        Self {
            new_rooms: Arc::new(NewRooms::of(route, state_dir)),
            budget: Arc::new(Mutex::new(Budget::of(route, state_dir))),
            feed: Feed::live(route, user),
            route: Arc::clone(route),
            routing,
            renderer,
            alerts: Arc::new(Mutex::new(Store::new(nats, route.stream.clone(), routes))),
        }
    }

    /// Returns the context of the feed of messages that quiet hours of the route have deferred, now or before they were
    /// removed from the configuration.
    pub(crate) fn deferred(&self) -> Self {
        let feed = Feed::deferred(&self.route, self.feed.user());
        Self { routing: self.routing.decided(), feed, ..self.clone() }
    }
}
