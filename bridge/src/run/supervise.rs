//! Keeps each route running: a failure of one route does not stop the others.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    failure::{Failure, panic_words},
    pipeline::{RouteContext, Services},
    status::{RouteHealth, State},
};

/// The time that a route that has failed waits for the next attempt. The cause is removed by a person, in a room, in
/// NATS or in a template, and each attempt costs a few requests.
const RETRY: Duration = Duration::from_secs(30);

/// The interval at which a lasting failure is logged again.
const REMIND: Duration = Duration::from_mins(5);

/// The trial of a new configuration: a route that fails during it is a reason to return to the previous one.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    /// The time when the trial ends.
    pub(crate) until: Instant,
    /// The routes that had failed before, and why: the new configuration did not cause these failures.
    pub(crate) known: Vec<(Arc<str>, String)>,
}

impl Trial {
    fn is_failed_by(&self, route: &RouteHealth, failure: &Failure, reason: &str) -> bool {
        // No configuration is to blame for a bug, and any publisher may have triggered it.
        if matches!(failure, Failure::Bug(_)) {
            return false;
        }
        let is_known = |(name, known): &(Arc<str>, String)| name == route.name() && known == reason;
        Instant::now() < self.until && !self.known.iter().any(is_known)
    }
}

/// Serves a route until told to stop. When the route fails or panics for a reason of its own, that is logged and
/// reported, and the route is tried again for as long as it takes.
///
/// # Errors
///
/// A failure that concerns all routes; during a `trial` also one of this route alone, unless it failed in the same way
/// before.
pub(crate) async fn keep_going(
    context: RouteContext,
    services: Services,
    trial: Option<Trial>,
    serve: impl AsyncFn(RouteContext, Services) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let route = Supervised {
        name: context.route.name.to_string(),
        // A route that has nothing to do has no line on the status page.
        health: || services.health.route(&context.feed.label()),
        stop: services.stop.clone(),
        trial,
    };
    route.keep_going(async || serve(context.clone(), services.clone()).await).await
}

/// A route that is kept running.
struct Supervised<H> {
    name: String,
    health: H,
    stop: CancellationToken,
    trial: Option<Trial>,
}

impl<H: Fn() -> RouteHealth> Supervised<H> {
    async fn keep_going(
        &self,
        serve: impl AsyncFn() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut said: Option<Instant> = None;
        loop {
            // Each attempt starts with new state, so a panic leaves nothing half done for the next one.
            let served = AssertUnwindSafe(serve()).catch_unwind().await;
            let failure = match served.unwrap_or_else(|panic| Err(self.panicked(&*panic))) {
                Err(failure) if failure.is_of_one_route() => failure,
                ended => return ended,
            };
            let health = (self.health)();
            let text = failure.to_string();
            let reason = text.strip_prefix(&format!("route {}: ", self.name)).unwrap_or(&text);
            if self.trial.as_ref().is_some_and(|it| it.is_failed_by(&health, &failure, reason)) {
                return Err(failure);
            }
            let state = match failure {
                Failure::Encrypted(_) => State::RoomEncrypted,
                Failure::Bug(_) => State::RouteFailed,
                _ => State::RouteRefused,
            };
            let is_news = health.fails(state, reason);
            if is_news || said.is_none_or(|said| said.elapsed() >= REMIND) {
                error!(
                    "route {}: {reason}; its messages wait in NATS, and it is tried again every {RETRY:?}",
                    health.name()
                );
                said = Some(Instant::now());
            }
            if timeout(RETRY, self.stop.cancelled()).await.is_ok() {
                return Ok(());
            }
        }
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> Failure {
        let first = (self.health)().first();
        let at = first.map_or_else(String::new, |first| format!(" at message {}", first.sequence));
        Failure::Bug(format!("its work ended{at}: {}", panic_words(panic)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::status::Health;

    fn supervised(
        health: &Health,
        name: &str,
        stop: &CancellationToken,
    ) -> Supervised<impl Fn() -> RouteHealth> {
        let (of, label) = (health.clone(), name.to_owned());
        let health = move || of.route(&label);
        Supervised { name: name.to_owned(), health, stop: stop.clone(), trial: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_one_route_is_its_own_trouble_and_it_is_tried_again() {
        let (health, stop) = (Health::default(), CancellationToken::new());
        let (ill, sound) = (supervised(&health, "ill", &stop), supervised(&health, "sound", &stop));
        let (tried, shown) = (Cell::new(0), Cell::new(0));
        let fails_twice = async || {
            tried.set(tried.get() + 1);
            assert!(tried.get() > 2, "no header with a line break");
            stop.cancelled().await;
            Ok(())
        };
        let goes_on = async || {
            while !stop.is_cancelled() {
                shown.set(shown.get() + 1);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        };
        let watch = async {
            tokio::time::sleep(RETRY / 2).await;
            health.route("sound");
            assert_eq!(tried.get(), 1);
            let snapshot = health.snapshot();
            let route = |name: &str| snapshot.routes.iter().find(|it| &*it.name == name).unwrap();
            assert_eq!(route("ill").state, State::RouteFailed);
            assert!(route("ill").reason.as_ref().unwrap().contains("no header with a line break"));
            tokio::time::sleep(2 * RETRY).await;
            stop.cancel();
        };
        let (ill, sound, ()) =
            tokio::join!(ill.keep_going(fails_twice), sound.keep_going(goes_on), watch);
        assert_eq!((ill, sound), (Ok(()), Ok(())));
        assert_eq!(tried.get(), 3);
        assert!(shown.get() > 70, "{} of the other route", shown.get());
    }
}
