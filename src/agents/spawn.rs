//! One process through `posix_spawn`: own session, default signals, descriptors 0 to 2 and no others. Knows nothing of
//! tasks. Never fork and `pre_exec`: with much memory resident that costs tens of milliseconds (`vfork` semantics here).
#![expect(unsafe_code, reason = "the standard library's spawn cannot give a child its own session without forking")]

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr;

/// How many prepared sets of actions are kept: as many as there are slots in use on a small machine.
const PREPARED: usize = 16;

/// What is the same for every child: a new session, an empty signal mask, every signal at its default.
pub struct Attributes {
    raw: libc::posix_spawnattr_t,
    /// This process's own folder: a child that wants just that needs no `chdir`.
    here: Option<CString>,
    /// Actions by what they were made of. They hold numbers and a path, not descriptors: a number that is used again is
    /// as good. (Making them asks the kernel for a limit six times.)
    prepared: RefCell<Vec<(ActionsKey, Actions)>>,
}

/// Descriptors 0 and 1 of the child, and its folder unless that is ours.
type ActionsKey = (i32, i32, Option<CString>);

impl Attributes {
    /// Prepared once.
    ///
    /// # Errors
    /// No memory.
    pub fn new() -> io::Result<Self> {
        let flags = i32::from(libc::POSIX_SPAWN_SETSID)
            | i32::from(libc::POSIX_SPAWN_SETSIGMASK as i16)
            | i32::from(libc::POSIX_SPAWN_SETSIGDEF as i16);
        let flags = i16::try_from(flags).expect("the three flags fit in a short");
        let mut attributes = MaybeUninit::uninit();
        let mut signals = MaybeUninit::uninit();
        // SAFETY: each object is initialised by its own init function before any other use of it.
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            check(libc::posix_spawnattr_setflags(attributes.as_mut_ptr(), flags))?;
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(attributes.as_mut_ptr(), signals.as_ptr()))?;
            // Every bit: `sigfillset` leaves out the C library's own two, which a spawn would then hand on as ignored.
            signals.as_mut_ptr().write_bytes(0xff, 1);
            check(libc::posix_spawnattr_setsigdefault(attributes.as_mut_ptr(), signals.as_ptr()))?;
            let raw = attributes.assume_init();
            let here =
                std::env::current_dir().ok().and_then(|path| CString::new(path.into_os_string().into_vec()).ok());
            Ok(Self { raw, here, prepared: RefCell::default() })
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.raw) };
    }
}

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
}

/// Spawns it and returns its pid once its `execve` has succeeded.
///
/// # Errors
/// What `clone`, `chdir` or `execve` said; then no child is left.
pub fn spawn(attributes: &Attributes, child: &Child<'_>) -> io::Result<i32> {
    let argv: Vec<*mut libc::c_char> = child.argv.iter().map(|word| word.as_ptr().cast_mut()).chain(end()).collect();
    let env: Vec<*mut libc::c_char> = child.env.iter().map(|entry| entry.as_ptr().cast_mut()).chain(end()).collect();
    let mut prepared = attributes.prepared.borrow_mut();
    let actions = prepare(&mut prepared, attributes.here.as_deref(), child)?;
    let mut pid: libc::pid_t = 0;
    // SAFETY: program, argv and env are NUL-terminated strings in null-terminated lists that outlive the call;
    // attributes and actions are initialised.
    let answer = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            child.program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.raw,
            argv.as_ptr(),
            env.as_ptr(),
        )
    };
    check(answer)?;
    Ok(pid)
}

/// The actions for a child, made before or now.
fn prepare<'a>(
    prepared: &'a mut Vec<(ActionsKey, Actions)>,
    here: Option<&CStr>,
    child: &Child<'_>,
) -> io::Result<&'a Actions> {
    let cwd = Some(child.cwd).filter(|cwd| here != Some(*cwd));
    let (stdin, output) = (child.stdin.as_raw_fd(), child.output.as_raw_fd());
    let same = |(key, _): &(ActionsKey, Actions)| (key.0, key.1, key.2.as_deref()) == (stdin, output, cwd);
    let at = match prepared.iter().position(same) {
        Some(at) => at,
        None => {
            let actions = Actions::new(stdin, output, cwd)?;
            if prepared.len() == PREPARED {
                prepared.remove(0);
            }
            prepared.push(((stdin, output, cwd.map(CStr::to_owned)), actions));
            prepared.len() - 1
        }
    };
    Ok(&prepared[at].1)
}

/// What the child does with its descriptors and folder before it executes.
struct Actions(libc::posix_spawn_file_actions_t);

// SAFETY: the actions own what they point to, and the C library ties it to no thread.
unsafe impl Send for Actions {}

impl Actions {
    fn new(stdin: i32, output: i32, cwd: Option<&CStr>) -> io::Result<Self> {
        debug_assert!(stdin > 2 && output > 2, "a descriptor would be overwritten before it is copied");
        let mut actions = MaybeUninit::uninit();
        // SAFETY: initialised here; from then on `Drop` destroys it, also when an addition fails.
        let mut actions = unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Self(actions.assume_init())
        };
        let raw = &raw mut actions.0;
        // SAFETY: `raw` is initialised; the path is NUL-terminated and copied by the call.
        unsafe {
            check(libc::posix_spawn_file_actions_adddup2(raw, stdin, 0))?;
            check(libc::posix_spawn_file_actions_adddup2(raw, output, 1))?;
            check(libc::posix_spawn_file_actions_adddup2(raw, output, 2))?;
            if let Some(cwd) = cwd {
                check(libc::posix_spawn_file_actions_addchdir_np(raw, cwd.as_ptr()))?;
            }
        }
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// Marks every descriptor from 3 up close-on-exec: what this process inherited is not for its tasks.
pub fn keep_descriptors_from_children() {
    // SAFETY: changes a flag of descriptors only. A kernel older than 5.11 refuses; then what was inherited stays.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

fn end() -> std::iter::Once<*mut libc::c_char> {
    std::iter::once(ptr::null_mut())
}

/// The `posix_spawn` family returns its error number.
fn check(answer: libc::c_int) -> io::Result<()> {
    if answer == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(answer)) }
}
