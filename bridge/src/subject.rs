//! NATS subjects and how their wildcards relate.

use std::fmt;

use thiserror::Error;

/// A valid NATS subject: tokens separated by dots. In a filter, `*` stands for one token and a final `>` for one or
/// more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject(String);

/// The reason why a text is not a subject.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum InvalidSubject {
    #[error("\"{0}\" is not a subject: white space is not allowed")]
    WhiteSpace(String),
    #[error("\"{0}\" is not a subject: it is empty, has two dots in a row, or a dot at an end")]
    EmptyToken(String),
    #[error("\"{0}\" is not a subject: > is only allowed at the end")]
    RestBeforeEnd(String),
    #[error("\"{0}\" is not a subject: * and > stand for whole tokens, like in \"ops.*.>\"")]
    PartOfToken(String),
    #[error("\"{0}\" has wildcards; this must be a plain subject")]
    Wildcards(String),
}

impl Subject {
    /// Parses a subject that may have wildcards.
    pub(crate) fn filter(text: &str) -> Result<Self, InvalidSubject> {
        let wrong = |wrong: fn(String) -> InvalidSubject| Err(wrong(text.to_owned()));
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return wrong(InvalidSubject::WhiteSpace);
        }
        let tokens: Vec<&str> = text.split('.').collect();
        if tokens.iter().any(|token| token.is_empty()) {
            return wrong(InvalidSubject::EmptyToken);
        }
        if tokens[..tokens.len() - 1].contains(&">") {
            return wrong(InvalidSubject::RestBeforeEnd);
        }
        if tokens.iter().any(|token| token.len() > 1 && token.contains(['*', '>'])) {
            return wrong(InvalidSubject::PartOfToken);
        }
        Ok(Self(text.to_owned()))
    }

    /// Parses a subject without wildcards, to publish on.
    pub(crate) fn literal(text: &str) -> Result<Self, InvalidSubject> {
        let subject = Self::filter(text)?;
        if text.contains(['*', '>']) {
            return Err(InvalidSubject::Wildcards(text.to_owned()));
        }
        Ok(subject)
    }

    /// Whether the first token is a wildcard.
    pub(crate) fn begins_with_wildcard(&self) -> bool {
        self.0.starts_with(['*', '>'])
    }

    /// Returns the filter for the subjects that a subject transform of NATS can result in, from its destination, as in
    /// "ops.{{wildcard(1)}}.>". `None` if it is no destination.
    #[must_use]
    pub(crate) fn of_destination(destination: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut rest = destination;
        while !rest.is_empty() {
            // The argument of a function may be a dot.
            let is_function = rest.starts_with("{{");
            let end = if is_function {
                rest.find("}}")? + 2
            } else {
                rest.find('.').unwrap_or(rest.len())
            };
            let (token, after) = rest.split_at(end);
            rest = after.strip_prefix('.').unwrap_or(after);
            let name = token.trim_start_matches("{{").trim_start().to_lowercase();
            // These put as many tokens as they find in the place of one.
            if is_function && (name.starts_with("split") || name.starts_with("slice")) {
                tokens.push(">");
                break;
            }
            tokens.push(if is_function || token.starts_with('$') { "*" } else { token });
        }
        Self::filter(&tokens.join(".")).ok()
    }

    /// Appends a name as one more token. Characters that a token cannot hold, or that would split it, become `-`.
    #[must_use]
    pub(crate) fn of(&self, name: &str) -> Self {
        let token: String = name
            .trim()
            .chars()
            .map(|c| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '-' })
            .collect();
        Self(format!("{self}.{}", if token.is_empty() { "-" } else { &token }))
    }

    /// The subject as text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this filter matches the subject of a message.
    #[must_use]
    pub(crate) fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for filter in self.0.split('.') {
            match (filter, tokens.next()) {
                (">", Some(_)) => return true,
                (filter, Some(token)) if filter == "*" || filter == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Whether this filter matches everything that another one does.
    #[must_use]
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.0.split('.');
        for own in self.0.split('.') {
            match (own, theirs.next()) {
                (">", Some(_)) => return true,
                ("*", Some(token)) if token != ">" => {}
                (own, Some(token)) if own == token => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Returns the narrowest filter that matches everything that either of two filters does.
    #[must_use]
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.split('.'), other.0.split('.'));
        let mut tokens = Vec::new();
        loop {
            match (a.next(), b.next()) {
                (None, None) => return Self(tokens.join(".")),
                (Some(x), Some(y)) if x == y => tokens.push(x),
                (Some(x), Some(y)) if x != ">" && y != ">" => tokens.push("*"),
                (Some(_), Some(_)) => {
                    tokens.push(">");
                    return Self(tokens.join("."));
                }
                // The shorter one ends here, and a rest has at least one token.
                _ => {
                    tokens.pop();
                    tokens.push(">");
                    return Self(tokens.join("."));
                }
            }
        }
    }

    /// Whether this filter can match a subject whose token of this number, counted from 1, satisfies `fits`.
    #[must_use]
    pub(crate) fn may_have_token(&self, number: usize, fits: impl Fn(&str) -> bool) -> bool {
        match self.0.split('.').nth(number - 1) {
            Some("*" | ">") => true,
            Some(token) => fits(token),
            None => self.0.ends_with('>'),
        }
    }

    /// Whether a wildcard matches the token at this index, counted from 0, of a matching subject.
    #[must_use]
    pub(crate) fn has_wildcard_at(&self, index: usize) -> bool {
        self.0.split('.').nth(index).is_none_or(|token| matches!(token, "*" | ">"))
    }

    /// Whether some subject matches both filters.
    #[must_use]
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (a.next(), b.next()) {
                (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(x), Some(y)) if x == y || x == "*" || y == "*" => {}
                _ => return false,
            }
        }
    }
}

impl AsRef<str> for Subject {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The mark between the subject of a schedule and that of the message that it has made. No subject has a space.
const SCHEDULED: &str = " → ";

/// The longest subject of a schedule that is looked at, in bytes. A publisher can write that header, too.
const SCHEDULER_AT_MOST: usize = 1024;

/// Returns the subject of a message with that of the schedule, if one has made it. In a stream with
/// `allow_msg_schedules`, whoever may publish on one subject can have messages stored on another.
pub(crate) fn scheduled(subject: &str, scheduler: &str) -> String {
    let scheduler = &scheduler[..scheduler.floor_char_boundary(SCHEDULER_AT_MOST)];
    format!("{scheduler}{SCHEDULED}{subject}")
}

/// Whether a text is a subject with that of a schedule.
pub(crate) fn is_scheduled(subject: &str) -> bool {
    subject.contains(SCHEDULED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(a: &str, b: &str) -> bool {
        let (a, b) = (Subject::filter(a).unwrap(), Subject::filter(b).unwrap());
        assert_eq!(a.overlaps(&b), b.overlaps(&a), "{a} {b}: overlapping is mutual");
        a.overlaps(&b)
    }

    #[test]
    fn wildcards_overlap_where_one_subject_fits_both() {
        assert!(overlap("ops.report.>", "ops.report.a.b"));
        assert!(overlap("ops.*.a", "ops.report.*"));
        assert!(overlap(">", "ops"));
        assert!(overlap("ops.>", "ops.report"));
        assert!(!overlap("ops.report.>", "ops.report"));
        assert!(!overlap("ops.report.*", "ops.report.a.b"));
        assert!(!overlap("ops.reports.>", "ops.report.>"));
    }

    #[test]
    fn two_filters_are_joined_into_one_that_covers_both() {
        for (a, b, joined) in [
            ("ops.a", "ops.a", "ops.a"),
            ("ops.*.x", "ops.a.*", "ops.*.*"),
            ("ops.>", "ops.a.b", "ops.>"),
            ("ops.a.b", "ops.a", "ops.>"),
            ("ops", "ops.a", ">"),
            (">", "a", ">"),
        ] {
            let (a, b) = (Subject::filter(a).unwrap(), Subject::filter(b).unwrap());
            let both = [a.joined(&b), b.joined(&a)];
            for it in &both {
                assert!(it.as_str() == joined && it.covers(&a) && it.covers(&b), "{it}");
            }
        }
    }

    #[test]
    fn destinations_of_transforms_are_filters() {
        let of = |text: &str| Subject::of_destination(text).map(|filter| filter.to_string());
        for (destination, filter) in [
            ("report.>", "report.>"),
            ("report.{{wildcard(1)}}.$2.x", "report.*.*.x"),
            ("report.{{ Partition(3, 1, 2) }}.>", "report.*.>"),
            ("report.{{SplitFromLeft(1,2)}}.x", "report.>"),
            ("report.{{split(1,.)}}", "report.>"),
        ] {
            assert_eq!(of(destination).as_deref(), Some(filter), "{destination}");
        }
        assert_eq!(of("report.{{wildcard(1)"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn any_name_becomes_one_token() {
        let reports = Subject::literal("ops.report").unwrap();
        for (name, token) in [
            ("server-01", "server-01"),
            ("db_1.example.com", "db_1-example-com"),
            ("a b>*", "a-b--"),
            ("", "-"),
        ] {
            assert_eq!(reports.of(name).as_str(), format!("ops.report.{token}"));
            assert!(Subject::literal(reports.of(name).as_str()).is_ok());
        }
    }

    #[test]
    fn what_nats_refuses_is_refused_here() {
        for wrong in ["", "ops.", ".ops", "a..b", "a b", "a.>.b", "a.b*", "a.>b"] {
            assert!(Subject::filter(wrong).is_err(), "{wrong}");
        }
        assert!(Subject::literal("dead.*").is_err());
    }
}
