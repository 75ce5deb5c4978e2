//! Users' own shapes on the command line: refused with file and line, tried, and drafted.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const MESSAGE: &str =
    r#"{"ups":"rack-3","event":"battery","severity":"P1","battery":{"charge":12}}"#;

const SHAPE: &str = "name = \"UPS\"\nrecognise.has = [\"ups\", \"event\"]\nseverities.p1 = \"critical\"\n\
    [[rule]]\nname = \"an event\"\nas = \"alert\"\nseverity = \"payload.severity\"\nsource = \"payload.ups\"\n\
    summary = \"payload.ups ~ ' runs on ' ~ payload.event\"\nlabels.charge = \"payload.battery.charge\"\n";

/// Makes an empty directory.
fn directory(name: &str) -> io::Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(directory.join("shapes"))?;
    Ok(directory)
}

fn run(arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-matrix"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // The program may end before it reads anything.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    texts.concat()
}

#[test]
fn a_wrong_shape_is_refused_by_check_and_at_the_start_with_file_and_line() -> io::Result<()> {
    let directory = directory("wrong-shapes")?;
    let config = directory.join("config.toml");
    let file = directory.join("shapes/ups.toml");
    fs::write(
        &config,
        "shapes = \"shapes\"\n[nats]\nservers = [\"nats://127.0.0.1:1\"]\n[matrix]\nhomeserver = \"http://127.0.0.1:1\"\n\
         user = \"b\"\npassword_file = \"p\"\nstate_dir = \"/nonexistent\"\n[[routes]]\nname = \"r\"\nstream = \"S\"\n\
         subjects = [\"ops.>\"]\nroom = \"!r:x\"\n",
    )?;
    fs::write(&file, SHAPE)?;
    let config = config.to_string_lossy();
    let check = || run(&["check", "--offline", "--config", &config], "");
    let sound = check()?;
    assert!(sound.status.success() && said(&sound).contains("shapes: 1 shape"), "{}", said(&sound));
    fs::write(&file, SHAPE.replace("summary", "sumary"))?;
    let fault =
        format!("{}:9: there is no field `sumary`; did you mean `summary`?", file.display());
    for output in [check()?, run(&["run", "--config", &config], "")?] {
        assert!(!output.status.success() && said(&output).contains(&fault), "{}", said(&output));
    }
    Ok(())
}

#[test]
fn preview_shows_the_rule_and_each_field() -> io::Result<()> {
    let directory = directory("previewed-shapes")?;
    let file = directory.join("shapes/ups.toml");
    fs::write(&file, SHAPE)?;
    let output = run(&["preview", "--shape", &file.to_string_lossy()], MESSAGE)?;
    let said = said(&output);
    for line in [
        "Shape:   UPS, an event",
        "  severity = payload.severity\n    P1",
        "  labels.charge = payload.battery.charge\n    12",
        "🔴 CRITICAL: rack-3 runs on battery",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    let other = run(&["preview", "--shape", &file.to_string_lossy()], r#"{"other":1}"#)?;
    assert!(self::said(&other).contains("Shape:   none"), "{}", self::said(&other));
    Ok(())
}

#[test]
fn a_draft_can_be_previewed_as_it_is() -> io::Result<()> {
    let directory = directory("drafted-shapes")?;
    let file = directory.join("shapes/draft.toml");
    let drafted = run(&["shape", "new"], MESSAGE)?;
    assert!(drafted.status.success(), "{}", said(&drafted));
    fs::write(&file, &drafted.stdout)?;
    let output = run(&["preview", "--shape", &file.to_string_lossy()], MESSAGE)?;
    assert!(said(&output).contains("Shape:   My sender, rule 1"), "{}", said(&output));
    assert!(!run(&["shape", "new"], "[1]")?.status.success());
    Ok(())
}
