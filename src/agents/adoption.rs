//! Attempts of an earlier console: what the local executor asks of whoever speaks with their guards. A console that was
//! resumed is not their parent, so it cannot learn their end from the kernel. Knows nothing of guards or sockets.

use std::os::fd::BorrowedFd;

use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::{Report, StopSignal, Survivor};

/// Speaks for attempts that another process owns. The same rules as for [`Executor`](super::Executor): every method
/// returns soon, one thread calls, reports come out of `poll`.
pub trait Adoption: Send {
    /// Finds out what became of it. Answers by `Adopted`, `Exited`, `NotStarted` or `Lost`.
    fn reconcile(&mut self, survivor: &Survivor);
    /// Signals the attempt's whole tree; unknown attempts are ignored.
    fn signal(&mut self, task: TaskId, attempt: Attempt, signal: StopSignal);
    /// The attempt's end is stored: it may be forgotten. Unknown attempts are ignored.
    fn reap(&mut self, task: TaskId, attempt: Attempt);
    /// This console ends on purpose: what runs goes on without a limit.
    fn leave(&mut self) {}
    /// Readable when [`poll`](Adoption::poll) has something to do. The same descriptor for life.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Adds its reports; returns in how many milliseconds it wants to be polled again in any case.
    fn poll(&mut self, reports: &mut Vec<Report>) -> Option<u64>;
}
