//! Shows what waited for a route when it was removed from the configuration, and then deletes its consumer.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::consumer::Info as ConsumerInfo;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, info, info_span, warn};

use crate::{
    failure::Failure,
    pipeline::{Ended, RouteContext, Services, deferral},
    render::{Parsed, Renderer},
    run::{history::StreamHistory, route::relay, settle::settled},
    source::{Feed, Passage, ReadError, consumer, identity::Owner, outstanding, waiting},
    status::Waiting,
};

/// The interval at which it is looked how many messages are left.
const LOOK: Duration = Duration::from_secs(5);

/// The time without an answer to the deletion of a consumer after which it counts as refused.
const UNDELETED: Duration = Duration::from_secs(10);

/// Relays what waits for a route that was removed. Ends when nothing is left, or when somebody deletes its consumer.
///
/// # Errors
///
/// See [`Relay::run`](crate::pipeline::Relay::run).
pub(crate) async fn serve_removed(
    context: RouteContext,
    services: Services,
    history: &StreamHistory,
) -> Result<(), Failure> {
    let name = context.route.name.clone();
    let health = services.health.route(&context.feed.label());
    let settled = settled(context, &services, history).await;
    let found = settled.and_then(|it| it.feed.passage().cloned().map(|passage| (it, passage)));
    let Some((context, passage)) = found else {
        health.set_aside();
        return Ok(());
    };
    let (feed, passed) = (context.feed.clone(), passage.passed());
    if !passed.is_cancelled() && is_any_left(&services, &feed).await {
        info!(
            "route {name} is not in the configuration any more: it goes on until all that waits for it up to message {} of \
             stream {} is shown; to leave that out, run nats consumer rm {} {}",
            passage.until(),
            feed.stream(),
            feed.stream(),
            feed.consumer().unwrap_or_else(|| name.to_string())
        );
        let context = with_templates(context.clone());
        tokio::select! {
            ended = relay(context, services.clone()) => {
                if ended? != Ended::Drained {
                    return Ok(());
                }
            }
            () = watch(&services, &feed) => {
                info!("route {name}: its consumer was deleted, so nothing is left of what waited for it");
            }
        }
    }
    passed.cancel();
    let noted = services.stop.run_until_cancelled(history.note_end(&context.route)).await;
    if noted.is_none() {
        return Ok(());
    }
    delete(&services, &feed).instrument(info_span!("route", route = %name)).await;
    info!("route {name} is done with all that waited for it when it was removed");
    health.set_aside();
    Ok(())
}

/// Relays what a removed route has deferred, until nothing is left and its live feed has ended.
///
/// # Errors
///
/// See [`serve_removed`].
pub(crate) async fn serve_removed_deferred(
    context: RouteContext,
    services: Services,
    history: &StreamHistory,
) -> Result<(), Failure> {
    let health = services.health.route(&context.feed.label());
    let live = settled(context.clone(), &services, history).await;
    let live = live.and_then(|live| live.feed.passage().cloned());
    let (Some(feed), Some(live)) = (history.deferred(&context.route), live) else {
        health.set_aside();
        return Ok(());
    };
    let Some(passed) = feed.passage().map(Passage::passed) else { return Ok(()) };
    let live_passed = live.passed();
    while !passed.is_cancelled() {
        let has_ended = live_passed.is_cancelled();
        let is_any = deferral::has_any(&services.nats, &feed);
        match services.stop.run_until_cancelled(is_any).await {
            None => return Ok(()),
            Some(true) => {
                let context =
                    with_templates(RouteContext { feed: feed.clone(), ..context.clone() });
                if Box::pin(relay(context, services.clone())).await? != Ended::Drained {
                    return Ok(());
                }
                delete(&services, &feed).await;
            }
            Some(false) if has_ended => passed.cancel(),
            Some(false) => {
                health.set_aside();
                tokio::select! {
                    () = live_passed.cancelled() => {}
                    () = sleep(LOOK) => {}
                    () = services.stop.cancelled() => return Ok(()),
                }
            }
        }
    }
    health.set_aside();
    Ok(())
}

/// Gives the route its templates, or the built-in ones if it had some that cannot be used any more.
fn with_templates(context: RouteContext) -> RouteContext {
    let name = &context.route.name;
    let mut parsed = Parsed::default();
    let renderer = Renderer::of(&context.route, &mut parsed).or_else(|failure| {
        warn!("route {name}: its templates cannot be used any more, so the built-in ones are: {failure}");
        Renderer::of(&context.route.with_built_in_templates(), &mut parsed)
    });
    RouteContext { renderer: renderer.ok().map(Arc::new), ..context }
}

/// Whether anything is left that the route has to show, for which its room is needed. Asks until it knows.
async fn is_any_left(services: &Services, feed: &Feed) -> bool {
    let until = feed.passage().map_or(0, Passage::until);
    loop {
        match find(services, feed).await {
            Found::Consumer(info) => return outstanding::done(feed, &info) < until,
            Found::Nothing => return false,
            Found::NoAnswer if services.stop.is_cancelled() => return true,
            Found::NoAnswer => sleep(LOOK).await,
        }
    }
}

/// Counts what is left, until the consumer or its stream is deleted.
async fn watch(services: &Services, feed: &Feed) {
    let health = services.health.route(&feed.label());
    let mut seen = waiting::Seen::default();
    loop {
        match find(services, feed).await {
            Found::Consumer(info) => {
                let count = feed.passage().map(|passage| outstanding::left(&info, passage.until()));
                let known = health.first();
                let found = waiting::waiting(&services.nats, feed, known, &mut seen).await;
                if let Some(waiting) = found {
                    health.waits(Waiting { count, ..waiting });
                }
            }
            Found::Nothing => return,
            Found::NoAnswer => {}
        }
        sleep(LOOK).await;
    }
}

/// Deletes the consumer of a feed that has ended: in a stream of the retention interest or workqueue it would keep
/// messages for ever.
async fn delete(services: &Services, feed: &Feed) {
    let Found::Consumer(info) = find(services, feed).await else { return };
    // Another route may have taken it over since.
    let is_own = Owner::of(&info).is_none_or(|owner| owner.is(feed));
    if !is_own || consumer::usable(feed, &info).is_err() {
        return;
    }
    let (stream, name) = (feed.stream(), &info.name);
    let subject = format!("CONSUMER.DELETE.{stream}.{name}\"");
    let subjects = [subject.as_str()];
    let jetstream = &services.nats.jetstream;
    let deleted = async {
        match jetstream.get_stream_no_info(stream).await {
            Ok(stream) => stream.delete_consumer(name).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    };
    let reason = tokio::select! {
        biased;
        reason = services.nats.denies(&subjects) => reason,
        deleted = timeout(UNDELETED, deleted) => match deleted {
            Ok(Ok(_)) => return info!("deleted durable consumer {name} on stream {stream}"),
            Ok(Err(reason)) => reason,
            Err(_) => "no answer".to_owned(),
        },
    };
    if matches!(find(services, feed).await, Found::Nothing) {
        return;
    }
    warn!(
        "durable consumer {name} on stream {stream} is not needed any more, but was not deleted ({reason}): run nats consumer \
         rm {stream} {name}, as in a stream of the retention interest or workqueue it keeps messages for ever"
    );
}

/// The server's answer about a consumer.
enum Found {
    Consumer(Box<ConsumerInfo>),
    /// The consumer, or its stream, does not exist.
    Nothing,
    NoAnswer,
}

async fn find(services: &Services, feed: &Feed) -> Found {
    let stream = match consumer::stream(&services.nats, feed.stream()).await {
        Ok(stream) => stream,
        Err(ReadError::NoStream(_)) => return Found::Nothing,
        Err(_) => return Found::NoAnswer,
    };
    match consumer::find(&services.nats, &stream, feed).await {
        Ok(Some(info)) => Found::Consumer(Box::new(info)),
        Ok(None) => Found::Nothing,
        Err(_) => Found::NoAnswer,
    }
}
