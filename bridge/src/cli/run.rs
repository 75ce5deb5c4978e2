//! `nats-matrix run`

use super::{ConfigFile, block_on};
use crate::{failure::Failure, lifecycle, log::Log, reload::Setup};

pub(super) fn main(options: &ConfigFile, log: &Log) -> Result<(), Failure> {
    let setup = Setup::begin(&options.config)?;
    block_on(lifecycle::run(&options.config, setup, log))?
}
