//! Shows one message on its own, in the thread of the alert that it is about.

use std::borrow::Cow;

use matrix_sdk::ruma::EventId;
use tracing::warn;

use crate::{
    alerts::AlertThread,
    failure::Interrupted,
    message::{Decoded, origin::ANEW},
    pipeline::{
        bury::bury,
        outcome::{Halted, NotPosted},
        parts::{Message, Part},
        state::State,
        threads::Confirmed,
    },
    render::{Rendered, conversation::with_times},
    source::{Delivery, Upstream},
    status::Shown,
};

/// The result of posting a message.
pub(crate) enum Fate {
    /// The message is in the room.
    Shown,
    /// The homeserver will never take the message, and it is a dead letter.
    Refused(String),
}

/// Posts a message.
pub(crate) async fn show(
    state: &mut State,
    delivery: &Delivery,
    decoded: &Decoded,
    upstream: &Upstream,
) -> Result<Fate, Halted> {
    let stream = &upstream.stream;
    let here = state.rooms.sender().room().to_owned();
    let mut thread = state.threads.of(&here, delivery, decoded).await;
    if let Some(found) = thread {
        let confirmed =
            state.threads.confirm(state.rooms.sender(), delivery, stream, found).await?;
        match confirmed {
            Confirmed::Thread(confirmed) => thread = Some(*confirmed),
            Confirmed::Shown => return Ok(Fate::Shown),
        }
    }
    loop {
        let parts = parts(state, delivery, decoded, thread.as_ref()).await?;
        if parts.len() == 1 && state.rooms.elsewhere().is_some_and(|room| room.has_begun) {
            // Its only event is in its own room, which was closed just after.
            state.note(delivery, Shown::Posted);
            return Ok(Fate::Shown);
        }
        let route = state.route.clone();
        let has_lost_root = thread.as_ref().is_some_and(|thread| thread.has_lost_root);
        let first_part = if has_lost_root { ANEW } else { 0 };
        let message = Message { delivery, stream, route: &route, parts, first_part };
        match (state.rooms.sender().message(&message).await, thread) {
            (Ok(root), thread) => {
                state.note_late(delivery, upstream);
                state.note(delivery, Shown::Posted);
                if let Some(thread) = thread {
                    state.threads.note(thread, root, state.origin(delivery, stream)).await;
                }
                return Ok(Fate::Shown);
            }
            // The first message of the thread may be gone, together with the room that it was in.
            (Err(NotPosted::Refused(reason)), Some(before)) if before.before.is_some() => {
                warn!(
                    "a conversation starts again, as the homeserver refuses to continue it: {reason}"
                );
                thread = Some(before.without_root(route.patience));
            }
            (Err(NotPosted::Refused(reason)), _) => {
                bury(state, &message, &reason).await?;
                return Ok(Fate::Refused(reason));
            }
            (Err(NotPosted::Halted(halted)), _) => return Err(halted),
        }
    }
}

/// Returns the events that show a message.
async fn parts(
    state: &mut State,
    delivery: &Delivery,
    decoded: &Decoded,
    thread: Option<&AlertThread>,
) -> Result<Vec<Part>, Interrupted> {
    let room = state.rooms.elsewhere().map(|elsewhere| elsewhere.room.to_string());
    let repetition = room.map(|room| state.composer.renderer.may_be_repeated(&room));
    let marked = |rendered: Rendered| match &repetition {
        Some(line) => rendered.with_line(line),
        None => rendered,
    };
    let Some(thread) = thread else {
        let rendered = marked(state.composer.render(delivery, decoded, delivery).await?);
        let file = rendered.attachment.as_ref();
        let file = file.map(|file| state.composer.file(file, delivery.sequence, None));
        return Ok(Part::of(&rendered, file, &state.route));
    };
    let (begun, ended) = (thread.begun(), thread.ended());
    let decoded = match thread.before {
        Some(_) => with_times(decoded, begun, ended),
        None => Cow::Borrowed(decoded),
    };
    let rendered = marked(state.composer.render(delivery, &decoded, delivery).await?);
    let notice = || marked(state.composer.renderer.resolution(&decoded, begun, ended));
    let file = |root: Option<&EventId>| {
        let file = rendered.attachment.as_ref()?;
        Some(state.composer.file(file, delivery.sequence, root))
    };
    Ok(thread.parts(&rendered, notice, file, &state.route))
}
