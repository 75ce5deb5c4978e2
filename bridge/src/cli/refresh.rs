//! The subcommand `nats-matrix refresh`: keeps the memory of a homeserver on this machine small.

use std::path::PathBuf;

use bytesize::ByteSize;

use crate::{cli::common::block_on, failure::Failure, refresh};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The cgroup of the homeserver's unit, a directory below /sys/fs/cgroup.
    #[arg(long, value_name = "DIRECTORY")]
    cgroup: PathBuf,
    /// The memory, without files, that it may hold, such as 50MiB.
    #[arg(long, value_name = "SIZE")]
    above: ByteSize,
}

pub(super) fn main(options: &Options) -> Result<(), Failure> {
    match block_on(refresh::watch(&options.cgroup, options.above))? {}
}
