//! The alert in the rooms that NATS refuses the bridge: nothing else arrives there meanwhile.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use matrix_sdk::ruma::OwnedRoomId;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Route,
    matrix::{Account, MatrixError, Room, room},
    render::Renderer,
    run::reload::Setup,
    status::Health,
};

/// The interval at which a refusal is looked for.
const LOOK: Duration = Duration::from_secs(2);

/// Tells the rooms of all routes of a refusal that goes on. Runs without end.
pub(super) async fn tell(setup: &Setup, health: &Health, stop: &CancellationToken) {
    loop {
        sleep(LOOK).await;
        let Some(reason) = setup.refusals.to_be_told() else { continue };
        let Ok(Some(account)) = setup.account(health, stop).await else {
            // The homeserver refuses the bridge, too, which ends it as soon as NATS does not, or it is being stopped.
            return std::future::pending().await;
        };
        match tell_all(setup, &account, &reason).await {
            Ok(()) => setup.refusals.told(),
            Err(error) => warn!("the rooms are not told that NATS refuses the bridge: {error}"),
        }
    }
}

async fn tell_all(setup: &Setup, account: &Arc<Account>, reason: &str) -> Result<(), MatrixError> {
    let joined = room::joined(account).await?;
    let mut told: Vec<OwnedRoomId> = Vec::new();
    for (route, renderer) in setup.config.routes.iter().zip(&setup.renderers) {
        let Some(id) = main_room(account, route).await? else { continue };
        if told.contains(&id) || !joined.contains(&id) {
            continue;
        }
        let alert = match renderer {
            Some(renderer) => renderer.nats_refuses(reason),
            None => Renderer::new(&route.display).nats_refuses(reason),
        };
        let now = Timestamp::now().as_second();
        let transaction = format!("nats-refuses-{now}-{id}").into();
        let room = Room::new(Arc::clone(account), id.clone());
        // A room that does not take it must not keep the others from being told.
        match room.send_as(transaction, &alert.content(&route.mention)).await {
            Ok(_) => info!("room {id} is told that NATS refuses the bridge"),
            Err(error) => warn!("room {id} is not told that NATS refuses the bridge: {error}"),
        }
        told.push(id);
    }
    Ok(())
}

/// Returns the room of a route, or its fallback room if it has many.
async fn main_room(account: &Account, route: &Route) -> Result<Option<OwnedRoomId>, MatrixError> {
    match route.rooms.one().or(route.fallback_room.as_ref()) {
        Some(target) => room::resolve(account, target).await,
        None => Ok(None),
    }
}
