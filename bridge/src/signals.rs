//! The signals that the program handles.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals that stop the program.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers. From then on these signals no longer end the process on their own.
    pub(crate) fn install() -> Result<Self, Failure> {
        Ok(Self {
            terminate: install(SignalKind::terminate())?,
            interrupt: install(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of the signals, and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP, the signal to reload the configuration.
pub(crate) struct Hangup(Signal);

impl Hangup {
    /// Installs the handler. From then on SIGHUP no longer ends the process.
    pub(crate) fn install() -> Result<Self, Failure> {
        install(SignalKind::hangup()).map(Self)
    }

    /// Waits for the signal. One that arrives while nobody waits is not lost, but several of them count as one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

fn install(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::Bug(format!("no signal handler: {error}")))
}
