//! The signals that we listen to.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals that mean stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    pub(crate) fn install() -> Result<Self, Failure> {
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Waits for one, and names it.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signal that means that the configuration is to be read again.
pub(crate) struct Hangup(Signal);

impl Hangup {
    /// From now on it no longer ends the process.
    pub(crate) fn install() -> Result<Self, Failure> {
        install(SignalKind::hangup()).map(Self)
    }

    /// Waits for it. What comes while nobody waits is not forgotten, but several are as one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

fn install(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::Bug(format!("no signal handler: {error}")))
}
