//! `qd`: arguments, error report, exit code. Nothing else.

fn main() {}
