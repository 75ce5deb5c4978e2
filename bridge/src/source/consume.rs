//! The source of messages: one durable pull consumer per route, in stream order.
//!
//! JetStream alone does not keep the order. Messages that were delivered to a process that died, or over a connection
//! that broke, come back only after `ack_wait`, and by then newer ones have been delivered. So whenever deliveries may
//! have been lost, the source first takes what is [outstanding] from the stream, and asks for more only when that is
//! done with. It notices lost deliveries by the consumer sequence, which counts deliveries without a gap.

use std::{
    cell::RefCell, collections::VecDeque, future::pending, path::Path, rc::Rc, time::Duration,
};

use async_nats::jetstream::{
    self, AckKind,
    consumer::{Info as ConsumerInfo, PullConsumer, pull::Config as PullConfig},
    message::Acker,
    stream::{Config as StreamConfig, Info as StreamInfo, RetentionPolicy, Stream},
};
use jiff::Timestamp;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    failure::{Failure, chain},
    message::{Removal, StreamId, is_same_creation},
    nats::{Allowance, Memory, Nats, bucket::BucketError, timestamp},
    source::{
        account::{Account, Passed},
        backlog::{Backlog, Queue},
        checkpoint::{Checkpoint, Checkpoints},
        consumer::{self, ACK_WAIT, Resume},
        delivery::Delivery,
        feed::Feed,
        inspect::Inspection,
        ledger::Ledger,
        observation::Observation,
        outstanding,
        problem::{Problem, ReadError},
        pull::{Pull, PullError},
        stored,
        tenure::{Claiming, Tenure},
    },
    status::{Outage, RouteHealth, State},
};

/// The number of acknowledgements that are sent together while more messages are waiting. Each costs a system call in
/// the bridge and a wake-up of the server. Messages that a kill leaves unacknowledged are recognised in the room.
const ACK_BATCH: usize = 16;

/// The retention time from which on a stream counts as keeping messages until somebody looks.
const LONG_ENOUGH: Duration = Duration::from_hours(24 * 7);

/// The interval at which the stream is compared with what was read of it.
const COMPARE: Duration = Duration::from_secs(15);

/// The longest time to wait for the answers that this takes.
const SLOW: Duration = Duration::from_secs(5);

/// The longest time to wait for a count of messages, and the time after which it is tried again.
const COUNTING: Duration = Duration::from_secs(3);

const NO_COUNT: Duration = Duration::from_mins(10);

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
    tenure: Tenure,
    reconnected: watch::Receiver<u64>,
    outage: Outage,
    health: RouteHealth,
    stream: Option<StreamId>,
    /// See [`Upstream::lineage`]; of no meaning without a stream.
    lineage: String,
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
    /// The first message that has to be read from the stream although the consumer has it as acknowledged, or has left it
    /// out.
    recover: Option<u64>,
    /// The configuration that the server has made of the one that was wanted.
    settled: Option<PullConfig>,
    /// Whether somebody has changed the consumer since the flow began.
    is_changed: bool,
    /// The sequence number up to which all messages are done with.
    finished: u64,
    checkpoints: Checkpoints,
    /// The checkpoint at the start. `None` as long as it was not asked for.
    resumed: Option<Result<Option<Checkpoint>, BucketError>>,
    account: Account,
    inspection: Inspection,
    /// The number of messages that are held, for the backlog.
    queue: Rc<Queue>,
    /// The messages that are done with and not yet acknowledged; at most [`ACK_BATCH`].
    done: Vec<Acker>,
    /// The ledger of what the stream has removed, shared with the backlog.
    ledger: Rc<RefCell<Ledger>>,
    /// The time of the next comparison with the stream.
    compare_at: Instant,
    /// The time until which the messages of a stream that others share are not counted, as that failed.
    no_count_until: Option<Instant>,
}

/// The properties of the stream that messages come from.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// The incarnation of the stream.
    pub(crate) stream: StreamId,
    /// The creation time of the earliest incarnation whose messages the stream continues, as far as is known: a stream that
    /// was restored from a backup is a new one with the same messages.
    pub(crate) lineage: String,
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
    pub(crate) fn new(
        nats: Nats,
        feed: Feed,
        tenure: Tenure,
        health: RouteHealth,
        state_dir: &Path,
    ) -> Self {
        let ledger = Ledger::open(state_dir, &feed, health.clone());
        let mut reconnected = nats.connections();
        reconnected.mark_unchanged();
        Self {
            outage: Outage::of("NATS", health.condition()),
            checkpoints: Checkpoints::of(nats.clone(), &feed),
            inspection: Inspection::of(&feed, health.clone()),
            recover: None,
            settled: None,
            is_changed: false,
            finished: 0,
            resumed: None,
            account: Account::default(),
            health,
            reconnected,
            memory: nats.memory.of_one(),
            nats,
            feed,
            tenure,
            stream: None,
            lineage: String::new(),
            keeps_messages: false,
            begun: None,
            reached: None,
            reread: None,
            flow: None,
            is_barren: false,
            held: VecDeque::new(),
            queue: Rc::default(),
            done: Vec::new(),
            ledger: Rc::new(RefCell::new(ledger)),
            compare_at: Instant::now() + COMPARE,
            no_count_until: None,
        }
    }

    /// Returns the name of the stream that the messages are read from.
    pub(crate) fn stream_name(&self) -> &str {
        self.feed.stream()
    }

    /// Whether the feed of a removed route has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        let passage = self.feed.passage().filter(|passage| passage.is_end());
        passage.is_some_and(|passage| passage.passed().is_cancelled())
    }

    /// Returns the properties of the stream; they are known once there was a message.
    pub(crate) fn upstream(&self) -> Option<Upstream> {
        let (keeps_messages, begun, lineage) =
            (self.keeps_messages, self.begun, self.lineage.clone());
        self.stream.clone().map(|stream| Upstream { stream, lineage, keeps_messages, begun })
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
            Rc::clone(&self.ledger),
        )
    }

    /// Returns the next message. It waits as long as there is none, also while NATS or the stream is away. Returns `None`
    /// if a report of [removed messages](Self::removed) is due before that, or if the feed has [ended](Self::is_over).
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] when the consumer can never be used.
    pub(crate) async fn next(&mut self) -> Result<Option<Delivery>, Failure> {
        let mut asked = Instant::now();
        loop {
            self.inspect(None).await;
            self.compare_if_due().await;
            if let Some(next) = self.held.front().map(|next| next.sequence) {
                self.pass(next.saturating_sub(1)).await;
            }
            // Before the source has begun, another bridge may have the route, and reports what it finds missing.
            let is_due = self.reached.is_some() && self.ledger.borrow().is_due();
            if is_due || self.is_over() {
                return Ok(None);
            }
            if let Some(delivery) = self.pop() {
                self.ask_ahead(&delivery).await;
                return Ok(Some(delivery));
            }
            let idle = self.idle();
            let Some(flow) = &mut self.flow else {
                Box::pin(self.begin()).await?;
                continue;
            };
            tokio::select! {
                item = flow.pull.next_or_answer() => match item.transpose() {
                    Some(item) => self.take(item),
                    None => self.note_answer(),
                },
                // Deliveries may have been under way when the connection broke.
                _ = self.reconnected.changed() => self.flow = None,
                () = self.inspection.changed() => {}
                () = sleep_until(self.compare_at) => {}
                () = sleep_until(asked + idle) => {
                    self.look_for_strays().await;
                    asked = Instant::now();
                }
            }
        }
    }

    /// Returns the messages that the stream has removed before they could be read, if the room has to be told by now.
    /// They are the same until [`Self::told`]; also returns the time after which the room may have been told.
    pub(crate) fn removed(&self) -> Option<(Removal, Timestamp)> {
        let mut ledger = self.ledger.borrow_mut();
        let removal = ledger.due()?;
        Some((removal, ledger.since()))
    }

    /// Notes that the room was told of the removed messages.
    pub(crate) fn told(&self) {
        self.ledger.borrow_mut().told();
    }

    /// Compares the stream with what was read of it, if it is time.
    async fn compare_if_due(&mut self) {
        if Instant::now() < self.compare_at {
            return;
        }
        self.compare_at = Instant::now() + COMPARE;
        if self.stream.is_none() || !self.nats.is_connected() {
            return;
        }
        while self.has_room() && self.take_arrived() {}
        match timeout(SLOW, self.compare(None)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!("not compared with the stream: {}", chain(&error)),
            Err(_) => debug!("not compared with the stream: no answer"),
        }
    }

    /// Compares the stream with what was read of it. `beginning` is what the server has said of the consumer, if nothing
    /// was taken since.
    async fn compare(&mut self, beginning: Option<&ConsumerInfo>) -> Result<(), ReadError> {
        let stream = consumer::stream(&self.nats, self.feed.stream()).await?;
        let asked = match beginning {
            Some(info) => info.clone(),
            None => match consumer::find(&self.nats, &stream, &self.feed).await? {
                Some(info) => info,
                // It was deleted, and is made anew.
                None => return Ok(()),
            },
        };
        // Asked after the consumer, the stream has all that the consumer counts.
        let info = stream.get_info().await.map_err(ReadError::request)?;
        let mut seen = Observation::new(&self.feed, &asked, &info);
        if beginning.is_some() {
            seen = seen.at_beginning(&asked);
        } else if self.flow.is_none() {
            seen = seen.with_outstanding(&asked);
        }
        if let Some(first) = self.recover {
            seen = seen.with_unposted(first);
        }
        let last = self.ledger.borrow().counts_behind(&seen);
        let may_count = self.no_count_until.is_none_or(|until| Instant::now() >= until);
        if let Some(last) = last.filter(|_| may_count) {
            let count = seen.count(&self.nats, &self.feed, &stream, &asked.name, last);
            let counted = timeout(COUNTING, count).await;
            if !matches!(counted, Ok(Ok(()))) {
                debug!("messages not counted: {counted:?}");
                // There may be no permission to make a consumer.
                self.no_count_until = Some(Instant::now() + NO_COUNT);
            }
        }
        let mut ledger = self.ledger.borrow_mut();
        match beginning {
            Some(_) => ledger.begin(&seen),
            None => ledger.observe(&seen),
        }
        Ok(())
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
        let done = self.recover.map_or(done, |recover| done.min(recover.saturating_sub(1)));
        if passed.is_cancelled()
            || !passage.is_behind(self.stream.as_ref().map(|_| self.lineage.as_str()), done)
        {
            return;
        }
        // Later, a message that comes again would be decided by the present configuration.
        self.settle().await;
        passed.cancel();
        self.flow = None;
        // The filters that the consumer has to have are others now.
        (self.settled, self.is_changed) = (None, false);
    }

    /// Tells JetStream that a message is done with: at once when no other is waiting, else together with the next ones.
    ///
    /// It need not wait for an answer: a lost acknowledgement brings the message back, and the relay recognises that it
    /// has been posted.
    pub(crate) async fn ack(&mut self, delivery: Delivery) {
        self.ledger.borrow_mut().done(delivery.sequence, delivery.published);
        self.finished = delivery.sequence;
        if !delivery.is_acknowledged {
            let (_payload, acker) = delivery.message.split();
            self.done.push(acker);
        }
        // Without a pull the acknowledgements are settled before the next pull begins.
        let is_idle = !self.has_next() && self.flow.is_some();
        if self.done.len() >= ACK_BATCH || is_idle {
            self.flush_acks().await;
        }
    }

    /// Tells JetStream, and through its advisories the operators, that the message can never be posted.
    pub(crate) async fn terminate(&mut self, delivery: &Delivery, reason: &str) {
        self.ledger.borrow_mut().done(delivery.sequence, delivery.published);
        // The client's own Term takes no reason; servers support one from 2.10.4 on and ignore it before.
        let Some(reply) = delivery.message.reply.clone() else { return };
        self.finished = delivery.sequence;
        // Earlier messages are acknowledged first: everything outstanding has to be newer than everything acknowledged.
        self.flush_acks().await;
        if delivery.is_acknowledged {
            return;
        }
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

    /// Runs `work`, on the message `current` if there is one, under a lease: JetStream is kept from delivering `current`,
    /// and whatever else is held meanwhile, again. Arriving messages are taken at once: as long as a message is in the
    /// client, however small, it keeps the whole buffer that it was read into, which is as large as the largest message
    /// of any route.
    pub(crate) async fn keep_alive<T>(
        &mut self,
        current: Option<&Delivery>,
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
                () = self.inspection.changed() => {
                    // It may write to NATS, which must not hold up the work. Cut short, it writes the next time.
                    let inspected = Box::pin(self.inspect(current));
                    tokio::select! {
                        biased;
                        done = &mut work => return done,
                        () = inspected => {}
                    }
                }
                () = sleep_until(self.compare_at) => {
                    let compared = Box::pin(self.compare_if_due());
                    let done = tokio::select! {
                        biased;
                        done = &mut work => Some(done),
                        () = compared => None,
                    };
                    if let Some(done) = done {
                        // Cut short, it is made up for before the next message.
                        self.compare_at = Instant::now();
                        return done;
                    }
                }
                item = arrival => self.take(item),
            }
        }
    }

    /// Looks at what NATS has said about the consumer since the last time.
    async fn inspect(&mut self, current: Option<&Delivery>) {
        let Some(observed) = self.inspection.next() else { return };
        let Some(info) = observed.consumer.as_ref().filter(|_| self.stream.is_some()) else {
            // The consumer is gone, or was not created yet.
            self.flow = None;
            return;
        };
        let state = &observed.stream.state;
        let all = current.into_iter().chain(&self.held);
        let mut all = all.filter(|it| it.is_unacknowledged && it.sequence >= state.first_sequence);
        let held = all.next().map(|delivery| delivery.sequence);
        match self.inspection.compare_floor(info, held) {
            Some(first) => self.recover_from(first),
            // Everything that somebody else has acknowledged is posted by now.
            None if self.flow.is_some() => self.recover = None,
            None => {}
        }
        let floor = info.ack_floor.stream_sequence;
        if self.flow.is_some()
            && held.is_none_or(|held| held > floor)
            && self.passed(info).is_some()
        {
            debug!("messages may have been taken");
            self.flow = None;
        }
        self.inspection.note_pause(info);
        let is_ahead = info.delivered.stream_sequence > state.last_sequence;
        let stream = &observed.stream.config;
        // Before there is a flow, the consumer may still have the settings from before.
        if self.flow.is_some() {
            self.note_changes(stream, info);
        }
        let is_unread = self.resumed.is_none() && self.checkpoints.may_be_tried();
        if self.is_changed || is_ahead || is_unread {
            self.flow = None;
        } else if self.flow.is_some() {
            self.inspection.note_sound(info);
        }
        self.keep_checkpoint(false).await;
    }

    /// Notes whether somebody has changed the consumer.
    fn note_changes(&mut self, stream: &StreamConfig, info: &ConsumerInfo) {
        if self.is_changed {
            return;
        }
        let changes = consumer::changes(&self.feed, stream, info, self.settled.as_ref());
        for line in &changes {
            warn!("somebody has changed durable consumer {}: {line}", info.name);
        }
        self.is_changed = !changes.is_empty();
    }

    /// Writes the checkpoint of the feed, if it is due or everything ends.
    async fn keep_checkpoint(&mut self, is_end: bool) {
        // The checkpoint of an earlier process is read before it is overwritten.
        let is_known = self.reached.is_some() && self.resumed.is_some();
        let Some(stream) = self.stream.as_ref().filter(|_| is_known) else { return };
        let finished = (self.finished, self.ledger.borrow().done_at(self.finished));
        let lease = self.tenure.lease();
        let checkpoint = Checkpoint::new(stream, &self.feed, lease, finished, self.recover);
        let is_wanted = if is_end {
            self.checkpoints.is_new(&checkpoint)
        } else {
            self.checkpoints.is_due(&checkpoint)
        };
        if is_wanted {
            self.checkpoints.write(checkpoint).await;
        }
    }

    /// Whether more messages may be held.
    fn has_room(&self) -> bool {
        self.held.iter().map(|held| held.weight).sum::<usize>() < self.memory.in_hand()
    }

    async fn keep(&mut self, current: Option<&Delivery>) {
        if self.reconnected.has_changed().unwrap_or(true) {
            // All outstanding messages will be read again; until then there must not be more of them.
            self.flow = None;
        }
        if let Some(current) = current {
            self.ask_ahead(current).await;
        }
        // Messages that wait in the client could not be kept from being delivered again.
        while self.has_room() && self.take_arrived() {}
        // Without a connection acknowledgements would only fill the client's buffer.
        if self.nats.is_connected() {
            self.flush_acks().await;
            for delivery in current.into_iter().chain(&self.held) {
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
        self.ledger.borrow_mut().put_back();
        self.reread = None;
    }

    /// Returns the route's view of the memory for messages.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes sure that acknowledgements have been sent. Messages that were not posted are left for the next process.
    pub(crate) async fn close(&mut self) {
        self.flow = None;
        if !self.nats.is_connected() {
            return;
        }
        self.flush_acks().await;
        if timeout(Duration::from_secs(2), self.keep_checkpoint(true)).await.is_err() {
            debug!("checkpoint not written");
        }
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
        let Some(next) = self.flow.as_ref().map(|flow| flow.next) else { return };
        match item {
            Ok(message) => match Delivery::new(message) {
                // Whether the consumer leaves out the payloads is found out before anything of it is shown.
                Some((delivery, _)) if delivery.may_lack_payload() => {
                    debug!("a message may lack its payload");
                    self.flow = None;
                }
                Some((delivery, 1)) if next == 1 && self.is_unexpected(&delivery) => {
                    debug!("messages may have been taken");
                    self.flow = None;
                }
                Some((mut delivery, number)) if number == next => {
                    let Some(flow) = &mut self.flow else { return };
                    flow.next += 1;
                    delivery.is_unacknowledged = true;
                    delivery.reservation = flow.pull.reservation();
                    self.reached = Some(delivery.sequence);
                    let mut ledger = self.ledger.borrow_mut();
                    ledger.delivered(number);
                    ledger.arrived(delivery.sequence, delivery.published);
                    drop(ledger);
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
            match Box::pin(self.try_begin()).await {
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

    /// Finds the consumer, or makes it, and claims the route before anything of it is taken or changed. Stands by as long
    /// as another bridge has the route. Returns `None` if that took a while, as everything may have changed meanwhile, and
    /// if there is nothing more to read for a removed route.
    async fn find_and_claim(
        &mut self,
    ) -> Result<Option<(Stream, PullConsumer, ConsumerInfo)>, Problem> {
        let stream = match consumer::stream(&self.nats, self.feed.stream()).await {
            Err(error @ ReadError::NoStream(_)) if self.feed.is_draining() => {
                self.end_without(&chain(&error));
                return Ok(None);
            }
            stream => stream?,
        };
        self.note_stream(stream.cached_info());
        let resume = self.resume(stream.cached_info()).await;
        let found =
            consumer::find_or_make(&self.nats, &stream, &self.feed, resume, &mut self.settled)
                .await?;
        let Some((consumer, info, is_made)) = found else {
            self.end_without("its consumer does not exist");
            return Ok(None);
        };
        let (nats, feed) = (&self.nats, &self.feed);
        let claiming = self.tenure.claim(nats, feed, &info, is_made, &self.health).await;
        if claiming == Claiming::AtOnce {
            return Ok(Some((stream, consumer, info)));
        }
        // The other bridge has written its checkpoint later.
        (self.resumed, self.settled, self.recover) = (None, None, None);
        self.account.forget_start();
        Ok(None)
    }

    async fn try_begin(&mut self) -> Result<(), Problem> {
        let (stream, mut consumer, mut info) = loop {
            if let Some(claimed) = self.find_and_claim().await? {
                break claimed;
            }
            if self.is_over() {
                return Ok(());
            }
        };
        self.pass(outstanding::done(&self.feed, &info)).await;
        if self.is_over() {
            return Ok(());
        }
        if consumer::is_ahead(&self.nats, &stream, &info).await? {
            (consumer, info) =
                consumer::begin_anew(&stream, &self.feed, &info, &mut self.settled).await?;
            self.finished = 0;
            self.account.forget();
            (self.recover, self.reread) = (None, None);
            self.is_changed = false;
        }
        if self.settled.is_some() {
            self.note_changes(&stream.cached_info().config, &info);
        }
        if self.is_changed {
            // The messages that it has left out are looked for by the filters that it has to have.
            self.recover_from(self.inspection.first_left_out(&info));
            self.reread = None;
            let adjusted = consumer::adjust(&stream, &self.feed, &info, &mut self.settled).await?;
            consumer = adjusted.unwrap_or(consumer);
            info = stream.consumer_info(&info.name).await.map_err(ReadError::request)?;
            self.is_changed = false;
        }
        if self.begun.is_none() {
            consumer::suggest_move(&self.feed, &info);
        }
        self.begun.get_or_insert(timestamp(info.created));
        let passed = self.passed(&info);
        // The ledger counts what was removed of it. Another bridge has counted that on its own.
        if let Some(passed) = passed.as_ref().filter(|passed| passed.is_exact) {
            self.recover_from(passed.after + 1);
        }
        if self.reread.is_none() {
            self.ledger.borrow_mut().hold(self.tenure.lease());
            self.compare(Some(&info)).await?;
        }
        if let Some(passed) = &passed {
            self.recover_from(passed.after + 1);
        }
        let is_outstanding = self.take_outstanding(&info, passed).await?;
        self.reached = Some(info.delivered.stream_sequence);
        if is_outstanding {
            let first = outstanding::begin(&info).0;
            self.finished = self.recover.map_or(first, |recover| recover.min(first)) - 1;
            self.keep_checkpoint(false).await;
            return Ok(());
        }
        self.recover = None;
        self.finished = info.delivered.stream_sequence;
        self.keep_checkpoint(false).await;
        let adjusted = consumer::adjust(&stream, &self.feed, &info, &mut self.settled).await?;
        let consumer = adjusted.unwrap_or(consumer);
        stored::check(&self.nats, self.feed.stream()).await.map_err(ReadError::from)?;
        let memory = Allowance::Each(self.memory.clone(), Some(self.health.condition()));
        let pull = Pull::begin(&self.nats, consumer, memory).await.map_err(ReadError::request)?;
        self.inspection.begin(&info);
        self.flow =
            Some(Flow { pull, next: info.delivered.consumer_sequence + 1, is_noted: false });
        self.reread = None;
        Ok(())
    }

    /// Has the messages from `first` on read from the stream, even if the server has them as acknowledged.
    fn recover_from(&mut self, first: u64) {
        self.recover = Some(self.recover.map_or(first, |recover| recover.min(first)));
    }

    /// Returns the range of messages that the consumer is past, and the feed is not done with as far as is known.
    fn passed(&self, info: &ConsumerInfo) -> Option<Passed> {
        let (stream, ledger) = (self.stream.as_ref()?, self.ledger.borrow());
        self.account.passed(&ledger, stream, self.reached.is_some(), info)
    }

    /// Whether the stream may have messages of the feed before the first one that its consumer has delivered.
    fn is_unexpected(&mut self, delivery: &Delivery) -> bool {
        let ledger = self.ledger.borrow();
        let stream = self.stream.as_ref();
        stream.is_some_and(|stream| self.account.is_unexpected(delivery, &ledger, stream))
    }

    /// Reads some of the messages that were delivered and are not acknowledged, and of those that were `passed`. Returns
    /// false if all those that the stream still has have been read: whatever else is outstanding was done with, and comes
    /// again.
    async fn take_outstanding(
        &mut self,
        info: &ConsumerInfo,
        passed: Option<Passed>,
    ) -> Result<bool, ReadError> {
        if !outstanding::is_any(info) && self.recover.is_none() {
            return Ok(false);
        }
        // The size of the messages is unknown before they are read.
        let mut wait = self.memory.queue(stored::need(&self.nats));
        let memory = wait.reservation(Some(&self.health.condition())).await;
        drop(wait);
        let outstanding =
            outstanding::read(&self.nats, info, self.reread, self.recover, memory).await?;
        if let Some(passed) = &passed {
            self.account.found(passed, &outstanding, info, &mut self.inspection);
        }
        let last = outstanding.last().map(|delivery| delivery.sequence);
        debug!(of = info.num_ack_pending, ?last, "outstanding messages");
        if last.is_none() {
            return Ok(false);
        }
        self.reread = last;
        self.health.metrics.received.inc_by(outstanding.len() as u64);
        for delivery in &outstanding {
            self.ledger.borrow_mut().arrived(delivery.sequence, delivery.published);
        }
        self.held.extend(outstanding);
        self.queue.note(&self.held);
        Ok(true)
    }

    /// Returns where a new consumer has to begin, and reads at the start what an earlier process has left.
    async fn resume(&mut self, info: &StreamInfo) -> Resume {
        if self.resumed.is_none() && (self.reached.is_none() || self.checkpoints.may_be_tried()) {
            let read = self.checkpoints.read().await;
            if let (Ok(Some(checkpoint)), Some(stream)) = (&read, &self.stream)
                && checkpoint.is_of(stream)
            {
                if self.reached.is_none() {
                    self.finished = checkpoint.reached;
                    self.account.start(checkpoint, stream, &self.ledger.borrow());
                }
                self.recover = self.recover.into_iter().chain(checkpoint.unposted).min();
            }
            // Without an answer it is asked for again.
            match read {
                Err(error) if !matches!(error, BucketError::Denied(_)) => {
                    if self.reached.is_none() {
                        return Resume::Unknown;
                    }
                }
                read => self.resumed = Some(read),
            }
        }
        match (self.reached, &self.resumed, &self.stream) {
            (Some(reached), ..) => Resume::After(reached),
            (None, Some(Ok(Some(checkpoint))), Some(stream)) if checkpoint.is_of(stream) => {
                if is_same_creation(&checkpoint.created, &stream.created) {
                    Resume::After(checkpoint.reached)
                } else {
                    Resume::After(kept(checkpoint.reached, info))
                }
            }
            // The stream was made anew while the bridge was away.
            (None, Some(Ok(Some(_))), _) => Resume::After(0),
            _ => Resume::Begin,
        }
    }

    /// Ends a feed that has nothing more to read from.
    fn end_without(&mut self, reason: &str) {
        info!("nothing is left of what waited for the removed route: {reason}");
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
        self.account.note_stream(&info.config);
        self.keeps_messages = info.config.retention == RetentionPolicy::Limits
            && (age.is_zero() || age >= LONG_ENOUGH);
        match &self.stream {
            Some(known) if known.is_same(&id) => return,
            Some(_) => {
                self.finished = 0;
                self.account.forget();
                if !is_restored(info) {
                    self.lineage.clone_from(&id.created);
                }
                if is_restored(info) {
                    info!("stream {} was restored from a backup; going on where it is", id.stream);
                    self.reached = self.reached.map(|it| kept(it, info));
                } else {
                    info!("stream {} was made anew; starting with its first message", id.stream);
                    self.reached = Some(0);
                }
                self.recover = None;
                (self.settled, self.is_changed) = (None, false);
                self.reread = None;
            }
            None => {
                let earlier = self.feed.passage().and_then(|passage| passage.created());
                let earlier = earlier.filter(|_| is_restored(info));
                self.lineage = earlier.map_or_else(|| id.created.clone(), str::to_owned);
                let removal = consumer::removal(&info.config);
                for line in consumer::unmatched(self.feed.subjects(), &info.config)
                    .into_iter()
                    .chain(removal)
                {
                    warn!("{line}");
                }
            }
        }
        self.stream = Some(id);
    }
}

/// Whether a stream was restored from a backup: its messages are older than it is.
pub(crate) fn is_restored(info: &StreamInfo) -> bool {
    info.state.messages > 0 && info.state.first_timestamp < info.created
}

/// Returns up to which message a route is done with in a stream that was restored from a backup. The backup may end
/// before `reached`, and the numbers behind it are assigned again. Messages that were shown are recognised in the room.
fn kept(reached: u64, restored: &StreamInfo) -> u64 {
    let has_new_messages = restored.state.last_timestamp >= restored.created;
    if has_new_messages { 0 } else { reached.min(restored.state.last_sequence) }
}
