//! The attempts that this console started and has not forgotten. Bookkeeping only: looks at no process.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::output::Log;
use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::Process;
use crate::guard::table::Place;

/// An attempt's name.
pub type Key = (TaskId, Attempt);

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its leader runs.
    Running,
    /// Its leader's end is reported; processes of it live on.
    Left,
    /// Nothing of it lives.
    Empty,
}

/// When a killed attempt's tree is looked at again.
#[derive(Debug, Clone, Copy)]
pub struct Kill {
    /// Then.
    pub next: Instant,
    /// And after how long once more, ms.
    pub wait_ms: u64,
}

/// One attempt.
#[derive(Debug)]
pub struct Live {
    /// Its leader.
    pub process: Process,
    /// Of its leader; closed when that is reaped.
    pub pidfd: Option<OwnedFd>,
    /// Its place in the table shared with the guard, until it is reaped.
    pub place: Option<Place>,
    /// Its output file.
    pub log: Log,
    /// Where it stands.
    pub phase: Phase,
    /// Its end is stored and its leader reaped.
    pub reaped: bool,
    /// It was told to be killed.
    pub kill: Option<Kill>,
}

/// All of them.
#[derive(Default)]
pub struct Attempts {
    all: HashMap<Key, Live>,
    by_leader: HashMap<i32, Key>,
    /// Those in [`Phase::Left`].
    waiting: BTreeSet<Key>,
    /// Those that were told to be killed and are not empty.
    killing: BTreeSet<Key>,
}

impl Attempts {
    /// A new one.
    pub fn insert(&mut self, key: Key, live: Live) {
        self.by_leader.insert(live.process.pid, key);
        self.all.insert(key, live);
    }

    /// Forgets it.
    pub fn remove(&mut self, key: Key) -> Option<Live> {
        let live = self.all.remove(&key)?;
        self.waiting.remove(&key);
        self.killing.remove(&key);
        // Its pid may be another attempt's by now.
        if self.by_leader.get(&live.process.pid) == Some(&key) {
            self.by_leader.remove(&live.process.pid);
        }
        Some(live)
    }

    /// This one.
    pub fn get(&self, key: Key) -> Option<&Live> {
        self.all.get(&key)
    }

    /// This one, to change it.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Live> {
        self.all.get_mut(&key)
    }

    /// The one whose leader has, or had, this pid: so also the one of this session.
    pub fn of_leader(&self, pid: i32) -> Option<Key> {
        self.by_leader.get(&pid).copied()
    }

    /// True if this pid is a leader that was not reaped yet.
    pub fn is_leader(&self, pid: i32) -> bool {
        self.of_leader(pid).and_then(|key| self.get(key)).is_some_and(|live| !live.reaped)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Live)> {
        self.all.iter().map(|(key, live)| (*key, live))
    }

    /// It stands here now.
    pub fn set_phase(&mut self, key: Key, phase: Phase) {
        let Some(live) = self.all.get_mut(&key) else { return };
        live.phase = phase;
        if phase == Phase::Left {
            self.waiting.insert(key);
        } else {
            self.waiting.remove(&key);
        }
        if phase == Phase::Empty {
            self.killing.remove(&key);
        }
    }

    /// It is being killed, and is looked at again then.
    pub fn set_kill(&mut self, key: Key, kill: Kill) {
        let Some(live) = self.all.get_mut(&key) else { return };
        live.kill = Some(kill);
        if live.phase != Phase::Empty {
            self.killing.insert(key);
        }
    }

    /// Those whose leader has ended and whose left processes are waited for.
    pub fn waiting(&self) -> &BTreeSet<Key> {
        &self.waiting
    }

    /// Those that are being killed.
    pub fn killing(&self) -> &BTreeSet<Key> {
        &self.killing
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }
}
