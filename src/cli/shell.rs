//! Completions and the manual page, made from the arguments.

use std::io::{self, Write};

use clap::CommandFactory;

use super::args::{Args, Completions};
use crate::error::Result;

/// `qd completions SHELL`.
pub fn completions(args: &Completions) -> Result<i32> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "qd", &mut text);
    Ok(print(&text))
}

/// `qd man`.
pub fn man() -> Result<i32> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Args::command())
        .render(&mut text)
        .map_err(|error| crate::error::Error::internal(format!("cannot make the manual page: {error}")))?;
    Ok(print(&text))
}

/// Writes to stdout; a reader that left early is no error.
pub(super) fn print(text: &[u8]) -> i32 {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
    0
}
