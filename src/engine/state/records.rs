//! What the State is made of: a task, its attempts, classes, pools, resources, agents, stages, and how they are shown and
//! ranked. Plain records with their own small questions; knows nothing of how they change or which index they stand in.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::arrival::Heard;
use crate::engine::bucket::Bucket;
use crate::engine::care::{Findings, Kept};
use crate::engine::definition::{
    AgentDefinition, ExecutionPhase, Requirements, ResourceDefinition, StateTransition, WorkflowStage,
};
use crate::engine::fact::{Outcome, Target};
use crate::engine::health::LostAgent;
use crate::engine::ids::{
    AgentId, Amount, Attempt, BarrierId, FallbackId, PhaseId, ResourceId, Span, StageId, TaskId, Time, TransitionId,
    WindowId,
};
use crate::engine::message::{Command, Exit, Origin, Process, StopReason, StopSignal, Usage};
use crate::engine::monitors::Noticed;
use crate::engine::table::Table;

/// Where a task stands. See the picture above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Something it waits for is not done.
    Waiting,
    /// Everything before it is done; what it asks for at its entry is being decided.
    Arrived,
    /// A person, a time or something outside will settle it; it holds nothing.
    Awaiting,
    /// Waits for room.
    Ready,
    /// Waits for the time in [`Task::due`].
    Delayed,
    /// Holds its resources, is being spawned.
    Starting,
    /// Its process runs.
    Running,
    /// It is being stopped.
    Stopping,
    /// Its leader ended, processes of it live on.
    Lingering,
    /// Done.
    Succeeded,
    /// Failed for good.
    Failed,
    /// Counts as done.
    Skipped,
    /// Will not run.
    Cancelled,
    /// Nothing can be proved; waits for the operator.
    Lost,
}

/// How many phases there are.
pub const PHASES: usize = 13;

impl Phase {
    /// It has a live attempt.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping | Self::Lingering)
    }
    /// What waits for it may go on.
    pub fn is_satisfied(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }
    /// What waits for it cannot run unless it is retried.
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Failed | Self::Cancelled)
    }
    /// Not yet started, or between attempts.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Arrived | Self::Awaiting | Self::Ready | Self::Delayed)
    }
}

/// A task's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Where it stands.
    pub phase: Phase,
    /// The operator holds it.
    pub held: bool,
    /// Since when it stands there.
    pub since: Time,
    /// When it became ready, for aging.
    pub ready_at: Time,
    /// Higher first.
    pub priority: i32,
    /// How many of the tasks (and stages) it waits for are not done; its stage counts as one while it is closed.
    pub unmet: u32,
    /// How many of those can never be, as things are.
    pub dead: u32,
    /// Its requirement class.
    pub class: ClassId,
    /// Number of its last attempt; 0 before the first.
    pub attempt: u32,
    /// Attempts that count against its retry limit with the present command.
    pub tries: u32,
    /// How many of its fallbacks have been taken.
    pub fallbacks_taken: u32,
    /// Runs this in its place.
    pub fallback: Option<FallbackId>,
    /// End of its delay.
    pub due: Option<Time>,
    /// Its deadline, absolute.
    pub deadline: Option<Time>,
    /// Its live attempt.
    pub live: Option<Box<Live>>,
    /// Its ended attempts, oldest first, the last [`ATTEMPTS_KEPT`](super::ATTEMPTS_KEPT).
    pub past: Option<Arc<Vec<Past>>>,
    /// Why a rule put it where it stands (skipped, held, settled), if one did.
    pub because: Option<Arc<str>>,
    /// What was said to it, and seen for it.
    pub heard: Option<Arc<Heard>>,
    /// It failed, and that does not count against the run.
    pub excused: bool,
    /// It has passed its barrier.
    pub passed: bool,
    /// It does not simply wait for all that it waits for to succeed.
    pub join: Option<Box<Joining>>,
    /// What is kept of its findings, if care is taken of it.
    pub kept: Option<Arc<Kept>>,
    /// It is no part of the workflow any more: neither shown nor counted.
    pub removed: bool,
}

/// What a task with a [`Join`](crate::engine::definition::Join) has of those that it waits for: what is left of these
/// numbers after what may be missing stands in [`Task::unmet`] and [`Task::dead`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joining {
    /// How many may be missing.
    pub spare: u32,
    /// It waits for their end, however they end.
    pub over: bool,
    /// How many of them have not come to pass.
    pub unmet: u32,
    /// How many never can.
    pub dead: u32,
    /// It was said that it is enough, and what becomes of the rest.
    pub settled: bool,
}

impl Joining {
    /// Some are left over, and as many as are needed are done.
    pub fn is_enough(&self) -> bool {
        self.spare > 0 && self.unmet <= self.spare
    }

    /// Changes the counts; returns by how much what is needed, and what is needed and can never be, changes.
    pub(super) fn change(&mut self, unmet: i32, dead: i32) -> (i32, i32) {
        let before = self.short();
        self.unmet = self.unmet.checked_add_signed(unmet).expect("as many are met as were counted");
        self.dead = self.dead.checked_add_signed(dead).expect("as many come back as were counted");
        self.settled &= self.is_enough();
        let after = self.short();
        (after.0 - before.0, after.1 - before.1)
    }

    /// How many are missing, and how many that can never be are too many.
    fn short(&self) -> (i32, i32) {
        let beyond = |count: u32| i32::try_from(count.saturating_sub(self.spare)).unwrap_or(i32::MAX);
        (beyond(self.unmet), beyond(self.dead))
    }
}

/// A live attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Where.
    pub agent: AgentId,
    /// When it took its resources.
    pub started: Time,
    /// What it holds of the session's and its agent's resources.
    pub holds: Arc<Vec<(ResourceId, Amount)>>,
    /// How long it is thought to take.
    pub estimate: Option<Span>,
    /// Its process, once spawned, and since when.
    pub process: Option<(Process, Time)>,
    /// Number of its output file.
    pub log: Option<u64>,
    /// It is being stopped: why, how hard, since when.
    pub stop: Option<(StopReason, StopSignal, Time)>,
    /// Its leader ended: how, usage, output, how many live on.
    pub exited: Option<(Exit, Usage, u64, u32)>,
    /// Another console started it.
    pub adopted: bool,
    /// Its leader ended before anything asked it to stop: how it ended is its outcome, whatever is asked since.
    pub by_itself: bool,
    /// Which opening of the session ([`State::opened`](super::State::opened)) started it or adopted it last.
    pub console: u32,
    /// What was found around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Arc<Findings>>,
    /// What its monitor sees amiss with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Noticed>,
}

/// An ended attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its number.
    pub attempt: Attempt,
    /// Where.
    pub agent: AgentId,
    /// When it took its resources.
    pub started: Time,
    /// When it was over.
    pub ended: Time,
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// Number of its output file, if it wrote anything.
    pub log: Option<u64>,
    /// It ran this fallback.
    pub fallback: Option<FallbackId>,
    /// The round of its stage, from 1.
    pub round: u32,
    /// What was found around it, without the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Arc<Findings>>,
}

/// A requirement class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u32);

/// A set of agents that offer the same things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

/// Tasks that ask for the same are of one class: what blocks one blocks all.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// What they ask for.
    pub requirements: Requirements,
    /// How long they are thought to take (a class has one estimate, so that backfill can judge it).
    pub estimate: Option<Span>,
    /// Of the session's resources.
    pub shared: Vec<(ResourceId, Amount)>,
    /// Of the per-agent resources.
    pub local: Vec<(ResourceId, Amount)>,
    /// They start only while this is open.
    pub window: Option<WindowId>,
    /// They start where this one ran last.
    pub same_as: Option<TaskId>,
    /// They start here if there is room.
    pub prefer: Option<AgentId>,
    /// Both but for rates, as a live attempt holds them.
    pub holds: Arc<Vec<(ResourceId, Amount)>>,
    /// Which agents can do it.
    pub pool: PoolId,
}

/// Agents that offer what a class asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Names asked for.
    pub capabilities: Vec<String>,
    /// Only this agent.
    pub only: Option<AgentId>,
    /// None of these, sorted.
    pub not: Vec<AgentId>,
    /// Sorted.
    pub agents: Vec<AgentId>,
}

/// A resource's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Name and kind.
    pub definition: ResourceDefinition,
    /// How much there is (of a per-agent resource: nothing; see the agents).
    pub capacity: Amount,
    /// How much is taken.
    pub used: Amount,
    /// The most there ever was of it: what is taken is never more.
    pub peak: Amount,
    /// What a rate has left.
    pub bucket: Option<Bucket>,
}

impl Resource {
    /// How much a task could take now.
    pub fn free(&self, now: Time) -> Amount {
        match &self.bucket {
            Some(bucket) => bucket.free(self.capacity, now),
            None => Amount(self.capacity.0.saturating_sub(self.used.0)),
        }
    }
}

/// An agent's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// Name, capabilities.
    pub definition: Arc<AgentDefinition>,
    /// Slots now.
    pub slots: u32,
    /// Slots taken.
    pub busy: u32,
    /// Its resources: which, how much, how much is taken. Sorted.
    pub resources: Vec<(ResourceId, Amount, Amount)>,
    /// Pools it belongs to.
    pub pools: Vec<PoolId>,
    /// Total slot time used, ms, up to the last change.
    pub busy_ms: u64,
    /// When `busy` last changed.
    pub busy_since: Time,
    /// It cannot be reached.
    pub lost: Option<LostAgent>,
    /// Attempts that ended here, and how long they ran together, ms.
    pub ran: (u64, u64),
}

impl Agent {
    /// How much of a resource is free here.
    pub fn free(&self, resource: ResourceId) -> Amount {
        self.resources
            .binary_search_by_key(&resource, |entry| entry.0)
            .map_or(Amount(0), |at| Amount(self.resources[at].1.0.saturating_sub(self.resources[at].2.0)))
    }
    /// How much of a resource there is here.
    pub fn capacity(&self, resource: ResourceId) -> Amount {
        self.resources.binary_search_by_key(&resource, |entry| entry.0).map_or(Amount(0), |at| self.resources[at].1)
    }
    pub(in crate::engine) fn take(&mut self, resource: ResourceId, amount: Amount) {
        if let Ok(at) = self.resources.binary_search_by_key(&resource, |entry| entry.0) {
            self.resources[at].2.0 += amount.0;
        }
    }
    pub(super) fn give(&mut self, resource: ResourceId, amount: Amount) {
        if let Ok(at) = self.resources.binary_search_by_key(&resource, |entry| entry.0) {
            self.resources[at].2.0 -= amount.0;
        }
    }
}

/// A stage's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Name and the stages before it.
    pub definition: Arc<WorkflowStage>,
    /// Its tasks, by index.
    pub tasks: Table<TaskId>,
    /// How many of its tasks are not done.
    pub remaining: u32,
    /// How many of them never can be, as things are.
    pub dead: u32,
    /// How many of the stages before it are not over.
    pub unmet: u32,
    /// The stages that wait for it.
    pub later: Vec<StageId>,
    /// Tasks by phase as shown: see [`Shown`].
    pub counts: Tally,
    /// Its phase.
    pub phase: Option<PhaseId>,
    /// The transitions from it.
    pub leads: Vec<TransitionId>,
    /// The transitions to it.
    pub led_by: Vec<TransitionId>,
    /// It may start, as far as transitions go: it is the target of none that leads forward, or one has led to it.
    pub entered: bool,
    /// Which round of it this is, from 1; 0 before it was entered by a transition for the first time.
    pub round: u32,
    /// What its condition came to, with the values, once it was asked.
    pub decided: Option<(bool, Arc<str>)>,
    /// What it did is being undone, or was: by this of [`State::sagas`](super::State::sagas).
    pub saga: Option<u32>,
}

impl Stage {
    /// None of its tasks may start.
    pub fn is_closed(&self) -> bool {
        self.unmet > 0 || !self.entered
    }

    /// Nothing of it goes on by itself: each task is done, or never can be as things are.
    pub fn is_settled(&self) -> bool {
        self.remaining == self.dead
    }
}

/// A transition's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// What leads where and when.
    pub definition: StateTransition,
    /// How often it was taken.
    pub taken: u32,
    /// It was decided whether it is taken, since its stage was over last.
    pub decided: bool,
    /// What was decided last: taken or not, and why.
    pub last: Option<(bool, Arc<str>)>,
}

/// A phase's changing part.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPhase {
    /// Its name, stages and rules.
    pub definition: ExecutionPhase,
    /// How many of its tasks have failed for good, but for excused ones.
    pub failed: u32,
    /// That was taken as the end of the phase.
    pub ended: bool,
}

/// A reservation: what is kept free for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// For whom.
    pub task: TaskId,
    /// Since when.
    pub since: Time,
}

/// What a task is doing, as people see it: the phase, told apart by hold and failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// Has a live attempt.
    Running,
    /// Is being stopped, or lingers.
    Stopping,
    /// Waits for room.
    Ready,
    /// Waits out a delay.
    Delayed,
    /// Waits for a person, a time or something outside.
    Awaiting,
    /// Waits for others.
    Waiting,
    /// Held.
    Held,
    /// Lost.
    Lost,
    /// Failed.
    Failed,
    /// Waits for something that failed.
    Blocked,
    /// Cancelled.
    Cancelled,
    /// Skipped.
    Skipped,
    /// Done.
    Succeeded,
}

/// How many tasks are shown in each way, by `Shown as usize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally(pub [u32; PHASES]);

impl Tally {
    /// How many are shown so.
    pub fn of(&self, shown: Shown) -> usize {
        self.0[shown as usize] as usize
    }

    /// How many there are.
    pub fn all(&self) -> usize {
        self.0.iter().map(|count| *count as usize).sum()
    }
}

/// Place of a ready task in the queue: smaller starts first.
///
/// Priority, less one point for each [`Settings::aging`](crate::engine::definition::Settings::aging) that it became ready later; then deadline; then age; then the
/// order of the file. It does not change while the task waits, so nothing is ever sorted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Ready time in aging steps, less the priority.
    pub step: i64,
    /// The deadline, or the end of time.
    pub deadline: Time,
    /// Since when it is ready.
    pub ready_at: Time,
    /// Which.
    pub task: TaskId,
}

impl Rank {
    /// Before every rank.
    pub const FIRST: Rank = Rank { step: i64::MIN, deadline: Time(0), ready_at: Time(0), task: TaskId(0) };
}

/// A row's place in the grouped queue: stage, then how it is shown, then a key of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DisplayKey {
    /// Its stage.
    pub stage: StageId,
    /// How it is shown.
    pub shown: Shown,
    /// Its rank if ready; else its priority, then what fits the phase.
    pub key: (i64, u64, u64),
    /// Which.
    pub task: TaskId,
}

/// Who did what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// When.
    pub at: Time,
    /// Who.
    pub by: Origin,
    /// What.
    pub what: DoneWhat,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DoneWhat {
    /// A command.
    Command(Command),
    /// Undo of one.
    Undo(Command),
    /// Redo of one.
    Redo(Command),
    /// A transition led from stage to stage, or would have.
    Transition(TransitionId, String),
    /// What was done began to be undone, for this reason.
    Compensation(String),
}

/// What was done is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saga {
    /// Of this phase only.
    pub phase: Option<PhaseId>,
    /// Why.
    pub why: Arc<str>,
    /// Since when.
    pub since: Time,
    /// Of these stages: those that had been entered by then, and that no other undoes.
    pub stages: Vec<StageId>,
    /// How many tasks undo it, once that is known.
    pub tasks: Option<u32>,
}

/// What changed since the dispatcher last looked. Not part of what a State is.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// A dispatcher looks: without one (a replay) nothing is noted.
    pub noted: bool,
    /// Classes whose first ready task may be another.
    pub classes: Vec<ClassId>,
    /// Classes that may have to run elsewhere than before.
    pub moved: Vec<ClassId>,
    /// Resources of which some was given back.
    pub resources: Vec<ResourceId>,
    /// Agents with new room.
    pub agents: Vec<AgentId>,
    /// Reservations that ended, or have more room behind them.
    pub reservations: Vec<Target>,
    /// Tasks of which enough that they wait for are done now.
    pub enough: Vec<TaskId>,
    /// Tasks that failed for good.
    pub fallen: Vec<TaskId>,
    /// Stages that are settled now, or not any more, or are dead or not any more.
    pub stages: Vec<StageId>,
    /// Phases with a first failure.
    pub phases: Vec<PhaseId>,
    /// Barriers to which a task stands otherwise now.
    pub barriers: Vec<BarrierId>,
    /// Tasks that arrived.
    pub arrived: Vec<TaskId>,
    /// Sensors that look from now on, or no more, or from anew.
    pub sensors: Vec<TaskId>,
    /// A lock may have to be granted.
    pub locks: bool,
    /// Somebody asks conditions: what they may read is noted.
    pub asked: bool,
    /// What conditions may read and is another now.
    pub read: Vec<Changed>,
}

/// Something that a condition may read and that is another now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// A task, and with it its stage and the run.
    Task(TaskId),
    /// A published metric.
    Metric(Arc<str>),
    /// A key of the shared state.
    State(Arc<str>),
    /// The machine.
    System,
}
