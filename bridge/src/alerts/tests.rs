use std::time::Duration;

use jiff::Timestamp;
use matrix_sdk::ruma::{owned_event_id, owned_user_id, room_id};
use serde_json::json;

use super::*;
use crate::{
    config::{Patience, Route},
    message::{Decoded, Origin, Position, RouteName, StreamId},
};

const PATIENCE: Patience = Patience {
    flapping: Duration::from_mins(15),
    remind: Duration::from_hours(4),
    acknowledged: Duration::from_hours(8),
};

fn saying(payload: &serde_json::Value) -> AlertUpdate {
    AlertUpdate::of(&Decoded::from_bytes(payload.to_string().as_bytes()).payload).unwrap()
}

fn alert(severity: &str, status: &str) -> AlertUpdate {
    saying(&json!({ "severity": severity, "summary": "s", "fingerprint": "f", "status": status }))
}

fn origin(sequence: u64) -> Origin {
    let stream = StreamId { stream: "OPS".to_owned(), created: "1".to_owned() };
    let at = Timestamp::from_second(i64::try_from(sequence).unwrap()).unwrap();
    let route = RouteName::parse("r").unwrap();
    Origin::new(stream, &route, Position { sequence, part: 0 }, at)
}

fn posted() -> Posted {
    Posted { root: Some(owned_event_id!("$root")), edit: None }
}

/// The transition that each update makes when it is published at the given second.
fn turns(said: &[(i64, AlertUpdate)]) -> Vec<Transition> {
    let mut known = None;
    let mut turns = Vec::new();
    for (at, saying) in said {
        let time = Timestamp::from_second(*at).unwrap();
        let talk = AlertThread::new(String::new(), saying.clone(), known.clone(), time, PATIENCE);
        turns.push(talk.turn);
        let pushes = talk.pushes();
        let after = talk.after(posted(), origin(at.unsigned_abs()), pushes);
        known = after.into_iter().next().map(|(_, after)| after).or(known);
    }
    turns
}

const UPDATE: Transition = Transition::Updated { pushes: false, is_other: false };

const NEWS: Transition = Transition::Updated { pushes: true, is_other: false };

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
            Transition::Opened,
            UPDATE,
            Transition::Updated { pushes: true, is_other: true },
            Transition::Updated { pushes: false, is_other: true },
            Transition::Resolved,
            UPDATE,
            Transition::Reopened { pushes: false },
            Transition::Resolved,
            Transition::Opened,
        ]
    );
    assert_eq!(turns(&[(0, alert("warning", "resolved"))]), [Transition::Orphaned]);
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
        [Transition::Opened, UPDATE, NEWS]
    );
    // The alert flaps all the time.
    let flaps: Vec<_> = (0..4 * 3600 / 300 + 2)
        .map(|round| (round * 300, if round % 2 == 0 { firing.clone() } else { over.clone() }))
        .collect();
    let pushes =
        turns(&flaps).into_iter().filter(|turn| *turn == Transition::Reopened { pushes: true });
    assert_eq!(pushes.count(), 1);
}

/// A group in which these alerts fire; `truncated` more were not sent.
fn group_of(names: &[&str], truncated: u64) -> AlertUpdate {
    let alert = |name: &str, status: &str| json!({ "status": status, "labels": { "alertname": name, "severity": "warning" } });
    let mut alerts: Vec<_> = names.iter().map(|name| alert(name, "firing")).collect();
    alerts.push(alert("over", "resolved"));
    let status = if names.is_empty() { "resolved" } else { "firing" };
    saying(
        &json!({ "groupKey": "{}:{job=\"db\"}", "status": status, "alerts": alerts, "truncatedAlerts": truncated }),
    )
}

#[test]
fn what_gets_worse_again_after_a_while_is_news() {
    let (warning, critical) = (alert("warning", "firing"), alert("critical", "firing"));
    let flapping = 15 * 60;
    assert_eq!(
        turns(&[
            (0, critical.clone()),
            (60, warning.clone()),
            (60 + flapping, critical.clone()),
            (1_000, warning),
            (1_000 + flapping + 1, critical),
        ]),
        [
            Transition::Opened,
            Transition::Updated { pushes: false, is_other: true },
            Transition::Updated { pushes: false, is_other: true },
            Transition::Updated { pushes: false, is_other: true },
            Transition::Updated { pushes: true, is_other: true },
        ]
    );
}

#[test]
fn what_was_well_for_a_while_has_begun_again() {
    let failed = |last_ok: i64| {
        let ok = Timestamp::from_second(last_ok).unwrap().to_string();
        saying(
            &json!({ "severity": "critical", "summary": "s", "fingerprint": "f", "last_ok": ok }),
        )
    };
    assert_eq!(
        turns(&[
            (1_000, failed(10)),
            // The service was started and failed at once.
            (1_100, failed(1_090)),
            // The clock of the alert's machine is slow.
            (3_000, failed(900)),
            (6_000, failed(4_000)),
            (6_100, failed(4_000)),
        ]),
        [Transition::Opened, UPDATE, UPDATE, Transition::Reopened { pushes: true }, UPDATE]
    );
}

/// An alert as Alertmanager sends it.
fn of_alertmanager(status: &str, begun: i64, sender: &str) -> AlertUpdate {
    let begun = Timestamp::from_second(begun).unwrap().to_string();
    saying(&json!({
        "groupKey": "g", "externalURL": sender,
        "alerts": [{ "status": status, "startsAt": begun, "fingerprint": "f", "labels": { "severity": "critical" } }],
    }))
}

#[test]
fn an_alert_that_begins_anew_is_news_although_nobody_said_that_it_was_over() {
    let firing = |begun| of_alertmanager("firing", begun, "http://a");
    assert_eq!(
        turns(&[
            (1_000, firing(990)),
            // The same again, with the same beginning.
            (3_000, firing(990)),
            (5_400, firing(5_390)),
            // It flaps.
            (5_700, firing(5_690)),
            (6_000, firing(5_690)),
        ]),
        [
            Transition::Opened,
            UPDATE,
            Transition::Reopened { pushes: true },
            Transition::Reopened { pushes: false },
            UPDATE,
        ]
    );
    // A group in which another alert fires on.
    let group = |a: i64, b: i64| {
        let member = |name: &str, begun| {
            let begun = Timestamp::from_second(begun).unwrap().to_string();
            json!({ "startsAt": begun, "labels": { "alertname": name }, "fingerprint": name })
        };
        saying(&json!({ "groupKey": "g", "alerts": [member("a", a), member("b", b)] }))
    };
    assert_eq!(
        turns(&[(1_000, group(900, 910)), (3_000, group(900, 910)), (9_000, group(900, 8_990))]),
        [Transition::Opened, UPDATE, Transition::Reopened { pushes: true }]
    );
}

#[test]
fn a_monitor_that_is_down_again_after_hours_is_news_and_a_reminder_is_not() {
    let down = |at: i64, is_important: bool| {
        let time = Timestamp::from_second(at).unwrap().to_string();
        let heartbeat = json!({ "monitorID": 7, "status": 0, "time": time, "msg": "m", "important": is_important });
        saying(&json!({ "heartbeat": heartbeat, "monitor": { "id": 7, "name": "n" }, "msg": "m" }))
    };
    assert_eq!(
        turns(&[(10, down(9, true)), (3_600, down(3_599, false)), (7_200, down(7_199, true))]),
        [Transition::Opened, UPDATE, Transition::Reopened { pushes: true }]
    );
}

#[test]
fn servers_of_one_cluster_share_a_thread_and_those_of_two_do_not() {
    let (route, room) = (Route::with(""), room_id!("!r:x"));
    let keys = |update: &AlertUpdate| {
        (update.key(&route, room, "ops.am"), update.shared_key(&route, room, "ops.am").unwrap())
    };
    let (one, two) =
        (of_alertmanager("firing", 9, "http://n1"), of_alertmanager("firing", 9, "http://n2"));
    assert!(keys(&one).0 != keys(&two).0 && keys(&one).1 == keys(&two).1);
    assert_eq!(keys(&one).1, keys(&of_alertmanager("resolved", 9, "http://n3")).1);
    assert_ne!(keys(&one).1, keys(&of_alertmanager("firing", 10, "http://n1")).1);
    // A server repeats an alert after the other one said that it is over, which is no news.
    assert_eq!(
        turns(&[
            (10, one.clone()),
            (60, of_alertmanager("resolved", 9, "http://n1")),
            (5_000, two)
        ]),
        [Transition::Opened, Transition::Resolved, Transition::Reopened { pushes: false }]
    );
}

#[test]
fn a_member_of_a_group_that_comes_back_is_news_unless_it_flaps() {
    let (a, b, ab) = (group_of(&["a"], 0), group_of(&["b"], 0), group_of(&["a", "b"], 0));
    assert_eq!(
        turns(&[
            (0, ab.clone()),
            // The group is sent again hours later, and each member has fired all the time.
            (3_600, ab.clone()),
            (4_000, a.clone()),
            (4_500, ab.clone()),
            (5_000, a.clone()),
            (5_901, ab),
        ]),
        [Transition::Opened, UPDATE, UPDATE, UPDATE, UPDATE, NEWS]
    );
    // The alert was resolved and is now a different one.
    assert_eq!(
        turns(&[(0, a.clone()), (60, group_of(&[], 0)), (120, a.clone()), (180, b)]),
        [Transition::Opened, Transition::Resolved, Transition::Reopened { pushes: false }, NEWS]
    );
    assert_eq!(
        turns(&[(0, a.clone()), (60, group_of(&[], 0)), (120, group_of(&["b"], 0))])[2],
        Transition::Reopened { pushes: true }
    );
    // Nothing is known of the alerts that were not sent.
    let (few, some) = (group_of(&["a"], 1), group_of(&["b"], 1));
    assert_eq!(
        turns(&[(0, few.clone()), (60, some), (3_600, few)]),
        [Transition::Opened, NEWS, UPDATE]
    );
}

#[test]
fn a_new_member_of_a_group_is_news() {
    let group = |names: &[&str]| group_of(names, 0);
    assert_eq!(
        turns(&[
            (0, group(&["a"])),
            (1, group(&["a", "b"])),
            (2, group(&["b"])),
            (3, group(&["a"]))
        ]),
        [Transition::Opened, NEWS, UPDATE, UPDATE]
    );
    let (room, route) = (room_id!("!r:x"), Route::with(""));
    let key = |saying: AlertUpdate| saying.key(&route, room, "ops.x");
    assert_eq!(key(group(&["a"])), key(group(&["a", "b"])));
}

#[test]
fn what_tells_alerts_apart() {
    let route = Route::with("");
    let key = |payload: serde_json::Value| saying(&payload).key(&route, room_id!("!r:x"), "ops.x");
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
    // Secrets are hidden before an alert is told from another, and may be all in which two differ.
    let with = |secret: &str, password: &str, fingerprint: Option<&str>| {
        let labels = json!({ "alertname": "Gone", "secret": secret });
        key(json!({ "severity": "critical", "summary": "s", "labels": labels,
            "password": password, "fingerprint": fingerprint }))
    };
    assert_ne!(with("Zq7Rk2Lm9V", "a", None), with("Lm9Vb4Zq7R", "a", None));
    assert_eq!(with("Zq7Rk2Lm9V", "Zq7Rk2Lm", None), with("Zq7Rk2Lm9V", "Lm9Vb4Zq", None));
    assert_eq!(with("Zq7Rk2Lm9V", "a", Some("f")), given("f", "b"));
    let saying = alert("warning", "firing");
    let key = |room| saying.key(&route, room, "ops.x");
    assert_ne!(key(room_id!("!r:x")), key(room_id!("!s:x")));
}

#[test]
fn nobody_else_speaks_of_an_alert_unless_the_route_says_so() {
    let by = |line: &str, subject: &str| {
        alert("critical", "firing").key(&Route::with(line), room_id!("!r:x"), subject)
    };
    let own = by("", "ops.alert.db-01");
    assert_eq!(own, by("alert_scope = \"subject\"", "ops.alert.db-01"));
    assert_ne!(own, by("", "ops.alert.evil"));
    let third = |subject: &str| by("alert_scope = \"subject.3\"", subject);
    assert_eq!(third("ops.firing.db-01"), third("ops.resolved.db-01"));
    assert_ne!(third("ops.alert.db-01"), third("ops.alert.evil"));
    let whole = |subject: &str| by("alert_scope = \"route\"", subject);
    assert_eq!(whole("ops.alert.db-01"), whole("ops.other"));
}

/// A group of one alert and a group of two, as the Alertmanager at `url` sends them.
fn groups_from(url: &str) -> [AlertUpdate; 2] {
    let alert = |pod: &str| json!({ "status": "firing", "labels": { "pod": pod } });
    [vec![alert("a")], vec![alert("a"), alert("b")]].map(|alerts| {
        saying(&json!({ "groupKey": "{}:{}", "externalURL": url, "status": "firing", "alerts": alerts }))
    })
}

#[test]
fn two_alertmanagers_with_one_group_key_speak_of_two_alerts() {
    let key = |saying: &AlertUpdate, line: &str| {
        saying.key(&Route::with(line), room_id!("!r:x"), "ops.am")
    };
    let (eu, us) = (groups_from("http://eu.example.com"), groups_from("http://us.example.com"));
    for line in ["", "alert_scope = \"subject.2\""] {
        assert_eq!(key(&eu[0], line), key(&eu[1], line), "alone or with others, {line}");
        assert_ne!(key(&eu[0], line), key(&us[0], line), "{line}");
        assert_ne!(key(&eu[1], line), key(&us[1], line), "{line}");
    }
    let line = "alert_scope = \"route\"";
    assert_eq!(key(&eu[0], line), key(&us[1], line));
}

#[test]
fn a_message_that_comes_again_was_said() {
    let at = Timestamp::UNIX_EPOCH;
    let opening = AlertThread::new("k".to_owned(), alert("warning", "firing"), None, at, PATIENCE);
    let (_, known) = opening.after(posted(), origin(7), true).remove(0);
    let json = serde_json::to_vec(&known).unwrap();
    assert_eq!(serde_json::from_slice::<ThreadState>(&json).unwrap(), known);
    let again =
        AlertThread::new("k".to_owned(), alert("warning", "firing"), Some(known), at, PATIENCE);
    assert!(again.is_said(&origin(7)) && again.is_said(&origin(6)) && !again.is_said(&origin(8)));
}

#[test]
fn what_has_yet_to_happen_is_not_believed() {
    let now = 1_800_000_000;
    let known = |at: i64| {
        let root = owned_event_id!("$root");
        ThreadState::begin(&alert("critical", "firing"), root, at, origin(at.unsigned_abs()))
    };
    let skew = 15 * 60;
    assert!(!known(now + skew).is_of_future(now));
    assert!(known(now + skew + 1).is_of_future(now));
    let future = now + skew + 1;
    let forge: [fn(&mut ThreadState, i64); 5] = [
        |known, at| known.said = at,
        |known, at| known.pushed = at,
        |known, at| known.resolved = at,
        |known, at| known.eased = at,
        |known, at| known.last = origin(at.unsigned_abs()),
    ];
    for change in forge {
        let mut forged = known(now);
        change(&mut forged, future);
        assert!(forged.is_of_future(now), "{forged:?}");
    }
    let mut forged = known(now);
    forged.members.all_gone(future);
    assert!(forged.is_of_future(now), "{forged:?}");
    forged = known(now);
    forged.said = i64::MAX;
    assert!(forged.is_of_future(now) && !forged.is_of_future(i64::MAX));
}

/// An alert that fires since 0 and was acknowledged at each of these times.
fn held_since(times: &[i64]) -> ThreadState {
    let root = owned_event_id!("$root");
    let mut known = ThreadState::begin(&alert("warning", "firing"), root, 0, origin(1));
    for at in times {
        let event = format!("$ack-{at}").try_into().unwrap();
        assert!(known.hold(Holder { user: owned_user_id!("@a:x"), at: *at, event }));
    }
    known
}

#[test]
fn nobody_is_reminded_of_what_somebody_has_until_it_seems_forgotten() {
    let hour = 3600;
    let pushes = |times: &[i64], severity: &str, at: i64| {
        let turn = alert(severity, "firing").turn(Some(&held_since(times)), at, PATIENCE);
        matches!(turn, Transition::Updated { pushes: true, .. })
    };
    assert!(pushes(&[], "warning", 4 * hour));
    assert!(!pushes(&[hour], "warning", 9 * hour - 1));
    assert!(pushes(&[hour], "warning", 9 * hour));
    assert!(!pushes(&[hour, 2 * hour], "warning", 9 * hour));
    // The person who has it may not know that it is worse now.
    assert!(pushes(&[hour], "critical", 2 * hour));
}

#[test]
fn the_end_of_an_alert_ends_its_acknowledgement() {
    let after = |severity: &str, status: &str| {
        let at = Timestamp::from_second(60).unwrap();
        let known = held_since(&[30]);
        let thread =
            AlertThread::new(String::new(), alert(severity, status), Some(known), at, PATIENCE);
        let shown = thread.holders().len();
        let (_, after) = thread.after(Posted::default(), origin(60), false).remove(0);
        assert_eq!(after.holders.len(), shown);
        shown
    };
    assert_eq!(after("warning", "firing"), 1);
    assert_eq!(after("critical", "firing"), 1);
    assert_eq!(after("warning", "resolved"), 0);
}

#[test]
fn the_same_answer_counts_once_and_many_take_no_memory() {
    let times: Vec<i64> = (1..=8).collect();
    let mut known = held_since(&times);
    let again = known.holders[3].clone();
    assert!(known.hold(again) && known.holders.len() == 8);
    let event = owned_event_id!("$one-more");
    assert!(!known.hold(Holder { user: owned_user_id!("@b:x"), at: 9, event }));
    assert_eq!(known.holders.len(), 8);
    assert!(!known.is_of_future(1_000));
    known.holders[0].at = 1_000_000;
    assert!(known.is_of_future(1_000));
}
