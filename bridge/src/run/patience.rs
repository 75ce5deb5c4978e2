//! Waiting for servers at the start.

use std::{error::Error, time::Duration};

use sd_notify::NotifyState;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{AttemptError, Failure, chain},
    run::service_manager::notify,
    status::{Outage, State},
};

/// The pause between attempts while a server refuses the bridge. A person has to renew the credentials, or the server is
/// not the right one.
const WHILE_REFUSED: Duration = Duration::from_secs(15);

/// The reason why an attempt at the start failed.
pub(crate) enum Trouble<E: Error + 'static> {
    /// A server refuses the bridge, which it has accepted before.
    Refused(String),
    /// Anything else.
    Other(AttemptError<E>),
}

impl<E: Error + 'static> From<AttemptError<E>> for Trouble<E> {
    fn from(error: AttemptError<E>) -> Self {
        Self::Other(error)
    }
}

/// Retries until the attempt succeeds. Returns `None` if the bridge is told to stop first.
pub(crate) async fn patiently<T, E: Error + 'static>(
    mut outage: Outage,
    state: State,
    stop: &CancellationToken,
    mut attempt: impl AsyncFnMut() -> Result<T, Trouble<E>>,
) -> Result<Option<T>, Failure> {
    loop {
        let answer = tokio::select! {
            answer = attempt() => answer,
            () = stop.cancelled() => return Ok(None),
        };
        let (reason, state, asked) = match answer {
            Ok(done) => {
                outage.over();
                return Ok(Some(done));
            }
            Err(Trouble::Other(AttemptError::Permanent(failure))) => return Err(failure),
            Err(Trouble::Other(AttemptError::Transient(error))) => (chain(&error), state, None),
            Err(Trouble::Refused(reason)) => {
                (reason, State::CredentialsRefused, Some(WHILE_REFUSED))
            }
        };
        let pause = outage.failed(state, &reason, asked);
        notify(&[NotifyState::Ready]);
        if timeout(pause, stop.cancelled()).await.is_ok() {
            return Ok(None);
        }
    }
}
