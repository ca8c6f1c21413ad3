//! `qd report` and `qd diff`: sessions read back, and what is to be said of them.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;

use super::args::{Diff, Report as ReportArgs, Written};
use super::live;
use super::resume::{Replay, replay};
use super::shell::print;
use crate::engine::decide::Engine;
use crate::engine::ids::Time;
use crate::error::{Error, Result};
use crate::headless::last_lines;
use crate::report::{self, Report, diff};
use crate::runtime::clock::Clock;
use crate::session::folder::LOG;
use crate::session::lock::living_holder;
use crate::snapshot::build::Frozen;

/// So many last lines of an output are quoted.
const LAST_WORDS: usize = 3;

/// `qd report`.
pub fn report(args: &ReportArgs) -> Result<i32> {
    let report = read(&args.session)?;
    let zone = TimeZone::system();
    let text = if args.written.html { report::html(&report, &zone) } else { report::markdown(&report, &zone) };
    deliver(&args.written, &text)
}

/// `qd diff`.
pub fn compare(args: &Diff) -> Result<i32> {
    let diff = diff::diff(read(&args.before)?, read(&args.after)?);
    let zone = TimeZone::system();
    let text = if args.written.html { diff::html(&diff, &zone) } else { diff::markdown(&diff, &zone) };
    deliver(&args.written, &text)
}

fn read(session: &str) -> Result<Report> {
    let folder = live::sessions()?.folder(session)?;
    let Replay { state, .. } = replay(&folder)?;
    let at = if living_holder(&folder).is_some() { Clock::new(Time(0)).now() } else { state.now };
    let mut engine = Engine::new(state);
    engine.look_around();
    let log_dir = folder.path().join(LOG);
    let frozen = Frozen { engine, session: session.to_owned(), log_dir: log_dir.clone(), ..Frozen::default() };
    Ok(Report::of(&frozen, at, |log| last_lines(&log_dir.join(log.to_string()), LAST_WORDS)))
}

fn deliver(written: &Written, text: &str) -> Result<i32> {
    match &written.output {
        Some(path) => to_file(path, text).map(|()| 0),
        None => Ok(print(text.as_bytes())),
    }
}

fn to_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::usage(format!("cannot write {}: {error}", path.display())))
}
