//! A hard limit on what a process may have of memory that is its own, kept by the kernel: who goes beyond it is killed
//! or gets no more.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nats_matrix_testbed::leash::OnExit;

/// The ways in which Linux can do it, the surest first.
#[derive(Debug)]
enum Means {
    /// `memory.limit_in_bytes` of a control group, which takes root.
    CgroupV1(Cgroup),
    /// `memory.max` of one, which takes root or a part of the tree that is ours.
    CgroupV2(Cgroup),
    /// `RLIMIT_DATA`, which anybody may set. It counts what is reserved, even if it is never touched.
    Data,
}

/// Has the kernel keep a limit of so many bytes.
type Way = fn(u64) -> Result<Means>;

/// A limit for processes that are started under it.
#[derive(Debug)]
pub(crate) struct Limit {
    means: Means,
    bytes: u64,
}

/// A control group of our own.
#[derive(Debug)]
struct Cgroup {
    directory: PathBuf,
    /// Removes it when this is dropped.
    _guard: OnExit,
}

/// Tries for a while: a process that was killed leaves its group a moment later.
const REMOVE: &str = r#"
tries=0
until ! [ -d "$1" ] || rmdir -- "$1" || [ "$tries" -ge 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
"#;

/// Moves itself into the group `$1` and becomes the program behind it.
const ENTER: &str = r#"echo "$$" >"$1/cgroup.procs" && shift && exec "$@""#;
/// Takes a limit of `$1` KiB and becomes the program behind it.
const TAKE: &str = r#"ulimit -d "$1" && shift && exec "$@""#;
/// Holds as many bytes as `$1` says.
const HOLD: &str = r#"held=$(head -c "$1" /dev/zero | tr '\0' x) && [ -n "$held" ]"#;

impl Limit {
    /// The surest limit of so many bytes that this machine keeps, or the one that needs no rights.
    ///
    /// # Errors
    ///
    /// Why there is none, for each way.
    pub(crate) fn new(bytes: u64, without_rights: bool) -> Result<Self> {
        let mut obstacles = Vec::new();
        let ways: [(&str, Way); 3] = [
            ("cgroup v1", |bytes| cgroup_v1(bytes).map(Means::CgroupV1)),
            ("cgroup v2", |bytes| cgroup_v2(bytes).map(Means::CgroupV2)),
            ("RLIMIT_DATA", |_| Ok(Means::Data)),
        ];
        for (name, way) in ways.into_iter().skip(if without_rights { 2 } else { 0 }) {
            let limit = way(bytes).map(|means| Self { means, bytes });
            match limit.and_then(|limit| limit.try_out().map(|()| limit)) {
                Ok(limit) => return Ok(limit),
                Err(error) => obstacles.push(format!("{name}: {error:#}")),
            }
        }
        bail!("memory cannot be limited here: {}", obstacles.join("; "))
    }

    /// A command that runs a program under the limit.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut shell = Command::new("sh");
        match &self.means {
            Means::CgroupV1(cgroup) | Means::CgroupV2(cgroup) => {
                shell.args(["-c", ENTER, "limit"]).arg(&cgroup.directory);
            }
            Means::Data => {
                shell.args(["-c", TAKE, "limit"]).arg((self.bytes / 1024).to_string());
            }
        }
        shell.arg(program.as_ref());
        shell
    }

    /// A limit that limits nothing would prove nothing: who stays below lives, and who does not does not.
    fn try_out(&self) -> Result<()> {
        let holds = |bytes: u64| -> Result<bool> {
            let mut command = self.command("sh");
            command.args(["-c", HOLD, "hold", &bytes.to_string()]);
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            Ok(status.context("cannot run sh")?.success())
        };
        if !holds(self.bytes / 8)? {
            bail!("a process cannot be started under it");
        }
        if holds(2 * self.bytes)? {
            bail!("it is not kept");
        }
        Ok(())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.bytes / (1024 * 1024);
        match self.means {
            Means::CgroupV1(_) => write!(f, "{mib} MiB by cgroup v1, memory.limit_in_bytes"),
            Means::CgroupV2(_) => write!(f, "{mib} MiB by cgroup v2, memory.max"),
            Means::Data => write!(f, "{mib} MiB by RLIMIT_DATA, which counts reserved memory, too"),
        }
    }
}

impl Cgroup {
    fn make(parent: &Path, bytes: u64, limit: &str, swap: &[(&str, u64)]) -> Result<Self> {
        let directory = parent.join(format!("nats-matrix-memory-{}", std::process::id()));
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let text = directory.to_str().context("the path of the control group is not UTF-8")?;
        let guard = OnExit::run(REMOVE, &[text])?;
        let file = directory.join(limit);
        // A kernel without the controller has no such file, and in a control group none can be made.
        fs::write(&file, bytes.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
        // Else what is too much would go there.
        for (file, value) in swap {
            let file = directory.join(file);
            if file.exists() {
                fs::write(&file, value.to_string())
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
        Ok(Self { directory, _guard: guard })
    }
}

fn cgroup_v1(bytes: u64) -> Result<Cgroup> {
    let has_memory = |mount: &Mount| {
        mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "memory")
    };
    let own = own_group(|controllers| controllers.split(',').any(|name| name == "memory"));
    let parent = mounted(has_memory)?.directory_of(&own.context("this process is in none")?);
    let swap = [("memory.memsw.limit_in_bytes", bytes)];
    Cgroup::make(&parent, bytes, "memory.limit_in_bytes", &swap)
}

fn cgroup_v2(bytes: u64) -> Result<Cgroup> {
    let mount = mounted(|mount| mount.kind == "cgroup2")?;
    let own = mount.directory_of(&own_group(str::is_empty).context("this process is in none")?);
    // One that has processes has no groups with limits below it, so it is beside ours, or further up.
    let parents = own.ancestors().take_while(|parent| parent.starts_with(&mount.point));
    let mut obstacle = anyhow::anyhow!("there is no group for it");
    for parent in parents {
        match Cgroup::make(parent, bytes, "memory.max", &[("memory.swap.max", 0)]) {
            Ok(cgroup) => return Ok(cgroup),
            Err(error) => obstacle = error,
        }
    }
    Err(obstacle)
}

/// A line of `/proc/self/mountinfo`.
struct Mount {
    root: PathBuf,
    point: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    fn read(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?.into(), before.next()?.into());
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?.to_owned(), after.nth(1)?.to_owned());
        Some(Self { root, point, kind, options })
    }

    /// The directory of a group. In a container only a part of all groups may be mounted.
    fn directory_of(&self, group: &Path) -> PathBuf {
        let within = group.strip_prefix(&self.root).or_else(|_| group.strip_prefix("/"));
        let directory = self.point.join(within.unwrap_or(Path::new("")));
        if directory.is_dir() { directory } else { self.point.clone() }
    }
}

fn mounted(is_it: impl Fn(&Mount) -> bool) -> Result<Mount> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let found = mounts.lines().filter_map(Mount::read).find(is_it);
    found.context("it is not mounted")
}

/// The group of this process in the hierarchy whose controllers are those.
fn own_group(is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        Some(fields.next()?.into()).filter(|_: &PathBuf| is_it(controllers))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_without_rights_is_kept() {
        let limit = Limit::new(64 * 1024 * 1024, true).unwrap();
        assert!(limit.to_string().contains("RLIMIT_DATA"), "{limit}");
    }

    #[test]
    fn a_group_is_found_where_it_is_mounted() {
        let line = "30 25 0:26 /docker/a /sys rw,relatime shared:9 - cgroup cgroup rw,memory";
        let mount = Mount::read(line).unwrap();
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("cgroup", "rw,memory"));
        assert_eq!(mount.directory_of(Path::new("/docker/a/kernel")), Path::new("/sys/kernel"));
        assert_eq!(mount.directory_of(Path::new("/docker/b")), Path::new("/sys"));
    }
}
