//! The program `nats-matrix`; see `nats-matrix --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nats_matrix::main()
}
