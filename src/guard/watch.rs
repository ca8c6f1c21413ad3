//! The guard while its console lives: it starts the console, waits for its end and for its orders, and passes on signals
//! that only front got. Knows nothing of what becomes of the tasks afterwards.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal, set_child_subreaper, setsid};

use super::console::{OnDeath, Policy};
use super::family::{self, myself};
use super::front::spawn_again;
use super::past::SOCKET_PREFIX;
use super::record::{ConsoleEnd, Exit, Process};
use super::serve::Server;
use super::supervise::Supervisor;
use super::sys::{self, Caught, Signals};
use super::table::Table;
use super::wire::{self, Got, number};
use crate::fault;

/// Signals that the guard itself looks at; all others are blocked and mean nothing to it.
const WATCHED: [i32; 7] =
    [libc::SIGCHLD, libc::SIGHUP, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];
/// Signals that came to the guard itself are remembered so many at most, to know front's doubles.
const MAX_SEEN: usize = 64;

/// What a console told of its session.
pub struct Session {
    /// The folder.
    pub folder: OwnedFd,
    /// Its path, as a task's marker may give it.
    pub path: String,
    /// Its name.
    pub name: String,
    /// What to do when the console is dead.
    pub policy: Policy,
    /// The socket in it.
    pub server: Server,
}

/// Descriptors that front passed on.
pub struct Inherited {
    /// To front.
    pub front: OwnedFd,
    /// Of front itself.
    pub front_process: OwnedFd,
    /// What was blocked before front blocked everything.
    pub mask: Signals,
}

struct Watch {
    front: OwnedFd,
    front_process: OwnedFd,
    signals: OwnedFd,
    table: Table,
    orders: OwnedFd,
    console: OwnedFd,
    process: Process,
    session: Option<Session>,
    detached: bool,
    closing: bool,
    front_speaks: bool,
    console_speaks: bool,
    seen: Vec<Caught>,
}

/// The guard's whole life. Returns only if the console could not be started.
pub fn run(inherited: Inherited) -> io::Result<()> {
    fault::role("guard");
    let _ = rustix::thread::set_name(c"qd-guard");
    set_child_subreaper(Some(getpid()))?;
    let mut watch = Watch::start(inherited)?;
    watch.make_safe();
    while sys::peek(watch.process.pid)?.is_none() {
        watch.turn();
    }
    // Orders that the console gave just before its end count.
    watch.take_orders();
    watch.console_ended()
}

impl Watch {
    fn start(inherited: Inherited) -> io::Result<Self> {
        let Inherited { front, front_process, mask } = inherited;
        let table = Table::create()?;
        let signals = sys::signal_fd(&WATCHED)?;
        let (orders, theirs) = wire::pair()?;
        let me = pidfd_open(getpid(), PidfdFlags::empty())?;
        // What came before there is a console is not hers.
        while sys::next_signal(signals.as_fd()).is_some() {}
        let fds = [front_process.as_fd(), me.as_fd(), theirs.as_fd(), table.fd()];
        let mut child = spawn_again("console", &fds, mask)?;
        let pid = Pid::from_child(&child);
        // Our child, so the pid cannot be another's before we reap it.
        let known = pidfd_open(pid, PidfdFlags::empty()).ok().zip(family::stat(pid.as_raw_pid()));
        let Some((console, stat)) = known else {
            child.kill()?;
            return Err(io::Error::other("this system has no /proc, or no pidfd"));
        };
        let process = stat.process;
        let _ = wire::tell(front.as_fd(), &["console", &process.pid.to_string()]);
        Ok(Self {
            front,
            front_process,
            signals,
            table,
            orders,
            console,
            process,
            session: None,
            detached: false,
            closing: false,
            front_speaks: true,
            console_speaks: true,
            seen: Vec::new(),
        })
    }

    /// Holds nothing of the shell's: a pipe that it writes to must end with the console.
    fn make_safe(&self) {
        let null = OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(null) = rustix::fs::open("/dev/null", null, Mode::empty()) {
            let _ = rustix::stdio::dup2_stdin(&null);
            let _ = rustix::stdio::dup2_stdout(&null);
            let _ = rustix::stdio::dup2_stderr(&null);
        }
        // Best effort, and after the console was started: its tasks must not inherit it.
        let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    }

    fn turn(&mut self) {
        let mut wanted: Vec<(BorrowedFd<'_>, PollFlags)> = Vec::new();
        let links = [self.front_speaks.then_some(&self.front), self.console_speaks.then_some(&self.orders)];
        let always = [Some(&self.console), Some(&self.signals)];
        wanted.extend(always.into_iter().chain(links).flatten().map(|fd| (fd.as_fd(), PollFlags::IN)));
        if let Some(session) = &self.session {
            wanted.extend(session.server.wanted(0));
        }
        wire::wait_for(&wanted, None);
        self.take_signals();
        // An end that is closed would be readable for ever.
        self.console_speaks = self.console_speaks && self.take_orders();
        self.front_speaks = self.front_speaks && self.take_front();
        if let Some(session) = &mut self.session {
            // While its console lives, a guard obeys nobody else.
            let _orders = session.server.turn(&[]);
        }
    }

    fn take_signals(&mut self) {
        while let Some(caught) = sys::next_signal(self.signals.as_fd()) {
            if caught.signal == libc::SIGHUP {
                let _ = setsid();
            }
            if caught.signal != libc::SIGCHLD && self.seen.len() < MAX_SEEN {
                self.seen.push(caught);
            }
        }
    }

    /// Front passes on what it got. If the whole job got it, we got it too, and so did the console.
    fn take_front(&mut self) -> bool {
        loop {
            let words = match wire::hear(self.front.as_fd()) {
                Got::Packet(words) => words,
                Got::Nothing => return true,
                Got::Gone => return false,
            };
            let (Some(signal), Some(code), Some(sender)) = (number(&words, 1), number(&words, 2), number(&words, 3))
            else {
                continue;
            };
            self.take_signals();
            let caught = Caught { signal, code, sender };
            if let Some(at) = self.seen.iter().position(|seen| *seen == caught) {
                self.seen.remove(at);
            } else if let Some(signal) = Signal::from_named_raw(signal) {
                let _ = pidfd_send_signal(&self.console, signal);
            }
        }
    }

    /// What the console says. Returns false when it has closed its end.
    fn take_orders(&mut self) -> bool {
        loop {
            let words = match wire::hear(self.orders.as_fd()) {
                Got::Packet(words) => words,
                Got::Nothing => return true,
                Got::Gone => return false,
            };
            let answer = match words.first().map(String::as_str) {
                Some("session") => self.open_session(&words),
                Some("detach") => self.detach(),
                Some("closing") => {
                    self.closing = true;
                    Ok(())
                }
                _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
            };
            let _ = match answer {
                Ok(()) => wire::tell(self.orders.as_fd(), &["ok"]),
                Err(error) => wire::tell(self.orders.as_fd(), &["error", &error.to_string()]),
            };
        }
    }

    fn open_session(&mut self, words: &[String]) -> io::Result<()> {
        let bad = || io::Error::from(io::ErrorKind::InvalidInput);
        let [_, path, name, on_death, grace] = words else { return Err(bad()) };
        let on_death = match on_death.as_str() {
            "stop" => OnDeath::Stop,
            other => OnDeath::Adopt { grace_ms: other.parse().map_err(|_| bad())? },
        };
        let policy = Policy { on_death, stop_grace_ms: grace.parse().map_err(|_| bad())? };
        if let Some(session) = self.session.as_mut().filter(|session| session.path == *path) {
            session.policy = policy;
            return Ok(());
        }
        let folder = open_safe_folder(Path::new(path))?;
        let me = getpid().as_raw_pid();
        let server = Server::bind(folder.as_fd(), format!("{SOCKET_PREFIX}{me}.sock"), self.process.pid)?;
        self.session = Some(Session { folder, path: path.clone(), name: name.clone(), policy, server });
        Ok(())
    }

    fn detach(&mut self) -> io::Result<()> {
        let session = self.session.as_ref().ok_or_else(|| io::Error::other("there is no session to detach from"))?;
        // Fails only if we lead a session already, after a hang-up.
        let _ = setsid();
        self.detached = true;
        let tasks = self.table.entries().len().to_string();
        let _ = wire::tell(self.front.as_fd(), &["detaching", &tasks, &session.name]);
        Ok(())
    }

    fn console_ended(self) -> io::Result<()> {
        let (exit, _) = sys::peek(self.process.pid)?.ok_or_else(|| io::Error::other("the console is not dead"))?;
        let end = if self.detached { ConsoleEnd::Detached } else { ConsoleEnd::Died(exit) };
        // The tasks' kernel sessions are their own; ours, shared with the console, identifies nobody. It reads as 0 if its
        // leader is outside this pid namespace, as in a container: neither does 0.
        let session_of = |pid| family::stat(pid).map(|stat| stat.session);
        let foreign = session_of(self.process.pid).or_else(|| session_of(getpid().as_raw_pid())).unwrap_or(0);
        let _ = setsid();
        let clean = self.closing && self.table.entries().is_empty();
        if let Some(session) = self.session.as_ref().filter(|_| clean) {
            session.server.unbind(session.folder.as_fd());
        }
        let Some(session) = self.session.filter(|_| !clean) else {
            tell_front(&self.front, &self.front_process, exit, None);
            sys::reap(self.process.pid)?;
            std::process::exit(0);
        };
        let _ = std::env::set_current_dir("/");
        let (name, stops) = (session.name.clone(), session.policy.on_death == OnDeath::Stop && !self.detached);
        let (console, signals) = (self.process, self.signals);
        let mut supervisor = Supervisor::new(session, myself()?, console, end, foreign, self.table, signals)?;
        tell_front(&self.front, &self.front_process, exit, Some((supervisor.open(), stops, self.detached, &name)));
        drop((self.front, self.front_process, self.orders));
        // How it ended is in the first line; its zombie must not be taken for a task's.
        sys::reap(console.pid)?;
        supervisor.first_look();
        supervisor.run()
    }
}

/// Tells front how the console ended; a front that is stopped is woken for it.
fn tell_front(front: &OwnedFd, process: &OwnedFd, exit: Exit, stays: Option<(usize, bool, bool, &str)>) {
    let exit = exit.to_string();
    let flag = |set| if set { "1" } else { "0" };
    let _ = match stays {
        None => wire::tell(front.as_fd(), &["ended", &exit]),
        Some((tasks, stops, detached, name)) => {
            let tasks = tasks.to_string();
            wire::tell(front.as_fd(), &["ended", &exit, &tasks, flag(stops), flag(detached), name])
        }
    };
    let _ = pidfd_send_signal(process, Signal::CONT);
}

/// The session folder, if it is ours and nobody else can write to it.
fn open_safe_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(rustix::fs::CWD, path, flags, Mode::empty())?;
    let stat = fstat(&folder)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the session folder belongs to, or can be written by, others",
        ));
    }
    Ok(folder)
}
