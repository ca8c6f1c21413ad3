//! What screens read: a plain picture of one instant, made from the engine's State for a View. Knows nothing of
//! terminals. `build` runs beside the loop, on a cheap clone of the State.

pub mod build;
mod compensation;
pub mod effect;
pub mod fallbacks;
pub mod filter;
mod found;
pub mod graph;
mod locks;
pub mod marks;
pub mod outputs;
pub mod record;
mod rows;

pub use rows::filtered;
pub mod waits;
pub mod why;
pub mod written;

use std::sync::Arc;

use crate::engine::ids::{AgentId, Amount, Attempt, ResourceId, Span, StageId, TaskId, Time};

/// What the screen asks for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// How the queue is grouped.
    pub group: Group,
    /// How it is sorted within a group.
    pub sort: Sort,
    /// Sorted the other way round.
    pub reverse: bool,
    /// What is left out (`filter.rs` parses it): empty shows all.
    pub filter: Filter,
    /// Groups shown as one line only.
    pub collapsed: Vec<StageId>,
    /// First row wanted.
    pub offset: usize,
    /// How many rows.
    pub height: usize,
    /// The task the detail panes speak of.
    pub cursor: Option<TaskId>,
    /// Keep the cursor's task within the rows: `offset` is moved by as little as needed.
    pub follow: bool,
    /// What has run is wanted too.
    pub record: bool,
    /// The graph around this is wanted too, so many levels to each side.
    pub graph: Option<(graph::Node, usize)>,
    /// Who waits for whom is wanted too.
    pub waits: bool,
    /// These are marked.
    pub marked: Arc<marks::Marked>,
    /// These are to be marked, or no more.
    pub marking: Option<marks::Marking>,
}

/// How the queue is grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Group {
    /// By stage, in the order of the file.
    #[default]
    Stage,
    /// Not at all.
    None,
}

/// How rows are sorted within a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// What runs, then the queue in the order in which it will start, then what is over.
    #[default]
    Schedule,
    /// By name.
    Name,
    /// Highest priority first.
    Priority,
    /// Least slack to the deadline first.
    Deadline,
    /// Longest in its state first.
    Age,
}

/// A parsed filter: all of its terms must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Its terms.
    pub terms: Vec<FilterTerm>,
}

/// One term of a filter: `state:failed`, `-tag:slow`, `prio>40`, `text`.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterTerm {
    /// `-` before it.
    pub negated: bool,
    /// What must hold.
    pub test: FilterTest,
}

/// What a filter can test.
#[derive(Debug, Clone, PartialEq)]
pub enum FilterTest {
    /// The name contains it (case-insensitive).
    Text(String),
    /// In one of these phases.
    State(Vec<Phase>),
    /// Stage name contains it.
    Stage(String),
    /// Has the tag.
    Tag(String),
    /// Uses the resource.
    Lock(String),
    /// Priority above / below / equal.
    Priority(std::cmp::Ordering, i32),
}

/// What a task is doing, as shown. The engine's phases, plus what distinguishes waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Spawned or about to be.
    Running,
    /// Being stopped, or its leader ended and others live on.
    Stopping,
    /// Ready: waits for room.
    Ready,
    /// Waits out a backoff.
    Delayed,
    /// A person, a time or something outside will settle it.
    Awaiting,
    /// Waits for other tasks.
    Waiting,
    /// Held by the operator.
    Held,
    /// Waits for a task that failed: cannot run unless that is retried.
    Blocked,
    /// Failed for good.
    Failed,
    /// Nothing can be proved; waits for the operator.
    Lost,
    /// Cancelled.
    Cancelled,
    /// Skipped.
    Skipped,
    /// Done.
    Succeeded,
}

/// One instant.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Identity and health.
    pub header: Header,
    /// Counts over all tasks.
    pub counts: Counts,
    /// How many tasks pass the filter.
    pub matching: usize,
    /// How many rows there are in all with this view (task rows and group rows).
    pub total_rows: usize,
    /// Index of the first of `rows`.
    pub offset: usize,
    /// The rows asked for.
    pub rows: Vec<Row>,
    /// All agents.
    pub agents: Vec<AgentRow>,
    /// All resources of the session, contended ones first.
    pub locks: Vec<LockRow>,
    /// Progress and rates.
    pub progress: Progress,
    /// The first task of the queue that runs, with its stage, wherever it is.
    pub running: Option<(TaskId, StageId)>,
    /// Of the cursor's task.
    pub detail: Option<Detail>,
    /// What needs the operator, newest first, bounded.
    pub alerts: Vec<Alert>,
    /// Who did what, newest first, bounded.
    pub actions: Vec<Action>,
    /// The last messages, newest first.
    pub posts: Vec<PostRow>,
    /// The shared state by key, bounded, and how many keys there are.
    pub shared: (Vec<SharedRow>, usize),
    /// What has run, if the View asks for it: whoever keeps it puts it here.
    pub record: Arc<record::Record>,
    /// What is around the node that the View asks for.
    pub graph: Arc<graph::Graph>,
    /// Who waits for whom, if that was wanted.
    pub waits: Arc<Vec<waits::WaitRow>>,
    /// What is marked, of which there still are.
    pub marked: Arc<Vec<marks::MarkRow>>,
    /// What was asked to be marked.
    pub to_mark: Option<Arc<Vec<TaskId>>>,
    /// What compensation would do.
    pub compensation: CompensationPreview,
}

/// How far the command of a task says that it has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// So much of it.
    pub done: u64,
    /// Of so much, at least 1.
    pub of: u64,
    /// What it is at.
    pub text: String,
}

impl Told {
    /// As a share, at most 1.
    pub fn share(&self) -> f64 {
        (self.done as f64 / self.of.max(1) as f64).min(1.0)
    }

    /// `3/7`, or `43 %` of what is counted in hundredths.
    pub fn count(&self) -> String {
        if self.of == 100 { format!("{} %", self.done) } else { format!("{}/{}", self.done, self.of) }
    }

    /// `3/7 linking`
    pub fn words(&self) -> String {
        format!("{} {}", self.count(), self.text).trim_end().to_owned()
    }
}

/// What compensation would do now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompensationPreview {
    /// A line each.
    pub lines: Vec<String>,
    /// Why it cannot be asked for.
    pub why_not: Option<String>,
}

/// Identity and health.
#[derive(Debug, Clone, Default)]
pub struct Header {
    /// The workflow's name.
    pub workflow: String,
    /// The session's name.
    pub session: String,
    /// The instant shown.
    pub at: Time,
    /// When the run began.
    pub started: Time,
    /// When everything was over.
    pub ended: Option<Time>,
    /// Running, paused, …
    pub mode: Mode,
    /// Earliest deadline of what is not done, with its task.
    pub due: Option<(Time, String)>,
    /// No guard: a crash would lose outcomes.
    pub guard_lost: bool,
    /// The journal's health.
    pub storage: Storage,
    /// At most so many tasks run at once.
    pub max_running: Option<u32>,
    /// The circuit breaker lets nothing, or one task, through: in words.
    pub breaker: Option<String>,
    /// Whether `PauseWhile` counts, if there is one.
    pub pause_while: Option<bool>,
    /// What is undone by `u`, in words.
    pub undo: Option<String>,
    /// What is redone by `U`, in words.
    pub redo: Option<String>,
    /// Where in a recording this is, if it is one.
    pub replay: Option<Arc<ReplayStrip>>,
    /// The console of the session is another: leaving this one changes nothing.
    pub attached: bool,
    /// Recorded or read-only: keys that change anything answer this.
    pub read_only: Option<String>,
    /// The folder of the session's outputs: each is called by its number.
    pub log_dir: std::path::PathBuf,
}

/// What the session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Starting what it can.
    #[default]
    Running,
    /// Starts nothing new.
    Paused,
    /// Nothing starts while the condition of `PauseWhile` holds.
    Overloaded,
    /// Starts nothing new and will end.
    Draining,
    /// Stopping what runs.
    Stopping,
    /// Nothing more can happen by itself: see the counts.
    Finished,
}

/// The journal's health.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Storage {
    /// All stored.
    #[default]
    Good,
    /// The last write or sync took so long.
    Slow(Span),
    /// No room since; nothing is lost; no new starts.
    Full {
        /// Since when.
        since: Time,
        /// The system's words.
        why: String,
    },
    /// Cannot be written; no new starts.
    Broken {
        /// Since when.
        since: Time,
        /// The system's words.
        why: String,
    },
}

/// Counts over all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All.
    pub total: usize,
    /// By phase.
    pub running: usize,
    /// Being stopped.
    pub stopping: usize,
    /// Waits for room.
    pub ready: usize,
    /// Waits out a backoff.
    pub delayed: usize,
    /// A person, a time or something outside will settle it.
    pub awaiting: usize,
    /// Waits for others.
    pub waiting: usize,
    /// Held.
    pub held: usize,
    /// Behind a failure.
    pub blocked: usize,
    /// Failed for good.
    pub failed: usize,
    /// Part of `failed`: those whose failure does not count against the run (only in the counts of all tasks).
    pub excused: usize,
    /// Lost.
    pub lost: usize,
    /// Cancelled.
    pub cancelled: usize,
    /// Skipped.
    pub skipped: usize,
    /// Done.
    pub succeeded: usize,
    /// Done by a fallback (part of `succeeded`).
    pub by_fallback: usize,
    /// Attempts after the first, so far.
    pub retries: usize,
}

/// A row of the queue.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A stage's line.
    Group(GroupRow),
    /// A task's line.
    Task(TaskRow),
}

/// A stage's line.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow {
    /// Which.
    pub stage: StageId,
    /// Its name.
    pub name: String,
    /// Its tasks are not shown.
    pub collapsed: bool,
    /// Counts over its tasks.
    pub counts: Counts,
    /// Why nothing of it has started: "needs build".
    pub why: Option<String>,
    /// Which round of it this is, from 1; 0 while no transition has led to it.
    pub round: u32,
}

/// A task's line.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// Which.
    pub task: TaskId,
    /// Its name.
    pub name: Arc<str>,
    /// Its stage's name.
    pub stage: String,
    /// What it is doing.
    pub phase: Phase,
    /// Its priority.
    pub priority: i32,
    /// Since when it is in this phase.
    pub since: Time,
    /// Its agent, while it has one.
    pub agent: Option<String>,
    /// Current or last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts allowed in all.
    pub attempts: u32,
    /// It runs, or succeeded, by this fallback.
    pub fallback: Option<String>,
    /// When it should be done.
    pub deadline: Option<Time>,
    /// How long it is thought to take.
    pub estimate: Option<Span>,
    /// How long its last attempt ran.
    pub ran: Option<Span>,
    /// Progress or why not: one line.
    pub note: String,
    /// Its deadline has passed, or cannot be met by its estimate.
    pub late: bool,
    /// It holds the reservation.
    pub reserved: bool,
    /// It was started before the console last restarted.
    pub adopted: bool,
    /// Not in the journal yet: shown as "…".
    pub pending: bool,
    /// How far its command says that it has come.
    pub told: Option<Told>,
    /// Its monitor sees something amiss: its note begins with what.
    pub troubled: bool,
    /// It runs and waits for a lock or at a barrier: its note says for which.
    pub waits: bool,
    /// What is said to it is one vote among others, and may not decide it.
    pub counts_votes: bool,
}

/// An agent's line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentRow {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Option<AgentId>,
    /// Slots in use.
    pub busy: u32,
    /// Slots in all.
    pub slots: u32,
    /// Its per-agent resources: name, used of total as text (`"1.5/8"`, `"2.0/16GiB"`), share 0–1.
    pub resources: Vec<(String, String, f64)>,
    /// Names of what runs on it, at most 8.
    pub tasks: Vec<String>,
    /// CPU of its trees, in percent of one core; absent before the first sample.
    pub cpu_percent: Option<f32>,
    /// Memory of its trees, bytes.
    pub memory: Option<u64>,
    /// Share of its slots in use, the last samples, oldest first, 0–1.
    pub load: Vec<f32>,
    /// What it offers.
    pub capabilities: Vec<String>,
    /// It cannot be reached: since when, and what was seen.
    pub lost: Option<(Time, String)>,
    /// Attempts that ended there, and how long they took in the mean.
    pub ran: Option<(u64, Span)>,
}

/// A resource's line.
#[derive(Debug, Clone, PartialEq)]
pub struct LockRow {
    /// Its id.
    pub resource: ResourceId,
    /// Its name.
    pub name: String,
    /// `"1/1"`, `"3/4"`, `"shared 2"`.
    pub used: String,
    /// Share in use, 0–1.
    pub share: f64,
    /// Who holds it: name and how (`exclusive`, `shared`, `2`).
    pub holders: Vec<(String, String)>,
    /// How many tasks wait for it first of all.
    pub waiting: usize,
    /// The first few of them, in line.
    pub line: Vec<String>,
    /// It is kept free for this task.
    pub reserved_for: Option<String>,
    /// How much there is of it, if that can be changed.
    pub capacity: Option<Amount>,
}

/// Progress and rates.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// Tasks ended per minute, the last minutes, oldest first.
    pub throughput: Vec<f32>,
    /// Tasks ended in the last minute.
    pub per_minute: f32,
    /// Median and 90th percentile of the wait from ready to start.
    pub wait: Option<(Span, Span)>,
    /// Of the run time.
    pub run: Option<(Span, Span)>,
    /// Names on the longest chain of estimates that is not done, if any are known.
    pub critical: Vec<String>,
    /// What holds most of the queue back, with its share: `("db", 0.38)`.
    pub limits: Vec<(String, f32)>,
    /// Share of slots in use since the start, 0–1.
    pub utilisation: f32,
    /// Succeeded, failed attempts so far.
    pub attempts: (usize, usize),
    /// When all will be done, if that can be said.
    pub eta: Option<Time>,
    /// What is missing for an `eta`.
    pub eta_why_not: Option<String>,
    /// Milestones and objectives: name, and whether it holds if that is known; the first few of the file.
    pub goals: Vec<(String, Option<bool>)>,
    /// Share of the checks of tasks that hold, by weight, in percent; if anything was checked.
    pub quality: Option<u64>,
    /// The phases, in the order of the file.
    pub phases: Vec<PhaseLine>,
}

/// A phase in the strip of phases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseLine {
    /// Its name.
    pub name: String,
    /// Tasks done (or skipped), and all.
    pub done: usize,
    /// See `done`.
    pub total: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that failed, but for excused ones.
    pub failed: usize,
    /// A failure ended it.
    pub ended: bool,
}

/// Of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// Its line.
    pub row: TaskRow,
    /// Why it is not running, or why it is where it is: a check-list.
    pub why: Vec<WhyLine>,
    /// Its command, as written.
    pub command: String,
    /// The command that a fallback put in its place.
    pub replaced_by: Option<String>,
    /// What its next fallback would do, and what would come after it: a line each. Empty if none is left.
    pub fallbacks: Vec<String>,
    /// Needs, uses, timeout, retry, … as name and value.
    pub facts: Vec<(String, String)>,
    /// Its attempts, newest first.
    pub attempts: Vec<AttemptLine>,
    /// Where its (last) attempt's output is; absent when it wrote nothing or has none.
    pub log: Option<std::path::PathBuf>,
    /// Names of tasks that it waits for / that wait for it, the first few, and how many.
    pub after: Vec<String>,
    /// See `after`.
    pub before: Vec<String>,
}

/// One line of the check-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyLine {
    /// It holds.
    pub met: bool,
    /// What.
    pub text: String,
    /// More lines, indented.
    pub more: Vec<String>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptLine {
    /// Its number.
    pub attempt: Attempt,
    /// Its agent.
    pub agent: String,
    /// When it started.
    pub started: Time,
    /// How long it ran, if over.
    pub ran: Option<Span>,
    /// `"exit 2"`, `"signal 9"`, `"running"`.
    pub outcome: String,
    /// It counts as good.
    pub good: bool,
    /// Number of its log, if it wrote anything.
    pub log: Option<u64>,
}

/// What an attempt wrote, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The task's name.
    pub name: Arc<str>,
    /// The file.
    pub log: std::path::PathBuf,
    /// When the attempt started.
    pub started: Time,
    /// When it ended, if it has.
    pub ended: Option<Time>,
}

/// What needs the operator: grouped by cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// First seen.
    pub at: Time,
    /// In words.
    pub text: String,
    /// How many of the same cause.
    pub count: usize,
    /// A task of it.
    pub task: Option<TaskId>,
    /// Bad (failed, lost) rather than a warning.
    pub bad: bool,
}

/// Where in a recording a picture is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReplayStrip {
    /// The moment.
    pub at: Time,
    /// When it begins.
    pub first: Time,
    /// When it ends.
    pub last: Time,
    /// So many facts are true.
    pub count: usize,
    /// Of so many.
    pub of: usize,
    /// So many times as fast as it was.
    pub speed: u32,
    /// It plays.
    pub playing: bool,
    /// The session goes on meanwhile.
    pub living: bool,
    /// From here one comes back to it.
    pub returns: bool,
    /// What is to be found when, in order of time.
    pub marks: Vec<(Time, ReplayMark)>,
}

/// Something to be found in a recording; what matters more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplayMark {
    /// A console opened the session again.
    Opened,
    /// Somebody asked for something.
    Asked,
    /// A milestone or an objective.
    Goal,
    /// A rule said that something is amiss.
    Amiss,
    /// An attempt failed or was lost.
    Failed,
}

/// What somebody has said.
#[derive(Debug, Clone, PartialEq)]
pub struct PostRow {
    /// When.
    pub at: Time,
    /// Who.
    pub by: String,
    /// Above 0 it is an alert.
    pub priority: i32,
    /// What.
    pub text: String,
}

/// A value of the shared state.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedRow {
    /// Its key.
    pub key: String,
    /// Its value, as text.
    pub value: String,
    /// Which change of the session made it so.
    pub version: u64,
    /// When.
    pub at: Time,
    /// Who.
    pub by: String,
}

/// Who did what.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// When.
    pub at: Time,
    /// `"you"`, `"rule"`.
    pub who: String,
    /// In words.
    pub text: String,
}
