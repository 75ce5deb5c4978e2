//! Notes: events in a few lines that need no action.

/// Something that happened and that nobody has to act on: a push, a comment, a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// An emoji for the kind of event.
    pub mark: &'static str,
    /// The repository in which it happened.
    pub source: Option<String>,
    /// The main line: who did what.
    pub headline: Line,
    /// The other lines.
    pub lines: Vec<Line>,
}

/// A line of text, possibly with a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The text of the line.
    pub text: String,
    /// The address of the page with more about it.
    pub url: Option<String>,
}
