//! Nothing outlives the process that started it.

#![expect(
    clippy::disallowed_methods,
    reason = "there is no runtime here that sleeping would block"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nats_matrix_testbed::{ScratchDir, leash::Leash};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Whether a process is there and not only waiting to be reaped, which an orphan's parent may be
/// slow to do.
fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            bail!("{what}: not within {PATIENCE:?}");
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn a_dropped_leash_kills() -> Result<()> {
    let dir = ScratchDir::new("leash-test")?;
    let leash = Leash::start(Command::new("sleep").arg("600"), &dir.path().join("log"))?;
    let pid = leash.pid();
    assert!(alive(pid));
    drop(leash);
    assert!(!alive(pid));
    Ok(())
}

#[test]
fn a_stopped_process_is_killed_too() -> Result<()> {
    let dir = ScratchDir::new("leash-test")?;
    let mut leash = Leash::start(Command::new("sleep").arg("600"), &dir.path().join("log"))?;
    let pid = leash.pid();
    leash.signal(Signal::STOP)?;
    drop(leash);
    assert!(!alive(pid));
    Ok(())
}

#[test]
fn what_the_process_started_is_killed_too() -> Result<()> {
    let dir = ScratchDir::new("leash-test")?;
    let leash = Leash::start(&shell("sleep 600 & echo $!; wait"), &dir.path().join("log"))?;
    let parse = || leash.log_tail(1).parse::<u32>().ok();
    wait_until("the grandchild's pid", || parse().is_some())?;
    let grandchild = parse().context("a pid")?;
    assert!(alive(grandchild));
    drop(leash);
    wait_until("the grandchild's end", || !alive(grandchild))
}

#[test]
fn exit_codes_and_output_are_passed_on() -> Result<()> {
    let dir = ScratchDir::new("leash-test")?;
    let log = dir.path().join("log");
    let mut leash = Leash::start(&shell("echo to stdout; echo to stderr >&2; exit 77"), &log)?;
    wait_until("an exit", || matches!(leash.exit_code(), Ok(Some(_))))?;
    assert_eq!(leash.exit_code()?, Some(77));
    assert_eq!(leash.log_tail(5), "to stdout\nto stderr");
    assert!(leash.signal(Signal::TERM).is_err());

    let mut leash = Leash::start(Command::new("sleep").arg("600"), &log)?;
    leash.signal(Signal::TERM)?;
    wait_until("an exit", || matches!(leash.exit_code(), Ok(Some(_))))?;
    assert_eq!(leash.exit_code()?, Some(128 + 15));
    Ok(())
}

#[test]
fn environment_and_directory_are_passed_on() -> Result<()> {
    let dir = ScratchDir::new("leash-test")?;
    let mut command = shell("echo \"$ANSWER in $(pwd)\"");
    command.env("ANSWER", "42").current_dir(dir.path());
    let mut leash = Leash::start(&command, &dir.path().join("log"))?;
    wait_until("an exit", || matches!(leash.exit_code(), Ok(Some(_))))?;
    let expected = format!("42 in {}", dir.path().canonicalize()?.display());
    assert_eq!(leash.log_tail(1), expected);
    Ok(())
}

#[test]
fn a_program_that_is_not_there_says_so() -> Result<()> {
    let dir = ScratchDir::new("leash-test")?;
    let mut leash = Leash::start(&Command::new("/nonexistent"), &dir.path().join("log"))?;
    wait_until("an exit", || matches!(leash.exit_code(), Ok(Some(_))))?;
    assert_eq!(leash.exit_code()?, Some(127));
    assert!(leash.log_tail(1).contains("/nonexistent"), "{}", leash.log_tail(1));
    Ok(())
}

/// Plays the process that is killed in the next test, which gives it a place to report to: starts
/// a process and a directory, tells about them, and hangs until it is killed.
#[test]
fn victim() -> Result<()> {
    let Some(report) = env::var_os("VICTIM_REPORT").map(PathBuf::from) else {
        return Ok(());
    };
    let dir = ScratchDir::new("leash-victim")?;
    let leash = Leash::start(Command::new("sleep").arg("600"), &dir.path().join("log"))?;
    let partial = report.with_extension("partial");
    fs::write(&partial, format!("{}\n{}", leash.pid(), dir.path().display()))?;
    fs::rename(partial, report)?;
    sleep(PATIENCE * 2);
    Ok(())
}

#[test]
fn nothing_survives_when_we_are_killed() -> Result<()> {
    let dir = ScratchDir::new("leash-test")?;
    let report = dir.path().join("report");
    let mut victim = Command::new(env::current_exe()?)
        .args(["--exact", "victim"])
        .env("VICTIM_REPORT", &report)
        .stdout(Stdio::null())
        .spawn()?;
    let reported = wait_until("the victim's report", || report.exists());
    victim.kill()?;
    victim.wait()?;
    reported?;

    let text = fs::read_to_string(report)?;
    let (pid, scratch) = text.split_once('\n').context("two lines")?;
    let pid = pid.parse()?;
    wait_until("the end of the orphan", || !alive(pid))?;
    wait_until("the end of its directory", || !Path::new(scratch).exists())
}
