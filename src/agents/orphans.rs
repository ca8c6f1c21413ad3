//! Processes that tasks left behind. They fall to this console as children; here they are found, charged to attempts and
//! reaped. An attempt's resources stay taken until this says that nothing is charged to it. Sends no signal.
//!
//! An orphan belongs to the attempt of its session, else of its environment marker, else of the output file that it has
//! open. One that matches nothing is charged to every attempt alive that began before it: rather wait than grant twice.
//! Out of sight is only what escapes on purpose: a task's first process that makes siblings by `CLONE_PARENT`, and work
//! handed to a daemon that no task started.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::attempts::{Attempts, Key, Phase};
use super::tree::{self, Processes, Stat};
use super::wait;
use crate::engine::ids::{Attempt, TaskId};

/// So many passes are made to find two that agree; a tree that moves faster than that is not empty.
const PASSES: u32 = 8;
/// One sweep may take so long; what it did not come to is left to the next, and nothing is proved meanwhile.
const BUDGET: Duration = Duration::from_millis(5);
/// An orphan that matched nothing is looked at so often in all: in the middle of an `execve` it shows no environment.
const LOOKS: u8 = 8;
/// At most so many orphans are watched each by a descriptor; the others are found by the timed sweep.
const WATCHED: usize = 512;
/// Marks an orphan's pid in what epoll gives back.
pub const TOKEN: u64 = 1 << 32;

/// A process left behind, alive when last looked at.
#[derive(Debug)]
pub struct Orphan {
    /// As it was first seen.
    pub stat: Stat,
    /// The attempts it may belong to.
    pub charged: Vec<Key>,
    /// It matched one.
    certain: bool,
    looks: u8,
    watch: Option<OwnedFd>,
}

/// All that are known.
pub struct Orphans {
    /// How to look.
    pub processes: Processes,
    known: BTreeMap<i32, Orphan>,
    /// Sessions that tasks made for themselves, as far as seen.
    sessions: HashMap<i32, Key>,
    list: Vec<i32>,
    name: String,
    /// The kernel's session of this program; 0 if its leader is outside this pid namespace (a container).
    ours: i32,
}

/// What one pass saw.
enum Pass {
    /// The kernel's list was empty in a single read: at that instant there was no orphan.
    Nothing,
    /// The same as the pass before.
    Same,
    /// Something came, went or was reaped.
    Changed,
}

impl Orphans {
    /// `session` is what the environment marker says.
    pub fn new(processes: Processes, session: &str) -> Self {
        let name = session.chars().filter(|c| *c != '\0').collect();
        // Not `getsid`: where the session came from outside the pid namespace, rustix takes its 0 for a defect.
        let ours = tree::stat(rustix::process::getpid().as_raw_pid()).map_or(0, |stat| stat.session);
        Self { processes, known: BTreeMap::new(), sessions: HashMap::new(), list: Vec::new(), name, ours }
    }

    /// Finds and charges new orphans, reaps dead ones. True if what is known now is all there is; false if it changed
    /// faster than it could be read (or could not be read): then nothing is proved empty.
    pub fn sweep(&mut self, attempts: &Attempts) -> bool {
        let mut same = 0;
        let mut until = None;
        for _ in 0..PASSES {
            match self.pass(attempts, &mut until) {
                Ok(Pass::Nothing) => return true,
                Ok(Pass::Same) if same == 1 => return true,
                Ok(Pass::Same) => same += 1,
                Ok(Pass::Changed) if until.is_some_and(|until| Instant::now() > until) => return false,
                Ok(Pass::Changed) => same = 0,
                Err(_) => return false,
            }
        }
        false
    }

    fn pass(&mut self, attempts: &Attempts, until: &mut Option<Instant>) -> io::Result<Pass> {
        let mut list = std::mem::take(&mut self.list);
        let read = self.processes.orphans(&mut list);
        let seen = read.map(|()| {
            if list.is_empty() && self.processes.listed() {
                self.known.clear();
                return Pass::Nothing;
            }
            let before = self.known.len();
            if before > 0 {
                let now: HashSet<i32> = list.iter().copied().collect();
                self.known.retain(|pid, _| now.contains(pid));
            }
            let mut changed = self.known.len() != before;
            // The clock is not read where there is nothing to do.
            let until = *until.get_or_insert_with(|| Instant::now() + BUDGET);
            for &pid in &list {
                let new = self.look(pid, attempts);
                changed |= new;
                if new && Instant::now() > until {
                    break;
                }
            }
            if changed { Pass::Changed } else { Pass::Same }
        });
        self.list = list;
        seen
    }

    /// Looks at one child of ours. True if that changed what is known.
    fn look(&mut self, pid: i32, attempts: &Attempts) -> bool {
        if attempts.is_leader(pid) {
            return false;
        }
        if self.known.contains_key(&pid) {
            if !matches!(wait::reap_pid(pid), Ok(false)) {
                self.known.remove(&pid);
                return true;
            }
            return self.look_again(pid, attempts);
        }
        let Some(stat) = tree::stat(pid) else { return true };
        if stat.session == self.ours {
            // A helper that this program started itself: no task's process can be in our session. Not ours to reap.
            return false;
        }
        if matches!(wait::reap_pid(pid), Ok(false)) {
            let mut orphan = Orphan { stat, charged: Vec::new(), certain: false, looks: 0, watch: None };
            self.charge(&mut orphan, attempts);
            self.known.insert(pid, orphan);
        }
        true
    }

    fn look_again(&mut self, pid: i32, attempts: &Attempts) -> bool {
        let unsure = self.known.get(&pid).is_some_and(|orphan| !orphan.certain && orphan.looks < LOOKS);
        if !unsure {
            return false;
        }
        let Some(mut orphan) = self.known.remove(&pid) else { return true };
        let before = orphan.charged.clone();
        self.charge(&mut orphan, attempts);
        let changed = orphan.charged != before;
        self.known.insert(pid, orphan);
        changed
    }

    /// Says whose it is, or may be.
    fn charge(&mut self, orphan: &mut Orphan, attempts: &Attempts) {
        let began = orphan.stat.start_ticks;
        let alive = |key: &Key| {
            let live = attempts.get(*key);
            live.is_some_and(|live| live.phase != Phase::Empty && live.process.start_ticks <= began)
        };
        orphan.looks += 1;
        match self.match_one(&orphan.stat, attempts, alive) {
            Some(key) => {
                self.sessions.insert(orphan.stat.session, key);
                orphan.certain = true;
                orphan.charged = vec![key];
            }
            None if orphan.looks == 1 => {
                orphan.charged = attempts.iter().map(|(key, _)| key).filter(&alive).collect();
                orphan.charged.sort_unstable();
            }
            None => {}
        }
    }

    fn match_one(&self, stat: &Stat, attempts: &Attempts, alive: impl Fn(&Key) -> bool) -> Option<Key> {
        let by_session = || attempts.of_leader(stat.session).filter(&alive);
        let by_marker = || {
            let (task, attempt) = tree::marker(stat.pid, &self.name)?;
            Some((TaskId(task), Attempt(attempt))).filter(&alive)
        };
        let by_output = || {
            let open = tree::open_files(stat.pid);
            attempts.iter().find(|(key, live)| open.contains(&live.log.identity) && alive(key)).map(|(key, _)| key)
        };
        let by_known_session = || self.sessions.get(&stat.session).copied().filter(&alive);
        by_session().or_else(by_marker).or_else(by_output).or_else(by_known_session)
    }

    /// Those charged to this attempt.
    pub fn of(&self, key: Key) -> impl Iterator<Item = &Orphan> {
        self.known.values().filter(move |orphan| orphan.charged.contains(&key))
    }

    /// How many processes of this attempt live on, with their descendants; counted up to `most`.
    pub fn count(&self, key: Key, most: usize) -> u32 {
        let roots: Vec<i32> = self.of(key).map(|orphan| orphan.stat.pid).collect();
        if roots.is_empty() {
            return 0;
        }
        let alive = self.processes.walk(&roots, most).len().max(1);
        u32::try_from(alive).unwrap_or(u32::MAX)
    }

    /// Forgets what was only known for this attempt.
    pub fn forget(&mut self, key: Key) {
        self.sessions.retain(|_, owner| *owner != key);
    }

    /// Has epoll tell of the death of each orphan that an ended attempt waits for. False if some are not watched.
    pub fn watch(&mut self, poll: &OwnedFd, attempts: &Attempts) -> bool {
        let waited_for = |key: &Key| attempts.get(*key).is_some_and(|live| live.phase == Phase::Left);
        let mut watched = self.known.values().filter(|orphan| orphan.watch.is_some()).count();
        let mut all = true;
        for (pid, orphan) in &mut self.known {
            if orphan.watch.is_some() || !orphan.charged.iter().any(waited_for) {
                continue;
            }
            if watched < WATCHED {
                orphan.watch = watch(poll, *pid);
                watched += 1;
            }
            all &= orphan.watch.is_some();
        }
        all
    }
}

/// The pid is our unreaped child, so the descriptor cannot be another process's.
fn watch(poll: &OwnedFd, pid: i32) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
    let token = epoll::EventData::new_u64(TOKEN | u64::from(pid.unsigned_abs()));
    epoll::add(poll, pidfd.as_fd(), token, epoll::EventFlags::IN | epoll::EventFlags::ET).ok()?;
    Some(pidfd)
}
