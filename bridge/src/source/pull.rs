//! Pulls messages from a consumer within a limit of bytes.
//!
//! The client's own stream asks for as many bytes as the largest message has, again and again, and parses at once what
//! it receives. Parsed headers take about forty times their bytes (`cargo memory`, its row "headers: many"), so that a
//! few dozen small messages with 64 kB of headers each would take all the memory that the bridge is given. Here at most
//! a [batch](batch_bytes) and a half of it are on their way. A message that is larger than that is requested alone, when
//! the server has said that it is there, no other message is held, and [memory](crate::nats::Memory) is reserved for it.

use std::time::Duration;

use async_nats::{
    Message, StatusCode, Subject, SubscribeError, Subscriber,
    jetstream::{
        self,
        consumer::{
            Config as ConsumerConfig, PullConsumer,
            pull::{BatchConfig, BatchRequestError},
        },
    },
};
use futures_util::{FutureExt, StreamExt};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::nats::{Allowance, Memory, Nats, Need, Reservation, Wait};

/// The number of messages that are asked for at once: enough to keep a link with a latency of 50 ms busy, few enough to
/// be read again quickly.
pub(super) const BATCH: usize = 64;

/// The number of bytes that a reader with a reservation asks for at once, as the server counts them: payloads, headers
/// and subjects. This is enough for the largest headers that a stream stores, which are 64 kB. A message of more bytes
/// is large: its memory stays reserved until it is done with.
pub(super) const BATCH_BYTES: usize = 128 * 1024;

/// The bytes of a message on the wire that the server's `max_payload` does not limit: its subject, and the address for
/// the acknowledgement.
const ADDRESSES: usize = 16 * 1024;

/// The size that no message of any server exceeds.
const LARGEST: usize = 80 * 1024 * 1024;

/// The time for which a request for messages stays with the server. A request that is lost with its connection is
/// repeated after this time at the latest.
const EXPIRES: Duration = Duration::from_secs(10);

/// The server's heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The time after which a server that is silent is considered gone.
const SILENCE: Duration = HEARTBEAT.saturating_mul(2);

/// The same two times for the first request of a flow, whose answer shows that the server lets the bridge ask.
const FIRST_EXPIRES: Duration = Duration::from_secs(1);

const FIRST_HEARTBEAT: Duration = Duration::from_millis(250);

/// The number of bytes that a route asks for at once. A message of more bytes is requested alone.
fn batch_bytes(memory: &Memory) -> usize {
    memory.in_hand() / 4
}

/// Returns the largest message that the server is known to take, in bytes.
pub(super) fn largest(nats: &Nats) -> usize {
    nats.max_payload() + ADDRESSES
}

/// The reason why a flow of messages has ended.
#[derive(Debug, Error)]
pub(crate) enum PullError {
    /// The client does not subscribe to the inbox.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The client does not ask for messages.
    #[error(transparent)]
    Ask(#[from] BatchRequestError),
    /// The server is silent.
    #[error("no heartbeat of the server")]
    NoHeartbeat,
    /// The client has closed the inbox.
    #[error("the subscription has ended")]
    Unsubscribed,
    /// The server ends the flow: its consumer is gone, or it refuses such requests.
    #[error("{status} {description}")]
    Over {
        /// The status.
        status: StatusCode,
        /// The server's reason.
        description: String,
    },
    /// Something came that is neither a message of the stream nor a status.
    #[error("an answer that is no message of the stream")]
    NoMessage,
    /// The server announces messages that are larger than any server's limit.
    #[error("a message is larger than any can be")]
    TooLarge,
    /// The next message is larger than the reservation of the reader allows.
    #[error("a message is larger than there is memory for")]
    NotAllowed,
}

/// An open flow of messages.
pub(crate) struct Pull<'a> {
    consumer: PullConsumer,
    context: jetstream::Context,
    inbox: Subject,
    messages: Subscriber,
    /// The part of all requests that was neither delivered nor refused.
    open: Amount,
    /// The number of bytes that the next request asks for, if it is for one large message.
    large: Option<usize>,
    /// Whether nothing has come since the last request.
    is_barren: bool,
    /// The largest message that the server is known to take, in bytes.
    largest: usize,
    /// The number of bytes that are asked for at once.
    batch_bytes: usize,
    allowance: Allowance<'a>,
    /// The reserved memory for the large message that is asked for, or that came last, if each has its own.
    reservation: Option<Reservation>,
    /// The place in the queue for that memory.
    wait: Option<Wait>,
    /// The limits that the consumer sets for requests.
    limits: Limits,
    /// The time when the server last sent anything or was last asked.
    heard: Instant,
    /// Whether the server has answered a request.
    is_answered: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Amount {
    messages: usize,
    bytes: usize,
}

/// The limits that a consumer, or its server, sets for requests, within what the bridge would like to have.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The most that is asked for at once.
    most: Amount,
    /// Whether the number of bytes is limited.
    are_bytes_limited: bool,
    /// The time for which a request may stay with the server.
    expires: Duration,
}

impl Limits {
    /// Returns the limits of a consumer for a reader that would ask for `batch_bytes` at once.
    fn of(config: &ConsumerConfig, batch_bytes: usize) -> Self {
        let within = |limit: i64, wanted: usize| match usize::try_from(limit) {
            Ok(limit @ 1..) => limit.min(wanted),
            _ => wanted,
        };
        Self {
            most: Amount {
                messages: within(config.max_batch, BATCH),
                bytes: within(config.max_bytes, batch_bytes),
            },
            are_bytes_limited: config.max_bytes > 0,
            expires: match config.max_expires {
                Duration::ZERO => EXPIRES,
                limit => limit.min(EXPIRES),
            },
        }
    }

    /// Returns the number of bytes that a request names. A request for a large message names none where the number is
    /// limited, as only such a request may exceed the limit.
    fn bytes_of_request(self, wanted: Amount) -> usize {
        if self.are_bytes_limited && wanted.bytes > self.most.bytes { 0 } else { wanted.bytes }
    }

    /// Returns the time for which a request stays with the server, and the interval of the server's heartbeats, which
    /// has to be less than half of that. Both are shorter until the server has answered.
    fn times(self, is_answered: bool) -> (Duration, Duration) {
        let (expires, heartbeat) =
            if is_answered { (EXPIRES, HEARTBEAT) } else { (FIRST_EXPIRES, FIRST_HEARTBEAT) };
        let expires = expires.min(self.expires);
        (expires, heartbeat.min(expires.mul_f64(0.45)))
    }
}

/// A status message of the server, which is no message of the stream.
enum Notice {
    /// A heartbeat.
    Alive,
    /// A request has ended with this much of it left.
    Ended(Amount),
    /// The next message is larger than what is left of a request, which ends with this much left.
    TooLarge(Amount),
    /// The flow has ended.
    Over(PullError),
}

impl<'a> Pull<'a> {
    /// Opens a flow that has asked for nothing yet. Large messages are taken into the memory that `allowance` names.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub(crate) async fn begin(
        nats: &Nats,
        consumer: PullConsumer,
        allowance: Allowance<'a>,
    ) -> Result<Self, PullError> {
        let batch_bytes = match &allowance {
            Allowance::Each(memory, _) => batch_bytes(memory),
            Allowance::Reserved(..) => BATCH_BYTES,
        };
        let inbox = Subject::from(nats.client.new_inbox());
        let messages = nats.client.subscribe(inbox.clone()).await;
        let limits = Limits::of(&consumer.cached_info().config, batch_bytes);
        Ok(Self {
            consumer,
            context: nats.jetstream.clone(),
            inbox,
            messages: messages?,
            open: Amount::default(),
            large: None,
            is_barren: false,
            largest: largest(nats),
            batch_bytes,
            allowance,
            reservation: None,
            wait: None,
            heard: Instant::now(),
            limits,
            is_answered: false,
        })
    }

    /// Sets the number of bytes that the next message may have, if the reader has a reservation.
    pub(crate) fn allow(&mut self, bytes: usize) {
        if let Allowance::Reserved(most, _) = &mut self.allowance {
            *most = bytes;
        }
    }

    /// Asks for the next messages while one is worked on, unless either is large.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub(crate) async fn ask_ahead(&mut self) -> Result<(), PullError> {
        if self.large.is_some() { Ok(()) } else { self.ask().await }
    }

    /// Takes the reserved memory for the message that came last, if that is large. It has to be kept as long as the
    /// message.
    pub(crate) fn reservation(&mut self) -> Option<Reservation> {
        self.reservation.take()
    }

    /// Asks for more messages, if not enough are on their way.
    async fn ask(&mut self) -> Result<(), PullError> {
        let wanted = match self.large {
            Some(bytes) if self.open.messages == 0 => {
                self.reserve(bytes).await;
                Amount { messages: 1, bytes }
            }
            None if self.open.messages <= self.limits.most.messages / 2
                && self.open.bytes <= self.limits.most.bytes / 2 =>
            {
                self.limits.most
            }
            _ => return Ok(()),
        };
        let (expires, idle_heartbeat) = self.limits.times(self.is_answered);
        let request = BatchConfig {
            batch: wanted.messages,
            expires: Some(expires),
            no_wait: false,
            max_bytes: self.limits.bytes_of_request(wanted),
            idle_heartbeat,
            ..BatchConfig::default()
        };
        self.consumer.request_batch(request, self.inbox.clone()).await?;
        self.open.messages += wanted.messages;
        self.open.bytes += wanted.bytes;
        self.is_barren = true;
        self.heard = Instant::now();
        Ok(())
    }

    /// Waits for memory for the large message that the server has announced.
    async fn reserve(&mut self, bytes: usize) {
        let Allowance::Each(memory, condition) = &self.allowance else { return };
        if self.reservation.is_none() {
            let wait = self.wait.get_or_insert_with(|| memory.queue(Need::Message(bytes)));
            self.reservation = Some(wait.reservation(condition.as_ref()).await);
            self.wait = None;
        }
    }

    /// Returns the number of bytes to ask for when the next message is larger than the last request allowed.
    ///
    /// # Errors
    ///
    /// The message is larger than any can be, or than the reader has memory for.
    fn more_than_before(&self) -> Result<usize, PullError> {
        let most = match self.allowance {
            Allowance::Each(..) => LARGEST,
            Allowance::Reserved(most, _) => most.min(LARGEST),
        };
        let next = self.large.map_or(self.largest, |before| 2 * before).min(most);
        if next <= self.large.unwrap_or(self.batch_bytes) {
            let error = if most < LARGEST { PullError::NotAllowed } else { PullError::TooLarge };
            return Err(error);
        }
        Ok(next)
    }

    /// Waits for the next message and returns it. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The reason why the flow has ended: the connection is gone, the consumer is gone, or the server no longer
    /// answers.
    pub(crate) async fn next(&mut self) -> Result<jetstream::Message, PullError> {
        loop {
            if let Some(message) = self.next_or_answer().await? {
                return Ok(message);
            }
        }
    }

    /// Waits for the next message and returns it, or `None` when the server answers for the first time without one.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// See [`Pull::next`].
    pub(super) async fn next_or_answer(&mut self) -> Result<Option<jetstream::Message>, PullError> {
        loop {
            self.ask().await?;
            let next = timeout_at(self.heard + SILENCE, self.messages.next()).await;
            let item = next.map_err(|_| PullError::NoHeartbeat)?;
            let item = item.ok_or(PullError::Unsubscribed)?;
            let was_answered = self.is_answered;
            let message = self.take(item)?;
            if message.is_some() || !was_answered {
                return Ok(message);
            }
        }
    }

    /// Whether the server has answered a request.
    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Whether the server has been silent for so long that it is considered gone.
    pub(super) fn is_silent(&self) -> bool {
        self.heard.elapsed() >= SILENCE
    }

    /// Waits for the next message that arrives and returns it, without asking for more. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    ///
    /// The reason why the flow has ended.
    pub(crate) async fn arrival(&mut self) -> Result<jetstream::Message, PullError> {
        loop {
            let item = self.messages.next().await;
            let item = item.ok_or(PullError::Unsubscribed)?;
            if let Some(message) = self.take(item)? {
                return Ok(message);
            }
        }
    }

    /// Returns a message that has already arrived, without asking for more.
    pub(crate) fn arrived(&mut self) -> Option<Result<jetstream::Message, PullError>> {
        loop {
            let item = self.messages.next().now_or_never()?;
            let item = item.ok_or(PullError::Unsubscribed);
            match item.and_then(|item| self.take(item)) {
                Ok(Some(message)) => return Some(Ok(message)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Handles an item that has arrived. Returns `None` if it is a status message.
    fn take(&mut self, item: Message) -> Result<Option<jetstream::Message>, PullError> {
        self.heard = Instant::now();
        // A publisher can write a status into the headers of a message, too, so the reply address decides.
        if item.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK.")) {
            self.open.subtract(Amount { messages: 1, bytes: item.length });
            self.is_barren = false;
            self.is_answered = true;
            // Only the server knows whether another large message follows.
            self.large = None;
            match &mut self.reservation {
                Some(reservation) if item.length > BATCH_BYTES => {
                    reservation.shrink(Need::Message(item.length));
                }
                reservation => *reservation = None,
            }
            let context = self.context.clone();
            return Ok(Some(jetstream::Message { message: item, context }));
        }
        match Notice::read(&item) {
            Notice::Alive => {}
            Notice::Ended(left) => {
                self.open.subtract(left);
                // The message may have been deleted meanwhile, and others wait for the memory.
                if self.open.messages == 0 {
                    self.large = None;
                    self.reservation = None;
                }
            }
            Notice::TooLarge(left) => {
                self.open.subtract(left);
                // The rest of a request may be too small for a message that fits into a new one.
                if self.open.messages == 0 && self.is_barren {
                    self.large = Some(self.more_than_before()?);
                    // The bytes asked for were not enough.
                    self.reservation = None;
                    debug!(bytes = self.large, "asking for one large message");
                }
            }
            Notice::Over(error) => return Err(error),
        }
        self.is_answered = true;
        Ok(None)
    }
}

impl Amount {
    /// Subtracts an amount, but not below zero: requests can end after they were counted.
    fn subtract(&mut self, other: Self) {
        self.messages = self.messages.saturating_sub(other.messages);
        self.bytes = if self.messages == 0 { 0 } else { self.bytes.saturating_sub(other.bytes) };
    }
}

impl Notice {
    /// Reads a status message according to nats-server's ADR-13 and ADR-37.
    fn read(message: &Message) -> Self {
        let description = message.description.as_deref().unwrap_or_default();
        let header = |name: &str| {
            let value = message.headers.as_ref()?.get(name)?;
            value.as_str().parse::<usize>().ok()
        };
        let left = header("Nats-Pending-Messages").zip(header("Nats-Pending-Bytes"));
        let left = left.map(|(messages, bytes)| Amount { messages, bytes });
        let is_for_good = ["Consumer Deleted", "Consumer is push based", "Exceeded MaxRequest"]
            .iter()
            .any(|reason| description.starts_with(reason));
        let over =
            |status| Self::Over(PullError::Over { status, description: description.to_owned() });
        match (message.status, left) {
            (Some(StatusCode::IDLE_HEARTBEAT), _) => Self::Alive,
            (Some(status), _) if is_for_good => over(status),
            (Some(_), Some(left))
                if description.eq_ignore_ascii_case("Message Size Exceeds MaxBytes") =>
            {
                Self::TooLarge(left)
            }
            (Some(_), Some(left)) => Self::Ended(left),
            (Some(status), None) => over(status),
            (None, _) => Self::Over(PullError::NoMessage),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;
    use crate::nats::headers;

    fn notice(status: u16, description: &str, left: Option<(usize, usize)>) -> Notice {
        let headers = left.map(|(messages, bytes)| {
            let mut headers = HeaderMap::new();
            headers::set(&mut headers, "Nats-Pending-Messages", &messages.to_string());
            headers::set(&mut headers, "Nats-Pending-Bytes", &bytes.to_string());
            headers
        });
        Notice::read(&Message {
            subject: "_INBOX.x".into(),
            reply: None,
            payload: Vec::new().into(),
            headers,
            status: Some(StatusCode::from_u16(status).unwrap()),
            description: Some(description.to_owned()),
            length: 0,
        })
    }

    #[test]
    fn what_the_server_says_ends_a_request_or_all() {
        assert!(matches!(notice(100, "Idle Heartbeat", None), Notice::Alive));
        let left = Some((3, 7));
        assert!(matches!(
            notice(408, "Request Timeout", left),
            Notice::Ended(Amount { messages: 3, bytes: 7 })
        ));
        assert!(matches!(notice(409, "Message Size Exceeds MaxBytes", left), Notice::TooLarge(_)));
        assert!(matches!(notice(409, "Leadership Change", left), Notice::Ended(_)));
        assert!(matches!(notice(409, "Batch Completed", Some((0, 0))), Notice::Ended(_)));
        for (status, description) in
            [(409, "Consumer Deleted"), (409, "Exceeded MaxRequestBatch of 1"), (503, "")]
        {
            assert!(matches!(notice(status, description, None), Notice::Over(_)), "{description}");
        }
    }

    #[test]
    fn without_messages_to_come_no_bytes_are_on_their_way() {
        let mut open = Amount { messages: 2, bytes: 100 };
        open.subtract(Amount { messages: 1, bytes: 40 });
        assert_eq!(open, Amount { messages: 1, bytes: 60 });
        open.subtract(Amount { messages: 1, bytes: 10 });
        assert_eq!(open, Amount::default());
    }
}
