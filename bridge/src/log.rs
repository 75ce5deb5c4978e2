//! The log, on standard error: lines for people, or a JSON object for each record.
//!
//! Spans say what a record is about: `route` around everything that one feed of a route does, `message` around the work
//! on one of its messages, with `stream`, `sequence` and `room`. In JSON all of these are fields; a line for people
//! begins with the route.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::{
    Layer, Registry,
    field::RecordFields,
    filter::{LevelFilter, Targets},
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::{DefaultFields, Writer},
        time::FormatTime,
    },
    layer::SubscriberExt,
    registry::{LookupSpan, Scope},
    reload,
    util::SubscriberInitExt,
};

use crate::{book, config, text};

/// The environment variable that overrides the configuration.
const VARIABLE: &str = "NATS_MATRIX_LOG";
/// The span around everything that one feed of a route does.
const ROUTE: &str = "route";
/// The time for which one line of trouble says where such lines are explained. It is shorter than the time between two
/// lines about the same outage, so that those about a long one say it each time.
const EXPLAINED_FOR: Duration = Duration::from_mins(4);

type Filter = reload::Handle<Targets, Registry>;

/// The log of this process, whose level and format may change.
#[derive(Debug)]
pub(crate) struct Log {
    lines: Filter,
    json: Filter,
    /// The filter from the environment variable, if it is set.
    wished: Option<Targets>,
}

impl Log {
    /// Starts the log in lines, with the bridge's own records from `info` on. `NATS_MATRIX_LOG` overrides that: a
    /// level, or a list like `nats_matrix=debug,async_nats=info`. The libraries are silent by default, because the
    /// bridge handles the errors that they report, and logs them in its own words.
    pub(crate) fn to_stderr() -> Self {
        let wish = std::env::var_os(VARIABLE).unwrap_or_default();
        let wish = wish.to_string_lossy();
        let wished: Option<Targets> = wish.parse().ok().filter(|_| !wish.is_empty());
        let first = wished.clone().unwrap_or_else(|| ours(Level::INFO));
        let (lines_filter, lines) = reload::Layer::new(first);
        let (json_filter, json) = reload::Layer::new(Targets::new());
        let has_colours = io::stderr().is_terminal();
        // The journal adds a time to each line.
        let time = std::env::var_os("JOURNAL_STREAM").is_none().then_some(Utc);
        let for_people = tracing_subscriber::fmt::layer()
            .fmt_fields(Legible(DefaultFields::new()))
            .with_writer(io::stderr)
            .with_ansi(has_colours)
            .event_format(Lines::of(time))
            .with_filter(lines_filter);
        let for_machines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_timer(Utc)
            .with_writer(|| Clean(io::stderr()))
            .with_filter(json_filter);
        let both = vec![for_people.boxed(), for_machines.boxed()];
        tracing_subscriber::registry().with(both).init();
        if wished.is_none() && !wish.is_empty() {
            warn!("{VARIABLE}: \"{wish}\" is neither a level nor a list of target=level");
        }
        Self { lines, json, wished }
    }

    /// Applies the configuration from now on; the environment variable still decides what is logged.
    pub(crate) fn set(&self, config: config::Log) {
        let level = match config.level {
            config::Level::Error => Level::ERROR,
            config::Level::Warn => Level::WARN,
            config::Level::Info => Level::INFO,
            config::Level::Debug => Level::DEBUG,
            config::Level::Trace => Level::TRACE,
        };
        let records = self.wished.clone().unwrap_or_else(|| ours(level));
        let (lines, json) = match config.format {
            config::Format::Text => (records, Targets::new()),
            config::Format::Json => (Targets::new(), records),
        };
        // Both layers live as long as the process.
        let _ = (self.lines.reload(lines), self.json.reload(json));
    }
}

/// Writes the time of a record, in RFC 3339.
#[derive(Clone, Copy)]
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", Timestamp::now())
    }
}

/// Writes a record as a line for people: its level, its route, and its message. A warning or an error also says where
/// it is explained, unless one has said so shortly before.
struct Lines {
    time: Option<Utc>,
    explained: Mutex<Option<Instant>>,
}

impl Lines {
    fn of(time: Option<Utc>) -> Self {
        Self { time, explained: Mutex::default() }
    }

    /// Whether a line of this level has to say where it is explained.
    fn explains(&self, level: Level) -> bool {
        if level > Level::WARN {
            return false;
        }
        let mut explained = self.explained.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = explained.is_none_or(|at| at.elapsed() >= EXPLAINED_FOR);
        if is_due {
            *explained = Some(Instant::now());
        }
        is_due
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if let Some(time) = &self.time {
            time.format_time(&mut writer)?;
            writer.write_char(' ')?;
        }
        let level = *event.metadata().level();
        match colour(level).filter(|_| writer.has_ansi_escapes()) {
            Some(colour) => write!(writer, "\u{1b}[{colour}m{level:>5}\u{1b}[0m ")?,
            None => write!(writer, "{level:>5} ")?,
        }
        let spans = context.event_scope().into_iter().flat_map(Scope::from_root);
        for span in spans.filter(|span| span.name() == ROUTE) {
            let fields = span.extensions();
            let route =
                fields.get::<FormattedFields<N>>().and_then(|fields| fields.split_once('='));
            if let Some((_, route)) = route {
                write!(writer, "route {route}: ")?;
            }
        }
        context.format_fields(writer.by_ref(), event)?;
        if self.explains(level) {
            write!(writer, " (see {})", book::troubleshooting())?;
        }
        writeln!(writer)
    }
}

/// Returns the code of a level's colour on a terminal.
fn colour(level: Level) -> Option<u8> {
    match level {
        Level::ERROR => Some(31),
        Level::WARN => Some(33),
        Level::INFO => Some(32),
        _ => None,
    }
}

/// Writes a record's message and fields in one line without control characters, as many of them contain subjects,
/// payloads and answers of servers.
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

/// Writes records without anything that controls a terminal, as their words may come from anybody. The JSON format
/// escapes only control characters.
struct Clean<W>(W);

impl<W: Write> Write for Clean<W> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let clean = text::record(String::from_utf8_lossy(record).trim_end_matches('\n'));
        self.0.write_all(clean.as_bytes())?;
        self.0.write_all(b"\n")?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
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

    use tracing::{error, info, info_span, subscriber};

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

    /// Returns what is written for the records that `record` makes, as lines and as JSON.
    fn written(record: impl Fn()) -> (String, String) {
        let (lines, json) = (Written::default(), Written::default());
        let (to_lines, to_json) = (lines.clone(), json.clone());
        let for_people = tracing_subscriber::fmt::layer()
            .fmt_fields(Legible(DefaultFields::new()))
            .with_writer(move || to_lines.clone())
            .with_ansi(false)
            .event_format(Lines::of(None));
        let for_machines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(move || Clean(to_json.clone()));
        let both = tracing_subscriber::registry().with(for_people).with(for_machines);
        subscriber::with_default(both, record);
        let text = |written: Written| String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        (text(lines), text(json))
    }

    #[test]
    fn a_line_begins_with_its_route_and_json_has_all_fields() {
        let (lines, json) = written(|| {
            let route = info_span!("route", route = %"reports");
            let _in_route = route.enter();
            let message = info_span!("message", stream = "OPS", sequence = 7);
            let _in_message = message.enter();
            warn!(attempt = 2, "not posted");
        });
        let page = book::troubleshooting();
        assert_eq!(lines, format!(" WARN route reports: not posted attempt=2 (see {page})\n"));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["level"], &json["message"]), (&"WARN".into(), &"not posted".into()));
        assert_eq!(json["attempt"], 2);
        assert_eq!(json["spans"][0]["route"], "reports");
        assert_eq!(
            (&json["spans"][1]["stream"], &json["spans"][1]["sequence"]),
            (&"OPS".into(), &7.into())
        );
    }

    #[test]
    fn the_first_line_of_trouble_says_where_it_is_explained() {
        let (lines, json) = written(|| {
            info!("connected");
            warn!("lost");
            error!("still lost");
        });
        let page = book::troubleshooting();
        assert_eq!(lines, format!(" INFO connected\n WARN lost (see {page})\nERROR still lost\n"));
        assert!(!json.contains(&page), "{json}");
    }

    #[test]
    fn no_word_of_others_begins_a_record_or_commands_a_terminal() {
        let evil =
            "x\u{202e}\u{1b}[2J\u{9b}1m\u{200b}\r\n2026-11-23T06:35:51Z ERROR forged\u{2028}y";
        let (lines, json) = written(|| {
            let span = info_span!("route", route = evil);
            let _entered = span.enter();
            warn!("subject {evil}");
            warn!(subject = evil, shown = %evil, known = ?evil, "of fields");
        });
        assert_eq!(lines.matches("forged").count(), 6, "{lines:?}");
        assert_eq!(json.matches("forged").count(), 6, "{json:?}");
        for log in [lines, json] {
            assert_eq!(log.lines().count(), 2, "{log:?}");
            for c in log.replace('\n', "").chars() {
                assert!(!c.is_control() && !"\u{202e}\u{200b}\u{2028}".contains(c), "{log:?}");
            }
        }
    }
}
