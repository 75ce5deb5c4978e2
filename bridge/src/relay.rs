//! The way of a report: source, decode, render, room, ack. One task per route, one message at a
//! time, in stream order.

use std::{collections::HashSet, sync::Arc};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    config::{self, Route},
    dead_letter::DeadLetters,
    failure::Failure,
    nats::Nats,
    origin::StreamId,
    payload::Decoded,
    post::{Message, Outcome, Post},
    render::{Incoming, Rendered, Renderer},
    retry::Outage,
    room::Room,
    routing::{Facts, Routing},
    source::{Delivery, Source},
};

/// Everything that one route needs.
pub(crate) struct Relay {
    route: Arc<Route>,
    source: Source,
    post: Post,
    stop: CancellationToken,
    dead_letters: DeadLetters,
    routing: Routing,
    renderer: Renderer,
    /// The templates whose failure is in the log.
    told: HashSet<String>,
    tally: Tally,
}

/// What happened since the start.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    posted: u64,
    flawed: u64,
    /// Posted with a built-in template, as the user's own one failed.
    fallbacks: u64,
    dead: u64,
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
    /// The relay of one route, in `room`.
    pub(crate) fn new(
        route: Arc<Route>,
        routing: Routing,
        renderer: Renderer,
        nats: Nats,
        config: &config::Nats,
        room: Room,
        stop: CancellationToken,
    ) -> Self {
        let dead_letters = DeadLetters::of(nats.clone(), &config.dead_letter_subject, &route.name);
        Self {
            source: Source::new(nats, Arc::clone(&route)),
            post: Post::new(&route, room, stop.clone()),
            stop,
            dead_letters,
            routing,
            renderer,
            told: HashSet::new(),
            tally: Tally::default(),
            route,
        }
    }

    /// Relays until told to stop.
    ///
    /// # Errors
    ///
    /// What only a person can mend: a consumer that cannot be used, credentials that are refused.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let stop = self.stop.clone();
        let unfinished = loop {
            let delivery = tokio::select! {
                biased;
                () = stop.cancelled() => break None,
                delivery = self.source.next() => delivery?,
            };
            match self.relay(&delivery).await? {
                Verdict::Done => self.source.ack(delivery).await,
                Verdict::Dead(reason) => self.source.terminate(&delivery, &reason).await,
                Verdict::Unfinished => break Some(delivery),
            }
        };
        self.source.close(unfinished).await;
        let Tally { posted, flawed, fallbacks, dead } = self.tally;
        let fallbacks = match fallbacks {
            0 => String::new(),
            count => format!(" and {count} for which a template failed"),
        };
        info!(
            "route {}: stopped; posted {posted}, of them {flawed} flawed{fallbacks}, and {dead} dead letters",
            self.route.name
        );
        Ok(())
    }

    /// Takes one message all the way, from its bytes to the room.
    async fn relay(&mut self, delivery: &Delivery) -> Result<Verdict, Failure> {
        let Some(stream) = self.source.stream().cloned() else {
            return Err(Failure::Bug("a message of no stream".to_owned()));
        };
        if self.post.is_done(&stream, delivery) {
            debug!(sequence = delivery.sequence, "delivered again, is done");
            return Ok(Verdict::Done);
        }
        let decoded = Decoded::in_language(delivery.payload(), self.route.display.language);
        let facts = Facts {
            subject: delivery.subject(),
            headers: delivery.headers(),
            decoded: &decoded,
            original: delivery.payload(),
        };
        if !self.routing.takes(&facts) {
            self.post.done(delivery);
            return Ok(Verdict::Done);
        }
        let rendered = self.renderer.render(&Incoming {
            subject: delivery.subject(),
            headers: delivery.headers(),
            stream: &self.route.stream,
            sequence: delivery.sequence,
            published: delivery.published,
            route: self.route.name.as_str(),
            decoded: &decoded,
            original: delivery.payload(),
        });
        let route = Arc::clone(&self.route);
        let message = Message { delivery, stream: &stream, route: &route, rendered: &rendered };
        let verdict = match self.source.keep_while(delivery, self.post.message(&message)).await? {
            Outcome::Posted => {
                self.tally.posted += 1;
                self.note_flaw(delivery, &decoded);
                self.note_fault(delivery, &rendered);
                Verdict::Done
            }
            Outcome::Refused(reason) => self.bury(&message, reason).await?,
            Outcome::Stopped => Verdict::Unfinished,
        };
        if !matches!(verdict, Verdict::Unfinished) {
            self.post.done(delivery);
        }
        Ok(verdict)
    }

    fn note_flaw(&mut self, delivery: &Delivery, decoded: &Decoded) {
        let Some(flaw) = &decoded.flaw else { return };
        self.tally.flawed += 1;
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
        self.tally.fallbacks += 1;
        if self.told.insert(fault.file().to_owned()) {
            warn!(
                "route {}: message {} on {} is posted with the built-in template, and so will others be: {fault}",
                self.route.name,
                delivery.sequence,
                delivery.subject()
            );
        }
    }

    /// Keeps a message that the homeserver refuses as a dead letter, and says so in the room.
    async fn bury(&mut self, message: &Message<'_>, reason: String) -> Result<Verdict, Failure> {
        let delivery = message.delivery;
        if !self.keep_dead_letter(delivery, message.stream, &reason).await {
            return Ok(Verdict::Unfinished);
        }
        self.tally.dead += 1;
        let subject = self.dead_letters.subject();
        warn!(
            "route {}: message {} on {} can never be posted ({reason}); it is kept on {subject}",
            self.route.name,
            delivery.sequence,
            delivery.subject(),
        );
        // After the dead letter: a kill in between brings the message back, and with it the note.
        let note = self.renderer.refused(delivery.sequence, delivery.subject(), &reason, subject);
        let note = note.content(&[]);
        match self.source.keep_while(delivery, self.post.note(message, note)).await? {
            Outcome::Stopped => Ok(Verdict::Unfinished),
            Outcome::Posted | Outcome::Refused(_) => Ok(Verdict::Dead(reason)),
        }
    }

    /// Tries until a stream has it. False if we were told to stop first.
    async fn keep_dead_letter(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
        reason: &str,
    ) -> bool {
        let what = format!("route {}: dead letter {}", self.route.name, delivery.sequence);
        let mut outage = Outage::of(what);
        let kept = async {
            while let Err(error) = self.dead_letters.keep(delivery, stream, reason).await {
                let pause = outage.failed(&error, None);
                tokio::select! {
                    () = self.stop.cancelled() => return false,
                    () = sleep(pause) => {}
                }
            }
            true
        };
        self.source.keep_while(delivery, kept).await
    }
}
