//! Runs of workflows, as Forgejo and as Gitea tell of them.

use serde::Deserialize;

use crate::{
    decode::{
        foreign::{filled, known, or_default},
        forgejo_types::{Repository, User},
    },
    message::{Alert, Line, Note, Payload, Severity, Status, forge},
    render::Words,
};

/// A run in Forgejo, which tells only of those that ended.
#[derive(Deserialize)]
pub(crate) struct Run {
    #[serde(default, deserialize_with = "or_default")]
    title: String,
    workflow_id: String,
    repository: Option<Repository>,
    #[serde(rename = "prettyref", default, deserialize_with = "or_default")]
    reference: String,
    event: Option<String>,
    trigger_user: Option<User>,
    stopped: Option<String>,
    html_url: Option<String>,
}

impl Run {
    /// `before` is the run of the same workflow before this one: of a recovery, what had failed.
    pub(crate) fn payload(self, action: &str, before: Option<Self>, words: &dyn Words) -> Payload {
        let outcome = match action {
            "failure" => Outcome::Failed,
            "recover" => {
                Outcome::Recovered { failed: before.and_then(|before| known(before.stopped)) }
            }
            "success" => Outcome::Succeeded,
            other => Outcome::Other(other.to_owned()),
        };
        Facts {
            workflow: self.workflow_id,
            repository: self.repository.map(|repository| repository.full_name).unwrap_or_default(),
            reference: self.reference,
            title: self.title,
            event: self.event,
            actor: self.trigger_user,
            time: known(self.stopped),
            url: filled(self.html_url),
        }
        .payload(outcome, words)
    }
}

/// A run in Gitea, which tells of every step of it.
#[derive(Deserialize)]
pub(crate) struct WorkflowRun {
    #[serde(default, deserialize_with = "or_default")]
    display_title: String,
    name: Option<String>,
    path: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    head_branch: String,
    event: Option<String>,
    conclusion: Option<String>,
    actor: Option<User>,
    completed_at: Option<String>,
    html_url: Option<String>,
}

#[derive(Default, Deserialize)]
pub(crate) struct Workflow {
    name: Option<String>,
}

impl WorkflowRun {
    pub(crate) fn payload(
        self,
        action: &str,
        workflow: Workflow,
        repository: String,
        words: &dyn Words,
    ) -> Payload {
        let outcome = match self.conclusion.as_deref() {
            Some("failure" | "timed_out" | "startup_failure") => Outcome::Failed,
            Some("success") => Outcome::Succeeded,
            Some(word) if !word.is_empty() => Outcome::Other(word.to_owned()),
            _ => Outcome::Other(action.to_owned()),
        };
        let workflow = filled(workflow.name).or_else(|| filled(self.name)).or(self.path);
        Facts {
            workflow: workflow.unwrap_or_default(),
            repository,
            reference: self.head_branch,
            title: self.display_title,
            event: self.event,
            actor: self.actor,
            time: known(self.completed_at),
            url: filled(self.html_url),
        }
        .payload(outcome, words)
    }
}

/// A part of a run in Gitea. That it failed is said by the run.
#[derive(Deserialize)]
pub(crate) struct WorkflowJob {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    head_branch: String,
    conclusion: Option<String>,
    html_url: Option<String>,
}

impl WorkflowJob {
    pub(crate) fn note(&self, action: &str, repository: &str, words: &dyn Words) -> Note {
        let outcome = filled(self.conclusion.clone()).unwrap_or_else(|| action.to_owned());
        let outcome = forge::Outcome::Other(&outcome);
        let text = words.job(&self.name, repository, &self.head_branch, outcome);
        let url = filled(self.html_url.clone());
        let source = Some(repository.to_owned());
        Note { mark: "⚙️", source, headline: Line { text, url }, lines: Vec::new() }
    }
}

enum Outcome {
    Failed,
    Recovered { failed: Option<String> },
    Succeeded,
    Other(String),
}

/// What either of them tells.
struct Facts {
    workflow: String,
    repository: String,
    reference: String,
    title: String,
    event: Option<String>,
    actor: Option<User>,
    time: Option<String>,
    url: Option<String>,
}

impl Facts {
    fn payload(self, outcome: Outcome, words: &dyn Words) -> Payload {
        match outcome {
            Outcome::Failed => {
                let time = self.time.clone();
                let summary = words.workflow_failed(&self.workflow);
                Payload::Alert(Alert { time, ..self.alert(summary, words) })
            }
            Outcome::Recovered { failed } => {
                let (ended, summary) =
                    (self.time.clone(), words.workflow_recovered(&self.workflow));
                let status = Status::Resolved;
                let alert = self.alert(summary, words);
                Payload::Alert(Alert { status, time: failed, ended, ..alert })
            }
            Outcome::Succeeded => Payload::Note(self.note("✔️", forge::Outcome::Succeeded, words)),
            Outcome::Other(word) => {
                Payload::Note(self.note("⚙️", forge::Outcome::Other(&word), words))
            }
        }
    }

    /// Runs of the same workflow for the same branch or tag are one conversation.
    fn alert(self, summary: String, words: &dyn Words) -> Alert {
        let Self { workflow, repository, reference, .. } = self;
        let mut alert = Alert::new(Severity::Warning, summary);
        alert.fingerprint = Some(format!("forgejo:{repository}:{workflow}:{reference}"));
        alert.source = filled(Some(repository));
        let by = self.actor.as_ref().and_then(User::name).map(|name| words.triggered_by(name));
        let title = filled(Some(self.title));
        let description: Vec<String> = title.into_iter().chain(by).collect();
        alert.description = filled(Some(description.join(" ")));
        alert.url = self.url;
        alert.labels = [("ref", filled(Some(reference))), ("event", filled(self.event))]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        alert
    }

    fn note(self, mark: &'static str, outcome: forge::Outcome<'_>, words: &dyn Words) -> Note {
        let Self { workflow, repository, reference, title, .. } = self;
        let text = words.workflow(&workflow, &repository, outcome, reference.trim());
        let lines = filled(Some(title)).map(|text| Line { text, url: None });
        let headline = Line { text, url: self.url };
        Note {
            mark,
            source: filled(Some(repository)),
            headline,
            lines: lines.into_iter().collect(),
        }
    }
}
