//! Opening a journal for writing: a new one, or one that was read to its end. Cuts off a torn tail and keeps it aside;
//! refuses what is damaged or newer. Nothing that was stored is ever deleted here, only moved. Knows no facts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use thiserror::Error;

use crate::error;
use crate::fault::{self, Call};
use crate::session::folder::Folder;
use crate::session::lock::Lock;

use super::{Damage, Disk, End, FILE, Position, ReadError, Reader, Tail, Writer};

/// Files `damaged-1` … are tried up to this one.
const MAX_DAMAGED: u32 = 10_000;
/// Bytes copied at once.
const BLOCK: usize = 256 << 10;

/// Why a journal is not opened for writing. It can still be read.
#[derive(Debug, Error)]
pub enum ResumeError {
    /// A line is bad although good ones follow.
    #[error("the journal is damaged: line {} (byte {}) is bad and {} good ones follow", .0.seq, .0.byte, .0.good_after)]
    Damaged(Damage),
    /// A newer program wrote it.
    #[error("the session was made by qd {program:?} (format {version}); this is {}", env!("CARGO_PKG_VERSION"))]
    Newer {
        /// Its version.
        program: String,
        /// Its format.
        version: u32,
    },
    /// It is not what was read: somebody else wrote.
    #[error("the journal changed while it was read")]
    Changed,
    /// It cannot be read at all.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The system refuses.
    #[error("the journal cannot be opened for writing: {0}")]
    Io(#[from] io::Error),
}

impl From<ResumeError> for error::Error {
    fn from(problem: ResumeError) -> Self {
        let error = Self::usage(problem.to_string());
        match problem {
            ResumeError::Damaged(_) => {
                error.hint("it opens read-only; a repair keeps the lines before, and a copy of all")
            }
            ResumeError::Newer { .. } => error.hint("it opens read-only; to go on take that version or a later one"),
            ResumeError::Changed => error.hint("try again"),
            ResumeError::Read(_) | ResumeError::Io(_) => error,
        }
    }
}

impl From<ReadError> for error::Error {
    fn from(problem: ReadError) -> Self {
        Self::usage(problem.to_string())
    }
}

/// A journal open for writing.
pub struct Resumed {
    /// Goes on behind the last good line.
    pub writer: Writer,
    /// What was cut off: the first fact to append is then `Recovered`.
    pub lost: Option<Lost>,
}

/// A torn tail that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// How many bytes.
    pub bytes: u64,
    /// The file in the session folder that has them now.
    pub kept_as: String,
}

/// A damaged journal of which the good beginning was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// How many facts it has now.
    pub facts: u64,
    /// How many bytes were behind them.
    pub lost_bytes: u64,
    /// The file in the session folder that has the whole journal as it was.
    pub kept_as: String,
}

/// Makes the journal of a new session.
///
/// # Errors
/// `AlreadyExists` too.
pub fn create(folder: &Folder, _lock: &Lock) -> io::Result<Writer> {
    let file = folder.create_file(FILE)?;
    folder.sync()?;
    Ok(Writer::new(Arc::new(Disk(file)), Position::default()))
}

/// Opens the journal for writing behind `end`, where reading it (under the same lock) ended.
///
/// # Errors
/// See [`ResumeError`]; the journal is then as it was.
pub fn resume(folder: &Folder, _lock: &Lock, end: &End) -> Result<Resumed, ResumeError> {
    folder.remove_leftovers();
    let lost_bytes = match &end.tail {
        Tail::Clean => 0,
        Tail::Torn { lost_bytes } => *lost_bytes,
        Tail::Damaged(damage) => return Err(ResumeError::Damaged(*damage)),
        Tail::Newer { program, version, .. } => {
            return Err(ResumeError::Newer { program: program.clone(), version: *version });
        }
    };
    let file = folder.open_file_for_appending(FILE)?;
    let position = end.position;
    let unchanged = file.metadata()?.len() == position.offset + lost_bytes
        && (position.seq == 0 || Reader::from(file.try_clone()?, position)?.is_some());
    if !unchanged {
        return Err(ResumeError::Changed);
    }
    let lost = if lost_bytes == 0 {
        None
    } else {
        let kept_as = keep(folder, &file, position.offset)?;
        cut_off(&file, position.offset)?;
        Some(Lost { bytes: lost_bytes, kept_as })
    };
    Ok(Resumed { writer: Writer::new(Arc::new(Disk(file)), position), lost })
}

/// Copies a damaged journal aside and cuts it off before its first bad line. `None` if it is not damaged. Only for an
/// operator who asked for it: good lines behind the bad one are then in the copy only.
///
/// # Errors
/// See [`ResumeError`]; the journal is then as it was.
pub fn repair(folder: &Folder, _lock: &Lock) -> Result<Option<Repaired>, ResumeError> {
    let end = Reader::new(folder.open_file(FILE)?)?.finish()?;
    if !matches!(end.tail, Tail::Damaged(_)) {
        return Ok(None);
    }
    let file = folder.open_file_for_appending(FILE)?;
    let length = file.metadata()?.len();
    let kept_as = keep(folder, &file, 0)?;
    cut_off(&file, end.position.offset)?;
    Ok(Some(Repaired { facts: end.position.seq, lost_bytes: length - end.position.offset, kept_as }))
}

fn cut_off(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    fault::hit(Call::Sync);
    file.sync_all()
}

/// Copies the bytes of `file` from `begin` on into the first free `damaged-N`, holes as holes. They are on the disk when
/// this returns the name; on an error nothing is left.
fn keep(folder: &Folder, file: &File, begin: u64) -> io::Result<String> {
    for number in 1..=MAX_DAMAGED {
        let name = format!("damaged-{number}");
        let copy = match folder.create_file(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        };
        let result = copy_from(file, begin, copy).and_then(|()| folder.sync());
        if let Err(error) = result {
            folder.remove_file(&name)?;
            return Err(error);
        }
        return Ok(name);
    }
    Err(io::Error::other(format!("there are {MAX_DAMAGED} damaged files already")))
}

fn copy_from(file: &File, begin: u64, copy: File) -> io::Result<()> {
    let end = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    let mut at = begin;
    while at < end {
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => at,
        };
        let got = file.read_at(&mut block, at)?;
        if got == 0 {
            break;
        }
        // The copy was opened for appending: its length is where the next write goes.
        copy.set_len(at - begin)?;
        io::Write::write_all(&mut &copy, &block[..got])?;
        at += got as u64;
    }
    copy.set_len(end - begin)?;
    fault::hit(Call::Sync);
    copy.sync_all()
}
