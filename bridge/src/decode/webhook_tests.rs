use serde_json::{Value, json};

use crate::decode::{Decoder, shape::Surroundings};
use crate::message::{
    Alert, Binary, Decoded, Group, Monitor, MonitorState, Note, Object, Payload, Severity, Status,
    Summary, Workflow, alert::identity,
};

/// Reads a message as its sender documents it: `src/samples/webhooks/README.md`.
fn fixture(name: &str) -> Value {
    let path = format!("{}/src/samples/webhooks/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Reads all of these messages.
fn fixtures() -> Vec<Value> {
    let files = std::fs::read_dir(format!("{}/src/samples/webhooks", env!("CARGO_MANIFEST_DIR")));
    let paths = files.unwrap().map(|file| file.unwrap().path());
    let names = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let names: Vec<_> =
        names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(names.len() > 10, "{names:?}");
    names.iter().map(|name| fixture(name)).collect()
}

fn decode(value: &Value) -> Decoded {
    Decoded::from_bytes(value.to_string().as_bytes())
}

#[track_caller]
fn payload(value: &Value) -> Payload {
    let decoded = decode(value);
    assert_eq!(decoded.flaw, None, "{value}");
    decoded.payload
}

#[track_caller]
fn alert(value: &Value) -> Alert {
    match payload(value) {
        Payload::Alert(alert) => alert,
        other => panic!("not an alert: {other:?}"),
    }
}

/// Returns the summary of an alert in the words of its sender.
#[track_caller]
fn said(alert: &Alert) -> &str {
    match &alert.summary {
        Summary::Said(text) => text,
        other => panic!("not in words: {other:?}"),
    }
}

#[track_caller]
fn group(value: &Value) -> Group {
    match payload(value) {
        Payload::Alerts(group) => group,
        other => panic!("not a group: {other:?}"),
    }
}

#[track_caller]
fn note(value: &Value) -> Note {
    match payload(value) {
        Payload::Note(note) => note,
        other => panic!("not a note: {other:?}"),
    }
}

/// Asserts that a message is shown as it is, with this flaw.
#[track_caller]
fn assert_shown_as_it_is(value: &Value, flaw: &str) {
    let decoded = decode(value);
    let whole = Payload::Object(Object::new(value.as_object().unwrap().clone()));
    // By its fields it may be an alert all the same.
    assert!(decoded.payload == whole || matches!(decoded.payload, Payload::Alert(_)));
    let said = decoded.flaw.expect("a flaw").to_string();
    assert!(said.contains(flaw), "{said}");
}

/// Returns a copy of a message with another value at a JSON pointer.
fn with(value: &Value, pointer: &str, other: Value) -> Value {
    let mut value = value.clone();
    *value.pointer_mut(pointer).expect(pointer) = other;
    value
}

fn without(value: &Value, pointer: &str) -> Value {
    let (outer, key) = pointer.rsplit_once('/').unwrap();
    let mut value = value.clone();
    let outer = value.pointer_mut(outer).unwrap().as_object_mut().unwrap();
    outer.remove(key).expect(pointer);
    value
}

#[test]
fn one_alert_of_alertmanager_is_an_alert() {
    let alert = alert(&fixture("alertmanager-one"));
    assert_eq!(alert.severity, Severity::Critical);
    assert_eq!(alert.status, Status::Firing);
    assert_eq!(said(&alert), "Only 2 GiB left on /var of db-01");
    assert_eq!(alert.source.as_deref(), Some("db-01:9100"));
    assert_eq!(alert.time.as_deref(), Some("2026-11-23T06:35:51.828Z"));
    assert_eq!(alert.ended, None);
    assert_eq!(alert.fingerprint.as_deref(), Some("1a30ba71cca2921f"));
    assert!(alert.url.unwrap().starts_with("http://prometheus.example.com:9090/graph"));
    // The labels are kept whole because they tell alerts apart if there is no fingerprint.
    assert_eq!(alert.labels.len(), 6);
    assert_eq!(alert.extra.keys().collect::<Vec<_>>(), ["runbook_url"]);
}

#[test]
fn several_alerts_are_a_group_and_resolved_ones_say_how_long_it_was() {
    let group = group(&fixture("alertmanager-group"));
    assert_eq!(group.title, "DiskFull");
    assert_eq!(group.truncated, 2);
    assert_eq!(group.alerts.len(), 4);
    let resolved = &group.alerts[0];
    assert_eq!(resolved.status, Status::Resolved);
    assert_eq!(resolved.time.as_deref(), Some("2026-11-23T05:12:00Z"));
    assert_eq!(resolved.ended.as_deref(), Some("2026-11-23T06:40:30Z"));
    let endless =
        with(&fixture("alertmanager-group"), "/alerts/0/endsAt", json!("0001-01-01T00:00:00Z"));
    assert_eq!(crate::decode::webhook_tests::group(&endless).alerts[0].ended, None);
    // A single alert is a group, too, if others were truncated.
    let truncated = with(&fixture("alertmanager-one"), "/truncatedAlerts", json!(1));
    assert_eq!(crate::decode::webhook_tests::group(&truncated).alerts.len(), 1);
}

#[test]
fn what_grafana_adds_is_taken_and_what_it_keeps_for_itself_is_not() {
    let group = group(&fixture("grafana"));
    assert_eq!(group.title, "team=blue");
    let alert = &group.alerts[0];
    assert_eq!(alert.severity, Severity::Warning);
    assert_eq!(alert.url.as_deref(), Some("https://grafana.example.com/d/abc?orgId=1&viewPanel=2"));
    assert_eq!(alert.extra["values"], "B=97.4, C=1");
    assert_eq!(group.alerts[1].extra["values"], "B=92.25");
    assert!(alert.extra.contains_key("silence"));
    let names = || alert.labels.keys().chain(alert.extra.keys());
    assert!(!names().any(|name| name.starts_with("__")), "{alert:?}");
}

#[test]
fn alertmanager_may_leave_out_what_it_does_not_know() {
    let one = fixture("alertmanager-one");
    for pointer in [
        "/alerts/0/labels",
        "/alerts/0/annotations",
        "/alerts/0/startsAt",
        "/alerts/0/endsAt",
        "/alerts/0/generatorURL",
        "/alerts/0/fingerprint",
        "/alerts/0/status",
        "/commonLabels",
        "/groupLabels",
        "/externalURL",
        "/truncatedAlerts",
        "/receiver",
    ] {
        alert(&without(&one, pointer));
        alert(&with(&one, pointer, Value::Null));
    }
    let bare = json!({ "groupKey": "{}", "alerts": [{}] });
    assert_eq!(alert(&bare).summary, Summary::Unsaid);
    let resolved = json!({ "groupKey": "{}", "status": "resolved", "alerts": [{}] });
    assert_eq!(alert(&resolved).status, Status::Resolved);
    let named = with(&one, "/alerts/0/annotations", json!({}));
    assert_eq!(said(&alert(&named)), "DiskFull");
    let no_panel = without(&one, "/alerts/0/generatorURL");
    assert_eq!(alert(&no_panel).url.as_deref(), Some("http://alertmanager.example.com:9093"));
}

#[test]
fn one_wrong_value_of_alertmanager_costs_that_value() {
    let one = fixture("alertmanager-one");
    let flaw = "looks like a webhook of Alertmanager or Grafana but is not";
    assert_shown_as_it_is(&with(&one, "/alerts", json!([])), "it holds no alerts");
    assert_shown_as_it_is(&with(&one, "/alerts", json!(["x"])), flaw);
    assert_eq!(alert(&with(&one, "/alerts/0/status", json!("perhaps"))).status, Status::Firing);
    assert!(alert(&with(&one, "/alerts/0/labels", json!([]))).labels.is_empty());
    assert_eq!(alert(&with(&one, "/alerts/0/startsAt", json!({}))).time, None);
    let number = with(&one, "/groupKey", json!(5_206_633_798_846_341_528_u64));
    assert_eq!(alert(&number).group.as_deref(), Some("5206633798846341528"));
    let more = with(&one, "/truncatedAlerts", json!(-1));
    assert_eq!(said(&alert(&more)), "Only 2 GiB left on /var of db-01");
}

#[test]
fn alerts_without_a_group_are_alerts() {
    let one = fixture("alertmanager-one");
    let bare = json!({ "alerts": one["alerts"] });
    assert_eq!(alert(&bare).severity, Severity::Critical);
    // The API of Alertmanager gives a list, with the status as an object.
    let mut listed = one["alerts"][0].clone();
    listed["status"] = json!({ "state": "active", "silencedBy": [], "inhibitedBy": [] });
    let mut silenced = listed.clone();
    silenced["status"]["state"] = json!("suppressed");
    assert_eq!(alert(&json!([listed])).severity, Severity::Critical);
    let both = group(&json!([listed, silenced]));
    assert_eq!(both.alerts[1].severity, Severity::Info);
    assert!(matches!(payload(&json!([1, 2])), Payload::Text(_)));
}

#[test]
fn values_of_grafana_are_told_whichever_field_has_them() {
    let grafana = fixture("grafana");
    let mut old = without(&grafana, "/alerts/0/values");
    old["alerts"][0]["valueString"] = json!(
        "[ var='B0' metric='Value' labels={server=https://a.example} value=503 ], [ var='B1' labels={} value=0.30000000000000004 ]"
    );
    let text = &group(&old).alerts[0].extra["values"];
    assert_eq!(text, "B0=503 (server=https://a.example), B1=0.3");
    let digits = with(&grafana, "/alerts/0/values", json!({ "B": 97.4 + 1e-12, "C": null }));
    assert_eq!(group(&digits).alerts[0].extra["values"], "B=97.4");
}

#[test]
fn a_rule_without_data_is_not_told_as_the_problem_that_it_looks_for() {
    let mut grafana = fixture("grafana");
    grafana["alerts"][0]["annotations"] = json!({ "summary": "The service is down" });
    grafana["alerts"][0]["labels"] =
        json!({ "alertname": "DatasourceNoData", "rulename": "Service" });
    assert_eq!(group(&grafana).alerts[0].summary, Summary::NoData("Service".to_owned()));
    grafana["alerts"][0]["labels"] =
        json!({ "alertname": "DatasourceError", "rulename": "Service" });
    assert_eq!(group(&grafana).alerts[0].summary, Summary::QueryFailed("Service".to_owned()));
}

#[test]
fn a_test_of_grafana_opens_no_alert() {
    let mut test = fixture("grafana");
    test["alerts"] = json!([{
        "status": "firing", "labels": { "alertname": "TestAlert", "instance": "Grafana" },
        "annotations": { "summary": "Notification test" }, "startsAt": "2026-11-23T06:35:51Z",
    }]);
    assert!(matches!(note(&test), Note::Test(test) if test.sender == "Grafana"));
}

#[test]
fn a_monitor_of_uptime_kuma_goes_down_and_comes_up_in_one_conversation() {
    let down = alert(&fixture("uptime-kuma-down"));
    assert_eq!((&down.severity, down.status), (&Severity::Critical, Status::Firing));
    let monitor = Box::new(Monitor { id: Some(10), name: Some("Services / Forgejo".to_owned()) });
    assert_eq!(down.summary, Summary::Monitor(monitor.clone(), MonitorState::Down));
    assert_eq!(down.description.as_deref(), Some("connect ECONNREFUSED 192.0.2.7:443"));
    assert_eq!(down.time.as_deref(), Some("2026-11-23T06:35:51.123Z"));
    assert_eq!(down.url.as_deref(), Some("https://git.example.com"));
    let up = alert(&fixture("uptime-kuma-up"));
    assert_eq!(up.status, Status::Resolved);
    assert_eq!(up.summary, Summary::Monitor(monitor, MonitorState::Up));
    assert_eq!(up.ended.as_deref(), Some("2026-11-23T06:47:10.456Z"));
    assert_eq!(up.fingerprint.as_deref(), Some("uptime-kuma:10\nhttps://git.example.com"));
    assert_eq!(up.fingerprint, down.fingerprint);
}

#[test]
fn a_monitor_without_a_number_is_told_by_its_name() {
    let identity = |status: u8, name: &str| {
        let monitor = json!({ "name": name });
        let heartbeat = json!({ "status": status });
        identity(&alert(&json!({ "heartbeat": heartbeat, "monitor": monitor, "msg": "m" })))
    };
    assert_eq!(identity(0, "Forgejo"), identity(1, "Forgejo"));
    assert_ne!(identity(0, "Forgejo"), identity(0, "NATS"));
}

#[test]
fn uptime_kuma_may_leave_out_what_it_does_not_know() {
    let down = fixture("uptime-kuma-down");
    for pointer in ["/monitor", "/monitor/id", "/monitor/url", "/monitor/tags", "/heartbeat/time"] {
        assert_eq!(alert(&with(&down, pointer, Value::Null)).status, Status::Firing);
    }
    let unnamed = with(&down, "/monitor", json!({}));
    let monitor = Box::new(Monitor { id: Some(10), name: None });
    assert_eq!(alert(&unnamed).summary, Summary::Monitor(monitor, MonitorState::Down));
    let tcp =
        with(&down, "/monitor", json!({ "hostname": "db-01", "port": 5432, "url": "https://" }));
    assert_eq!(alert(&tcp).source.as_deref(), Some("db-01:5432"));
    assert_eq!(alert(&tcp).url, None);
    let secret = with(&down, "/monitor/url", json!("https://me:secret@git.example.com"));
    assert!(!format!("{:?}", alert(&secret)).contains("secret"));
    // One wrong value costs that value.
    assert_eq!(alert(&with(&down, "/monitor/tags", json!([{ "value": 1 }]))).labels.len(), 0);
    assert_shown_as_it_is(&with(&down, "/heartbeat/status", json!(4)), "has no summary");
}

#[test]
fn a_monitor_is_the_same_after_it_was_renamed_or_moved() {
    let down = fixture("uptime-kuma-down");
    let identity = |value: &Value| identity(&alert(value));
    for pointer in ["/monitor/pathName", "/monitor/name"] {
        assert_eq!(identity(&with(&down, pointer, json!("Other / Name"))), identity(&down));
    }
    // The monitor of another Uptime Kuma can have the same number.
    let other = with(&down, "/monitor/url", json!("https://other.example.com"));
    assert_ne!(identity(&other), identity(&down));
}

#[test]
fn a_text_of_uptime_kuma_is_that_text() {
    let text = fixture("uptime-kuma-text");
    assert!(matches!(payload(&text), Payload::Text(text) if text.starts_with("[Forgejo]")));
    assert_shown_as_it_is(&with(&text, "/msg", json!("")), "has no text");
}

#[test]
fn a_cloudevent_of_a_known_shape_is_that_shape() {
    let alert = alert(&fixture("cloudevent-alert"));
    assert_eq!(said(&alert), "Water on the floor");
    // An attribute that the data lacks is taken from the envelope.
    assert_eq!(alert.source.as_deref(), Some("/sensors/cellar"));
    assert_eq!(alert.time.as_deref(), Some("2026-11-23T03:10:00Z"));
    let event = fixture("cloudevent");
    let holding = |data: &Value| payload(&with(&event, "/data", data.clone()));
    assert!(matches!(holding(&json!({ "host": "a", "disk_percent": 1 })), Payload::Report(_)));
    assert!(matches!(holding(&fixture("alertmanager-group")), Payload::Alerts(_)));
    assert!(matches!(holding(&fixture("forgejo-push")), Payload::Note(_)));
}

#[test]
fn a_cloudevent_in_headers_is_as_one_in_json() {
    let event = fixture("cloudevent");
    let mut headers = async_nats::HeaderMap::new();
    for (name, key) in
        [("specversion", "specversion"), ("type", "type"), ("source", "source"), ("time", "time")]
    {
        let name: async_nats::HeaderName = format!("ce-{name}").parse().unwrap();
        let value = event[key].as_str().unwrap().parse::<async_nats::HeaderValue>().unwrap();
        crate::nats::headers::add(&mut headers, &name, &value);
    }
    let decode = |bytes: &[u8]| {
        let around = Surroundings { subject: "ops.event", headers: Some(&headers) };
        Decoder { own: None, around, mask: None, trace: None }.decode(bytes)
    };
    let Payload::Event(shown) = decode(event["data"].to_string().as_bytes()).payload else {
        panic!("not an event")
    };
    assert_eq!(shown.kind, "com.example.backup.finished");
    assert!(matches!(shown.data.as_deref(), Some(Payload::Object(_))));
    let alert = decode(fixture("cloudevent-alert")["data"].to_string().as_bytes());
    assert!(matches!(alert.payload, Payload::Alert(alert) if alert.source.is_some()));
    assert!(matches!(decode(b"").payload, Payload::Event(event) if event.data.is_none()));
}

#[test]
fn any_other_cloudevent_is_shown_with_its_envelope() {
    let event = fixture("cloudevent");
    let data = |value: &Value| match payload(value) {
        Payload::Event(event) => {
            assert_eq!(event.kind, "com.example.backup.finished");
            assert_eq!(event.source, "/backup/db-01");
            event.data.map(|data| *data)
        }
        other => panic!("not an event: {other:?}"),
    };
    assert!(matches!(data(&event), Some(Payload::Object(_))));
    assert_eq!(data(&without(&event, "/data")), None);
    assert_eq!(data(&with(&event, "/data", Value::Null)), None);
    assert_eq!(data(&with(&event, "/data", json!("<a/>"))), Some(Payload::Text("<a/>".into())));
    assert_eq!(data(&with(&event, "/data", json!([1, 2]))), Some(Payload::Text("[1,2]".into())));
    // Envelopes can be nested without end, so only the outer one is opened.
    assert!(matches!(data(&with(&event, "/data", event.clone())), Some(Payload::Object(_))));
    let bytes = |base64: &str| {
        let mut event = without(&event, "/data");
        event["data_base64"] = json!(base64);
        event
    };
    assert_eq!(data(&bytes("dGV4dA==")), Some(Payload::Text("text".into())));
    assert_eq!(data(&bytes("/wA=")), Some(Payload::Binary(Binary { head: vec![0xff, 0], len: 2 })));
    let alert = bytes("eyJzZXZlcml0eSI6ImluZm8iLCJzdW1tYXJ5IjoicyJ9");
    assert_eq!(said(&crate::decode::webhook_tests::alert(&alert)), "s");
}

#[test]
fn a_broken_cloudevent_loses_nothing() {
    let event = fixture("cloudevent");
    let flaw = "looks like a CloudEvent but is not";
    assert_shown_as_it_is(&without(&event, "/type"), "missing field `type`");
    assert_shown_as_it_is(&with(&event, "/source", json!(5)), flaw);
    let mut base64 = without(&event, "/data");
    base64["data_base64"] = json!("%");
    assert_shown_as_it_is(&base64, "data_base64 is not Base64");
    // A flaw in the data is reported, and the data is shown.
    let decoded = decode(&with(&event, "/data", json!({ "host": "a", "disk_percent": "full" })));
    assert!(matches!(decoded.payload, Payload::Report(_)));
    assert!(decoded.flaw.unwrap().to_string().contains("disk_percent is not a number"));
}

#[test]
fn an_event_of_a_repository_that_is_not_known_is_not_told_wrongly() {
    let push = fixture("forgejo-push");
    let unknown = json!({ "action": "moved", "repository": push["repository"],
                          "sender": push["sender"], "milestone": {} });
    assert!(matches!(payload(&unknown), Payload::Object(_)));
}

#[test]
fn a_run_that_failed_is_an_alert_until_one_succeeds() {
    let failed = alert(&fixture("forgejo-run-failure"));
    let summary = |succeeds| {
        let (name, started_by) = ("check.yml".to_owned(), Some("alice".to_owned()));
        Summary::Workflow(Box::new(Workflow { name, succeeds, started_by }))
    };
    assert_eq!((&failed.severity, failed.status), (&Severity::Warning, Status::Firing));
    assert_eq!(failed.summary, summary(false));
    assert_eq!(failed.source.as_deref(), Some("ops/infra"));
    assert_eq!(failed.description.as_deref(), Some("Backups go to the new host"));
    assert_eq!(failed.fingerprint.as_deref(), Some("forgejo:ops/infra:check.yml:main"));
    let recovered = alert(&fixture("forgejo-run-recover"));
    assert_eq!((recovered.status, &recovered.summary), (Status::Resolved, &summary(true)));
    assert_eq!(recovered.time, failed.time);
    assert_eq!(recovered.ended.as_deref(), Some("2026-11-23T08:42:40+01:00"));
    assert_eq!(recovered.fingerprint, failed.fingerprint);
    assert_eq!(alert(&fixture("gitea-workflow-run")), failed);
}

#[test]
fn one_wrong_value_of_forgejo_costs_that_value() {
    let push = fixture("forgejo-push");
    for (pointer, other) in [
        ("/commits", json!("many")),
        ("/commits/0/id", json!({})),
        ("/pusher", json!("alice")),
        ("/pusher", Value::Null),
        ("/sender", Value::Null),
        ("/commits", Value::Null),
    ] {
        note(&with(&push, pointer, other));
    }
}

#[test]
fn what_a_publisher_says_outright_comes_first() {
    let mut push = fixture("forgejo-push");
    push["kind"] = json!("alert");
    assert_shown_as_it_is(&push, "looks like an alert but is not");
    // Objects with only some keys of another program are not taken for its messages.
    for ours in [
        json!({ "host": "a", "completed": [], "alerts": [], "ref": "x" }),
        json!({ "host": "a", "disk_percent": 1, "monitor": {}, "msg": "m" }),
        json!({ "host": "a", "disk_percent": 1, "repository": "r", "sender": "s", "action": "x" }),
        json!({ "host": "a", "disk_percent": 1, "specversion": 1 }),
    ] {
        assert!(matches!(payload(&ours), Payload::Report(_)), "{ours}");
    }
}

/// Collects the JSON pointers of all values in a message.
pub(crate) fn pointers(value: &Value, at: &str, pointers: &mut Vec<String>) {
    let mut go = |key: &str, value: &Value| {
        let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        self::pointers(value, &at, pointers);
        pointers.push(at);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| go(key, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| go(&index.to_string(), value));
        }
        _ => {}
    }
}

#[test]
fn whatever_is_odd_in_a_message_it_is_still_shown() {
    let odd = [
        json!(null),
        json!(-1.5e300),
        json!(u64::MAX),
        json!(true),
        json!(""),
        json!("<b>\u{202e}"),
        json!([]),
        json!([null]),
        json!({}),
        json!({ "": null }),
    ];
    for fixture in fixtures() {
        let mut places = Vec::new();
        pointers(&fixture, "", &mut places);
        for place in places {
            for other in &odd {
                let changed = with(&fixture, &place, other.clone());
                let decoded = decode(&changed);
                if decoded.flaw.is_some() && !matches!(decoded.payload, Payload::Event(_)) {
                    let whole = Payload::Object(Object::new(changed.as_object().unwrap().clone()));
                    let is_alert = matches!(decoded.payload, Payload::Alert(_));
                    assert!(decoded.payload == whole || is_alert, "{place}");
                }
            }
        }
    }
}

#[test]
fn of_a_large_group_the_worst_and_newest_are_kept_and_the_others_counted() {
    let member = |number: u64, severity: &str, status: &str| {
        json!({
            "status": status,
            "labels": { "alertname": "DiskFull", "severity": severity, "instance": format!("db-{number}") },
            "startsAt": format!("2026-11-23T06:00:{:02}.{number:06}Z", number % 60),
            "fingerprint": format!("{number:x}"),
        })
    };
    let mut members: Vec<Value> =
        (0..3_000).map(|number| member(number, "info", "firing")).collect();
    members.push(member(5_000, "critical", "firing"));
    members.extend((6_000..6_500).map(|number| member(number, "critical", "resolved")));
    let group = |alerts: Vec<Value>| {
        let webhook = json!({ "groupKey": "g", "groupLabels": {}, "alerts": alerts });
        let decoded = decode(&webhook);
        match decoded.payload {
            Payload::Alerts(group) => (group, decoded.is_cut),
            other => panic!("not a group: {other:?}"),
        }
    };
    let (large, is_cut) = group(members.clone());
    assert!(is_cut && large.alerts.len() == 256);
    let worst = large.alerts.iter().find(|alert| alert.severity == Severity::Critical).unwrap();
    assert_eq!(worst.source.as_deref(), Some("db-5000"));
    assert!(large.alerts.iter().all(|alert| alert.status == Status::Firing));
    assert_eq!((large.left_out.info, large.left_out.resolved), (3_000 - 255, 500));
    // The kept members are in the order in which they were sent, and are whole if there is room.
    assert!(large.alerts.last() == Some(worst));
    let (small, is_cut) = group(members.split_off(3_301));
    assert!(!is_cut && small.alerts.len() == 200 && small.left_out.total() == 0);
}

#[test]
fn of_a_member_with_too_much_as_much_is_kept_as_can_be_shown() {
    let labels: std::collections::BTreeMap<String, String> =
        (0..50_000).map(|number| (format!("label{number}"), String::new())).collect();
    let long = "x".repeat(500_000);
    let member =
        json!({ "labels": labels, "annotations": { "summary": "s", "description": long } });
    let webhook = json!({ "groupKey": "g", "alerts": [member, {}] });
    let decoded = decode(&webhook);
    assert!(decoded.is_cut);
    let Payload::Alerts(group) = decoded.payload else { panic!("not a group") };
    let alert = &group.alerts[0];
    assert!(alert.labels.len() < 1_000 && alert.description.as_ref().unwrap().len() < 40_000);
}

#[test]
fn data_of_a_cloud_event_is_decoded_whatever_its_size() {
    let zeros = vec![0; 300_000];
    let report = json!({ "zeros": zeros, "host": "db-01", "completed": ["backup"] });
    let event =
        |data: Value| json!({ "specversion": "1.0", "type": "t", "source": "s", "data": data });
    let decoded = decode(&event(report));
    let Payload::Report(report) = decoded.payload else { panic!("not a report") };
    assert!(decoded.is_cut && report.completed == ["backup"]);
    assert!(report.extra["zeros"].as_array().unwrap().len() < 1_000);
    let group = fixture("alertmanager-group");
    let decoded = decode(&event(group.clone()));
    assert_eq!(decoded.payload, decode(&group).payload);
}

#[test]
fn an_answer_of_nats_says_nothing_in_the_name_of_a_subject() {
    let quoted = "wrong last msg ID: 🔴 CRITICAL: Disk full";
    for answer in [
        json!({ "stream": "OPS", "seq": 1 }),
        json!({ "stream": "OPS", "seq": 0, "error": { "code": 400, "description": quoted } }),
        json!({ "type": "io.nats.jetstream.api.v1.stream_names_response", "streams": [quoted] }),
    ] {
        assert_eq!(payload(&answer), Payload::Note(Note::NatsAnswer));
    }
    let other = json!({ "stream": "OPS", "seq": 1, "host": "db-01" });
    assert!(matches!(payload(&other), Payload::Object(_)));
}
