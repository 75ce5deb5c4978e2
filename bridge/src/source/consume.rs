//! The source of messages: one durable pull consumer per route, in stream order.
//!
//! JetStream alone does not keep the order. Messages that were delivered to a process that died, or over a connection
//! that broke, come back only after `ack_wait`, and by then newer ones have been delivered. So whenever deliveries may
//! have been lost, the source first takes what is [outstanding] from the stream, and asks for more only when that is
//! done with. It notices lost deliveries by the consumer sequence, which counts deliveries without a gap.

use std::{collections::VecDeque, future::pending, rc::Rc, time::Duration};

use async_nats::jetstream::{
    self, AckKind,
    consumer::Info as ConsumerInfo,
    message::Acker,
    stream::{Info as StreamInfo, RetentionPolicy},
};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    failure::{Failure, chain},
    message::StreamId,
    nats::{Allowance, Memory, Nats, timestamp},
    source::{
        backlog::{Backlog, Queue},
        consumer::{self, ACK_WAIT},
        delivery::Delivery,
        feed::Feed,
        outstanding,
        problem::{Problem, ReadError},
        pull::{Pull, PullError},
        stored,
    },
    status::{Outage, RouteHealth, State},
};

/// The number of acknowledgements that are sent together while more messages are waiting. Each costs a system call in
/// the bridge and a wake-up of the server. Messages that a kill leaves unacknowledged are recognised in the room.
const ACK_BATCH: usize = 16;

/// The retention time from which on a stream counts as keeping messages until somebody looks.
const LONG_ENOUGH: Duration = Duration::from_hours(24 * 7);

/// The time without a message after which a feed that may have got to the place up to which an earlier configuration
/// decides asks whether it has.
const ABOUT_TO_PASS: Duration = Duration::from_secs(1);

/// The time to wait after a pull that ended with an error before it delivered anything.
const BARREN_PAUSE: Duration = Duration::from_secs(1);

/// The messages of one feed, in order.
pub(crate) struct Source {
    nats: Nats,
    /// The route's view of the memory for messages.
    memory: Memory,
    feed: Feed,
    reconnected: watch::Receiver<u64>,
    outage: Outage,
    health: RouteHealth,
    stream: Option<StreamId>,
    /// Whether the stream also keeps messages that are done with, for a week at least.
    keeps_messages: bool,
    /// The time when the first consumer that this process saw was created, by the server's clock.
    begun: Option<Timestamp>,
    /// The last message of the stream that the consumer has delivered, as far as it is known.
    reached: Option<u64>,
    /// The last of the outstanding messages that were read, if there was no pull since. There may be more.
    reread: Option<u64>,
    flow: Option<Flow>,
    /// Whether the last pull ended with an error before it delivered anything.
    is_barren: bool,
    /// The messages that were delivered and that the relay has not asked for yet; at most
    /// [`MAX_ACK_PENDING`](super::consumer::MAX_ACK_PENDING).
    held: VecDeque<Delivery>,
    /// Whether the feed has come to its end.
    is_over: bool,
    /// The number of messages that are held, for the backlog.
    queue: Rc<Queue>,
    /// The messages that are done with and not yet acknowledged; at most [`ACK_BATCH`].
    done: Vec<Acker>,
}

/// The properties of the stream that messages come from.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// The incarnation of the stream.
    pub(crate) stream: StreamId,
    /// Whether the stream also keeps messages that are done with, for a week at least.
    pub(crate) keeps_messages: bool,
    /// The time when the first consumer that this process saw was created, by the server's clock.
    begun: Option<Timestamp>,
}

impl Upstream {
    /// Returns how long ago a message was published. `None` if it is older than the route.
    pub(crate) fn age(&self, delivery: &Delivery) -> Option<Duration> {
        let begun = self.begun.filter(|begun| *begun < delivery.published)?;
        Timestamp::now().duration_since(begun.max(delivery.published)).try_into().ok()
    }
}

/// The open flow of messages.
struct Flow {
    pull: Pull<'static>,
    /// The consumer sequence that the next delivery must have.
    next: u64,
    /// Whether it was noted that the server answers.
    is_noted: bool,
}

impl Source {
    /// Creates a source that connects to its consumer when the first message is asked for.
    pub(crate) fn new(nats: Nats, feed: Feed, health: RouteHealth) -> Self {
        let mut reconnected = nats.connections();
        reconnected.mark_unchanged();
        Self {
            outage: Outage::of("NATS", health.condition()),
            health,
            reconnected,
            memory: nats.memory.of_one(),
            nats,
            feed,
            stream: None,
            keeps_messages: false,
            begun: None,
            reached: None,
            reread: None,
            flow: None,
            is_barren: false,
            held: VecDeque::new(),
            is_over: false,
            queue: Rc::default(),
            done: Vec::new(),
        }
    }

    /// Returns the name of the stream that the messages are read from.
    pub(crate) fn stream_name(&self) -> &str {
        self.feed.stream()
    }

    /// Returns the properties of the stream; they are known once there was a message.
    pub(crate) fn upstream(&self) -> Option<Upstream> {
        let Self { keeps_messages, begun, .. } = *self;
        self.stream.clone().map(|stream| Upstream { stream, keeps_messages, begun })
    }

    /// Whether no other message waited when this one was delivered, and none has come since.
    pub(crate) fn is_last(&mut self, delivery: &Delivery) -> bool {
        delivery.pending == 0 && !self.has_next()
    }

    /// Returns a view of what waits behind the current message, which takes nothing of it.
    pub(crate) fn backlog(&self) -> Backlog {
        Backlog::new(
            self.nats.clone(),
            self.memory.clone(),
            self.feed.clone(),
            self.health.clone(),
            Rc::clone(&self.queue),
        )
    }

    /// Returns the next message. It waits as long as there is none, also while NATS or the stream is away. `None` if the
    /// feed has come to its end.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] when the consumer can never be used.
    pub(crate) async fn next(&mut self) -> Result<Option<Delivery>, Failure> {
        loop {
            if let Some(next) = self.held.front().map(|next| next.sequence) {
                self.pass(next.saturating_sub(1)).await;
            }
            if self.is_over {
                return Ok(None);
            }
            if let Some(delivery) = self.pop() {
                self.ask_ahead(&delivery).await;
                return Ok(Some(delivery));
            }
            let idle = self.idle();
            let Some(flow) = &mut self.flow else {
                self.begin().await?;
                continue;
            };
            tokio::select! {
                item = flow.pull.next_or_answer() => match item.transpose() {
                    Some(item) => self.take(item),
                    None => self.note_answer(),
                },
                // Deliveries may have been under way when the connection broke.
                _ = self.reconnected.changed() => self.flow = None,
                () = sleep(idle) => self.look_for_strays().await,
            }
        }
    }

    fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.held.pop_front();
        self.queue.note(&self.held);
        delivery
    }

    /// Asks for the next messages while one is worked on, unless that one is large.
    async fn ask_ahead(&mut self, current: &Delivery) {
        let is_small = current.weight < self.memory.in_hand();
        let Some(flow) = self.flow.as_mut().filter(|_| is_small) else { return };
        if let Err(error) = flow.pull.ask_ahead().await {
            self.broken(&error);
        }
    }

    /// Looks for lost deliveries while no message comes, as only the next message would show a gap in the numbers. The
    /// client does not pass on messages that have a status in their headers.
    async fn look_for_strays(&mut self) {
        match consumer::info(&self.nats, &self.feed).await {
            Some(info) if outstanding::is_any(&info) => {
                debug!("messages are outstanding");
                self.flow = None;
            }
            Some(info) => self.pass(outstanding::done(&self.feed, &info)).await,
            None if self.is_waiting_to_pass() => self.flow = None,
            None => {}
        }
    }

    /// Returns the time without a message after which the consumer is asked what is left.
    fn idle(&self) -> Duration {
        if self.is_waiting_to_pass() { ABOUT_TO_PASS } else { ACK_WAIT }
    }

    /// Whether nothing is in the way of the place up to which an earlier configuration decides.
    fn is_waiting_to_pass(&self) -> bool {
        let passage = self.feed.passage().filter(|passage| passage.may_end());
        passage.is_some_and(|passage| !passage.passed().is_cancelled())
    }

    /// Notes that all messages up to `done` are done with. If that is the place up to which an earlier configuration
    /// decides, the feed ends, or goes on with its new filters.
    async fn pass(&mut self, done: u64) {
        let Some(passage) = self.feed.passage().cloned() else { return };
        let passed = passage.passed();
        if passed.is_cancelled() || !passage.is_behind(self.stream.as_ref(), done) {
            return;
        }
        // Later, a message that comes again would be decided by the present configuration.
        self.settle().await;
        passed.cancel();
        self.flow = None;
        self.is_over = passage.is_end();
    }

    /// Tells JetStream that a message is done with: at once when no other is waiting, else together with the next ones.
    ///
    /// It need not wait for an answer: a lost acknowledgement brings the message back, and the relay recognises that it
    /// has been posted.
    pub(crate) async fn ack(&mut self, delivery: Delivery) {
        let (_payload, acker) = delivery.message.split();
        self.done.push(acker);
        // Without a pull the acknowledgements are settled before the next pull begins.
        let is_idle = !self.has_next() && self.flow.is_some();
        if self.done.len() >= ACK_BATCH || is_idle {
            self.flush_acks().await;
        }
    }

    /// Tells JetStream, and through its advisories the operators, that the message can never be posted.
    pub(crate) async fn terminate(&mut self, delivery: &Delivery, reason: &str) {
        // The client's own Term takes no reason; servers support one from 2.10.4 on and ignore it before.
        let Some(reply) = delivery.message.reply.clone() else { return };
        // Earlier messages are acknowledged first: everything outstanding has to be newer than everything acknowledged.
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

    /// Acknowledges what is done with, and waits until the server has noted the last of it, and therefore all.
    async fn settle(&mut self) {
        let last = self.done.pop();
        self.flush_acks().await;
        if let Some(last) = last
            && let Err(error) = last.double_ack().await
        {
            debug!("acknowledgement not answered: {error}");
        }
    }

    /// Whether another message has arrived.
    fn has_next(&mut self) -> bool {
        if self.held.is_empty() {
            self.take_arrived();
        }
        !self.held.is_empty()
    }

    /// Takes one item that has arrived in the client. Returns false if there is none.
    fn take_arrived(&mut self) -> bool {
        let Some(flow) = &mut self.flow else { return false };
        let item = flow.pull.arrived();
        item.map(|item| self.take(item)).is_some()
    }

    /// Runs `work` on the message `current` under a lease: JetStream is kept from delivering `current`, and whatever
    /// else is held meanwhile, again. Arriving messages are taken at once: as long as a message is in the client,
    /// however small, it keeps the whole buffer that it was read into, which is as large as the largest message of any
    /// route.
    pub(crate) async fn keep_alive<T>(
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

    /// Whether more messages may be held.
    fn has_room(&self) -> bool {
        self.held.iter().map(|held| held.weight).sum::<usize>() < self.memory.in_hand()
    }

    async fn keep(&mut self, current: &Delivery) {
        if self.reconnected.has_changed().unwrap_or(true) {
            // All outstanding messages will be read again; until then there must not be more of them.
            self.flow = None;
        }
        self.ask_ahead(current).await;
        // Messages that wait in the client could not be kept from being delivered again.
        while self.has_room() && self.take_arrived() {}
        // Without a connection acknowledgements would only fill the client's buffer.
        if self.nats.is_connected() {
            self.flush_acks().await;
            current.answer(AckKind::Progress).await;
            for delivery in &self.held {
                delivery.answer(AckKind::Progress).await;
            }
        }
    }

    /// Drops a message, and those behind it, to free memory for others. They are read again.
    pub(crate) fn put_back(&mut self, delivery: Delivery) {
        drop(delivery);
        self.flow = None;
        self.held.clear();
        self.queue.note(&self.held);
        self.reread = None;
    }

    /// Returns the route's view of the memory for messages.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes sure that acknowledgements have been sent. Messages that were not posted are left for the next process.
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

    /// Notes that the server answers, which ends an outage. That it was asked does not: a request for which a permission
    /// is missing gets no answer.
    fn note_answer(&mut self) {
        let Some(flow) = self.flow.as_mut().filter(|flow| flow.pull.is_answered()) else { return };
        if !std::mem::replace(&mut flow.is_noted, true) {
            self.is_barren = false;
            self.outage.over();
            self.health.begun();
        }
    }

    fn take(&mut self, item: Result<jetstream::Message, PullError>) {
        self.note_answer();
        let Some(flow) = &mut self.flow else { return };
        match item {
            Ok(message) => match Delivery::new(message) {
                Some((mut delivery, number)) if number == flow.next => {
                    flow.next += 1;
                    delivery.reservation = flow.pull.reservation();
                    self.reached = Some(delivery.sequence);
                    self.nats.note_delivery();
                    self.health.metrics.received.inc();
                    self.held.push_back(delivery);
                    self.queue.note(&self.held);
                }
                // A message before this one was lost on the way. It comes again, and so does this one.
                _ => {
                    debug!("a delivery is missing");
                    self.flow = None;
                }
            },
            // Some of these errors are temporary and some final; beginning again tells which.
            Err(error) => self.broken(&error),
        }
    }

    /// Handles a flow that has ended early.
    fn broken(&mut self, error: &PullError) {
        let reason = chain(error);
        debug!("pull ended: {reason}");
        let is_silent = self.flow.take().is_some_and(|flow| flow.pull.is_silent());
        if std::mem::replace(&mut self.is_barren, true) || is_silent {
            self.outage.failed(State::NatsUnreachable, &reason, None);
        }
    }

    /// Takes the outstanding messages or, if there are none, begins to pull; tries again until that works.
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
                    if self.flow.is_none() {
                        // Messages were read from the stream.
                        self.outage.over();
                        self.health.begun();
                    }
                    return Ok(());
                }
                Err(Problem::Permanent(failure)) => return Err(failure),
                Err(Problem::Transient(error)) => {
                    let reason = chain(&error);
                    let pause = self.outage.failed(State::NatsUnreachable, &reason, None);
                    // A new connection is a good moment for the next attempt.
                    let _ = timeout(pause, self.reconnected.changed()).await;
                }
            }
        }
    }

    async fn try_begin(&mut self) -> Result<(), Problem> {
        let stream = match consumer::stream(&self.nats, self.feed.stream()).await {
            Err(error @ ReadError::NoStream(_)) if self.feed.is_draining() => {
                self.end_without(&chain(&error));
                return Ok(());
            }
            stream => stream?,
        };
        self.note_stream(stream.cached_info());
        let found = consumer::find_or_make(&stream, &self.feed, self.reached).await?;
        let Some((consumer, info)) = found else {
            self.end_without("its consumer does not exist");
            return Ok(());
        };
        self.pass(outstanding::done(&self.feed, &info)).await;
        if self.is_over {
            return Ok(());
        }
        self.begun.get_or_insert(timestamp(info.created));
        let is_outstanding = self.take_outstanding(&info).await?;
        self.reached = Some(info.delivered.stream_sequence);
        if is_outstanding {
            return Ok(());
        }
        consumer::adjust(&stream, &self.feed, &info).await?;
        stored::check(&self.nats, self.feed.stream()).await.map_err(ReadError::from)?;
        let memory = Allowance::Each(self.memory.clone(), Some(self.health.condition()));
        let pull = Pull::begin(&self.nats, consumer, memory).await.map_err(ReadError::request)?;
        self.flow =
            Some(Flow { pull, next: info.delivered.consumer_sequence + 1, is_noted: false });
        self.reread = None;
        Ok(())
    }

    /// Reads some of the messages that were delivered and are not acknowledged. Returns false if all those that the
    /// stream still has have been read: whatever else is outstanding was done with, and comes again.
    async fn take_outstanding(&mut self, info: &ConsumerInfo) -> Result<bool, ReadError> {
        if !outstanding::is_any(info) {
            return Ok(false);
        }
        // The size of the messages is unknown before they are read.
        let mut wait = self.memory.queue(stored::need(&self.nats));
        let memory = wait.reservation(Some(&self.health.condition())).await;
        drop(wait);
        let outstanding = outstanding::read(&self.nats, info, self.reread, memory).await?;
        let last = outstanding.last().map(|delivery| delivery.sequence);
        debug!(of = info.num_ack_pending, ?last, "outstanding messages");
        if last.is_none() {
            return Ok(false);
        }
        self.reread = last;
        self.health.metrics.received.inc_by(outstanding.len() as u64);
        self.held.extend(outstanding);
        self.queue.note(&self.held);
        Ok(true)
    }

    /// Ends a feed that has nothing more to read from.
    fn end_without(&mut self, reason: &str) {
        info!("nothing is left of what waited for the removed route: {reason}");
        self.is_over = true;
        if let Some(passage) = self.feed.passage() {
            passage.passed().cancel();
        }
    }

    fn note_stream(&mut self, info: &StreamInfo) {
        let id = StreamId {
            stream: info.config.name.clone(),
            created: timestamp(info.created).as_nanosecond().to_string(),
        };
        let age = info.config.max_age;
        self.keeps_messages = info.config.retention == RetentionPolicy::Limits
            && (age.is_zero() || age >= LONG_ENOUGH);
        match &self.stream {
            Some(known) if *known == id => return,
            Some(_) => {
                info!("stream {} was made anew; starting with its first message", id.stream);
                self.reached = Some(0);
                self.reread = None;
            }
            None => {
                for line in consumer::unmatched(&self.feed, &info.config) {
                    warn!("{line}");
                }
            }
        }
        self.stream = Some(id);
    }
}
