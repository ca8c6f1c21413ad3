//! What does: it writes a turn's facts, then carries out its effects, and sees what became of attempts. Driven by the loop
//! on the loop's own thread: a thread between deciding, writing and spawning would cost two wakes a task, more than all of
//! them together. Knows nothing of decisions.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::waiters::Waiters;
use crate::agents::Executor;
use crate::engine::definition::Durability;
use crate::engine::fact::Stamped;
use crate::engine::ids::Span;
use crate::engine::message::{Effect, Refusal, Report};
use crate::engine::state::State;
use crate::fault;
use crate::headless::{Item, Printer};
use crate::sensors::Watcher;
use crate::sensors::monitor::Monitors;
use crate::session::journal::Position;
use crate::session::journal::sync::Syncer;
use crate::session::journal::write::{WriteError, Writer};
use crate::snapshot::Storage;

/// So long the end waits for room on a full disk.
const LAST_TRY: Duration = Duration::from_secs(10);
/// A full disk is tried again so often.
const FULL_RETRY: Duration = Duration::from_secs(1);
/// Unsynced facts are synced at least so often.
const SYNC_EVERY: Duration = Duration::from_millis(50);
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
}

/// Writes a checkpoint; called on a thread of its own. A checkpoint is only a cache: nothing depends on its success.
pub type Checkpointer = Arc<dyn Fn(Position, &State) + Send + Sync>;

/// Where an answer goes.
pub type AnswerTo = std::sync::mpsc::Sender<(u64, Result<String, Refusal>)>;

/// See the module.
pub struct Hands {
    journal: Writer,
    syncer: Option<Syncer>,
    durability: Durability,
    printer: Option<Printer>,
    checkpointer: Option<Checkpointer>,
    checkpointing: Option<JoinHandle<()>>,
    executor: Box<dyn Executor>,
    watcher: Watcher,
    monitors: Monitors,
    waiters: Waiters,
    stored: u64,
    pending: VecDeque<Batch>,
    storage: Storage,
    retry_at: Option<Instant>,
}

impl Hands {
    /// To be called on the thread that drives it, which lives as long as the process (see `agents::local`).
    ///
    /// # Errors
    /// The machine is out of threads.
    pub fn new(
        journal: Writer,
        durability: Durability,
        printer: Printer,
        checkpointer: Option<Checkpointer>,
        executor: Box<dyn Executor>,
        (watcher, monitors, waiters): (Watcher, Monitors, Waiters),
    ) -> std::io::Result<Self> {
        let syncer = match durability {
            Durability::Process => Some(journal.syncer(SYNC_EVERY)?),
            Durability::Power => None,
        };
        Ok(Self {
            journal,
            syncer,
            durability,
            printer: Some(printer),
            checkpointer,
            checkpointing: None,
            executor,
            watcher,
            monitors,
            waiters,
            stored: 0,
            pending: VecDeque::new(),
            storage: Storage::Good,
            retry_at: None,
        })
    }

    /// What happened outside; in how many milliseconds to ask again in any case.
    pub fn poll(&mut self, reports: &mut Vec<Report>) -> Option<u64> {
        self.executor.poll(reports)
    }

    /// Readable when something happened outside.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.executor.fd()
    }

    /// Takes a batch and does what can be done.
    pub fn push(&mut self, batch: Batch) {
        self.pending.push_back(batch);
        if self.retry_at.is_none() {
            self.work();
        }
    }

    /// Tries again what could not be stored, if it is time. In how many milliseconds it will be.
    pub fn retry(&mut self) -> Option<u64> {
        let at = self.retry_at?;
        if Instant::now() >= at {
            self.work();
        }
        self.retry_at.map(|at| at.saturating_duration_since(Instant::now()).as_millis() as u64 + 1)
    }

    /// Number of the last turn whose facts are stored.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// The journal's health.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Ends in good order, after a last batch: waits a while for room if there was none. False if not all is stored.
    pub fn finish(mut self) -> bool {
        let until = Instant::now() + LAST_TRY;
        while !self.pending.is_empty() && !matches!(self.storage, Storage::Broken { .. }) && Instant::now() < until {
            let wait = self.retry().unwrap_or(0);
            std::thread::sleep(Duration::from_millis(wait));
        }
        let all = self.pending.is_empty();
        self.watcher.finish();
        self.monitors.finish();
        // Nothing lives now, or it is left behind on purpose.
        self.executor.leave();
        if let Some(syncer) = self.syncer.take() {
            syncer.finish();
        }
        if let Some(thread) = self.checkpointing.take() {
            let _ = thread.join();
        }
        // What was acknowledged is written; an error of this last sync could be told to nobody.
        let _ = self.journal.close();
        if let Some(printer) = self.printer.take() {
            printer.finish();
        }
        all
    }

    /// Stores what is pending, then does it.
    fn work(&mut self) {
        while let Some(batch) = self.pending.front() {
            let began = Instant::now();
            let first_seq = self.journal.next_seq();
            if let Err(error) = self.store(batch.facts.len()) {
                self.storage_failed(error);
                return;
            }
            self.storage_worked(began.elapsed());
            let batch = self.pending.pop_front().expect("it was just looked at");
            self.stored = batch.turn;
            // Starts first: what they are to run on has been idle since the ends that are reaped here.
            let is_start = |effect: &&Effect| matches!(effect, Effect::Start(_));
            for effect in batch.effects.iter().filter(is_start) {
                self.perform(effect);
            }
            for effect in batch.effects.iter().filter(|effect| !is_start(effect)) {
                self.perform(effect);
            }
            self.tell(batch.items, batch.answers, first_seq);
            if let Some(state) = batch.checkpoint {
                self.checkpoint(state);
            }
        }
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
                self.monitors.forget(*task, *attempt);
                self.waiters.forget(*task, *attempt);
            }
            Effect::Reconcile(survivor) => self.executor.reconcile(survivor),
            Effect::Watch(watch) => self.watcher.watch(watch),
            Effect::Unwatch(watch) => self.watcher.unwatch(*watch),
            Effect::Monitor(order) => self.monitors.watch(order),
            Effect::Tell(news) => news.iter().for_each(|news| self.waiters.tell(news)),
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
        let since = match &self.storage {
            Storage::Full { since, .. } | Storage::Broken { since, .. } => *since,
            Storage::Good | Storage::Slow(_) => {
                self.pending.front().and_then(|batch| batch.facts.first()).map(|fact| fact.at).unwrap_or_default()
            }
        };
        self.storage = match error {
            WriteError::Full { why } => Storage::Full { since, why: why.to_string() },
            WriteError::Broken { why } => Storage::Broken { since, why: why.to_string() },
        };
        self.retry_at = Some(Instant::now() + FULL_RETRY);
    }

    fn storage_worked(&mut self, took: Duration) {
        self.retry_at = None;
        self.storage = if took >= SLOW { Storage::Slow(Span(took.as_millis() as u64)) } else { Storage::Good };
    }
}
