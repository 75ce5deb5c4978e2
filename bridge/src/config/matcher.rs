//! `match` of a route: the conditions, besides the subject, that a message has to meet.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wildmatch::WildMatchPattern;

use crate::{
    config::error::ConfigError,
    message::{PayloadKind, Severity},
    subject::Subject,
};

/// One condition: a property of a message, and the values that it may have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matcher {
    /// The property of the message.
    pub field: Field,
    /// The patterns, one of which has to match.
    pub any_of: Vec<Pattern>,
}

/// A property of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    /// The kind that the message was recognised as, such as "alert".
    Kind,
    /// The severity of an alert: "critical", "warning", "info", or a word of its own.
    Severity,
    /// The status of an alert: "firing" or "resolved".
    Status,
    /// The machine or service of an alert or report.
    Source,
    /// A header of the NATS message.
    Header(String),
    /// A value in a JSON payload, given by the path of keys to it.
    Payload(Vec<String>),
    /// A token of the subject, counted from 1.
    Subject(usize),
}

/// The wildcard for one character, which patterns do not have: no text contains this one, so a question mark is a
/// question mark.
const NO_CHARACTER: char = '\u{10ffff}';

/// A text in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pattern(WildMatchPattern<'*', NO_CHARACTER>);

/// The kinds that can be an alert or contain one.
const WITH_ALERTS: [&str; 2] = ["alert", "event"];

const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

const STATUSES: [&str; 2] = ["firing", "resolved"];

/// The pattern, or a list of several.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "must be a text, like \"critical\", or a list of texts")]
pub(super) enum RawPattern {
    One(String),
    Several(Vec<String>),
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self(WildMatchPattern::new(text))
    }

    /// Whether the pattern matches the whole text.
    #[must_use]
    pub(crate) fn fits(&self, text: &str) -> bool {
        self.0.matches(text)
    }

    fn is_literal(&self) -> bool {
        !self.0.pattern_chars().contains(&'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reason why no message can meet a condition.
#[derive(Debug, Error)]
enum NeverMatches {
    #[error("an empty list, which no message can match")]
    EmptyList,
    #[error(
        "is not a property to match: use kind, severity, status, source, header.NAME, payload.KEY.KEY or subject.NUMBER"
    )]
    UnknownField,
    #[error("is not the number of a token, counted from 1, as in subject.3")]
    NotANumber,
    #[error("is neither header.NAME, payload.KEY.KEY nor subject.NUMBER")]
    UnknownPath,
    #[error("\"{pattern}\" is not one of {}, so no message can match", .words.join(", "))]
    NoSuchWord { pattern: String, words: Vec<&'static str> },
    #[error("\"{written}\" in an alert becomes \"{meant}\": match that")]
    Renamed { written: String, meant: String },
    #[error("no subject of the route has {0} tokens")]
    NoToken(usize),
    #[error("\"{0}\" is not a token of a subject")]
    NotAToken(String),
    #[error(
        "\"{pattern}\" is never the token {number} of a subject of the route, so no message can match"
    )]
    OtherToken { pattern: String, number: usize },
}

/// Checks the conditions of a route under `key`.
pub(super) fn check(
    key: &str,
    written: BTreeMap<String, RawPattern>,
    subjects: &[Subject],
) -> Result<Vec<Matcher>, ConfigError> {
    let matchers = written.into_iter().map(|(name, patterns)| {
        let wrong = |what: NeverMatches| ConfigError::new(format!("{key}.\"{name}\""), what);
        let any_of: Vec<Pattern> = match patterns {
            RawPattern::One(text) => vec![Pattern::new(&text)],
            RawPattern::Several(texts) => texts.iter().map(|text| Pattern::new(text)).collect(),
        };
        if any_of.is_empty() {
            return Err(wrong(NeverMatches::EmptyList));
        }
        let field = field(&name).map_err(wrong)?;
        let matcher = Matcher { field, any_of };
        matcher.check(subjects).map_err(wrong)?;
        Ok(matcher)
    });
    let matchers = matchers.collect::<Result<Vec<_>, _>>()?;
    check_together(key, &matchers)?;
    Ok(matchers)
}

/// Refuses conditions that no message can meet together.
fn check_together(key: &str, matchers: &[Matcher]) -> Result<(), ConfigError> {
    let is_of_alert = |matcher: &&Matcher| matches!(matcher.field, Field::Severity | Field::Status);
    let may_be_alert = |matcher: &Matcher| {
        let has = |kind: &&str| matcher.any_of.iter().any(|pattern| pattern.fits(kind));
        WITH_ALERTS.iter().any(has)
    };
    let kind = matchers.iter().find(|matcher| matcher.field == Field::Kind);
    if matchers.iter().any(|matcher| is_of_alert(&matcher)) && !kind.is_none_or(may_be_alert) {
        return Err(ConfigError::new(
            format!("{key}.\"kind\""),
            "only alerts have `severity` and `status`, so no message can match".to_owned(),
        ));
    }
    Ok(())
}

fn field(name: &str) -> Result<Field, NeverMatches> {
    match name.split_once('.') {
        None => match name {
            "kind" => Ok(Field::Kind),
            "severity" => Ok(Field::Severity),
            "status" => Ok(Field::Status),
            "source" => Ok(Field::Source),
            _ => Err(NeverMatches::UnknownField),
        },
        Some(("header", header)) if !header.is_empty() => Ok(Field::Header(header.to_owned())),
        Some(("payload", path)) if !path.split('.').any(str::is_empty) => {
            Ok(Field::Payload(path.split('.').map(str::to_owned).collect()))
        }
        Some(("subject", number)) => match number.parse() {
            Ok(number @ 1..) => Ok(Field::Subject(number)),
            _ => Err(NeverMatches::NotANumber),
        },
        _ => Err(NeverMatches::UnknownPath),
    }
}

impl Matcher {
    /// Refuses a condition that no message can meet.
    fn check(&self, subjects: &[Subject]) -> Result<(), NeverMatches> {
        let one_of = |words: &[&'static str]| match self
            .any_of
            .iter()
            .find(|pattern| !words.iter().any(|word| pattern.fits(word)))
        {
            Some(pattern) => Err(NeverMatches::NoSuchWord {
                pattern: pattern.to_string(),
                words: words.to_vec(),
            }),
            None => Ok(()),
        };
        match &self.field {
            Field::Kind => {
                let mut kinds = PayloadKind::ALL.map(PayloadKind::in_match).to_vec();
                kinds.dedup();
                one_of(&kinds)
            }
            Field::Status => one_of(&STATUSES),
            Field::Severity => self.check_severity(),
            Field::Subject(number) => self.check_token(*number, subjects),
            Field::Source | Field::Header(_) | Field::Payload(_) => Ok(()),
        }
    }

    /// Refuses a severity that is renamed on reading: an alert with "crit" becomes "critical", so "crit" would never
    /// match.
    fn check_severity(&self) -> Result<(), NeverMatches> {
        let fits = |pattern: &Pattern| SEVERITIES.iter().any(|severity| pattern.fits(severity));
        for pattern in &self.any_of {
            let text = pattern.to_string();
            let small = text.to_lowercase();
            let meant = if pattern.is_literal() {
                String::from(Severity::from(text.clone()))
            } else if fits(&Pattern::new(&small)) && !fits(pattern) {
                small
            } else {
                continue;
            };
            if meant != text {
                return Err(NeverMatches::Renamed { written: text, meant });
            }
        }
        Ok(())
    }

    fn check_token(&self, number: usize, subjects: &[Subject]) -> Result<(), NeverMatches> {
        if !subjects.iter().any(|subject| subject.may_have_token(number, |_| true)) {
            return Err(NeverMatches::NoToken(number));
        }
        for pattern in &self.any_of {
            let text = pattern.to_string();
            if text.is_empty() || text.contains(['.', ' ', '>']) {
                return Err(NeverMatches::NotAToken(text));
            }
            let is_possible =
                |subject: &Subject| subject.may_have_token(number, |token| pattern.fits(token));
            if !subjects.iter().any(is_possible) {
                return Err(NeverMatches::OtherToken { pattern: text, number });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, fits) in [
            ("db", "db", true),
            ("db", "db-1", false),
            ("db*", "db-1", true),
            ("*-1", "db-1", true),
            ("*b*-*", "db-1", true),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*b*c", "a-c-b", false),
            ("a**b", "ab", true),
            ("*aab", "aaaab", true),
            ("为*", "为什么", true),
            ("d?", "d?", true),
            ("d?", "db", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Pattern::new(pattern).fits(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn what_nothing_can_fit_is_refused() {
        let subjects = [Subject::filter("ops.report.*").unwrap()];
        for (name, value, said) in [
            ("severety", "critical", "is not a property to match"),
            ("severity", "crit", "in an alert becomes \"critical\""),
            ("kind", "alarm", "\"alarm\" is not one of report, alert"),
            ("status", "over", "not one of firing, resolved"),
            ("subject.4", "x", "no subject of the route has 4 tokens"),
            ("subject.0", "x", "is not the number of a token"),
            ("subject.x", "x", "is not the number of a token"),
            ("subject.2", "alert", "is never the token 2 of a subject"),
            ("subject.2", "al*", "is never the token 2 of a subject"),
            ("subject.3", "a.b", "is not a token of a subject"),
            ("subject.3", "", "is not a token of a subject"),
            ("severity", "WARN*", "in an alert becomes \"warn*\""),
            ("header.", "x", "is neither header.NAME"),
            ("payload.a..b", "x", "is neither header.NAME"),
            ("body.x", "x", "is neither header.NAME"),
        ] {
            let written = [(name.to_owned(), RawPattern::One(value.to_owned()))].into();
            let wrong = check("routes[0].match", written, &subjects).unwrap_err().to_string();
            assert!(wrong.contains(said) && wrong.contains(name), "{name}: {wrong}");
        }
        let empty = [("kind".to_owned(), RawPattern::Several(Vec::new()))].into();
        assert!(check("k", empty, &subjects).unwrap_err().to_string().contains("an empty list"));
        for (name, value) in [
            ("severity", "*"),
            ("severity", "P1"),
            ("severity", "P*"),
            ("subject.2", "rep*"),
            ("subject.3", "db-*"),
            ("kind", "*"),
        ] {
            let written = [(name.to_owned(), RawPattern::One(value.to_owned()))].into();
            assert_eq!(check("k", written, &subjects).unwrap().len(), 1, "{name}");
        }
        let both = |kind: &str| {
            let pair =
                |name: &str, value: &str| (name.to_owned(), RawPattern::One(value.to_owned()));
            check("k", [pair("kind", kind), pair("severity", "critical")].into(), &subjects)
        };
        assert!(both("alert").is_ok() && both("*").is_ok() && both("event").is_ok());
        assert!(both("report").unwrap_err().to_string().contains("only alerts have"));
    }
}
