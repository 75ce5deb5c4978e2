//! The texts in English.

use jiff::SignedDuration;

use crate::{
    mask::{self, Secret},
    message::{Counts, Deed, Kind, MonitorState, Outcome, Removal, State, Thing, Withheld},
    render::words::{
        figures::{grouped, large_size, two_units},
        vocabulary::Words,
    },
};

pub(crate) struct English;

impl Words for English {
    fn code(&self) -> &'static str {
        "en"
    }

    fn colon(&self) -> &'static str {
        ":"
    }
    fn gap(&self) -> &'static str {
        " "
    }
    fn comma(&self) -> &'static str {
        ", "
    }

    fn report(&self) -> &'static str {
        "Operational Report"
    }
    fn completed(&self) -> &'static str {
        "Completed"
    }
    fn in_progress(&self) -> &'static str {
        "In progress"
    }
    fn disk_usage(&self) -> &'static str {
        "Disk usage"
    }
    fn memory_usage(&self) -> &'static str {
        "Memory usage"
    }
    fn unknown(&self) -> &'static str {
        "unknown"
    }
    fn satisfaction(&self) -> &'static str {
        "Satisfaction rating"
    }

    fn state(&self, state: State) -> &'static str {
        match state {
            State::Critical => "CRITICAL",
            State::Warning => "WARNING",
            State::Info => "INFO",
            State::Resolved => "RESOLVED",
        }
    }
    fn alerts(&self, count: u64, title: &str) -> String {
        let plural = if count == 1 { "" } else { "s" };
        let title = if title.is_empty() { String::new() } else { format!(": {title}") };
        format!("{count} alert{plural}{title}")
    }
    fn tally(&self, counts: &[(String, u64)], unknown: u64) -> String {
        let unknown = (unknown > 0).then(|| format!("{unknown} unknown"));
        let counts =
            counts.iter().map(|(state, count)| format!("{count} {}", state.to_lowercase()));
        format!(" ({})", counts.chain(unknown).collect::<Vec<_>>().join(", "))
    }
    fn more(&self, count: usize) -> String {
        format!("… and {count} more")
    }
    fn more_not_sent(&self, count: u64) -> String {
        format!("… and {count} more that were not sent")
    }
    fn unnamed_alert(&self) -> &'static str {
        "an alert without a name"
    }

    fn until(&self, end: &str) -> String {
        format!("until {end}")
    }
    fn took(&self, duration: SignedDuration) -> String {
        format!(" ({})", self.duration(duration))
    }
    fn duration(&self, duration: SignedDuration) -> String {
        two_units(duration, ["d", "h", "min", "s"])
    }
    fn bytes(&self, count: u64) -> String {
        match count {
            1 => "1 byte".to_owned(),
            0..1024 => format!("{count} bytes"),
            _ => large_size(count),
        }
    }

    fn resolved_after(&self, took: &str, summary: &str) -> String {
        let summary = if summary.is_empty() { String::new() } else { format!(": {summary}") };
        format!("✅ RESOLVED after {took}{summary}")
    }
    fn relapses(&self, times: u32, since: &str) -> String {
        format!("🔁 {times} times since {since}")
    }
    fn has_it(&self, who: &str, at: &str) -> String {
        format!("👤 {who} has it ({at})")
    }
    fn has_it_no_more(&self, who: &str) -> String {
        format!("👤 {who} no longer has it")
    }
    fn messages(&self, count: usize) -> String {
        format!("{count} messages")
    }
    fn counted(&self, kind: Kind, count: usize) -> String {
        let word = match kind {
            Kind::Alert(State::Critical) => "critical",
            Kind::Alert(State::Warning) => "warning",
            Kind::Alert(State::Info) => "info",
            Kind::Alert(State::Resolved) => "resolved",
            Kind::Report if count == 1 => "report",
            Kind::Report => "reports",
            Kind::Other if count == 1 => "other",
            Kind::Other => "others",
        };
        format!("{count} {word}")
    }
    fn and_more(&self, named: &str, more: usize) -> String {
        format!("{named} and {more} more")
    }
    fn newest(&self) -> &'static str {
        "The newest:"
    }
    fn in_thread(&self) -> &'static str {
        "Each of them is in the thread."
    }

    fn via(&self, subject: &str) -> String {
        format!("(via {subject})")
    }

    fn test_of(&self, sender: &str) -> String {
        format!("Test message of {sender}")
    }

    fn no_data(&self, rule: &str) -> String {
        format!("No data for {rule}")
    }

    fn query_failed(&self, rule: &str) -> String {
        format!("{rule} cannot be checked: its query fails")
    }

    fn empty_message(&self, subject: &str) -> String {
        format!("an empty message on {subject}")
    }
    fn answer_of_nats(&self) -> &'static str {
        "nats-matrix: an answer of NATS to a publisher, who has named this subject for it; it tells nothing"
    }
    fn hidden(&self, secret: Secret) -> &'static str {
        mask::english(secret)
    }
    fn not_text(&self, size: &str) -> String {
        format!("{size} of data that is not text")
    }
    fn attached(&self, size: &str) -> String {
        format!("the whole ({size}) is in the attached file")
    }
    fn withheld(&self, size: &str, why: Withheld, stream: &str, sequence: u64) -> String {
        let why = match why {
            Withheld::Never => "this route attaches no files".to_owned(),
            Withheld::OverLimit(limit) => {
                format!(
                    "the files of this route would be more than {} within an hour",
                    self.bytes(limit)
                )
            }
            Withheld::TooLarge(limit) => {
                format!("the homeserver takes no file of more than {}", self.bytes(limit))
            }
            Withheld::NotTaken => "the homeserver has not taken the file".to_owned(),
        };
        format!(
            "the whole ({size}) is not attached, as {why}: it is message {sequence} of stream {stream}"
        )
    }
    fn flaw(&self, flaw: &str) -> String {
        flaw.to_owned()
    }
    fn shown_raw(&self) -> &'static str {
        "its sender has made a mistake in it, so it is shown as it came"
    }
    fn template_failed(&self, fault: &str) -> String {
        format!("{fault}; shown with the built-in template")
    }
    fn caught_up(&self, count: u64, oldest: &str) -> String {
        let messages = if count == 1 { "message was" } else { "messages were" };
        format!("caught up, {count} {messages} late, the oldest by {oldest}")
    }

    fn removed(&self, removal: &Removal, since: &str, until: &str) -> String {
        let Removal { stream, count, first, last, is_exact, .. } = removal;
        let count = grouped(*count);
        let up_to = if *is_exact { "" } else { "up to " };
        let messages = if removal.count == 1 { "message" } else { "messages" };
        let they = if removal.count == 1 { "it" } else { "they" };
        let verb = if removal.count == 1 { "was" } else { "were" };
        format!(
            "{up_to}{count} {messages} (sequence {first} to {last}, from {since} to {until}) {verb} removed by the stream {stream} \
             before {they} could be read, and cannot be shown"
        )
    }

    fn may_be_repeated(&self, room: &str) -> String {
        format!(
            "this may be a repetition, as {room} was closed to the bridge while it was being sent there"
        )
    }

    fn nats_refuses(&self, reason: &str) -> String {
        format!("nothing arrives here until this is mended: {reason}")
    }

    fn refused(&self, sequence: u64, subject: &str, reason: &str, kept_on: Option<&str>) -> String {
        let place = kept_on.map_or_else(
            || "NATS takes no dead letter of it, either".to_owned(),
            |kept_on| format!("It is kept on {kept_on}"),
        );
        format!(
            "message {sequence} on {subject} cannot be shown in full: the homeserver {reason}. {place}"
        )
    }

    fn monitor(&self, id: Option<i64>) -> String {
        id.map_or_else(|| "A monitor".to_owned(), |id| format!("Monitor {id}"))
    }
    fn monitored(&self, monitor: &str, state: MonitorState) -> String {
        match state {
            MonitorState::Down => format!("{monitor} is down"),
            MonitorState::Up => format!("{monitor} is up"),
            MonitorState::Pending => format!("{monitor} does not answer and is tried again"),
            MonitorState::Maintenance => format!("{monitor} is under maintenance"),
        }
    }

    fn somebody(&self) -> &'static str {
        "somebody"
    }
    fn a_repository(&self) -> &'static str {
        "a repository"
    }
    fn pushed(&self, who: &str, count: usize, repository: &str, branch: &str) -> String {
        let plural = if count == 1 { "" } else { "s" };
        format!("{who} pushed {count} commit{plural} to {repository} {branch}")
    }
    fn more_commits(&self, count: usize) -> String {
        format!("… and {count} more")
    }
    fn thing(&self, thing: Thing, name: &str, repository: &str) -> String {
        let thing = match thing {
            Thing::Branch => "branch",
            Thing::Tag => "tag",
            Thing::Reference => "ref",
            Thing::Issue => "issue",
            Thing::PullRequest => "pull request",
            Thing::Release => "release",
            Thing::WikiPage => "wiki page",
            Thing::Package => "package",
        };
        let name = if name.is_empty() { String::new() } else { format!(" {name}") };
        format!("{thing}{name} of {repository}")
    }
    fn did(&self, who: &str, deed: &Deed, thing: &str) -> String {
        let deed = match deed {
            Deed::Made => "made",
            Deed::Moved => "moved",
            Deed::Deleted => "deleted",
            Deed::Merged => "merged",
            Deed::Approved => "approved",
            Deed::AskedForChanges => "asked for changes of",
            Deed::Reviewed => "reviewed",
            Deed::Commented => "commented on",
            Deed::ToComment(word) => {
                return format!("{who} {} a comment on {thing}", word.replace('_', " "));
            }
            Deed::Other(word) => match word.as_str() {
                "" => "did something to",
                "label_updated" => "changed the labels of",
                "label_cleared" => "removed the labels of",
                "milestoned" => "set the milestone of",
                "demilestoned" => "removed the milestone of",
                "synchronized" => "pushed to",
                "review_requested" => "asked for a review of",
                "review_request_removed" => "asked no longer for a review of",
                word => return format!("{who} {} {thing}", word.replace('_', " ")),
            },
        };
        format!("{who} {deed} {thing}")
    }
    fn forked(&self, who: &str, original: &str, fork: &str) -> String {
        format!("{who} forked {original} to {fork}")
    }
    fn workflow_failed(&self, workflow: &str) -> String {
        format!("Workflow {workflow} failed")
    }
    fn workflow_recovered(&self, workflow: &str) -> String {
        format!("Workflow {workflow} succeeds again")
    }
    fn workflow(&self, workflow: &str, repository: &str, outcome: &Outcome, on: &str) -> String {
        let on = if on.is_empty() { String::new() } else { format!(" ({on})") };
        format!("Workflow {workflow} of {repository} {}{on}", ended(outcome))
    }
    fn job(&self, job: &str, repository: &str, branch: &str, outcome: &Outcome) -> String {
        format!("Job {job} of {repository} ({branch}): {}", ended(outcome))
    }
    fn triggered_by(&self, who: &str) -> String {
        format!("(by {who})")
    }

    fn summary_of(&self, route: &str, from: &str, until: &str) -> String {
        format!("📈 Summary of {route}, {from} – {until}")
    }
    fn time_form(&self) -> &'static str {
        "%a %-d %b %H:%M"
    }
    fn day_form(&self) -> &'static str {
        "%a %-d"
    }
    fn between(&self) -> &'static str {
        ", "
    }
    fn nothing_came_in(&self, last: Option<&str>) -> String {
        match last {
            None => "⚠️ Nothing came in.".to_owned(),
            Some(last) => format!("⚠️ Nothing came in. The last message is of {last}."),
        }
    }
    fn reports(&self, reports: u64, hosts: u64, has_more: bool) -> String {
        let reports = counted(reports, "report", "reports");
        let more = if has_more { "+" } else { "" };
        let word = if hosts == 1 { "host" } else { "hosts" };
        format!("{reports} from {}{more} {word}", grouped(hosts))
    }
    fn alerts_of(&self, counts: Counts) -> String {
        let parts = [
            (counts.critical, "critical"),
            (counts.warning, "warning"),
            (counts.info, "info"),
            (counts.resolved, "resolved"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> =
            parts.map(|(count, word)| format!("{} {word}", grouped(*count))).collect();
        let alerts = match counts.firing() {
            0 => "no new alert".to_owned(),
            fired => counted(fired, "alert", "alerts"),
        };
        format!("{alerts} ({})", parts.join(", "))
    }
    fn other_messages(&self, count: u64) -> String {
        counted(count, "other message", "other messages")
    }
    fn disk_almost_full(&self, hosts: &str) -> String {
        format!("💾 Disk almost full: {hosts}")
    }
    fn disk_filling_up(&self, hosts: &str) -> String {
        format!("⏳ Disk filling up: {hosts}")
    }
    fn memory_almost_full(&self, hosts: &str) -> String {
        format!("🧠 Memory almost full at its highest: {hosts}")
    }
    fn silent(&self, hosts: &str) -> String {
        format!("🔇 Silent: {hosts}")
    }
    fn silent_since(&self, host: &str, since: &str) -> String {
        format!("{host} since {since}")
    }
    fn filling_up(&self, host: &str, latest: &str, days: f32) -> String {
        let days = days.round();
        if days < 2.0 {
            return format!("{host} {latest} (at this rate full in a day)");
        }
        format!("{host} {latest} (at this rate full in {days} days)")
    }
    fn highest_disk(&self, value: &str, host: &str) -> String {
        format!("disk at most {value} ({host})")
    }
    fn highest_memory(&self, value: &str, host: &str) -> String {
        format!("memory at most {value} ({host})")
    }
    fn all_well(&self, highest: &str) -> String {
        format!("✅ No host needs attention: {highest}")
    }
    fn not_resolved(&self, alerts: &str) -> String {
        format!("Not resolved: {alerts}")
    }
    fn happened_to(&self, summary: &str, source: &str) -> String {
        format!("{summary} ({source})")
    }
    fn more_names(&self, count: usize) -> String {
        format!("and {count} more")
    }
    fn in_the_picture(&self, hosts: &str) -> String {
        format!("🔢 In the picture: {hosts}")
    }
    fn kept_since(&self, since: &str) -> String {
        format!("ℹ️ The stream has deleted what came in before {since}.")
    }
    fn unreadable_headers(&self, count: u64) -> String {
        let messages = counted(count, "message has", "messages have");
        format!("ℹ️ {messages} headers that cannot be read.")
    }
    fn read_until(&self, until: &str) -> String {
        format!(
            "⚠️ What came in after {until} is missing here: too many messages have headers that cannot be read."
        )
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded => "succeeded".to_owned(),
        Outcome::Other(word) => word.replace('_', " "),
    }
}
