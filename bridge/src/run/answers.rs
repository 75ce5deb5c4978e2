//! Listens to the answers of people, where a route asks for it.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::error;

use crate::{
    failure::{Failure, panic_words},
    listen::{AnsweredRoute, Listener},
    pipeline::{RouteContext, Services},
    render::Renderer,
};

/// The time to wait before listening is tried again after it has ended.
const AGAIN: Duration = Duration::from_mins(1);

/// Returns what is needed of a route to carry out answers to its alerts, if people may answer them.
pub(super) fn answered_route(context: &RouteContext) -> Option<AnsweredRoute> {
    let route = Arc::clone(&context.route);
    Some(AnsweredRoute {
        answers: route.answers.clone()?,
        // Without templates of the route's own, which were refused, the words are the same.
        renderer: context
            .renderer
            .clone()
            .unwrap_or_else(|| Arc::new(Renderer::new(&route.display))),
        alerts: Arc::clone(&context.alerts),
        editing: Arc::clone(&context.editing),
        hold: context.hold.clone(),
        route,
    })
}

/// Listens until told to stop. A bug there keeps no message from being shown.
pub(super) async fn keep_listening(
    routes: Vec<AnsweredRoute>,
    services: Services,
) -> Result<(), Failure> {
    loop {
        let listener = Listener::new(routes.clone(), &services);
        let Err(panic) = AssertUnwindSafe(listener.run()).catch_unwind().await else {
            return Ok(());
        };
        error!(
            "nobody is listened to: {} (this is a bug in nats-matrix, please report it); it is tried again after {AGAIN:?}",
            panic_words(&*panic)
        );
        if timeout(AGAIN, services.stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}
