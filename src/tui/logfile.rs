//! A log as a window on a file of any size: opened from its end, read in small pieces, so that a file of gigabytes opens at
//! once and never stalls a key. What a line is depends on the bytes around it alone, so that it is the same from above, from
//! below and to a search. Knows nothing of tasks or screens.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::{memchr, memrchr};

/// A line that goes on for longer than this is cut where the file's offset is a multiple of it (so no line that is shown
/// is longer than twice this).
pub const LINE_CUT: u64 = 64 * 1024;
/// Most newlines are found within so many bytes.
const STEP: u64 = 4096;
/// So many bytes before the end are remembered, to know whether what is before them is still the same file.
const TAIL: u64 = 64;

/// An open log.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Arc<File>,
    id: (u64, u64),
    length: u64,
    modified_ms: u64,
    tail: Vec<u8>,
    cut: u64,
}

/// What a second look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing new.
    Same,
    /// More at its end.
    Grew,
    /// It is shorter than it was.
    Truncated,
    /// Another file has its name now: that one is read.
    Replaced,
    /// Its length may be as before, but not what it says.
    Rewritten,
    /// Its name is gone; what was opened is still read.
    Removed,
}

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Offset of its first byte.
    pub at: u64,
    /// Of the byte behind its last, without the newline.
    pub end: u64,
    /// Of the next line.
    pub next: u64,
    /// It goes on after that: it was cut.
    pub cut: bool,
    /// It is the rest of a line that was cut.
    pub rest: bool,
}

impl LogFile {
    /// Opens it. Only regular files, and never through a blocking open: a path may have become a FIFO.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with_cut(path, LINE_CUT)
    }

    fn open_with_cut(path: &Path, cut: u64) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut this = Self {
            path: path.to_owned(),
            id: (meta.dev(), meta.ino()),
            length: meta.len(),
            modified_ms: modified(&meta),
            file: Arc::new(file),
            tail: Vec::new(),
            cut,
        };
        this.tail = this.read_tail()?;
        Ok(this)
    }

    /// Its length in bytes at the last look.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// When it was last written to, ms since 1970.
    pub fn modified_ms(&self) -> u64 {
        self.modified_ms
    }

    /// The same open file for another thread.
    pub fn reading(&self) -> Reading {
        Reading { file: self.file.clone(), length: self.length, cut: self.cut }
    }

    /// Looks again: whether it grew, shrank or was put in another's place (then that one is opened).
    pub fn refresh(&mut self) -> io::Result<Change> {
        let named = std::fs::metadata(&self.path);
        if named.as_ref().is_ok_and(|meta| (meta.dev(), meta.ino()) != self.id) {
            *self = Self::open_with_cut(&self.path, self.cut)?;
            return Ok(Change::Replaced);
        }
        let meta = self.file.metadata()?;
        let (before, length) = (self.length, meta.len());
        let written = modified(&meta) != self.modified_ms;
        self.modified_ms = modified(&meta);
        if length == before && !written {
            return Ok(if named.is_err() { Change::Removed } else { Change::Same });
        }
        let same = length >= before && self.read_tail()? == self.tail;
        self.length = length;
        self.tail = self.read_tail()?;
        Ok(match length {
            _ if length < before => Change::Truncated,
            _ if !same => Change::Rewritten,
            _ if length > before => Change::Grew,
            _ => Change::Same,
        })
    }

    fn read_tail(&self) -> io::Result<Vec<u8>> {
        let from = self.length.saturating_sub(TAIL);
        self.read(from, TAIL)
    }

    /// Offset of the line that is `lines` above `from`.
    pub fn back(&self, from: u64, lines: usize) -> io::Result<u64> {
        let reading = self.reading();
        let mut at = from.min(self.length);
        for _ in 0..lines {
            if at == 0 {
                break;
            }
            at = reading.start_before(at)?;
        }
        Ok(at)
    }

    /// Offset of the line that is `lines` below `from`, at most the end.
    pub fn forward(&self, from: u64, lines: usize) -> io::Result<u64> {
        let reading = self.reading();
        let mut at = from.min(self.length);
        for _ in 0..lines {
            if at >= self.length {
                break;
            }
            at = reading.piece(at)?.next;
        }
        Ok(at)
    }

    /// The line that begins at `at`.
    pub fn piece(&self, at: u64) -> io::Result<Piece> {
        self.reading().piece(at)
    }

    /// At most `most` bytes from `at`.
    pub fn read(&self, at: u64, most: u64) -> io::Result<Vec<u8>> {
        self.reading().read(at, most)
    }
}

fn modified(meta: &std::fs::Metadata) -> u64 {
    let ms = meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000);
    u64::try_from(ms).unwrap_or(0)
}

/// An open log as far as it was at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    file: Arc<File>,
    /// How far it is read.
    pub length: u64,
    /// Where lines that go on are cut.
    pub cut: u64,
}

impl Reading {
    /// The line that begins at `at`.
    pub fn piece(&self, at: u64) -> io::Result<Piece> {
        // The first multiple that may be a cut: as many bytes of this line before it.
        let limit = (at + self.cut).next_multiple_of(self.cut);
        let mut seen = at;
        let mut step = STEP;
        while seen <= limit && seen < self.length {
            let bytes = self.read(seen, step.min(limit + 1 - seen))?;
            if bytes.is_empty() {
                break;
            }
            if let Some(newline) = memchr(b'\n', &bytes) {
                let end = seen + newline as u64;
                return Ok(Piece { at, end, next: end + 1, cut: false, rest: self.is_rest(at)? });
            }
            seen += bytes.len() as u64;
            step = self.cut;
        }
        let cut = limit < self.length && seen > limit;
        let end = if cut { limit } else { self.length.max(at + 1) };
        Ok(Piece { at, end: end.min(self.length), next: end, cut, rest: self.is_rest(at)? })
    }

    /// A line that begins elsewhere than behind a newline was cut.
    fn is_rest(&self, at: u64) -> io::Result<bool> {
        Ok(at > 0 && at.is_multiple_of(self.cut) && self.read(at - 1, 1)?.first() != Some(&b'\n'))
    }

    /// The greatest offset before `at` at which a line begins. `at` is above 0.
    pub fn start_before(&self, at: u64) -> io::Result<u64> {
        let last = at - 1;
        let near = last.saturating_sub(STEP.min(self.cut));
        let bytes = self.read(near, last - near)?;
        if let Some(newline) = memrchr(b'\n', &bytes) {
            return Ok(near + newline as u64 + 1);
        }
        // A long line: it was cut at one of the last two multiples, or begins after them.
        let multiple = last / self.cut * self.cut;
        let low = multiple.saturating_sub(2 * self.cut);
        let bytes = self.read(low, at - low)?;
        let before = usize::try_from(last - low).unwrap_or(usize::MAX).min(bytes.len());
        let newline = memrchr(b'\n', &bytes[..before]).map(|newline| low + newline as u64 + 1);
        for cut in [multiple, multiple.saturating_sub(self.cut)] {
            let long = cut >= low + self.cut && newline.is_none_or(|start| cut >= start + self.cut);
            let ends_there = bytes.get((cut - low.min(cut)) as usize) == Some(&b'\n');
            if cut > 0 && long && !ends_there {
                return Ok(cut);
            }
        }
        Ok(newline.unwrap_or(low))
    }

    /// The first line that begins at `at` or behind it.
    pub fn start_from(&self, at: u64) -> io::Result<u64> {
        if at == 0 || at >= self.length {
            return Ok(at.min(self.length));
        }
        let start = self.start_before(at + 1)?;
        if start == at { Ok(at) } else { Ok(self.piece(start)?.next.min(self.length)) }
    }

    /// At most `most` bytes from `at`.
    pub fn read(&self, at: u64, most: u64) -> io::Result<Vec<u8>> {
        let there = self.length.saturating_sub(at).min(most) as usize;
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn log(content: &[u8]) -> (tempfile::NamedTempFile, LogFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let log = LogFile::open(file.path()).unwrap();
        (file, log)
    }

    fn texts(log: &LogFile, from: u64, rows: usize) -> Vec<String> {
        let mut at = from;
        let mut out = Vec::new();
        while out.len() < rows && at < log.length() {
            let piece = log.piece(at).unwrap();
            out.push(String::from_utf8(log.read(at, piece.end - at).unwrap()).unwrap());
            at = piece.next;
        }
        out
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
        let began = std::time::Instant::now();
        let log = LogFile::open(file.path()).unwrap();
        let top = log.back(log.length(), 50).unwrap();
        let piece = log.piece(top).unwrap();
        assert!(piece.cut && piece.rest && piece.end - piece.at <= 2 * LINE_CUT, "{piece:?}");
        // Reading it all would take far longer than a busy machine may need for this.
        assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    }

    #[test]
    fn what_was_truncated_replaced_rewritten_or_removed_is_told_apart() {
        let (file, mut log) = log(b"one\ntwo\n");
        assert_eq!(log.refresh().unwrap(), Change::Same);
        let append = |bytes: &[u8]| {
            std::fs::File::options().append(true).open(file.path()).unwrap().write_all(bytes).unwrap();
        };
        append(b"three\n");
        assert_eq!(log.refresh().unwrap(), Change::Grew);
        file.as_file().set_len(4).unwrap();
        assert_eq!(log.refresh().unwrap(), Change::Truncated);
        assert_eq!(texts(&log, 0, 9), ["one"]);
        std::fs::write(file.path(), "uno\ndue\ntre\n").unwrap();
        assert_eq!(log.refresh().unwrap(), Change::Rewritten, "longer, but not the same");
        let other = file.path().with_extension("other");
        std::fs::write(&other, "new\n").unwrap();
        std::fs::rename(&other, file.path()).unwrap();
        assert_eq!(log.refresh().unwrap(), Change::Replaced);
        assert_eq!(texts(&log, 0, 9), ["new"]);
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(log.refresh().unwrap(), Change::Removed);
        assert_eq!(texts(&log, 0, 9), ["new"]);
    }

    #[test]
    fn a_fifo_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(LogFile::open(&path).is_err());
    }

    proptest! {
        /// The lines of any bytes are the same from above and from below, leave nothing out, and none is longer than it may
        /// be; and so they are when the file is only a part of what it becomes.
        #[test]
        fn lines_of_any_bytes_are_the_same_from_both_ends(
            bytes in prop::collection::vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n'), 1 => any::<u8>()], 0..300),
            cut in 4u64..40,
        ) {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            let log = LogFile::open_with_cut(file.path(), cut).unwrap();
            let mut starts = vec![];
            let mut at = 0;
            let mut whole = Vec::new();
            while at < log.length() {
                let piece = log.piece(at).unwrap();
                prop_assert!(piece.next > at && piece.end - piece.at <= 2 * cut, "{piece:?}");
                prop_assert_eq!(piece.rest, at > 0 && bytes[at as usize - 1] != b'\n');
                let line = log.read(at, piece.end - at).unwrap();
                prop_assert!(!line.contains(&b'\n'));
                prop_assert_eq!(piece.cut, piece.end < log.length() && bytes[piece.end as usize] != b'\n');
                whole.extend(line);
                if piece.next > piece.end {
                    whole.push(b'\n');
                }
                starts.push(at);
                at = piece.next;
            }
            prop_assert_eq!(&whole, &bytes);
            let mut back = vec![];
            let mut at = log.length();
            while at > 0 {
                at = log.back(at, 1).unwrap();
                back.push(at);
            }
            back.reverse();
            prop_assert_eq!(&back, &starts);
            let reading = log.reading();
            for at in 0..log.length() {
                let want = starts.iter().copied().find(|start| *start >= at).unwrap_or(log.length());
                prop_assert_eq!(reading.start_from(at).unwrap(), want, "from {}", at);
            }
        }
    }
}
