//! Whether who a message is said to be of is who it was published for: publishers choose what they write, but NATS
//! decides on which subjects they may.

use crate::payload::Payload;

/// Whether the subject of a message names all machines and services that the message is said to be of.
pub(super) fn is_told_by(payload: &Payload, subject: &str) -> bool {
    match payload {
        Payload::Report(report) => names(subject, &report.host),
        Payload::Alert(alert) => {
            alert.source.as_deref().is_none_or(|source| names(subject, source))
        }
        Payload::Alerts(group) => {
            let mut sources = group.alerts.iter().filter_map(|alert| alert.source.as_deref());
            sources.all(|source| names(subject, source))
        }
        Payload::Event(event) => names(subject, &event.source),
        // They tell of nobody, or are not said to be of anybody.
        Payload::Note(_) | Payload::Object(_) | Payload::Text(_) | Payload::Binary(_) => true,
    }
}

/// Whether a subject has a token that names a machine or service: `ops.alert.db-01` names `db-01`, `db-01:9100` and
/// `db-01.example.com`, as do `ops.alert.db-01_example_com` and `ops.alert.db-01.example.com` the last of them.
fn names(subject: &str, source: &str) -> bool {
    let source = source.trim().to_lowercase();
    let host = without_port(&source).trim_end_matches('.');
    let tokens: Vec<String> = subject.to_lowercase().split('.').map(str::to_owned).collect();
    let parts: Vec<&str> = host.split(['.', '/']).collect();
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let short = parts.first().filter(|short| !host.contains('/') && !is_number(short));
    !host.is_empty()
        && (tokens.windows(parts.len()).any(|window| window == parts)
            || tokens.iter().any(|token| {
                short == Some(&token.as_str()) || is_written(token, host) || token == &source
            }))
}

/// A name or number of a host, as `db-01:9100` or `[::1]:9100`, without the port.
fn without_port(source: &str) -> &str {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match source.rsplit_once(':') {
        Some((host, port)) if is_port(port) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => source,
    }
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
            assert!(names(subject, source), "{subject} {source}");
        }
        for (subject, source) in [
            ("ops.alert.evil", "db-01"),
            ("ops.alert.evil", "db-01.evil"),
            ("ops.alert.evil", "db-01 evil"),
            ("ops.alert.evil", "db-01/evil"),
            ("ops.alert.db-0", "db-01"),
            ("ops.alert.db-011", "db-01"),
            ("ops.alert.db_01", "db-01"),
            ("ops.alert.192", "192.0.2.7"),
            ("ops.alert.1", "[2001:db8::1]:9100"),
            ("ops.alertmanager", "db-01:9100"),
            ("ops.alert.evil", ""),
            ("ops.alert.evil", "."),
        ] {
            assert!(!names(subject, source), "{subject} {source}");
        }
    }
}
