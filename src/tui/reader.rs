//! Keeps the log pane's lines fresh: opens the file of the task under the cursor, carries out the pane's moves and its
//! search, reads just the lines that are shown. The only part of the screen that reads files.

use std::io;
use std::path::Path;

use super::logfile::{LogFile, SearchStep};
use super::model::{Log, LogMove, Searching};

/// Moves that are carried out at one time.
const MAX_MOVES: usize = 256;

/// The open log, if there is one.
#[derive(Debug, Default)]
pub struct Reader {
    file: Option<LogFile>,
    shape: (usize, usize, bool),
}

impl Reader {
    /// Brings `log` up to date for a pane of `rows` × `cells`. Returns whether anything that is shown changed.
    pub fn serve(&mut self, log: &mut Log, path: Option<&Path>, rows: usize, cells: usize) -> bool {
        let mut changed = self.open(log, path);
        log.moves.truncate(MAX_MOVES);
        let Some(file) = &mut self.file else {
            log.moves.clear();
            log.searching = None;
            return changed;
        };
        let shape = (rows, cells, log.wrap);
        changed |= std::mem::replace(&mut self.shape, shape) != shape;
        match update(file, log, rows) {
            Ok(moved) => changed |= moved,
            Err(e) => changed |= problem(log, &e),
        }
        if changed {
            // A wrapped line may fill the pane alone.
            let most = if log.wrap { rows.saturating_mul(cells) } else { cells };
            match file.lines(log.top, rows, most) {
                Ok(lines) => {
                    log.lines = lines;
                    log.problem = None;
                }
                Err(e) => {
                    problem(log, &e);
                }
            }
        }
        changed
    }

    /// Opens another file if the cursor is on another task.
    fn open(&mut self, log: &mut Log, path: Option<&Path>) -> bool {
        let same = log.path.as_deref() == path;
        // A file that could not be opened is tried again: it may be there now.
        if same && (path.is_none() || self.file.is_some()) {
            return false;
        }
        if !same {
            *log = Log {
                path: path.map(Path::to_owned),
                follow: true,
                wrap: log.wrap,
                needle: std::mem::take(&mut log.needle),
                ..Log::default()
            };
        }
        self.file = None;
        let Some(path) = path else { return true };
        match LogFile::open(path) {
            Ok(file) => {
                self.file = Some(file);
                log.moves.push_back(LogMove::End);
                true
            }
            Err(e) => problem(log, &e) || !same,
        }
    }
}

fn problem(log: &mut Log, error: &io::Error) -> bool {
    let text = Some(format!("cannot be read: {error}"));
    log.lines.clear();
    std::mem::replace(&mut log.problem, text.clone()) != text
}

fn update(file: &mut LogFile, log: &mut Log, rows: usize) -> io::Result<bool> {
    let grew = file.refresh()?;
    log.length = file.length();
    let before = (log.top, log.hit, log.searching, log.follow);
    if log.top > log.length {
        // Truncated under us: begin again.
        log.top = 0;
    }
    while let Some(step) = log.moves.pop_front() {
        carry_out(file, log, step, rows)?;
    }
    if log.searching.is_some() {
        search(file, log, rows)?;
    }
    if log.follow {
        log.top = file.back(log.length, rows)?;
    }
    Ok(grew || before != (log.top, log.hit, log.searching, log.follow))
}

fn carry_out(file: &LogFile, log: &mut Log, step: LogMove, rows: usize) -> io::Result<()> {
    match step {
        LogMove::Start => log.top = 0,
        LogMove::End => log.top = file.back(log.length, rows)?,
        LogMove::Lines(n) if n < 0 => log.top = file.back(log.top, n.unsigned_abs() as usize)?,
        LogMove::Lines(n) => {
            let last = file.back(log.length, rows)?;
            log.top = file.forward(log.top, n as usize)?.min(last.max(log.top));
            if log.top >= last {
                log.follow = true;
            }
        }
        LogMove::Search { forwards } => {
            let from = match (log.hit, forwards) {
                (Some(hit), true) => file.forward(hit, 1)?,
                (Some(hit), false) => hit,
                (None, true) => log.top,
                (None, false) => log.length,
            };
            log.missed = false;
            log.searching = Some(Searching { at: from, forwards, wrapped: false });
        }
    }
    Ok(())
}

/// Searches on within its budget; at the end it goes round once.
fn search(file: &LogFile, log: &mut Log, rows: usize) -> io::Result<()> {
    let Some(search) = log.searching else { return Ok(()) };
    match file.search(&log.needle, search.at, search.forwards)? {
        SearchStep::Found(line) => {
            log.searching = None;
            log.hit = Some(line);
            log.follow = false;
            log.top = file.back(line, rows / 3)?;
        }
        SearchStep::More(at) => log.searching = Some(Searching { at, ..search }),
        SearchStep::Nowhere if !search.wrapped => {
            let at = if search.forwards { 0 } else { log.length };
            log.searching = Some(Searching { at, wrapped: true, ..search });
        }
        SearchStep::Nowhere => {
            log.searching = None;
            log.missed = true;
            log.hit = None;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pane(content: &str) -> (tempfile::NamedTempFile, Reader, Log) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        (file, Reader::default(), Log { follow: true, ..Log::default() })
    }

    fn shown(log: &Log) -> Vec<&str> {
        log.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn the_end_is_followed_until_one_scrolls_up_and_again_at_the_end() {
        let (file, mut reader, mut log) = pane("1\n2\n3\n4\n5\n");
        let path = Some(file.path());
        assert!(reader.serve(&mut log, path, 2, 80));
        assert_eq!(shown(&log), ["4", "5"]);
        assert!(!reader.serve(&mut log, path, 2, 80), "nothing new");
        std::fs::write(file.path(), "1\n2\n3\n4\n5\n6\n").unwrap();
        reader.serve(&mut log, path, 2, 80);
        assert_eq!(shown(&log), ["5", "6"]);
        log.follow = false;
        log.moves.push_back(LogMove::Lines(-2));
        reader.serve(&mut log, path, 2, 80);
        assert_eq!(shown(&log), ["3", "4"]);
        log.moves.push_back(LogMove::Lines(9));
        reader.serve(&mut log, path, 2, 80);
        assert_eq!((shown(&log), log.follow), (vec!["5", "6"], true));
    }

    #[test]
    fn a_search_goes_up_then_on_and_round_and_says_when_there_is_nothing() {
        let (file, mut reader, mut log) = pane("a x\nb\nc x\nd\n");
        let path = Some(file.path());
        log.needle = "x".into();
        let hit = |reader: &mut Reader, log: &mut Log, forwards| {
            log.moves.push_back(LogMove::Search { forwards });
            for _ in 0..3 {
                reader.serve(log, path, 2, 80);
            }
            log.hit
        };
        reader.serve(&mut log, path, 2, 80);
        assert_eq!(hit(&mut reader, &mut log, false), Some(6));
        assert_eq!(hit(&mut reader, &mut log, false), Some(0));
        assert_eq!(hit(&mut reader, &mut log, true), Some(6));
        assert_eq!(hit(&mut reader, &mut log, true), Some(0), "round the end");
        log.needle = "y".into();
        assert_eq!(hit(&mut reader, &mut log, true), None);
        assert_eq!((log.searching, log.missed), (None, true));
    }

    #[test]
    fn a_missing_file_is_said_and_read_once_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut reader = Reader::default();
        let mut log = Log { follow: true, ..Log::default() };
        reader.serve(&mut log, Some(&path), 2, 80);
        assert!(log.problem.is_some());
        std::fs::write(&path, "here\n").unwrap();
        reader.serve(&mut log, Some(&path), 2, 80);
        assert_eq!((shown(&log), log.problem.clone()), (vec!["here"], None));
    }
}
