//! The table that console and guard share (a memfd): which attempt is being spawned, which pid it got. The attempt is
//! entered before the spawn; its pid is entered by the kernel itself as the first thing that the child does, so that
//! whoever outlives the other knows what each child is, at any instant.
#![expect(unsafe_code, reason = "the one place that maps memory shared with another process")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// At most so many attempts can be alive at once.
pub const CAPACITY: usize = 16_384;

const FREE: u32 = 0;
const CLAIMED: u32 = 1;
const ENTERED: u32 = 2;
const SPAWNED: u32 = 3;

#[repr(C)]
struct Cell {
    state: AtomicU32,
    /// Entered by the kernel in the middle of the spawn.
    pid: AtomicI32,
    /// Entered by the child if it could not execute its program.
    errno: AtomicI32,
    task: AtomicU32,
    attempt: AtomicU32,
    log: AtomicU64,
    /// When it was entered; from `spawned` on when its process started.
    ticks: AtomicU64,
}

/// How far the spawn of an attempt is that was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spawn {
    /// No child has done anything yet. If none can come any more, there never was one.
    NoChild,
    /// The child has this pid; who entered it has not seen its `execve` succeed or fail.
    Child(i32),
    /// The child never executed its program, and ends.
    Failed,
    /// Its process: pid and start time in ticks.
    Done(i32, u64),
}

const LENGTH: usize = CAPACITY * size_of::<Cell>();

/// The shared table, mapped.
pub struct Table {
    fd: OwnedFd,
    cells: *const Cell,
}

// SAFETY: every field of a cell is atomic; the mapping lives as long as the table.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// A place in the table, taken by one attempt from before its spawn until it is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

/// What one place says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// Task index.
    pub task: u32,
    /// Attempt number.
    pub attempt: u32,
    /// Number of its output file.
    pub log: u64,
    /// How far its spawn is.
    pub spawn: Spawn,
    /// No process of it started before this tick since boot.
    pub since: u64,
}

impl Table {
    /// A new, empty table. Its descriptor is close-on-exec; whoever passes it on clears that.
    pub fn create() -> io::Result<Self> {
        let fd = memfd_create("qd-attempts", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, LENGTH as u64)?;
        Self::from_fd(fd)
    }

    /// The table behind an inherited descriptor.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if rustix::fs::fstat(&fd)?.st_size != LENGTH as i64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not an attempt table of this version"));
        }
        // SAFETY: a fresh shared mapping of a file of exactly this length; all-zero bytes are valid cells.
        let at = unsafe {
            mmap(std::ptr::null_mut(), LENGTH, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0)?
        };
        Ok(Self { fd, cells: at.cast() })
    }

    fn cells(&self) -> &[Cell] {
        // SAFETY: mapped for LENGTH bytes until drop, aligned to a page.
        unsafe { std::slice::from_raw_parts(self.cells, CAPACITY) }
    }

    /// Enters an attempt that is about to be spawned. `None` if the table is full.
    pub fn enter(&self, task: u32, attempt: u32, log: u64) -> Option<Place> {
        let (index, cell) = self.cells().iter().enumerate().find(|(_, cell)| {
            cell.state.compare_exchange(FREE, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })?;
        cell.pid.store(0, Ordering::Relaxed);
        cell.errno.store(0, Ordering::Relaxed);
        cell.task.store(task, Ordering::Relaxed);
        cell.attempt.store(attempt, Ordering::Relaxed);
        cell.log.store(log, Ordering::Relaxed);
        cell.ticks.store(super::sys::ticks_now(), Ordering::Relaxed);
        cell.state.store(ENTERED, Ordering::Release);
        Some(Place(index))
    }

    /// Where its pid and what failed in its child are entered. Both are 0 until then.
    pub fn cells_of(&self, place: Place) -> (&AtomicI32, &AtomicI32) {
        let cell = &self.cells()[place.0];
        (&cell.pid, &cell.errno)
    }

    /// The attempt was spawned as this process.
    pub fn spawned(&self, place: Place, pid: i32, start_ticks: u64) {
        let cell = &self.cells()[place.0];
        cell.pid.store(pid, Ordering::Relaxed);
        cell.ticks.store(start_ticks, Ordering::Relaxed);
        cell.state.store(SPAWNED, Ordering::Release);
    }

    /// The attempt is reaped (or was never spawned): its place is free.
    pub fn clear(&self, place: Place) {
        self.cells()[place.0].state.store(FREE, Ordering::Release);
    }

    /// What stands in it now.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |(index, cell): (usize, &Cell)| {
            let state = cell.state.load(Ordering::Acquire);
            (state == ENTERED || state == SPAWNED).then(|| Entry {
                place: Place(index),
                task: cell.task.load(Ordering::Relaxed),
                attempt: cell.attempt.load(Ordering::Relaxed),
                log: cell.log.load(Ordering::Relaxed),
                spawn: match (cell.pid.load(Ordering::Acquire), cell.errno.load(Ordering::Acquire)) {
                    (pid, _) if state == SPAWNED => Spawn::Done(pid, cell.ticks.load(Ordering::Relaxed)),
                    (0, _) => Spawn::NoChild,
                    (pid, 0) => Spawn::Child(pid),
                    _ => Spawn::Failed,
                },
                since: cell.ticks.load(Ordering::Relaxed),
            })
        };
        self.cells().iter().enumerate().filter_map(entry).collect()
    }

    /// Its descriptor, to be passed on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: mapped by `from_fd` with this length, and nothing borrows the cells any more.
        let _ = unsafe { munmap(self.cells.cast_mut().cast(), LENGTH) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_seen_through_a_second_mapping_from_entry_to_reaping() {
        let table = Table::create().unwrap();
        let other = Table::from_fd(table.fd().try_clone_to_owned().unwrap()).unwrap();
        let place = table.enter(7, 2, 40).unwrap();
        let since = other.entries()[0].since;
        assert_eq!(other.entries(), [Entry { place, task: 7, attempt: 2, log: 40, spawn: Spawn::NoChild, since }]);
        assert!(since > 0 && since <= super::super::sys::ticks_now());
        let spawn = || other.entries()[0].spawn;
        let (pid, errno) = table.cells_of(place);
        pid.store(1234, Ordering::Relaxed);
        assert_eq!(spawn(), Spawn::Child(1234));
        errno.store(2, Ordering::Relaxed);
        assert_eq!(spawn(), Spawn::Failed);
        table.spawned(place, 1234, 99);
        assert_eq!(spawn(), Spawn::Done(1234, 99));
        table.clear(place);
        assert!(other.entries().is_empty());
    }
}
