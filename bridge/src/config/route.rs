//! `[[routes]]`: which messages go into which room.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use matrix_sdk::ruma::{OwnedRoomOrAliasId, OwnedUserId, RoomOrAliasId, UserId};
use serde::Deserialize;

use super::{
    Wrong,
    display::{self, Display, Language},
    matcher::{self, Matcher},
    summary::{self, Summary},
};
use crate::subject::Subject;

/// What goes where.
#[derive(Debug, Clone)]
pub struct Route {
    /// Also the name of the durable consumer.
    pub name: RouteName,
    /// The JetStream stream.
    pub stream: String,
    /// The consumer's filters; at least one, none overlaps another.
    pub subjects: Vec<Subject>,
    /// Where its messages are posted.
    pub room: RoomTarget,
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
    /// How its messages are worded.
    pub display: Display,
    /// When its messages are summed up, if they are.
    pub summary: Option<Summary>,
}

/// A room by id or by alias.
pub type RoomTarget = OwnedRoomOrAliasId;

/// Where a consumer begins that does not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest message that the stream still has.
    #[default]
    All,
    /// With what is published from then on.
    New,
}

/// The name of a route and of its durable consumer: letters, digits, `-` and `_`.
///
/// NATS forbids `.`, `*`, `>` and white space in consumer names; slashes and such are refused too
/// because file-backed streams make a directory of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteName(String);

impl RouteName {
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(format!(
                "\"{name}\" cannot name a route (and its durable consumer): use 1 to 64 letters, digits, - and _"
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    name: String,
    stream: String,
    subjects: Vec<String>,
    room: String,
    #[serde(default)]
    start: Start,
    #[serde(default)]
    invite: Vec<String>,
    #[serde(default)]
    mention: Vec<String>,
    #[serde(default, rename = "match")]
    matchers: BTreeMap<String, matcher::Written>,
    #[serde(default, rename = "continue")]
    continues: bool,
    #[serde(default, rename = "default")]
    is_default: bool,
    language: Option<Language>,
    time_zone: Option<String>,
    summary: Option<summary::Written>,
}

impl Written {
    fn check(self, index: usize, display: &Display) -> Result<Route, Wrong> {
        let key = |key: &str| format!("routes[{index}].{key}");
        let subjects = self
            .subjects
            .iter()
            .map(|subject| Subject::filter(subject))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|what| Wrong::new(key("subjects"), what))?;
        if subjects.is_empty() {
            return Err(Wrong::new(key("subjects"), "name at least one, like \"ops.report.>\""));
        }
        if let Some((a, b)) = overlapping(&subjects, &subjects) {
            return Err(Wrong::new(
                key("subjects"),
                format!("\"{a}\" and \"{b}\" overlap; keep the wider one"),
            ));
        }
        let stream = self.stream;
        if stream.is_empty() || stream.contains(|c: char| c.is_whitespace() || ".*>/\\".contains(c))
        {
            return Err(Wrong::new(
                key("stream"),
                format!("\"{stream}\" cannot be the name of a stream"),
            ));
        }
        let room = RoomOrAliasId::parse(&self.room).map_err(|error| {
            let room = &self.room;
            Wrong::new(key("room"), format!("\"{room}\" is neither #alias:server nor !id: {error}"))
        })?;
        let users = |name: &str, users: &[String]| {
            let parse = |user: &String| {
                UserId::parse(user).map_err(|error| {
                    Wrong::new(key(name), format!("\"{user}\" is not @user:server: {error}"))
                })
            };
            users.iter().map(parse).collect::<Result<Vec<_>, _>>()
        };
        Ok(Route {
            name: RouteName::parse(&self.name).map_err(|what| Wrong::new(key("name"), what))?,
            stream,
            room,
            start: self.start,
            invite: users("invite", &self.invite)?,
            mention: users("mention", &self.mention)?,
            display: display::Written::new(self.language, self.time_zone)
                .check(&format!("routes[{index}]"), display)?,
            matchers: matcher::check(&key("match"), self.matchers, &subjects)?,
            continues: self.continues,
            summary: self.summary.map(|summary| summary.check(&key("summary"))).transpose()?,
            is_default: self.is_default,
            subjects,
        })
    }
}

/// Checks each route by itself, then all of them together.
pub(super) fn check(written: Vec<Written>, display: &Display) -> Result<Vec<Route>, Wrong> {
    let routes = written
        .into_iter()
        .enumerate()
        .map(|(index, route)| route.check(index, display))
        .collect::<Result<Vec<_>, _>>()?;
    if routes.is_empty() {
        return Err(Wrong::new(
            "routes",
            "none given; a [[routes]] table says what goes into which room",
        ));
    }
    let mut seen = HashSet::new();
    for (index, route) in routes.iter().enumerate() {
        if !seen.insert((&route.stream, &route.name)) {
            return Err(Wrong::new(
                format!("routes[{index}].name"),
                format!("\"{}\" is taken by another route of stream {}", route.name, route.stream),
            ));
        }
        check_place(&routes, index)?;
        for other in routes[..index].iter().filter(|other| other.continues) {
            let same_way = other.stream == route.stream && other.room == route.room;
            if let Some((a, b)) =
                same_way.then(|| overlapping(&other.subjects, &route.subjects)).flatten()
            {
                return Err(Wrong::new(
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
fn check_place(routes: &[Route], index: usize) -> Result<(), Wrong> {
    let route = &routes[index];
    let wrong = |key: &str, what: String| Err(Wrong::new(format!("routes[{index}].{key}"), what));
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
