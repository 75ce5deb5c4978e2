//! The table.

use std::{fmt, time::Duration};

use anyhow::Result;
use nats_matrix_testbed::{Homeserver, Nats, machine};

use crate::memory::Memory;

/// All that was measured, as Markdown.
pub(crate) struct Report {
    setting: String,
    rows: Vec<Row>,
    restarts: usize,
    /// The longest time for which the homeserver did not answer.
    silence: Duration,
}

/// The measurements since the row before.
pub(crate) struct Row {
    /// The messages in the room so far.
    pub(crate) messages: usize,
    /// The most memory of the homeserver.
    pub(crate) most: Memory,
    /// The most resident memory of the homeserver and the bridge together, in KiB.
    pub(crate) most_of_both: u64,
    pub(crate) per_second: f64,
    /// The homeserver's processor time for a message, its starts included.
    pub(crate) cpu: Duration,
}

impl Report {
    pub(crate) async fn new(
        nats: &Nats,
        homeserver: &Homeserver,
        messages: usize,
        above: Option<&str>,
    ) -> Result<Self> {
        let restarts = above.map_or_else(
            || "It is never restarted.".to_owned(),
            |above| format!("It is restarted when it holds more than {above}."),
        );
        let setting = format!(
            "{}. {} {}, nats-server {}, {messages} messages in one room. {restarts}",
            machine(),
            homeserver.kind().name(),
            homeserver.version(),
            nats.version().await?,
        );
        Ok(Self { setting, rows: Vec::new(), restarts: 0, silence: Duration::ZERO })
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn end(&mut self, restarts: usize, silence: Duration) {
        (self.restarts, self.silence) = (restarts, silence);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.setting)?;
        writeln!(
            f,
            "| messages | homeserver at most, RSS / anonymous MiB | with the bridge, RSS MiB | messages a second | homeserver's CPU for one, ms |"
        )?;
        writeln!(f, "|{}", " --- |".repeat(5))?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(
            f,
            "\nEach message is in the room once, in order. Restarts: {}. Longest time without an answer: {:.1} s.",
            self.restarts,
            self.silence.as_secs_f64()
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} | {} / {} | {} | {:.0} | {:.2} |",
            self.messages,
            self.most.rss / 1024,
            self.most.anonymous / 1024,
            self.most_of_both / 1024,
            self.per_second,
            self.cpu.as_secs_f64() * 1000.0
        )
    }
}
