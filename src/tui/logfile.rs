//! A log as a window on a file of any size: opened from its end, read in small pieces, searched in pieces too, so that a
//! file of gigabytes opens at once and never stalls a key. Knows nothing of tasks or screens.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::text;

/// A line longer than this is cut into several.
pub const LINE_CUT: u64 = 64 * 1024;
/// Pieces in which a search reads.
const SEARCH_PIECE: usize = 1024 * 1024;
/// A search reads at most so much before it lets the keys have their turn.
const SEARCH_BUDGET: u64 = 8 * 1024 * 1024;
/// A needle is at most so long, in bytes.
const MAX_NEEDLE: usize = 1024;

/// An open log.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    id: (u64, u64),
    length: u64,
}

/// A line as shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogLine {
    /// Offset of its first byte.
    pub at: u64,
    /// Made safe.
    pub text: String,
    /// It is longer than what is shown.
    pub cut: bool,
}

/// Where a search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchStep {
    /// The line at this offset holds it.
    Found(u64),
    /// Not yet: go on from here.
    More(u64),
    /// Nowhere from there to the end (or the beginning).
    Nowhere,
}

impl LogFile {
    /// Opens it. Only regular files, and never through a blocking open: a path may have become a FIFO.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { path: path.to_owned(), id: (meta.dev(), meta.ino()), length: meta.len(), file })
    }

    /// Its length in bytes at the last look.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Looks again: whether it grew, shrank or was put in another's place (then that one is opened).
    pub fn refresh(&mut self) -> io::Result<bool> {
        let there = std::fs::metadata(&self.path).map(|meta| (meta.dev(), meta.ino()));
        if there.as_ref().is_ok_and(|id| *id != self.id) {
            *self = Self::open(&self.path)?;
            return Ok(true);
        }
        let length = self.file.metadata()?.len();
        let changed = length != self.length;
        self.length = length;
        Ok(changed)
    }

    /// Offset of the line that is `lines` above `from`.
    pub fn back(&self, from: u64, lines: usize) -> io::Result<u64> {
        let mut at = from.min(self.length);
        for _ in 0..lines {
            if at == 0 {
                break;
            }
            at = self.line_start_before(at)?;
        }
        Ok(at)
    }

    /// Offset of the line that is `lines` below `from`, at most the end.
    pub fn forward(&self, from: u64, lines: usize) -> io::Result<u64> {
        let mut at = from.min(self.length);
        for _ in 0..lines {
            if at >= self.length {
                break;
            }
            at = self.line_end(at)?.1;
        }
        Ok(at)
    }

    /// At most `rows` lines from `from`, each of at most `cells` cells.
    pub fn lines(&self, from: u64, rows: usize, cells: usize) -> io::Result<Vec<LogLine>> {
        let mut out = Vec::with_capacity(rows);
        let mut at = from;
        while out.len() < rows && at < self.length {
            let (end, next) = self.line_end(at)?;
            // A cell takes at most a few bytes of text; escape sequences may be longer, so there is room for them.
            let wanted = (end - at).min(LINE_CUT).min(cells as u64 * 16 + 4096);
            let bytes = self.read(at, wanted as usize)?;
            let line = text::line(&bytes, cells);
            let cut = line.cut || (bytes.len() as u64) < end - at || (end == next && next < self.length);
            out.push(LogLine { at, text: line.text, cut });
            at = next;
        }
        Ok(out)
    }

    /// Searches on from `from`, within a budget. Smart case: a needle without capitals matches both.
    pub fn search(&self, needle: &str, from: u64, forwards: bool) -> io::Result<SearchStep> {
        let needle = &needle.as_bytes()[..needle.len().min(MAX_NEEDLE)];
        if needle.is_empty() {
            return Ok(SearchStep::Nowhere);
        }
        let fold = !needle.iter().any(u8::is_ascii_uppercase);
        let mut at = from.min(self.length);
        let mut read = 0;
        while read < SEARCH_BUDGET {
            let overlap = needle.len() - 1;
            let (start, piece) = if forwards {
                (at, SEARCH_PIECE)
            } else {
                let start = at.saturating_sub(SEARCH_PIECE as u64);
                (start, (at - start) as usize)
            };
            // Backwards a match may begin before `at` and end after it.
            let bytes = self.read(start, piece + overlap)?;
            let hit = find(&bytes, needle, fold, forwards, piece);
            if let Some(hit) = hit {
                return Ok(SearchStep::Found(self.line_start(start + hit as u64)?));
            }
            let done = if forwards { start + piece as u64 >= self.length } else { start == 0 };
            if done {
                return Ok(SearchStep::Nowhere);
            }
            at = if forwards { start + piece as u64 } else { start };
            read += piece as u64;
        }
        Ok(SearchStep::More(at))
    }

    /// Where the line at `at` ends (without its newline) and where the next begins.
    fn line_end(&self, at: u64) -> io::Result<(u64, u64)> {
        let mut seen = at;
        while seen < (at + LINE_CUT).min(self.length) {
            let bytes = self.read(seen, 4096.min((at + LINE_CUT - seen) as usize))?;
            if bytes.is_empty() {
                break;
            }
            if let Some(newline) = bytes.iter().position(|b| *b == b'\n') {
                let end = seen + newline as u64;
                return Ok((end, end + 1));
            }
            seen += bytes.len() as u64;
        }
        let end = seen.min(at + LINE_CUT).max(at + 1);
        Ok((end, end))
    }

    /// Start of the line that holds the byte at `at`.
    fn line_start(&self, at: u64) -> io::Result<u64> {
        let floor = at.saturating_sub(LINE_CUT);
        let bytes = self.read(floor, (at - floor) as usize)?;
        Ok(bytes.iter().rposition(|b| *b == b'\n').map_or(floor, |newline| floor + newline as u64 + 1))
    }

    /// Start of the line before the one that begins at `at`.
    fn line_start_before(&self, at: u64) -> io::Result<u64> {
        // The byte before is its newline (or, in a line that was cut, an ordinary one): look before that.
        let floor = (at - 1).saturating_sub(LINE_CUT);
        let mut end = at - 1;
        while end > floor {
            let start = end.saturating_sub(4096).max(floor);
            let bytes = self.read(start, (end - start) as usize)?;
            if let Some(newline) = bytes.iter().rposition(|b| *b == b'\n') {
                return Ok(start + newline as u64 + 1);
            }
            end = start;
        }
        Ok(floor)
    }

    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let there = self.length.saturating_sub(at).min(length as u64) as usize;
        let mut bytes = vec![0; there];
        let mut filled = 0;
        while filled < there {
            match self.file.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// Offset in `bytes` of the first (or last) match that begins within `limit`.
fn find(bytes: &[u8], needle: &[u8], fold: bool, forwards: bool, limit: usize) -> Option<usize> {
    let last = bytes.len().checked_sub(needle.len())?;
    let upper = needle[0].to_ascii_uppercase();
    let same = |at: &usize| {
        let window = &bytes[*at..*at + needle.len()];
        (window[0] == needle[0] || fold && window[0] == upper)
            && if fold { window.eq_ignore_ascii_case(needle) } else { window == needle }
    };
    let mut range = 0..(last + 1).min(limit);
    if forwards { range.find(same) } else { range.rfind(same) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn log(content: &[u8]) -> (tempfile::NamedTempFile, LogFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let log = LogFile::open(file.path()).unwrap();
        (file, log)
    }

    fn texts(log: &LogFile, from: u64, rows: usize) -> Vec<String> {
        log.lines(from, rows, 80).unwrap().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_tail_is_found_from_the_end_and_scrolling_is_there_and_back() {
        let (_file, log) = log(b"one\ntwo\nthree\nfour\n");
        let top = log.back(log.length(), 2).unwrap();
        assert_eq!(texts(&log, top, 9), ["three", "four"]);
        assert_eq!(texts(&log, log.back(top, 1).unwrap(), 2), ["two", "three"]);
        assert_eq!(log.forward(log.back(top, 1).unwrap(), 1).unwrap(), top);
        assert_eq!(log.back(log.length(), 99).unwrap(), 0);
    }

    #[test]
    fn a_last_line_without_newline_and_an_empty_file_are_shown() {
        let (_file, one) = log(b"a\nb");
        assert_eq!(texts(&one, one.back(one.length(), 1).unwrap(), 9), ["b"]);
        let (_file, none) = log(b"");
        assert_eq!(texts(&none, none.back(0, 5).unwrap(), 9), [""; 0]);
    }

    #[test]
    fn a_sparse_file_of_a_gibibyte_without_newlines_opens_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 30).unwrap();
        let log = LogFile::open(file.path()).unwrap();
        let began = std::time::Instant::now();
        let top = log.back(log.length(), 50).unwrap();
        let lines = log.lines(top, 50, 200).unwrap();
        assert!(lines.len() >= 49 && lines[0].cut);
        // Reading it all would take far longer than a busy machine may need for this.
        assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    }

    #[test]
    fn what_was_truncated_or_replaced_is_read_anew() {
        let (file, mut log) = log(b"one\ntwo\n");
        file.as_file().set_len(0).unwrap();
        assert!(log.refresh().unwrap());
        assert_eq!(texts(&log, 0, 9), [""; 0]);
        let other = file.path().with_extension("other");
        std::fs::write(&other, "new\n").unwrap();
        std::fs::rename(&other, file.path()).unwrap();
        assert!(log.refresh().unwrap());
        assert_eq!(texts(&log, 0, 9), ["new"]);
    }

    #[test]
    fn a_search_finds_what_lies_across_two_pieces_both_ways_and_folds_case() {
        let mut content = vec![b'.'; SEARCH_PIECE * 3];
        for at in (100..content.len()).step_by(100) {
            content[at] = b'\n';
        }
        let at = SEARCH_PIECE * 2 - 3;
        content[at..at + 6].copy_from_slice(b"Needle");
        let (_file, log) = log(&content);
        let line = log.line_start(at as u64).unwrap();
        assert_eq!(log.search("needle", 0, true).unwrap(), SearchStep::Found(line));
        assert_eq!(log.search("needle", log.length(), false).unwrap(), SearchStep::Found(line));
        assert_eq!(log.search("nEedle", 0, true).unwrap(), SearchStep::Nowhere);
        assert_eq!(log.search("needle", at as u64 + 1, true).unwrap(), SearchStep::Nowhere);
        assert_eq!(log.search("needle", line, false).unwrap(), SearchStep::Nowhere);
    }

    #[test]
    fn a_long_search_stops_at_its_budget_and_goes_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SEARCH_BUDGET * 2).unwrap();
        let log = LogFile::open(file.path()).unwrap();
        let SearchStep::More(at) = log.search("x", 0, true).unwrap() else { panic!("did not stop") };
        assert_eq!(at, SEARCH_BUDGET);
        assert_eq!(log.search("x", at, true).unwrap(), SearchStep::Nowhere);
    }

    #[test]
    fn a_fifo_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(LogFile::open(&path).is_err());
    }
}
