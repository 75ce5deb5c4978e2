//! The meaning of an event in a room, if it can be an answer.

use jiff::Timestamp;
use matrix_sdk::ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    config::{Answers, answers::reaction},
    text::{self, shown},
};

/// The longest text of an answer that is kept, in characters.
const LONGEST_TEXT: usize = 200;

/// The words that acknowledge an alert, as the first word of a reply.
const ACKNOWLEDGE: [&str; 2] = ["ack", "!ack"];

/// An event of a person in a room that may be an answer to an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The event with which it was done.
    pub(crate) event: OwnedEventId,
    pub(crate) room: OwnedRoomId,
    pub(crate) who: OwnedUserId,
    /// The time at which it was done, in seconds since 1970. It is never in the future.
    pub(crate) at: i64,
    pub(crate) act: Act,
}

/// The content of such an event, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// Put a reaction on an event.
    React { to: OwnedEventId, reaction: String },
    /// Replied to an event, or wrote in its thread.
    Reply { to: OwnedEventId, text: String },
    /// Took an event away.
    TakeAway { of: OwnedEventId },
}

/// An event, as far as it can be an answer.
#[derive(Deserialize)]
struct RawEvent {
    event_id: OwnedEventId,
    sender: OwnedUserId,
    origin_server_ts: i64,
    #[serde(rename = "type")]
    kind: String,
    state_key: Option<String>,
    redacts: Option<OwnedEventId>,
    content: Value,
}

impl Answer {
    /// Reads an event of a room.
    pub(crate) fn read(room: &RoomId, event: &[u8]) -> Option<Self> {
        let event: RawEvent = serde_json::from_slice(event).ok()?;
        if event.state_key.is_some() {
            return None;
        }
        let act = match event.kind.as_str() {
            "m.room.redaction" => {
                // Since room version 11 it is a part of the content.
                let of = event.redacts.or_else(|| id(&event.content["redacts"]));
                Act::TakeAway { of: of? }
            }
            kind => Act::of(kind, &event.content)?,
        };
        // Other homeservers give their events any time.
        let at = (event.origin_server_ts / 1000).clamp(0, Timestamp::now().as_second());
        Some(Self { event: event.event_id, room: room.to_owned(), who: event.sender, at, act })
    }
}

impl Act {
    /// Returns what somebody has done with an event of this type and content, unless it took another one away.
    pub(crate) fn of(kind: &str, content: &Value) -> Option<Self> {
        let relation = &content["m.relates_to"];
        match (kind, relation["rel_type"].as_str()) {
            ("m.reaction", Some("m.annotation")) => {
                let reaction = reaction(text::head(relation["key"].as_str()?, LONGEST_TEXT));
                Some(Self::React { to: id(&relation["event_id"])?, reaction })
            }
            // An edit is no answer of its own. Notices come from bots.
            ("m.room.message", relates) if content["msgtype"] == "m.text" => {
                let to = match relates {
                    None => &relation["m.in_reply_to"]["event_id"],
                    Some("m.thread") => &relation["event_id"],
                    Some(_) => return None,
                };
                Some(Self::Reply { to: id(to)?, text: own_text(content["body"].as_str()?) })
            }
            _ => None,
        }
    }

    /// Whether this acknowledges an alert, where such answers are allowed.
    pub(crate) fn acknowledges(&self, answers: &Answers) -> bool {
        match self {
            Self::React { reaction, .. } => answers.ack.contains(reaction),
            Self::Reply { text, .. } => {
                let mut words = text.split(|c: char| c.is_whitespace() || ",.;:".contains(c));
                let first = words.next().unwrap_or_default().to_lowercase();
                ACKNOWLEDGE.contains(&first.as_str()) || answers.ack.contains(&reaction(text))
            }
            Self::TakeAway { .. } => false,
        }
    }

    /// The event that it is about.
    pub(crate) fn about(&self) -> &OwnedEventId {
        match self {
            Self::React { to, .. } | Self::Reply { to, .. } => to,
            Self::TakeAway { of } => of,
        }
    }

    /// Returns the words of the person.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::React { reaction: text, .. } | Self::Reply { text, .. } => text,
            Self::TakeAway { .. } => "",
        }
    }
}

fn id(value: &Value) -> Option<OwnedEventId> {
    value.as_str()?.try_into().ok()
}

/// Returns the text of a reply without the quote that older clients put before it.
fn own_text(body: &str) -> String {
    let body = match body.strip_prefix("> ").and(body.split_once("\n\n")) {
        Some((_, own)) => own,
        None => body,
    };
    text::head(&shown::line(text::head(body, 2 * LONGEST_TEXT)), LONGEST_TEXT).to_owned()
}

#[cfg(test)]
mod tests {
    use matrix_sdk::ruma::{event_id, room_id};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::Route;

    fn event(kind: &str, content: &Value) -> Value {
        json!({
            "event_id": "$e:x", "sender": "@a:x", "origin_server_ts": 1_700_000_000_123_i64, "type": kind,
            "content": content,
        })
    }

    fn read(event: &Value) -> Option<Act> {
        Answer::read(room_id!("!r:x"), event.to_string().as_bytes()).map(|answer| answer.act)
    }

    fn message(body: &str, relation: &Value) -> Value {
        let content = json!({ "msgtype": "m.text", "body": body, "m.relates_to": relation });
        event("m.room.message", &content)
    }

    #[test]
    fn an_event_means_what_a_person_has_done() {
        let to = event_id!("$to:x").to_owned();
        let relation = json!({ "rel_type": "m.annotation", "event_id": to, "key": "👍\u{fe0f}" });
        let react = event("m.reaction", &json!({ "m.relates_to": relation }));
        let expected = Act::React { to: to.clone(), reaction: "👍".to_owned() };
        assert_eq!(read(&react), Some(expected));
        let answer = Answer::read(room_id!("!r:x"), react.to_string().as_bytes()).unwrap();
        assert_eq!(answer.at, 1_700_000_000);

        let reply = json!({ "m.in_reply_to": { "event_id": to } });
        let thread = json!({ "rel_type": "m.thread", "event_id": to, "m.in_reply_to": { "event_id": "$last:x" } });
        for relation in [reply, thread] {
            let said = read(&message("> <@b:x> fire\n> more\n\nAck, on it", &relation));
            assert_eq!(said, Some(Act::Reply { to: to.clone(), text: "Ack, on it".to_owned() }));
        }
        for redaction in
            [json!({ "redacts": to, "content": {} }), json!({ "content": { "redacts": to } })]
        {
            let mut event = event("m.room.redaction", &json!({}));
            event.as_object_mut().unwrap().extend(redaction.as_object().unwrap().clone());
            assert_eq!(read(&event), Some(Act::TakeAway { of: to.clone() }));
        }
    }

    #[test]
    fn other_events_are_no_answers() {
        let to = json!({ "m.in_reply_to": { "event_id": "$to:x" } });
        let mut notice = message("ack", &to);
        notice["content"]["msgtype"] = json!("m.notice");
        let mut state = message("ack", &to);
        state["state_key"] = json!("");
        let edit = json!({ "rel_type": "m.replace", "event_id": "$to:x" });
        let removed = event("m.reaction", &json!({}));
        let no_id = json!({ "rel_type": "m.annotation", "event_id": 1, "key": "👍" });
        let no_id = event("m.reaction", &json!({ "m.relates_to": no_id }));
        for event in
            [notice, state, message("ack", &edit), message("ack", &json!({})), removed, no_id]
        {
            assert_eq!(read(&event), None, "{event}");
        }
        assert!(Answer::read(room_id!("!r:x"), b"{").is_none());
    }

    #[test]
    fn what_acknowledges_is_declared_or_the_first_word() {
        let answers = Route::with("[routes.answers]\nack = [\"👀\"]").answers.unwrap();
        let to = event_id!("$to:x").to_owned();
        let reply = |text: &str| Act::Reply { to: to.clone(), text: text.to_owned() };
        for text in ["ack", "ACK", "!ack", "Ack, on it", "ack: looking", "👀"] {
            assert!(reply(text).acknowledges(&answers), "{text}");
        }
        for text in ["", "no ack", "acknowledge?", "back", "👍", "not mine"] {
            assert!(!reply(text).acknowledges(&answers), "{text}");
        }
        let react = |text: &str| Act::React { to: to.clone(), reaction: text.to_owned() };
        assert!(react("👀").acknowledges(&answers) && !react("👍").acknowledges(&answers));
        assert!(!Act::TakeAway { of: to.clone() }.acknowledges(&answers));
    }

    #[test]
    fn a_long_text_takes_little_memory() {
        let body = "x".repeat(60_000);
        let to = json!({ "m.in_reply_to": { "event_id": "$to:x" } });
        let act = read(&message(&body, &to)).unwrap();
        assert_eq!(act.text().len(), LONGEST_TEXT);
        // It is years before the clock of a homeserver is right.
        let mut future = message("ack", &json!({ "m.in_reply_to": { "event_id": "$to:x" } }));
        future["origin_server_ts"] = json!(i64::MAX);
        let answer = Answer::read(room_id!("!r:x"), future.to_string().as_bytes()).unwrap();
        assert!(answer.at <= Timestamp::now().as_second());
    }

    proptest! {
        #[test]
        fn no_event_ends_the_process(bytes in any::<Vec<u8>>(), body in ".{0,60}") {
            Answer::read(room_id!("!r:x"), &bytes);
            read(&message(&body, &json!({ "m.in_reply_to": { "event_id": "$to:x" } })));
        }
    }
}
