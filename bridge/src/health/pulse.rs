//! Whether all is well while there is nothing to post: asked now and then, so that a homeserver that
//! is down, or a room that has put us out, is known before the next alert.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use matrix_sdk::ruma::OwnedRoomId;
use tokio::time::{MissedTickBehavior, interval};

use super::{Health, RouteHealth, Spot, board::State};
use crate::{
    config::Route,
    failure::Failure,
    matrix::{Account, LoginError, MatrixError},
    nats::Nats,
    room::{self, Room},
    source,
};

/// How often the homeserver is asked.
const ASK_HOMESERVER: Duration = Duration::from_secs(30);
/// How often NATS is asked how many messages wait, and since when.
const ASK_NATS: Duration = Duration::from_secs(15);

/// Looks after what is not used at the moment.
pub(crate) struct Pulse {
    pub(crate) health: Health,
    pub(crate) nats: Nats,
    pub(crate) account: Arc<Account>,
    /// With what they hold back.
    pub(crate) routes: Vec<Arc<Route>>,
}

impl Pulse {
    /// Asks until the homeserver no longer accepts our login, and says so. It may be stopped at any
    /// moment.
    pub(crate) async fn run(self) -> Failure {
        let routes: Vec<_> =
            self.routes.iter().map(|route| (route, self.health.route(route))).collect();
        tokio::select! {
            failure = self.watch_homeserver(&routes) => failure,
            never = self.watch_connection() => match never {},
            never = self.count(&routes) => match never {},
        }
    }

    async fn watch_connection(&self) -> Infallible {
        let spot = self.health.spot(None);
        let (mut is_up, connections) = (self.nats.is_up(), self.nats.connections());
        // It may be one that was made for the configuration before.
        let mut made = (*connections.borrow()).max(1);
        loop {
            if *is_up.borrow_and_update() {
                let count = *connections.borrow();
                self.health.0.metrics.nats_reconnects.inc_by(count.saturating_sub(made));
                made = made.max(count);
                spot.well();
            } else {
                let reason =
                    "NATS: the connection is lost, and made again as soon as that is possible";
                spot.ails(State::NatsUnreachable, &reason, Duration::ZERO);
            }
            is_up.changed().await.expect("the connection is ours");
        }
    }

    async fn watch_homeserver(&self, routes: &[(&Arc<Route>, RouteHealth)]) -> Failure {
        let spot = self.health.spot(None);
        let mut out = HashMap::new();
        let mut ticks = interval(ASK_HOMESERVER);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let error = match room::joined(&self.account).await {
                Ok(joined) => {
                    spot.well();
                    self.compare(routes, &joined, &mut out).await;
                    continue;
                }
                Err(error) => error,
            };
            let reason = format!("the homeserver {error}");
            spot.ails(State::of(&error), &reason, Duration::ZERO);
            if let MatrixError::TokenRefused(_) = error
                && let Err(LoginError::Final(failure)) = self.account.renew().await
            {
                return failure;
            }
        }
    }

    /// Notes which rooms we are out of. Those that let us in again are entered.
    async fn compare(
        &self,
        routes: &[(&Arc<Route>, RouteHealth)],
        joined: &[OwnedRoomId],
        out: &mut HashMap<Arc<str>, Spot>,
    ) {
        for (_, route) in routes {
            let Some(room) = route.room().filter(|room| !joined.contains(room)) else {
                out.remove(&route.name);
                continue;
            };
            if let Err(error) = Room::enter(&self.account, (&*room).into()).await {
                let user = &self.account.user;
                let reason = format!("we are not in room {room}: invite {user} ({error})");
                let spot = out.entry(Arc::clone(&route.name)).or_insert_with(|| route.spot());
                spot.ails(State::NotInRoom, &reason, Duration::ZERO);
            }
        }
    }

    async fn count(&self, routes: &[(&Arc<Route>, RouteHealth)]) -> Infallible {
        let mut ticks = interval(ASK_NATS);
        let mut seen: Vec<_> = routes.iter().map(|_| source::Seen::default()).collect();
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for ((route, health), seen) in routes.iter().zip(&mut seen) {
                if self.nats.is_connected()
                    && let Some(waiting) =
                        source::waiting(&self.nats, route, health.first(), seen).await
                {
                    health.waits(waiting);
                }
            }
        }
    }
}
