//! One output file per attempt, opened before it is needed. An attempt that wrote nothing hands its empty file on, so
//! silent tasks make none. Knows files and numbers, not attempts: the caller proves that nobody holds a file any more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, open, openat, unlinkat};
use rustix::io::Errno;

/// So many empty files are kept open for the next attempts.
const SPARES: usize = 4;
/// At most so many empty files are kept after a burst of silent tasks; more are removed.
const SPARES_MOST: usize = 64;
/// At most so many numbers are tried that turn out to be taken.
const TRIES: u32 = 10_000;

/// An open output file.
#[derive(Debug)]
pub struct Log {
    /// Its number: its name in the folder.
    pub number: u64,
    /// Device and inode: to tell who else has it open.
    pub identity: (u64, u64),
    file: OwnedFd,
}

impl Log {
    /// How many bytes it holds.
    ///
    /// # Errors
    /// What `fstat` says.
    pub fn size(&self) -> io::Result<u64> {
        Ok(fstat(&self.file)?.st_size.unsigned_abs())
    }

    /// Its descriptor, for appending.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The folder of output files.
pub struct Logs {
    folder: OwnedFd,
    next: u64,
    spares: Vec<Log>,
}

impl Logs {
    /// Opens the folder; `next` is the first free number.
    ///
    /// # Errors
    /// The folder cannot be opened.
    pub fn open(folder: &Path, next: u64) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = above_stderr(open(folder, flags, Mode::empty())?)?;
        let mut logs = Self { folder, next, spares: Vec::new() };
        logs.refill();
        Ok(logs)
    }

    /// An empty file that nobody else has open.
    ///
    /// # Errors
    /// None was kept, and none can be made: no descriptor, no space, no folder.
    pub fn take(&mut self) -> io::Result<Log> {
        match self.spares.pop() {
            Some(log) => Ok(log),
            None => self.create(),
        }
    }

    /// Takes back a file that no process holds any more: kept for the next attempt if it is empty and still in its
    /// folder, else closed and left as it is.
    pub fn give_back(&mut self, log: Log) {
        let unused = fstat(&log.file).is_ok_and(|stat| stat.st_size == 0 && stat.st_nlink == 1);
        if !unused {
            return;
        }
        if self.spares.len() < SPARES_MOST {
            self.spares.push(log);
        } else {
            self.remove(&log);
        }
    }

    /// Opens files ahead of their need. What fails here is tried again, and said, by [`take`](Self::take).
    pub fn refill(&mut self) {
        while self.spares.len() < SPARES {
            let Ok(log) = self.create() else { return };
            self.spares.insert(0, log);
        }
    }

    fn create(&mut self) -> io::Result<Log> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for _ in 0..TRIES {
            let number = self.next;
            let opened = openat(&self.folder, number.to_string(), flags, Mode::RUSR | Mode::WUSR);
            if !matches!(opened, Err(error) if error != Errno::EXIST) {
                self.next += 1;
            }
            match opened {
                Ok(file) => {
                    let file = above_stderr(file)?;
                    let stat = fstat(&file)?;
                    return Ok(Log { number, identity: (stat.st_dev, stat.st_ino), file });
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free number for an output file"))
    }

    fn remove(&self, log: &Log) {
        // If it cannot be removed, an empty file stays: no harm, and nobody to tell.
        let _ = unlinkat(&self.folder, log.number.to_string(), AtFlags::empty());
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        for log in &self.spares {
            self.remove(log);
        }
    }
}

/// The same file under a descriptor above 2: a child's own 0 to 2 are made from it.
pub fn above_stderr(fd: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_empty_file_is_handed_on_and_a_written_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = Logs::open(folder.path(), 7).unwrap();
        let silent = logs.take().unwrap();
        let number = silent.number;
        logs.give_back(silent);
        let loud = logs.take().unwrap();
        assert_eq!(loud.number, number);
        rustix::io::write(loud.fd(), b"words").unwrap();
        assert_eq!(loud.size().unwrap(), 5);
        logs.give_back(loud);
        assert_ne!(logs.take().unwrap().number, number);
        drop(logs);
        assert!(names(folder.path()).contains(&number.to_string()));
    }

    #[test]
    fn a_file_that_was_removed_from_its_folder_is_not_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = Logs::open(folder.path(), 1).unwrap();
        let log = logs.take().unwrap();
        let number = log.number;
        std::fs::remove_file(folder.path().join(number.to_string())).unwrap();
        logs.give_back(log);
        for _ in 0..SPARES_MOST {
            assert_ne!(logs.take().unwrap().number, number);
        }
    }

    #[test]
    fn numbers_that_are_taken_are_passed_over_and_their_files_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for number in 3..9 {
            std::fs::write(folder.path().join(number.to_string()), "old").unwrap();
        }
        let mut logs = Logs::open(folder.path(), 3).unwrap();
        assert!(logs.take().unwrap().number >= 9);
        drop(logs);
        for number in 3..9 {
            assert_eq!(std::fs::read_to_string(folder.path().join(number.to_string())).unwrap(), "old");
        }
    }

    #[test]
    fn unused_files_are_removed_at_the_end_and_there_are_never_many() {
        let folder = tempfile::tempdir().unwrap();
        let mut logs = Logs::open(folder.path(), 1).unwrap();
        let all: Vec<_> = (0..SPARES_MOST * 2).map(|_| logs.take().unwrap()).collect();
        for log in all {
            logs.give_back(log);
        }
        assert_eq!(names(folder.path()).len(), SPARES_MOST);
        drop(logs);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}
