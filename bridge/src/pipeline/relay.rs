//! The task of one feed: it takes messages from the source one by one, in stream order, has each worked on under a
//! lease, and acknowledges it when it is done with.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, field::Empty, info, info_span};

use crate::{
    failure::{Failure, Interrupted, panic_words},
    nats::Memory,
    pipeline::{
        context::{RouteContext, Services},
        process::{Pipeline, Verdict},
        state::State,
    },
    render::Renderer,
    source::{Delivery, Source, Tenure, Upstream},
    status::{First, RouteHealth},
};

/// The interval of the checks whether a large message blocks others.
const LOOK: Duration = Duration::from_secs(1);

/// The interval of the checks, while there is nothing to post, whether the room was replaced.
const LOOK_AT_ROOM: Duration = Duration::from_secs(30);

/// The time for which a route that holds a large message or a digest may fail while others wait for the memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// The reason why a relay has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The relay was told to stop.
    Stopped,
    /// Other routes need the memory that the relay has taken. The caller starts it again.
    GaveWay,
    /// Another bridge may have taken over. The caller starts the relay again, which stands by if another one has.
    Displaced,
    /// The feed has come to its end.
    Drained,
}

/// The task of one feed.
pub(crate) struct Relay {
    source: Source,
    pipeline: Pipeline,
    tenure: Tenure,
    health: RouteHealth,
    stop: CancellationToken,
}

impl Relay {
    pub(crate) fn new(context: RouteContext, renderer: Arc<Renderer>, services: &Services) -> Self {
        let health = services.health.route(&context.feed.label());
        let tenure = context.hold.tenure();
        let (nats, feed) = (services.nats.clone(), context.feed.clone());
        let source = Source::new(nats, feed, tenure.clone(), health.clone(), &context.state_dir);
        let backlog = source.backlog();
        let state =
            State::new(context, renderer, services, backlog, tenure.clone(), health.clone());
        let stop = services.stop.clone();
        Self { source, pipeline: Pipeline::new(state), tenure, health, stop }
    }

    /// Relays messages until told to stop, or until it has to free memory for other routes and be started again.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] and [`Failure::Encrypted`] for what is wrong with this route alone, such as a consumer that
    /// cannot be used; the others for what is wrong with all routes, such as credentials that are refused. The message
    /// that was being worked on then waits for the next relay of the route.
    pub(crate) async fn run(&mut self) -> Result<Ended, Failure> {
        let ended = Box::pin(self.relay_all()).await;
        // Messages that are in the room are acknowledged even when something else is wrong.
        Box::pin(self.source.close()).await;
        match ended {
            Ok(ended) => return Ok(ended),
            Err(Interrupted::Fatal(failure)) => return Err(failure),
            Err(Interrupted::GivingWay) => {
                self.health.put_back();
                return Ok(Ended::GaveWay);
            }
            Err(Interrupted::Displaced) => {
                self.health.put_back();
                return Ok(Ended::Displaced);
            }
            Err(Interrupted::Stopping) if self.health.reconnects_often() => {
                debug!("stopped; {}", self.health.metrics);
            }
            Err(Interrupted::Stopping) => {
                info!("stopped; {}", self.health.metrics);
            }
        }
        Ok(Ended::Stopped)
    }

    /// Relays messages, and returns why it ends.
    async fn relay_all(&mut self) -> Result<Ended, Interrupted> {
        self.pipeline.enter_first().await?;
        let mut looks = interval(LOOK_AT_ROOM);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        loop {
            match self.next(&mut looks).await? {
                None => {
                    self.tell_removed().await?;
                    if self.source.is_over() {
                        return Ok(Ended::Drained);
                    }
                }
                Some(delivery) => {
                    let (stream, sequence) = (self.source.stream_name(), delivery.sequence);
                    let span = info_span!("message", stream, sequence, room = Empty);
                    self.relay(delivery).instrument(span).await?;
                }
            }
        }
    }

    /// Tells the room of messages that the stream has removed before they could be read.
    async fn tell_removed(&mut self) -> Result<(), Interrupted> {
        let Some((removal, since)) = self.source.removed() else { return Ok(()) };
        let tell = Box::pin(self.pipeline.tell_removed(&removal, since));
        self.source.keep_alive(None, tell).await?;
        self.source.told();
        Ok(())
    }

    /// Waits for the next message, and looks now and then whether the room was replaced. `None` if a report of removed
    /// messages is due, or the feed has come to its end.
    async fn next(&mut self, looks: &mut Interval) -> Result<Option<Delivery>, Interrupted> {
        let next = self.source.next();
        tokio::pin!(next);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Interrupted::Stopping),
                () = self.tenure.ended() => return Err(Interrupted::Displaced),
                delivery = &mut next => return Ok(delivery?),
                _ = looks.tick() => {
                    let look = Box::pin(self.pipeline.look_at_room());
                    let looked = self.stop.run_until_cancelled(look).await;
                    looked.ok_or(Interrupted::Stopping)??;
                },
            }
        }
    }

    async fn relay(&mut self, mut delivery: Delivery) -> Result<(), Interrupted> {
        let Some(upstream) = self.source.upstream() else {
            return Err(Failure::Bug("a message of no stream".to_owned()).into());
        };
        if self.source.memory().is_held() && self.pipeline.has_to_wait() {
            // Quiet hours are too long to keep a large message in memory.
            self.source.put_back(delivery);
            return self.pipeline.wait_for_turn().await;
        }
        self.source.keep_alive(Some(&delivery), self.pipeline.wait_for_turn()).await?;
        let confirmed = self.stop.run_until_cancelled(self.tenure.confirm());
        let confirmed = self.source.keep_alive(Some(&delivery), confirmed).await;
        confirmed.unwrap_or(Err(Interrupted::Stopping))?;
        self.pipeline.restore(&mut delivery);
        let Delivery { sequence, published, .. } = delivery;
        self.health.begin(First { sequence, published });
        let gives_way = give_way(self.source.memory().clone(), self.health.clone());
        let verdict = tokio::select! {
            biased;
            verdict = self.work(&delivery, &upstream) => verdict,
            () = gives_way => {
                info!(
                    "message {sequence} is put back until it can be shown, \
                     as other routes need the memory that it takes"
                );
                return Err(Interrupted::GivingWay);
            }
        };
        self.health.end();
        self.pipeline.end(matches!(verdict, Ok(Verdict::Done)));
        match verdict? {
            Verdict::Done => self.source.ack(delivery).await,
            Verdict::Dead(reason) => self.source.terminate(&delivery, &reason).await,
        }
        Ok(())
    }

    /// Takes a message through the pipeline. A panic ends the work of the route, and is blamed on the message.
    async fn work(
        &mut self,
        delivery: &Delivery,
        upstream: &Upstream,
    ) -> Result<Verdict, Interrupted> {
        let process = Box::pin(self.pipeline.process(delivery, upstream));
        let process = AssertUnwindSafe(process).catch_unwind();
        let verdict = match self.source.keep_alive(Some(delivery), process).await {
            Ok(verdict) => verdict?,
            Err(panic) => {
                self.pipeline.blame(delivery);
                let what =
                    format!("message {} on {}", delivery.sequence, delivery.subject_for_log());
                return Err(Failure::Bug(format!("{what}: {}", panic_words(&*panic))).into());
            }
        };
        if matches!(verdict, Verdict::Done) && self.source.is_last(delivery) {
            let told = Box::pin(self.pipeline.tell_what_was_late(delivery, upstream));
            self.source.keep_alive(Some(delivery), told).await?;
        }
        Ok(verdict)
    }
}

/// Waits until a large message or a digest has to be put back, which is when others wait for the memory that it takes
/// and it cannot be shown for a while, for example because its room is closed. So no route waits for another for ever.
///
/// A server may answer again at any moment. Only people open a room, so that a closed one is no reason to wait: of many
/// routes with closed rooms each would hold the others up for [`PATIENCE`].
async fn give_way(memory: Memory, health: RouteHealth) {
    let begun = Instant::now();
    loop {
        sleep(LOOK).await;
        // A route can work although something is wrong with it, such as its fallback room.
        let is_ill = begun.elapsed() > PATIENCE && health.ill_for() >= PATIENCE;
        if memory.is_held() && memory.is_wanted() && (is_ill || health.is_shut_out()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::time::timeout;

    use super::*;
    use crate::{
        nats::Need,
        status::{Health, State},
    };

    /// Begins a message that has all the memory, which another route waits for, and lets a request for it fail. Returns
    /// whether the memory is given back at once.
    async fn gives_way_at_once(state: State, fails_again: bool) -> bool {
        let (memory, health) = (Memory::new().of_one(), Health::default().route("a"));
        let held = memory.reserve_now(Need::Digest);
        let mut other = memory.of_one().queue(Need::Digest);
        assert!(timeout(LOOK, other.reservation(None)).await.is_err());
        health.begin(First { sequence: 1, published: Timestamp::now() });
        health.attempt_failed(state);
        if !fails_again {
            health.attempt_succeeded();
        }
        let given = timeout(3 * LOOK, give_way(memory, health)).await.is_ok();
        drop(held);
        given
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_room_gives_memory_back_at_once_and_a_server_that_is_away_does_not() {
        assert!(gives_way_at_once(State::NotInRoom, true).await);
        assert!(!gives_way_at_once(State::HomeserverUnreachable, true).await);
        assert!(!gives_way_at_once(State::NotInRoom, false).await);
    }
}
