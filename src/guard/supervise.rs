//! The guard after its console: reaps every survivor with its true end, stored before it is reaped; stops what is to be
//! stopped; tells resumed consoles. Knows nothing of the console that was.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::PollFlags;
use rustix::fs::{AtFlags, statat};
use rustix::process::{Signal, getpid};

use super::console::OnDeath;
use super::family::{self, Stat};
use super::past::{Order, file_name};
use super::record::{ConsoleEnd, Key, Process, Record, StopCause, VERSION};
use super::roll::Roll;
use super::store::{Store, is_removed};
use super::table::{Entry, Spawn, Table};
use super::watch::Session;
use super::{sys, wire};
use crate::fault::{self, Call};

/// Folder of the output files in a session's folder.
const LOG: &str = "log";
/// An orphan may come to us without a signal: so often the children are looked at anyway.
const TICK: Duration = Duration::from_secs(1);
/// So often what is being killed is killed again.
const KILL_AGAIN: Duration = Duration::from_millis(50);
/// So long the guard tries to store the last lines, with nothing alive, before it gives up.
const STORE_LIMIT: Duration = Duration::from_secs(600);
/// So long it waits for a slow client to hear the end.
const TELL_LIMIT: Duration = Duration::from_secs(2);
/// A child is between its creation and its exec for so long at most.
const EXEC_LIMIT: Duration = Duration::from_secs(2);
/// A process without any marker that is no older than this may be in the middle of its exec.
const EXEC_TICKS: u64 = 3;
/// Walking all descendants takes at most one part in so many of the guard's time.
const WALK_SHARE: u32 = 20;
/// Between two looks passes so many times what a look took, so that a storm of ends does not take a processor.
const LOOK_SHARE: u32 = 3;
/// But no more than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Two looks in a row must be the same; after so many in a row that were not, the next turn goes on.
const MAX_LOOKS: usize = 100;

struct Stop {
    /// From then on SIGKILL.
    kill_at: Instant,
}

/// A guard on its own.
pub struct Supervisor {
    session: Session,
    /// What the console was spawning when it died.
    table: Table,
    signals: OwnedFd,
    roll: Roll,
    /// Whose each output file is, by device and inode.
    outputs: HashMap<(u64, u64), Key>,
    store: Store,
    /// Without a console until then everything is stopped.
    limit: Option<Instant>,
    chosen: bool,
    stop: Option<Stop>,
    killing: BTreeSet<Key>,
    next_walk: Instant,
    complete: bool,
    trouble_since: Option<Instant>,
}

impl Supervisor {
    /// Takes over what the console left. `foreign` is the kernel session the console lived in.
    pub fn new(
        session: Session,
        guard: Process,
        console: Process,
        end: ConsoleEnd,
        foreign: i32,
        table: Table,
        signals: OwnedFd,
    ) -> io::Result<Self> {
        let mut roll = Roll::new(vec![session.name.clone(), session.path.clone()], foreign);
        let store = Store::new(file_name(guard));
        let entries = table.entries();
        let records = roll.list(&entries);
        let output = |entry: &Entry| {
            let path = format!("{LOG}/{}", entry.log);
            let stat = statat(&session.folder, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some(((stat.st_dev, stat.st_ino), (entry.task, entry.attempt)))
        };
        let outputs = entries.iter().filter_map(output).collect();
        let chosen = end == ConsoleEnd::Detached;
        let now = Instant::now();
        let mut this = Self {
            session,
            table,
            signals,
            roll,
            outputs,
            store,
            limit: None,
            chosen,
            stop: None,
            killing: BTreeSet::new(),
            next_walk: now,
            complete: false,
            trouble_since: None,
        };
        this.record(Record::Console { version: VERSION, boot: family::boot_id()?, guard, console, end });
        this.record_all(records);
        this.set_limit();
        Ok(this)
    }

    /// How many attempts were alive or being spawned.
    pub fn open(&self) -> usize {
        self.roll.open()
    }

    /// Finds out what each survivor is, before anybody is told anything.
    pub fn first_look(&mut self) {
        let until = Instant::now() + EXEC_LIMIT;
        loop {
            let found = self.roll.find(&self.entries(false));
            self.record_all(found);
            if !self.see_children(false) && !self.has_new_children() || Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if Instant::now() >= until {
            self.see_children(true);
        }
        let settled = self.roll.settle(&self.entries(true));
        self.record_all(settled);
        self.look();
        self.session.server.console_ended(self.store.text().len());
    }

    /// The table as it stands. A child whose spawn nobody saw finished counts as done once its `execve` has succeeded, or,
    /// if `all`, whatever it does.
    fn entries(&self, all: bool) -> Vec<Entry> {
        let me = getpid().as_raw_pid();
        let child_of_ours = |entry: Entry| match entry.spawn {
            Spawn::Child(pid) => family::stat(pid).filter(|stat| stat.parent == me).map(|stat| (entry.place, stat)),
            Spawn::NoChild | Spawn::Failed | Spawn::Done(..) => None,
        };
        let children: Vec<_> = self.table.entries().into_iter().filter_map(child_of_ours).collect();
        // In this order: what has ended, or runs another program, or shows a marker, says no more that it failed.
        let marked = |pid| family::marker(pid).is_some_and(|marker| self.roll.is_of_session(&marker));
        let has_executed = |pid| !family::runs_our_program(pid) || marked(pid);
        let ripe: Vec<_> = children
            .into_iter()
            .filter(|(_, stat)| all || stat.state == b'Z' || has_executed(stat.process.pid))
            .collect();
        let mut entries = self.table.entries();
        for entry in entries.iter_mut().filter(|entry| matches!(entry.spawn, Spawn::Child(_))) {
            if let Some((_, Stat { process, .. })) = ripe.iter().find(|(place, _)| *place == entry.place) {
                entry.spawn = Spawn::Done(process.pid, process.start_ticks);
            }
        }
        entries
    }

    /// Until nothing is left.
    pub fn run(mut self) -> ! {
        while !self.is_done() {
            self.speak_and_obey();
            self.stop_what_must();
            let begin = Instant::now();
            self.look();
            let took = begin.elapsed();
            self.speak_and_obey();
            if !self.is_done() {
                // With thousands of children a look costs something: it gets its share of the time and no more.
                if !self.pause((took * LOOK_SHARE).min(LONGEST_PAUSE)) {
                    self.wait(self.next_turn());
                }
            }
        }
        self.say_goodbye();
        std::process::exit(0)
    }

    /// Tells clients what is new, and takes their orders; what is to be stopped is stopped by the next turn.
    fn speak_and_obey(&mut self) {
        for order in self.session.server.turn(self.store.text()) {
            self.obey(order);
        }
    }

    fn is_done(&self) -> bool {
        let hopeless = || self.trouble_since.is_some_and(|since| since.elapsed() > STORE_LIMIT);
        self.complete && (self.store.is_safe() || is_removed(self.session.folder.as_fd()) || hopeless())
    }

    fn say_goodbye(&mut self) {
        let until = Instant::now() + TELL_LIMIT;
        while !self.session.server.all_told(self.store.text().len()) && Instant::now() < until {
            self.wait(Duration::from_millis(100));
            // Nothing is left that an order could be about.
            let _orders = self.session.server.turn(self.store.text());
        }
        self.session.server.unbind(self.session.folder.as_fd());
    }

    /// Lets ends gather, but not orders: returns early, with true, if a client wants something.
    fn pause(&self, time: Duration) -> bool {
        let wanted = self.session.server.wanted(self.store.text().len());
        wire::wait_for(&wanted, Some(time)).contains(&true)
    }

    fn wait(&mut self, limit: Duration) {
        let mut wanted = vec![(self.signals.as_fd(), PollFlags::IN)];
        wanted.extend(self.session.server.wanted(self.store.text().len()));
        wire::wait_for(&wanted, Some(limit));
        while let Some(caught) = sys::next_signal(self.signals.as_fd()) {
            if caught.signal == libc::SIGTERM {
                self.begin_stop(StopCause::Term);
            }
        }
    }

    fn next_turn(&self) -> Duration {
        let now = Instant::now();
        let until = |at: Instant| at.saturating_duration_since(now);
        let mut next = TICK;
        if let Some(limit) = self.limit.filter(|_| self.stop.is_none()) {
            next = next.min(until(limit));
        }
        match &self.stop {
            Some(stop) if stop.kill_at > now => next = next.min(until(stop.kill_at)),
            Some(_) => next = next.min(KILL_AGAIN),
            None if !self.killing.is_empty() => next = next.min(KILL_AGAIN),
            None => {}
        }
        // Never a busy loop, whatever the clocks say.
        next.max(Duration::from_millis(1))
    }

    // ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Looks at the children until two looks in a row are the same, stores what is new, then reaps what is stored.
    fn look(&mut self) {
        for _ in 0..MAX_LOOKS {
            self.see_children(true);
            let ended = self.peek_all();
            if !ended && !self.has_new_children() {
                let emptied = self.roll.emptied();
                self.record_all(emptied);
                if self.roll.is_over() && !self.complete {
                    self.complete = true;
                    self.record(Record::Complete);
                }
                break;
            }
        }
        self.walk();
        self.store_and_reap();
    }

    fn has_new_children(&self) -> bool {
        family::my_children().iter().any(|pid| !self.roll.knows(*pid))
    }

    /// Enrols new children. With `all` false, those that may be before their exec are left; returns whether there are.
    fn see_children(&mut self, all: bool) -> bool {
        let mut unripe = false;
        for pid in family::my_children() {
            if self.roll.knows(pid) {
                continue;
            }
            // In this order: what runs another program now, or shows a marker, has had its exec (and its session) before
            // the rest is looked at.
            let ours_still = family::runs_our_program(pid);
            let marker = family::marker(pid);
            let Some(stat) = family::stat(pid) else { continue };
            let marked = marker.as_ref().is_some_and(|marker| self.roll.is_of_session(marker));
            // In the middle of an exec it shows no environment.
            let young = sys::ticks_now().saturating_sub(stat.process.start_ticks) <= EXEC_TICKS;
            let in_exec = stat.state != b'Z' && !marked && (ours_still || young && marker.is_none());
            if !all && in_exec && !self.roll.is_leader(stat.process) {
                unripe = true;
                continue;
            }
            // Before its exec a child still has open all that the console had.
            let output = if marked || in_exec { None } else { self.output_of(pid) };
            let stray = match output {
                Some(key) => self.roll.see_by_output(stat, key),
                None => self.roll.see(stat, marker),
            };
            self.record_all(stray);
        }
        unripe
    }

    /// What cleared its environment may still hold the output file of its attempt.
    fn output_of(&self, pid: i32) -> Option<Key> {
        family::open_files(pid).iter().find_map(|file| self.outputs.get(file)).copied()
    }

    /// Records the end of each child that has ended. Returns whether there was one.
    fn peek_all(&mut self) -> bool {
        let mut ended = Vec::new();
        for pid in self.roll.unrecorded() {
            match sys::peek(pid) {
                Ok(None) => {}
                Ok(Some((exit, usage))) => ended.push((pid, exit, usage)),
                Err(_) => self.roll.vanished(pid),
            }
        }
        if ended.is_empty() {
            return false;
        }
        // Children of what ended became ours with that: they are enrolled before any is counted.
        self.see_children(true);
        let by_owner = self.roll.by_owner();
        for (pid, exit, usage) in ended {
            let left = self.roll.owner_of(pid).map_or(0, |key| left_besides(pid, &by_owner[&key]));
            let record = self.roll.ended(pid, exit, usage, left, self.stop.is_some());
            self.record_all(record);
        }
        true
    }

    /// Remembers who is below whom, so that an orphan without marker and session is known by its dead parent.
    fn walk(&mut self) {
        let begin = Instant::now();
        if begin < self.next_walk {
            return;
        }
        let mut below = Vec::new();
        for child in self.roll.unrecorded() {
            below.extend(family::below(&[child]).into_iter().skip(1).map(|stat| (child, stat)));
        }
        self.roll.see_below(&below);
        self.next_walk = Instant::now() + (begin.elapsed() * WALK_SHARE).max(TICK / 2);
    }

    fn store_and_reap(&mut self) {
        let folder = self.session.folder.as_fd();
        if let Err(_error) = self.store.flush(folder) {
            self.trouble_since.get_or_insert_with(Instant::now);
            if !is_removed(folder) {
                return;
            }
        } else {
            self.trouble_since = None;
        }
        for pid in self.roll.take_recorded() {
            fault::hit(Call::Reap);
            let _ = sys::reap(pid);
            fault::hit(Call::Reap);
        }
    }

    // ── what must stop ───────────────────────────────────────────────────────────────────────────────────────────────

    fn obey(&mut self, order: Order) {
        match order {
            Order::Term(key) => self.signal(&self.roll.members(key), Signal::TERM),
            Order::Kill(key) => drop(self.killing.insert(key)),
            Order::Adopt => (self.limit, self.chosen) = (None, false),
            Order::Leave => (self.limit, self.chosen) = (None, true),
            Order::Gone => self.set_limit(),
        }
    }

    fn set_limit(&mut self) {
        let now = Instant::now();
        self.limit = match self.session.policy.on_death {
            _ if self.chosen => None,
            OnDeath::Stop => Some(now),
            // A grace beyond the end of the clock is none.
            OnDeath::Adopt { grace_ms } => now.checked_add(Duration::from_millis(grace_ms)),
        };
    }

    fn begin_stop(&mut self, cause: StopCause) {
        if self.stop.is_some() {
            return;
        }
        let grace = Duration::from_millis(self.session.policy.stop_grace_ms);
        let now = Instant::now();
        self.stop = Some(Stop { kill_at: now.checked_add(grace).unwrap_or(now) });
        if !self.complete {
            self.record(Record::Stopping { cause });
        }
        self.signal(&self.roll.unrecorded(), Signal::TERM);
    }

    fn stop_what_must(&mut self) {
        let now = Instant::now();
        if self.limit.is_some_and(|limit| now >= limit) {
            self.begin_stop(StopCause::Policy);
        }
        if self.stop.as_ref().is_some_and(|stop| now >= stop.kill_at) {
            self.see_children(true);
            self.signal(&self.roll.unrecorded(), Signal::KILL);
        }
        self.killing.retain(|key| !self.roll.is_empty(*key));
        for key in &self.killing {
            self.signal(&self.roll.members(*key), Signal::KILL);
        }
    }

    /// Signals all of these and all below them, each only if it is still the one that was seen.
    fn signal(&self, children: &[i32], signal: Signal) {
        for stat in family::below(children).iter().filter(|stat| stat.state != b'Z') {
            family::signal(stat.process, signal);
            if signal == Signal::TERM {
                // What is stopped could not even end.
                family::signal(stat.process, Signal::CONT);
            }
        }
    }

    // ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn record_all(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            self.record(record);
        }
    }

    fn record(&mut self, record: Record) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.store.add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), record);
    }
}

/// How many of an attempt's processes live besides this one.
fn left_besides(pid: i32, children: &[i32]) -> u32 {
    let others: Vec<i32> = children.iter().copied().filter(|other| *other != pid).collect();
    let alive = family::below(&others).iter().filter(|stat| stat.state != b'Z').count();
    u32::try_from(alive).unwrap_or(u32::MAX)
}
