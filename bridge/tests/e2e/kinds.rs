//! One message of each kind that others send, and what a person on call must see of it in the room.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result};
use nats_matrix_testbed::Event;
use serde_json::{Value, json};

use crate::{
    noise::mention,
    scene::{PATIENCE, Scene},
};

/// The subject of all messages, which names no machine of them.
const SUBJECT: &str = "ops.kind.any";

/// The effect of a message on the phone of a person whom the route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phone {
    Silent,
    Buzzes,
    Mentioned,
}

use Phone::{Buzzes, Mentioned, Silent};

/// A message, and what the room must show of it.
struct Kind {
    name: &'static str,
    payload: Vec<u8>,
    phone: Phone,
    /// The beginning of the first line.
    begins: &'static str,
    says: &'static [&'static str],
    never: &'static [&'static str],
}

impl Kind {
    fn new(
        name: &'static str,
        payload: impl Into<Vec<u8>>,
        phone: Phone,
        begins: &'static str,
    ) -> Self {
        Self { name, payload: payload.into(), phone, begins, says: &[], never: &[] }
    }

    /// Takes a sample of the repository, by its path below `bridge`.
    fn of_file(path: &'static str, phone: Phone, begins: &'static str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        Self::new(path, std::fs::read(file).expect(path), phone, begins)
    }

    fn says(mut self, words: &'static [&'static str]) -> Self {
        self.says = words;
        self
    }

    fn never(mut self, words: &'static [&'static str]) -> Self {
        self.never = words;
        self
    }
}

/// A message of Grafana with one alert.
fn grafana(alert: Value, labels: Value) -> String {
    let mut alert = alert;
    alert["labels"] = labels;
    alert["status"] = json!("firing");
    alert["startsAt"] = json!("2026-11-23T06:40:00Z");
    alert["endsAt"] = json!("0001-01-01T00:00:00Z");
    alert["generatorURL"] = json!("https://grafana.example.com/alerting/grafana/u1/view");
    alert["silenceURL"] = json!("https://grafana.example.com/alerting/silence/new?matcher=u1");
    json!({ "receiver": "matrix", "status": "firing", "groupKey": "{}:{u1}", "orgId": 1, "alerts": [alert] })
        .to_string()
}

/// A message of Alertmanager with 1 critical, 107 warning and 12 resolved alerts about pods.
fn many() -> String {
    let alert = |number: usize| {
        let (status, severity) = match number {
            77 => ("firing", "critical"),
            number if number < 12 => ("resolved", "warning"),
            _ => ("firing", "warning"),
        };
        json!({
            "status": status, "startsAt": format!("2026-11-23T06:{:02}:00Z", number % 60),
            "labels": { "alertname": "PodNotReady", "namespace": "shop", "pod": format!("cart-{number}"),
                        "instance": "192.0.2.9:8443", "job": "kube-state-metrics", "severity": severity },
            "annotations": { "summary": "A pod is not ready" },
        })
    };
    let alerts: Vec<Value> = (0..120).map(alert).collect();
    let group = json!({ "alertname": "PodNotReady" });
    json!({ "receiver": "m", "status": "firing", "groupKey": "{}:{pods}", "groupLabels": group, "commonLabels": group, "alerts": alerts })
        .to_string()
}

/// The messages of a file each, one a line.
fn lines(paths: &[&str]) -> String {
    let line = |path: &&str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(file).expect(path);
        serde_json::from_str::<Value>(&text).expect(path).to_string() + "\n"
    };
    paths.iter().map(line).collect()
}

/// Messages of the family of Prometheus and Grafana.
fn of_metrics() -> Vec<Kind> {
    let value = "[ var='B0' metric='' labels={server=https://s1.example.com} value=503 ]";
    let no_data = json!({ "alertname": "DatasourceNoData", "rulename": "Payments arrive" });
    let old = json!({
        "version": "3", "groupKey": 7, "status": "firing", "receiver": "m",
        "alerts": [{ "status": "firing", "startsAt": "2026-11-23T06:40:00Z",
                     "labels": { "alertname": "RequestsHigh", "severity": "warning", "instance": "api-1:8080" },
                     "annotations": { "summary": "Too many requests" } }],
    });
    let alone = json!({ "alerts": [{
        "status": "firing",
        "labels": { "alertname": "CrashLoop", "severity": "critical", "namespace": "shop", "pod": "cart-0" },
        "annotations": { "message": "The pod restarts again and again" },
    }] });
    vec![
        Kind::new(
            "Grafana, the fact only in valueString",
            grafana(json!({ "valueString": value }), json!({ "alertname": "HTTP is not OK" })),
            Buzzes,
            "🟠 WARNING: HTTP is not OK",
        )
        .says(&[
            "503",
            "s1.example.com",
            "alerting/grafana/u1/view",
            "alerting/silence/new",
        ]),
        Kind::new(
            "Grafana, no data",
            grafana(json!({}), no_data),
            Buzzes,
            "🟠 WARNING: No data for Payments arrive",
        ),
        Kind::of_file(
            "shapes/grafana-legacy/alerting.json",
            Buzzes,
            "🟠 WARNING: Disk of the database",
        )
        .says(&["Delete old backups", "91.3", "https://grafana.example.com/d/abc"]),
        Kind::of_file("shapes/grafana-legacy/ok.json", Silent, "✅ RESOLVED")
            .says(&["Disk of the database"]),
        Kind::new(
            "Alertmanager, an older version",
            old.to_string(),
            Buzzes,
            "🟠 WARNING: Too many requests",
        )
        .says(&["api-1:8080"]),
        Kind::new(
            "alerts without a group",
            alone.to_string(),
            Mentioned,
            "🔴 CRITICAL: The pod restarts again and again",
        )
        .says(&["shop/cart-0"]),
        Kind::of_file(
            "src/samples/others/kilobytes-in-a-label.json",
            Mentioned,
            "🔴 CRITICAL: The disk is 93.7 % full",
        )
        .says(&[
            "host-9",
            "mount=/srv",
            "2026-11-23 06:40:00 UTC",
            "🔗 https://rules.example.com/",
        ]),
        Kind::new("120 alerts", many(), Mentioned, "🔴 120 alerts: PodNotReady")
            .says(&["1 critical, 107 warning, 12 resolved", "📍 shop/cart-77"])
            .never(&["📍 192.0.2.9"]),
        Kind::of_file(
            "src/samples/others/alert-by-its-fields.json",
            Mentioned,
            "🔴 CRITICAL: Replication of orders-db stopped",
        )
        .says(&["orders-02", "2026-11-23 06:31:00 UTC", "https://watch.example.com/a/981"]),
        Kind::of_file("src/samples/others/alert-by-its-fields-over.json", Silent, "✅ RESOLVED")
            .says(&["Replication of orders-db stopped"]),
    ]
}

/// Messages of forges, and of programs that tell of deployments.
fn of_forges() -> Vec<Kind> {
    vec![
        Kind::of_file("shapes/forgejo/test.json", Silent, "🧪 Test message")
            .says(&["ops/infra"])
            .never(&["deleted"]),
        Kind::of_file("shapes/forgejo/status-failure.json", Buzzes, "🟠 WARNING: deploy / staging")
            .says(&["Failing", "ops/infra", "https://git.example.com/ops/infra/actions"])
            .never(&["{", "@example.com"]),
        Kind::of_file("shapes/github/create-tag.json", Silent, "🌿 alice made tag v1.4.0")
            .never(&["deleted"]),
        Kind::of_file(
            "shapes/gitlab/pipeline-failed.json",
            Buzzes,
            "🟠 WARNING: Pipeline 88 failed",
        )
        .says(&["acme/shop", "ref=main", "unit, lint", "pipelines/4031"])
        .never(&["{"]),
        Kind::of_file("shapes/flux/error.json", Buzzes, "🟠 WARNING: Kustomization shop").says(&[
            "ReconciliationFailed",
            "apps/shop",
            "spec.replicas: must not be negative",
        ]),
    ]
}

/// Messages of other services.
fn of_services() -> Vec<Kind> {
    vec![
        Kind::of_file("src/samples/others/line-ends-in-a-text.txt", Buzzes, "📨 Ping of gw-2")
            .says(&["4 packets sent\n", "0 received, 100% loss"])
            .never(&["control character", "\\n"]),
        Kind::of_file("src/samples/others/json-in-a-text.txt", Buzzes, "📨 Door of rack 7 is open")
            .says(&["\n│ since: 06:40"])
            .never(&["\\n", "{"]),
        Kind::of_file("shapes/slack/attachment.json", Buzzes, "🔔 TypeError: price is undefined")
            .says(&["shop", "production", "https://errors.example.com/acme/issues/42"]),
        Kind::of_file(
            "shapes/cloudflare/tunnel-down.json",
            Buzzes,
            "🟠 WARNING: The health of tunnel matrix is now Down",
        )
        .says(&["2026-11-23 06:35:51 UTC"]),
        Kind::of_file(
            "shapes/falco/shell.json",
            Mentioned,
            "🔴 CRITICAL: Terminal shell in container",
        )
        .says(&["node-02", "Shell spawned in a container"])
        .never(&["output_fields"]),
        Kind::of_file("shapes/nats/disconnect.json", Buzzes, "🔔 Client sensors disconnected")
            .says(&["Slow Consumer", "nats-1"])
            .never(&["eyJ"]),
        Kind::new(
            "Zabbix, a problem and its end in lines",
            lines(&["shapes/zabbix/problem.json", "shapes/zabbix/recovery.json"]),
            Buzzes,
            "🟠 WARNING: The agent of db-01 does not answer",
        )
        .says(&["Database 1", "RESOLVED"]),
    ]
}

/// Texts and logs of machines.
fn of_machines() -> Vec<Kind> {
    vec![
        Kind::of_file(
            "shapes/journald/bytes.json",
            Buzzes,
            "🟠 WARNING: scan.service: Cannot read",
        )
        .says(&["db-01", "sector 7"])
        .never(&["[67,", "[83,"]),
        Kind::of_file("src/samples/others/table.txt", Buzzes, "│ array: md0")
            .says(&["\n│   sda1      0  active         0\n│   sdb1      1  missing       17\n"]),
        Kind::of_file("src/samples/others/colours.txt", Buzzes, "│ failed: unit backup.service")
            .never(&["\u{1b}", "[31m", "\u{fffd}"]),
        Kind::of_file(
            "src/samples/others/code-page-850.bin",
            Buzzes,
            "Sicherung für Größe 3 schlägt fehl",
        ),
        Kind::of_file("src/samples/others/number.txt", Buzzes, "📨 ops.kind.any: 48113"),
        Kind::of_file("src/samples/others/report-not-known.json", Silent, "📊 edge-4")
            .says(&["Log rotation", "Disk usage: unknown", "Memory usage: unknown"])
            .never(&["mistake", "NaN"]),
    ]
}

/// The events of a room by the sequence of the message that they show.
fn by_message(events: &[Event]) -> Result<BTreeMap<u64, Vec<&Event>>> {
    let mut messages: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    for event in events {
        let origin = &event.content["io.github.nats-matrix.origin"];
        let sequence = origin["seq"].as_u64().with_context(|| format!("no origin: {event:?}"))?;
        messages.entry(sequence).or_default().push(event);
    }
    Ok(messages)
}

fn phone(event: &Event) -> Phone {
    let is_mentioned = event.content["m.mentions"]["user_ids"].is_array();
    match event.msgtype() {
        _ if is_mentioned => Mentioned,
        "m.text" => Buzzes,
        _ => Silent,
    }
}

#[tokio::test]
async fn every_kind_of_message_shows_what_a_person_on_call_must_see() -> Result<()> {
    let kinds: Vec<Kind> =
        [of_metrics(), of_forges(), of_services(), of_machines()].into_iter().flatten().collect();
    let scene = Scene::new().await?;
    for kind in &kinds {
        scene.nats.publish(SUBJECT, kind.payload.clone()).await?;
    }
    let _bridge = scene.start(&scene.config().lines(&mention(&scene.alice.user_id)))?;
    let mut reader = scene.reader().await?;
    reader.wait_for(kinds.len(), PATIENCE).await?;
    scene.wait_until_done(kinds.len() as u64).await?;
    let events = reader.settle(Duration::from_secs(2)).await?.to_vec();
    let messages = by_message(&events)?;
    assert_eq!(messages.len(), kinds.len());
    let mut opened: Option<&str> = None;
    for (kind, events) in kinds.iter().zip(messages.values()) {
        let name = kind.name;
        let text: String = events.iter().map(|event| event.body().to_owned() + "\n").collect();
        // The end of an alert edits the message of its beginning, which must not make a phone buzz again.
        let new = || events.iter().filter(|event| event.content["m.new_content"].is_null());
        assert_eq!(new().map(|event| phone(event)).max(), Some(kind.phone), "{name}:\n{text}");
        if kind.begins == "✅ RESOLVED" {
            let edited = events[0].content["m.relates_to"]["event_id"].as_str();
            assert_eq!(edited, opened, "{name} ends the alert of the message before:\n{text}");
        }
        let first = events[0].content["m.new_content"]["body"].as_str().unwrap_or(events[0].body());
        assert!(first.starts_with(kind.begins), "{name}:\n{text}");
        for word in kind.says {
            assert!(text.contains(word), "{name} does not say {word:?}:\n{text}");
        }
        for word in kind.never {
            assert!(!text.contains(word), "{name} says {word:?}:\n{text}");
        }
        opened = Some(events[0].event_id.as_str());
    }
    Ok(())
}
