//! `alert_scope` of a route: which messages can speak of the same alert.

use std::fmt;

use crate::subject::Subject;

/// Within which messages of a route the fingerprint of an alert names one alert. Outside of it the same fingerprint is
/// that of another alert, so that nobody resolves, or mutes, an alert of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AlertScope {
    /// Those on the same subject.
    #[default]
    Subject,
    /// Those whose subjects have the same token there; counted from 1.
    Token(usize),
    /// All of them, whoever publishes or sends them.
    Route,
}

impl AlertScope {
    /// Parses the scope of a route with these subjects.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong.
    pub(super) fn parse(written: &str, subjects: &[Subject]) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{written}\" is none of \"subject\", \"subject.3\" (a token, counted from 1) and \"route\""
            )
        };
        match written.split_once('.') {
            None if written == "subject" => Ok(Self::Subject),
            None if written == "route" => Ok(Self::Route),
            Some(("subject", number)) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                let number = number.ok_or_else(wrong)?;
                if subjects.iter().any(|subject| subject.may_have_token(number, |_| true)) {
                    return Ok(Self::Token(number));
                }
                Err(format!("\"{written}\": no subject of the route has {number} tokens"))
            }
            _ => Err(wrong()),
        }
    }

    /// Texts that are the same for messages of one scope alone. `sender` is the Alertmanager or Grafana that a message
    /// came from, if it is known.
    pub(crate) fn texts<'a>(self, subject: &'a str, sender: Option<&'a str>) -> Vec<&'a str> {
        let sender = sender.unwrap_or_default();
        match self {
            Self::Subject => vec!["subject", subject, sender],
            // No token is empty.
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

    fn scope(written: &str) -> Result<AlertScope, String> {
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
            ("subjects", "is none of \"subject\""),
            ("route.1", "is none of"),
            ("subject.", "is none of"),
            ("subject.0", "is none of"),
            ("subject.x", "is none of"),
            ("", "is none of"),
            ("subject.4", "no subject of the route has 4 tokens"),
        ] {
            let wrong = scope(written).unwrap_err();
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
        assert!(same(AlertScope::Route, db, evil) && same(AlertScope::Route, eu, us));
    }
}
