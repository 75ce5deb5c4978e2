//! A route with all that belongs to it: its relay, that of what it holds back in quiet hours, and its
//! summaries.

use std::{path::Path, sync::Arc, time::Duration};

use matrix_sdk::ruma::OwnedUserId;
use tokio::{sync::Mutex, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    attachments::Budget,
    config::{self, Route},
    conversation,
    failure::Failure,
    health::Health,
    held,
    join::{self, Kind, Opened},
    matrix::Account,
    nats::Nats,
    new_rooms::NewRooms,
    relay::Relay,
    render::Renderer,
    routing::Routing,
    summary::{Poster, Summaries},
};

/// How long to wait before asking again for the stream of quiet hours.
const NO_STREAM: Duration = Duration::from_mins(5);

/// What all routes share.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) nats: Nats,
    pub(crate) account: Arc<Account>,
    /// Of homeserver and rooms.
    pub(crate) administrators: Arc<[OwnedUserId]>,
    pub(crate) config: Arc<config::Nats>,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
}

/// How the messages of one route get into its rooms.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) route: Arc<Route>,
    pub(crate) routing: Routing,
    /// `None` if its templates were refused.
    pub(crate) renderer: Option<Arc<Renderer>>,
    /// Of the route, also of what it has held back.
    pub(crate) new_rooms: Arc<NewRooms>,
    /// Likewise.
    pub(crate) conversations: Arc<Mutex<conversation::Store>>,
    /// What is left to upload, likewise.
    pub(crate) budget: Arc<Mutex<Budget>>,
}

impl Way {
    /// That of one among all routes.
    pub(crate) fn of(
        route: &Arc<Route>,
        all: &[Arc<Route>],
        renderer: Option<Arc<Renderer>>,
        nats: Nats,
        state_dir: &Path,
    ) -> Self {
        Self {
            new_rooms: Arc::new(NewRooms::of(route, state_dir)),
            budget: Arc::new(Mutex::new(Budget::of(route, state_dir))),
            route: Arc::clone(route),
            routing: Routing::of(route, all),
            renderer,
            conversations: Arc::new(Mutex::new(conversation::Store::new(nats, all.len()))),
        }
    }

    /// That of what the route holds back in quiet hours, or has when it still had them.
    pub(crate) fn morning(&self) -> Self {
        let route = held::morning(&self.route);
        Self { routing: Routing::all_of(&route), route, ..self.clone() }
    }

    /// Relays, and sums up, until told to stop.
    ///
    /// # Errors
    ///
    /// As of [`Relay::run`] and, if its templates were refused, [`Renderer::of`].
    pub(crate) async fn serve(self, links: Links) -> Result<(), Failure> {
        let renderer = match &self.renderer {
            Some(renderer) => Arc::clone(renderer),
            // They may have been mended.
            None => Arc::new(Renderer::of(&self.route)?),
        };
        let summaries = self.summaries(&links);
        let relayed = Box::pin(Relay::new(self, renderer, links).run()).await;
        drop(summaries);
        relayed
    }

    /// Relays what was held back, once there is a stream of it. Where nothing can be held the route
    /// says so when it tries. Without quiet hours it ends where nothing is left of them.
    ///
    /// # Errors
    ///
    /// As of [`Way::serve`].
    pub(crate) async fn serve_morning(self, links: Links) -> Result<(), Failure> {
        if self.route.quiet.is_none() {
            let is_any = held::has_any(&links.nats, &self.route);
            if !links.stop.run_until_cancelled(is_any).await.unwrap_or(false) {
                return Ok(());
            }
        }
        while let Err(reason) = held::make_stream(&links.nats, 1).await {
            warn!("route {}: no stream for quiet hours: {reason}", self.route.name);
            // All is shown at once meanwhile, so that nothing is amiss but this.
            links.health.route(&self.route).set_aside();
            if timeout(NO_STREAM, links.stop.cancelled()).await.is_ok() {
                return Ok(());
            }
        }
        self.serve(links).await
    }

    /// A task of its own: whatever becomes of it, messages are relayed. It ends when it is dropped.
    fn summaries(&self, links: &Links) -> Option<JoinSet<()>> {
        let summary = self.route.summary?;
        let target = self.route.rooms.one()?.clone();
        let (route, links) = (Arc::clone(&self.route), links.clone());
        let summaries = Summaries::of(Arc::clone(&route), self.routing.clone(), links.nats.clone());
        let mut task = JoinSet::new();
        task.spawn_local(async move {
            let Links { account, stop, .. } = &links;
            let health = links.health.route(&route);
            // What keeps us out is for the relay to tell.
            let room = (&target, Kind::Only);
            let opened = join::open_room(&route, room, account, &health, stop).await;
            if let Ok(Opened::Room(room)) = opened {
                Poster::new(summaries, summary, room, &health).run().await;
            }
        });
        Some(task)
    }
}
