//! What the screen knows of the log it shows: whose it is, where in it one is, what is looked for, what is chosen. Plain
//! data: `update` asks for moves, `reader` carries them out and fills in the lines, `panes::log` draws them.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::logsearch::{Pattern, Tally};
use super::logtimes::Written;
use super::model::Cursor;
use crate::engine::ids::{TaskId, Time};
use crate::snapshot::{Detail, Output, Snapshot};
use crate::text::Look;

/// The log view goes at most so many cells to the side.
pub const MAX_SIDE: usize = 100_000;
/// How far the arrows go to the side.
pub const SIDE_STEP: usize = 8;

/// What the desk shows and how: the same for every log that is opened in it.
#[derive(Debug)]
pub struct Desk {
    /// Wrap long lines.
    pub wrap: bool,
    /// Show when each line was written.
    pub times: bool,
    /// Show the colours that the output asks for.
    pub colours: bool,
    /// The attempt chosen, of this task; none: the newest.
    pub attempt: Option<(TaskId, u32)>,
    /// The attempt before it beside it.
    pub beside: bool,
    /// What is beside it now.
    pub second: Option<Shown>,
    /// All outputs of this stage as one, by its name.
    pub merged: Option<String>,
    /// Where the queue's cursor was when that was asked for: once it moves, its task's log is shown again.
    pub merged_at: Cursor,
    /// What is merged now, and how many are left out.
    pub outputs: (Vec<Output>, usize),
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            wrap: false,
            times: false,
            colours: true,
            attempt: None,
            beside: false,
            second: None,
            merged: None,
            merged_at: Cursor::Nowhere,
            outputs: (vec![], 0),
        }
    }
}

/// What a log is read from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Source {
    /// Nothing there is.
    #[default]
    Nothing,
    /// A file that began to be written then and, if it is over, was written to until then.
    File(PathBuf, Time, Option<Time>),
    /// Those of a stage, as one.
    Merged(String),
}

/// An attempt whose log can be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its number.
    pub attempt: u32,
    /// How it ended, or "running".
    pub outcome: String,
    /// What it is read from.
    pub source: Source,
}

impl Desk {
    /// Attempts of the task under the cursor, the one that is chosen and then those before it.
    pub fn attempts(&self, detail: &Detail, snapshot: &Snapshot) -> Vec<Shown> {
        let chosen = self.attempt.filter(|(task, _)| *task == detail.row.task).map(|(_, attempt)| attempt);
        let lines = detail.attempts.iter().skip_while(|line| chosen.is_some_and(|chosen| line.attempt.0 > chosen));
        let mut shown: Vec<Shown> = lines
            .map(|line| {
                let file = |log: u64| {
                    let ended = line.ran.map(|ran| line.started.plus(ran));
                    Source::File(snapshot.header.log_dir.join(log.to_string()), line.started, ended)
                };
                let source = line.log.map_or(Source::Nothing, file);
                Shown { attempt: line.attempt.0, outcome: line.outcome.clone(), source }
            })
            .collect();
        // The newest is where the snapshot says it is.
        if let (None, Some(first), Some(path)) = (chosen, shown.first_mut(), &detail.log) {
            let (began, ended) = match &first.source {
                Source::File(_, began, ended) => (*began, *ended),
                _ => (detail.row.since, None),
            };
            first.source = Source::File(path.clone(), began, ended);
        }
        shown
    }

    /// What the log of this task is read from.
    pub fn source(&self, detail: Option<&Detail>, snapshot: &Snapshot) -> Source {
        let Some(detail) = detail else { return Source::Nothing };
        let first = self.attempts(detail, snapshot).into_iter().next().map(|shown| shown.source);
        first.unwrap_or_else(|| match &detail.log {
            Some(path) => Source::File(path.clone(), detail.row.since, None),
            None => Source::Nothing,
        })
    }

    /// What is read beside it.
    pub fn second(&self, detail: Option<&Detail>, snapshot: &Snapshot) -> Option<Shown> {
        if !self.beside {
            return None;
        }
        self.attempts(detail?, snapshot).into_iter().nth(1)
    }
}

/// A log that is shown.
#[derive(Debug, Default)]
pub struct Log {
    /// What it is read from.
    pub source: Source,
    /// Stay at its end.
    pub follow: bool,
    /// So many cells of each line are out of sight on the left.
    pub side: usize,
    /// Position of the first line shown: an offset, or a number among merged lines.
    pub top: u64,
    /// The position behind its last line.
    pub length: u64,
    /// Its length in bytes; of merged ones, in lines.
    pub size: u64,
    /// The lines shown.
    pub lines: Vec<LogLine>,
    /// Why nothing is shown.
    pub problem: Option<String>,
    /// What became of the file while one looked.
    pub note: Option<String>,
    /// Cells of the column of names: merged logs only.
    pub names: usize,
    /// What was last searched, as typed.
    pub needle: String,
    /// The same, understood.
    pub pattern: Option<Pattern>,
    /// How many lines of the whole log match, as far as is known.
    pub tally: Tally,
    /// The line of the last hit.
    pub hit: Option<u64>,
    /// The last search found nothing.
    pub missed: bool,
    /// A hit that is looked for.
    pub wanted: Option<Wanted>,
    /// What the reader is to do next.
    pub moves: VecDeque<LogMove>,
    /// Lines chosen: where it began, where it is; both belong to it.
    pub selection: Option<(u64, u64)>,
    /// The mouse went down on this line.
    pub pressed: Option<u64>,
    /// Text that was to be copied, and whether there was more.
    pub copied: Option<(String, bool)>,
}

impl Log {
    /// What is under one's eyes: the line the selection is at, the last hit, or the first line shown.
    pub fn eyes(&self) -> u64 {
        let shown = |at: &u64| self.lines.iter().any(|line| line.at == *at);
        let hit = self.hit.filter(shown);
        hit.or_else(|| if self.follow { self.lines.last() } else { self.lines.first() }.map(|line| line.at))
            .unwrap_or(0)
    }

    /// Whether this line is chosen.
    pub fn is_chosen(&self, at: u64) -> bool {
        self.selection.is_some_and(|(from, to)| (from.min(to)..=from.max(to)).contains(&at))
    }
}

/// A line as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogLine {
    /// Its position.
    pub at: u64,
    /// Made safe; begins where the view begins at the left.
    pub text: String,
    /// How it looks from which byte on.
    pub runs: Vec<(usize, Look)>,
    /// It goes on behind what is held here.
    pub cut: bool,
    /// It is longer than a line may be, and goes on in the next.
    pub broken: bool,
    /// It is the rest of a line that was cut.
    pub rest: bool,
    /// When it was written.
    pub written: Option<Written>,
    /// Whose it is, and which of the merged logs that is.
    pub name: Option<(usize, String)>,
}

/// A hit that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// From here.
    pub from: u64,
    /// Towards the end.
    pub forwards: bool,
    /// The line one is at counts too.
    pub here: bool,
}

/// A move within the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMove {
    /// Down by so many lines (up if negative).
    Lines(i64),
    /// To its beginning.
    Start,
    /// To its end.
    End,
    /// Look for the pattern from here.
    Search {
        /// Towards the end.
        forwards: bool,
    },
    /// Look for it from the beginning of the log.
    SearchFromStart,
    /// To the side, until the longest line that is seen ends in sight.
    SideEnd,
    /// The end of the selection goes down by so many lines (up if negative).
    Select(i64),
    /// Copy what is chosen.
    Copy,
}
