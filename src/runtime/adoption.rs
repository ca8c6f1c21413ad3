//! Attempts of earlier consoles: what their guards (or the files of those that are gone) prove of each, as Reports. Links
//! `guard` and `agents`, which do not know each other. What cannot be proved is Lost, and whatever still lives of it then
//! is killed first, so that it can never run twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::agents::adoption::Adoption;
use crate::care::order as care;
use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::{Exit, News, Process, Report, StopSignal, Survivor, Usage};
use crate::guard::{self, Order, PastGuard, Verdict};

/// A sweep over what nobody guards looks at all processes at most so often.
const SWEEPS: usize = 50;
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

/// Speaks with the guards of earlier consoles.
pub struct GuardAdoption {
    folder: PathBuf,
    /// As the environment marker says it.
    session: String,
    boot_id: String,
    /// Pids of the consoles that stored the start of what is under way.
    started_by: BTreeMap<(TaskId, Attempt), i32>,
    /// Attempts that ran in an earlier boot: their pids mean nothing.
    rebooted: BTreeSet<(TaskId, Attempt)>,
    guards: Vec<PastGuard>,
    poll: OwnedFd,
    open: BTreeMap<(TaskId, Attempt), Open>,
    /// Asked about, and the end not known to be stored: until then the guards' files are the only record of it.
    unstored: BTreeSet<(TaskId, Attempt)>,
    reports: Vec<Report>,
}

/// An attempt whose end is not reported yet.
struct Open {
    guard: usize,
    adopted: bool,
    exited: bool,
}

impl GuardAdoption {
    /// Asks every guard of the session; `session` is what the environment marker of its tasks says. `started_by` has the
    /// pid of the console that stored the start of each attempt under way; `rebooted` are those that were so when the
    /// machine was last restarted, or on another machine.
    ///
    /// # Errors
    /// The session folder cannot be read.
    pub fn new(
        folder: PathBuf,
        session: String,
        boot_id: String,
        started_by: BTreeMap<(TaskId, Attempt), i32>,
        rebooted: BTreeSet<(TaskId, Attempt)>,
    ) -> io::Result<Self> {
        let mut guards = guard::inquire(&folder)?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, past) in guards.iter_mut().enumerate() {
            if let Some(link) = &mut past.link {
                link.order(Order::Adopt);
                epoll::add(&poll, link.fd(), epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
            }
        }
        let (open, unstored) = (BTreeMap::new(), BTreeSet::new());
        let reports = Vec::new();
        Ok(Self { folder, session, boot_id, started_by, rebooted, guards, poll, open, unstored, reports })
    }

    fn say(&mut self, task: TaskId, attempt: Attempt, news: News) {
        self.reports.push(Report { task, attempt, news });
    }

    /// The guard that knows of an attempt, with what it proves.
    fn verdict(&self, survivor: &Survivor) -> Option<(usize, Verdict)> {
        let key = (survivor.task.0, survivor.attempt.0);
        let verdict = |index: usize| (index, self.guards[index].verdict(key));
        let all = || 0..self.guards.len();
        // What ended had ended, whatever boot that was in.
        let ended = all().map(verdict).find(|(_, verdict)| matches!(verdict, Verdict::Ended { .. }));
        if ended.is_some() {
            return ended;
        }
        let here = |index: &usize| self.guards[*index].boot == self.boot_id;
        if let Some(index) = all().filter(here).find(|index| self.guards[*index].names(key)) {
            return Some(verdict(index));
        }
        // No guard names it. That says something only of the guard whose console it was to be started by.
        let starter = self.started_by.get(&(survivor.task, survivor.attempt));
        let of_starter = |index: &usize| self.guards[*index].console.map(|console| console.pid).as_ref() == starter;
        let never = |(_, verdict): &(usize, Verdict)| *verdict == Verdict::NeverStarted && survivor.process.is_none();
        all().filter(here).filter(of_starter).map(verdict).find(never)
    }

    /// Reports what is new of an attempt.
    fn look(&mut self, task: TaskId, attempt: Attempt) {
        let Some(entry) = self.open.get(&(task, attempt)) else { return };
        let (index, adopted, exited) = (entry.guard, entry.adopted, entry.exited);
        let past = &self.guards[index];
        let gone = past.link.as_ref().is_none_or(guard::GuardLink::is_gone);
        match past.verdict((task.0, attempt.0)) {
            Verdict::Running { process, log } if !gone => {
                if !adopted {
                    let process = Process { pid: process.pid, start_ticks: process.start_ticks };
                    self.say(task, attempt, News::Adopted { process, log });
                    self.mark(task, attempt, true, exited);
                }
            }
            Verdict::Ended { process, exit, usage, left, empty, log, stopped, .. } => {
                if !exited {
                    // If the console died before it had stored that it runs: its output is known by that.
                    let process = Process { pid: process.pid, start_ticks: process.start_ticks };
                    self.say(task, attempt, News::Started { process, log });
                    if stopped {
                        self.say(task, attempt, News::Stopped);
                    }
                    let left = if empty { 0 } else { left.max(1) };
                    let output = self.output(log);
                    let findings = care::read_findings(&self.folder.join(care::FOLDER), task, attempt).map(Box::new);
                    let (exit, usage) = (exit_of(exit), usage_of(usage));
                    self.say(task, attempt, News::Exited { exit, usage, output, left, findings });
                    self.mark(task, attempt, adopted, true);
                } else if empty {
                    self.say(task, attempt, News::Emptied);
                }
                if empty {
                    self.open.remove(&(task, attempt));
                } else if gone {
                    // Its guard was killed before the last of it was gone; its end is known all the same.
                    self.lose(task, attempt, None, "its guard was killed");
                }
            }
            Verdict::Reaped { empty: true } if exited => {
                self.say(task, attempt, News::Emptied);
                self.open.remove(&(task, attempt));
            }
            Verdict::NeverStarted => {
                self.say(task, attempt, News::NotStarted);
                self.open.remove(&(task, attempt));
            }
            Verdict::Running { process, .. } => {
                // Its guard was killed while it ran: nobody can know its end.
                let process = Process { pid: process.pid, start_ticks: process.start_ticks };
                self.lose(task, attempt, Some(&process), "its guard was killed while it ran");
            }
            Verdict::Reaped { .. } | Verdict::Unknown { .. } if gone => {
                self.lose(task, attempt, None, "its guard could not prove what became of it");
            }
            Verdict::Reaped { .. } | Verdict::Unknown { .. } => {}
        }
    }

    fn mark(&mut self, task: TaskId, attempt: Attempt, adopted: bool, exited: bool) {
        if let Some(entry) = self.open.get_mut(&(task, attempt)) {
            (entry.adopted, entry.exited) = (adopted, exited);
        }
    }

    fn output(&self, log: u64) -> u64 {
        std::fs::metadata(self.folder.join("log").join(log.to_string())).map_or(0, |file| file.len())
    }

    /// Removes the files of guards that have nothing more to say, once all that was asked of them is stored. Only ever
    /// called after the first turn, in which every survivor is asked about.
    fn retire(&self) {
        if self.unstored.is_empty() {
            for past in self.guards.iter().filter(|past| past.link.is_none()) {
                let _ = past.retire(&self.folder);
            }
        }
    }

    /// Nothing can be proved: whatever lives of it is killed, then it is Lost.
    fn lose(&mut self, task: TaskId, attempt: Attempt, process: Option<&Process>, why: &str) {
        self.open.remove(&(task, attempt));
        // What ran in another boot is gone, and its pid is somebody else's.
        let foreign = self.rebooted.contains(&(task, attempt));
        let killed = if foreign { 0 } else { sweep(&self.session, task, attempt, process) };
        let swept = match killed {
            0 => String::new(),
            1 => "; 1 leftover process was killed".to_owned(),
            n => format!("; {n} leftover processes were killed"),
        };
        self.say(task, attempt, News::Lost { why: format!("{why}{swept}") });
    }
}

impl Adoption for GuardAdoption {
    fn reconcile(&mut self, survivor: &Survivor) {
        let (task, attempt) = (survivor.task, survivor.attempt);
        self.unstored.insert((task, attempt));
        match self.verdict(survivor) {
            Some((guard, _)) => {
                self.open.insert((task, attempt), Open { guard, adopted: false, exited: survivor.exited });
                self.look(task, attempt);
            }
            None => {
                let why = if self.rebooted.contains(&(task, attempt)) {
                    "the machine was restarted, or this is another one"
                } else {
                    "console and guard were both killed"
                };
                self.lose(task, attempt, survivor.process.as_ref(), why);
            }
        }
    }

    fn signal(&mut self, task: TaskId, attempt: Attempt, signal: StopSignal) {
        let Some(entry) = self.open.get(&(task, attempt)) else { return };
        let key = (task.0, attempt.0);
        let order = match signal {
            StopSignal::Term => Order::Term(key),
            StopSignal::Kill => Order::Kill(key),
        };
        if let Some(link) = &mut self.guards[entry.guard].link {
            link.order(order);
        }
    }

    fn reap(&mut self, task: TaskId, attempt: Attempt) {
        self.open.remove(&(task, attempt));
        if self.unstored.remove(&(task, attempt)) {
            care::forget(&self.folder.join(care::FOLDER), task, attempt);
            self.retire();
        }
    }

    fn leave(&mut self) {
        self.retire();
        for link in self.guards.iter_mut().filter_map(|past| past.link.as_mut()) {
            link.order(Order::Leave);
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }

    fn poll(&mut self, reports: &mut Vec<Report>) -> Option<u64> {
        let mut news = false;
        for past in &mut self.guards {
            let Some(link) = &mut past.link else { continue };
            let records = link.poll();
            if link.is_gone() {
                let _ = epoll::delete(&self.poll, link.fd());
            }
            news |= !records.is_empty() || link.is_gone();
            for record in records {
                past.add(record);
            }
        }
        if news {
            for (task, attempt) in self.open.keys().copied().collect::<Vec<_>>() {
                self.look(task, attempt);
            }
        }
        reports.append(&mut self.reports);
        None
    }
}

fn exit_of(exit: guard::Exit) -> Exit {
    match exit {
        guard::Exit::Code(code) => Exit::Code(code),
        guard::Exit::Signal(signal) => Exit::Signal(signal),
    }
}

fn usage_of(usage: guard::Usage) -> Usage {
    Usage {
        user_ms: usage.user_ms,
        system_ms: usage.system_ms,
        max_rss_kib: usage.max_rss_kib,
        blocks_in: usage.blocks_in,
        blocks_out: usage.blocks_out,
    }
}

/// Kills whatever still lives of an attempt that nobody guards: its session, and what carries its marker. Returns how many
/// processes that were.
fn sweep(session: &str, task: TaskId, attempt: Attempt, leader: Option<&Process>) -> usize {
    let began = Instant::now();
    let mut killed = BTreeSet::new();
    let marks =
        [format!("QD_SESSION={session}"), format!("QD_TASK_ID={}", task.0), format!("QD_ATTEMPT={}", attempt.0)];
    let leader = || leader.filter(|leader| lives(leader));
    for _ in 0..SWEEPS {
        let found: Vec<i32> = all_pids().filter(|pid| is_leftover(*pid, &marks, leader())).collect();
        if found.is_empty() {
            break;
        }
        for pid in found {
            // Looked at again behind the descriptor: from here on the pid cannot become another's.
            if let Some(id) = Pid::from_raw(pid)
                && let Ok(fd) = pidfd_open(id, PidfdFlags::empty())
                && is_leftover(pid, &marks, leader())
                && pidfd_send_signal(&fd, Signal::KILL).is_ok()
            {
                killed.insert(pid);
            }
        }
        if began.elapsed() > Duration::from_secs(2) {
            break;
        }
        std::thread::sleep(SWEEP_PAUSE);
    }
    killed.len()
}

fn all_pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn lives(leader: &Process) -> bool {
    guard::stat(leader.pid).is_some_and(|stat| stat.process.start_ticks == leader.start_ticks)
}

/// In the living leader's session, or carrying the attempt's marker.
fn is_leftover(pid: i32, marks: &[String], leader: Option<&Process>) -> bool {
    leader.is_some_and(|leader| guard::stat(pid).is_some_and(|stat| stat.session == leader.pid)) || carries(pid, marks)
}

fn carries(pid: i32, marks: &[String]) -> bool {
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
    let has = |mark: &String| environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes());
    !environment.is_empty() && marks.iter().all(has)
}
