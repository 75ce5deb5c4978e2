//! Decodes the runs of workflows, in the forms of Forgejo and of Gitea.

use serde::Deserialize;

use crate::{
    decode::{
        forgejo::types::{Repository, User},
        lenient::{filled, known, or_default},
    },
    message::{
        self, Alert, ForgeEvent, ForgeEventKind, Note, Outcome, Payload, Severity, Status, Summary,
    },
};

/// A run in Forgejo, which only sends runs that have ended.
#[derive(Deserialize)]
pub(super) struct Run {
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
    /// Decodes the run. `before` is the previous run of the same workflow, which a recovery needs to say what had
    /// failed.
    pub(super) fn payload(self, action: &str, before: Option<Self>) -> Payload {
        let ending = match action {
            "failure" => Ending::Failed,
            "recover" => {
                Ending::Recovered { failed: before.and_then(|before| known(before.stopped)) }
            }
            "success" => Ending::Told(Outcome::Succeeded),
            other => Ending::Told(Outcome::Other(other.to_owned())),
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
        .payload(ending)
    }
}

/// A run in Gitea, which sends every step of it.
#[derive(Deserialize)]
pub(super) struct WorkflowRun {
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
pub(super) struct Workflow {
    name: Option<String>,
}

impl WorkflowRun {
    pub(super) fn payload(self, action: &str, workflow: Workflow, repository: String) -> Payload {
        let ending = match self.conclusion.as_deref() {
            Some("failure" | "timed_out" | "startup_failure") => Ending::Failed,
            Some("success") => Ending::Told(Outcome::Succeeded),
            Some(word) if !word.is_empty() => Ending::Told(Outcome::Other(word.to_owned())),
            _ => Ending::Told(Outcome::Other(action.to_owned())),
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
        .payload(ending)
    }
}

/// A job of a run in Gitea. A failed job needs no alert of its own, because the run reports the failure.
#[derive(Deserialize)]
pub(super) struct WorkflowJob {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    head_branch: String,
    conclusion: Option<String>,
    html_url: Option<String>,
}

impl WorkflowJob {
    pub(super) fn event(self, action: &str, repository: Option<String>) -> ForgeEvent {
        let outcome = filled(self.conclusion).unwrap_or_else(|| action.to_owned());
        let kind = ForgeEventKind::Job {
            job: self.name,
            branch: self.head_branch,
            outcome: Outcome::Other(outcome),
        };
        ForgeEvent { repository, actor: None, kind, url: filled(self.html_url) }
    }
}

/// The outcome of a run.
enum Ending {
    Failed,
    /// The run succeeded after a run that `failed` at that time.
    Recovered {
        failed: Option<String>,
    },
    /// The run is only worth a note, because nobody has to act on it.
    Told(Outcome),
}

/// The facts about a run that both forges send.
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
    fn payload(self, ending: Ending) -> Payload {
        let ended = self.time.clone();
        match ending {
            Ending::Failed => Payload::Alert(Alert { time: ended, ..self.alert(false) }),
            Ending::Recovered { failed } => {
                let status = Status::Resolved;
                Payload::Alert(Alert { status, time: failed, ended, ..self.alert(true) })
            }
            Ending::Told(outcome) => Payload::Note(Note::Forge(self.told(outcome))),
        }
    }

    /// Makes the alert for the run. All runs of a workflow for the same branch or tag belong to one alert.
    fn alert(self, succeeds: bool) -> Alert {
        let Self { workflow: name, repository, reference, .. } = self;
        let fingerprint = format!("forgejo:{repository}:{name}:{reference}");
        let started_by = self.actor.as_ref().and_then(User::name).map(str::to_owned);
        let workflow = message::Workflow { name, succeeds, started_by };
        let mut alert = Alert::new(Severity::Warning, Summary::Workflow(Box::new(workflow)));
        alert.fingerprint = Some(fingerprint);
        alert.source = filled(Some(repository));
        alert.description = filled(Some(self.title));
        alert.url = self.url;
        alert.labels = [("ref", filled(Some(reference))), ("event", filled(self.event))]
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        alert
    }

    fn told(self, outcome: Outcome) -> ForgeEvent {
        let Self { workflow, repository, reference, title, .. } = self;
        let reference = reference.trim().to_owned();
        let title = filled(Some(title));
        ForgeEvent {
            repository: filled(Some(repository)),
            actor: None,
            kind: ForgeEventKind::Run { workflow, reference, title, outcome },
            url: self.url,
        }
    }
}
