//! Entry points of the fuzz targets, compiled only with the feature `fuzzing`. Each passes an input to one part of the
//! bridge and returns what comes of it; `fuzz/src` judges that. They are here because these parts are private.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use matrix_sdk::{
    HttpError,
    ruma::{
        api::{
            IncomingResponse, OutgoingRequest,
            client::{
                account::whoami,
                alias::get_alias,
                discovery::get_supported_versions,
                media::create_content,
                membership::{join_room_by_id_or_alias, joined_rooms},
                message::{get_message_events, send_message_event},
                room::create_room,
                session::login,
            },
            error::FromHttpResponseError,
        },
        exports::http::Response,
        owned_event_id, room_alias_id, user_id,
    },
};
use serde_json::Value;

use crate::{
    alerts::AlertUpdate,
    config::{Config, Display, Language, Publisher},
    decode::{
        Decoder,
        shape::{Shapes, Surroundings},
    },
    failure::Failure,
    matrix::{MatrixError, Ownership, elements::Elements, error, room},
    message::{Decoded, Kind, Payload, PayloadKind, Position, StreamId, Urgency, payload},
    nats::headers,
    pipeline::{Facts, Routing},
    render::{
        Entry, Incoming, Rendered, Renderer,
        content::{self, in_place_of, in_thread},
        conversation::with_times,
        digest_entries,
    },
    text::shown,
};

/// The largest number of characters of a message that a room shows.
pub const MAX_TEXT_CHARS: usize = content::MAX_TEXT_CHARS;

/// The longest time that the bridge waits because a homeserver asks for it.
pub const LONGEST_WAIT_ASKED: Duration = error::LONGEST_WAIT_ASKED;

/// Returns a text as the one clean line that is logged and shown.
#[must_use]
pub fn line(text: &str) -> String {
    shown::line(text)
}

/// The result of decoding a payload.
pub struct Read {
    /// The named flaw of the message.
    pub flaw: Option<String>,
    /// The length and the kept beginning of a message that is shown as bytes.
    pub binary: Option<(usize, Vec<u8>)>,
}

/// Decodes any bytes, and looks up what is looked up for every message.
#[must_use]
pub fn decode(bytes: &[u8]) -> Read {
    let decoded = Decoded::from_bytes(bytes);
    let _ = (payload::sources(&decoded.payload), AlertUpdate::of(&decoded.payload));
    let binary = match &decoded.payload {
        Payload::Binary(kept) => Some((kept.len, kept.head.clone())),
        _ => None,
    };
    Read { flaw: decoded.flaw.map(|flaw| flaw.to_string()), binary }
}

/// A message as NATS delivers it.
pub struct Message<'a> {
    subject: &'a str,
    headers: HeaderMap,
    payload: Bytes,
}

impl<'a> Message<'a> {
    /// Creates a message. Headers that do not parse are left out, as NATS does not deliver them.
    pub fn new(
        subject: &'a str,
        lines: impl IntoIterator<Item = (&'a str, &'a str)>,
        payload: &[u8],
    ) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            if let (Ok(name), Ok(value)) =
                (name.parse::<async_nats::HeaderName>(), value.parse::<async_nats::HeaderValue>())
            {
                headers::add(&mut headers, &name, &value);
            }
        }
        Self { subject, headers, payload: Bytes::copy_from_slice(payload) }
    }

    fn incoming(&'a self, decoded: &'a Decoded) -> Incoming<'a> {
        incoming(self.subject, &self.headers, decoded, &self.payload)
    }
}

fn incoming<'a>(
    subject: &'a str,
    headers: &'a HeaderMap,
    decoded: &'a Decoded,
    original: &'a Bytes,
) -> Incoming<'a> {
    Incoming {
        subject,
        headers: Some(headers),
        stream: "OPS",
        sequence: 7,
        published: Timestamp::UNIX_EPOCH,
        route: "reports",
        decoded,
        original,
    }
}

/// A message as a room shows it.
pub struct Posted {
    /// The plain text.
    pub plain: String,
    /// The HTML.
    pub html: String,
    /// The contents of the event that shows it alone, in a thread, and as an edit.
    pub contents: Vec<Value>,
    /// The attached file.
    pub file: Option<Vec<u8>>,
}

impl From<&Rendered> for Posted {
    fn from(rendered: &Rendered) -> Self {
        let content = rendered.content(&[]);
        let root = owned_event_id!("$root:example.com");
        let edit = in_place_of(&root, &content);
        Self {
            plain: rendered.plain.clone(),
            html: rendered.html.clone(),
            contents: vec![content.clone(), in_thread(content, &root), edit],
            file: rendered.attachment.as_ref().map(|file| file.bytes.to_vec()),
        }
    }
}

/// A renderer for each language, made once as in the bridge.
static RENDERERS: LazyLock<[Renderer; 2]> = LazyLock::new(|| {
    let shanghai = TimeZone::get("Asia/Shanghai").unwrap_or(TimeZone::UTC);
    [(Language::English, TimeZone::UTC), (Language::Chinese, shanghai)]
        .map(|(language, time_zone)| Renderer::new(&Display { language, time_zone }))
});

/// Renders a message with the built-in templates of each language. Returns it as rooms show it, now and as an alert
/// that is over, and the contents of the bridge's own events about it: its resolution, the note that it was refused,
/// and a digest.
#[must_use]
pub fn render(message: &Message<'_>) -> (Vec<Posted>, Vec<Value>) {
    let decoded = Decoded::from_bytes(&message.payload);
    let (mut posted, mut own) = (Vec::new(), Vec::new());
    for renderer in &*RENDERERS {
        let shown = renderer.render(&message.incoming(&decoded));
        posted.push(Posted::from(&shown));
        let over = with_times(&decoded, -1, i64::MAX);
        posted.push(Posted::from(&renderer.render(&message.incoming(&over))));
        own.push(renderer.resolution(&decoded, i64::MIN, i64::MAX).content(&[]));
        let refused = renderer.refused(7, message.subject, message.subject, Some("dead"));
        own.push(refused.content(&[]));
        digest(renderer, message, &decoded, &shown, &mut own);
    }
    (posted, own)
}

fn digest(
    renderer: &Renderer,
    message: &Message<'_>,
    decoded: &Decoded,
    shown: &Rendered,
    contents: &mut Vec<Value>,
) {
    let published = Timestamp::UNIX_EPOCH;
    let entry = |sequence| Entry {
        sequence,
        published,
        said: published,
        subject: message.subject.to_owned(),
        head: renderer.head(published, message.subject),
        rendered: shown.clone(),
        kind: Kind::of(&decoded.payload),
        sources: renderer.sources(message.subject, &decoded.payload),
        updates: Vec::new(),
    };
    let entries: Vec<Entry> = (1..=5).map(entry).collect();
    let digest = renderer.digest(&entries, &BTreeSet::new(), Urgency::Critical);
    contents.push(digest.content(&[]));
    let root = owned_event_id!("$root:example.com");
    for piece in digest_entries::pieces(&entries, Position { sequence: 0, part: 0 }) {
        if let digest_entries::Piece::Text { text, .. } = piece {
            contents.push(in_thread(Rendered::bare(&text), &root));
        }
    }
}

/// Renders a message with the templates of a user, by their file names.
///
/// # Errors
///
/// The faults of the templates.
pub fn render_with(
    templates: &BTreeMap<String, String>,
    message: &Message<'_>,
) -> Result<Posted, Vec<String>> {
    let renderer = Renderer::with_sources(&Display::default(), templates)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let decoded = Decoded::from_bytes(&message.payload);
    Ok(Posted::from(&renderer.render(&message.incoming(&decoded))))
}

/// Decodes a message with the shape of a user, and renders it.
///
/// # Errors
///
/// The faults of the shape.
pub fn shape(toml: &str, message: &Message<'_>) -> Result<Posted, Vec<String>> {
    let own = Shapes::parse(toml, Path::new("own.toml"))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let around = Surroundings { subject: message.subject, headers: Some(&message.headers) };
    let decoded =
        Decoder { own: Some(&own), around, mask: None, trace: None }.decode(&message.payload);
    let _ = AlertUpdate::of(&decoded.payload);
    Ok(Posted::from(&RENDERERS[0].render(&message.incoming(&decoded))))
}

/// Returns the names of the kinds of messages that have templates, and whether these have rows.
pub fn template_kinds() -> impl Iterator<Item = (&'static str, bool)> {
    let has_rows =
        |kind| !matches!(kind, PayloadKind::Alerts | PayloadKind::Note | PayloadKind::Text);
    let kinds = PayloadKind::ALL.into_iter().filter(|kind| kind.has_templates());
    kinds.map(move |kind| (kind.name(), has_rows(kind)))
}

/// Parses a configuration of the bridge, and one of a publisher. Each is returned as it is logged, or else its error
/// with the exit code.
pub fn config(
    toml: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> [Result<String, (String, u8)>; 2] {
    let environment = environment.into_iter().collect();
    let refused = |failure: Failure| (failure.to_string(), failure.code());
    let file = Path::new("/nonexistent/config.toml");
    let config = Config::parse(toml, file, &environment).map(|config| format!("{config:?}"));
    let publisher = Publisher::parse(toml, file, &environment).map(|it| format!("{it:?}"));
    [config.map_err(refused), publisher.map_err(refused)]
}

/// An answer of a homeserver.
pub struct Answer<'a> {
    /// The status of HTTP.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// An error that an answer was understood as.
pub struct AnswerError {
    /// Its text.
    pub text: String,
    /// The time to wait that the homeserver asks for.
    pub wait: Option<Duration>,
    /// Whether the homeserver counts as unreachable.
    pub is_unreachable: bool,
}

/// The result of reading an answer in every way.
pub struct Understood {
    /// The errors of the requests that do not understand it.
    pub errors: Vec<AnswerError>,
    /// The number of elements, if the body is a whole array.
    pub elements: Option<usize>,
    /// Whether a position that the page shows belongs to our stream and route, and to one of its events.
    pub has_own_position: Option<bool>,
}

impl Answer<'_> {
    /// Reads the answer as one to each of our requests.
    #[must_use]
    pub fn understand(&self) -> Understood {
        let mut errors = Vec::new();
        self.to::<login::v3::Request>(&mut errors);
        self.to::<whoami::v3::Request>(&mut errors);
        self.to::<get_supported_versions::Request>(&mut errors);
        self.to::<join_room_by_id_or_alias::v3::Request>(&mut errors);
        self.to::<joined_rooms::v3::Request>(&mut errors);
        self.to::<create_room::v3::Request>(&mut errors);
        self.to::<create_content::v3::Request>(&mut errors);
        self.to::<send_message_event::v3::Request>(&mut errors);
        self.to::<get_alias::v3::Request>(&mut errors);
        let page = self.to::<get_message_events::v3::Request>(&mut errors);
        let has_own_position = page.and_then(|page| {
            let stream = StreamId { stream: "OPS".to_owned(), created: "1".to_owned() };
            let reached = room::reached_in(&page.chunk, &stream, "reports")?;
            let is_ours = reached.origin.is_of(&stream) && reached.origin.route == "reports";
            Some(is_ours && reached.events.contains_key(&reached.origin.position))
        });
        Understood { errors, elements: self.elements(), has_own_position }
    }

    fn elements(&self) -> Option<usize> {
        let user = user_id!("@bridge:example.com");
        let (mut elements, mut count, mut ownership) =
            (Elements::default(), 0, Ownership::default());
        elements.feed(self.body, &mut |event| {
            ownership.note(event);
            count += 1;
        });
        ownership.gives_all_power_to(user);
        ownership.objection(room_alias_id!("#ops:example.com"), user, &[]);
        elements.are_whole().then_some(count)
    }

    fn to<R: OutgoingRequest>(&self, errors: &mut Vec<AnswerError>) -> Option<R::IncomingResponse>
    where
        HttpError: From<FromHttpResponseError<R::EndpointError>>,
    {
        let mut response = Response::builder().status(self.status);
        if let Some(after) = self.retry_after {
            response = response.header("Retry-After", after);
        }
        let response = response.header("Content-Type", "application/json");
        // An answer that is not valid HTTP does not reach the parser.
        let response = response.body(self.body.to_vec()).ok()?;
        let error = match R::IncomingResponse::try_from_http_response(response) {
            Ok(understood) => return Some(understood),
            Err(error) => MatrixError::from(HttpError::from(error)),
        };
        let wait = match &error {
            MatrixError::Limited { wait, .. } => *wait,
            _ => None,
        };
        let is_unreachable = matches!(error, MatrixError::Unreachable(_));
        errors.push(AnswerError { text: error.to_string(), wait, is_unreachable });
        None
    }
}

/// The parts of the bridge whose memory depends on a message: a route whose match looks into payloads, and renderers.
pub struct Work {
    routing: Routing,
    /// One with the built-in templates, and one with those of a user.
    renderers: [Renderer; 2],
}

impl Work {
    /// Prepares the work, so that it does not count for any message.
    ///
    /// # Errors
    ///
    /// The fault of the configuration, or those of the templates.
    pub fn new(templates: &BTreeMap<String, String>) -> Result<Self, Failure> {
        let toml = "[nats]\nservers = [\"nats://h\"]\n\
            [matrix]\nhomeserver = \"http://h\"\nuser = \"u\"\npassword = \"p\"\n\
            [[routes]]\nname = \"r\"\nstream = \"S\"\nsubjects = [\"ops.>\"]\nroom = \"!r:x\"\n\
            match.\"payload.a.b\" = \"x\"\n";
        let mut config = Config::parse(toml, Path::new("c.toml"), &HashMap::new())?;
        let route = Arc::new(config.routes.remove(0));
        let own = Renderer::with_sources(&Display::default(), templates)
            .map_err(|faults| Failure::Config(format!("{faults:?}")))?;
        Ok(Self {
            routing: Routing::of(
                &route,
                &[Arc::clone(&route)].into(),
                &config.nats.dead_letter_subject,
            ),
            renderers: [Renderer::new(&Display::default()), own],
        })
    }

    /// Routes and decodes a message, and renders it in every way, one after another.
    pub fn run(&self, payload: &Bytes) {
        let headers = HeaderMap::new();
        let decoded = Decoded::from_bytes(payload);
        let message = incoming("ops.x.y", &headers, &decoded, payload);
        let Incoming { subject, headers, .. } = message;
        let (lineage, sequence) = ("1", 1);
        let original = payload;
        let facts = Facts {
            lineage,
            sequence,
            subject,
            headers,
            decoded: &decoded,
            original,
            is_opaque: false,
        };
        self.routing.takes(&facts);
        let _ = (payload::sources(&decoded.payload).len(), Kind::of(&decoded.payload));
        let _ = AlertUpdate::of(&decoded.payload);
        for renderer in &self.renderers {
            let content = renderer.render(&message).content(&[]);
            let _ = in_thread(content, &owned_event_id!("$root:example.com"));
        }
    }
}
