//! Decides which routes take a message. Each route decides from the message alone, so that all routes reach the same
//! result at any time without having to communicate.

use std::sync::Arc;

use async_nats::HeaderMap;
use serde_json::Value;

use crate::{
    config::{Field, Matcher, Route},
    decode::{
        Decoder, Library,
        shape::{Shapes, Surroundings},
    },
    json,
    message::{
        Decoded, Status,
        payload::{alerts, sources},
    },
    pipeline::dead_letter::is_dead_letter,
    subject::Subject,
};

/// The facts about a message that routes decide by.
pub(crate) struct Facts<'a> {
    pub(crate) subject: &'a str,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) decoded: &'a Decoded,
    pub(crate) original: &'a [u8],
}

impl Facts<'_> {
    /// Whether the message says nothing but that messages on its subject are gone: NATS or a client stores one when a
    /// message expires (`subject_delete_marker_ttl` of a stream), or a value of a bucket is deleted.
    pub(crate) fn is_marker(&self) -> bool {
        let has = |name: &str, values: &[&str]| {
            let value = self.headers.and_then(|headers| headers.get(name));
            value.is_some_and(|value| values.contains(&value.as_str()))
        };
        self.original.is_empty()
            && (has("Nats-Marker-Reason", &["MaxAge", "Purge", "Remove"])
                || has("KV-Operation", &["DEL", "PURGE"]))
    }
}

/// The routing rules of one route.
#[derive(Clone)]
pub(crate) struct Routing {
    route: Arc<Route>,
    /// The user's own shapes for the messages of the route.
    shapes: Option<Arc<Shapes>>,
    /// The routes that come first: what they take and do not pass on does not belong to this route.
    rivals: Vec<Rival>,
    /// Whether the route takes everything, because it was decided before.
    takes_all: bool,
    /// The beginning of the subjects of all dead letters.
    dead_letters: Subject,
}

/// A route that comes before another one, with its shapes.
#[derive(Clone)]
struct Rival {
    route: Arc<Route>,
    shapes: Option<Arc<Shapes>>,
}

impl Routing {
    /// Returns the rules of one route among all routes.
    pub(crate) fn of(
        route: &Arc<Route>,
        all: &[Arc<Route>],
        dead_letters: &Subject,
        library: &Library,
    ) -> Self {
        let rival =
            |route: &Arc<Route>| Rival { route: Arc::clone(route), shapes: library.of(route) };
        let same_stream = all.iter().filter(|other| other.stream == route.stream);
        let rivals = if route.is_default {
            same_stream.filter(|other| !other.is_default).map(rival).collect()
        } else {
            let before = same_stream.take_while(|other| !Arc::ptr_eq(other, route));
            before.filter(|other| !other.is_default && !other.continues).map(rival).collect()
        };
        let (route, dead_letters) = (Arc::clone(route), dead_letters.clone());
        let shapes = library.of(&route);
        Self { route, shapes, rivals, takes_all: false, dead_letters }
    }

    /// Returns the rules for messages of the same route that have already been decided on.
    pub(crate) fn decided(&self) -> Self {
        Self { takes_all: true, ..self.clone() }
    }

    /// Decodes a message with the shapes of the route.
    pub(crate) fn decode(
        &self,
        subject: &str,
        headers: Option<&HeaderMap>,
        original: &[u8],
    ) -> Decoded {
        decode(self.shapes.as_deref(), subject, headers, original)
    }

    /// Whether a route that comes first takes a message, which it may decode with other shapes.
    fn is_taken_by(&self, rival: &Rival, message: &Facts<'_>) -> bool {
        let is_same =
            self.shapes.as_ref().map(Arc::as_ptr) == rival.shapes.as_ref().map(Arc::as_ptr);
        if is_same || rival.route.matchers.is_empty() {
            return takes(&rival.route, message);
        }
        let Facts { subject, headers, original, .. } = *message;
        let decoded = decode(rival.shapes.as_deref(), subject, headers, original);
        takes(&rival.route, &Facts { subject, headers, decoded: &decoded, original })
    }

    /// Whether the route is to post a message that its consumer received.
    pub(crate) fn takes(&self, message: &Facts<'_>) -> bool {
        if message.is_marker() {
            return false;
        }
        self.takes_all
            || takes(&self.route, message)
                && !self.rivals.iter().any(|rival| self.is_taken_by(rival, message))
                && !self.is_dead_letter(message)
    }

    /// Whether a message is a dead letter, which a route that reads all of a stream may find there. The room already
    /// says that the message was refused, why, and where it is kept. Shown once more, it would be refused again for the
    /// same reason, or seem to be news: an alert that ended long ago would be open again. Whoever wants to see dead
    /// letters in a room can have a stream copy them to another subject.
    pub(crate) fn is_dead_letter(&self, message: &Facts<'_>) -> bool {
        is_dead_letter(&self.dead_letters, message.subject, message.headers)
    }
}

fn decode(
    own: Option<&Shapes>,
    subject: &str,
    headers: Option<&HeaderMap>,
    original: &[u8],
) -> Decoded {
    Decoder { own, around: Surroundings { subject, headers }, trace: None }.decode(original)
}

fn takes(route: &Route, message: &Facts<'_>) -> bool {
    route.subjects.iter().any(|filter| filter.matches(message.subject))
        && route.matchers.iter().all(|matcher| fits(matcher, message))
}

pub(crate) fn fits(matcher: &Matcher, message: &Facts<'_>) -> bool {
    let fits = |text: &str| matcher.any_of.iter().any(|pattern| pattern.fits(text));
    match &matcher.field {
        Field::Kind => fits(message.decoded.payload.kind().in_match()),
        Field::Severity => alerts(&message.decoded.payload)
            .iter()
            .any(|alert| fits(&String::from(alert.severity.clone()))),
        Field::Status => alerts(&message.decoded.payload).iter().any(|alert| {
            fits(match alert.status {
                Status::Firing => "firing",
                Status::Resolved => "resolved",
            })
        }),
        Field::Source => sources(&message.decoded.payload).into_iter().any(fits),
        Field::Header(name) => message.headers.is_some_and(|headers| {
            headers.get_all(name.as_str()).any(|value| fits(value.as_str()))
        }),
        Field::Payload(path) => value(message.original, path).is_some_and(|text| fits(&text)),
        Field::Subject(number) => message.subject.split('.').nth(number - 1).is_some_and(fits),
    }
}

/// Returns a value of the published JSON as text.
fn value(original: &[u8], path: &[String]) -> Option<String> {
    let text = std::str::from_utf8(original).ok()?;
    match json::at(text, path)? {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::headers;

    fn dead() -> Subject {
        Subject::literal("ops.dead").unwrap()
    }

    /// A route must not take what an earlier one takes, even if only the shapes of that one tell what it is.
    #[test]
    fn an_earlier_route_decides_by_its_own_shapes() {
        let directory = tempfile::tempdir().unwrap();
        let shape = "name = 'Own'\nrecognise.has = ['ups']\n[[rule]]\nas = 'alert'\nsummary = 'payload.ups'\n";
        std::fs::write(directory.path().join("own.toml"), shape).unwrap();
        let shapes = format!("shapes = {:?}", directory.path());
        let first = Arc::new(Route::with(&format!("{shapes}\nmatch.kind = \"alert\"")));
        let second = Arc::new(Route::with(""));
        let all = [Arc::clone(&first), Arc::clone(&second)];
        let library = Library::load(all.iter().map(Arc::as_ref)).unwrap();
        let takes = |route: &Arc<Route>, original: &[u8]| {
            let routing = Routing::of(route, &all, &dead(), &library);
            let decoded = routing.decode("ops.a", None, original);
            let (subject, headers) = ("ops.a", None);
            routing.takes(&Facts { subject, headers, decoded: &decoded, original })
        };
        assert!(takes(&first, b"{\"ups\":\"x\"}") && !takes(&second, b"{\"ups\":\"x\"}"));
        assert!(!takes(&first, b"{\"other\":1}") && takes(&second, b"{\"other\":1}"));
    }

    #[test]
    fn a_dead_letter_under_its_own_subject_is_for_no_route() {
        let route = Arc::new(Route::with(""));
        let routing =
            Routing::of(&route, std::slice::from_ref(&route), &dead(), &Library::default());
        let decoded = Decoded::from_bytes(b"text");
        let mut marked = HeaderMap::new();
        for name in ["Nats-Matrix-Reason", "Nats-Matrix-Stream", "Nats-Matrix-Sequence"] {
            headers::set(&mut marked, name, "1");
        }
        let mut stranger = HeaderMap::new();
        headers::set(&mut stranger, "Nats-Matrix-Reason", "1");
        for (subject, headers, taken) in [
            ("ops.dead.r", Some(&marked), false),
            ("ops.dead.other.later", Some(&marked), false),
            ("ops.deadly.r", Some(&marked), true),
            ("ops.copy.dead.r", Some(&marked), true),
            ("ops.dead.r", Some(&stranger), true),
            ("ops.dead.r", None, true),
        ] {
            let facts = Facts { subject, headers, decoded: &decoded, original: b"text" };
            assert_eq!(routing.takes(&facts), taken, "{subject}");
            assert!(routing.decided().takes(&facts), "{subject}");
        }
    }

    #[test]
    fn a_marker_is_for_no_route() {
        let route = Arc::new(Route::with(""));
        let routing =
            Routing::of(&route, std::slice::from_ref(&route), &dead(), &Library::default());
        let takes = |name: &str, value: &str, original: &[u8]| {
            let mut headers = HeaderMap::new();
            headers::add(&mut headers, &name.parse().unwrap(), &value.parse().unwrap());
            let decoded = Decoded::from_bytes(original);
            let headers = Some(&headers);
            routing.takes(&Facts { subject: "ops.a", headers, decoded: &decoded, original })
        };
        for (name, value) in
            [("Nats-Marker-Reason", "MaxAge"), ("KV-Operation", "DEL"), ("KV-Operation", "PURGE")]
        {
            assert!(!takes(name, value, b""), "{name}: {value}");
            assert!(takes(name, value, b"and yet a message"), "{name}: {value}");
        }
        assert!(takes("KV-Operation", "PUT", b"") && takes("Kind", "MaxAge", b""));
    }

    #[test]
    fn each_condition_looks_at_what_it_names() {
        let alert = r#"{"severity":"crit","summary":"s","source":"db-01","status":"resolved","tags":["a"],"load":9.5}"#;
        let report = r#"{"host":"db-01","disk_percent":14}"#;
        let mut headers = HeaderMap::new();
        for team in ["storage", "network"] {
            headers::add(&mut headers, &"Team".parse().unwrap(), &team.parse().unwrap());
        }
        for (lines, payload, takes) in [
            ("match.kind = \"alert\"", alert, true),
            ("match.kind = \"alert\"", report, false),
            ("match.severity = [\"warning\", \"critical\"]", alert, true),
            ("match.severity = \"critical\"", report, false),
            ("match.status = \"resolved\"", alert, true),
            ("match.status = \"firing\"", alert, false),
            ("match.source = \"db-*\"", alert, true),
            ("match.source = \"db-*\"", report, true),
            ("match.source = \"web-*\"", report, false),
            ("match.\"header.Team\" = \"network\"", report, true),
            ("match.\"header.Team\" = \"web\"", report, false),
            ("match.\"header.other\" = \"*\"", report, false),
            ("match.\"payload.tags.0\" = \"a\"", alert, true),
            ("match.\"payload.load\" = \"9.*\"", alert, true),
            ("match.\"payload.load\" = \"*\"", report, false),
            ("match.\"subject.2\" = \"alert\"", alert, true),
            ("match.\"subject.3\" = \"web\"", alert, false),
            ("match = { severity = \"critical\", source = \"web\" }", alert, false),
        ] {
            let decoded = Decoded::from_bytes(payload.as_bytes());
            let facts = Facts {
                subject: "ops.alert.db",
                headers: Some(&headers),
                decoded: &decoded,
                original: payload.as_bytes(),
            };
            let route = Arc::new(Route::with(lines));
            let routing =
                Routing::of(&route, std::slice::from_ref(&route), &dead(), &Library::default());
            assert_eq!(routing.takes(&facts), takes, "{lines} of {payload}");
        }
    }
}
