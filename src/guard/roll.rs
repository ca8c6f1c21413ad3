//! The roll of a dead console's attempts: which of the guard's children is whose, what ended, what is empty. Pure: it is
//! told what `/proc` and `waitid` say, and answers with records; it makes no system call.
//!
//! Only the guard's *direct* children need an owner: whatever has a living parent belongs where that parent belongs.

use std::collections::{BTreeMap, HashMap};

use super::family::{Marker, Stat};
use super::record::{Exit, Key, Process, Record, Usage};
use super::table::{Entry, Spawn};

/// An attempt that stood in the table.
#[derive(Debug)]
struct Attempt {
    leader: Option<Process>,
    /// Its leader ended (or was reaped by the console, or is unknown): only the rest of its tree keeps it from empty.
    over: bool,
    empty: bool,
    /// Nothing that started before this tick can be of it.
    since: u64,
}

/// A direct child of the guard.
#[derive(Debug)]
struct Child {
    stat: Stat,
    owner: Option<Key>,
    /// Its end is in a record: it can be reaped once that is stored.
    recorded: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Roll {
    /// What `QD_SESSION` may say for a marker to count.
    sessions: Vec<String>,
    /// The session that the console itself lived in: no task's.
    foreign: i32,
    attempts: BTreeMap<Key, Attempt>,
    /// Which attempt a leader's pid stands for.
    leaders: HashMap<i32, Key>,
    children: BTreeMap<i32, Child>,
    /// Markers as the leaders carry them (`QD_TASK_ID` may be a name).
    markers: HashMap<Marker, Key>,
    /// Descendants below the direct children as last seen: they keep their owner when their parent ends.
    seen: HashMap<i32, (u64, Key)>,
    /// Which attempt a session belongs to.
    of_session: HashMap<i32, Key>,
}

fn leader_of(entry: &Entry) -> Option<Process> {
    match entry.spawn {
        Spawn::Done(pid, start_ticks) => Some(Process { pid, start_ticks }),
        Spawn::NoChild | Spawn::Child(_) | Spawn::Failed => None,
    }
}

impl Roll {
    /// A roll for a console that lived in the kernel session `foreign`; markers count if they name one of `sessions`.
    pub fn new(sessions: Vec<String>, foreign: i32) -> Self {
        Self { sessions, foreign, ..Self::default() }
    }

    /// Takes the table over. Returns the header's records.
    pub fn list(&mut self, entries: &[Entry]) -> Vec<Record> {
        let mut records = Vec::new();
        for entry in entries {
            let key = (entry.task, entry.attempt);
            let leader = leader_of(entry);
            let since = leader.map_or(entry.since, |process| process.start_ticks);
            self.attempts.insert(key, Attempt { leader, over: false, empty: false, since });
            if let Some(process) = leader {
                self.leaders.insert(process.pid, key);
            }
            records.push(match leader {
                Some(process) => Record::Alive { key, log: entry.log, process },
                None => Record::Entered { key, log: entry.log },
            });
        }
        records.push(Record::Listed { count: records.len() as u32 });
        records
    }

    /// Looks at the table again: attempts that were in the middle of their spawn may have got their process.
    pub fn find(&mut self, entries: &[Entry]) -> Vec<Record> {
        let mut records = Vec::new();
        for entry in entries {
            let key = (entry.task, entry.attempt);
            let (Some(process), Some(attempt)) = (leader_of(entry), self.attempts.get_mut(&key)) else { continue };
            if attempt.leader.is_some() || attempt.over {
                continue;
            }
            (attempt.leader, attempt.since) = (Some(process), process.start_ticks);
            self.leaders.insert(process.pid, key);
            if let Some(child) = self.children.get_mut(&process.pid).filter(|child| child.stat.process == process) {
                child.owner = Some(key);
            }
            records.push(Record::Found { key, process });
        }
        records
    }

    /// Whether this child is known already.
    pub fn knows(&self, pid: i32) -> bool {
        self.children.contains_key(&pid)
    }

    /// A new direct child. Returns a record if it is alive and could be of any attempt. What lives in the console's own
    /// session (a pager, an editor) is no task's: nothing gets from its own session into another's.
    pub fn see(&mut self, stat: Stat, marker: Option<Marker>) -> Option<Record> {
        let owner = self.owner(&stat, marker.as_ref());
        if let Some(key) = owner {
            self.learn(key, &stat, marker);
        }
        let process = stat.process;
        self.children.insert(process.pid, Child { stat, owner, recorded: false });
        (owner.is_none() && stat.session != self.foreign && stat.state != b'Z').then_some(Record::Stray { process })
    }

    /// A new direct child that nothing marks but the output file of this attempt, which it has open.
    pub fn see_by_output(&mut self, stat: Stat, key: Key) -> Option<Record> {
        let stray = self.see(stat, None);
        let open = self.attempts.get(&key).is_some_and(|attempt| stat.process.start_ticks >= attempt.since);
        match self.children.get_mut(&stat.process.pid) {
            Some(child) if child.owner.is_none() && open => child.owner = Some(key),
            _ => return stray,
        }
        None
    }

    fn learn(&mut self, key: Key, stat: &Stat, marker: Option<Marker>) {
        if let Some(marker) = marker.filter(|marker| self.sessions.contains(&marker.session)) {
            self.markers.insert(marker, key);
        }
        if stat.session != self.foreign {
            self.of_session.insert(stat.session, key);
        }
    }

    fn owner(&self, stat: &Stat, marker: Option<&Marker>) -> Option<Key> {
        if self.is_leader(stat.process) {
            return self.leaders.get(&stat.process.pid).copied();
        }
        if let Some((_, key)) = self.seen.get(&stat.process.pid).filter(|(ticks, _)| *ticks == stat.process.start_ticks)
        {
            return Some(*key);
        }
        self.owner_by_marker(marker).or_else(|| self.owner_by_session(stat.session))
    }

    fn owner_by_marker(&self, marker: Option<&Marker>) -> Option<Key> {
        let marker = marker.filter(|marker| self.sessions.contains(&marker.session))?;
        if let Some(key) = self.markers.get(marker) {
            return Some(*key);
        }
        let key = (marker.task.parse().ok()?, marker.attempt);
        self.attempts.contains_key(&key).then_some(key)
    }

    fn owner_by_session(&self, session: i32) -> Option<Key> {
        if session == self.foreign {
            return None;
        }
        self.of_session.get(&session).or_else(|| self.leaders.get(&session)).copied()
    }

    /// What was last seen below the direct children: `(child, descendant)` pairs; replaces what was known.
    pub fn see_below(&mut self, below: &[(i32, Stat)]) {
        self.seen.clear();
        self.of_session.clear();
        for child in self.children.values() {
            if let Some(key) = child.owner.filter(|_| child.stat.session != self.foreign) {
                self.of_session.insert(child.stat.session, key);
            }
        }
        for (child, stat) in below {
            let Some(key) = self.children.get(child).and_then(|child| child.owner) else { continue };
            self.seen.insert(stat.process.pid, (stat.process.start_ticks, key));
            if stat.session != self.foreign {
                self.of_session.insert(stat.session, key);
            }
        }
    }

    /// Once all children at the console's death are seen and none is between its creation and its exec: says what became
    /// of the attempts that were being spawned, and which listed leaders the console had reaped.
    pub fn settle(&mut self, entries: &[Entry]) -> Vec<Record> {
        let mut records = self.find(entries);
        for entry in entries {
            let key = (entry.task, entry.attempt);
            let Some(attempt) = self.attempts.get_mut(&key).filter(|a| a.leader.is_none() && !a.over) else { continue };
            // A child that its parent reaped after it failed stands there as failed; one that is gone otherwise cannot be.
            let touched = self.children.values().any(|child| child.owner == Some(key));
            let never = matches!(entry.spawn, Spawn::NoChild | Spawn::Failed) && !touched;
            (attempt.over, attempt.empty) = (true, never);
            records.push(if never { Record::NotStarted { key } } else { Record::Unknown { key } });
        }
        for (key, attempt) in &mut self.attempts {
            let Some(leader) = attempt.leader.filter(|_| !attempt.over) else { continue };
            if self.children.get(&leader.pid).is_none_or(|child| child.stat.process != leader) {
                attempt.over = true;
                records.push(Record::Reaped { key: *key });
            }
        }
        records
    }

    /// Children whose end is not recorded yet.
    pub fn unrecorded(&self) -> Vec<i32> {
        self.children.iter().filter(|(_, child)| !child.recorded).map(|(pid, _)| *pid).collect()
    }

    /// This child ended, and `left` processes of its attempt live on. Returns a record if it was a leader.
    pub fn ended(&mut self, pid: i32, exit: Exit, usage: Usage, left: u32, stopped: bool) -> Option<Record> {
        let child = self.children.get_mut(&pid)?;
        child.recorded = true;
        let key = child.owner?;
        let process = child.stat.process;
        let attempt = self.attempts.get_mut(&key)?;
        if attempt.leader != Some(process) || attempt.over {
            return None;
        }
        attempt.over = true;
        Some(Record::Ended { key, process, exit, usage, left, stopped })
    }

    /// This child vanished without our reaping it; cannot be, but must not hang the guard.
    pub fn vanished(&mut self, pid: i32) {
        self.children.remove(&pid);
    }

    /// Attempts of which nothing is left, each told once. Call when two looks at the children in a row were the same.
    pub fn emptied(&mut self) -> Vec<Record> {
        let alive = || self.children.values().filter(|child| !child.recorded);
        let stray = |child: &&Child| child.owner.is_none() && child.stat.session != self.foreign;
        let strays: Vec<u64> = alive().filter(stray).map(|child| child.stat.process.start_ticks).collect();
        let taken: std::collections::BTreeSet<Key> = alive().filter_map(|child| child.owner).collect();
        let latest_stray = strays.iter().max().copied();
        let mut records = Vec::new();
        for (key, attempt) in &mut self.attempts {
            // An orphan that matches nothing may be of any attempt that ran when it started.
            let charged = latest_stray.is_some_and(|started| started >= attempt.since);
            if attempt.over && !attempt.empty && !charged && !taken.contains(key) {
                attempt.empty = true;
                records.push(Record::Empty { key: *key });
            }
        }
        records
    }

    /// Nothing lives any more.
    pub fn is_over(&self) -> bool {
        self.children.values().all(|child| child.recorded)
    }

    /// Children whose end is stored: takes them off the roll, to be reaped.
    pub fn take_recorded(&mut self) -> Vec<i32> {
        let recorded = self.children.iter().filter(|(_, child)| child.recorded).map(|(pid, _)| *pid).collect();
        self.children.retain(|_, child| !child.recorded);
        recorded
    }

    /// The living direct children of an attempt; if it has none but strays are charged to it alone, those.
    pub fn members(&self, key: Key) -> Vec<i32> {
        let members = self.owned(key);
        let waits = |(_, attempt): &(&Key, &Attempt)| !attempt.empty;
        let alone = self.attempts.iter().filter(waits).map(|(key, _)| *key).eq([key]);
        if members.is_empty() && alone { self.owned_by(None) } else { members }
    }

    /// The living direct children that are surely of this attempt.
    pub fn owned(&self, key: Key) -> Vec<i32> {
        self.owned_by(Some(key))
    }

    fn owned_by(&self, owner: Option<Key>) -> Vec<i32> {
        let of = |(pid, child): (&i32, &Child)| (child.owner == owner && !child.recorded).then_some(*pid);
        self.children.iter().filter_map(of).collect()
    }

    /// The direct children of each attempt.
    pub fn by_owner(&self) -> HashMap<Key, Vec<i32>> {
        let mut all: HashMap<Key, Vec<i32>> = HashMap::new();
        for (pid, child) in &self.children {
            if let Some(key) = child.owner {
                all.entry(key).or_default().push(*pid);
            }
        }
        all
    }

    /// Whether this is a listed leader.
    pub fn is_leader(&self, process: Process) -> bool {
        let key = self.leaders.get(&process.pid);
        key.is_some_and(|key| self.attempts.get(key).is_some_and(|attempt| attempt.leader == Some(process)))
    }

    /// Whether a marker is of this session.
    pub fn is_of_session(&self, marker: &Marker) -> bool {
        self.sessions.contains(&marker.session)
    }

    /// Whether nothing of this attempt is left (or it is unknown here).
    pub fn is_empty(&self, key: Key) -> bool {
        self.attempts.get(&key).is_none_or(|attempt| attempt.empty)
    }

    /// Which attempt a direct child is of.
    pub fn owner_of(&self, pid: i32) -> Option<Key> {
        self.children.get(&pid).and_then(|child| child.owner)
    }

    /// Attempts that are not empty yet.
    pub fn open(&self) -> usize {
        self.attempts.values().filter(|attempt| !attempt.empty).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::table::Table;

    const FOREIGN: i32 = 5;
    /// What is only entered was so at this tick.
    const ENTERED: u64 = 115;

    /// A table with these attempts; a pid of 0 is only entered. Start ticks are the pid.
    fn entries(attempts: &[(u32, u32, i32)]) -> Vec<Entry> {
        let table = Table::create().unwrap();
        for (task, attempt, pid) in attempts {
            let place = table.enter(*task, *attempt, 0).unwrap();
            if *pid != 0 {
                table.spawned(place, *pid, *pid as u64);
            }
        }
        let mut entries = table.entries();
        for entry in entries.iter_mut().filter(|entry| entry.spawn == Spawn::NoChild) {
            entry.since = ENTERED;
        }
        entries
    }

    /// The same with one attempt more, whose spawn is so far.
    fn entries_and(attempts: &[(u32, u32, i32)], spawn: Spawn) -> Vec<Entry> {
        let mut entries = entries(&[attempts, &[(2, 1, 0)]].concat());
        entries.last_mut().unwrap().spawn = spawn;
        entries
    }

    fn roll(attempts: &[(u32, u32, i32)]) -> Roll {
        let mut roll = Roll::new(vec!["night".into()], FOREIGN);
        let records = roll.list(&entries(attempts));
        assert_eq!(records.last(), Some(&Record::Listed { count: attempts.len() as u32 }));
        roll
    }

    const OTHER: [(u32, u32, i32); 1] = [(1, 1, 100)];

    /// A roll with [`OTHER`], alive, and an attempt in the middle of its spawn.
    fn spawning() -> Roll {
        let mut roll = roll(&[OTHER[0], (2, 1, 0)]);
        roll.see(process(100, 100, b'S'), None);
        roll
    }

    fn process(pid: i32, session: i32, state: u8) -> Stat {
        Stat { process: Process { pid, start_ticks: pid as u64 }, parent: 1, session, state }
    }

    fn marked(task: &str, attempt: u32) -> Option<Marker> {
        Some(Marker { session: "night".into(), task: task.into(), attempt })
    }

    fn end(roll: &mut Roll, pid: i32) -> Option<Record> {
        roll.ended(pid, Exit::Code(0), Usage::default(), 0, false)
    }

    #[test]
    fn an_attempt_without_a_child_or_whose_child_could_not_execute_was_never_started() {
        for spawn in [Spawn::NoChild, Spawn::Failed] {
            let mut roll = spawning();
            assert_eq!(roll.settle(&entries_and(&OTHER, spawn)), [Record::NotStarted { key: (2, 1) }]);
            assert_eq!(roll.emptied(), []);
            assert!(roll.is_empty((2, 1)) && !roll.is_empty((1, 1)));
        }
    }

    #[test]
    fn a_child_whose_pid_the_kernel_entered_is_the_attempt_dead_or_alive_seen_before_or_after() {
        let leader = Process { pid: 120, start_ticks: 120 };
        let now = entries_and(&OTHER, Spawn::Done(120, 120));
        for (state, before) in [(b'S', false), (b'Z', false), (b'S', true), (b'Z', true)] {
            let mut roll = spawning();
            if before {
                roll.see(process(120, 120, state), None);
            }
            assert_eq!(roll.find(&now), [Record::Found { key: (2, 1), process: leader }]);
            assert_eq!(roll.find(&now), [], "told once");
            if !before {
                assert_eq!(roll.see(process(120, 120, state), None), None);
            }
            // Its daemon in a session of its own, and a process of its session: both are known by it.
            roll.see(process(121, 120, b'S'), None);
            assert_eq!(roll.settle(&now), []);
            assert!(matches!(end(&mut roll, 120), Some(Record::Ended { key: (2, 1), .. })));
            assert_eq!(roll.emptied(), []);
            end(&mut roll, 121);
            assert_eq!(roll.emptied(), [Record::Empty { key: (2, 1) }]);
        }
    }

    #[test]
    fn a_child_that_is_gone_without_a_word_proves_nothing() {
        let mut roll = spawning();
        assert_eq!(roll.settle(&entries_and(&OTHER, Spawn::Child(120))), [Record::Unknown { key: (2, 1) }]);
    }

    #[test]
    fn an_attempt_of_which_an_orphan_lives_is_not_called_never_started() {
        let mut roll = roll(&[(2, 1, 0)]);
        roll.see(process(121, 119, b'S'), marked("2", 1));
        assert_eq!(roll.settle(&entries(&[(2, 1, 0)])), [Record::Unknown { key: (2, 1) }]);
        assert_eq!(roll.emptied(), []);
        end(&mut roll, 121);
        assert_eq!(roll.emptied(), [Record::Empty { key: (2, 1) }]);
    }

    #[test]
    fn a_marker_of_another_session_or_of_an_unlisted_attempt_counts_for_nothing() {
        let mut roll = roll(&[(2, 1, 100)]);
        roll.see(process(100, 100, b'S'), None);
        let other = Some(Marker { session: "inner".into(), task: "2".into(), attempt: 1 });
        assert!(roll.see(process(130, 129, b'S'), other).is_some());
        assert!(roll.see(process(131, 129, b'S'), marked("2", 2)).is_some());
        assert!(roll.see(process(132, 129, b'S'), marked("2", 1)).is_none());
    }

    #[test]
    fn a_task_named_in_its_marker_is_learned_from_its_leader() {
        let mut roll = roll(&[(4, 1, 100), (5, 1, 101)]);
        roll.see(process(100, 100, b'S'), marked("build", 1));
        roll.see(process(101, 101, b'S'), marked("lint", 1));
        roll.see(process(140, 139, b'S'), marked("lint", 1));
        assert_eq!(roll.owner_of(140), Some((5, 1)));
    }

    #[test]
    fn a_leader_that_the_console_reaped_is_told_and_its_orphans_are_found_by_session() {
        let mut roll = roll(&[(1, 1, 100), (2, 1, 110)]);
        roll.see(process(150, 100, b'S'), None);
        assert_eq!(roll.settle(&[]), [Record::Reaped { key: (1, 1) }, Record::Reaped { key: (2, 1) }]);
        assert_eq!(roll.emptied(), [Record::Empty { key: (2, 1) }]);
        end(&mut roll, 150);
        assert_eq!(roll.emptied(), [Record::Empty { key: (1, 1) }]);
    }

    #[test]
    fn a_pid_used_again_is_not_taken_for_the_leader() {
        let mut roll = roll(&[(1, 1, 100)]);
        let mut again = process(100, 7, b'S');
        again.process.start_ticks = 5000;
        roll.see(again, None);
        assert_eq!(roll.settle(&[]), [Record::Reaped { key: (1, 1) }]);
    }

    #[test]
    fn a_stray_keeps_every_attempt_open_that_ran_when_it_started() {
        let mut roll = roll(&[(1, 1, 100), (2, 1, 200)]);
        roll.see(process(100, 100, b'S'), None);
        roll.see(process(200, 200, b'S'), None);
        let stray = roll.see(process(150, 149, b'S'), None);
        assert_eq!(stray, Some(Record::Stray { process: Process { pid: 150, start_ticks: 150 } }));
        roll.settle(&[]);
        end(&mut roll, 100);
        end(&mut roll, 200);
        assert_eq!(roll.emptied(), [Record::Empty { key: (2, 1) }]);
        assert_eq!(roll.members((1, 1)), [150], "charged to it alone: an order to stop it reaches the stray");
        end(&mut roll, 150);
        assert_eq!(roll.emptied(), [Record::Empty { key: (1, 1) }]);
        assert!(roll.is_over());
    }

    #[test]
    fn a_descendant_that_was_seen_below_keeps_its_owner_without_marker_and_session() {
        let mut roll = roll(&[(1, 1, 100), (2, 1, 200)]);
        roll.see(process(100, 100, b'S'), None);
        roll.see(process(200, 200, b'S'), None);
        roll.see_below(&[(100, process(160, 160, b'S')), (200, process(260, 200, b'S'))]);
        assert_eq!(roll.see(process(160, 160, b'S'), None), None);
        assert_eq!(roll.owner_of(160), Some((1, 1)));
        // A child of what was seen, in its session, that was never seen itself.
        assert_eq!(roll.see(process(161, 160, b'S'), None), None);
        assert_eq!(roll.owner_of(161), Some((1, 1)));
    }

    #[test]
    fn what_lives_in_the_consoles_own_session_is_nobodys_and_holds_nobody_up() {
        let mut roll = roll(&[(1, 1, 100), (2, 1, 0)]);
        roll.see(process(100, 100, b'S'), None);
        assert_eq!(roll.see(process(101, FOREIGN, b'S'), None), None);
        assert_eq!(roll.settle(&entries_and(&OTHER, Spawn::NoChild)), [Record::NotStarted { key: (2, 1) }]);
        end(&mut roll, 100);
        assert_eq!(roll.emptied(), [Record::Empty { key: (1, 1) }]);
        assert!(!roll.is_over(), "the guard waits for it all the same");
    }

    #[test]
    fn a_recorded_end_is_told_once_and_reaped_only_when_taken() {
        let mut roll = roll(&[(1, 1, 100)]);
        roll.see(process(100, 100, b'Z'), None);
        roll.settle(&[]);
        assert!(end(&mut roll, 100).is_some());
        assert!(roll.unrecorded().is_empty() && roll.knows(100));
        assert_eq!(roll.take_recorded(), [100]);
        assert!(!roll.knows(100));
    }
}
