//! The subcommand `nats-matrix run`: relays messages until it is stopped.

use crate::{
    cli::common::{ConfigFile, block_on},
    failure::Failure,
    log::Log,
    run::{Setup, lifecycle},
};

pub(super) fn main(options: &ConfigFile, log: &Log) -> Result<(), Failure> {
    let setup = Setup::begin(&options.config)?;
    block_on(lifecycle::run(&options.config, setup, log))?
}
