//! Waiting for servers at the start.

use sd_notify::NotifyState;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::Failure,
    matrix::LoginError,
    run::service_manager::notify,
    status::{Outage, State},
};

/// The reason why an attempt at the start failed.
pub(crate) enum Trouble {
    Passing(String),
    Final(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(reason) => Self::Passing(reason),
            other => Self::Final(other),
        }
    }
}

impl From<LoginError> for Trouble {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Passing(error) => Self::Passing(error.to_string()),
            LoginError::Final(failure) => Self::Final(failure),
        }
    }
}

/// Retries until the attempt succeeds. Returns `None` if the bridge is told to stop first.
pub(crate) async fn patiently<T>(
    mut outage: Outage,
    state: State,
    stop: &CancellationToken,
    mut attempt: impl AsyncFnMut() -> Result<T, Trouble>,
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
            Err(Trouble::Final(failure)) => return Err(failure),
            Err(Trouble::Passing(reason)) => reason,
        };
        let pause = outage.failed(state, &reason, None);
        notify(&[NotifyState::Ready]);
        if timeout(pause, stop.cancelled()).await.is_ok() {
            return Ok(None);
        }
    }
}
