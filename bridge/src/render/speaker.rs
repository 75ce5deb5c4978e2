//! Whether who a message is said to be of is who it was published for: publishers choose what they write, but NATS
//! decides on which subjects they may.

use crate::{config::Route, message::Payload, render::words::Words, subject::Subject, text::shown};

/// Whom the subjects of a route name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Speakers {
    /// Without any, each token of a subject can name somebody.
    filters: Vec<Subject>,
}

impl Speakers {
    pub(crate) fn of(route: &Route) -> Self {
        Self { filters: route.subjects.clone() }
    }

    /// Whether the subject of a message names all machines and services that the message is said to be of.
    pub(super) fn tell(&self, payload: &Payload, subject: &str) -> bool {
        let is_named = |source: Option<&str>| source.is_some_and(|it| self.name(subject, it));
        match payload {
            Payload::Report(report) => self.name(subject, &report.host),
            Payload::Alert(alert) => is_named(alert.source.as_deref()),
            Payload::Alerts(group) => {
                group.alerts.iter().all(|alert| is_named(alert.source.as_deref()))
            }
            Payload::Note(note) => is_named(note.source()),
            // Its type and what it is about can be any words, also those of another subject.
            Payload::Event(_) => false,
            // They begin with the subject, or are not said to be of anybody.
            Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) => true,
        }
    }

    /// Whether a subject has a token that names a machine or service: `ops.alert.db-01` names `db-01`, `db-01:9100` and
    /// `db-01.example.com`, as do `ops.alert.db-01_example_com` and `ops.alert.db-01.example.com` the last of them.
    pub(crate) fn name(&self, subject: &str, source: &str) -> bool {
        let source = source.trim().to_lowercase();
        let host = without_port(&source).trim_end_matches('.');
        let lower = subject.to_lowercase();
        let tokens: Vec<&str> = lower.split('.').collect();
        let parts: Vec<&str> = host.split(['.', '/']).collect();
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        // What follows a short name has to be a domain: in other words a publisher could claim to be somebody else.
        let has_domain = !host.contains('/') && parts[1..].iter().all(|label| is_label(label));
        let short = parts.first().filter(|short| has_domain && !is_number(short));
        let tells = |(index, token): (usize, &&str)| {
            tokens[index..].starts_with(&parts)
                || short == Some(token)
                || is_written(token, host)
                || *token == source
        };
        let telling = self.telling(subject);
        let mut telling = tokens.iter().enumerate().filter(|(index, _)| telling[*index]);
        !host.is_empty() && telling.any(tells)
    }

    /// The machine or service that something on a subject is said to be of.
    pub(crate) fn speaker(&self, subject: &str, source: &str) -> Speaker {
        let via = (!self.name(subject, source)).then(|| shown::name(subject));
        Speaker { via, name: shown::token(source) }
    }

    /// Which tokens of a subject can name somebody: those for which the filters have wildcards. What is written in them
    /// is the same whoever publishes; where they have no wildcard, whoever wrote them chose all of the subject.
    fn telling(&self, subject: &str) -> Vec<bool> {
        let filters: Vec<&Subject> =
            self.filters.iter().filter(|filter| filter.matches(subject)).collect();
        let is_free = |index| filters.iter().any(|filter| filter.has_wildcard_at(index));
        let free: Vec<bool> = (0..subject.split('.').count()).map(is_free).collect();
        if free.contains(&true) { free } else { vec![true; free.len()] }
    }
}

/// A machine or service that something is said to be of. Those that the subject names are first in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Speaker {
    /// On which subject it was said, if that does not name it.
    pub(crate) via: Option<String>,
    pub(crate) name: String,
}

impl Speaker {
    /// Both, as a room shows them.
    pub(crate) fn shown(&self, words: &dyn Words) -> String {
        match &self.via {
            Some(subject) => format!("{}{}{}", self.name, words.gap(), words.via(subject)),
            None => self.name.clone(),
        }
    }
}

/// A name or number of a host, as `db-01:9100` or `[::1]:9100`, without the port.
fn without_port(source: &str) -> &str {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match source.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => source,
    }
}

/// Whether a text can be a part of the name of a host.
fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
}

/// Whether a token is a name, with hyphens or underscores for what no token can have.
fn is_written(token: &str, name: &str) -> bool {
    let name = name.trim_matches(['[', ']', '/']);
    token.chars().count() == name.chars().count()
        && token.chars().zip(name.chars()).all(|(written, c)| {
            written == c
                || matches!(written, '-' | '_') && (c.is_whitespace() || ".:/*>".contains(c))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_a_machine_in_any_of_the_usual_forms() {
        for (subject, source) in [
            ("ops.alert.db-01", "db-01"),
            ("ops.alert.db-01.disk", "DB-01"),
            ("ops.alert.db-01", "db-01:9100"),
            ("ops.alert.db-01", "db-01.example.com"),
            ("ops.alert.db-01", "db-01.example.com.:9100"),
            ("ops.alert.db-01_example_com", "db-01.example.com:9100"),
            ("ops.alert.db-01.example.com", "db-01.example.com"),
            ("ops.alert.192-0-2-7", "192.0.2.7:9100"),
            ("ops.alert.2001-db8--1", "[2001:db8::1]:9100"),
            ("forge.ops.infra", "ops/infra"),
            ("ops.alert.数据库", "数据库"),
        ] {
            assert!(Speakers::default().name(subject, source), "{subject} {source}");
        }
        for (subject, source) in [
            ("ops.alert.evil", "db-01"),
            ("ops.alert.evil", "db-01.evil"),
            ("ops.alert.evil", "db-01 evil"),
            ("ops.alert.evil", "db-01/evil"),
            ("ops.alert.evil", "evil.local (via ops.alert.db-01)"),
            ("ops.alert.e", "e. db-01"),
            ("ops.alert.e", "e.\u{a0}db-01"),
            ("ops.alert.evil", "evil..db-01"),
            ("ops.alert.evil", "evil.x, db-01"),
            ("ops.alert.db-0", "db-01"),
            ("ops.alert.db-011", "db-01"),
            ("ops.alert.db_01", "db-01"),
            ("ops.alert.192", "192.0.2.7"),
            ("ops.alert.1", "[2001:db8::1]:9100"),
            ("ops.alertmanager", "db-01:9100"),
            ("ops.alert.evil", ""),
            ("ops.alert.evil", "."),
        ] {
            assert!(!Speakers::default().name(subject, source), "{subject} {source}");
        }
    }

    #[test]
    fn a_token_that_all_publishers_have_names_nobody() {
        let speakers = |filters: &[&str]| Speakers {
            filters: filters.iter().map(|filter| Subject::filter(filter).unwrap()).collect(),
        };
        for (filters, subject, source, is_named) in [
            (&["ops.alert.>"][..], "ops.alert.evil", "alert", false),
            (&["ops.alert.*"], "ops.alert.evil", "ops", false),
            (&["ops.alert.*"], "ops.alert.evil", "alert.evil", false),
            (&["ops.alert.*"], "ops.alert.alert", "alert", true),
            (&["ops.alert.*"], "ops.alert.db-01", "db-01:9100", true),
            (&["ops.alert.>"], "ops.alert.db-01.disk", "db-01", true),
            (&["ops.alert.>"], "ops.alert.evil.db-01", "db-01", true),
            (&["ops.alert.*", "ops.alert.*.disk"], "ops.alert.evil.disk", "disk", false),
            (&["ops.*.example.com"], "ops.db-01.example.com", "db-01.example.com", true),
            (&["ops.*.example.com"], "ops.db-01.example.com", "example.com", false),
            // Another filter of the route takes it, too, or none does.
            (&["ops.alert.*", "ops.*.evil"], "ops.alert.evil", "alert", true),
            (&["ops.report.*", "ops.alert.>"], "ops.alert.evil", "alert", false),
            (&["ops.report.*"], "ops.alert.evil", "alert", true),
            // The whole subject is written in the configuration.
            (&["ops.alert.db-01"], "ops.alert.db-01", "db-01", true),
            (&["ops.alert.db-01"], "ops.alert.db-01", "db-02", false),
        ] {
            let named = speakers(filters).name(subject, source);
            assert_eq!(named, is_named, "{filters:?} {subject} {source}");
        }
    }
}
