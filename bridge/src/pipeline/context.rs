//! The context of a route's feed, and the services that all routes share.

use std::{path::Path, sync::Arc};

use matrix_sdk::ruma::OwnedUserId;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    alerts::Store,
    config::{self, Route},
    decode::Library,
    matrix::{Account, Listened, NewRooms},
    nats::Nats,
    pipeline::{attachments::Budget, routing::Routing},
    render::Renderer,
    signature::{Purpose, SigningKey},
    source::{Feed, Hold, Lease},
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
    pub(crate) key: SigningKey,
    /// The users' own shapes.
    pub(crate) library: Arc<Library>,
    /// The rooms in which people may answer.
    pub(crate) listened: Listened,
    pub(crate) health: Health,
    pub(crate) lease: Lease,
    pub(crate) stop: CancellationToken,
}

/// The context of one feed of a route. The live feed and the feed of deferred messages share what the route has only
/// once.
#[derive(Clone)]
pub(crate) struct RouteContext {
    pub(crate) route: Arc<Route>,
    pub(crate) feed: Feed,
    /// The right to post the messages of the route.
    pub(crate) hold: Hold,
    pub(crate) routing: Routing,
    /// The renderer. `None` if the route's templates were refused.
    pub(crate) renderer: Option<Arc<Renderer>>,
    pub(crate) new_rooms: Arc<NewRooms>,
    pub(crate) alerts: Arc<Mutex<Store>>,
    /// Held while the first message of an alert is edited.
    pub(crate) editing: Arc<Mutex<()>>,
    /// The upload budget that the route has left.
    pub(crate) budget: Arc<Mutex<Budget>>,
    pub(crate) state_dir: Arc<Path>,
}

impl RouteContext {
    /// Returns the context of a route's live feed.
    pub(crate) fn live(
        route: &Arc<Route>,
        all: &Arc<[Arc<Route>]>,
        renderer: Option<Arc<Renderer>>,
        services: &Services,
        state_dir: &Path,
    ) -> Self {
        let Services { nats, account, lease, key, .. } = services.clone();
        let signer = key.signer(Purpose::AlertThreads);
        Self {
            hold: Hold::of(route, &account.user, lease),
            new_rooms: Arc::new(NewRooms::of(route, state_dir)),
            budget: Arc::new(Mutex::new(Budget::of(route, state_dir))),
            feed: Feed::live(route, &account.user),
            state_dir: state_dir.into(),
            route: Arc::clone(route),
            routing: Routing::of(route, all, &services.config.dead_letter_subject)
                .with_shapes(&services.library, route),
            renderer,
            editing: Arc::default(),
            alerts: Arc::new(Mutex::new(Store::new(nats, route.stream.clone(), all.len(), signer))),
        }
    }

    /// Returns the context of the live feed of a route that is not among `all` any more.
    pub(crate) fn removed(
        route: &Arc<Route>,
        all: &Arc<[Arc<Route>]>,
        services: &Services,
        state_dir: &Path,
    ) -> Self {
        let live = Self::live(route, all, None, services, state_dir);
        Self { feed: live.feed.clone().removed(), ..live }
    }

    /// Returns the context of the feed of messages that quiet hours of the route have deferred, now or before they were
    /// removed from the configuration.
    pub(crate) fn deferred(&self) -> Self {
        let feed = Feed::deferred(&self.route, self.feed.user());
        Self { routing: self.routing.decided(), feed, ..self.clone() }
    }
}
