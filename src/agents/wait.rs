//! How a child ended: looked at without reaping it, and reaped. Knows one child at a time and nothing of attempts.
#![expect(unsafe_code, reason = "rustix's waitid returns no resource usage: the raw call has a fifth argument for it")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::engine::message::{Exit, Usage};

/// How a child ended and what it used, its own waited-for children included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// What it used.
    pub usage: Usage,
}

/// Looks at a child's end and leaves it a zombie, so that whoever comes after us can still learn it. `None` if it has
/// not ended.
///
/// # Errors
/// `ECHILD` if it is no child of this process (any more).
pub fn peek(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    waitid(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), libc::WEXITED | libc::WNOWAIT | libc::WNOHANG)
}

/// The largest resident set that this process ever had, KiB. A child's own figure never comes out below what it was when
/// the child was spawned: the kernel counts the memory that both shared until the child executed its program.
pub fn own_peak_rss_kib() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: writes one rusage to memory of that type; all-zero bytes, if it fails, are a valid one.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    usage.ru_maxrss.unsigned_abs()
}

/// Reaps a child that has ended. False if it has not.
///
/// # Errors
/// `ECHILD` if it is no child of this process (any more).
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    let ended = waitid(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), libc::WEXITED | libc::WNOHANG)?;
    Ok(ended.is_some())
}

/// Waits for a child that is about to end, and reaps it.
///
/// # Errors
/// `ECHILD` if it is no child of this process (any more).
pub fn await_end(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    waitid(libc::P_PIDFD, pidfd.as_raw_fd().unsigned_abs(), libc::WEXITED).map(drop)
}

/// Reaps a child by its pid if it has ended. The caller knows that nobody else reaps it, so the pid cannot be another's.
///
/// # Errors
/// `ECHILD` if it is no child of this process (any more).
pub fn reap_pid(pid: i32) -> io::Result<bool> {
    let ended = waitid(libc::P_PID, pid.unsigned_abs(), libc::WEXITED | libc::WNOHANG)?;
    Ok(ended.is_some())
}

fn waitid(kind: libc::idtype_t, id: libc::id_t, options: libc::c_int) -> io::Result<Option<Ended>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live, writable memory of the kernel's own types; the kernel keeps neither.
        let answer =
            unsafe { libc::syscall(libc::SYS_waitid, kind, id, info.as_mut_ptr(), options, usage.as_mut_ptr()) };
        if answer == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: both were zeroed, and all-zero bytes are valid values of these plain C types.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: after a successful waitid the fields of a child's siginfo are the ones set (pid 0: nothing has ended).
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let exit = if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
    Ok(Some(Ended { exit, usage: used(&usage) }))
}

fn used(usage: &libc::rusage) -> Usage {
    let ms = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1000 + time.tv_usec.unsigned_abs() / 1000;
    Usage {
        user_ms: ms(usage.ru_utime),
        system_ms: ms(usage.ru_stime),
        max_rss_kib: usage.ru_maxrss.unsigned_abs(),
        blocks_in: usage.ru_inblock.unsigned_abs(),
        blocks_out: usage.ru_oublock.unsigned_abs(),
    }
}
