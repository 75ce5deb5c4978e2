//! What a test says that does not run.

use std::{
    io::{self, Write as _},
    thread,
};

use anyhow::Result;

/// Says that the test of this thread does not run, and why: on the terminal, whatever becomes of a test's output.
pub fn not_run(why: &str) -> Result<()> {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not `eprintln!`, which the test harness keeps to itself.
    Ok(writeln!(io::stderr(), "NOT RUN: {test}: {why}")?)
}
