//! From the start to the end of `run`: signals, the service manager, and the tasks in between.

use std::{sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::{
    config::{Config, Route},
    failure::Failure,
    health::{self, Health, Pulse, State},
    matrix::{Account, LoginError},
    nats::Nats,
    render::Renderer,
    retry::Outage,
    serve::{Links, Way},
};

/// How long stopping may take, with some time left of the ten seconds that we promise.
const LONGEST_STOP: Duration = Duration::from_secs(9);

/// Relays until a signal says stop.
///
/// Servers that are away are waited for, also at the start. The service manager is told that we are
/// ready when all works, or when we begin to wait: a host must be able to boot while its NATS is
/// away, but a refused password should fail `systemctl start`.
///
/// # Errors
///
/// What only a person can mend; everything else is tried again.
pub(crate) async fn run(config: Config) -> Result<(), Failure> {
    let renderers = config
        .routes
        .iter()
        .map(|route| Renderer::of(route).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    let stop = CancellationToken::new();
    let mut signals = Signals::install()?;
    let health = Health::default();
    // All routes share this thread: their work is waiting for servers.
    let tasks = LocalSet::new();
    if let Some(address) = config.health.listen {
        tasks.spawn_local(health::serve(health::bind(address).await?, health.clone()));
    }
    let (mut changes, mut said) = (health.changes(), String::new());
    let serve = serve(config, renderers, health.clone(), stop.clone());
    let mut service = Box::pin(tasks.run_until(serve));
    let mut watchdog = Watchdog::new(health.clone());
    let mut stopped_at = None;
    let result = loop {
        tokio::select! {
            result = &mut service => break result,
            name = signals.next(), if !stop.is_cancelled() => {
                info!("{name}: finishing what is on its way");
                notify(&[NotifyState::Stopping]);
                health.draining();
                stop.cancel();
                stopped_at = Some(Instant::now());
            }
            // What hangs now was to be abandoned; as after a kill, nothing is lost by that.
            () = deadline(stopped_at) => break Ok(()),
            () = watchdog.tick() => watchdog.feed(),
            Ok(()) = changes.changed() => {
                let words = health.words();
                if words != said {
                    notify(&[NotifyState::Status(&words)]);
                    said = words;
                }
            }
        }
    };
    if result.is_ok() {
        info!("stopped");
    }
    result
}

async fn serve(
    config: Config,
    renderers: Vec<Arc<Renderer>>,
    health: Health,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let refused = health.spot(None);
    let outage = Outage::of("NATS", health.spot(None));
    let connect = async || Nats::connect(&config.nats).await.map_err(Trouble::from);
    let nats = patiently(outage, State::NatsUnreachable, &stop, connect).await?;
    let Some(nats) = nats else { return Ok(()) };
    info!("connected to NATS ({})", nats.client.server_info().server_name);
    let what = format!("homeserver {}", config.matrix.homeserver);
    let open = async || Account::open(config.matrix.clone()).await.map_err(Trouble::from);
    let outage = Outage::of(&what, health.spot(None));
    let account = patiently(outage, State::HomeserverUnreachable, &stop, open).await?;
    let Some(account) = account else { return Ok(()) };
    let account = Arc::new(account);
    info!("logged in to {what} as {}", account.user);

    let mut routes = JoinSet::new();
    let all: Vec<Arc<Route>> = config.routes.into_iter().map(Arc::new).collect();
    let config = Arc::new(config.nats);
    let mut pulse = Pulse {
        health: health.clone(),
        nats: nats.clone(),
        account: Arc::clone(&account),
        routes: all.clone(),
    };
    let links =
        Links { nats: nats.clone(), account, config, health: health.clone(), stop: stop.clone() };
    for (route, renderer) in all.iter().zip(renderers) {
        let way = Way::of(route, &all, renderer, nats.clone());
        if let Some(morning) = way.morning() {
            pulse.routes.push(Arc::clone(&morning.route));
            routes.spawn_local(morning.serve_morning(links.clone()));
        }
        routes.spawn_local(way.serve(links.clone()));
    }
    health.serving();
    notify(&[NotifyState::Ready]);

    let mut pulse = Box::pin(pulse.run());
    let mut first_failure = None;
    loop {
        let ended = tokio::select! {
            ended = routes.join_next() => ended,
            failure = nats.refused(), if first_failure.is_none() => Some(Ok(Err(failure))),
            failure = &mut pulse, if first_failure.is_none() => Some(Ok(Err(failure))),
        };
        let failure = match ended {
            None => return first_failure.map_or(Ok(()), Err),
            Some(Ok(Ok(()))) => continue,
            Some(Ok(Err(failure))) => failure,
            Some(Err(panic)) => Failure::Bug(format!("a route ended unexpectedly: {panic}")),
        };
        // One route that cannot go on must be seen; the others finish what is on its way.
        if let Failure::Refused(reason) = &failure {
            refused.ails(State::CredentialsRefused, reason, Duration::ZERO);
        }
        first_failure.get_or_insert(failure);
        health.draining();
        stop.cancel();
    }
}

/// Why an attempt at the start did not succeed.
enum Trouble {
    Passing(String),
    Final(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(reason) => Self::Passing(reason),
            other => Self::Final(other),
        }
    }
}

impl From<LoginError> for Trouble {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Passing(error) => Self::Passing(error.to_string()),
            LoginError::Final(failure) => Self::Final(failure),
        }
    }
}

/// Tries until it works. `None` if we were told to stop first.
async fn patiently<T>(
    mut outage: Outage,
    state: State,
    stop: &CancellationToken,
    mut attempt: impl AsyncFnMut() -> Result<T, Trouble>,
) -> Result<Option<T>, Failure> {
    loop {
        let answer = tokio::select! {
            answer = attempt() => answer,
            () = stop.cancelled() => return Ok(None),
        };
        let reason = match answer {
            Ok(done) => {
                outage.over();
                return Ok(Some(done));
            }
            Err(Trouble::Final(failure)) => return Err(failure),
            Err(Trouble::Passing(reason)) => reason,
        };
        let pause = outage.failed(state, &reason, None);
        notify(&[NotifyState::Ready]);
        if timeout(pause, stop.cancelled()).await.is_ok() {
            return Ok(None);
        }
    }
}

async fn deadline(stopped_at: Option<Instant>) {
    match stopped_at {
        Some(at) => sleep_until(at + LONGEST_STOP).await,
        None => std::future::pending().await,
    }
}

/// The signals that mean stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    pub(crate) fn install() -> Result<Self, Failure> {
        let install = |kind| {
            signal(kind).map_err(|error| Failure::Bug(format!("no signal handler: {error}")))
        };
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Waits for one, and names it.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Tells the service manager that we are alive, twice as often as it wants to know: as long as this
/// thread, which all tasks share, goes on, and no route hangs with a message in hand.
struct Watchdog {
    interval: Option<tokio::time::Interval>,
    health: Health,
    /// That it is fed no more was said.
    is_said: bool,
}

impl Watchdog {
    fn new(health: Health) -> Self {
        let period = sd_notify::watchdog_enabled()
            .map(|limit| limit / 2)
            .filter(|period| *period > Duration::ZERO);
        Self { interval: period.map(tokio::time::interval), health, is_said: false }
    }

    async fn tick(&mut self) {
        match &mut self.interval {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }

    fn feed(&mut self) {
        match self.health.stuck() {
            None => notify(&[NotifyState::Watchdog]),
            Some(stuck) if !std::mem::replace(&mut self.is_said, true) => {
                error!("{stuck}: the service manager is to restart us; nothing is lost by that");
            }
            Some(_) => {}
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("service manager not notified: {error}");
    }
}
