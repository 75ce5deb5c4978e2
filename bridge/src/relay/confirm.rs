//! Asking the room about what the bucket says of a conversation: others may be permitted to write there, and the room
//! alone tells what was shown.

use std::sync::Arc;

use tracing::warn;

use super::Relay;
use crate::{conversation::Talk, failure::Failure, origin::StreamId, source::Delivery};

/// What is left of a talk once the room was asked.
pub(super) enum Confirmed {
    /// The message is to be shown as this.
    Talk(Box<Talk>),
    /// The room has it.
    Said,
    /// We were told to stop first.
    Stopped,
}

impl Relay {
    /// Believes that a message was said only if the room confirms it.
    ///
    /// # Errors
    ///
    /// As of [`Post::has_begun`](crate::post::Post::has_begun).
    pub(super) async fn confirm(
        &mut self,
        delivery: &Delivery,
        stream: &StreamId,
        talk: Talk,
    ) -> Result<Confirmed, Failure> {
        let (name, patience) = (self.route.name.clone(), self.route.patience);
        if talk.is_said(&delivery.origin(stream, &name, 0)) {
            let route = Arc::clone(&self.route);
            let begun = self.rooms.post().has_begun(stream, &route, delivery);
            return Ok(match self.source.keep_while(delivery, begun).await? {
                None => Confirmed::Stopped,
                Some(true) => Confirmed::Said,
                Some(false) => {
                    warn!(
                        "route {name}: message {} is not in the room, although the bucket of conversations says so; \
                         its conversation begins anew",
                        delivery.sequence
                    );
                    Confirmed::Talk(Box::new(talk.anew(patience)))
                }
            });
        }
        Ok(Confirmed::Talk(Box::new(talk)))
    }
}
