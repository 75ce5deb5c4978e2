//! Asking the room about what the bucket says of a conversation. Others may be permitted to write into the bucket, and
//! people may remove messages from the room: the room alone tells what is shown.

use std::{collections::HashMap, sync::Arc, time::Duration};

use matrix_sdk::ruma::{EventId, OwnedEventId};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Relay;
use crate::{conversation::Talk, failure::Failure, origin::StreamId, source::Delivery};

/// For how long a first message that was seen in the room is taken to be there.
const FRESH: Duration = Duration::from_mins(1);
/// How many first messages are kept in mind, about 150 bytes each.
const MOST_ROOTS: usize = 1024;

/// What is left of a talk once the room was asked.
pub(super) enum Confirmed {
    /// The message is to be shown as this.
    Talk(Box<Talk>),
    /// The room has it.
    Said,
    /// We were told to stop first.
    Stopped,
}

/// The first messages of conversations that were seen in the room, and when.
#[derive(Debug, Default)]
pub(super) struct Roots {
    seen: HashMap<OwnedEventId, Instant>,
}

impl Roots {
    fn is_fresh(&self, root: &EventId) -> bool {
        self.seen.get(root).is_some_and(|seen| seen.elapsed() < FRESH)
    }

    fn note(&mut self, root: &EventId) {
        if self.seen.len() >= MOST_ROOTS {
            self.seen.clear();
        }
        self.seen.insert(root.to_owned(), Instant::now());
    }
}

impl Relay {
    /// Believes that a message was said only if the room confirms it, and goes on with a conversation only if the room
    /// still shows its first message.
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
        Ok(match self.with_root(delivery, talk).await? {
            Some(talk) => Confirmed::Talk(Box::new(talk)),
            None => Confirmed::Stopped,
        })
    }

    /// The same talk if the room shows the first message of its conversation, or one that begins anew. `current` is the
    /// first message that is not done with. `None` if we were told to stop before it was known.
    ///
    /// # Errors
    ///
    /// As of [`Post::shows`](crate::post::Post::shows).
    pub(super) async fn with_root(
        &mut self,
        current: &Delivery,
        talk: Talk,
    ) -> Result<Option<Talk>, Failure> {
        let Some(before) = talk.before.as_ref().filter(|before| !self.roots.is_fresh(&before.root))
        else {
            return Ok(Some(talk));
        };
        let shows = self.rooms.post().shows(&before.root);
        let is_shown = self.source.keep_while(current, Box::pin(shows)).await?;
        Ok(match is_shown {
            None => None,
            Some(true) => {
                self.roots.note(&before.root);
                Some(talk)
            }
            Some(false) => {
                info!(
                    "route {}: the first message of an alert, {}, is not in the room any more; the alert begins anew",
                    self.route.name, before.root
                );
                Some(talk.anew(self.route.patience))
            }
        })
    }
}
