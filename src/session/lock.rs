//! One writer a session: a file lock, which the kernel gives back however its holder ends, and in the file who holds it.
//! Knows nothing of what is written.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, fstatfs, statat};
use thiserror::Error;

use crate::engine::ids::Time;
use crate::error::Error;

use super::folder::Folder;

/// The lock's file in a session folder.
pub const FILE: &str = "lock";
/// The file of a lock has at most so many bytes.
const MAX_TEXT: u64 = 256;
/// The holder has written its name within so many tries of 1 ms, or it is stuck in between.
const TRIES: u32 = 50;

/// A lock whose holder is dead comes free within so many tries of 1 ms.
const TRIES_OF_DEAD: u32 = 2000;

/// Held until dropped or until this process ends in any way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: i32,
    /// Start time of that process in clock ticks since boot; with boot id and pid it names one process for ever.
    pub start_ticks: u64,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Since when.
    pub since: Time,
}

/// Why the lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Another console has the session open for writing.
    #[error("the session is open in {}", match .holder { Some(holder) => format!("pid {}", holder.pid), None => "another process".into() })]
    Busy {
        /// Which, if it has said so.
        holder: Option<Holder>,
    },
    /// Locks may not work between machines.
    #[error("the session lies on a network file system ({kind})")]
    Network {
        /// Which kind.
        kind: &'static str,
    },
    /// This file system has no locks.
    #[error("locks do not work here: {0}")]
    NoLocks(io::Error),
    /// The lock's file cannot be made, opened or written.
    #[error("the session cannot be locked: {0}")]
    Io(#[from] io::Error),
    /// The folder is not ours.
    #[error("{0}")]
    Folder(Error),
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        let text = error.to_string();
        match error {
            LockError::Busy { .. } => {
                Self::usage(text).hint("look on without changing anything, or end it there first")
            }
            LockError::Network { .. } => Self::usage(text).hint("set QD_STATE_DIR to a local folder, or --unsafe-fs"),
            LockError::NoLocks(_) => Self::usage(text).hint("set QD_STATE_DIR to a folder on a local disk"),
            LockError::Io(_) => Self::usage(text),
            LockError::Folder(error) => error,
        }
    }
}

impl Lock {
    /// Takes the lock of a session, after making sure that its folder is ours alone. Never waits for a holder.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(folder: &Folder, now: Time, unsafe_fs: bool) -> Result<Self, LockError> {
        folder.make_private().map_err(LockError::Folder)?;
        if let (Some(kind), false) = (network(folder), unsafe_fs) {
            return Err(LockError::Network { kind });
        }
        let mut tries = 0;
        loop {
            let file = open_or_create(folder)?;
            match file.try_lock() {
                Ok(()) => {}
                // A task that its holder was just starting when it was killed has the lock too, until its exec is through.
                Err(TryLockError::WouldBlock) if tries < TRIES_OF_DEAD && living_holder(folder).is_none() => {
                    tries += 1;
                    sleep(Duration::from_millis(1));
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Err(LockError::Busy { holder: holder_of(folder) }),
                Err(TryLockError::Error(error)) => return Err(LockError::NoLocks(error)),
            }
            // If the file was deleted in between, somebody else may hold the lock of the new one.
            if !is_still(folder, &file)? {
                continue;
            }
            let lock = Self { file };
            lock.sign(now)?;
            return Ok(lock);
        }
    }

    fn sign(&self, now: Time) -> io::Result<()> {
        let pid = rustix::process::getpid().as_raw_pid();
        let start = start_ticks(pid).unwrap_or(0);
        let text = format!("{pid} {start} {} {}\n", boot_id().unwrap_or_else(|| "unknown".into()), now.0);
        self.file.set_len(0)?;
        // The name is for others to read: a full disk must not hinder the lock itself.
        match (&self.file).write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A name left behind is harmless: it is believed only of a process that lives.
        let _ = self.file.set_len(0);
    }
}

fn open_or_create(folder: &Folder) -> io::Result<File> {
    loop {
        match folder.open_file_for_appending(FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        match folder.create_file(FILE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
    }
}

fn is_still(folder: &Folder, file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    match statat(folder.fd(), FILE, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.dev(), ours.ino())),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Who holds the lock that was just found taken; it may not have written its name yet.
fn holder_of(folder: &Folder) -> Option<Holder> {
    (0..TRIES).find_map(|try_number| {
        if try_number > 0 {
            sleep(Duration::from_millis(1));
        }
        written(folder)
    })
}

fn written(folder: &Folder) -> Option<Holder> {
    let mut text = String::new();
    folder.open_file(FILE).ok()?.take(MAX_TEXT).read_to_string(&mut text).ok()?;
    let mut words = text.strip_suffix('\n')?.split(' ');
    let pid = words.next()?.parse().ok()?;
    let start_ticks = words.next()?.parse().ok()?;
    let boot_id = words.next()?.to_owned();
    let since = Time(words.next()?.parse().ok()?);
    Some(Holder { pid, start_ticks, boot_id, since })
}

/// Who holds a session, without touching its lock: the process named in its file, if that one lives.
pub fn living_holder(folder: &Folder) -> Option<Holder> {
    written(folder).filter(|holder| {
        boot_id().is_some_and(|id| id == holder.boot_id) && start_ticks(holder.pid) == Some(holder.start_ticks)
    })
}

/// This boot's id.
pub fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty() && !id.contains(char::is_whitespace))
}

/// When a living process (no zombie) started, in clock ticks since boot: field 22 of its `stat`, counted behind the name, which may have
/// blanks and parentheses.
fn start_ticks(pid: i32) -> Option<u64> {
    let file = File::open(format!("/proc/{pid}/stat")).ok()?;
    let mut bytes = [0; 1024];
    let length = file.read_at(&mut bytes, 0).ok()?;
    let text = String::from_utf8_lossy(&bytes[..length]);
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The kind of network file system the folder lies on, if it does.
fn network(folder: &Folder) -> Option<&'static str> {
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "magic numbers have 32 bits")]
    let magic = fstatfs(folder.fd()).ok()?.f_type as u32;
    // Numbers of statfs(2).
    match magic {
        0x6969 => Some("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => Some("SMB"),
        0x0102_1997 => Some("9p"),
        0x00c3_6400 => Some("Ceph"),
        0x5346_414f => Some("AFS"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::super::folder::Sessions;
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let temp = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(&temp.path().join("sessions")).unwrap();
        let folder = sessions.create(Some("s"), "", Time(0)).unwrap();
        (temp, folder)
    }

    #[test]
    fn of_twenty_at_once_exactly_one_gets_it_and_the_others_learn_who() {
        let (_temp, folder) = folder();
        for round in 0..20 {
            let barrier = Barrier::new(20);
            let results: Vec<_> = std::thread::scope(|scope| {
                let take = || {
                    barrier.wait();
                    let result = Lock::take(&folder, Time(round), false);
                    barrier.wait();
                    result
                };
                let threads: Vec<_> = (0..20).map(|_| scope.spawn(take)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
            for error in results.iter().filter_map(|result| result.as_ref().err()) {
                let LockError::Busy { holder: Some(holder) } = error else { panic!("{error}") };
                let us = i32::try_from(std::process::id()).unwrap();
                assert_eq!((holder.pid, holder.since), (us, Time(round)));
            }
            assert!(living_holder(&folder).is_some());
            drop(results);
            assert_eq!(living_holder(&folder), None);
        }
    }

    #[test]
    fn what_a_crash_left_in_the_file_never_hinders_and_is_not_believed() {
        let (_temp, folder) = folder();
        let boot = boot_id().unwrap();
        let texts = [
            String::new(),
            "garbage\n".into(),
            format!("1 1 {boot} 5\n"),
            format!("1 {} another-boot 5\n", start_ticks(1).unwrap()),
            "\0".repeat(4096),
        ];
        for text in texts {
            std::fs::write(folder.path().join(FILE), &text).unwrap();
            assert_eq!(living_holder(&folder), None, "{text:?}");
            drop(Lock::take(&folder, Time(1), false).unwrap());
        }
    }

    #[test]
    fn a_lock_that_only_a_child_of_its_dead_holder_still_has_is_waited_for() {
        let (_temp, folder) = folder();
        let lock = Lock::take(&folder, Time(1), false).unwrap();
        // As if between fork and exec: the same open file, in a process that is not the holder.
        rustix::io::fcntl_setfd(&lock.file, rustix::io::FdFlags::empty()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("0.3").spawn().unwrap();
        let began = std::time::Instant::now();
        drop(lock);
        drop(Lock::take(&folder, Time(2), false).unwrap());
        assert!(began.elapsed() >= Duration::from_millis(100));
        child.wait().unwrap();
    }

    #[test]
    fn a_deleted_lock_file_gives_the_lock_of_the_new_one_and_a_link_none() {
        let (temp, folder) = folder();
        let first = Lock::take(&folder, Time(1), false).unwrap();
        assert!(is_still(&folder, &first.file).unwrap());
        folder.remove_file(FILE).unwrap();
        assert!(!is_still(&folder, &first.file).unwrap());
        drop(first);
        let target = temp.path().join("target");
        std::fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join(FILE)).unwrap();
        assert!(matches!(Lock::take(&folder, Time(1), false), Err(LockError::Io(_))));
        assert_eq!(std::fs::read(&target).unwrap(), b"theirs");
    }
}
