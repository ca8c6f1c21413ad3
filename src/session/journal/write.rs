//! Appending facts: a batch is one write, taken whole or not at all. Knows neither the lock nor what was read before.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::engine::fact::Stamped;

use super::sync::{Health, Syncer, retry_interrupted};
use super::{Position, Storage, is_full, line};

/// So many bytes beyond the end are kept allocated, so that what runs when the disk fills up can still be told.
pub const RESERVE: u64 = 1 << 20;

/// A batch's buffer is kept for the next one up to this size.
const KEPT_BUFFER: usize = 4 << 20;

/// Why a batch was not stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WriteError {
    /// No room now. Nothing of the batch is in the file: try again with the same batch.
    #[error("no room for the journal: {why}")]
    Full {
        /// The system's words.
        why: String,
    },
    /// The storage failed, or the batch has no stored form. Nothing is written through this writer ever again.
    #[error("the journal cannot be written any more: {why}")]
    Broken {
        /// What happened.
        why: String,
    },
}

/// Whether the room ahead is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Space {
    /// At least half of [`RESERVE`] is allocated ahead.
    Reserved,
    /// The disk is full: appends still succeed while what is left of the reserve lasts. Start nothing new.
    Low {
        /// The system's words.
        why: String,
    },
    /// This file system cannot reserve.
    Unknown,
}

/// Appends to a journal.
pub struct Writer {
    storage: Arc<dyn Storage>,
    health: Health,
    position: Position,
    buffer: Vec<u8>,
    space: Space,
    /// Up to where room is allocated.
    reserved: u64,
}

impl Writer {
    /// A writer that goes on at `position`, the end of what `storage` holds.
    pub fn new(storage: Arc<dyn Storage>, position: Position) -> Self {
        let health = Health::new(position.seq);
        let mut writer = Self { storage, health, position, buffer: Vec::new(), space: Space::Reserved, reserved: 0 };
        writer.reserve();
        writer
    }

    /// Appends the facts of a turn by one write. On success all of them are stored (accepted by the kernel).
    ///
    /// # Errors
    /// [`WriteError::Full`]: none is stored, try again. [`WriteError::Broken`]: what the file holds is unknown.
    pub fn append(&mut self, batch: &[Stamped]) -> Result<(), WriteError> {
        if let Some(why) = self.health.broken() {
            return Err(WriteError::Broken { why });
        }
        if batch.is_empty() {
            return Ok(());
        }
        let after = self.encode(batch).map_err(|why| self.breaks(why))?;
        self.write()?;
        self.position = after;
        self.health.appended(after.seq);
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
        self.reserve();
        Ok(())
    }

    /// Returns once everything appended is on the disk.
    ///
    /// # Errors
    /// [`WriteError::Broken`].
    pub fn sync(&mut self) -> Result<(), WriteError> {
        self.health.sync(&*self.storage)
    }

    /// Starts the thread that syncs at most once in `every` when there is something to sync.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn syncer(&self, every: Duration) -> io::Result<Syncer> {
        Syncer::start(Arc::clone(&self.storage), self.health.clone(), every)
    }

    /// How the disk does, for other threads to look at.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Where the next fact goes: what a checkpoint of the State after all appended facts is taken at.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The number of the next fact.
    pub fn next_seq(&self) -> u64 {
        self.position.seq + 1
    }

    /// Looks again whether there is room, for a console that waits for it and has nothing to append.
    pub fn look_for_space(&mut self) -> &Space {
        self.reserve();
        &self.space
    }

    /// Whether the disk is full, known before anything is refused.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Syncs, and gives the reserved room back: the session ended in good order.
    ///
    /// # Errors
    /// [`WriteError::Broken`].
    pub fn close(mut self) -> Result<(), WriteError> {
        self.sync()?;
        // Only room beyond the end is freed; if that fails, the file is merely larger on the disk.
        let _ = self.storage.truncate(self.position.offset);
        Ok(())
    }

    /// Fills the buffer with the batch's lines. Returns the position after them.
    fn encode(&mut self, batch: &[Stamped]) -> Result<Position, String> {
        self.buffer.clear();
        let mut at = self.position;
        for fact in batch {
            let begin = self.buffer.len();
            at.crc = line::encode(&mut self.buffer, at.seq + 1, at.crc, fact)?;
            at.seq += 1;
            at.line = self.position.offset + begin as u64;
        }
        at.offset = self.position.offset + self.buffer.len() as u64;
        Ok(at)
    }

    /// Writes the buffer. The first call takes all of it unless the disk is full; then the second one says why.
    fn write(&mut self) -> Result<(), WriteError> {
        let mut done = 0;
        while done < self.buffer.len() {
            match retry_interrupted(|| self.storage.write(&self.buffer[done..])) {
                Ok(0) => return Err(self.cut_off("nothing more was taken".into())),
                Ok(taken) => done += taken,
                Err(error) if is_full(&error) => return Err(self.cut_off(error.to_string())),
                Err(error) => return Err(self.breaks(format!("write: {error}"))),
            }
        }
        Ok(())
    }

    /// Takes a partial batch out of the file again.
    fn cut_off(&mut self, why: String) -> WriteError {
        match retry_interrupted(|| self.storage.truncate(self.position.offset)) {
            Ok(()) => {
                // Cutting off gave the reserved room back too.
                self.reserved = 0;
                self.space = Space::Low { why: why.clone() };
                WriteError::Full { why }
            }
            Err(error) => self.breaks(format!("{why}; and a partial line cannot be cut off: {error}")),
        }
    }

    fn breaks(&self, why: String) -> WriteError {
        self.health.set_broken(why.clone());
        WriteError::Broken { why }
    }

    /// Keeps room allocated ahead of the end.
    fn reserve(&mut self) {
        if self.space == Space::Unknown || self.position.offset + RESERVE / 2 <= self.reserved {
            return;
        }
        match self.storage.reserve(self.position.offset, RESERVE) {
            Ok(()) => (self.reserved, self.space) = (self.position.offset + RESERVE, Space::Reserved),
            Err(error) if is_full(&error) => self.space = Space::Low { why: error.to_string() },
            Err(_) => self.space = Space::Unknown,
        }
    }
}
