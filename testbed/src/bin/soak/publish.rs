//! Publishers that know exactly what NATS has taken.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    check::Mark,
    routes::{ROUTES, Route, Site},
    scene::{Phase, Scene},
};

/// The number of publishers for each route.
const PUBLISHERS: u32 = 2;
/// The time after which a message without an acknowledgement is published again.
const PATIENCE: Duration = Duration::from_secs(4);
/// The most messages that come together.
const MOST_TOGETHER: u32 = 12;

/// All publishers at work.
pub(crate) struct Publishers {
    ledger: Arc<Ledger>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Ledger {
    stop: AtomicBool,
    published: Mutex<BTreeSet<Mark>>,
}

impl Publishers {
    /// Starts them; together they publish so many messages a second.
    pub(crate) async fn start(scene: &Scene, rate: u32, seed: u64) -> Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let mut tasks = JoinSet::new();
        let count = ROUTES.iter().map(|_| PUBLISHERS).sum::<u32>();
        let mut seeds = fastrand::Rng::with_seed(seed);
        for route in &ROUTES {
            for number in 1..=PUBLISHERS {
                let publisher = Publisher {
                    jetstream: scene.jetstream(route.stream.site, PATIENCE).await?,
                    phase: match route.stream.site {
                        Site::Hub => Arc::clone(&scene.phase),
                        // Nothing that is done at the hub has to wait for it.
                        Site::Leaf => Phase::default(),
                    },
                    route,
                    number,
                    pause: Duration::from_secs(1) * count / rate,
                    rng: fastrand::Rng::with_seed(seeds.u64(..)),
                };
                tasks.spawn(publisher.run(Arc::clone(&ledger)));
            }
        }
        Ok(Self { ledger, tasks })
    }

    /// The number of messages that were acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.ledger.published().len()
    }

    /// Ends them when the last message of each was acknowledged, and returns what was.
    pub(crate) async fn stop(self) -> Result<BTreeSet<Mark>> {
        self.ledger.stop.store(true, Ordering::Relaxed);
        let Self { ledger, mut tasks } = self;
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(std::mem::take(&mut *ledger.published()))
    }
}

impl Ledger {
    fn published(&self) -> std::sync::MutexGuard<'_, BTreeSet<Mark>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Publisher {
    jetstream: jetstream::Context,
    phase: Phase,
    route: &'static Route,
    number: u32,
    /// The average pause after each message.
    pause: Duration,
    rng: fastrand::Rng,
}

impl Publisher {
    async fn run(mut self, ledger: Arc<Ledger>) {
        let mut last = 0;
        loop {
            let together = self.rng.u32(1..=MOST_TOGETHER);
            for _ in 0..together {
                if ledger.stop.load(Ordering::Relaxed) {
                    return;
                }
                last += 1;
                let mark = Mark { route: self.route.name, publisher: self.number, number: last };
                self.publish(mark).await;
                ledger.published().insert(mark);
            }
            sleep(self.pause * together).await;
        }
    }

    /// Publishes a message until it is acknowledged; NATS takes what it has already for a duplicate.
    async fn publish(&self, mark: Mark) {
        let Mark { route, publisher, number } = mark;
        let mut headers = HeaderMap::new();
        #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
        headers.insert(NATS_MESSAGE_ID, format!("{route}-{publisher}-{number}"));
        // Held until NATS has the message, so that none comes later on a subject of an earlier phase.
        let phase = self.phase.read().await;
        let subject = self.route.subject(publisher, *phase);
        let payload = self.route.payload(mark);
        loop {
            let sent = self.jetstream.publish_with_headers(
                subject.clone(),
                headers.clone(),
                payload.clone().into(),
            );
            if let Ok(ack) = sent.await
                && ack.await.is_ok()
            {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}
