//! The few system calls that no typed crate has for us: a child that executes exactly what it is told, and an end by a
//! signal. Knows nothing of tasks.
#![expect(unsafe_code, reason = "what happens in the child between fork and exec, and signal masks, are raw calls")]

use std::ffi::{CString, OsString, c_char};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::ptr;

use rustix::process::{Resource, Rlimit, getpid, setpriority_process, setrlimit};

use crate::engine::message::Exit;

/// What the child sets for itself.
#[derive(Debug, Default)]
pub struct Before {
    /// Soft and hard limits.
    pub limits: Vec<(Resource, u64, u64)>,
    /// How nice it is.
    pub nice: Option<i32>,
    /// The door of the control group that it enters.
    pub group: Option<File>,
    /// A limit more if there is no group, or it is not let in.
    pub alone: Option<(Resource, u64, u64)>,
    /// Variables besides ours.
    pub env: Vec<(OsString, OsString)>,
}

/// Starts a child that executes `program` and nothing else: no PATH is searched and no shell stands in. Its signals are let
/// in and at their default. Descriptors, folder and environment are ours.
///
/// # Errors
/// What `fork` or `execve` said, or a limit that is refused.
pub fn spawn(program: OsString, argv: Vec<OsString>, before: Before) -> io::Result<Child> {
    let text = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::other);
    let program = text(program)?;
    let argv = argv.into_iter().map(text).collect::<io::Result<Vec<_>>>()?;
    let own = before.env.clone();
    let inherited = std::env::vars_os().filter(|(name, _)| own.iter().all(|(own, _)| own != name));
    let variables =
        inherited.chain(own.iter().cloned()).map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    let env: Vec<CString> = variables.filter_map(|entry| CString::new(entry).ok()).collect();
    let execute = move || {
        let entered = before.group.as_ref().is_some_and(|mut door| door.write_all(b"0").is_ok());
        let alone = before.alone.as_ref().filter(|_| !entered);
        for (resource, soft, hard) in before.limits.iter().chain(alone) {
            // What was lower before stays so.
            let now = rustix::process::getrlimit(*resource);
            let hard = now.maximum.map_or(*hard, |most| most.min(*hard));
            setrlimit(*resource, Rlimit { current: Some((*soft).min(hard)), maximum: Some(hard) })?;
        }
        if let Some(nice) = before.nice {
            setpriority_process(None, nice)?;
        }
        // SAFETY: the process is single-threaded, and so is its child between fork and exec: allocating is fine. The
        // pointers are into strings that live until `execve` has copied them.
        unsafe {
            let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
            // Ignored in every program in Rust.
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let pointers = |list: &[CString]| -> Vec<*const c_char> {
                list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
            };
            libc::execve(program.as_ptr(), pointers(&argv).as_ptr(), pointers(&env).as_ptr());
        }
        Err(io::Error::last_os_error())
    };
    let mut command = Command::new("/");
    // SAFETY: see `execute`; it returns only if the program was not executed.
    unsafe { command.pre_exec(execute) };
    command.spawn()
}

/// How it ended.
pub fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(libc::SIGKILL)),
    }
}

/// Signals are meant for the command as well, and it decides what they come to: until [`let_signals_in`] they wait.
pub fn keep_signals_out() {
    // SAFETY: only this thread's mask changes.
    unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
            libc::sigdelset(all.as_mut_ptr(), fault);
        }
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}

/// The command is over: what came meanwhile was for it. What comes now is for us.
pub fn let_signals_in() {
    // SAFETY: ignoring a signal discards it where it waits; then everything is at its default again.
    unsafe {
        let asks = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];
        let rest = [libc::SIGALRM, libc::SIGXCPU, libc::SIGPIPE, libc::SIGVTALRM, libc::SIGPROF, libc::SIGIO];
        for signal in asks.into_iter().chain(rest) {
            libc::signal(signal, libc::SIG_IGN);
        }
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        for signal in asks {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Ends this process in the same way.
pub fn end_as(exit: Exit) -> ! {
    let signal = match exit {
        Exit::Code(code) => std::process::exit(code),
        Exit::Signal(signal) => signal,
    };
    // One core file of one death is enough.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    // SAFETY: the signal gets its default handling, is let in and sent to ourselves: nothing runs after it.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::kill(getpid().as_raw_pid(), signal);
    }
    // A signal that kills no process killed none: as a shell would say it.
    std::process::exit(128 + signal)
}
