//! The connection to NATS.

use std::{
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ClientError, ConnectErrorKind, ConnectOptions, Event, ServerError, jetstream,
};
use tokio::{
    sync::watch,
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
};

/// How often the server is asked whether it is there. When it has not answered the third time the connection is made
/// anew, so one that is half open is left within 20 s; with the client's own minute it would take more than three.
const PING: Duration = Duration::from_secs(5);

/// How long a server may refuse us before we believe it: whoever renews credentials may tell the
/// server of it first.
const RENEWAL: Duration = Duration::from_secs(15);

/// How long what came before a connection broke may take from one task of the client to the other.
const UNDERWAY: Duration = Duration::from_millis(200);

/// How many complaints of servers that differ are logged within a minute, and how much of each.
const MOST_COMPLAINTS: usize = 10;

const COMPLAINT_CHARS: usize = 400;

/// A connection that reconnects by itself for as long as it takes.
#[derive(Debug, Clone)]
pub(crate) struct Nats {
    /// The connection.
    pub(crate) client: Client,
    /// `JetStream` on it.
    pub(crate) jetstream: jetstream::Context,
    config: Arc<config::Nats>,
    link: Arc<Link>,
    /// Closed when the client's task has ended.
    task: watch::Receiver<()>,
    /// What there is for large messages.
    pub(crate) memory: Memory,
}

/// What the connection's events tell.
#[derive(Debug)]
struct Link {
    /// How often the connection was made.
    connections: watch::Sender<u64>,
    /// Whether it is there.
    is_up: watch::Sender<bool>,
    /// Set while a server does not accept our credentials.
    refused: watch::Sender<Option<String>>,
    /// The last thing that the server does not let us do.
    denied: watch::Sender<String>,
    /// What the inboxes begin with.
    inbox_prefix: String,
    /// Set when the server does not let us subscribe to an inbox, without which nothing is answered.
    is_unanswered: watch::Sender<bool>,
    /// What servers say is wrong.
    complaints: Mutex<Repetitions>,
}

impl Nats {
    /// Connects, in one attempt over all configured servers.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] for files and keys that cannot be used, [`Failure::Refused`] when a
    /// server refuses our credentials, else [`Failure::Unavailable`].
    pub(crate) async fn connect(config: &config::Nats) -> Result<Self, Failure> {
        let link = Arc::new(Link::of(config.inbox_prefix.to_string()));
        let (alive, task) = watch::channel(());
        let options = options(config)?.event_callback({
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

    /// Another connection of the same kind, for what may break it.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) async fn another(&self) -> Result<Self, String> {
        let another = Box::pin(Self::connect(&self.config)).await;
        let another = another.map_err(|failure| failure.to_string())?;
        Ok(Self { memory: self.memory.clone(), ..another })
    }

    /// Waits until the client is of no more use. It reconnects by itself whatever happens, but its
    /// task panics on some headers (`async-nats`, pull request 1612).
    pub(crate) async fn gone(&self) {
        let mut task = self.task.clone();
        while task.changed().await.is_ok() {}
    }

    /// Whether the client is of no more use.
    pub(crate) fn is_gone(&self) -> bool {
        self.task.has_changed().is_err()
    }

    /// Waits until the connection breaks, or has broken before.
    pub(crate) async fn lost(&self) {
        let mut is_up = self.link.is_up.subscribe();
        let mut connections = self.link.connections.subscribe();
        tokio::select! {
            _ = is_up.wait_for(|is_up| !is_up) => {}
            _ = connections.wait_for(|count| *count > 1) => {}
            () = self.gone() => {}
        }
    }

    /// Waits until the connection has broken and nothing that came over it is on its way to us.
    pub(crate) async fn drained(&self) {
        self.lost().await;
        sleep(UNDERWAY).await;
    }

    /// Changes with every reconnection.
    pub(crate) fn connections(&self) -> watch::Receiver<u64> {
        self.link.connections.subscribe()
    }

    /// Changes when the connection is lost, and when it is made again.
    pub(crate) fn is_up(&self) -> watch::Receiver<bool> {
        self.link.is_up.subscribe()
    }

    /// Waits until a server refuses what does not mend itself, and says so: our credentials, or to answer us. `condition` is
    /// where it is noted meanwhile, for those who watch over us.
    pub(crate) async fn refused(&self, condition: Option<&Condition>) -> Failure {
        tokio::select! {
            failure = self.credentials_refused(condition) => failure,
            failure = self.unanswered() => failure,
        }
    }

    /// Waits until the server does not let us subscribe to our inboxes. The client would not try that again by itself
    /// when the permission is there.
    async fn unanswered(&self) -> Failure {
        let mut is_unanswered = self.link.is_unanswered.subscribe();
        // The sender is as long there as we are.
        let _ = is_unanswered.wait_for(|is_unanswered| *is_unanswered).await;
        Failure::Refused(format!(
            "NATS does not let us subscribe to {prefix}.>, where all its answers come: have the user under [nats] \
             permitted to, and nobody else; or set nats.inbox_prefix to what it may subscribe to",
            prefix = self.link.inbox_prefix
        ))
    }

    /// Waits until a server refuses the credentials with which it accepted us before, and goes on to
    /// while they are read again, and says so.
    async fn credentials_refused(&self, condition: Option<&Condition>) -> Failure {
        let mut refused = self.link.refused.subscribe();
        loop {
            // The sender is as long there as we are.
            let reason = refused.wait_for(Option::is_some).await;
            let reason = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
            let said = format!("NATS does not accept our credentials ({reason})");
            warn!("{said}; reading them again");
            if let Some(condition) = condition {
                condition.set(State::CredentialsRefused, &said, Duration::ZERO);
            }
            if timeout(RENEWAL, refused.wait_for(Option::is_none)).await.is_err() {
                return Failure::Refused(format!(
                    "NATS no longer accepts our credentials ({reason}): renew those under [nats]"
                ));
            }
            if let Some(condition) = condition {
                condition.clear();
            }
        }
    }

    /// Waits until the server does not let us publish on a subject, and says so.
    pub(crate) async fn denied(&self, subject: &str) -> Failure {
        let words = format!("permissions violation for publish to \"{subject}\"");
        let mut denied = self.link.denied.subscribe();
        // The sender is as long there as we are.
        let _ = denied.wait_for(|reason| is_about(reason, &words)).await;
        Failure::Refused(format!(
            "NATS does not let us publish on {subject}: have the user under [nats] permitted to"
        ))
    }

    /// Waits until the server, from now on, does not let us do something that names one of these, and
    /// says what it said.
    pub(crate) async fn denies(&self, names: &[&str]) -> String {
        let mut denied = self.link.denied.subscribe();
        denied.mark_unchanged();
        loop {
            // The sender is as long there as we are.
            let _ = denied.changed().await;
            let reason = denied.borrow_and_update().clone();
            if names.iter().any(|name| is_about(&reason, name)) {
                return reason;
            }
        }
    }

    /// The subject of a request to `JetStream`, such as "STREAM.INFO.OPS".
    pub(crate) fn api(&self, request: &str) -> String {
        match &self.config.jetstream_domain {
            Some(domain) => format!("$JS.{domain}.API.{request}"),
            None => format!("$JS.API.{request}"),
        }
    }

    /// The largest message that the server takes, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// False while the connection is lost, and once the client is of no more use.
    pub(crate) fn is_connected(&self) -> bool {
        !self.is_gone()
            && self.client.connection_state() == async_nats::connection::State::Connected
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
            refused: watch::Sender::default(),
            denied: watch::Sender::default(),
            complaints: Mutex::new(Repetitions::up_to(MOST_COMPLAINTS)),
        }
    }

    fn complaints(&self) -> MutexGuard<'_, Repetitions> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what a server says is wrong, unless it says so again and again: then a minute later how often.
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
                "NATS: {count} more complaints of the server like those before, which are not logged one by one"
            );
        });
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
                warn!("NATS: connection lost; reconnecting, nothing is lost");
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.refused.send_replace(Some("authorization violation".to_owned()));
            }
            Event::ClientError(ClientError::Other(reason)) if is_refusal(&reason) => {
                self.refused.send_replace(Some(reason));
            }
            // Whoever needs it says what comes of that; others only ask whether something is left in it.
            Event::ServerError(ServerError::Other(reason))
                if is_about(&reason, reserved::DEFERRED_STREAM) =>
            {
                debug!("NATS: {reason}");
                self.denied.send_replace(reason);
            }
            // A permission we lack: the request that needed it reports a time-out, this says why.
            Event::ServerError(ServerError::Other(reason)) => {
                self.log(&reason);
                let inbox =
                    format!("permissions violation for subscription to \"{}.", self.inbox_prefix);
                if is_about(&reason, &inbox) {
                    self.is_unanswered.send_replace(true);
                }
                self.denied.send_replace(reason);
            }
            other => debug!("NATS: {other}"),
        }
    }
}

/// The client hands on what the server says in small letters.
fn is_about(reason: &str, name: &str) -> bool {
    reason.to_lowercase().contains(&name.to_lowercase())
}

/// The client reports a failed reconnection by the words of its kind only.
fn is_refusal(reason: &str) -> bool {
    [ConnectErrorKind::AuthorizationViolation, ConnectErrorKind::Authentication]
        .iter()
        .any(|kind| kind.to_string() == reason)
}

fn options(config: &config::Nats) -> Result<ConnectOptions, Failure> {
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
            attempts.lock().unwrap_or_else(PoisonError::into_inner).pause(count)
        })
        .custom_inbox_prefix(config.inbox_prefix.as_str());
    // The client opens these files itself, and again for each connection.
    for (key, path) in config.certificates() {
        config::read_file(key, path)?;
    }
    if config.is_over_tls() {
        // A server names the others of its cluster before TLS begins, so whoever is in between can name some, too. The
        // client would go there without TLS, or with a certificate that is good for their own name.
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
            Failure::Refused(format!(
                "NATS at {servers} refuses our credentials ({reason}): check those under [nats]"
            ))
        }
        ConnectErrorKind::ServerParse => Failure::Config(format!("nats.servers: {reason}")),
        _ if ["UnknownIssuer", "BadSignature"].iter().any(|kind| reason.contains(kind)) => {
            Failure::Unavailable(format!(
                "NATS at {servers} shows a certificate that is signed by none of our CAs: set \
                 nats.ca_file to the CA that signed it"
            ))
        }
        ConnectErrorKind::Tls => {
            Failure::Unavailable(format!("NATS at {servers}: no TLS connection: {reason}"))
        }
        _ => Failure::Unavailable(format!("NATS at {servers} cannot be reached: {reason}")),
    }
}
