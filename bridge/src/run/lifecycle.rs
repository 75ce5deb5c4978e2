//! `run` from start to end: signals, the service manager, and the tasks.

use std::{path::Path, rc::Rc, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::LocalBoxFuture};
use sd_notify::NotifyState;
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    config::Route,
    failure::Failure,
    health::{self, Pulse},
    log::Log,
    matrix::Listened,
    nats::Nats,
    pipeline::{RouteContext, Services},
    run::{
        answers::{answered_route, keep_listening},
        drain::{serve_removed, serve_removed_deferred},
        history::{History, StreamHistory},
        refusal_alert::tell,
        reload::Setup,
        route::{serve_deferred, serve_live},
        service_manager::{Watchdog, notify},
        state_lock::StateLock,
        supervise::{Trial, keep_going},
    },
    signals::{Hangup, Signals},
    signature::SigningKey,
    source::Lease,
    status::{Condition, Health, State},
};

/// The longest time that stopping may take, which leaves a margin within the promised ten seconds.
const LONGEST_STOP: Duration = Duration::from_secs(9);

/// The time within which a failing new configuration is replaced by the one before it.
const TRIAL: Duration = Duration::from_mins(1);

/// The time without a refusal after which NATS is taken to have accepted the bridge. What it is not permitted to shows
/// with its first requests.
const ACCEPTED_AFTER: Duration = Duration::from_secs(2);

/// Relays until a signal asks to stop.
///
/// Unreachable servers are waited for, even at the start. The service manager is notified of readiness when everything
/// works, or when the bridge begins to wait: a host must be able to boot while its NATS is unreachable, but a password
/// that was never accepted should make `systemctl start` fail.
///
/// SIGHUP makes the bridge read `file` again. Errors in it show while the present configuration is still in use, and
/// errors that only the servers can detect show when the new one takes over; in both cases the present one stays.
///
/// # Errors
///
/// A failure that only a person can fix; everything else is retried.
pub(crate) async fn run(file: &Path, setup: Setup, log: &Log) -> Result<(), Failure> {
    let health = Health::default();
    let mut manager = Manager {
        file,
        signals: Signals::install()?,
        hangup: Hangup::install()?,
        is_asked: false,
        watchdog: Watchdog::new(health.clone()),
        health,
        lease: Lease::new()?,
        lock: None,
        history: None,
    };
    tokio::select! {
        lock = StateLock::take(&setup.config.matrix.state_dir, &manager.lease) => {
            manager.lock = Some(lock?);
        }
        name = manager.signals.next() => {
            info!("{name}: stopped");
            return Ok(());
        }
    }
    let mut setup = Rc::new(setup);
    let mut before: Option<(Setup, Trial)> = None;
    loop {
        log.set(setup.config.log);
        manager.health.begin(setup.refused.as_ref());
        let trial = before.as_ref().map(|(_, trial)| trial.clone());
        match manager.attend(&setup, trial).await {
            Ended::Replaced(next) => {
                if let Err(failure) = manager.lock_next(&setup, &next).await {
                    manager.refuse(&failure);
                    setup = Rc::new(setup.apart().instead_of(failure));
                    continue;
                }
                info!("the new configuration takes over");
                if std::env::var_os("CREDENTIALS_DIRECTORY").is_some() {
                    info!(
                        "credentials from systemd are still those of the service's start: restart the service to renew them"
                    );
                }
                let known = manager.health.failures();
                before = Some((setup.apart(), Trial { until: Instant::now() + TRIAL, known }));
                setup = next;
            }
            Ended::Stopped(result) => {
                manager.lease.release().await;
                match &result {
                    Ok(()) => info!("stopped"),
                    Err(failure) => manager.give_up(failure),
                }
                return result;
            }
            // A lost client is not the fault of a configuration.
            Ended::Failed(Failure::Unavailable(reason)) => {
                if manager.health.reconnects() {
                    warn!("{reason}; reconnecting; messages wait in NATS");
                } else {
                    debug!("{reason}; reconnecting; messages wait in NATS");
                }
                setup = Rc::new(setup.reconnected());
            }
            Ended::Failed(failure) => match before.take() {
                // When a route has failed, the others first finish their messages in progress, which takes LONGEST_STOP
                // at most.
                Some((old, trial)) if Instant::now() < trial.until + LONGEST_STOP => {
                    manager.refuse(&failure);
                    setup = Rc::new(old.instead_of(failure));
                }
                _ => match failure {
                    // A program that answers in the place of NATS must not be able to end the bridge for good.
                    Failure::RefusedByNats(reason) if setup.was_accepted_by_nats() => {
                        error!("{reason}; trying again; messages wait in NATS");
                        setup = Rc::new(setup.refused_by_nats(&reason));
                    }
                    failure => {
                        manager.lease.release().await;
                        manager.give_up(&failure);
                        return Err(failure);
                    }
                },
            },
        }
    }
}

/// The reason why the work with one configuration ended.
enum Ended {
    /// The process was told to stop, and does so whatever failed meanwhile.
    Stopped(Result<(), Failure>),
    Failed(Failure),
    /// Another configuration takes over.
    Replaced(Rc<Setup>),
}

/// The phase of the process, besides the work of the routes.
enum Phase<'a> {
    /// No other activity.
    Running,
    /// The configuration is being read again.
    Reloading(LocalBoxFuture<'a, Result<Rc<Setup>, Failure>>),
    /// The messages in progress are being finished, until `by` at the latest.
    Draining { by: Instant, next: Option<Rc<Setup>> },
}

/// The event that ends a phase.
enum PhaseEnd {
    Read(Result<Rc<Setup>, Failure>),
    Overdue,
}

impl<'a> Phase<'a> {
    fn reading(setup: &'a Setup, file: &'a Path) -> Self {
        info!("SIGHUP: reading {} again", file.display());
        reloading();
        Self::Reloading(setup.next(file).boxed_local())
    }

    async fn turn(&mut self) -> PhaseEnd {
        match self {
            Self::Running => std::future::pending().await,
            Self::Reloading(setup) => PhaseEnd::Read(setup.await),
            Self::Draining { by, .. } => {
                sleep_until(*by).await;
                PhaseEnd::Overdue
            }
        }
    }

    /// Whether the process is about to stop. Then a further stop signal is ignored; a SIGHUP waits until no other phase
    /// is active.
    fn is_stopping(&self) -> bool {
        matches!(self, Self::Draining { next: None, .. })
    }
}

/// The parts that last as long as the process: signals, health and the service manager's watchdog.
struct Manager<'a> {
    file: &'a Path,
    signals: Signals,
    hangup: Hangup,
    /// Whether a SIGHUP has arrived whose configuration is neither accepted nor refused yet.
    is_asked: bool,
    watchdog: Watchdog,
    health: Health,
    lease: Lease,
    /// The lock on the state directory.
    lock: Option<StateLock>,
    /// The history of the configuration in the state directory.
    history: Option<Arc<History>>,
}

impl Manager<'_> {
    /// Runs the work with one configuration until it ends.
    async fn attend(&mut self, setup: &Rc<Setup>, trial: Option<Trial>) -> Ended {
        let stop = CancellationToken::new();
        // All routes share this thread, because they mostly wait for servers.
        let tasks = LocalSet::new();
        if let Some(address) = setup.config.health.listen {
            match health::bind(address).await {
                Ok(listener) => {
                    let hosts = setup.config.health.hosts.clone();
                    drop(tasks.spawn_local(health::serve(listener, hosts, self.health.clone())));
                }
                Err(failure) => return Ended::Failed(failure),
            }
        }
        let history = self.history(&setup.config.matrix.state_dir);
        let (served, health) = (Rc::clone(setup), self.health.clone());
        let work = serve(served, health, &self.lease, &history, trial, stop.clone());
        let mut service = Box::pin(tasks.run_until(work));
        let (mut changes, mut said) = (self.health.changes(), String::new());
        // The first status has to be reported, too.
        changes.mark_changed();
        // A reload may have been interrupted when the work with the configuration before ended.
        let mut course =
            if self.is_asked { Phase::reading(setup, self.file) } else { Phase::Running };
        let result = loop {
            tokio::select! {
                result = &mut service => break result,
                name = self.signals.next(), if !course.is_stopping() => {
                    info!("{name}: stopping after the messages in progress");
                    notify(&[NotifyState::Stopping]);
                    self.health.draining();
                    course = ending(&stop, None);
                }
                () = self.hangup.next(), if matches!(course, Phase::Running) => {
                    self.is_asked = true;
                    course = Phase::reading(setup, self.file);
                }
                turn = course.turn() => match turn {
                    PhaseEnd::Read(next) => {
                        self.is_asked = false;
                        course = match next {
                            Ok(next) => ending(&stop, Some(next)),
                            Err(failure) => {
                                self.refuse(&failure);
                                Phase::Running
                            }
                        };
                    }
                    // Work that is still not finished is abandoned, as by a kill, and its message comes again.
                    PhaseEnd::Overdue => {
                        self.lease.doubt();
                        break Ok(());
                    }
                },
                () = self.watchdog.tick() => self.watchdog.feed(),
                count = self.health.untold_reconnections() => {
                    warn!("NATS: the client ended {count} more times since; messages wait in NATS");
                }
                Ok(()) = changes.changed() => {
                    let words = self.health.words();
                    if words != said {
                        notify(&[NotifyState::Status(&words)]);
                        said = words;
                    }
                }
            }
        };
        match (course, result) {
            (Phase::Draining { next: Some(next), .. }, result) => {
                if let Err(failure) = result {
                    warn!("the routes of the old configuration ended with an error: {failure}");
                }
                Ended::Replaced(next)
            }
            (_, Ok(())) => Ended::Stopped(Ok(())),
            (Phase::Draining { next: None, .. }, Err(failure)) => Ended::Stopped(match failure {
                // A person who stops the bridge need not mend NATS first.
                Failure::Unavailable(_) | Failure::RefusedByNats(_) => Ok(()),
                failure => Err(failure),
            }),
            (_, Err(failure)) => Ended::Failed(failure),
        }
    }

    /// Returns the history of the configuration in a state directory that is locked.
    fn history(&mut self, state_dir: &Path) -> Arc<History> {
        let known = self.history.take().filter(|known| known.is_in(state_dir));
        Arc::clone(self.history.insert(known.unwrap_or_else(|| History::read(state_dir))))
    }

    /// Locks the state directory of the next configuration, if it is another one.
    async fn lock_next(&mut self, present: &Setup, next: &Setup) -> Result<(), Failure> {
        let (present, next) = (&present.config.matrix.state_dir, &next.config.matrix.state_dir);
        if present != next {
            self.lock = Some(StateLock::take(next, &self.lease).await?);
        }
        Ok(())
    }

    fn refuse(&self, failure: &Failure) {
        error!("the new configuration is refused, the one before is in force: {failure}");
        self.health.refused(failure);
        notify(&[NotifyState::Ready]);
    }

    /// Reports refused credentials as the reason for the end: the service manager shows the last status, and nobody may
    /// have had time to ask for another.
    fn give_up(&self, failure: &Failure) {
        let (Failure::Refused(reason) | Failure::RefusedByNats(reason)) = failure else { return };
        let refused = self.health.condition(None);
        refused.set(State::CredentialsRefused, reason, Duration::ZERO);
        notify(&[NotifyState::Status(&self.health.words())]);
    }
}

fn ending<'a>(stop: &CancellationToken, next: Option<Rc<Setup>>) -> Phase<'a> {
    stop.cancel();
    Phase::Draining { by: Instant::now() + LONGEST_STOP, next }
}

/// Serves the routes of earlier configurations for which messages wait, and forgets those configurations when nothing
/// waits for them.
fn serve_the_past(
    routes: &mut JoinSet<Result<(), Failure>>,
    streams: Vec<Arc<StreamHistory>>,
    all: &Arc<[Arc<Route>]>,
    services: &Services,
    state_dir: &Path,
) {
    for history in streams {
        for route in history.removed() {
            let context = RouteContext::removed(&route, all, services, state_dir);
            drain(routes, context, services, &history);
        }
        let Services { nats, stop, .. } = services.clone();
        routes.spawn_local(async move {
            let _ = stop.run_until_cancelled(history.outlive(&nats)).await;
            Ok(())
        });
    }
}

async fn serve(
    setup: Rc<Setup>,
    health: Health,
    lease: &Lease,
    history: &Arc<History>,
    trial: Option<Trial>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut alert = Box::pin(tell(&setup, &health, &stop));
    let nats = tokio::select! {
        nats = setup.nats(&health, &stop) => nats?,
        never = &mut alert => match never {},
    };
    // It may be logging in, which must not happen twice at the same time.
    drop(alert);
    let Some(nats) = nats else { return Ok(()) };
    let Some(account) = setup.account(&health, &stop).await? else { return Ok(()) };

    let config = &setup.config;
    let mut routes = JoinSet::new();
    let quiet = config.routes.iter().filter(|route| route.quiet.is_some()).count();
    nats.memory.divide(config.routes.len() + quiet);
    let all: Arc<[Arc<Route>]> = config.routes.iter().cloned().map(Arc::new).collect();
    let administrators = config.provision.administrators(account.user.server_name()).collect();
    let state_dir = &config.matrix.state_dir;
    let config = Arc::new(config.nats.clone());
    let mut pulse = Pulse {
        health: health.clone(),
        nats: nats.clone(),
        account: Arc::clone(&account),
        feeds: Vec::new(),
    };
    let services = Services {
        nats: nats.clone(),
        account,
        administrators,
        config,
        key: SigningKey::of(state_dir)?,
        library: Arc::clone(&setup.library),
        listened: Listened::default(),
        health: health.clone(),
        lease: lease.clone(),
        stop: stop.clone(),
    };
    let mut answered = Vec::new();
    let streams = history.of_streams(&all, &services.account.user);
    for (route, renderer) in all.iter().zip(&setup.renderers) {
        let Some(history) = streams.iter().find(|it| it.is_of(route)).cloned() else { continue };
        let live = RouteContext::live(route, &all, renderer.clone(), &services, state_dir);
        let deferred = live.deferred();
        pulse.feeds.push(live.feed.clone());
        if route.quiet.is_some() {
            pulse.feeds.push(deferred.feed.clone());
        }
        answered.extend(answered_route(&live));
        let (services, trial) = (|| services.clone(), || trial.clone());
        routes.spawn_local(keep_going(deferred, services(), trial(), serve_deferred));
        let live_with_history =
            async move |context, services| Box::pin(serve_live(context, services, &history)).await;
        routes.spawn_local(keep_going(live, services(), trial(), live_with_history));
    }
    serve_the_past(&mut routes, streams, &all, &services, state_dir);
    if !answered.is_empty() {
        routes.spawn_local(keep_listening(answered, services.clone()));
    }
    health.serving();
    notify(&[NotifyState::Ready]);

    let refused = health.condition(None);
    let mut refusal = Box::pin(refused_for_good(&nats, &setup, &refused));
    let mut pulse = Box::pin(pulse.run());
    let mut alert = Box::pin(tell(&setup, &health, &stop));
    let like = all.first().map_or_else(String::new, |route| route.stream.clone());
    let mut lease = Box::pin(lease.keep(&nats, &like));
    let mut accepted = Box::pin(sleep(ACCEPTED_AFTER));
    let mut is_accepted = false;
    let mut first_failure = None;
    loop {
        let ended = tokio::select! {
            () = &mut accepted, if !is_accepted && first_failure.is_none() => {
                is_accepted = true;
                setup.accepted_by_nats();
                continue;
            }
            ended = routes.join_next() => ended,
            failure = &mut refusal, if first_failure.is_none() => Some(Ok(Err(failure))),
            never = &mut alert => match never {},
            () = nats.gone(), if first_failure.is_none() => Some(Ok(Err(client_gone()))),
            failure = &mut pulse, if first_failure.is_none() => Some(Ok(Err(failure))),
            never = &mut lease => match never {},
        };
        let failure = match ended {
            None => return first_failure.map_or(Ok(()), Err),
            Some(Ok(Ok(()))) => continue,
            Some(Ok(Err(failure))) => failure,
            Some(Err(panic)) => Failure::Bug(format!("a route ended unexpectedly: {panic}")),
        };
        // No route can continue; each finishes its message in progress.
        if let Failure::Refused(reason) | Failure::RefusedByNats(reason) = &failure {
            refused.set(State::CredentialsRefused, reason, Duration::ZERO);
        }
        first_failure.get_or_insert(failure);
        health.draining();
        stop.cancel();
    }
}

/// Starts the tasks of a route that was removed. Its failures are no reason to refuse the configuration that removed it.
fn drain(
    routes: &mut JoinSet<Result<(), Failure>>,
    live: RouteContext,
    services: &Services,
    history: &Arc<StreamHistory>,
) {
    let deferred = live.deferred();
    let of_live = Arc::clone(history);
    let serve =
        async move |context, services| Box::pin(serve_removed(context, services, &of_live)).await;
    routes.spawn_local(keep_going(live, services.clone(), None, serve));
    let of_deferred = Arc::clone(history);
    let serve = async move |context, services| {
        Box::pin(serve_removed_deferred(context, services, &of_deferred)).await
    };
    routes.spawn_local(keep_going(deferred, services.clone(), None, serve));
}

/// Waits until NATS refuses the bridge in a way that only a new connection may end. Credentials that it no longer accepts
/// are read again and tried for as long as it takes.
async fn refused_for_good(nats: &Nats, setup: &Setup, refused: &Condition) -> Failure {
    loop {
        let failure = nats.refused(Some(refused)).await;
        if !nats.is_refused() {
            return failure;
        }
        error!("{failure}; trying again; messages wait in NATS");
        setup.refusals.note(&failure.to_string());
        nats.accepted().await;
        setup.refusals.over();
        refused.clear();
    }
}

fn client_gone() -> Failure {
    Failure::Unavailable(
        "NATS: the client ended, as it does when a message has headers that it cannot read"
            .to_owned(),
    )
}

/// Notifies the service manager that the bridge is not ready until it reports readiness again.
fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => debug!("service manager not notified: {error}"),
    }
}
