//! Keeps messages that can never be posted as dead letters, and says so in the room.

use tokio::time::timeout;
use tracing::{error, warn};

use crate::{
    failure::{Interrupted, chain},
    message::StreamId,
    pipeline::{dead_letter::NotKept, parts::Message, state::State},
    source::Delivery,
    status::{self, DeadFor, Outage, Shown},
};

/// Keeps a message that the homeserver refuses as a dead letter, and says so in the room.
pub(crate) async fn bury(
    state: &mut State,
    message: &Message<'_>,
    reason: &str,
) -> Result<(), Interrupted> {
    let delivery = message.delivery;
    let what =
        format!("message {} on {} can never be posted", delivery.sequence, delivery.subject());
    let is_kept = put_away(state, delivery, message.stream, reason, DeadFor::Itself).await?;
    let kept_on = is_kept.then(|| state.dead_letters.subject());
    let place = kept_on.map_or_else(String::new, |kept_on| format!("; it is kept on {kept_on}"));
    warn!("{what} ({reason}){place}");
    // The note comes after the dead letter: a kill in between brings the message back, and with it the note.
    let renderer = &state.composer.renderer;
    let note =
        renderer.refused(delivery.sequence, delivery.subject(), reason, kept_on).content(&[]);
    match state.rooms.sender().note(message, note).await {
        Ok(_) => Ok(()),
        Err(error) => error.failure().map(drop),
    }
}

/// Keeps a message as a dead letter for a reason that was already logged. Returns false if no stream takes it, which is
/// logged.
pub(crate) async fn put_away(
    state: &mut State,
    delivery: &Delivery,
    stream: &StreamId,
    reason: &str,
    of: DeadFor,
) -> Result<bool, Interrupted> {
    let mut is_kept = true;
    // A stream may bring dead letters back to a route under other subjects, each of them again and again.
    if state.dead_letters.have(delivery) {
        warn!(
            "message {} of stream {} is a dead letter already, and not kept once more",
            delivery.sequence, stream.stream
        );
    } else {
        let what = format!("dead letter {}", delivery.sequence);
        let mut outage = Outage::of(what, state.health.condition());
        is_kept = loop {
            let error = match state.dead_letters.keep(delivery, stream, reason).await {
                Ok(()) => break true,
                Err(NotKept::TooLarge) => break false,
                Err(error) => error,
            };
            let pause = outage.failed(status::State::NatsUnreachable, &chain(&error), None);
            if timeout(pause, state.stop.cancelled()).await.is_ok() {
                return Err(Interrupted::Stopping);
            }
        };
    }
    if !is_kept {
        error!(
            "message {} of stream {} is refused even as a small dead letter, so that none is kept: let the stream \
             that takes {} accept messages of some kB",
            delivery.sequence,
            stream.stream,
            state.dead_letters.subject()
        );
    }
    state.note(delivery, Shown::Dead(of));
    Ok(is_kept)
}
