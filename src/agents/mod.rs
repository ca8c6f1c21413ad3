//! Where tasks run. The engine speaks of agents; behind each stands an [`Executor`]. Knows the engine's messages, not
//! its decisions, and nothing of the journal: it is told when an end is stored.

pub mod local;

pub mod adoption;
mod attempts;
pub mod attended;
mod command;
mod environment;
pub mod load;
mod orphans;
mod output;
mod spawn;
mod stop;
mod tree;
mod wait;

pub use environment::{ATTEMPT, MakeToken, SESSION, TASK, TASK_ID, TOKEN};

use std::os::fd::BorrowedFd;

use crate::engine::ids::{Attempt, TaskId};
use crate::engine::message::{Report, StartOrder, StopSignal, Survivor};

/// Starts and stops attempts somewhere, and reports what becomes of them.
///
/// All methods return soon. An executor may answer at once or seconds later (a batch engine answers with a job id), and
/// can be asked again after a crash by [`reconcile`](Executor::reconcile). It is driven by one thread.
pub trait Executor: Send {
    /// Starts an attempt. Called only after its `Starting` fact is stored. Answers by `Started` or `CouldNotStart`.
    fn start(&mut self, order: &StartOrder);
    /// Signals the attempt's whole tree; unknown attempts are ignored.
    fn signal(&mut self, task: TaskId, attempt: Attempt, signal: StopSignal);
    /// The attempt's end is stored: it may be reaped and forgotten.
    fn reap(&mut self, task: TaskId, attempt: Attempt);
    /// Finds out what became of an attempt of an earlier console. Answers by `Adopted`, `Exited`, `NotStarted` or `Lost`.
    fn reconcile(&mut self, survivor: &Survivor);
    /// This console ends on purpose and leaves what runs to whoever guards it.
    fn leave(&mut self) {}
    /// Readable when something happened outside for [`poll`](Executor::poll) to look at. After a call of any other method
    /// poll before waiting for it: an answer that is there already does not ring.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Looks at what happened since, without waiting; adds its reports to `reports`. Returns in how many milliseconds it
    /// wants to be polled again even if nothing becomes readable.
    fn poll(&mut self, reports: &mut Vec<Report>) -> Option<u64>;
}
