//! The subcommand `nats-matrix run`: relays messages until it is stopped.

use std::{
    panic,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::error;

use crate::{
    cli::common::{ConfigFile, block_on},
    failure::{Failure, panic_words},
    log::Log,
    run::{Setup, lifecycle},
};

const MINUTE: Duration = Duration::from_mins(1);

/// The number of panics that are logged in a minute.
const PANICS_A_MINUTE: u32 = 5;

/// Logs panics as records, in the log's own form. The client of NATS panics at some headers, which any publisher can
/// write, so only a few records a minute are written, and none has a backtrace.
fn log_panics() {
    let told = Mutex::new((Instant::now(), 0_u32));
    panic::set_hook(Box::new(move |panic| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.elapsed() > MINUTE {
            *told = (Instant::now(), 0);
        }
        told.1 += 1;
        if told.1 <= PANICS_A_MINUTE {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            error!("panicked at {place}: {}", panic_words(panic.payload()));
        }
    }));
}

pub(super) fn main(options: &ConfigFile, log: &Log) -> Result<(), Failure> {
    log_panics();
    let setup = Setup::begin(&options.config)?;
    block_on(lifecycle::run(&options.config, setup, log))?
}
