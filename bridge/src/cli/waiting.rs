//! Units of this machine that systemd skips until something is installed. The Debian package contains the units of
//! the homeserver and the tunnel, but not their programs.

use std::{
    fmt::{self, Display},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The directories in which systemd looks for units, in order (systemd.unit(5)).
const UNIT_PATH: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The missing files that keep a unit from starting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    unit: String,
    /// The paths at which the program was looked for. One of them would be enough, but none exists.
    programs: Vec<PathBuf>,
    /// The address of the unit's documentation, which says where to get the program.
    documentation: String,
    /// The other missing files, all of which are needed.
    files: Vec<PathBuf>,
}

/// Returns what `unit` of this machine waits for; `None` if it waits for nothing, or does not exist.
pub(super) fn waiting(unit: &str) -> Option<Waiting> {
    of(unit, &text(unit)?)
}

/// Whether this machine has the unit.
pub(super) fn exists(unit: &str) -> bool {
    text(unit).is_some()
}

/// Whether this machine has the unit and systemd says that it has failed.
pub(super) fn has_failed(unit: &str) -> bool {
    let ask = || Command::new("systemctl").args(["is-failed", "--quiet", unit]).status();
    exists(unit) && ask().is_ok_and(|status| status.success())
}

/// Returns the value of an environment variable that the unit sets.
pub(super) fn setting(unit: &str, variable: &str) -> Option<String> {
    value(&text(unit)?, variable)
}

fn value(text: &str, variable: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let assignment = line.strip_prefix("Environment=")?.trim_matches('"');
        Some(assignment.strip_prefix(variable)?.strip_prefix('=')?.to_owned())
    })
}

fn text(unit: &str) -> Option<String> {
    UNIT_PATH.iter().find_map(|dir| fs::read_to_string(Path::new(dir).join(unit)).ok())
}

/// Finds the unmet conditions of a unit, of the two kinds that the package's units use.
fn of(unit: &str, text: &str) -> Option<Waiting> {
    let values = |key: &'static str| {
        text.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
    };
    // With "|", one of them is enough. A unit has only one program.
    let mut programs: Vec<PathBuf> = values("ConditionFileIsExecutable")
        .map(|path| PathBuf::from(path.trim_start_matches('|')))
        .collect();
    if programs.iter().any(|path| is_executable(path)) {
        programs.clear();
    }
    let files: Vec<PathBuf> =
        values("ConditionPathExists").map(PathBuf::from).filter(|path| !path.exists()).collect();
    let waits = !programs.is_empty() || !files.is_empty();
    let documentation = values("Documentation").next().unwrap_or_default().to_owned();
    waits.then(|| Waiting { unit: unit.to_owned(), programs, documentation, files })
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

impl Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |paths: &[PathBuf], between: &str| -> String {
            let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            names.join(between)
        };
        let mut missing = Vec::new();
        if !self.programs.is_empty() {
            missing.push(format!("{} ({})", names(&self.programs, " or "), self.documentation));
        }
        if !self.files.is_empty() {
            missing.push(names(&self.files, " and "));
        }
        write!(f, "{} waits for {}", self.unit, missing.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(dir: &Path) -> String {
        let dir = dir.display();
        format!(
            "[Unit]\nConditionFileIsExecutable=|{dir}/local\nConditionFileIsExecutable=|{dir}/packaged\n\
             ConditionPathExists={dir}/tunnel.json\nDocumentation=https://example.com/get\n[Service]\nExecStart=x\n"
        )
    }

    fn put(path: &Path, mode: u32) {
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_unit_sets_variables_with_and_without_quotes() {
        let text = "[Service]\nEnvironment=\"TUNNEL_METRICS=127.0.0.1:20241\"\nEnvironment=A=b\n";
        assert_eq!(value(text, "TUNNEL_METRICS").as_deref(), Some("127.0.0.1:20241"));
        assert_eq!(value(text, "A").as_deref(), Some("b"));
        assert_eq!(value(text, "TUNNEL"), None);
    }

    #[test]
    fn one_of_the_programs_and_every_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let text = unit(dir);
        let said = of("a.service", &text).unwrap().to_string();
        let d = dir.display();
        assert_eq!(
            said,
            format!(
                "a.service waits for {d}/local or {d}/packaged (https://example.com/get) and {d}/tunnel.json"
            )
        );

        put(&dir.join("packaged"), 0o755);
        let said = of("a.service", &text).unwrap().to_string();
        assert_eq!(said, format!("a.service waits for {d}/tunnel.json"));

        put(&dir.join("tunnel.json"), 0o600);
        assert_eq!(of("a.service", &text), None);
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("packaged"), 0o644);
        put(&dir.path().join("tunnel.json"), 0o600);
        assert_eq!(of("a.service", &unit(dir.path())).unwrap().programs.len(), 2);
    }

    #[test]
    fn a_unit_without_conditions_waits_for_nothing() {
        assert_eq!(of("a.service", "[Service]\nExecStart=/usr/bin/conduit\n"), None);
        assert_eq!(waiting("nats-matrix-no-such.service"), None);
    }
}
