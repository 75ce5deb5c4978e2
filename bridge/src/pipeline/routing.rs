//! Decides which routes take a message. Each route decides from the message alone, so that all routes reach the same
//! result at any time without having to communicate.

use std::sync::Arc;

use async_nats::HeaderMap;
use serde_json::Value;

use crate::{
    config::{Field, Matcher, RoomTarget, Route},
    json,
    message::{
        Decoded, Status,
        payload::{alerts, sources},
    },
};

/// The facts about a message that routes decide by.
pub(crate) struct Facts<'a> {
    pub(crate) subject: &'a str,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) decoded: &'a Decoded,
    pub(crate) original: &'a [u8],
}

/// The routing rules of one route.
#[derive(Clone)]
pub(crate) struct Routing {
    route: Arc<Route>,
    /// The routes that come first: what they take and do not pass on does not belong to this route.
    rivals: Vec<Arc<Route>>,
    /// The routes that come first and pass on what they take.
    earlier: Vec<Arc<Route>>,
    /// Whether the route takes everything, because it was decided before.
    takes_all: bool,
}

impl Routing {
    /// Returns the rules of one route among all routes.
    pub(crate) fn of(route: &Arc<Route>, all: &[Arc<Route>]) -> Self {
        let passes_on = |other: &&Arc<Route>| other.continues && other.stream == route.stream;
        let before = all.iter().take_while(|other| !Arc::ptr_eq(other, route));
        let earlier = before.filter(passes_on).cloned().collect();
        let same_stream = all.iter().filter(|other| other.stream == route.stream);
        let rivals = if route.is_default {
            same_stream.filter(|other| !other.is_default).cloned().collect()
        } else {
            let before = same_stream.take_while(|other| !Arc::ptr_eq(other, route));
            before.filter(|other| !other.is_default && !other.continues).cloned().collect()
        };
        Self { route: Arc::clone(route), rivals, earlier, takes_all: false }
    }

    /// Returns the rules of a route whose messages have already been decided on.
    pub(crate) fn all_of(route: &Arc<Route>) -> Self {
        let (rivals, earlier) = (Vec::new(), Vec::new());
        Self { route: Arc::clone(route), rivals, earlier, takes_all: true }
    }

    /// Whether the route is to post a message that its consumer received.
    pub(crate) fn takes(&self, message: &Facts<'_>) -> bool {
        self.takes_all
            || takes(&self.route, message) && !self.rivals.iter().any(|rival| takes(rival, message))
    }

    /// Returns the rooms in which earlier routes show a message that this route takes, too.
    pub(crate) fn rooms_of_earlier(&self, message: &Facts<'_>) -> Vec<RoomTarget> {
        let earlier = self.earlier.iter().filter(|route| takes(route, message));
        earlier.map(|route| route.rooms.of(message.subject)).collect()
    }
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
            let routing = Routing::of(&route, std::slice::from_ref(&route));
            assert_eq!(routing.takes(&facts), takes, "{lines} of {payload}");
        }
    }
}
