//! The live session: one loop that takes inputs in turn, asks the engine, and lets the hands store facts and do effects. Knows
//! everything but screens and the command line: those come in as a [`Handle`].

pub mod adoption;
pub mod clock;
pub mod hands;
pub mod inbox;
mod machine;
pub mod rates;
pub mod waiters;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::clock::{Clock, Jump, Watch};
use self::hands::{AnswerTo, Batch, Hands};
use self::inbox::Inbox;
use self::rates::Meter;
use self::waiters::Waiters;
use crate::engine::decide::{Engine, Turn};
use crate::engine::fact::{Fact, Stamped};
use crate::engine::ids::{Attempt, Span, TaskId, Time};

use crate::engine::message::{Command, Input, Origin, Refusal, Report, Sighting, What};
use crate::engine::monitors::Observation;
use crate::engine::overload::Figures;
use crate::error::Kind;
use crate::fault;
use crate::headless::{Item, Style, is_told, summary};
use crate::sensors::monitor::{Around, Heard};
use crate::snapshot::build::{Frozen, Load, in_words};
use crate::snapshot::why::duration;
use crate::snapshot::{Storage, Told};

/// News that something started waits so long for other news to be written with.
const STARTED_WAITS: Duration = Duration::from_millis(2);
/// Turns that may not be stored yet are looked through once there are so many.
const UNSTORED: usize = 1_000;
/// A checkpoint is made after so many facts, and at the end if there were so many since the last.
const CHECKPOINT_EVERY: usize = 200_000;
const CHECKPOINT_AT_END: usize = 20_000;
/// No more attempts than this are listened to at once.
const TOLD: usize = 100_000;
/// Notes of the program itself that are kept.
const NOTES: usize = 50;
/// How often the clock, the guard and the storage are looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What comes to the loop.
pub enum Envelope {
    /// From the operator, or a client of the socket.
    Command {
        /// From whom.
        by: Origin,
        /// What.
        command: Command,
        /// Higher first, of what has come.
        priority: i32,
        /// Number to answer by.
        ticket: u64,
        /// Where to.
        answer: Option<AnswerTo>,
    },
    /// The screen has taken the last picture and would like the next.
    Look,
    /// A picture of now, for a client.
    Picture(Sender<Arc<Frozen>>, i32),
    /// Something for the alert line.
    Note(String, bool),
    /// Attempts have said how far they have come.
    Told,
    /// The process was asked to end.
    Signal(Asked),
    /// A sensor was looked at.
    Sighting(Sighting),
    /// A monitor sees something amiss with an attempt, or not any more.
    Observed(Observation),
    /// What the machine is like now.
    Figures(Figures),
}

/// A signal from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP, or the front died.
    HangUp,
}

/// What others may do with a running session. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    /// The session's clock.
    pub clock: Clock,
    /// Of what it asks.
    priority: i32,
}

struct Shared {
    inbox: Inbox<Envelope>,
    /// The loop is storing and doing since then (ms of the session's clock); 0 while it is not.
    at_work_since: AtomicU64,
    frozen: Mutex<Option<Arc<Frozen>>>,
    fresh: AtomicBool,
    ended: AtomicI32,
    load: Mutex<Arc<Load>>,
    /// How far running attempts say that they have come.
    told: Mutex<BTreeMap<TaskId, Word>>,
    /// There is news in it, and the loop knows.
    told_news: AtomicBool,
    /// Clients that wait for a lock.
    waiters: Waiters,
}

/// What an attempt said last.
struct Word {
    attempt: Attempt,
    at: Instant,
    told: Told,
}

impl Shared {
    /// `QD_OFF=display_thread` in a debug build: the loop waits until the screen has taken the picture, as it would if it
    /// drew by itself. To see that the tests of a blocked terminal can fail.
    fn wait_for_the_screen_if_asked(&self) {
        #[cfg(debug_assertions)]
        if std::env::var_os("QD_OFF").is_some_and(|off| off == "display_thread") {
            while self.fresh.load(Ordering::Acquire) && self.ended.load(Ordering::Acquire) == RUNNING {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
}

/// No exit code yet.
const RUNNING: i32 = -1;

impl Envelope {
    /// What comes from the person at the keys, from signals and from threads of ours goes before what any client says.
    const FIRST: i32 = i32::MAX;

    fn priority(&self) -> i32 {
        match self {
            Self::Command { priority, .. } | Self::Picture(_, priority) => *priority,
            _ => Self::FIRST,
        }
    }
}

/// What has come together is taken by priority, and else as it came.
fn in_order(envelopes: &mut [Envelope]) {
    let first = envelopes.first().map(Envelope::priority);
    if envelopes.iter().any(|envelope| Some(envelope.priority()) != first) {
        envelopes.sort_by_key(|envelope| std::cmp::Reverse(envelope.priority()));
    }
}

impl Handle {
    /// One that asks with this priority: less than that of the person at the keys.
    pub fn with_priority(&self, priority: i32) -> Self {
        Self { priority: priority.min(Envelope::FIRST - 1), ..self.clone() }
    }

    /// Asks for something; the answer comes to `answer` once it is stored.
    pub fn send(&self, command: Command, ticket: u64, answer: Option<AnswerTo>) {
        self.send_as(Origin::Operator, command, ticket, answer);
    }

    /// The same for somebody else.
    pub fn send_as(&self, by: Origin, command: Command, ticket: u64, answer: Option<AnswerTo>) {
        self.shared.inbox.push(Envelope::Command { by, command, priority: self.priority, ticket, answer });
    }

    /// A picture of now, as soon as the loop comes to it. The screen's pictures are none of its business.
    pub fn picture(&self, to: Sender<Arc<Frozen>>) {
        self.shared.inbox.push(Envelope::Picture(to, self.priority));
    }

    /// Passes on a signal.
    pub fn ask(&self, asked: Asked) {
        self.shared.inbox.push(Envelope::Signal(asked));
    }

    /// Something for the alert line.
    pub fn note(&self, text: String, bad: bool) {
        self.shared.inbox.push(Envelope::Note(text, bad));
    }

    /// What a sensor saw.
    pub fn saw(&self, sighting: Sighting) {
        self.shared.inbox.push(Envelope::Sighting(sighting));
    }

    /// A newer picture than the last taken is there.
    pub fn is_fresh(&self) -> bool {
        self.shared.fresh.load(Ordering::Acquire)
    }

    /// The newest picture; asks for the next.
    pub fn frozen(&self) -> Option<Arc<Frozen>> {
        self.shared.fresh.store(false, Ordering::Release);
        let frozen = self.shared.frozen.lock().expect("no holder panics").clone();
        self.shared.inbox.push(Envelope::Look);
        frozen
    }

    /// How long the loop has been at storing and doing, if it is: a disk or a file system that does not answer.
    pub fn at_work_for(&self) -> Span {
        match self.shared.at_work_since.load(Ordering::Acquire) {
            0 => Span(0),
            since => self.clock.now().since(Time(since)),
        }
    }

    /// The exit code, once the session has ended.
    pub fn ended(&self) -> Option<i32> {
        Some(self.shared.ended.load(Ordering::Acquire)).filter(|code| *code != RUNNING)
    }

    /// The session is over, by another way than the loop's end.
    pub fn end(&self, code: i32) {
        self.shared.ended.store(code, Ordering::Release);
    }

    /// Leaders of what runs, for the sampler: as of the last picture.
    pub fn leaders(&self, most: usize) -> Vec<(TaskId, i32)> {
        let frozen = self.shared.frozen.lock().expect("no holder panics").clone();
        let Some(frozen) = frozen else { return Vec::new() };
        let state = &frozen.engine.state;
        let leader = |id: TaskId| Some((id, state.task(id).live.as_ref()?.process.as_ref()?.0.pid));
        state.on_agent.iter().take(most).filter_map(|(_, id)| leader(*id)).collect()
    }

    /// An attempt says how far it has come. Whether it runs is looked at when it is shown; false if there is no room.
    pub fn tell(&self, task: TaskId, attempt: Attempt, told: Told) -> bool {
        {
            let mut all = self.shared.told.lock().expect("no holder panics");
            if all.len() >= TOLD && !all.contains_key(&task) {
                return false;
            }
            all.insert(task, Word { attempt, at: Instant::now(), told });
        }
        if !self.shared.told_news.swap(true, Ordering::AcqRel) {
            self.shared.inbox.push(Envelope::Told);
        }
        true
    }

    /// Clients that wait for a lock: the hands tell them, once it is stored.
    pub fn waiters(&self) -> Waiters {
        self.shared.waiters.clone()
    }

    /// What the machine is like now, for conditions.
    pub fn set_figures(&self, figures: Figures) {
        self.shared.inbox.push(Envelope::Figures(figures));
    }

    /// New figures of CPU and memory.
    pub fn set_load(&self, load: Load) {
        *self.shared.load.lock().expect("no holder panics") = Arc::new(load);
    }
}

/// What the monitor reads and tells: progress goes where attempts say it themselves.
impl Around for Handle {
    fn now(&self) -> Time {
        self.clock.now()
    }

    fn heard(&self, task: TaskId, attempt: Attempt) -> Option<Heard> {
        let all = self.shared.told.lock().expect("no holder panics");
        let word = all.get(&task).filter(|word| word.attempt == attempt)?;
        Some(Heard { at: word.at, share: word.told.share() })
    }

    fn progress(&self, task: TaskId, attempt: Attempt, done: u64, of: u64) {
        // Where there is no room for more, this one is not shown.
        let _ = self.tell(task, attempt, Told { done, of, text: String::new() });
    }

    fn observed(&self, observation: Observation) {
        self.shared.inbox.push(Envelope::Observed(observation));
    }
}

/// What a session needs to live.
pub struct Parts {
    /// The engine over what was read back (or empty).
    pub engine: Engine,
    /// The session's clock.
    pub clock: Clock,
    /// Facts to be stored first (opened, recovered).
    pub opening: Vec<Fact>,
    /// To be loaded, in a new session.
    pub workflow: Option<Arc<crate::engine::definition::Workflow>>,
    /// The session's name.
    pub name: String,
    /// Where outputs are.
    pub log_dir: PathBuf,
    /// What is printed.
    pub style: Style,
    /// Ends by itself when nothing can happen any more.
    pub headless: bool,
    /// Watches whether the guard lives.
    pub guard_alive: Option<Box<dyn Fn() -> bool + Send>>,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Exit code.
    pub code: i32,
    /// What runs was left to the guard.
    pub detached: bool,
    /// What became of everything, in one line.
    pub summary: String,
}

/// The loop.
pub struct Runtime {
    engine: Engine,
    clock: Clock,
    watch: Watch,
    shared: Arc<Shared>,
    hands: Hands,
    batch: Batch,
    /// Something in the batch is waited for.
    hurry: bool,
    /// Until then a batch that nobody waits for may stay.
    held_until: Option<Instant>,
    look_at: Instant,
    turn: u64,
    /// First unstored fact of each turn that may not be stored yet.
    unstored: BTreeMap<u64, Time>,
    meter: Meter,
    parts: Kept,
    dirty: bool,
    wanted: bool,
    storage: Storage,
    notes: Arc<Vec<(Time, String, bool)>>,
    /// When everything was over, if it is: whoever looks at it longer does not make it take longer.
    finished_at: Option<Time>,
    interrupts: u32,
    since_checkpoint: usize,
    reports: Vec<Report>,
    envelopes: Vec<Envelope>,
    /// Clients that wait for a picture.
    pictures: Vec<Sender<Arc<Frozen>>>,
}

struct Kept {
    name: String,
    log_dir: PathBuf,
    style: Style,
    headless: bool,
    guard_alive: Option<Box<dyn Fn() -> bool + Send>>,
    guard_lost: bool,
}

impl Handle {
    /// A line to a loop that is about to start.
    ///
    /// # Errors
    /// The machine is out of descriptors.
    pub fn new(clock: Clock) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            inbox: Inbox::new()?,
            at_work_since: AtomicU64::new(0),
            frozen: Mutex::default(),
            fresh: AtomicBool::new(false),
            ended: AtomicI32::new(RUNNING),
            load: Mutex::default(),
            told: Mutex::default(),
            told_news: AtomicBool::new(false),
            waiters: Waiters::default(),
        });
        Ok(Self { shared, clock, priority: Envelope::FIRST })
    }
}

impl Runtime {
    /// Puts it together and takes the first turns: what was opened, what is loaded, what has to be found out.
    pub fn new(parts: Parts, handle: &Handle, hands: Hands) -> Self {
        let kept = Kept {
            name: parts.name,
            log_dir: parts.log_dir,
            style: parts.style,
            headless: parts.headless,
            guard_alive: parts.guard_alive,
            guard_lost: false,
        };
        let mut runtime = Self {
            meter: Meter::new(&parts.engine.state),
            engine: parts.engine,
            clock: parts.clock,
            watch: Watch::new(),
            shared: handle.shared.clone(),
            hands,
            batch: Batch::default(),
            hurry: true,
            held_until: None,
            look_at: Instant::now() + LOOK_EVERY,
            turn: 0,
            unstored: BTreeMap::new(),
            parts: kept,
            dirty: true,
            wanted: true,
            storage: Storage::Good,
            notes: Arc::default(),
            finished_at: None,
            interrupts: 0,
            since_checkpoint: 0,
            reports: Vec::new(),
            envelopes: Vec::new(),
            pictures: Vec::new(),
        };
        runtime.open(parts.opening, parts.workflow);
        if runtime.engine.state.reads_system() {
            machine::start(handle.clone());
        }
        runtime
    }

    fn open(&mut self, opening: Vec<Fact>, workflow: Option<Arc<crate::engine::definition::Workflow>>) {
        let survivors = self.engine.recover();
        let turn = self.engine.record_all(self.clock.now(), opening);
        self.take(turn, None);
        self.batch.effects.extend(survivors);
        // What must not start on a machine that is busy does not start at once either.
        machine::look().into_iter().for_each(|figures| self.decide(What::Figures(figures)));
        match workflow {
            Some(workflow) => self.decide(What::Command { by: Origin::Rule, command: Command::Load(workflow) }),
            None => self.decide(What::Tick),
        }
        self.flush();
    }

    /// Runs until the session ends.
    ///
    /// # Errors
    /// The descriptors it waits for cannot be waited for.
    pub fn run(mut self) -> Result<End, String> {
        // What was asked before the start counts before the question whether anything is left to do.
        self.take_inbox();
        self.flush();
        loop {
            let wish = self.take_reports();
            self.take_inbox();
            let now = self.clock.now();
            if self.engine.next_deadline().is_some_and(|at| at <= now) {
                self.decide(What::Tick);
            }
            if Instant::now() >= self.look_at {
                self.look_at = Instant::now() + LOOK_EVERY;
                self.look();
            }
            let did = self.flush();
            self.show();
            let retry = self.hands.retry();
            let did = self.see_storage() || did;
            self.publish();
            if let Some(end) = self.end() {
                return Ok(self.close(end));
            }
            // What was just done may have answered already.
            if !did {
                self.wait(wish, retry)?;
            }
        }
    }

    fn take_reports(&mut self) -> Option<u64> {
        let mut reports = std::mem::take(&mut self.reports);
        let wish = self.hands.poll(&mut reports);
        for report in reports.drain(..) {
            fault::panic_at("loop");
            self.decide(What::Report(report));
        }
        self.reports = reports;
        wish
    }

    fn take_inbox(&mut self) {
        let mut envelopes = std::mem::take(&mut self.envelopes);
        self.shared.inbox.take(&mut envelopes);
        in_order(&mut envelopes);
        for envelope in envelopes.drain(..) {
            self.receive(envelope);
        }
        self.envelopes = envelopes;
    }

    /// Until something happens, or it is time for something.
    fn wait(&mut self, wish: Option<u64>, retry: Option<u64>) -> Result<(), String> {
        let now = Instant::now();
        let until = |at: Instant| at.saturating_duration_since(now);
        let deadline = self.engine.next_deadline().map(|at| until(self.clock.instant(at)));
        let held = self.held_until.map(until);
        let wishes = [wish, retry].into_iter().flatten().map(Duration::from_millis);
        let most = wishes.chain(deadline).chain(held).min().unwrap_or(LOOK_EVERY).min(until(self.look_at));
        // Rounded up: a wait that ends just before its time would end again and again.
        let most = most + Duration::from_micros(500);
        let timeout = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
        let bell = self.shared.inbox.bell();
        let mut fds =
            [PollFd::from_borrowed_fd(bell, PollFlags::IN), PollFd::from_borrowed_fd(self.hands.fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::NOMEM | rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(format!("cannot wait: {error}")),
        }
        if !fds[0].revents().is_empty() {
            self.shared.inbox.silence();
        }
        Ok(())
    }

    fn receive(&mut self, envelope: Envelope) {
        match envelope {
            Envelope::Command { by, command, ticket, answer, priority: _ } => self.command(by, command, ticket, answer),
            Envelope::Picture(to, _) => {
                // What it will show is stored first.
                self.hurry = true;
                self.pictures.push(to);
            }
            Envelope::Look => self.wanted = true,
            Envelope::Note(text, bad) => self.note(text, bad),
            Envelope::Told => self.dirty = true,
            Envelope::Signal(asked) => self.asked(asked),
            Envelope::Figures(figures) => self.decide(What::Figures(figures)),
            Envelope::Observed(observation) => self.decide(What::Observed(observation)),
            Envelope::Sighting(sighting) => {
                self.decide(What::Sighting(sighting));
                // When it was looked at last is shown, though it is no fact.
                self.dirty = true;
            }
        }
    }

    fn command(&mut self, by: Origin, command: Command, ticket: u64, answer: Option<AnswerTo>) {
        let words = match &command {
            Command::Undo => {
                self.engine.state.undo.back().map(|(done, _)| format!("undone: {}", in_words(&self.engine.state, done)))
            }
            Command::Redo => self
                .engine
                .state
                .redo
                .back()
                .map(|(done, _)| format!("done again: {}", in_words(&self.engine.state, done))),
            one => Some(in_words(&self.engine.state, one)),
        };
        let input = Input { at: self.clock.now(), what: What::Command { by, command } };
        let turn = self.engine.decide(&input);
        let result = turn.answer.clone().unwrap_or(Ok(()));
        let answer = answer.map(|to| (to, ticket, result.map(|()| words.unwrap_or_default())));
        self.take(turn, answer);
    }

    /// A signal is a command: the first asks, the second insists, the third does not wait.
    fn asked(&mut self, asked: Asked) {
        let command = match asked {
            Asked::HangUp => Command::Detach,
            Asked::Terminate => Command::Stop,
            Asked::Interrupt => {
                self.interrupts += 1;
                if self.interrupts == 1 { Command::Stop } else { Command::StopNow }
            }
        };
        self.command(Origin::Operator, command, 0, None);
    }

    fn decide(&mut self, what: What) {
        let turn = self.engine.decide(&Input { at: self.clock.now(), what });
        self.take(turn, None);
    }

    /// Takes up what a turn came to.
    fn take(&mut self, turn: Turn, answer: Option<(AnswerTo, u64, Result<String, Refusal>)>) {
        self.turn += 1;
        self.batch.turn = self.turn;
        if let Some(first) = turn.facts.first() {
            if self.engine.state.ending.is_none() {
                let at = self.finished_at.unwrap_or(first.at);
                self.finished_at = self.engine.state.is_finished().then_some(at);
            }
            self.unstored.insert(self.turn, first.at);
            if self.unstored.len() > UNSTORED {
                self.forget_stored();
            }
            self.dirty = true;
        }
        let first = self.batch.facts.len();
        for (n, fact) in turn.facts.iter().enumerate() {
            self.meter.note(&self.engine.state, fact);
            self.print(fact, first + n);
        }
        let started = turn.facts.iter().all(|fact| matches!(fact.fact, Fact::Running { .. }));
        self.hurry |= !started || !turn.effects.is_empty() || answer.is_some();
        if !turn.facts.is_empty() {
            self.held_until.get_or_insert_with(|| Instant::now() + STARTED_WAITS);
        }
        if self.batch.facts.is_empty() {
            self.batch.facts = turn.facts;
        } else {
            self.batch.facts.extend(turn.facts);
        }
        self.batch.effects.extend(turn.effects);
        self.batch.answers.extend(answer);
    }

    /// Leaves a fact for the printer; `index` is its place in the batch.
    fn print(&mut self, stamped: &Stamped, index: usize) {
        let wanted = match self.parts.style {
            Style::Silent => false,
            Style::Json => true,
            Style::Plain => is_told(&stamped.fact),
        };
        if !wanted {
            return;
        }
        self.batch.items.push(Item::of(&self.engine.state, stamped, index as u64));
    }

    /// Lets the hands store and do what was decided; false if nothing was, or if it may wait for more.
    fn flush(&mut self) -> bool {
        let nothing = self.batch.facts.is_empty() && self.batch.effects.is_empty() && self.batch.answers.is_empty();
        if nothing || (!self.hurry && self.held_until.is_some_and(|until| Instant::now() < until)) {
            return false;
        }
        self.store(false);
        true
    }

    fn store(&mut self, last: bool) {
        (self.hurry, self.held_until) = (false, None);
        self.since_checkpoint += self.batch.facts.len();
        let enough = if last { CHECKPOINT_AT_END } else { CHECKPOINT_EVERY };
        if self.since_checkpoint >= enough && self.engine.state.loaded {
            self.since_checkpoint = 0;
            self.batch.checkpoint = Some(Box::new(self.engine.state.clone()));
        }
        let batch = std::mem::take(&mut self.batch);
        self.shared.at_work_since.store(self.clock.now().0, Ordering::Release);
        self.hands.push(batch);
        self.shared.at_work_since.store(0, Ordering::Release);
    }

    /// While facts cannot be stored, nothing new starts.
    fn see_storage(&mut self) -> bool {
        let changed = *self.hands.storage() != self.storage;
        if changed {
            self.storage = self.hands.storage().clone();
            self.engine.set_storage_good(matches!(self.storage, Storage::Good | Storage::Slow(_)));
            self.dirty = true;
            self.decide(What::Tick);
        }
        changed
    }

    // ── what others see ──────────────────────────────────────────────────────────────────────────────────────────

    fn note(&mut self, text: String, bad: bool) {
        let notes = Arc::make_mut(&mut self.notes);
        if notes.len() == NOTES {
            notes.remove(0);
        }
        notes.push((self.clock.now(), text, bad));
        self.dirty = true;
    }

    /// Once a second: what nobody tells.
    fn look(&mut self) {
        match self.watch.look() {
            Some(Jump::Asleep(span)) => self.note(format!("the machine was asleep for {}", duration(span)), false),
            Some(Jump::Set(ms)) => {
                let sign = if ms < 0 { "back" } else { "forward" };
                let by = duration(crate::engine::ids::Span(ms.unsigned_abs()));
                self.note(format!("the wall clock was set {sign} by {by}; the session's clock goes on"), false);
            }
            None => {}
        }
        let alive = self.parts.guard_alive.as_ref().is_none_or(|alive| alive());
        if !alive && !self.parts.guard_lost {
            self.parts.guard_lost = true;
            self.note("the guard is gone: a crash of this console would lose outcomes".into(), true);
        }
        if self.meter.tick(&self.engine.state, self.clock.now()) {
            self.dirty = true;
        }
    }

    fn forget_stored(&mut self) {
        self.unstored = self.unstored.split_off(&(self.hands.stored() + 1));
    }

    /// A new picture, if one is wanted and anything is new.
    fn publish(&mut self) {
        if !self.wanted || !self.dirty || self.parts.headless {
            return;
        }
        self.forget_stored();
        let frozen = self.frozen();
        // What is not stored yet is shown as such, and looked at again when it is.
        self.dirty = frozen.unstored_since.is_some();
        self.wanted = false;
        *self.shared.frozen.lock().expect("no holder panics") = Some(Arc::new(frozen));
        self.shared.fresh.store(true, Ordering::Release);
        self.shared.wait_for_the_screen_if_asked();
    }

    /// Pictures for those that asked for one.
    fn show(&mut self) {
        if self.pictures.is_empty() {
            return;
        }
        self.forget_stored();
        let frozen = Arc::new(self.frozen());
        for to in self.pictures.drain(..) {
            // A client that has gone meanwhile does not look at it.
            let _ = to.send(frozen.clone());
        }
    }

    /// The session as it is now.
    fn frozen(&mut self) -> Frozen {
        let told = self.told();
        Frozen {
            told,
            engine: self.engine.clone(),
            session: self.parts.name.clone(),
            log_dir: self.parts.log_dir.clone(),
            storage: self.storage.clone(),
            unstored_since: self.unstored.values().next().copied(),
            guard_lost: self.parts.guard_lost,
            rates: self.meter.rates(),
            load: self.shared.load.lock().expect("no holder panics").clone(),
            read_only: None,
            attached: false,
            notes: self.notes.clone(),
        }
    }

    /// How far those that run say that they have come. What was said by others is forgotten.
    fn told(&self) -> Arc<BTreeMap<TaskId, Told>> {
        self.shared.told_news.store(false, Ordering::Release);
        let mut all = self.shared.told.lock().expect("no holder panics");
        if all.is_empty() {
            return Arc::default();
        }
        let state = &self.engine.state;
        all.retain(|id, word| {
            state.tasks.get(id.index()).is_some_and(|task| task.live.is_some() && task.attempt == word.attempt.0)
        });
        Arc::new(all.iter().map(|(id, word)| (*id, word.told.clone())).collect())
    }

    // ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn end(&self) -> Option<End> {
        let state = &self.engine.state;
        let detached = state.ending == Some(crate::engine::fact::Ending::Detach);
        // Without a screen nobody can answer: what only a person can go on with ends, and is taken up by `qd resume`.
        let asks = self.parts.headless && state.waits_for_people();
        let over = asks || (state.is_finished() && (self.parts.headless || state.ending.is_some()));
        // What was to start when the storage broke will never be spawned: it waits for no report.
        let runs = |id: &TaskId| state.task(*id).live.as_ref().is_some_and(|live| live.process.is_some());
        let broken = matches!(self.storage, Storage::Broken { .. });
        let given_up = broken && !state.on_agent.iter().any(|(_, id)| runs(id));
        if !(over || detached || given_up) {
            return None;
        }
        let ended = self.finished_at.unwrap_or_else(|| self.clock.now());
        let summary = summary(state, ended.since(state.started));
        let code = match &self.storage {
            Storage::Broken { .. } => 70,
            _ if detached && state.live > 0 => 3,
            _ => state.exit_code(),
        };
        Some(End { code, detached: detached && state.live > 0, summary })
    }

    fn close(mut self, mut end: End) -> End {
        let turn = self.engine.record_all(self.clock.now(), vec![Fact::Closed { code: end.code }]);
        self.take(turn, None);
        self.store(true);
        if !self.hands.finish() {
            end.code = Kind::Internal.code();
            end.summary.push_str("; the last facts could not be stored");
        }
        self.shared.ended.store(end.code, Ordering::Release);
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_together_is_taken_by_priority_and_else_as_it_came() {
        let command = |text: &str, priority: i32| {
            let by = Origin::Client(text.into());
            Envelope::Command { by, command: Command::Pause, priority, ticket: 0, answer: None }
        };
        let mut all = vec![
            command("a", 0),
            command("b", 0),
            Envelope::Signal(Asked::Terminate),
            command("c", 5),
            command("d", -1),
            command("e", 5),
        ];
        in_order(&mut all);
        let said: Vec<&str> = all
            .iter()
            .map(|envelope| match envelope {
                Envelope::Command { by: Origin::Client(name), .. } => name.as_str(),
                _ => "signal",
            })
            .collect();
        assert_eq!(said, ["signal", "c", "e", "a", "b", "d"]);
    }
}
