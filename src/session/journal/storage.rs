//! What the writer needs of a file, so that tests can have one that fails, and the real one. Knows nothing of lines.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, fallocate, fdatasync, ftruncate};

use crate::fault::{self, Call};

/// A file that is only appended to and cut off.
pub trait Storage: Send + Sync {
    /// Appends bytes by one system call and returns how many were taken.
    ///
    /// # Errors
    /// As of write(2).
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts it off at `len` bytes.
    ///
    /// # Errors
    /// As of ftruncate(2).
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Returns once everything written is on the disk.
    ///
    /// # Errors
    /// As of fdatasync(2). After one, nothing is known about what is on the disk.
    fn sync(&self) -> io::Result<()>;
    /// Takes the room for `len` bytes from `offset` on, without changing the file's length: writes there find it.
    ///
    /// # Errors
    /// As of fallocate(2).
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;
}

/// The real file, opened for appending.
#[derive(Debug)]
pub struct Disk(pub(super) File);

impl Storage for Disk {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        fault::hit(Call::Write);
        Ok(rustix::io::write(&self.0, bytes)?)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        Ok(ftruncate(&self.0, len)?)
    }
    fn sync(&self) -> io::Result<()> {
        fault::hit(Call::Sync);
        Ok(fdatasync(&self.0)?)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        Ok(fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, len)?)
    }
}
