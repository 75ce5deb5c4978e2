//! What happens on a forge such as Forgejo or Gitea.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed<'a> {
    Made,
    Moved,
    Deleted,
    Merged,
    Approved,
    AskedForChanges,
    Reviewed,
    Commented,
    /// To a comment, in the forge's own word.
    ToComment(&'a str),
    /// In the forge's own word.
    Other(&'a str),
}

/// How a run of a workflow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    Succeeded,
    /// In the forge's own word.
    Other(&'a str),
}
