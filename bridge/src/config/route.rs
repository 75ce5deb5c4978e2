//! `[[routes]]`: which messages go into which room.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU64,
    path::PathBuf,
    time::Duration,
};

use matrix_sdk::ruma::{OwnedUserId, UserId};
use serde::Deserialize;

use crate::{
    config::{
        alert_scope::AlertScope,
        display::{self, Display, Language},
        duration,
        error::ConfigError,
        matcher::{self, Matcher},
        one_of,
        quiet::{self, Quiet},
        room::{self, RoomTarget, Rooms},
        secret::Files,
        size,
        summary::{self, Summary},
    },
    message::RouteName,
    reserved,
    subject::Subject,
};

/// What goes where.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// Also the name of the durable consumer.
    pub name: RouteName,
    /// The JetStream stream.
    pub stream: String,
    /// The consumer's filters; at least one, none overlaps another.
    pub subjects: Vec<Subject>,
    /// Where its messages are posted.
    pub rooms: Rooms,
    /// Where messages go whose own room cannot be used, of a route with many.
    pub fallback_room: Option<RoomTarget>,
    /// How many rooms the bridge may make within an hour, of a route with many.
    pub new_rooms_per_hour: u32,
    /// Who may have made a room of a route with many, besides the bridge and administrators.
    pub room_creators: Vec<OwnedUserId>,
    /// Where a new consumer begins.
    pub start: Start,
    /// Who is invited when the bridge has to make the room.
    pub invite: Vec<OwnedUserId>,
    /// What a message has to be besides.
    pub matchers: Vec<Matcher>,
    /// Whether routes after it may take what it takes.
    pub continues: bool,
    /// Whether it takes what no other route does.
    pub is_default: bool,
    /// Whom a critical alert mentions.
    pub mention: Vec<OwnedUserId>,
    /// More messages than these that wait at once are shown as a digest; `None` for never.
    pub digest_above: Option<NonZeroU64>,
    /// Which messages can speak of the same alert.
    pub alert_scope: AlertScope,
    /// With alerts that go on, or come and go.
    pub patience: Patience,
    /// When only what is critical is shown at once.
    pub quiet: Option<Quiet>,
    /// What is posted this long after it was published is late, and the room is told when the last of
    /// it is there; `None`: never.
    pub late_after: Option<Duration>,
    /// How its messages are worded.
    pub display: Display,
    /// The directory of templates that are used instead of the built-in ones.
    pub templates: Option<PathBuf>,
    /// How many bytes of files are uploaded for its messages within an hour at most; 0 for none.
    pub attach_limit: u64,
    /// When its messages are summed up, if they are.
    pub summary: Option<Summary>,
}

/// More messages than these at once nobody reads one by one.
const DIGEST_ABOVE: u64 = 100;

/// What fires again this soon after its end, is the same conversation.
const FLAPPING: Duration = Duration::from_mins(15);

/// What goes on pushes again this often, if it is said again. Alertmanager's `repeat_interval` is
/// the same by default.
const REMIND: Duration = Duration::from_hours(4);

/// As many as a small cluster needs on its first day, and far fewer than somebody who invents names could do with.
const NEW_ROOMS_PER_HOUR: u32 = 20;

/// `attach_limit` where a route does not say, in bytes: a gigabyte takes a day and a half at least.
const ATTACH_LIMIT: u64 = 32_000_000;

/// `late_after` where a route does not say.
const LATE_AFTER: Duration = Duration::from_hours(1);

/// How patient a route is with alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// What fires again within this time after its end is the same conversation, and does not push.
    pub flapping: Duration,
    /// What goes on, or flaps, pushes again when it is said again this long after its last push.
    pub remind: Duration,
}

/// Where a consumer begins that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Start {
    /// With the oldest message that the stream still has.
    #[default]
    All,
    /// With what is published from then on.
    New,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    name: String,
    stream: String,
    subjects: Vec<String>,
    room: String,
    #[serde(default, deserialize_with = "one_of::one_of")]
    start: Start,
    fallback_room: Option<String>,
    new_rooms_per_hour: Option<u32>,
    room_creators: Option<Vec<String>>,
    #[serde(default)]
    invite: Vec<String>,
    #[serde(default)]
    mention: Vec<String>,
    #[serde(default, rename = "match")]
    matchers: BTreeMap<String, matcher::RawPattern>,
    #[serde(default, rename = "continue")]
    continues: bool,
    #[serde(default, rename = "default")]
    is_default: bool,
    digest_above: Option<u64>,
    quiet: Option<quiet::RawQuiet>,
    alert_scope: Option<String>,
    flapping: Option<String>,
    remind: Option<String>,
    late_after: Option<String>,
    #[serde(default, deserialize_with = "one_of::some_of")]
    language: Option<Language>,
    time_zone: Option<String>,
    templates: Option<PathBuf>,
    attach_limit: Option<String>,
    summary: Option<summary::RawSummary>,
}

impl RawRoute {
    fn check(self, index: usize, display: &Display, files: &Files) -> Result<Route, ConfigError> {
        let key = |key: &str| format!("routes[{index}].{key}");
        let subjects = check_subjects(&self.subjects)
            .map_err(|what| ConfigError::new(key("subjects"), what))?;
        let stream = self.stream;
        check_stream(&stream).map_err(|what| ConfigError::new(key("stream"), what))?;
        let rooms = Rooms::parse(&self.room, &subjects);
        let rooms = rooms.map_err(|what| ConfigError::new(key("room"), what))?;
        let of_many = [
            ("fallback_room", self.fallback_room.is_some()),
            ("new_rooms_per_hour", self.new_rooms_per_hour.is_some()),
            ("room_creators", self.room_creators.is_some()),
        ];
        if let Some((name, _)) = of_many.iter().find(|(_, is_given)| *is_given)
            && rooms.one().is_some()
        {
            let what = "is for a `room` with a token of the subject, like {subject.3}; this route has but one";
            return Err(ConfigError::new(key(name), what));
        }
        let fallback_room = self.fallback_room.as_deref().map(room::target).transpose();
        let fallback_room =
            fallback_room.map_err(|what| ConfigError::new(key("fallback_room"), what))?;
        let users = |name: &str, users: &[String]| {
            let parse = |user: &String| {
                UserId::parse(user).map_err(|error| {
                    ConfigError::new(key(name), format!("\"{user}\" is not @user:server: {error}"))
                })
            };
            users.iter().map(parse).collect::<Result<Vec<_>, _>>()
        };
        let span = |name: &str, text: Option<&str>, default: Duration| {
            let Some(text) = text else { return Ok(default) };
            duration::parse(text).map_err(|what| ConfigError::new(key(name), what))
        };
        let alert_scope = self.alert_scope.map(|scope| AlertScope::parse(&scope, &subjects));
        let alert_scope =
            alert_scope.transpose().map_err(|what| ConfigError::new(key("alert_scope"), what))?;
        let display = display::RawDisplay::new(self.language, self.time_zone)
            .check(&format!("routes[{index}]"), display)?;
        let summary = self.summary.map(|summary| summary.check(&key("summary"))).transpose()?;
        if summary.is_some() && rooms.one().is_none() {
            let what = "a route with many rooms has none to sum up in: make one with the same subjects, one room and \
                        continue = true before it";
            return Err(ConfigError::new(key("summary"), what));
        }
        let attach_limit = self.attach_limit.as_deref().map_or(Ok(ATTACH_LIMIT), size::parse);
        let quiet = self.quiet.map(|quiet| quiet.check(&key("quiet"), &display.time_zone));
        Ok(Route {
            name: RouteName::parse(&self.name)
                .map_err(|what| ConfigError::new(key("name"), what))?,
            stream,
            rooms,
            fallback_room,
            new_rooms_per_hour: self.new_rooms_per_hour.unwrap_or(NEW_ROOMS_PER_HOUR),
            room_creators: users("room_creators", &self.room_creators.unwrap_or_default())?,
            start: self.start,
            invite: users("invite", &self.invite)?,
            mention: users("mention", &self.mention)?,
            digest_above: NonZeroU64::new(self.digest_above.unwrap_or(DIGEST_ABOVE)),
            alert_scope: alert_scope.unwrap_or_default(),
            patience: Patience {
                flapping: span("flapping", self.flapping.as_deref(), FLAPPING)?,
                remind: span("remind", self.remind.as_deref(), REMIND)?,
            },
            late_after: Some(span("late_after", self.late_after.as_deref(), LATE_AFTER)?)
                .filter(|late_after| !late_after.is_zero()),
            quiet: quiet.transpose()?,
            display,
            templates: self.templates.map(|path| files.find(&path)),
            matchers: matcher::check(&key("match"), self.matchers, &subjects)?,
            continues: self.continues,
            attach_limit: attach_limit
                .map_err(|what| ConfigError::new(key("attach_limit"), what))?,
            summary,
            is_default: self.is_default,
            subjects,
        })
    }
}

/// The filters of a route: at least one, and none of them overlaps another.
fn check_subjects(subjects: &[String]) -> Result<Vec<Subject>, String> {
    let subjects =
        subjects.iter().map(|subject| Subject::filter(subject)).collect::<Result<Vec<_>, _>>()?;
    if subjects.is_empty() {
        return Err("name at least one, like \"ops.report.>\"".to_owned());
    }
    match overlapping(&subjects, &subjects) {
        Some((a, b)) => Err(format!("\"{a}\" and \"{b}\" overlap; keep the wider one")),
        None => Ok(subjects),
    }
}

fn check_stream(stream: &str) -> Result<(), String> {
    if stream.is_empty() || stream.contains(|c: char| c.is_whitespace() || ".*>/\\".contains(c)) {
        return Err(format!("\"{stream}\" cannot be the name of a stream"));
    }
    if stream == reserved::DEFERRED_STREAM {
        return Err(
            "what quiet hours hold back is kept there, and shown by the route that held it back"
                .to_owned(),
        );
    }
    Ok(())
}

/// Checks each route by itself, then all of them together.
pub(super) fn check(
    written: Vec<RawRoute>,
    display: &Display,
    files: &Files,
) -> Result<Vec<Route>, ConfigError> {
    let routes = written
        .into_iter()
        .enumerate()
        .map(|(index, route)| route.check(index, display, files))
        .collect::<Result<Vec<_>, _>>()?;
    if routes.is_empty() {
        return Err(ConfigError::new(
            "routes",
            "none given; a [[routes]] table says what goes into which room",
        ));
    }
    let mut seen = HashSet::new();
    for (index, route) in routes.iter().enumerate() {
        if !seen.insert((&route.stream, &route.name)) {
            return Err(ConfigError::new(
                format!("routes[{index}].name"),
                format!("\"{}\" is taken by another route of stream {}", route.name, route.stream),
            ));
        }
        let same_name = |other: &&Route| other.name == route.name;
        if route.quiet.is_some() && routes.iter().filter(same_name).count() > 1 {
            let what = format!(
                "route {} has quiet hours, for which its name has to be the only one",
                route.name
            );
            return Err(ConfigError::new(format!("routes[{index}].name"), what));
        }
        check_place(&routes, index)?;
        for other in routes[..index].iter().filter(|other| other.continues) {
            let same_way = other.stream == route.stream && other.rooms == route.rooms;
            if let Some((a, b)) =
                same_way.then(|| overlapping(&other.subjects, &route.subjects)).flatten()
            {
                return Err(ConfigError::new(
                    format!("routes[{index}].subjects"),
                    format!(
                        "\"{b}\" overlaps \"{a}\" of route {} into the same room, which would show messages twice",
                        other.name
                    ),
                ));
            }
        }
    }
    Ok(routes)
}

/// That a route can take anything where it stands.
fn check_place(routes: &[Route], index: usize) -> Result<(), ConfigError> {
    let route = &routes[index];
    let wrong =
        |key: &str, what: String| Err(ConfigError::new(format!("routes[{index}].{key}"), what));
    if route.is_default {
        if !route.matchers.is_empty() {
            return wrong("match", "a default route takes whatever no other one does".to_owned());
        }
        if let Some(other) =
            routes[..index].iter().find(|other| other.is_default && other.stream == route.stream)
        {
            return wrong("default", format!("route {} is that already", other.name));
        }
        return Ok(());
    }
    let takes_all = |other: &&Route| {
        let covers = |subject: &Subject| other.subjects.iter().any(|own| own.covers(subject));
        other.stream == route.stream
            && !other.continues
            && !other.is_default
            && other.matchers.is_empty()
            && route.subjects.iter().all(covers)
    };
    match routes[..index].iter().find(takes_all) {
        Some(other) => wrong(
            "subjects",
            format!(
                "route {0} comes first and takes all of it: put this one before, or set continue = true in {0}",
                other.name
            ),
        ),
        None => Ok(()),
    }
}

/// The first pair of different filters that can match the same subject. A list is never held
/// against its own items.
fn overlapping<'a>(
    left: &'a [Subject],
    right: &'a [Subject],
) -> Option<(&'a Subject, &'a Subject)> {
    left.iter().enumerate().find_map(|(index, a)| {
        let rest = if std::ptr::eq(left, right) { &right[index + 1..] } else { right };
        rest.iter().find(|b| a.overlaps(b)).map(|b| (a, b))
    })
}
