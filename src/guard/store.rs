//! The survivors file of one guard: lines are kept in memory, appended, synced, and tried again while the disk refuses.
//! Knows no meaning of its lines.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fdatasync, fstat, fsync, ftruncate, openat};

use super::record::{Record, Stamped};
use crate::fault::{self, Call};

/// At most so many files of one guard: a new one is begun after each failed sync.
const MAX_FILES: u32 = 100;

/// All lines so far, and how much of them is safe.
pub struct Store {
    name: String,
    files: u32,
    file: Option<OwnedFd>,
    text: Vec<u8>,
    written: usize,
    synced: usize,
}

impl Store {
    /// An empty store whose first file will be called `name`.
    pub fn new(name: String) -> Self {
        Self { name, files: 0, file: None, text: Vec::new(), written: 0, synced: 0 }
    }

    /// Adds a record: in memory until [`flush`](Self::flush).
    pub fn add(&mut self, at_ms: u64, record: Record) {
        self.text.extend_from_slice(Stamped { at_ms, record }.line().as_bytes());
    }

    /// All lines.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether every line is safe.
    pub fn is_safe(&self) -> bool {
        self.synced == self.text.len()
    }

    /// Appends and syncs what is not safe yet. After an error everything is as before: call it again later.
    pub fn flush(&mut self, folder: BorrowedFd<'_>) -> io::Result<()> {
        if self.is_safe() {
            return Ok(());
        }
        if self.file.is_none() {
            self.open(folder)?;
        }
        self.append()?;
        fault::hit(Call::Sync);
        let file = self.file.as_ref().expect("opened above");
        if let Err(error) = fdatasync(file) {
            // The kernel may have dropped what it could not write: only a new file can be trusted.
            self.file = None;
            return Err(error.into());
        }
        self.synced = self.text.len();
        Ok(())
    }

    fn open(&mut self, folder: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let name = if self.files == 0 { self.name.clone() } else { format!("{}-{}", self.name, self.files) };
            let flags =
                OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(folder, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    self.files += 1;
                    (self.file, self.written, self.synced) = (Some(file), 0, 0);
                    // The name must be as safe as the lines.
                    return Ok(fsync(folder)?);
                }
                Err(rustix::io::Errno::EXIST) if self.files < MAX_FILES => self.files += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn append(&mut self) -> io::Result<()> {
        let file = self.file.as_ref().expect("opened by flush");
        let from = self.written;
        while self.written < self.text.len() {
            fault::hit(Call::Write);
            match rustix::io::write(file, &self.text[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    // No half line stays behind; where even that fails, the rest of it is appended next time.
                    if ftruncate(file, from as u64).is_ok() {
                        self.written = from;
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

/// Whether the folder was removed: nothing written to it can ever be read.
pub fn is_removed(folder: BorrowedFd<'_>) -> bool {
    fstat(folder).is_ok_and(|stat| stat.st_nlink == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::record::parse_all;
    use std::os::fd::AsFd;

    fn folder(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn lines_are_appended_across_flushes_and_only_a_flush_makes_them_safe() {
        let dir = tempfile::tempdir().unwrap();
        let fd = folder(dir.path());
        let mut store = Store::new("survivors-1".into());
        store.add(1, Record::Listed { count: 0 });
        assert!(!store.is_safe() && !dir.path().join("survivors-1").exists());
        store.flush(fd.as_fd()).unwrap();
        assert!(store.is_safe());
        store.add(2, Record::Complete);
        store.flush(fd.as_fd()).unwrap();
        let bytes = std::fs::read(dir.path().join("survivors-1")).unwrap();
        assert_eq!(bytes, store.text());
        assert_eq!(parse_all(&bytes).0.len(), 2);
    }

    #[test]
    fn a_name_that_is_taken_or_a_planted_symlink_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("survivors-1"), "old").unwrap();
        std::os::unix::fs::symlink(dir.path().join("target"), dir.path().join("survivors-1-1")).unwrap();
        let mut store = Store::new("survivors-1".into());
        store.add(1, Record::Complete);
        store.flush(folder(dir.path()).as_fd()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("survivors-1")).unwrap(), b"old");
        assert!(!dir.path().join("target").exists());
        assert_eq!(std::fs::read(dir.path().join("survivors-1-2")).unwrap(), store.text());
    }

    #[test]
    fn a_full_disk_loses_no_line_and_the_next_flush_heals_it() {
        let dir = tempfile::tempdir().unwrap();
        let fd = folder(dir.path());
        let mut store = Store::new("survivors-1".into());
        store.add(1, Record::Listed { count: 0 });
        store.flush(fd.as_fd()).unwrap();
        let good = store.file.replace(rustix::fs::open("/dev/full", OFlags::WRONLY, Mode::empty()).unwrap());
        store.add(2, Record::Complete);
        assert!(store.flush(fd.as_fd()).is_err());
        assert!(!store.is_safe());
        store.file = good;
        store.flush(fd.as_fd()).unwrap();
        let bytes = std::fs::read(dir.path().join("survivors-1")).unwrap();
        assert_eq!(parse_all(&bytes), (parse_all(store.text()).0, 0, 0));
    }
}
