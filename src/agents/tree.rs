//! Process trees as `/proc` shows them: who is whose child, which orphans fell to us, who belongs to which attempt. Only
//! looks; reaps and signals nothing. Knows nothing of reports.
//!
//! Tasks are children of the thread that spawns them. This process is a child subreaper, so whatever a task leaves
//! behind becomes a child of the process's *leader* thread: while tasks are spawned by another thread, the leader's list
//! of children holds orphans only, and an empty list proves that none exists.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::time::{ClockId, clock_gettime};

use super::environment::{ATTEMPT, SESSION, TASK_ID};

/// An environment is read up to so many bytes.
const ENVIRONMENT: u64 = 4 << 20;
/// So many descriptors of a process are compared with the output files.
const DESCRIPTORS: usize = 64;
/// `/proc/PID/stat` counts start times in so many nanoseconds (USER_HZ is 100 on every Linux).
const TICK_NS: u64 = 10_000_000;

/// A process as `/proc/PID/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// State letter; `Z` is a zombie (or a process whose first thread has ended).
    pub state: u8,
    /// Its parent.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// How many threads it has.
    pub threads: u32,
    /// Start time in ticks since boot.
    pub start_ticks: u64,
}

/// The process of this pid, if there is one now.
pub fn stat(pid: i32) -> Option<Stat> {
    let mut buffer = [0_u8; 1024];
    let file = open(format!("/proc/{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::read(&file, &mut buffer).ok()?;
    parse_stat(pid, &buffer[..length])
}

fn parse_stat(pid: i32, text: &[u8]) -> Option<Stat> {
    // The name is in parentheses and may hold anything, parentheses too: the last one ends it.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    Some(Stat {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// Ticks since boot, now. A process spawned between two calls that agree has this start time: no file need be read.
pub fn ticks_now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    (now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()) / TICK_NS
}

/// Reads who is whose child: from the kernel's lists, or, where it keeps none, by a scan of `/proc`.
pub struct Processes {
    /// Kept open: the leader thread's list.
    orphans: Option<OwnedFd>,
    us: i32,
}

impl Processes {
    /// `scan` forces the slow way (for tests; kernels without `CONFIG_PROC_CHILDREN` have no other).
    pub fn new(scan: bool) -> Self {
        let us = rustix::process::getpid().as_raw_pid();
        let list = format!("/proc/{us}/task/{us}/children");
        let orphans = (!scan).then(|| open(list, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()).flatten();
        Self { orphans, us }
    }

    /// True if the kernel lists children, so that finding none is cheap and exact.
    pub fn listed(&self) -> bool {
        self.orphans.is_some()
    }

    /// The children of the leader thread, zombies included; by a scan: of any thread.
    ///
    /// # Errors
    /// `/proc` cannot be read: then nothing is proved.
    pub fn orphans(&self, found: &mut Vec<i32>) -> io::Result<()> {
        found.clear();
        let Some(list) = &self.orphans else {
            found.extend(scan()?.into_iter().filter(|stat| stat.parent == self.us).map(|stat| stat.pid));
            return Ok(());
        };
        let mut buffer = [0_u8; 4096];
        let mut length = rustix::io::pread(list, &mut buffer, 0)?;
        if length == 0 {
            return Ok(());
        }
        let mut text = Vec::new();
        while length > 0 {
            text.extend_from_slice(&buffer[..length]);
            length = rustix::io::pread(list, &mut buffer, text.len() as u64)?;
        }
        pids(&text, found);
        Ok(())
    }

    /// These processes and all that descend from them, zombies left out, each once; about `most` at most:
    /// a later walk finds the rest.
    pub fn walk(&self, roots: &[i32], most: usize) -> Vec<Stat> {
        let all = if self.listed() { Vec::new() } else { scan().unwrap_or_default() };
        let mut waiting: Vec<i32> = roots.to_vec();
        let mut seen: std::collections::HashSet<i32> = roots.iter().copied().collect();
        let mut walked = Vec::new();
        let mut children = Vec::new();
        while let Some(pid) = waiting.pop() {
            let Some(stat) = stat(pid) else { continue };
            children.clear();
            if self.listed() {
                children_of(&stat, &mut children);
            } else {
                children.extend(all.iter().filter(|child| child.parent == pid).map(|child| child.pid));
            }
            // A process that has ended is `Z` with one thread; with more, only its first thread has ended.
            if !(matches!(stat.state, b'Z' | b'X') && stat.threads <= 1) {
                walked.push(stat);
            }
            waiting.extend(children.iter().copied().filter(|child| seen.insert(*child)));
            if walked.len() >= most {
                break;
            }
        }
        walked
    }
}

/// The children of all threads of a process.
fn children_of(stat: &Stat, found: &mut Vec<i32>) {
    let pid = stat.pid;
    let mut text = Vec::new();
    let mut list = |thread: &str| {
        if let Ok(mut file) = File::open(format!("/proc/{pid}/task/{thread}/children")) {
            // It may end while it is read: what was read counts, the next walk sees the rest.
            let _ = file.read_to_end(&mut text);
        }
    };
    if stat.threads <= 1 {
        list(&pid.to_string());
    } else if let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) {
        threads.flatten().filter_map(|thread| thread.file_name().into_string().ok()).for_each(|thread| list(&thread));
    }
    pids(&text, found);
}

fn pids(text: &[u8], found: &mut Vec<i32>) {
    let numbers = text.split(|byte| *byte == b' ').filter_map(|word| std::str::from_utf8(word).ok());
    found.extend(numbers.filter_map(|word| word.parse::<i32>().ok()));
}

/// Every process there is.
fn scan() -> io::Result<Vec<Stat>> {
    let names = std::fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).filter_map(stat).collect())
}

/// The attempt that a process's environment names: task index and attempt number, if it is of this session.
pub fn marker(pid: i32, session: &str) -> Option<(u32, u32)> {
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(ENVIRONMENT).read_to_end(&mut text).ok()?;
    parse_marker(&text, session)
}

fn parse_marker(environment: &[u8], session: &str) -> Option<(u32, u32)> {
    let value = |name: &str| {
        let mut entries = environment.split(|byte| *byte == 0);
        entries.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let number = |name: &str| std::str::from_utf8(value(name)?).ok()?.parse().ok();
    (value(SESSION)? == session.as_bytes()).then_some(())?;
    Some((number(TASK_ID)?, number(ATTEMPT)?))
}

/// Device and inode of what a process has open, its descriptors 1 and 2 first.
pub fn open_files(pid: i32) -> Vec<(u64, u64)> {
    let folder = format!("/proc/{pid}/fd");
    let listed = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let others = listed.filter_map(|entry| entry.file_name().into_string().ok());
    let names = ["1".to_owned(), "2".to_owned()].into_iter().chain(others).take(DESCRIPTORS);
    let identity = |name: String| {
        let stat = rustix::fs::stat(format!("{folder}/{name}")).ok()?;
        Some((stat.st_dev, stat.st_ino))
    };
    names.filter_map(identity).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_confuse_the_fields() {
        let text = b"42 (a) R (b c)) S 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 9876 1 2 3";
        let expected = Stat { pid: 42, state: b'S', parent: 7, group: 41, session: 40, threads: 3, start_ticks: 9876 };
        assert_eq!(parse_stat(42, text), Some(expected));
    }

    #[test]
    fn a_stat_cut_anywhere_gives_nothing_and_no_panic() {
        let text = b"42 (x) S 7 41 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 9876";
        for length in 0..text.len() - 4 {
            assert_eq!(parse_stat(42, &text[..length]), None, "{length}");
        }
    }

    #[test]
    fn only_a_marker_of_this_session_counts() {
        let good = b"A=1\0QD_SESSION=night\0QD_TASK_ID=7\0QD_ATTEMPT=2\0";
        assert_eq!(parse_marker(good, "night"), Some((7, 2)));
        assert_eq!(parse_marker(good, "day"), None);
        assert_eq!(parse_marker(b"QD_TASK_ID=7\0QD_ATTEMPT=2\0", "night"), None);
        assert_eq!(parse_marker(b"QD_SESSION=night\0QD_TASK_ID=x\0QD_ATTEMPT=2\0", "night"), None);
        assert_eq!(parse_marker(b"", "night"), None);
    }

    #[test]
    fn the_clock_agrees_with_the_start_time_that_the_kernel_shows() {
        let mut compared = 0;
        for _ in 0..20 {
            let before = ticks_now();
            let mut child = std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
            let agreed = before == ticks_now();
            let shown = stat(child.id().cast_signed()).unwrap().start_ticks;
            drop(child.stdin.take());
            child.wait().unwrap();
            if agreed {
                compared += 1;
                assert_eq!(shown, before);
            }
        }
        assert!(compared > 0, "no spawn fell within one tick");
    }

    #[test]
    fn a_walk_finds_children_of_every_thread_by_list_and_by_scan() {
        let (send, receive) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut child = std::process::Command::new("/bin/sleep").arg("30").spawn().unwrap();
            send.send(child.id().cast_signed()).unwrap();
            child.wait().unwrap();
        });
        let pid = receive.recv().unwrap();
        let us = rustix::process::getpid().as_raw_pid();
        let by_list = Processes::new(false).walk(&[us], 1000);
        let by_scan = Processes::new(true).walk(&[us], 1000);
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        thread.join().unwrap();
        assert!(by_list.iter().any(|stat| stat.pid == pid && stat.parent == us));
        assert!(by_scan.iter().any(|stat| stat.pid == pid && stat.parent == us));
    }
}
