//! The journal: a line per fact, appended, checked on reading. This file has the words that writer and reader share;
//! `line` has the format, `write` appends, `sync` makes it durable, `read` reads, `recover` opens it again after a crash.
//! Knows nothing of what the facts mean.
//!
//! # The format
//! ```text
//! len crc seq prev RON⏎
//! 00000041 2659b298 0000000001 00000000 (at:1000,fact:Paused)
//! ```
//! * `len`: 8 decimal digits: how many bytes follow `len crc ` up to, not including, the newline (at most [`MAX_LINE`]);
//! * `crc`: 8 lower-case hex digits: CRC-32 (IEEE) of exactly those bytes;
//! * `seq`: 10 decimal digits: 1 for the first line, one more each line, without gaps;
//! * `prev`: 8 lower-case hex digits: `crc` of the line before, 0 for the first;
//! * `RON`: a [`Stamped`](crate::engine::fact::Stamped) in RON without spaces, UTF-8; newlines in strings are escaped.
//!
//! `docs/journal.md` tells it with an example to a reader who writes their own.

use std::io;

pub mod line;
pub mod read;
pub mod recover;
pub mod storage;
pub mod sync;
pub mod write;

#[cfg(test)]
mod tests;

pub use read::{Damage, End, Read, ReadError, Reader, Tail, read};
pub use recover::{Repaired, ResumeError, Resumed, create, repair, resume};
pub use storage::{Disk, Storage};
pub use sync::{Health, Syncer};
pub use write::{Space, WriteError, Writer};

/// The journal's file in a session folder.
pub const FILE: &str = "journal";

/// At most so many bytes in `seq prev RON` of one line.
pub const MAX_LINE: usize = 64 << 20;

/// A place between two lines: everything before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Number of the line before it; 0 at the start of the file.
    pub seq: u64,
    /// Checksum of the line before it; 0 at the start of the file.
    pub crc: u32,
    /// Bytes before it.
    pub offset: u64,
    /// Where the line before it begins.
    pub line: u64,
}

/// Whether an error means that there is no room now, but may be later.
fn is_full(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| full.iter().any(|errno| errno.raw_os_error() == code))
}
