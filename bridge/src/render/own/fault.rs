//! Faults in a template, described for the person who wrote it.

use std::{fmt, path::Path};

use minijinja::{Error, ErrorKind};

use crate::text::{self, shown};

/// A fault that keeps a template from being used, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The name of the file, with the line if it is known.
    place: String,
    what: String,
    /// Whether the fault depends on the message, so that another one might be rendered.
    of_message: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Fault {
    pub(super) fn of_file(file: &str, what: impl Into<String>) -> Self {
        Self { place: file.to_owned(), what: what.into(), of_message: false }
    }

    pub(super) fn at(file: &str, line: Option<usize>, what: impl Into<String>) -> Self {
        let place = line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"));
        Self { place, what: what.into(), of_message: false }
    }

    /// Describes an error in a template, or in one that it includes.
    pub(super) fn of(error: &Error, file: &str) -> Self {
        let mut cause = error;
        while let Some(inner) =
            std::error::Error::source(cause).and_then(|it| it.downcast_ref::<Error>())
        {
            cause = inner;
        }
        let detail = cause.detail().unwrap_or_default();
        let what = match cause.kind() {
            ErrorKind::OutOfFuel => "was stopped, as it runs too long".to_owned(),
            ErrorKind::WriteFailure => "was stopped, as it writes too much".to_owned(),
            ErrorKind::UndefinedError | ErrorKind::InvalidOperation if !detail.is_empty() => {
                detail.to_owned()
            }
            ErrorKind::TemplateNotFound => {
                format!(
                    "{detail}; use one of the files beside it, or a built-in one like \"builtin/alert.txt\""
                )
            }
            kind if detail.is_empty() => kind.to_string(),
            kind => format!("{kind}: {detail}"),
        };
        let of_message = matches!(
            cause.kind(),
            ErrorKind::UndefinedError
                | ErrorKind::InvalidOperation
                | ErrorKind::NonPrimitive
                | ErrorKind::NonKey
                | ErrorKind::CannotUnpack
                | ErrorKind::UnknownMethod
        );
        let what = shown::line(&what);
        let what = text::head(&what, 200);
        Self { of_message, ..Self::at(cause.name().unwrap_or(file), cause.line(), what) }
    }

    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The name of the file.
    pub(crate) fn file(&self) -> &str {
        self.place.split_once(':').map_or(&self.place, |(file, _)| file)
    }

    /// Whether the fault depends on the message, so that another one might be rendered.
    pub(crate) fn of_message(&self) -> bool {
        self.of_message
    }

    /// Adds the directory of the file.
    pub(crate) fn within(mut self, directory: &Path) -> Self {
        self.place = directory.join(&self.place).display().to_string();
        self
    }

    /// Adds the name of the sample that revealed the fault.
    pub(crate) fn with_sample(mut self, name: &str) -> Self {
        self.what = format!("{} (tried with the sample {name})", self.what);
        self
    }
}
