//! Applies the history of the configuration to a route.

use tokio::time::timeout;

use crate::{
    failure::chain,
    pipeline::{RouteContext, Services},
    run::history::StreamHistory,
    status::{Outage, State},
};

/// Returns the context with the rules of earlier configurations. `None` if nothing waits for a route that was removed,
/// or if the bridge is told to stop.
pub(crate) async fn settled(
    context: RouteContext,
    services: &Services,
    history: &StreamHistory,
) -> Option<RouteContext> {
    let health = services.health.route(&context.feed.label());
    let mut outage = Outage::of("NATS", health.condition());
    loop {
        let settled = history.settle(&services.nats, &context.feed);
        match services.stop.run_until_cancelled(settled).await? {
            Ok(found) => {
                outage.over();
                return found.map(|(feed, epochs)| {
                    let routing = context.routing.clone().after(epochs);
                    RouteContext { feed, routing, ..context }
                });
            }
            Err(error) => {
                let pause = outage.failed(State::NatsUnreachable, &chain(&error), None);
                if timeout(pause, services.stop.cancelled()).await.is_ok() {
                    return None;
                }
            }
        }
    }
}
