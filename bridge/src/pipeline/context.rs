//! A route with all that belongs to it, and what all routes share.

use std::{path::Path, sync::Arc};

use matrix_sdk::ruma::OwnedUserId;
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

/// What all routes share.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) nats: Nats,
    pub(crate) account: Arc<Account>,
    /// The administrators of homeserver and rooms.
    pub(crate) administrators: Arc<[OwnedUserId]>,
    pub(crate) config: Arc<config::Nats>,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
}

/// What one feed of a route needs. The live one and that of quiet hours share what the route has only once.
#[derive(Clone)]
pub(crate) struct RouteContext {
    pub(crate) route: Arc<Route>,
    pub(crate) feed: Feed,
    pub(crate) routing: Routing,
    /// `None` if its templates were refused.
    pub(crate) renderer: Option<Arc<Renderer>>,
    pub(crate) new_rooms: Arc<NewRooms>,
    pub(crate) alerts: Arc<Mutex<Store>>,
    /// What is left to upload.
    pub(crate) budget: Arc<Mutex<Budget>>,
}

impl RouteContext {
    /// The live feed of one among all routes.
    pub(crate) fn live(
        route: &Arc<Route>,
        all: &[Arc<Route>],
        renderer: Option<Arc<Renderer>>,
        nats: Nats,
        state_dir: &Path,
    ) -> Self {
        Self {
            new_rooms: Arc::new(NewRooms::of(route, state_dir)),
            budget: Arc::new(Mutex::new(Budget::of(route, state_dir))),
            feed: Feed::live(route),
            route: Arc::clone(route),
            routing: Routing::of(route, all),
            renderer,
            alerts: Arc::new(Mutex::new(Store::new(nats, all.len()))),
        }
    }

    /// The feed of what quiet hours of the route have deferred, or have when it still had them.
    pub(crate) fn deferred(&self) -> Self {
        let feed = Feed::deferred(&self.route);
        Self { routing: Routing::all_of(&self.route), feed, ..self.clone() }
    }
}
