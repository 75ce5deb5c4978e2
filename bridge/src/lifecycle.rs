//! From the start to the end of `run`: signals, the service manager, and the tasks in between.

use std::{path::Path, rc::Rc, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::LocalBoxFuture};
use sd_notify::NotifyState;
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    config::Route,
    failure::Failure,
    health::{self, Health, Pulse, State},
    log::Log,
    matrix::LoginError,
    reload::Setup,
    retry::Outage,
    serve::{Links, Way},
    signals::{Hangup, Signals},
    supervise::{Trial, keep_going},
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
            End::Replaced(next) => {
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
            End::Stopped => {
                info!("stopped");
                return Ok(());
            }
            // That no configuration is to blame for.
            End::Failed(Failure::Unavailable(reason)) => {
                if manager.health.reconnects() {
                    warn!("{reason}; connecting anew, nothing is lost");
                } else {
                    debug!("{reason}; connecting anew, nothing is lost");
                }
                setup = Rc::new(setup.reconnected());
            }
            End::Failed(failure) => match before.take() {
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
enum End {
    Stopped,
    Failed(Failure),
    /// It has made room for another one.
    Replaced(Rc<Setup>),
}

/// What is going on besides the work.
enum Course<'a> {
    /// Nothing.
    On,
    /// The configuration is read again.
    Reading(LocalBoxFuture<'a, Result<Rc<Setup>, Failure>>),
    /// What is on its way is finished, until then at most.
    Ending { by: Instant, next: Option<Rc<Setup>> },
}

/// What has become of it.
enum Turn {
    Read(Result<Rc<Setup>, Failure>),
    Late,
}

impl<'a> Course<'a> {
    fn reading(setup: &'a Setup, file: &'a Path) -> Self {
        info!("SIGHUP: reading {} again", file.display());
        reloading();
        Self::Reading(setup.next(file).boxed_local())
    }

    async fn turn(&mut self) -> Turn {
        match self {
            Self::On => std::future::pending().await,
            Self::Reading(setup) => Turn::Read(setup.await),
            Self::Ending { by, .. } => {
                sleep_until(*by).await;
                Turn::Late
            }
        }
    }

    /// A signal to stop is heard once, one to read again when nothing else goes on; until then it
    /// waits.
    fn is_stopping(&self) -> bool {
        matches!(self, Self::Ending { next: None, .. })
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
    async fn attend(&mut self, setup: &Rc<Setup>, trial: Option<Trial>) -> End {
        let stop = CancellationToken::new();
        // All routes share this thread: their work is waiting for servers.
        let tasks = LocalSet::new();
        if let Some(address) = setup.config.health.listen {
            match health::bind(address).await {
                Ok(listener) => {
                    let hosts = setup.config.health.hosts.clone();
                    drop(tasks.spawn_local(health::serve(listener, hosts, self.health.clone())));
                }
                Err(failure) => return End::Failed(failure),
            }
        }
        let work = serve(Rc::clone(setup), self.health.clone(), trial, stop.clone());
        let mut service = Box::pin(tasks.run_until(work));
        let (mut changes, mut said) = (self.health.changes(), String::new());
        // What we begin with is news, too.
        changes.mark_changed();
        // The work before may have ended while it was read.
        let mut course = if self.is_asked { Course::reading(setup, self.file) } else { Course::On };
        let result = loop {
            tokio::select! {
                result = &mut service => break result,
                name = self.signals.next(), if !course.is_stopping() => {
                    info!("{name}: finishing what is on its way");
                    notify(&[NotifyState::Stopping]);
                    self.health.draining();
                    course = ending(&stop, None);
                }
                () = self.hangup.next(), if matches!(course, Course::On) => {
                    self.is_asked = true;
                    course = Course::reading(setup, self.file);
                }
                turn = course.turn() => match turn {
                    Turn::Read(next) => {
                        self.is_asked = false;
                        course = match next {
                            Ok(next) => ending(&stop, Some(next)),
                            Err(failure) => {
                                self.refuse(&failure);
                                Course::On
                            }
                        };
                    }
                    // What hangs now was to be abandoned; as after a kill, nothing is lost by that.
                    Turn::Late => break Ok(()),
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
            (Course::Ending { next: Some(next), .. }, result) => {
                if let Err(failure) = result {
                    warn!("the old configuration ended with: {failure}");
                }
                End::Replaced(next)
            }
            (_, Ok(())) | (Course::Ending { next: None, .. }, Err(Failure::Unavailable(_))) => {
                End::Stopped
            }
            (_, Err(failure)) => End::Failed(failure),
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
        let refused = self.health.spot(None);
        refused.ails(State::CredentialsRefused, reason, Duration::ZERO);
        notify(&[NotifyState::Status(&self.health.words())]);
    }
}

fn ending<'a>(stop: &CancellationToken, next: Option<Rc<Setup>>) -> Course<'a> {
    stop.cancel();
    Course::Ending { by: Instant::now() + LONGEST_STOP, next }
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
        routes: all.clone(),
    };
    let links = Links {
        nats: nats.clone(),
        account,
        administrators,
        config,
        health: health.clone(),
        stop: stop.clone(),
    };
    for (route, renderer) in all.iter().zip(&setup.renderers) {
        let way = Way::of(route, &all, renderer.clone(), nats.clone(), state_dir);
        let morning = way.morning();
        if route.quiet.is_some() {
            pulse.routes.push(Arc::clone(&morning.route));
        }
        let (links, trial) = (|| links.clone(), || trial.clone());
        routes.spawn_local(keep_going(morning, links(), trial(), Way::serve_morning));
        routes.spawn_local(keep_going(way, links(), trial(), Way::serve));
    }
    health.serving();
    notify(&[NotifyState::Ready]);

    let refused = health.spot(None);
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
            refused.ails(State::CredentialsRefused, reason, Duration::ZERO);
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

/// Why an attempt at the start did not succeed.
pub(crate) enum Trouble {
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
pub(crate) async fn patiently<T>(
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
        if self.is_to_be_fed() {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// Whether no route hangs. If one does, that is said.
    fn is_to_be_fed(&mut self) -> bool {
        let stuck = self.health.stuck();
        if let Some(stuck) = &stuck
            && !std::mem::replace(&mut self.is_said, true)
        {
            error!("{stuck}: the service manager is to restart us; nothing is lost by that");
        }
        stuck.is_none()
    }
}

/// That we are not ready until we say so again.
fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => debug!("service manager not notified: {error}"),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("service manager not notified: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::with_a_message;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_no_more_when_a_route_hangs() {
        let (health, route) = with_a_message("a");
        let mut watchdog = Watchdog::new(health);
        tokio::time::advance(Duration::from_mins(4)).await;
        assert!(watchdog.is_to_be_fed());
        tokio::time::advance(Duration::from_mins(2)).await;
        assert!(!watchdog.is_to_be_fed() && watchdog.is_said);
        assert!(!watchdog.is_to_be_fed(), "nor the next time");
        route.let_go();
        assert!(watchdog.is_to_be_fed());
    }
}
