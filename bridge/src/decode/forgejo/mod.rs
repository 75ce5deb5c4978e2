//! Decodes the webhooks of Forgejo and Gitea: <https://forgejo.org/docs/latest/user/webhooks/>.
//!
//! A failed run of a workflow is an alert, and so is its recovery; every other event is a note. The name of an event is
//! in an HTTP header that is not available here, so events are recognised by their keys.

mod run;
mod types;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    decode::{
        forgejo::{
            run::{Run, Workflow, WorkflowJob, WorkflowRun},
            types::{Repository, User},
        },
        lenient::{filled, or_default},
    },
    message::{self, Deed, ForgeEvent, ForgeEventKind, Note, Payload, Push, Reference, Thing},
};

/// The number of characters that are kept of a commit's hash.
const HASH_CHARS: usize = 7;

/// The keys of the things that an event can be about, besides a repository. Events about other things are not decoded.
const SUBJECTS: [&str; 10] = [
    "ref",
    "issue",
    "pull_request",
    "release",
    "forkee",
    "page",
    "package",
    "workflow_run",
    "workflow_job",
    // This key comes with a repository that was created or deleted.
    "organization",
];

pub(crate) fn is(object: &Map<String, Value>) -> bool {
    let has = |key: &str| object.contains_key(key);
    let within = |outer: &str, key: &str| object.get(outer).is_some_and(|it| it.get(key).is_some());
    let is_run = has("action") && within("run", "workflow_id") && within("run", "repository");
    let is_of_repository = within("repository", "full_name") && (has("sender") || has("pusher"));
    is_run || is_of_repository && SUBJECTS.into_iter().any(has)
}

pub(crate) fn decode(object: &Map<String, Value>) -> serde_json::Result<Payload> {
    let hook = Hook::deserialize(object)?;
    let action = hook.action.clone().unwrap_or_default();
    let repository = hook.repository.as_ref().map(|repository| repository.full_name.clone());
    if let Some(run) = hook.run {
        return Ok(run.payload(&action, hook.last_run));
    }
    if let Some(run) = hook.workflow_run {
        let workflow = hook.workflow.unwrap_or_default();
        return Ok(run.payload(&action, workflow, repository.unwrap_or_default()));
    }
    let repository = filled(repository);
    let event = match hook.workflow_job {
        Some(job) => job.event(&action, repository),
        None => hook.event(action, repository),
    };
    Ok(Payload::Note(Note::Forge(event)))
}

/// The fields that any of the events can have.
#[derive(Deserialize)]
struct Hook {
    action: Option<String>,
    repository: Option<Repository>,
    sender: Option<User>,
    pusher: Option<User>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    ref_type: Option<String>,
    sha: Option<String>,
    before: Option<String>,
    after: Option<String>,
    compare_url: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    commits: Vec<Commit>,
    total_commits: Option<usize>,
    issue: Option<Thread>,
    pull_request: Option<Thread>,
    comment: Option<Comment>,
    review: Option<Review>,
    release: Option<Release>,
    forkee: Option<Repository>,
    page: Option<String>,
    package: Option<Package>,
    run: Option<Run>,
    last_run: Option<Run>,
    workflow: Option<Workflow>,
    workflow_run: Option<WorkflowRun>,
    workflow_job: Option<WorkflowJob>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    message: String,
    url: Option<String>,
    author: Option<User>,
}

/// An issue or a pull request.
#[derive(Deserialize)]
struct Thread {
    number: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    title: String,
    html_url: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    merged: bool,
}

#[derive(Deserialize)]
struct Comment {
    body: Option<String>,
    html_url: Option<String>,
}

#[derive(Deserialize)]
struct Review {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    verdict: String,
    content: Option<String>,
}

#[derive(Deserialize)]
struct Release {
    tag_name: String,
    name: Option<String>,
    html_url: Option<String>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    html_url: Option<String>,
}

impl Hook {
    fn event(&self, action: String, repository: Option<String>) -> ForgeEvent {
        let (kind, url) = if let Some(pull) = &self.pull_request {
            // A comment on a pull request comes with an issue of the same number.
            self.discussion(action, Thing::PullRequest, pull)
        } else if let Some(issue) = &self.issue {
            self.discussion(action, Thing::Issue, issue)
        } else if let Some(release) = &self.release {
            (release.kind(action), release.html_url.clone())
        } else if let Some(name) = &self.reference {
            self.reference(name)
        } else {
            self.other(action)
        };
        let is_push = matches!(kind, ForgeEventKind::Pushed { .. });
        let actor = if is_push { self.pusher() } else { self.actor() };
        ForgeEvent { repository, actor: actor.map(str::to_owned), kind, url }
    }

    /// Returns the name of the user who caused the event.
    fn actor(&self) -> Option<&str> {
        [&self.sender, &self.pusher].into_iter().flatten().find_map(User::name)
    }

    /// Returns the name of the user who pushed.
    fn pusher(&self) -> Option<&str> {
        self.pusher.as_ref().and_then(User::name).or_else(|| self.actor())
    }

    fn repository_url(&self) -> Option<String> {
        self.repository.as_ref().and_then(|repository| repository.html_url.clone())
    }

    /// Decodes a push, or the creation or deletion of a branch or tag. The commit is returned only for a creation.
    fn reference(&self, name: &str) -> (ForgeEventKind, Option<String>) {
        let reference = short(name);
        let Some(kind) = self.ref_type.as_deref() else {
            let url = filled(self.compare_url.clone()).or_else(|| self.repository_url());
            return (ForgeEventKind::Pushed { reference, push: self.push() }, url);
        };
        let kind = ForgeEventKind::Did {
            deed: if self.sha.is_some() { Deed::Made } else { Deed::Deleted },
            thing: if kind == "tag" { Thing::Tag } else { Thing::Branch },
            name: reference.name,
            title: None,
            comment: None,
        };
        (kind, self.repository_url())
    }

    fn push(&self) -> Push {
        let is_none = |commit: &Option<String>| {
            commit.as_ref().is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte == b'0'))
        };
        let count = self.total_commits.unwrap_or_default().max(self.commits.len());
        match count {
            _ if is_none(&self.after) => Push::Bare(Deed::Deleted),
            0 if is_none(&self.before) => Push::Bare(Deed::Made),
            0 => Push::Bare(Deed::Moved),
            _ => {
                let pusher = self.pusher();
                let told = self.commits.iter().map(|commit| commit.told(pusher)).collect();
                Push::Commits { told, count }
            }
        }
    }

    /// Decodes an event of an issue or a pull request, or a comment on one.
    fn discussion(
        &self,
        action: String,
        thing: Thing,
        thread: &Thread,
    ) -> (ForgeEventKind, Option<String>) {
        let deed = match (&self.comment, &self.review) {
            (Some(_), _) => commented(action),
            (None, Some(review)) => review.deed(),
            (None, None) if thread.merged && action == "closed" => Deed::Merged,
            (None, None) => Deed::Other(action),
        };
        let comment = match (&self.comment, &self.review) {
            (Some(comment), _) => comment.body.clone(),
            (None, review) => review.as_ref().and_then(|review| review.content.clone()),
        };
        let url = self.comment.as_ref().and_then(|comment| filled(comment.html_url.clone()));
        let kind = ForgeEventKind::Did {
            deed,
            thing,
            name: thread.number.map(|number| format!("#{number}")).unwrap_or_default(),
            title: filled(Some(thread.title.clone())),
            comment: filled(comment),
        };
        (kind, url.or_else(|| thread.html_url.clone()))
    }

    /// Decodes an event of a fork, a wiki page, a package, or a repository itself.
    fn other(&self, action: String) -> (ForgeEventKind, Option<String>) {
        let deed = Deed::Other(action);
        let url = self.repository_url();
        if let Some(fork) = &self.forkee {
            return (ForgeEventKind::Forked { original: fork.full_name.clone() }, url);
        }
        let did = |thing, name| ForgeEventKind::Did {
            deed: deed.clone(),
            thing,
            name,
            title: None,
            comment: None,
        };
        if let Some(page) = &self.page {
            return (did(Thing::WikiPage, page.clone()), url);
        }
        if let Some(Package { name, version, html_url }) = &self.package {
            let name = format!("{name} {}", version.as_deref().unwrap_or_default());
            let name = name.trim_end().to_owned();
            return (did(Thing::Package, name), filled(html_url.clone()).or(url));
        }
        (ForgeEventKind::Repository { deed }, url)
    }
}

impl Release {
    fn kind(&self, action: String) -> ForgeEventKind {
        ForgeEventKind::Did {
            deed: Deed::Other(action),
            thing: Thing::Release,
            name: self.tag_name.clone(),
            title: filled(self.name.clone()).filter(|name| *name != self.tag_name),
            comment: None,
        }
    }
}

impl Commit {
    fn told(&self, pusher: Option<&str>) -> message::Commit {
        let author = self.author.as_ref();
        let is_pusher = author.is_some_and(|author| {
            let names = [&author.login, &author.username, &author.name];
            names.into_iter().flatten().any(|name| Some(name.as_str()) == pusher)
        });
        message::Commit {
            id: self.id.chars().take(HASH_CHARS).collect(),
            subject: self.message.lines().next().unwrap_or_default().to_owned(),
            author: author.filter(|_| !is_pusher).and_then(User::name).map(str::to_owned),
            url: filled(self.url.clone()),
        }
    }
}

impl Review {
    fn deed(&self) -> Deed {
        match self.verdict.as_str() {
            verdict if verdict.ends_with("approved") => Deed::Approved,
            verdict if verdict.ends_with("rejected") => Deed::AskedForChanges,
            _ => Deed::Reviewed,
        }
    }
}

/// Parses the full name of a reference: "refs/heads/main" is the branch "main".
fn short(reference: &str) -> Reference {
    let (thing, name) = if let Some(branch) = reference.strip_prefix("refs/heads/") {
        (Thing::Branch, branch)
    } else if let Some(tag) = reference.strip_prefix("refs/tags/") {
        (Thing::Tag, tag)
    } else {
        (Thing::Reference, reference)
    };
    Reference { thing, name: name.to_owned() }
}

fn commented(action: String) -> Deed {
    match action.as_str() {
        "" | "created" => Deed::Commented,
        _ => Deed::ToComment(action),
    }
}
