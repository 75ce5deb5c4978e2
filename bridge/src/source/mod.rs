//! Where messages come from: one durable pull consumer per route, in stream order.
//!
//! JetStream alone does not keep the order. Messages that were delivered to a process that died, or
//! over a connection that broke, come back only after `ack_wait`, and by then newer ones have been
//! delivered. So whenever deliveries may have been lost, the source first takes what is
//! [outstanding] from the stream, and only when that is done with asks for more. It notices lost
//! deliveries by the consumer sequence, which counts deliveries without a gap.

mod backlog;
pub(crate) mod consumer;
mod outstanding;
pub(crate) mod pull;
mod size;
pub(crate) mod stored;
mod waiting;

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{
        self, AckKind, consumer::Info as ConsumerInfo, message::Acker, stream::Info as StreamInfo,
    },
};
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, MissedTickBehavior, sleep, timeout},
};
use tracing::{debug, info, warn};

pub(crate) use self::{
    backlog::Backlog,
    waiting::{First, Seen, Waiting, waiting},
};
use self::{consumer::Problem, pull::Pull};
use crate::{
    config::{Route, RouteName},
    failure::Failure,
    health::{RouteHealth, State},
    held,
    nats::Nats,
    origin::{Origin, Position, StreamId},
    retry::Outage,
};

/// How many messages may be delivered and not yet acknowledged.
const MAX_ACK_PENDING: usize = pull::BATCH;
/// How many acknowledgements are sent together while more messages are waiting. Each costs a system
/// call here and a wake-up at the server; what a kill leaves unacknowledged is recognised in the
/// room.
const ACK_BATCH: usize = 16;
/// How many bytes of messages are in hand, before no more are taken. A message that is larger is alone.
const MOST_IN_HAND: usize = 512 * 1024;
/// How long to wait after a pull that ended with an error before it delivered anything.
const BARREN_PAUSE: Duration = Duration::from_secs(1);
/// After how long JetStream delivers again what was not acknowledged.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// For how long a number of waiting messages is taken for right.
const FRESH: Duration = Duration::from_secs(2);

/// One route's messages, in order.
pub(crate) struct Source {
    nats: Nats,
    route: Arc<Route>,
    reconnected: watch::Receiver<u64>,
    outage: Outage,
    health: RouteHealth,
    stream: Option<StreamId>,
    /// How many messages were waiting, when they were last counted.
    counted: Option<(Instant, u64)>,
    /// How many servers keep the stream.
    replicas: usize,
    /// When the first consumer that we saw was made, by the server's clock.
    begun: Option<OffsetDateTime>,
    /// The last message of the stream that the consumer has delivered, as far as we know.
    reached: Option<u64>,
    /// The last of the outstanding messages that were read, if there was no pull since. There may be more.
    reread: Option<u64>,
    flow: Option<Flow>,
    /// The last pull ended with an error before it delivered anything.
    is_barren: bool,
    /// Delivered and not yet asked for by the relay; at most [`MAX_ACK_PENDING`].
    held: VecDeque<Delivery>,
    /// Of what is done with and not yet acknowledged; at most [`ACK_BATCH`].
    done: Vec<Acker>,
}

/// The open flow of messages.
struct Flow {
    pull: Pull,
    /// The consumer sequence that the next delivery must have.
    next: u64,
}

/// A message as it was delivered.
#[derive(Debug)]
pub(crate) struct Delivery {
    message: jetstream::Message,
    /// The subject that it was published on at first.
    subject: String,
    /// When it was said, as people understand it.
    pub(crate) said: OffsetDateTime,
    /// The stream's own number for it.
    pub(crate) sequence: u64,
    /// When the stream stored it.
    pub(crate) published: OffsetDateTime,
    /// How many more the server had for the route when it delivered this one.
    pending: u64,
    /// About how many bytes of memory it takes.
    pub(crate) weight: usize,
    /// How many values of headers are not here, as there were too many.
    pub(crate) headers_left_out: usize,
    /// Room in memory for it, if it is large.
    room: Option<OwnedSemaphorePermit>,
    received: Instant,
}

impl Delivery {
    fn new(mut message: jetstream::Message) -> Option<(Self, u64)> {
        let info = message.info().ok()?;
        let (sequence, published, pending, delivery) =
            (info.stream_sequence, info.published, info.pending, info.consumer_sequence);
        let is_held = info.stream == held::STREAM;
        let header = |name: &str| {
            let headers = message.headers.as_ref().filter(|_| is_held)?;
            headers.get(name).map(|value| value.as_str().to_owned())
        };
        let subject = header(held::SUBJECT).unwrap_or_else(|| message.subject.to_string());
        let said = header(held::PUBLISHED)
            .and_then(|said| OffsetDateTime::from_unix_timestamp_nanos(said.parse().ok()?).ok())
            .unwrap_or(published);
        let received = Instant::now();
        let size::Size { weight, headers_left_out } = size::reduce(&mut message);
        let delivery_of = Self {
            message,
            subject,
            said,
            sequence,
            published,
            pending,
            weight,
            headers_left_out,
            room: None,
            received,
        };
        Some((delivery_of, delivery))
    }

    /// The subject it was published on.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// What was published.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// Its headers, if it has any.
    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    /// The publisher's own headers; those of NATS were instructions to the stream that has taken
    /// the message.
    pub(crate) fn own_headers(&self) -> HeaderMap {
        let is_own =
            |name: &str| !name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("nats-"));
        let headers = self.headers().into_iter().flat_map(HeaderMap::iter);
        let mut own = HeaderMap::new();
        for (name, values) in headers.filter(|(name, _)| is_own(name.as_ref())) {
            for value in values {
                own.append(name.clone(), value.clone());
            }
        }
        own
    }

    /// Of the event that shows the message's part of that number.
    pub(crate) fn origin(&self, stream: &StreamId, route: &RouteName, part: u32) -> Origin {
        let position = Position { sequence: self.sequence, part };
        Origin::new(stream.clone(), route, position, self.published)
    }

    async fn answer(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            debug!(sequence = self.sequence, "answer not sent: {error}");
        }
    }
}

impl Source {
    /// A source that connects to its consumer when the first message is asked for.
    pub(crate) fn new(nats: Nats, route: Arc<Route>, health: RouteHealth) -> Self {
        let mut reconnected = nats.connections();
        reconnected.mark_unchanged();
        Self {
            outage: Outage::of(format!("route {}", route.name), health.spot()),
            health,
            reconnected,
            nats,
            route,
            stream: None,
            counted: None,
            replicas: 1,
            begun: None,
            reached: None,
            reread: None,
            flow: None,
            is_barren: false,
            held: VecDeque::new(),
            done: Vec::new(),
        }
    }

    /// The incarnation of the stream that the messages are of; known once there was one.
    pub(crate) fn stream(&self) -> Option<&StreamId> {
        self.stream.as_ref()
    }

    /// How long after it was published a message is here now. `None` if it was there before the route.
    pub(crate) fn age(&self, delivery: &Delivery) -> Option<Duration> {
        let begun = self.begun.filter(|begun| *begun < delivery.published)?;
        (OffsetDateTime::now_utc() - begun.max(delivery.published)).try_into().ok()
    }

    /// Whether no other message waited when this one was delivered, nor came since.
    pub(crate) fn is_last(&mut self, delivery: &Delivery) -> bool {
        delivery.pending == 0 && !self.has_next()
    }

    /// How many servers of a cluster keep the stream.
    pub(crate) fn replicas(&self) -> usize {
        self.replicas
    }

    /// How many messages wait for the route, with one that was delivered and is not done with.
    pub(crate) async fn waiting(&mut self, delivery: &Delivery) -> u64 {
        let last = self.held.back().unwrap_or(delivery);
        if last.received.elapsed() < FRESH {
            return last.pending + self.held.len() as u64 + 1;
        }
        // More may have come while the homeserver was away.
        if let Some((at, waiting)) = self.counted
            && at.elapsed() < FRESH
        {
            return waiting;
        }
        let waiting = consumer::waiting(&self.nats, &self.route).await.unwrap_or_default();
        self.counted = Some((Instant::now(), waiting));
        waiting
    }

    /// Reads what waits, without taking it.
    pub(crate) fn backlog(&self) -> Backlog {
        Backlog {
            nats: self.nats.clone(),
            route: Arc::clone(&self.route),
            health: self.health.clone(),
        }
    }

    /// The next message. Waits as long as there is none, also while NATS or the stream is away.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] when the consumer can never be used.
    pub(crate) async fn next(&mut self) -> Result<Delivery, Failure> {
        loop {
            let Some(flow) = &mut self.flow else {
                if let Some(delivery) = self.held.pop_front() {
                    return Ok(delivery);
                }
                self.begin().await?;
                continue;
            };
            if let Some(delivery) = self.held.pop_front() {
                self.ask_ahead(&delivery).await;
                return Ok(delivery);
            }
            tokio::select! {
                item = flow.pull.next() => self.take(item),
                // Deliveries may have been on their way when the connection broke.
                _ = self.reconnected.changed() => self.flow = None,
                () = sleep(ACK_WAIT) => self.look_for_strays().await,
            }
        }
    }

    /// Has the next messages come while one is worked on; not beside a large one.
    async fn ask_ahead(&mut self, current: &Delivery) {
        let Some(flow) = self.flow.as_mut().filter(|_| current.weight < MOST_IN_HAND) else {
            return;
        };
        if let Err(reason) = flow.pull.ask_ahead().await {
            self.broken(&reason);
        }
    }

    /// Without a message there is no gap in the numbers either, by which lost deliveries are noticed.
    /// The client keeps what has a status in its headers for itself.
    async fn look_for_strays(&mut self) {
        match consumer::info(&self.nats, &self.route).await {
            Some(info) if outstanding::is_any(&info) => {
                debug!(route = %self.route.name, "something is outstanding");
                self.flow = None;
            }
            _ => {}
        }
    }

    /// Tells JetStream that a message is done with: at once when no other is waiting, else together
    /// with the next ones.
    ///
    /// It need not wait for an answer: an acknowledgement that is lost brings the message back, and
    /// the relay knows that it has posted it.
    pub(crate) async fn ack(&mut self, delivery: Delivery) {
        let (_payload, acker) = delivery.message.split();
        self.done.push(acker);
        // Without a pull they are settled before there is one.
        let is_idle = !self.has_next() && self.flow.is_some();
        if self.done.len() >= ACK_BATCH || is_idle {
            self.flush_acks().await;
        }
    }

    /// Tells JetStream, and its advisories, that the message can never be posted.
    pub(crate) async fn terminate(&mut self, delivery: &Delivery, reason: &str) {
        // The client's own Term has no place for a reason; servers know it from 2.10.4 on and
        // ignore it before.
        let Some(reply) = delivery.message.reply.clone() else { return };
        // What comes before it first: all that is outstanding is to be newer than all that is not.
        self.flush_acks().await;
        let text = format!("+TERM {reason}").replace(['\r', '\n'], " ");
        if let Err(error) = self.nats.client.publish(reply, text.into()).await {
            debug!(sequence = delivery.sequence, "termination not sent: {error}");
        }
    }

    async fn flush_acks(&mut self) {
        for acker in self.done.drain(..) {
            if let Err(error) = acker.ack().await {
                debug!("acknowledgement not sent: {error}");
            }
        }
    }

    /// Acknowledges what is done with and waits until the server has noted the last of it, and so all.
    async fn settle(&mut self) {
        let last = self.done.pop();
        self.flush_acks().await;
        if let Some(last) = last
            && let Err(error) = last.double_ack().await
        {
            debug!("acknowledgement not answered: {error}");
        }
    }

    /// Whether another message is here.
    fn has_next(&mut self) -> bool {
        if self.held.is_empty() {
            self.take_arrived();
        }
        !self.held.is_empty()
    }

    /// Takes one item that has arrived in the client. False if there is none.
    fn take_arrived(&mut self) -> bool {
        let Some(flow) = &mut self.flow else { return false };
        let item = flow.pull.arrived();
        item.map(|item| self.take(item)).is_some()
    }

    /// Runs `work` and keeps JetStream from delivering again what is held meanwhile, `current`
    /// first of all. What arrives is taken at once: as long as a message is in the client, however small, it keeps the
    /// whole buffer that it was read into, which is as large as the largest message of any route.
    pub(crate) async fn keep_while<T>(
        &mut self,
        current: &Delivery,
        work: impl Future<Output = T>,
    ) -> T {
        let mut ticks = tokio::time::interval(ACK_WAIT / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        tokio::pin!(work);
        loop {
            let has_room = self.has_room();
            let arrival = async {
                match &mut self.flow {
                    Some(flow) if has_room => flow.pull.arrival().await,
                    _ => pending().await,
                }
            };
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = ticks.tick() => self.keep(current).await,
                item = arrival => self.take(item),
            }
        }
    }

    /// Whether more may be taken into our hands.
    fn has_room(&self) -> bool {
        self.held.iter().map(|held| held.weight).sum::<usize>() < MOST_IN_HAND
    }

    async fn keep(&mut self, current: &Delivery) {
        if self.reconnected.has_changed().unwrap_or(true) {
            // All that is outstanding will be read again; until then nothing must be added to it.
            self.flow = None;
        }
        self.ask_ahead(current).await;
        // What waits in the client could not be kept.
        while self.has_room() && self.take_arrived() {}
        // Without a connection these would only fill the client's buffer.
        if self.nats.is_connected() {
            self.flush_acks().await;
            current.answer(AckKind::Progress).await;
            for delivery in &self.held {
                delivery.answer(AckKind::Progress).await;
            }
        }
    }

    /// Makes sure that acknowledgements have left. What was not delivered to the room is there for the
    /// next process.
    pub(crate) async fn close(mut self) {
        self.flow = None;
        if !self.nats.is_connected() {
            return;
        }
        self.flush_acks().await;
        if !matches!(timeout(Duration::from_secs(2), self.nats.client.flush()).await, Ok(Ok(()))) {
            debug!("acknowledgements not flushed; what comes again is recognised");
        }
    }

    fn take(&mut self, item: Result<jetstream::Message, String>) {
        let Some(flow) = &mut self.flow else { return };
        match item {
            Ok(message) => match Delivery::new(message) {
                Some((mut delivery, number)) if number == flow.next => {
                    flow.next += 1;
                    delivery.room = flow.pull.room();
                    self.reached = Some(delivery.sequence);
                    self.health.metrics.received.inc();
                    self.is_barren = false;
                    self.held.push_back(delivery);
                }
                // Something before it was lost on the way. It comes again, and so does this.
                _ => {
                    debug!(route = %self.route.name, "a delivery is missing");
                    self.flow = None;
                }
            },
            // Some of these errors are of the moment, some final; beginning anew tells which.
            Err(reason) => self.broken(&reason),
        }
    }

    /// The flow has ended before its time.
    fn broken(&mut self, reason: &str) {
        debug!(route = %self.route.name, "pull ended: {reason}");
        self.flow = None;
        if std::mem::replace(&mut self.is_barren, true) {
            self.outage.failed(State::NatsUnreachable, &reason, None);
        }
    }

    /// Takes what is outstanding or, if nothing is, begins to pull; again and again until it works.
    async fn begin(&mut self) -> Result<(), Failure> {
        self.settle().await;
        if self.is_barren {
            // The server may refuse every pull at once.
            sleep(BARREN_PAUSE).await;
        }
        loop {
            self.reconnected.mark_unchanged();
            match self.try_begin().await {
                Ok(()) => {
                    self.outage.over();
                    self.health.begun();
                    return Ok(());
                }
                Err(Problem::Final(failure)) => return Err(failure),
                Err(Problem::Passing(reason)) => {
                    let pause = self.outage.failed(State::NatsUnreachable, &reason, None);
                    // A new connection is a good moment for the next attempt.
                    let _ = timeout(pause, self.reconnected.changed()).await;
                }
            }
        }
    }

    async fn try_begin(&mut self) -> Result<(), Problem> {
        let stream = consumer::stream(&self.nats, &self.route).await?;
        self.note_stream(stream.cached_info());
        let found = consumer::find_or_make(&stream, &self.route, self.reached).await?;
        let (consumer, info) = found;
        self.begun.get_or_insert(info.created);
        let is_outstanding = self.take_outstanding(&info).await?;
        self.reached = Some(info.delivered.stream_sequence);
        if is_outstanding {
            return Ok(());
        }
        consumer::adjust(&stream, &self.route, &info).await?;
        stored::check(&self.nats, &self.route.stream).await?;
        let pull = Pull::begin(&self.nats, consumer).await.map_err(Problem::Passing)?;
        let pull = pull.sharing_memory();
        self.flow = Some(Flow { pull, next: info.delivered.consumer_sequence + 1 });
        self.reread = None;
        Ok(())
    }

    /// Reads some of what was delivered and is not acknowledged. False if all of that has been read that
    /// the stream has: what is outstanding then was done with, and comes again.
    async fn take_outstanding(&mut self, info: &ConsumerInfo) -> Result<bool, Problem> {
        if !outstanding::is_any(info) {
            return Ok(false);
        }
        let outstanding = outstanding::read(&self.nats, info, self.reread).await?;
        let last = outstanding.last().map(|delivery| delivery.sequence);
        debug!(route = %self.route.name, of = info.num_ack_pending, ?last, "outstanding messages");
        if last.is_none() {
            return Ok(false);
        }
        self.reread = last;
        self.health.metrics.received.inc_by(outstanding.len() as u64);
        self.held.extend(outstanding);
        Ok(true)
    }

    fn note_stream(&mut self, info: &StreamInfo) {
        let id = StreamId {
            stream: info.config.name.clone(),
            created: info.created.unix_timestamp_nanos().to_string(),
        };
        self.replicas = info.config.num_replicas;
        match &self.stream {
            Some(known) if *known == id => return,
            Some(_) => {
                info!(
                    "route {}: stream {} was made anew; starting with its first message",
                    self.route.name, id.stream
                );
                self.reached = Some(0);
                self.reread = None;
            }
            None => {
                for line in consumer::unmatched(&self.route, &info.config) {
                    warn!("route {}: {line}", self.route.name);
                }
            }
        }
        self.stream = Some(id);
    }
}
