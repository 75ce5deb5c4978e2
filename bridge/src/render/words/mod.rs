//! What we say ourselves, in each language. A language is an implementation of [`Words`], whole sentences rather than
//! parts of them, because no two languages put the parts in the same order; the compiler refuses one that is not complete.

mod chinese;
mod english;

use jiff::SignedDuration;

use crate::{
    config::Language,
    message::{Deed, Kind, Outcome, State, Thing, Withheld},
};

impl Language {
    pub(crate) fn words(self) -> &'static dyn Words {
        match self {
            Self::English => &english::English,
            Self::Chinese => &chinese::Chinese,
        }
    }
}

/// What begins a line that the bridge says of itself.
pub(crate) const NOTICE_MARK: char = '🤖';

/// Everything that is said in a room, in one language.
pub(crate) trait Words: Sync {
    /// After a name and before its value.
    fn colon(&self) -> &'static str;
    /// What parts a colon from what follows.
    fn gap(&self) -> &'static str;
    /// Between the items of a list.
    fn comma(&self) -> &'static str;

    /// What a report is called, after the name of its host.
    fn report(&self) -> &'static str;
    fn completed(&self) -> &'static str;
    fn in_progress(&self) -> &'static str;
    fn disk_usage(&self) -> &'static str;
    fn memory_usage(&self) -> &'static str;
    fn satisfaction(&self) -> &'static str;

    /// What begins the line of an alert.
    fn state(&self, state: State) -> &'static str;
    /// What begins the message of several alerts; the title may be empty.
    fn alerts(&self, count: u64, title: &str) -> String;
    /// How many of each, after [`Words::alerts`]. A state is as [`Words::state`] says it, or a word of a publisher's own.
    fn tally(&self, counts: &[(String, u64)], unknown: u64) -> String;
    fn more(&self, count: usize) -> String;
    fn more_not_sent(&self, count: u64) -> String;
    fn unnamed_alert(&self) -> &'static str;

    fn until(&self, end: &str) -> String;
    /// How long something took, after when that was.
    fn took(&self, duration: SignedDuration) -> String;
    fn duration(&self, duration: SignedDuration) -> String;
    fn bytes(&self, count: u64) -> String;

    fn resolved_after(&self, took: &str, summary: &str) -> String;
    fn relapses(&self, times: u32, since: &str) -> String;
    fn messages(&self, count: usize) -> String;
    fn counted(&self, kind: Kind, count: usize) -> String;
    fn and_more(&self, named: &str, more: usize) -> String;
    fn newest(&self) -> &'static str;
    fn in_thread(&self) -> &'static str;

    /// A line that the bridge says of itself. No line of others begins as it does: where one would, it is set apart.
    fn notice(&self, text: &str) -> String {
        format!("{NOTICE_MARK} nats-matrix{}{}{text}", self.colon(), self.gap())
    }
    /// The subject of a message that is said to be of a machine which its subject does not name.
    fn via(&self, subject: &str) -> String;

    fn empty_message(&self, subject: &str) -> String;
    /// A message that is no more than what NATS answered to some publisher.
    fn answer_of_nats(&self) -> &'static str;
    fn not_text(&self, size: &str) -> String;
    /// The original is in a file of that size.
    fn attached(&self, size: &str) -> String;
    /// The original has that size, and is not in a file but in a stream.
    fn withheld(&self, size: &str, why: Withheld, stream: &str, sequence: u64) -> String;
    /// What is wrong with a payload, which is said in English for its publisher and the log.
    fn flaw(&self, flaw: &str) -> String;
    /// A template of the user's own could not be used for a message.
    fn template_failed(&self, fault: &str) -> String;
    /// All that had to wait is there.
    fn caught_up(&self, count: u64, oldest: &str) -> String;
    /// A message cannot be shown; `None` if it is not even kept as a dead letter.
    fn refused(&self, sequence: u64, subject: &str, reason: &str, kept_on: Option<&str>) -> String;

    fn monitor(&self, id: Option<i64>) -> String;
    fn is_down(&self, monitor: &str) -> String;
    fn is_up(&self, monitor: &str) -> String;
    fn is_tried_again(&self, monitor: &str) -> String;
    fn is_under_maintenance(&self, monitor: &str) -> String;

    fn somebody(&self) -> &'static str;
    fn a_repository(&self) -> &'static str;
    fn pushed(&self, who: &str, count: usize, repository: &str, branch: &str) -> String;
    fn more_commits(&self, count: usize) -> String;
    /// A thing of a repository; the name may be empty.
    fn thing(&self, thing: Thing, name: &str, repository: &str) -> String;
    fn did(&self, who: &str, deed: Deed<'_>, thing: &str) -> String;
    fn forked(&self, who: &str, original: &str, fork: &str) -> String;
    fn workflow_failed(&self, workflow: &str) -> String;
    fn workflow_recovered(&self, workflow: &str) -> String;
    fn workflow(&self, workflow: &str, repository: &str, outcome: Outcome<'_>, on: &str) -> String;
    fn job(&self, job: &str, repository: &str, branch: &str, outcome: Outcome<'_>) -> String;
    fn triggered_by(&self, who: &str) -> String;
}

/// A number of bytes for people, but for those that are few.
fn large_size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let mut size = bytes as f64 / 1024.0;
    let mut units = ["KiB", "MiB", "GiB", "TiB", "PiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        // What would be shown as 1024.0 is one of the next unit.
        if size < 1023.95 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.1} {unit}")
}

/// The two largest units, days, hours, minutes and seconds: nobody wants the seconds of three days.
fn two_units(duration: SignedDuration, names: [&str; 4]) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let counts = [seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60];
    let largest = counts.iter().position(|count| *count > 0).unwrap_or(counts.len() - 1);
    let said: Vec<String> = counts
        .iter()
        .zip(names)
        .skip(largest)
        .take(2)
        .enumerate()
        .filter(|(index, (count, _))| *index == 0 || **count > 0)
        .map(|(_, (count, unit))| format!("{count} {unit}"))
        .collect();
    let sign = if duration.is_negative() { "-" } else { "" };
    format!("{sign}{}", said.join(" "))
}

#[cfg(test)]
mod tests;
