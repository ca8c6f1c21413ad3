//! What comes to the loop from other threads: a list and a bell. Knows nothing of what is in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::event::{EventfdFlags, eventfd};

/// See the module. `E` is what comes.
pub struct Inbox<E> {
    list: Mutex<Vec<E>>,
    bell: OwnedFd,
}

impl<E> Inbox<E> {
    /// An empty one.
    ///
    /// # Errors
    /// The machine is out of descriptors.
    pub fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { list: Mutex::default(), bell })
    }

    /// Adds to it, and rings if it was empty. Never waits for the reader.
    pub fn push(&self, entry: E) {
        let first = {
            let mut list = self.list.lock().expect("no holder panics");
            list.push(entry);
            list.len() == 1
        };
        if first {
            // A full counter rings as well.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Takes all that is there.
    pub fn take(&self, into: &mut Vec<E>) {
        into.append(&mut self.list.lock().expect("no holder panics"));
    }

    /// Readable when it rang.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// To be called when the bell was readable, before [`take`](Self::take): whoever emptied the list meanwhile, a bell left
    /// ringing would make the reader spin.
    pub fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
    }
}
