//! Publishes messages: a message is kept on disk, sent, and removed when JetStream has acknowledged it.
//!
//! Each message has an id (`Nats-Msg-Id`), by which the stream recognises duplicates for a while (its duplicate window,
//! two minutes by default). A lost acknowledgement therefore does not create a second message. A message that has
//! waited longer is looked up in the stream before it is sent again.

pub(crate) mod collect;
mod message;
pub(crate) mod sender;
pub(crate) mod spool;
pub(crate) mod unit;

use std::{path::PathBuf, time::Duration};

use jiff::SignedDuration;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tracing::warn;

pub(crate) use self::message::{Message, now};
use crate::{
    config,
    failure::Failure,
    publish::{
        sender::{Own, Receipt, Sender, Trouble},
        spool::{Spool, SpoolError},
    },
};

/// The pauses between attempts: the first one, and the longest one that they grow to.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(15)];

/// The age from which a waiting message means that the outage needs somebody's attention.
const OUTAGE: SignedDuration = SignedDuration::from_hours(24);

/// A message that was not sent.
#[derive(Debug)]
pub(crate) struct Unsent {
    /// The reason why the message was not sent.
    pub(crate) failure: Failure,
    /// Whether the only reason is that NATS is temporarily out of reach.
    pub(crate) is_away: bool,
    /// The file in which the message waits, or the reason why it was not kept.
    pub(crate) kept: Result<PathBuf, NotKept>,
}

/// The reason why an unsent message was not kept.
#[derive(Debug, Error)]
pub(crate) enum NotKept {
    /// The command line has turned the spool off.
    #[error("there is no spool")]
    NoSpool,
    /// The spool does not take the message.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// Sends a message after all waiting ones, and returns when JetStream has stored it.
///
/// The attempt ends after `patience`, or a little later if the disk is slow. If there is no spool, or it cannot be
/// written or is full, the message is sent all the same: it may be an alert about exactly that.
pub(crate) async fn publish(
    nats: &config::Nats,
    spool: Option<&Spool>,
    message: &Message,
    patience: Duration,
) -> Result<Receipt, Unsent> {
    let place = match spool {
        Some(spool) => Some(spool.put(message).await),
        None => None,
    };
    let kept = place.as_ref().and_then(|place| place.as_ref().ok().copied());
    let own = Own { message, kept };
    let trouble = match until_sent(nats, spool, &own, patience).await {
        Ok(receipt) => {
            if let Some(Err(error @ (SpoolError::Io { .. } | SpoolError::Large { .. }))) = &place {
                warn!(
                    "{error}: had NATS been away, the message would be lost; say --spool DIR, or --no-spool"
                );
            }
            return Ok(receipt);
        }
        Err(trouble) => trouble,
    };
    let kept = match (spool, place) {
        (Some(spool), Some(Ok(number))) => Ok(spool.path(number)),
        (_, Some(Err(error))) => Err(error.into()),
        _ => Err(NotKept::NoSpool),
    };
    Err(match trouble {
        Trouble::Away(failure) => {
            let is_short = spool.is_some_and(|spool| !waits_for_long(spool));
            let is_away = matches!(failure, Failure::Unavailable(_)) && is_short;
            Unsent { failure, is_away, kept }
        }
        Trouble::Blocked(failure) => Unsent { failure, is_away: false, kept },
    })
}

/// Retries until the message is sent, the time is over, or an error is permanent.
async fn until_sent(
    nats: &config::Nats,
    spool: Option<&Spool>,
    own: &Own<'_>,
    patience: Duration,
) -> Result<Receipt, Trouble> {
    let end = Instant::now() + patience;
    let mut sender = Sender::new(nats, end);
    let mut pause = PAUSES[0];
    let mut blocked_end = None;
    loop {
        let trouble = match sender.round(spool, own).await {
            Ok(receipt) => return Ok(receipt),
            Err(trouble) => trouble,
        };
        let end = match &trouble {
            Trouble::Away(Failure::Unavailable(_)) => end,
            // While NATS starts, its streams are missing for a moment.
            Trouble::Blocked(Failure::Unavailable(_)) => {
                end.min(*blocked_end.get_or_insert(Instant::now() + patience / 4))
            }
            // A refusal or a mistake is permanent.
            _ => return Err(trouble),
        };
        if Instant::now() + pause >= end {
            return Err(trouble);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES[1]);
    }
}

fn waits_for_long(spool: &Spool) -> bool {
    let waiting = spool.waiting().unwrap_or_default();
    let first = waiting.first().and_then(|number| spool.message(*number).ok().flatten());
    first.is_some_and(|message| now().duration_since(message.time) > OUTAGE)
}
