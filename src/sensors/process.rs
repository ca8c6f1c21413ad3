//! A command that is asked: run as a helper of this program in its own process group, waited for so long and no longer.
//! It is no attempt: in the kernel's session of the console, so that no executor takes it for what a task left behind.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpgid};

use super::look::too_long;
use super::{Entry, Shared};
use crate::engine::definition::{CommandLine, CommandSpec};

/// Whether it is still wanted is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// So often at most what it left behind is waited for, a millisecond each.
const REAPS: usize = 50;

/// Runs it once; whether it exits with 0, and how it ended.
pub fn exits_well(shared: &Shared, entry: &Entry, command: &CommandSpec, patience: Duration) -> (bool, String) {
    shared.commands.fetch_add(1, Ordering::AcqRel);
    let ended = run(shared, entry, command, patience);
    shared.commands.fetch_sub(1, Ordering::AcqRel);
    match ended {
        Ok(Some(status)) => (status.success(), words(status)),
        Ok(None) => (false, too_long(patience)),
        Err(error) => (false, format!("cannot be run: {error}")),
    }
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// How it ended; nothing, if it took too long or was not wanted any more.
fn run(shared: &Shared, entry: &Entry, spec: &CommandSpec, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let mut command = match &spec.run {
        CommandLine::Shell(text) => {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", text]);
            command
        }
        CommandLine::Exec(argv) => {
            let mut command = Command::new(argv.first().map_or("", String::as_str));
            command.args(argv.get(1..).unwrap_or_default());
            command
        }
    };
    let folder = spec.cwd.as_ref().map_or_else(|| shared.folder.clone(), |cwd| shared.folder.join(cwd));
    // The marker of a task would have it taken for one.
    for ours in ["QD_SESSION", "QD_TASK_ID", "QD_ATTEMPT"] {
        command.env_remove(ours);
    }
    command.env("QD_TASK", &*entry.watch.name).env("PWD", &folder).envs(spec.env.iter().map(|(n, v)| (n, v)));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let group = Pid::from_child(&child);
    let ended = match pidfd_open(group, PidfdFlags::empty()) {
        Ok(fd) => wait(&fd, entry, patience),
        Err(_) => wait_by_asking(&mut child, entry, patience),
    };
    // Also what it left behind. Its first process is not reaped yet: the number is not another group's.
    let _ = kill_process_group(group, Signal::KILL);
    let status = child.wait()?;
    reap(group);
    Ok(ended.then_some(status))
}

/// Whether it ended by itself.
fn wait(fd: &OwnedFd, entry: &Entry, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now()).min(LOOK_AGAIN);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
        if matches!(poll(&mut fds, Some(&timeout)), Ok(1..)) {
            return true;
        }
        if Instant::now() >= until || entry.over.load(Ordering::Acquire) {
            return false;
        }
    }
}

/// Where the machine is out of descriptors.
fn wait_by_asking(child: &mut Child, entry: &Entry, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while Instant::now() < until && !entry.over.load(Ordering::Acquire) {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    false
}

/// What it left behind was killed and falls to us.
fn reap(group: Pid) {
    for _ in 0..REAPS {
        match waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}
