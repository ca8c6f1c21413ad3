//! The task that the runs below start: this test program once more. It keeps a ledger that nobody else writes, and holds
//! real locks of the kernel for what it was promised, so that a doubled run or a doubled grant is seen at the very moment.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::FdFlags;

/// Arguments that make this program play a task.
pub const ARGUMENTS: [&str; 6] = ["task::play", "--exact", "--ignored", "--nocapture", "--test-threads=1", "-q"];
/// Folder of ledger and locks.
pub const ROOT: &str = "CRASH_ROOT";
/// In the environment of every process of a run, and in no other's.
pub const MARK: &str = "CRASH_MARK";
/// The task's name in the ledger.
pub const NAME: &str = "CRASH_TASK";
/// What it does, `;` between the attempts, the last for all further ones: `ms how [kind ms]`.
pub const PLAN: &str = "CRASH_PLAN";
/// Locks: `db:x`, `db:s`, `seat:3` (one of three).
pub const LOCKS: &str = "CRASH_LOCKS";

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// An attempt began.
    Start { attempt: u32, pid: i32 },
    /// It is about to end like this: `0`, `7`, `s9`.
    End { attempt: u32, how: String },
}

#[test]
#[ignore = "played as a task by the runs of the other tests"]
fn play() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (name, attempt) = (variable(NAME), variable("QD_ATTEMPT"));
    let mut ledger = append(&root.join("ledger").join(&name));
    keep_open_in_children(&ledger);
    if ledger.try_lock().is_err() {
        violation(&root, &format!("{name} attempt {attempt} runs beside another of {name}"));
        std::process::exit(99);
    }
    let pid = std::process::id();
    note(&mut ledger, &format!("start {attempt} {pid}\n"));
    let locks: Vec<File> = variable(LOCKS).split_whitespace().filter_map(|lock| take(&root, lock)).collect();
    if locks.len() != variable(LOCKS).split_whitespace().count() {
        violation(&root, &format!("{name} attempt {attempt} was granted what is taken: {}", variable(LOCKS)));
    }
    let plans = variable(PLAN);
    let plans: Vec<&str> = plans.split(';').collect();
    // An attempt that was never spawned, or was stopped, has not used up its plan.
    let played = self::ledger(&root, &name).iter().filter(|entry| matches!(entry, Entry::End { .. })).count();
    let plan: Vec<&str> = plans[played.min(plans.len() - 1)].split(' ').collect();
    if let [_, _, kind, ms] = plan[..] {
        leave_behind(kind, ms);
    }
    std::thread::sleep(Duration::from_millis(plan[0].parse().unwrap()));
    let how = plan[1];
    note(&mut ledger, &format!("end {attempt} {how}\n"));
    match how.strip_prefix('s') {
        Some(signal) => {
            let pid = rustix::process::getpid();
            let signal = rustix::process::Signal::from_named_raw(signal.parse().unwrap()).unwrap();
            rustix::process::kill_process(pid, signal).unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        None => std::process::exit(how.parse().unwrap()),
    }
}

/// A process that outlives its task, with its locks: in its session, in its own, or with nothing to know it by.
#[expect(clippy::zombie_processes, reason = "to be left behind is what it is for")]
fn leave_behind(kind: &str, ms: &str) {
    let mark = std::env::var(MARK).unwrap_or_default();
    let seconds = ms.parse::<f64>().unwrap() / 1000.0;
    let script = format!("sleep {seconds}; true");
    let mut command = Command::new(if kind == "child" { "sh" } else { "setsid" });
    if kind != "child" {
        command.arg("sh");
    }
    command.args(["-c", &script, &mark]).stdin(Stdio::null());
    if kind == "stranger" {
        command.env_clear().env("PATH", "/usr/bin:/bin");
    }
    command.spawn().unwrap();
}

fn take(root: &Path, lock: &str) -> Option<File> {
    let (name, how) = lock.split_once(':').unwrap();
    let open = |name: String| append(&root.join("lock").join(name));
    let file = match how {
        "x" => Some(open(name.into())).filter(|file| file.try_lock().is_ok()),
        "s" => Some(open(name.into())).filter(|file| file.try_lock_shared().is_ok()),
        slots => (0..slots.parse::<u32>().unwrap()).map(|slot| open(format!("{name}.{slot}"))).find(|file| match file
            .try_lock()
        {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(error) => panic!("{error}"),
        }),
    };
    file.inspect(keep_open_in_children)
}

/// What a task leaves behind holds on to its locks.
fn keep_open_in_children(file: &File) {
    rustix::io::fcntl_setfd(file.as_fd(), FdFlags::empty()).unwrap();
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

fn violation(root: &Path, what: &str) {
    note(&mut append(&root.join("violations")), &format!("{what}\n"));
}

/// In one write: it may be read, or this process killed, at any moment.
fn note(file: &mut File, line: &str) {
    file.write_all(line.as_bytes()).unwrap();
}

/// The ledger of one task.
pub fn ledger(root: &Path, task: &str) -> Vec<Entry> {
    let text = std::fs::read_to_string(root.join("ledger").join(task)).unwrap_or_default();
    let entry = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["start", attempt, pid] => Entry::Start { attempt: attempt.parse().unwrap(), pid: pid.parse().unwrap() },
            ["end", attempt, how] => Entry::End { attempt: attempt.parse().unwrap(), how: how.into() },
            _ => panic!("no line of a ledger: {line:?}"),
        }
    };
    text.lines().map(entry).collect()
}
