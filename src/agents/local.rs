//! Runs attempts on this machine, as children of this process: starts them, sees their end without losing it, proves that
//! nothing of them is left, stops whole trees. Knows the engine's messages, not its decisions, and nothing of the journal.
//!
//! One dedicated thread drives it, which is not the process's leader and lives as long as the process: then whatever a
//! task leaves behind falls to the leader thread, and one cheap read proves that nothing was left (see `tree`).
//!
//! An attempt's way: entered in the table shared with the guard → spawned → its pid entered → `Started` → its end looked
//! at, the zombie kept → `Exited` → (`Emptied`) → the end is stored → `reap`. At any instant a SIGKILL of this process
//! leaves enough for the guard to tell what became of it.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, open, stat};

use super::Executor;
use super::adoption::Adoption;
use super::attempts::{Attempts, Key, Kill, Live, Phase};
use super::attended::{self, Places};
use super::command::{Plan, Planner, Way, quoted, shell};
use super::environment::{BIN, Environment, MakeToken};
use super::orphans::Orphans;
use super::output::{Log, Logs, above_stderr};
use super::spawn::{Child, Entry, Spawner, Spawning, keep_descriptors_from_children};
use super::tree::{self, Processes};
use super::{stop, wait};
use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::{News, Process, Report, StartOrder, StartProblem, StopSignal, Survivor};
use crate::fault::{self, Call};
use crate::guard::table::{Place, Table};

/// One string given to a program may be so long, its NUL included (the kernel's `MAX_ARG_STRLEN`).
const STRING_MOST: usize = 128 * 1024;
/// Ends taken from the kernel at once.
const BATCH: usize = 64;
/// Rounds of that in one poll.
const ROUNDS: usize = 16;
/// Left processes are counted up to so many.
const COUNTED: usize = 4096;
/// While anything runs, orphans are looked for so often even if nothing ends: they may have died and want reaping.
const SWEEP_MS: u64 = 500;
/// While an ended attempt waits for processes that cannot all be watched.
const UNWATCHED_MS: u64 = 10;
/// A killed tree is looked at again after so long at first, and at most.
const KILL_MS: (u64, u64) = (2, 500);
/// At most so many children are on their way to their programs at once.
const BIRTHS: usize = 64;
/// Where there are so many, they are looked at again so soon.
const BIRTHS_WAIT: Duration = Duration::from_micros(100);
/// Whether a child has executed its program is looked at again after so long.
const BIRTH_MS: u64 = 2;
/// Token of epoll that is neither a leader's nor an orphan's pid.
const ADOPTION: u64 = 3 << 32;

/// What a [`LocalExecutor`] is made of.
pub struct Config {
    /// Shared with the guard, if there is one.
    pub table: Option<Arc<Table>>,
    /// Folder of the output files; exists.
    pub log_dir: PathBuf,
    /// Name of the session, for the environment marker.
    pub session: String,
    /// Where tasks run that name no folder; absolute.
    pub default_cwd: PathBuf,
    /// First free number of an output file.
    pub next_log: u64,
    /// Speaks for attempts of earlier consoles.
    pub adoption: Option<Box<dyn Adoption>>,
    /// What `qd care` needs; without it a task that asks for care cannot be started.
    pub care: Option<Places>,
    /// Makes the token of an attempt, for the session's socket.
    pub token: Option<MakeToken>,
    /// Find processes by scanning `/proc` even where the kernel lists children (for tests).
    pub scan: bool,
}

/// A child on its way to its program.
struct Birth {
    key: Key,
    way: Way,
    spawning: Spawning,
}

/// The executor of this machine.
pub struct LocalExecutor {
    poll: OwnedFd,
    null: OwnedFd,
    spawner: Spawner,
    /// Children on their way to their programs.
    births: Vec<Birth>,
    environment: Environment,
    cwd: CString,
    table: Option<Arc<Table>>,
    planner: Planner,
    log_dir: PathBuf,
    logs: Logs,
    attempts: Attempts,
    orphans: Orphans,
    adoption: Option<Box<dyn Adoption>>,
    care: Option<Places>,
    pending: Vec<Report>,
    /// Leaders of whose end epoll does not tell: it had no room for them.
    unsure: Vec<Key>,
    next_sweep: Instant,
}

impl LocalExecutor {
    /// Prepares everything that is the same for each attempt. Makes this process a child subreaper and marks every
    /// descriptor above 2 close-on-exec.
    ///
    /// # Errors
    /// The output folder cannot be opened, the machine is out of something, or `default_cwd` holds a NUL.
    pub fn new(config: Config) -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        keep_descriptors_from_children();
        let cwd = CString::new(config.default_cwd.as_os_str().as_bytes())?;
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        if let Some(adoption) = &config.adoption {
            epoll::add(&poll, adoption.fd(), epoll::EventData::new_u64(ADOPTION), epoll::EventFlags::IN)?;
        }
        let null = above_stderr(open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)?;
        Ok(Self {
            poll,
            null,
            spawner: Spawner::new(),
            births: Vec::new(),
            environment: Environment::new(with_ourselves(std::env::vars_os()), &config.session, &cwd)
                .with_tokens(config.token),
            cwd,
            table: config.table,
            planner: Planner::default(),
            logs: Logs::open(&config.log_dir, config.next_log)?,
            log_dir: config.log_dir,
            attempts: Attempts::default(),
            orphans: Orphans::new(Processes::new(config.scan), &config.session),
            adoption: config.adoption,
            care: config.care,
            pending: Vec::new(),
            unsure: Vec::new(),
            next_sweep: Instant::now(),
        })
    }

    /// The leaders that run now, for the load sampler.
    pub fn leaders(&self) -> Vec<(TaskId, i32)> {
        let running = self.attempts.iter().filter(|(_, live)| live.phase == Phase::Running);
        running.map(|((task, _), live)| (task, live.process.pid)).collect()
    }

    /// False where the kernel lists no children and every look scans all of `/proc`.
    pub fn lists_children(&self) -> bool {
        self.orphans.processes.listed()
    }

    /// Reports at the next poll.
    fn tell(&mut self, key: Key, news: News) {
        self.pending.push(Report { task: key.0, attempt: key.1, news });
    }
}

// ── start ────────────────────────────────────────────────────────────────────────────────────────────────────────────

impl LocalExecutor {
    /// Begins it; what became of it is told once its child has left our memory (see `finish_births`).
    fn try_start(&mut self, order: &StartOrder) -> Result<(), StartProblem> {
        if let Some(problem) = &order.problem {
            return Err(lasting(problem.clone(), None));
        }
        let cwd = self.folder(order)?;
        let cwd = cwd.as_deref().unwrap_or(&self.cwd);
        let plan = match self.planner.plan(&order.command, &self.environment, cwd) {
            Ok(plan) => plan,
            // A relative path in a folder that is not there: the folder is the news.
            Err(problem) => return Err(bad_folder(cwd).unwrap_or(problem)),
        };
        let own = self.environment.own(order, cwd)?;
        let (env, cwd) = (self.environment.block(order, own), cwd.to_owned());
        let log = self.logs.take().map_err(|error| out_of("an output file", &error))?;
        let entry = match &self.table {
            None => Entry::Own(Box::default()),
            Some(table) => match table.enter(order.task.0, order.attempt.0, log.number) {
                Some(place) => Entry::Shared(Arc::clone(table), place),
                None => {
                    self.logs.give_back(log);
                    return Err(transient("the table of running attempts is full".into()));
                }
            },
        };
        let key = (order.task, order.attempt);
        let Plan { program, argv, way } = match (&order.care, &mut self.care) {
            (None, _) => plan,
            (Some(care), Some(places)) => match attended::plan(places, order, care, &self.log_dir, log.number, plan) {
                Ok(plan) => plan,
                Err(error) => {
                    self.free(place_of(&entry));
                    self.logs.give_back(log);
                    return Err(out_of("a file for its care", &error));
                }
            },
            (Some(_), None) => return Err(lasting("care cannot be taken of a task here".into(), None)),
        };
        self.begin(key, way, Child { program, argv, env, cwd, entry }, log)
    }

    /// Makes the child and enters the attempt.
    fn begin(&mut self, key: Key, way: Way, child: Child, log: Log) -> Result<(), StartProblem> {
        while self.births.len() >= BIRTHS && self.on_their_way() >= BIRTHS {
            // Each is in its `execve`, perhaps on a slow file system: no more at a time.
            std::thread::sleep(BIRTHS_WAIT);
        }
        let place = place_of(&child.entry);
        let before = tree::ticks_now();
        fault::hit(Call::Spawn);
        let begun = self.spawner.begin(child, self.null.as_fd(), log.fd());
        fault::hit(Call::Spawn);
        let (pid, pidfd, spawning) = match begun {
            Ok(begun) => begun,
            Err(failed) => {
                self.free(place);
                self.logs.give_back(log);
                return Err(explain(&failed.0, &failed.1));
            }
        };
        let ticks = tree::ticks_now();
        // It is our unreaped child: even dead it has its entry in /proc.
        let shown = || tree::stat(pid).map_or(ticks, |stat| stat.start_ticks);
        let start_ticks = if before == ticks { ticks } else { shown() };
        if !watch(&self.poll, pid, pidfd.as_fd()) {
            self.unsure.push(key);
        }
        let (process, pidfd) = (Process { pid, start_ticks }, Some(pidfd));
        let live = Live { process, pidfd, place, log, phase: Phase::Running, reaped: false, kill: None };
        self.attempts.insert(key, live);
        self.births.push(Birth { key, way, spawning });
        Ok(())
    }

    fn on_their_way(&self) -> usize {
        self.births.iter().filter(|birth| birth.spawning.result().is_none()).count()
    }

    fn free(&self, place: Option<Place>) {
        if let (Some(table), Some(place)) = (&self.table, place) {
            table.clear(place);
        }
    }

    /// Tells of those that execute their programs, and of those that could not. `ended` have ended: they have left our
    /// memory, whatever else the kernel says.
    fn finish_births(&mut self, ended: &[Key], reports: &mut Vec<Report>) {
        let mut at = 0;
        while at < self.births.len() {
            let Birth { key, spawning, .. } = &self.births[at];
            if spawning.result().is_none() && ended.contains(key) && self.has_ended(*key) {
                spawning.has_left();
            }
            let Some(result) = self.births[at].spawning.result() else {
                at += 1;
                continue;
            };
            let Birth { key, way, spawning } = self.births.swap_remove(at);
            let child = self.spawner.end(spawning);
            let news = match result {
                Ok(()) => self.born(key),
                Err(errno) => self.stillborn(key, way, child, errno),
            };
            reports.extend(news.map(|news| Report { task: key.0, attempt: key.1, news }));
        }
    }

    fn has_ended(&self, key: Key) -> bool {
        let pidfd = self.attempts.get(key).and_then(|live| live.pidfd.as_ref());
        pidfd.is_some_and(|pidfd| matches!(wait::peek(pidfd.as_fd()), Ok(Some(_))))
    }

    fn born(&self, key: Key) -> Option<News> {
        let live = self.attempts.get(key)?;
        if let (Some(table), Some(place)) = (&self.table, live.place) {
            table.spawned(place, live.process.pid, live.process.start_ticks);
        }
        Some(News::Started { process: live.process.clone(), log: live.log.number })
    }

    /// Its program was never executed. What the kernel does not take for a program is given to the shell, as a shell would
    /// do; then there is no news yet.
    fn stillborn(&mut self, key: Key, way: Way, child: Child, errno: i32) -> Option<News> {
        let live = self.attempts.remove(key)?;
        if let Some(pidfd) = &live.pidfd {
            // It is ending by itself, and nobody else reaps it.
            let _ = wait::await_end(pidfd.as_fd());
        }
        let error = io::Error::from_raw_os_error(errno);
        if way == Way::Direct && errno == libc::ENOEXEC {
            let words: Vec<_> = child.argv.iter().map(|word| word.to_string_lossy()).collect();
            if let Ok(Plan { program, argv, way }) = shell(&words.join(" ")) {
                let again = self.begin(key, way, Child { program, argv, ..child }, live.log);
                return again.err().map(News::CouldNotStart);
            }
        }
        self.free(live.place);
        self.logs.give_back(live.log);
        Some(News::CouldNotStart(explain(&error, &child)))
    }

    /// Its folder, if it is not the session's.
    fn folder(&self, order: &StartOrder) -> Result<Option<CString>, StartProblem> {
        let Some(folder) = &order.command.cwd else { return Ok(None) };
        let absolute = if folder.starts_with('/') {
            folder.as_bytes().to_vec()
        } else {
            [self.cwd.to_bytes(), b"/", folder.as_bytes()].concat()
        };
        let absolute = CString::new(absolute);
        absolute.map(Some).map_err(|_| lasting("the working folder's name holds a NUL byte".into(), None))
    }
}

fn place_of(entry: &Entry) -> Option<Place> {
    match entry {
        Entry::Shared(_, place) => Some(*place),
        Entry::Own(_) => None,
    }
}

/// Has epoll tell of the leader's end. False if the machine has no room for that.
fn watch(poll: &OwnedFd, pid: i32, pidfd: BorrowedFd<'_>) -> bool {
    let token = epoll::EventData::new_u64(u64::from(pid.unsigned_abs()));
    epoll::add(poll, pidfd, token, epoll::EventFlags::IN | epoll::EventFlags::ET).is_ok()
}

/// Why a spawn failed, with what a shell would have answered.
fn explain(error: &io::Error, child: &Child) -> StartProblem {
    let cwd = child.cwd.as_c_str();
    let errno = error.raw_os_error().unwrap_or(0);
    if matches!(errno, libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) {
        return out_of("a process", error);
    }
    if let Some(problem) = bad_folder(cwd) {
        return problem;
    }
    let program = quoted(&child.program.to_string_lossy());
    match errno {
        libc::E2BIG => lasting(too_long(child), Some(126)),
        libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG => {
            let why = interpreter(child)
                .map_or_else(|| reason(error), |name| format!("its interpreter {name}: {}", reason(error)));
            lasting(format!("{program}: cannot be run ({why})"), Some(127))
        }
        _ => lasting(format!("{program}: cannot be run ({})", reason(error)), Some(126)),
    }
}

/// What is too long, with its size and the limit.
fn too_long(child: &Child) -> String {
    let env: Vec<&CStr> = child.env.entries().collect();
    let argv = child.argv.iter().map(CString::as_c_str);
    let sizes = || argv.clone().chain(env.iter().copied()).map(|text| text.to_bytes_with_nul().len());
    let longest = sizes().max().unwrap_or(0);
    if longest > STRING_MOST {
        let entry = env.iter().find(|entry| entry.to_bytes_with_nul().len() == longest);
        let what = match entry.map(|entry| entry.to_string_lossy()) {
            Some(entry) => format!("environment variable `{}`", quoted(entry.split('=').next().unwrap_or_default())),
            None => "a part of the command".into(),
        };
        return format!("{what} is too long: {} KiB > {} KiB", longest.div_ceil(1024), STRING_MOST / 1024);
    }
    // Each string also costs its pointer.
    let total = sizes().map(|size| size + size_of::<usize>()).sum::<usize>();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
    let limit = limit.map_or(6 << 20, |stack| (stack / 4).clamp(128 << 10, 6 << 20));
    let (total, limit) = (total.div_ceil(1024), limit / 1024);
    format!("command and environment together are too long: {total} KiB, about {limit} KiB allowed")
}

/// The interpreter that a script names, if there is a script.
fn interpreter(child: &Child) -> Option<String> {
    let program = child.program.to_bytes();
    let folder = child.cwd.to_bytes();
    let path = if program.starts_with(b"/") { program.to_vec() } else { [folder, b"/", program].concat() };
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).ok()?;
    let mut first = [0_u8; 256];
    let length = rustix::io::read(&file, &mut first).ok()?;
    let line = first[..length].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(quoted)
}

/// What is wrong with a working folder, if anything is.
fn bad_folder(cwd: &CStr) -> Option<StartProblem> {
    let why = match stat(cwd) {
        Err(error) => reason(&error.into()),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => "not a folder".into(),
        Ok(_) => reason(&accessat(CWD, cwd, Access::EXEC_OK, AtFlags::EACCESS).err()?.into()),
    };
    Some(lasting(format!("working folder {}: {why}", quoted(&cwd.to_string_lossy())), None))
}

/// The system's words for an error, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn lasting(message: String, code: Option<i32>) -> StartProblem {
    StartProblem { message, code, transient: false }
}

fn transient(message: String) -> StartProblem {
    StartProblem { message, code: None, transient: true }
}

fn out_of(what: &str, error: &io::Error) -> StartProblem {
    transient(format!(
        "the machine gave no {}: {}",
        what.trim_start_matches("an ").trim_start_matches("a "),
        reason(error)
    ))
}

// ── what happened since ──────────────────────────────────────────────────────────────────────────────────────────────

impl LocalExecutor {
    /// Takes from the kernel which leaders ended; true if an orphan did, too.
    fn take_ends(&mut self) -> (Vec<Key>, bool) {
        let mut ended = Vec::new();
        let mut orphan_ended = false;
        for _ in 0..ROUNDS {
            let mut events =
                [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; BATCH];
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            // Interrupted or not: what is there is told again by the next poll.
            let count = epoll::wait(&self.poll, &mut events, Some(&none)).unwrap_or(0);
            for event in &events[..count] {
                let token = event.data.u64();
                match token >> 32 {
                    0 => ended.extend(i32::try_from(token).ok().and_then(|pid| self.attempts.of_leader(pid))),
                    1 => orphan_ended = true,
                    _ => {}
                }
            }
            if count < BATCH {
                break;
            }
        }
        ended.append(&mut self.unsure);
        (ended, orphan_ended)
    }

    /// Reports the ends of these leaders: each is looked at before the tree is, so that an empty tree stays empty.
    fn report_ends(&mut self, ended: &[Key], reports: &mut Vec<Report>) {
        let mut ends = Vec::with_capacity(ended.len());
        for key in ended {
            let Some(live) = self.attempts.get(*key).filter(|live| live.phase == Phase::Running) else { continue };
            match live.pidfd.as_ref().map(|pidfd| wait::peek(pidfd.as_fd())) {
                Some(Ok(Some(mut end))) => {
                    if end.usage.max_rss_kib <= wait::own_peak_rss_kib() {
                        // It may be ours that the kernel tells; then nothing is known of the task's.
                        end.usage.max_rss_kib = 0;
                    }
                    ends.push((*key, end));
                }
                None | Some(Ok(None)) => self.unsure.push(*key),
                Some(Err(error)) => {
                    let why = format!("its end was taken by someone else ({})", reason(&error));
                    reports.push(Report { task: key.0, attempt: key.1, news: News::Lost { why } });
                }
            }
        }
        let settled = self.orphans.sweep(&self.attempts);
        for (key, end) in ends {
            let left = match self.orphans.count(key, COUNTED) {
                0 if !settled => 1,
                left => left,
            };
            self.attempts.set_phase(key, if left == 0 { Phase::Empty } else { Phase::Left });
            let output = self.attempts.get(key).map_or(0, |live| live.log.size().unwrap_or(0));
            let findings = self.care.as_ref().and_then(|places| places.findings(key)).map(Box::new);
            let news = News::Exited { exit: end.exit, usage: end.usage, output, left, findings };
            reports.push(Report { task: key.0, attempt: key.1, news });
        }
        if settled {
            self.report_emptied(reports);
        }
    }

    /// Reports those that waited for the processes they left and have none any more.
    fn report_emptied(&mut self, reports: &mut Vec<Report>) {
        let empty = |key: &Key| self.orphans.of(*key).next().is_none();
        let emptied: Vec<Key> = self.attempts.waiting().iter().copied().filter(empty).collect();
        for key in emptied {
            reports.push(Report { task: key.0, attempt: key.1, news: News::Emptied });
            self.attempts.set_phase(key, Phase::Empty);
            if self.attempts.get(key).is_some_and(|live| live.reaped) {
                self.forget(key);
            }
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(live) = self.attempts.remove(key) else { return };
        self.orphans.forget(key);
        self.logs.give_back(live.log);
    }

    /// Goes on killing where something lived when last looked at.
    fn go_on_killing(&mut self, now: Instant) -> Option<u64> {
        let killing: Vec<Key> = self.attempts.killing().iter().copied().collect();
        let mut soonest = None;
        for key in killing {
            let Some(Kill { mut next, wait_ms }) = self.attempts.get(key).and_then(|live| live.kill) else { continue };
            if next <= now {
                stop::kill(&self.attempts, &mut self.orphans, key);
                next = now + Duration::from_millis(wait_ms);
                self.attempts.set_kill(key, Kill { next, wait_ms: (wait_ms * 2).min(KILL_MS.1) });
            }
            soonest = sooner(soonest, Some(millis(next.saturating_duration_since(now))));
        }
        soonest
    }
}

fn sooner(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// Rounded up: never asks to be polled before it is time.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl Executor for LocalExecutor {
    fn start(&mut self, order: &StartOrder) {
        let key = (order.task, order.attempt);
        if self.attempts.get(key).is_some() {
            // An attempt number is executed at most once.
            return;
        }
        if let Err(problem) = self.try_start(order) {
            self.tell(key, News::CouldNotStart(problem));
        }
    }

    fn signal(&mut self, task: TaskId, attempt: Attempt, signal: StopSignal) {
        let key = (task, attempt);
        let Some(live) = self.attempts.get(key) else {
            if let Some(adoption) = &mut self.adoption {
                adoption.signal(task, attempt, signal);
            }
            return;
        };
        if live.phase == Phase::Empty {
            return;
        }
        match signal {
            StopSignal::Term => {
                self.orphans.sweep(&self.attempts);
                stop::terminate(&self.attempts, &self.orphans, key);
            }
            StopSignal::Kill => {
                let next = Instant::now() + Duration::from_millis(KILL_MS.0);
                self.attempts.set_kill(key, Kill { next, wait_ms: KILL_MS.0 });
                stop::kill(&self.attempts, &mut self.orphans, key);
            }
        }
    }

    fn reap(&mut self, task: TaskId, attempt: Attempt) {
        let key = (task, attempt);
        let Some(live) = self.attempts.get_mut(key) else {
            if let Some(places) = &mut self.care {
                places.forget(key);
            }
            if let Some(adoption) = &mut self.adoption {
                adoption.reap(task, attempt);
            }
            return;
        };
        if live.phase == Phase::Running || live.reaped {
            return;
        }
        fault::hit(Call::Reap);
        if let Some(pidfd) = live.pidfd.take() {
            // Nobody else reaps it; if somebody did, there is nothing left to do.
            let _ = wait::reap(pidfd.as_fd());
        }
        fault::hit(Call::Reap);
        live.reaped = true;
        if let Some(places) = &mut self.care {
            places.forget(key);
        }
        if let (Some(table), Some(place)) = (&self.table, live.place.take()) {
            table.clear(place);
        }
        if live.phase == Phase::Empty {
            self.forget(key);
        }
    }

    fn reconcile(&mut self, survivor: &Survivor) {
        match &mut self.adoption {
            Some(adoption) => adoption.reconcile(survivor),
            None => {
                let why = "no guard of an earlier console can be asked".into();
                self.tell((survivor.task, survivor.attempt), News::Lost { why });
            }
        }
    }

    fn leave(&mut self) {
        if let Some(adoption) = &mut self.adoption {
            adoption.leave();
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }

    fn poll(&mut self, reports: &mut Vec<Report>) -> Option<u64> {
        reports.append(&mut self.pending);
        let (ended, orphan_ended) = self.take_ends();
        self.finish_births(&ended, reports);
        let mut now = Instant::now();
        if !ended.is_empty() || orphan_ended || (now >= self.next_sweep && self.attempts.len() > 0) {
            self.report_ends(&ended, reports);
            self.next_sweep = now + Duration::from_millis(SWEEP_MS);
        }
        let mut again = None;
        if !self.attempts.killing().is_empty() {
            now = Instant::now();
            again = self.go_on_killing(now);
            // A killed orphan that nothing watches is found by this.
            self.next_sweep = self.next_sweep.min(now + Duration::from_millis(again.unwrap_or(SWEEP_MS)));
        }
        if !self.attempts.waiting().is_empty() && !self.orphans.watch(&self.poll, &self.attempts) {
            self.next_sweep = self.next_sweep.min(now + Duration::from_millis(UNWATCHED_MS));
        }
        if !self.unsure.is_empty() {
            again = sooner(again, Some(UNWATCHED_MS));
        }
        if !self.births.is_empty() {
            again = sooner(again, Some(BIRTH_MS));
        }
        self.logs.refill();
        if let Some(adoption) = &mut self.adoption {
            again = sooner(again, adoption.poll(reports));
        }
        if self.attempts.len() > 0 {
            again = sooner(again, Some(millis(self.next_sweep.saturating_duration_since(now))));
        }
        again
    }
}

/// With the path of this program: a task's `"$QD_BIN" state …` speaks to its session with the right one.
fn with_ourselves(variables: std::env::VarsOs) -> impl Iterator<Item = (OsString, OsString)> {
    let own = std::env::current_exe().ok().map(|path| (OsString::from(BIN), path.into_os_string()));
    variables.filter(|(name, _)| name != BIN).chain(own)
}
