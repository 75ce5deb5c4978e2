//! What happens on a forge such as Forgejo or Gitea.

/// Something that happened in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForgeEvent {
    /// The full name of the repository, like "ops/infra".
    pub repository: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// What was done.
    pub kind: ForgeEventKind,
    /// Where to read on.
    pub url: Option<String>,
}

/// What was done in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForgeEventKind {
    /// A push to a branch or tag.
    Pushed { reference: Reference, push: Push },
    /// Something that was done to a thing of the repository.
    Did {
        deed: Deed,
        thing: Thing,
        /// Its number, tag or name; may be empty.
        name: String,
        title: Option<String>,
        /// What was said of it, in a comment or review.
        comment: Option<String>,
    },
    /// Something that was done to the repository itself.
    Repository { deed: Deed },
    /// The repository was made of another one.
    Forked { original: String },
    /// A run of a workflow began, went on or ended.
    Run {
        workflow: String,
        /// The branch or tag that it is of; may be empty.
        reference: String,
        title: Option<String>,
        outcome: Outcome,
    },
    /// A part of such a run did.
    Job { job: String, branch: String, outcome: Outcome },
}

/// A branch, a tag or another name of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub thing: Thing,
    pub name: String,
}

/// What a push did to a branch or tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Push {
    /// It added commits, of which the forge tells some.
    Commits { told: Vec<Commit>, count: usize },
    /// It made, moved or deleted the branch or tag.
    Bare(Deed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The beginning of its hash.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it, unless that is who pushed it.
    pub author: Option<String>,
    pub url: Option<String>,
}

/// What somebody did something to, on a forge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    Branch,
    Tag,
    Reference,
    Issue,
    PullRequest,
    Release,
    WikiPage,
    Package,
}

/// What somebody did, on a forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    Made,
    Moved,
    Deleted,
    Merged,
    Approved,
    AskedForChanges,
    Reviewed,
    Commented,
    /// To a comment, in the forge's own word.
    ToComment(String),
    /// In the forge's own word.
    Other(String),
}

/// How a run of a workflow ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    /// In the forge's own word.
    Other(String),
}
