//! All texts that the bridge posts. They are whole sentences rather than parts, because no two languages put the parts
//! in the same order.

use jiff::SignedDuration;

use crate::{
    mask::Secret,
    message::{Counts, Deed, Kind, MonitorState, Outcome, Removal, State, Thing, Withheld},
};

/// The character that begins a line in the bridge's own words.
pub(crate) const NOTICE_MARK: char = '🤖';

/// All texts that the bridge posts, in one language.
pub(crate) trait Words: Sync {
    /// The language code for HTML.
    fn code(&self) -> &'static str;

    /// The separator between a name and its value.
    fn colon(&self) -> &'static str;
    /// The space after a colon or a name; empty in languages that are written without spaces.
    fn gap(&self) -> &'static str;
    /// The separator between the items of a list.
    fn comma(&self) -> &'static str;

    /// The title of a report, which follows the name of its host.
    fn report(&self) -> &'static str;
    fn completed(&self) -> &'static str;
    fn in_progress(&self) -> &'static str;
    fn disk_usage(&self) -> &'static str;
    fn memory_usage(&self) -> &'static str;
    /// The value of something that is not known.
    fn unknown(&self) -> &'static str;
    fn satisfaction(&self) -> &'static str;

    /// The beginning of the line of an alert.
    fn state(&self, state: State) -> &'static str;
    /// The beginning of the message of several alerts; the title may be empty.
    fn alerts(&self, count: u64, title: &str) -> String;
    /// The number of alerts in each state, which follows [`Words::alerts`]. A state is one of [`Words::state`], or a
    /// word of the publisher's own.
    fn tally(&self, counts: &[(String, u64)], unknown: u64) -> String;
    fn more(&self, count: usize) -> String;
    fn more_not_sent(&self, count: u64) -> String;
    /// The summary of an alert whose sender gives none.
    fn unnamed_alert(&self) -> &'static str;

    fn until(&self, end: &str) -> String;
    /// The duration of something, which follows its beginning and end.
    fn took(&self, duration: SignedDuration) -> String;
    fn duration(&self, duration: SignedDuration) -> String;
    fn bytes(&self, count: u64) -> String;

    fn resolved_after(&self, took: &str, summary: &str) -> String;
    fn relapses(&self, times: u32, since: &str) -> String;
    /// Somebody has acknowledged an alert, at this time.
    fn has_it(&self, who: &str, at: &str) -> String;
    /// Somebody has taken their acknowledgement back.
    fn has_it_no_more(&self, who: &str) -> String;
    fn messages(&self, count: usize) -> String;
    fn counted(&self, kind: Kind, count: usize) -> String;
    fn and_more(&self, named: &str, more: usize) -> String;
    fn newest(&self) -> &'static str;
    fn in_thread(&self) -> &'static str;

    /// A line in the bridge's own words. A line from others never begins like it: one that would is set apart.
    fn notice(&self, text: &str) -> String {
        format!("{NOTICE_MARK} nats-matrix{}{}{text}", self.colon(), self.gap())
    }
    /// The subject of a message, if the subject does not name the machine that the message claims to be about.
    fn via(&self, subject: &str) -> String;

    /// The headline of a message that somebody sent to try out the way to the room.
    fn test_of(&self, sender: &str) -> String;

    /// The summary of an alert rule that got no data.
    fn no_data(&self, rule: &str) -> String;

    /// The summary of an alert rule whose query fails.
    fn query_failed(&self, rule: &str) -> String;

    fn empty_message(&self, subject: &str) -> String;
    /// The text for a message that is only an answer from NATS to a publisher.
    fn answer_of_nats(&self) -> &'static str;
    /// The words in place of a secret.
    fn hidden(&self, secret: Secret) -> &'static str;
    fn not_text(&self, size: &str) -> String;
    /// The line that says that the original is attached, with its size.
    fn attached(&self, size: &str) -> String;
    /// The line that says that the original is not attached, with its size, the reason, and its place in the stream.
    fn withheld(&self, size: &str, why: Withheld, stream: &str, sequence: u64) -> String;
    /// The line about a message that is shown as it came because it cannot be read.
    fn shown_raw(&self) -> &'static str;
    /// The line about a flaw of a payload, for publishers who asked for it. The flaw itself is in English, as in the log.
    fn flaw(&self, flaw: &str) -> String;
    /// The line that says that the user's template failed for a message.
    fn template_failed(&self, fault: &str) -> String;
    /// The line that says that all messages of a backlog are in the room.
    fn caught_up(&self, count: u64, oldest: &str) -> String;
    /// The line about messages that the stream has removed before they could be read, published between these times.
    fn removed(&self, removal: &Removal, since: &str, until: &str) -> String;
    /// The line about a message that is perhaps shown in another room, too, which no longer takes anything.
    fn may_be_repeated(&self, room: &str) -> String;
    /// The line about a NATS server that refuses the bridge.
    fn nats_refuses(&self, reason: &str) -> String;
    /// The line about a message that cannot be shown. `kept_on` is the subject of its dead letter, if there is one.
    fn refused(&self, sequence: u64, subject: &str, reason: &str, kept_on: Option<&str>) -> String;

    /// The name of a monitor that has none.
    fn monitor(&self, id: Option<i64>) -> String;
    /// The summary of an alert about the state of a monitor's target.
    fn monitored(&self, monitor: &str, state: MonitorState) -> String;

    fn somebody(&self) -> &'static str;
    fn a_repository(&self) -> &'static str;
    fn pushed(&self, who: &str, count: usize, repository: &str, branch: &str) -> String;
    fn more_commits(&self, count: usize) -> String;
    /// The name of a thing of a repository; `name` may be empty.
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
    /// The form of times in a summary, for `strftime`.
    fn time_form(&self) -> &'static str;
    /// The form of days in the picture of a week, for `strftime`.
    fn day_form(&self) -> &'static str;
    /// The separator between the parts of a line in a summary.
    fn between(&self) -> &'static str;
    fn nothing_came_in(&self, last: Option<&str>) -> String;
    /// The number of reports and of hosts. With `has_more`, there are more hosts than `hosts`.
    fn reports(&self, reports: u64, hosts: u64, has_more: bool) -> String;
    /// The number of alerts that fired, and the number of each kind.
    fn alerts_of(&self, counts: Counts) -> String;
    fn other_messages(&self, count: u64) -> String;
    fn disk_almost_full(&self, hosts: &str) -> String;
    fn disk_filling_up(&self, hosts: &str) -> String;
    fn memory_almost_full(&self, hosts: &str) -> String;
    fn silent(&self, hosts: &str) -> String;
    fn silent_since(&self, host: &str, since: &str) -> String;
    /// The usage of a disk, and the number of days until it would be full.
    fn filling_up(&self, host: &str, latest: &str, days: f32) -> String;
    fn highest_disk(&self, value: &str, host: &str) -> String;
    fn highest_memory(&self, value: &str, host: &str) -> String;
    fn all_well(&self, highest: &str) -> String;
    fn not_resolved(&self, alerts: &str) -> String;
    /// The summary of an event, and the thing that it happened to.
    fn happened_to(&self, summary: &str, source: &str) -> String;
    /// The number of further items at the end of a list.
    fn more_names(&self, count: usize) -> String;
    /// The hosts that are numbers in the picture, with these numbers.
    fn in_the_picture(&self, hosts: &str) -> String;
    fn kept_since(&self, since: &str) -> String;
    /// The line about messages whose headers cannot all be read.
    fn unreadable_headers(&self, count: u64) -> String;
    /// The line about the messages after a time, which were too slow to read.
    fn read_until(&self, until: &str) -> String;
}
