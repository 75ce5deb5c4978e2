//! `[[routes]]`: which messages go into which room.

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use matrix_sdk::ruma::{OwnedUserId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    config::{
        alert_scope::AlertScope,
        answers::{self, Answers},
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
    mask::{Mask, Secret},
    message::{ConsumerName, RouteName, Urgency},
    reserved,
    subject::Subject,
};

/// A route from subjects to rooms.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The name of the route.
    pub name: RouteName,
    /// The name of the durable consumer, if the route names it. Otherwise the bridge makes a name.
    pub consumer: Option<ConsumerName>,
    /// The JetStream stream.
    pub stream: String,
    /// The filters of the consumer: at least one, and none overlaps another.
    pub subjects: Vec<Subject>,
    /// The room or rooms of the route.
    pub rooms: Rooms,
    /// The room for messages whose own room cannot be used, if the route has many rooms.
    pub fallback_room: Option<RoomTarget>,
    /// The number of rooms that the bridge may create within an hour, if the route has many rooms.
    pub new_rooms_per_hour: u32,
    /// The users, besides the bridge and administrators, whose rooms are accepted if the route has many rooms.
    pub room_creators: Vec<OwnedUserId>,
    /// The position at which a new consumer begins.
    pub start: Start,
    /// The users to invite when the bridge has to create the room.
    pub invite: Vec<OwnedUserId>,
    /// The conditions besides the subject.
    pub matchers: Vec<Matcher>,
    /// Whether the routes after this one may also take its messages.
    pub continues: bool,
    /// Whether the route takes the messages that no other route takes.
    pub is_default: bool,
    /// The users whom a critical alert mentions.
    pub mention: Vec<OwnedUserId>,
    /// The number of waiting messages above which they are shown as a digest; `None` for never.
    pub digest_above: Option<NonZeroU64>,
    /// The scope in which messages can be about the same alert.
    pub alert_scope: AlertScope,
    /// The times after which alerts that go on, or flap, notify again.
    pub patience: Patience,
    /// The hours in which only critical alerts are shown at once.
    pub quiet: Option<Quiet>,
    /// The age from which a message is late when it is posted. After the last late message, the room gets a notice that
    /// the backlog is complete. `None` for never.
    pub late_after: Option<Duration>,
    /// The language and time zone of the messages.
    pub display: Display,
    /// The directory of templates that replace the built-in ones.
    pub templates: Option<PathBuf>,
    /// The directory of shapes that are tried before the built-in ones.
    pub shapes: Option<PathBuf>,
    /// The number of bytes of attachments that may be uploaded within an hour; 0 for none.
    pub attach_limit: u64,
    /// The schedule of summaries, if there are any.
    pub summary: Option<Summary>,
    /// The answers that people in the room may give, if they may answer at all.
    pub answers: Option<Answers>,
    /// The urgency of messages that do not say how urgent they are.
    pub unknown: Unknown,
    /// The choice of the secrets that are hidden.
    pub mask: Mask,
    /// The route as it is written, complete in itself: [`Route::restore`] makes the same route of it.
    pub written: Arc<Value>,
}

/// The keys that decide which messages a route takes.
const DECIDING: [&str; 7] =
    ["name", "consumer", "stream", "subjects", "match", "continue", "default"];

/// The number of characters behind the last hyphen of a consumer's name that the bridge has made.
const MADE: usize = 8;

impl Route {
    /// Makes a route of what an earlier one had in [`written`](Self::written).
    ///
    /// # Errors
    ///
    /// The first mistake, as when another version of the bridge wrote it.
    pub(crate) fn restore(written: &Value) -> Result<Self, ConfigError> {
        let raw = RawRoute::deserialize(written).map_err(|error| ConfigError::new("routes", error));
        raw?.check(0, &Display::default(), None, &Files::in_directories(None, Path::new("")))
    }

    /// Returns the route without the templates of its own.
    pub(crate) fn with_built_in_templates(&self) -> Self {
        Self { templates: None, ..self.clone() }
    }

    /// Returns the key by which the route is known as long as it keeps its durable consumer, also when its name changes: a
    /// name that the bridge has made for a consumer begins with that of the route.
    pub(crate) fn consumer_key(&self) -> &str {
        let Some(consumer) = &self.consumer else { return self.name.as_str() };
        let is_hash = |end: &str| {
            end.len() == MADE && end.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
        };
        let made = consumer.as_str().rsplit_once('-').filter(|(_, end)| is_hash(end));
        made.map_or(consumer.as_str(), |(route, _)| route)
    }

    /// Returns the route as if it had the durable consumer of another one.
    pub(crate) fn with_consumer_of(&self, other: &Self) -> Self {
        let mut written = (*self.written).clone();
        if let Some(keys) = written.as_object_mut() {
            keys.remove("consumer");
            let consumer = other.written.get("consumer").cloned();
            keys.extend(consumer.map(|consumer| ("consumer".to_owned(), consumer)));
        }
        Self { consumer: other.consumer.clone(), written: Arc::new(written), ..self.clone() }
    }

    /// Whether this route takes the same messages as another one, if both are in the same place among others.
    pub(crate) fn decides_like(&self, other: &Self) -> bool {
        DECIDING.iter().all(|key| self.written.get(key) == other.written.get(key))
    }

    /// Completes what the route has in common with all, and what depends on where the configuration is.
    fn complete(&self, mut written: Value) -> Value {
        if let Some(keys) = written.as_object_mut() {
            keys.retain(|_, value| !value.is_null());
            let zone = self.display.time_zone.iana_name().map(Value::from);
            keys.extend(zone.map(|zone| ("time_zone".to_owned(), zone)));
            keys.extend(
                serde_json::to_value(self.display.language)
                    .ok()
                    .map(|language| ("language".to_owned(), language)),
            );
            let paths = [("templates", &self.templates), ("shapes", &self.shapes)];
            let paths = paths.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)));
            keys.extend(paths.map(|(key, path)| {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
                (key.to_owned(), Value::from(path.to_string_lossy()))
            }));
        }
        written
    }
}

/// The urgency of messages that do not say how urgent they are: texts, and JSON of no known shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unknown {
    /// They are sent as `m.notice`, for which no phone buzzes.
    Notice,
    /// They are sent as `m.text`: one of them could be an alert of a program that the bridge does not know.
    #[default]
    Text,
}

impl Unknown {
    pub(crate) fn urgency(self) -> Urgency {
        match self {
            Self::Notice => Urgency::Routine,
            Self::Text => Urgency::Notable,
        }
    }
}

/// The default of `digest_above`: nobody reads more messages than these one by one.
const DIGEST_ABOVE: u64 = 100;

/// The default of `flapping`.
const FLAPPING: Duration = Duration::from_mins(15);

/// The default of `remind`, which is also that of Alertmanager's `repeat_interval`.
const REMIND: Duration = Duration::from_hours(4);

/// The default of `new_rooms_per_hour`: enough for the first day of a small cluster, and far too few for somebody who
/// floods the server with made-up names.
const NEW_ROOMS_PER_HOUR: u32 = 20;

/// The default of `attach_limit`, in bytes: a gigabyte takes at least a day and a half.
const ATTACH_LIMIT: u64 = 32_000_000;

/// The default of `late_after`.
const LATE_AFTER: Duration = Duration::from_hours(1);

/// The times after which a route's alerts notify again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// The time after its end within which an alert that fires again continues its thread, without a notification.
    pub flapping: Duration,
    /// The time after the last notification from which an alert that goes on, or flaps, notifies again with its next
    /// message.
    pub remind: Duration,
    /// The time after it was acknowledged from which an alert that goes on notifies again with its next message.
    pub acknowledged: Duration,
}

/// The position at which a new consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Start {
    /// The oldest message that the stream still has.
    #[default]
    All,
    /// The first message that is published afterwards.
    New,
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    /// The name of the route: letters, digits, `-` and `_`.
    #[schemars(example = &"reports")]
    name: String,
    /// The name of the [durable
    /// consumer](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/consumers.md#names). With it a
    /// renamed route goes on where it was. Letters, digits, `-` and `_`, 80 at most.
    #[schemars(example = &"reports-1f0c2a9b", extend("x-default" = "the route's name and a hash"))]
    consumer: Option<String>,
    /// The JetStream stream.
    #[schemars(example = &"OPS")]
    stream: String,
    /// The subjects to read; wildcards are allowed. One that is added later counts from then on: what is stored on it
    /// already is shown by a route with another name.
    #[schemars(example = ["ops.report.>"], extend("x-type" = "list of subjects"))]
    subjects: Vec<String>,
    /// The room, as `#alias:server` or `!id`.
    ///
    /// The bridge joins when it is invited or the room is public. It makes a private room when the alias is free on
    /// its own server. An encrypted room gets nothing, and the route waits.
    ///
    /// In an alias, `{subject.3}` is the third token of a message's subject, in small letters. With
    /// `#ops-{subject.3}:chat.example.com` [each machine has a room of its
    /// own](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/rooms.md#a-room-for-each-machine).
    #[schemars(example = &"#ops:chat.example.com", extend("x-type" = "alias or id"))]
    room: String,
    /// With many rooms: where messages go whose own room cannot be used. Without it they are dead letters.
    #[schemars(example = &"#ops:chat.example.com", extend("x-type" = "alias or id"))]
    fallback_room: Option<String>,
    /// With many rooms: how many the bridge makes within an hour.
    #[schemars(example = 5, extend("x-type" = "number", "default" = NEW_ROOMS_PER_HOUR))]
    new_rooms_per_hour: Option<u32>,
    /// With many rooms: who may have made one, besides the bridge and the administrators in `[users]`.
    #[schemars(
        example = ["@alice:chat.example.com"],
        extend("x-type" = "list of ids", "x-default" = "`[]`")
    )]
    room_creators: Option<Vec<String>>,
    /// Where a new consumer begins: with all that the stream has, or with the next message.
    #[serde(default, deserialize_with = "one_of::one_of")]
    #[schemars(example = &"new", extend("default" = "all"))]
    start: Start,
    /// The people to invite when the bridge makes the room. Without any, nobody is in it.
    #[serde(default)]
    #[schemars(example = ["@alice:chat.example.com"], extend("x-type" = "list of ids"))]
    invite: Vec<String>,
    /// Conditions that a message has to meet besides its subject. See
    /// [Conditions](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/routes.md#conditions).
    #[serde(default, rename = "match")]
    #[schemars(
        example = serde_json::json!({"severity": ["critical", "warning"], "subject.3": "db-*"}),
        extend("x-type" = "table", "x-default" = "`{}`")
    )]
    matchers: BTreeMap<String, matcher::RawPattern>,
    /// Whether the routes below may take a message of this one, too.
    #[serde(default, rename = "continue")]
    #[schemars(example = true)]
    continues: bool,
    /// Takes what no other route of the stream takes.
    #[serde(default, rename = "default")]
    #[schemars(example = true)]
    is_default: bool,
    /// The people whom critical alerts mention.
    #[serde(default)]
    #[schemars(example = ["@alice:chat.example.com"], extend("x-type" = "list of ids"))]
    mention: Vec<String>,
    /// When more messages than these wait, they are shown as one. `0` for never.
    #[schemars(example = 0, extend("x-type" = "number", "default" = DIGEST_ABOVE))]
    digest_above: Option<u64>,
    /// The messages that are about the [same
    /// alerts](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/alerts.md#who-may-speak-of-an-alert):
    /// those on the same `"subject"`, those with the same token of it, as in `"subject.3"`, or all of the `"route"`.
    #[schemars(example = &"subject.3", extend("default" = "subject"))]
    alert_scope: Option<String>,
    /// An alert that fires again this soon after its end continues its conversation, without a push.
    #[schemars(example = &"30m", extend("x-type" = "duration", "default" = "15m"))]
    flapping: Option<String>,
    /// An alert that goes on pushes again, when it is said again this long after its last push.
    #[schemars(example = &"12h", extend("x-type" = "duration", "default" = "4h"))]
    remind: Option<String>,
    /// A message that is posted this long after it was published is late, and the room is
    /// [told](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/monitoring.md#late-messages) when
    /// the last of them is there. `"0s"` for never.
    #[schemars(example = &"0s", extend("x-type" = "duration", "default" = "1h"))]
    late_after: Option<String>,
    /// How much the route may upload within an hour.
    ///
    /// A message that is [too long or no
    /// text](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/reference/payloads.md#long-messages-and-files)
    /// is uploaded as a file, which the homeserver keeps. This is how much of that a route may do within an hour,
    /// also over restarts. Even the smallest file counts as 16 kB. Beyond the limit the room gets the beginning of
    /// the message and its number in the stream.
    #[schemars(example = &"0", extend("x-type" = "size", "default" = "32 MB"))]
    attach_limit: Option<String>,
    /// [Quiet hours](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/quiet-hours.md), in the time
    /// zone of the route.
    #[schemars(
        example = serde_json::json!({"from": "22:00", "to": "07:00"}),
        extend("x-type" = "table")
    )]
    quiet: Option<quiet::RawQuiet>,
    /// A directory of [templates](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/templates.md),
    /// absolute or beside the configuration.
    #[schemars(example = &"templates", extend("x-type" = "directory"))]
    templates: Option<PathBuf>,
    /// [Shapes](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/shapes.md) of your own, absolute or
    /// beside the configuration.
    #[schemars(
        example = &"shapes",
        extend("x-type" = "directory or file", "x-default" = "that of all routes")
    )]
    shapes: Option<PathBuf>,
    /// The language of the built-in texts.
    #[serde(
        default,
        deserialize_with = "one_of::some_of",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(example = &"zh", extend("x-default" = "that of `[display]`"))]
    language: Option<Language>,
    /// The time zone of times and schedules.
    #[schemars(
        example = &"Europe/Berlin",
        extend("x-type" = "time zone", "x-default" = "that of `[display]`")
    )]
    time_zone: Option<String>,
    /// When messages are [summed
    /// up](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/summaries.md).
    #[schemars(
        example = serde_json::json!({"every": "week", "on": "monday", "at": "08:00"}),
        extend("x-type" = "table")
    )]
    summary: Option<summary::RawSummary>,
    /// Lets people in the room [answer
    /// alerts](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/guide/answers.md). An empty table is
    /// enough. Without it the bridge does not listen.
    #[schemars(
        example = serde_json::json!({"offer": true, "power": 50}),
        extend("x-type" = "table")
    )]
    answers: Option<answers::RawAnswers>,
    /// How messages are sent that do not say how urgent they are.
    ///
    /// Plain text, and JSON that names neither a severity nor a state, does not say how urgent it is. With `"text"` it is
    /// sent as `m.text`, for which phones buzz as for what a person writes in the room; nobody is mentioned. With
    /// `"notice"` it is sent as `m.notice`, for which they do not.
    ///
    /// The default is `"text"`, because such a message may be the alert of a program that the bridge does not know: one
    /// that comes without a sound is worse than one that buzzes without need. Use `"notice"` for routes on which programs
    /// chat. What says itself that it is informational, or that something went well, is a notice with either.
    #[serde(default, deserialize_with = "one_of::one_of")]
    #[schemars(example = &"notice", extend("default" = "text"))]
    unknown: Unknown,
    /// The [secrets](https://github.com/nats-matrix/nats-matrix/blob/main/docs/src/reference/payloads.md#secrets) that
    /// are shown as they are: `"jwt"`, `"private-key"`, `"nkey"`, `"password"`, `"token"`, `"unsubscribe-link"`, or
    /// `["all"]`. All others are hidden.
    #[serde(default)]
    #[schemars(
        example = ["unsubscribe-link"],
        extend("x-type" = "list of kinds", "x-default" = "`[]`")
    )]
    unmasked: Vec<String>,
}

/// Checks which secrets are shown: kinds of secrets, or "all".
fn check_unmasked(key: &str, unmasked: &[String]) -> Result<Mask, ConfigError> {
    if let [all] = unmasked
        && all == "all"
    {
        return Ok(Mask { shown: Secret::ALL.to_vec() });
    }
    let kind = |name: &String| {
        Secret::ALL.into_iter().find(|secret| secret.name() == name).ok_or_else(|| {
            let kinds: Vec<&str> = Secret::ALL.into_iter().map(Secret::name).collect();
            let what = format!(
                "\"{name}\" is no kind of secret: use {}, or [\"all\"] to hide nothing",
                kinds.join(", ")
            );
            ConfigError::new(key, what)
        })
    };
    Ok(Mask { shown: unmasked.iter().map(kind).collect::<Result<_, _>>()? })
}

impl RawRoute {
    fn check(
        self,
        index: usize,
        display: &Display,
        shapes: Option<&PathBuf>,
        files: &Files,
    ) -> Result<Route, ConfigError> {
        let written = serde_json::to_value(&self);
        let written =
            written.map_err(|error| ConfigError::new(format!("routes[{index}]"), error))?;
        let mut route = self.check_keys(index, display, shapes, files)?;
        route.written = Arc::new(route.complete(written));
        Ok(route)
    }

    fn check_keys(
        self,
        index: usize,
        display: &Display,
        shapes: Option<&PathBuf>,
        files: &Files,
    ) -> Result<Route, ConfigError> {
        let key = |key: &str| format!("routes[{index}].{key}");
        let subjects = check_subjects(&key("subjects"), &self.subjects)?;
        let stream = self.stream;
        check_stream(&key("stream"), &stream)?;
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
            let what = "is for a `room` with a token of the subject, like {subject.3}; this route has only one room";
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
            let what = "a route with many rooms has none for a summary: add a route with the same subjects, one room and \
                        continue = true before it";
            return Err(ConfigError::new(key("summary"), what));
        }
        let answers = self.answers.map(|answers| answers.check(&key("answers"))).transpose()?;
        let remind = span("remind", self.remind.as_deref(), REMIND)?;
        let attach_limit = self.attach_limit.as_deref().map_or(Ok(ATTACH_LIMIT), size::parse);
        let quiet = self.quiet.map(|quiet| quiet.check(&key("quiet"), &display.time_zone));
        let consumer = self.consumer.as_deref().map(ConsumerName::parse).transpose();
        Ok(Route {
            name: RouteName::parse(&self.name)
                .map_err(|what| ConfigError::new(key("name"), what))?,
            consumer: consumer.map_err(|what| ConfigError::new(key("consumer"), what))?,
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
                remind,
                acknowledged: answers.as_ref().map_or(remind, |answers| answers.remind_after),
            },
            late_after: Some(span("late_after", self.late_after.as_deref(), LATE_AFTER)?)
                .filter(|late_after| !late_after.is_zero()),
            quiet: quiet.transpose()?,
            display,
            templates: self.templates.map(|path| files.find(&path)),
            shapes: self.shapes.as_ref().or(shapes).map(|path| files.find(path)),
            matchers: matcher::check(&key("match"), self.matchers, &subjects)?,
            continues: self.continues,
            attach_limit: attach_limit
                .map_err(|what| ConfigError::new(key("attach_limit"), what))?,
            summary,
            answers,
            unknown: self.unknown,
            mask: check_unmasked(&key("unmasked"), &self.unmasked)?,
            is_default: self.is_default,
            subjects,
            written: Arc::default(),
        })
    }
}

/// Checks the filters of a route under `key`: there is at least one, and none overlaps another.
fn check_subjects(key: &str, subjects: &[String]) -> Result<Vec<Subject>, ConfigError> {
    let subjects = subjects.iter().map(|subject| Subject::filter(subject));
    let subjects = subjects.collect::<Result<Vec<_>, _>>();
    let subjects = subjects.map_err(|error| ConfigError::new(key, error))?;
    if subjects.is_empty() {
        return Err(ConfigError::new(key, "name at least one, like \"ops.report.>\""));
    }
    match overlapping(&subjects, &subjects) {
        Some((a, b)) => {
            let what = format!("\"{a}\" and \"{b}\" overlap; keep the wider one");
            Err(ConfigError::new(key, what))
        }
        None => Ok(subjects),
    }
}

fn check_stream(key: &str, stream: &str) -> Result<(), ConfigError> {
    if stream.is_empty() || stream.contains(|c: char| c.is_whitespace() || ".*>/\\".contains(c)) {
        return Err(ConfigError::new(key, format!("\"{stream}\" cannot be the name of a stream")));
    }
    if stream == reserved::DEFERRED_STREAM {
        let what = "is reserved for the messages that quiet hours defer; the route that deferred them shows them";
        return Err(ConfigError::new(key, what));
    }
    Ok(())
}

/// Checks each route alone, then all of them together.
pub(super) fn check(
    written: Vec<RawRoute>,
    display: &Display,
    shapes: Option<&PathBuf>,
    files: &Files,
) -> Result<Vec<Route>, ConfigError> {
    let routes = written
        .into_iter()
        .enumerate()
        .map(|(index, route)| route.check(index, display, shapes, files))
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
                "route {} has quiet hours, so no other route may have its name",
                route.name
            );
            return Err(ConfigError::new(format!("routes[{index}].name"), what));
        }
        check_consumer(&routes, index)?;
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

/// Refuses a route whose consumer would be that of another route.
fn check_consumer(routes: &[Route], index: usize) -> Result<(), ConfigError> {
    let route = &routes[index];
    let Some(consumer) = &route.consumer else { return Ok(()) };
    let same = |(other_index, other): &(usize, &Route)| {
        let name = other.consumer.as_ref().map_or(other.name.as_str(), ConsumerName::as_str);
        let is_same = name == consumer.as_str() || other.consumer_key() == route.consumer_key();
        *other_index != index && other.stream == route.stream && is_same
    };
    match routes.iter().enumerate().find(same) {
        Some((_, other)) => Err(ConfigError::new(
            format!("routes[{index}].consumer"),
            format!(
                "\"{consumer}\" is or may be the consumer of route {} on stream {}: each route has its own",
                other.name, route.stream
            ),
        )),
        None => Ok(()),
    }
}

/// Refuses routes that name the subjects of dead letters, which no route shows. A filter that begins with a wildcard
/// names no subjects: it stands for all that a stream has, where routes leave out the dead letters.
pub(super) fn check_dead_letters(routes: &[Route], prefix: &Subject) -> Result<(), ConfigError> {
    let kept_on = format!("{prefix}.>");
    let Ok(kept_on) = Subject::filter(&kept_on) else { return Ok(()) };
    for (index, route) in routes.iter().enumerate() {
        let is_wrong =
            |subject: &&Subject| !subject.begins_with_wildcard() && subject.overlaps(&kept_on);
        if let Some(subject) = route.subjects.iter().find(is_wrong) {
            return Err(ConfigError::new(
                format!("routes[{index}].subjects"),
                format!(
                    "\"{subject}\" also matches \"{kept_on}\", where messages are kept that can never be posted, and \
                     which no route shows: name fewer subjects, as in \"ops.report.>\", or set \
                     nats.dead_letter_subject to one that no route names"
                ),
            ));
        }
    }
    Ok(())
}

/// Refuses a route that no message can reach because of its position in the list.
fn check_place(routes: &[Route], index: usize) -> Result<(), ConfigError> {
    let route = &routes[index];
    let wrong =
        |key: &str, what: String| Err(ConfigError::new(format!("routes[{index}].{key}"), what));
    if route.is_default {
        if !route.matchers.is_empty() {
            return wrong(
                "match",
                "a default route takes every message that no other route takes".to_owned(),
            );
        }
        if let Some(other) =
            routes[..index].iter().find(|other| other.is_default && other.stream == route.stream)
        {
            return wrong(
                "default",
                format!("route {} is already the default of this stream", other.name),
            );
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
                "route {0} comes first and takes all of its messages: put this route before it, or set continue = true in {0}",
                other.name
            ),
        ),
        None => Ok(()),
    }
}

/// Finds the first pair of different filters that can match the same subject. If both lists are the same one, no filter
/// is compared with itself.
fn overlapping<'a>(
    left: &'a [Subject],
    right: &'a [Subject],
) -> Option<(&'a Subject, &'a Subject)> {
    left.iter().enumerate().find_map(|(index, a)| {
        let rest = if std::ptr::eq(left, right) { &right[index + 1..] } else { right };
        rest.iter().find(|b| a.overlaps(b)).map(|b| (a, b))
    })
}
