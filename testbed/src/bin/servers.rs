//! Says which servers the testbed uses, fetching them first if this machine has none.
//!
//! One `NAME=path` a line, for scripts; `testbed/images/build` makes container images of them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is what it is for")]

use std::process::ExitCode;

use anyhow::Result;
use nats_matrix_testbed::cache;

fn main() -> ExitCode {
    match servers() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("servers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn servers() -> Result<()> {
    println!("NATS_SERVER_BIN={}", cache::nats_server()?.display());
    match cache::conduit()? {
        Some(conduit) => println!("CONDUIT_BIN={}", conduit.display()),
        None => println!("SYNAPSE_PYTHON={}", cache::synapse_python()?.display()),
    }
    Ok(())
}
