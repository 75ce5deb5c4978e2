//! Units of this machine that systemd skips until something is installed: the Debian package brings
//! those of the homeserver and the tunnel, and their programs come from elsewhere.

use std::{
    fmt::{self, Display},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where systemd looks for units, first to last (systemd.unit(5)).
const UNIT_PATH: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What a unit waits for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    unit: String,
    /// Each of these is missing.
    all_of: Vec<PathBuf>,
    /// One of these would do.
    one_of: Vec<PathBuf>,
    /// Where the unit says that it is documented.
    documentation: Option<String>,
}

/// What `unit` of this machine waits for: `None` if it waits for nothing, or if there is no such unit.
pub(super) fn waiting(unit: &str) -> Option<Waiting> {
    let text =
        UNIT_PATH.iter().find_map(|dir| fs::read_to_string(Path::new(dir).join(unit)).ok())?;
    of(unit, &text)
}

/// The conditions of a unit that do not hold. Those on files are enough: the package writes no others.
fn of(unit: &str, text: &str) -> Option<Waiting> {
    let mut waiting =
        Waiting { unit: unit.to_owned(), all_of: vec![], one_of: vec![], documentation: None };
    let mut one_is_there = false;
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let holds: fn(&Path) -> bool = match key {
            "ConditionFileIsExecutable" => is_executable,
            "ConditionPathExists" => Path::exists,
            "Documentation" => {
                waiting.documentation = Some(value.to_owned());
                continue;
            }
            _ => continue,
        };
        if let Some(path) = value.strip_prefix('|') {
            one_is_there |= holds(Path::new(path));
            waiting.one_of.push(PathBuf::from(path));
        } else if !holds(Path::new(value)) {
            waiting.all_of.push(PathBuf::from(value));
        }
    }
    if one_is_there {
        waiting.one_of.clear();
    }
    let waits = !waiting.all_of.is_empty() || !waiting.one_of.is_empty();
    waits.then_some(waiting)
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

impl Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |paths: &[PathBuf], between: &str| -> String {
            let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
            paths.join(between)
        };
        let mut missing = vec![list(&self.one_of, " or "), list(&self.all_of, " and ")];
        missing.retain(|paths| !paths.is_empty());
        write!(f, "{} waits for {}", self.unit, missing.join(", and for "))?;
        if let Some(documentation) = &self.documentation {
            write!(f, " ({documentation})")?;
        }
        write!(f, "; then: systemctl enable --now {}", self.unit)
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
    fn one_of_the_programs_and_every_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let text = unit(dir);
        let said = of("a.service", &text).unwrap().to_string();
        let d = dir.display();
        assert_eq!(
            said,
            format!(
                "a.service waits for {d}/local or {d}/packaged, and for {d}/tunnel.json (https://example.com/get); \
                 then: systemctl enable --now a.service"
            )
        );

        put(&dir.join("packaged"), 0o755);
        let waiting = of("a.service", &text).unwrap();
        assert_eq!((waiting.one_of.len(), waiting.all_of.len()), (0, 1));

        put(&dir.join("tunnel.json"), 0o600);
        assert_eq!(of("a.service", &text), None);
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_no_program() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("packaged"), 0o644);
        put(&dir.path().join("tunnel.json"), 0o600);
        assert_eq!(of("a.service", &unit(dir.path())).unwrap().one_of.len(), 2);
    }

    #[test]
    fn a_unit_without_conditions_waits_for_nothing() {
        assert_eq!(of("a.service", "[Service]\nExecStart=/usr/bin/conduit\n"), None);
        assert_eq!(waiting("nats-matrix-no-such.service"), None);
    }
}
