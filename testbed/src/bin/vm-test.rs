//! `cargo vm-test`: the scenarios of `nixos-tests` in virtual machines with Debian 12, into which apt
//! installs the package as it was built just now.
//!
//! This gathers what goes into such a machine; `nixos-tests/debian` has the image, the driver and
//! the scenarios.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to a person")]

use std::{
    env, fs,
    os::unix,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use nats_matrix_testbed::{
    ScratchDir,
    cache::{self, tools},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../nixos-tests/debian");

/// Runs scenarios in virtual machines with Debian 12, 2 CPUs and 2 GB, each in one of its own.
///
/// Builds the Debian package and an image first. The homeserver is Conduit if there is one
/// (`$CONDUIT_BIN`, or `conduit` on the `PATH`), else Synapse. What cannot run says so.
#[derive(Debug, Parser)]
#[command(name = "cargo vm-test", bin_name = "cargo vm-test")]
struct Arguments {
    /// Such as install-reboot-memory or report-arrives; all by default.
    scenarios: Vec<String>,
    /// A package to upgrade from. By default the one of now, with a lower version.
    #[arg(long, value_name = "DEB")]
    previous: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo vm-test: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the image and its QEMU are for x86_64");
    }
    refuse_newer_libc()?;
    arguments.scenarios.iter().try_for_each(|name| refuse_unknown(name))?;
    let work = cache::dir()?.join("vm-test");
    let scratch = ScratchDir::new("vm-test")?;
    let payload = scratch.path();
    let conduit = conduit()?;
    // First, as it also installs what this machine lacks, such as Python.
    let image = image(&work.join("images"), conduit.is_none())?;
    packages(payload, arguments.previous.as_deref())?;
    programs(payload, conduit.as_deref())?;

    let logs = work.join("logs");
    // It ends QEMU when it is told to stop, and so it has to be when this is killed.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", cache::python()?.program, "-u"])
        .arg(Path::new(TESTS).join("run"))
        .arg("--image")
        .arg(image)
        .arg("--payload")
        .arg(payload)
        .arg("--logs")
        .arg(logs)
        .args(&arguments.scenarios)
        .status()
        .context("cannot run the scenarios")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program that is built with a newer C library than Debian 12's 2.36 does not start there, and that would only show
/// after everything is built.
fn refuse_newer_libc() -> Result<()> {
    let said =
        Command::new("getconf").arg("GNU_LIBC_VERSION").output().context("cannot run getconf")?;
    let said = String::from_utf8(said.stdout)?;
    let minor = said.trim().strip_prefix("glibc 2.").and_then(|minor| minor.parse::<u32>().ok());
    match minor {
        Some(minor) if minor <= 36 => Ok(()),
        Some(_) => bail!(
            "what is built here, with {}, may not run on Debian 12, which has glibc 2.36: run this on Debian 12, or in \
             a container of it",
            said.trim()
        ),
        None => bail!("what is built here does not run on Debian 12: this machine has no glibc"),
    }
}

/// A slip in a name had better show before everything is built.
fn refuse_unknown(scenario: &str) -> Result<()> {
    let script = format!("{}.py", scenario.replace('-', "_"));
    let tests = Path::new(TESTS);
    if tests.join(&script).is_file() || tests.join("..").join(&script).is_file() {
        return Ok(());
    }
    bail!("there is no scenario {scenario}; nixos-tests/README.md lists them");
}

/// The Conduit to test with, unless the environment asks for Synapse.
fn conduit() -> Result<Option<PathBuf>> {
    let kind = env::var("NATS_MATRIX_HOMESERVER_KIND").unwrap_or_default();
    match (kind.as_str(), cache::conduit()?) {
        ("" | "conduit", Some(conduit)) => Ok(Some(conduit)),
        ("conduit", None) => bail!("there is no Conduit: name it in CONDUIT_BIN"),
        ("" | "synapse", _) => {
            println!(
                "NOT RUN: Conduit, as there is none here (CONDUIT_BIN); Synapse is in its place"
            );
            Ok(None)
        }
        _ => bail!("NATS_MATRIX_HOMESERVER_KIND is \"{kind}\": it may be conduit or synapse"),
    }
}

/// Has the image built, or found. Only root can make the files of a system, so this asks for sudo.
fn image(directory: &Path, with_python: bool) -> Result<PathBuf> {
    // Not by root, whose the rest of the cache would be.
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let build = Path::new(TESTS).join("build-image");
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(build)
    } else {
        println!("building the image as root, with sudo");
        let mut sudo = Command::new("sudo");
        sudo.arg(build);
        sudo
    };
    command.arg(directory);
    if with_python {
        command.arg("python3");
    }
    let output = command.stderr(Stdio::inherit()).output().context("cannot run build-image")?;
    if !output.status.success() {
        bail!("the image could not be built");
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// The Debian packages: of now, and one to upgrade from.
fn packages(payload: &Path, previous: Option<&Path>) -> Result<()> {
    cargo(&["build", "--release", "--locked", "--package", "nats-matrix"])?;
    let manual = ["run", "--release", "--locked", "--package", "nats-matrix-manual", "--"];
    cargo(&[&manual[..], &["bridge/manual"]].concat())?;
    let program = tools::cargo_deb()?;
    let package = |more: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["--package", "nats-matrix", "--no-build", "--locked", "--quiet"]);
        command.args(more).current_dir(ROOT).stderr(Stdio::inherit());
        let output = command.output().context("cannot run cargo-deb")?;
        if !output.status.success() {
            bail!("cargo-deb could not make the package");
        }
        Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
    };
    let put = |package: &Path, name: &str| {
        fs::copy(package, payload.join(name))
            .with_context(|| format!("cannot copy {}", package.display()))
    };
    let previous = match previous {
        Some(previous) => previous.to_owned(),
        None => package(&["--deb-version", "0.0.1-1"])?,
    };
    put(&previous, "nats-matrix-previous.deb")?;
    let now = package(&[])?;
    put(&now, "nats-matrix.deb")?;
    println!("the package is {}", now.display());
    Ok(())
}

/// The programs that other people make, and what the tests publish with.
fn programs(payload: &Path, conduit: Option<&Path>) -> Result<()> {
    let link = |target: &Path, name: &str| {
        fs::canonicalize(target)
            .and_then(|target| unix::fs::symlink(target, payload.join(name)))
            .with_context(|| format!("cannot link {}", target.display()))
    };
    link(&Path::new(TESTS).join("hub"), "hub")?;
    link(&cache::nats_server()?, "nats-server")?;
    // Cargo puts it beside this program.
    cargo(&["build", "--locked", "--package", "nats-matrix-testbed", "--bin", "nats"])?;
    link(&env::current_exe()?.with_file_name("nats"), "nats")?;
    if let Some(conduit) = conduit {
        link(conduit, "conduit")?;
    } else {
        link(&Path::new(TESTS).join("synapse"), "synapse")?;
        link(&tools::synapse_for_debian()?, "synapse-packages")?;
    }
    match tools::cloudflared() {
        Ok(cloudflared) => link(&cloudflared, "cloudflared")?,
        Err(error) => println!("NOT RUN: cloudflared (CLOUDFLARED_BIN): {error:#}"),
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    finish(Command::new(cargo).args(arguments).current_dir(ROOT))
}

fn finish(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        bail!("{} failed ({status})", program.display());
    }
    Ok(())
}
