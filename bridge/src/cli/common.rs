//! Options and functions that several subcommands share.

use std::{io::Write, path::PathBuf, sync::Arc, time::Duration};

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::{config::Route, failure::Failure, text};

/// The time to wait for an answer that is not essential. The permission for it may be missing.
pub(super) const UNASKED: Duration = Duration::from_secs(2);

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

/// Returns the route of this name, or all without one.
///
/// # Errors
///
/// There is no such route.
pub(super) fn fitting<'a>(
    routes: &'a [Arc<Route>],
    name: Option<&str>,
) -> Result<Vec<&'a Arc<Route>>, Failure> {
    let Some(name) = name else { return Ok(routes.iter().collect()) };
    let fitting: Vec<_> = routes.iter().filter(|route| route.name.as_str() == name).collect();
    if fitting.is_empty() {
        let names = names(routes);
        return Err(Failure::Config(format!("there is no route \"{name}\", only {names}")));
    }
    Ok(fitting)
}

/// Returns the names of routes, as text.
pub(super) fn names(routes: &[Arc<Route>]) -> String {
    routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>().join(", ")
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
