//! Durability behind the writer's back: a thread that syncs what was appended, at most every so often, and says how long
//! the disk takes. Knows nothing of lines.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Storage, WriteError};

/// How far writing and syncing are; shared by the writer, its syncer and whoever draws the state of the disk.
#[derive(Debug, Clone)]
pub struct Health(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    progress: Mutex<Progress>,
    changed: Condvar,
    last_us: AtomicU64,
    /// When the running sync began, in µs after `zero`, plus 1; 0 if none runs.
    running: AtomicU64,
    zero: Instant,
}

#[derive(Debug, Default)]
struct Progress {
    appended: u64,
    synced: u64,
    broken: Option<String>,
    ending: bool,
}

impl Health {
    pub(super) fn new(seq: u64) -> Self {
        let progress = Progress { appended: seq, ..Progress::default() };
        let changed = Condvar::new();
        let (last_us, running) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Shared { progress: Mutex::new(progress), changed, last_us, running, zero: Instant::now() }))
    }

    /// How long the last sync took, µs; 0 before the first.
    pub fn last_sync_us(&self) -> u64 {
        self.0.last_us.load(Ordering::Relaxed)
    }

    /// For how long a sync has been running by now, µs: a disk that hangs shows here and not in `last_sync_us`.
    pub fn running_sync_us(&self) -> Option<u64> {
        let began = self.0.running.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.0.now_us().saturating_sub(began))
    }

    /// Number of the last fact that a sync has put on the disk.
    pub fn synced(&self) -> u64 {
        self.progress().synced
    }

    /// Why the journal must not be written any more, if so.
    pub fn broken(&self) -> Option<String> {
        self.progress().broken.clone()
    }

    pub(super) fn appended(&self, seq: u64) {
        let mut progress = self.progress();
        let was_clean = progress.appended == progress.synced;
        progress.appended = seq;
        drop(progress);
        if was_clean {
            self.0.changed.notify_all();
        }
    }

    pub(super) fn set_broken(&self, why: String) {
        self.progress().broken.get_or_insert(why);
        self.0.changed.notify_all();
    }

    /// Syncs now. All that was appended before the call is on the disk after it.
    pub(super) fn sync(&self, storage: &dyn Storage) -> Result<(), WriteError> {
        let upto = {
            let progress = self.progress();
            if let Some(why) = &progress.broken {
                return Err(WriteError::Broken { why: why.clone() });
            }
            progress.appended
        };
        let began = self.0.now_us();
        self.0.running.store(began + 1, Ordering::Relaxed);
        let result = retry_interrupted(|| storage.sync());
        self.0.last_us.store((self.0.now_us() - began).max(1), Ordering::Relaxed);
        self.0.running.store(0, Ordering::Relaxed);
        match result {
            Ok(()) => {
                let mut progress = self.progress();
                progress.synced = progress.synced.max(upto);
                Ok(())
            }
            Err(error) => {
                // Which pages reached the disk is unknown, and a second sync may claim success: never try again.
                let why = format!("the disk did not take the journal: {error}");
                self.set_broken(why.clone());
                Err(WriteError::Broken { why })
            }
        }
    }

    /// Sleeps until there is something to sync. `false` when it is time to end.
    fn wait_for_work(&self) -> bool {
        let idle = |progress: &mut Progress| {
            progress.appended == progress.synced && !progress.ending && progress.broken.is_none()
        };
        let progress = self.0.changed.wait_while(self.progress(), idle).unwrap_or_else(PoisonError::into_inner);
        !progress.ending && progress.broken.is_none()
    }

    /// Sleeps for `length`, less if it is time to end.
    fn pause(&self, length: Duration) {
        let going_on = |progress: &mut Progress| !progress.ending && progress.broken.is_none();
        drop(self.0.changed.wait_timeout_while(self.progress(), length, going_on));
    }

    fn end(&self) {
        self.progress().ending = true;
        self.0.changed.notify_all();
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Every change of it is one assignment: it is whole whoever panicked.
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn now_us(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_micros()).unwrap_or(u64::MAX - 1)
    }
}

/// Calls again while a signal handler interrupts.
pub(super) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The thread that syncs. Dropped, it ends by itself without being waited for: a hanging disk must not hang the program.
#[derive(Debug)]
pub struct Syncer {
    health: Health,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts it: after the first fact that is not on the disk it syncs, then at most once in `every`.
    pub(super) fn start(storage: Arc<dyn Storage>, health: Health, every: Duration) -> io::Result<Self> {
        let of_thread = health.clone();
        let run = move || {
            while of_thread.wait_for_work() {
                if of_thread.sync(&*storage).is_err() {
                    return;
                }
                of_thread.pause(every);
            }
        };
        let thread = std::thread::Builder::new().name("journal-sync".into()).spawn(run)?;
        Ok(Self { health, thread: Some(thread) })
    }

    /// Ends it and waits for that. The writer's own `sync` comes after.
    pub fn finish(mut self) {
        self.health.end();
        if let Some(thread) = self.thread.take() {
            // It panics only by a defect of ours, which the panic hook has reported.
            let _ = thread.join();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.health.end();
    }
}
