//! The way of a report: source, decode, render, room, ack. One task per route, one message at a
//! time, in stream order.

mod confirm;
mod files;
mod rooms;
mod storm;

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use time::OffsetDateTime;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    confirm::{Confirmed, Roots},
    rooms::{Entered, Rooms},
    storm::UNREADABLE,
};
use crate::{
    attachments::Budget,
    config::Route,
    conversation::{self, Conversation, Saying, Talk},
    dead_letter::DeadLetters,
    failure::Failure,
    health::{RouteHealth, Shown, State},
    held::{self, Fate, Held},
    matrix::Account,
    origin::StreamId,
    payload::Decoded,
    poison::{self, Handling},
    post::{Message, Outcome, Part},
    render::{self, Incoming, Rendered, Renderer, Urgency, conversation::with_times},
    retry::Outage,
    routing::{Facts, Routing},
    serve::{Links, Way},
    source::{Delivery, Source},
};

/// How often it is looked whether quiet hours are over.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(5);

/// Everything that one route needs.
pub(crate) struct Relay {
    route: Arc<Route>,
    source: Source,
    rooms: Rooms,
    stop: CancellationToken,
    dead_letters: DeadLetters,
    routing: Routing,
    renderer: Arc<Renderer>,
    /// The templates whose failure is in the log.
    told: HashSet<String>,
    /// Shared with the relay of what the route has held back.
    conversations: Arc<Mutex<conversation::Store>>,
    roots: Roots,
    budget: Arc<Mutex<Budget>>,
    account: Arc<Account>,
    held: Option<Held>,
    health: RouteHealth,
    /// Until then there is none, as what waits could not be read, or ended the process.
    no_digest_until: Option<Instant>,
    poison: poison::Guard,
}

/// What is to become of a message at its source.
enum Verdict {
    /// It is in the room, now or since before.
    Done,
    /// It is a dead letter, for this reason.
    Dead(String),
    /// It is to come again, because we were told to stop.
    Unfinished,
}

impl Relay {
    /// The relay of one route.
    pub(crate) fn new(way: Way, renderer: Arc<Renderer>, links: Links) -> Self {
        let Way { route, routing, new_rooms, conversations, budget, .. } = way;
        let health = links.health.route(&route);
        let rooms = Rooms::new(Arc::clone(&route), new_rooms, &links, health.clone());
        let Links { nats, account, config, stop, .. } = links;
        let dead_letters = DeadLetters::of(nats.clone(), &config.dead_letter_subject, &route.name);
        let name = if held::is_morning(&route) {
            format!("{}-held", route.name)
        } else {
            route.name.to_string()
        };
        let poison = poison::Guard::open(account.state_dir(), &name);
        let no_digest_until = poison.ended_in_digest().then(|| Instant::now() + UNREADABLE);
        Self {
            conversations,
            roots: Roots::default(),
            budget,
            account: Arc::clone(&account),
            held: Held::of(&route, nats.clone()).filter(|_| !held::is_morning(&route)),
            source: Source::new(nats, Arc::clone(&route), health.clone()),
            rooms,
            stop,
            dead_letters,
            routing,
            renderer,
            told: HashSet::new(),
            health,
            no_digest_until,
            poison,
            route,
        }
    }

    /// Relays until told to stop.
    ///
    /// # Errors
    ///
    /// [`Failure::Config`] and [`Failure::Encrypted`] for what is wrong with this route alone, such as a consumer that
    /// cannot be used; the others for what is wrong with all, such as credentials that are refused. The message in hand
    /// then waits for the next relay of the route.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let ended = self.relay_all().await;
        // What is in the room is acknowledged also when something else is wrong.
        self.source.close().await;
        if ended.is_ok() && self.health.reconnects_often() {
            debug!("route {}: stopped; {}", self.route.name, self.health.metrics);
        } else if ended.is_ok() {
            info!("route {}: stopped; {}", self.route.name, self.health.metrics);
        }
        ended
    }

    async fn relay_all(&mut self) -> Result<(), Failure> {
        let stop = self.stop.clone();
        if !self.rooms.enter_first().await? {
            return Ok(());
        }
        loop {
            let delivery = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                delivery = self.source.next() => delivery?,
            };
            if !self.wait_for_morning(&delivery).await {
                break;
            }
            self.health.took(&delivery);
            let mut verdict = Box::pin(self.relay(&delivery)).await?;
            if matches!(verdict, Verdict::Done) && self.source.is_last(&delivery) {
                verdict = self.tell_what_was_late(&delivery).await?;
            }
            self.health.let_go();
            self.rooms.let_go(matches!(verdict, Verdict::Done));
            match verdict {
                Verdict::Done => self.source.ack(delivery).await,
                Verdict::Dead(reason) => self.source.terminate(&delivery, &reason).await,
                Verdict::Unfinished => break,
            }
        }
        Ok(())
    }

    /// Takes one message all the way, from its bytes to the room.
    async fn relay(&mut self, delivery: &Delivery) -> Result<Verdict, Failure> {
        let Some(stream) = self.source.stream().cloned() else {
            return Err(Failure::Bug("a message of no stream".to_owned()));
        };
        let decoded = self.decode(delivery, &stream);
        let facts = Facts {
            subject: delivery.subject(),
            headers: delivery.headers(),
            decoded: &decoded,
            original: delivery.payload(),
        };
        if !self.routing.takes(&facts) {
            return Ok(Verdict::Done);
        }
        let entered = Box::pin(self.rooms.enter(&stream, delivery));
        match self.source.keep_while(delivery, entered).await? {
            Entered::In => {}
            Entered::Closed(reason) => return Ok(self.put_away(delivery, &stream, reason).await),
            Entered::Stopped => return Ok(Verdict::Unfinished),
        }
        if self.rooms.post().is_done(&stream, delivery) {
            debug!(sequence = delivery.sequence, "delivered again, is done");
            return Ok(Verdict::Done);
        }
        if self.poison.handling(&stream.created, delivery.sequence) == Handling::Never {
            let route = Arc::clone(&self.route);
            let message = Message { delivery, stream: &stream, route: &route, parts: Vec::new() };
            let reason = "the bridge ended each time it worked on this message".to_owned();
            return self.bury(&message, reason).await;
        }
        match self.is_held(delivery, delivery, &stream, &decoded, true).await? {
            None => return Ok(Verdict::Unfinished),
            Some(true) => return Ok(Verdict::Done),
            Some(false) => {}
        }
        if let Some(verdict) = self.digest(delivery, &stream).await? {
            return Ok(verdict);
        }
        let verdict = self.show(delivery, &stream, &decoded).await?;
        if matches!(verdict, Verdict::Done) {
            debug!(route = %self.route.name, sequence = delivery.sequence, "posted");
            self.note_flaw(delivery, &decoded);
        }
        if !matches!(verdict, Verdict::Unfinished) {
            self.rooms.post().done(delivery);
        }
        Ok(verdict)
    }

    /// What was held back waits for the end of the quiet hours. False if we were told to stop first.
    async fn wait_for_morning(&mut self, delivery: &Delivery) -> bool {
        let route = Arc::clone(&self.route);
        let Some(quiet) = route.quiet.as_ref().filter(|_| held::is_morning(&route)) else {
            return true;
        };
        let stop = self.stop.clone();
        let morning = async {
            // In short steps: the clock may be set, and a machine that slept has not counted.
            while quiet.end(Timestamp::now()).is_some() {
                if timeout(LOOK_AT_CLOCK, stop.cancelled()).await.is_ok() {
                    return false;
                }
            }
            true
        };
        self.source.keep_while(delivery, morning).await
    }

    /// Whether a message is held back until the morning, now, if it may be, or since before. `None` if
    /// we were told to stop before it was known.
    async fn is_held(
        &mut self,
        current: &Delivery,
        delivery: &Delivery,
        stream: &StreamId,
        decoded: &Decoded,
        may_hold: bool,
    ) -> Result<Option<bool>, Failure> {
        let Some(held) = &mut self.held else { return Ok(Some(false)) };
        held.replicate(self.source.replicas());
        let route = Arc::clone(&self.route);
        let origin = delivery.origin(stream, &route.name, 0);
        let urgency = render::urgency(&decoded.payload);
        let stop = self.stop.clone();
        let fate = stop.run_until_cancelled(held.fate(urgency, &origin));
        match self.source.keep_while(current, Box::pin(fate)).await {
            None => return Ok(None),
            Some(Fate::WasHeld) => return Ok(Some(true)),
            Some(Fate::Hold) if may_hold => {}
            Some(Fate::Hold | Fate::Show) => return Ok(Some(false)),
        }
        // It may come again after it was shown, as a part of what went on.
        let begun = self.rooms.post().has_begun(stream, &route, delivery);
        match self.source.keep_while(current, begun).await? {
            Some(false) => {}
            begun => return Ok(begun.map(|_| false)),
        }
        // Whoever looks at an alert in the night should see what has become of it.
        let talk = self.talk(current, delivery, decoded).await;
        if talk.is_some_and(|talk| talk.goes_on()) {
            return Ok(Some(false));
        }
        let Some(held) = &mut self.held else { return Ok(Some(false)) };
        // If it is held all the same, that is seen when it comes again.
        let copied = stop.run_until_cancelled(held.hold(delivery, &origin));
        let is_held = self.source.keep_while(current, Box::pin(copied)).await;
        if is_held == Some(true) {
            self.health.note(delivery, Shown::Held);
        }
        Ok(is_held)
    }

    /// Posts a message, in the conversation that it is part of.
    async fn show(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
        decoded: &Decoded,
    ) -> Result<Verdict, Failure> {
        let route = Arc::clone(&self.route);
        let origin = delivery.origin(stream, &route.name, 0);
        let mut talk = match self.talk(delivery, delivery, decoded).await {
            Some(talk) => match self.confirm(delivery, stream, talk).await? {
                Confirmed::Talk(talk) => Some(*talk),
                Confirmed::Said => return Ok(Verdict::Done),
                Confirmed::Stopped => return Ok(Verdict::Unfinished),
            },
            None => None,
        };
        loop {
            let parts = self.parts(delivery, decoded, talk.as_ref()).await;
            let message = Message { delivery, stream, route: &route, parts };
            let posted =
                self.source.keep_while(delivery, self.rooms.post().message(&message)).await?;
            match (posted, talk.take()) {
                (Outcome::Posted(root), after) => {
                    self.note_late(delivery);
                    self.health.note(delivery, Shown::Posted);
                    let after = after.and_then(|talk| {
                        let has_pushed = talk.pushes();
                        talk.after(root, origin, has_pushed)
                    });
                    if let Some((key, conversation)) = after {
                        self.conversations.lock().await.put(key, conversation).await;
                    }
                    return Ok(Verdict::Done);
                }
                // Its first message may be gone, with the room that it was in.
                (Outcome::Refused(reason), Some(before)) if before.before.is_some() => {
                    warn!("route {}: a conversation begins anew: {reason}", route.name);
                    talk = Some(before.anew(route.patience));
                }
                (Outcome::Refused(reason), _) => return self.bury(&message, reason).await,
                (Outcome::Stopped, _) => return Ok(Verdict::Unfinished),
            }
        }
    }

    /// The conversation that a message is part of, if it is of that kind.
    async fn talk(
        &mut self,
        current: &Delivery,
        delivery: &Delivery,
        decoded: &Decoded,
    ) -> Option<Talk> {
        let saying = Saying::of(&decoded.payload)?;
        let key = saying.key(&self.route, self.rooms.post().room(), delivery.subject());
        let (conversations, replicas) = (Arc::clone(&self.conversations), self.source.replicas());
        let known = async {
            let mut conversations = conversations.lock().await;
            conversations.replicate(replicas);
            conversations.get(&key).await
        };
        let before = self.source.keep_while(current, known).await;
        Some(self.talk_after(before, key, saying, delivery.said))
    }

    /// What a message is after what was said before. In quiet hours what goes on is shown, but only what is
    /// critical makes a phone buzz.
    fn talk_after(
        &self,
        before: Option<Conversation>,
        key: String,
        saying: Saying,
        at: OffsetDateTime,
    ) -> Talk {
        let is_quiet = saying.urgency < Urgency::Critical
            && self.route.quiet.as_ref().is_some_and(|quiet| quiet.end(Timestamp::now()).is_some());
        let talk = Talk::new(key, saying, before, at, self.route.patience);
        if is_quiet { talk.muted() } else { talk }
    }

    /// The events that show a message.
    async fn parts(
        &mut self,
        delivery: &Delivery,
        decoded: &Decoded,
        talk: Option<&Talk>,
    ) -> Vec<Part> {
        let Some(talk) = talk else {
            let rendered = self.render(delivery, decoded);
            let rendered = self.within_budget(delivery, delivery, rendered).await;
            return Part::of(&rendered, &self.route);
        };
        let (begun, ended) = (talk.begun(), talk.ended());
        let decoded = match talk.before {
            Some(_) => with_times(decoded, begun, ended),
            None => std::borrow::Cow::Borrowed(decoded),
        };
        let rendered = self.render(delivery, &decoded);
        let rendered = self.within_budget(delivery, delivery, rendered).await;
        let notice = || self.renderer.resolution(&decoded, begun, ended);
        talk.parts(&rendered, notice, &self.route)
    }

    fn note_late(&mut self, delivery: &Delivery) {
        let Some(late_after) = self.route.late_after else { return };
        if let Some(age) = self.source.age(delivery).filter(|age| *age > late_after) {
            self.rooms.here().note_late(age);
        }
    }

    /// Tells the rooms that all of a backlog is there, now that its last message is.
    async fn tell_what_was_late(&mut self, last: &Delivery) -> Result<Verdict, Failure> {
        while let (Some((post, late)), Some(stream)) = (self.rooms.late(), self.source.stream()) {
            let note = self.renderer.caught_up(late.count, late.oldest).content(&[]);
            let origin = last.origin(stream, &self.route.name, 0);
            let transaction = format!("{}-late", origin.transaction_id(post.room())).into();
            let told = post.aside(transaction, note);
            match self.source.keep_while(last, told).await? {
                Outcome::Posted(_) => self.rooms.told(),
                Outcome::Stopped => return Ok(Verdict::Unfinished),
                Outcome::Refused(reason) => {
                    let route = &self.route.name;
                    warn!("route {route}: the room is not told of what was late: {reason}");
                    self.rooms.told();
                }
            }
        }
        Ok(Verdict::Done)
    }

    /// Decodes a message, unless that has ended the process before.
    fn decode(&self, delivery: &Delivery, stream: &StreamId) -> Decoded {
        let (created, sequence) = (&stream.created, delivery.sequence);
        self.poison.work(created, sequence, || match self.poison.handling(created, sequence) {
            Handling::Usual => {
                Decoded::in_language(delivery.payload(), self.route.display.language)
            }
            Handling::AsBytes | Handling::Never => Decoded::as_bytes(
                delivery.payload(),
                "the bridge ended twice while it worked on this, so it is not looked into",
            ),
        })
    }

    fn render(&mut self, delivery: &Delivery, decoded: &Decoded) -> Rendered {
        let created = self.source.stream().map(|stream| stream.created.as_str());
        let rendered = self.poison.work(created.unwrap_or_default(), delivery.sequence, || {
            self.renderer.render(&Incoming {
                subject: delivery.subject(),
                headers: delivery.headers(),
                stream: &self.route.stream,
                sequence: delivery.sequence,
                published: delivery.said,
                route: self.route.name.as_str(),
                decoded,
                original: delivery.payload(),
            })
        });
        self.note_fault(delivery, &rendered);
        rendered
    }

    fn note_flaw(&mut self, delivery: &Delivery, decoded: &Decoded) {
        let Some(flaw) = &decoded.flaw else { return };
        self.health.metrics.flawed.inc();
        warn!(
            "route {}: message {} on {} is posted as it is: {flaw}",
            self.route.name,
            delivery.sequence,
            delivery.subject()
        );
    }

    /// Counts every failure of a template, but logs the first of each: the room says so below every message.
    fn note_fault(&mut self, delivery: &Delivery, rendered: &Rendered) {
        let Some(fault) = &rendered.fault else { return };
        self.health.metrics.fallbacks.inc();
        if self.told.insert(fault.file().to_owned()) {
            warn!(
                "route {}: message {} on {} is posted with the built-in template, and so will others be: {fault}",
                self.route.name,
                delivery.sequence,
                delivery.subject()
            );
        }
    }

    /// Keeps a message that can never be posted as a dead letter.
    async fn give_up(&mut self, delivery: &Delivery, stream: &StreamId, reason: String) -> Verdict {
        let what =
            format!("message {} on {} can never be posted", delivery.sequence, delivery.subject());
        let kept_on = self.dead_letters.subject().to_owned();
        let verdict = self.put_away(delivery, stream, reason).await;
        if let Verdict::Dead(reason) = &verdict {
            let route = &self.route.name;
            warn!("route {route}: {what} ({reason}); it is kept on {kept_on}");
        }
        verdict
    }

    /// Keeps a message as a dead letter for a reason that is in the log already.
    async fn put_away(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
        reason: String,
    ) -> Verdict {
        if !self.keep_dead_letter(delivery, stream, &reason).await {
            return Verdict::Unfinished;
        }
        self.health.note(delivery, Shown::Dead);
        Verdict::Dead(reason)
    }

    /// Keeps a message that the homeserver refuses as a dead letter, and says so in the room.
    async fn bury(&mut self, message: &Message<'_>, reason: String) -> Result<Verdict, Failure> {
        let delivery = message.delivery;
        let verdict = self.give_up(delivery, message.stream, reason.clone()).await;
        if matches!(verdict, Verdict::Unfinished) {
            return Ok(verdict);
        }
        let subject = self.dead_letters.subject();
        // After the dead letter: a kill in between brings the message back, and with it the note.
        let note = self.renderer.refused(delivery.sequence, delivery.subject(), &reason, subject);
        let note = note.content(&[]);
        match self.source.keep_while(delivery, self.rooms.post().note(message, note)).await? {
            Outcome::Stopped => Ok(Verdict::Unfinished),
            Outcome::Posted(_) | Outcome::Refused(_) => Ok(Verdict::Dead(reason)),
        }
    }

    /// Tries until a stream has it. False if we were told to stop first.
    async fn keep_dead_letter(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
        reason: &str,
    ) -> bool {
        // A route that takes dead letters, too, would be given each anew for ever.
        if self.dead_letters.have(delivery.subject()) {
            return true;
        }
        let what = format!("route {}: dead letter {}", self.route.name, delivery.sequence);
        let mut outage = Outage::of(what, self.health.spot());
        let kept = async {
            while let Err(error) = self.dead_letters.keep(delivery, stream, reason).await {
                let pause = outage.failed(State::NatsUnreachable, &error, None);
                if timeout(pause, self.stop.cancelled()).await.is_ok() {
                    return false;
                }
            }
            true
        };
        self.source.keep_while(delivery, kept).await
    }
}
