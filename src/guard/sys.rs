//! The system calls that no typed crate has: signalfd, a peek at a child with its usage, signal masks, the environment
//! before any thread exists. Knows nothing of tasks.
#![expect(unsafe_code, reason = "raw system calls of the two small processes, each with its reason")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::record::{Exit, Usage};

/// Takes a variable out of this process's environment. Call only before any thread exists.
pub fn take_variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    // SAFETY: called from `launch` before any thread exists, so that nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    value
}

/// Owns a descriptor that the parent passed on by number, and makes it close-on-exec again.
pub fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: fcntl only asks whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open, and passed on for us alone: `launch` reads the list of numbers once, at the very start.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether the terminal's foreground group is ours. Both read as 0 if the group's leader is outside this pid namespace.
pub fn in_foreground(terminal: BorrowedFd<'_>) -> bool {
    // SAFETY: both only ask; rustix has no value for a group of 0.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// Signals that mean a defect of this process: never blocked.
const FAULTS: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGSYS, libc::SIGTRAP];

/// A set of signals, bit `n - 1` for signal `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals(pub u64);

impl Signals {
    /// All that can be blocked without harm.
    pub fn all() -> Self {
        FAULTS.iter().fold(Self(u64::MAX), |set, signal| set.without(*signal))
    }
    /// Without this one.
    pub fn without(self, signal: i32) -> Self {
        Self(self.0 & !(1 << (signal - 1)))
    }
    /// Has this one.
    pub fn has(self, signal: i32) -> bool {
        self.0 >> (signal - 1) & 1 == 1
    }

    fn raw(self) -> libc::sigset_t {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises it; sigaddset refuses what is no signal (the two kept by the C library).
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in (1..=64).filter(|signal| self.has(*signal)) {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            set.assume_init()
        }
    }
}

/// Blocks exactly these in the calling thread. Returns what was blocked before.
pub fn block(signals: Signals) -> io::Result<Signals> {
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are valid for the call; `before` is filled if it succeeds.
    let before = unsafe {
        let error = libc::pthread_sigmask(libc::SIG_SETMASK, &signals.raw(), before.as_mut_ptr());
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        before.assume_init()
    };
    // SAFETY: `before` is initialised; sigismember only reads it.
    let has = |signal: &i32| unsafe { libc::sigismember(&before, *signal) } == 1;
    Ok(Signals((1..=64).filter(has).fold(0, |bits, signal| bits | 1 << (signal - 1))))
}

/// A caught signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caught {
    /// Which.
    pub signal: i32,
    /// `si_code`: 0 from a process, positive from the kernel.
    pub code: i32,
    /// Who sent it, if a process.
    pub sender: i32,
}

/// A descriptor that is readable when one of these (all blocked) arrived. Non-blocking, close-on-exec.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = signals.iter().fold(0, |bits, signal| bits | 1 << (signal - 1));
    // SAFETY: a valid set; the result is checked.
    let fd = unsafe { libc::signalfd(-1, &Signals(set).raw(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal that arrived, if any.
pub fn next_signal(fd: BorrowedFd<'_>) -> Option<Caught> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` has room for `size` bytes.
    let got = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if got != size as isize {
        return None;
    }
    // SAFETY: plain numbers, zeroed and then filled.
    let info = unsafe { info.assume_init() };
    Some(Caught { signal: info.ssi_signo as i32, code: info.ssi_code, sender: info.ssi_pid as i32 })
}

/// How a child ended and what it used, without reaping it. `None` while it runs.
pub fn peek(pid: i32) -> io::Result<Option<(Exit, Usage)>> {
    wait(pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// Reaps a child that has ended.
pub fn reap(pid: i32) -> io::Result<Option<(Exit, Usage)>> {
    wait(pid, libc::WEXITED | libc::WNOHANG)
}

fn wait(pid: i32, options: i32) -> io::Result<Option<(Exit, Usage)>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the raw call takes a fifth argument that the C library hides: where to put the usage. Both are large enough
    // and live through the call.
    let result =
        unsafe { libc::syscall(libc::SYS_waitid, libc::P_PID, pid, info.as_mut_ptr(), options, usage.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed before, so initialised even where the kernel wrote nothing.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: these fields are valid after waitid; a pid of 0 says that nothing has ended.
    let (ended, status) = unsafe { (info.si_pid() != 0, info.si_status()) };
    let exit = if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
    Ok(ended.then(|| (exit, usage_of(&usage))))
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let ms = |time: libc::timeval| (time.tv_sec * 1000 + time.tv_usec / 1000) as u64;
    Usage {
        user_ms: ms(usage.ru_utime),
        system_ms: ms(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss as u64,
        blocks_in: usage.ru_inblock as u64,
        blocks_out: usage.ru_oublock as u64,
    }
}

/// Stops this process with its whole job, as the terminal's ^Z would, and returns once it is continued; at once where
/// nobody could continue it (SIGTSTP ignored, or no shell behind the job). Signal handlers are as before.
///
/// The stop is made pending for this very thread before the job gets it, and takes effect when the mask is put back: so
/// this thread cannot run on before the process is stopped, and a continue that comes in between cancels it.
pub fn stop_job() -> io::Result<()> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks for, then sets, the disposition of one signal; the structures live through the calls, and an
    // all-zero sigaction is SIG_DFL.
    unsafe {
        if libc::sigaction(libc::SIGTSTP, std::ptr::null(), before.as_mut_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let before = before.assume_init();
        if before.sa_sigaction == libc::SIG_IGN {
            return Ok(());
        }
        let mut mask = MaybeUninit::uninit();
        libc::pthread_sigmask(libc::SIG_BLOCK, &Signals(1 << (libc::SIGTSTP - 1)).raw(), mask.as_mut_ptr());
        let mask = mask.assume_init();
        libc::sigaction(libc::SIGTSTP, MaybeUninit::<libc::sigaction>::zeroed().as_ptr(), std::ptr::null_mut());
        libc::raise(libc::SIGTSTP);
        libc::kill(0, libc::SIGTSTP);
        let mut open = mask;
        libc::sigdelset(&mut open, libc::SIGTSTP);
        libc::pthread_sigmask(libc::SIG_SETMASK, &open, std::ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
        libc::sigaction(libc::SIGTSTP, &before, std::ptr::null_mut());
    }
    Ok(())
}

/// Ticks since boot, now, as `/proc/PID/stat` counts a start time.
pub fn ticks_now() -> u64 {
    // `USER_HZ`, which the kernel shows to programs as 100 everywhere.
    const TICK_NS: u64 = 10_000_000;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    (now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()) / TICK_NS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_peek_tells_exit_and_usage_again_and_again_until_the_child_is_reaped() {
        let mut child = Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = child.id() as i32;
        let first = loop {
            if let Some(end) = peek(pid).unwrap() {
                break end;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        };
        assert_eq!(first.0, Exit::Code(7));
        assert!(first.1.max_rss_kib > 100, "usage is told with the peek: {:?}", first.1);
        assert_eq!(peek(pid).unwrap(), Some(first));
        assert_eq!(reap(pid).unwrap(), Some(first));
        assert!(peek(pid).is_err());
        assert!(child.wait().is_err(), "reaped already");
    }

    #[test]
    fn a_blocked_signal_is_read_with_its_sender() {
        std::thread::spawn(|| {
            let before = block(Signals::all()).unwrap();
            assert!(!before.has(libc::SIGWINCH));
            let fd = signal_fd(&[libc::SIGWINCH]).unwrap();
            assert_eq!(next_signal(std::os::fd::AsFd::as_fd(&fd)), None);
            // SAFETY: raises a harmless signal in this thread only.
            unsafe { libc::raise(libc::SIGWINCH) };
            let caught = next_signal(std::os::fd::AsFd::as_fd(&fd)).unwrap();
            assert_eq!((caught.signal, caught.sender), (libc::SIGWINCH, std::process::id() as i32));
        })
        .join()
        .unwrap();
    }
}
