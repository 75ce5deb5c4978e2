//! From the start to the end of `run`: signals, the service manager, and the tasks in between.

use std::{path::Path, rc::Rc, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::LocalBoxFuture};
use sd_notify::NotifyState;
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    config::Route,
    failure::Failure,
    health::{self, Pulse},
    log::Log,
    pipeline::{RouteContext, Services},
    run::{
        reload::Setup,
        route::{serve_deferred, serve_live},
        service_manager::{Watchdog, notify},
        supervise::{Trial, keep_going},
    },
    signals::{Hangup, Signals},
    status::{Health, State},
};

/// How long stopping may take, with some time left of the ten seconds that we promise.
const LONGEST_STOP: Duration = Duration::from_secs(9);

/// A configuration that was read again and ends within this time gives way to the one before it.
const TRIAL: Duration = Duration::from_mins(1);

/// Relays until a signal says stop.
///
/// Servers that are away are waited for, also at the start. The service manager is told that we are
/// ready when all works, or when we begin to wait: a host must be able to boot while its NATS is
/// away, but a refused password should fail `systemctl start`.
///
/// SIGHUP has `file` read again. What is wrong with it shows while the present configuration goes
/// on, or, for what only the servers know, when it takes over; in both cases the present one stays.
///
/// # Errors
///
/// What only a person can mend; everything else is tried again.
pub(crate) async fn run(file: &Path, setup: Setup, log: &Log) -> Result<(), Failure> {
    let health = Health::default();
    let mut manager = Manager {
        file,
        signals: Signals::install()?,
        hangup: Hangup::install()?,
        is_asked: false,
        watchdog: Watchdog::new(health.clone()),
        health,
    };
    let mut setup = Rc::new(setup);
    let mut before: Option<(Setup, Trial)> = None;
    loop {
        log.set(setup.config.log);
        manager.health.begin(setup.refused.as_ref());
        let trial = before.as_ref().map(|(_, trial)| trial.clone());
        match manager.attend(&setup, trial).await {
            Ended::Replaced(next) => {
                info!("the new configuration takes over");
                if std::env::var_os("CREDENTIALS_DIRECTORY").is_some() {
                    info!(
                        "what systemd handed over is as it was when the service was started: restart it for renewed credentials"
                    );
                }
                let known = manager.health.failures();
                before = Some((setup.apart(), Trial { until: Instant::now() + TRIAL, known }));
                setup = next;
            }
            Ended::Stopped => {
                info!("stopped");
                return Ok(());
            }
            // That no configuration is to blame for.
            Ended::Failed(Failure::Unavailable(reason)) => {
                if manager.health.reconnects() {
                    warn!("{reason}; connecting anew, nothing is lost");
                } else {
                    debug!("{reason}; connecting anew, nothing is lost");
                }
                setup = Rc::new(setup.reconnected());
            }
            Ended::Failed(failure) => match before.take() {
                // When a route has failed, the others finish what is on its way first.
                Some((old, trial)) if Instant::now() < trial.until + LONGEST_STOP => {
                    manager.refuse(&failure);
                    setup = Rc::new(old.instead_of(failure));
                }
                _ => {
                    manager.give_up(&failure);
                    return Err(failure);
                }
            },
        }
    }
}

/// How the work by one configuration ended.
enum Ended {
    Stopped,
    Failed(Failure),
    /// It has made room for another one.
    Replaced(Rc<Setup>),
}

/// What is going on besides the work.
enum Phase<'a> {
    /// Nothing.
    Running,
    /// The configuration is read again.
    Reloading(LocalBoxFuture<'a, Result<Rc<Setup>, Failure>>),
    /// What is on its way is finished, until then at most.
    Draining { by: Instant, next: Option<Rc<Setup>> },
}

/// What has become of it.
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

    /// A signal to stop is heard once, one to read again when nothing else goes on; until then it
    /// waits.
    fn is_stopping(&self) -> bool {
        matches!(self, Self::Draining { next: None, .. })
    }
}

/// What lasts as long as the process: signals, and what the service manager wants to know.
struct Manager<'a> {
    file: &'a Path,
    signals: Signals,
    hangup: Hangup,
    /// SIGHUP has come, and what it is for was neither taken nor refused yet.
    is_asked: bool,
    watchdog: Watchdog,
    health: Health,
}

impl Manager<'_> {
    /// Sees to the work by one configuration until it ends.
    async fn attend(&mut self, setup: &Rc<Setup>, trial: Option<Trial>) -> Ended {
        let stop = CancellationToken::new();
        // All routes share this thread: their work is waiting for servers.
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
        let work = serve(Rc::clone(setup), self.health.clone(), trial, stop.clone());
        let mut service = Box::pin(tasks.run_until(work));
        let (mut changes, mut said) = (self.health.changes(), String::new());
        // What we begin with is news, too.
        changes.mark_changed();
        // The work before may have ended while it was read.
        let mut course =
            if self.is_asked { Phase::reading(setup, self.file) } else { Phase::Running };
        let result = loop {
            tokio::select! {
                result = &mut service => break result,
                name = self.signals.next(), if !course.is_stopping() => {
                    info!("{name}: finishing what is on its way");
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
                    // What hangs now was to be abandoned; as after a kill, nothing is lost by that.
                    PhaseEnd::Overdue => break Ok(()),
                },
                () = self.watchdog.tick() => self.watchdog.feed(),
                count = self.health.untold_reconnections() => {
                    warn!("NATS: the client ended {count} times more since; nothing is lost");
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
                    warn!("the old configuration ended with: {failure}");
                }
                Ended::Replaced(next)
            }
            (_, Ok(())) | (Phase::Draining { next: None, .. }, Err(Failure::Unavailable(_))) => {
                Ended::Stopped
            }
            (_, Err(failure)) => Ended::Failed(failure),
        }
    }

    fn refuse(&self, failure: &Failure) {
        error!("the new configuration is refused, the one before is in force: {failure}");
        self.health.refused(failure);
        notify(&[NotifyState::Ready]);
    }

    /// Says of refused credentials that they are why it ends: the service manager shows what it was told
    /// last, and nobody else may have had the time to ask.
    fn give_up(&self, failure: &Failure) {
        let Failure::Refused(reason) = failure else { return };
        let refused = self.health.condition(None);
        refused.set(State::CredentialsRefused, reason, Duration::ZERO);
        notify(&[NotifyState::Status(&self.health.words())]);
    }
}

fn ending<'a>(stop: &CancellationToken, next: Option<Rc<Setup>>) -> Phase<'a> {
    stop.cancel();
    Phase::Draining { by: Instant::now() + LONGEST_STOP, next }
}

async fn serve(
    setup: Rc<Setup>,
    health: Health,
    trial: Option<Trial>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let Some(nats) = setup.nats(&health, &stop).await? else { return Ok(()) };
    let Some(account) = setup.account(&health, &stop).await? else { return Ok(()) };

    let config = &setup.config;
    let mut routes = JoinSet::new();
    let all: Vec<Arc<Route>> = config.routes.iter().cloned().map(Arc::new).collect();
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
        health: health.clone(),
        stop: stop.clone(),
    };
    for (route, renderer) in all.iter().zip(&setup.renderers) {
        let live = RouteContext::live(route, &all, renderer.clone(), nats.clone(), state_dir);
        let deferred = live.deferred();
        pulse.feeds.push(live.feed.clone());
        if route.quiet.is_some() {
            pulse.feeds.push(deferred.feed.clone());
        }
        let (services, trial) = (|| services.clone(), || trial.clone());
        routes.spawn_local(keep_going(deferred, services(), trial(), serve_deferred));
        routes.spawn_local(keep_going(live, services(), trial(), serve_live));
    }
    health.serving();
    notify(&[NotifyState::Ready]);

    let refused = health.condition(None);
    let mut refusal = Box::pin(nats.refused(Some(&refused)));
    let mut pulse = Box::pin(pulse.run());
    let mut first_failure = None;
    loop {
        let ended = tokio::select! {
            ended = routes.join_next() => ended,
            failure = &mut refusal, if first_failure.is_none() => Some(Ok(Err(failure))),
            () = nats.gone(), if first_failure.is_none() => Some(Ok(Err(client_gone()))),
            failure = &mut pulse, if first_failure.is_none() => Some(Ok(Err(failure))),
        };
        let failure = match ended {
            None => return first_failure.map_or(Ok(()), Err),
            Some(Ok(Ok(()))) => continue,
            Some(Ok(Err(failure))) => failure,
            Some(Err(panic)) => Failure::Bug(format!("a route ended unexpectedly: {panic}")),
        };
        // No route can go on; each finishes what is on its way.
        if let Failure::Refused(reason) = &failure {
            refused.set(State::CredentialsRefused, reason, Duration::ZERO);
        }
        first_failure.get_or_insert(failure);
        health.draining();
        stop.cancel();
    }
}

fn client_gone() -> Failure {
    Failure::Unavailable(
        "NATS: the client ended, as it does when a message has headers that it cannot read"
            .to_owned(),
    )
}

/// That we are not ready until we say so again.
fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => debug!("service manager not notified: {error}"),
    }
}
