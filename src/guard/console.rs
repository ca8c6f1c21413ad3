//! The console's side: how the three processes come to be, and what the console may ask of its guard and front. Knows
//! nothing of what the console does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{getpid, set_child_subreaper};

use super::sys::{self, Signals};
use super::table::Table;
use super::watch::Inherited;
use super::wire::{self, Got};
use super::{front, watch};
use crate::fault;

/// So long a guard may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What the guard does when the console has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDeath {
    /// Lets the tasks run on, and stops them if no console came back within this time.
    Adopt {
        /// Grace in ms; a number too large to wait for is none.
        grace_ms: u64,
    },
    /// Stops them at once.
    Stop,
}

/// What a guard is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// When the console has died.
    pub on_death: OnDeath,
    /// Between SIGTERM and SIGKILL, ms.
    pub stop_grace_ms: u64,
}

/// The console's link to its guard and front.
pub struct ConsoleSide {
    guard: Mutex<OwnedFd>,
    guard_process: OwnedFd,
    front_process: OwnedFd,
    table: Arc<Table>,
    guard_pid: i32,
}

/// Splits into front, guard and console. Call it first thing in `main`, before any thread exists. Returns in the console
/// only: front ends with the console's exit code, the guard when nothing is left to do.
pub fn launch() -> io::Result<ConsoleSide> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("{} is set to nonsense", front::ROLE));
    let Some(role) = sys::take_variable(front::ROLE) else {
        front::run()?;
        unreachable!("front ends in run, or reports an error");
    };
    let words: Vec<&str> = role.split(' ').collect();
    let [name, mask, numbers @ ..] = &words[..] else { return Err(bad()) };
    let mask = Signals(mask.parse().map_err(|_| bad())?);
    let numbers: Vec<RawFd> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    let mut fds = numbers.iter().map(|number| sys::inherit(*number)).collect::<io::Result<Vec<_>>>()?.into_iter();
    let mut next = || fds.next().ok_or_else(bad);
    match *name {
        "guard" => {
            let (front, front_process) = (next()?, next()?);
            let told = front.try_clone()?;
            if let Err(error) = watch::run(Inherited { front, front_process, mask }) {
                let _ = wire::tell(told.as_fd(), &["failed", &error.to_string()]);
            }
            std::process::exit(crate::error::Kind::Internal.code())
        }
        "console" => {
            let (front_process, guard_process, guard) = (next()?, next()?, Mutex::new(next()?));
            let table = Arc::new(Table::from_fd(next()?)?);
            fault::role("console");
            let _ = rustix::thread::set_name(c"qd");
            set_child_subreaper(Some(getpid()))?;
            let guard_pid = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid());
            sys::block(mask)?;
            Ok(ConsoleSide { guard, guard_process, front_process, table, guard_pid })
        }
        _ => Err(bad()),
    }
}

impl ConsoleSide {
    /// The table in which attempts are entered before they are spawned. A place is kept until nothing of the attempt's
    /// tree is left and its end is stored.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table)
    }

    /// Pid of the guard.
    pub fn guard_pid(&self) -> i32 {
        self.guard_pid
    }

    /// Tells the guard where the session lies and what to do when the console dies; again when the policy changes. From
    /// the answer on, survivors are recorded there. `name` and `folder` are what `QD_SESSION` may say.
    pub fn session(&self, folder: &Path, name: &str, policy: Policy) -> io::Result<()> {
        let folder = std::path::absolute(folder)?;
        let folder =
            folder.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8"))?;
        let on_death = match policy.on_death {
            OnDeath::Stop => "stop".to_owned(),
            OnDeath::Adopt { grace_ms } => grace_ms.to_string(),
        };
        self.ask(&["session", folder, &name.replace('\0', ""), &on_death, &policy.stop_grace_ms.to_string()])
    }

    /// Leaves what runs to the guard, without a limit. When this returns the guard has left the terminal's session and
    /// front knows: put the terminal back *before*, and end with code 3 soon after (front waits for that, at most 2 s).
    pub fn detach(&self) -> io::Result<()> {
        self.ask(&["detach"])
    }

    /// Says that nothing is left running, so that the guard ends with the console. Tasks still in the table are supervised
    /// all the same.
    pub fn closing(&self) {
        // A guard that is gone needs no telling.
        let _ = self.ask(&["closing"]);
    }

    /// Ctrl-Z: stops the whole job, as the terminal itself would, and returns once it is continued; at once where nobody
    /// could continue it. Put the terminal back before, and take it again (and draw all) after. The guard and the tasks
    /// are not stopped.
    pub fn suspend(&self) -> io::Result<()> {
        sys::stop_job()
    }

    /// Readable once the guard is dead. The console says so and goes on: what it leaves is then supervised by nobody.
    pub fn guard_fd(&self) -> BorrowedFd<'_> {
        self.guard_process.as_fd()
    }

    /// Readable once front is dead: the terminal is no longer ours, the console detaches.
    pub fn front_fd(&self) -> BorrowedFd<'_> {
        self.front_process.as_fd()
    }

    /// Whether the guard lives.
    pub fn guard_alive(&self) -> bool {
        !is_readable(self.guard_fd())
    }

    /// Whether front lives.
    pub fn front_alive(&self) -> bool {
        !is_readable(self.front_fd())
    }

    fn ask(&self, words: &[&str]) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the guard is gone");
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        // An answer that came too late for an earlier question is not this one's.
        while matches!(wire::hear(guard.as_fd()), Got::Packet(_)) {}
        wire::tell(guard.as_fd(), words).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => gone(),
            _ => error,
        })?;
        match wire::hear_within(guard.as_fd(), ANSWER) {
            Got::Packet(words) if words.first().is_some_and(|word| word == "ok") => Ok(()),
            Got::Packet(words) => Err(io::Error::other(words.get(1).cloned().unwrap_or_default())),
            Got::Gone => Err(gone()),
            Got::Nothing => Err(io::Error::new(io::ErrorKind::TimedOut, "the guard does not answer")),
        }
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    wire::wait(&[fd], Some(Duration::ZERO)) == [true]
}
