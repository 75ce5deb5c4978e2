//! `nats-matrix run`

use super::{ConfigFile, block_on};
use crate::{config::Config, failure::Failure, lifecycle, log::Log};

pub(super) fn main(options: &ConfigFile, log: &Log) -> Result<(), Failure> {
    let config = Config::load(&options.config)?;
    log.set(config.log);
    block_on(lifecycle::run(config))?
}
