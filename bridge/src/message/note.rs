//! Notes: events that need no action.

use std::collections::BTreeMap;

use crate::message::forge::ForgeEvent;

/// An event that nobody has to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// An event on a forge, such as a push, a comment or a release.
    Forge(ForgeEvent),
    /// An answer of NATS to a publisher.
    NatsAnswer,
    /// An event in the words of its sender.
    Said(Box<Remark>),
    /// A message that somebody sent to try out the way to the room.
    Test(Box<Test>),
}

/// An event in the words of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    /// The event in one line.
    pub headline: String,
    /// The machine or service that the event is about.
    pub source: Option<String>,
    /// The time of the event, as in RFC 3339.
    pub time: Option<String>,
    /// Further details.
    pub lines: Vec<String>,
    /// Further details with names.
    pub rows: BTreeMap<String, String>,
    /// A link to more information.
    pub url: Option<String>,
    /// Whether the sender means somebody to read it soon.
    pub is_urgent: bool,
}

/// A message that somebody sent to try out the way to the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Test {
    /// The name of the program that sent it.
    pub sender: String,
    /// The thing that the message would be about.
    pub source: Option<String>,
    pub text: Option<String>,
    pub url: Option<String>,
}

impl Note {
    /// Whether somebody should read the note soon.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Said(remark) => remark.is_urgent,
            Self::Forge(_) | Self::NatsAnswer | Self::Test(_) => false,
        }
    }

    /// Returns the repository or thing that the event is about.
    pub(crate) fn source(&self) -> Option<&str> {
        match self {
            Self::Forge(event) => event.repository.as_deref(),
            Self::NatsAnswer => None,
            Self::Said(remark) => remark.source.as_deref(),
            Self::Test(test) => test.source.as_deref(),
        }
    }
}
