//! What a test says that does not run.

use std::{
    env,
    io::{self, Write as _},
    thread,
};

use anyhow::{Result, bail};

/// Says that the test of this thread does not run, and why: on the terminal, whatever becomes of a test's output.
pub fn not_run(why: &str) -> Result<()> {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not `eprintln!`, which the test harness keeps to itself.
    Ok(writeln!(io::stderr(), "NOT RUN: {test}: {why}")?)
}

/// Says that the test of this thread does not run, because this machine lacks something.
///
/// # Errors
///
/// With `CI` set, since there everything is to be had.
pub fn not_run_without(what: &anyhow::Error) -> Result<()> {
    if env::var_os("CI").is_some_and(|ci| !ci.is_empty()) {
        bail!("this test has to run in CI: {what:#}");
    }
    not_run(&format!("{what:#}"))
}
