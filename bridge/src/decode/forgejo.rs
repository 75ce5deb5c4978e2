//! The webhooks of Forgejo and Gitea: <https://forgejo.org/docs/latest/user/webhooks/>.
//!
//! What happened is a note of a few lines. A run of a workflow that failed is an alert, as is its
//! recovery. The name of the event is in a header that is not here, so it is known by its keys.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    decode::{
        foreign::{filled, or_default},
        forgejo_run::{Run, Workflow, WorkflowJob, WorkflowRun},
        forgejo_types::{Repository, User},
    },
    message::{Deed, Line, Note, Payload, Thing},
    render::Words,
};

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

pub(crate) fn is(object: &Map<String, Value>) -> bool {
    let has = |key: &str| object.contains_key(key);
    let within = |outer: &str, key: &str| object.get(outer).is_some_and(|it| it.get(key).is_some());
    let is_run = has("action") && within("run", "workflow_id") && within("run", "repository");
    let is_of_repository = within("repository", "full_name") && (has("sender") || has("pusher"));
    is_run || is_of_repository && SUBJECTS.into_iter().any(has)
}

pub(crate) fn decode(
    object: &Map<String, Value>,
    words: &dyn Words,
) -> serde_json::Result<Payload> {
    let hook = Hook::deserialize(object)?;
    let action = hook.action.clone().unwrap_or_default();
    if let Some(run) = hook.run {
        return Ok(run.payload(&action, hook.last_run, words));
    }
    if let Some(run) = hook.workflow_run {
        let repository = hook.repository.unwrap_or_default().full_name;
        let workflow = hook.workflow.unwrap_or_default();
        return Ok(run.payload(&action, workflow, repository, words));
    }
    if let Some(job) = &hook.workflow_job {
        return Ok(Payload::Note(job.note(&action, hook.repository(words), words)));
    }
    Ok(Payload::Note(Told { hook: &hook, words }.note(&action)))
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
    fn repository<'a>(&'a self, words: &dyn Words) -> &'a str {
        self.repository.as_ref().map_or(words.a_repository(), |repository| &repository.full_name)
    }

    fn repository_url(&self) -> Option<String> {
        self.repository.as_ref().and_then(|repository| repository.html_url.clone())
    }
}

/// An event that is told in words.
struct Told<'a> {
    hook: &'a Hook,
    words: &'a dyn Words,
}

impl Told<'_> {
    fn note(&self, action: &str) -> Note {
        let hook = self.hook;
        if hook.issue.is_some() || hook.pull_request.is_some() {
            return self.discussion(action);
        }
        if let Some(release) = &hook.release {
            return self.release(action, release);
        }
        if let Some(reference) = &hook.reference {
            return if hook.ref_type.is_some() {
                self.branch(reference)
            } else {
                self.push(reference)
            };
        }
        self.other(action)
    }

    /// Who did it.
    fn actor(&self) -> &str {
        let users = [&self.hook.sender, &self.hook.pusher];
        users.into_iter().flatten().find_map(User::name).unwrap_or(self.words.somebody())
    }

    fn repository(&self) -> &str {
        self.hook.repository(self.words)
    }

    fn source(&self) -> Option<String> {
        self.hook.repository.as_ref().map(|repository| repository.full_name.clone())
    }

    /// That somebody did something to a thing of the repository.
    fn did(&self, who: &str, deed: Deed<'_>, thing: Thing, name: &str) -> String {
        self.words.did(who, deed, &self.words.thing(thing, name, self.repository()))
    }

    fn push(&self, reference: &str) -> Note {
        let hook = self.hook;
        let who = hook.pusher.as_ref().and_then(User::name).unwrap_or_else(|| self.actor());
        let gone = |commit: &Option<String>| {
            commit.as_ref().is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte == b'0'))
        };
        let (what, name) = short(reference);
        let count = hook.total_commits.unwrap_or_default().max(hook.commits.len());
        let headline = match count {
            _ if gone(&hook.after) => self.did(who, Deed::Deleted, what, name),
            0 if gone(&hook.before) => self.did(who, Deed::Made, what, name),
            0 => self.did(who, Deed::Moved, what, name),
            _ => self.words.pushed(who, count, self.repository(), name),
        };
        let mut lines: Vec<Line> =
            hook.commits.iter().take(MOST_COMMITS).map(|commit| commit.line(who)).collect();
        if count > lines.len() {
            let text = self.words.more_commits(count - lines.len());
            lines.push(Line { text, url: None });
        }
        let url = filled(hook.compare_url.clone()).or_else(|| hook.repository_url());
        Note { mark: "🔨", source: self.source(), headline: Line { text: headline, url }, lines }
    }

    /// A branch or tag that was made or deleted; only of one that was made its commit is told.
    fn branch(&self, reference: &str) -> Note {
        let what = match self.hook.ref_type.as_deref() {
            Some("tag") => Thing::Tag,
            _ => Thing::Branch,
        };
        let done = if self.hook.sha.is_some() { Deed::Made } else { Deed::Deleted };
        let (_, name) = short(reference);
        let text = self.did(self.actor(), done, what, name);
        let url = self.hook.repository_url();
        Note {
            mark: "🌿", source: self.source(), headline: Line { text, url }, lines: Vec::new()
        }
    }

    /// What happens to issues and pull requests, and is said there.
    fn discussion(&self, action: &str) -> Note {
        let hook = self.hook;
        // A comment on a pull request comes with an issue of the same number.
        let (thread, what) = match (&hook.pull_request, &hook.issue) {
            (Some(pull), _) => (pull, Thing::PullRequest),
            (None, Some(issue)) => (issue, Thing::Issue),
            (None, None) => return self.other(action),
        };
        let number = thread.number.map(|number| format!("#{number}")).unwrap_or_default();
        let (mark, done) = match (&hook.comment, &hook.review) {
            (Some(_), _) => ("💬", commented(action)),
            (None, Some(review)) => ("💬", review.done()),
            (None, None) if thread.merged && action == "closed" => ("🔀", Deed::Merged),
            (None, None) if hook.pull_request.is_some() => ("🔀", Deed::Other(action)),
            (None, None) => ("🎫", Deed::Other(action)),
        };
        let text = self.titled(self.did(self.actor(), done, what, &number), &thread.title);
        let said = hook.comment.as_ref().map(|comment| comment.body.as_deref());
        let said = said.or_else(|| hook.review.as_ref().map(|review| review.content.as_deref()));
        let url = hook.comment.as_ref().and_then(|comment| filled(comment.html_url.clone()));
        Note {
            mark,
            source: self.source(),
            headline: Line { text, url: url.or_else(|| thread.html_url.clone()) },
            lines: said.flatten().and_then(excerpt).into_iter().collect(),
        }
    }

    fn release(&self, action: &str, release: &Release) -> Note {
        let tag = &release.tag_name;
        let text = self.did(self.actor(), Deed::Other(action), Thing::Release, tag);
        let name = filled(release.name.clone()).filter(|name| name != tag);
        let text = match name {
            Some(name) => self.titled(text, &name),
            None => text,
        };
        let url = release.html_url.clone();
        Note {
            mark: "🚀", source: self.source(), headline: Line { text, url }, lines: Vec::new()
        }
    }

    /// Forks, wiki pages, packages, and repositories themselves.
    fn other(&self, action: &str) -> Note {
        let (who, done) = (self.actor(), Deed::Other(action));
        let mut url = self.hook.repository_url();
        let (mark, text) = if let Some(fork) = &self.hook.forkee {
            ("🍴", self.words.forked(who, &fork.full_name, self.repository()))
        } else if let Some(page) = &self.hook.page {
            ("📝", self.did(who, done, Thing::WikiPage, page))
        } else if let Some(Package { name, version, html_url }) = &self.hook.package {
            url = filled(html_url.clone()).or(url);
            let name = format!("{name} {}", version.as_deref().unwrap_or_default());
            ("🎁", self.did(who, done, Thing::Package, name.trim_end()))
        } else {
            ("📁", self.words.did(who, done, self.repository()))
        };
        Note { mark, source: self.source(), headline: Line { text, url }, lines: Vec::new() }
    }

    fn titled(&self, what: String, title: &str) -> String {
        what + self.words.colon() + self.words.gap() + title
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
    fn done(&self) -> Deed<'static> {
        match self.verdict.as_str() {
            verdict if verdict.ends_with("approved") => Deed::Approved,
            verdict if verdict.ends_with("rejected") => Deed::AskedForChanges,
            _ => Deed::Reviewed,
        }
    }
}

/// "refs/heads/main" is branch "main".
fn short(reference: &str) -> (Thing, &str) {
    if let Some(branch) = reference.strip_prefix("refs/heads/") {
        (Thing::Branch, branch)
    } else if let Some(tag) = reference.strip_prefix("refs/tags/") {
        (Thing::Tag, tag)
    } else {
        (Thing::Reference, reference)
    }
}

fn commented(action: &str) -> Deed<'_> {
    match action {
        "" | "created" => Deed::Commented,
        other => Deed::ToComment(other),
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
