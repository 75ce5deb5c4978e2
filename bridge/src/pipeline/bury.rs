//! Keeps messages that can never be posted as dead letters, and says so in the room.

use tokio::time::timeout;
use tracing::{error, warn};

use crate::{
    failure::{Interrupted, chain},
    mask,
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
    let what = format!(
        "message {} on {} can never be posted",
        delivery.sequence,
        delivery.subject_for_log()
    );
    let kept_on = put_away(state, delivery, message.stream, reason, DeadFor::Itself).await?;
    let kept_on = kept_on.as_deref();
    let place = kept_on
        .map_or_else(String::new, |kept_on| format!("; it is kept on {}", mask::for_log(kept_on)));
    warn!("{what} ({}){place}", mask::for_log(reason));
    // The note comes after the dead letter: a kill in between brings the message back, and with it the note.
    let renderer = &state.composer.renderer;
    let note =
        renderer.refused(delivery.sequence, delivery.subject(), reason, kept_on).content(&[]);
    match state.rooms.sender().note(message, note).await {
        Ok(_) => Ok(()),
        Err(error) => error.failure().map(drop),
    }
}

/// Keeps a message as a dead letter for a reason that was already logged, and returns the subject that it is kept on.
/// Returns `None` if no stream takes it, which is logged.
pub(crate) async fn put_away(
    state: &mut State,
    delivery: &Delivery,
    stream: &StreamId,
    reason: &str,
    of: DeadFor,
) -> Result<Option<String>, Interrupted> {
    let mut kept_on = Some(delivery.subject().to_owned());
    // A stream may bring dead letters back to a route under other subjects, each of them again and again.
    if state.dead_letters.have(delivery) {
        warn!(
            "message {} of stream {} is a dead letter already, and not kept once more",
            delivery.sequence, stream.stream
        );
    } else {
        let what = format!("dead letter {}", delivery.sequence);
        let mut outage = Outage::of(what, state.health.condition());
        let kept = loop {
            let error = match state.dead_letters.keep(delivery, stream, reason).await {
                Ok(kept) => break Some(kept),
                Err(NotKept::TooLarge) => break None,
                Err(error) => error,
            };
            let pause = outage.failed(status::State::NatsUnreachable, &chain(&error), None);
            if timeout(pause, state.stop.cancelled()).await.is_ok() {
                return Err(Interrupted::Stopping);
            }
        };
        if kept.as_ref().is_some_and(|kept| kept.has_pushed_out) {
            state.health.pushed_out();
        }
        kept_on = kept.map(|kept| kept.subject);
    }
    if kept_on.is_none() {
        error!(
            "message {} of stream {} is refused even as a small dead letter, so that none is kept: let the stream \
             that takes {} accept messages of some kB",
            delivery.sequence,
            stream.stream,
            state.dead_letters.subject()
        );
    }
    state.note(delivery, Shown::Dead(of));
    Ok(kept_on)
}
