//! The connection to NATS.

use std::{
    borrow::Cow,
    future::{pending, ready},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ClientError, ConnectErrorKind, ConnectOptions, Event, ServerError, jetstream,
};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    config,
    failure::{Failure, chain},
    nats::{credentials::Credentials, memory::Memory, pause::Attempts},
    reserved,
    status::{Condition, Repetitions, State},
    text::head,
    tls,
};

/// The interval of pings to the server. After the third ping without an answer the client reconnects, so one that is
/// half open is left within 20 s; with the client's own interval of a minute it would take more than three minutes.
const PING: Duration = Duration::from_secs(5);

/// The time for which a server may refuse the credentials before that is reported: when credentials are renewed, the
/// server may learn of it first.
const RENEWAL: Duration = Duration::from_secs(15);

/// The time that messages from before a connection broke may take from one task of the client to the other.
const UNDERWAY: Duration = Duration::from_millis(200);

/// The number of different complaints of servers that are logged within a minute, and the length of each.
const MOST_COMPLAINTS: usize = 10;

const COMPLAINT_CHARS: usize = 400;

/// The number of denials that are kept for somebody who is late to read them.
const MOST_DENIALS: usize = 64;

/// The keys that decide about TLS.
const TLS_KEYS: tls::Keys = tls::Keys {
    address: "nats.servers",
    ca: "nats.ca_file",
    certificate: Some("nats.cert_file and nats.key_file"),
};

/// A connection that reconnects on its own for as long as it takes.
#[derive(Debug, Clone)]
pub(crate) struct Nats {
    /// The connection.
    pub(crate) client: Client,
    /// The `JetStream` context of the connection.
    pub(crate) jetstream: jetstream::Context,
    config: Arc<config::Nats>,
    link: Arc<Link>,
    /// A channel that closes when the client's task has ended.
    task: watch::Receiver<()>,
    /// The memory for large messages.
    pub(crate) memory: Memory,
}

/// The state of the connection, as its events report it.
#[derive(Debug)]
struct Link {
    /// The number of times the connection was made.
    connections: watch::Sender<u64>,
    /// Whether the connection is up.
    is_up: watch::Sender<bool>,
    /// Whether messages have come since the client last connected.
    has_delivered: AtomicBool,
    /// The server's reason, while a server does not accept the credentials.
    refused: watch::Sender<Option<String>>,
    /// All that the server denies.
    denials: broadcast::Sender<Arc<str>>,
    /// The prefix of the inboxes.
    inbox_prefix: String,
    /// Whether the server denies the subscription to an inbox, without which no answer arrives.
    is_unanswered: watch::Sender<bool>,
    /// The complaints of servers, to log repeated ones seldom.
    complaints: Mutex<Repetitions>,
}

impl Nats {
    /// Connects, in one attempt over all configured servers.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] for files and keys that cannot be used, [`Failure::RefusedByNats`] when a server refuses the
    /// credentials, else [`Failure::Unavailable`].
    pub(crate) async fn connect(config: &config::Nats) -> Result<Self, Failure> {
        let link = Arc::new(Link::of(config.inbox_prefix.to_string()));
        let (alive, task) = watch::channel(());
        let options = options(config, Arc::clone(&link))?.event_callback({
            let link = Arc::clone(&link);
            move |event| {
                // The client drops this closure, and with it the sender, when its task ends.
                let _ = &alive;
                link.note(event);
                ready(())
            }
        });
        let client = options
            .connect(&config.servers)
            .await
            .map_err(|error| connect_failure(config, &error))?;
        let jetstream = match &config.jetstream_domain {
            Some(domain) => jetstream::with_domain(client.clone(), domain),
            None => jetstream::new(client.clone()),
        };
        let (config, memory) = (Arc::new(config.clone()), Memory::new());
        Ok(Self { client, jetstream, config, link, task, memory })
    }

    /// Makes another connection of the same kind, for requests that may break it.
    ///
    /// # Errors
    ///
    /// The errors of [`Nats::connect`].
    pub(crate) async fn another(&self) -> Result<Self, Failure> {
        let another = Box::pin(Self::connect(&self.config)).await?;
        Ok(Self { memory: self.memory.clone(), ..another })
    }

    /// Notes that a message came over the connection.
    pub(crate) fn note_delivery(&self) {
        self.link.has_delivered.store(true, Ordering::Relaxed);
    }

    /// Waits until the client can no longer be used. It always reconnects on its own, but its task panics on some
    /// headers (`async-nats`, pull request 1612).
    pub(crate) async fn gone(&self) {
        let mut task = self.task.clone();
        while task.changed().await.is_ok() {}
    }

    /// Whether the client can no longer be used.
    pub(crate) fn is_gone(&self) -> bool {
        self.task.has_changed().is_err()
    }

    /// Waits until the connection breaks. Returns at once if it is broken.
    pub(crate) async fn lost(&self) {
        let mut is_up = self.link.is_up.subscribe();
        let mut connections = self.link.connections.subscribe();
        tokio::select! {
            _ = is_up.wait_for(|is_up| !is_up) => {}
            _ = connections.wait_for(|count| *count > 1) => {}
            () = self.gone() => {}
        }
    }

    /// Waits until the connection has broken and nothing that came over it is still in the client.
    pub(crate) async fn drained(&self) {
        self.lost().await;
        sleep(UNDERWAY).await;
    }

    /// Returns a counter that changes with every reconnection.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.link.connections.subscribe()
    }

    /// Returns a flag that changes when the connection is lost and when it is made again.
    pub(crate) fn is_up(&self) -> watch::Receiver<bool> {
        self.link.is_up.subscribe()
    }

    /// Waits until a server refuses the credentials, or denies the inboxes that answers arrive in, and returns the
    /// reason. `condition` reports refused credentials meanwhile.
    pub(crate) async fn refused(&self, condition: Option<&Condition>) -> Failure {
        tokio::select! {
            failure = self.credentials_refused(condition) => failure,
            failure = self.unanswered() => failure,
        }
    }

    /// Waits until the server denies the subscription to the bridge's inboxes. The client would not subscribe again on
    /// its own once the permission is there.
    async fn unanswered(&self) -> Failure {
        let mut is_unanswered = self.link.is_unanswered.subscribe();
        // The sender lives as long as `self`.
        let _ = is_unanswered.wait_for(|is_unanswered| *is_unanswered).await;
        Failure::RefusedByNats(format!(
            "NATS does not let us subscribe to {prefix}.>, where all its answers come: have the user under [nats] \
             permitted to, and nobody else; or set nats.inbox_prefix to what it may subscribe to",
            prefix = self.link.inbox_prefix
        ))
    }

    /// Waits until a server refuses credentials that it accepted before, also after they were read again, and returns
    /// the reason.
    async fn credentials_refused(&self, condition: Option<&Condition>) -> Failure {
        let mut refused = self.link.refused.subscribe();
        loop {
            // The sender lives as long as `self`.
            let reason = refused.wait_for(Option::is_some).await;
            let reason = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
            let said = format!("NATS does not accept our credentials ({reason})");
            warn!("{said}; reading them again");
            if let Some(condition) = condition {
                condition.set(State::CredentialsRefused, &said, Duration::ZERO);
            }
            if timeout(RENEWAL, refused.wait_for(Option::is_none)).await.is_err() {
                return Failure::RefusedByNats(format!(
                    "NATS no longer accepts our credentials ({reason}): renew those under [nats]"
                ));
            }
            if let Some(condition) = condition {
                condition.clear();
            }
        }
    }

    /// Whether a server does not accept the credentials at present.
    pub(crate) fn is_refused(&self) -> bool {
        self.link.refused.borrow().is_some()
    }

    /// Waits until no server refuses the credentials.
    pub(crate) async fn accepted(&self) {
        // The sender lives as long as `self`.
        let _ = self.link.refused.subscribe().wait_for(Option::is_none).await;
    }

    /// Waits until the server, from now on, denies publishing on a subject, and returns the reason.
    pub(crate) async fn denied(&self, subject: &str) -> Failure {
        let words = format!("permissions violation for publish to \"{subject}\"");
        self.denies(&[&words]).await;
        Failure::Refused(format!(
            "NATS does not let us publish on {subject}: have the user under [nats] permitted to"
        ))
    }

    /// Waits until the server, from now on, denies something that names one of `names`, and returns what it said.
    pub(crate) async fn denies(&self, names: &[&str]) -> String {
        let mut denials = self.denials();
        loop {
            let reason = denials.next().await;
            if names.iter().any(|name| is_about(&reason, name)) {
                return reason.to_string();
            }
        }
    }

    /// Returns all that the server denies from now on, in its own words.
    pub(crate) fn denials(&self) -> Denials {
        Denials(self.link.denials.subscribe())
    }

    /// Returns the configuration of the connection.
    pub(crate) fn config(&self) -> &config::Nats {
        &self.config
    }

    /// Returns the largest message that the server takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// Whether the connection is up. False while it is lost, and once the client can no longer be used.
    pub(crate) fn is_connected(&self) -> bool {
        !self.is_gone()
            && self.client.connection_state() == async_nats::connection::State::Connected
    }
}

/// The things that the server denies, in its own words.
pub(crate) struct Denials(broadcast::Receiver<Arc<str>>);

impl Denials {
    /// Waits for the next one. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Arc<str> {
        loop {
            match self.0.recv().await {
                Ok(reason) => return reason,
                Err(RecvError::Lagged(_)) => {}
                // The sender lives as long as the connection.
                Err(RecvError::Closed) => pending().await,
            }
        }
    }
}

impl Link {
    fn of(inbox_prefix: String) -> Self {
        Self {
            inbox_prefix,
            is_unanswered: watch::Sender::default(),
            connections: watch::Sender::default(),
            // There is no `Nats` before the first connection.
            is_up: watch::Sender::new(true),
            has_delivered: AtomicBool::new(false),
            refused: watch::Sender::default(),
            denials: broadcast::Sender::new(MOST_DENIALS),
            complaints: Mutex::new(Repetitions::up_to(MOST_COMPLAINTS)),
        }
    }

    fn complaints(&self) -> MutexGuard<'_, Repetitions> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a complaint of a server. If it is repeated often, the number of repetitions is logged a minute later.
    fn log(self: &Arc<Self>, complaint: &str) {
        let complaint = head(complaint, COMPLAINT_CHARS);
        let due = {
            let mut complaints = self.complaints();
            if complaints.note(complaint) {
                warn!("NATS: {complaint}");
                return;
            }
            complaints.due().filter(|_| complaints.unlogged() == 1)
        };
        let Some(due) = due else { return };
        let link = Arc::clone(self);
        tokio::spawn(async move {
            sleep_until(due).await;
            let count = link.complaints().take();
            warn!(
                "NATS: {count} more complaints of the server like those before, not logged one by one"
            );
        });
    }

    fn deny(&self, reason: String) {
        // There may be nobody who waits for it.
        let _ = self.denials.send(reason.into());
    }

    fn note(self: &Arc<Self>, event: Event) {
        match event {
            Event::Connected => {
                self.is_up.send_replace(true);
                self.refused.send_replace(None);
                self.connections.send_modify(|count| {
                    *count += 1;
                    if *count > 1 {
                        info!("NATS: connected again");
                    }
                });
            }
            Event::Disconnected => {
                self.is_up.send_replace(false);
                warn!("NATS: connection lost; reconnecting; messages wait in NATS");
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.refused.send_replace(Some("authorization violation".to_owned()));
            }
            Event::ClientError(ClientError::Other(reason)) if is_refusal(&reason) => {
                self.refused.send_replace(Some(reason));
            }
            // The code that needs the stream or the bucket reports the consequence; other code only checks whether
            // something is left in the stream.
            Event::ServerError(ServerError::Other(reason))
                if is_about(&reason, reserved::DEFERRED_STREAM)
                    || is_about(&reason, reserved::BUCKET) =>
            {
                debug!("NATS: {reason}");
                self.deny(reason);
            }
            // A missing permission: the request that needed it reports a time-out, and this line says why.
            Event::ServerError(ServerError::Other(reason)) => {
                self.log(&without_numbers(&reason));
                let inbox =
                    format!("permissions violation for subscription to \"{}.", self.inbox_prefix);
                if is_about(&reason, &inbox) {
                    self.is_unanswered.send_replace(true);
                }
                self.deny(reason);
            }
            other => debug!("NATS: {other}"),
        }
    }
}

/// Returns a complaint about an acknowledgement without the numbers in its subject, as each has others.
fn without_numbers(complaint: &str) -> Cow<'_, str> {
    let mut parts = complaint.splitn(3, '"');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(subject), Some(after)) if subject.starts_with("$JS.ACK.") => {
            let named: Vec<&str> = subject.split('.').take(4).collect();
            Cow::Owned(format!("{before}\"{}.>\"{after}", named.join(".")))
        }
        _ => Cow::Borrowed(complaint),
    }
}

/// Whether a server's message names something, in whatever case the client passes it on.
fn is_about(reason: &str, name: &str) -> bool {
    reason.to_lowercase().contains(&name.to_lowercase())
}

/// Whether the failure of a reconnection is a refusal. The client reports only its kind, in words.
fn is_refusal(reason: &str) -> bool {
    [ConnectErrorKind::AuthorizationViolation, ConnectErrorKind::Authentication]
        .iter()
        .any(|kind| kind.to_string() == reason)
}

fn options(config: &config::Nats, link: Arc<Link>) -> Result<ConnectOptions, Failure> {
    let mut options = match Credentials::read(&config.auth)? {
        None => ConnectOptions::new(),
        Some(credentials) => {
            ConnectOptions::with_auth_callback(move |nonce| ready(credentials.answer(&nonce)))
        }
    };
    let attempts = Mutex::new(Attempts::default());
    options = options
        .name("nats-matrix")
        .ping_interval(PING)
        .reconnect_delay_callback(move |count| {
            let has_delivered = link.has_delivered.swap(false, Ordering::Relaxed);
            attempts.lock().unwrap_or_else(PoisonError::into_inner).pause(count, has_delivered)
        })
        .custom_inbox_prefix(config.inbox_prefix.as_str());
    // The client opens these files on its own, again for each connection. They are read here to report errors early.
    for (key, path) in config.certificates() {
        config::read_file(key, path)?;
    }
    if config.is_over_tls() {
        // A server names the other servers of its cluster before TLS begins, so an attacker in between could name some,
        // too. The client would connect to them without TLS, or with a certificate that is valid for their own name.
        options = options.require_tls(true).ignore_discovered_servers();
    }
    if let Some(ca) = &config.ca_file {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some(own) = &config.certificate {
        options = options.add_client_certificate(own.cert_file.clone(), own.key_file.clone());
    }
    Ok(options)
}

fn connect_failure(config: &config::Nats, error: &async_nats::ConnectError) -> Failure {
    let servers = config.hosts().join(", ");
    let reason = chain(error);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Failure::RefusedByNats(format!(
                "NATS at {servers} refuses our credentials ({reason}): check those under [nats]"
            ))
        }
        ConnectErrorKind::ServerParse => Failure::Config(format!("nats.servers: {reason}")),
        kind => Failure::Unavailable(
            match tls::Cause::of(error).and_then(|cause| cause.advice(TLS_KEYS)) {
                Some(advice) => format!("NATS at {servers} {advice}"),
                None if kind == ConnectErrorKind::Tls => {
                    format!("NATS at {servers}: no TLS connection: {reason}")
                }
                None => format!("NATS at {servers} cannot be reached: {reason}"),
            },
        ),
    }
}
