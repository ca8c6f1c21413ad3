//! What a resumed console asks the guards of earlier consoles: their files, and the sockets of those that still live.
//! Knows nothing of how they came to their answers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, unlinkat};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};
use rustix::process::{geteuid, getpid};

use super::family::stat;
use super::record::{ConsoleEnd, Exit, Key, MAX_LINE, Process, Record, Stamped, Usage, parse_all};
use super::serve::address;
use super::wire;

/// Name of a survivors file, before the guard's pid and start time.
pub const FILE_PREFIX: &str = "survivors-";
/// Name of a guard's socket, before its pid.
pub const SOCKET_PREFIX: &str = "guard-";
/// No survivors file is read beyond this.
const MAX_FILE: u64 = 64 << 20;
/// No more guards of one session are asked.
const MAX_GUARDS: usize = 256;
/// So long a living guard may take to tell what it knows.
const ANSWER: Duration = Duration::from_secs(5);

/// What a resumed console tells a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// SIGTERM (and SIGCONT) to the attempt's whole tree.
    Term(Key),
    /// SIGKILL to it until nothing is left.
    Kill(Key),
    /// A console is here again: no grace limit while it stays.
    Adopt,
    /// It leaves on purpose: no grace limit afterwards either.
    Leave,
    /// The adopting console is gone without having left. Never sent: the guard notices.
    Gone,
}

impl Order {
    /// Reads an order's line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let key = |task: &str, attempt: &str| Some((task.parse().ok()?, attempt.parse().ok()?));
        match words[..] {
            ["term", task, attempt] => key(task, attempt).map(Self::Term),
            ["kill", task, attempt] => key(task, attempt).map(Self::Kill),
            ["adopt"] => Some(Self::Adopt),
            ["leave"] => Some(Self::Leave),
            _ => None,
        }
    }

    fn line(self) -> Option<String> {
        match self {
            Self::Term((task, attempt)) => Some(format!("term {task} {attempt}\n")),
            Self::Kill((task, attempt)) => Some(format!("kill {task} {attempt}\n")),
            Self::Adopt => Some("adopt\n".into()),
            Self::Leave => Some("leave\n".into()),
            Self::Gone => None,
        }
    }
}

/// What one guard knows of the console it outlived.
#[derive(Debug, Default)]
pub struct PastGuard {
    /// The boot in which it was; pids of another boot mean nothing. Empty if its first line is lost.
    pub boot: String,
    /// The guard itself.
    pub guard: Option<Process>,
    /// The console it outlived.
    pub console: Option<Process>,
    /// How that ended.
    pub end: Option<ConsoleEnd>,
    /// All its good lines, in order.
    pub records: Vec<Stamped>,
    /// Every attempt that was in the table is among the records: an attempt of that console that is not was never spawned,
    /// or its end was stored before the console died.
    pub listed: bool,
    /// Nothing of it is left, and everything is told.
    pub complete: bool,
    /// Lines that were damaged, and the torn one.
    pub damaged: usize,
    /// The guard itself, if it lives.
    pub link: Option<GuardLink>,
    /// Its file, if it was read from one.
    file: Option<String>,
}

/// What is proved of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was never spawned. True of an attempt that *that* console's journal has starting, neither running nor ended.
    NeverStarted,
    /// Its leader runs, as far as is known; its end will come through the link, if there is one.
    Running {
        /// Its leader.
        process: Process,
        /// Number of its output file.
        log: u64,
    },
    /// Its leader ended so.
    Ended {
        /// When, ms since the Unix epoch.
        at_ms: u64,
        /// Its leader.
        process: Process,
        /// How.
        exit: Exit,
        /// What it used.
        usage: Usage,
        /// Processes of it that were left then.
        left: u32,
        /// Nothing of it is left now.
        empty: bool,
        /// The guard was stopping everything at that time.
        stopped: bool,
        /// Number of its output file.
        log: u64,
    },
    /// The console had reaped its leader, so its end is in the journal.
    Reaped {
        /// Nothing of it is left now.
        empty: bool,
    },
    /// Nothing can be proved.
    Unknown {
        /// Nothing of it is left now.
        empty: bool,
    },
}

impl PastGuard {
    fn from_records(records: Vec<Stamped>, damaged: usize) -> Self {
        let mut past = Self { damaged, ..Self::default() };
        for stamped in records {
            past.add(stamped);
        }
        past
    }

    /// Takes up a line that came later, by [`GuardLink::poll`].
    pub fn add(&mut self, stamped: Stamped) {
        match &stamped.record {
            Record::Console { boot, guard, console, end, .. } => {
                self.boot.clone_from(boot);
                (self.guard, self.console, self.end) = (Some(*guard), Some(*console), Some(*end));
            }
            Record::Listed { count } => {
                let entry = |line: &&Stamped| matches!(line.record, Record::Alive { .. } | Record::Entered { .. });
                self.listed = self.console.is_some() && self.records.iter().filter(entry).count() == *count as usize;
            }
            Record::Complete => self.complete = true,
            _ => {}
        }
        self.records.push(stamped);
    }

    /// Whether it says anything of this attempt. If not, it was not among what its console had begun when it died.
    pub fn names(&self, key: Key) -> bool {
        self.records.iter().any(|line| line.record.key() == Some(key))
    }

    /// What is proved of an attempt of this guard's console.
    pub fn verdict(&self, key: Key) -> Verdict {
        let (mut verdict, mut log, mut empty) = (None, 0, false);
        for Stamped { at_ms, record } in self.records.iter().filter(|line| line.record.key() == Some(key)) {
            match record {
                Record::Alive { log: number, process, .. } => {
                    (log, verdict) = (*number, Some(Verdict::Running { process: *process, log: *number }));
                }
                Record::Entered { log: number, .. } => {
                    (log, verdict) = (*number, Some(Verdict::Unknown { empty: false }))
                }
                Record::Found { process, .. } => verdict = Some(Verdict::Running { process: *process, log }),
                Record::NotStarted { .. } => verdict = Some(Verdict::NeverStarted),
                Record::Unknown { .. } => verdict = Some(Verdict::Unknown { empty: false }),
                Record::Reaped { .. } => verdict = Some(Verdict::Reaped { empty: false }),
                Record::Ended { process, exit, usage, left, stopped, .. } => {
                    let process = *process;
                    let (at_ms, exit, usage, left, stopped) = (*at_ms, *exit, *usage, *left, *stopped);
                    verdict = Some(Verdict::Ended { at_ms, process, exit, usage, left, empty: false, stopped, log });
                }
                Record::Empty { .. } => empty = true,
                _ => {}
            }
        }
        let nothing = if self.listed { Verdict::NeverStarted } else { Verdict::Unknown { empty: false } };
        let mut verdict = verdict.unwrap_or(nothing);
        if let Verdict::Ended { empty: is, .. } | Verdict::Reaped { empty: is } | Verdict::Unknown { empty: is } =
            &mut verdict
        {
            *is = empty;
        }
        verdict
    }

    /// Removes the file of a guard that is complete, once the journal has all that it says. Does nothing otherwise.
    pub fn retire(&self, session_folder: &Path) -> io::Result<()> {
        let (Some(name), true) = (&self.file, self.complete) else { return Ok(()) };
        Ok(unlinkat(open_folder(session_folder)?, name, AtFlags::empty())?)
    }
}

/// All that the guards of earlier consoles know of this session: every living guard is asked, of the others the file is
/// read. The guard of this very console is passed over. Waits at most 5 s for a guard that does not answer.
pub fn inquire(session_folder: &Path) -> io::Result<Vec<PastGuard>> {
    let folder = open_folder(session_folder)?;
    let names = names(&folder)?;
    let mut all = Vec::new();
    for name in names.iter().filter(|name| name.starts_with(SOCKET_PREFIX)) {
        all.extend(ask(folder.as_fd(), name));
    }
    // Files are read after the sockets were tried: a guard that ended meanwhile has completed its file.
    let asked: Vec<Process> = all.iter().filter_map(|past: &PastGuard| past.guard).collect();
    for name in names_of_files(&folder)? {
        let bytes = read(folder.as_fd(), &name)?;
        let (records, bad, torn) = parse_all(&bytes);
        let mut past = PastGuard::from_records(records, bad + usize::from(torn > 0));
        past.file = Some(name);
        if !past.guard.is_some_and(|guard| asked.contains(&guard)) {
            all.push(past);
        }
    }
    Ok(all)
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn names(folder: &OwnedFd) -> io::Result<Vec<String>> {
    let entries = Dir::read_from(folder)?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(FILE_PREFIX) || name.starts_with(SOCKET_PREFIX)).collect();
    names.sort();
    names.truncate(2 * MAX_GUARDS);
    Ok(names)
}

fn names_of_files(folder: &OwnedFd) -> io::Result<Vec<String>> {
    Ok(names(folder)?.into_iter().filter(|name| name.starts_with(FILE_PREFIX)).collect())
}

/// The bytes of a survivors file; empty if it is not a file of ours.
fn read(folder: BorrowedFd<'_>, name: &str) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(folder, name, flags, Mode::empty()) else { return Ok(Vec::new()) };
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != geteuid().as_raw() {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Asks the guard behind a socket. `None` if none lives there, or if it is this console's own.
fn ask(folder: BorrowedFd<'_>, name: &str) -> Option<PastGuard> {
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
        .ok()?;
    if let Err(error) = connect(&fd, &address(folder, name).ok()?) {
        let pid = name.strip_prefix(SOCKET_PREFIX)?.strip_suffix(".sock")?.parse().ok()?;
        if error == rustix::io::Errno::CONNREFUSED && stat(pid).is_none() {
            // Its guard was killed: nobody will ever listen there again.
            let _ = unlinkat(folder, name, AtFlags::empty());
        }
        return None;
    }
    if !socket_peercred(&fd).is_ok_and(|peer| peer.uid == geteuid()) {
        return None;
    }
    let folder = folder.try_clone_to_owned().ok()?;
    let mut link =
        GuardLink { fd, folder, input: Vec::new(), seen: 0, backlog: None, own: false, gone: false, guard: None };
    let mut records = Vec::new();
    let until = Instant::now() + ANSWER;
    while !link.own && !link.gone && link.backlog.is_none_or(|backlog| link.seen < backlog) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        wire::wait(&[link.fd.as_fd()], Some(left));
        records.append(&mut link.poll());
    }
    if link.own || (link.gone && records.is_empty()) {
        return None;
    }
    let mut past = PastGuard::from_records(records, 0);
    past.link = Some(link);
    Some(past)
}

/// A living guard of an earlier console.
#[derive(Debug)]
pub struct GuardLink {
    fd: OwnedFd,
    folder: OwnedFd,
    input: Vec<u8>,
    /// How many bytes of lines came so far.
    seen: usize,
    backlog: Option<usize>,
    own: bool,
    gone: bool,
    guard: Option<Process>,
}

impl GuardLink {
    /// Readable when [`poll`](Self::poll) has something, also when the guard is gone.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The guard has ended, complete or killed. Everything that it recorded has been told.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// What it recorded since, without waiting. When the guard is gone, also what its file has beyond what it said.
    pub fn poll(&mut self) -> Vec<Stamped> {
        let mut records = Vec::new();
        let mut buffer = [0; 64 << 10];
        while !self.gone {
            match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.gone = true,
                Ok((count, _)) => self.input.extend_from_slice(&buffer[..count]),
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(_) => self.gone = true,
            }
            self.take_lines(&mut records);
            if self.gone {
                self.read_on(&mut records);
            }
        }
        records
    }

    fn take_lines(&mut self, records: &mut Vec<Stamped>) {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = &line[..end];
            if let Some(said) = line.strip_prefix(b"% ") {
                self.take_word(said);
                continue;
            }
            self.seen += end + 1;
            let Some(stamped) = Stamped::parse(line) else { continue };
            if let Record::Console { guard, .. } = &stamped.record {
                self.guard = Some(*guard);
            }
            records.push(stamped);
        }
        self.gone |= self.input.len() > MAX_LINE;
    }

    fn take_word(&mut self, said: &[u8]) {
        let words: Vec<&str> = std::str::from_utf8(said).unwrap_or_default().split(' ').collect();
        match words[..] {
            ["living", pid] => self.own = pid.parse() == Ok(getpid().as_raw_pid()),
            ["backlog", length] => self.backlog = length.parse().ok(),
            _ => {}
        }
    }

    /// The rest of its file: what a guard stored but could not tell any more.
    fn read_on(&mut self, records: &mut Vec<Stamped>) {
        let Some(guard) = self.guard else { return };
        let Ok(files) = names_of_files(&self.folder) else { return };
        for name in files.iter().filter(|name| name.starts_with(&file_name(guard))) {
            let bytes = read(self.folder.as_fd(), name).unwrap_or_default();
            let (lines, ..) = parse_all(bytes.get(self.seen..).unwrap_or_default());
            self.seen = self.seen.max(bytes.len());
            records.extend(lines);
        }
    }

    /// Signals an attempt's whole tree, or adopts, or leaves. An order to a guard that is gone is lost; that it is gone is
    /// only known once all that it said has been read.
    pub fn order(&mut self, order: Order) {
        if let Some(line) = order.line() {
            // Orders are few and short: a full socket means that the guard is gone or stopped.
            let _ = send(&self.fd, line.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
}

/// Name of a guard's (first) survivors file.
pub fn file_name(guard: Process) -> String {
    format!("{FILE_PREFIX}{}-{}", guard.pid, guard.start_ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::record::VERSION;

    const GUARD: Process = Process { pid: 10, start_ticks: 11 };

    fn header() -> Record {
        let console = Process { pid: 12, start_ticks: 13 };
        let end = ConsoleEnd::Died(Exit::Signal(9));
        Record::Console { version: VERSION, boot: "boot".into(), guard: GUARD, console, end }
    }

    fn ended(key: Key) -> Record {
        let usage = Usage::default();
        Record::Ended { key, process: GUARD, exit: Exit::Code(7), usage, left: 1, stopped: false }
    }

    fn past(records: &[Record]) -> PastGuard {
        let stamped = records.iter().map(|record| Stamped { at_ms: 1, record: record.clone() });
        PastGuard::from_records(stamped.collect(), 0)
    }

    #[test]
    fn what_is_not_in_a_whole_list_was_never_started_and_without_it_nothing_is_proved() {
        let alive = Record::Alive { key: (1, 1), log: 4, process: GUARD };
        let whole = past(&[header(), alive.clone(), Record::Listed { count: 1 }]);
        assert!(whole.listed);
        assert_eq!(whole.verdict((2, 1)), Verdict::NeverStarted);
        assert_eq!(whole.verdict((1, 1)), Verdict::Running { process: GUARD, log: 4 });
        for torn in [past(&[header(), alive.clone()]), past(&[header(), Record::Listed { count: 1 }]), past(&[])] {
            assert!(!torn.listed);
            assert_eq!(torn.verdict((2, 1)), Verdict::Unknown { empty: false });
        }
        assert_eq!(past(&[alive, Record::Listed { count: 1 }]).verdict((2, 1)), Verdict::Unknown { empty: false });
    }

    #[test]
    fn a_verdict_follows_the_last_word() {
        let key = (1, 1);
        let start = [header(), Record::Entered { key, log: 4 }, Record::Listed { count: 1 }];
        let verdict = |more: &[Record]| past(&[&start, more].concat()).verdict(key);
        assert_eq!(verdict(&[]), Verdict::Unknown { empty: false });
        assert_eq!(verdict(&[Record::NotStarted { key }]), Verdict::NeverStarted);
        let found = Record::Found { key, process: GUARD };
        assert_eq!(verdict(std::slice::from_ref(&found)), Verdict::Running { process: GUARD, log: 4 });
        let is = |verdict, wanted| match verdict {
            Verdict::Ended { exit, empty, log: 4, .. } => (exit, empty) == (Exit::Code(7), wanted),
            _ => false,
        };
        assert!(is(verdict(&[found.clone(), ended(key)]), false));
        assert!(is(verdict(&[found, ended(key), Record::Empty { key }]), true));
        assert_eq!(verdict(&[Record::Reaped { key }, Record::Empty { key }]), Verdict::Reaped { empty: true });
    }

    #[test]
    fn a_file_with_a_torn_last_line_gives_all_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let key = (1, 1);
        let records =
            [header(), Record::Alive { key, log: 0, process: GUARD }, Record::Listed { count: 1 }, ended(key)];
        let lines: Vec<String> = records.map(|record| Stamped { at_ms: 3, record }.line()).to_vec();
        let text = lines.concat();
        for cut in 0..lines[3].len() {
            let path = dir.path().join(file_name(GUARD));
            std::fs::write(&path, &text[..text.len() - lines[3].len() + cut]).unwrap();
            let all = inquire(dir.path()).unwrap();
            assert_eq!((all.len(), all[0].records.len(), all[0].damaged), (1, 3, usize::from(cut > 0)), "cut {cut}");
            assert_eq!(all[0].verdict(key), Verdict::Running { process: GUARD, log: 0 });
            assert!(!all[0].complete);
            all[0].retire(dir.path()).unwrap();
            assert!(path.exists(), "only a complete file is removed");
        }
    }

    #[test]
    fn what_is_no_file_of_ours_in_the_folder_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("survivors-1-1")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("survivors-2-2")).unwrap();
        std::fs::write(dir.path().join("survivors-3-3"), vec![0xff; 100_000]).unwrap();
        std::fs::write(dir.path().join("guard-4.sock"), "no socket").unwrap();
        let status = std::process::Command::new("mkfifo").arg(dir.path().join("survivors-5-5")).status().unwrap();
        assert!(status.success());
        let all = inquire(dir.path()).unwrap();
        assert!(all.iter().all(|past| past.records.is_empty() && !past.complete && past.link.is_none()));
    }

    #[test]
    fn orders_read_back_and_nothing_else_is_one() {
        for order in [Order::Term((1, 2)), Order::Kill((3, 4)), Order::Adopt, Order::Leave] {
            assert_eq!(Order::parse(order.line().unwrap().trim_end()), Some(order));
        }
        for bad in
            ["", "kill", "kill 1", "kill 1 2 3", "kill -1 2", "kill 4294967296 1", "gone", "ADOPT", "term 1\u{0}2"]
        {
            assert_eq!(Order::parse(bad), None, "{bad:?}");
        }
    }
}
