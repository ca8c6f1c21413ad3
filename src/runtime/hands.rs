//! The thread that does: it writes a turn's facts, then carries out its effects, then looks at what became of attempts.
//! One thread for both, so that nothing is done before it is written and a hop between threads is saved per task. Knows
//! nothing of decisions; it is not the process's leader thread and lives as long as the process (see `agents::local`).

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Envelope;
use crate::agents::Executor;
use crate::engine::definition::Durability;
use crate::engine::fact::Stamped;
use crate::engine::message::{Effect, News, Refusal};
use crate::engine::state::State;
use crate::fault;
use crate::headless::{Item, Printer};
use crate::session::journal::Position;
use crate::session::journal::write::{WriteError, Writer};
use crate::snapshot::Storage;

/// A full disk is tried again so often.
const FULL_RETRY: Duration = Duration::from_secs(1);
/// Unsynced facts are synced at least so often.
const SYNC_EVERY: Duration = Duration::from_millis(50);
/// News that something started waits so long for other news to travel with: it hurries nobody, and each message wakes the
/// loop. (What a crash in between would forget, the guard's table knows.)
const STARTED_WAITS: Duration = Duration::from_millis(2);
/// A write or sync that takes longer is called slow.
const SLOW: Duration = Duration::from_millis(500);

/// What one or more turns come to.
#[derive(Debug, Default)]
pub struct Batch {
    /// To be stored first.
    pub facts: Vec<Stamped>,
    /// To be done then.
    pub effects: Vec<Effect>,
    /// To be printed once stored (their `seq` is filled in here).
    pub items: Vec<Item>,
    /// To be answered once stored.
    pub answers: Vec<(AnswerTo, u64, Result<String, Refusal>)>,
    /// Number of the last turn in it.
    pub turn: u64,
    /// The State that all facts up to these give: to be kept as a checkpoint.
    pub checkpoint: Option<Box<State>>,
    /// Nothing comes after it: sync and end.
    pub last: bool,
}

/// Writes a checkpoint; called on a thread of its own. A checkpoint is only a cache: nothing depends on its success.
pub type Checkpointer = Arc<dyn Fn(Position, &State) + Send + Sync>;

/// Where an answer goes.
pub type AnswerTo = std::sync::mpsc::Sender<(u64, Result<String, Refusal>)>;

/// The loop's end of the line to the hands.
pub struct Hands {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<Result<(), String>>>,
    stored: Arc<AtomicU64>,
}

struct Inbox {
    queue: Mutex<VecDeque<Batch>>,
    bell: OwnedFd,
}

impl Hands {
    /// Starts the thread. `make` builds the executor on it.
    ///
    /// # Errors
    /// The machine is out of threads or descriptors.
    pub fn start(
        journal: Writer,
        durability: Durability,
        printer: Printer,
        checkpointer: Option<Checkpointer>,
        out: tokio::sync::mpsc::UnboundedSender<Envelope>,
        make: impl FnOnce() -> io::Result<Box<dyn Executor>> + Send + 'static,
    ) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inbox = Arc::new(Inbox { queue: Mutex::default(), bell });
        let stored = Arc::new(AtomicU64::new(0));
        let (for_thread, told) = (inbox.clone(), stored.clone());
        let run = move || {
            let executor = make().map_err(|error| format!("the local agent cannot work: {error}"))?;
            let worker = Worker {
                journal,
                durability,
                printer: Some(printer),
                checkpointer,
                checkpointing: None,
                executor,
                out,
                inbox: for_thread,
                stored: told,
                pending: VecDeque::new(),
                storage: Storage::Good,
                retry_at: None,
            };
            worker.run()
        };
        let thread = std::thread::Builder::new().name("hands".into()).spawn(run)?;
        Ok(Self { inbox, thread: Some(thread), stored })
    }

    /// Hands a batch over. Never waits.
    pub fn push(&self, batch: Batch) {
        let was_empty = {
            let mut queue = self.inbox.queue.lock().expect("no holder panics");
            queue.push_back(batch);
            queue.len() == 1
        };
        if was_empty {
            // A full counter rings as well.
            let _ = rustix::io::write(&self.inbox.bell, &1u64.to_ne_bytes());
        }
    }

    /// Number of the last turn whose facts are stored.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// Whether the thread has ended by itself.
    pub fn is_dead(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end of the thread, after a last batch. `Err` says why it could not do its work.
    pub fn join(mut self) -> Result<(), String> {
        let thread = self.thread.take().expect("joined once");
        thread.join().unwrap_or_else(|_| Err("the thread that starts tasks panicked".into()))
    }
}

struct Worker {
    journal: Writer,
    durability: Durability,
    printer: Option<Printer>,
    checkpointer: Option<Checkpointer>,
    checkpointing: Option<JoinHandle<()>>,
    executor: Box<dyn Executor>,
    out: tokio::sync::mpsc::UnboundedSender<Envelope>,
    inbox: Arc<Inbox>,
    stored: Arc<AtomicU64>,
    pending: VecDeque<Batch>,
    storage: Storage,
    retry_at: Option<Instant>,
}

impl Worker {
    fn run(mut self) -> Result<(), String> {
        let syncer = match self.durability {
            Durability::Process => Some(self.journal.syncer(SYNC_EVERY).map_err(|error| error.to_string())?),
            Durability::Power => None,
        };
        let mut reports = Vec::new();
        let mut held_until = None;
        loop {
            let mut wish = self.executor.poll(&mut reports);
            if !reports.is_empty() {
                let hurry = reports.iter().any(|report| !matches!(report.news, News::Started { .. }));
                let until = *held_until.get_or_insert_with(|| Instant::now() + STARTED_WAITS);
                if hurry || Instant::now() >= until {
                    held_until = None;
                    if self.out.send(Envelope::Reports(std::mem::take(&mut reports))).is_err() {
                        break;
                    }
                } else {
                    let most = STARTED_WAITS.as_millis() as u64;
                    wish = Some(wish.map_or(most, |wish| wish.min(most)));
                }
            }
            self.take_inbox();
            if !self.pending.is_empty() && self.retry_at.is_none_or(|at| Instant::now() >= at) {
                if self.work() {
                    break;
                }
                continue;
            }
            self.wait(wish);
        }
        if let Some(syncer) = syncer {
            syncer.finish();
        }
        let _ = self.journal.sync();
        if let Some(thread) = self.checkpointing.take() {
            let _ = thread.join();
        }
        if let Some(printer) = self.printer.take() {
            printer.finish();
        }
        Ok(())
    }

    fn take_inbox(&mut self) {
        let mut queue = self.inbox.queue.lock().expect("no holder panics");
        self.pending.append(&mut queue);
    }

    fn wait(&mut self, wish: Option<u64>) {
        let retry = self.retry_at.map(|at| at.saturating_duration_since(Instant::now()).as_millis() as u64 + 1);
        let most = [wish, retry].into_iter().flatten().min();
        let timeout = most.map(|ms| Timespec { tv_sec: (ms / 1000) as i64, tv_nsec: (ms % 1000 * 1_000_000) as i64 });
        let executor = self.executor.fd();
        let mut fds =
            [PollFd::new(&self.inbox.bell, PollFlags::IN), PollFd::from_borrowed_fd(executor.as_fd(), PollFlags::IN)];
        // An interrupted or failed wait only means looking once more.
        let _ = poll(&mut fds, timeout.as_ref());
        if !fds[0].revents().is_empty() {
            // Silenced before the inbox is looked at, whoever emptied that meanwhile: a bell left ringing would spin.
            let _ = rustix::io::read(&self.inbox.bell, &mut [0u8; 8]);
        }
    }

    /// Stores what is pending, then does it. True after the last batch.
    fn work(&mut self) -> bool {
        while let Some(batch) = self.pending.front() {
            let began = Instant::now();
            let first_seq = self.journal.next_seq();
            if let Err(error) = self.store(batch.facts.len()) {
                self.storage_failed(error);
                // Without storage nothing more can be done in good order; an ending session still ends.
                return self.pending.iter().any(|batch| batch.last) && matches!(self.storage, Storage::Broken { .. });
            }
            self.storage_worked(began.elapsed());
            let batch = self.pending.pop_front().expect("it was just looked at");
            self.stored.store(batch.turn, Ordering::Release);
            for effect in &batch.effects {
                self.perform(effect);
            }
            self.tell(batch.items, batch.answers, first_seq);
            if let Some(state) = batch.checkpoint {
                self.checkpoint(state);
            }
            if batch.last {
                // Nothing lives now, or it is left behind on purpose.
                self.executor.leave();
                return true;
            }
        }
        false
    }

    fn store(&mut self, count: usize) -> Result<(), WriteError> {
        if count == 0 {
            return Ok(());
        }
        let batch = self.pending.front().expect("the caller looked at it");
        self.journal.append(&batch.facts)?;
        if self.durability == Durability::Power {
            self.journal.sync()?;
        }
        Ok(())
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Start(order) => self.executor.start(order),
            Effect::Signal { task, attempt, signal, .. } => self.executor.signal(*task, *attempt, *signal),
            Effect::Reap { task, attempt, .. } => {
                fault::panic_at("hands");
                self.executor.reap(*task, *attempt);
            }
            Effect::Reconcile(survivor) => self.executor.reconcile(survivor),
        }
    }

    fn tell(&mut self, items: Vec<Item>, answers: Vec<(AnswerTo, u64, Result<String, Refusal>)>, first_seq: u64) {
        if let Some(printer) = &self.printer {
            for mut item in items {
                item.seq += first_seq;
                printer.take(item);
            }
        }
        for (to, ticket, answer) in answers {
            // Who asked may be gone.
            let _ = to.send((ticket, answer));
        }
    }

    fn checkpoint(&mut self, state: Box<State>) {
        let Some(write) = self.checkpointer.clone() else { return };
        if self.checkpointing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let position = self.journal.position();
        let run = move || write(position, &state);
        self.checkpointing = std::thread::Builder::new().name("checkpoint".into()).spawn(run).ok();
    }

    fn storage_failed(&mut self, error: WriteError) {
        let since = self.pending.front().and_then(|batch| batch.facts.first()).map(|fact| fact.at).unwrap_or_default();
        let (since, was_bad) = match &self.storage {
            Storage::Full { since, .. } | Storage::Broken { since, .. } => (*since, true),
            Storage::Good | Storage::Slow(_) => (since, false),
        };
        let next = match error {
            WriteError::Full { why } => Storage::Full { since, why: why.to_string() },
            WriteError::Broken { why } => Storage::Broken { since, why: why.to_string() },
        };
        self.retry_at = Some(Instant::now() + FULL_RETRY);
        if !was_bad || std::mem::discriminant(&next) != std::mem::discriminant(&self.storage) {
            let _ = self.out.send(Envelope::Storage(next.clone()));
        }
        self.storage = next;
    }

    fn storage_worked(&mut self, took: Duration) {
        self.retry_at = None;
        let next =
            if took >= SLOW { Storage::Slow(crate::engine::ids::Span(took.as_millis() as u64)) } else { Storage::Good };
        if next != self.storage {
            let _ = self.out.send(Envelope::Storage(next.clone()));
            self.storage = next;
        }
    }
}
