//! Reading: every line checked, facts in order, and at the end a judgement of what follows the last good line. Bounded
//! memory: some chunks, or one line. Changes nothing on the disk and does not know what the facts mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, SeekFrom, open, seek};
use thiserror::Error;

use crate::engine::fact::{FACT_VERSION, Fact, Stamped};

use super::line::{self, HEADER, Line, Parsed};
use super::sync::retry_interrupted;
use super::{MAX_LINE, Position};

mod decode;

use decode::{Chunk, Decoded, Decoders};

/// Bytes read at once.
const BLOCK: usize = 1 << 20;
/// Lines are handed to a decoder in chunks of about so many bytes.
const CHUNK: usize = 128 << 10;
/// Where no line at all is good, a good one is looked for in so many bytes only: it is not a session file.
const STRANGE: u64 = 16 << 20;
/// The search for good lines behind a bad one sums at most so many bytes of what only looks like lines.
const SEARCH: u64 = 4 << 30;

/// A line that is bad although good ones follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The number that the bad line should have; also the number of the line in the file.
    pub seq: u64,
    /// Where it begins.
    pub byte: u64,
    /// How many good lines are behind it (0 if the search was given up).
    pub good_after: u64,
}

/// What follows the last good line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// A last line that was not written to its end, or garbage, and nothing good behind it.
    Torn {
        /// How many bytes.
        lost_bytes: u64,
    },
    /// A bad line with good ones behind it: not the trace of a crash.
    Damaged(Damage),
    /// Written by a newer program: what this one understands was read. Never to be written by this one.
    Newer {
        /// Version of that program, as it says itself; empty if unknown.
        program: String,
        /// Its format.
        version: u32,
        /// The first fact that this program does not know, if there was one: reading stopped before it.
        unknown: Option<u64>,
    },
}

/// Where and how reading ended.
#[derive(Debug)]
pub struct End {
    /// After the last good line (with [`Tail::Newer`] it may be further than the facts that were given).
    pub position: Position,
    /// What follows it.
    pub tail: Tail,
    /// Version of the program that opened the session last, if that was read.
    pub program: Option<String>,
}

/// Why nothing can be said of a file.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is something else, or empty.
    #[error("not a session file: {why}")]
    NotASession {
        /// What is wrong with it.
        why: &'static str,
    },
    /// It cannot be read.
    #[error("the journal cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A whole journal.
#[derive(Debug)]
pub struct Read {
    /// Its facts; the first has number 1.
    pub facts: Vec<Stamped>,
    /// Where and how reading ended.
    pub end: End,
}

/// Reads a whole journal at once. For a long one fold from [`Reader`].
///
/// # Errors
/// See [`ReadError`]; a torn or damaged journal is none.
pub fn read(path: &Path) -> Result<Read, ReadError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut reader = Reader::new(File::from(open(path, flags, Mode::empty()).map_err(io::Error::from)?))?;
    let mut facts = Vec::new();
    while let Some(batch) = reader.next_batch() {
        facts.extend(batch.facts);
    }
    Ok(Read { facts, end: reader.finish()? })
}

/// Some facts in a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Number of the first.
    pub first: u64,
    /// At least one.
    pub facts: Vec<Stamped>,
}

/// Reads facts in order. As an iterator it gives `(number, fact)`; [`Reader::finish`] then says why it stopped.
pub struct Reader {
    lines: Lines,
    decoders: Decoders,
    /// The first fact that could not be decoded.
    unknown: Option<u64>,
    opened: Option<(u32, String)>,
    newest: u32,
    current: (u64, std::vec::IntoIter<Stamped>),
}

impl Reader {
    /// Reads a journal from its start.
    ///
    /// # Errors
    /// If it is no regular file, is empty, or cannot be read.
    pub fn new(file: File) -> Result<Self, ReadError> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(ReadError::NotASession { why: "it is no regular file" });
        }
        if meta.len() == 0 {
            return Err(ReadError::NotASession { why: "it is empty" });
        }
        Ok(Self::at(file, Position::default()))
    }

    /// Reads only what is behind `position`. `None` if the line before it is not the one `position` names: then the
    /// position is of another journal, and everything must be read.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn from(file: File, position: Position) -> Result<Option<Self>, ReadError> {
        let Some(size) = position.offset.checked_sub(position.line) else { return Ok(None) };
        let Ok(size) = usize::try_from(size) else { return Ok(None) };
        if !(HEADER..=HEADER + MAX_LINE).contains(&size) || file.metadata()?.len() < position.offset {
            return Ok(None);
        }
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, position.line)?;
        let same = matches!(line::parse(&bytes), Parsed::Good(line)
            if line.size == size && line.seq == position.seq && line.crc == position.crc);
        Ok(same.then(|| Self::at(file, position)))
    }

    fn at(file: File, position: Position) -> Self {
        Self {
            lines: Lines { file, position, block: Vec::new(), begin: 0, stop: None },
            decoders: Decoders::default(),
            unknown: None,
            opened: None,
            newest: 0,
            current: (0, Vec::new().into_iter()),
        }
    }

    /// Reads to the end without decoding a fact: the framing alone, for tests that do it often.
    #[cfg(test)]
    pub(super) fn skim(mut self) -> Result<End, ReadError> {
        while self.lines.next_chunk().is_some() {}
        self.finish()
    }

    /// The next facts, or `None` at the end.
    pub fn next_batch(&mut self) -> Option<Batch> {
        if self.unknown.is_some() {
            return None;
        }
        while self.decoders.has_room() {
            let Some(chunk) = self.lines.next_chunk() else { break };
            self.decoders.give(chunk);
        }
        let Decoded { first, facts, failed } = self.decoders.take()?;
        if failed {
            self.unknown = Some(first + facts.len() as u64);
        }
        for stamped in &facts {
            if let Fact::Opened { version, program, .. } = &stamped.fact {
                self.newest = self.newest.max(*version);
                self.opened = Some((*version, program.clone()));
            }
        }
        (!facts.is_empty()).then_some(Batch { first, facts })
    }

    /// Says where and how reading ended. What was not yet taken from the iterator is read first.
    ///
    /// # Errors
    /// [`ReadError::NotASession`] if not even the beginning of a line was found.
    pub fn finish(mut self) -> Result<End, ReadError> {
        while self.next_batch().is_some() {}
        let (version, program) = self.opened.unzip();
        let position = self.lines.position;
        let newer = |unknown| Tail::Newer {
            program: program.clone().unwrap_or_default(),
            version: version.unwrap_or(0).max(self.newest),
            unknown,
        };
        if let Some(seq) = self.unknown {
            return Ok(End { position, tail: newer(Some(seq)), program });
        }
        let tail = match self.lines.stop.take().expect("lines are read until they stop") {
            Stop::Failed(error) => return Err(error.into()),
            Stop::End => Tail::Clean,
            Stop::Bad => self.lines.judge()?,
        };
        // Also before damage: a repair would write, by rules that this program does not know.
        let tail = if self.newest > FACT_VERSION { newer(None) } else { tail };
        Ok(End { position, tail, program })
    }
}

impl Iterator for Reader {
    type Item = (u64, Stamped);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(fact) = self.current.1.next() {
                let seq = self.current.0;
                self.current.0 += 1;
                return Some((seq, fact));
            }
            let batch = self.next_batch()?;
            self.current = (batch.first, batch.facts.into_iter());
        }
    }
}

/// Why there are no more lines.
enum Stop {
    End,
    Bad,
    Failed(io::Error),
}

/// The checked lines of a file.
struct Lines {
    file: File,
    /// After the last good line.
    position: Position,
    /// Bytes of the file; those from `begin` on are from `position.offset` on.
    block: Vec<u8>,
    begin: usize,
    stop: Option<Stop>,
}

impl Lines {
    /// Some good lines in a row, or `None` with `stop` set.
    fn next_chunk(&mut self) -> Option<Chunk> {
        let mut chunk = Chunk { first: self.position.seq + 1, text: Vec::new() };
        while self.stop.is_none() && chunk.text.len() < CHUNK {
            let bytes = &self.block[self.begin..];
            match line::parse(bytes) {
                Parsed::Good(line) if follows(&self.position, &line) => {
                    chunk.text.extend_from_slice(&bytes[..line.size]);
                    self.begin += line.size;
                    let offset = self.position.offset;
                    let (seq, crc) = (line.seq, line.crc);
                    self.position = Position { seq, crc, offset: offset + line.size as u64, line: offset };
                }
                Parsed::Good(_) | Parsed::Bad => self.stop = Some(Stop::Bad),
                Parsed::Short(size) => {
                    if let Err(error) = self.fill(size) {
                        self.stop = Some(Stop::Failed(error));
                    }
                }
            }
        }
        (!chunk.text.is_empty()).then_some(chunk)
    }

    /// Sees to it that there are `size` bytes from `begin` on, or stops at the end of the file.
    fn fill(&mut self, size: usize) -> io::Result<()> {
        self.block.drain(..self.begin);
        self.begin = 0;
        let have = self.block.len();
        let at = self.position.offset + have as u64;
        let left = self.file.metadata()?.len().saturating_sub(at);
        let want = usize::try_from(left).unwrap_or(usize::MAX).saturating_add(have).clamp(1, BLOCK);
        read_upto(&self.file, &mut self.block, at, size.max(want))?;
        if self.block.len() < size {
            self.stop = Some(if self.block.is_empty() { Stop::End } else { Stop::Bad });
        }
        Ok(())
    }

    /// Judges the bad bytes behind `position`.
    fn judge(&self) -> Result<Tail, ReadError> {
        let begin = self.position.offset;
        let length = self.file.metadata()?.len();
        let strange = self.position.seq == 0;
        let search_to = if strange { length.min(STRANGE) } else { length };
        let found = Search { file: &self.file, end: search_to, summed: 0 }.good_lines(begin)?;
        if let Some(good_after) = found {
            return Ok(Tail::Damaged(Damage { seq: self.position.seq + 1, byte: begin, good_after }));
        }
        let mut head = Vec::new();
        read_upto(&self.file, &mut head, begin, HEADER)?;
        if strange && !line::could_begin(&head) {
            return Err(ReadError::NotASession { why: "it does not begin as a journal does" });
        }
        Ok(Tail::Torn { lost_bytes: length.saturating_sub(begin) })
    }
}

/// Whether this line is the one that comes after `position`.
fn follows(position: &Position, line: &Line<'_>) -> bool {
    line.seq == position.seq + 1 && line.prev == position.crc
}

/// Appends bytes of the file from `at` on, until `block` has `size` or the file ends.
fn read_upto(file: &File, block: &mut Vec<u8>, at: u64, size: usize) -> io::Result<()> {
    let (base, mut have) = (block.len() as u64, block.len());
    // Grown by what is really there: a length in a damaged line must not cost memory.
    while have < size {
        let want = (size - have).min(BLOCK);
        block.resize(have + want, 0);
        let got = retry_interrupted(|| file.read_at(&mut block[have..], at + have as u64 - base))?;
        have += got;
        block.truncate(have);
        if got == 0 {
            break;
        }
    }
    Ok(())
}

/// The search for good lines among bad bytes.
struct Search<'a> {
    file: &'a File,
    end: u64,
    summed: u64,
}

impl Search<'_> {
    /// How many good lines there are from `at` on; `None` if none, `Some(0)` if the search was given up.
    fn good_lines(mut self, mut at: u64) -> io::Result<Option<u64>> {
        let (mut found, mut block) = (0, Vec::new());
        while let Some(data) = self.next_data(at)? {
            at = data;
            block.clear();
            read_upto(self.file, &mut block, at, BLOCK)?;
            let mut next = at + (block.len().saturating_sub(HEADER - 1)).max(1) as u64;
            for (offset, head) in block.windows(HEADER).enumerate() {
                if head[8] != b' ' || head[17] != b' ' || head[28] != b' ' || !line::could_begin(head) {
                    continue;
                }
                if let Some(size) = self.line_at(at + offset as u64)? {
                    found += 1;
                    next = at + offset as u64 + size;
                    break;
                }
                if self.summed > SEARCH {
                    return Ok(Some(found));
                }
            }
            at = next;
        }
        Ok((found > 0).then_some(found))
    }

    /// The size of the line that begins just there, if one does.
    fn line_at(&mut self, at: u64) -> io::Result<Option<u64>> {
        let mut bytes = Vec::new();
        read_upto(self.file, &mut bytes, at, HEADER)?;
        if let Parsed::Short(size) = line::parse(&bytes) {
            self.summed += size as u64;
            read_upto(self.file, &mut bytes, at + HEADER as u64, size)?;
        }
        Ok(match line::parse(&bytes) {
            Parsed::Good(line) => Some(line.size as u64),
            _ => None,
        })
    }

    /// The next place from `at` on that is not in a hole of the file.
    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        if at >= self.end {
            return Ok(None);
        }
        match seek(self.file, SeekFrom::Data(at)) {
            Ok(data) => Ok(Some(data).filter(|&data| data < self.end)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // This file system knows no holes: everything is data.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => Ok(Some(at)),
            Err(error) => Err(error.into()),
        }
    }
}
