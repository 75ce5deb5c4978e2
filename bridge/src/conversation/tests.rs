use matrix_sdk::ruma::{owned_event_id, room_id};
use serde_json::json;

use super::*;
use crate::{
    origin::{Position, StreamId},
    payload::Decoded,
};

const PATIENCE: Patience =
    Patience { flapping: Duration::from_mins(15), remind: Duration::from_hours(4) };

fn saying(payload: &serde_json::Value) -> Saying {
    Saying::of(&Decoded::from_bytes(payload.to_string().as_bytes()).payload).unwrap()
}

fn alert(severity: &str, status: &str) -> Saying {
    saying(&json!({ "severity": severity, "summary": "s", "fingerprint": "f", "status": status }))
}

fn origin(sequence: u64) -> Origin {
    let stream = StreamId { stream: "OPS".to_owned(), created: "1".to_owned() };
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(sequence).unwrap()).unwrap();
    let route = RouteName::parse("r").unwrap();
    Origin::new(stream, &route, Position { sequence, part: 0 }, at)
}

/// What each of them is, said at those seconds.
fn turns(said: &[(i64, Saying)]) -> Vec<Turn> {
    let mut known = None;
    let mut turns = Vec::new();
    for (at, saying) in said {
        let time = OffsetDateTime::from_unix_timestamp(*at).unwrap();
        let talk = Talk::new(String::new(), saying.clone(), known.clone(), time, PATIENCE);
        turns.push(talk.turn);
        let root = Some(owned_event_id!("$root"));
        known = talk.after(root, origin(at.unsigned_abs())).map(|(_, after)| after).or(known);
    }
    turns
}

const UPDATE: Turn = Turn::Update { pushes: false, is_worse: false };

#[test]
fn an_alert_is_one_conversation_until_long_after_its_end() {
    let (warning, critical) = (alert("warning", "firing"), alert("critical", "firing"));
    let over = alert("warning", "resolved");
    assert_eq!(
        turns(&[
            (0, warning.clone()),
            (60, warning.clone()),
            (120, critical.clone()),
            (180, warning.clone()),
            (240, over.clone()),
            (241, over.clone()),
            (300, critical),
            (360, over),
            (360 + 15 * 60 + 1, warning),
        ]),
        [
            Turn::Opening,
            UPDATE,
            Turn::Update { pushes: true, is_worse: true },
            UPDATE,
            Turn::Resolution,
            UPDATE,
            Turn::Relapse { pushes: false },
            Turn::Resolution,
            Turn::Opening,
        ]
    );
    assert_eq!(turns(&[(0, alert("warning", "resolved"))]), [Turn::Alone]);
}

#[test]
fn what_goes_on_for_hours_pushes_again() {
    let (firing, over) = (alert("critical", "firing"), alert("critical", "resolved"));
    let four_hours = 4 * 3600;
    assert_eq!(
        turns(&[
            (0, firing.clone()),
            (four_hours - 1, firing.clone()),
            (four_hours, firing.clone())
        ]),
        [Turn::Opening, UPDATE, Turn::Update { pushes: true, is_worse: false }]
    );
    // It flaps all the time.
    let flaps: Vec<_> = (0..4 * 3600 / 300 + 2)
        .map(|round| (round * 300, if round % 2 == 0 { firing.clone() } else { over.clone() }))
        .collect();
    let pushes = turns(&flaps).into_iter().filter(|turn| *turn == Turn::Relapse { pushes: true });
    assert_eq!(pushes.count(), 1);
}

#[test]
fn a_new_member_of_a_group_is_news() {
    let group = |names: &[&str]| {
        let alerts: Vec<_> = names
            .iter()
            .map(|name| json!({ "status": "firing", "labels": { "alertname": name, "severity": "warning" } }))
            .collect();
        saying(&json!({ "groupKey": "{}:{job=\"db\"}", "status": "firing", "alerts": alerts }))
    };
    let news = Turn::Update { pushes: true, is_worse: false };
    assert_eq!(
        turns(&[
            (0, group(&["a"])),
            (1, group(&["a", "b"])),
            (2, group(&["b"])),
            (3, group(&["a"]))
        ]),
        [Turn::Opening, news, UPDATE, UPDATE]
    );
    let room = room_id!("!r:x");
    let route = RouteName::parse("r").unwrap();
    assert_eq!(group(&["a"]).key(&route, room), group(&["a", "b"]).key(&route, room));
}

#[test]
fn what_tells_alerts_apart() {
    let route = RouteName::parse("r").unwrap();
    let key = |payload: serde_json::Value| saying(&payload).key(&route, room_id!("!r:x"));
    let labelled = |severity: &str, disk: &str, summary: &str| {
        key(
            json!({ "severity": severity, "summary": summary, "source": "db", "labels": { "disk": disk, "severity": severity } }),
        )
    };
    assert_eq!(labelled("warning", "a", "91 %"), labelled("critical", "a", "99 %"));
    assert_ne!(labelled("warning", "a", "91 %"), labelled("warning", "b", "91 %"));
    let bare = |source: &str, summary: &str| {
        key(json!({ "severity": "warning", "summary": summary, "source": source }))
    };
    assert_eq!(bare("db", "disk full"), bare("db", "disk full"));
    assert_ne!(bare("db", "disk full"), bare("db", "no memory"));
    assert_ne!(bare("db", "disk full"), bare("web", "disk full"));
    let given = |fingerprint: &str, summary: &str| {
        key(json!({ "severity": "warning", "summary": summary, "fingerprint": fingerprint }))
    };
    assert_eq!(given("f", "a"), given("f", "b"));
    let saying = alert("warning", "firing");
    assert_ne!(saying.key(&route, room_id!("!r:x")), saying.key(&route, room_id!("!s:x")));
}

#[test]
fn a_message_that_comes_again_was_said() {
    let at = OffsetDateTime::UNIX_EPOCH;
    let opening = Talk::new("k".to_owned(), alert("warning", "firing"), None, at, PATIENCE);
    let (_, known) = opening.after(Some(owned_event_id!("$root")), origin(7)).unwrap();
    let json = serde_json::to_vec(&known).unwrap();
    assert_eq!(serde_json::from_slice::<Conversation>(&json).unwrap(), known);
    let again = Talk::new("k".to_owned(), alert("warning", "firing"), Some(known), at, PATIENCE);
    assert!(again.is_said(&origin(7)) && again.is_said(&origin(6)) && !again.is_said(&origin(8)));
}
