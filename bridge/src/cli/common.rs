//! Options and functions that several subcommands share.

use std::{io::Write, path::PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::{failure::Failure, text};

/// The option for the configuration file.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration file, in TOML. Environment variables like `NATS_MATRIX__MATRIX__USER` override it.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "NATS_MATRIX_CONFIG",
        default_value = "/etc/nats-matrix/config.toml"
    )]
    pub(crate) config: PathBuf,
}

/// Takes any text from the command line. Bytes that are not UTF-8 are replaced: others may have chosen a part of the
/// text, and an alert that is refused for that is lost.
pub(crate) fn words() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|words| words.to_string_lossy().into_owned())
}

/// Prints the requested output, in which texts from publishers and servers cannot control the terminal. A closed pipe
/// is no error: its reader has read enough.
pub(crate) fn print(lines: &str) {
    print_for_terminal(&text::clean(lines));
}

/// Prints our own text unchanged, including its colours.
pub(crate) fn print_for_terminal(lines: &str) {
    let _ = writeln!(std::io::stdout(), "{lines}");
}

/// Runs `work` on a single thread: the work is mostly waiting, and more threads would only cost memory.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Bug(format!("no async runtime: {error}")))?;
    Ok(runtime.block_on(work))
}
