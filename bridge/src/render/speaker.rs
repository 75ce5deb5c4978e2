//! Checks whether the subject of a message names the machine that the message claims to be about: publishers choose
//! what they write, but NATS decides on which subjects they may publish.

use crate::{
    config::Route,
    message::Payload,
    render::words::Words,
    subject::{self, Subject},
    text::shown,
};

/// The filters of a route, which decide which tokens of a subject name a machine or service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Speakers {
    /// The filters of the route. Without any, each token of a subject can be a name.
    filters: Vec<Subject>,
}

impl Speakers {
    pub(crate) fn of(route: &Route) -> Self {
        Self { filters: route.subjects.clone() }
    }

    /// Whether the subject of a message names all machines and services that the message claims to be about.
    pub(super) fn tell(&self, payload: &Payload, subject: &str) -> bool {
        let is_named = |source: Option<&str>| source.is_some_and(|it| self.name(subject, it));
        match payload {
            Payload::Report(report) => {
                report.host.trim().is_empty() || self.name(subject, &report.host)
            }
            Payload::Alert(alert) => is_named(alert.source.as_deref()),
            Payload::Alerts(group) => {
                group.alerts.iter().all(|alert| is_named(alert.source.as_deref()))
            }
            Payload::Note(note) => is_named(note.source()),
            // The type of an event and the thing that it is about can be any words, even those of another subject.
            Payload::Event(_) => false,
            // These are shown with their subject, or do not claim to be about anything.
            Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) | Payload::Several(_) => {
                true
            }
        }
    }

    /// Whether a subject has a token that names a machine or service. `ops.alert.db-01` names `db-01`, `db-01:9100` and
    /// `db-01.example.com`; `ops.alert.db-01_example_com` and `ops.alert.db-01.example.com` name `db-01.example.com`,
    /// too.
    ///
    /// A subject with that of a schedule names nobody: one of the two may be another publisher's.
    pub(crate) fn name(&self, subject: &str, source: &str) -> bool {
        if subject::is_scheduled(subject) {
            return false;
        }
        let source = source.trim().to_ascii_lowercase();
        let host = without_port(&source).trim_end_matches('.');
        let lower = subject.to_ascii_lowercase();
        let tokens: Vec<&str> = lower.split('.').collect();
        let parts: Vec<&str> = host.split(['.', '/']).collect();
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        // A short name must be followed by a domain: with other words after it, a publisher could claim to be somebody
        // else.
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

    /// Returns the machine or service that a message on a subject claims to be about.
    pub(crate) fn speaker(&self, subject: &str, source: &str) -> Speaker {
        let via = (!self.name(subject, source)).then(|| shown::name(subject));
        Speaker { via, name: shown::token(source) }
    }

    /// Returns the tokens of a subject that tell its publisher from others: those that can be a name.
    pub(super) fn telling_tokens<'a>(&self, subject: &'a str) -> impl Iterator<Item = &'a str> {
        let tokens = subject.split('.').zip(self.telling(subject));
        tokens.filter(|(_, is_telling)| *is_telling).map(|(token, _)| token)
    }

    /// Returns which tokens of a subject can be a name: those for which a filter has a wildcard. The other tokens are
    /// the same for all publishers. If no filter has a wildcard, all tokens count, as the administrator wrote the whole
    /// subject.
    fn telling(&self, subject: &str) -> Vec<bool> {
        let filters: Vec<&Subject> =
            self.filters.iter().filter(|filter| filter.matches(subject)).collect();
        let is_free = |index| filters.iter().any(|filter| filter.has_wildcard_at(index));
        let free: Vec<bool> = (0..subject.split('.').count()).map(is_free).collect();
        if free.contains(&true) { free } else { vec![true; free.len()] }
    }
}

/// A machine or service that a message claims to be about. Those that the subject names sort first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Speaker {
    /// The subject of the message, if it does not name the machine or service.
    pub(crate) via: Option<String>,
    pub(crate) name: String,
}

impl Speaker {
    /// Returns the name, and the subject if there is one, as a room shows them.
    pub(crate) fn shown(&self, words: &dyn Words) -> String {
        match &self.via {
            Some(subject) => format!("{}{}{}", self.name, words.gap(), words.via(subject)),
            None => self.name.clone(),
        }
    }
}

/// Returns the name or address of a host, such as `db-01:9100` or `[::1]:9100`, without the port.
fn without_port(source: &str) -> &str {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match source.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => source,
    }
}

/// Whether a text can be a label of a host name.
fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
}

/// Whether a token spells a name, with hyphens or underscores for characters that a token cannot have.
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
            ("ops.alert.evil → ops.alert.db-01", "db-01"),
            ("ops.alert.db-01 → ops.alert.evil", "db-01"),
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
            // Another filter of the route matches the subject, too, or none does.
            (&["ops.alert.*", "ops.*.evil"], "ops.alert.evil", "alert", true),
            (&["ops.report.*", "ops.alert.>"], "ops.alert.evil", "alert", false),
            (&["ops.report.*"], "ops.alert.evil", "alert", true),
            // The configuration has the whole subject.
            (&["ops.alert.db-01"], "ops.alert.db-01", "db-01", true),
            (&["ops.alert.db-01"], "ops.alert.db-01", "db-02", false),
        ] {
            let named = speakers(filters).name(subject, source);
            assert_eq!(named, is_named, "{filters:?} {subject} {source}");
        }
    }
}
