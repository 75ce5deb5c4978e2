//! Decides which routes take a message. Each route decides from the message alone, so that all routes reach the same
//! result at any time without having to communicate.

use std::sync::Arc;

use async_nats::HeaderMap;
use serde_json::Value;

use crate::{
    config::{Field, Matcher, RoomTarget, Route},
    decode::{
        Decoder, Library,
        shape::{Shapes, Surroundings},
        value_at,
    },
    mask::Mask,
    message::{
        Decoded, Payload, Status, is_same_creation,
        payload::{alerts, sources},
    },
    pipeline::dead_letter::is_dead_letter,
    subject::Subject,
};

/// The facts about a message that routes decide by.
pub(crate) struct Facts<'a> {
    /// The lineage of the message's stream, as in [`Upstream`](crate::source::Upstream).
    pub(crate) lineage: &'a str,
    /// The sequence number of the message in its stream.
    pub(crate) sequence: u64,
    pub(crate) subject: &'a str,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) decoded: &'a Decoded,
    pub(crate) original: &'a [u8],
    /// Whether the message must not be looked into, because that has ended the process.
    pub(crate) is_opaque: bool,
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
    /// The name of the route's consumer, which the route keeps when its configuration changes.
    consumer: String,
    /// The present rules. `None` for a route that is not in the configuration any more.
    present: Option<Rules>,
    /// The rules of earlier configurations, the oldest first.
    earlier: Vec<Arc<Epoch>>,
    /// All routes of the configuration.
    all: Arc<[Arc<Route>]>,
    reading: Reading,
    /// Whether the route takes everything, because it was decided before.
    takes_all: bool,
    /// The beginning of the subjects of all dead letters.
    dead_letters: Subject,
}

/// The shapes by which the messages of a route are read.
#[derive(Clone, Default)]
struct Reading {
    /// The users' own shapes of all routes.
    library: Arc<Library>,
    /// The shapes of this route.
    own: Option<Arc<Shapes>>,
    /// The secrets that are hidden before a shape reads a message.
    mask: Mask,
}

impl Reading {
    /// Whether another route takes a message, which it may read by other shapes than this one. Of a route of an earlier
    /// configuration only those are known that a present route has, too.
    ///
    /// A message that must not be looked into is not another route's if that depends on its content: better two routes
    /// show it than none.
    fn takes(&self, route: &Route, message: &Facts<'_>) -> bool {
        let shapes = self.library.of(route);
        let is_same = self.own.as_ref().map(Arc::as_ptr) == shapes.as_ref().map(Arc::as_ptr);
        if message.is_opaque {
            return takes(route, message, |matcher| !looks_into(matcher) && fits(matcher, message));
        }
        if is_same || route.matchers.is_empty() {
            return takes(route, message, |matcher| fits(matcher, message));
        }
        let Facts { subject, headers, original, .. } = *message;
        let decoded = decode(shapes.as_deref(), &route.mask, subject, headers, original);
        let facts = Facts { decoded: &decoded, ..*message };
        takes(route, message, |matcher| fits(matcher, &facts))
    }

    /// Whether the route that received a message takes it. One that must not be looked into may meet every condition on
    /// its content.
    fn takes_own(&self, route: &Route, message: &Facts<'_>) -> bool {
        if message.is_opaque {
            return takes(route, message, |matcher| looks_into(matcher) || fits(matcher, message));
        }
        self.takes(route, message)
    }
}

/// The rules of one route in one configuration. They are kept as the routes from which they follow, which all routes share:
/// with hundreds of routes, lists of each route's rivals would take tens of megabytes.
#[derive(Debug, Clone)]
struct Rules {
    route: Arc<Route>,
    all: Arc<[Arc<Route>]>,
}

impl Rules {
    fn of(route: &Arc<Route>, all: &Arc<[Arc<Route>]>) -> Self {
        Self { route: Arc::clone(route), all: Arc::clone(all) }
    }

    /// Returns the routes of the same stream that come first.
    fn before(&self) -> impl Iterator<Item = &Arc<Route>> {
        let before = self.all.iter().take_while(|other| !Arc::ptr_eq(other, &self.route));
        before.filter(|other| other.stream == self.route.stream)
    }

    /// Returns the routes that come first and pass on what they take.
    fn passing_on(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.before().filter(|other| other.continues)
    }

    /// Returns the routes whose messages do not belong to this one: what they take they do not pass on, or this is the
    /// default route.
    fn rivals(&self) -> impl Iterator<Item = &Arc<Route>> {
        let Self { route, all } = self;
        let defaults = all.iter().filter(|other| route.is_default && other.stream == route.stream);
        let before = self.before().filter(|other| !route.is_default && !other.continues);
        defaults.chain(before).filter(|other| !other.is_default)
    }

    fn take(&self, message: &Facts<'_>, reading: &Reading) -> bool {
        reading.takes_own(&self.route, message)
            && !self.rivals().any(|rival| reading.takes(rival, message))
    }
}

/// The rules of an earlier configuration, which decide about the messages that were stored under it.
#[derive(Debug)]
pub(crate) struct Epoch {
    created: String,
    until: u64,
    is_work_queue: bool,
    routes: Vec<EpochRoute>,
}

/// A route of an earlier configuration.
#[derive(Debug)]
struct EpochRoute {
    consumer: String,
    rules: Rules,
    /// The message up to which the route was done with all. `None` if it had no consumer: none yet, so that nothing waited,
    /// or somebody had deleted it.
    done: Option<u64>,
}

impl Epoch {
    /// Returns the rules of a configuration of a stream, which was created at `created`, up to the message `until`. Each
    /// route has the message up to which it was done with all, if it had a consumer.
    ///
    /// A work queue delivers a message to one consumer, which may be another one than before.
    pub(crate) fn new(
        created: &str,
        until: u64,
        is_work_queue: bool,
        routes: Vec<(Arc<Route>, Option<u64>)>,
    ) -> Self {
        let all: Arc<[_]> = routes.iter().map(|(route, _)| Arc::clone(route)).collect();
        let routes = routes.into_iter().map(|(route, done)| EpochRoute {
            consumer: route.consumer_key().to_owned(),
            rules: Rules::of(&route, &all),
            done,
        });
        let routes = routes.collect();
        Self { created: created.to_owned(), until, is_work_queue, routes }
    }

    /// Returns the routes that had a consumer.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().filter(|it| it.done.is_some()).map(|it| &it.rules.route)
    }

    /// Returns the number of the last message that the rules decide about.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// Returns the time when the stream was created, as in [`StreamId`](crate::message::StreamId).
    pub(crate) fn created(&self) -> &str {
        &self.created
    }

    /// Whether the stream is a work queue.
    pub(crate) fn is_work_queue(&self) -> bool {
        self.is_work_queue
    }

    fn of_consumer(&self, consumer: &str) -> Option<&Rules> {
        self.of(consumer).filter(|it| it.done.is_some()).map(|it| &it.rules)
    }

    fn of(&self, consumer: &str) -> Option<&EpochRoute> {
        self.routes.iter().find(|it| it.consumer == consumer)
    }

    /// Returns a route by its consumer, whether that was there or not.
    pub(crate) fn route(&self, consumer: &str) -> Option<&Arc<Route>> {
        self.of(consumer).map(|it| &it.rules.route)
    }

    fn decides(&self, message: &Facts<'_>) -> bool {
        message.sequence <= self.until && is_same_creation(message.lineage, &self.created)
    }
}

impl Routing {
    /// Returns the rules of one route among all routes. A route that is not among them takes nothing.
    pub(crate) fn of(route: &Arc<Route>, all: &Arc<[Arc<Route>]>, dead_letters: &Subject) -> Self {
        let is_present = all.iter().any(|other| Arc::ptr_eq(other, route));
        Self {
            consumer: route.consumer_key().to_owned(),
            present: is_present.then(|| Rules::of(route, all)),
            earlier: Vec::new(),
            all: Arc::clone(all),
            reading: Reading { mask: route.mask.clone(), ..Reading::default() },
            takes_all: false,
            dead_letters: dead_letters.clone(),
        }
    }

    /// Returns the same rules for messages that are read by the users' own shapes, too.
    pub(crate) fn with_shapes(self, library: &Arc<Library>, route: &Route) -> Self {
        let mask = route.mask.clone();
        let reading = Reading { library: Arc::clone(library), own: library.of(route), mask };
        Self { reading, ..self }
    }

    /// Decodes a message with the shapes of the route.
    pub(crate) fn decode(
        &self,
        subject: &str,
        headers: Option<&HeaderMap>,
        original: &[u8],
    ) -> Decoded {
        decode(self.reading.own.as_deref(), &self.reading.mask, subject, headers, original)
    }

    /// Returns the rules for messages of the same route that have already been decided on.
    pub(crate) fn decided(&self) -> Self {
        Self { takes_all: true, ..self.clone() }
    }

    /// Returns the same rules after those of earlier configurations, the oldest first.
    pub(crate) fn after(self, earlier: &[Arc<Epoch>]) -> Self {
        Self { earlier: earlier.to_vec(), ..self }
    }

    /// Whether the route is to post a message that its consumer received.
    pub(crate) fn takes(&self, message: &Facts<'_>) -> bool {
        if message.is_marker() {
            return false;
        }
        self.takes_all || self.decides_for(message) && !self.is_dead_letter(message)
    }

    /// Whether the rules that were in force when the message was stored give it to the route.
    fn decides_for(&self, message: &Facts<'_>) -> bool {
        let takes_now =
            || self.present.as_ref().is_some_and(|rules| rules.take(message, &self.reading));
        let Some(epoch) = self.earlier.iter().find(|epoch| epoch.decides(message)) else {
            return takes_now();
        };
        if let Some(rules) = epoch.of_consumer(&self.consumer) {
            return rules.take(message, &self.reading) || epoch.is_work_queue && takes_now();
        }
        // A new route shows what the stream has, but not what still waits for another one to which it belonged. It may not
        // be new, as somebody can have deleted its consumer: then it has to show what waited for it.
        let took =
            || epoch.of(&self.consumer).is_some_and(|it| it.rules.take(message, &self.reading));
        takes_now() && !epoch.routes.iter().any(|it| self.is_left_to(it, message)) || took()
    }

    /// Whether a message that a new route would take is left to one of an earlier configuration, for which it waited and
    /// which would not take it now.
    fn is_left_to(&self, other: &EpochRoute, message: &Facts<'_>) -> bool {
        let takes_now = |route: &Arc<Route>| {
            route.stream == other.rules.route.stream
                && route.consumer_key() == other.consumer
                && Rules::of(route, &self.all).take(message, &self.reading)
        };
        !message.is_opaque
            && other.done.is_some_and(|done| message.sequence > done)
            && other.rules.take(message, &self.reading)
            && !self.all.iter().any(takes_now)
    }

    /// Whether a message is a dead letter, which a route that reads all of a stream may find there. The room already
    /// says that the message was refused, why, and where it is kept. Shown once more, it would be refused again for the
    /// same reason, or seem to be news: an alert that ended long ago would be open again. Whoever wants to see dead
    /// letters in a room can have a stream copy them to another subject.
    pub(crate) fn is_dead_letter(&self, message: &Facts<'_>) -> bool {
        is_dead_letter(&self.dead_letters, message.subject, message.headers)
    }

    /// Returns the rooms in which routes that come first show a message that this route takes, too.
    pub(crate) fn rooms_of_earlier(&self, message: &Facts<'_>) -> Vec<RoomTarget> {
        // Deferred messages were decided on before.
        let rules = self.rules(message).filter(|_| !self.takes_all);
        let passing_on = rules.into_iter().flat_map(Rules::passing_on);
        let earlier = passing_on.filter(|route| self.reading.takes(route, message));
        earlier.map(|route| route.rooms.of(message.subject)).collect()
    }

    /// Returns the rules of the route that were in force when a message was stored. A route that had none then has its
    /// present ones.
    fn rules(&self, message: &Facts<'_>) -> Option<&Rules> {
        let epoch = self.earlier.iter().find(|epoch| epoch.decides(message));
        let before = epoch.and_then(|epoch| epoch.of_consumer(&self.consumer));
        before.or(self.present.as_ref())
    }
}

fn decode(
    own: Option<&Shapes>,
    mask: &Mask,
    subject: &str,
    headers: Option<&HeaderMap>,
    original: &[u8],
) -> Decoded {
    let around = Surroundings { subject, headers };
    Decoder { own, around, mask: Some(mask), trace: None }.decode(original)
}

fn takes(route: &Route, message: &Facts<'_>, meets: impl Fn(&Matcher) -> bool) -> bool {
    route.subjects.iter().any(|filter| filter.matches(message.subject))
        && route.matchers.iter().all(meets)
}

/// Whether a condition is on the content of messages.
fn looks_into(matcher: &Matcher) -> bool {
    match matcher.field {
        Field::Kind | Field::Severity | Field::Status | Field::Source | Field::Payload(_) => true,
        Field::Header(_) | Field::Subject(_) => false,
    }
}

fn fits(matcher: &Matcher, message: &Facts<'_>) -> bool {
    let fits = |text: &str| matcher.any_of.iter().any(|pattern| pattern.fits(text));
    match &matcher.field {
        Field::Kind => {
            message.decoded.payload.kinds().into_iter().any(|kind| fits(kind.in_match()))
        }
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
        Field::Payload(path) => originals(message)
            .into_iter()
            .any(|original| value(original, path).is_some_and(|text| fits(&text))),
        Field::Subject(number) => message.subject.split('.').nth(number - 1).is_some_and(fits),
    }
}

/// Returns the published bytes of each object in a message, or of the message.
fn originals<'a>(message: &Facts<'a>) -> Vec<&'a [u8]> {
    match &message.decoded.payload {
        Payload::Several(items) => {
            items.iter().filter_map(|item| message.original.get(item.range.clone())).collect()
        }
        _ => vec![message.original],
    }
}

/// Returns a value of the published JSON as text.
fn value(original: &[u8], path: &[String]) -> Option<String> {
    match value_at(original, path)? {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{message::RouteName, nats::headers};

    fn dead() -> Subject {
        Subject::literal("ops.dead").unwrap()
    }

    fn facts<'a>(
        subject: &'a str,
        headers: Option<&'a HeaderMap>,
        decoded: &'a Decoded,
        original: &'a [u8],
    ) -> Facts<'a> {
        let (lineage, sequence) = ("1", 1);
        Facts { lineage, sequence, subject, headers, decoded, original, is_opaque: false }
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
        let all: Arc<[_]> = [Arc::clone(&first), Arc::clone(&second)].into();
        let library = Arc::new(Library::load(all.iter().map(Arc::as_ref)).unwrap());
        let takes_as = |route: &Arc<Route>, original: &[u8], is_opaque: bool| {
            let routing = Routing::of(route, &all, &dead()).with_shapes(&library, route);
            let decoded = routing.decode("ops.a", None, original);
            routing.takes(&Facts { is_opaque, ..facts("ops.a", None, &decoded, original) })
        };
        let takes = |route: &Arc<Route>, original: &[u8]| takes_as(route, original, false);
        assert!(takes(&first, b"{\"ups\":\"x\"}") && !takes(&second, b"{\"ups\":\"x\"}"));
        assert!(!takes(&first, b"{\"other\":1}") && takes(&second, b"{\"other\":1}"));
        // A message that must not be looked into is not decoded by the shapes of others either.
        assert!(takes_as(&second, b"{\"ups\":\"x\"}", true));
    }

    /// A message that ended the process twice is shown as bytes. Nobody knows which conditions it meets, so the route that
    /// receives it shows it, and leaves it to no other.
    #[test]
    fn a_message_that_is_not_looked_into_is_left_to_no_other_route() {
        for condition in
            ["match.severity = 'critical'", "match.kind = 'alert'", "match.\"payload.a\" = '1'"]
        {
            let routes = [Arc::new(Route::with(condition)), Arc::new(Route::with(""))];
            let all: Arc<[_]> = routes.clone().into();
            let decoded = Decoded::as_bytes(b"{}", "ended the process twice");
            let facts = Facts { is_opaque: true, ..facts("ops.a", None, &decoded, b"{}") };
            for route in &routes {
                assert!(Routing::of(route, &all, &dead()).takes(&facts), "{condition}");
            }
        }
        // The subject and the headers of the message are known.
        let route = Arc::new(Route::with("match = { \"subject.2\" = 'b', severity = 'critical' }"));
        let decoded = Decoded::as_bytes(b"{}", "ended the process twice");
        let facts = Facts { is_opaque: true, ..facts("ops.a", None, &decoded, b"{}") };
        assert!(!Routing::of(&route, &[Arc::clone(&route)].into(), &dead()).takes(&facts));
    }

    #[test]
    fn a_dead_letter_under_its_own_subject_is_for_no_route() {
        let route = Arc::new(Route::with(""));
        let routing = Routing::of(&route, &[Arc::clone(&route)].into(), &dead());
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
            let facts = facts(subject, headers, &decoded, b"text");
            assert_eq!(routing.takes(&facts), taken, "{subject}");
            assert!(routing.decided().takes(&facts), "{subject}");
        }
    }

    #[test]
    fn a_marker_is_for_no_route() {
        let route = Arc::new(Route::with(""));
        let routing = Routing::of(&route, &[Arc::clone(&route)].into(), &dead());
        let takes = |name: &str, value: &str, original: &[u8]| {
            let mut headers = HeaderMap::new();
            headers::add(&mut headers, &name.parse().unwrap(), &value.parse().unwrap());
            let decoded = Decoded::from_bytes(original);
            routing.takes(&facts("ops.a", Some(&headers), &decoded, original))
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
            let facts = facts("ops.alert.db", Some(&headers), &decoded, payload.as_bytes());
            let route = Arc::new(Route::with(lines));
            let routing = Routing::of(&route, &[Arc::clone(&route)].into(), &dead());
            assert_eq!(routing.takes(&facts), takes, "{lines} of {payload}");
        }
    }

    /// Whether each of some routes takes the message of this number on a subject.
    fn take<const N: usize>(routings: [&Routing; N], subject: &str, sequence: u64) -> [bool; N] {
        let decoded = Decoded::from_bytes(b"x");
        let facts = Facts { sequence, ..facts(subject, None, &decoded, b"x") };
        routings.map(|routing| routing.takes(&facts))
    }

    fn route(name: &str, lines: &str) -> Arc<Route> {
        let mut route = Route::with(lines);
        route.name = RouteName::parse(name).unwrap();
        Arc::new(route)
    }

    #[test]
    fn the_configuration_under_which_a_message_was_stored_decides() {
        let (a, b) = (route("a", "match.\"subject.2\" = \"x\""), route("b", ""));
        let (new_a, added) = (route("a", "match.\"subject.2\" = \"y\""), route("added", ""));
        let before = vec![(Arc::clone(&a), Some(3)), (Arc::clone(&b), Some(3))];
        let epoch = [Arc::new(Epoch::new("1", 10, false, before))];
        let now = [Arc::clone(&new_a), Arc::clone(&added)].into();
        let of = |route| Routing::of(route, &now, &dead()).after(&epoch);
        let (a, removed, added) = (of(&new_a), of(&b), of(&added));
        let all = [&a, &removed, &added];
        assert_eq!(take(all, "ops.x", 10), [true, false, false]);
        assert_eq!(take(all, "ops.x", 11), [false, false, true]);
        assert_eq!(take(all, "ops.y", 10), [false, true, false]);
        assert_eq!(take(all, "ops.y", 11), [true, false, false]);
        // Messages that were done with before are history, which a new route shows.
        assert_eq!(take([&added], "ops.x", 3), [true]);
        // Another stream has nothing to do with it.
        let other = [Arc::new(Epoch::new("2000000000", 10, false, Vec::new()))];
        let routing = Routing::of(&new_a, &now, &dead()).after(&other);
        assert_eq!(take([&routing], "ops.y", 10), [true]);
    }

    #[test]
    fn a_route_beside_others_shows_what_waits_for_them_too() {
        let (a, beside) = (route("a", ""), route("beside", "continue = true"));
        let before = vec![(Arc::clone(&a), Some(0))];
        let epoch = [Arc::new(Epoch::new("1", 10, false, before))];
        let now = [Arc::clone(&beside), Arc::clone(&a)].into();
        let of = |route| Routing::of(route, &now, &dead()).after(&epoch);
        assert_eq!(take([&of(&beside), &of(&a)], "ops.x", 5), [true, true]);
    }

    #[test]
    fn a_route_whose_consumer_was_deleted_decides_as_before_and_as_now() {
        let (before, now) =
            (route("a", "match.\"subject.2\" = \"x\""), route("a", "match.\"subject.2\" = \"y\""));
        let epoch = [Arc::new(Epoch::new("1", 10, false, vec![(before, None)]))];
        let routing = Routing::of(&now, &[Arc::clone(&now)].into(), &dead()).after(&epoch);
        assert_eq!(take([&routing], "ops.x", 10), [true]);
        assert_eq!(take([&routing], "ops.y", 10), [true]);
        assert_eq!(take([&routing], "ops.x", 11), [false]);
        assert_eq!(take([&routing], "ops.z", 10), [false]);
    }

    #[test]
    fn a_work_queue_gives_a_moved_message_to_the_present_route() {
        let (a, b) = (route("a", "match.\"subject.2\" = \"x\""), route("b", ""));
        let wide = route("a", "");
        let before = vec![(Arc::clone(&a), Some(0)), (Arc::clone(&b), Some(0))];
        for (is_work_queue, takes) in [(false, false), (true, true)] {
            let epoch = Epoch::new("1", 10, is_work_queue, before.clone());
            let now = [Arc::clone(&wide)].into();
            let routing = Routing::of(&wide, &now, &dead()).after(&[Arc::new(epoch)]);
            assert_eq!(take([&routing], "ops.y", 5), [takes]);
        }
    }
}
