//! Several logs as one, in the order of time, each line with whose it is. The last part of each is taken in when it is
//! opened, then what they grow by as it comes; held in memory, which is bounded. Knows files, not tasks.

use std::collections::VecDeque;
use std::io;

use super::logfile::{Change, LogFile};
use super::logsearch::{Pattern, Step, Tally};
use super::logtimes::{Watch, Written};
use crate::engine::ids::Time;
use crate::snapshot::Output;

/// At most so many logs are merged.
pub const MAX_MERGED: usize = 24;
/// So much of the end of each is taken in.
const HISTORY: u64 = 512 * 1024;
/// At most so much is taken in of one log at one look; more is left out and said.
const MAX_GROWTH: u64 = 1024 * 1024;
/// All lines together take at most so much; the oldest go first.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// There are at most so many lines.
const MAX_LINES: usize = 200_000;

/// A line of one of them.
#[derive(Debug)]
pub struct Entry {
    /// Which log.
    pub source: usize,
    /// Its bytes, without the newline.
    pub bytes: Vec<u8>,
    /// When it was written.
    pub written: Written,
    /// It is longer than what is held.
    pub cut: bool,
}

/// Logs that are read together.
#[derive(Debug, Default)]
pub struct Merged {
    sources: Vec<Source>,
    entries: VecDeque<Entry>,
    /// Number of the first entry: entries keep theirs.
    first: u64,
    bytes: usize,
    /// Something is not shown: lines before the first, or a burst.
    pub left_out: bool,
    hits: Vec<u64>,
    searched: u64,
}

#[derive(Debug)]
struct Source {
    output: Output,
    file: Option<LogFile>,
    watch: Watch,
    taken: u64,
}

impl Merged {
    /// Takes in what is new: logs that were not there before, and what each grew by. Returns whether there is anything.
    pub fn serve(&mut self, outputs: &[Output], now: Time) -> io::Result<bool> {
        let mut fresh: Vec<Entry> = Vec::new();
        let mut opened = false;
        for output in outputs {
            let known = self.sources.iter().any(|source| source.output.log == output.log);
            if !known && self.sources.len() < MAX_MERGED {
                self.sources.push(Source { output: output.clone(), file: None, watch: Watch::default(), taken: 0 });
                opened = true;
            }
        }
        for index in 0..self.sources.len() {
            self.take_in(index, now, &mut fresh);
        }
        if fresh.is_empty() {
            return Ok(opened);
        }
        // Stable: what came in one look from one log stays in its order.
        fresh.sort_by_key(|entry| entry.written.at);
        if opened && !self.entries.is_empty() {
            // The history of one that came later belongs between what is there.
            let mut all: Vec<Entry> = self.entries.drain(..).chain(fresh).collect();
            all.sort_by_key(|entry| entry.written.at);
            self.entries = all.into();
            (self.hits, self.searched) = (vec![], self.first);
        } else {
            self.entries.extend(fresh);
        }
        self.bytes = self.entries.iter().map(|entry| entry.bytes.len()).sum();
        while self.bytes > MAX_BYTES || self.entries.len() > MAX_LINES {
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry.bytes.len();
            self.first += 1;
            self.left_out = true;
        }
        Ok(true)
    }

    /// A log that cannot be read has no lines: others go on.
    fn take_in(&mut self, index: usize, now: Time, fresh: &mut Vec<Entry>) {
        let source = &mut self.sources[index];
        let first = source.file.is_none();
        if first {
            let Ok(file) = LogFile::open(&source.output.log) else { return };
            source.file = Some(file);
        }
        let Some(file) = &mut source.file else { return };
        match file.refresh() {
            Ok(Change::Truncated | Change::Replaced | Change::Rewritten) => {
                source.watch.forget();
                source.taken = 0;
            }
            Ok(_) => {}
            Err(_) => return,
        }
        let (length, modified) = (file.length(), Time(file.modified_ms()));
        let modified = source.output.ended.unwrap_or(now).min(modified).max(source.output.started);
        source.watch.saw(length, now, source.output.started, modified);
        if source.taken >= length {
            return;
        }
        let most = if first { HISTORY } else { MAX_GROWTH };
        let from = length.saturating_sub(most);
        if from > source.taken {
            self.left_out = true;
            let Ok(start) = file.reading().start_from(from) else { return };
            source.taken = start;
        }
        while source.taken < length {
            let Ok(piece) = file.piece(source.taken) else { return };
            // A line that has no end yet waits for it, unless nobody will write it.
            if piece.next == length && piece.end == piece.next && source.output.ended.is_none() {
                return;
            }
            let Ok(bytes) = file.read(piece.at, piece.end - piece.at) else { return };
            let written = source.watch.at(piece.at).unwrap_or(Written { at: now, about: true });
            fresh.push(Entry { source: index, bytes, written, cut: piece.cut });
            source.taken = piece.next;
        }
    }

    /// Whose it is.
    pub fn name(&self, source: usize) -> &str {
        self.sources.get(source).map_or("", |source| &source.output.name)
    }

    /// Cells of the longest name.
    pub fn name_cells(&self) -> usize {
        self.sources
            .iter()
            .map(|source| crate::text::width(&crate::text::clean(&source.output.name)))
            .max()
            .unwrap_or(0)
    }

    /// Number of the first line, and of the one behind the last.
    pub fn range(&self) -> (u64, u64) {
        (self.first, self.first + self.entries.len() as u64)
    }

    /// The line of this number.
    pub fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Forgets what was found.
    pub fn forget_hits(&mut self) {
        (self.hits, self.searched) = (vec![], 0);
    }

    /// Looks through what was not looked through yet.
    pub fn search(&mut self, pattern: &Pattern) -> bool {
        let (first, end) = self.range();
        self.searched = self.searched.max(first);
        let before = self.hits.len();
        self.hits.retain(|hit| *hit >= first);
        let from = (self.searched - first) as usize;
        for (n, entry) in self.entries.iter().enumerate().skip(from) {
            if pattern.is_in(&entry.bytes) {
                self.hits.push(first + n as u64);
            }
        }
        let news = self.searched != end || self.hits.len() != before;
        self.searched = end;
        news
    }

    /// As [`Search::step`](super::logsearch::Search::step).
    pub fn step(&self, from: u64, forwards: bool, here: bool) -> Step {
        let found = if forwards {
            let n = self.hits.partition_point(|hit| if here { *hit < from } else { *hit <= from });
            self.hits.get(n).or(self.hits.first())
        } else {
            let n = self.hits.partition_point(|hit| if here { *hit <= from } else { *hit < from });
            n.checked_sub(1).and_then(|n| self.hits.get(n)).or(self.hits.last())
        };
        found.map_or(Step::Nowhere, |hit| Step::Hit(*hit))
    }

    /// How many there are.
    pub fn tally(&self, hit: Option<u64>) -> Tally {
        let rank = hit.and_then(|hit| self.hits.binary_search(&hit).ok()).map(|n| n as u64 + 1);
        Tally { lines: self.hits.len() as u64, rank, percent: 100 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(folder: &std::path::Path, name: &str, started: u64, ended: Option<u64>) -> Output {
        Output { name: name.into(), log: folder.join(name), started: Time(started), ended: ended.map(Time) }
    }

    fn shown(merged: &Merged) -> Vec<String> {
        let (first, end) = merged.range();
        let line = |n: u64| {
            let entry = merged.entry(n).unwrap();
            format!("{} {}", merged.name(entry.source), String::from_utf8_lossy(&entry.bytes))
        };
        (first..end).map(line).collect()
    }

    #[test]
    fn lines_come_in_the_order_of_their_times_and_then_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        std::fs::write(at.join("a"), "a1\na2\na3\na4\n").unwrap();
        std::fs::write(at.join("b"), "b1\nb2\n").unwrap();
        let now = crate::engine::ids::Time(u64::MAX / 2);
        let outputs = [output(at, "a", 0, Some(40_000)), output(at, "b", 15_000, Some(25_000))];
        let mut merged = Merged::default();
        assert!(merged.serve(&outputs, now).unwrap());
        assert_eq!(shown(&merged), ["a a1", "a a2", "b b1", "a a3", "b b2", "a a4"]);
        assert!(!merged.serve(&outputs, now).unwrap());
        let live = [outputs[0].clone(), outputs[1].clone(), output(at, "c", 50_000, None)];
        std::fs::write(at.join("c"), "c1\nc2 is not whole").unwrap();
        assert!(merged.serve(&live, now).unwrap());
        assert!(shown(&merged).contains(&"c c1".into()) && !shown(&merged).concat().contains("whole"));
        std::fs::write(at.join("c"), "c1\nc2 is not whole yet\n").unwrap();
        assert!(merged.serve(&live, now.plus(crate::engine::ids::Span(50))).unwrap());
        assert_eq!(shown(&merged).last().unwrap(), "c c2 is not whole yet");
        let pattern = Pattern::new("2").unwrap();
        assert!(merged.search(&pattern) && !merged.search(&pattern));
        assert_eq!(merged.tally(None).lines, 3);
        assert_eq!(merged.step(0, false, false), Step::Hit(7), "round");
        assert_eq!(merged.tally(Some(7)).rank, Some(3));
    }
}
