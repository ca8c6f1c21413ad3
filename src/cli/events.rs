//! `qd ctl events`: what happened in a session, read from its journal, in the lines of a run without a screen. Asks nobody:
//! it works on sessions that run, that are over and whose console is gone, and slows none of them.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::resume::open_journal;
use crate::engine::fact::{Fact, Stamped};
use crate::engine::state::State;
use crate::error::{Error, Result};
use crate::headless::{Item, Lines, Style, is_told, summary};
use crate::server::orders::PATTERNS;
use crate::session::folder::{Folder, LOG};
use crate::session::journal::Position;
use crate::session::journal::read::{Reader, Tail};
use crate::session::lock::living_holder;
use crate::text;

/// How often the journal is looked at for more.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// `qd ctl events`.
pub(super) fn events(folder: &Folder, tasks: &[String], follow: bool, as_json: bool) -> Result<i32> {
    let style = if as_json { Style::Json } else { Style::Plain };
    let mut teller =
        Teller { state: State::default(), lines: None, wanted: wanted(tasks)?, style, seq: 0, closed: None };
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    let mut reader = Reader::new(open_journal(folder)?).map_err(Error::from)?;
    loop {
        // Whoever is gone before the last look at the journal has written nothing after it.
        let lives = living_holder(folder).is_some();
        let end = loop {
            let Some(batch) = reader.next_batch() else { break reader.finish().map_err(Error::from)? };
            for stamped in &batch.facts {
                if !teller.tell(&mut out, stamped, folder) {
                    return Ok(0);
                }
            }
        };
        if !flush(&mut out) {
            return Ok(0);
        }
        if !matches!(end.tail, Tail::Clean | Tail::Torn { .. }) {
            let message = format!("session {} was told as far as its journal can be read", folder.name());
            return Err(Error::usage(message).hint("qd doctor says what is wrong with it"));
        }
        if !follow {
            return Ok(0);
        }
        if !lives {
            return teller.over(&mut out, folder);
        }
        reader = next(folder, end.position, LOOK_EVERY)?;
    }
}

/// What came behind `position`, as soon as there is something or the console is gone.
pub(super) fn next(folder: &Folder, position: Position, every: Duration) -> Result<Reader> {
    let gone = || Error::usage(format!("session {}: its journal is not the one that was read", folder.name()));
    loop {
        std::thread::sleep(every);
        let file = open_journal(folder)?;
        let size = file.metadata().map_err(|error| Error::usage(error.to_string()))?.len();
        if size != position.offset || living_holder(folder).is_none() {
            return Reader::from(file, position).map_err(Error::from)?.ok_or_else(gone);
        }
    }
}

struct Teller {
    state: State,
    lines: Option<Lines>,
    /// All tasks and what concerns none, if nothing is said.
    wanted: Option<GlobSet>,
    style: Style,
    seq: u64,
    closed: Option<i32>,
}

impl Teller {
    /// False once nobody reads any more.
    fn tell(&mut self, out: &mut impl Write, stamped: &Stamped, folder: &Folder) -> bool {
        self.state.apply(stamped);
        self.seq += 1;
        self.closed = if let Fact::Closed { code } = &stamped.fact { Some(*code) } else { None };
        if self.style == Style::Plain && !is_told(&stamped.fact) {
            return true;
        }
        let item = Item::of(&self.state, stamped, self.seq);
        let of_task = |wanted: &GlobSet| item.task.as_ref().is_some_and(|task| wanted.is_match(&task.id));
        if !self.wanted.as_ref().is_none_or(of_task) {
            return true;
        }
        let start = || Lines { style: self.style, started: stamped.at, log_dir: folder.path().join(LOG) };
        let lines = self.lines.get_or_insert_with(start);
        if self.state.loaded {
            lines.started = self.state.started;
        }
        lines.write(out, &item).is_ok()
    }

    /// The session is over, or its console gone.
    fn over(&self, out: &mut impl Write, folder: &Folder) -> Result<i32> {
        if self.closed.is_none() {
            let message = format!("session {}: its console is gone", folder.name());
            return Err(Error {
                kind: crate::error::Kind::Stopped,
                message,
                hint: Some(format!("qd resume {}", folder.name())),
            });
        }
        if self.style == Style::Plain && self.wanted.is_none() {
            let words = summary(&self.state, self.state.now.since(self.state.started));
            // Nobody reads any more: nothing is left to do.
            let _ = writeln!(out, "{}", text::clean(&words));
            flush(out);
        }
        Ok(0)
    }
}

fn flush(out: &mut impl Write) -> bool {
    out.flush().is_ok()
}

fn wanted(tasks: &[String]) -> Result<Option<GlobSet>> {
    if tasks.is_empty() {
        return Ok(None);
    }
    if tasks.len() > PATTERNS {
        return Err(Error::usage(format!("more than {PATTERNS} names at once")));
    }
    let mut set = GlobSetBuilder::new();
    for name in tasks {
        // a name may hold what a glob gives a meaning to
        let is_glob = name.contains(['*', '?']);
        let pattern = if is_glob { name.clone() } else { globset::escape(name) };
        set.add(GlobBuilder::new(&pattern).build().map_err(|error| Error::usage(error.to_string()))?);
    }
    Ok(Some(set.build().map_err(|error| Error::usage(error.to_string()))?))
}
