//! Keeping each route going: what is wrong with one of them is its own trouble, and the others go on.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tracing::error;

use crate::{
    failure::Failure,
    pipeline::{RouteContext, Services},
    status::{RouteHealth, State},
};

/// How long a route that has failed waits for the next attempt. What it failed with is mended by a person, in a room, in
/// NATS or in a template, and costs a few requests each time.
const RETRY: Duration = Duration::from_secs(30);

/// As long as it lasts it is logged this often.
const REMIND: Duration = Duration::from_mins(5);

/// A new configuration is on trial: a route that fails in this time is a reason to go back to the one before.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    /// When it ends.
    pub(crate) until: Instant,
    /// The routes that had failed before, and why: that is no fault of the new configuration.
    pub(crate) known: Vec<(Arc<str>, String)>,
}

impl Trial {
    fn is_failed_by(&self, route: &RouteHealth, reason: &str) -> bool {
        let is_known = |(name, known): &(Arc<str>, String)| name == route.name() && known == reason;
        Instant::now() < self.until && !self.known.iter().any(is_known)
    }
}

/// Serves a route until we are told to stop. When it fails for a reason of its own that is said and noted, and the route
/// is tried again, for as long as it takes.
///
/// # Errors
///
/// What is wrong with all routes; during a `trial` also what is wrong with this one, unless it was before.
pub(crate) async fn keep_going(
    context: RouteContext,
    services: Services,
    trial: Option<Trial>,
    serve: impl AsyncFn(RouteContext, Services) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut said: Option<Instant> = None;
    loop {
        let failure = match serve(context.clone(), services.clone()).await {
            Err(failure) if failure.is_of_one_route() => failure,
            ended => return ended,
        };
        let health = services.health.route(&context.feed.label());
        let text = failure.to_string();
        let reason = text.strip_prefix(&format!("route {}: ", context.route.name)).unwrap_or(&text);
        if trial.as_ref().is_some_and(|trial| trial.is_failed_by(&health, reason)) {
            return Err(failure);
        }
        let state = match failure {
            Failure::Encrypted(_) => State::RoomEncrypted,
            _ => State::RouteRefused,
        };
        let is_news = health.fails(state, reason);
        if is_news || said.is_none_or(|said| said.elapsed() >= REMIND) {
            error!(
                "route {}: {reason}; its messages wait, nothing is lost, and it is tried again every {RETRY:?}",
                health.name()
            );
            said = Some(Instant::now());
        }
        if timeout(RETRY, services.stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}
