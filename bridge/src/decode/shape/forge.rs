//! Makes the events of forges: pushes, actions on issues and releases, and runs of workflows.

use minijinja::Value;

use crate::{
    decode::shape::{
        evaluate::Fields,
        expression::text,
        rule::{Lacks, NoteKind},
    },
    json,
    message::{Commit, Deed, ForgeEvent, ForgeEventKind, Outcome, Push, Reference, Thing},
};

/// The number of characters that are kept of a commit's hash.
const HASH_CHARS: usize = 7;

pub(super) fn event(kind: NoteKind, fields: &Fields<'_>) -> Result<ForgeEvent, Lacks> {
    let actor = fields.text("actor");
    let kind = match kind {
        NoteKind::Push => pushed(fields, actor.as_deref())?,
        NoteKind::Action => ForgeEventKind::Did {
            deed: deed(&fields.text("deed").unwrap_or_default()),
            thing: thing(&fields.text("thing").ok_or("thing")?).ok_or("thing")?,
            name: fields.text("thing_name").unwrap_or_default(),
            title: fields.text("title"),
            comment: fields.text("comment"),
        },
        NoteKind::Run => ForgeEventKind::Run {
            workflow: fields.text("workflow").unwrap_or_default(),
            reference: fields.text("reference").unwrap_or_default().trim().to_owned(),
            title: fields.text("title"),
            outcome: outcome(&fields.text("outcome").ok_or("outcome")?),
        },
        NoteKind::Job => ForgeEventKind::Job {
            job: fields.text("job").unwrap_or_default(),
            branch: fields.text("reference").unwrap_or_default(),
            outcome: Outcome::Other(fields.text("outcome").ok_or("outcome")?),
        },
        NoteKind::Fork => {
            ForgeEventKind::Forked { original: fields.text("original").ok_or("original")? }
        }
        NoteKind::Repository | NoteKind::Said | NoteKind::Test => {
            ForgeEventKind::Repository { deed: deed(&fields.text("deed").ok_or("deed")?) }
        }
    };
    Ok(ForgeEvent {
        repository: fields.text("repository"),
        actor: actor
            .filter(|_| !matches!(kind, ForgeEventKind::Run { .. } | ForgeEventKind::Job { .. })),
        kind,
        url: fields.text("url"),
    })
}

fn pushed(fields: &Fields<'_>, pusher: Option<&str>) -> Result<ForgeEventKind, Lacks> {
    let reference = reference(&fields.text("reference").ok_or("reference")?);
    let is_none = |name: &str| {
        let id = fields.text(name).unwrap_or_default();
        !id.is_empty() && id.bytes().all(|byte| byte == b'0')
    };
    let commits = fields.value("commits");
    let told: Vec<Commit> = commits
        .try_iter()
        .into_iter()
        .flatten()
        .take(json::MOST_ENTRIES)
        .filter_map(|entry| commit(&entry, pusher))
        .collect();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of commits is small and not negative"
    )]
    let count = fields.number("count").map_or(0, |count| count.clamp(0.0, 1e9) as usize);
    let count = count.max(told.len());
    let push = match count {
        _ if is_none("after") => Push::Bare(Deed::Deleted),
        0 if is_none("before") => Push::Bare(Deed::Made),
        0 => Push::Bare(Deed::Moved),
        _ => Push::Commits { told, count },
    };
    Ok(ForgeEventKind::Pushed { reference, push })
}

/// Reads a commit, in the form that GitHub, GitLab and Gitea share.
fn commit(entry: &Value, pusher: Option<&str>) -> Option<Commit> {
    let field = |of: &Value, name: &str| of.get_attr(name).ok().and_then(|value| text(&value));
    let author = entry.get_attr("author").unwrap_or_default();
    let names: Vec<String> =
        ["login", "username", "name"].iter().filter_map(|name| field(&author, name)).collect();
    let is_pusher = names.iter().any(|name| Some(name.as_str()) == pusher);
    let message = field(entry, "message").or_else(|| field(entry, "title")).unwrap_or_default();
    let id = field(entry, "id").or_else(|| field(entry, "sha"))?;
    Some(Commit {
        id: id.chars().take(HASH_CHARS).collect(),
        subject: message.lines().next().unwrap_or_default().to_owned(),
        author: names.into_iter().next().filter(|_| !is_pusher),
        url: field(entry, "url"),
    })
}

/// Parses the full name of a reference: "refs/heads/main" is the branch "main".
fn reference(written: &str) -> Reference {
    let (thing, name) = if let Some(branch) = written.strip_prefix("refs/heads/") {
        (Thing::Branch, branch)
    } else if let Some(tag) = written.strip_prefix("refs/tags/") {
        (Thing::Tag, tag)
    } else {
        (Thing::Reference, written)
    };
    Reference { thing, name: name.to_owned() }
}

fn thing(word: &str) -> Option<Thing> {
    Some(match word {
        "branch" => Thing::Branch,
        "tag" => Thing::Tag,
        "reference" => Thing::Reference,
        "issue" => Thing::Issue,
        "pull_request" => Thing::PullRequest,
        "release" => Thing::Release,
        "wiki_page" => Thing::WikiPage,
        "package" => Thing::Package,
        _ => return None,
    })
}

/// Returns the action that a forge calls so. An action on a comment is written as "comment" with the forge's word, as
/// in "comment edited".
fn deed(word: &str) -> Deed {
    match word {
        "made" => Deed::Made,
        "moved" => Deed::Moved,
        "removed" => Deed::Deleted,
        "merged" => Deed::Merged,
        "approved" => Deed::Approved,
        "asked_for_changes" => Deed::AskedForChanges,
        "reviewed_by" => Deed::Reviewed,
        "commented" => Deed::Commented,
        other => match other.strip_prefix("comment ") {
            Some("created") => Deed::Commented,
            Some(action) => Deed::ToComment(action.to_owned()),
            None => Deed::Other(other.to_owned()),
        },
    }
}

fn outcome(word: &str) -> Outcome {
    match word {
        "success" | "succeeded" | "passed" => Outcome::Succeeded,
        other => Outcome::Other(other.to_owned()),
    }
}
