//! One process: own session, default signals, descriptors 0 to 2 and no others, and a descriptor that tells of its end.
//! Knows nothing of tasks.
//!
//! Made by `clone(CLONE_VM | CLONE_VFORK)`, as the C library's `posix_spawn` is, for two things that it cannot do: the
//! kernel itself enters the child's pid where we say, before the child has done anything (a table that outlives us), and
//! the descriptor is there with the child. It is also cheaper: no stack is mapped and unmapped for each child. Never fork
//! and `pre_exec`: with much memory resident that costs tens of milliseconds.
#![expect(unsafe_code, reason = "the standard library's spawn cannot give a child its own session without forking")]

use std::ffi::{CStr, CString, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// What the child needs of stack before its `execve`: a few system calls deep, and generous.
const STACK: usize = 64 * 1024;
/// Below it, so that an overflow hits nothing: a page of any size in use.
const GUARD: usize = 64 * 1024;
/// The kernel's signals are 1 to 64.
const SIGNALS: i32 = 64;
/// Bytes of the kernel's signal set.
const SET: usize = 8;

/// Starts processes, one at a time.
pub struct Spawner {
    /// Where the child runs until its `execve`; lowest address of the mapping.
    stack: *mut c_void,
    /// This process's own folder: a child that wants just that needs no `chdir`.
    here: Option<CString>,
}

// SAFETY: the mapping belongs to the spawner alone, and `spawn` takes it by `&mut`.
unsafe impl Send for Spawner {}

/// What to run and what it gets.
pub struct Child<'a> {
    /// The file to execute: absolute, or relative to `cwd`.
    pub program: &'a CStr,
    /// Its arguments, the name it is called by first.
    pub argv: &'a [CString],
    /// Its whole environment, `NAME=value` each.
    pub env: &'a [&'a CStr],
    /// Its working folder.
    pub cwd: &'a CStr,
    /// Its descriptor 0. Not one of 0 to 2 here.
    pub stdin: BorrowedFd<'a>,
    /// Its descriptors 1 and 2. Not one of 0 to 2 here.
    pub output: BorrowedFd<'a>,
    /// What is entered about it.
    pub entry: Entry<'a>,
}

/// What is entered about a child by the kernel and the child itself, whatever becomes of us meanwhile. Both are 0 before.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its pid: entered before it does anything.
    pub pid: &'a AtomicI32,
    /// The error number of what failed in it: then its program was never executed.
    pub errno: &'a AtomicI32,
}

impl Entry<'_> {
    /// Nothing of an earlier try counts: it is tried again.
    pub fn clear(&self) {
        self.pid.store(0, Ordering::Release);
        self.errno.store(0, Ordering::Release);
    }
}

/// A process that executes its program.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid.
    pub pid: i32,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
}

/// What the child reads, in memory that it shares with us until its `execve`.
struct Order<'a> {
    program: *const libc::c_char,
    argv: *const *const libc::c_char,
    env: *const *const libc::c_char,
    cwd: Option<&'a CStr>,
    stdin: i32,
    output: i32,
    errno: &'a AtomicI32,
}

impl Spawner {
    /// Makes the stack.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> io::Result<Self> {
        let here = std::env::current_dir().ok().and_then(|path| CString::new(path.into_os_string().into_vec()).ok());
        // SAFETY: a fresh private mapping; its lowest part is made inaccessible before anybody uses it.
        let stack = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let stack =
                mmap_anonymous(ptr::null_mut(), GUARD + STACK, protection, MapFlags::PRIVATE | MapFlags::STACK)?;
            mprotect(stack, GUARD, MprotectFlags::empty())?;
            stack
        };
        Ok(Self { stack, here })
    }

    /// Starts it and returns once its `execve` has succeeded.
    ///
    /// # Errors
    /// What `clone`, `setsid`, `dup2`, `chdir` or `execve` said; then no child is left.
    pub fn spawn(&mut self, child: &Child<'_>) -> io::Result<Spawned> {
        debug_assert!(child.stdin.as_raw_fd() > 2 && child.output.as_raw_fd() > 2, "overwritten before it is copied");
        let argv: Vec<_> = child.argv.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
        let env: Vec<_> = child.env.iter().map(|entry| entry.as_ptr()).chain([ptr::null()]).collect();
        let order = Order {
            program: child.program.as_ptr(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            cwd: Some(child.cwd).filter(|cwd| self.here.as_deref() != Some(*cwd)),
            stdin: child.stdin.as_raw_fd(),
            output: child.output.as_raw_fd(),
            errno: child.entry.errno,
        };
        let (pid, pidfd) = self.clone_child(&order, child.entry.pid)?;
        match child.entry.errno.load(Ordering::Acquire) {
            0 => Ok(Spawned { pid, pidfd }),
            errno => {
                // It is ending by itself, and nobody else reaps it.
                let _ = super::wait::await_end(pidfd.as_fd());
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// Returns when the child has executed its program or ended.
    fn clone_child(&mut self, order: &Order<'_>, pid_cell: &AtomicI32) -> io::Result<(i32, OwnedFd)> {
        const FLAGS: libc::c_int =
            libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::CLONE_CHILD_SETTID | libc::SIGCHLD;
        let mut pidfd: libc::c_int = -1;
        let order = ptr::from_ref(order).cast_mut().cast::<c_void>();
        // No handler of ours may run in the child, which shares our memory: it resets them all before it lets signals in.
        let before = set_mask(u64::MAX);
        // SAFETY: the stack is ours, unused, and stays mapped until the child has left it: this thread is suspended until
        // then (CLONE_VFORK). `child` only makes system calls and reads `order`, which outlives the suspension. `pidfd` and
        // the pid's cell are valid for the kernel to write; the third variadic argument (TLS) is not used without its flag.
        let pid = unsafe {
            let top = self.stack.byte_add(GUARD + STACK);
            let no_tls = ptr::null_mut::<c_void>();
            libc::clone(in_child, top, FLAGS, order, &raw mut pidfd, no_tls, pid_cell.as_ptr())
        };
        let error = io::Error::last_os_error();
        set_mask(before);
        if pid < 0 {
            return Err(error);
        }
        // SAFETY: the kernel made it for us with the child.
        Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no child runs on it (see `clone_child`).
        let _ = unsafe { munmap(self.stack, GUARD + STACK) };
    }
}

/// What the child does: on its own stack, in our memory. It must not allocate, lock or panic.
extern "C" fn in_child(order: *mut c_void) -> libc::c_int {
    // SAFETY: `clone_child` passes an order that lives for as long as this runs.
    let order = unsafe { &*order.cast::<Order<'_>>() };
    let errno = become_it(order);
    order.errno.store(errno, Ordering::Release);
    // As a shell would answer: 127 for what is not there.
    let code = if errno == libc::ENOENT { 127 } else { 126 };
    // SAFETY: ends this process only, without running anything of the parent's.
    unsafe { libc::_exit(code) }
}

/// Returns only if something failed: its error number.
fn become_it(order: &Order<'_>) -> i32 {
    // The C library's wrappers store errors in this thread's `errno`: the parent thread's own, which is suspended.
    // SAFETY: system calls with valid arguments; handlers are reset before signals are let in.
    unsafe {
        for signal in (1..=SIGNALS).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
            set_default(signal);
        }
        let done = libc::setsid() >= 0
            && libc::dup2(order.stdin, 0) >= 0
            && libc::dup2(order.output, 1) >= 0
            && libc::dup2(order.output, 2) >= 0
            && order.cwd.is_none_or(|cwd| libc::chdir(cwd.as_ptr()) == 0);
        if done {
            set_mask(0);
            libc::execve(order.program, order.argv, order.env);
        }
        *libc::__errno_location()
    }
}

/// Default handling of a signal, also of the two that the C library keeps for itself: a task must not inherit those as
/// ignored. Cannot fail for a signal that exists.
fn set_default(signal: i32) {
    /// The kernel's `struct sigaction` is no longer than this, and all zeros is: default, no flags, nothing masked.
    const DEFAULT: [u64; 8] = [0; 8];
    // SAFETY: the kernel only reads `DEFAULT`.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), ptr::null_mut::<c_void>(), SET) };
}

/// Sets this thread's mask of blocked signals, all 64 of them, and returns what it was.
fn set_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: reads and writes the two sets, each of the size given.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut before, SET) };
    before
}

/// Marks every descriptor from 3 up close-on-exec: what this process inherited is not for its tasks.
pub fn keep_descriptors_from_children() {
    // SAFETY: changes a flag of descriptors only. A kernel older than 5.11 refuses; then what was inherited stays.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn words(words: &[&str]) -> Vec<CString> {
        words.iter().map(|word| CString::new(*word).unwrap()).collect()
    }

    fn run(spawner: &mut Spawner, argv: &[&str], output: &File, cells: &[AtomicI32; 2]) -> io::Result<Spawned> {
        let argv = words(argv);
        let null = File::open("/dev/null").unwrap();
        spawner.spawn(&Child {
            program: &argv[0],
            argv: &argv,
            env: &[c"A=b"],
            cwd: c"/",
            stdin: null.as_fd(),
            output: output.as_fd(),
            entry: Entry { pid: &cells[0], errno: &cells[1] },
        })
    }

    fn end(spawned: &Spawned) -> Option<crate::engine::message::Exit> {
        loop {
            if let Some(end) = super::super::wait::peek(spawned.pidfd.as_fd()).unwrap() {
                assert!(super::super::wait::reap(spawned.pidfd.as_fd()).unwrap());
                return Some(end.exit);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[test]
    fn a_child_leads_a_session_of_its_own_with_every_signal_let_in_and_at_its_default() {
        let mut spawner = Spawner::new().unwrap();
        let output = tempfile::NamedTempFile::new().unwrap();
        let cells = [AtomicI32::new(0), AtomicI32::new(0)];
        let text = "cat /proc/self/status; pwd; echo $A";
        let child = run(&mut spawner, &["/bin/sh", "-c", text], output.as_file(), &cells).unwrap();
        assert_eq!((cells[0].load(Ordering::Relaxed), cells[1].load(Ordering::Relaxed)), (child.pid, 0));
        assert_eq!(end(&child), Some(crate::engine::message::Exit::Code(0)));
        let said = std::fs::read_to_string(output.path()).unwrap();
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().trim().to_owned()
        };
        assert_eq!(value("NSsid"), child.pid.to_string());
        assert_eq!(["SigBlk", "SigIgn", "SigCgt"].map(value), ["0000000000000000"; 3]);
        assert!(said.ends_with("\n/\nb\n"), "{said}");
    }

    #[test]
    fn what_cannot_be_executed_says_why_and_leaves_no_child_behind() {
        let mut spawner = Spawner::new().unwrap();
        let output = tempfile::tempfile().unwrap();
        for (program, errno) in
            [("/no/such/program", libc::ENOENT), ("/etc", libc::EACCES), ("/etc/passwd", libc::EACCES)]
        {
            let cells = [AtomicI32::new(0), AtomicI32::new(0)];
            let error = run(&mut spawner, &[program], &output, &cells).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno), "{program}");
            let pid = cells[0].load(Ordering::Relaxed);
            assert!(pid > 0 && !std::path::Path::new(&format!("/proc/{pid}")).exists(), "{program}");
        }
    }

    #[test]
    fn signals_are_blocked_only_while_a_child_is_made() {
        let mut spawner = Spawner::new().unwrap();
        let output = tempfile::tempfile().unwrap();
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            status.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned()
        };
        let before = mask();
        let cells = [AtomicI32::new(0), AtomicI32::new(0)];
        let child = run(&mut spawner, &["/bin/true"], &output, &cells).unwrap();
        assert_eq!(mask(), before);
        end(&child);
    }
}
