//! A message on its way to NATS.

use data_encoding::BASE32_NOPAD;
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{failure::Failure, reserved, subject::Subject};

/// The age from which a message is late: it then carries its own time, and it may already be stored.
const LATE: SignedDuration = SignedDuration::from_mins(1);

/// The longest id that is accepted, in characters. Our own ids are shorter.
const MOST_OF_ID: usize = 64;

/// The longest subject, in bytes. It must fit into a line of NATS's protocol (4,096 bytes by default).
const MOST_OF_SUBJECT: usize = 1_024;

/// A message on its way to NATS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Message {
    /// The id, which no other message has.
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
    /// The time at which the message was created.
    pub(super) time: Timestamp,
    #[serde(deserialize_with = "subject")]
    pub(super) subject: String,
    pub(super) payload: Map<String, Value>,
}

impl Message {
    /// Creates a message with the present time.
    ///
    /// # Errors
    ///
    /// Returns [`Failure::Config`] for a subject that belongs to NATS, [`Failure::Bug`] for a payload that is not a
    /// JSON object.
    pub(crate) fn new(subject: &Subject, payload: &impl Serialize) -> Result<Self, Failure> {
        let bug = |text: &str| Failure::Bug(format!("a message cannot be made: {text}"));
        may_be_published(subject).map_err(|error| Failure::Config(error.to_string()))?;
        let mut chance = [0; 20];
        aws_lc_rs::rand::fill(&mut chance).map_err(|_| bug("the system has no random numbers"))?;
        let payload = match serde_json::to_value(payload) {
            Ok(Value::Object(payload)) => payload,
            Ok(_) => return Err(bug("it is no object")),
            Err(error) => return Err(bug(&error.to_string())),
        };
        Ok(Self {
            id: BASE32_NOPAD.encode(&chance).to_lowercase(),
            time: now(),
            subject: subject.as_str().to_owned(),
            payload,
        })
    }

    /// Returns the payload to send. A late message has its time in the payload.
    pub(super) fn text(&self) -> String {
        let mut payload = self.payload.clone();
        if self.is_late() {
            payload.entry("time").or_insert(self.time.to_string().into());
        }
        Value::Object(payload).to_string()
    }

    /// Formats the payload for a person.
    pub(crate) fn pretty(&self) -> String {
        format!("{:#}", Value::Object(self.payload.clone()))
    }

    pub(super) fn is_late(&self) -> bool {
        now().duration_since(self.time) > LATE
    }
}

/// Reads the id of a waiting message. It goes into a header, where the NATS client does not accept line breaks.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    if (1..=MOST_OF_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(id);
    }
    Err(D::Error::custom("its id is not one of letters and digits alone"))
}

/// Reads and checks the subject of a waiting message. Its author may have fewer permissions in NATS than this process.
fn subject<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let subject = String::deserialize(deserializer)?;
    let checked = Subject::literal(&subject).map_err(D::Error::custom)?;
    may_be_published(&checked).map_err(D::Error::custom)?;
    Ok(subject)
}

/// The reason why nothing may be published on a subject.
#[derive(Debug, Error)]
enum Unpublishable {
    #[error("the subject has more than {MOST_OF_SUBJECT} bytes")]
    TooLong,
    #[error("the subject {0} is NATS's own, and no report or alert goes there")]
    OfNats(Subject),
    #[error("the subject {0} is the bridge's own, and no report or alert goes there")]
    OfTheBridge(Subject),
}

/// Refuses subjects that begin with `$`, by which NATS is controlled, those of answers, those of the bridge, and subjects that are so long that NATS would end
/// the connection.
fn may_be_published(subject: &Subject) -> Result<(), Unpublishable> {
    if subject.as_str().len() > MOST_OF_SUBJECT {
        return Err(Unpublishable::TooLong);
    }
    if subject.as_str().starts_with('$') || subject.as_str().starts_with("_INBOX") {
        return Err(Unpublishable::OfNats(subject.clone()));
    }
    if subject.as_str().starts_with(reserved::SUBJECTS) {
        return Err(Unpublishable::OfTheBridge(subject.clone()));
    }
    Ok(())
}

/// Returns the present time, to the second: nobody needs more precision.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    let to_second = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
    now.round(to_second).unwrap_or(now)
}
