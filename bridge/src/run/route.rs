//! A route at work: its relay, that of what its quiet hours have deferred, and its summaries.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{Instrument, error, info_span, warn};

use crate::{
    failure::{Failure, panic_words},
    matrix::{Opened, RoomRole, join},
    pipeline::{Ended, Relay, RouteContext, Services, deferral},
    render::Renderer,
    summary::{Poster, Summaries},
};

/// How long to wait before asking again for the stream of quiet hours.
const NO_STREAM: Duration = Duration::from_mins(5);

/// How long to wait before summaries are tried again that ended before their time.
const AGAIN: Duration = Duration::from_hours(1);

/// Relays, and sums up, until told to stop.
///
/// # Errors
///
/// As of [`Relay::run`] and, if its templates were refused, [`Renderer::of`].
pub(crate) async fn serve_live(context: RouteContext, services: Services) -> Result<(), Failure> {
    let summaries = sum_up(&context, &services);
    let relayed = relay(context, services).await;
    drop(summaries);
    relayed
}

/// Relays what was deferred, once there is a stream of it. Where nothing can be deferred the route
/// says so when it tries. Without quiet hours it ends where nothing is left of them.
///
/// # Errors
///
/// As of [`serve_live`].
pub(crate) async fn serve_deferred(
    context: RouteContext,
    services: Services,
) -> Result<(), Failure> {
    if context.route.quiet.is_none() {
        let is_any = deferral::has_any(&services.nats, &context.feed);
        if !services.stop.run_until_cancelled(is_any).await.unwrap_or(false) {
            return Ok(());
        }
    }
    while let Err(reason) = deferral::make_stream(&services.nats, 1).await {
        warn!("no stream for quiet hours: {reason}");
        // All is shown at once meanwhile, so that nothing is amiss but this.
        services.health.route(&context.feed.label()).set_aside();
        if timeout(NO_STREAM, services.stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
    Box::pin(relay(context, services)).await
}

async fn relay(context: RouteContext, services: Services) -> Result<(), Failure> {
    let renderer = match &context.renderer {
        Some(renderer) => Arc::clone(renderer),
        // They may have been mended.
        None => Arc::new(Renderer::of(&context.route)?),
    };
    let span = info_span!("route", route = %context.feed.route.name);
    loop {
        let relay = Relay::new(context.clone(), Arc::clone(&renderer), &services);
        if Box::pin(relay.run().instrument(span.clone())).await? == Ended::Stopped {
            return Ok(());
        }
    }
}

/// A task of its own: whatever becomes of it, messages are relayed. It ends when it is dropped.
fn sum_up(context: &RouteContext, services: &Services) -> Option<JoinSet<()>> {
    let summary = context.route.summary?;
    let target = context.route.rooms.one()?.clone();
    let (route, services) = (Arc::clone(&context.route), services.clone());
    let summaries =
        Summaries::of(Arc::clone(&route), context.routing.clone(), services.nats.clone());
    let health = services.health.route(&context.feed.label());
    let mut task = JoinSet::new();
    let span = info_span!("route", route = %route.name);
    let summaries = async move {
        let Services { account, stop, .. } = &services;
        let post = async || {
            // What keeps us out is for the relay to tell.
            let room = (&target, RoomRole::Only);
            let opened = join::open_room(&route, room, account, &health, stop).await;
            if let Ok(Opened::Room(room)) = opened {
                Poster::new(summaries.clone(), summary, room, &health).run().await;
            }
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
