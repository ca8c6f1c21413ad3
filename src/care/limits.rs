//! Runs the command as a child within its limits. What the kernel bounds for one process it bounds by `setrlimit` in the
//! child; what all processes of a task take together (memory, their number) is sampled from here, and the whole tree is
//! killed when it is too much. Where there can be a control group the kernel bounds their memory besides. Knows nothing of
//! what the command is for.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, pidfd_open};

use super::cgroup::Group;
use super::said::VARIABLE;
use super::{Command, sys, tree};
use crate::engine::care::{Findings, Limits};
use crate::engine::message::Exit;

/// How often the tree is looked at: often at first, then more seldom.
const SAMPLE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// Without a control group one process alone may have twice the memory limit as data of its own, and at least so many bytes
/// more than it, before its allocations fail: a bound for what is faster than we look.
const DATA_MORE: u64 = 512 << 20;
/// After its CPU time a process has so many seconds more before it is killed.
const CPU_GRACE_S: u64 = 5;

/// What surrounds the command.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    /// A control group is made in this folder, else in our own.
    pub groups: Option<&'p Path>,
    /// Where it says what it publishes.
    pub said: Option<&'p Path>,
}

/// Runs it to its end.
///
/// # Errors
/// It could not be executed.
pub fn run(command: &Command, limits: &Limits, place: Place<'_>, findings: &mut Findings) -> io::Result<Exit> {
    sys::keep_signals_out();
    let group = limits.memory.and_then(|memory| Group::make(place.groups, memory));
    let spawned = start(command, limits, place, group.as_ref());
    let exit = spawned.and_then(|child| watch(child, limits, group.as_ref(), findings));
    sys::let_signals_in();
    let exit = exit?;
    if let (Some(cpu), Exit::Signal(libc::SIGXCPU | libc::SIGKILL)) = (limits.cpu, exit)
        && findings.memory.is_none()
        && findings.limit.is_none()
        && (exit == Exit::Signal(libc::SIGXCPU) || used_cpu_s() >= cpu.0.div_ceil(1000) + CPU_GRACE_S)
    {
        findings.limit = Some(format!("a process has used its {} s of CPU time", cpu.0.div_ceil(1000)));
    }
    Ok(exit)
}

/// CPU seconds of our ended children.
fn used_cpu_s() -> u64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = rest.split_ascii_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second().max(1)
}

fn start(command: &Command, limits: &Limits, place: Place<'_>, group: Option<&Group>) -> io::Result<Child> {
    let said = place.said.map(|path| (OsString::from(VARIABLE), path.as_os_str().to_owned()));
    let before = || sys::Before {
        env: said.clone().into_iter().collect(),
        ..before(limits, group.and_then(|group| group.door().ok()))
    };
    match sys::spawn(command.program.clone(), command.argv.clone(), before()) {
        // What the kernel does not take for a program a shell reads as a script.
        Err(error) if command.direct && error.raw_os_error() == Some(libc::ENOEXEC) => {
            let line = command.argv.join(&OsString::from(" "));
            sys::spawn("/bin/sh".into(), vec!["/bin/sh".into(), "-c".into(), line], before())
        }
        other => other,
    }
}

fn before(limits: &Limits, group: Option<File>) -> sys::Before {
    let mut list = Vec::new();
    if let Some(cpu) = limits.cpu {
        let seconds = cpu.0.div_ceil(1000);
        list.push((Resource::Cpu, seconds, seconds + CPU_GRACE_S));
    }
    if let Some(files) = limits.files {
        list.push((Resource::Nofile, files.into(), files.into()));
    }
    let alone = limits.memory.map(|memory| {
        let most = memory.saturating_add(memory.max(DATA_MORE));
        (Resource::Data, most, most)
    });
    sys::Before { limits: list, nice: limits.nice.map(i32::from), group, alone, env: Vec::new() }
}

/// Waits for its end; looks at the tree meanwhile if anything of it is limited.
fn watch(mut child: Child, limits: &Limits, group: Option<&Group>, findings: &mut Findings) -> io::Result<Exit> {
    let sampled = limits.memory.is_some() || limits.processes.is_some();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let end = pid.filter(|_| sampled).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let mut wait = SAMPLE.0;
    while sampled && !has_ended(end.as_ref(), wait) && child.try_wait()?.is_none() {
        if is_out_of_memory(limits, group, findings) {
            tree::kill();
            break;
        }
        if let Some(taken) = exceeds(limits, findings) {
            tree::kill();
            // What was started between two looks is in the last one.
            if let (Some((_, seen)), true) = (&mut findings.memory, limits.memory.is_some()) {
                *seen = (*seen).max(taken);
            }
            break;
        }
        wait = (wait * 2).min(SAMPLE.1);
    }
    let exit = sys::exit_of(child.wait()?);
    // The kernel may have been faster than our next look.
    if findings.memory.is_none() && is_out_of_memory(limits, group, findings) {
        tree::kill();
    }
    Ok(exit)
}

/// The kernel gives its group no more memory.
fn is_out_of_memory(limits: &Limits, group: Option<&Group>, findings: &mut Findings) -> bool {
    let (Some(most), Some(group)) = (limits.memory, group.filter(|group| group.is_out_of_memory())) else {
        return false;
    };
    findings.memory = Some((most, group.peak().unwrap_or(most)));
    true
}

/// The memory seen, if it is over a limit; says which.
fn exceeds(limits: &Limits, findings: &mut Findings) -> Option<u64> {
    let taken = tree::taken();
    if let Some(most) = limits.memory.filter(|most| taken.memory > *most) {
        findings.memory = Some((most, taken.memory));
        return Some(taken.memory);
    }
    let most = limits.processes.filter(|most| taken.processes > *most)?;
    findings.limit = Some(format!("{} processes, {most} are allowed", taken.processes));
    Some(taken.memory)
}

/// Waits so long for the child's end.
fn has_ended(end: Option<&OwnedFd>, wait: Duration) -> bool {
    let Some(end) = end else {
        std::thread::sleep(wait);
        return false;
    };
    let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    let mut fds = [PollFd::new(end, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&wait)), Ok(1..))
}
