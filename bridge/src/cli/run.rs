//! `nats-matrix run`

use super::{ConfigFile, block_on};
use crate::{config::Config, failure::Failure, lifecycle};

pub(super) fn main(options: &ConfigFile) -> Result<(), Failure> {
    let config = Config::load(&options.config)?;
    block_on(lifecycle::run(config))?
}
