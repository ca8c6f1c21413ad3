//! What is now true: the only thing the journal stores. A stored format: variants and fields are only added, never
//! renamed, reused or given another meaning; old recordings in `sessions/golden/` must open for ever.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::care::Findings;
use super::definition::{
    AgentDefinition, BarrierDefinition, ExecutionPhase, FallbackDefinition, Goal, Param, ResourceDefinition, Settings,
    StateTransition, TaskDefinition, WindowDefinition, WorkflowStage,
};
use super::ids::{
    AgentId, Amount, Attempt, BarrierId, FallbackId, GoalId, PhaseId, ResourceId, StageId, TaskId, Time, TransitionId,
};
use super::locks::{LockEnd, LockRequest};
use super::message::{Command, Exit, Origin, Process, StartProblem, StopReason, StopSignal, Usage};
use super::monitors::Trouble;

/// Version of this format. Written by [`Fact::Opened`]; a higher one in a file means read-only.
pub const FACT_VERSION: u32 = 1;

/// A fact with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// When it became true.
    pub at: Time,
    /// What is true.
    pub fact: Fact,
}

/// What is now true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    // ── the session ──────────────────────────────────────────────────────────────────────────────────────────────
    /// A console opened the session (each time it is opened for writing).
    Opened {
        /// [`FACT_VERSION`] of the writer.
        version: u32,
        /// Version of the program.
        program: String,
        /// The kernel's boot id: pids of another boot mean nothing.
        boot_id: String,
        /// Pid of the console.
        pid: i32,
    },
    /// A torn tail was cut off on opening.
    Recovered {
        /// How many bytes.
        lost_bytes: u64,
    },
    /// The console ended in good order.
    Closed {
        /// Its exit code.
        code: i32,
    },

    // ── the workflow ─────────────────────────────────────────────────────────────────────────────────────────────
    /// What holds for the whole run.
    Configured(Box<Settings>),
    /// A resource is known.
    ResourceAdded(ResourceDefinition),
    /// An agent is there.
    AgentAdded(AgentDefinition),
    /// A stage is known.
    StageAdded(WorkflowStage),
    /// A transition is known.
    TransitionAdded(StateTransition),
    /// A phase is known.
    PhaseAdded(ExecutionPhase),
    /// A fallback is known.
    FallbackAdded(FallbackDefinition),
    /// A task is known.
    TaskAdded(Arc<TaskDefinition>),
    /// Everything is known: the run begins.
    Loaded {
        /// How many tasks.
        tasks: u32,
    },

    // ── what the operator or a rule asked ────────────────────────────────────────────────────────────────────────
    /// A command was accepted; the facts it led to follow in the same turn.
    Commanded {
        /// Who asked.
        by: Origin,
        /// What.
        command: Command,
        /// What takes it back, if anything does.
        inverse: Option<Command>,
    },
    /// The last command that could be was taken back.
    Undone,
    /// What was last taken back was done again.
    Redone,
    /// Nothing new starts.
    Paused,
    /// Starts again.
    Resumed,
    /// The session is ending in this way.
    Ending(Ending),
    /// A task's priority.
    PrioritySet {
        /// Which.
        task: TaskId,
        /// New value.
        priority: i32,
    },
    /// An agent's slots.
    SlotsSet {
        /// Which.
        agent: AgentId,
        /// New value.
        slots: u32,
    },
    /// A task is not to be started.
    Held {
        /// Which.
        task: TaskId,
        /// Why, if a rule holds it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A held task may start again.
    Released {
        /// Which.
        task: TaskId,
    },
    /// Counts as done without having run.
    Skipped {
        /// Which.
        task: TaskId,
        /// Why, if a rule skipped it: a condition with its values, for example.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Will not run (it was not running).
    Cancelled {
        /// Which.
        task: TaskId,
        /// Why, if a rule cancelled it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// An ended or skipped task is to be run (again).
    Requeued {
        /// Which.
        task: TaskId,
    },

    // ── arrival: everything before the task is done ──────────────────────────────────────────────────────────────
    /// A stage opened and its condition was asked.
    StageDecided {
        /// Which.
        stage: StageId,
        /// Its tasks may go on; otherwise they are skipped.
        holds: bool,
        /// The condition with its values.
        why: String,
    },
    /// All that the task asks for at its arrival is given: it waits for room.
    Admitted {
        /// Which.
        task: TaskId,
    },
    /// It waits for a person, a time or something outside, and holds nothing.
    Awaiting {
        /// Which.
        task: TaskId,
        /// Its own timer: when it is looked at again.
        until: Option<Time>,
    },
    /// It came to its end without an attempt.
    Settled {
        /// Which.
        task: TaskId,
        /// How.
        outcome: Outcome,
        /// What decided it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },

    // ── an attempt's life ────────────────────────────────────────────────────────────────────────────────────────
    /// It holds its resources and is about to be spawned.
    Starting {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// Where.
        agent: AgentId,
    },
    /// It runs.
    Running {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// Its process.
        process: Process,
        /// Number of its output file.
        log: u64,
    },
    /// It is proved that it was never spawned: the task is queued again.
    NotStarted {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// Why, if the machine was out of something; then it waits until `until`.
        why: Option<String>,
        /// When it may be tried again.
        until: Option<Time>,
    },
    /// A monitor sees that something is amiss with it; if that fails it, the next fact says so.
    Noticed {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// What.
        trouble: Trouble,
        /// In words.
        saw: String,
    },
    /// That is over.
    NoticeOver {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// What.
        trouble: Trouble,
    },
    /// It is being stopped.
    Stopping {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// Why.
        reason: StopReason,
        /// How hard.
        signal: StopSignal,
    },
    /// Its leader ended, processes of it live on; its resources stay taken.
    Exited {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// How.
        exit: Exit,
        /// What it used.
        usage: Usage,
        /// Bytes of output.
        output: u64,
        /// How many live on.
        left: u32,
    },
    /// What was found around it, once its leader has ended: published values, checks, why it was run.
    Found {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// What.
        findings: Arc<Findings>,
    },
    /// It is over, nothing of it lives; what follows from it is in later facts of the same turn.
    Ended {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// Which outcome.
        outcome: Outcome,
        /// What it used.
        usage: Usage,
        /// Bytes of output.
        output: u64,
        /// What follows.
        #[serde(default, skip_serializing_if = "Then::is_rest")]
        then: Then,
    },
    /// After a crash: it still runs and is watched again.
    Adopted {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// Its process.
        process: Process,
        /// Number of its output file.
        log: u64,
    },

    // ── what follows an end ──────────────────────────────────────────────────────────────────────────────────────
    /// A delay is over: the task is ready again.
    Due {
        /// Task.
        task: TaskId,
    },
    /// From its next attempt on the task runs this in its place.
    FallbackChosen {
        /// Task.
        task: TaskId,
        /// Which.
        fallback: FallbackId,
        /// By rule or by key.
        by: Origin,
    },

    // ── joins ────────────────────────────────────────────────────────────────────────────────────────────────────
    /// A failure that does not count against the run.
    Excused {
        /// Who failed.
        task: TaskId,
        /// Why it does not count.
        why: String,
    },
    /// So many of those that a task waits for are done that it is enough: what becomes of the rest is decided, in the
    /// facts before this one.
    Enough {
        /// The task that waits.
        task: TaskId,
        /// How many are done.
        done: u32,
        /// Of so many.
        of: u32,
    },

    /// A person said yes or no to what a task asks, also before it asks.
    Voted {
        /// Which.
        task: TaskId,
        /// Yes.
        approves: bool,
        /// Neither yes nor no.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        abstains: bool,
        /// Who.
        by: String,
        /// What was said with it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },

    /// A sensor sees something else than it was last said to see (or sees for the first time).
    Sensed {
        /// Whose.
        task: TaskId,
        /// What, in a few words.
        saw: String,
        /// What later looks compare with, if they compare.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<String>,
    },

    /// A command that a gate asked has ended.
    Checked {
        /// Which.
        task: TaskId,
        /// The number of the check.
        check: u32,
        /// It holds.
        holds: bool,
        /// How it ended.
        saw: String,
    },

    // ── barriers ─────────────────────────────────────────────────────────────────────────────────────────────────
    /// A barrier is known.
    BarrierAdded(BarrierDefinition),
    /// Everything before a task is done: it stands before its barrier.
    AtBarrier {
        /// Which.
        task: TaskId,
        /// It does not wait longer than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
    /// All that stand before a barrier go on.
    BarrierPassed {
        /// Which.
        barrier: BarrierId,
        /// Why, though it is broken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A barrier breaks; what becomes of those that stand before it is in the facts after this.
    BarrierBroken {
        /// Which.
        barrier: BarrierId,
        /// Who will not come, or that the time is up.
        why: String,
    },

    /// A running task has come to a barrier within, and waits there.
    AtMeeting {
        /// Which.
        barrier: BarrierId,
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// By which the task speaks of it.
        ticket: Arc<str>,
    },
    /// All that wait at a barrier within go on.
    MeetingOver {
        /// Which.
        barrier: BarrierId,
        /// Which round of it this was, from 1.
        round: u64,
        /// Why, though not all have come: it broke.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },

    // ── transitions and phases ───────────────────────────────────────────────────────────────────────────────────
    /// A stage was over and this led on from it: its target is entered, all its tasks wait again.
    TransitionTaken {
        /// Which.
        transition: TransitionId,
        /// The target's round, from 1.
        round: u32,
        /// What it was taken for.
        why: String,
    },
    /// A stage was over and this did not lead on from it.
    TransitionPassed {
        /// Which.
        transition: TransitionId,
        /// Why not.
        why: String,
    },
    /// A task of a phase failed for good and ended the phase: what becomes of its other tasks is in the facts before this.
    PhaseFailed {
        /// Which.
        phase: PhaseId,
        /// The task that failed.
        task: TaskId,
    },
    /// What was done is undone: what runs of it is stopped and the rest cancelled, which the facts after this say; then a
    /// stage with a task for each thing to be undone is added.
    Compensating {
        /// Of this phase only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<PhaseId>,
        /// Why.
        why: String,
    },
    /// All that is to be undone is known: the tasks that do it were added before this.
    CompensationsAdded {
        /// Of this phase only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<PhaseId>,
        /// How many.
        tasks: u32,
    },
    /// Enough runs of a replicated task came to the same: it has succeeded, and has published what they did.
    Agreed {
        /// The replicated task.
        task: TaskId,
        /// One of these runs.
        like: TaskId,
        /// How many, and what the others did.
        why: String,
    },
    /// A task that waited is another one from now on.
    TaskEdited {
        /// Which.
        task: TaskId,
        /// What it is from now on.
        definition: Arc<TaskDefinition>,
    },
    /// A task that had not begun is no part of the workflow any more.
    TaskRemoved {
        /// Which.
        task: TaskId,
    },
    /// It is part of it again.
    TaskRestored {
        /// Which.
        task: TaskId,
    },
    /// All tasks of a list are known: they were added before this.
    Made {
        /// The one that stands for them.
        task: TaskId,
        /// How many.
        tasks: u32,
    },
    // ── goals ────────────────────────────────────────────────────────────────────────────────────────────────────
    /// A milestone or an objective is known.
    GoalAdded(Goal),
    /// A milestone is reached; an objective is met or missed as things stand.
    GoalJudged {
        /// Which.
        goal: GoalId,
        /// It holds.
        holds: bool,
        /// The condition with its values.
        why: String,
    },

    /// Somebody said something.
    Posted {
        /// Who.
        by: Origin,
        /// Above 0 it is an alert.
        #[serde(default)]
        priority: i32,
        /// What.
        text: String,
    },

    // ── the shared state ─────────────────────────────────────────────────────────────────────────────────────────
    /// A value of the shared state.
    StateSet {
        /// Its key.
        key: String,
        /// The new value; deleted without one.
        value: Option<Param>,
        /// Who did it.
        by: Origin,
    },

    // ── locks of running tasks ───────────────────────────────────────────────────────────────────────────────────
    /// A running task asks for a lock, and waits for it. Its number is one more than that of the last.
    LockAsked {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// What.
        request: Arc<LockRequest>,
    },
    /// It is held from now on.
    LockGranted {
        /// Task.
        task: TaskId,
        /// Of which resource.
        resource: ResourceId,
        /// Its number.
        lock: u64,
        /// Higher than that of every grant before.
        fence: u64,
    },
    /// A running task gives back what it has held of a resource since its start, before it ends.
    GivenBack {
        /// Task.
        task: TaskId,
        /// Attempt.
        attempt: Attempt,
        /// Which.
        resource: ResourceId,
    },
    /// Its lease begins anew.
    LockRenewed {
        /// Task.
        task: TaskId,
        /// Of which resource.
        resource: ResourceId,
        /// Its number.
        lock: u64,
    },
    /// It is given back, or not waited for any more. At the end of an attempt that follows by itself.
    LockOver {
        /// Task.
        task: TaskId,
        /// Of which resource.
        resource: ResourceId,
        /// Its number.
        lock: u64,
        /// Why.
        end: LockEnd,
    },

    // ── limits and flow control ──────────────────────────────────────────────────────────────────────────────────
    /// A window in which tasks may start is known.
    WindowAdded(WindowDefinition),
    /// How much there is of a resource; what is in use beyond it stays in use until it is given back.
    CapacitySet {
        /// Which.
        resource: ResourceId,
        /// On this agent, if each has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// New value.
        amount: Amount,
    },
    /// What an agent offers from now on.
    CapabilitiesSet {
        /// Which.
        agent: AgentId,
        /// Names, sorted.
        capabilities: Vec<String>,
    },
    /// An agent cannot be reached: nothing starts there. What becomes of what runs there is in the facts after this.
    AgentLost {
        /// Which.
        agent: AgentId,
        /// What was seen.
        saw: String,
    },
    /// It can be reached again.
    AgentBack {
        /// Which.
        agent: AgentId,
        /// What was seen.
        saw: String,
    },
    /// How many tasks run at once over all agents.
    MaxRunningSet {
        /// New value; no limit without one.
        most: Option<u32>,
    },
    /// So many attempts failed that nothing starts until then.
    BreakerOpened {
        /// How many.
        failures: u32,
        /// Until when.
        until: Time,
    },
    /// The next task that starts is let through to try.
    BreakerProbes,
    /// All is let through again.
    BreakerClosed,
    /// The condition of `PauseWhile` came to hold: nothing new starts.
    OverloadBegan {
        /// The condition with its values.
        why: String,
    },
    /// It does not hold any more.
    OverloadEnded {
        /// The condition with its values.
        why: String,
    },
    /// Whether that counts.
    PauseWhileHeeded(bool),

    // ── the schedule ─────────────────────────────────────────────────────────────────────────────────────────────
    /// A ready task that waited long has the next room there: only what does not delay it goes ahead. The reservation
    /// ends when the task starts or leaves the queue.
    Reserved {
        /// Task.
        task: TaskId,
        /// Of what.
        on: Target,
    },
}

/// What can be reserved for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// A resource of the session.
    Resource(ResourceId),
    /// Room on an agent: a slot and its per-agent resources.
    Agent(AgentId),
}

/// What follows the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Then {
    /// Nothing: the task is over, or waits for the operator.
    #[default]
    Rest,
    /// The next attempt, not before this time.
    Retry(Time),
    /// This runs in its place.
    Fallback(FallbackId),
    /// Queued again as it was.
    Requeue,
    /// This, not before that time.
    Later(FallbackId, Time),
}

impl Then {
    fn is_rest(&self) -> bool {
        *self == Self::Rest
    }
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ending {
    /// What runs may finish; nothing new starts.
    Drain,
    /// What runs is stopped, with grace.
    Stop,
    /// What runs is killed.
    StopNow,
    /// What runs goes on under the guard.
    Detach,
}

/// The one outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Exit status 0.
    Succeeded,
    /// It failed by this cause.
    Failed(Cause),
    /// The operator cancelled it.
    Cancelled,
    /// The session was stopped, or a fallback took its place: not the task's fault.
    Aborted(StopReason),
    /// Nothing can be proved.
    Lost(String),
    /// Nothing had changed since its last success, so its command was not run: it counts as succeeded.
    UpToDate,
}

impl Outcome {
    /// What waits for it may go on.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Succeeded | Self::UpToDate)
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Exit status other than 0.
    Exit(i32),
    /// Killed by a signal that we did not send.
    Signal(i32),
    /// Ran longer than its `timeout`.
    TimedOut,
    /// Could not be started at all.
    CouldNotStart(StartProblem),
    /// The kernel killed it for want of memory.
    OutOfMemory,
    /// A person said no.
    Rejected,
    /// It ended well, but a check of what it did does not hold, or it did not publish what it should.
    Validation {
        /// Which, and why.
        what: String,
    },
    /// Stopped for another of its limits.
    Limit {
        /// Which, in words.
        what: String,
    },
    /// A check of a gate does not hold.
    Gate,
    /// It stood before a barrier that broke.
    BrokenBarrier,
    /// Too few of its runs came to the same.
    NoMajority,
    /// Its monitor stopped it.
    Monitor(Trouble),
    /// Its agent could not be reached any more.
    AgentLost,
}
