//! Templates of the user's own, languages and time zones.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Result;
use nats_matrix_testbed::Event;
use serde_json::json;

use crate::scene::{BINARY, Config, PATIENCE, Scene, read_all};

/// Puts files into a directory of templates beside the configuration, and names it in the last route.
fn with_templates(scene: &Scene, mut config: Config, files: &[(&str, &str)]) -> Result<Config> {
    let directory = scene.dir.path().join("templates");
    std::fs::create_dir(&directory)?;
    for (name, source) in files {
        std::fs::write(directory.join(name), source)?;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(config.routes, "templates = \"{}\"", directory.display());
    Ok(config)
}

#[tokio::test]
async fn a_route_shows_what_its_templates_say() -> Result<()> {
    let scene = Scene::new().await?;
    let files = [
        (
            "report.txt.jinja",
            "{{ tokens[2] }}: {{ disk_percent | percent }} of {{ payload.disk_bytes | size }}, up {{ payload.uptime | duration }}\n\
             {{ headers.Rack }} at {{ payload.at | time('%H:%M', 'Asia/Shanghai') }}, {{ payload.at | time('%H:%M %Z') }}",
        ),
        (
            "report.html.jinja",
            "<h4>{{ tokens[2] }}</h4>{% include '_disk.html.jinja' %}<p>{{ payload.at | time }}</p>",
        ),
        ("_disk.html.jinja", "<p><b>{{ words.disk_usage }}</b> {{ disk_percent | percent }}</p>"),
    ];
    let mut config = with_templates(&scene, scene.config(), &files)?;
    config.routes += "time_zone = \"Europe/Berlin\"\n";
    let mut bridge = scene.start(&config)?;
    bridge.wait_for_log("posting into", PATIENCE).await?;
    let report = json!({ "host": "server-01", "disk_percent": 91.25, "disk_bytes": 3_435_973_837_u64, "uptime": 93_784,
                         "at": "2026-11-23T06:35:51Z" });
    let mut headers = async_nats::HeaderMap::new();
    #[expect(clippy::disallowed_methods, reason = "a text without a line break")]
    headers.insert("Rack", "r3");
    let client = scene.nats.jetstream().await?;
    let subject = "ops.report.server-01";
    client.publish_with_headers(subject, headers, report.to_string().into()).await?.await?;
    // There is no template for alerts.
    let alert = json!({ "severity": "info", "summary": "s", "time": "2026-11-23T06:35:51Z" });
    scene.nats.publish("ops.alert", alert.to_string()).await?;
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 2).await?;
    assert_eq!(events[0].said(), "server-01: 91.2% of 3.2 GiB, up 1 d 2 h\nr3 at 14:35, 07:35 CET");
    assert_eq!(
        events[0].html(),
        "<h4>server-01</h4><p><b>Disk usage</b> 91.2%</p><p>2026-11-23 07:35:51 CET</p>"
    );
    assert_eq!(events[1].body(), "🔵 INFO: s\n📍 (via ops.alert)\n🕒 2026-11-23 07:35:51 CET");
    Ok(())
}

#[tokio::test]
async fn a_template_that_fails_gives_way_and_the_room_learns_why() -> Result<()> {
    let scene = Scene::new().await?;
    let files = [
        ("report.html.jinja", "<b>{{ host }}</b>\n{{ payload.extra.load }}"),
        ("text.txt.jinja", "{% for a in range(payload | int) %}{% endfor %}{{ text }}"),
    ];
    let config = with_templates(&scene, scene.config(), &files)?;
    let mut bridge = scene.start(&config)?;
    for payload in [
        r#"{"host":"a","disk_percent":1}"#,
        r#"{"host":"b","disk_percent":1,"extra":{"load":5}}"#,
        r#"{"host":"c","disk_percent":1}"#,
        "99999",
        "7",
    ] {
        scene.nats.publish("ops.report.x", payload).await?;
    }
    let mut reader = scene.reader().await?;
    let events = read_all(&mut reader, 5).await?;
    let bodies: Vec<&str> = events.iter().map(Event::said).collect();
    let note = "🤖 nats-matrix: report.html.jinja:2: `payload.extra` is undefined; shown with the built-in template";
    assert_eq!(
        bodies[0],
        format!("📊 a Operational Report (via ops.report.x)\n💻 Disk usage: 1%\n{note}")
    );
    assert!(events[0].html().ends_with(&format!("<br>{note}")), "{}", events[0].html());
    assert_eq!(events[1].html(), "<b>b</b> 5");
    assert!(bodies[2].ends_with(note), "{}", bodies[2]);
    assert_eq!(
        bodies[3],
        "99999\n🤖 nats-matrix: text.txt.jinja:1: was stopped, as it runs too long; shown with the built-in template"
    );
    assert_eq!(bodies[4], "7");
    bridge.terminate()?;
    assert_eq!(bridge.wait(PATIENCE).await?, 0);
    let log = bridge.logs();
    assert_eq!(log.lines().filter(|line| line.contains("report.html.jinja:2")).count(), 1, "{log}");
    assert!(log.contains("5 messages posted, 0 flawed, 3 for which a template failed"), "{log}");
    Ok(())
}

#[tokio::test]
async fn templates_do_not_let_anything_out_of_a_payload() -> Result<()> {
    let scene = Scene::new().await?;
    let source = "<a href={{ payload.x }}>a</a> <a href='{{ payload.x }}'>b</a> {{ payload.x }} {{ payload.x | link }}";
    let files = [("object.html.jinja", source)];
    let config = with_templates(&scene, scene.config(), &files)?;
    let _bridge = scene.start(&config)?;
    let evil = [
        "<script>x</script>",
        "javascript:alert(1)",
        "x onclick=alert(1)",
        "'><img src=x onerror=alert(1)>",
        "@room",
    ];
    for evil in evil {
        scene.nats.publish("ops.x", json!({ "x": evil }).to_string()).await?;
    }
    let mut reader = scene.reader().await?;
    for event in read_all(&mut reader, evil.len()).await? {
        for tag in event.html().split('<').skip(1) {
            let tag = tag.split('>').next().unwrap();
            assert!(["a", "/a"].contains(&tag), "{}", event.html());
        }
        assert_eq!(event.content["m.mentions"], json!({}));
        assert!(!event.body().contains("built-in template"), "{}", event.body());
    }
    assert_eq!(scene.alice.unread(&scene.room).await?.highlights, 0);
    Ok(())
}

#[tokio::test]
async fn wrong_templates_are_refused_at_the_start() -> Result<()> {
    let scene = Scene::new().await?;
    let files = [
        ("alert.txt.jinja", "{{ summary }}\n{% if url %}\n{{ url | linkk }}\n{% endif %}"),
        ("alert.html.jinja", "{{ summary }\n"),
    ];
    let config = with_templates(&scene, scene.config(), &files)?;
    let output = scene.run(&config, &["run"])?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{said}");
    let directory = scene.dir.path().join("templates");
    let lines = [
        format!("route reports: {}/alert.html.jinja:1: syntax error", directory.display()),
        format!(
            "route reports: {}/alert.txt.jinja:3: unknown filter \"linkk\"; did you mean \"link\"?",
            directory.display()
        ),
    ];
    for line in &lines {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let output = scene.run(&config, &["check", "--offline"])?;
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stdout)?;
    for line in &lines {
        assert!(said.contains(&format!("FAIL  templates   {line}")), "{said}");
    }
    std::fs::write(directory.join("alert.txt.jinja"), "{{ summary }}")?;
    std::fs::write(directory.join("alert.html.jinja"), "{{ summary }}")?;
    let output = scene.run(&config, &["check", "--offline"])?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{said}");
    let line = format!("ok    templates   route reports: {}: 2 templates", directory.display());
    assert!(said.contains(&line), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_room_is_told_in_its_language_and_time_zone() -> Result<()> {
    let scene = Scene::new().await?;
    let mut config = scene.config();
    config.routes += "language = \"zh\"\ntime_zone = \"Asia/Shanghai\"\n";
    let alert = json!({ "severity": "critical", "source": "db-01", "summary": "磁盘将满", "status": "resolved",
                        "time": "2026-11-23T06:35:51Z", "ended": "2026-11-23T16:47:10Z", "区域": "华东" });
    scene.nats.publish("ops.alert.db-01", alert.to_string()).await?;
    let report =
        json!({ "host": "server-01", "completed": ["数据库备份", "日志清理"], "disk_percent": 14 });
    scene.nats.publish("ops.report.server-01", report.to_string()).await?;
    let push = std::fs::read(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/samples/webhooks/forgejo-push.json"),
    )?;
    scene.nats.publish("ops.forge", push).await?;
    scene.nats.publish("ops.text", vec![0xff, 0xfe]).await?;
    let _bridge = scene.start(&config)?;
    let mut reader = scene.reader().await?;
    // The last one has a file.
    let events = read_all(&mut reader, 5).await?;
    assert_eq!(
        events[0].body(),
        "✅ 已恢复：磁盘将满\n📍 db-01\n🕒 2026-11-23 14:35:51 – 2026-11-24 00:47:10 CST（持续 10 小时 11 分钟）\n区域：华东"
    );
    assert_eq!(
        events[1].body(),
        "📊 server-01 运维报告\n✅ 已完成：数据库备份、日志清理\n💻 磁盘使用率：14%"
    );
    assert!(
        events[1].html().contains("<strong>已完成：</strong>数据库备份、日志清理"),
        "{}",
        events[1].html()
    );
    assert!(
        events[2].body().starts_with("🔨 alice 向 ops/infra main 推送了 3 个提交\n"),
        "{}",
        events[2].body()
    );
    assert!(events[3].body().contains("2 字节 非文本数据"), "{}", events[3].body());
    Ok(())
}

fn preview(arguments: &[&str]) -> Result<(i32, String, String)> {
    preview_in(Path::new("."), arguments)
}

fn preview_in(directory: &Path, arguments: &[&str]) -> Result<(i32, String, String)> {
    let mut command = Command::new(BINARY);
    command.arg("preview").args(arguments).current_dir(directory).stdin(Stdio::null());
    let output = command.output()?;
    let (out, error) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    Ok((output.status.code().unwrap(), out, error))
}

#[test]
fn a_template_can_be_looked_at_before_it_is_relied_upon() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("alert.html.jinja");
    std::fs::write(&file, "<b>{{ tokens[2] }}</b> {{ time | time('%H:%M') }}")?;
    let path = file.to_str().unwrap();
    let zone = ["--template", path, "--sample", "alert", "--time-zone", "Asia/Shanghai"];
    let (code, out, _) = preview(&zone)?;
    assert_eq!(code, 0);
    assert!(out.contains("<b>db-01</b> 14:35\n"), "{out}");
    // By its name alone, beside what is none.
    std::fs::write(directory.path().join("notes.txt"), "not for a room")?;
    let name = ["--template", "alert.html.jinja", "--sample", "alert"];
    let (code, out, error) = preview_in(directory.path(), &name)?;
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("<b>db-01</b> 06:35\n"), "{out}");
    let (_, out, _) = preview(&["--template", path, "--sample", "alert-short"])?;
    assert!(out.contains("Fault:   alert.html.jinja:1: time: None is neither a time"), "{out}");
    std::fs::write(&file, "\n{{ summary | uper }}")?;
    let (code, _, error) = preview(&["--template", path, "--sample", "alert"])?;
    assert_eq!(code, 64);
    let said = format!("{path}:2: unknown filter \"uper\"; did you mean \"upper\"?");
    assert!(error.contains(&said), "{error}");
    let (code, _, error) = preview(&["--time-zone", "Europe/Bern"])?;
    assert_eq!(code, 64);
    assert!(error.contains("\"Europe/Bern\" is not a time zone"), "{error}");
    Ok(())
}

#[test]
fn the_gallery_shows_every_sample_in_either_language() -> Result<()> {
    for (language, words) in [("en", "Operational Report"), ("zh", "运维报告")] {
        let (code, page, _) = preview(&["--gallery", "--format", "html", "--language", language])?;
        assert_eq!(code, 0);
        assert!(page.contains(&format!("<html lang=\"{language}\">")) && page.contains(words));
        for sample in ["report", "alert-resolved", "grafana", "forgejo-push", "object", "broken"] {
            assert!(page.contains(&format!("<h2>{sample}</h2>")), "{sample}");
        }
        assert!(page.matches("<article>").count() > 15, "all of them");
        assert!(!page.contains("<script") && !page.contains("src="), "it needs nothing else");
    }
    Ok(())
}
