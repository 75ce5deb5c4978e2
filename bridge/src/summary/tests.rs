use std::ops::Range;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use crate::{
    config::{AlertScope, Display, Language},
    mask::Mask,
    message::Decoded,
    render::Speakers,
    summary::{lines::numbered, picture, totals::Digest, words::words},
};

const DAY: &str = "2026-11-22T07:00:00Z/2026-11-23T07:00:00Z";

const WEEK: &str = "2026-11-16T07:00:00Z/2026-11-23T07:00:00Z";

fn period(text: &str) -> Range<Timestamp> {
    let (from, until) = text.split_once('/').unwrap();
    from.parse().unwrap()..until.parse().unwrap()
}

fn berlin(language: Language) -> Display {
    Display { language, time_zone: TimeZone::get("Europe/Berlin").unwrap() }
}

/// Returns numbers from 0 to 1 that look random and are always the same.
fn noise(seed: u64, number: u64) -> f64 {
    let mut state =
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state ^= state >> 31;
    state = state.wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from(u32::try_from(state >> 40).unwrap()) / f64::from(1 << 24)
}

struct Fleet {
    digest: Digest,
}

impl Fleet {
    fn of(text: &str) -> Self {
        Self { digest: Digest::new(period(text), AlertScope::default(), Speakers::default()) }
    }

    fn publish(&mut self, at: Timestamp, payload: &str) {
        self.publish_on("ops.x", at, payload);
    }

    fn publish_on(&mut self, subject: &str, at: Timestamp, payload: &str) {
        self.digest.add(at, subject, &Decoded::from_bytes(payload.as_bytes()));
    }

    /// Adds a host that reports every ten minutes, from one share of the period to another.
    fn host(&mut self, name: &str, disk: (f64, f64), memory: (f64, f64), from: f64, to: f64) {
        let Range { start, end } = self.digest.period;
        let length = end.duration_since(start);
        let count = length.as_mins() / 10;
        for number in 0..u64::try_from(count).unwrap() {
            #[expect(clippy::cast_precision_loss, reason = "is small")]
            let share = number as f64 / count as f64;
            if share < from || share > to {
                continue;
            }
            let at = start + jiff::SignedDuration::from_mins(10 * i64::try_from(number).unwrap());
            let seed =
                name.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
            let swing = (share * 14.0 + noise(seed, 0) * 6.0).sin();
            let disk = disk.0 + (disk.1 - disk.0) * share + noise(seed, number) * 0.6;
            let memory = memory.0 + memory.1 * (swing * 0.5 + 0.5) + noise(seed + 1, number) * 2.0;
            self.publish_on(
                &format!("ops.{name}"),
                at,
                &format!(
                    r#"{{"host":"{name}","disk_percent":{disk:.2},"memory_percent":{memory:.2}}}"#
                ),
            );
        }
    }

    fn numbered(&mut self, count: u64, name: impl Fn(u64) -> String) {
        for number in 1..=count {
            let disk = 12.0 + noise(number, 3) * 70.0;
            let memory = 15.0 + noise(number, 4) * 50.0;
            self.host(
                &name(number),
                (disk, disk + noise(number, 5) * 4.0),
                (memory, 22.0),
                0.0,
                1.0,
            );
        }
    }

    fn words(&self, language: Language) -> String {
        words("reports", &self.digest, &numbered(&self.digest), &berlin(language), &Mask::default())
            .plain
    }

    /// Draws the picture, and writes it into `$PICTURES` for people who change how it looks.
    fn draw(&self, file: &str) -> picture::Picture {
        let display = berlin(Language::English);
        let draw =
            |scale| picture::draw("reports", &self.digest, &display, scale).unwrap().unwrap();
        if let Ok(dir) = std::env::var("PICTURES") {
            std::fs::write(format!("{dir}/{file}.png"), draw(1.0).png).unwrap();
            std::fs::write(format!("{dir}/{file}-small.png"), draw(0.5).png).unwrap();
            let words = [self.words(Language::English), self.words(Language::Chinese)].join("\n\n");
            std::fs::write(format!("{dir}/{file}.txt"), words).unwrap();
        }
        draw(1.0)
    }
}

#[test]
fn pictures_of_all_kinds_of_fleets() {
    let mut one = Fleet::of(DAY);
    one.host("server-01", (61.0, 64.0), (30.0, 20.0), 0.0, 1.0);
    let mut twelve = Fleet::of(DAY);
    twelve.numbered(8, |number| format!("server-{number:02}"));
    twelve.host("db-01", (91.0, 96.0), (70.0, 24.0), 0.0, 1.0);
    twelve.host("db-02", (55.0, 83.0), (60.0, 20.0), 0.0, 1.0);
    twelve.host("web-01", (40.0, 41.0), (50.0, 10.0), 0.0, 0.55);
    twelve.host("web-02", (33.0, 34.0), (45.0, 10.0), 0.0, 0.3);
    twelve.host("web-02", (33.0, 34.0), (45.0, 10.0), 0.6, 1.0);
    for alert in [
        r#"{"severity":"critical","summary":"Disk almost full","source":"db-01"}"#,
        r#"{"severity":"warning","summary":"Backup is late","source":"web-02"}"#,
        r#"{"severity":"warning","summary":"Backup is late","source":"web-02","status":"resolved"}"#,
        r#"{"event":"deployed"}"#,
    ] {
        twelve.publish(twelve.digest.period.start, alert);
    }
    let mut forty = Fleet::of(DAY);
    forty.numbered(40, |number| format!("node-{number:02}.rack-3.example.com"));
    let mut week = Fleet::of(WEEK);
    week.numbered(6, |number| format!("server-{number:02}"));
    week.host("db-01", (52.0, 85.0), (60.0, 20.0), 0.0, 1.0);
    let mut names = Fleet::of(DAY);
    names.host(
        "kubernetes-worker-production-eu-central-1-a-0017",
        (71.0, 72.0),
        (40.0, 9.0),
        0.0,
        1.0,
    );
    names.host("数据库-01", (81.0, 82.0), (30.0, 9.0), 0.0, 1.0);
    names.host("сервер-ё", (41.0, 42.0), (20.0, 9.0), 0.0, 1.0);
    let mut point = Fleet::of(DAY);
    point.publish(
        "2026-11-22T15:00:00Z".parse().unwrap(),
        r#"{"host":"server-01","disk_percent":14,"memory_percent":16}"#,
    );
    let mut disks = Fleet::of(DAY);
    disks.publish(
        "2026-11-22T15:00:00Z".parse().unwrap(),
        r#"{"host":"server-01","disk_percent":14}"#,
    );
    disks.publish(
        "2026-11-22T23:00:00Z".parse().unwrap(),
        r#"{"host":"server-01","disk_percent":15}"#,
    );
    for (fleet, file, height) in [
        (one, "one", 1312),
        (twelve, "twelve", 1312),
        (forty, "forty", 1312),
        (week, "week", 1312),
        (names, "names", 1312),
        (point, "point", 1312),
        (disks, "disks", 732),
    ] {
        let drawn = fleet.draw(file);
        let decoder = png::Decoder::new(std::io::Cursor::new(&drawn.png));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (1080, height), "{file}");
        assert_eq!((drawn.width, drawn.height), (1080, height), "{file}");
        assert!(drawn.png.len() < 400_000, "{file}: {} bytes", drawn.png.len());
        let coloured = pixels.chunks(3).filter(|pixel| *pixel == [0xd5, 0x5e, 0x00]).count();
        assert!(coloured > 100, "{file}: the line of the worst host");
    }
}

/// Builds a fleet of one host that reports every ten minutes, with its disk going from `disk.0` to `disk.1`.
fn disk_of_a_day(disk: (f64, f64)) -> Fleet {
    let mut fleet = Fleet::of(DAY);
    fleet.host("a", disk, (10.0, 1.0), 0.0, 1.0);
    fleet
}

#[test]
fn the_words_tell_what_wants_attention_and_nothing_else() {
    let mut fleet = disk_of_a_day((80.0, 84.0));
    fleet.host("b", (93.0, 95.0), (70.0, 24.0), 0.0, 1.0);
    fleet.host("c", (10.0, 10.0), (10.0, 1.0), 0.0, 0.25);
    for number in 0..7 {
        fleet.host(&format!("full-{number}"), (97.0, 97.0), (10.0, 1.0), 0.9, 1.0);
    }
    let words = fleet.words(Language::English);
    let lines: Vec<&str> = words.lines().collect();
    assert_eq!(lines[0], "📈 Summary of reports, Sun 22 Nov 08:00 – Mon 23 Nov 08:00");
    assert_eq!(
        lines[2],
        "💾 Disk almost full: full-0 97%, full-1 97%, full-2 97%, full-3 97%, full-4 97%, and 3 more"
    );
    assert_eq!(lines[3], "⏳ Disk filling up: a 84% (at this rate full in 4 days)");
    assert!(lines[4].starts_with("🧠 Memory almost full at its highest: b 9"), "{words}");
    assert_eq!(lines[5], "🔇 Silent: c since Sun 22 Nov 14:00");
    assert_eq!(lines.len(), 6, "{words}");
}

#[test]
fn a_disk_that_grows_by_noise_alone_is_not_said_to_fill_up() {
    assert_eq!(disk_of_a_day((80.0, 80.2)).digest.filling().len(), 0);
    assert_eq!(disk_of_a_day((84.0, 80.0)).digest.filling().len(), 0);
    // The disk fills too slowly to be recognised within a day.
    assert_eq!(disk_of_a_day((10.0, 12.0)).digest.filling().len(), 0);
}

#[test]
fn alerts_are_unresolved_until_the_same_trouble_is_over() {
    let mut fleet = Fleet::of(DAY);
    let start = fleet.digest.period.start;
    for alert in [
        r#"{"severity":"warning","summary":"Load","fingerprint":"1"}"#,
        r#"{"severity":"critical","summary":"Down","fingerprint":"2"}"#,
        r#"{"severity":"critical","summary":"Load is worse","fingerprint":"1"}"#,
        r#"{"severity":"info","summary":"Deployed"}"#,
        r#"{"severity":"critical","summary":"is up","fingerprint":"2","status":"resolved"}"#,
        r#"{"severity":"odd","summary":"Disk","source":"a","labels":{"mount":"/"}}"#,
        r#"{"severity":"odd","summary":"Disk","source":"a","labels":{"mount":"/home"}}"#,
        r#"{"severity":"odd","summary":"Disk is fine","source":"a","labels":{"mount":"/","severity":"none"},"status":"resolved"}"#,
        r#"{"severity":"info","summary":"Backup works again","source":"b","status":"resolved"}"#,
        r#"{"severity":"critical","summary":"No memory","source":"b"}"#,
        r#"{"severity":"critical","summary":"Backup failed","source":"b"}"#,
        r#"{"severity":"critical","summary":"Backup failed","source":"b","status":"resolved"}"#,
    ] {
        fleet.publish_on("ops.a.b", start, alert);
    }
    let words = fleet.words(Language::English);
    let lines: Vec<&str> = words.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "8 alerts (4 critical, 3 warning, 1 info, 4 resolved)",
            "🔴 Not resolved: No memory (b), Load is worse (via ops.a.b), Disk (a)"
        ]
    );
}

#[test]
fn silence_and_what_is_no_longer_kept_are_said() {
    let mut fleet = Fleet::of(WEEK);
    fleet.digest.last_before = Some("2026-11-13T16:02:00Z".parse().unwrap());
    assert!(
        fleet
            .words(Language::English)
            .ends_with("⚠️ Nothing came in. The last message is of Fri 13 Nov 17:02.")
    );
    assert!(
        fleet
            .words(Language::Chinese)
            .ends_with("⚠️ 没有收到任何消息。最后一条消息的时间：11月13日 17:02。")
    );
    fleet.digest.kept_since = Some("2026-11-20T07:00:00Z".parse().unwrap());
    let words = fleet.words(Language::English);
    assert!(words.ends_with("\nℹ️ The stream has deleted what came in before Fri 20 Nov 08:00."));
}

#[test]
fn names_of_strangers_are_text_of_bounded_length() {
    let mut fleet = Fleet::of(DAY);
    let name = format!("<b>\u{202e}{}", "x".repeat(5_000));
    let report = serde_json::json!({ "host": name, "disk_percent": 99, "memory_percent": -1e300 });
    fleet.publish(fleet.digest.period.start, &report.to_string());
    let rendered = words("r", &fleet.digest, &[], &berlin(Language::English), &Mask::default());
    assert!(rendered.plain.len() < 500 && rendered.html.len() < 600);
    assert!(rendered.html.contains("&lt;b&gt;\u{fffd}xxx"), "{}", rendered.html);
    fleet.draw("strangers");
}

#[test]
fn there_is_an_end_to_the_hosts_that_are_told_apart() {
    let mut fleet = Fleet::of(DAY);
    let start = fleet.digest.period.start;
    for number in 0..1_200 {
        fleet.publish(start, &format!(r#"{{"host":"{number}","disk_percent":1}}"#));
    }
    assert!(fleet.words(Language::English).contains("1,200 reports from 1,000+ hosts"));
}

#[test]
fn only_who_said_it_says_that_it_is_over() {
    let mut fleet = Fleet::of(DAY);
    let at = fleet.digest.period.start;
    let alert = |status: &str| {
        format!(
            r#"{{"severity":"critical","summary":"Disk full","source":"db-01","fingerprint":"f","status":"{status}"}}"#
        )
    };
    fleet.publish_on("ops.alert.db-01", at, &alert("firing"));
    fleet.publish_on("ops.alert.evil", at, &alert("resolved"));
    assert_eq!(fleet.digest.unresolved().len(), 1);
    fleet.publish_on("ops.alert.db-01", at, &alert("resolved"));
    assert_eq!(fleet.digest.unresolved().len(), 0);
    // Two Alertmanagers send the same group, with one alert or more in it.
    let group = |cluster: &str, status: &str, pods: &[&str]| {
        let alert = |pod: &&str| format!(r#"{{"status":"{status}","labels":{{"pod":"{pod}"}}}}"#);
        let alerts: Vec<_> = pods.iter().map(alert).collect();
        format!(
            r#"{{"groupKey":"g","externalURL":"http://{cluster}.example.com","alerts":[{}]}}"#,
            alerts.join(",")
        )
    };
    fleet.publish(at, &group("eu", "firing", &["a", "b"]));
    fleet.publish(at, &group("us", "firing", &["a"]));
    fleet.publish(at, &group("eu", "resolved", &["a"]));
    assert_eq!(fleet.digest.unresolved().len(), 2);
    fleet.publish(at, &group("us", "resolved", &["a"]));
    fleet.publish(at, &group("eu", "resolved", &["b"]));
    assert_eq!(fleet.digest.unresolved().len(), 0);
}

#[test]
fn a_host_that_the_subject_does_not_name_is_another_one_and_told_with_the_subject() {
    let mut fleet = Fleet::of(DAY);
    fleet.host("db-01", (10.0, 10.0), (10.0, 1.0), 0.0, 1.0);
    let start = fleet.digest.period.start;
    for minute in 0..3 {
        let at = start + jiff::SignedDuration::from_mins(minute);
        let report = r#"{"host":"db-01","disk_percent":97,"memory_percent":98}"#;
        fleet.publish_on("ops.q.evil", at, report);
    }
    let alert = r#"{"severity":"critical","summary":"Disk full","source":"db-01"}"#;
    fleet.publish_on("ops.q.evil", start, alert);
    let words = fleet.words(Language::English);
    let lines: Vec<&str> = words.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "147 reports from 2 hosts, 1 alert (1 critical)",
            "💾 Disk almost full: db-01 (via ops.q.evil) 97%",
            "🧠 Memory almost full at its highest: db-01 (via ops.q.evil) 98%",
            "🔇 Silent: db-01 (via ops.q.evil) since Sun 22 Nov 08:02",
            "🔴 Not resolved: Disk full (db-01) (via ops.q.evil)",
            "🔢 In the picture: #2 = db-01 (via ops.q.evil)",
        ]
    );
    let words = fleet.words(Language::Chinese);
    assert!(words.contains("💾 磁盘将满：db-01（经由 ops.q.evil） 97%"), "{words}");
    // If all names come from one subject, the picture shows them.
    let mut fleet = Fleet::of(DAY);
    for host in ["a", "b"] {
        fleet.publish(start, &format!(r#"{{"host":"{host}","disk_percent":97}}"#));
    }
    let words = fleet.words(Language::English);
    assert!(
        words.ends_with("💾 Disk almost full: a (via ops.x) 97%, b (via ops.x) 97%"),
        "{words}"
    );
}

#[test]
fn no_host_and_no_alert_is_taken_for_several() {
    let mut fleet = Fleet::of(DAY);
    let at = fleet.digest.period.start;
    let report = r#"{"host":"evil.x 97%, web-01","disk_percent":97}"#;
    fleet.publish_on("ops.q.evil", at, report);
    for (subject, summary) in [
        ("ops.q.evil", "Disk (db-03), Disk full (db-01)"),
        ("ops.q.db-01", "Backup of db-01 is late"),
    ] {
        let source = subject.trim_start_matches("ops.q.");
        let alert = json!({ "severity": "critical", "summary": summary, "source": source });
        fleet.publish_on(subject, at, &alert.to_string());
    }
    let words = fleet.words(Language::English);
    for line in [
        "💾 Disk almost full: “evil.x 97%, web-01” (via ops.q.evil) 97%",
        "🔴 Not resolved: Backup of db-01 is late (db-01), “Disk (db-03), Disk full (db-01)” (evil)",
    ] {
        assert!(words.lines().any(|it| it == line), "{words}");
    }
    let words = fleet.words(Language::Chinese);
    assert!(words.contains("“Disk (db-03), Disk full (db-01)”（evil）"), "{words}");
}

#[test]
fn what_alerts_leave_to_us_to_say_is_said_in_the_language_of_the_room() {
    let mut fleet = Fleet::of(DAY);
    let monitor =
        r#"{"heartbeat":{"status":0,"msg":"gone"},"monitor":{"id":1,"name":"Forgejo"},"msg":"m"}"#;
    fleet.publish(fleet.digest.period.start, monitor);
    let words = fleet.words(Language::English);
    assert!(words.ends_with("🔴 Not resolved: Forgejo is down (via ops.x)"), "{words}");
    let words = fleet.words(Language::Chinese);
    assert!(words.ends_with("🔴 未恢复：Forgejo 不可用（经由 ops.x）"), "{words}");
}

#[test]
fn hosts_and_alerts_that_are_made_up_do_not_crowd_out_those_that_subjects_name() {
    let mut fleet = Fleet::of(DAY);
    let start = fleet.digest.period.start;
    for number in 0..1_200 {
        let report = format!(r#"{{"host":"made-up-{number}","disk_percent":100}}"#);
        fleet.publish_on("ops.q.evil", start, &report);
        let alert = format!(r#"{{"severity":"critical","summary":"{number}","source":"db-01"}}"#);
        fleet.publish_on("ops.q.evil", start, &alert);
    }
    fleet.publish_on("ops.q.db-01", start, r#"{"host":"db-01","disk_percent":97}"#);
    let alert = r#"{"severity":"critical","summary":"Disk full","source":"db-01"}"#;
    fleet.publish_on("ops.q.db-01", start, alert);
    let words = fleet.words(Language::English);
    assert!(words.contains("1,201 reports from 1,000+ hosts"), "{words}");
    assert!(words.contains("💾 Disk almost full: db-01 97%, made-up-"), "{words}");
    assert!(
        words.contains("🔴 Not resolved: Disk full (db-01), 0 (db-01) (via ops.q.evil)"),
        "{words}"
    );
    assert!(!words.contains("#1 = "), "{words}");
}
