//! The log, on standard error.

use std::{fmt, io::IsTerminal};

use tracing::{Level, warn};
use tracing_subscriber::{
    Layer, Registry,
    field::RecordFields,
    filter::{LevelFilter, Targets},
    fmt::{
        FormatFields,
        format::{DefaultFields, Writer},
        time::UtcTime,
    },
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use crate::{config, text};

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
        let wish = std::env::var_os(VARIABLE).unwrap_or_default();
        let wish = wish.to_string_lossy();
        let wished = wish.parse().ok().filter(|_| !wish.is_empty());
        let is_ours = wished.is_none();
        let (filter, handle) = reload::Layer::new(wished.unwrap_or_else(|| ours(Level::INFO)));
        let log = tracing_subscriber::fmt::layer()
            .fmt_fields(Legible(DefaultFields::new()))
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

/// Writes a record's message and fields in one line of what can be read, whoever the words are of: subjects, payloads
/// and answers of servers are in many of them.
struct Legible(DefaultFields);

impl<'writer> FormatFields<'writer> for Legible {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut record = String::new();
        self.0.format_fields(Writer::new(&mut record), fields)?;
        writer.write_str(&text::record(&record))
    }
}

fn ours(level: Level) -> Targets {
    Targets::new().with_target("nats_matrix", LevelFilter::from_level(level))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use tracing::{info_span, subscriber};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_word_of_others_begins_a_record_or_commands_a_terminal() {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(Legible(DefaultFields::new()))
            .with_writer(move || writer.clone())
            .with_ansi(false);
        let evil =
            "x\u{202e}\u{1b}[2J\u{9b}1m\u{200b}\r\n2026-11-23T06:35:51Z ERROR forged\u{2028}y";
        subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = info_span!("route", subject = evil);
            let _entered = span.enter();
            warn!("subject {evil}");
            warn!(subject = evil, shown = %evil, known = ?evil, "of fields");
        });
        let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), 2, "{log:?}");
        assert!(log.matches("forged").count() == 6, "{log:?}");
        for c in log.replace('\n', "").chars() {
            assert!(!c.is_control() && !"\u{202e}\u{200b}\u{2028}".contains(c), "{log:?}");
        }
    }
}
