//! Hands the terminal to another program, a pager or an editor, and takes it back. It gets a clean copy of a log: no byte
//! of a task can command the terminal through it either. The program has a process group of its own in the foreground, so
//! that its Ctrl-C is its own. Knows nothing of what is on the screen.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, kill_process_group, waitid};
use rustix::termios::tcsetpgrp;

use super::logfile::LogFile;
use crate::text;

/// An editor gets at most so much of the end of a log.
const MAX_EDITED: u64 = 64 * 1024 * 1024;
/// How often it is looked whether the program is over.
const LOOK: Duration = Duration::from_millis(10);
/// What the shell says of a program that is not there.
const NOT_FOUND: i32 = 127;

/// Shows a log in a pager, which reads it as it goes. Errors are in words.
pub fn pager(tty: BorrowedFd<'_>, command: &str, log: &Path, over: impl FnMut() -> bool) -> Result<(), String> {
    let log = LogFile::open(log).map_err(|e| format!("the log cannot be read: {e}"))?;
    let mut child = shell(command).stdin(Stdio::piped()).spawn().map_err(|e| not_started(command, &e))?;
    if let Some(pipe) = child.stdin.take() {
        let write = move || {
            // A pager that has seen enough closes the pipe: that is no error.
            let _ = clean_copy(&log, 0, io::BufWriter::with_capacity(64 * 1024, pipe));
        };
        // Without a thread it shows nothing; its pipe is closed with `write`.
        let _ = std::thread::Builder::new().name("pager".into()).spawn(write);
    }
    ended(command, attend(tty, child, over))
}

/// Opens the end of a log in an editor, as a copy that is removed afterwards. Returns how many bytes of the beginning were
/// left out.
pub fn editor(tty: BorrowedFd<'_>, command: &str, log: &Path, over: impl FnMut() -> bool) -> Result<u64, String> {
    let log = LogFile::open(log).map_err(|e| format!("the log cannot be read: {e}"))?;
    let from = log.length().saturating_sub(MAX_EDITED);
    let from = log.reading().start_from(from).map_err(|e| format!("the log cannot be read: {e}"))?;
    let copy = Copy::new().map_err(|e| format!("no copy could be made: {e}"))?;
    let out = io::BufWriter::new(copy.file.try_clone().map_err(|e| e.to_string())?);
    clean_copy(&log, from, out).map_err(|e| format!("no copy could be made: {e}"))?;
    let mut shell = shell(&format!("{command} \"$1\""));
    let child = shell.arg("qd").arg(&copy.path).spawn().map_err(|e| not_started(command, &e))?;
    ended(command, attend(tty, child, over)).map(|()| from)
}

/// What a console that was begun in the background, or by nohup, ignores: its programs would ignore it too, and a Ctrl-C in
/// the editor would do nothing.
const OWN: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

#[expect(unsafe_code, reason = "std has no call for what a child does with signals")]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).process_group(0);
    let by_default = || {
        for signal in OWN {
            // SAFETY: `signal` may be called between fork and exec, and changes the child alone.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: it calls nothing but `signal`, and allocates nothing.
    unsafe { shell.pre_exec(by_default) };
    shell
}

fn not_started(command: &str, error: &io::Error) -> String {
    format!("{command} could not be started: {error}")
}

fn ended(command: &str, status: io::Result<ExitStatus>) -> Result<(), String> {
    match status {
        Ok(status) if status.code() == Some(NOT_FOUND) => Err(format!("{command}: there is no such program")),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{command} could not be waited for: {error}")),
    }
}

/// Gives it the terminal until it ends, or until `over` says that there is no time left. A program that is stopped goes on:
/// there is no shell here to bring it back.
fn attend(tty: BorrowedFd<'_>, mut child: Child, mut over: impl FnMut() -> bool) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(&child);
    let front = tcsetpgrp(tty, pid);
    // It may have asked for the terminal before it was its own, and was stopped for that.
    let _ = kill_process_group(pid, Signal::CONT);
    let status = loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => break Ok(status),
            Err(error) => break Err(error),
        }
        let stopped = waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
        if matches!(stopped, Ok(Some(_))) {
            let _ = kill_process_group(pid, Signal::CONT);
        }
        if over() {
            let _ = kill_process_group(pid, Signal::HUP);
            let _ = kill_process_group(pid, Signal::CONT);
        }
        std::thread::sleep(LOOK);
    };
    if front.is_ok() {
        taken_back(tty);
    }
    status
}

/// The foreground is ours again. Who asks for that from the background is stopped by SIGTTOU, unless it is blocked.
fn taken_back(tty: BorrowedFd<'_>) {
    let blocked = Ttou::block();
    let _ = tcsetpgrp(tty.as_fd(), getpgrp());
    drop(blocked);
}

/// SIGTTOU is blocked in this thread until it is dropped.
struct Ttou(libc::sigset_t);

#[expect(unsafe_code, reason = "a thread's signal mask: rustix has no call for it")]
impl Ttou {
    fn block() -> Self {
        // SAFETY: the sets are ours and are filled before they are read; the calls touch nothing but them and the mask of
        // this thread.
        unsafe {
            let mut only = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigemptyset(&raw mut only);
            libc::sigaddset(&raw mut only, libc::SIGTTOU);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const only, &raw mut before);
            Self(before)
        }
    }
}

#[expect(unsafe_code, reason = "as above")]
impl Drop for Ttou {
    fn drop(&mut self) {
        // SAFETY: the set was filled by `block`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut());
        }
    }
}

/// Writes the log from an offset on, line by line, as plain text.
fn clean_copy(log: &LogFile, from: u64, mut out: impl Write) -> io::Result<()> {
    let mut at = from;
    while at < log.length() {
        let piece = log.piece(at)?;
        let bytes = log.read(at, piece.end - at)?;
        out.write_all(text::line(&bytes, usize::MAX).text.as_bytes())?;
        if !piece.cut {
            out.write_all(b"\n")?;
        }
        at = piece.next;
    }
    out.flush()
}

/// A file of our own in the folder for such things, removed when it is dropped.
struct Copy {
    path: PathBuf,
    file: std::fs::File,
}

impl Copy {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut tries = 0;
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("qd-log-{}-{number}.log", std::process::id()));
            // Never one that is there: somebody else may have put it there.
            match std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 100 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_every_line_and_nothing_that_a_terminal_obeys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut content = text::HOSTILE.join("\n").into_bytes();
        content.extend(std::iter::repeat_n(b'x', 300_000));
        content.extend_from_slice(b"\nlast");
        std::fs::write(file.path(), &content).unwrap();
        let log = LogFile::open(file.path()).unwrap();
        let mut out = Vec::new();
        clean_copy(&log, 0, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().all(text::is_plain)));
        assert_eq!(text.lines().count(), content.split(|b| *b == b'\n').count());
        assert!(
            text.ends_with("\nlast\n") && text.contains(&"x".repeat(300_000)),
            "a line that was cut is whole again"
        );
    }

    #[test]
    fn a_copy_is_its_owners_alone_and_is_removed() {
        use std::os::unix::fs::PermissionsExt;
        let copy = Copy::new().unwrap();
        let path = copy.path.clone();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(copy);
        assert!(!path.exists());
    }
}
