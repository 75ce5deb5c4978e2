//! The rules of a shape: which messages become what, and by which expressions.

use thiserror::Error;

use crate::{
    decode::shape::{expression::Expression, recognise::Recognise},
    suggest,
};

/// The thing that a message becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Alert,
    Report,
    Note(NoteKind),
    Text,
}

/// The kinds of notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoteKind {
    /// A note in the sender's words.
    Said,
    /// A message that somebody sent to try out the way to the room.
    Test,
    Push,
    Action,
    Run,
    Job,
    Fork,
    Repository,
}

/// The reason why a kind is not known.
#[derive(Debug, Error)]
pub(super) enum UnknownKind {
    #[error("\"{0}\" is not one of \"alert\", \"report\", \"note\" or \"text\"{1}")]
    As(String, String),
    #[error("\"{word}\" is not one of {}{hint}", NoteKind::words())]
    Event { word: String, hint: String },
    #[error("`event` is for a rule with as = \"note\"")]
    NoNote,
}

/// A field without which a rule says nothing of a message.
#[derive(Debug, Error)]
#[error("no {0}")]
pub(super) struct Lacks(pub(super) &'static str);

impl From<&'static str> for Lacks {
    fn from(field: &'static str) -> Self {
        Self(field)
    }
}

impl NoteKind {
    const ALL: [(&'static str, Self); 8] = [
        ("said", Self::Said),
        ("test", Self::Test),
        ("push", Self::Push),
        ("action", Self::Action),
        ("run", Self::Run),
        ("job", Self::Job),
        ("fork", Self::Fork),
        ("repository", Self::Repository),
    ];

    fn words() -> String {
        Self::ALL.map(|(word, _)| format!("\"{word}\"")).join(", ")
    }
}

impl Kind {
    pub(super) const WORDS: [&'static str; 4] = ["alert", "report", "note", "text"];

    pub(super) fn parse(written: &str, event: Option<&str>) -> Result<Self, UnknownKind> {
        let hint = |word: &str, known: &mut dyn Iterator<Item = &'static str>| {
            suggest::nearest(word, known).map(|it| format!("; did you mean \"{it}\"?"))
        };
        let kind = match written {
            "alert" => Self::Alert,
            "report" => Self::Report,
            "text" => Self::Text,
            "note" => {
                let event = event.unwrap_or("said");
                let found = NoteKind::ALL.iter().find(|(word, _)| *word == event);
                let (_, kind) = found.ok_or_else(|| {
                    let words = &mut NoteKind::ALL.iter().map(|(word, _)| *word);
                    let hint = hint(event, words).unwrap_or_default();
                    UnknownKind::Event { word: event.to_owned(), hint }
                })?;
                return Ok(Self::Note(*kind));
            }
            other => {
                let hint = hint(other, &mut Self::WORDS.into_iter()).unwrap_or_default();
                return Err(UnknownKind::As(other.to_owned(), hint));
            }
        };
        if event.is_some() { Err(UnknownKind::NoNote) } else { Ok(kind) }
    }

    /// The fields that such a rule can have.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Alert => &[
                "severity",
                "status",
                "summary",
                "source",
                "description",
                "begun",
                "time",
                "ended",
                "last_ok",
                "url",
                "fingerprint",
                "sender",
                "labels",
                "rows",
                "test",
                "monitor",
                "monitor_id",
                "monitor_state",
                "workflow",
                "started_by",
                "group_title",
                "group_url",
                "group_fingerprint",
            ],
            Self::Report => &[
                "host",
                "completed",
                "in_progress",
                "disk_percent",
                "memory_percent",
                "satisfaction",
                "rows",
            ],
            Self::Text => &["text"],
            Self::Note(NoteKind::Said) => {
                &["headline", "source", "time", "url", "lines", "rows", "urgent"]
            }
            Self::Note(NoteKind::Test) => &["source", "text", "url"],
            Self::Note(NoteKind::Push) => {
                &["repository", "actor", "url", "reference", "before", "after", "commits", "count"]
            }
            Self::Note(NoteKind::Action) => {
                &["repository", "actor", "url", "deed", "thing", "thing_name", "title", "comment"]
            }
            Self::Note(NoteKind::Run) => {
                &["repository", "actor", "url", "workflow", "reference", "title", "outcome"]
            }
            Self::Note(NoteKind::Job) => {
                &["repository", "actor", "url", "job", "reference", "outcome"]
            }
            Self::Note(NoteKind::Fork) => &["repository", "actor", "url", "original"],
            Self::Note(NoteKind::Repository) => &["repository", "actor", "url", "deed"],
        }
    }

    /// The fields that such a rule must have: one of each list.
    pub(super) fn required(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Alert => &[&["summary", "monitor", "workflow"]],
            Self::Report => &[&["host"]],
            Self::Text => &[&["text"]],
            Self::Note(NoteKind::Said) => &[&["headline"]],
            Self::Note(NoteKind::Test) => &[],
            Self::Note(NoteKind::Push) => &[&["reference"]],
            Self::Note(NoteKind::Action) => &[&["thing"], &["thing_name"]],
            Self::Note(NoteKind::Run) => &[&["workflow"], &["outcome"]],
            Self::Note(NoteKind::Job) => &[&["job"], &["outcome"]],
            Self::Note(NoteKind::Fork) => &[&["original"]],
            Self::Note(NoteKind::Repository) => &[&["deed"]],
        }
    }

    /// Whether a field can be a table of expressions.
    pub(super) fn is_table(field: &str) -> bool {
        matches!(field, "labels" | "rows")
    }
}

/// A rule: the messages that it is for, and the expressions of its fields.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The name for people.
    pub(crate) name: String,
    pub(super) kind: Kind,
    pub(super) recognise: Recognise,
    /// A condition besides those.
    pub(super) when: Option<Expression>,
    /// The list of which each item is an alert.
    pub(super) each: Option<Expression>,
    pub(super) fields: Vec<(&'static str, Expression)>,
    pub(super) tables: Vec<(&'static str, Vec<(String, Expression)>)>,
}

impl Rule {
    /// The expression of a field.
    pub(super) fn field(&self, name: &str) -> Option<&Expression> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, expression)| expression)
    }

    /// The expressions of a table.
    pub(super) fn table(&self, name: &str) -> &[(String, Expression)] {
        let table = self.tables.iter().find(|(field, _)| *field == name);
        table.map(|(_, entries)| entries.as_slice()).unwrap_or_default()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.field(name).is_some() || !self.table(name).is_empty()
    }
}
