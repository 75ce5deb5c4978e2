//! The webhooks of Forgejo and Gitea: <https://forgejo.org/docs/latest/user/webhooks/>.
//!
//! What happened is a note of a few lines. A run of a workflow that failed is an alert, as is its
//! recovery. The name of the event is in a header that is not here, so it is known by its keys.

mod run;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::run::{Run, Workflow, WorkflowJob, WorkflowRun};
use super::{filled, or_default};
use crate::payload::{Line, Note, Payload};

/// More commits than these are counted: whoever wants them follows the link.
const MOST_COMMITS: usize = 10;

/// What is shown of a comment or a review.
const EXCERPT_CHARS: usize = 300;

/// What an event is about, besides a repository. What is about something else is not known.
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
    // Of a repository that was made or deleted.
    "organization",
];

pub(in crate::payload) fn is(object: &Map<String, Value>) -> bool {
    let has = |key: &str| object.contains_key(key);
    let within = |outer: &str, key: &str| object.get(outer).is_some_and(|it| it.get(key).is_some());
    let is_run = has("action") && within("run", "workflow_id") && within("run", "repository");
    let is_of_repository = within("repository", "full_name") && (has("sender") || has("pusher"));
    is_run || is_of_repository && SUBJECTS.into_iter().any(has)
}

pub(in crate::payload) fn decode(object: &Map<String, Value>) -> serde_json::Result<Payload> {
    let hook = Hook::deserialize(object)?;
    let action = hook.action.clone().unwrap_or_default();
    if let Some(run) = hook.run {
        return Ok(run.payload(&action, hook.last_run));
    }
    if let Some(run) = hook.workflow_run {
        let repository = hook.repository.unwrap_or_default();
        return Ok(run.payload(&action, hook.workflow.unwrap_or_default(), repository.full_name));
    }
    if let Some(job) = &hook.workflow_job {
        return Ok(Payload::Note(job.note(&action, hook.repository())));
    }
    Ok(Payload::Note(hook.note(&action)))
}

/// What any of the events has.
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

#[derive(Default, Deserialize)]
struct Repository {
    full_name: String,
    html_url: Option<String>,
}

#[derive(Default, Deserialize)]
struct User {
    login: Option<String>,
    username: Option<String>,
    name: Option<String>,
}

impl User {
    fn name(&self) -> Option<&str> {
        let names = [&self.login, &self.username, &self.name];
        names.into_iter().flatten().map(String::as_str).find(|name| !name.trim().is_empty())
    }
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
    fn note(&self, action: &str) -> Note {
        if self.issue.is_some() || self.pull_request.is_some() {
            return self.discussion(action);
        }
        if let Some(release) = &self.release {
            return self.release(action, release);
        }
        if let Some(reference) = &self.reference {
            return if self.ref_type.is_some() {
                self.branch(reference)
            } else {
                self.push(reference)
            };
        }
        self.other(action)
    }

    /// Who did it.
    fn actor(&self) -> &str {
        let users = [&self.sender, &self.pusher];
        users.into_iter().flatten().find_map(User::name).unwrap_or("somebody")
    }

    fn repository(&self) -> &str {
        self.repository.as_ref().map_or("a repository", |repository| &repository.full_name)
    }

    fn repository_url(&self) -> Option<String> {
        self.repository.as_ref().and_then(|repository| repository.html_url.clone())
    }

    fn push(&self, reference: &str) -> Note {
        let (who, repository) = (self.pusher.as_ref().and_then(User::name), self.repository());
        let who = who.unwrap_or_else(|| self.actor());
        let gone = |commit: &Option<String>| {
            commit.as_ref().is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte == b'0'))
        };
        let (what, name) = short(reference);
        let count = self.total_commits.unwrap_or_default().max(self.commits.len());
        let headline = match count {
            _ if gone(&self.after) => format!("{who} deleted {what} {name} of {repository}"),
            0 if gone(&self.before) => format!("{who} made {what} {name} in {repository}"),
            0 => format!("{who} moved {what} {name} of {repository}"),
            1 => format!("{who} pushed 1 commit to {repository} {name}"),
            _ => format!("{who} pushed {count} commits to {repository} {name}"),
        };
        let mut lines: Vec<Line> =
            self.commits.iter().take(MOST_COMMITS).map(|commit| commit.line(who)).collect();
        if count > lines.len() {
            lines.push(Line { text: format!("… and {} more", count - lines.len()), url: None });
        }
        let url = filled(self.compare_url.clone()).or_else(|| self.repository_url());
        Note { mark: "🔨", headline: Line { text: headline, url }, lines }
    }

    /// A branch or tag that was made or deleted; only of one that was made its commit is told.
    fn branch(&self, reference: &str) -> Note {
        let what = self.ref_type.as_deref().unwrap_or("branch");
        let done = if self.sha.is_some() { "made" } else { "deleted" };
        let (_, name) = short(reference);
        let text = format!("{} {done} {what} {name} of {}", self.actor(), self.repository());
        Note {
            mark: "🌿", headline: Line { text, url: self.repository_url() }, lines: Vec::new()
        }
    }

    /// What happens to issues and pull requests, and is said there.
    fn discussion(&self, action: &str) -> Note {
        // A comment on a pull request comes with an issue of the same number.
        let (thread, what) = match (&self.pull_request, &self.issue) {
            (Some(pull), _) => (pull, "pull request"),
            (None, Some(issue)) => (issue, "issue"),
            (None, None) => return self.other(action),
        };
        let number = thread.number.map(|number| format!(" #{number}")).unwrap_or_default();
        let (mark, done) = match (&self.comment, &self.review) {
            (Some(_), _) => ("💬", commented(action)),
            (None, Some(review)) => ("💬", review.done()),
            (None, None) if thread.merged && action == "closed" => ("🔀", "merged".to_owned()),
            (None, None) if self.pull_request.is_some() => ("🔀", acted(action)),
            (None, None) => ("🎫", acted(action)),
        };
        let (who, repository) = (self.actor(), self.repository());
        let text = format!("{who} {done} {what}{number} of {repository}: {}", thread.title);
        let said = self.comment.as_ref().map(|comment| comment.body.as_deref());
        let said = said.or_else(|| self.review.as_ref().map(|review| review.content.as_deref()));
        let url = self.comment.as_ref().and_then(|comment| filled(comment.html_url.clone()));
        Note {
            mark,
            headline: Line { text, url: url.or_else(|| thread.html_url.clone()) },
            lines: said.flatten().and_then(excerpt).into_iter().collect(),
        }
    }

    fn release(&self, action: &str, release: &Release) -> Note {
        let tag = &release.tag_name;
        let name = filled(release.name.clone()).filter(|name| name != tag);
        let name = name.map(|name| format!(": {name}")).unwrap_or_default();
        let (who, repository) = (self.actor(), self.repository());
        let text = format!("{who} {} release {tag} of {repository}{name}", acted(action));
        let url = release.html_url.clone();
        Note { mark: "🚀", headline: Line { text, url }, lines: Vec::new() }
    }

    /// Forks, wiki pages, packages, and repositories themselves.
    fn other(&self, action: &str) -> Note {
        let (who, done, repository) = (self.actor(), acted(action), self.repository());
        let mut url = self.repository_url();
        let (mark, text) = if let Some(fork) = &self.forkee {
            ("🍴", format!("{who} forked {} to {repository}", fork.full_name))
        } else if let Some(page) = &self.page {
            ("📝", format!("{who} {done} wiki page {page} of {repository}"))
        } else if let Some(Package { name, version, html_url }) = &self.package {
            url = filled(html_url.clone()).or(url);
            let version = version.as_deref().unwrap_or_default();
            ("🎁", format!("{who} {done} package {name} {version} of {repository}"))
        } else {
            ("📁", format!("{who} {done} {repository}"))
        };
        Note { mark, headline: Line { text, url }, lines: Vec::new() }
    }
}

impl Commit {
    /// Its beginning, and its author unless that is who pushed.
    fn line(&self, pusher: &str) -> Line {
        let id: String = self.id.chars().take(7).collect();
        let subject = self.message.lines().next().unwrap_or_default();
        let author = self.author.as_ref();
        let is_pusher = author.is_some_and(|author| {
            [&author.login, &author.username, &author.name]
                .into_iter()
                .flatten()
                .any(|name| name == pusher)
        });
        let author = author.filter(|_| !is_pusher).and_then(User::name);
        let author = author.map(|author| format!(" ({author})")).unwrap_or_default();
        let text = format!("{id} {}{author}", head(subject));
        Line { text, url: filled(self.url.clone()) }
    }
}

impl Review {
    fn done(&self) -> String {
        match self.verdict.as_str() {
            verdict if verdict.ends_with("approved") => "approved",
            verdict if verdict.ends_with("rejected") => "asked for changes of",
            _ => "reviewed",
        }
        .to_owned()
    }
}

/// "refs/heads/main" is branch "main".
fn short(reference: &str) -> (&str, &str) {
    if let Some(branch) = reference.strip_prefix("refs/heads/") {
        ("branch", branch)
    } else if let Some(tag) = reference.strip_prefix("refs/tags/") {
        ("tag", tag)
    } else {
        ("ref", reference)
    }
}

/// The action of an event as what somebody did to something.
fn acted(action: &str) -> String {
    match action {
        "" => "did something to",
        "label_updated" => "changed the labels of",
        "label_cleared" => "removed the labels of",
        "milestoned" => "set the milestone of",
        "demilestoned" => "removed the milestone of",
        "synchronized" => "pushed to",
        "review_requested" => "asked for a review of",
        "review_request_removed" => "asked no longer for a review of",
        other => return other.replace('_', " "),
    }
    .to_owned()
}

fn commented(action: &str) -> String {
    match action {
        "" | "created" => "commented on".to_owned(),
        other => format!("{other} a comment on"),
    }
}

fn excerpt(text: &str) -> Option<Line> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    filled(Some(text)).map(|text| Line { text: format!("“{}”", head(&text)), url: None })
}

fn head(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text.to_owned(),
    }
}
