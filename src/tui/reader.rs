//! Keeps the log pane's lines fresh: opens what is to be shown, carries out the pane's moves and its search, reads just the
//! lines that are seen. The only part of the screen that reads files.

use std::io;
use std::path::PathBuf;

use super::log::{Log, LogLine, LogMove, MAX_SIDE, Source, Wanted};
use super::logfile::{Change, LogFile};
use super::logsearch::{Search, Step};
use super::logtimes::Watch;
use super::merged::Merged;
use crate::engine::ids::Time;
use crate::snapshot::Output;
use crate::text::{self, Look};

/// Moves that are carried out at one time.
const MAX_MOVES: usize = 256;
/// So many logs keep what is known of their times while another is shown.
const MAX_WATCHED: usize = 64;
/// So many bytes before the first line are looked at for the colour it begins in.
const LOOK_BACK: u64 = 8 * 1024;
/// At most so much is copied: terminals drop more, some hang on it.
const MAX_COPY: usize = 100_000;
/// A cell takes at most a few bytes; escape sequences may be longer, so there is room for them.
const BYTES_PER_CELL: u64 = 16;
const BYTES_MORE: u64 = 4096;

/// How the pane is, as far as the reader must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Rows of text.
    pub rows: usize,
    /// Cells of a row of text.
    pub cells: usize,
    /// Long lines go on in the next row.
    pub wrap: bool,
}

/// The open log, if there is one.
#[derive(Debug, Default)]
pub struct Reader {
    open: Option<Open>,
    /// Pane, cells out of sight, and what is searched for, when the lines were read last.
    shown: (Shape, usize),
    search: Option<Search>,
    /// What `search` looks for.
    needle: String,
    /// Logs shown before, the last one last.
    watched: Vec<(PathBuf, Watch)>,
    watch: Watch,
}

#[derive(Debug)]
enum Open {
    File(LogFile),
    Merged(Merged),
}

impl Reader {
    /// Brings `log` up to date for a pane of this shape. `outputs` are what a merged log is made of. Returns whether anything
    /// that is shown changed.
    pub fn serve(&mut self, log: &mut Log, source: &Source, outputs: &[Output], shape: Shape, now: Time) -> bool {
        let mut changed = self.open(log, source);
        log.moves.truncate(MAX_MOVES);
        if self.open.is_none() {
            log.moves.clear();
            log.wanted = None;
            return changed;
        }
        changed |= std::mem::replace(&mut self.shown, (shape, log.side)) != (shape, log.side);
        match self.update(log, outputs, shape, now) {
            Ok(moved) => changed |= moved,
            Err(e) => changed |= problem(log, &e),
        }
        if changed {
            match self.lines(log, shape) {
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

    /// Whether a search is under way.
    pub fn is_busy(&self) -> bool {
        self.search.as_ref().is_some_and(Search::is_busy)
    }

    /// Opens another log if another is to be shown.
    fn open(&mut self, log: &mut Log, source: &Source) -> bool {
        let same = match (&log.source, source) {
            (Source::File(a, ..), Source::File(b, ..)) => a == b,
            (a, b) => a == b,
        };
        // A file that could not be opened is tried again: it may be there now.
        if same && (*source == Source::Nothing || self.open.is_some()) {
            log.source.clone_from(source);
            return false;
        }
        if !same {
            self.change_watch(&log.source, source);
            *log = Log {
                source: source.clone(),
                follow: true,
                needle: std::mem::take(&mut log.needle),
                pattern: log.pattern.take(),
                ..Log::default()
            };
        }
        (self.open, self.search) = (None, None);
        match source {
            Source::Nothing => return true,
            Source::Merged(_) => self.open = Some(Open::Merged(Merged::default())),
            Source::File(path, ..) => match LogFile::open(path) {
                Ok(file) => self.open = Some(Open::File(file)),
                Err(e) => return problem(log, &e) || !same,
            },
        }
        log.moves.push_back(LogMove::End);
        true
    }

    /// What is known of a log's times is kept while others are shown.
    fn change_watch(&mut self, old: &Source, new: &Source) {
        let watch = std::mem::take(&mut self.watch);
        if let Source::File(path, ..) = old {
            self.watched.push((path.clone(), watch));
        }
        if let Source::File(path, ..) = new
            && let Some(at) = self.watched.iter().position(|(known, _)| known == path)
        {
            self.watch = self.watched.remove(at).1;
        }
        if self.watched.len() > MAX_WATCHED {
            self.watched.remove(0);
        }
    }

    fn update(&mut self, log: &mut Log, outputs: &[Output], shape: Shape, now: Time) -> io::Result<bool> {
        let grew = self.refresh(log, outputs, now)?;
        let before = (log.top, log.hit, log.wanted, log.follow, log.selection, log.missed, log.tally);
        let first = self.first();
        log.top = log.top.clamp(first, log.length.max(first));
        while let Some(step) = log.moves.pop_front() {
            self.carry_out(log, step, shape.rows)?;
        }
        self.search(log, shape.rows)?;
        if log.follow {
            log.top = self.back(log.length, shape.rows)?;
        }
        Ok(grew || before != (log.top, log.hit, log.wanted, log.follow, log.selection, log.missed, log.tally))
    }

    fn refresh(&mut self, log: &mut Log, outputs: &[Output], now: Time) -> io::Result<bool> {
        match &mut self.open {
            Some(Open::Merged(merged)) => {
                let grew = merged.serve(outputs, now)?;
                let (first, end) = merged.range();
                (log.length, log.size, log.names) = (end, end - first, merged.name_cells());
                log.note = merged.left_out.then(|| "older lines are left out".into());
                Ok(grew)
            }
            Some(Open::File(file)) => {
                let change = file.refresh()?;
                let another = match change {
                    Change::Truncated => Some("the file was truncated"),
                    Change::Replaced => Some("another file took its place"),
                    Change::Rewritten => Some("the file was written anew"),
                    _ => None,
                };
                if let Some(what) = another {
                    log.note = Some(what.into());
                    (log.hit, log.selection, log.tally) = (None, None, super::logsearch::Tally::default());
                    self.watch.forget();
                    if let Some(search) = &mut self.search {
                        search.begin_again();
                    }
                } else if change == Change::Removed {
                    log.note = Some("the file was removed; what was opened is shown".into());
                }
                let Some(Open::File(file)) = &self.open else { return Ok(false) };
                let (began, ended) = match &log.source {
                    Source::File(_, began, ended) => (*began, *ended),
                    _ => (now, None),
                };
                let modified = Time(file.modified_ms()).min(ended.unwrap_or(now)).max(began);
                self.watch.saw(file.length(), now, began, modified);
                (log.length, log.size) = (file.length(), file.length());
                Ok(!matches!(change, Change::Same | Change::Removed))
            }
            None => Ok(false),
        }
    }

    fn first(&self) -> u64 {
        match &self.open {
            Some(Open::Merged(merged)) => merged.range().0,
            _ => 0,
        }
    }

    fn back(&self, from: u64, lines: usize) -> io::Result<u64> {
        match &self.open {
            Some(Open::File(file)) => file.back(from, lines),
            Some(Open::Merged(merged)) => Ok(from.saturating_sub(lines as u64).max(merged.range().0)),
            None => Ok(0),
        }
    }

    fn forward(&self, from: u64, lines: usize) -> io::Result<u64> {
        match &self.open {
            Some(Open::File(file)) => file.forward(from, lines),
            Some(Open::Merged(merged)) => Ok((from + lines as u64).min(merged.range().1)),
            None => Ok(0),
        }
    }

    fn carry_out(&mut self, log: &mut Log, step: LogMove, rows: usize) -> io::Result<()> {
        match step {
            LogMove::Start => log.top = self.first(),
            LogMove::End => log.top = self.back(log.length, rows)?,
            LogMove::Lines(n) if n < 0 => log.top = self.back(log.top, n.unsigned_abs() as usize)?,
            LogMove::Lines(n) => {
                let last = self.back(log.length, rows)?;
                log.top = self.forward(log.top, n as usize)?.min(last.max(log.top));
                if log.top >= last {
                    log.follow = true;
                }
            }
            LogMove::Search { forwards } => {
                let from = log.hit.unwrap_or(if forwards { log.top } else { log.length });
                log.wanted = Some(Wanted { from, forwards, here: log.hit.is_none() });
                log.missed = false;
            }
            LogMove::SearchFromStart => {
                log.wanted = Some(Wanted { from: self.first(), forwards: true, here: true });
                log.missed = false;
            }
            LogMove::SideEnd => {
                let lines = self.lines(
                    &Log { top: log.top, side: 0, ..Log::default() },
                    Shape { rows, cells: MAX_SIDE, wrap: false },
                )?;
                let longest = lines.iter().map(|line| text::width(&line.text)).max().unwrap_or(0);
                log.side = longest.saturating_sub(self.shown.0.cells);
            }
            LogMove::Select(n) => {
                let Some((from, to)) = log.selection else { return Ok(()) };
                let lines = n.unsigned_abs() as usize;
                let last = self.back(log.length, 1)?;
                let to = match n {
                    i64::MIN => self.first(),
                    i64::MAX => last,
                    _ if n < 0 => self.back(to, lines)?,
                    _ => self.forward(to, lines)?.min(last),
                };
                log.selection = Some((from, to));
                log.follow = false;
                if to < log.top {
                    log.top = to;
                } else if self.forward(log.top, rows.saturating_sub(1))? < to {
                    log.top = self.back(to, rows.saturating_sub(1))?;
                }
            }
            LogMove::Copy => {
                if let Some((from, to)) = log.selection.take() {
                    log.copied = Some(self.copy(from.min(to), from.max(to))?);
                }
            }
        }
        Ok(())
    }

    /// The lines from one to another as plain safe text, within bounds.
    fn copy(&self, from: u64, to: u64) -> io::Result<(String, bool)> {
        let mut out = String::new();
        let mut at = from;
        while at <= to && out.len() < MAX_COPY {
            let (bytes, next, joined) = match &self.open {
                Some(Open::File(file)) if at < file.length() => {
                    let piece = file.piece(at)?;
                    (file.read(at, (piece.end - at).min(MAX_COPY as u64))?, piece.next, piece.cut)
                }
                Some(Open::Merged(merged)) => match merged.entry(at) {
                    Some(entry) => (entry.bytes.clone(), at + 1, false),
                    None => break,
                },
                _ => break,
            };
            out += &text::line(&bytes, MAX_COPY - out.len()).text;
            if !joined {
                out.push('\n');
            }
            at = next;
        }
        Ok((out, at <= to))
    }

    /// Goes on with the search, and to the hit that is wanted once it is known.
    fn search(&mut self, log: &mut Log, rows: usize) -> io::Result<()> {
        let Some(pattern) = &log.pattern else {
            self.search = None;
            return Ok(());
        };
        let another = self.needle != log.needle;
        if another {
            self.needle.clone_from(&log.needle);
            self.search = None;
        }
        let wanted = log.wanted;
        let step = match &mut self.open {
            Some(Open::File(file)) => {
                let reading = file.reading();
                let search = self.search.get_or_insert_with(|| Search::new(pattern.clone()));
                let (near, forwards) = wanted.map_or((log.top, false), |wanted| (wanted.from, wanted.forwards));
                search.serve(&reading, near, forwards)?;
                let step = wanted.map(|w| search.step(&reading, w.from, w.forwards, w.here)).transpose()?;
                let hit = if let Some(Step::Hit(hit)) = step { Some(hit) } else { log.hit };
                log.tally = search.tally(hit);
                step
            }
            Some(Open::Merged(merged)) => {
                if another {
                    merged.forget_hits();
                }
                merged.search(pattern);
                let step = wanted.map(|w| merged.step(w.from, w.forwards, w.here));
                let hit = if let Some(Step::Hit(hit)) = step { Some(hit) } else { log.hit };
                log.tally = merged.tally(hit);
                step
            }
            None => None,
        };
        match step {
            Some(Step::Hit(line)) => {
                (log.wanted, log.hit, log.follow) = (None, Some(line), false);
                let last = self.back(log.length, rows)?;
                log.top = self.back(line, rows / 3)?.min(last);
            }
            Some(Step::Nowhere) => (log.wanted, log.hit, log.missed) = (None, None, true),
            Some(Step::Later) | None => {}
        }
        Ok(())
    }

    /// The lines that are seen.
    fn lines(&self, log: &Log, shape: Shape) -> io::Result<Vec<LogLine>> {
        // A wrapped line may fill the pane alone.
        let cells = if shape.wrap { shape.rows.saturating_mul(shape.cells) } else { log.side + shape.cells };
        let side = if shape.wrap { 0 } else { log.side };
        match &self.open {
            Some(Open::File(file)) => self.file_lines(file, log.top, shape.rows, cells, side),
            Some(Open::Merged(merged)) => {
                let (_, end) = merged.range();
                let numbers = log.top..end.min(log.top + shape.rows as u64);
                let line = |number: u64| {
                    let entry = merged.entry(number)?;
                    let line = text::styled(&entry.bytes, cells, Look::default());
                    let name = Some((entry.source, merged.name(entry.source).to_owned()));
                    let line = LogLine { at: number, written: Some(entry.written), name, ..shown(line, side) };
                    Some(LogLine { cut: line.cut || entry.cut, broken: entry.cut, ..line })
                };
                Ok(numbers.filter_map(line).collect())
            }
            None => Ok(vec![]),
        }
    }

    fn file_lines(
        &self,
        file: &LogFile,
        from: u64,
        rows: usize,
        cells: usize,
        side: usize,
    ) -> io::Result<Vec<LogLine>> {
        let mut out = Vec::with_capacity(rows);
        let mut at = from;
        let before = from.saturating_sub(LOOK_BACK);
        let mut look = text::look_after(&file.read(before, from - before)?, Look::default());
        while out.len() < rows && at < file.length() {
            let piece = file.piece(at)?;
            let room = cells as u64 * BYTES_PER_CELL + BYTES_MORE;
            let bytes = file.read(at, (piece.end - at).min(room))?;
            let line = text::styled(&bytes, cells, look);
            look = if line.cut { text::look_after(&bytes, look) } else { line.last };
            let cut = line.cut || piece.cut || (bytes.len() as u64) < piece.end - at;
            let line =
                LogLine { at, rest: piece.rest, broken: piece.cut, written: self.watch.at(at), ..shown(line, side) };
            out.push(LogLine { cut, ..line });
            at = piece.next;
        }
        Ok(out)
    }
}

/// A line without its first `side` cells.
fn shown(line: text::Styled, side: usize) -> LogLine {
    let mut used = 0;
    let mut from = 0;
    for (at, c) in line.text.char_indices() {
        if used >= side && text::width(c.encode_utf8(&mut [0; 4])) > 0 {
            from = at;
            break;
        }
        used += text::width(c.encode_utf8(&mut [0; 4]));
        from = at + c.len_utf8();
    }
    // A wide character that is half out of sight leaves a blank.
    let blank = used.saturating_sub(side).min(from);
    let text = format!("{}{}", " ".repeat(blank), &line.text[from..]);
    let first = line.runs.iter().rev().find(|(at, _)| *at <= from).map(|(_, look)| (0, *look));
    let later = line.runs.iter().filter(|(at, _)| *at > from).map(|(at, look)| (at - from + blank, *look));
    LogLine { text, runs: first.into_iter().chain(later).collect(), cut: line.cut, ..LogLine::default() }
}

fn problem(log: &mut Log, error: &io::Error) -> bool {
    let text = Some(format!("cannot be read: {error}"));
    log.lines.clear();
    std::mem::replace(&mut log.problem, text.clone()) != text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::logsearch::Pattern;
    use super::*;
    use crate::text::Ink;

    const NOW: Time = Time(1_800_000_000_000);

    struct Pane {
        _file: tempfile::NamedTempFile,
        path: PathBuf,
        reader: Reader,
        log: Log,
        shape: Shape,
    }

    fn pane(content: &str) -> Pane {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        Pane {
            path: file.path().to_owned(),
            _file: file,
            reader: Reader::default(),
            log: Log::default(),
            shape: Shape { rows: 2, cells: 80, wrap: false },
        }
    }

    fn source(path: &Path) -> Source {
        Source::File(path.to_owned(), NOW, None)
    }

    impl Pane {
        fn serve(&mut self) -> bool {
            self.reader.serve(&mut self.log, &source(&self.path), &[], self.shape, NOW)
        }
        fn go(&mut self, step: LogMove) -> Vec<&str> {
            self.log.moves.push_back(step);
            self.serve();
            self.shown()
        }
        fn shown(&self) -> Vec<&str> {
            self.log.lines.iter().map(|line| line.text.as_str()).collect()
        }
        fn look_for(&mut self, needle: &str, step: LogMove) -> (Option<u64>, Option<u64>, u64) {
            self.log.needle = needle.into();
            self.log.pattern = Some(Pattern::new(needle).unwrap());
            self.log.moves.push_back(step);
            for _ in 0..3 {
                self.serve();
            }
            (self.log.hit, self.log.tally.rank, self.log.tally.lines)
        }
    }

    #[test]
    fn the_end_is_followed_until_one_scrolls_up_and_again_at_the_end() {
        let mut pane = pane("1\n2\n3\n4\n5\n");
        assert!(pane.serve());
        assert_eq!(pane.shown(), ["4", "5"]);
        assert!(!pane.serve(), "nothing new");
        std::fs::write(&pane.path, "1\n2\n3\n4\n5\n6\n").unwrap();
        pane.serve();
        assert_eq!(pane.shown(), ["5", "6"]);
        pane.log.follow = false;
        assert_eq!(pane.go(LogMove::Lines(-2)), ["3", "4"]);
        assert_eq!(pane.go(LogMove::Lines(9)), ["5", "6"]);
        assert!(pane.log.follow);
    }

    #[test]
    fn a_search_goes_up_then_on_and_round_with_its_count_and_says_when_there_is_nothing() {
        let mut pane = pane("a x\nb\nc x\nd\n");
        pane.serve();
        let (up, down) = (LogMove::Search { forwards: false }, LogMove::Search { forwards: true });
        assert_eq!(pane.look_for("x", up), (Some(6), Some(2), 2));
        assert!(!pane.log.follow);
        assert_eq!(pane.look_for("x", up), (Some(0), Some(1), 2));
        assert_eq!(pane.look_for("x", down), (Some(6), Some(2), 2));
        assert_eq!(pane.look_for("x", down), (Some(0), Some(1), 2), "round the end");
        assert_eq!(pane.look_for("re:^[bd]$", LogMove::SearchFromStart), (Some(4), Some(1), 2));
        assert_eq!(pane.look_for("y", down), (None, None, 0));
        assert_eq!((pane.log.wanted, pane.log.missed), (None, true));
    }

    #[test]
    fn a_missing_file_is_said_and_read_once_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let mut pane = pane("");
        pane.path = folder.path().join("log");
        pane.serve();
        assert!(pane.log.problem.is_some());
        std::fs::write(&pane.path, "here\n").unwrap();
        pane.serve();
        assert_eq!((pane.shown(), pane.log.problem.clone()), (vec!["here"], None));
    }

    #[test]
    fn a_file_that_was_truncated_or_replaced_is_followed_on_with_a_note() {
        let mut pane = pane("1\n2\n3\n");
        pane.serve();
        assert_eq!(pane.log.note, None);
        std::fs::write(&pane.path, "a\n").unwrap();
        pane.serve();
        assert_eq!((pane.shown(), pane.log.note.as_deref()), (vec!["a"], Some("the file was truncated")));
        let other = pane.path.with_extension("new");
        std::fs::write(&other, "b\n").unwrap();
        std::fs::rename(&other, &pane.path).unwrap();
        pane.serve();
        assert_eq!((pane.shown(), pane.log.note.as_deref()), (vec!["b"], Some("another file took its place")));
    }

    #[test]
    fn colours_reach_over_lines_and_the_side_is_cut_off_with_them() {
        let mut pane = pane("\x1b[31mone\ntwo\x1b[0m and\nthr\x1b[1mee\n");
        pane.shape.rows = 3;
        pane.serve();
        let red = Look { fg: Ink::Index(1), ..Look::default() };
        assert_eq!(pane.log.lines[0].runs, [(0, red)]);
        assert_eq!(pane.log.lines[1].runs, [(0, red), (3, Look::default())]);
        pane.shape.rows = 2;
        pane.serve();
        assert_eq!(pane.shown(), ["two and", "three"]);
        pane.log.side = 4;
        pane.serve();
        assert_eq!(pane.shown(), ["and", "e"]);
        assert_eq!(pane.log.lines[1].runs, [(0, Look { bold: true, ..Look::default() })]);
    }

    #[test]
    fn a_wide_character_at_the_left_edge_leaves_a_blank() {
        let mut pane = pane("日本語x\n");
        pane.serve();
        pane.log.side = 1;
        pane.serve();
        assert_eq!(pane.shown(), [" 本語x"]);
        pane.log.side = 99;
        pane.serve();
        assert_eq!(pane.shown(), [""]);
    }

    #[test]
    fn chosen_lines_are_copied_clean_and_within_bounds() {
        let mut pane = pane("1\n\x1b[31mtwo\x1b]52;c;eA==\x07\n3\n4\n");
        pane.serve();
        pane.log.selection = Some((2, 2));
        pane.go(LogMove::Select(1));
        pane.go(LogMove::Copy);
        assert_eq!(pane.log.copied.take(), Some(("two␛\n3\n".into(), false)));
        assert_eq!(pane.log.selection, None);
        std::fs::write(&pane.path, "x".repeat(300_000)).unwrap();
        pane.serve();
        pane.log.selection = Some((0, 250_000));
        pane.go(LogMove::Copy);
        let (text, more) = pane.log.copied.take().unwrap();
        assert!(text.len() <= MAX_COPY + 1 && more, "{} {more}", text.len());
    }
}
