//! The alert that an event is about.

use matrix_sdk::ruma::{EventId, OwnedEventId};
use serde::Deserialize;

use crate::{
    matrix::{MatrixError, Room},
    message::{AlertMark, alert_mark::ALERT_KEY},
};

/// An alert in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The first message of the alert.
    pub(crate) root: OwnedEventId,
    pub(crate) mark: AlertMark,
}

/// Returns the alert that an event of the room shows, if it is one of the bridge. Anybody can write such a mark, but only
/// the bridge in its own name.
pub(crate) async fn target(room: &Room, event: &EventId) -> Result<Option<Target>, MatrixError> {
    let Some(found) = room.event(event).await? else { return Ok(None) };
    if found.sender != room.account().user {
        return Ok(None);
    }
    let Ok(mark) = AlertMark::deserialize(&found.content[ALERT_KEY]) else { return Ok(None) };
    let relation = &found.content["m.relates_to"];
    let first = match relation["rel_type"].as_str() {
        None => Some(event.to_owned()),
        Some("m.thread") => relation["event_id"].as_str().and_then(|first| first.try_into().ok()),
        Some(_) => None,
    };
    Ok(first.map(|root| Target { root, mark }))
}
