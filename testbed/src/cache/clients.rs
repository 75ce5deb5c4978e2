//! The script and the browser that the test with the engine of Element Web needs.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::{named_or_on_path, once, run};

const PACKAGE: &str = include_str!("../../clients/package.json");
const LOCK: &str = include_str!("../../clients/package-lock.json");
const PAGE: &str = include_str!("../../clients/read-room.js");

/// A script for a browser: `clients/read-room.js` with matrix-js-sdk, in one file.
///
/// # Errors
///
/// Also when there is no npm.
pub fn js_client() -> Result<PathBuf> {
    let npm = named_or_on_path("NPM_BIN", "npm")?.context(
        "there is no npm on PATH (on Debian and Ubuntu: apt install npm); name it in NPM_BIN",
    )?;
    let about = "matrix-js-sdk and esbuild from npm (about 12 MB, once)";
    let made = once("js-client", about, &[PACKAGE, LOCK, PAGE], |dir| {
        fs::create_dir(dir)?;
        for (name, contents) in
            [("package.json", PACKAGE), ("package-lock.json", LOCK), ("read-room.js", PAGE)]
        {
            fs::write(dir.join(name), contents)?;
        }
        let mut install = Command::new(npm);
        install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
        run(install.current_dir(dir))?;
        let modules = dir.join("node_modules");
        let mut bundle = Command::new(modules.join(".bin/esbuild"));
        bundle.args(["read-room.js", "--bundle", "--format=esm", "--outfile=bundle.js"]);
        run(bundle.arg("--log-level=error").current_dir(dir))?;
        Ok(fs::remove_dir_all(modules)?)
    })?;
    Ok(made.join("bundle.js"))
}

/// Chromium, or a browser made of it: `$CHROMIUM_BIN`, or what of these is on `PATH`.
///
/// # Errors
///
/// When there is none.
pub fn chromium() -> Result<PathBuf> {
    for program in ["chromium", "chromium-browser", "google-chrome"] {
        if let Some(found) = named_or_on_path("CHROMIUM_BIN", program)? {
            return Ok(found);
        }
    }
    bail!("there is no Chromium on PATH (on Debian: apt install chromium); name it in CHROMIUM_BIN")
}
