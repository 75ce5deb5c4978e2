//! Everything that is said in a room: whole sentences rather than parts of them, because no two languages put the parts
//! in the same order.

use jiff::SignedDuration;

use crate::message::{Counts, Deed, Kind, MonitorState, Outcome, State, Thing, Withheld};

/// What begins a line that the bridge says of itself.
pub(crate) const NOTICE_MARK: char = '🤖';

/// Everything that is said in a room, in one language.
pub(crate) trait Words: Sync {
    /// The language's name in HTML.
    fn code(&self) -> &'static str;

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
    /// The summary of an alert that says nothing of it.
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
    /// A message cannot be shown. `kept_on` is the subject of its dead letter, if there is one.
    fn refused(&self, sequence: u64, subject: &str, reason: &str, kept_on: Option<&str>) -> String;

    /// A monitor without a name.
    fn monitor(&self, id: Option<i64>) -> String;
    /// What a monitor watches is in that state.
    fn monitored(&self, monitor: &str, state: MonitorState) -> String;

    fn somebody(&self) -> &'static str;
    fn a_repository(&self) -> &'static str;
    fn pushed(&self, who: &str, count: usize, repository: &str, branch: &str) -> String;
    fn more_commits(&self, count: usize) -> String;
    /// A thing of a repository; the name may be empty.
    fn thing(&self, thing: Thing, name: &str, repository: &str) -> String;
    fn did(&self, who: &str, deed: &Deed, thing: &str) -> String;
    fn forked(&self, who: &str, original: &str, fork: &str) -> String;
    fn workflow_failed(&self, workflow: &str) -> String;
    fn workflow_recovered(&self, workflow: &str) -> String;
    fn workflow(&self, workflow: &str, repository: &str, outcome: &Outcome, on: &str) -> String;
    fn job(&self, job: &str, repository: &str, branch: &str, outcome: &Outcome) -> String;
    fn triggered_by(&self, who: &str) -> String;

    /// The title of the summary of a period.
    fn summary_of(&self, route: &str, from: &str, until: &str) -> String;
    /// How a summary writes times, for `strftime`.
    fn time_form(&self) -> &'static str;
    /// How the picture of a week writes days, likewise.
    fn day_form(&self) -> &'static str;
    /// Between the parts of a line of a summary.
    fn between(&self) -> &'static str;
    fn nothing_came_in(&self, last: Option<&str>) -> String;
    /// There are more hosts where `has_more`.
    fn reports(&self, reports: u64, hosts: u64, has_more: bool) -> String;
    /// How many alerts fired, and how many of each kind there were.
    fn alerts_of(&self, counts: Counts) -> String;
    fn other_messages(&self, count: u64) -> String;
    fn disk_almost_full(&self, hosts: &str) -> String;
    fn disk_filling_up(&self, hosts: &str) -> String;
    fn memory_almost_full(&self, hosts: &str) -> String;
    fn silent(&self, hosts: &str) -> String;
    fn silent_since(&self, host: &str, since: &str) -> String;
    /// How full a disk is, and in how many days it would be full.
    fn filling_up(&self, host: &str, latest: &str, days: f32) -> String;
    fn highest_disk(&self, value: &str, host: &str) -> String;
    fn highest_memory(&self, value: &str, host: &str) -> String;
    fn all_well(&self, highest: &str) -> String;
    fn not_resolved(&self, alerts: &str) -> String;
    /// What happened to something.
    fn happened_to(&self, summary: &str, source: &str) -> String;
    /// How many more there are, as the last of a list.
    fn more_names(&self, count: usize) -> String;
    /// Which hosts have numbers in the picture.
    fn in_the_picture(&self, hosts: &str) -> String;
    fn kept_since(&self, since: &str) -> String;
}
