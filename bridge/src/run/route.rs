//! Runs a route: its relay, the relay of the messages that its quiet hours have deferred, and its summaries.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{Instrument, error, info_span, warn};

use crate::{
    failure::{Failure, chain, panic_words},
    matrix::{Opened, RoomRole, join},
    pipeline::{Ended, Relay, RouteContext, Services, deferral},
    render::{Parsed, Renderer},
    run::{history::StreamHistory, settle::settled},
    summary::{Poster, Summaries},
};

/// The time to wait before the stream of quiet hours is looked for again.
const NO_STREAM: Duration = Duration::from_mins(5);

/// The time to wait before summaries that ended early are tried again.
const AGAIN: Duration = Duration::from_hours(1);

/// Relays messages and posts summaries until told to stop.
///
/// # Errors
///
/// See [`Relay::run`] and, if the route's templates were refused, [`Renderer::of`].
pub(crate) async fn serve_live(
    context: RouteContext,
    services: Services,
    history: &StreamHistory,
) -> Result<(), Failure> {
    let Some(context) = Box::pin(settled(context, &services, history)).await else { return Ok(()) };
    let summaries = sum_up(&context, &services);
    let relayed = relay(context, services).await;
    drop(summaries);
    relayed.map(drop)
}

/// Relays deferred messages, once the stream for them exists. If nothing can be deferred, the route reports that when
/// it tries. Without quiet hours it ends when no deferred messages are left.
///
/// # Errors
///
/// See [`serve_live`].
pub(crate) async fn serve_deferred(
    context: RouteContext,
    services: Services,
) -> Result<(), Failure> {
    if context.route.quiet.is_none() {
        let is_any = Box::pin(deferral::has_any(&services.nats, &context.feed));
        if !services.stop.run_until_cancelled(is_any).await.unwrap_or(false) {
            return Ok(());
        }
    }
    let make = || Box::pin(deferral::make_stream(&services.nats, &context.route.stream));
    while let Err(error) = make().await {
        warn!("no stream for quiet hours: {}", chain(&error));
        // All messages are shown at once meanwhile, so this feed must not count as failing.
        services.health.route(&context.feed.label()).set_aside();
        if timeout(NO_STREAM, services.stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
    Box::pin(relay(context, services)).await.map(drop)
}

/// Relays the messages of a feed until told to stop, or until the feed ends.
///
/// # Errors
///
/// See [`serve_live`].
pub(super) async fn relay(context: RouteContext, services: Services) -> Result<Ended, Failure> {
    let renderer = match &context.renderer {
        Some(renderer) => Arc::clone(renderer),
        // The templates may have been repaired.
        None => Arc::new(Renderer::of(&context.route, &mut Parsed::default())?),
    };
    let span = info_span!("route", route = %context.feed.route.name);
    loop {
        // There can be hundreds of routes, and what a future holds it holds for all the time that the route has nothing to do.
        let mut relay = Box::new(Relay::new(context.clone(), Arc::clone(&renderer), &services));
        match relay.run().instrument(span.clone()).await? {
            Ended::GaveWay => {}
            Ended::Displaced => context.alerts.lock().await.forget(),
            ended => return Ok(ended),
        }
    }
}

/// Starts a task for the summaries, which posts while the bridge has the route, and whose failure does not stop the
/// relay. The task ends when the returned set is dropped.
fn sum_up(context: &RouteContext, services: &Services) -> Option<JoinSet<()>> {
    let summary = context.route.summary?;
    let target = context.route.rooms.one()?.clone();
    let (route, services) = (Arc::clone(&context.route), services.clone());
    let hold = context.hold.clone();
    let summaries =
        Summaries::of(Arc::clone(&route), context.routing.clone(), services.nats.clone());
    let health = services.health.route(&context.feed.label());
    let mut task = JoinSet::new();
    let span = info_span!("route", route = %route.name);
    let summaries = async move {
        let Services { account, stop, .. } = &services;
        let post = async || loop {
            let tenure = hold.held().await;
            // The relay reports why the bridge is not let in.
            let room = (&target, RoomRole::Only);
            // Each time that the room is replaced, the one in its place is entered.
            let opened = join::open_room(&route, room, account, &health, stop).await;
            let Ok(Opened::Room(room)) = opened else { return };
            Box::pin(Poster::new(summaries.clone(), summary, room, tenure, &health).run()).await;
        };
        while let Err(panic) = AssertUnwindSafe(post()).catch_unwind().await {
            error!(
                "its summaries ended: {} (this is a bug in nats-matrix, please report it); they are tried again \
                 every {AGAIN:?}",
                panic_words(&*panic)
            );
            sleep(AGAIN).await;
        }
    };
    task.spawn_local(summaries.instrument(span));
    Some(task)
}
