//! The task of one feed: takes its messages from the source one by one, in stream order, has each worked on under a
//! lease, and acknowledges it when it is done with.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, field::Empty, info, info_span};

use crate::{
    failure::{Failure, Interrupted},
    pipeline::{
        context::{RouteContext, Services},
        process::{Pipeline, Verdict},
        state::State,
    },
    render::Renderer,
    source::{Delivery, Source},
    status::{First, RouteHealth},
};

/// The task of one feed.
pub(crate) struct Relay {
    source: Source,
    pipeline: Pipeline,
    health: RouteHealth,
    stop: CancellationToken,
}

impl Relay {
    pub(crate) fn new(context: RouteContext, renderer: Arc<Renderer>, services: &Services) -> Self {
        let health = services.health.route(&context.feed.label());
        let source = Source::new(services.nats.clone(), context.feed.clone(), health.clone());
        let state = State::new(context, renderer, services, source.backlog(), health.clone());
        let stop = services.stop.clone();
        Self { source, pipeline: Pipeline::new(state), health, stop }
    }

    /// Relays until told to stop.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] and [`Failure::Encrypted`] for what is wrong with this route alone, such as a consumer that
    /// cannot be used; the others for what is wrong with all, such as credentials that are refused. The message in hand
    /// then waits for the next relay of the route.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let interrupted = self.relay_all().await;
        // What is in the room is acknowledged also when something else is wrong.
        self.source.close().await;
        match interrupted {
            Interrupted::Fatal(failure) => return Err(failure),
            Interrupted::Stopping if self.health.reconnects_often() => {
                debug!("route {}: stopped; {}", self.health.name(), self.health.metrics);
            }
            Interrupted::Stopping => {
                info!("route {}: stopped; {}", self.health.name(), self.health.metrics);
            }
        }
        Ok(())
    }

    /// Returns why it ends.
    async fn relay_all(&mut self) -> Interrupted {
        if let Err(interrupted) = self.pipeline.enter_first().await {
            return interrupted;
        }
        loop {
            let delivery = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Interrupted::Stopping,
                delivery = self.source.next() => delivery,
            };
            let relayed = match delivery {
                Ok(delivery) => {
                    let (stream, sequence) = (self.source.stream_name(), delivery.sequence);
                    let span = info_span!("message", stream, sequence, room = Empty);
                    self.relay(delivery).instrument(span).await
                }
                Err(failure) => return failure.into(),
            };
            if let Err(interrupted) = relayed {
                return interrupted;
            }
        }
    }

    async fn relay(&mut self, delivery: Delivery) -> Result<(), Interrupted> {
        let Some(upstream) = self.source.upstream() else {
            return Err(Failure::Bug("a message of no stream".to_owned()).into());
        };
        self.source.keep_alive(&delivery, self.pipeline.wait_for_turn()).await?;
        let Delivery { sequence, published, .. } = delivery;
        self.health.begin(First { sequence, published });
        let process = Box::pin(self.pipeline.process(&delivery, &upstream));
        let mut verdict = self.source.keep_alive(&delivery, process).await;
        if matches!(verdict, Ok(Verdict::Done)) && self.source.is_last(&delivery) {
            let told = Box::pin(self.pipeline.tell_what_was_late(&delivery, &upstream));
            verdict = self.source.keep_alive(&delivery, told).await.map(|()| Verdict::Done);
        }
        self.health.end();
        self.pipeline.end(matches!(verdict, Ok(Verdict::Done)));
        match verdict? {
            Verdict::Done => self.source.ack(delivery).await,
            Verdict::Dead(reason) => self.source.terminate(&delivery, &reason).await,
        }
        Ok(())
    }
}
