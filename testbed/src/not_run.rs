//! The words of tests that do not run.

use std::{
    env,
    io::{self, Write as _},
    thread,
};

use anyhow::{Result, bail};

/// Says that the test of this thread does not run because this machine lacks something: on the terminal, whatever
/// becomes of a test's output.
///
/// # Errors
///
/// With `CI` set, since there everything is to be had.
pub fn not_run(why: &anyhow::Error) -> Result<()> {
    if env::var_os("CI").is_some_and(|ci| !ci.is_empty()) {
        bail!("this test has to run in CI: {why:#}");
    }
    tell(&format!("{why:#}"))
}

/// Says that the test of this thread does not run because it has no meaning for the servers that it is run with, also in
/// CI.
///
/// # Errors
///
/// The terminal cannot be written to.
pub fn not_meant_for(servers: &str) -> Result<()> {
    tell(&format!("it is not meant for {servers}"))
}

fn tell(why: &str) -> Result<()> {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not `eprintln!`, which the test harness keeps to itself.
    Ok(writeln!(io::stderr(), "NOT RUN: {test}: {why}")?)
}
