use bytes::Bytes;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::json;
use time::OffsetDateTime;

use super::*;
use crate::{
    config::{Display, Language},
    message::{Decoded, Urgency},
    render::content::MAX_TEXT_CHARS,
};

fn render(payload: &str) -> Rendered {
    render_bytes(payload.as_bytes())
}

fn render_bytes(payload: &[u8]) -> Rendered {
    render_in(&Display::default(), payload)
}

fn render_in(display: &Display, payload: &[u8]) -> Rendered {
    Renderer::new(display).render(&Incoming {
        subject: "ops.x",
        headers: None,
        stream: "OPS",
        sequence: 1,
        published: OffsetDateTime::UNIX_EPOCH,
        route: "all",
        decoded: &Decoded::from_bytes(payload),
        original: &Bytes::copy_from_slice(payload),
    })
}

/// The bytes that Matrix allows in an event, less what the homeserver and the origin add.
const EVENT_LIMIT: usize = 65_536 - 4_096;

#[test]
fn absent_fields_leave_no_line() {
    let report = json!({ "host": "a", "memory_percent": 16.04 });
    let rendered = render(&report.to_string());
    assert_eq!(rendered.plain, "📊 a Operational Report (via ops.x)\n💻 Memory usage: 16%");
    assert_eq!(
        rendered.html,
        "📊 <strong>a</strong> Operational Report <em>(via ops.x)</em><br>💻 Memory usage: 16%"
    );
    let report = json!({ "host": "a", "completed": ["", " "], "satisfaction": 0 });
    assert_eq!(
        render(&report.to_string()).plain,
        "📊 a Operational Report (via ops.x)\n😊 Satisfaction rating: 0/5"
    );
    let alert = json!({ "severity": "info", "summary": "s" });
    assert_eq!(render(&alert.to_string()).plain, "🔵 INFO: s\n📍 (via ops.x)");
}

#[test]
fn a_list_item_with_lines_stays_in_its_line() {
    let report = json!({ "host": "a\nb", "completed": ["one\ntwo", "three"] });
    assert_eq!(
        render(&report.to_string()).plain,
        "📊 a b Operational Report (via ops.x)\n✅ Completed: one two, three"
    );
}

#[test]
fn everything_is_said_in_chinese() {
    let display =
        Display { language: Language::Chinese, time_zone: TimeZone::get("Asia/Shanghai").unwrap() };
    let plain = |payload: &str| render_in(&display, payload.as_bytes()).plain;
    let report = json!({ "host": "server-01", "completed": ["备份", "清理"], "in_progress": ["升级"],
                         "disk_percent": 14, "memory_percent": 16.5, "satisfaction": 3, "区域": "华东" });
    assert_eq!(
        plain(&report.to_string()),
        "📊 server-01 运维报告（经由 ops.x）\n✅ 已完成：备份、清理\n🔄 进行中：升级\n💻 磁盘使用率：14% | 内存使用率：16.5%\n\
         😊 满意度：3/5\n区域：华东"
    );
    assert!(
        render_in(&display, report.to_string().as_bytes())
            .html
            .contains("<strong>已完成：</strong>备份、清理")
    );
    assert!(
        plain(&fixture("alertmanager-group")).starts_with(
            "🔴 6 条告警：DiskFull（严重 1，警告 2，已恢复 1，未知 2）（经由 ops.x）\n"
        )
    );
    assert!(
        plain(&fixture("alertmanager-group")).contains("🕒 2026-11-23 13:12:00 – 14:40:30 CST（持续 1 小时 28 分钟）\n… 另有 2 条，发送方未随消息发出")
    );
    assert!(
        plain(&fixture("uptime-kuma-down")).starts_with("🔴 严重：Services / Forgejo 不可用\n")
    );
    assert!(
        plain(&fixture("forgejo-push")).starts_with("🔨 alice 向 ops/infra main 推送了 3 个提交\n")
    );
    assert!(
        plain(&fixture("forgejo-pull-request"))
            .starts_with("🔀 alice 合并了 ops/infra 的合并请求 #13：Move db-01 to the new disk")
    );
    assert!(
        plain("{\"a\"").contains("\n🤖 nats-matrix：消息格式有误：begins like JSON but is not")
    );
    assert_eq!(plain(""), "🤖 nats-matrix：ops.x 收到一条空消息");
    assert!(plain(&"很".repeat(5_000)).ends_with(" …\n🤖 nats-matrix：完整内容（14.6 KiB）见附件"));
}

#[test]
fn times_are_shown_in_utc_and_strange_ones_as_they_are() {
    let at = |time: &str| {
        render(&json!({ "severity": "info", "summary": "s", "time": time }).to_string()).plain
    };
    assert_eq!(
        at("2026-11-23T07:35:51.25+01:00"),
        "🔵 INFO: s\n📍 (via ops.x)\n🕒 2026-11-23 06:35:51 UTC"
    );
    assert_eq!(at("yesterday"), "🔵 INFO: s\n📍 (via ops.x)\n🕒 yesterday");
}

#[test]
fn an_alert_that_is_over_says_how_long_it_went_on_and_labels_are_not_said_twice() {
    let alert = json!({
        "severity": "warning", "summary": "Disk full", "source": "db-01", "status": "resolved",
        "time": "2026-11-23T06:35:51Z", "ended": "2026-11-23T06:47:10Z",
        "url": "https://grafana.example/d/abc", "fingerprint": "1a30ba71",
        "labels": { "instance": "db-01", "severity": "warn", "mount": "/var", "public": "" },
    });
    let rendered = render(&alert.to_string());
    assert_eq!(
        rendered.plain,
        "✅ RESOLVED: Disk full\n📍 db-01 (via ops.x)\n🏷️ mount=/var, public\n\
         🕒 2026-11-23 06:35:51 – 06:47:10 UTC (11 min 19 s)\n🔗 https://grafana.example/d/abc"
    );
    assert!(rendered.html.ends_with(">grafana.example</a>"), "{}", rendered.html);
}

#[test]
fn text_that_runs_backwards_is_shown_as_it_was_sent() {
    let rendered = render("pay \u{202e}evil\u{202c} now\u{2066}x\u{2069}");
    assert_eq!(rendered.plain, "pay \u{fffd}evil\u{fffd} now\u{fffd}x\u{fffd}");
}

#[test]
fn objects_show_keys_and_values_in_their_order() {
    let rendered =
        render(r#"{"z":"last","a":{"nested":[1,2.5]},"text":"two\nlines","nothing":null}"#);
    assert_eq!(
        rendered.plain,
        "📨 ops.x\nz: last\na: {\"nested\":[1,2.5]}\ntext: two\n│ lines\nnothing: null"
    );
    assert!(
        rendered.html.contains("<strong>text:</strong> two<blockquote>lines</blockquote>"),
        "{}",
        rendered.html
    );
}

#[test]
fn a_cut_is_made_between_words_and_never_within_a_character() {
    let text = "wörter ".repeat(1_000);
    let rendered = render(&text);
    assert!(rendered.plain.starts_with("wörter wörter"));
    assert!(
        rendered
            .plain
            .contains("wörter …\n🤖 nats-matrix: the whole (7.8 KiB) is in the attached file")
    );
    assert_eq!(rendered.attachment.unwrap().bytes, text.as_bytes());
    let unbroken = "ö".repeat(10_000);
    assert!(render(&unbroken).plain.starts_with(&"ö".repeat(MAX_TEXT_CHARS)));
}

/// True if `html` has no tag and no entity but ours, and no link but to a web page.
fn is_safe(html: &str) -> bool {
    let mut rest = html.to_owned();
    for ours in [
        "<br>",
        "<strong>",
        "</strong>",
        "<em>",
        "</em>",
        "<code>",
        "</code>",
        "</a>",
        "<blockquote>",
        "</blockquote>",
    ] {
        rest = rest.replace(ours, "");
    }
    while let Some(start) = rest.find("<a href=\"http") {
        let Some(length) = rest[start + 9..].find("\">") else { return false };
        let address = &rest[start + 9..start + 9 + length];
        if address.contains(['<', '>', '"']) || address.contains("//matrix.to") {
            return false;
        }
        rest.replace_range(start..start + 9 + length + 2, "");
    }
    !rest.contains('<') && !rest.contains('>')
}

/// What others send, from `tests/payloads`.
fn fixture(name: &str) -> String {
    let path = format!("{}/tests/payloads/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_group_of_alerts_begins_with_the_worst_and_the_newest() {
    let rendered = render(&fixture("alertmanager-group"));
    assert_eq!(rendered.urgency, Urgency::Critical);
    assert_eq!(
        rendered.plain,
        "🔴 6 alerts: DiskFull (1 critical, 2 warning, 1 resolved, 2 unknown) (via ops.x)\n\
         🏷️ cluster=eu-1, job=node\n\
         🔴 CRITICAL: Only 2 GiB left on /var of db-01\n\
         │ At this rate /var is full in 20 minutes.\n\
         📍 db-01:9100 · 🏷️ mountpoint=/var · 🕒 2026-11-23 06:35:51 UTC\n\
         🟠 WARNING: Only 8 GiB left on / of web-02\n\
         📍 web-02:9100 · 🏷️ mountpoint=/ · 🕒 2026-11-23 06:39:40 UTC\n\
         🟠 WARNING: Only 9 GiB left on / of web-01\n\
         📍 web-01:9100 · 🏷️ mountpoint=/ · 🕒 2026-11-23 06:39:10 UTC\n\
         ✅ RESOLVED: Only 2 GiB left on /var of db-02\n\
         📍 db-02:9100 · 🏷️ mountpoint=/var · 🕒 2026-11-23 05:12:00 – 06:40:30 UTC (1 h 28 min)\n\
         … and 2 more that were not sent\n\
         🔗 http://alertmanager.example.com:9093"
    );
    assert!(
        rendered.html.contains(
            "<strong>WARNING:</strong> <a href=\"http:&#x2f;&#x2f;prometheus.example.com:9090"
        ),
        "{}",
        rendered.html
    );
}

/// A message of Alertmanager with so many alerts.
fn alerts(count: usize, status: &str) -> serde_json::Value {
    let alert = json!({ "status": status, "labels": { "alertname": "x", "severity": "critical" } });
    json!({ "groupKey": "{}", "alerts": vec![alert; count] })
}

#[test]
fn a_flood_of_alerts_is_counted_and_attached() {
    let flood = alerts(500, "firing").to_string();
    let rendered = render(&flood);
    assert!(rendered.plain.starts_with("🔴 500 alerts (500 critical) (via ops.x)\n"));
    assert!(rendered.plain.contains("\n… and 490 more\n🤖 nats-matrix: the whole ("));
    assert_eq!(rendered.attachment.unwrap().bytes, flood.as_bytes());
    assert_eq!(render(&alerts(10, "firing").to_string()).attachment, None);
}

#[test]
fn a_group_is_as_urgent_as_its_worst_alert() {
    let urgency = |message: serde_json::Value| render(&message.to_string()).urgency;
    assert_eq!(urgency(alerts(3, "resolved")), Urgency::Routine);
    let mut mixed = alerts(3, "resolved");
    mixed["alerts"][1]["status"] = json!("firing");
    assert_eq!(urgency(mixed), Urgency::Critical);
    // Nobody knows what those are that were left out.
    let mut truncated = alerts(3, "resolved");
    truncated["truncatedAlerts"] = json!(1);
    assert_eq!(urgency(truncated), Urgency::Notable);
}

#[test]
fn what_others_send_is_shown_as_text_for_people() {
    for (name, urgency, text) in [
        (
            "uptime-kuma-down",
            Urgency::Critical,
            "🔴 CRITICAL: Services / Forgejo is down\n📍 (via ops.x)\n│ connect ECONNREFUSED 192.0.2.7:443\n\
             🏷️ public, zone=eu-1\n🕒 2026-11-23 06:35:51 UTC\n🔗 https://git.example.com",
        ),
        (
            "forgejo-push",
            Urgency::Routine,
            "🔨 alice pushed 3 commits to ops/infra main\n│ bffeb74 Backups go to the new host\n\
             │ 5d1c0a8 Raise the limit of the bridge (bob)\n│ 28e1879 Update flake.lock\n\
             📍 (via ops.x)\n🔗 https://git.example.com/ops/infra/compare/0f1e2d3c4b5a69788796a5b4c3d2e1f000112233...\
             bffeb74224043ba2feb48d137756c8a9331c449a",
        ),
        (
            "forgejo-run-recover",
            Urgency::Routine,
            "✅ RESOLVED: Workflow check.yml succeeds again\n📍 ops/infra (via ops.x)\n\
             │ Backups go to the new host (by alice)\n🏷️ event=push, ref=main\n\
             🕒 2026-11-23 07:03:35 – 07:42:40 UTC (39 min 5 s)\n\
             🔗 https://git.example.com/ops/infra/actions/runs/13",
        ),
        (
            "cloudevent",
            Urgency::Notable,
            "☁️ com.example.backup.finished\n📍 /backup/db-01 nightly (via ops.x)\n🕒 2026-11-23 03:10:00 UTC\n\
             bytes: 81604378624\ntook: PT12M\nlog: https://backup.example.com/runs/412",
        ),
    ] {
        let rendered = render(&fixture(name));
        assert_eq!(rendered.plain, text);
        assert_eq!(rendered.urgency, urgency, "{name}");
        assert!(is_safe(&rendered.html), "{}", rendered.html);
    }
}

#[test]
fn bytes_in_an_envelope_are_attached() {
    let event = json!({ "specversion": "1.0", "type": "t", "source": "s", "data_base64": "/wA=" });
    let rendered = render(&event.to_string());
    assert!(rendered.plain.contains("2 bytes of data that is not text"), "{}", rendered.plain);
    assert_eq!(rendered.attachment.unwrap().extension, "json");
}

#[test]
fn a_link_in_a_value_is_one_if_it_is_all_of_it() {
    let html = |value: &str| render(&json!({ "a": value }).to_string()).html;
    let page = html("https://a.example/?b=1&c=2");
    assert!(page.contains("<a href=\"https:&#x2f;&#x2f;a.example&#x2f;?b=1&amp;c=2\">"), "{page}");
    for text in ["see https://a.example/", "https://matrix.to/#/@a:b", "mxc://a/b"] {
        assert!(!html(text).contains("<a"), "{text}");
    }
}

#[test]
fn even_the_costliest_links_fit_into_an_event() {
    for c in ['😀', '\'', '/', 'ö', '&', '%', '"'] {
        let links: serde_json::Map<String, serde_json::Value> = (0..20)
            .map(|row| (row.to_string(), json!(format!("https://a/{}", c.to_string().repeat(180)))))
            .collect();
        let rendered = render(&serde_json::Value::Object(links).to_string());
        assert!(rendered.attachment.is_none());
        assert!(rendered.content(&[]).to_string().len() < EVENT_LIMIT, "{c}");
    }
}

/// Puts a text in the place of every text in a message, but of those that make it what it is.
fn replace_texts(value: &mut serde_json::Value, text: &str) {
    use serde_json::Value;
    match value {
        Value::String(old) if ["firing", "resolved"].contains(&old.as_str()) => {}
        Value::String(old) => text.clone_into(old),
        Value::Array(items) => {
            for item in items {
                replace_texts(item, text);
            }
        }
        Value::Object(entries) => {
            for entry in entries.values_mut() {
                replace_texts(entry, text);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn nothing_that_others_send_is_markup() {
    let names = [
        "alertmanager-one",
        "alertmanager-group",
        "grafana",
        "uptime-kuma-down",
        "uptime-kuma-text",
        "cloudevent",
        "cloudevent-alert",
        "forgejo-push",
        "forgejo-issue",
        "forgejo-comment",
        "forgejo-pull-request",
        "forgejo-release",
        "forgejo-run-failure",
        "gitea-workflow-run",
    ];
    for name in names {
        for evil in [
            "<script>x</script>&amp;\"'",
            "https://a.example/\"><script>x</script>",
            "https://matrix.to/#/<script>",
            "javascript:alert('<script>')",
            "\u{202e}<script>\u{0}\n\r\u{2028}",
        ] {
            let mut message: serde_json::Value = serde_json::from_str(&fixture(name)).unwrap();
            replace_texts(&mut message, evil);
            let decoded = Decoded::from_bytes(message.to_string().as_bytes());
            assert_eq!(decoded.flaw, None, "{name}");
            let rendered = render(&message.to_string());
            assert!(is_safe(&rendered.html), "{name}: {}", rendered.html);
            assert!(rendered.html.contains("&lt;script&gt;"), "{name}: {}", rendered.html);
            assert!(!rendered.plain.contains(['\u{202e}', '\u{0}']), "{name}");
            assert!(rendered.content(&[]).to_string().len() < EVENT_LIMIT);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_make_a_bounded_and_safe_event(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let rendered = render_bytes(&bytes);
        prop_assert!(is_safe(&rendered.html), "{}", rendered.html);
        prop_assert!(!rendered.plain.is_empty());
        prop_assert!(rendered.content(&[]).to_string().len() < EVENT_LIMIT);
    }

    #[test]
    fn any_text_in_any_field_is_escaped(text in "\\PC{0,60}", tag in "<[a-z]{1,8}>") {
        let text = format!("{text}{tag}&amp;\"'");
        let report = json!({ "host": text, "completed": [text], "in_progress": [text], "extra": text });
        let alert = json!({ "severity": text, "summary": text, "source": text, "description": text,
                            "time": text, "labels": { text.clone(): text }, "extra": { "x": text } });
        for payload in [report, alert, json!({ text.clone(): text }), json!(text)] {
            let rendered = render(&payload.to_string());
            prop_assert!(is_safe(&rendered.html), "{}", rendered.html);
            let tag = tag.trim_matches(['<', '>']);
            let escaped = format!("&lt;{tag}&gt;");
            prop_assert!(rendered.html.contains(&escaped), "{}", rendered.html);
        }
    }

    #[test]
    fn even_the_costliest_text_fits_into_an_event(c in prop_oneof![Just('\''), Just('"'), Just('<'), Just('\u{0}'), Just('😀'), Just('\\'), Just('\n')], count in 3_900usize..4_100) {
        let rendered = render(&c.to_string().repeat(count));
        prop_assert!(rendered.content(&[]).to_string().len() < EVENT_LIMIT, "{}", rendered.content(&[]).to_string().len());
        prop_assert_eq!(rendered.attachment.is_some(), rendered.plain.contains("in the attached file"));
    }

    #[test]
    fn no_event_holds_a_float(value in any::<f64>()) {
        fn has_float(value: &serde_json::Value) -> bool {
            match value {
                serde_json::Value::Number(number) => number.is_f64(),
                serde_json::Value::Array(items) => items.iter().any(has_float),
                serde_json::Value::Object(entries) => entries.values().any(has_float),
                _ => false,
            }
        }
        let payload = json!({ "host": "a", "disk_percent": value, "other": value });
        prop_assert!(!has_float(&render(&payload.to_string()).content(&[])));
    }
}
