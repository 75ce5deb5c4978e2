//! Events on a forge such as Forgejo or Gitea.

/// An event in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForgeEvent {
    /// The full name of the repository, like "ops/infra".
    pub repository: Option<String>,
    /// The user who caused the event.
    pub actor: Option<String>,
    /// The kind of the event, with its details.
    pub kind: ForgeEventKind,
    /// A link to more information.
    pub url: Option<String>,
}

/// The kinds of events in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForgeEventKind {
    /// A push to a branch or tag.
    Pushed { reference: Reference, push: Push },
    /// An action on a thing of the repository.
    Did {
        deed: Deed,
        thing: Thing,
        /// The number, tag or name of the thing; may be empty.
        name: String,
        title: Option<String>,
        /// The text of a comment or review.
        comment: Option<String>,
    },
    /// An action on the repository itself.
    Repository { deed: Deed },
    /// The repository was forked from another one.
    Forked { original: String },
    /// A run of a workflow began, continued or ended.
    Run {
        workflow: String,
        /// The branch or tag of the run; may be empty.
        reference: String,
        title: Option<String>,
        outcome: Outcome,
    },
    /// A job of a run began, continued or ended.
    Job { job: String, branch: String, outcome: Outcome },
}

/// A branch, a tag or another name of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub thing: Thing,
    pub name: String,
}

/// The effect of a push on a branch or tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Push {
    /// The push added commits, of which the forge lists some.
    Commits { told: Vec<Commit>, count: usize },
    /// The push created, moved or deleted the branch or tag.
    Bare(Deed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The beginning of the commit's hash.
    pub id: String,
    /// The first line of the commit's message.
    pub subject: String,
    /// The author, unless it is the user who pushed.
    pub author: Option<String>,
    pub url: Option<String>,
}

/// A thing on a forge that an action can be about.
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

/// An action on a forge.
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
    /// An action on a comment, in the forge's own word.
    ToComment(String),
    /// Any other action, in the forge's own word.
    Other(String),
}

/// The outcome of a run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Succeeded,
    /// Any other outcome, in the forge's own word.
    Other(String),
}
