use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    alerts::AlertUpdate,
    config::{Display, Language},
    message::{Decoded, Kind, Urgency},
    samples::{SAMPLES, Sample},
};

fn render(payload: &str) -> Rendered {
    render_bytes(payload.as_bytes())
}

fn render_bytes(payload: &[u8]) -> Rendered {
    render_in(&Display::default(), payload)
}

fn render_in(display: &Display, payload: &[u8]) -> Rendered {
    render_on("ops.x", display, payload)
}

fn render_on(subject: &str, display: &Display, payload: &[u8]) -> Rendered {
    show(&Renderer::new(display), subject, payload, &decode(payload))
}

fn decode(payload: &[u8]) -> Decoded {
    Decoded::from_bytes(payload)
}

fn show(renderer: &Renderer, subject: &str, payload: &[u8], decoded: &Decoded) -> Rendered {
    renderer.render(&Incoming {
        subject,
        headers: None,
        stream: "OPS",
        sequence: 1,
        published: Timestamp::UNIX_EPOCH,
        route: "all",
        decoded,
        original: &Bytes::copy_from_slice(payload),
    })
}

fn chinese() -> Display {
    Display { language: Language::Chinese, time_zone: TimeZone::get("Asia/Shanghai").unwrap() }
}

/// The number of bytes that Matrix allows in an event, minus those that the homeserver and the origin add.
const EVENT_LIMIT: usize = 65_536 - 4_096;

/// Renders a message in both languages, in a form to look at: each line of the HTML is on a line of its own.
fn sheet(render: impl Fn(&Display) -> Rendered) -> String {
    let mut sheet = String::new();
    for (language, display) in [("English", Display::default()), ("Chinese", chinese())] {
        let shown = render(&display);
        assert!(is_safe(&shown.html), "{}", shown.html);
        let html = shown.html.replace("<br>", "<br>\n");
        let file = shown.attachment.map_or_else(
            || "no file".to_owned(),
            |it| format!("{} bytes of {} in a .{}", it.bytes.len(), it.media_type, it.extension),
        );
        let head = format!("== {language}, {:?}, {file}", shown.urgency);
        let head =
            if shown.hidden == 0 { head } else { format!("{head}, {} hidden", shown.hidden) };
        sheet.push_str(&[&head, "", &shown.plain, "", "-- HTML", "", &html, "", ""].join("\n"));
    }
    sheet
}

/// Renders a digest of all samples, published a minute apart.
fn digest(display: &Display) -> Rendered {
    let renderer = Renderer::new(display);
    let entry = |(index, sample): (usize, &Sample)| {
        let decoded = decode(sample.payload);
        let at = Timestamp::UNIX_EPOCH + Duration::from_mins(index as u64);
        let source = sample.subject.rsplit('.').next().unwrap().to_owned();
        Entry {
            sequence: index as u64 + 1,
            published: at,
            said: at,
            subject: sample.subject.to_owned(),
            head: renderer.head(at, sample.subject),
            rendered: show(&renderer, sample.subject, sample.payload, &decoded),
            kind: Kind::of(&decoded.payload),
            updates: AlertUpdate::all(&decoded.payload)
                .into_iter()
                .map(|it| it.named(sample.name))
                .collect(),
            sources: vec![source],
        }
    };
    let entries: Vec<Entry> = SAMPLES.iter().enumerate().map(entry).collect();
    renderer.digest(&entries, &BTreeSet::new(), Urgency::Critical)
}

/// Compares each sample, each message of another program and a digest with a file in `snapshots/`. After an intended
/// change, run this test with `INSTA_UPDATE=always` and look at the difference.
/// A digest has no room for all objects of a message, and must show the worst.
#[test]
fn of_several_objects_the_most_urgent_come_first() {
    let object = |number: usize| {
        let severity = if number == 59 { "critical" } else { "info" };
        json!({ "severity": severity, "summary": format!("{number} {}", "x".repeat(900)) })
    };
    let lines: Vec<String> = (0..60).map(|number| object(number).to_string()).collect();
    let rendered = render(&lines.join("\n"));
    assert!(rendered.plain.starts_with("🔴 CRITICAL: 59 x"), "{:.200}", rendered.plain);
    assert_eq!(rendered.urgency, Urgency::Critical);
    let at = |number: usize| rendered.plain.find(&format!("INFO: {number} x"));
    assert!(at(0) < at(1) && at(0).is_some(), "the others stay in order");
}

#[test]
fn messages_are_shown_as_in_the_snapshots() {
    let here = env!("CARGO_MANIFEST_DIR");
    let mut sheets = BTreeMap::from([("digest".to_owned(), sheet(digest))]);
    let mut add = |name: &str, subject: &str, payload: &[u8]| {
        let shown = sheet(|display| render_on(subject, display, payload));
        assert!(sheets.insert(name.to_owned(), shown).is_none(), "{name}");
    };
    for sample in SAMPLES {
        add(sample.name, sample.subject, sample.payload);
    }
    add("empty", "ops.x", b"");
    add("binary", "ops.x", b"\x1f\x8b\x08\0\xff\xfe");
    for file in std::fs::read_dir(format!("{here}/src/samples/webhooks")).unwrap() {
        let path = file.unwrap().path();
        let payload = std::fs::read(&path).unwrap();
        let is_json = path.extension().is_some_and(|it| it == "json");
        if is_json && SAMPLES.iter().all(|sample| sample.payload != payload) {
            add(path.file_stem().unwrap().to_str().unwrap(), "ops.x", &payload);
        }
    }
    // Messages of no known shape, each with what makes it odd.
    for file in std::fs::read_dir(format!("{here}/src/samples/others")).unwrap() {
        let path = file.unwrap().path();
        let name = format!("other-{}", path.file_stem().unwrap().to_str().unwrap());
        add(&name, "ops.other.7", &std::fs::read(&path).unwrap());
    }
    let snapshots = format!("{here}/src/render/snapshots");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&snapshots);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (name, sheet) in &sheets {
            insta::assert_snapshot!(name.as_str(), sheet);
        }
    });
    let kept = std::fs::read_dir(&snapshots).unwrap().count();
    assert_eq!(kept, sheets.len(), "a file in {snapshots} is of no message");
}

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
fn a_group_leaves_out_labels_that_only_machines_read_and_empty_links() {
    let member = |host: &str, id: &str| {
        json!({
            "labels": {
                "alertname": "DiskFull", "host": host, "uid": id,
                "rule_uid": "8f14e45f-ceea-467f-a8f5-0242ac130003", "mount": "/var",
            },
            "annotations": { "runbook_url": "https://" },
            "startsAt": "2026-11-23T06:40:00Z",
        })
    };
    let one = member("db-01", "0f1e2d3c-0000-4000-8000-000000000001");
    let group = json!({ "groupKey": "g", "alerts": [one, member("db-02", "0f1e2d3c-0000-4000-8000-000000000002")] });
    let plain = render(&group.to_string()).plain;
    assert!(plain.contains("mount=/var"), "{plain}");
    assert!(!plain.contains("0f1e2d3c") && !plain.contains("8f14e45f"), "{plain}");
    // Nothing else tells these alerts from each other.
    let bare = |id: &str| json!({ "labels": { "alertname": "DiskFull", "uid": id }, "startsAt": "2026-11-23T06:40:00Z" });
    let group = json!({ "groupKey": "g", "alerts": [
        bare("0f1e2d3c-0000-4000-8000-000000000001"), bare("0f1e2d3c-0000-4000-8000-000000000002"),
    ] });
    assert!(render(&group.to_string()).plain.contains("0f1e2d3c"));
    let single = json!({ "groupKey": "g", "alerts": [one] });
    let plain = render(&single.to_string()).plain;
    assert!(plain.contains("8f14e45f") && !plain.contains("runbook"), "{plain}");
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
    assert_eq!(rendered.plain, "pay \u{fffd}evil\u{fffd} now\u{fffd}x\u{fffd}\n📍 ops.x");
}

#[test]
fn objects_show_keys_and_values_in_their_order() {
    let rendered =
        render(r#"{"z":"last","a":{"nested":[1,2.5]},"text":"two\nlines","nothing":null}"#);
    assert_eq!(rendered.plain, "📨 two\n📍 ops.x\n│ lines\nz: last\na.nested: 1, 2.5");
    assert!(
        rendered.html.contains("📨 <strong>two</strong><br>📍 ops.x<blockquote>lines</blockquote>"),
        "{}",
        rendered.html
    );
}

#[test]
fn a_cut_is_made_between_words_and_never_within_a_character() {
    let text = "wörter ".repeat(1_000);
    let rendered = render(&text);
    assert!(rendered.plain.starts_with("wörter wörter"));
    assert!(rendered.plain.contains(
        "wörter …\n📍 ops.x\n🤖 nats-matrix: the whole (7.8 KiB) is in the attached file"
    ));
    assert_eq!(rendered.attachment.unwrap().bytes, text.as_bytes());
    let cut = render_in(&chinese(), "很".repeat(5_000).as_bytes());
    assert!(
        cut.plain.ends_with(" …\n📍 ops.x\n🤖 nats-matrix：完整内容（14.6 KiB）见附件"),
        "{}",
        cut.plain
    );
    let unbroken = "ö".repeat(10_000);
    assert!(render(&unbroken).plain.starts_with(&"ö".repeat(3_400)));
}

/// Whether `html` has no tags and entities other than ours, and no links other than to web pages.
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
        "<pre>",
        "</pre>",
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

/// Reads a message of another program from `src/samples/webhooks`.
fn fixture(name: &str) -> String {
    let path = format!("{}/src/samples/webhooks/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Builds a message of Alertmanager with this number of alerts.
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
    // The state of truncated alerts is unknown.
    let mut truncated = alerts(3, "resolved");
    truncated["truncatedAlerts"] = json!(1);
    assert_eq!(urgency(truncated), Urgency::Notable);
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
        assert!(rendered.content(&[]).to_string().len() < EVENT_LIMIT, "{c}");
    }
}

/// Replaces every text in a message, except those that determine its kind.
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
