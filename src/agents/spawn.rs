//! One process: own session, default signals, descriptors 0 to 2 and no others, and a descriptor that tells of its end.
//! Knows nothing of tasks.
//!
//! Made by `clone(CLONE_VM)`: the child runs in our memory until its `execve`, beside us, on a stack of its own. The C
//! library's `posix_spawn` does the same but stands still meanwhile, as long again as everything else that a start costs;
//! nor does it let the child enter its pid where we say before it does anything else (a table that outlives us). Never
//! fork and `pre_exec`: with much memory resident that costs tens of milliseconds.
#![expect(unsafe_code, reason = "the standard library's spawn cannot give a child its own session without forking")]

use std::ffi::{CStr, CString, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use syscalls::{Errno, Sysno, syscall};

use super::environment::Block;
use crate::guard::table::{Place, Table};

/// What the child needs of stack before its `execve`: a few system calls deep, and generous.
const STACK: usize = 64 * 1024;
/// Below it, so that an overflow hits nothing: a page of any size in use.
const GUARD: usize = 64 * 1024;
/// So many stacks are kept for the next children.
const STACKS_KEPT: usize = 16;
/// The kernel's signals are 1 to 64.
const SIGNALS: i32 = 64;
/// Bytes of the kernel's signal set.
const SET: usize = 8;
/// What a child leaves our memory after is looked at again so soon.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// Starts processes.
#[derive(Default)]
pub struct Spawner {
    stacks: Vec<Stack>,
    /// This process's own folder: a child that wants just that needs no `chdir`.
    here: Option<CString>,
}

/// What to run and what it gets.
pub struct Child {
    /// The file to execute: absolute, or relative to `cwd`.
    pub program: CString,
    /// Its arguments, the name it is called by first.
    pub argv: Vec<CString>,
    /// Its whole environment.
    pub env: Block,
    /// Its working folder.
    pub cwd: CString,
    /// Where its pid, and what failed in it, are entered.
    pub entry: Entry,
}

/// What is entered about a child by the child itself, whatever becomes of us meanwhile. Both are 0 before.
pub enum Entry {
    /// In the table that the guard reads.
    Shared(Arc<Table>, Place),
    /// For nobody else.
    Own(Box<(AtomicI32, AtomicI32)>),
}

impl Entry {
    /// Its pid: entered before it does anything else.
    fn pid(&self) -> &AtomicI32 {
        match self {
            Self::Shared(table, place) => table.cells_of(*place).0,
            Self::Own(cells) => &cells.0,
        }
    }
    /// The error number of what failed in it: then its program was never executed.
    fn errno(&self) -> &AtomicI32 {
        match self {
            Self::Shared(table, place) => table.cells_of(*place).1,
            Self::Own(cells) => &cells.1,
        }
    }
}

/// A child on its way to its program. It is in our memory until [`Spawning::result`] says otherwise.
pub struct Spawning {
    /// What it was made of; for the child as well, so it stays where it is. Taken back with the stack.
    order: Option<Box<Order>>,
    /// Taken back by [`Spawner::end`].
    stack: Option<Stack>,
}

/// What the child reads, in memory that it shares with us until its `execve`. Nobody changes it meanwhile.
struct Order {
    child: Child,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    /// `cwd` is our own folder.
    stays: bool,
    stdin: i32,
    output: i32,
    /// 1 until the kernel clears it: the child has left our memory.
    inside: AtomicI32,
}

// SAFETY: the pointers are into strings that the order owns or shares, which are never changed.
unsafe impl Send for Order {}

/// A stack for one child; the lowest address of its mapping.
#[derive(Debug)]
struct Stack(*mut c_void);

// SAFETY: the mapping belongs to whoever has the value.
unsafe impl Send for Stack {}

impl Stack {
    fn new() -> io::Result<Self> {
        // SAFETY: a fresh private mapping; its lowest part is made inaccessible before anybody uses it.
        unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let stack =
                mmap_anonymous(ptr::null_mut(), GUARD + STACK, protection, MapFlags::PRIVATE | MapFlags::STACK)?;
            mprotect(stack, GUARD, MprotectFlags::empty())?;
            Ok(Self(stack))
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no child runs on it (see `Spawning`'s drop).
        let _ = unsafe { munmap(self.0, GUARD + STACK) };
    }
}

impl Spawner {
    /// For children of this process.
    pub fn new() -> Self {
        let here = std::env::current_dir().ok().and_then(|path| CString::new(path.into_os_string().into_vec()).ok());
        Self { stacks: Vec::new(), here }
    }

    /// Starts it. Returns its pid and a descriptor that is readable once it has ended, while it may still be on its way to
    /// its program. `stdin` becomes its descriptor 0, `output` its 1 and 2; neither is one of 0 to 2 here, and both stay
    /// open until it has left our memory.
    ///
    /// # Errors
    /// What `clone` said, or no memory; then there is no child.
    pub fn begin(
        &mut self,
        child: Child,
        stdin: BorrowedFd<'_>,
        output: BorrowedFd<'_>,
    ) -> Result<(i32, OwnedFd, Spawning), Box<(io::Error, Child)>> {
        debug_assert!(stdin.as_raw_fd() > 2 && output.as_raw_fd() > 2, "overwritten before it is copied");
        let stack = match self.stacks.pop().map_or_else(Stack::new, Ok) {
            Ok(stack) => stack,
            Err(error) => return Err(Box::new((error, child))),
        };
        let argv = child.argv.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
        let env = child.env.entries().map(CStr::as_ptr).chain([ptr::null()]).collect();
        let stays = self.here.as_deref() == Some(&*child.cwd);
        let (stdin, output, inside) = (stdin.as_raw_fd(), output.as_raw_fd(), AtomicI32::new(1));
        let order = Box::new(Order { child, argv, env, stays, stdin, output, inside });
        match clone_child(&stack, &order) {
            Ok((pid, pidfd)) => Ok((pid, pidfd, Spawning { order: Some(order), stack: Some(stack) })),
            Err(error) => {
                self.keep(stack);
                Err(Box::new((error, order.child)))
            }
        }
    }

    /// Takes back what a child needed that has left our memory, and gives what it was made of.
    pub fn end(&mut self, mut spawning: Spawning) -> Child {
        spawning.wait();
        if let Some(stack) = spawning.stack.take() {
            self.keep(stack);
        }
        spawning.order.take().expect("nobody else takes it").child
    }

    fn keep(&mut self, stack: Stack) {
        if self.stacks.len() < STACKS_KEPT {
            self.stacks.push(stack);
        }
    }
}

impl Spawning {
    /// What became of it: nothing yet, or it executes its program, or the error number of what failed; then it ends by
    /// itself and is to be reaped.
    pub fn result(&self) -> Option<Result<(), i32>> {
        let order = self.order.as_ref()?;
        if order.inside.load(Ordering::Acquire) != 0 {
            return None;
        }
        match order.child.entry.errno().load(Ordering::Acquire) {
            0 => Some(Ok(())),
            errno => Some(Err(errno)),
        }
    }

    /// It has ended: so it is out of our memory.
    pub fn has_left(&self) {
        if let Some(order) = &self.order {
            order.inside.store(0, Ordering::Release);
        }
    }

    /// Until it has left our memory: as long as an `execve` takes.
    fn wait(&self) {
        while self.order.is_some() && self.result().is_none() {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Spawning {
    fn drop(&mut self) {
        self.wait();
    }
}

fn clone_child(stack: &Stack, order: &Order) -> io::Result<(i32, OwnedFd)> {
    const FLAGS: libc::c_int = libc::CLONE_VM | libc::CLONE_PIDFD | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    let entry = &order.child.entry;
    entry.pid().store(0, Ordering::Release);
    entry.errno().store(0, Ordering::Release);
    let mut pidfd: libc::c_int = -1;
    let inside = order.inside.as_ptr();
    let order = ptr::from_ref(order).cast_mut().cast::<c_void>();
    // No handler of ours may run in the child, which shares our memory: it resets them all before it lets signals in.
    let before = set_mask(u64::MAX);
    // SAFETY: the stack is used by nobody else, and stack and order stay as they are until the kernel has cleared `inside`,
    // which it does when the child leaves our memory for good (see `Spawning`). `in_child` only makes system calls and
    // reads the order. `pidfd` and `inside` are valid for the kernel to write; the second variadic argument (TLS) is not
    // used without its flag.
    let pid = unsafe {
        let top = stack.0.byte_add(GUARD + STACK);
        let no_tls = ptr::null_mut::<c_void>();
        libc::clone(in_child, top, FLAGS, order, &raw mut pidfd, no_tls, inside)
    };
    let error = io::Error::last_os_error();
    set_mask(before);
    if pid < 0 {
        return Err(error);
    }
    // SAFETY: the kernel made it for us with the child.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// What the child does: on its own stack, in our memory, beside us. It must not allocate, lock, panic or touch `errno`,
/// which is this thread's own and used by it meanwhile.
extern "C" fn in_child(order: *mut c_void) -> libc::c_int {
    // SAFETY: `clone_child` passes an order that lives for as long as this runs.
    let order = unsafe { &*order.cast::<Order>() };
    let errno = become_it(order).into_raw();
    order.child.entry.errno().store(errno, Ordering::Release);
    // As a shell would answer: 127 for what is not there.
    let code = if errno == libc::ENOENT { 127 } else { 126 };
    // SAFETY: ends this process only, without running anything of the parent's.
    let _ = unsafe { syscall!(Sysno::exit_group, code) };
    code
}

/// Returns only if something failed: why.
fn become_it(order: &Order) -> Errno {
    // SAFETY: system calls with arguments that live as long as the order; handlers are reset before signals are let in.
    let failed = unsafe {
        let steps = || {
            let me = syscall!(Sysno::getpid)?;
            order.child.entry.pid().store(i32::try_from(me).unwrap_or(0), Ordering::Release);
            let mut signal = 1;
            while signal <= SIGNALS {
                set_default(signal);
                signal += 1;
            }
            syscall!(Sysno::setsid)?;
            syscall!(Sysno::dup3, order.stdin, 0, 0)?;
            syscall!(Sysno::dup3, order.output, 1, 0)?;
            syscall!(Sysno::dup3, order.output, 2, 0)?;
            if !order.stays {
                syscall!(Sysno::chdir, order.child.cwd.as_ptr())?;
            }
            set_mask(0);
            syscall!(Sysno::execve, order.child.program.as_ptr(), order.argv.as_ptr(), order.env.as_ptr())
        };
        steps()
    };
    failed.err().unwrap_or(Errno::ENOEXEC)
}

/// Default handling of a signal, also of the two that the C library keeps for itself: a task must not inherit those as
/// ignored. Refused for SIGKILL and SIGSTOP, which are never otherwise.
fn set_default(signal: i32) {
    /// The kernel's `struct sigaction` is no longer than this, and all zeros is: default, no flags, nothing masked.
    const DEFAULT: [u64; 8] = [0; 8];
    // SAFETY: the kernel only reads `DEFAULT`.
    let _ = unsafe { syscall!(Sysno::rt_sigaction, signal, DEFAULT.as_ptr(), 0, SET) };
}

/// Sets this thread's mask of blocked signals, all 64 of them, and returns what it was.
fn set_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: reads and writes the two sets, each of the size given.
    let _ = unsafe { syscall!(Sysno::rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut before, SET) };
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
    use crate::agents::environment::Environment;
    use crate::engine::message::Exit;
    use std::fs::File;
    use std::os::fd::AsFd;

    /// Starts it and waits until it has left our memory.
    fn run(spawner: &mut Spawner, argv: &[&str], output: &File) -> Result<(i32, OwnedFd), (i32, i32)> {
        let argv: Vec<CString> = argv.iter().map(|word| CString::new(*word).unwrap()).collect();
        let null = File::open("/dev/null").unwrap();
        let variables = std::iter::once(("A".into(), "b".into()));
        let env = Environment::new(variables, "s", c"/").all();
        let child = Child { program: argv[0].clone(), argv, env, cwd: c"/".into(), entry: Entry::Own(Box::default()) };
        let Ok((pid, pidfd, spawning)) = spawner.begin(child, null.as_fd(), output.as_fd()) else { panic!("no child") };
        spawning.wait();
        let result = spawning.result().unwrap();
        let child = spawner.end(spawning);
        let entered = child.entry.pid().load(Ordering::Relaxed);
        assert_eq!(entered, pid);
        match result {
            Ok(()) => Ok((pid, pidfd)),
            Err(errno) => {
                super::super::wait::await_end(pidfd.as_fd()).unwrap();
                Err((pid, errno))
            }
        }
    }

    fn end(pidfd: &OwnedFd) -> Exit {
        loop {
            if let Some(end) = super::super::wait::peek(pidfd.as_fd()).unwrap() {
                assert!(super::super::wait::reap(pidfd.as_fd()).unwrap());
                return end.exit;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_child_leads_a_session_of_its_own_with_every_signal_let_in_and_at_its_default() {
        let mut spawner = Spawner::new();
        let output = tempfile::NamedTempFile::new().unwrap();
        let text = "cat /proc/self/status; pwd; echo $A";
        let (pid, pidfd) = run(&mut spawner, &["/bin/sh", "-c", text], output.as_file()).unwrap();
        assert_eq!(end(&pidfd), Exit::Code(0));
        let said = std::fs::read_to_string(output.path()).unwrap();
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().trim().to_owned()
        };
        assert_eq!(value("NSsid"), pid.to_string());
        assert_eq!(["SigBlk", "SigIgn", "SigCgt"].map(value), ["0000000000000000"; 3]);
        assert!(said.ends_with("\n/\nb\n"), "{said}");
    }

    #[test]
    fn what_cannot_be_executed_says_why_and_leaves_no_child_behind() {
        let mut spawner = Spawner::new();
        let output = tempfile::tempfile().unwrap();
        for (program, errno) in
            [("/no/such/program", libc::ENOENT), ("/etc", libc::EACCES), ("/etc/passwd", libc::EACCES)]
        {
            let (pid, said) = run(&mut spawner, &[program], &output).unwrap_err();
            assert_eq!(said, errno, "{program}");
            assert!(pid > 0 && !std::path::Path::new(&format!("/proc/{pid}")).exists(), "{program}");
        }
    }

    #[test]
    fn hundreds_of_children_are_under_way_at_once_and_each_is_its_own() {
        let mut spawner = Spawner::new();
        let (output, null) = (tempfile::NamedTempFile::new().unwrap(), File::open("/dev/null").unwrap());
        let file = std::fs::OpenOptions::new().append(true).open(output.path()).unwrap();
        let environment = Environment::new(std::iter::empty(), "s", c"/");
        let begin = |number: usize| {
            let text = CString::new(format!("echo {number}")).unwrap();
            let argv = vec![c"sh".into(), c"-c".into(), text];
            let (env, entry) = (environment.all(), Entry::Own(Box::default()));
            let child = Child { program: c"/bin/sh".into(), argv, env, cwd: c"/".into(), entry };
            let Ok(begun) = spawner.begin(child, null.as_fd(), file.as_fd()) else { panic!("no child") };
            begun
        };
        let begun: Vec<_> = (0..300).map(begin).collect();
        for (_, pidfd, spawning) in begun {
            spawning.wait();
            assert_eq!(spawning.result(), Some(Ok(())));
            assert_eq!(end(&pidfd), Exit::Code(0));
        }
        let said = std::fs::read_to_string(output.path()).unwrap();
        let mut numbers: Vec<usize> = said.lines().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn signals_are_blocked_only_while_a_child_is_made() {
        let mut spawner = Spawner::new();
        let output = tempfile::tempfile().unwrap();
        let mask = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            status.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned()
        };
        let before = mask();
        let (_, pidfd) = run(&mut spawner, &["/bin/true"], &output).unwrap();
        assert_eq!(mask(), before);
        end(&pidfd);
    }
}
