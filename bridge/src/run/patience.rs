//! Waiting for servers at the start.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    failure::Failure,
    matrix::LoginError,
    run::service_manager::notify,
    status::{Outage, State},
};

/// The pause between attempts while a server refuses the bridge. A person has to renew the credentials, or the server is
/// not the right one.
const WHILE_REFUSED: Duration = Duration::from_secs(15);

/// The reason why an attempt at the start failed.
pub(crate) enum Trouble {
    Passing(String),
    /// A server refuses the bridge, which it has accepted before.
    Refused(String),
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
        let (reason, state, asked) = match answer {
            Ok(done) => {
                outage.over();
                return Ok(Some(done));
            }
            Err(Trouble::Final(failure)) => return Err(failure),
            Err(Trouble::Passing(reason)) => (reason, state, None),
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
