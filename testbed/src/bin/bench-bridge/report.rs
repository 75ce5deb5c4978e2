//! The table.

use std::{fmt, time::Duration};

use anyhow::Result;
use nats_matrix_testbed::{Homeserver, Nats, machine};

use crate::{
    contender::Contender,
    measure::{Drain, Memory, Paced, Storm, percentile},
};

/// All that was measured, as Markdown.
pub(crate) struct Report {
    setting: String,
    columns: Vec<Column>,
    memory: Vec<Memory>,
    storms: Vec<Storm>,
}

struct Column {
    name: &'static str,
    title: &'static str,
    drains: Vec<Drain>,
    paced: Option<Paced>,
}

impl Report {
    pub(crate) async fn new(
        nats: &Nats,
        homeserver: &Homeserver,
        messages: usize,
        rounds: usize,
        link: Option<Duration>,
    ) -> Result<Self> {
        let link = link.map_or(String::new(), |time| {
            format!(" NATS is behind a link with a round trip of {time:?}.")
        });
        let setting = format!(
            "{}. {} {}, nats-server {}, all on loopback. Backlog of {messages} messages, median of \
             {rounds} rounds (least–most).{link}",
            machine(),
            homeserver.kind().name(),
            homeserver.version(),
            nats.version().await?,
        );
        Ok(Self { setting, columns: Vec::new(), memory: Vec::new(), storms: Vec::new() })
    }

    pub(crate) fn add_drain(&mut self, contender: &Contender, drain: Drain) {
        self.column(contender).drains.push(drain);
    }

    pub(crate) fn add_paced(&mut self, contender: &Contender, paced: Paced) {
        self.column(contender).paced = Some(paced);
    }

    pub(crate) fn add_memory(&mut self, memory: Memory) {
        self.memory.push(memory);
    }

    pub(crate) fn add_storm(&mut self, storm: Storm) {
        self.storms.push(storm);
    }

    fn column(&mut self, contender: &Contender) -> &mut Column {
        let name = contender.name();
        let index = self.columns.iter().position(|column| column.name == name);
        let index = index.unwrap_or_else(|| {
            let title = match contender {
                Contender::Raw => "raw `PUT /send`",
                Contender::Baseline { .. } => "Python baseline",
                Contender::Other { .. } => "the other nats-matrix",
                Contender::Bridge { .. } => "nats-matrix",
            };
            self.columns.push(Column { name, title, drains: Vec::new(), paced: None });
            self.columns.len() - 1
        });
        &mut self.columns[index]
    }

    fn row(
        &self,
        f: &mut fmt::Formatter<'_>,
        title: &str,
        cell: impl Fn(&Column) -> Option<String>,
    ) -> fmt::Result {
        let cells: Vec<Option<String>> = self.columns.iter().map(cell).collect();
        if cells.iter().all(Option::is_none) {
            return Ok(());
        }
        write!(f, "| {title} |")?;
        for cell in cells {
            write!(f, " {} |", cell.unwrap_or_else(|| "–".to_owned()))?;
        }
        writeln!(f)
    }
}

impl Column {
    fn spread(&self, value: impl Fn(&Drain) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.drains.iter().filter_map(value))
    }

    /// The rate relative to another contender's of the same round, since machines have their moods.
    fn relative_to(&self, base: &Self) -> Option<Spread> {
        let rounds = self.drains.iter().zip(&base.drains);
        Spread::of(rounds.map(|(own, base)| own.messages_per_second / base.messages_per_second))
    }
}

/// The median, and the extremes.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Some(Self {
            least: *values.first()?,
            median: percentile(&values, 50),
            most: *values.last()?,
        })
    }

    fn with_digits(&self, digits: usize) -> String {
        let Self { least, median, most } = self;
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.setting)?;
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title).collect();
        writeln!(f, "| | {} |", titles.join(" | "))?;
        writeln!(f, "|{}", " --- |".repeat(titles.len() + 1))?;

        self.row(f, "drain a backlog, msg/s", |column| {
            Some(column.spread(|drain| Some(drain.messages_per_second))?.with_digits(0))
        })?;
        for base in self.columns.iter().filter(|column| column.name != "bridge") {
            let title = format!("the same, {} = 1", base.name);
            self.row(f, &title, |column| Some(column.relative_to(base)?.with_digits(2)))?;
        }
        self.row(f, "CPU per 1,000 messages, s", |column| {
            let cpu = column.spread(|drain| drain.cpu_per_1000.map(|cpu| cpu.as_secs_f64()))?;
            Some(cpu.with_digits(2))
        })?;
        self.row(f, "end to end at 10 msg/s, p50 / p99, ms", |column| {
            let paced = column.paced.as_ref()?;
            Some(format!("{:.1} / {:.1}", ms(paced.p50), ms(paced.p99)))
        })?;
        self.row(f, "RSS idle, MB", |column| Some(mb(column.paced.as_ref()?.idle_rss_kib?)))?;
        self.row(f, "RSS peak of a drain, MB", |column| {
            let most = column.drains.iter().filter_map(|drain| drain.peak_rss_kib).max()?;
            Some(mb(most))
        })?;
        self.row(f, "start to first message, ms", |column| {
            Some(column.spread(|drain| drain.start_to_first.map(ms))?.with_digits(0))
        })?;

        for Memory { queued, peak_rss_kib, later_rss_kib } in &self.memory {
            write!(f, "\nnats-matrix with {queued} messages queued: at most ")?;
            write!(f, "{} MB RSS until 100 were sent", mb(*peak_rss_kib))?;
            if let Some(later) = later_rss_kib {
                write!(f, ", {} MB until 3,000 were", mb(*later))?;
            }
            writeln!(f, ".")?;
        }
        let seconds = Spread::of(self.storms.iter().map(|storm| storm.readable.as_secs_f64()));
        if let (Some(seconds), Some(storm)) = (seconds, self.storms.first()) {
            let most = self.storms.iter().map(|storm| storm.peak_rss_kib).max().unwrap_or_default();
            writeln!(
                f,
                "\nnats-matrix with {} alerts that waited: readable as a digest after {} s, with at most {} MB RSS.",
                storm.alerts,
                seconds.with_digits(1),
                mb(most)
            )?;
        }
        Ok(())
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// KiB as the MB of 1,000,000 bytes.
fn mb(kib: u64) -> String {
    let tenths = (kib * 1024 + 50_000) / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}
