//! Searching a whole log, however large: the file is looked through in chunks by a thread of its own, which tells how many
//! lines of each chunk match. The hits themselves are found again, chunk by chunk, as they are gone to; so the count is
//! exact and memory is bounded whatever the log says. Knows nothing of screens.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use memchr::{memchr, memrchr};
use regex::bytes::{Regex, RegexBuilder};

use super::logfile::Reading;

/// Lines that begin in the same chunk are counted together.
const CHUNK: u64 = 1024 * 1024;
/// A pattern is at most so long, in bytes.
pub const MAX_PATTERN: usize = 1000;
/// A compiled pattern takes at most so much memory.
const MAX_COMPILED: usize = 4 * 1024 * 1024;
/// So many chunks are looked through at once, without a thread: what a log grows by.
const AT_ONCE: usize = 2;
/// A log that grows is looked through again at most so often.
const AGAIN: Duration = Duration::from_millis(250);
/// What makes a needle a pattern.
pub const PATTERN_PREFIX: &str = "re:";
/// A chunk that was not looked through yet.
const UNKNOWN: u32 = u32::MAX;

/// Lines that are likely to be the first sign of trouble, in the words of many tools: compilers and linkers (`error:`,
/// `error[E0308]:`), panics, tracebacks, test runners, shells, segmentation faults.
pub const FIRST_ERROR: &str = concat!(
    r"(?i:(^|[^\w.])(error|fatal|fatal error|critical)(\[[^\]]*\])?:)",
    r"|panicked at|^Traceback \(|\bFAILED\b|\bFAIL:|^E   |(?i:segmentation fault|core dumped|out of memory)",
    r"|(?i:command not found|no such file or directory|permission denied)|undefined reference",
    r"|\bException\b.*:|^\s*Caused by:|^npm ERR!|^make(\[\d+\])?: \*\*\*|\b(ERROR|FATAL|CRITICAL)\b",
);

/// What is searched for.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Plain words, or a regular expression behind `re:`. Without capitals, both cases match. Errors are in words.
    pub fn new(needle: &str) -> Result<Self, String> {
        match needle.strip_prefix(PATTERN_PREFIX) {
            Some("") => Err("re: needs a pattern behind it".into()),
            Some(pattern) => Self::compile(pattern, !has_capitals(pattern)),
            None => Self::compile(&regex::escape(needle), !needle.chars().any(char::is_uppercase)),
        }
    }

    /// The built-in one for first errors.
    pub fn first_error() -> Self {
        Self::compile(FIRST_ERROR, false).expect("it is tested")
    }

    fn compile(pattern: &str, fold: bool) -> Result<Self, String> {
        if pattern.len() > 2 * MAX_PATTERN {
            return Err(format!("longer than {MAX_PATTERN} bytes"));
        }
        let regex = RegexBuilder::new(pattern)
            .case_insensitive(fold)
            .multi_line(true)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .build();
        match regex {
            Ok(regex) => Ok(Self { regex }),
            Err(regex::Error::CompiledTooBig(_)) => Err("too large a pattern".into()),
            // The last line says what is wrong; those before draw it.
            Err(error) => Err(error
                .to_string()
                .lines()
                .last()
                .unwrap_or("no pattern")
                .trim_start_matches("error: ")
                .trim()
                .to_owned()),
        }
    }

    /// Whether it is in a line; colours do not hide it.
    pub fn is_in(&self, line: &[u8]) -> bool {
        let (plain, _) = without_colours(line);
        self.regex.is_match(plain.as_deref().unwrap_or(line))
    }

    /// Where it is in a line that is shown: bytes from and to, in order.
    pub fn places(&self, text: &str) -> Vec<(usize, usize)> {
        let places = self.regex.find_iter(text.as_bytes()).map(|found| (found.start(), found.end()));
        places.filter(|(from, to)| from < to && text.is_char_boundary(*from) && text.is_char_boundary(*to)).collect()
    }
}

/// Capitals that stand for themselves: not those of `\W`, `\S` and the like.
fn has_capitals(pattern: &str) -> bool {
    let mut escaped = false;
    pattern.chars().any(|c| {
        let counts = c.is_uppercase() && !escaped;
        escaped = c == '\\' && !escaped;
        counts
    })
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Lines that match, as far as is known.
    pub lines: u64,
    /// Which of them one is at, counted from the first; absent while not all before it are known.
    pub rank: Option<u64>,
    /// Percent looked through; 100 when all is known.
    pub percent: u8,
}

/// What going to a hit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The line at this offset.
    Hit(u64),
    /// Not known yet.
    Later,
    /// Nowhere in the whole log.
    Nowhere,
}

/// A search over a log.
#[derive(Debug)]
pub struct Search {
    pattern: Pattern,
    counts: Vec<u32>,
    length: u64,
    scanned: Option<Instant>,
    worker: Option<Worker>,
    /// The last chunk gone to, with its hits.
    cached: Option<(usize, Vec<u64>)>,
}

#[derive(Debug)]
struct Worker {
    found: Receiver<(usize, io::Result<u32>)>,
    stop: Arc<AtomicBool>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Search {
    /// One that knows nothing yet.
    pub fn new(pattern: Pattern) -> Self {
        Self { pattern, counts: Vec::new(), length: 0, scanned: None, worker: None, cached: None }
    }

    /// The log is another one: all is unknown again.
    pub fn begin_again(&mut self) {
        *self = Self::new(self.pattern.clone());
    }

    /// Takes in what its thread has found, and goes on to what the log grew by. `near` is where one looks, and `forwards`
    /// whither: what is there is looked through first. Returns whether anything new is known.
    pub fn serve(&mut self, reading: &Reading, near: u64, forwards: bool) -> io::Result<bool> {
        let mut news = self.take_in()?;
        let due = self.scanned.is_none_or(|at| at.elapsed() >= AGAIN);
        if self.worker.is_some() || self.length == reading.length || !due {
            return Ok(news);
        }
        // A line may have begun two cuts before the old end and match only now that it is whole.
        let changed = (self.length.saturating_sub(2 * reading.cut) / CHUNK) as usize;
        self.length = reading.length;
        self.scanned = Some(Instant::now());
        self.counts.truncate(changed);
        self.counts.resize(reading.length.div_ceil(CHUNK) as usize, UNKNOWN);
        self.cached = self.cached.take().filter(|(chunk, _)| *chunk < changed);
        let order = order(self.counts.len(), changed, (near / CHUNK) as usize, forwards);
        if order.len() > AT_ONCE {
            self.worker = Some(spawn(reading.clone(), self.pattern.clone(), order));
        } else {
            for chunk in order {
                self.counts[chunk] = count(reading, &self.pattern, chunk)?;
                news = true;
            }
        }
        Ok(news)
    }

    fn take_in(&mut self) -> io::Result<bool> {
        let Some(worker) = &self.worker else { return Ok(false) };
        let mut news = false;
        loop {
            match worker.found.try_recv() {
                Ok((chunk, found)) => {
                    self.counts[chunk] = found?;
                    news = true;
                }
                Err(TryRecvError::Empty) => return Ok(news),
                Err(TryRecvError::Disconnected) => {
                    self.worker = None;
                    return Ok(true);
                }
            }
        }
    }

    /// The next hit behind the line at `from` (or at it, with `here`), or before it; past the end it goes round.
    pub fn step(&mut self, reading: &Reading, from: u64, forwards: bool, here: bool) -> io::Result<Step> {
        let chunks = self.counts.len();
        if chunks == 0 {
            return Ok(if reading.length == 0 { Step::Nowhere } else { Step::Later });
        }
        let first = ((from / CHUNK) as usize).min(chunks - 1);
        // The first chunk is looked at again at the end, for what is on the other side of `from`.
        for n in 0..=chunks {
            let chunk = if forwards { (first + n) % chunks } else { (first + chunks * 2 - n) % chunks };
            match self.counts[chunk] {
                UNKNOWN => return Ok(Step::Later),
                0 => continue,
                _ => {}
            }
            let hits = self.hits(reading, chunk)?;
            let on = |hit: &u64| match n {
                0 if forwards => *hit > from || here && *hit == from,
                0 => *hit < from || here && *hit == from,
                _ => true,
            };
            let hit = if forwards { hits.iter().find(|hit| on(hit)) } else { hits.iter().rfind(|hit| on(hit)) };
            if let Some(hit) = hit {
                return Ok(Step::Hit(*hit));
            }
        }
        Ok(Step::Nowhere)
    }

    fn hits(&mut self, reading: &Reading, chunk: usize) -> io::Result<&[u64]> {
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != chunk) {
            let mut hits = Vec::new();
            scan(reading, &self.pattern, chunk, |hit| hits.push(hit))?;
            self.cached = Some((chunk, hits));
        }
        Ok(self.cached.as_ref().map_or(&[], |(_, hits)| hits))
    }

    /// How far it is; `hit` is the line one is at.
    pub fn tally(&self, hit: Option<u64>) -> Tally {
        let known = self.counts.iter().filter(|count| **count != UNKNOWN).count();
        let percent = (known * 100).checked_div(self.counts.len()).unwrap_or(100) as u8;
        let sum = |counts: &[u32]| counts.iter().filter(|n| **n != UNKNOWN).map(|n| u64::from(*n)).sum::<u64>();
        let rank = hit.and_then(|hit| {
            let chunk = (hit / CHUNK) as usize;
            let (cached, hits) = self.cached.as_ref()?;
            let before = self.counts.get(..chunk)?;
            if *cached != chunk || before.contains(&UNKNOWN) {
                return None;
            }
            Some(sum(before) + hits.iter().position(|known| *known == hit)? as u64 + 1)
        });
        Tally { lines: sum(&self.counts), rank, percent }
    }

    /// Whether its thread is at work.
    pub fn is_busy(&self) -> bool {
        self.worker.is_some()
    }
}

/// Chunks from `from` on, beginning with the one that is near and going the way one looks.
fn order(chunks: usize, from: usize, near: usize, forwards: bool) -> Vec<usize> {
    let near = near.clamp(from, chunks.saturating_sub(1).max(from));
    if forwards {
        (near..chunks).chain(from..near).collect()
    } else {
        (from..chunks).rev().cycle().skip(chunks.saturating_sub(near + 1)).take(chunks - from).collect()
    }
}

fn spawn(reading: Reading, pattern: Pattern, order: Vec<usize>) -> Worker {
    let (tell, found) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let run = move || {
        for chunk in order {
            if stopped.load(Ordering::Relaxed) || tell.send((chunk, count(&reading, &pattern, chunk))).is_err() {
                return;
            }
        }
    };
    // Without a thread the counts stay unknown, and the pane says how far it is: nothing worse.
    let _ = std::thread::Builder::new().name("log-search".into()).spawn(run);
    Worker { found, stop }
}

fn count(reading: &Reading, pattern: &Pattern, chunk: usize) -> io::Result<u32> {
    let mut lines = 0;
    scan(reading, pattern, chunk, |_| lines += 1)?;
    Ok(lines)
}

/// Tells each line that begins in this chunk and matches.
fn scan(reading: &Reading, pattern: &Pattern, chunk: usize, tell: impl FnMut(u64)) -> io::Result<()> {
    let from = reading.start_from(chunk as u64 * CHUNK)?;
    let to = reading.start_from((chunk as u64 + 1) * CHUNK)?;
    if from < to {
        let bytes = reading.read(from, to - from)?;
        matching(&bytes, from, reading.cut, pattern, tell);
    }
    Ok(())
}

/// Tells where the lines begin that match, among whole lines that begin at `base`. What is matched is what is shown: colours
/// are left out of it.
fn matching(bytes: &[u8], base: u64, cut: u64, pattern: &Pattern, mut tell: impl FnMut(u64)) {
    let (plain, skipped) = without_colours(bytes);
    let hay = plain.as_deref().unwrap_or(bytes);
    let raw = |at: usize| {
        let n = skipped.partition_point(|(plain, _)| *plain <= at);
        if n == 0 { at } else { at + skipped[n - 1].1 }
    };
    let mut from = 0;
    let mut last = None;
    while let Some(found) = pattern.regex.find_at(hay, from) {
        let at = found.start();
        if at >= hay.len() {
            break;
        }
        let line = memrchr(b'\n', &hay[..at]).map_or(0, |newline| newline + 1);
        let end = memchr(b'\n', &hay[at..]).map_or(hay.len(), |newline| at + newline + 1);
        // Behind the newline before it: colours at its beginning are its own.
        let raw_line = if line == 0 { 0 } else { raw(line - 1) + 1 };
        let (begin, place) = (base + raw_line as u64, base + raw(at) as u64);
        // A line that was cut begins at the last multiple that has enough of it before.
        let multiple = place / cut * cut;
        let start = [multiple, multiple.saturating_sub(cut)].into_iter().find(|start| {
            *start >= begin + cut && bytes.get((start - base) as usize).is_some_and(|byte| *byte != b'\n')
        });
        let start = start.unwrap_or(begin);
        if last != Some(start) {
            tell(start);
            last = Some(start);
        }
        // The rest of this line matters only if it was cut behind here.
        let long = (raw(end - 1) + 1 - raw_line) as u64 > cut;
        from = if long { found.end().max(at + 1) } else { end };
        if from >= hay.len() {
            break;
        }
    }
}

/// The bytes without SGR sequences, and how many were left out before which byte; nothing if there are none.
fn without_colours(bytes: &[u8]) -> (Option<Vec<u8>>, Vec<(usize, usize)>) {
    let Some(mut escape) = memchr(0x1b, bytes) else { return (None, vec![]) };
    let mut plain = Vec::with_capacity(bytes.len());
    let mut skipped = Vec::new();
    let mut from = 0;
    loop {
        let rest = &bytes[escape..];
        let parameters = rest.iter().skip(2).take_while(|b| (0x30..=0x3b).contains(*b)).count();
        if rest.get(1) == Some(&b'[') && rest.get(2 + parameters) == Some(&b'm') {
            plain.extend_from_slice(&bytes[from..escape]);
            from = escape + parameters + 3;
            skipped.push((plain.len(), from - plain.len()));
        }
        let next = from.max(escape + 1);
        match memchr(0x1b, &bytes[next..]) {
            Some(more) => escape = next + more,
            None => break,
        }
    }
    plain.extend_from_slice(&bytes[from..]);
    (Some(plain), skipped)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::logfile::LogFile;
    use super::*;

    fn log(content: &[u8]) -> (tempfile::NamedTempFile, LogFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let log = LogFile::open(file.path()).unwrap();
        (file, log)
    }

    fn whole(search: &mut Search, reading: &Reading) {
        let began = Instant::now();
        while search.length != reading.length || search.is_busy() || search.tally(None).percent < 100 {
            search.serve(reading, 0, true).unwrap();
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", search.tally(None));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn starts(needle: &str, text: &[u8]) -> Vec<u64> {
        let mut out = Vec::new();
        matching(text, 0, 1 << 16, &Pattern::new(needle).unwrap(), |at| out.push(at));
        out
    }

    #[test]
    fn words_and_patterns_fold_case_unless_there_are_capitals_and_colours_do_not_hide_a_match() {
        assert_eq!(starts("err", b"an Error\nno\nERR err\n"), [0, 12]);
        assert_eq!(starts("Err", b"an Error\nno\nERR err\n"), [0]);
        assert_eq!(starts("re:^e.r\\b", b"err\nan err\nEar\n"), [0, 11]);
        assert_eq!(starts("re:\\Wx", b"axx\n-X\n"), [4], "the W of a class is no capital");
        assert_eq!(starts("a.b*", b"aab\na.b*\n"), [4], "plain words are no pattern");
        assert_eq!(starts("error: it", b"\x1b[1m\x1b[91merror\x1b[0m\x1b[1m: it\x1b[0m\nx\nerror: it"), [0, 33]);
        assert_eq!(starts("re:x*", b"a\nb\n\nc"), [0, 2, 4, 5], "what matches nothing matches each line once");
        assert!(Pattern::new("re:(").unwrap_err().contains("unclosed"));
        assert!(Pattern::new("re:").is_err());
        assert!(Pattern::new("re:(\\pL{100}){100}").is_err(), "too large");
    }

    #[test]
    fn first_errors_are_found_in_the_words_of_many_tools() {
        let is = |line: &str| !Pattern::first_error().places(line).is_empty();
        for line in [
            "error: linking with `cc` failed",
            "error[E0308]: mismatched types",
            "src/a.c:3:5: error: expected ';'",
            "src/a.c:3:5: fatal error: x.h: No such file",
            "thread 'main' panicked at src/main.rs:2:5:",
            "Traceback (most recent call last):",
            "FAILED tests/test_a.py::test_b - assert 1 == 2",
            "--- FAIL: TestX (0.00s)",
            "E   AssertionError",
            "test result: FAILED. 3 passed; 1 failed",
            "Segmentation fault (core dumped)",
            "sh: 1: nonsense: command not found",
            "make: *** [Makefile:3: all] Error 2",
            "2026-01-01 ERROR something",
            "/usr/bin/ld: a.o: undefined reference to `f'",
        ] {
            assert!(is(line), "{line}");
        }
        for line in
            ["0 errors, 0 warnings", "running error_test ... ok", "Terror: none", "no failures", "error handling is on"]
        {
            assert!(!is(line), "{line}");
        }
    }

    #[test]
    fn hits_are_counted_over_the_whole_file_and_gone_to_both_ways_and_round() {
        let mut content = vec![b'.'; CHUNK as usize * 5];
        for at in (100..content.len()).step_by(100) {
            content[at] = b'\n';
        }
        let mut want = Vec::new();
        for at in [250, CHUNK as usize - 3, CHUNK as usize * 4 + 50_000] {
            content[at..at + 6].copy_from_slice(b"Needle");
            want.push(memrchr(b'\n', &content[..at]).unwrap() as u64 + 1);
        }
        let (_file, log) = log(&content);
        let reading = log.reading();
        let mut search = Search::new(Pattern::new("needle").unwrap());
        whole(&mut search, &reading);
        assert_eq!(search.tally(None), Tally { lines: 3, rank: None, percent: 100 });
        let mut step = |from, forwards, here| match search.step(&reading, from, forwards, here).unwrap() {
            Step::Hit(hit) => (hit, search.tally(Some(hit)).rank.unwrap()),
            other => panic!("{other:?}"),
        };
        assert_eq!(step(0, true, true), (want[0], 1));
        assert_eq!(step(want[0], true, false), (want[1], 2));
        assert_eq!(step(want[1], true, false), (want[2], 3));
        assert_eq!(step(want[2], true, false), (want[0], 1), "round the end");
        assert_eq!(step(want[0], false, false), (want[2], 3), "round the beginning");
        assert_eq!(step(reading.length, false, true), (want[2], 3));
        assert_eq!(step(want[1], false, true), (want[1], 2));
        let mut none = Search::new(Pattern::new("nEedle").unwrap());
        assert_eq!(none.step(&reading, 0, true, true).unwrap(), Step::Later);
        whole(&mut none, &reading);
        assert_eq!(none.step(&reading, 0, true, true).unwrap(), Step::Nowhere);
    }

    #[test]
    fn the_only_hit_is_gone_to_again_from_itself() {
        let (_file, log) = log(b"a\nneedle\nb\n");
        let reading = log.reading();
        let mut search = Search::new(Pattern::new("needle").unwrap());
        whole(&mut search, &reading);
        for forwards in [true, false] {
            assert_eq!(search.step(&reading, 2, forwards, false).unwrap(), Step::Hit(2));
        }
    }

    #[test]
    fn what_a_log_grows_by_is_counted_too_and_an_unfinished_line_once() {
        let (mut file, mut log) = log(b"x 1\nx");
        let mut search = Search::new(Pattern::new("re:x \\d").unwrap());
        whole(&mut search, &log.reading());
        assert_eq!(search.tally(None).lines, 1);
        for (more, want) in [(" 2", 2), (" 3\n", 2), ("x 4\ny\n", 3)] {
            file.write_all(more.as_bytes()).unwrap();
            log.refresh().unwrap();
            search.scanned = None;
            whole(&mut search, &log.reading());
            assert_eq!(search.tally(None).lines, want, "{more:?}");
        }
    }

    #[test]
    fn what_is_near_is_looked_through_first() {
        assert_eq!(order(5, 0, 2, true), [2, 3, 4, 0, 1]);
        assert_eq!(order(5, 0, 2, false), [2, 1, 0, 4, 3]);
        assert_eq!(order(5, 0, 9, false), [4, 3, 2, 1, 0]);
        assert_eq!(order(5, 3, 1, true), [3, 4]);
        assert_eq!(order(0, 0, 0, false), [0; 0]);
    }

    proptest! {
        /// Whatever the bytes: the lines told are those that hold the needle, line by line.
        #[test]
        fn matching_lines_are_those_that_a_slow_look_finds(
            bytes in prop::collection::vec(prop_oneof![
                4 => Just(b"a".to_vec()), 2 => Just(b"b".to_vec()), 2 => Just(b"\n".to_vec()),
                1 => Just(b"\x1b[1;31m".to_vec()), 1 => Just(b"\x1b[".to_vec()), 1 => any::<u8>().prop_map(|b| vec![b]),
            ], 0..120),
            cut in 4u64..40,
        ) {
            let bytes = bytes.concat();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&bytes).unwrap();
            let log = LogFile::open(file.path()).unwrap();
            let mut reading = log.reading();
            reading.cut = cut;
            let pattern = Pattern::new("ab").unwrap();
            let mut got = Vec::new();
            matching(&bytes, 0, cut, &pattern, |at| got.push(at));
            let mut want = Vec::new();
            let mut at = 0;
            // A match that a cut goes through, and one whose colours a cut goes through, count where they begin.
            while at < reading.length {
                let piece = reading.piece(at).unwrap();
                let mut line_end = piece;
                while line_end.cut {
                    line_end = reading.piece(line_end.next).unwrap();
                }
                let rest = &bytes[at as usize..line_end.end as usize];
                let (plain, skipped) = without_colours(rest);
                let hay = plain.as_deref().unwrap_or(rest);
                let first = pattern.regex.find(hay).map(|found| {
                    let n = skipped.partition_point(|(plain, _)| *plain <= found.start());
                    at + (found.start() + if n == 0 { 0 } else { skipped[n - 1].1 }) as u64
                });
                let broken = piece.rest && bytes[..at as usize].iter().rev().take(8).any(|b| *b == 0x1b);
                prop_assume!(!broken);
                if first.is_some_and(|first| first < piece.next) {
                    want.push(at);
                }
                at = piece.next;
            }
            prop_assert_eq!(got, want);
        }
    }
}
