//! Tests against publishers who want their text to be mistaken for the bridge's, or for that of another machine.

#[path = "../../../fuzz/src/sound.rs"]
mod sound;

use std::{collections::BTreeSet, sync::LazyLock};

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use self::sound::{Markup, assert_sound};
use super::*;
use crate::{
    config::{Display, Language},
    message::{Decoded, Kind, Position, Urgency},
    render::{
        digest_entries::{Entry, Piece, pieces},
        markup,
    },
};

/// The renderers are made once, as in the bridge.
static RENDERERS: LazyLock<[Renderer; 2]> = LazyLock::new(|| {
    [Language::English, Language::Chinese]
        .map(|language| Renderer::new(&Display { language, ..Display::default() }))
});

fn show(subject: &str, payload: &[u8], language: Language) -> Rendered {
    show_with(&RENDERERS[usize::from(language == Language::Chinese)], subject, payload)
}

fn show_with(renderer: &Renderer, subject: &str, payload: &[u8]) -> Rendered {
    renderer.render(&Incoming {
        subject,
        headers: None,
        stream: "OPS",
        sequence: 1,
        published: Timestamp::UNIX_EPOCH,
        route: "all",
        decoded: &Decoded::from_bytes(payload),
        original: &Bytes::copy_from_slice(payload),
    })
}

fn plain(subject: &str, payload: &Json) -> String {
    show(subject, payload.to_string().as_bytes(), Language::English).plain
}

#[test]
fn a_source_that_the_subject_does_not_name_is_told_with_the_subject() {
    let alert = |source: &str| json!({ "severity": "info", "summary": "s", "source": source });
    let evil = "ops.alert.evil";
    assert_eq!(plain("ops.alert.db-01", &alert("db-01:9100")), "🔵 INFO: s\n📍 db-01:9100");
    assert_eq!(plain(evil, &alert("db-01")), "🔵 INFO: s\n📍 db-01 (via ops.alert.evil)");
    let forged = plain(evil, &alert("db-01 (via ops.alert.db-01)"));
    assert!(forged.ends_with(" (via ops.alert.evil)"), "{forged}");
    // The subject is shown however long the name is.
    let long = plain(evil, &alert(&format!("db-01 {}", "x".repeat(5_000))));
    assert!(long.ends_with(" … (via ops.alert.evil)"), "{long}");
    let endless = format!("ops.alert.evil.{}", "x".repeat(500));
    assert!(plain(&endless, &alert("db-01")).contains("📍 db-01 (via ops.alert.evil.xxx"));
    let html = show(evil, alert("db-01").to_string().as_bytes(), Language::Chinese).html;
    assert!(html.ends_with("📍 db-01<em>（经由 ops.alert.evil）</em>"), "{html}");
    let report = json!({ "host": "db-01", "disk_percent": 1 });
    assert!(plain("ops.report.evil", &report).starts_with("📊 db-01 Operational Report (via ops."));
    assert!(!plain("ops.report.db-01", &report).contains("via"));
    // A group shows the subject once, however many alerts it has.
    let member = |source: &str| json!({ "labels": { "alertname": "x", "instance": source } });
    let group = json!({ "groupKey": "g", "alerts": [member("a:1"), member("b:1"), member("c:1")] });
    assert_eq!(plain("ops.alertmanager", &group).matches("(via ops.alertmanager)").count(), 1);
    let event = json!({ "specversion": "1.0", "type": "t", "source": "/db-01", "id": "1" });
    assert!(plain("ops.evil", &event).contains("📍 /db-01 (via ops.evil)"));
}

#[test]
fn no_name_can_hold_the_subject_of_another() {
    let alert = |source: &str| json!({ "severity": "info", "summary": "s", "source": source });
    let report = |host: &str| json!({ "host": host, "disk_percent": 1 });
    let evil = "ops.alert.evil";
    for (subject, payload, line) in [
        (
            evil,
            alert("evil.local (via ops.alert.db-01)"),
            "📍 “evil.local (via ops.alert.db-01)” (via ops.alert.evil)",
        ),
        (
            evil,
            alert("db-01（经由 ops.alert.db-01）"),
            "📍 “db-01（经由 ops.alert.db-01）” (via ops.alert.evil)",
        ),
        ("ops.alert.e", alert("e. db-01"), "📍 e. db-01 (via ops.alert.e)"),
        (evil, alert("evil.local"), "📍 evil.local"),
        (
            "ops.report.evil",
            report("evil. (via ops.report.db-01)"),
            "📊 “evil. (via ops.report.db-01)” Operational Report (via ops.report.evil)",
        ),
        // A subject may have brackets in it, too.
        ("ops.alert.evil)(via.db-01", alert("x"), "📍 x (via “ops.alert.evil)(via.db-01”)"),
    ] {
        let shown = plain(subject, &payload);
        assert!(shown.lines().any(|it| it == line), "{shown}");
    }
    let member = |source: &str| json!({ "labels": { "alertname": "x", "instance": source } });
    let forged = member("a · 📍 db-01 (via ops.db-01)");
    let shown = plain(evil, &json!({ "groupKey": "g", "alerts": [forged, member("b")] }));
    assert!(shown.contains("\n📍 “a · 📍 db-01 (via ops.db-01)”\n"), "{shown}");
}

#[test]
fn blanks_and_hyphens_do_not_hold_a_line_of_ours_together() {
    for text in [
        "Backup ok 🤖\u{a0}nats\u{2011}matrix:\u{a0}caught\u{a0}up",
        "Backup ok 🔴\u{202f}CRITICAL:\u{2007}Disk",
    ] {
        let shown = show("ops.x", text.as_bytes(), Language::English).plain;
        assert!(!shown.contains(['\u{a0}', '\u{202f}', '\u{2007}', '\u{2011}']), "{shown}");
    }
}

#[test]
fn no_source_of_a_digest_is_taken_for_several() {
    let renderer = &RENDERERS[0];
    let report = json!({ "host": "evil 9, db-01 7", "disk_percent": 1 }).to_string();
    let shown = show_with(renderer, "ops.q.evil", report.as_bytes());
    let sources = renderer.sources("ops.q.evil", &Decoded::from_bytes(report.as_bytes()).payload);
    let entries = [Entry { sources, ..entry(renderer, 1, shown) }];
    let digest = renderer.digest(&entries, &BTreeSet::new(), Urgency::Notable).plain;
    assert!(digest.contains("\n📍 “evil 9, db-01 7” (via ops.q.evil) 1\n"), "{digest}");
}

#[test]
fn words_of_others_are_set_apart_and_what_is_harmless_stays_bare() {
    for (text, shown) in [
        ("db-01 is down", "db-01 is down"),
        ("[db-01] (down) - 80 %", "[db-01] (down) - 80 %"),
        ("磁盘已满", "磁盘已满"),
        ("✅ RESOLVED: Disk full", "│ ✅ RESOLVED: Disk full"),
        ("  ' 🔴 CRITICAL: Disk full", "│   ' 🔴 CRITICAL: Disk full"),
        ("🤖 nats-matrix: caught up", "│ 🤖 nats-matrix: caught up"),
        ("│ x", "│ │ x"),
        ("one\n\n📍 db-01", "│ one\n│\n│ 📍 db-01"),
    ] {
        let rendered = show("ops.x", text.as_bytes(), Language::English);
        assert_eq!(rendered.plain, format!("{shown}\n📍 ops.x"));
        assert_eq!(rendered.html.starts_with("<blockquote>"), shown.starts_with('│'), "{text}");
    }
    let alert = json!({ "severity": "critical", "summary": "s", "description": "a\n📍 db-01",
                        "url": "https://a.example", "📍 db-02": "x", "log": "one\n🔗 two" });
    let rendered = show("ops.x", alert.to_string().as_bytes(), Language::English);
    assert_eq!(
        rendered.plain,
        "🔴 CRITICAL: s\n📍 (via ops.x)\n│ a\n│ 📍 db-01\n│ 📍 db-02: x\nlog: one\n│ 🔗 two\n🔗 https://a.example"
    );
    assert_eq!(
        rendered.html,
        "🔴 <strong>CRITICAL: s</strong><br>📍 <em>(via ops.x)</em><blockquote>a<br>📍 db-01</blockquote>\
         <strong>│ 📍 db-02:</strong> x<br><strong>log:</strong> one<blockquote>🔗 two</blockquote>\
         🔗 <a href=\"https:&#x2f;&#x2f;a.example&#x2f;\">a.example</a>"
    );
}

#[test]
fn no_event_note_or_alert_is_taken_for_one_of_another_subject() {
    let event = |source: &str, about: Json| {
        json!({ "specversion": "1.0", "id": "1", "type": "ops.alert.db-01", "source": source,
                "subject": about, "data": { "disk": "failed" } })
    };
    let evil = "ops.alert.evil";
    let shown = show(evil, event("ops", Json::Null).to_string().as_bytes(), Language::English);
    assert_eq!(shown.plain, "☁️ ops.alert.db-01\n📍 ops (via ops.alert.evil)\ndisk: failed");
    assert_eq!(
        shown.html,
        "☁️ <strong>ops.alert.db-01</strong><br>📍 ops <em>(via ops.alert.evil)</em>\
         <br><strong>disk:</strong> failed"
    );
    // The subject names the source, but not the thing that the event is about.
    let shown = plain(evil, &event("evil", json!("db-01")));
    assert!(shown.contains("\n📍 evil db-01 (via ops.alert.evil)\n"), "{shown}");
    let object = plain("ops.alert.db-01", &json!({ "disk": "failed" }));
    assert_eq!(object, "📨 ops.alert.db-01\ndisk: failed");
    let push = json!({ "ref": "refs/heads/main", "repository": { "full_name": "ops/infra" },
                       "pusher": { "login": "alice" },
                       "commits": [{ "id": "bffeb74", "message": "m", "author": { "login": "alice" } }] });
    let pushed = "🔨 alice pushed 1 commit to ops/infra main\n│ bffeb74 m";
    assert_eq!(plain("ops.evil", &push), format!("{pushed}\n📍 (via ops.evil)"));
    let html = show("ops.evil", push.to_string().as_bytes(), Language::English).html;
    assert!(html.ends_with("</blockquote>📍 <em>(via ops.evil)</em>"), "{html}");
    for subject in ["forge.ops.infra", "forge.ops-infra"] {
        assert_eq!(plain(subject, &push), pushed);
    }
    let monitor = json!({ "heartbeat": { "status": 0, "msg": "gone" },
                          "monitor": { "name": "db-01" }, "msg": "[db-01] [Down] gone" });
    let shown = plain(evil, &monitor);
    assert!(shown.starts_with("🔴 CRITICAL: db-01 is down\n📍 (via ops.alert.evil)\n"), "{shown}");
    let group = json!({ "groupKey": "g", "alerts": [{ "labels": { "alertname": "a" } },
                                                    { "labels": { "alertname": "b" } }] });
    assert!(plain(evil, &group).contains(") (via ops.alert.evil)\n"), "{}", plain(evil, &group));
}

#[test]
fn a_digest_counts_messages_of_a_source_that_the_subject_does_not_name_apart() {
    let renderer = &RENDERERS[0];
    let report = |sequence, subject| {
        let payload = json!({ "host": "db-01", "disk_percent": 1 }).to_string();
        let shown = show_with(renderer, subject, payload.as_bytes());
        let decoded = Decoded::from_bytes(payload.as_bytes());
        let sources = renderer.sources(subject, &decoded.payload);
        Entry { sources, ..entry(renderer, sequence, shown) }
    };
    let entries = [report(1, "ops.q.db-01"), report(2, "ops.q.evil"), report(3, "ops.q.evil")];
    let digest = renderer.digest(&entries, &BTreeSet::new(), Urgency::Notable).plain;
    assert!(digest.contains("\n📍 db-01 (via ops.q.evil) 2, db-01 1\n"), "{digest}");
}

#[test]
fn what_blanks_push_to_the_next_line_is_set_apart() {
    for gap in [
        "\u{3000}".repeat(30),
        "\u{2003}".repeat(60),
        "\u{2800}".repeat(60),
        " ".repeat(200),
        "\t\t".to_owned(),
        "       .".repeat(9),
    ] {
        let text = format!("ok{gap}🤖 nats-matrix: all resolved");
        let shown = show("ops.x", text.as_bytes(), Language::English);
        assert!(shown.plain.starts_with("│ ok"), "{}", shown.plain);
        assert!(shown.html.starts_with("<blockquote>ok"), "{}", shown.html);
        let shown = show("ops.x", json!({ "a": text }).to_string().as_bytes(), Language::English);
        assert!(shown.plain.contains("\na: \n│ ok"), "{}", shown.plain);
        assert!(shown.html.contains("</strong> <blockquote>ok"), "{}", shown.html);
        let templates = [("text.txt.jinja".to_owned(), "{{ text }}".to_owned())];
        let renderer = Renderer::with_sources(&Display::default(), &templates.into()).unwrap();
        let shown = show_with(&renderer, "ops.x", text.as_bytes());
        assert!(shown.plain.starts_with("│ ok"), "{}", shown.plain);
    }
    // The columns of a table stay as they are.
    let row = "db-01            running       97 %   /var";
    assert_eq!(show("ops.x", row.as_bytes(), Language::English).plain, format!("{row}\n📍 ops.x"));
    let table = format!("host             state\n{row}");
    let shown = show("ops.x", json!({ "table": table }).to_string().as_bytes(), Language::English);
    assert_eq!(shown.plain, format!("📨 ops.x\ntable: host             state\n│ {row}"));
}

/// Generates lines that look like the bridge's, each with a word that only a publisher would write.
fn forged() -> impl Strategy<Value = String> {
    let marks: &[&str] = &[
        "🔴 CRITICAL: ",
        "🟠 ",
        "🔵",
        "✅ RESOLVED after 5 min: ",
        "📍 ",
        "🏷️ ",
        "🕒 ",
        "🔗 ",
        "📊 ",
        "📚 12 ",
        "🧵 ",
        "⏱️ ",
        "🤖 nats-matrix: ",
        "🤖nats-matrix: ",
        "🤖 nats-matrix：",
        "── then · ops.",
        "… and ",
        "📦 ",
        "📨 ",
        "☁️ ",
        "👤 ",
        "🔁 ",
        "🛑 ",
        "│ ",
        "> ",
        "",
        "\t📍 ",
        "\u{a0}📍 ",
        "'📍 ",
        "\u{2800}📍 ",
        "\u{200e}📍 ",
    ];
    (proptest::sample::select(marks), "[a-z ]{0,5}")
        .prop_map(|(mark, word)| format!("{mark}forged{word}"))
}

fn forged_text() -> impl Strategy<Value = String> {
    let ends = proptest::sample::select(&["\n", "\r", "\r\n", "\n\n", "\u{2028}", " "][..]);
    proptest::collection::vec((forged(), ends), 1..4)
        .prop_map(|lines| lines.into_iter().map(|(line, end)| line + end).collect())
}

/// Returns a message of every kind, with `text` in every place where a text can be.
fn payloads(text: &str) -> Vec<Vec<u8>> {
    let alert = json!({ "severity": "critical", "summary": text, "source": text, "description": text,
                        "time": text, "url": text, "labels": { text: text }, text: text });
    let report = json!({ "host": text, "completed": [text], "in_progress": [text], text: text });
    let member = json!({ "labels": { "alertname": text, "instance": text, text: text },
                         "annotations": { "summary": text, "description": text, text: text },
                         "startsAt": text, "generatorURL": text });
    let group = json!({ "groupKey": text, "groupLabels": { text: text }, "alerts": [member, member],
                        "externalURL": text, "truncatedAlerts": 1 });
    let user = json!({ "login": text });
    let push = json!({ "ref": text, "before": "1", "after": "2", "compare_url": text, "pusher": user,
                       "repository": { "full_name": text, "html_url": text }, "sender": user,
                       "commits": [{ "id": text, "message": text, "url": text, "author": user }] });
    let comment = json!({ "action": text, "repository": { "full_name": text }, "sender": user,
                          "issue": { "number": 1, "title": text, "html_url": text },
                          "comment": { "body": text, "html_url": text } });
    let event =
        json!({ "specversion": "1.0", "id": "1", "type": text, "source": text, "data": text });
    let rows = json!({ text: text, "nested": { text: [text] } });
    let flawed = json!({ "kind": "report", "host": [text], text: text });
    let messages = [alert, report, group, push, comment, event, rows, flawed];
    let bytes = messages.iter().map(|message| message.to_string().into_bytes());
    bytes.chain([text.as_bytes().to_vec(), [text.as_bytes(), &[0xff]].concat()]).collect()
}

/// Finds a line that comes from a publisher from its beginning on, and is not in a quote.
fn taken_for_ours(text: &str) -> Option<&str> {
    let marks: &[&str] = &[
        "🔴 CRITICAL: ",
        "✅ RESOLVED after 5 min: ",
        "📚 12 ",
        "🧵 ",
        "⏱️ ",
        "🤖",
        "── then · ops.",
        "… and ",
        "🛑",
        "🔵",
    ];
    text.lines().map(str::trim_start).find(|line| {
        marks.iter().any(|mark| {
            let rest = line.strip_prefix(mark).map(|rest| rest.trim_start_matches('\u{fe0f}'));
            let rest = rest.map(|rest| rest.trim_start().trim_start_matches("nats-matrix"));
            rest.is_some_and(|rest| rest.trim_start_matches([':', '：', ' ']).starts_with("forged"))
        })
    })
}

fn entry(by: &Renderer, sequence: u64, rendered: Rendered) -> Entry {
    let at = Timestamp::UNIX_EPOCH;
    let (head, kind) = (by.head(at, "ops.evil"), Kind::Other);
    Entry {
        sequence,
        published: at,
        said: at,
        subject: "ops.evil".to_owned(),
        head,
        rendered,
        kind,
        sources: Vec::new(),
        updates: Vec::new(),
    }
}

/// Returns the subjects of the alerts that a digest shows in full, in this order.
fn worst_of(alerts: &[(&str, &str)]) -> Vec<String> {
    let renderer = &RENDERERS[0];
    let mut entries: Vec<Entry> = Vec::new();
    for ((subject, severity), sequence) in alerts.iter().zip(1..) {
        let payload = json!({ "severity": severity, "summary": subject }).to_string();
        let kind = Kind::of(&Decoded::from_bytes(payload.as_bytes()).payload);
        let shown = show_with(renderer, subject, payload.as_bytes());
        let subject = (*subject).to_owned();
        entries.push(Entry { subject, kind, ..entry(renderer, sequence, shown) });
    }
    // The newest message is shown, too, so this is one that is no alert.
    entries.push(entry(renderer, 1_000, show_with(renderer, "ops.end", b"the end")));
    let heard = alerts.iter().map(|(subject, _)| (*subject).to_owned()).collect();
    let digest = renderer.digest(&entries, &heard, Urgency::Critical).plain;
    let lines = digest.lines().filter_map(|line| {
        let said = line.strip_prefix("🔴 CRITICAL: ").or_else(|| line.strip_prefix("🟠 WARNING: "));
        said.map(str::to_owned)
    });
    lines.collect()
}

#[test]
fn one_publisher_does_not_take_all_places_of_the_worst_with_subjects_that_it_invents() {
    let critical = |subject| (subject, "critical");
    let invented = ["ops.alert.evil.a", "ops.alert.evil.b", "ops.alert.evil.c"].map(critical);
    let of = |honest: &[(&'static str, &'static str)]| worst_of(&[honest, &invented].concat());
    // An equally bad alert comes before the second one of the same publisher, however new that is.
    assert_eq!(
        of(&[critical("ops.alert.db-01"), critical("ops.alert.web.disk")]),
        ["ops.alert.evil.c", "ops.alert.web.disk", "ops.alert.db-01"]
    );
    // A less severe alert takes the last place, and no other.
    assert_eq!(
        of(&[("ops.alert.web", "warning"), ("ops.alert.db-01", "warning")]),
        ["ops.alert.evil.c", "ops.alert.evil.b", "ops.alert.db-01"]
    );
    assert_eq!(
        of(&[critical("ops.alert.web"), ("ops.alert.db-01", "warning")]),
        ["ops.alert.evil.c", "ops.alert.web", "ops.alert.evil.b"]
    );
    // Without others all are shown.
    assert_eq!(of(&[]), ["ops.alert.evil.c", "ops.alert.evil.b", "ops.alert.evil.a"]);
    let same = ["ops.alert.db-01"; 3].map(critical);
    assert_eq!(worst_of(&same), same.map(|(subject, _)| subject));
}

proptest! {
    // There are few cases, because each of them is many messages.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_line_of_others_looks_like_one_of_ours(text in forged_text()) {
        for language in [Language::English, Language::Chinese] {
            for payload in payloads(&text) {
                let shown = show("ops.evil", &payload, language);
                let title = format!("🔴 CRITICAL: {}", crate::text::line(&text));
                let rest = shown.plain.strip_prefix(&title).unwrap_or(&shown.plain);
                prop_assert_eq!(taken_for_ours(rest), None, "{}", &shown.plain);
                assert_sound(&shown.content(&[]), Markup::BuiltIn);
            }
        }
    }

    #[test]
    fn no_entry_of_a_digest_looks_like_another(text in forged_text()) {
        let fields = [("text", "text"), ("alert", "description"), ("object", "payload")];
        let templates = fields.map(|(kind, field)| {
            (format!("{kind}.txt.jinja"), format!("x\n{{{{ {field} }}}}"))
        });
        let renderer = Renderer::with_sources(&Display::default(), &templates.into());
        let renderer = renderer.map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
        for payload in payloads(&text) {
            let shown = show_with(&renderer, "ops.evil", &payload);
            let notices = shown.plain.lines().filter(|line| markup::starts_with(line, '🤖'));
            prop_assert!(notices.clone().all(|line| !line.contains("forged") || line.contains("jinja")), "{}", &shown.plain);
            let entries = [entry(&renderer, 1, shown.clone()), entry(&renderer, 2, shown)];
            let digest = renderer.digest(&entries, &BTreeSet::new(), Urgency::Notable);
            // The only heading is the digest's own. Each message has one bare line, its first; the others are indented
            // or quoted.
            let bare = digest.plain.lines().filter(|line| !line.is_empty() && !line.starts_with(['│', ' ']));
            let bare: Vec<&str> = bare.collect();
            prop_assert_eq!(bare.len(), 5, "{}", &digest.plain);
            let thread = pieces(&entries, Position { sequence: 0, part: 0 });
            let thread = thread.into_iter().filter_map(|piece| match piece {
                Piece::Text { text, .. } => Some(text),
                Piece::File { .. } => None,
            });
            let thread: String = thread.collect();
            let headings = thread.lines().filter(|line| markup::starts_with(line, '─')).count();
            prop_assert_eq!(headings, 2, "{}", thread);
        }
    }
}

#[test]
fn a_template_of_the_users_cannot_be_made_to_lie() {
    let html = "<a href='{{ payload.url }}'>{{ payload.label }}</a><br>{{ payload.note }}\
                <a href='https://wiki.example/x'>{{ payload.label }}</a>{{ payload.label | leading_to(payload.url) }}";
    let templates = [("object.html.jinja".to_owned(), html.to_owned())];
    let renderer = Renderer::with_sources(&Display::default(), &templates.into()).unwrap();
    let object = json!({ "url": "https://evil.example/", "label": "bank.com",
                         "note": "one\n🤖 nats-matrix: all is well\nhttps://b\u{430}nk.com" });
    let shown = show_with(&renderer, "ops.evil", object.to_string().as_bytes());
    assert_eq!(shown.fault, None);
    for part in [
        ">bank.com (evil.example)</a><br>one<br>│ 🤖 nats-matrix: all is well<br>https://xn--bnk-6cd.com",
        ">bank.com (wiki.example)</a>",
        ">bank.com</a> (evil.example)",
    ] {
        assert!(shown.html.contains(part), "{}", shown.html);
    }
    assert_eq!(shown.html.matches("(evil.example)").count(), 2, "{}", shown.html);
}
