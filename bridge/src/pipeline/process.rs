//! Takes one message all the way from its bytes to the room: route, defer, digest or show, report what was late.

use jiff::Timestamp;
use tracing::{Span, debug, error, info, warn};

use crate::{
    failure::Interrupted,
    message::Removal,
    pipeline::{
        bury::{bury, put_away},
        defer::{self, defer},
        digest::Digests,
        outcome::{Halted, NotPosted},
        parts::Message,
        rooms::JoinOutcome,
        routing::Facts,
        show::{Fate, show},
        state::State,
    },
    source::{Delivery, Upstream},
    status::{DeadFor, Shown},
};

/// The way in which a message is settled at its source.
pub(crate) enum Verdict {
    /// The message is in the room, now or from before, or does not belong to this route.
    Done,
    /// The message is a dead letter, for this reason.
    Dead(String),
}

/// The stages that a message goes through.
pub(crate) struct Pipeline {
    state: State,
    digests: Digests,
}

impl Pipeline {
    pub(crate) fn new(state: State) -> Self {
        Self { digests: Digests::new(state.composer.poison()), state }
    }

    /// Enters the room if the route has only one, else the fallback room, and waits until the bridge is let in: the
    /// person who has to invite it should learn of that before the first message. Then finds out what was deferred.
    ///
    /// # Errors
    ///
    /// See [`open_room`](crate::matrix::join::open_room).
    pub(crate) async fn enter_first(&mut self) -> Result<(), Interrupted> {
        self.state.rooms.enter_first().await?;
        defer::prepare(&mut self.state).await
    }

    /// Enters the room anew if it was replaced meanwhile, or if its alias leads to another one. A route with many rooms
    /// finds out about each when there is a message for it.
    ///
    /// # Errors
    ///
    /// See [`open_room`](crate::matrix::join::open_room).
    pub(crate) async fn look_at_room(&mut self) -> Result<(), Interrupted> {
        if self.state.rooms.has_first_moved().await {
            self.state.rooms.forget();
            self.state.rooms.enter_first().await?;
        }
        Ok(())
    }

    /// Whether messages must not be worked on yet.
    pub(crate) fn has_to_wait(&self) -> bool {
        defer::has_to_wait(&self.state)
    }

    /// Waits until messages may be worked on.
    pub(crate) async fn wait_for_turn(&self) -> Result<(), Interrupted> {
        defer::wait_for_end(&self.state).await
    }

    /// Gives the copy of a deferred message the subject and the time of the message.
    pub(crate) fn restore(&mut self, delivery: &mut Delivery) {
        self.state.restore(delivery);
    }

    /// Processes a message until it is shown, deferred, buried or found not to belong to this route.
    pub(crate) async fn process(
        &mut self,
        delivery: &Delivery,
        upstream: &Upstream,
    ) -> Result<Verdict, Interrupted> {
        let (state, stream) = (&mut self.state, &upstream.stream);
        state.dead_letters.note(upstream);
        if state.composer.is_to_be_left(delivery) {
            return Ok(leave(state, delivery));
        }
        let decoded = state.composer.decode(delivery);
        let facts = Facts {
            lineage: &upstream.lineage,
            sequence: delivery.sequence,
            subject: delivery.subject(),
            headers: delivery.headers(),
            decoded: &decoded,
            original: delivery.payload(),
            is_opaque: state.composer.is_opaque(delivery),
        };
        if facts.is_marker() {
            state.health.metrics.markers.inc();
        }
        if !state.takes(delivery, &facts) {
            if !upstream.keeps_messages && state.routing.is_dead_letter(&facts) {
                warn!(
                    "message {} is a dead letter, which stream {} does not keep for long: let another stream take the \
                     subjects of dead letters",
                    delivery.sequence, stream.stream
                );
            }
            return Ok(Verdict::Done);
        }
        // A room can turn out to be closed at any step; then all steps are repeated in another room.
        loop {
            match Box::pin(self.state.rooms.enter(stream, delivery)).await? {
                JoinOutcome::In => {}
                JoinOutcome::Shown => return Ok(Verdict::Done),
                JoinOutcome::Closed(reason) => {
                    put_away(&mut self.state, delivery, stream, &reason, DeadFor::Room).await?;
                    return Ok(Verdict::Dead(reason));
                }
            }
            match Box::pin(self.process_here(delivery, &facts, upstream)).await {
                Ok(verdict) => return Ok(verdict),
                Err(Halted::Closed(closed)) => self.state.rooms.close(&closed),
                Err(Halted::Replaced(reason)) => {
                    info!("{reason}; looking for the room in its place");
                    self.state.rooms.forget();
                }
                Err(Halted::Interrupted(interrupted)) => return Err(interrupted),
            }
        }
    }

    /// Processes a message in the room that was entered.
    async fn process_here(
        &mut self,
        delivery: &Delivery,
        facts: &Facts<'_>,
        upstream: &Upstream,
    ) -> Result<Verdict, Halted> {
        let decoded = facts.decoded;
        let (state, stream) = (&mut self.state, &upstream.stream);
        Span::current().record("room", state.rooms.sender().room().as_str());
        if state.rooms.sender().is_done(stream, delivery) {
            debug!(sequence = delivery.sequence, "delivered again after it was done with");
            return Ok(Verdict::Done);
        }
        if state.is_shown_by_earlier(delivery, facts).await? {
            debug!(sequence = delivery.sequence, "an earlier route shows it in this room");
            return Ok(Verdict::Done);
        }
        if state.composer.is_hopeless(delivery) {
            return Ok(give_up(state, delivery, upstream).await?);
        }
        if defer(state, delivery, decoded, upstream, true).await?
            || self.digests.show(state, delivery, upstream).await?
        {
            return Ok(Verdict::Done);
        }
        let fate = show(state, delivery, decoded, upstream).await?;
        state.rooms.sender().done(delivery);
        Ok(match fate {
            Fate::Shown | Fate::Known => {
                debug!(sequence = delivery.sequence, "posted");
                state.composer.note_flaw(delivery, decoded);
                Verdict::Done
            }
            Fate::Refused(reason) => Verdict::Dead(reason),
        })
    }

    /// Reports in the room that messages were removed before they could be read: in the room of the route or, if it has
    /// many, in its fallback room. `since` is the time after which that may have been done before.
    pub(crate) async fn tell_removed(
        &mut self,
        removal: &Removal,
        since: Timestamp,
    ) -> Result<(), Interrupted> {
        let state = &mut self.state;
        let content = state.composer.renderer.removed(removal).content(&state.route.mention);
        loop {
            if let JoinOutcome::Closed(reason) = state.rooms.enter_default().await? {
                warn!("the removed messages are not reported in a room: {reason}");
                return Ok(());
            }
            let posted = state.rooms.sender().removal(removal, since, content.clone()).await;
            let error = match posted {
                Ok(()) => return Ok(()),
                Err(NotPosted::Halted(Halted::Replaced(_))) => {
                    state.rooms.forget();
                    continue;
                }
                Err(error) => error,
            };
            let reason = error.failure()?;
            warn!("the removed messages are not reported in the room: {reason}");
            return Ok(());
        }
    }

    /// Notes that the work on a message has panicked. When that happens again and again, the message is handled with
    /// more and more care.
    pub(crate) fn blame(&self, delivery: &Delivery) {
        self.state.composer.poison().blame(delivery.published.as_nanosecond(), delivery.sequence);
    }

    /// Ends the work on a message; `is_there` says whether it is in its room.
    pub(crate) fn end(&mut self, is_there: bool) {
        self.state.rooms.end(is_there);
    }

    /// Reports in the rooms what came late, once the last message of a backlog is shown.
    pub(crate) async fn tell_what_was_late(
        &mut self,
        last: &Delivery,
        upstream: &Upstream,
    ) -> Result<(), Interrupted> {
        let state = &mut self.state;
        while let Some((sender, late)) = state.rooms.late() {
            let note = state.composer.renderer.caught_up(late.count, late.oldest).content(&[]);
            let origin = last.origin(&upstream.stream, &state.route.name, 0);
            let transaction = format!("{}-late", origin.transaction_id(sender.room())).into();
            match sender.aside(transaction, note).await {
                Ok(_) => {}
                Err(error) => {
                    let reason = error.failure()?;
                    warn!("the late messages are not reported in the room: {reason}");
                }
            }
            state.rooms.told();
        }
        Ok(())
    }
}

/// Buries a message that has ended the process in every way it was handled.
async fn give_up(
    state: &mut State,
    delivery: &Delivery,
    upstream: &Upstream,
) -> Result<Verdict, Interrupted> {
    let route = state.route.clone();
    let (stream, parts) = (&upstream.stream, Vec::new());
    let message = Message { delivery, stream, route: &route, parts, first_part: 0 };
    let reason = "the bridge ended each time it worked on this message".to_owned();
    bury(state, &message, &reason).await?;
    Ok(Verdict::Dead(reason))
}

/// Drops a message that made the bridge fail even while it was being kept as a dead letter. Nothing is done with it
/// that could fail again.
fn leave(state: &State, delivery: &Delivery) -> Verdict {
    let reason =
        "the bridge failed each time it worked on this message, also to keep it".to_owned();
    error!(
        "message {} of stream {} is left aside, and not kept as a dead letter either: {reason}",
        delivery.sequence,
        state.feed.stream()
    );
    state.note(delivery, Shown::Dead(DeadFor::Itself));
    Verdict::Dead(reason)
}
