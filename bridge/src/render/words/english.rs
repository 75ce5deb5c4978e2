//! English.

use jiff::SignedDuration;

use crate::{
    message::{Deed, Kind, Outcome, State, Thing, Withheld},
    render::words::{Words, large_size, two_units},
};

pub(crate) struct English;

impl Words for English {
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

    fn empty_message(&self, subject: &str) -> String {
        format!("an empty message on {subject}")
    }
    fn answer_of_nats(&self) -> &'static str {
        "nats-matrix: an answer of NATS to a publisher, who has named this subject for it; it tells nothing"
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
    fn template_failed(&self, fault: &str) -> String {
        format!("{fault}; shown with the built-in template")
    }
    fn caught_up(&self, count: u64, oldest: &str) -> String {
        let messages = if count == 1 { "message was" } else { "messages were" };
        format!("caught up, {count} {messages} late, the oldest by {oldest}")
    }

    fn refused(&self, sequence: u64, subject: &str, reason: &str, kept_on: &str) -> String {
        format!(
            "message {sequence} on {subject} cannot be shown in full: the homeserver {reason}. It is kept on {kept_on}"
        )
    }

    fn monitor(&self, id: Option<i64>) -> String {
        id.map_or_else(|| "A monitor".to_owned(), |id| format!("Monitor {id}"))
    }
    fn is_down(&self, monitor: &str) -> String {
        format!("{monitor} is down")
    }
    fn is_up(&self, monitor: &str) -> String {
        format!("{monitor} is up")
    }
    fn is_tried_again(&self, monitor: &str) -> String {
        format!("{monitor} does not answer and is tried again")
    }
    fn is_under_maintenance(&self, monitor: &str) -> String {
        format!("{monitor} is under maintenance")
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
    fn did(&self, who: &str, deed: Deed<'_>, thing: &str) -> String {
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
            Deed::Other("") => "did something to",
            Deed::Other("label_updated") => "changed the labels of",
            Deed::Other("label_cleared") => "removed the labels of",
            Deed::Other("milestoned") => "set the milestone of",
            Deed::Other("demilestoned") => "removed the milestone of",
            Deed::Other("synchronized") => "pushed to",
            Deed::Other("review_requested") => "asked for a review of",
            Deed::Other("review_request_removed") => "asked no longer for a review of",
            Deed::Other(word) => return format!("{who} {} {thing}", word.replace('_', " ")),
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
    fn workflow(&self, workflow: &str, repository: &str, outcome: Outcome<'_>, on: &str) -> String {
        let on = if on.is_empty() { String::new() } else { format!(" ({on})") };
        format!("Workflow {workflow} of {repository} {}{on}", ended(outcome))
    }
    fn job(&self, job: &str, repository: &str, branch: &str, outcome: Outcome<'_>) -> String {
        format!("Job {job} of {repository} ({branch}): {}", ended(outcome))
    }
    fn triggered_by(&self, who: &str) -> String {
        format!("(by {who})")
    }
}

fn ended(outcome: Outcome<'_>) -> String {
    match outcome {
        Outcome::Succeeded => "succeeded".to_owned(),
        Outcome::Other(word) => word.replace('_', " "),
    }
}
