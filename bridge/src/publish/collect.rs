//! Collects what a report says about this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use procfs::{Current, LoadAverage, Meminfo, Uptime};
use rustix::fs::{StatVfs, statvfs};
use serde_json::Value;
use thiserror::Error;
use tokio::{process::Command, time::timeout};

use crate::message::Report;

/// The longest time to wait for a program that is asked about units.
const PATIENCE: Duration = Duration::from_secs(10);

/// The number of failed units that are named; the others are counted.
const MOST_UNITS: usize = 10;

/// Adds the usage of the fullest of these disks and of the memory, the load, the uptime, and the units that have
/// failed. A value that cannot be found out is left out, but a missing disk is reported.
pub(crate) async fn fill(report: &mut Report, disks: &[PathBuf], failed_units: Option<&Path>) {
    let used: Vec<(&Path, io::Result<u8>)> =
        disks.iter().map(|disk| (disk.as_path(), disk_percent(disk))).collect();
    report.disk_percent =
        used.iter().filter_map(|(_, used)| used.as_ref().ok()).max().map(|used| f64::from(*used));
    for (disk, used) in &used {
        let text = match used {
            Ok(_) if disks.len() == 1 => continue,
            Ok(used) => format!("{used}%"),
            Err(error) => error.to_string(),
        };
        report.extra.insert(format!("disk {}", disk.display()), Value::from(text));
    }
    let memory = Meminfo::current().ok();
    report.memory_percent = memory.and_then(|it| memory_percent(it.mem_total, it.mem_available?));
    let rows = [
        ("load", LoadAverage::current().ok().map(|it| load(&it))),
        ("up", Uptime::current().ok().map(|it| uptime(it.uptime_duration()))),
        ("failed units", units_that_failed(failed_units).await),
    ];
    for (name, text) in rows {
        report.extra.extend(text.map(|text| (name.to_owned(), Value::from(text))));
    }
}

/// Returns the usage of a file system for users other than root, as `df` shows it.
fn disk_percent(path: &Path) -> io::Result<u8> {
    Ok(used_percent(&statvfs(path)?))
}

fn used_percent(disk: &StatVfs) -> u8 {
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let whole = used.saturating_add(disk.f_bavail);
    // Rounded up, like df, so that a nearly full disk does not look as if there was room.
    let percent = (u128::from(used) * 100).div_ceil(u128::from(whole.max(1)));
    u8::try_from(percent).unwrap_or(100)
}

/// Returns the share of the memory that programs can no longer get, in per cent.
fn memory_percent(total: u64, available: u64) -> Option<f64> {
    let used = u128::from(total.saturating_sub(available)) * 100;
    let percent = (used + u128::from(total / 2)).checked_div(u128::from(total))?;
    u8::try_from(percent).ok().map(f64::from)
}

/// Formats the load averages of 1, 5 and 15 minutes.
fn load(average: &LoadAverage) -> String {
    format!("{:.2} {:.2} {:.2}", average.one, average.five, average.fifteen)
}

fn uptime(up: Duration) -> String {
    let seconds = up.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Returns the names of the failed systemd units, from a file with a list or from `systemctl`. Returns `None` if there
/// are none, or no systemd.
async fn units_that_failed(list: Option<&Path>) -> Option<String> {
    let arguments =
        ["list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", "--full"];
    let text = match list {
        Some(file) => whole_list(file).map_err(|error| format!("cannot be told: {error}")),
        // This machine was not started by systemd; it may be a container.
        None if !Path::new("/run/systemd/system").exists() => return None,
        None => run("systemctl", &arguments).await.map_err(|error| error.to_string()),
    };
    match text {
        Ok(text) => failed(&text),
        // Without the reason, it would look as if no unit had failed.
        Err(reason) => Some(reason),
    }
}

/// Reads a list, which must end with a line break: on a full disk it may be cut off anywhere, even at its beginning.
fn whole_list(file: &Path) -> io::Result<String> {
    let text = fs::read_to_string(file)?;
    let is_whole = text.ends_with('\n');
    is_whole.then_some(text).ok_or_else(|| io::Error::other("the end of the list is missing"))
}

fn failed(text: &str) -> Option<String> {
    let units: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let shown = units[..units.len().min(MOST_UNITS)].join(", ");
    match units.len() {
        0 => None,
        count if count > MOST_UNITS => Some(format!("{shown} and {} more", count - MOST_UNITS)),
        _ => Some(shown),
    }
}

/// The reason why a program has no output.
#[derive(Debug, Error)]
pub(super) enum ProgramError {
    #[error("{program} cannot be run: {error}")]
    NotRun { program: String, error: io::Error },
    #[error("{program} failed ({status}): {said}")]
    Failed { program: String, status: ExitStatus, said: String },
    #[error("{program} takes longer than {PATIENCE:?}")]
    Slow { program: String },
}

/// Runs a program and returns its output.
pub(super) async fn run(program: &str, arguments: &[&str]) -> Result<String, ProgramError> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).kill_on_drop(true);
    let program = program.to_owned();
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(ProgramError::Failed { program, status: output.status, said })
        }
        Ok(Err(error)) => Err(ProgramError::NotRun { program, error }),
        Err(_) => Err(ProgramError::Slow { program }),
    }
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;

    use super::*;

    fn disk(blocks: u64, free: u64, available: u64) -> StatVfs {
        let mut disk = statvfs("/").unwrap();
        (disk.f_blocks, disk.f_bfree, disk.f_bavail) = (blocks, free, available);
        disk
    }

    #[test]
    fn a_disk_is_as_full_as_df_says() {
        assert_eq!(used_percent(&disk(1000, 1000, 950)), 0);
        assert_eq!(used_percent(&disk(1000, 860, 810)), 15);
        // Space that is reserved for root is not available to others.
        assert_eq!(used_percent(&disk(1000, 50, 0)), 100);
        assert_eq!(used_percent(&disk(0, 0, 0)), 0);
    }

    #[test]
    fn memory_that_can_be_had_back_is_not_used() {
        assert_eq!(memory_percent(2_048_000_000, 1_720_320_000), Some(16.0));
        assert_eq!(memory_percent(1, 2), Some(0.0));
        assert_eq!(memory_percent(0, 0), None);
    }

    #[test]
    fn load_and_uptime_are_for_people() {
        let average = LoadAverage::from_read(&b"0.12 0.08 0.05 1/123 4567\n"[..]).unwrap();
        assert_eq!(load(&average), "0.12 0.08 0.05");
        let up = |seconds| uptime(Duration::from_secs(seconds));
        assert_eq!(up(59), "0 min");
        assert_eq!(up(5_400), "1 h 30 min");
        assert_eq!(up(270_000), "3 d 3 h");
    }

    #[test]
    fn failed_units_are_named_and_not_too_many() {
        assert_eq!(failed(""), None);
        let text = "backup.service loaded failed failed Nightly backup\nvar-lib.mount  loaded failed failed /var\n";
        assert_eq!(failed(text).unwrap(), "backup.service, var-lib.mount");
        let many: Vec<String> = (0..12).map(|n| format!("u{n}.service loaded failed")).collect();
        assert!(failed(&many.join("\n")).unwrap().ends_with("u9.service and 2 more"));
    }

    #[tokio::test]
    async fn a_program_that_fails_says_why() {
        let failed = run("ls", &["/no/such/file"]).await.unwrap_err().to_string();
        assert!(failed.starts_with("ls failed") && failed.contains("No such file"), "{failed}");
        let missing = run("no-such-program", &[]).await.unwrap_err().to_string();
        assert!(missing.starts_with("no-such-program cannot be run"), "{missing}");
    }

    #[tokio::test]
    async fn a_list_of_failed_units_that_is_not_there_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        assert!(
            units_that_failed(Some(&list)).await.unwrap().starts_with("cannot be told: No such")
        );
        for cut in ["", "a.service loaded failed failed A\nb.serv"] {
            fs::write(&list, cut).unwrap();
            assert_eq!(
                units_that_failed(Some(&list)).await.unwrap(),
                "cannot be told: the end of the list is missing"
            );
        }
        fs::write(&list, "\n").unwrap();
        assert_eq!(units_that_failed(Some(&list)).await, None);
        fs::write(&list, "a.service loaded failed failed A\n").unwrap();
        assert_eq!(units_that_failed(Some(&list)).await.unwrap(), "a.service");
    }

    #[tokio::test]
    async fn a_disk_that_is_not_there_is_said_and_the_others_count() {
        let mut report = Report { host: "a".to_owned(), ..Report::default() };
        fill(&mut report, &["/".into(), "/no/such/disk".into()], None).await;
        assert!(report.disk_percent.is_some() && report.memory_percent.is_some());
        let missing = report.extra["disk /no/such/disk"].as_str().unwrap();
        assert!(missing.contains("No such file"), "{missing}");
        assert!(report.extra["disk /"].as_str().unwrap().ends_with('%'));
        assert!(report.extra.contains_key("load") && report.extra.contains_key("up"));
    }
}
