//! The log, on standard error.

use std::io::IsTerminal;

use tracing::{Level, warn};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::time::UtcTime,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::config;

/// What the environment has to say of it wins over the configuration.
const VARIABLE: &str = "NATS_MATRIX_LOG";

/// The log of this process, whose level may change.
#[derive(Debug)]
pub(crate) struct Log {
    /// None if the environment says what is logged.
    filter: Option<reload::Handle<Targets, Registry>>,
}

impl Log {
    /// Begins it: our own records from `info` on. `NATS_MATRIX_LOG` says otherwise: a level, or a
    /// list like `nats_matrix=debug,async_nats=info`. The libraries are silent by default, because
    /// what they report as an error is for us to handle, and said in our own words.
    pub(crate) fn to_stderr() -> Self {
        let wish = std::env::var(VARIABLE).unwrap_or_default();
        let wished = wish.parse().ok().filter(|_| !wish.is_empty());
        let is_ours = wished.is_none();
        let (filter, handle) = reload::Layer::new(wished.unwrap_or_else(|| ours(Level::INFO)));
        let log = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        // The journal stamps each line itself.
        let log = if std::env::var_os("JOURNAL_STREAM").is_some() {
            log.without_time().boxed()
        } else {
            log.with_timer(UtcTime::rfc_3339()).boxed()
        };
        tracing_subscriber::registry().with(log.with_filter(filter)).init();
        if is_ours && !wish.is_empty() {
            warn!("{VARIABLE}: \"{wish}\" is neither a level nor a list of target=level");
        }
        Self { filter: is_ours.then_some(handle) }
    }

    /// From now on as the configuration says, unless the environment does.
    pub(crate) fn set(&self, config: config::Log) {
        let level = match config.level {
            config::Level::Error => Level::ERROR,
            config::Level::Warn => Level::WARN,
            config::Level::Info => Level::INFO,
            config::Level::Debug => Level::DEBUG,
            config::Level::Trace => Level::TRACE,
        };
        if let Some(filter) = &self.filter {
            // It is there for as long as the process.
            let _ = filter.reload(ours(level));
        }
    }
}

fn ours(level: Level) -> Targets {
    Targets::new().with_target("nats_matrix", LevelFilter::from_level(level))
}
