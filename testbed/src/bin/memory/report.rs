//! The report of all trials, as a table.

use std::fmt;

use crate::{limit::Limit, trial::Outcome};

/// The table, in Markdown.
pub(crate) struct Report {
    setting: String,
    rows: Vec<Row>,
}

struct Row {
    line: String,
    peak_kib: u64,
    is_well: bool,
}

impl Report {
    pub(crate) fn new(machine: &str, limit: &Limit) -> Self {
        let setting = format!(
            "{machine}; limit: {limit}; measured: RssAnon and VmHWM less RssFile, every ms"
        );
        Self { setting, rows: Vec::new() }
    }

    /// The heading over the rows.
    pub(crate) fn heading(&self) -> String {
        format!(
            "{}\n\n| max_payload | queued | bytes of one | messages | events | s | peak MiB | growth : bytes | |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            self.setting
        )
    }

    /// Adds a row, and returns it. The first is of good reports alone.
    pub(crate) fn add(&mut self, megabytes: usize, outcome: Outcome) -> &str {
        let Outcome { name, bytes, queued, peak_kib, most_kib, events, took, mut complaints } =
            outcome;
        if peak_kib >= most_kib {
            complaints.push(format!("more than {} MiB", most_kib / 1024));
        }
        let growth =
            peak_kib.saturating_sub(self.rows.first().map_or(peak_kib, |row| row.peak_kib));
        // Counts of bytes are exact in an f64 up to 2^53.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let (peak, ratio) =
            (peak_kib as f64 / 1024.0, growth as f64 * 1024.0 / bytes.max(1) as f64);
        let ratio = if bytes > 10_000 { format!("{ratio:.1}") } else { "–".to_owned() };
        let verdict = if complaints.is_empty() { "ok".to_owned() } else { complaints.join("; ") };
        let seconds = took.as_secs_f64();
        let line = format!(
            "| {megabytes} MB | {name} | {bytes} | {queued} | {events} | {seconds:.1} | {peak:.1} | {ratio} | {verdict} |"
        );
        self.rows.push(Row { line, peak_kib, is_well: complaints.is_empty() });
        self.rows.last().map_or("", |row| &row.line)
    }

    /// Whether nothing was wrong, and there was anything.
    pub(crate) fn is_well(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.is_well)
    }

    /// A line that tells how it went.
    pub(crate) fn sum(&self) -> String {
        let well = self.rows.iter().filter(|row| row.is_well).count();
        let peak = self.rows.iter().map(|row| row.peak_kib).max().unwrap_or_default();
        format!("{well} of {} trials well; the highest peak is {} KiB", self.rows.len(), peak)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading())?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", row.line))?;
        writeln!(f, "\n{}", self.sum())
    }
}
