//! Regular checks while there is nothing to post, so that a homeserver that is down, or a room that has removed the
//! bridge, is known before the next alert.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use matrix_sdk::ruma::{OwnedRoomId, RoomId};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    config::Route,
    failure::Failure,
    matrix::{
        Account, MatrixError, Room,
        room::{self, encrypted},
    },
    nats::Nats,
    source::{Feed, rights, waiting},
    status::{Condition, Health, Outage, RouteHealth, State},
};

/// The interval between requests to the homeserver.
const ASK_HOMESERVER: Duration = Duration::from_secs(30);

/// The interval between requests to NATS for the number and age of waiting messages.
const ASK_NATS: Duration = Duration::from_secs(15);

/// The checks of everything that may be idle.
pub(crate) struct Pulse {
    pub(crate) health: Health,
    pub(crate) nats: Nats,
    pub(crate) account: Arc<Account>,
    /// The feeds of all routes, including those of deferred messages.
    pub(crate) feeds: Vec<Feed>,
}

impl Pulse {
    /// Runs the checks until the homeserver no longer accepts our login; returns that failure. The future may be
    /// dropped at any moment.
    pub(crate) async fn run(self) -> Failure {
        let routes: Vec<_> =
            self.feeds.iter().map(|feed| (feed, self.health.route(&feed.label()))).collect();
        tokio::select! {
            failure = self.watch_homeserver(&routes) => failure,
            never = self.watch_connection() => match never {},
            never = self.count(&routes) => match never {},
            never = self.attribute_denials(&routes) => match never {},
        }
    }

    async fn watch_connection(&self) -> Infallible {
        let condition = self.health.condition(None);
        let (mut is_up, connections) = (self.nats.is_up(), self.nats.connections());
        // The connection may have been made for the configuration before.
        let mut made = (*connections.borrow()).max(1);
        loop {
            if *is_up.borrow_and_update() {
                let count = *connections.borrow();
                self.health.0.metrics.nats_reconnects.inc_by(count.saturating_sub(made));
                made = made.max(count);
                condition.clear();
            } else {
                let reason =
                    "NATS: the connection is lost; the client reconnects as soon as it can";
                condition.set(State::NatsUnreachable, &reason, Duration::ZERO);
            }
            is_up.changed().await.expect("the connection is ours");
        }
    }

    async fn watch_homeserver(&self, routes: &[(&Feed, RouteHealth)]) -> Failure {
        let condition = self.health.condition(None);
        let mut ill = HashMap::new();
        let mut ticks = interval(ASK_HOMESERVER);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let error = match room::joined(&self.account).await {
                Ok(joined) => {
                    condition.clear();
                    self.compare(routes, &joined, &mut ill).await;
                    continue;
                }
                Err(error) => error,
            };
            let reason = error.of_homeserver();
            condition.set(State::of(&error), &reason, Duration::ZERO);
            if let MatrixError::TokenRefused(_) = error
                && let Err(failure) = self.account.recover(&error).await
            {
                return failure;
            }
        }
    }

    /// Notes the rooms that the bridge is not in, and those that are encrypted. Joins rooms that admit it again.
    async fn compare(
        &self,
        routes: &[(&Feed, RouteHealth)],
        joined: &[OwnedRoomId],
        ill: &mut HashMap<Arc<str>, Condition>,
    ) {
        for (feed, health) in routes {
            let Some(room) = health.room() else {
                ill.remove(&health.name);
                continue;
            };
            match self.condition_of(&feed.route, &room, joined.contains(&room)).await {
                Some((state, reason)) => {
                    let condition =
                        ill.entry(Arc::clone(&health.name)).or_insert_with(|| health.condition());
                    condition.set(state, &reason, Duration::ZERO);
                }
                None => drop(ill.remove(&health.name)),
            }
        }
    }

    /// The state and reason that keep a route from posting into its room, if there are any.
    async fn condition_of(
        &self,
        route: &Route,
        room: &RoomId,
        is_joined: bool,
    ) -> Option<(State, String)> {
        if !is_joined && let Err(error) = Room::enter(&self.account, room.into()).await {
            let user = &self.account.user;
            return Some((
                State::NotInRoom,
                format!("the bridge is not in room {room}: invite {user} ({error})"),
            ));
        }
        let asked = Room::new(Arc::clone(&self.account), room.to_owned()).is_encrypted().await;
        // Without an answer, the next check finds out. An unreachable homeserver is reported elsewhere.
        let is_encrypted = asked.unwrap_or(false);
        is_encrypted.then(|| {
            let reason = route.rooms.one().map_or_else(|| encrypted(room), encrypted);
            (State::RoomEncrypted, reason)
        })
    }

    async fn count(&self, routes: &[(&Feed, RouteHealth)]) -> Infallible {
        let mut ticks = interval(ASK_NATS);
        let mut seen: Vec<_> = routes.iter().map(|_| waiting::Seen::default()).collect();
        let rights =
            |health: &RouteHealth| Outage::of(format!("route {}", health.name), health.condition());
        let mut rights: Vec<_> = routes.iter().map(|(_, health)| rights(health)).collect();
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (((feed, health), seen), rights) in routes.iter().zip(&mut seen).zip(&mut rights) {
                if !self.nats.is_connected() {
                    // The lost connection is reported elsewhere.
                    rights.abandon();
                    continue;
                }
                let waiting = waiting::waiting(&self.nats, feed, health.first(), seen).await;
                let has_consumer = waiting.as_ref().map(|waiting| waiting.count.is_some());
                if let Some(waiting) = waiting {
                    health.waits(waiting);
                }
                self.check_rights(feed, has_consumer, rights).await;
            }
        }
    }

    /// Checks that the bridge has the permissions without which a route stops; `has_consumer` is `None` if NATS did not
    /// answer that. Permissions can be taken away at any time, and a server does not answer what it denies.
    async fn check_rights(&self, feed: &Feed, has_consumer: Option<bool>, outage: &mut Outage) {
        let lacks = match has_consumer {
            Some(true) => {
                let consumer = feed.consumer().unwrap_or_default();
                let rights = rights::to_take(self.nats.config(), feed.stream(), &consumer);
                rights::lacking(&self.nats, &rights).await
            }
            // The route makes its consumer, and reports it if that is denied.
            Some(false) => Vec::new(),
            // Without permissions for deferred messages all messages are shown at once.
            None if feed.is_deferred() => Vec::new(),
            None => {
                let rights = rights::to_ask(self.nats.config(), feed);
                rights::denied(&self.nats, &rights).await
            }
        };
        if lacks.is_empty() {
            outage.over();
        } else {
            outage.failed(State::NotPermitted, &lacks.join("; "), None);
        }
    }

    /// Counts what the server denies for each route whose stream or consumer it names.
    async fn attribute_denials(&self, routes: &[(&Feed, RouteHealth)]) -> Infallible {
        let mut denials = self.nats.denials();
        loop {
            let complaint = denials.next().await;
            for (feed, health) in routes {
                if rights::is_about(feed, &complaint) {
                    health.metrics.denied.inc();
                }
            }
        }
    }
}
