//! Signals for a whole tree: the leader's group, every descendant, and what escaped. Decides nothing: the engine says
//! when and how hard. A process is signalled only through a descriptor that is proved to be its own (or its start time,
//! where no descriptor can be had), so that a pid used again is never hit.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open, pidfd_send_signal};

use super::attempts::{Attempts, Key, Phase};
use super::orphans::{Orphan, Orphans};
use super::tree::{self, Stat};

/// A walk takes in so many processes of a tree; what is beyond comes with a later pass.
const WALKED: usize = 256;
/// One kill may take so long before the poll goes on with other things.
const BUDGET: Duration = Duration::from_millis(5);
/// In one kill so many walks are made to find what is not frozen yet.
const ROUNDS: u32 = 16;

/// Asks every process of the attempt to end. One that is stopped is continued, so that it can.
pub fn terminate(attempts: &Attempts, orphans: &Orphans, key: Key) {
    if only_the_leader(attempts, key, Signal::TERM) {
        return;
    }
    for stat in members(attempts, orphans, key) {
        send(&stat, &[Signal::TERM, Signal::CONT]);
    }
}

/// Kills every process of the attempt that can be found now. True if some were: it must be looked at again.
///
/// The leader's group goes first, in one step that no fork can outrun. The others are frozen until no new one appears,
/// so that killing a parent does not let its children slip away, and then killed.
pub fn kill(attempts: &Attempts, orphans: &mut Orphans, key: Key) -> bool {
    if only_the_leader(attempts, key, Signal::KILL) {
        return false;
    }
    let until = Instant::now() + BUDGET;
    let group = attempts.get(key).filter(|live| !live.reaped).and_then(|live| Pid::from_raw(live.process.pid));
    if let Some(group) = group {
        // Not reaped: its number is its own. No such group: all of it has ended.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let dead = group.map(Pid::as_raw_pid);
    let mut frozen: Vec<Stat> = Vec::new();
    let mut seen: HashSet<(i32, u64)> = HashSet::new();
    for _ in 0..ROUNDS {
        orphans.sweep(attempts);
        let mut found = members(attempts, orphans, key);
        found.retain(|stat| Some(stat.group) != dead && seen.insert((stat.pid, stat.start_ticks)));
        if found.is_empty() {
            break;
        }
        // Those already seen stay stopped, so each round comes further.
        for stat in &found {
            send(stat, &[Signal::STOP]);
        }
        frozen.append(&mut found);
        if Instant::now() >= until {
            break;
        }
    }
    for stat in &frozen {
        send(stat, &[Signal::KILL]);
    }
    group.is_some() || !frozen.is_empty()
}

/// The attempt's processes: its leader's descendants and its orphans with theirs.
fn members(attempts: &Attempts, orphans: &Orphans, key: Key) -> Vec<Stat> {
    let Some(live) = attempts.get(key) else { return Vec::new() };
    let leader = (!live.reaped).then_some(live.process.pid);
    let mine = orphans.of(key).filter(|orphan| may_be_stopped(attempts, orphan, key));
    let roots: Vec<i32> = leader.into_iter().chain(mine.map(|orphan| orphan.stat.pid)).collect();
    orphans.processes.walk(&roots, WALKED)
}

/// An orphan that may as well be another attempt's is left alone while that one runs undisturbed.
fn may_be_stopped(attempts: &Attempts, orphan: &Orphan, key: Key) -> bool {
    let undisturbed =
        |other: &Key| attempts.get(*other).is_some_and(|live| live.phase == Phase::Running && live.kill.is_none());
    !orphan.charged.iter().any(|other| *other != key && undisturbed(other))
}

/// Sends the signals to exactly this process, if it still lives. One we may not signal stays: nothing else can be done.
fn send(stat: &Stat, signals: &[Signal]) {
    let Some(pid) = Pid::from_raw(stat.pid) else { return };
    let same = || tree::stat(stat.pid).is_some_and(|now| now.start_ticks == stat.start_ticks);
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The descriptor is taken before the start time is read: from then on it cannot become another's.
        Ok(pidfd) if same() => {
            for signal in signals {
                let _ = pidfd_send_signal(pidfd.as_fd(), *signal);
            }
        }
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSYS) if same() => {
            for signal in signals {
                let _ = kill_process(pid, *signal);
            }
        }
        _ => {}
    }
}

/// `QD_OFF=tree_kill` in a debug build signals the leader only: to see which tests notice.
fn only_the_leader(attempts: &Attempts, key: Key, signal: Signal) -> bool {
    #[cfg(debug_assertions)]
    {
        static OFF: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        let off = *OFF.get_or_init(|| std::env::var_os("QD_OFF").is_some_and(|off| off == "tree_kill"));
        if off && let Some(pidfd) = attempts.get(key).and_then(|live| live.pidfd.as_ref()) {
            let _ = pidfd_send_signal(pidfd, signal);
        }
        off
    }
    #[cfg(not(debug_assertions))]
    {
        let _ = (attempts, key, signal);
        false
    }
}
