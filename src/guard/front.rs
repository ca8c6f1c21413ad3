//! Front: the shell's job. It keeps the terminal's modes, starts the guard, passes signals on, and gives the shell its
//! exit code and its prompt back as soon as the console is gone. Knows nothing of sessions and tasks but their number.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, set_child_subreaper, wait};
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};

use super::record::Exit;
use super::sys::{self, Signals};
use super::wire::{self, Got, number};
use crate::error::Kind;
use crate::fault;

/// The variable that tells a re-executed process its role and descriptors.
pub const ROLE: &str = "QD_GUARD_ROLE";
/// Signals that front passes on.
const PASSED_ON: [i32; 6] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];
/// So long a console that has detached may take to end before the prompt comes back without it.
const DETACH_LIMIT: Duration = Duration::from_secs(2);
/// So long a guard that has nothing to do may take to end.
const GUARD_LIMIT: Duration = Duration::from_millis(500);
/// So long the terminal may take to accept what restores it.
const TERMINAL_LIMIT: Duration = Duration::from_secs(1);
/// Ends any sequence that was cut off, then: attributes, synchronised update, kitty keys, focus, mouse and paste reports
/// off, main screen, cursor.
const RESTORE_SCREEN: &[u8] = b"\x1b\\\x1b[0m\x1b[?2026l\x1b[<u\x1b[?1004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1005l\
\x1b[?1006l\x1b[?1015l\x1b[?2004l\x1b[?1l\x1b>\x1b[?1049l\x1b[?25h\r\n";
/// What a name on front's line is cut to.
const MAX_NAME: usize = 200;

/// What front knows of the end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The console ended in good order, or before it had a session.
    Plain(Exit),
    /// It ended (or is about to) and the guard stays with its tasks.
    Stays { exit: Exit, tasks: usize, stops: bool, detached: bool, name: String },
    /// The guard was gone when the console ended so.
    Alone(Exit),
    /// There was never a console.
    Failed(String),
}

/// Runs this program again in another role, with the same arguments, environment, standard streams and blocked signals.
pub fn spawn_again(role: &str, fds: &[BorrowedFd<'_>], mask: Signals) -> io::Result<Child> {
    let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let mut arguments = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(ROLE, format!("{role} {} {}", mask.0, numbers.join(" ")));
    // No thread exists that could run another program meanwhile.
    for fd in fds {
        fcntl_setfd(fd, FdFlags::empty())?;
    }
    let child = command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit()).spawn();
    for fd in fds {
        fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    }
    child
}

/// Front's whole life. Returns only if not even the guard could be started.
pub fn run() -> io::Result<()> {
    fault::role("front");
    let _ = rustix::thread::set_name(c"qd");
    let terminal = Terminal::open();
    let mask = sys::block(Signals::all())?;
    let started = start(mask);
    let mut front = match started {
        Ok(front) => front,
        Err(error) => {
            sys::block(mask)?;
            return Err(error);
        }
    };
    // ^Z stops front as it stops any job; everything else is waited for.
    let stops = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let open =
        stops.iter().filter(|signal| !mask.has(**signal)).fold(Signals::all(), |all, signal| all.without(*signal));
    sys::block(open)?;
    let end = front.watch();
    sys::block(Signals::all())?;
    if let Some(terminal) = &terminal {
        terminal.restore();
    }
    if let Some(line) = line(&end, front.guard_pid()) {
        // Never a panic over a closed stderr.
        let _ = io::stderr().write_all(line.as_bytes());
    }
    if matches!(end, End::Plain(_) | End::Failed(_)) {
        front.await_guard();
    }
    std::process::exit(code(&end))
}

struct Front {
    guard: Child,
    guard_process: OwnedFd,
    link: OwnedFd,
    signals: OwnedFd,
    console: Option<i32>,
    /// The console has detached: from then on the prompt comes back without it.
    detaching: Option<(Instant, End)>,
    guard_gone: bool,
}

fn start(mask: Signals) -> io::Result<Front> {
    // Should the guard die, the console is ours, and its exit code is not lost.
    set_child_subreaper(Some(getpid()))?;
    let signals = sys::signal_fd(&[&PASSED_ON[..], &[libc::SIGCHLD]].concat())?;
    let (link, theirs) = wire::pair()?;
    let me = pidfd_open(getpid(), PidfdFlags::empty())?;
    let guard = spawn_again("guard", &[theirs.as_fd(), me.as_fd()], mask)?;
    let guard_process = pidfd_open(Pid::from_child(&guard), PidfdFlags::empty())?;
    Ok(Front { guard, guard_process, link, signals, console: None, detaching: None, guard_gone: false })
}

impl Front {
    fn guard_pid(&self) -> u32 {
        self.guard.id()
    }

    fn watch(&mut self) -> End {
        loop {
            if let Some((until, end)) = &self.detaching
                && Instant::now() >= *until
            {
                return end.clone();
            }
            let limit = self.detaching.as_ref().map(|(until, _)| until.saturating_duration_since(Instant::now()));
            let mut fds = vec![self.signals.as_fd()];
            if !self.guard_gone {
                fds.push(self.link.as_fd());
            }
            wire::wait(&fds, limit);
            if let Some(end) = self.hear() {
                return end;
            }
            self.pass_signals();
            if self.guard_gone
                && let Some(end) = self.reap()
            {
                return end;
            }
        }
    }

    /// What the guard says.
    fn hear(&mut self) -> Option<End> {
        while !self.guard_gone {
            let words = match wire::hear(self.link.as_fd()) {
                Got::Packet(words) => words,
                Got::Nothing => return None,
                Got::Gone => {
                    self.guard_gone = true;
                    return None;
                }
            };
            match words.first().map(String::as_str) {
                Some("console") => self.console = number(&words, 1),
                Some("failed") => return Some(End::Failed(words.get(1).cloned().unwrap_or_default())),
                Some("detaching") => {
                    let (tasks, name) = (number(&words, 1).unwrap_or(0), words.get(2).cloned().unwrap_or_default());
                    let exit = Exit::Code(Kind::Stopped.code());
                    let end = End::Stays { exit, tasks, stops: false, detached: true, name };
                    self.detaching = Some((Instant::now() + DETACH_LIMIT, end));
                }
                Some("ended") => return ended(&words),
                _ => {}
            }
        }
        None
    }

    fn pass_signals(&mut self) {
        while let Some(caught) = sys::next_signal(self.signals.as_fd()) {
            if caught.signal == libc::SIGCHLD {
                continue;
            }
            if !self.guard_gone {
                let words =
                    ["signal", &caught.signal.to_string(), &caught.code.to_string(), &caught.sender.to_string()];
                let _ = wire::tell(self.link.as_fd(), &words);
            } else if let Some(console) = self.console.and_then(Pid::from_raw)
                && let Some(signal) = rustix::process::Signal::from_named_raw(caught.signal)
            {
                // Ours since the guard died, so the pid is not another's before we reap it.
                let _ = rustix::process::kill_process(console, signal);
            }
        }
    }

    /// Without a guard: the console is our child now.
    fn reap(&mut self) -> Option<End> {
        loop {
            let ended = match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => (pid, status),
                Ok(None) => return None,
                Err(rustix::io::Errno::INTR) => continue,
                // No child at all: there was never a console.
                Err(_) => return Some(End::Failed("the guard ended before it could start the console".into())),
            };
            let (pid, status) = ended;
            if Some(pid.as_raw_pid()) == self.console {
                let exit = match status.exit_status() {
                    Some(code) => Exit::Code(code),
                    None => Exit::Signal(status.terminating_signal().unwrap_or(0)),
                };
                return Some(End::Alone(exit));
            }
        }
    }

    /// A guard with nothing to do ends at once: nothing of ours is left when the prompt comes back.
    fn await_guard(&mut self) {
        wire::wait(&[self.guard_process.as_fd()], Some(GUARD_LIMIT));
        let _ = self.guard.try_wait();
    }
}

fn ended(words: &[String]) -> Option<End> {
    let exit = number(words, 1)?;
    let (Some(tasks), Some(stops), Some(detached), Some(name)) =
        (number(words, 2), words.get(3), words.get(4), words.get(5))
    else {
        return Some(End::Plain(exit));
    };
    Some(End::Stays { exit, tasks, stops: stops == "1", detached: detached == "1", name: name.clone() })
}

/// The exit code that the shell gets: the console's own if it is one of ours.
fn code(end: &End) -> i32 {
    match end {
        End::Stays { detached: true, .. } => Kind::Stopped.code(),
        End::Plain(Exit::Code(code)) | End::Stays { exit: Exit::Code(code), .. } | End::Alone(Exit::Code(code))
            if matches!(code, 0..=3) =>
        {
            *code
        }
        _ => Kind::Internal.code(),
    }
}

/// The one line that says what happened; none if there is nothing to say.
fn line(end: &End, guard: u32) -> Option<String> {
    let how = |exit: &Exit| match exit {
        Exit::Code(code) => format!("the console ended with exit code {code}"),
        Exit::Signal(signal) => format!("the console was killed by signal {signal}"),
    };
    let count = |tasks: usize| format!("{tasks} task{}", if tasks == 1 { "" } else { "s" });
    Some(match end {
        End::Plain(Exit::Code(_)) => return None,
        End::Plain(exit) => format!("qd: {}; it had no session yet\n", how(exit)),
        End::Failed(why) => format!("qd: could not start: {why}\n"),
        End::Alone(exit @ Exit::Signal(_)) => {
            format!(
                "qd: {}, and guard {guard} before it: what it left runs unsupervised; continue with: qd resume\n",
                how(exit)
            )
        }
        End::Alone(_) => return None,
        End::Stays { exit, tasks, stops, detached, name } => {
            let what = if *detached { "detached".into() } else { how(exit) };
            let name = printable(name);
            match tasks {
                0 => format!("qd: {what}; no task is running; continue with: qd resume {name}\n"),
                _ => {
                    let does = if *stops { "is stopping" } else { "supervises" };
                    format!("qd: {what}; guard {guard} {does} {}; continue with: qd resume {name}\n", count(*tasks))
                }
            }
        }
    })
}

/// A session name as it may stand on a terminal.
fn printable(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_graphic() || c.is_alphanumeric() { c } else { '?' };
    name.chars().take(MAX_NAME).map(safe).collect()
}

/// The controlling terminal with its modes as they were.
struct Terminal {
    /// Opened by us alone, so that it can be non-blocking without disturbing anyone.
    file: File,
    modes: Termios,
}

impl Terminal {
    fn open() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?);
        let modes = tcgetattr(&file).ok()?;
        Some(Self { file, modes })
    }

    /// Puts modes and screen back if the console left them changed, and the terminal is ours to touch. The screen is only
    /// ever taken together with the modes: where those are as before, nothing is written.
    fn restore(&self) {
        if !sys::in_foreground(self.file.as_fd()) {
            return;
        }
        let Ok(now) = tcgetattr(&self.file) else { return };
        let modes = |modes: &Termios| (modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes);
        if modes(&now) == modes(&self.modes) {
            return;
        }
        let _ = tcsetattr(&self.file, OptionalActions::Now, &self.modes);
        self.write(RESTORE_SCREEN);
        // Keys and mouse reports meant for the console must not reach the shell.
        let _ = tcflush(&self.file, QueueSelector::IFlush);
    }

    fn write(&self, mut bytes: &[u8]) {
        let until = Instant::now() + TERMINAL_LIMIT;
        while !bytes.is_empty() {
            match (&self.file).write(bytes) {
                Ok(0) => return,
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    wire::wait_for(&[(self.file.as_fd(), PollFlags::OUT)], Some(left));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stays(exit: Exit, tasks: usize, stops: bool, detached: bool) -> End {
        End::Stays { exit, tasks, stops, detached, name: "night".into() }
    }

    #[test]
    fn only_our_own_exit_codes_pass_and_any_other_end_is_seventy() {
        for (given, expected) in [(0, 0), (1, 1), (2, 2), (3, 3), (70, 70), (101, 70), (4, 70), (255, 70)] {
            assert_eq!(code(&End::Plain(Exit::Code(given))), expected);
            assert_eq!(code(&End::Alone(Exit::Code(given))), expected);
        }
        for end in [End::Plain(Exit::Signal(9)), End::Alone(Exit::Signal(6)), End::Failed(String::new())] {
            assert_eq!(code(&end), 70);
        }
        assert_eq!(code(&stays(Exit::Signal(9), 1, false, false)), 70);
        assert_eq!(code(&stays(Exit::Code(3), 1, false, true)), 3);
        assert_eq!(code(&stays(Exit::Signal(9), 1, false, true)), 3, "killed after it had detached");
    }

    #[test]
    fn the_line_names_what_happened_the_guard_and_the_way_back() {
        let killed = line(&stays(Exit::Signal(9), 3, false, false), 42).unwrap();
        assert_eq!(
            killed,
            "qd: the console was killed by signal 9; guard 42 supervises 3 tasks; continue with: qd resume night\n"
        );
        assert!(line(&stays(Exit::Signal(9), 1, true, false), 42).unwrap().contains("guard 42 is stopping 1 task;"));
        assert!(line(&stays(Exit::Code(3), 2, false, true), 42).unwrap().starts_with("qd: detached; guard 42"));
        assert_eq!(line(&End::Plain(Exit::Code(1)), 42), None);
        let sly = End::Stays {
            exit: Exit::Signal(9),
            tasks: 0,
            stops: false,
            detached: false,
            name: "a\x1b[2J\u{202e}b".into(),
        };
        assert!(line(&sly, 42).unwrap().ends_with("qd resume a?[2J?b\n"));
    }

    #[test]
    fn what_the_guard_says_of_the_end_is_read_whole_or_as_a_plain_end() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(ended(&words("ended exit:2")), Some(End::Plain(Exit::Code(2))));
        assert_eq!(ended(&words("ended signal:9 4 1 0 night")).unwrap(), stays(Exit::Signal(9), 4, true, false));
        assert_eq!(ended(&words("ended")), None);
    }
}
