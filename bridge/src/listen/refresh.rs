//! Edits the first message of an alert so that it says who has the alert, and says so in its thread.

use matrix_sdk::ruma::{EventId, OwnedTransactionId};
use serde_json::Value;
use tracing::warn;

use crate::{
    alerts::ThreadState,
    answers::Answer,
    hash,
    matrix::{MatrixError, Room},
    message::origin::ORIGIN_KEY,
    render::{
        Rendered, Renderer,
        content::{in_place_of, in_thread, with_people},
    },
    source::Tenure,
};

/// Edits the first message of an alert after an answer. Posting the same edit twice changes nothing.
pub(super) async fn edit_root(
    (room, tenure): (&Room, &Tenure),
    renderer: &Renderer,
    state: &ThreadState,
    answer: &Answer,
) -> Result<(), MatrixError> {
    let shown = state.edit.as_ref().unwrap_or(&state.root);
    let Some(content) = content_of(room, shown, &state.root).await? else {
        warn!("the first message of an alert, {}, is not edited, as its text is gone", state.root);
        return Ok(());
    };
    let people = renderer.has_it(&state.holders, &room.account().user);
    let content = in_place_of(&state.root, &with_people(content, &people));
    let transaction = transaction(room, answer, &format!("edit {shown}"));
    send((room, tenure), transaction, &content).await
}

/// Posts a notice about an answer in the thread of the alert.
pub(super) async fn note(
    (room, tenure): (&Room, &Tenure),
    state: &ThreadState,
    answer: &Answer,
    notice: &Rendered,
) -> Result<(), MatrixError> {
    let content = in_thread(notice.content(&[]), &state.root);
    send((room, tenure), transaction(room, answer, "note"), &content).await
}

/// Returns the content that an event of the bridge gives to the first message of an alert.
async fn content_of(
    room: &Room,
    event: &EventId,
    first: &EventId,
) -> Result<Option<Value>, MatrixError> {
    let Some(mut found) = room.event(event).await? else { return Ok(None) };
    if found.sender != room.account().user {
        return Ok(None);
    }
    let mut content = if event == first {
        found.content
    } else if found.content["m.relates_to"]["event_id"] == first.as_str() {
        found.content["m.new_content"].take()
    } else {
        return Ok(None);
    };
    // Only the event itself shows the message of that origin.
    if let Some(content) = content.as_object_mut() {
        content.remove(ORIGIN_KEY);
    }
    Ok(content["body"].is_string().then_some(content))
}

/// Sends an event, as long as no other bridge may have taken over the route. What the homeserver will never take does not
/// keep the answer from counting.
async fn send(
    (room, tenure): (&Room, &Tenure),
    transaction: OwnedTransactionId,
    content: &Value,
) -> Result<(), MatrixError> {
    tenure.certain().await;
    match room.send_as(transaction, content).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_final() || is_of_room(&error) => {
            warn!(
                "room {} does not show what somebody has answered: the homeserver {error}",
                room.id()
            );
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn is_of_room(error: &MatrixError) -> bool {
    matches!(error, MatrixError::Encrypted(_) | MatrixError::Replaced(_))
}

/// The transaction id of an event that follows from an answer: the same for every attempt, in this process or the next.
fn transaction(room: &Room, answer: &Answer, what: &str) -> OwnedTransactionId {
    let hash = hash::of_texts([room.id().as_str(), answer.event.as_str(), what]);
    format!("nm-answer-{}", data_encoding::HEXLOWER.encode(&hash[..16])).into()
}
