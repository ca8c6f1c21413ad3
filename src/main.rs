//! `qd`: arguments, error report, exit code. Nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    quarterdeck::cli::main()
}
