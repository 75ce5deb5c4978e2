//! Checks that the built-in shapes take different problems for different alerts, and one problem for one.

use serde_json::{Value, json};

use crate::message::{Alert, Decoded, Note, Payload, Severity, Status, Urgency, alert::identity};

fn payload(message: &Value) -> Payload {
    let decoded = Decoded::from_bytes(message.to_string().as_bytes());
    assert_eq!(decoded.flaw, None, "{message}");
    decoded.payload
}

fn alerts(message: &Value) -> Vec<Alert> {
    match payload(message) {
        Payload::Alert(alert) => vec![alert],
        Payload::Alerts(group) => group.alerts,
        other => panic!("not an alert: {other:?}"),
    }
}

fn alert(message: &Value) -> Alert {
    alerts(message).remove(0)
}

/// Reads a sample of a shape.
fn sample(name: &str) -> Value {
    let path = format!("{}/shapes/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Returns a copy of a message with other values: `null` removes one.
fn but(message: &Value, changes: &Value) -> Value {
    let mut message = message.clone();
    merge(&mut message, changes);
    message
}

fn merge(into: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else {
        *into = changes.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (key, change) in changes {
        if change.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), change);
        }
    }
}

/// Asserts that a message is of another alert after each of these changes.
#[track_caller]
fn assert_others(message: &Value, changes: &[Value]) {
    for change in changes {
        let other = but(message, change);
        assert_ne!(identity(&alert(&other)), identity(&alert(message)), "{change}");
    }
}

/// Asserts that a message is of the same alert after each of these changes.
#[track_caller]
fn assert_same(message: &Value, changes: &[Value]) {
    for change in changes {
        let same = but(message, change);
        assert_eq!(identity(&alert(&same)), identity(&alert(message)), "{change}");
    }
}

#[test]
fn a_run_of_a_fork_does_not_speak_for_the_repository() {
    let (failed, succeeded) =
        (sample("github/workflow-failed"), sample("github/workflow-succeeded"));
    assert_eq!(identity(&alert(&failed)), identity(&alert(&succeeded)));
    let own = json!({ "workflow_run": { "head_repository": { "full_name": "acme/shop" } } });
    let by_hand = json!({ "workflow_run": { "event": "workflow_dispatch" } });
    let fork = json!({ "workflow_run": { "head_repository": { "full_name": "mallory/shop" } } });
    let pull = json!({ "workflow_run": { "event": "pull_request" } });
    let target = json!({ "workflow_run": { "event": "pull_request_target" } });
    for message in [&failed, &succeeded] {
        assert_same(message, &[own.clone(), by_hand.clone()]);
        assert_others(message, &[fork.clone(), pull.clone(), target.clone()]);
    }
    let gitea = sample("forgejo/gitea-run");
    let own = json!({ "workflow_run": { "head_repository": { "full_name": "ops/infra" } } });
    assert_same(&gitea, &[own]);
    assert_others(&gitea, &[fork]);
    let gitlab = sample("gitlab/pipeline-failed");
    let succeeded = sample("gitlab/pipeline-succeeded");
    assert_eq!(identity(&alert(&gitlab)), identity(&alert(&succeeded)));
    assert_others(
        &gitlab,
        &[
            json!({ "object_attributes": { "source": "merge_request_event" }, "merge_request": { "iid": 5 } }),
            json!({ "object_attributes": { "tag": true } }),
            json!({ "object_attributes": { "source": "schedule" } }),
        ],
    );
    let deployed = sample("coolify/failed");
    assert_others(&deployed, &[json!({ "pull_request_id": 5 })]);
}

#[test]
fn the_status_of_a_commit_speaks_for_the_branch_that_it_is_in() {
    let of = |sha: &str, state: &str, branches: &[&str]| {
        let branches: Vec<Value> = branches.iter().map(|name| json!({ "name": name })).collect();
        json!({
            "context": "ci", "state": state, "sha": sha, "branches": branches,
            "repository": { "node_id": "R", "full_name": "acme/shop", "default_branch": "main" },
        })
    };
    let same = |a: &Value, b: &Value| identity(&alert(a)) == identity(&alert(b));
    let failed = of("a", "failure", &["a-feature", "main"]);
    assert!(same(&failed, &of("b", "success", &["main"])));
    assert!(!same(&failed, &of("b", "success", &["a-feature"])));
    assert!(!same(&failed, &of("b", "success", &[])));
    assert!(!same(&of("a", "failure", &[]), &of("b", "success", &[])), "two forks");
    let forgejo = sample("forgejo/status-failure");
    assert_same(&forgejo, &[json!({ "sha": "b" })]);
    let pull = but(&forgejo, &json!({ "context": "check / test (pull_request)" }));
    assert_others(&pull, &[json!({ "sha": "b" })]);
}

#[test]
fn a_user_does_not_speak_for_a_unit_of_the_system() {
    let system = json!({
        "__REALTIME_TIMESTAMP": "1795415751828112", "_HOSTNAME": "db-01", "PRIORITY": "2", "_UID": "999",
        "_SYSTEMD_UNIT": "postgresql.service", "SYSLOG_IDENTIFIER": "postgres",
        "MESSAGE": "PANIC: could not write to file",
    });
    let user = json!({
        "_SYSTEMD_USER_UNIT": "postgresql.service", "_SYSTEMD_UNIT": "user@1001.service", "_UID": "1001",
    });
    let trick = json!({ "_SYSTEMD_UNIT": null, "_SYSTEMD_USER_UNIT": "postgresql.service" });
    assert_others(&system, &[user.clone(), trick, json!({ "_UID": "1001" })]);
    let shown = alert(&but(&system, &user));
    assert!(shown.summary.in_no_language().starts_with("postgresql.service of user 1001: PANIC"));
}

#[test]
fn a_record_of_the_journal_is_told_apart_by_what_it_is_about() {
    let disk = json!({
        "MESSAGE": "Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors", "PRIORITY": "2",
        "_HOSTNAME": "h", "MESSAGE_ID": "x1", "_SYSTEMD_UNIT": "smartd.service", "_PID": "812",
    });
    let again = "Device: /dev/sda [SAT], 16 Currently unreadable (pending) sectors";
    assert_same(&disk, &[json!({ "_PID": "900", "MESSAGE": again })]);
    let other = "Device: /dev/sdb [SAT], 8 Currently unreadable (pending) sectors";
    assert_others(
        &disk,
        &[json!({ "MESSAGE": other }), json!({ "MESSAGE": other, "MESSAGE_ID": null })],
    );
    let dump = json!({
        "MESSAGE": "Process 4711 (sshd) of user 0 dumped core.\n\nStack trace of thread 4711:\n#0 0x7f01",
        "PRIORITY": "2", "_HOSTNAME": "h", "MESSAGE_ID": "fc2e22bc6ee647b6b90729ab34a250b1",
        "_SYSTEMD_UNIT": "systemd-coredump@1-4711-0.service", "COREDUMP_EXE": "/usr/sbin/sshd",
    });
    let again = json!({
        "MESSAGE": "Process 5001 (sshd) of user 0 dumped core.\n\nStack trace of thread 5003:\n#0 0x7f02",
        "_SYSTEMD_UNIT": "systemd-coredump@2-5001-0.service",
    });
    assert_same(&dump, &[again]);
    let other = json!({ "MESSAGE": "Process 4712 (postgres) of user 0 dumped core.", "COREDUMP_EXE": null });
    assert_others(&dump, &[other, json!({ "COREDUMP_EXE": "/opt/sshd" })]);
    let session = json!({
        "MESSAGE": "bad", "PRIORITY": "3", "_HOSTNAME": "h", "_SYSTEMD_UNIT": "session-12.scope", "_UID": "7",
    });
    assert_same(&session, &[json!({ "_SYSTEMD_UNIT": "session-13.scope" })]);
    assert_others(
        &session,
        &[json!({ "_UID": "8" }), json!({ "_SYSTEMD_UNIT": "session.service" })],
    );
}

/// A batch of records of OpenTelemetry, each with its host.
fn batch(records: &[(&str, Value)]) -> Value {
    let resources = records.iter().map(|(host, record)| {
        let attribute = |key: &str, value: Value| json!({ "key": key, "value": value });
        let host = attribute("host.name", json!({ "stringValue": host }));
        let pid =
            attribute("process.pid", json!({ "intValue": record["pid"].as_str().unwrap_or("1") }));
        let scope = json!({ "scope": { "name": "app" }, "logRecords": [record] });
        json!({ "resource": { "attributes": [host, pid] }, "scopeLogs": [scope] })
    });
    json!({ "resourceLogs": resources.collect::<Vec<_>>() })
}

fn fatal(body: &str) -> Value {
    json!({ "severityNumber": 21, "timeUnixNano": "1795415751828112000", "body": { "stringValue": body } })
}

#[test]
fn a_record_has_the_host_of_its_own_resource() {
    let quiet = json!({ "severityNumber": 9, "body": { "stringValue": "well" } });
    let records = [("web-01", quiet), ("db-01", fatal("disk dead")), ("db-02", fatal("disk dead"))];
    let alerts = alerts(&batch(&records));
    let sources: Vec<_> = alerts.iter().map(|alert| alert.source.as_deref().unwrap()).collect();
    assert_eq!(sources, ["db-01", "db-02"]);
    assert_eq!(alerts[0].labels["host.name"], "db-01");
    assert_ne!(identity(&alerts[0]), identity(&alerts[1]));
}

#[test]
fn a_record_is_as_grave_as_its_number_or_else_its_word_says() {
    let record = |number: Value, word: &str| {
        let mut record = json!({ "severityText": word, "body": { "stringValue": "disk dead" } });
        if !number.is_null() {
            record["severityNumber"] = number;
        }
        batch(&[("db-01", record)])
    };
    for (number, word, severity) in [
        (Value::Null, "FATAL", Severity::Critical),
        (Value::Null, "Error", Severity::Warning),
        (json!(0), "fatal", Severity::Critical),
        (json!(21), "", Severity::Critical),
        (json!("SEVERITY_NUMBER_FATAL"), "", Severity::Critical),
        (json!(17), "FATAL", Severity::Warning),
    ] {
        assert_eq!(alert(&record(number, word)).severity, severity, "{word}");
    }
    for (number, word) in
        [(json!(9), "FATAL"), (Value::Null, "INFO"), (json!("SEVERITY_NUMBER_INFO"), "")]
    {
        assert!(matches!(payload(&record(number, word)), Payload::Note(_)), "{word}");
    }
    // A record without a text is told all the same, and costs no other record its alert.
    let fields = json!([{ "key": "message", "value": { "stringValue": "disk dead" } }]);
    let structured =
        json!({ "severityNumber": 21, "body": { "kvlistValue": { "values": fields } } });
    let bare = json!({ "severityNumber": 21, "severityText": "FATAL" });
    let told = alerts(&batch(&[("a", structured), ("b", bare), ("c", fatal("x"))]));
    let told: Vec<_> = told.iter().map(|alert| alert.summary.in_no_language()).collect();
    assert_eq!(told, ["disk dead", "FATAL", "x"]);
}

#[test]
fn errors_of_one_service_are_told_apart_by_their_messages() {
    let identity = |record: Value| identity(&alert(&batch(&[("db-01", record)])));
    let first = identity(fatal("disk dead after 12 ms"));
    assert_ne!(first, identity(fatal("payment database corrupt")));
    let mut again = fatal("disk dead after 250 ms");
    again["pid"] = json!("4711");
    again["timeUnixNano"] = json!("1795415799999112000");
    assert_eq!(first, identity(again));
    let with = |key: &str, value: &str| {
        let mut record = fatal("unhandled");
        record["attributes"] = json!([{ "key": key, "value": { "stringValue": value } }]);
        record
    };
    let disk = |value: &str| identity(with("exception.message", value));
    assert_ne!(disk("no space"), disk("no memory"));
    assert_ne!(identity(with("device", "sda")), identity(with("device", "sdb")));
}

#[test]
fn a_rule_of_falco_is_told_apart_by_what_was_done() {
    let shell = sample("falco/shell");
    let again = "06:39:02.000000001: Critical Shell spawned in a container (user=root container=web-7d9c \
                 image=registry.example.com/web:1.4 cmdline=sh -c id)";
    let again = json!({ "output": again, "time": "2026-11-23T06:39:02Z", "uuid": "7" });
    assert_same(&shell, &[again]);
    let other = "06:39:02.000000001: Critical Shell spawned in a container (user=root container=web-7d9c \
                 image=registry.example.com/web:1.4 cmdline=nc -e /bin/sh)";
    assert_others(
        &shell,
        &[
            json!({ "output": other }),
            json!({ "output_fields": { "proc.name": "nc" } }),
            json!({ "output_fields": { "fd.name": "/etc/shadow" } }),
            json!({ "output_fields": { "container.id": "4ad7b26ded6d" } }),
            json!({ "output_fields": { "k8s.pod.name": "web-2" } }),
        ],
    );
}

#[test]
fn a_rule_of_wazuh_is_told_apart_by_what_was_done() {
    let changed = json!({
        "rule": { "level": 12, "description": "file changed", "id": "550" }, "agent": { "name": "db" },
        "syscheck": { "path": "/etc/motd" }, "full_log": "File '/etc/motd' modified\nSize changed from '1' to '2'",
    });
    assert_same(&changed, &[json!({ "full_log": "File '/etc/motd' modified\nOld hash: 5f0a" })]);
    assert_others(&changed, &[json!({ "syscheck": { "path": "/etc/shadow" } })]);
    let plain = json!({
        "rule": { "level": 12, "description": "trouble", "id": "1002" }, "agent": { "name": "db" },
        "full_log": "Nov 23 06:35:51 db kernel[12]: sda dead",
    });
    assert_same(&plain, &[json!({ "full_log": "Nov 23 06:39:07 db kernel[12]: sda dead" })]);
    assert_others(&plain, &[json!({ "full_log": "Nov 23 06:35:51 db kernel[12]: sdb dead" })]);
    // A guess of another name is the same alert, unless it is of the gravest.
    let guess = sample("wazuh/login");
    let next = json!({
        "data": { "srcuser": "root", "srcport": "4" }, "full_log": "Nov 23 06:35:59 web-01 sshd[2]: Invalid user root",
    });
    assert_same(&guess, &[next]);
    assert_others(&guess, &[json!({ "data": { "srcip": "198.51.100.8" } })]);
    assert_others(&sample("wazuh/brute-force"), &[json!({ "data": { "dstuser": "root" } })]);
}

#[test]
fn a_job_of_proxmox_is_told_apart_by_the_guests_that_failed() {
    let failed = sample("proxmox/backup-failed");
    let message = |text: &str| json!({ "message": text, "timestamp": 1_795_420_000 });
    let again =
        "Details\n=======\nVMID    Name    Status\n100     web     err\n101     db      ok\n";
    let other =
        "Details\n=======\nVMID    Name    Status\n100     web     ok\n101     db      err\n";
    assert_same(&failed, &[message(again)]);
    assert_others(&failed, &[message(other), json!({ "title": "backup of 102 failed" })]);
}

#[test]
fn a_warning_of_kubernetes_is_told_apart_by_container_and_probe() {
    let unhealthy = json!({
        "reason": "Unhealthy", "type": "Warning", "message": "Readiness probe failed: timeout",
        "involvedObject": { "kind": "Pod", "name": "a", "namespace": "p", "fieldPath": "spec.containers{web}" },
    });
    assert_same(&unhealthy, &[json!({ "message": "Readiness probe failed: refused" })]);
    assert_others(
        &unhealthy,
        &[
            json!({ "message": "Liveness probe failed: timeout" }),
            json!({ "involvedObject": { "fieldPath": "spec.containers{db}" } }),
        ],
    );
}

#[test]
fn what_has_no_identifier_is_told_apart_by_what_it_is_about() {
    let event = json!({
        "event_action": "trigger", "payload": { "summary": "Down", "severity": "critical", "source": "db-01" },
    });
    assert_others(&event, &[json!({ "payload": { "source": "db-02" } })]);
    let alarm = json!({ "AlarmName": "disk", "NewStateValue": "ALARM", "Region": "eu", "AWSAccountId": "1" });
    assert_others(&alarm, &[json!({ "Region": "us" }), json!({ "AWSAccountId": "2" })]);
    let build = sample("jenkins/failed");
    assert_others(&build, &[json!({ "url": "job/other/job/shop/" })]);
    assert_eq!(identity(&alert(&build)), identity(&alert(&sample("jenkins/succeeded"))));
    let stopped = json!({
        "event": "container_stopped", "success": false, "message": "stopped", "server_uuid": "s", "container_name": "a",
    });
    assert_others(&stopped, &[json!({ "container_name": "b" })]);
    let issue =
        json!({ "action": "triggered", "data": { "event": { "title": "a", "level": "fatal" } } });
    assert_others(&issue, &[json!({ "data": { "event": { "title": "b" } } })]);
    let azure = json!({ "data": { "essentials": {
        "alertRule": "disk", "monitorCondition": "Fired", "severity": "Sev0", "alertTargetIDs": ["/vm/a"],
        "targetResourceGroup": "g",
    } } });
    assert_others(
        &azure,
        &[
            json!({ "data": { "essentials": { "alertRule": "memory" } } }),
            json!({ "data": { "essentials": { "alertTargetIDs": ["/vm/b"] } } }),
        ],
    );
    let monitor = sample("openstatus/error");
    assert_others(&monitor, &[json!({ "monitor": { "url": "https://other.example.com" } })]);
    let flux = sample("flux/error");
    assert_others(&flux, &[json!({ "metadata": { "cluster": "other" } })]);
    let signature = sample("suricata/alert");
    assert_others(&signature, &[json!({ "host": "other" })]);
    let message = sample("nats/max-deliver");
    assert_others(&message, &[json!({ "domain": "other" })]);
    let pool = json!({
        "account_id": "a", "alert_type": "load_balancing_health_alert", "policy_id": "p", "text": "t",
        "alert_event": "ALERT_STATE_EVENT_START", "data": { "pool_name": "eu", "origin_name": "web-01" },
    });
    assert_others(&pool, &[json!({ "data": { "origin_name": "web-02" } })]);
    let rate = json!({ "account_id": "a", "alert_type": "t", "text": "The error rate of a.example is 97%" });
    assert_same(&rate, &[json!({ "text": "The error rate of a.example is 98%" })]);
    assert_others(&rate, &[json!({ "text": "The error rate of b.example is 97%" })]);
    let zabbix = json!({ "event_value": "1", "alert_subject": "Disk full", "host_name": "a" });
    assert_others(&zabbix, &[json!({ "host_name": "b" })]);
}

#[test]
fn a_value_that_is_absent_keeps_its_place_in_an_identity() {
    let lost = |account: Value, stream: &str, consumer: Value| {
        json!({
            "type": "io.nats.jetstream.advisory.v1.consumer_quorum_lost", "account": account, "stream": stream,
            "consumer": consumer,
        })
    };
    let identity = |message: Value| identity(&alert(&message));
    assert_ne!(
        identity(lost(json!("A"), "B", Value::Null)),
        identity(lost(Value::Null, "A", json!("B")))
    );
    assert_ne!(
        identity(lost(json!("A"), "B\nC", Value::Null)),
        identity(lost(json!("A"), "B", json!("C")))
    );
}

#[test]
fn only_the_known_forms_of_a_test_are_tests() {
    let is_test = |message: &Value| matches!(payload(message), Payload::Note(Note::Test(_)));
    let origin = json!({
        "text": "The latest error rate of shop.example.com is 97%", "account_id": "a",
        "alert_type": "real_origin_monitoring", "data": { "severity": "CRITICAL", "zone_name": "shop.example.com" },
    });
    assert_eq!(alert(&origin).severity, Severity::Critical);
    assert_eq!(
        alert(&but(&origin, &json!({ "data": { "test": "x" } }))).severity,
        Severity::Critical
    );
    let hello = "Hello World! This is a test message sent from https://cloudflare.com. If you can see this, \
                 your webhook is configured properly.";
    assert!(is_test(&but(&origin, &json!({ "text": hello }))));
    assert!(is_test(&sample("cloudflare/test")));
    let kuma = |text: &str| json!({ "heartbeat": null, "monitor": null, "msg": text });
    assert!(is_test(&kuma("Ops Testing")));
    for text in [
        "[Testing gateway][https://t.example] server certificate will be expired in 1 days",
        "[Testing] Testing",
    ] {
        assert!(matches!(payload(&kuma(text)), Payload::Text(_)), "{text}");
    }
    let proxmox = json!({
        "title": "Test notification", "message": "disk failed", "severity": "error",
        "fields": { "hostname": "pve1", "type": "vzdump" },
    });
    assert_eq!(alert(&proxmox).severity, Severity::Critical);
    assert!(is_test(&sample("proxmox/test")));
    let grafana = sample("grafana-legacy/test");
    assert!(is_test(&grafana));
    alert(&but(&grafana, &json!({ "ruleName": "Disk" })));
    alert(&but(&grafana, &json!({ "ruleId": 7, "message": "Disk full" })));
}

#[test]
fn a_state_that_nobody_knows_ends_no_alert() {
    let is_silent = |message: &Value| match payload(message) {
        Payload::Note(note) => Payload::Note(note).urgency() == Urgency::Routine,
        other => panic!("not a note: {other:?}"),
    };
    let app = |sync: &str, health: &str| json!({ "app": "shop", "syncStatus": sync, "healthStatus": health });
    assert_eq!(alert(&app("Synced", "Healthy")).status, Status::Resolved);
    assert!(is_silent(&app("OutOfSync", "Healthy")) && is_silent(&app("Unknown", "Healthy")));
    assert_eq!(alert(&app("OutOfSync", "Degraded")).status, Status::Firing);
    let disk =
        |status: &str| json!({ "alarm": "disk", "chart": "c", "status": status, "host": "db-01" });
    assert_eq!(alert(&disk("CLEAR")).status, Status::Resolved);
    assert!(is_silent(&disk("UNDEFINED")) && is_silent(&disk("UNINITIALIZED")));
    let node = sample("netdata/unreachable");
    assert_eq!(
        alert(&but(&node, &json!({ "status": { "reachable": "false" } }))).status,
        Status::Firing
    );
    assert_eq!(
        alert(&but(&node, &json!({ "status": { "reachable": true } }))).status,
        Status::Resolved
    );
    let check = json!({ "name": "backup", "status": "started", "code": "x" });
    assert!(is_silent(&check));
    let deployment = json!({
        "deployment_status": { "state": "inactive" }, "deployment": { "environment": "e" },
        "repository": { "node_id": "R", "full_name": "acme/shop" },
    });
    assert!(is_silent(&deployment));
}

#[test]
fn an_alert_that_nobody_cares_for_any_more_is_news() {
    for (action, urgency) in [
        ("UnAcknowledge", Urgency::Notable),
        ("EscalateNext", Urgency::Notable),
        ("AddNote", Urgency::Routine),
    ] {
        let alert = json!({ "message": "DB down", "alertId": "1", "priority": "P1" });
        assert_eq!(
            payload(&json!({ "action": action, "alert": alert })).urgency(),
            urgency,
            "{action}"
        );
    }
}

#[test]
fn the_first_of_several_does_not_speak_for_all() {
    let green = json!({ "color": "#36A64F", "title": "a", "text": "well" });
    let red = json!({ "color": "danger", "title": "b", "text": "disk dead" });
    let embed =
        |color: u32, text: &str| json!({ "title": "t", "color": color, "description": text });
    let block =
        |color: &str, text: &str| json!({ "type": "TextBlock", "color": color, "text": text });
    for (calm, urgent) in [
        (json!({ "attachments": [green, green] }), json!({ "attachments": [green, red] })),
        (
            json!({ "embeds": [embed(3_066_993, "well"), embed(3_066_993, "well")] }),
            json!({ "embeds": [embed(3_066_993, "well"), embed(15_158_332, "disk dead")] }),
        ),
        (
            json!({ "type": "AdaptiveCard", "body": [block("good", "well"), block("default", "well")] }),
            json!({ "type": "AdaptiveCard", "body": [block("good", "well"), block("attention", "disk dead")] }),
        ),
    ] {
        assert_eq!(payload(&calm).urgency(), Urgency::Routine, "{calm}");
        let shown = payload(&urgent);
        assert_eq!(shown.urgency(), Urgency::Notable, "{urgent}");
        assert!(format!("{shown:?}").contains("disk dead"), "{shown:?}");
    }
    let scan = sample("harbor/scan-clean");
    assert_eq!(payload(&scan).urgency(), Urgency::Routine);
    let mut two = scan;
    let reports = &mut two["event_data"]["resources"][0]["scan_overview"];
    reports["z; another scanner"] = json!({ "severity": "Critical" });
    assert_eq!(payload(&two).urgency(), Urgency::Notable);
}
