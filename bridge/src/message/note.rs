//! What merely happened, in a few lines.

/// Something that happened and that nobody has to act on: a push, a comment, a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// An emoji that tells at a glance what kind of thing it is.
    pub mark: &'static str,
    /// The repository in which it happened.
    pub source: Option<String>,
    /// Who did what.
    pub headline: Line,
    /// More of it.
    pub lines: Vec<Line>,
}

/// One line, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// What it says.
    pub text: String,
    /// Where to read on.
    pub url: Option<String>,
}
