use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    config::{Display, Language},
    message::Decoded,
    nats::headers,
    render::{
        content::{MAX_TEXT_CHARS, Rendered},
        incoming::Incoming,
        renderer::Renderer,
    },
};

/// Creates a directory with these files.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, source) in files {
        std::fs::write(directory.path().join(name), source).unwrap();
    }
    directory
}

fn load(path: &Path) -> Result<Renderer, String> {
    let faults = match Renderer::with_templates(&Display::default(), path) {
        Err(faults) => faults,
        Ok(renderer) => match renderer.try_samples("ops.x.node-1", "all") {
            faults if faults.is_empty() => return Ok(renderer),
            faults => faults,
        },
    };
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let directory = if path.is_dir() { path } else { path.parent().unwrap() };
    Err(lines.join("\n").replace(&format!("{}/", directory.display()), ""))
}

fn refused(files: &[(&str, &str)]) -> String {
    load(directory(files).path()).err().unwrap_or_else(|| panic!("{files:?} are taken"))
}

fn accepted(files: &[(&str, &str)]) -> Renderer {
    load(directory(files).path()).unwrap_or_else(|fault| panic!("{fault}"))
}

fn show(renderer: &Renderer, payload: &str) -> Rendered {
    let mut headers = async_nats::HeaderMap::new();
    for place in ["prod", "eu"] {
        headers::add(&mut headers, &"Env".parse().unwrap(), &place.parse().unwrap());
    }
    renderer.render(&Incoming {
        subject: "ops.report.server-01",
        headers: Some(&headers),
        stream: "OPS",
        sequence: 7,
        published: Timestamp::UNIX_EPOCH,
        route: "reports",
        decoded: &Decoded::from_bytes(payload.as_bytes()),
        original: &Bytes::copy_from_slice(payload.as_bytes()),
    })
}

const REPORT: &str =
    r#"{"host":"a<b>","disk_percent":91.25,"took":3725,"used":3435973837,"note":"one\ntwo"}"#;

#[test]
fn a_template_sees_the_message_and_all_that_came_with_it() {
    let renderer = accepted(&[
        (
            "report.txt.jinja",
            "{{ host }} ({{ tokens[2] }}) {{ disk_percent | percent }}\n\
             {{ payload.took | duration }} {{ payload.used | size }} {{ headers.Env }}\n\
             {{ subject }} {{ stream }} {{ sequence }} {{ route }} {{ kind }} {{ published | time('%Y') }}\n\
             {% for name, value in rows %}\n{{ name }}={{ value }}\n{% endfor %}\n",
        ),
        (
            "report.html.jinja",
            "<b>{{ host }}</b>\n<i>{{ payload.note }}</i>{% include '_end.html.jinja' %}",
        ),
        ("_end.html.jinja", "<hr>{{ words.disk_usage }}"),
    ]);
    assert_eq!(renderer.templates(), 2);
    let shown = show(&renderer, REPORT);
    assert_eq!(shown.fault, None);
    assert_eq!(
        shown.plain,
        "a<b> (server-01) 91.2%\n1 h 2 min 3.2 GiB prod, eu\n\
         ops.report.server-01 OPS 7 reports report 1970\n\
         took=3725\nused=3435973837\nnote=one\ntwo"
    );
    assert_eq!(shown.html, "<b>a&lt;b&gt;</b> <i>one<br>two</i><hr>Disk usage");
}

#[test]
fn one_of_a_pair_is_enough() {
    let shown = show(&accepted(&[("report.txt.jinja", "{{ host }}\nis here")]), REPORT);
    assert_eq!(
        (shown.plain.as_str(), shown.html.as_str()),
        ("a<b>\nis here", "a&lt;b&gt;<br>is here")
    );
    let shown = show(&accepted(&[("report.html.jinja", "<em>{{ host }}</em>")]), REPORT);
    assert!(
        shown.plain.starts_with("📊 a<b> Operational Report (via ops.report.server-01)\n"),
        "{}",
        shown.plain
    );
    assert_eq!(shown.html, "<em>a&lt;b&gt;</em>");
    // A message of a kind without an own template is shown with the built-in one.
    let shown = show(&accepted(&[("alert.txt.jinja", "{{ summary }}")]), REPORT);
    assert!(shown.html.starts_with("📊 <strong>a&lt;b&gt;</strong>"), "{}", shown.html);
}

#[test]
fn built_in_templates_can_be_included_and_any_kind_replaced() {
    let kinds = ["report", "alert", "alerts", "note", "event", "object"];
    let files: Vec<(String, String)> = kinds
        .iter()
        .flat_map(|kind| ["txt", "html"].map(|form| (*kind, form)))
        .map(|(kind, form)| {
            (format!("{kind}.{form}.jinja"), format!("{{% include 'builtin/{kind}.{form}' %}}"))
        })
        .chain([("text.html.jinja".to_owned(), "<pre>{{ text }}</pre>".to_owned())])
        .collect();
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, source)| (name.as_str(), source.as_str())).collect();
    let (own, builtin) = (accepted(&files), Renderer::new(&Display::default()));
    for sample in crate::samples::SAMPLES.iter().filter(|it| !["text", "broken"].contains(&it.name))
    {
        let payload = std::str::from_utf8(sample.payload).unwrap();
        assert_eq!(show(&own, payload).plain, show(&builtin, payload).plain, "{}", sample.name);
        assert_eq!(show(&own, payload).fault, None, "{}", sample.name);
    }
    assert_eq!(show(&own, "a\n<b>").html, "<pre>a<br>&lt;b&gt;</pre>");
}

#[test]
fn what_is_wrong_for_every_message_is_refused_with_file_and_line() {
    for (name, source, said) in [
        (
            "report.txt.jinja",
            "{{ host }}\n{{ 1 | sizee }}",
            "report.txt.jinja:2: unknown filter \"sizee\"; did you mean \"size\"?",
        ),
        // No sample leads to this line.
        (
            "report.txt.jinja",
            "{% if host == 'x' %}\n\n{{ 1 | sizee }}{% endif %}{{ host }}",
            "report.txt.jinja:3: unknown filter",
        ),
        (
            "alert.html.jinja",
            "{% block a %}\n{{ 1 | nofilter }}{% endblock %}",
            "alert.html.jinja:2: unknown filter \"nofilter\"",
        ),
        (
            "alert.html.jinja",
            "\n{{ summry }}",
            "alert.html.jinja:2: unknown name \"summry\"; did you mean \"summary\"?",
        ),
        ("report.txt.jinja", "{{ summary }}", "report.txt.jinja:1: unknown name \"summary\""),
        ("note.txt.jinja", "{{ frobnicate(1) }}", "note.txt.jinja:1: unknown name \"frobnicate\""),
        ("note.txt.jinja", "{{ headline is frob }}", "note.txt.jinja:1: unknown test \"frob\""),
        ("note.txt.jinja", "{{ headline.txt }}", "note.txt.jinja:1: `headline.txt` is undefined"),
        ("text.txt.jinja", "a\nb {% if %}", "text.txt.jinja:2: syntax error"),
        ("text.txt.jinja", "{{ text", "text.txt.jinja:1: syntax error"),
        (
            "text.txt.jinja",
            "{% include 'other.jinja' %}",
            "text.txt.jinja:1: there is no template \"other.jinja\"",
        ),
        (
            "text.txt.jinja",
            "{% if false %}{% include '../../../etc/passwd' %}{% endif %}{{ text }}",
            "there is no template",
        ),
        ("text.txt.jinja", "{% extends '/etc/passwd' %}", "there is no template \"/etc/passwd\""),
        (
            "alert.txt.jinja",
            "{{ summary }}\n{{ time | time('%H:%M') }}",
            "alert.txt.jinja:2: time: None is neither a time",
        ),
        ("alert.txt.jinja", "{{ summary | time }}", "(tried with the sample alert)"),
        (
            "alert.txt.jinja",
            "{% if time %}{{ time | time('%H:%M', 'Europe/Bern') }}{% endif %}{{ summary }}",
            "\"Europe/Bern\" is not a time zone",
        ),
        (
            "alert.txt.jinja",
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "alert.txt.jinja:1: was stopped, as it runs too long",
        ),
        (
            "alert.txt.jinja",
            "{{ range(1000) | join('0123456789' * 1000) }}",
            "alert.txt.jinja: was stopped, as it writes too much",
        ),
        ("alert.txt.jinja", "{{ '' }}", "alert.txt.jinja: makes an empty text"),
        ("text.html.jinja", "a\n{{ text | safe }}", "text.html.jinja:2: unknown filter \"safe\""),
        (
            "text.html.jinja",
            "{% autoescape false %}{{ text }}{% endautoescape %}",
            "text.html.jinja:1: autoescape cannot be changed",
        ),
        ("alert.html.jinja", "<script></script>", "nothing that Matrix allows"),
        (
            "reprot.txt.jinja",
            "",
            "reprot.txt.jinja: is not the name of a template; did you mean \"report.txt.jinja\"?",
        ),
        ("README", "", "README: is not the name of a template: those are KIND.txt.jinja"),
        (".hidden", "", "holds no template"),
    ] {
        let fault = refused(&[(name, source)]);
        assert!(fault.contains(said), "{name}: {source}\n{fault}");
        assert_eq!(fault.lines().count(), 1, "{fault}");
    }
    let missing = load(Path::new("/nonexistent/templates")).err().unwrap();
    assert!(missing.contains("cannot be read: No such file or directory"), "{missing}");
    let both = refused(&[("alert.txt.jinja", "{{ a1 }}"), ("note.txt.jinja", "{{ a2 }}")]);
    assert_eq!(both.lines().count(), 2, "{both}");
}

#[test]
fn what_the_payload_holds_is_not_known_before() {
    let renderer = accepted(&[(
        "object.html.jinja",
        "{{ payload.sensor }}: {{ payload.readings.temperature * 2 }}\n{{ headers['X-Y'] }}",
    )]);
    let shown = show(&renderer, r#"{"sensor":"rack"}"#);
    let fault = shown.fault.clone().unwrap();
    assert_eq!(fault.file(), "object.html.jinja");
    let note = "🤖 nats-matrix: object.html.jinja:1: `payload.readings` is undefined; shown with the built-in template";
    assert_eq!(shown.plain, format!("📨 ops.report.server-01\nsensor: rack\n{note}"));
    assert!(shown.html.ends_with(&format!("<br>{note}")), "{}", shown.html);
    let guarded = accepted(&[(
        "object.txt.jinja",
        "{{ payload.a | default('no a') }} {% if payload.b is defined %}b{% endif %}",
    )]);
    assert_eq!(show(&guarded, "{\"x\":1}").plain, "no a");
}

#[test]
fn a_long_message_is_cut_even_if_its_template_fails() {
    let renderer = accepted(&[("text.txt.jinja", "{{ payload.x }}")]);
    let shown = show(&renderer, &"wörter ".repeat(2_000));
    assert!(shown.attachment.is_some() && shown.fault.is_some());
    assert!(shown.plain.chars().count() < MAX_TEXT_CHARS + 400);
    assert!(
        shown.plain.contains("shown with the built-in template\n🤖 nats-matrix: "),
        "{}",
        shown.plain
    );
    let renderer = accepted(&[("text.html.jinja", "<i>{{ text }}</i>")]);
    let shown = show(&renderer, &"'".repeat(1_000_000));
    assert!(shown.attachment.is_some() && shown.fault.is_none());
    assert!(shown.content(&[]).to_string().len() < 60_000);
}

#[test]
fn nothing_in_a_payload_gets_out_of_its_place() {
    let careless = accepted(&[
        (
            "object.html.jinja",
            "{{ payload.x }}<a href={{ payload.x }}>a</a><a href='{{ payload.x }}'>b</a>\
         {% set part %}<b>{{ payload.x }}</b>{% endset %}{{ part ~ payload.x }}{{ part | replace('b', payload.x) }}\
         {{ [part, payload.x] | join(payload.x) }}{% include '_part.txt.jinja' %}{{ payload.x | link }}{{ payload.x | value }}",
        ),
        ("_part.txt.jinja", "<i>{{ payload.x }}</i>"),
    ]);
    for evil in [
        "<script>alert(1)</script>",
        "javascript:alert(1)",
        "x onmouseover=alert(1)",
        "'><img src=x onerror=alert(1)>",
        "<a href=\"javascript:alert(1)\">x</a>",
        "<style>*{}</style><iframe src=x></iframe><mx-reply>r</mx-reply>",
        "</a></strong><svg onload=alert(1)>",
        "<!--",
        "<math><mi//xlink:href=\"data:x,<script>alert(1)</script>\">",
    ] {
        let shown = show(&careless, &json!({ "x": evil }).to_string());
        assert_eq!(shown.fault, None);
        for tag in shown.html.split('<').skip(1) {
            let tag = tag.split('>').next().unwrap();
            let name = tag.trim_start_matches('/').split(' ').next().unwrap();
            assert!(["a", "b", "i"].contains(&name), "{evil}: {}", shown.html);
            assert!(!tag.contains(" on") && !tag.contains("javascript:"), "{evil}: {}", shown.html);
        }
    }
    let backwards = show(&careless, "{\"x\":\"a\u{202e}b\"}");
    assert!(!backwards.html.contains('\u{202e}'), "{}", backwards.html);
}

#[test]
fn an_address_of_a_message_is_kept_where_a_filter_would_make_it_a_link() {
    let renderer = accepted(&[(
        "object.html.jinja",
        "<a href=\"https://matrix.to/#/#ops:example.com\">ops</a> <a href='mailto:ops@example.com?a&amp;b'>mail</a> \
         <img src='mxc://example.com/logo' alt='logo'><a href='{{ payload.x }}'>x</a><img src='{{ payload.x }}'>",
    )]);
    let of_template = "<a href=\"https://matrix.to/#/#ops:example.com\">ops</a> \
                       <a href=\"mailto:ops@example.com?a&amp;b\">mail</a> \
                       <img alt=\"logo\" src=\"mxc://example.com/logo\">";
    for (address, kept) in [
        ("https://a.example/b?c&d", "<a href=\"https://a.example/b?c&amp;d\">x</a>"),
        ("https://matrix.to/#/@alice:example.com", "<a>x</a>"),
        ("mxc://evil.example/pixel", "x<img>"),
        ("mailto:evil@example.com", "<a>x</a>"),
        ("magnet:?xt=x", "<a>x</a>"),
        ("https://ops.example@evil.example/", "<a>x</a>"),
    ] {
        let shown = show(&renderer, &json!({ "x": address }).to_string());
        assert_eq!(shown.html, format!("{of_template}{kept}"), "{address}");
    }
}

#[test]
fn another_attribute_before_an_address_lets_nothing_through() {
    let renderer = accepted(&[(
        "object.html.jinja",
        "<a href={{ payload.x | default('y') }}>a</a><img alt='x' src={{ payload.x | default('y') }}>\
         <a target='_blank' href='javascript:alert(1)'>b</a>",
    )]);
    for evil in [
        "javascript:alert(1)",
        "javascript:alert(1) class=x",
        "data:x target=y class=z",
        "mxc://a/b class=x",
    ] {
        let html = show(&renderer, &json!({ "x": evil }).to_string()).html;
        assert!(
            !["href", "src", "javascript", "data:"].iter().any(|it| html.contains(it)),
            "{html}"
        );
    }
}

#[test]
fn a_message_cannot_name_a_file() {
    let renderer = accepted(&[
        ("object.txt.jinja", "{% include payload.x | default('') ignore missing %}{{ subject }}"),
        ("_part.txt.jinja", "the part: "),
    ]);
    let at_home = std::env::current_dir().unwrap().join("Cargo.toml");
    assert_eq!(
        show(&renderer, r#"{"x":"_part.txt.jinja"}"#).plain,
        "the part: ops.report.server-01"
    );
    for name in ["/etc/passwd", "../../../../etc/passwd", "Cargo.toml", at_home.to_str().unwrap()] {
        let shown = show(&renderer, &json!({ "x": name }).to_string());
        assert_eq!(shown.plain, "ops.report.server-01", "{name}");
    }
}

#[test]
fn tags_within_tags_without_end_do_no_harm() {
    for tag in [
        "<b>",
        "<div>",
        "<blockquote>",
        "<p><b data-mx-color='#00000{{ loop.index }}'>",
        "<table><tr><td>",
    ] {
        let source =
            format!("{{{{ rows | length }}}}{{% for row in payload.x %}}{tag}{{% endfor %}}x");
        let renderer = accepted(&[("object.html.jinja", &source)]);
        for count in [100, 999, 5_000] {
            let shown = show(&renderer, &json!({ "x": vec![0; count] }).to_string());
            assert_eq!(shown.fault, None);
            assert!(shown.html.len() < 60_000);
        }
    }
}

#[test]
fn one_file_can_be_taken_alone() {
    let directory = directory(&[
        ("alert.txt.jinja", "{{ wrong }}"),
        ("report.txt.jinja", "{% include '_x.txt.jinja' %}"),
        ("_x.txt.jinja", "{{ host }}!"),
    ]);
    let renderer = load(&directory.path().join("report.txt.jinja")).map_err(|it| panic!("{it}"));
    assert_eq!(show(&renderer.unwrap_or_else(|()| unreachable!()), REPORT).plain, "a<b>!");
}

#[test]
fn a_template_speaks_the_language_of_its_route() {
    let directory = directory(&[(
        "report.txt.jinja",
        "{{ words.completed }} {{ 12 | size }} {{ 0 | time('%H:%M %Z') }} {{ payload.x }}",
    )]);
    let display = Display {
        language: Language::Chinese,
        time_zone: jiff::tz::TimeZone::get("Asia/Shanghai").unwrap(),
    };
    let renderer = Renderer::with_templates(&display, directory.path()).map_err(|_| ()).unwrap();
    let said = show(&renderer, r#"{"host":"a","completed":[],"x":1}"#).plain;
    assert_eq!(said, "已完成 12 字节 08:00 CST 1");
    let failed = show(&renderer, r#"{"host":"a","completed":[]}"#).plain;
    assert!(
        failed.ends_with(
            "🤖 nats-matrix：模板出错，已改用内置模板：report.txt.jinja:1: `payload.x` is undefined"
        ),
        "{failed}"
    );
}
