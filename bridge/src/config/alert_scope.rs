//! `alert_scope` of a route: which messages may be about the same alert.

use std::fmt;

use thiserror::Error;

use crate::subject::{self, Subject};

/// The scope in which a fingerprint names one alert of a route. The same fingerprint in another scope is a different
/// alert, so that nobody can resolve or mute an alert of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AlertScope {
    /// The messages on the same subject.
    #[default]
    Subject,
    /// The messages whose subjects have the same token at this position, counted from 1.
    Token(usize),
    /// All messages of the route, regardless of their subjects and senders.
    Route,
}

/// The reason why a text is no scope of a route.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum InvalidScope {
    #[error(
        "\"{0}\" is not one of \"subject\", \"subject.3\" (a token, counted from 1) or \"route\""
    )]
    Word(String),
    #[error("\"{written}\": no subject of the route has {number} tokens")]
    NoToken { written: String, number: usize },
}

impl AlertScope {
    /// Parses the scope of a route with these subjects.
    pub(super) fn parse(written: &str, subjects: &[Subject]) -> Result<Self, InvalidScope> {
        let wrong = || InvalidScope::Word(written.to_owned());
        match written.split_once('.') {
            None if written == "subject" => Ok(Self::Subject),
            None if written == "route" => Ok(Self::Route),
            Some(("subject", number)) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                let number = number.ok_or_else(wrong)?;
                if subjects.iter().any(|subject| subject.may_have_token(number, |_| true)) {
                    return Ok(Self::Token(number));
                }
                Err(InvalidScope::NoToken { written: written.to_owned(), number })
            }
            _ => Err(wrong()),
        }
    }

    /// Returns texts that are equal for exactly the messages of one scope. `sender` is the Alertmanager or Grafana that
    /// a message came from, if it is known.
    pub(crate) fn texts<'a>(self, subject: &'a str, sender: Option<&'a str>) -> Vec<&'a str> {
        let sender = sender.unwrap_or_default();
        match self {
            // With a schedule, any token but those of the whole could be another publisher's.
            Self::Token(_) if subject::is_scheduled(subject) => vec!["scheduled", subject, sender],
            Self::Subject => vec!["subject", subject, sender],
            // An empty text is unambiguous, as no token is empty.
            Self::Token(number) => {
                vec!["token", subject.split('.').nth(number - 1).unwrap_or_default(), sender]
            }
            Self::Route => vec!["route"],
        }
    }
}

impl fmt::Display for AlertScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => f.write_str("subject"),
            Self::Token(number) => write!(f, "subject.{number}"),
            Self::Route => f.write_str("route"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(written: &str) -> Result<AlertScope, InvalidScope> {
        AlertScope::parse(written, &[Subject::filter("ops.alert.*").unwrap()])
    }

    #[test]
    fn each_scope_is_written_as_it_is_read() {
        for (written, expected) in [
            ("subject", AlertScope::Subject),
            ("subject.3", AlertScope::Token(3)),
            ("route", AlertScope::Route),
        ] {
            assert_eq!(scope(written), Ok(expected));
            assert_eq!(expected.to_string(), written);
        }
        for (written, said) in [
            ("subjects", "is not one of \"subject\""),
            ("route.1", "is not one of"),
            ("subject.", "is not one of"),
            ("subject.0", "is not one of"),
            ("subject.x", "is not one of"),
            ("", "is not one of"),
            ("subject.4", "no subject of the route has 4 tokens"),
        ] {
            let wrong = scope(written).unwrap_err().to_string();
            assert!(wrong.contains(said), "{written}: {wrong}");
        }
    }

    #[test]
    fn a_scope_tells_those_apart_who_speak_of_different_alerts() {
        let same = |scope: AlertScope, a: (&str, Option<&str>), b: (&str, Option<&str>)| {
            scope.texts(a.0, a.1) == scope.texts(b.0, b.1)
        };
        let (db, evil) = (("ops.alert.db", None), ("ops.alert.evil", None));
        let (eu, us) = (("ops.am", Some("http://eu")), ("ops.am", Some("http://us")));
        assert!(same(AlertScope::Subject, db, db) && same(AlertScope::Subject, eu, eu));
        assert!(!same(AlertScope::Subject, db, evil) && !same(AlertScope::Subject, eu, us));
        assert!(same(AlertScope::Token(2), db, evil) && !same(AlertScope::Token(3), db, evil));
        assert!(!same(AlertScope::Token(2), eu, us) && same(AlertScope::Token(9), db, evil));
        let scheduled = subject::scheduled("ops.alert.db", "ops.alert.evil");
        let by_evil = (&*scheduled, None);
        assert!(
            !same(AlertScope::Subject, db, by_evil) && !same(AlertScope::Token(2), db, by_evil)
        );
        assert!(same(AlertScope::Route, db, evil) && same(AlertScope::Route, eu, us));
    }
}
