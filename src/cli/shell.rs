//! Completions and the manual page, made from the arguments.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::{Args, Completions};
use crate::error::{Error, Result};

/// `qd completions SHELL`.
pub fn completions(args: &Completions) -> Result<i32> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "qd", &mut text);
    Ok(print(&text))
}

/// `qd man`: one page with a part for each command.
pub fn man() -> Result<i32> {
    let mut command = Args::command();
    command.build();
    let text = page(&command).map_err(|error| Error::internal(format!("cannot make the manual page: {error}")))?;
    Ok(print(&text))
}

fn page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    page.extend_from_slice(b".SH COMMANDS\n");
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let mut part = Vec::new();
        let man = Man::new(verb.clone());
        man.render_synopsis_section(&mut part)?;
        man.render_description_section(&mut part)?;
        if verb.get_arguments().any(|argument| !argument.is_hide_set()) {
            man.render_options_section(&mut part)?;
        }
        // The same words, one level lower and without the headings that would be the same for each.
        let part = String::from_utf8_lossy(&part);
        page.extend_from_slice(format!(".SS qd {}\n", verb.get_name()).as_bytes());
        for line in part.lines().filter(|line| !line.starts_with(".ie") && !line.starts_with(".el")) {
            let line = if line.starts_with(".SH") { ".PP" } else { line };
            page.extend_from_slice(format!("{line}\n").as_bytes());
        }
    }
    man.render_extra_section(&mut page)?;
    Ok(page)
}

/// Writes to stdout; a reader that left early is no error.
pub(super) fn print(text: &[u8]) -> i32 {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
    0
}
