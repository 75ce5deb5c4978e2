use serde_json::json;

use super::*;

fn gist(value: Value) -> Gist {
    let Value::Object(object) = value else { panic!("not an object") };
    Gist::of(&object)
}

fn alert(value: Value) -> Option<Alert> {
    gist(value).into_alert().ok().map(|(alert, _)| alert)
}

fn row<'a>(gist: &'a Gist, name: &str) -> Option<&'a str> {
    gist.rows.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

#[test]
fn the_fields_are_found_under_the_names_that_people_use() {
    for (title, host, time, link) in [
        ("title", "host", "timestamp", "url"),
        ("Summary", "Hostname", "startedAt", "html_url"),
        ("alert_name", "node", "occurred-at", "permalink"),
        ("message", "server_name", "@timestamp", "dashboardURL"),
        ("msg", "service", "ts", "details_url"),
    ] {
        let found = gist(json!({
            title: "Queue is long", host: "mq-1", time: "2026-11-23T06:35:51Z", link: "https://mq.example.com/q",
        }));
        assert_eq!(found.title.as_deref(), Some("Queue is long"), "{title}");
        assert_eq!(found.source.as_deref(), Some("mq-1"), "{host}");
        assert_eq!(found.time.as_deref(), Some("2026-11-23T06:35:51Z"), "{time}");
        assert_eq!(found.url.as_deref(), Some("https://mq.example.com/q"), "{link}");
        assert!(found.rows.is_empty() && !found.is_cut, "{:?}", found.rows);
    }
}

#[test]
fn the_fields_are_found_in_wrappers_too() {
    let found = gist(json!({
        "event": "incident.opened",
        "data": { "incident": { "title": "Disk full", "host": { "name": "db-01", "os": "debian" }, "severity": "P1" } },
    }));
    assert_eq!(found.title.as_deref(), Some("Disk full"));
    assert_eq!(found.source.as_deref(), Some("db-01"));
    assert_eq!(row(&found, "host.os"), Some("debian"));
    assert_eq!(found.into_alert().unwrap().0.severity, Severity::Critical);
}

#[test]
fn a_monitor_and_an_agent_are_sources_and_not_titles() {
    let found = gist(json!({
        "alert": { "name": "API answers slowly", "monitorName": "API", "severity": "critical" },
        "links": [{ "href": "https://watch.example.com/1", "text": "Open" }],
    }));
    assert_eq!(found.title.as_deref(), Some("API answers slowly"));
    assert_eq!(found.source.as_deref(), Some("API"));
    assert_eq!(found.url.as_deref(), Some("https://watch.example.com/1"));
    let found = gist(json!({
        "rule": { "level": 10, "description": "Many failed logins" },
        "agent": { "id": "003", "name": "web-2" },
    }));
    assert_eq!(found.title.as_deref(), Some("Many failed logins"));
    assert_eq!(found.source.as_deref(), Some("web-2"));
    let over = json!({ "description": "Shop answers again.", "period": { "state": "UP" } });
    assert_eq!(gist(over).state(), Some(State::Resolved));
}

#[test]
fn a_time_can_be_a_number_of_any_unit() {
    for number in [
        json!(1_795_416_000),
        json!(1_795_416_000_000_u64),
        json!("1795416000000000"),
        json!(1.795_416e18),
    ] {
        let found = gist(json!({ "text": "x", "ts": number }));
        assert_eq!(found.time.as_deref(), Some("2026-11-23T06:40:00Z"), "{number}");
    }
    assert_eq!(gist(json!({ "text": "x", "time": 12 })).time, None);
    assert_eq!(
        row(&gist(json!({ "x": "y", "started": { "at": 1_795_416_000 } })), "started.at"),
        Some("2026-11-23 06:40:00 UTC")
    );
}

#[test]
fn what_says_nothing_is_left_out_and_only_that_which_is_not_empty_counts() {
    let found = gist(json!({
        "a": null, "b": "", "c": [], "d": {}, "e": [null, ""], "f": "00000000-0000-0000-0000-000000000000",
        "g": "0001-01-01T00:00:00Z", "h": { "i": { "j": 1 } }, "k": [1, 2], "l": [{ "name": "x" }, { "name": "y" }],
    }));
    assert_eq!(
        found.rows,
        [("l", "x, y"), ("h.i.j", "1"), ("k", "1, 2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert!(!found.is_cut);
    for id in [
        json!({ "id": 17, "a": 1 }),
        json!({ "trace_id": "x", "a": 1 }),
        json!({ "requestId": "x", "a": 1 }),
        json!({ "a": 1, "b": "590edd7b-da51-4041-8dbb-aa3d6a915340" }),
        json!({ "a": 1, "b": "731f7eaddfb6af01cb2173e18f0f75b0ba780ef1" }),
    ] {
        let found = gist(id);
        assert_eq!((found.rows.len(), found.is_cut), (1, true), "{:?}", found.rows);
    }
    // These are no identifiers.
    let found = gist(json!({ "paid": 3, "grid": "north", "hasha": "x" }));
    assert_eq!((found.rows.len(), found.is_cut), (3, false));
}

#[test]
fn there_are_twelve_lines_at_most_and_the_most_telling_come_first() {
    let mut fields = Map::new();
    for number in 0..40 {
        fields.insert(format!("field{number}"), json!(number));
    }
    fields.insert("reason".to_owned(), json!("OOMKilled"));
    fields.insert(
        "text".to_owned(),
        json!("one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven"),
    );
    fields.insert("host".to_owned(), json!("db-01"));
    let found = Gist::of(&fields);
    let described = found.description.as_ref().map_or(0, |text| text.lines().count());
    assert_eq!(2 + described + found.rows.len(), MOST_LINES);
    assert_eq!(found.rows[0].0, "reason");
    assert!(found.is_cut && found.rows.len() == LEAST_ROWS, "{:?}", found.rows);
}

#[test]
fn a_severity_and_a_title_are_an_alert() {
    for (severity, expected) in [
        (json!({ "severity": "critical" }), Severity::Critical),
        (json!({ "priority": "P1" }), Severity::Critical),
        (json!({ "priority": { "name": "sev-2" } }), Severity::Warning),
        (json!({ "level": "error" }), Severity::Warning),
        (json!({ "level": 60, "pid": 3 }), Severity::Critical),
        (json!({ "Severity": "Sev-A" }), Severity::Other("Sev-A".to_owned())),
        (json!({ "severity": 4 }), Severity::Warning),
        (json!({ "severity": "4" }), Severity::Warning),
        (json!({ "state": "firing" }), Severity::Warning),
        (json!({ "status": "DOWN" }), Severity::Warning),
    ] {
        let Value::Object(mut fields) = severity else { panic!() };
        fields.insert("message".to_owned(), json!("Disk full"));
        let shown = format!("{fields:?}");
        let alert = alert(Value::Object(fields)).expect(&shown);
        assert_eq!((alert.severity, alert.status), (expected, Status::Firing), "{shown}");
    }
    for other in [
        json!({ "severity": "critical", "host": "a" }),
        json!({ "level": "info", "message": "listening" }),
        json!({ "level": 80, "message": "battery" }),
        json!({ "priority": 5, "message": "x", "title": "y" }),
        json!({ "status": "success", "message": "backup done" }),
        json!({ "status": "failed", "title": "nightly backup" }),
        json!({ "message": "Disk full" }),
    ] {
        assert_eq!(alert(other.clone()), None, "{other}");
    }
}

#[test]
fn an_alert_ends_under_the_name_that_it_began_with() {
    let identity = |value: Value| {
        let alert = alert(value.clone()).unwrap_or_else(|| panic!("{value}"));
        (alert.status, crate::message::alert::identity(&alert))
    };
    for (begun, over) in [
        (
            json!({ "title": "Disk full", "severity": "high", "status": "firing", "incident_id": 7 }),
            json!({ "title": "Disk is fine", "severity": "high", "status": "ok", "incident_id": 7 }),
        ),
        (
            json!({ "title": "[Alerting] Disk full", "state": "alerting", "host": "a" }),
            json!({ "title": "[OK] Disk full", "state": "resolved", "host": "a" }),
        ),
        (
            json!({ "name": "Disk full", "status": "triggered", "labels": { "disk": "/", "value": 91, "status": "x" } }),
            json!({ "name": "Disk full", "status": "closed", "labels": { "disk": "/", "value": 12, "status": "y" } }),
        ),
        (json!({ "host": "a", "state": "down" }), json!({ "host": "a", "state": "up" })),
        (json!({ "state": "offline" }), json!({ "state": "online" })),
        (
            json!({ "host": "a", "service": "web", "status": "down" }),
            json!({ "host": "a", "service": "web", "status": "up" }),
        ),
    ] {
        let (begun, over) = (identity(begun), identity(over));
        assert_eq!((begun.0, over.0), (Status::Firing, Status::Resolved));
        assert_eq!(begun.1, over.1);
    }
    let of = |service: &str| identity(json!({ "host": "a", "service": service, "status": "down" }));
    assert_ne!(of("web").1, of("mail").1);
    let shown = alert(json!({ "host": "a", "service": "web", "status": "down" })).unwrap();
    assert_eq!((shown.summary.in_no_language(), shown.source.as_deref()), ("web: down", Some("a")));
}

#[test]
fn the_end_of_something_that_is_no_alert_is_quiet() {
    for (value, expected) in [
        (json!({ "status": "success", "text": "x" }), Some(State::Resolved)),
        (json!({ "level": "info", "text": "x" }), Some(State::Info)),
        (json!({ "status": "failed", "text": "x" }), Some(State::Warning)),
        (json!({ "severity": "critical", "disk": 4 }), Some(State::Warning)),
        (json!({ "text": "x" }), None),
    ] {
        assert_eq!(gist(value.clone()).state(), expected, "{value}");
    }
}

#[test]
fn a_text_in_an_array_of_bytes_or_in_json_within_json_is_read() {
    let found = gist(
        json!({ "MESSAGE": "caf\u{e9} closed".bytes().collect::<Vec<_>>(), "ports": [80, 81, 82, 83] }),
    );
    assert_eq!(found.title.as_deref(), Some("caf\u{e9} closed"));
    assert_eq!(row(&found, "ports"), Some("80, 81, 82, 83"));
    let found = gist(json!({ "x": "{\"disk\": {\"free\": 3}}" }));
    assert_eq!(row(&found, "x.disk.free"), Some("3"));
}

#[test]
fn a_name_without_a_text_is_a_title_with_the_word_for_what_happened() {
    for (value, title) in [
        (json!({ "monitorFriendlyName": "Shop", "alertTypeFriendlyName": "Down" }), "Shop: Down"),
        (
            json!({ "name": "asgard", "build": { "number": 18, "status": "FAILURE" } }),
            "asgard: FAILURE",
        ),
        (json!({ "name": "Nightly backup", "status": "success" }), "Nightly backup: success"),
        (
            json!({ "status": "failed", "execution": { "job": { "name": "Rotate logs" } } }),
            "Rotate logs: failed",
        ),
        (
            json!({ "Type": "container", "Action": "die", "Actor": { "Attributes": { "name": "web" } } }),
            "web: die",
        ),
        (json!({ "service": "checkout", "state": "degraded" }), "checkout: degraded"),
        // These words only say that an alert begins, and the texts speak for themselves.
        (json!({ "name": "Disk full", "status": "firing" }), "Disk full"),
        (json!({ "title": "Disk is full", "status": "full" }), "Disk is full"),
        // How it went belongs to the first line.
        (json!({ "title": "Restore of db-01", "status": "failed" }), "Restore of db-01: failed"),
        (json!({ "title": "Build 3 failed", "status": "failure" }), "Build 3 failed"),
        (json!({ "name": "shop", "state": "building" }), "shop: building"),
        (
            json!({ "name": "db-01 is gone!", "status": "firing", "labels": { "status": "DOWN" } }),
            "db-01 is gone!",
        ),
        (json!({ "name": "web", "event": "scan.done", "status": "failed" }), "scan.done: failed"),
        (json!({ "event_type": "alert", "alert": { "signature": "A port scan" } }), "A port scan"),
    ] {
        assert_eq!(gist(value.clone()).title.as_deref(), Some(title), "{value}");
    }
    assert_eq!(gist(json!({ "host": "db-01", "disk": 7 })).title, None);
}

#[test]
fn a_monitor_that_goes_down_and_comes_up_is_one_problem() {
    let at = |word: &str| {
        let monitor = json!({ "monitorFriendlyName": "Shop", "alertTypeFriendlyName": word, "alertDetails": "Timeout" });
        let alert = alert(monitor).expect(word);
        (alert.status, crate::message::alert::identity(&alert), alert.description)
    };
    let (down, up) = (at("Down"), at("Up"));
    assert_eq!((down.0, up.0), (Status::Firing, Status::Resolved));
    assert_eq!(down.1, up.1);
    assert_eq!(down.2.as_deref(), Some("Timeout"));
    // A host that reports need not have been down, and a job that succeeds need not have failed.
    for value in [
        json!({ "host": "db-01", "status": "up", "cpu": 12, "memory": 40, "load": 1.5 }),
        json!({ "name": "job", "status": "success" }),
    ] {
        assert_eq!(gist(value.clone()).state(), Some(State::Resolved));
        assert_eq!(alert(value), None);
    }
}

#[test]
fn a_line_has_the_shortest_name_that_no_other_has() {
    let found = gist(json!({
        "text": "x", "status": "y", "data": { "essentials": { "rule": { "a": 1 }, "team": "blue", "status": "z" } },
        "alert": { "zone": 3 }, "check": { "zone": 4 },
    }));
    let names: Vec<&str> = found.rows.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["status", "data.essentials.status", "a", "team", "alert.zone", "check.zone"] {
        assert!(names.contains(&name), "{name} {names:?}");
    }
}

#[test]
fn variables_that_were_not_filled_in_and_addresses_that_do_something_are_noise() {
    let found = gist(json!({
        "text": "x", "a": "*alertDuration*", "b": "{{ value }}", "c": "${HOST}", "unsubscribe": "hxxps://a[.]example/u?1",
        "d": "*bold* and more", "e": false, "reason": "idle",
    }));
    assert_eq!(
        found.rows,
        [("reason", "idle"), ("d", "*bold* and more"), ("e", "false")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert!(found.is_cut);
}

#[test]
fn a_job_that_went_well_resolves_nothing_by_its_mere_id() {
    let job =
        |status: &str| json!({ "id": 7, "job": { "id": 8, "name": "build", "status": status } });
    assert_eq!(alert(job("success")), None);
    assert_eq!(gist(job("success")).state(), Some(State::Resolved));
    assert_eq!(gist(job("failed")).state(), Some(State::Warning));
    let named = json!({ "title": "Disk full", "status": "success", "alert_id": 7 });
    assert_eq!(alert(named).unwrap().status, Status::Resolved);
    let of_alerts = json!({ "title": "Disk full", "status": "ok", "id": 7 });
    assert_eq!(alert(of_alerts).unwrap().status, Status::Resolved);
}

#[test]
fn how_something_ended_counts_more_than_that_it_did() {
    let build =
        json!({ "message": "Build 3", "resource": { "status": "completed", "result": "failed" } });
    assert_eq!(gist(build).state(), Some(State::Warning));
    let run = json!({ "name": "nightly", "status": "completed", "conclusion": "failure" });
    assert_eq!(gist(run).title.as_deref(), Some("nightly: failure"));
    let done = json!({ "name": "nightly", "status": "completed" });
    assert_eq!(gist(done).state(), Some(State::Resolved));
}

#[test]
fn the_name_of_an_event_says_whether_a_problem_is_over() {
    for (event, expected) in [
        ("incident.resolved", Some(Status::Resolved)),
        ("HealthRestored", Some(Status::Resolved)),
        ("incident.triggered", Some(Status::Firing)),
        ("pull_request.closed", None),
        ("resolved", Some(Status::Resolved)),
    ] {
        let found = alert(json!({ "event_type": event, "title": "Indexers are not available" }));
        assert_eq!(found.map(|alert| alert.status), expected, "{event}");
    }
}

#[test]
fn the_state_before_a_title_opens_and_ends_one_conversation_for_each_place() {
    let at = |title: &str, id: u64| {
        let alert =
            alert(json!({ "title": title, "id": id, "body": "%%%\nCPU over 90%\n%%%" })).unwrap();
        (alert.status, crate::message::alert::identity(&alert), alert.description)
    };
    let begun = at("[Triggered on {host:a}] High CPU", 1);
    let over = at("[Recovered on {host:a}] High CPU", 2);
    assert_eq!((begun.0, over.0), (Status::Firing, Status::Resolved));
    assert_eq!(begun.1, over.1);
    assert_ne!(begun.1, at("[Triggered on {host:b}] High CPU", 3).1);
    assert_eq!(begun.2.as_deref(), Some("CPU over 90%"));
    assert_eq!(at("[FIRING:2] Disk full", 4).1, at("[RESOLVED] Disk full", 5).1);
}

#[test]
fn a_link_is_one_for_people() {
    let links = json!({
        "self": { "href": "https://api.forge.example.com/1" }, "html": { "href": "https://forge.example.com/1" },
    });
    for value in [
        json!({ "text": "x", "links": links }),
        json!({ "text": "x", "_links": { "web": { "href": "https://forge.example.com/1" } } }),
        json!({ "text": "x", "permalinks": { "chat": null, "web": "https://forge.example.com/1" } }),
        json!({ "text": "x", "url": "https://forge.example.com/_apis/1", "html_url": "https://forge.example.com/1" }),
    ] {
        assert_eq!(
            gist(value.clone()).url.as_deref(),
            Some("https://forge.example.com/1"),
            "{value}"
        );
    }
    let only = json!({ "text": "x", "url": "https://forge.example.com/api/1", "redirect_uri": "https://a.example" });
    assert_eq!(gist(only).url.as_deref(), Some("https://forge.example.com/api/1"));
}

#[test]
fn who_did_something_is_no_title_and_a_code_says_what_it_is_about() {
    let status = json!({
        "actor": { "display_name": "Alice", "type": "user" },
        "commit_status": { "name": "Unit tests", "state": "SUCCESSFUL" },
    });
    assert_eq!(gist(status).title.as_deref(), Some("Unit tests: SUCCESSFUL"));
    let login =
        json!({ "type": "LOGIN_ERROR", "error": "user_not_found", "ipAddress": "192.0.2.7" });
    assert_eq!(gist(login).title.as_deref(), Some("LOGIN_ERROR: user_not_found"));
}

#[test]
fn other_times_that_have_passed_and_the_cells_of_a_table_are_left_out() {
    let found = gist(json!({
        "text": "x", "time": "2026-11-23T06:40:00Z", "updated_on": "2026-11-23T06:41:00.5+00:00",
        "last_updated": "1795416000000", "expires_at": "2026-12-01T00:00:00Z",
        "hosts": { "web-1": { "ok": 0, "failed": true }, "web-2": { "ok": 1, "failed": false } },
    }));
    assert_eq!(
        found.rows,
        [("hosts", "web-1, web-2"), ("expires_at", "2026-12-01 00:00:00 UTC")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert!(found.is_cut);
}

#[test]
fn the_end_of_a_problem_tells_when_it_began_and_not_what_was_said_then() {
    let over = alert(json!({
        "event": { "type": "resolve", "time": "2026-11-23T06:45:00+00:00" },
        "alert_group": {
            "id": "A1", "title": "Queue is long", "state": "resolved",
            "created_at": "2026-11-23T06:40:00Z", "resolved_at": "2026-11-23T06:45:00Z",
        },
        "alert_payload": { "status": "firing", "annotations": { "description": "Since noon" } },
    }))
    .unwrap();
    assert_eq!(over.status, Status::Resolved);
    assert_eq!(over.time.as_deref(), Some("2026-11-23T06:40:00Z"));
    assert!(moment::is_same(over.ended.as_deref().unwrap(), "2026-11-23T06:45:00Z"));
    assert!(!over.extra.contains_key("alert_payload.status"), "{:?}", over.extra);
}

#[test]
fn a_severity_that_says_ok_ends_the_problem() {
    let over =
        alert(json!({ "title": "Device recovered", "severity": "ok", "alert_id": 26 })).unwrap();
    assert_eq!(over.status, Status::Resolved);
    let run = json!({ "notifications": [{ "message": "Run 7", "run_status": "errored" }] });
    assert_eq!(gist(run).title.as_deref(), Some("Run 7: errored"));
}

#[test]
fn the_name_of_a_party_is_enough_and_names_are_no_identifiers() {
    let found = gist(json!({
        "text": "x", "job_id": "nightly-backup", "trace_id": "4bf92f3577b34da6", "url": "https://ci.example.com/1",
        "creator": { "id": 7, "name": "Alice", "avatar_url": "https://ci.example.com/a.png" },
        "admin_url": "https://ci.example.com/admin", "log_url": "https://ci.example.com/log",
        "error": { "type": "Timeout" }, "trigger": { "type": "webhook" },
    }));
    let rows: Vec<(&str, &str)> =
        found.rows.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for row in [
        ("job_id", "nightly-backup"),
        ("creator", "Alice"),
        ("error.type", "Timeout"),
        ("log_url", "https://ci.example.com/log"),
    ] {
        assert!(rows.contains(&row), "{row:?} is not in {rows:?}");
    }
    assert_eq!(rows.len(), 4, "{rows:?}");
}

#[test]
fn the_name_beside_the_state_is_the_title_and_a_link_tells_what_an_event_is_about() {
    let job = json!({
        "workflow": { "name": "nightly" }, "job": { "name": "build", "status": "success" }, "type": "job-completed",
    });
    assert_eq!(gist(job).title.as_deref(), Some("build: success"));
    let check = gist(json!({
        "event": "check.down", "check": { "url": "https://shop.example.com/health" }, "downtime": { "error": "500" },
    }));
    assert_eq!(check.title.as_deref(), Some("check.down"));
    assert_eq!(check.source.as_deref(), Some("shop.example.com"));
    assert_eq!(row(&check, "error"), Some("500"), "{:?}", check.rows);
}

#[test]
fn what_happened_is_found_below_the_data_of_an_event_and_beside_a_pipeline() {
    let monitor = gist(json!({
        "webhook_event_data": { "application_name": "shop", "check_state_name": "Not Responding" },
    }));
    assert_eq!(monitor.title.as_deref(), Some("shop: Not Responding"));
    let pipeline =
        json!({ "pipeline": { "name": "Nightly", "state": "done", "result": "stopped" } });
    assert_eq!(gist(pipeline).title.as_deref(), Some("Nightly: stopped"));
}

#[test]
fn a_title_can_tell_that_a_problem_begins_and_ends() {
    for (begun, over) in [
        ("Triggered: Queue is long", "Resolved: Queue is long"),
        ("🔴 Queue is long is down", "✅ Queue is long is back up after 5m."),
        ("Queue is long - UP -> DOWN", "Queue is long - DOWN -> UP"),
        (
            "DOWN: Queue is long since 06:39 (UTC), reason: 500",
            "UP: Queue is long since 06:45 (UTC)",
        ),
    ] {
        let at = |title: &str| {
            let found = alert(json!({ "title": title, "host": "mq-1" }));
            let alert = found.unwrap_or_else(|| panic!("{title}"));
            (alert.status, crate::message::alert::identity(&alert))
        };
        let ends = alert(json!({ "title": over, "host": "mq-1", "severity": "high" })).unwrap();
        assert_eq!(ends.status, Status::Resolved, "{over}");
        let (status, identity) = at(begun);
        assert_eq!(status, Status::Firing, "{begun}");
        assert_eq!(identity, crate::message::alert::identity(&ends), "{begun}");
    }
    for other in [
        "Shop could not say whether it has recovered",
        "Shop has not recovered",
        "What to do when it is down",
        "Fixed: a typo",
        "Merge branch: up",
    ] {
        assert_eq!(alert(json!({ "title": other })), None, "{other}");
    }
    let shown = alert(json!({ "title": "Resolved: Queue is long", "alert_id": 7 })).unwrap();
    assert_eq!(shown.summary, Summary::Said("Queue is long".to_owned()));
}

#[test]
fn an_incident_that_has_begun_is_open_and_a_job_that_has_begun_resolves_nothing() {
    let incident = |status: &str| json!({ "data": { "id": "7", "type": "incident", "attributes": { "name": "shop.example.com is down", "status": status } } });
    assert_eq!(alert(incident("Started")).unwrap().status, Status::Firing);
    assert_eq!(alert(incident("Resolved")).unwrap().status, Status::Resolved);
    let job = json!({ "title": "Backup of db-01", "status": "started", "id": 7 });
    assert_eq!(alert(job.clone()), None);
    assert_eq!(gist(job).state(), Some(State::Info));
    let site = json!({ "event": "created", "data": { "id": 4, "name": "Test", "status": { "value": "active" } } });
    assert_eq!(alert(site), None);
    let open = json!({ "incident": { "incident_id": "a", "state": "open", "summary": "Many errors", "started_at": 0 } });
    let open = alert(open).unwrap();
    assert_eq!((open.status, open.time), (Status::Firing, None));
}

#[test]
fn the_kind_of_an_event_tells_the_state_of_a_problem() {
    for (name, event, expected) in [
        ("alert_type", "ALERT_FAILURE", Some(Status::Firing)),
        ("alert_type", "ALERT_RECOVERY", Some(Status::Resolved)),
        ("eventType", "ALERT_NOTIFICATION_CLEAR", Some(Status::Resolved)),
        ("type", "alert.ongoing", Some(Status::Firing)),
        ("event", "check.down", Some(Status::Firing)),
        ("event", "check.up", Some(Status::Resolved)),
        ("event", "issue.opened", None),
        ("event", "check_run.completed", None),
        ("event", "created", None),
    ] {
        let found = alert(json!({ name: event, "title": "The front page" }));
        assert_eq!(found.map(|alert| alert.status), expected, "{event}");
    }
    let critical = alert(json!({ "title": "Redis", "status": "critical", "host": "a" })).unwrap();
    assert_eq!(critical.severity, Severity::Critical);
    for (value, expected) in [
        (json!({ "text": "x", "success": true }), Some(State::Resolved)),
        (json!({ "text": "x", "success": false }), Some(State::Warning)),
        (json!({ "text": "x", "resolved": false }), None),
    ] {
        assert_eq!(gist(value.clone()).state(), expected, "{value}");
    }
}

#[test]
fn one_rule_on_two_machines_is_two_problems() {
    let at = |host: &str| {
        let found =
            json!({ "check_id": "redis", "name": "Redis", "node": host, "status": "critical" });
        crate::message::alert::identity(&alert(found).unwrap())
    };
    assert_ne!(at("web-1"), at("web-2"));
    // The alias of a host is no name of a problem.
    let host = |id: u64, change: &str| {
        let found = json!({
            "id": id, "host": "web-1", "alias": "web-1", "severity": "high", "title": format!("Disk of web-1 - {change}"),
        });
        crate::message::alert::identity(&alert(found).unwrap())
    };
    assert_eq!(host(1, "OK -> CRITICAL"), host(2, "CRITICAL -> OK"));
}

#[test]
fn variables_and_times_that_nobody_filled_in_are_nothing() {
    let found = gist(json!({
        "title": "$ALERT_NAME", "message": "Disk full", "host": "%HOST%", "service": "{{ $labels.job }}", "status": "<no value>",
        "device": "*insert computer name*", "started_at": 0, "time": "1970-01-01T00:00:00Z", "job": "$SERVICE$",
        "text": "Pool %(volume)s is %(state)s", "cost": "$5", "share": "95%", "note": "Costs {x} more",
    }));
    assert_eq!(found.title.as_deref(), Some("Disk full"));
    assert_eq!((found.source, found.time), (None, None));
    let names: Vec<&str> = found.rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        (names, found.description.as_deref()),
        (vec!["cost", "share"], Some("Costs {x} more"))
    );
}

#[test]
fn a_list_of_names_and_values_is_read_like_an_object() {
    for fields in [
        json!([{ "key": "severity", "value": "ERROR" }, { "key": "host", "value": "web-1" }]),
        json!([{ "name": "severity", "value": { "stringValue": "ERROR" } }, { "name": "host", "value": { "stringValue": "web-1" } }]),
        json!([["severity", "ERROR"], ["host", "web-1"]]),
    ] {
        let found = alert(json!({ "title": "Disk full", "fields": fields })).unwrap();
        assert_eq!((found.severity, found.source.as_deref()), (Severity::Warning, Some("web-1")));
    }
    let tags = gist(
        json!({ "text": "x", "tags": [{ "key": "a", "value": "1" }, { "key": "a", "value": "2" }] }),
    );
    assert_eq!(row(&tags, "tags.a"), Some("1, 2"));
}

#[test]
fn html_is_shown_as_text() {
    let found = gist(json!({
        "title": "Pool tank is DEGRADED:<br>The devices: <ul><li>Disk A &lt;1&gt;</li><li>Disk B</li></ul>",
        "a": "1 < 2 and 3 > 2", "messageHtml": "<b>x</b> y", "b": "<script>steal()</script><p>seen</p>",
    }));
    assert_eq!(found.title.as_deref(), Some("Pool tank is DEGRADED:"));
    assert_eq!(found.description.as_deref(), Some("The devices: Disk A <1>\nDisk B"));
    let rows: Vec<(&str, &str)> =
        found.rows.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(rows, [("a", "1 < 2 and 3 > 2"), ("b", "seen")]);
}

#[test]
fn what_is_wrong_is_found_in_any_object_within() {
    let gate = gist(json!({
        "status": "SUCCESS", "project": { "name": "shop", "url": "https://sonar.example.com/dashboard?id=shop" },
        "gate": { "status": "ERROR", "conditions": [
            { "metric": "coverage", "value": "0", "status": "ERROR", "operator": "LT" },
            { "metric": "rating", "value": "1", "status": "OK", "operator": "GT" },
        ] },
    }));
    assert_eq!(gate.title.as_deref(), Some("shop: ERROR"));
    assert_eq!(gate.state(), Some(State::Warning));
    assert_eq!(gate.url.as_deref(), Some("https://sonar.example.com/dashboard?id=shop"));
    assert_eq!(row(&gate, "gate.conditions"), Some("coverage=0 (ERROR), rating=1"));
    let error = gist(json!({
        "event": "error_notification", "eventType": "NewErrorOccurred", "application": { "name": "shop" },
        "error": { "message": "No basket", "url": "https://errors.example.com/7", "firstOccurredOn": "2026-11-23T06:40:00Z" },
    }));
    assert_eq!(error.title.as_deref(), Some("No basket"));
    assert_eq!(error.source.as_deref(), Some("shop"));
    assert_eq!(error.url.as_deref(), Some("https://errors.example.com/7"));
    assert_eq!(error.time.as_deref(), Some("2026-11-23T06:40:00Z"));
    let item = gist(json!({
        "event_name": "new_item", "data": { "item": { "title": "KeyError", "latest": { "server": { "host": "web-2" } } } },
    }));
    assert_eq!((item.title.as_deref(), item.source.as_deref()), (Some("KeyError"), Some("web-2")));
    let before =
        gist(json!({ "text": "Deployed", "last_run": { "status": "failed", "host": "old-1" } }));
    assert_eq!((before.state(), before.source), (None, None));
}

#[test]
fn what_changed_is_told_by_what_it_is_now() {
    let leak = gist(json!({
        "event_type": "state_changed",
        "data": {
            "entity_id": "binary_sensor.leak",
            "old_state": { "state": "off", "attributes": { "friendly_name": "Cellar leak" } },
            "new_state": { "state": "on", "attributes": { "friendly_name": "Cellar leak" } },
        },
    }));
    assert_eq!(leak.title.as_deref(), Some("Cellar leak: on"));
    assert_eq!(leak.source.as_deref(), Some("binary_sensor.leak"));
    assert!(leak.rows.iter().all(|(_, value)| value != "off"), "{:?}", leak.rows);
    let task = gist(json!({
        "Type": "AllocationUpdated", "Payload": { "Allocation": { "Name": "shop.web[0]", "ClientStatus": "failed", "NodeName": "client-2" } },
    }));
    assert_eq!(task.title.as_deref(), Some("shop.web[0]: failed"));
    assert_eq!(task.source.as_deref(), Some("client-2"));
}

#[test]
fn a_time_is_read_in_the_forms_that_name_their_zone() {
    for time in [
        "2026-11-23 06:40:00 UTC",
        "2026-11-23 06:40:00 +0000 UTC",
        "2026-11-23 06:40:00.000 (UTC)",
        "Mon, 23 Nov 2026 06:40:00 GMT",
        "Mon Nov 23 06:40:00 UTC 2026",
        "2026/11/23 06:40:00 GMT",
        "23/Nov/2026:07:40:00 +0100",
    ] {
        let found = gist(json!({ "text": "x", "time": time }));
        assert_eq!(found.time.as_deref(), Some("2026-11-23T06:40:00Z"), "{time}");
    }
    let of_day = gist(json!({ "text": "x", "time": "23.11.2026 06:40:00" }));
    assert_eq!(of_day.time.as_deref(), Some("23.11.2026 06:40:00"));
    let other = gist(
        json!({ "text": "x", "trigger_time": 1_795_416_000, "valid_until_time": 1_795_417_000 }),
    );
    assert_eq!(other.time.as_deref(), Some("2026-11-23T06:40:00Z"));
}

#[test]
fn a_problem_is_identified_by_its_own_id_and_not_by_that_of_the_delivery() {
    let at = |delivery: &str| {
        let found = json!({
            "event": { "id": delivery, "type": "incident.created" }, "data": { "id": "a", "title": "Slow", "severity": "high" },
        });
        crate::message::alert::identity(&alert(found).unwrap())
    };
    assert_eq!(at("1"), at("2"));
    let site = |kind: &str| {
        alert(json!({ "id": 7, "type": kind, "site": { "label": "Shop", "url": "https://shop.example.com" } })).unwrap().status
    };
    assert_eq!(site("uptimeCheckFailedNotification"), Status::Firing);
    assert_eq!(site("uptimeCheckRecoveredNotification"), Status::Resolved);
}

#[test]
fn the_result_of_a_task_and_the_metric_of_an_alert_are_found() {
    let backup = |result: &str| {
        gist(
            json!({ "Data": { "ParsedResult": result, "LastResult": "Error" }, "Extra": { "host": "web-1" } }),
        )
    };
    assert_eq!(backup("Success").state(), Some(State::Resolved));
    assert_eq!(backup("Error").state(), Some(State::Warning));
    assert_eq!(backup("Error").title.as_deref(), Some("web-1: Error"));
    let metric = json!({ "metric": "Response time (95th)", "severity": "Critical", "lifecycle_event": "new" });
    assert_eq!(alert(metric).unwrap().severity, Severity::Critical);
    let error = gist(json!({
        "account": { "url": "https://errors.example.com/account" },
        "error": { "message": "No basket", "url": "https://errors.example.com/7" },
    }));
    assert_eq!(error.url.as_deref(), Some("https://errors.example.com/7"));
}

#[test]
fn a_message_without_a_title_is_told_by_its_state() {
    for (value, title) in [
        (
            json!({ "ups.status": "OB DISCHRG", "host": "ups-1", "charge": 87 }),
            "ups.status: OB DISCHRG",
        ),
        (
            json!({ "device": { "name": "/dev/sda" }, "smart_status": { "passed": false } }),
            "smart_status.passed: false",
        ),
        (
            json!({ "type": "MODIFIED", "object": { "kind": "Backup", "metadata": { "name": "nightly" }, "status": { "phase": "PartiallyFailed" } } }),
            "Backup nightly: PartiallyFailed",
        ),
        (
            json!({ "type": "deployment.error", "payload": { "deployment": { "name": "shop" } } }),
            "shop: deployment.error",
        ),
    ] {
        assert_eq!(gist(value.clone()).title.as_deref(), Some(title), "{value}");
    }
}
