//! Complaints about a wrong configuration or command line, and their exit codes. No server is needed.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    process::{Command, Stdio},
};

use anyhow::Result;
use nats_matrix_testbed::secrets;

use crate::scene::{BINARY, printed};

const GOOD: &str = r##"
[nats]
servers = ["nats://127.0.0.1:1"]

[matrix]
homeserver = "http://127.0.0.1:1"
user = "bridge"
password_file = "matrix-password"

[[routes]]
name = "reports"
stream = "OPS"
subjects = ["ops.report.>"]
room = "#ops:example.com"
"##;

/// Runs a subcommand on a configuration, with variables.
fn run(arguments: &[&str], config: &str, variables: &[(&str, &str)]) -> Result<(i32, String)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("config.toml");
    std::fs::write(&path, config)?;
    let mut command = Command::new(BINARY);
    command.args(arguments).arg("--config").arg(&path).envs(variables.iter().copied());
    let output = secrets::output(command.stdin(Stdio::null()))?;
    let text = printed(&output);
    Ok((output.status.code().unwrap(), text.replace(&*directory.path().to_string_lossy(), "DIR")))
}

#[test]
fn a_wrong_argument_commands_no_terminal() -> Result<()> {
    for arguments in
        [&["preview", "--language", "\u{1b}]0;x\u{7}\u{9b}31m"][..], &["alert", "--\u{202e}x"]]
    {
        let output = Command::new(BINARY).args(arguments).stdin(Stdio::null()).output()?;
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(64), "{text:?}");
        assert!(text.contains("For more information"), "{text:?}");
        let is_bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(is_bad), "{text:?}");
    }
    Ok(())
}

#[test]
fn a_good_one_passes_offline_without_its_secrets() -> Result<()> {
    let (code, text) = run(&["check", "--offline"], GOOD, &[])?;
    assert_eq!((code, text.as_str()), (0, "ok    config      DIR/config.toml: 1 route\n"));
    Ok(())
}

#[test]
fn what_others_on_the_network_can_read_is_noted() -> Result<()> {
    let away = GOOD.replace("nats://127.0.0.1:1", "nats://nats.example.com:4222");
    let (code, text) = run(&["check", "--offline"], &away, &[])?;
    assert_eq!(code, 0, "{text}");
    let note = "note  nats        nats://nats.example.com:4222: all messages cross the network in clear: use tls://";
    assert!(text.contains(note), "{text}");
    let with_token = away.replace("[matrix]", "token_file = \"token\"\n[matrix]");
    let (_, text) = run(&["check", "--offline"], &with_token, &[])?;
    assert!(
        text.contains("password or token, and all messages, cross the network in clear"),
        "{text}"
    );
    for here in ["tls://nats.example.com:4222", "nats://localhost:4222", "nats://[::1]:4222"] {
        let (_, text) =
            run(&["check", "--offline"], &GOOD.replace("nats://127.0.0.1:1", here), &[])?;
        assert!(!text.contains("in clear"), "{text}");
    }
    // A CA is named for TLS, which is then used with any address.
    let with_ca = with_token.replace("[matrix]", "ca_file = \"ca.pem\"\n[matrix]");
    let (_, text) = run(&["check", "--offline"], &with_ca, &[])?;
    assert!(!text.contains("in clear"), "{text}");
    let away = GOOD.replace("http://127.0.0.1:1", "http://chat.example.com");
    let (_, text) = run(&["check", "--offline"], &away, &[])?;
    assert!(
        text.contains("note  homeserver  http://chat.example.com/: the bridge's password"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_secret_for_whoever_has_the_port_of_nats_on_this_machine_is_noted() -> Result<()> {
    let with = |lines: &str| GOOD.replace("[matrix]", &format!("{lines}\n[matrix]"));
    let note = "note  nats        nats://127.0.0.1:1: any user of this machine who takes that port";
    for secret in ["token_file = \"token\"", "user = \"bridge\"\npassword_file = \"password\""] {
        let (code, text) = run(&["check", "--offline"], &with(secret), &[])?;
        assert!(code == 0 && text.contains(note), "{text}");
        let tls = with(secret).replace("nats://127", "tls://127");
        let (_, text) = run(&["check", "--offline"], &tls, &[])?;
        assert!(!text.contains("note"), "{text}");
    }
    for proof in ["nkey_seed_file = \"bridge.nk\"", "credentials_file = \"bridge.creds\"", ""] {
        let (_, text) = run(&["check", "--offline"], &with(proof), &[])?;
        assert!(!text.contains("note"), "{text}");
    }
    Ok(())
}

#[test]
fn addresses_by_which_tls_could_be_left_out_are_refused() -> Result<()> {
    for (servers, said) in [
        ("tls://a\", \"b", "some have tls:// but b:4222 does not: write tls:// before each"),
        (
            "wss://a",
            "\"wss://a\" is for WebSockets, which are not supported: write tls://host:4222",
        ),
    ] {
        let config = GOOD.replace("nats://127.0.0.1:1", servers);
        let (code, text) = run(&["check", "--offline"], &config, &[])?;
        assert!(
            code == 64 && text.contains(&format!("config.toml:3: nats.servers: {said}")),
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn each_mistake_gets_its_one_line() -> Result<()> {
    let cases: &[(&str, &str, &str)] = &[
        ("servers", "servrs", "unknown key \"servrs\"; did you mean \"servers\"?"),
        ("user =", "usr =", "unknown key \"usr\"; did you mean \"user\"?"),
        ("subjects =", "subject =", "unknown key \"subject\"; did you mean \"subjects\"?"),
        ("[matrix]", "[matricks]", "unknown key \"matricks\"; did you mean \"matrix\"?"),
        ("nats://127.0.0.1:1", "nats://", "nats.servers: \"nats://\" is not an address"),
        (
            "http://127.0.0.1:1",
            "chat.example.com",
            "matrix.homeserver: \"chat.example.com\" lacks http:// or https://",
        ),
        (
            "name = \"reports\"",
            "name = \"re.ports\"",
            "routes[0].name: \"re.ports\" cannot name a route",
        ),
        (
            "ops.report.>",
            "ops.>.report",
            "routes[0].subjects: \"ops.>.report\" is not a subject: > is only allowed at the end",
        ),
        (
            "[\"ops.report.>\"]",
            "[\"ops.>\", \"ops.report\"]",
            "routes[0].subjects: \"ops.>\" and \"ops.report\" overlap",
        ),
        ("[\"ops.report.>\"]", "[]", "routes[0].subjects: name at least one"),
        ("[\"ops.report.>\"]", "17", "routes[0].subjects"),
        ("#ops:example.com", "ops", "routes[0].room: \"ops\" is neither #alias:server nor !id"),
        (
            "password_file",
            "password = \"one-of-the-two\"\npassword_file",
            "matrix.password: give either matrix.password or matrix.password_file, not both",
        ),
        (
            "password_file = \"matrix-password\"",
            "",
            "matrix.user: needs password or password_file too",
        ),
        (
            "[nats]",
            "[nats]\ntoken = \"too-much-1\"\nuser = \"y\"\npassword = \"too-much-2\"",
            "nats: give only one of",
        ),
        ("[nats]", "[nats]\ncert_file = \"x\"", "nats.cert_file: needs key_file too"),
        ("stream = \"OPS\"", "", "missing"),
        ("name = \"reports\"", "name = ", "not valid TOML"),
        (
            "[[routes]]",
            "[[routes]]\nname = \"b\"\nstream = \"OPS\"\nsubjects = [\"ops.>\"]\nroom = \"#x:example.com\"\n[[routes]]",
            "routes[1].subjects: route b comes first and takes all of its messages",
        ),
        (
            "room = ",
            "default = true\nmatch.kind = \"alert\"\nroom = ",
            "routes[0].match: a default route takes every message that no other route takes",
        ),
        (
            "\"http://127.0.0.1:1\"",
            "\"https://127.0.0.1:1\"\nhomeserver_owner = \"conduit\"",
            "matrix.homeserver_owner: has no effect with https://",
        ),
        (
            "user =",
            "homeserver_owner = \"a b\"\nuser =",
            "matrix.homeserver_owner: \"a b\" is not a user name",
        ),
        ("user =", "homeserver_ower = \"a\"\nuser =", "did you mean \"homeserver_owner\"?"),
        (
            "[nats]",
            "[health]\nhosts = [\"a\", \"b:9464\"]\n[nats]",
            "health.hosts[1]: \"b:9464\" is not a host name",
        ),
        ("room = ", "match.severity = \"crit\"\nroom = ", "in an alert becomes \"critical\""),
        (
            "[[routes]]",
            "[[routes]]\nname = \"b\"\ncontinue = true\nstream = \"OPS\"\nsubjects = [\"ops.>\"]\nroom = \"#ops:example.com\"\n[[routes]]",
            "overlaps \"ops.>\" of route b into the same room",
        ),
    ];
    for (from, to, expected) in cases {
        let (code, text) = run(&["check", "--offline"], &GOOD.replacen(from, to, 1), &[])?;
        assert_eq!(code, 64, "{to}: {text}");
        assert!(text.contains(expected), "expected {expected:?} in:\n{text}");
        assert!(text.contains("DIR/config.toml"), "the file is named: {text}");
        assert!(
            expected.contains("TOML") || text.trim_end().lines().count() == 2,
            "one line, and where to read more: {text}"
        );
    }
    Ok(())
}

#[test]
fn the_environment_wins_over_the_file() -> Result<()> {
    let variables = [
        ("NATS_MATRIX__MATRIX__USER", "12345"),
        ("NATS_MATRIX__NATS__SERVERS", "nats://a:1,nats://b:2"),
    ];
    let (code, text) = run(&["check", "--offline"], GOOD, &variables)?;
    assert_eq!(code, 0, "{text}");
    let (code, text) =
        run(&["check", "--offline"], GOOD, &[("NATS_MATRIX__NATS__SERVERS", "nats://")])?;
    assert_eq!(code, 64, "{text}");
    let (code, text) = run(&["check", "--offline"], GOOD, &[("NATS_MATRIX__NATS__TOKN", "x")])?;
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("\"tokn\"; did you mean \"token\"?"), "{text}");
    assert!(text.contains("NATS_MATRIX__NATS"), "the variable is named: {text}");
    Ok(())
}

#[test]
fn a_variable_that_is_not_utf_8_is_named_without_its_value_if_it_is_ours() -> Result<()> {
    let call = |subcommand: &str, name: &str| -> Result<(Option<i32>, String)> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("config.toml");
        std::fs::write(&path, GOOD)?;
        let mut command = Command::new(BINARY);
        command.arg(subcommand).arg("--config").arg(&path).stdin(Stdio::null());
        match subcommand {
            "check" => command.arg("--offline"),
            "alert" => command.args(["--severity", "info", "--summary", "x", "--dry-run"]),
            "report" => command.arg("--dry-run"),
            _ => &mut command,
        };
        let output = command.env(name, OsStr::from_bytes(b"hunter2\xff")).output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&text).into_owned()))
    };
    let all = ["run", "check", "report", "alert", "summary", "connect", "provision"];
    for subcommand in all {
        let (code, text) = call(subcommand, "NATS_MATRIX__NATS__TOKEN")?;
        assert_eq!(code, Some(64), "{subcommand}: {text}");
        assert!(text.contains("NATS_MATRIX__NATS__TOKEN: its value is not UTF-8"), "{text}");
        assert!(!text.contains("hunter") && !text.contains("panicked"), "{text}");
    }
    for subcommand in ["check", "report", "alert"] {
        for name in ["PAM_USER", "NATS_MATRIX_LOG", "MONITOR_UNIT"] {
            let (code, text) = call(subcommand, name)?;
            assert_eq!(code, Some(0), "{subcommand}: {text}");
        }
    }
    Ok(())
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    let output =
        Command::new(BINARY).args(["run", "--config", "/nonexistent/config.toml"]).output()?;
    let text = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64));
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some(
            "nats-matrix: cannot read /nonexistent/config.toml: No such file or directory (os error 2)"
        )
    );
    let more = lines.next().unwrap_or_default();
    assert!(more.starts_with("nats-matrix: what such a line means: "), "{text}");
    assert!(more.ends_with("docs/src/guide/troubleshooting.md"), "{text}");
    assert_eq!(lines.next(), None, "{text}");

    let nkey = GOOD.replace("[nats]", "[nats]\nnkey_seed_file = \"bridge.nk\"");
    let (code, text) = run(&["run"], &nkey, &[])?;
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("nats.nkey_seed_file: cannot read DIR/bridge.nk"), "{text}");
    let ca = GOOD.replace("[nats]", "[nats]\nca_file = \"ca.pem\"");
    let (code, text) = run(&["run"], &ca, &[])?;
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("nats.ca_file: cannot read DIR/ca.pem"), "{text}");
    Ok(())
}

#[test]
fn a_wrong_command_line_is_64_and_help_is_0() -> Result<()> {
    for (arguments, code) in
        [(&["runn"][..], 64), (&[][..], 64), (&["--help"][..], 0), (&["--version"][..], 0)]
    {
        let output = Command::new(BINARY).args(arguments).output()?;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_preview_shows_what_the_room_will_show() -> Result<()> {
    use std::io::Write;
    let mut child = Command::new(BINARY)
        .args(["preview"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().unwrap().write_all(br#"{"host":"a&b","disk_percent":14.25}"#)?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(
        text.contains("--- plain ---\n📊 a&b Operational Report\n💻 Disk usage: 14.2%\n"),
        "{text}"
    );
    assert!(
        text.contains("📊 <strong>a&amp;b</strong> Operational Report<br>\n💻 Disk usage: 14.2%\n"),
        "{text}"
    );
    assert!(text.contains("m.notice"), "{text}");
    Ok(())
}
