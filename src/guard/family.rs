//! Processes as `/proc` shows them: who is whose child, which session and marker they carry, and a signal that cannot hit
//! a stranger. Knows nothing of attempts.

use std::collections::HashMap;
use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::record::Process;

/// At most so many processes are walked at once.
pub const MAX_PROCESSES: usize = 1 << 20;
/// So many of a process's descriptors are looked at.
const MAX_DESCRIPTORS: usize = 64;
/// So much of an environment is searched for the marker.
const MAX_ENVIRONMENT: u64 = 4 << 20;

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The process itself.
    pub process: Process,
    /// Its parent.
    pub parent: i32,
    /// Its session. (A process group never spans two sessions, so it tells nothing more.)
    pub session: i32,
    /// `R`, `S`, `D`, `T`, `Z`, …
    pub state: u8,
}

/// The marker that a task's processes carry in their environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Marker {
    /// `QD_SESSION`.
    pub session: String,
    /// `QD_TASK_ID`.
    pub task: String,
    /// `QD_ATTEMPT`.
    pub attempt: u32,
}

/// What `/proc` says of a process; `None` if there is none. A zombie still has one.
pub fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let pid = std::str::from_utf8(bytes.split(|byte| *byte == b' ').next()?).ok()?.parse().ok()?;
    // The name may hold spaces and brackets: the fields begin after the last one.
    let after_name = bytes.iter().rposition(|byte| *byte == b')')? + 2;
    let rest = std::str::from_utf8(bytes.get(after_name..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    Some(Stat {
        process: Process { pid, start_ticks: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        state: *fields.first()?.as_bytes().first()?,
    })
}

/// Device and inode of what a process writes to and of the first files it has open; nothing of a zombie.
pub fn open_files(pid: i32) -> Vec<(u64, u64)> {
    let folder = format!("/proc/{pid}/fd");
    let listed = fs::read_dir(&folder).into_iter().flatten().flatten();
    let others = listed.filter_map(|entry| entry.file_name().into_string().ok());
    let names = ["1".to_owned(), "2".to_owned()].into_iter().chain(others).take(MAX_DESCRIPTORS);
    let identity = |name: String| rustix::fs::stat(format!("{folder}/{name}")).ok();
    names.filter_map(identity).map(|stat| (stat.st_dev, stat.st_ino)).collect()
}

/// This process.
pub fn myself() -> io::Result<Process> {
    let me = getpid().as_raw_pid();
    stat(me).map(|stat| stat.process).ok_or_else(|| io::Error::other("/proc does not show this process"))
}

/// The boot id of this kernel.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The marker in a process's environment; `None` for a zombie, a stranger's or an unmarked one.
pub fn marker(pid: i32) -> Option<Marker> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ")).ok()?.take(MAX_ENVIRONMENT).read_to_end(&mut bytes).ok()?;
    parse_marker(&bytes)
}

fn parse_marker(environment: &[u8]) -> Option<Marker> {
    let value = |name: &str| {
        environment
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    Some(Marker {
        session: value("QD_SESSION")?.to_owned(),
        task: value("QD_TASK_ID")?.to_owned(),
        attempt: value("QD_ATTEMPT")?.parse().ok()?,
    })
}

/// Whether it still runs this very program: a child between its creation and its exec.
pub fn runs_our_program(pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(ours) = fs::metadata("/proc/self/exe") else { return false };
    fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|its| (its.dev(), its.ino()) == (ours.dev(), ours.ino()))
}

/// The children of this single-threaded process, zombies too.
pub fn my_children() -> Vec<i32> {
    let me = getpid().as_raw_pid();
    // Complete, because only reaping takes a child off the list and we are not reaping while we read.
    if let Ok(list) = fs::read_to_string(format!("/proc/self/task/{me}/children")) {
        return numbers(&list);
    }
    all_processes().into_iter().filter(|other| other.parent == me).map(|other| other.process.pid).collect()
}

fn numbers(list: &str) -> Vec<i32> {
    list.split_ascii_whitespace().filter_map(|word| word.parse().ok()).take(MAX_PROCESSES).collect()
}

/// All below these processes and they themselves: zombies too, each once, parents first.
pub fn below(roots: &[i32]) -> Vec<Stat> {
    let mut lister = Lister::new();
    let mut found: Vec<Stat> = roots.iter().filter_map(|pid| stat(*pid)).collect();
    let mut at = 0;
    while at < found.len() && found.len() < MAX_PROCESSES {
        for pid in lister.children(found[at].process.pid) {
            if let Some(child) = stat(pid).filter(|child| child.parent == found[at].process.pid) {
                found.push(child);
            }
        }
        at += 1;
    }
    found
}

/// Lists children by the kernel's own list where there is one, else from one look at all of `/proc`.
struct Lister {
    by_parent: Option<HashMap<i32, Vec<i32>>>,
}

impl Lister {
    fn new() -> Self {
        let me = getpid().as_raw_pid();
        if fs::exists(format!("/proc/self/task/{me}/children")).unwrap_or(false) {
            return Self { by_parent: None };
        }
        let mut by_parent: HashMap<i32, Vec<i32>> = HashMap::new();
        for other in all_processes() {
            by_parent.entry(other.parent).or_default().push(other.process.pid);
        }
        Self { by_parent: Some(by_parent) }
    }

    fn children(&mut self, pid: i32) -> Vec<i32> {
        if let Some(by_parent) = &mut self.by_parent {
            return by_parent.remove(&pid).unwrap_or_default();
        }
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
        let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        lists.flat_map(|list| numbers(&list)).collect()
    }
}

fn all_processes() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat).take(MAX_PROCESSES).collect()
}

/// Signals this very process: a later one that got its pid is not hit. Returns whether it was there.
pub fn signal(process: Process, signal: Signal) -> bool {
    let Some(pid) = Pid::from_raw(process.pid) else { return false };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // The descriptor is taken first: if the start time still matches now, the descriptor is of that process.
    stat(process.pid).is_some_and(|now| now.process == process) && pidfd_send_signal(&fd, signal).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_brackets_and_newlines_does_not_shift_the_fields() {
        let fields = "S 7 8 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 5555 0 0";
        let expected = Stat { process: Process { pid: 12, start_ticks: 5555 }, parent: 7, session: 9, state: b'S' };
        for name in ["sh", "a) R 1 1 1", "x\n) (", "\u{fffd}"] {
            assert_eq!(parse_stat(format!("12 ({name}) {fields}\n").as_bytes()), Some(expected));
        }
        assert_eq!(parse_stat(&[b'1', b' ', b'(', 0xff, b')', b' ', b'S']), None);
        for cut in 0..20 {
            assert_eq!(parse_stat(&b"12 (sh) S 7 8 9 0 -1 41"[..cut]), None);
        }
    }

    #[test]
    fn the_marker_needs_all_three_variables_by_their_whole_names() {
        let all = b"A=1\0QD_SESSION=night\0XQD_TASK_ID=no\0QD_TASK_ID=7\0QD_ATTEMPT=2\0";
        let expected = Marker { session: "night".into(), task: "7".into(), attempt: 2 };
        assert_eq!(parse_marker(all), Some(expected));
        assert_eq!(parse_marker(b"QD_SESSION=night\0QD_TASKS=7\0QD_ATTEMPT=2"), None);
        assert_eq!(parse_marker(b"QD_SESSION=night\0QD_TASK_ID=7\0QD_ATTEMPT=two"), None);
        assert_eq!(parse_marker(b""), None);
    }

    #[test]
    fn a_stale_start_time_is_never_signalled() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let real = stat(child.id() as i32).unwrap().process;
        let stale = Process { start_ticks: real.start_ticks + 1, ..real };
        assert!(!signal(stale, Signal::KILL));
        assert_eq!(child.try_wait().unwrap(), None);
        assert!(signal(real, Signal::KILL));
        child.wait().unwrap();
        assert!(!signal(real, Signal::KILL));
    }

    #[test]
    fn what_lies_below_a_process_is_found_to_any_depth() {
        let script = "sh -c 'sh -c \"sleep 60; :\"; :' & wait";
        let mut child = std::process::Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        let root = child.id() as i32;
        let wait = |count| {
            for _ in 0..500 {
                let found = below(&[root]);
                if found.len() == count {
                    return found;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            panic!("never {count}: {:?}", below(&[root]));
        };
        let found = wait(4);
        assert_eq!(found[0].process.pid, root);
        for other in found.iter().rev() {
            signal(other.process, Signal::KILL);
        }
        child.wait().unwrap();
    }
}
