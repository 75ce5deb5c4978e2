//! Waiting for servers at the start.

use std::error::Error;

use sd_notify::NotifyState;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::{AttemptError, Failure, chain},
    run::service_manager::notify,
    status::{Outage, State},
};

/// Retries until the attempt succeeds. Returns `None` if the bridge is told to stop first.
pub(crate) async fn patiently<T, E: Error + 'static>(
    mut outage: Outage,
    state: State,
    stop: &CancellationToken,
    mut attempt: impl AsyncFnMut() -> Result<T, AttemptError<E>>,
) -> Result<Option<T>, Failure> {
    loop {
        let answer = tokio::select! {
            answer = attempt() => answer,
            () = stop.cancelled() => return Ok(None),
        };
        let reason = match answer {
            Ok(done) => {
                outage.over();
                return Ok(Some(done));
            }
            Err(AttemptError::Permanent(failure)) => return Err(failure),
            Err(AttemptError::Transient(error)) => chain(&error),
        };
        let pause = outage.failed(state, &reason, None);
        notify(&[NotifyState::Ready]);
        if timeout(pause, stop.cancelled()).await.is_ok() {
            return Ok(None);
        }
    }
}
