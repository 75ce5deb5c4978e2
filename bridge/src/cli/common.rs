//! What several subcommands share.

use std::{io::Write, path::PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::{failure::Failure, text};

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration, in TOML. Variables like `NATS_MATRIX__MATRIX__USER` win over it.
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "NATS_MATRIX_CONFIG",
        default_value = "/etc/nats-matrix/config.toml"
    )]
    pub(crate) config: PathBuf,
}

/// Takes any words from the command line. What is not UTF-8 in them is replaced: others may have had a part in them, and
/// an alert that is refused for that is lost.
pub(crate) fn words() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|words| words.to_string_lossy().into_owned())
}

/// Prints what was asked for, in which words of publishers and servers command no terminal. Whoever closes the pipe has
/// read enough.
pub(crate) fn print(lines: &str) {
    print_for_terminal(&text::clean(lines));
}

/// Prints text of our own as it is, also what sets colours.
pub(crate) fn print_for_terminal(lines: &str) {
    let _ = writeln!(std::io::stdout(), "{lines}");
}

/// One thread for everything: the work is waiting, and more threads only cost memory.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Bug(format!("no async runtime: {error}")))?;
    Ok(runtime.block_on(work))
}
