//! Shows one message on its own, in the thread of the alert that it is about.

use std::borrow::Cow;

use bytes::Bytes;
use matrix_sdk::ruma::EventId;
use tracing::{debug, warn};

use crate::{
    alerts::{AlertThread, AlertUpdate, Posted},
    failure::Interrupted,
    matrix::MatrixError,
    message::{Decoded, Item, Origin, Payload, origin::ANEW},
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

/// The number of parts that are reserved for each object of a message with several of them: for its text, an edit and a
/// file, and as many from [`ANEW`]. The number must not depend on how many parts an object has, as that can change from one
/// attempt to the next.
const PARTS: u32 = 2 * ANEW;

/// The result of posting a message.
pub(crate) enum Fate {
    /// The message is in the room.
    Shown,
    /// The message was in the room before.
    Known,
    /// The homeserver will never take the message, and it is a dead letter.
    Refused(String),
}

/// A message, or one object of it.
struct Piece<'a> {
    decoded: &'a Decoded,
    original: Bytes,
    /// The number of its first part.
    first: u32,
    /// Whether it is the whole message.
    is_whole: bool,
}

/// Posts a message. Of several objects in one message each is posted in turn, as if it had come alone; all of them are
/// one delivery, which is acknowledged when the last of them is in the room.
pub(crate) async fn show(
    state: &mut State,
    delivery: &Delivery,
    decoded: &Decoded,
    upstream: &Upstream,
) -> Result<Fate, Halted> {
    let fate = if let Payload::Several(items) = &decoded.payload {
        show_all(state, delivery, items, upstream).await?
    } else {
        let original = delivery.payload().clone();
        let piece = Piece { decoded, original, first: 0, is_whole: true };
        show_piece(state, delivery, &piece, upstream).await?
    };
    if let Fate::Shown = fate {
        state.note_late(delivery, upstream);
        state.note(delivery, Shown::Posted);
    }
    Ok(fate)
}

async fn show_all(
    state: &mut State,
    delivery: &Delivery,
    items: &[Item],
    upstream: &Upstream,
) -> Result<Fate, Halted> {
    let (stream, route) = (&upstream.stream, state.route.clone());
    let mut fate = Fate::Known;
    for (first, item) in (0..).step_by(PARTS as usize).zip(items) {
        // Once the room shows a later object, it shows all of this one.
        let next = first + PARTS;
        if state.rooms.sender().has_begun(stream, &route, delivery, next).await? {
            continue;
        }
        let original = item.original(delivery.payload());
        let piece = Piece { decoded: &item.decoded, original, first, is_whole: false };
        match (show_piece(state, delivery, &piece, upstream).await?, &fate) {
            (Fate::Refused(reason), _) => fate = Fate::Refused(reason),
            (Fate::Shown, Fate::Known) => fate = Fate::Shown,
            _ => {}
        }
    }
    Ok(fate)
}

/// Posts a message, or one object of it.
async fn show_piece(
    state: &mut State,
    delivery: &Delivery,
    piece: &Piece<'_>,
    upstream: &Upstream,
) -> Result<Fate, Halted> {
    let (stream, first) = (&upstream.stream, piece.first);
    let here = state.rooms.sender().room().to_owned();
    let is_alert = AlertUpdate::of(&piece.decoded.payload).is_some();
    let _editing = if is_alert { state.threads.begin_editing().await } else { None };
    let mut thread = state.threads.of(&here, delivery, piece.decoded).await;
    if let Some(found) = thread {
        let confirmed =
            state.threads.confirm(state.rooms.sender(), delivery, stream, first, found).await?;
        match confirmed {
            Confirmed::Thread(confirmed) => thread = Some(*confirmed),
            Confirmed::Shown => return Ok(Fate::Known),
        }
    }
    loop {
        let parts = parts(state, delivery, piece, thread.as_ref()).await?;
        let has_begun = state.rooms.elsewhere().is_some_and(|room| room.has_begun);
        if piece.is_whole && parts.len() == 1 && has_begun {
            // Its only event is in its own room, which was closed just after.
            state.note(delivery, Shown::Posted);
            return Ok(Fate::Known);
        }
        let route = state.route.clone();
        let has_lost_root = thread.as_ref().is_some_and(|thread| thread.has_lost_root);
        let first_part = if has_lost_root { first + ANEW } else { first };
        let message = Message { delivery, stream, route: &route, parts, first_part };
        match (state.rooms.sender().message(&message).await, thread) {
            (Ok(root), thread) => {
                if let Some(thread) = thread {
                    let edit = thread.edit_part().and_then(|part| {
                        let position = message.origin(first_part + part).position;
                        state.rooms.sender().event_of(position).cloned()
                    });
                    let origin = message.origin(first_part);
                    offer(state, &thread, root.as_deref(), &origin).await?;
                    state.threads.note(thread, Posted { root, edit }, origin).await;
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

/// Puts the first of the reactions that acknowledge an alert on the message that begins it, so that people need only tap
/// it.
async fn offer(
    state: &mut State,
    thread: &AlertThread,
    root: Option<&EventId>,
    origin: &Origin,
) -> Result<(), Halted> {
    let route = state.route.clone();
    let Some(answers) = route.answers.as_ref().filter(|answers| answers.offer) else {
        return Ok(());
    };
    let (true, Some(reaction), Some(root)) = (thread.begins(), answers.ack.first(), root) else {
        return Ok(());
    };
    let sender = state.rooms.sender();
    let transaction = format!("{}-offer", origin.transaction_id(sender.room())).into();
    match sender.react(transaction, root, reaction).await? {
        Ok(_) => {}
        // It is there already, from before a kill.
        Err(MatrixError::Rejected(reason)) => debug!("no reaction is offered again: {reason}"),
        Err(error) => warn!("the bridge offers no reaction to {root}: the homeserver {error}"),
    }
    Ok(())
}

/// Returns the events that show a message, or one object of it.
async fn parts(
    state: &mut State,
    delivery: &Delivery,
    piece: &Piece<'_>,
    thread: Option<&AlertThread>,
) -> Result<Vec<Part>, Interrupted> {
    let Piece { decoded, original, .. } = piece;
    let room = state.rooms.elsewhere().map(|elsewhere| elsewhere.room.to_string());
    let repetition = room.map(|room| state.composer.renderer.may_be_repeated(&room));
    let marked = |rendered: Rendered| match &repetition {
        Some(line) => rendered.with_line(line),
        None => rendered,
    };
    let Some(thread) = thread else {
        let whole = (*decoded, original);
        let rendered = marked(state.composer.render(delivery, whole, delivery).await?);
        let file = rendered.attachment.as_ref();
        let file = file.map(|file| state.composer.file(file, delivery.sequence, None));
        return Ok(Part::of(&rendered, file, &state.route));
    };
    let (begun, ended) = (thread.begun(), thread.ended());
    let people = people(state, thread);
    let decoded = match thread.before {
        Some(_) => with_times(decoded, begun, ended),
        None => Cow::Borrowed(*decoded),
    };
    let whole = (&*decoded, original);
    let rendered = marked(state.composer.render(delivery, whole, delivery).await?);
    let notice = || marked(state.composer.renderer.resolution(&decoded, begun, ended));
    let file = |root: Option<&EventId>| {
        let file = rendered.attachment.as_ref()?;
        Some(state.composer.file(file, delivery.sequence, root))
    };
    Ok(thread.parts(&rendered, &people, notice, file, &state.route))
}

/// Returns the lines that say who has the alert.
pub(crate) fn people(state: &mut State, thread: &AlertThread) -> Vec<String> {
    let us = state.rooms.sender().us().to_owned();
    state.composer.renderer.has_it(thread.holders(), &us)
}
